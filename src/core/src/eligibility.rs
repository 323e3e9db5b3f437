//! Checks that decide which nodes may be chosen. Each check returns the reason why a node stays.
//! The order of the checks is the order in which an operator would ask.

use crate::census::{activity_objection, classify};
use crate::cordon::CordonStatus;
use crate::history::History;
use crate::ids::GroupName;
use crate::plan::{Doubt, KeepReason};
use crate::policy::{ClusterPolicy, EvidenceSource, GroupPolicy, Regain};
use crate::reads::{ClusterStatus, NodeCapacity, Provisioning, Reading, Role};
use crate::rule::{Class, Member};
use crate::snapshot::{GroupView, Listing, NodeView, Snapshot, WorkloadSource};
use crate::units::Time;

/// Returns why no node of the cluster may be chosen, if there is a reason.
pub fn cluster_objection(
    snapshot: &Snapshot,
    policy: &ClusterPolicy,
    history: &History,
    now: Time,
) -> Option<KeepReason> {
    if let Some(stop) = &history.stop {
        return Some(KeepReason::Stopped(stop.clone()));
    }
    if let Some(freeze) = &history.freeze {
        return Some(KeepReason::Frozen(freeze.clone()));
    }
    if let Some(backoff) = history.backed_off(now) {
        return Some(KeepReason::BackedOff(backoff.clone()));
    }
    let Some(state) = &snapshot.state else { return Some(KeepReason::ClusterUnread) };
    if let Listing::Lost(fault) = &snapshot.listing {
        return Some(KeepReason::ListingLost(fault.clone()));
    }
    match (&snapshot.workload, policy.evidence_source) {
        (WorkloadSource::Complete, _)
        | (WorkloadSource::NotConfigured, EvidenceSource::MetricsOnly) => {}
        (source, _) => return Some(KeepReason::WorkloadUnread(source.clone())),
    }
    // A classic cluster is `Updating` while our own request runs. Nothing new is marked then,
    // either.
    if state.status != ClusterStatus::InService {
        return Some(KeepReason::ClusterNotReady(state.status.clone()));
    }
    if state.software_update {
        return Some(KeepReason::SoftwareUpdate);
    }
    if state.rival_autoscaler {
        return Some(KeepReason::RivalAutoscaler);
    }
    if state.provisioning == Provisioning::Classic
        && policy.evidence_source == EvidenceSource::Scheduler
        && recovery_under_way(snapshot, history)
    {
        return Some(KeepReason::RecoveryUnderWay);
    }
    None
}

/// Whether a node is, or may be, in HyperPod recovery. A node that the scheduler listed before and
/// does not list now may be in recovery.
fn recovery_under_way(snapshot: &Snapshot, history: &History) -> bool {
    snapshot.groups.iter().any(|(name, view)| {
        let members = history.groups.get(name).map(|state| &state.members);
        view.nodes.iter().any(|node| match &node.scheduler {
            Reading::Fresh { value, .. } => value.cordon == CordonStatus::Recovery,
            Reading::Stale { .. } | Reading::Partial => true,
            Reading::Absent => members.and_then(|m| m.get(&node.id)).is_some_and(|m| m.joined),
        })
    })
}

/// Returns why no node of one group may be chosen, if there is a reason.
pub fn group_objection(
    view: &GroupView,
    policy: &GroupPolicy,
    refuses_large_jobs: bool,
) -> Option<KeepReason> {
    let description = &view.description;
    match description.role {
        Role::Worker => {}
        role @ (Role::Controller | Role::Login) => return Some(KeepReason::ControlRole(role)),
    }
    if let Some(freeze) = &view.freeze {
        return Some(KeepReason::GroupFrozen(freeze.clone()));
    }
    if !description.calm {
        return Some(KeepReason::GroupNotCalm);
    }
    if let Some(seen) = description.capacity
        && seen != policy.capacity
    {
        return Some(KeepReason::CapacityContradicts { declared: policy.capacity, seen });
    }
    if !policy.capacity.is_metered() {
        return Some(KeepReason::PaidAnyway(policy.capacity));
    }
    if policy.price.is_none() {
        return Some(KeepReason::PriceUnknown);
    }
    if policy.boot.is_none() {
        return Some(KeepReason::BootUnknown);
    }
    if policy.regain == (Regain::Scarce { accepted_risk: None }) {
        return Some(KeepReason::ScarceCapacity);
    }
    if policy.node_local_data.is_none() {
        return Some(KeepReason::NodeLocalDataUndeclared);
    }
    if refuses_large_jobs && policy.max_job_nodes.is_none() {
        return Some(KeepReason::LargestJobUndeclared);
    }
    None
}

/// Returns the start of the node's idle time if the node may be chosen.
///
/// # Errors
/// Returns the reason of the first check that rejects the node.
pub fn node_objection(
    node: &NodeView,
    group: &GroupName,
    policy: &ClusterPolicy,
    group_policy: &GroupPolicy,
    history: &History,
    now: Time,
) -> Result<Time, KeepReason> {
    let member: Option<&Member> = history.groups.get(group).and_then(|s| s.members.get(&node.id));
    // A node that was confirmed gone and is listed again may still be terminating.
    let gone = history.gone.iter().any(|gone| gone.node == node.id);
    let classified = classify(node, gone, member, policy.evidence_source, group_policy);
    if classified.class != Class::Idle {
        return Err(classified.why.unwrap_or(KeepReason::Unknown(Doubt::SchedulerPartial)));
    }
    if node.protected || group_policy.protected.contains(&node.id) {
        return Err(KeepReason::Protected);
    }
    if let Some(until) = history.cooldowns.get(&node.id).filter(|until| **until > now) {
        return Err(KeepReason::CoolingDown { until: *until });
    }
    let old_enough = node.launched + group_policy.min_age;
    if old_enough > now {
        return Err(KeepReason::TooYoung { until: old_enough });
    }
    let Some(idle_since) = member.and_then(|m| m.idle_since) else {
        return Err(KeepReason::RecentlyBusy { until: now + group_policy.post_job_grace });
    };
    let grace_over = idle_since + group_policy.post_job_grace;
    if grace_over > now {
        return Err(KeepReason::RecentlyBusy { until: grace_over });
    }
    // This check comes before the metrics, which are not requested for a node that cannot be
    // deleted.
    match node.capacity {
        NodeCapacity::Unread => return Err(KeepReason::Unknown(Doubt::DetailsUnread)),
        NodeCapacity::Shown(seen) if seen != group_policy.capacity => {
            let declared = group_policy.capacity;
            return Err(KeepReason::CapacityContradicts { declared, seen });
        }
        NodeCapacity::Shown(_) | NodeCapacity::NotShown => {}
    }
    if let Some(rule) = &group_policy.utilization {
        let objection = match &node.activity {
            Reading::Absent => Some(KeepReason::Unknown(Doubt::MetricsAbsent)),
            Reading::Stale { .. } => Some(KeepReason::Unknown(Doubt::MetricsStale)),
            Reading::Partial => Some(KeepReason::Unknown(Doubt::MetricsPartial)),
            Reading::Fresh { value, .. } => activity_objection(value, rule),
        };
        if let Some(why) = objection {
            return Err(why);
        }
    }
    Ok(idle_since)
}
