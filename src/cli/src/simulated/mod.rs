//! The simulated cluster: one in this process, or one behind `trimtab simulate`.
//!
//! A program that is built without the feature `simulator` has neither. The rest of the
//! command line is the same for both builds; only this module has two forms.

#[cfg(not(feature = "simulator"))]
mod absent;
#[cfg(feature = "simulator")]
mod present;

#[cfg(not(feature = "simulator"))]
pub(crate) use absent::*;
#[cfg(feature = "simulator")]
pub(crate) use present::*;

use trimtab_config::{SchedulerSettings, Settings};

/// Something was asked for that this build does not have: exit code 64.
#[derive(Debug, thiserror::Error)]
#[error(
    "this trimtab was built without the feature `simulator`: build it with `cargo build -p trimtab`"
)]
pub(crate) struct Absent;

/// A cluster of the configuration cannot exist in this build: exit code 78.
#[derive(Debug, thiserror::Error)]
#[error("cluster {cluster} has `scheduler = {{ kind = \"simulated\" }}`: {Absent}")]
pub(crate) struct AbsentScheduler {
    cluster: String,
}

/// Whether this build has the simulator.
pub(crate) const IS_PRESENT: bool = cfg!(feature = "simulator");

/// Refuses a configuration that names a simulated scheduler in a build without one.
///
/// # Errors
/// The first cluster of that kind.
pub(crate) fn check(settings: &Settings) -> Result<(), AbsentScheduler> {
    let is_simulated = |scheduler: &SchedulerSettings| *scheduler == SchedulerSettings::Simulated;
    match settings.clusters.iter().find(|cluster| is_simulated(&cluster.scheduler)) {
        Some(cluster) if !IS_PRESENT => {
            Err(AbsentScheduler { cluster: cluster.policy.cluster.to_string() })
        }
        Some(_) | None => Ok(()),
    }
}
