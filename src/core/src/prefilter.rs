//! Nodes that cannot go, known before any read that takes a call for each node.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::history::History;
use crate::ids::NodeName;
use crate::policy::{ClusterPolicy, EvidenceSource, GroupPolicy};
use crate::reads::{InstanceStatus, ListedNode, NodeCapacity, SchedulerNode, Workload};
use crate::units::Time;

/// A node that cannot go whatever its metrics say. Where the count itself rests
/// on the metrics, they are wanted all the same.
pub fn is_kept_by_capacity(node: &ListedNode, policy: &ClusterPolicy, group: &GroupPolicy) -> bool {
    let fits = match node.capacity {
        NodeCapacity::Unread => false,
        NodeCapacity::NotShown => true,
        NodeCapacity::Shown(seen) => seen == group.capacity,
    };
    policy.evidence_source == EvidenceSource::Scheduler && !fits
}

/// Which nodes cannot go, by what is known without a call for each of them;
/// `None` while the scheduler could not be read: then none can.
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
