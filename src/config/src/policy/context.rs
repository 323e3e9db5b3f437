//! What a cluster has to know of the daemon, and a group of its cluster.

use trimtab_core::units::Span;

use super::settings::{Mode, SchedulerSettings};
use super::utilization::Sources;
use crate::language::entry::Spot;

/// What holds for all clusters.
pub(crate) struct Daemon<'a> {
    pub(crate) mode: Mode,
    pub(crate) mode_spot: &'a Spot,
    /// None where the schedule was refused.
    pub(crate) tick: Option<Span>,
    pub(crate) schedule: &'a Spot,
}

/// What a group has to know of its cluster.
pub(crate) struct Cluster<'a> {
    pub(crate) daemon: &'a Daemon<'a>,
    /// None where it is missing or was refused.
    pub(crate) scheduler: Option<SchedulerSettings>,
    /// Where its metrics come from.
    pub(crate) sources: &'a Sources<'a>,
    /// Whether it was given a gate.
    pub(crate) has_gate: bool,
}
