//! Nodes that waiting jobs will take: q now, V soon.
//!
//! A job counts if it could run in the group at its largest known or declared size, not at its
//! current size. Otherwise our own deletions could make a waiting job impossible. A job that is
//! held, or that could never run here, does not count.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::packing::{self, Need};
use crate::policy::GroupPolicy;
use crate::reads::{Eligible, PendingJob};
use crate::snapshot::GroupView;
use crate::units::{MilliGpus, NodeCount, Span, Time};

/// The queue as one group sees it.
#[derive(Debug, Clone, Copy)]
pub struct Queue<'a> {
    /// Waiting jobs.
    pub pending: &'a [PendingJob],
    /// Features and GRES of the group's nodes; `None` if unknown. Then every job counts as
    /// fitting.
    pub offers: Option<&'a BTreeSet<Arc<str>>>,
}

impl<'a> Queue<'a> {
    /// Returns the queue of a group, or `None` if it was not read.
    pub fn of(view: &'a GroupView) -> Option<Self> {
        Some(Self { pending: view.pending.as_deref()?, offers: view.offers.as_ref() })
    }
}

/// Returns the nodes that fitting jobs would take now (q), packed on empty nodes. Free parts of
/// busy nodes are not counted on.
pub fn queued(queue: Queue<'_>, policy: &GroupPolicy, largest: NodeCount, now: Time) -> NodeCount {
    nodes_by(queue, policy, largest, now)
}

/// Returns the nodes for jobs that become eligible within (now, now + W] and are not in q (V).
pub fn upcoming(
    queue: Queue<'_>,
    policy: &GroupPolicy,
    largest: NodeCount,
    now: Time,
    lookahead: Span,
) -> NodeCount {
    let by_then = nodes_by(queue, policy, largest, now + lookahead);
    by_then.saturating_sub(queued(queue, policy, largest, now))
}

/// Returns the waiting jobs that are eligible at the time `by` and could run in this group.
pub fn holding<'a>(
    queue: Queue<'a>,
    policy: &'a GroupPolicy,
    largest: NodeCount,
    by: Time,
) -> impl Iterator<Item = &'a PendingJob> {
    let size = largest.max(policy.size);
    let waiting = queue.pending.iter().filter(move |job| match job.eligible {
        Eligible::Now => true,
        Eligible::At(at) => at <= by,
        Eligible::Held => false,
    });
    waiting.filter(move |job| fits(job, queue, policy, size))
}

/// Returns the number of empty nodes that one job takes alone.
pub fn nodes_of(job: &PendingJob, policy: &GroupPolicy) -> NodeCount {
    packing::nodes_for([need(job)], policy.gpus_per_node)
}

fn nodes_by(queue: Queue<'_>, policy: &GroupPolicy, largest: NodeCount, by: Time) -> NodeCount {
    let fitting = holding(queue, policy, largest, by);
    packing::nodes_for(fitting.map(need), policy.gpus_per_node).min(largest.max(policy.size))
}

fn need(job: &PendingJob) -> Need {
    Need { nodes: job.nodes, gpus: job.gpus }
}

/// Whether a job could run in this group at its full size.
fn fits(job: &PendingJob, queue: Queue<'_>, policy: &GroupPolicy, size: NodeCount) -> bool {
    let here = policy.partitions.is_empty()
        || job.partitions.iter().any(|p| policy.partitions.contains(p));
    let has_gpus = job.gpus == MilliGpus(0) || policy.gpus_per_node > MilliGpus(0);
    let nodes = packing::nodes_for([need(job)], policy.gpus_per_node);
    let has_all =
        queue.offers.is_none_or(|offers| job.requires.iter().all(|one| offers.contains(one)));
    here && has_gpus && has_all && nodes <= size
}
