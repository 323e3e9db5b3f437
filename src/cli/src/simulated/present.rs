//! Simulated clusters for a build with the feature `simulator`.

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

/// Returns the ports of a world in this process. Only enforce mode has write ports.
pub(crate) fn ports(world: &World, mode: Mode) -> Ports {
    let observe_only = match mode {
        Mode::Observe => true,
        Mode::Enforce => false,
    };
    world.ports(PortOptions { observe_only, ..PortOptions::default() })
}

/// Returns the scheduler port of a world behind an endpoint.
pub(crate) fn workload(world: &WorldClient) -> Arc<dyn WorkloadRead> {
    Arc::new(world.clone())
}

/// Returns the port that cordons nodes of a world behind an endpoint.
pub(crate) fn cordon(world: &WorldClient) -> Arc<dyn Cordon> {
    Arc::new(world.clone())
}

/// Returns the metrics port of a world behind an endpoint.
pub(crate) fn utilization(world: &WorldClient) -> Arc<dyn Utilization> {
    Arc::new(world.clone())
}

/// Returns the price port of a world behind an endpoint.
pub(crate) fn prices(world: &WorldClient) -> Arc<dyn Prices> {
    Arc::new(world.clone())
}

/// Returns the clock of a world behind an endpoint.
pub(crate) fn clock(world: &WorldClient) -> Arc<dyn Clock> {
    Arc::new(world.clone())
}

/// Reads the specification of a world and its trace.
///
/// # Errors
/// When a file cannot be read or is invalid.
pub(crate) fn read_spec(path: &Path) -> anyhow::Result<(WorldSpec, Vec<TraceJob>)> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the world {}", path.display()))?;
    let spec = WorldSpec::parse(&text, &path.display().to_string())?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let jobs = spec.load_trace(folder)?;
    Ok((spec, jobs))
}

/// Reads a world file and creates the world.
///
/// # Errors
/// As for [`read_spec`], and when the world cannot be created from it.
pub(crate) fn read_world(path: &Path) -> anyhow::Result<World> {
    let (spec, jobs) = read_spec(path)?;
    Ok(World::new(spec, jobs)?)
}

/// Returns the doorbell of a world in this process that runs in real time.
pub(crate) fn in_real_time(world: &World, cron: CronDoorbell) -> Box<dyn Doorbell> {
    let began = (world.now(), SystemClock::start());
    Box::new(RealTime { world: world.clone(), cron, began })
}

/// Doorbell of a world that runs in real time.
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
