//! What waiting jobs will take: q now, V soon.
//!
//! A job is judged against the group at its largest known or declared size,
//! not at what we left of it: our own deletions must not turn a waiting job
//! into an impossible one. A job that is held or could never run holds nothing.

use crate::packing::{self, Need};
use crate::policy::GroupPolicy;
use crate::snapshot::{Eligible, PendingJob};
use crate::units::{MilliGpus, NodeCount, Span, Time};

/// Nodes that fitting pending jobs would take now, packed (q). Packed on empty
/// nodes: that some would fit beside running jobs is not counted on.
pub fn queued(
    pending: &[PendingJob],
    policy: &GroupPolicy,
    largest: NodeCount,
    now: Time,
) -> NodeCount {
    nodes_by(pending, policy, largest, now)
}

/// Nodes for jobs that become eligible within (now, now + W] and are not
/// already in q (V).
pub fn upcoming(
    pending: &[PendingJob],
    policy: &GroupPolicy,
    largest: NodeCount,
    now: Time,
    lookahead: Span,
) -> NodeCount {
    let by_then = nodes_by(pending, policy, largest, now + lookahead);
    by_then.less(queued(pending, policy, largest, now))
}

fn nodes_by(
    pending: &[PendingJob],
    policy: &GroupPolicy,
    largest: NodeCount,
    by: Time,
) -> NodeCount {
    let size = largest.max(policy.size);
    let waiting = pending.iter().filter(|job| match job.eligible {
        Eligible::Now => true,
        Eligible::At(at) => at <= by,
        Eligible::Held => false,
    });
    let fitting = waiting.filter(|job| fits(job, policy, size));
    packing::nodes_for(fitting.map(need), policy.gpus_per_node).min(size)
}

fn need(job: &PendingJob) -> Need {
    Need { nodes: job.nodes, gpus: job.gpus }
}

/// Whether a job could ever run in this group at its full size.
fn fits(job: &PendingJob, policy: &GroupPolicy, size: NodeCount) -> bool {
    let here = policy.partitions.is_empty()
        || job.partitions.iter().any(|p| policy.partitions.contains(p));
    let has_gpus = job.gpus == MilliGpus(0) || policy.gpus_per_node > MilliGpus(0);
    let nodes = packing::nodes_for([need(job)], policy.gpus_per_node);
    here && has_gpus && nodes <= size
}
