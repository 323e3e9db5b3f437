//! `trimtab demo`: runs the whole daemon, with its ledger, on a simulated cluster that replays
//! jobs of a real cluster, and compares it with other policies on the same days.

mod settings;
pub(crate) mod slurm;
mod summary;
mod view;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::sync::oneshot;
use trimtab_config::Settings;
use trimtab_core::ids::PartitionName;
use trimtab_core::policy::ClusterPolicy;
use trimtab_core::trace::TraceJob;
use trimtab_core::units::Span;
use trimtab_daemon::driver::{Driver, Intent};
use trimtab_daemon::ledger::{Durability, SqliteLedger};
use trimtab_daemon::ports::{Doorbell, Ring};
use trimtab_endpoint::Endpoint;
use trimtab_simulator::World;
use trimtab_simulator::baseline::{self, IdleTimer};
use trimtab_simulator::demand::{choose_jobs, parse_trace};
use trimtab_simulator::ports::PortOptions;
use trimtab_simulator::spec::{TraceSpec, WorldSpec};
use trimtab_simulator::truth::Truth;

use crate::output::Style;
use crate::remote::{Remote, Shared};
use summary::{Outcome, Summary};
use view::View;

const TRACE_NAME: &str = "philly_vc.jobs.csv.gz";
const TRACE: &[u8] = include_bytes!("../../../../traces/philly_vc.jobs.csv.gz");
const WORLD: &str = include_str!("../../demo/world.toml");

/// Virtual clusters of the trace and the partition that each of them runs in.
const PARTITIONS: [(&str, &str); 2] = [("6214e9", "g5"), ("11cb48", "g6")];
/// First day of the replay: a Monday of a busy week.
const FROM_DAY: u32 = 70;
/// Default idle time-out of most autoscalers.
const OTHERS_TIMER: Span = Span::mins(10);
/// Duration of the live view, for any number of days.
const SHOW: Duration = Duration::from_secs(50);

/// Number of names to try for the directory of the ledger.
const FOLDER_ATTEMPTS: u32 = 100;

/// Options of the demo.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Random seed.
    pub(crate) seed: u64,
    /// Number of days to replay.
    pub(crate) days: u32,
    /// Whether to print plain lines at full speed.
    pub(crate) plain: bool,
    /// Whether to run without HTTP and the AWS SDKs.
    pub(crate) in_process: bool,
    /// Whether to print only the summary.
    pub(crate) silent: bool,
    /// Ledger file; `None` for a file in a new temporary directory.
    pub(crate) state: Option<PathBuf>,
    pub(crate) style: Style,
}

/// Runs the demo.
pub(crate) async fn run(options: &Options) -> anyhow::Result<Summary> {
    let policy = settings::policy()?;
    let jobs = jobs(options)?;
    let spec = spec(options)?;
    let world = World::new(spec.clone(), jobs.clone())?;
    let state = state_path(options)?;
    let mut view = match options.silent {
        true => View::silent(),
        false => View::new(options, &world, &policy),
    };
    view.opening(&settings::differences()?, jobs.len(), &state, options.in_process);

    let trimtab = match options.in_process {
        true => trim(&world, &policy, Some(&state), &mut view, false).await?,
        false => trim_over_http(&world, &state, &mut view).await?,
    };
    view.closing();
    let never = baseline::never(spec.clone(), jobs.clone())?;
    let floors =
        policy.groups.iter().map(|(name, group)| (name.clone(), group.floor_at(spec.start)));
    let timer =
        IdleTimer { after: OTHERS_TIMER, every: policy.timing.tick, min_nodes: floors.collect() };
    let timer = baseline::idle_timer(spec.clone(), jobs.clone(), &timer)?;
    let uncordoned = World::new(spec, jobs.clone())?;
    let uncordoned = trim(&uncordoned, &policy, None, &mut View::silent(), true).await?;
    Ok(Summary {
        days: options.days,
        jobs: jobs.len(),
        state,
        policy,
        never: Outcome::new("never delete", never),
        timer: Outcome::new("per-node timer, 10 min", timer),
        trimtab: Outcome::new("trimtab", trimtab),
        uncordoned: Outcome::new("trimtab, cordon switched off", uncordoned),
    })
}

/// Runs the daemon as in production, through the AWS SDKs, but against an endpoint on this machine
/// that serves the world.
async fn trim_over_http(world: &World, state: &Path, view: &mut View) -> anyhow::Result<Truth> {
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let endpoint = Endpoint::bind(any_port, vec![world.clone()], Default::default()).await?;
    let settings = settings::at(&format!("http://{}", endpoint.local_addr()))?;
    let (stop, stopped) = oneshot::channel::<()>();
    let served = endpoint.serve(async move {
        let _ = stopped.await;
    });
    let driven = async {
        let ended = drive_over_http(world, &settings, state, view).await;
        // The endpoint is in this process and stops after the daemon.
        drop(stop);
        ended
    };
    let (ended, ()) = tokio::join!(driven, served);
    ended.map(|()| world.truth())
}

