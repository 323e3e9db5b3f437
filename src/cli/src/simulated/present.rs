//! The simulated cluster of a build that has one.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use trimtab_config::Mode;
use trimtab_core::trace::TraceJob;
use trimtab_core::units::Time;
use trimtab_daemon::ports::{
    Clock, Cordon, Doorbell, Ports, Prices, Ring, Utilization, WorkloadRead,
};
use trimtab_simulator::ports::PortOptions;
use trimtab_simulator::spec::WorldSpec;

use crate::clock::{CronDoorbell, SystemClock};

pub(crate) use trimtab_endpoint::WorldClient;
pub(crate) use trimtab_simulator::World;

/// The ports of a world in this process. Only enforcing has those that change it.
pub(crate) fn ports(world: &World, mode: Mode) -> Ports {
    let observe_only = match mode {
        Mode::Observe => true,
        Mode::Enforce => false,
    };
    world.ports(PortOptions { observe_only, ..PortOptions::default() })
}

/// The scheduler of a world behind an endpoint.
pub(crate) fn workload(world: &WorldClient) -> Arc<dyn WorkloadRead> {
    Arc::new(world.clone())
}

/// What cordons nodes there.
pub(crate) fn cordon(world: &WorldClient) -> Arc<dyn Cordon> {
    Arc::new(world.clone())
}

/// The metrics there.
pub(crate) fn utilization(world: &WorldClient) -> Arc<dyn Utilization> {
    Arc::new(world.clone())
}

/// The prices there.
pub(crate) fn prices(world: &WorldClient) -> Arc<dyn Prices> {
    Arc::new(world.clone())
}

/// The clock there.
pub(crate) fn clock(world: &WorldClient) -> Arc<dyn Clock> {
    Arc::new(world.clone())
}

/// Reads a world's spec and its recorded load.
///
/// # Errors
/// When the file cannot be read or is not a world.
pub(crate) fn read_spec(path: &Path) -> anyhow::Result<(WorldSpec, Vec<TraceJob>)> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("reading the world {}", path.display()))?;
    let spec = WorldSpec::parse(&text, &path.display().to_string())?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let jobs = spec.load_trace(folder)?;
    Ok((spec, jobs))
}

/// Reads a world and the name of its cluster.
///
/// # Errors
/// As [`read_spec`].
pub(crate) fn read_world(path: &Path) -> anyhow::Result<World> {
    let (spec, jobs) = read_spec(path)?;
    Ok(World::new(spec, jobs)?)
}

/// The doorbell of a world in this process that moves with the clock on the wall.
pub(crate) fn in_real_time(world: &World, cron: CronDoorbell) -> Box<dyn Doorbell> {
    let began = (world.now(), SystemClock::start());
    Box::new(RealTime { world: world.clone(), cron, began })
}

/// A world that moves with the clock on the wall.
struct RealTime {
    world: World,
    cron: CronDoorbell,
    began: (Time, SystemClock),
}

#[async_trait]
impl Doorbell for RealTime {
    async fn next(&mut self, deadline: Option<Time>) -> Ring {
        let (start, clock) = &self.began;
        let wall = |at: Time| clock.now() + at.since(*start + clock.monotonic());
        let ring = self.cron.next(deadline.map(wall)).await;
        self.world.advance_to(*start + clock.monotonic());
        if self.world.now() >= self.world.end() { Ring::Stop } else { ring }
    }
}
