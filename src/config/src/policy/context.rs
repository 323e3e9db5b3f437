//! Context for the checks: settings of the daemon for a cluster, and of a cluster for a group.

use trimtab_core::units::Span;

use super::settings::{Mode, SchedulerSettings};
use super::utilization::Sources;
use crate::language::entry::Spot;

/// Settings of all clusters.
pub(crate) struct Daemon<'a> {
    pub(crate) mode: Mode,
    pub(crate) mode_spot: &'a Spot,
    /// `None` if the schedule was refused.
    pub(crate) tick: Option<Span>,
    pub(crate) schedule: &'a Spot,
}

/// Settings of a cluster that the checks of its groups need.
pub(crate) struct Cluster<'a> {
    pub(crate) daemon: &'a Daemon<'a>,
    /// `None` if it is missing or was refused.
    pub(crate) scheduler: Option<SchedulerSettings>,
    pub(crate) sources: &'a Sources<'a>,
    /// Whether the cluster has a gate, valid or not.
    pub(crate) has_gate: bool,
}
