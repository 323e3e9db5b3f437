//! Simulated clusters: in this process, or behind `trimtab simulate`.
//!
//! A build without the feature `simulator` has neither. Only this module differs between the two
//! builds.

#[cfg(not(feature = "simulator"))]
mod absent;
#[cfg(feature = "simulator")]
mod present;

#[cfg(not(feature = "simulator"))]
pub(crate) use absent::*;
#[cfg(feature = "simulator")]
pub(crate) use present::*;

use trimtab_config::{SchedulerSettings, Settings};

/// The command needs the simulator, which this build lacks: exit code 64.
#[derive(Debug, thiserror::Error)]
#[error(
    "this trimtab was built without the feature `simulator`: build it with `cargo build -p trimtab`"
)]
pub(crate) struct Absent;

/// A cluster has a simulated scheduler, which this build lacks: exit code 78.
#[derive(Debug, thiserror::Error)]
#[error("cluster {cluster} has `scheduler = {{ kind = \"simulated\" }}`: {Absent}")]
pub(crate) struct AbsentScheduler {
    cluster: String,
}

/// Whether this build has the simulator.
pub(crate) const IS_PRESENT: bool = cfg!(feature = "simulator");

/// Rejects a simulated scheduler in a build without the simulator.
///
/// # Errors
/// Names the first cluster with a simulated scheduler.
pub(crate) fn check(settings: &Settings) -> Result<(), AbsentScheduler> {
    let is_simulated = |scheduler: &SchedulerSettings| *scheduler == SchedulerSettings::Simulated;
    match settings.clusters.iter().find(|cluster| is_simulated(&cluster.scheduler)) {
        Some(cluster) if !IS_PRESENT => {
            Err(AbsentScheduler { cluster: cluster.policy.cluster.to_string() })
        }
        Some(_) | None => Ok(()),
    }
}
