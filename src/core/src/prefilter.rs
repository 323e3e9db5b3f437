//! Finds nodes that cannot be deleted before the reads that need one API call per node.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::history::History;
use crate::ids::NodeName;
use crate::policy::{ClusterPolicy, EvidenceSource, GroupPolicy};
use crate::reads::{InstanceStatus, ListedNode, NodeCapacity, SchedulerNode, Workload};
use crate::units::Time;

/// Whether a node cannot be deleted because its purchase option was not read or differs from the
/// policy, so that its metrics need not be read. With metrics as the evidence source this is never
/// true, because the idle node count needs them.
pub fn is_kept_by_capacity(node: &ListedNode, policy: &ClusterPolicy, group: &GroupPolicy) -> bool {
    let fits = match node.capacity {
        NodeCapacity::Unread => false,
        NodeCapacity::NotShown => true,
        NodeCapacity::Shown(seen) => seen == group.capacity,
    };
    policy.evidence_source == EvidenceSource::Scheduler && !fits
}

/// Returns a test for nodes that cannot be deleted, based on data that needs no API call per node.
/// Returns `None` if the scheduler could not be read, because then no node can be deleted.
pub fn ruled_out<'a>(
    policy: &'a ClusterPolicy,
    history: &'a History,
    workload: Option<&'a Result<Workload, Arc<str>>>,
    now: Time,
) -> Option<impl Fn(&ListedNode) -> bool + use<'a>> {
    let claimed: BTreeMap<&NodeName, bool> = match (policy.evidence_source, workload) {
        (EvidenceSource::Scheduler, Some(Ok(workload))) => {
            let is_claimed = |node: &SchedulerNode| !node.claims.is_empty();
            workload.nodes.iter().map(|node| (&node.name, is_claimed(node))).collect()
        }
        (EvidenceSource::Scheduler, Some(Err(_)) | None) => return None,
        (EvidenceSource::MetricsOnly, _) => BTreeMap::new(),
    };
    Some(move |node: &ListedNode| match policy.evidence_source {
        EvidenceSource::MetricsOnly => false,
        EvidenceSource::Scheduler => {
            let known = node.scheduler_name().and_then(|name| claimed.get(name));
            known.copied().unwrap_or(true)
                || node.status != InstanceStatus::Running
                || node.protected
                || history.cooldowns.get(&node.id).is_some_and(|until| *until > now)
                || history.actions.get(&node.id).is_some_and(|action| action.state.is_asked())
        }
    })
}