async fn drive_over_http(
    world: &World,
    settings: &Settings,
    state: &Path,
    view: &mut View,
) -> anyhow::Result<()> {
    let remote = Remote::connect(settings).await?;
    remote.check(true).await?;
    let cluster = settings.clusters.first().context("the demo's policy has no cluster")?;
    let ledger = SqliteLedger::open(state, world.now(), Durability::Full)?;
    let own = world.ports(PortOptions { observe_only: true, ..PortOptions::default() });
    let shared = Shared { switches: own.switches, lease: own.lease, notifier: own.notifier };
    let ports = remote.ports(settings.mode, &shared)?.pop().context("the demo has no ports")?;
    let driver = Driver::start(ports, Arc::new(ledger), cluster.policy.clone()).await?;
    let at_endpoint = remote.world().context("the endpoint has no world")?;
    let mut doorbell = at_endpoint.doorbell(cluster.policy.timing.tick);
    to_the_end(driver, &mut doorbell, world, view).await
}

/// Runs the daemon until the world ends, and returns the world's own record.
async fn trim(
    world: &World,
    policy: &ClusterPolicy,
    state: Option<&Path>,
    view: &mut View,
    cordon_disabled: bool,
) -> anyhow::Result<Truth> {
    let ledger = match state {
        Some(path) => SqliteLedger::open(path, world.now(), Durability::Full)?,
        None => SqliteLedger::in_memory(world.now())?,
    };
    let ports = world.ports(PortOptions { cordon_disabled, ..PortOptions::default() });
    let driver = Driver::start(ports, Arc::new(ledger), policy.clone()).await?;
    let mut doorbell = world.doorbell(policy.timing.tick);
    to_the_end(driver, &mut doorbell, world, view).await?;
    Ok(world.truth())
}

/// Ticks until the world ends.
async fn to_the_end(
    mut driver: Driver,
    doorbell: &mut dyn Doorbell,
    world: &World,
    view: &mut View,
) -> anyhow::Result<()> {
    let ticks = u32::try_from((world.end().since(world.now())).0 / driver.policy().timing.tick.0);
    let pace = SHOW / ticks.unwrap_or(1).max(1);
    loop {
        let ring = doorbell.next(driver.deadline()).await;
        if ring == Ring::Stop {
            break;
        }
        let began = Instant::now();
        let report = driver.tick(ring, Intent::Act).await?;
        view.ticked(world, &report);
        if view.is_live() && ring == Ring::Schedule {
            tokio::time::sleep(pace.saturating_sub(began.elapsed())).await;
        }
    }
    driver.shut_down().await?;
    Ok(())
}

fn jobs(options: &Options) -> anyhow::Result<Vec<TraceJob>> {
    let trace = parse_trace(TRACE_NAME, TRACE)?;
    let mut jobs = vec![];
    for (from, into) in PARTITIONS {
        let name = |text: &str| text.parse::<PartitionName>().context("invalid demo partition");
        let part = TraceSpec {
            path: TRACE_NAME.to_owned(),
            partitions: vec![name(from)?],
            from_day: FROM_DAY,
            days: options.days,
            scale: 1.0,
            into: Some(name(into)?),
        };
        jobs.extend(choose_jobs(&trace, &part, options.seed));
    }
    jobs.sort_by_key(|job| job.submit);
    Ok(jobs)
}

fn spec(options: &Options) -> anyhow::Result<WorldSpec> {
    let mut spec = WorldSpec::parse(WORLD, "demo/world.toml")?;
    spec.seed = options.seed;
    spec.duration = Span::hours(24).times(i64::from(options.days));
    Ok(spec)
}

/// Returns the path of the demo's ledger, which must not exist yet: deletions of an earlier run
/// would count against the budgets of this run.
fn state_path(options: &Options) -> anyhow::Result<PathBuf> {
    if let Some(path) = &options.state {
        if path.exists() {
            bail!(
                "{} already exists: the demo needs a new ledger; use another file for --state",
                path.display()
            );
        }
        return Ok(path.clone());
    }
    let temporary = std::env::temp_dir();
    for attempt in 0..FOLDER_ATTEMPTS {
        let folder = temporary.join(format!("trimtab-demo-{}-{attempt}", std::process::id()));
        match std::fs::create_dir(&folder) {
            Ok(()) => return Ok(folder.join("trimtab.db")),
            Err(why) if why.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(why) => {
                let what = format!("cannot create the demo directory {}", folder.display());
                return Err(why).context(what);
            }
        }
    }
    bail!("too many trimtab-demo directories in {}: remove them", temporary.display())
}
