//! Derives from one snapshot what the node of an open action looks like now.

use crate::action::{Look, NodeSeen, OwnCordon, Work};
use crate::census::activity_objection;
use crate::cordon::CordonStatus;
use crate::history::OpenAction;
use crate::ids::NodeName;
use crate::plan::KeepReason;
use crate::policy::{ClusterPolicy, EvidenceSource, GroupPolicy};
use crate::reads::{Condition, Reading};
use crate::snapshot::{Listing, NodeView, SchedulerStatus, Snapshot, WorkloadSource};

/// Returns what the snapshot shows of the node of this action.
pub fn look(action: &OpenAction, snapshot: &Snapshot, policy: &ClusterPolicy) -> Look {
    Look { begun_at: snapshot.begun_at, seen_node: seen_node(action, snapshot, policy) }
}

fn seen_node(action: &OpenAction, snapshot: &Snapshot, policy: &ClusterPolicy) -> NodeSeen {
    if snapshot.state.is_none() || snapshot.listing != Listing::Complete {
        return NodeSeen::Unread;
    }
    let mut nodes = snapshot.groups.values().flat_map(|group| &group.nodes);
    let Some(node) = nodes.find(|node| node.id == action.node) else {
        return absent(action, snapshot);
    };
    // The name can be compared only if the scheduler was read and exactly one of its nodes
    // matches. Otherwise an equal id and launch time are enough.
    let is_same = node.launched == action.identity.launched
        && (!is_name_told(node, action, snapshot) || node.name == action.identity.name);
    if !is_same && !action.state.is_asked() {
        return NodeSeen::Replaced;
    }
    NodeSeen::Present {
        status: node.status.clone(),
        cordon: cordon(action, node, snapshot),
        work: work(node, policy, policy.groups.get(&action.group)),
        described_running: node.described_running,
    }
}

fn absent(action: &OpenAction, snapshot: &Snapshot) -> NodeSeen {
    let Some(name) = &action.identity.name else {
        return NodeSeen::Absent { cordon: OwnCordon::Unread };
    };
    let mut nodes = snapshot.groups.values().flat_map(|group| &group.nodes);
    if nodes.any(|node| node.name.as_ref() == Some(name)) {
        return NodeSeen::Replaced;
    }
    NodeSeen::Absent { cordon: cordon_by_name(action, name, snapshot) }
}

/// Whether it is certain which scheduler node the instance of an action is. It is uncertain if no
/// scheduler node matches and no other instance has the name under which it was cordoned.
fn is_name_told(node: &NodeView, action: &OpenAction, snapshot: &Snapshot) -> bool {
    if snapshot.workload != WorkloadSource::Complete || node.join_doubt.is_some() {
        return false;
    }
    let mut nodes = snapshot.groups.values().flat_map(|group| &group.nodes);
    let is_joined = !matches!(node.scheduler, Reading::Absent);
    is_joined || nodes.any(|other| other.id != node.id && other.name == action.identity.name)
}

/// The cordon that the scheduler shows on the node of this name, whichever instance has the name.
fn cordon_by_name(action: &OpenAction, name: &NodeName, snapshot: &Snapshot) -> OwnCordon {
    let seen = snapshot.cordons.iter().find(|cordon| cordon.name == *name);
    match (&snapshot.workload, seen) {
        (WorkloadSource::Complete, Some(seen)) if seen.cordon.is_for(action.id) => OwnCordon::Ours,
        (WorkloadSource::Complete, Some(_)) => OwnCordon::NotOurs,
        (WorkloadSource::Complete, None) => OwnCordon::Clear,
        (WorkloadSource::NotConfigured, _) => OwnCordon::Clear,
        (WorkloadSource::Failed { .. } | WorkloadSource::Empty, _) => OwnCordon::Unread,
    }
}

fn cordon(action: &OpenAction, node: &NodeView, snapshot: &Snapshot) -> OwnCordon {
    // The node was cordoned by its name, so the name finds the cordon again. After the delete
    // request, HyperPod may have removed the node from the scheduler, so a missing cordon proves
    // nothing.
    if let Some(name) = &action.identity.name
        && (node.join_doubt.is_some() || node.name.as_ref() != Some(name))
    {
        let found = cordon_by_name(action, name, snapshot);
        let is_pruned = found == OwnCordon::Clear && action.state.is_asked();
        return if is_pruned { OwnCordon::Unread } else { found };
    }
    let seen_node = match (&node.scheduler, &snapshot.workload) {
        (Reading::Fresh { value, .. }, _) => value,
        // After the delete request, HyperPod may remove the node from the scheduler before it
        // leaves the listing. That does not mean that our cordon was removed.
        (Reading::Absent, WorkloadSource::Complete) if action.state.is_asked() => {
            return OwnCordon::Unread;
        }
        // A scheduler that does not know the node has no cordon on it. If the node comes back with
        // our cordon, the sweep removes it.
        (Reading::Absent, WorkloadSource::Complete | WorkloadSource::NotConfigured) => {
            return OwnCordon::Clear;
        }
        (Reading::Absent | Reading::Stale { .. } | Reading::Partial, _) => {
            return OwnCordon::Unread;
        }
    };
    match &seen_node.cordon {
        CordonStatus::Clear => OwnCordon::Clear,
        CordonStatus::Ours { actions } if actions.contains(action.id) => OwnCordon::Ours,
        CordonStatus::Ours { .. }
        | CordonStatus::Foreign { .. }
        | CordonStatus::Recovery
        | CordonStatus::Operator { .. } => OwnCordon::NotOurs,
    }
}

/// Combines the evidence sources: every source must show that the node has no work, and a single
/// source is enough to show that it has.
fn work(node: &NodeView, policy: &ClusterPolicy, group: Option<&GroupPolicy>) -> Work {
    let by_scheduler = match policy.evidence_source {
        EvidenceSource::MetricsOnly => Work::None,
        EvidenceSource::Scheduler => node.scheduler.fresh().map_or(Work::Unread, claimed),
    };
    let by_metrics = match (group.and_then(|g| g.utilization), &node.activity) {
        (None, _) if policy.evidence_source == EvidenceSource::Scheduler => Work::None,
        (Some(rule), Reading::Fresh { value, .. }) => match activity_objection(value, &rule) {
            None => Work::None,
            Some(KeepReason::Active(_)) => Work::Active,
            Some(_) => Work::Unread,
        },
        (_, Reading::Fresh { .. } | Reading::Absent | Reading::Stale { .. } | Reading::Partial) => {
            Work::Unread
        }
    };
    match (by_scheduler, by_metrics) {
        (claimed @ Work::Claimed(_), _) | (_, claimed @ Work::Claimed(_)) => claimed,
        (Work::Active, _) | (_, Work::Active) => Work::Active,
        (Work::Unread, _) | (_, Work::Unread) => Work::Unread,
        (Work::None, Work::None) => Work::None,
    }
}

fn claimed(seen_node: &SchedulerStatus) -> Work {
    match (seen_node.claims.first(), seen_node.condition) {
        (Some(claim), _) => Work::Claimed(claim.clone()),
        (None, Condition::Up) => Work::None,
        (None, Condition::Down | Condition::Joining) => Work::Unread,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::{ActionState, Answer, RequestScope};
    use crate::cordon::SeenCordon;
    use crate::fixture::{AT, action, snapshot};
    use crate::ids::{InstanceId, RequestId};
    use crate::snapshot::NameDoubt;

    fn cordon_of(state: ActionState) -> OwnCordon {
        let action = action(state);
        cordon_in(&action, &snapshot(&action, Reading::Absent))
    }

    fn cordon_in(action: &OpenAction, snapshot: &Snapshot) -> OwnCordon {
        let node = &snapshot.groups[&action.group].nodes[0];
        cordon(action, node, snapshot)
    }

    #[test]
    fn a_node_that_is_asked_for_and_gone_from_the_scheduler_has_not_lost_its_cordon() {
        let asked = ActionState::Asked {
            request: RequestId(1),
            answer: Answer::Accepted,
            at: AT,
            scope: RequestScope::Named,
            running_since: None,
            absent_since: None,
        };
        assert_eq!(cordon_of(asked.clone()), OwnCordon::Unread);
        // The same holds for a node that was matched by something other than its DNS name.
        let action = action(asked);
        let mut seen = snapshot(&action, Reading::Absent);
        for view in seen.groups.values_mut() {
            view.nodes[0].name = Some("dns-name".parse().expect("a name"));
        }
        assert_eq!(cordon_in(&action, &seen), OwnCordon::Unread);
        assert_eq!(cordon_of(ActionState::Settling { until: AT }), OwnCordon::Clear);
    }

    #[test]
    fn what_nothing_points_to_any_more_is_still_the_node_that_was_cordoned() {
        let action = action(ActionState::Settling { until: AT });
        let mut seen = snapshot(&action, Reading::Absent);
        for view in seen.groups.values_mut() {
            view.nodes[0].name = Some("dns-name".parse().expect("a name"));
        }
        let name = action.identity.name.clone().expect("it has one");
        let ours = CordonStatus::Ours { actions: action.id.into() };
        seen.cordons = vec![SeenCordon { name: name.clone(), instance: None, cordon: ours }];
        assert_eq!(cordon_in(&action, &seen), OwnCordon::Ours);
        let node = seen.groups[&action.group].nodes[0].clone();
        assert!(!is_name_told(&node, &action, &seen));
        // With another instance of that name, the answer changes.
        for view in seen.groups.values_mut() {
            let other = NodeView {
                id: InstanceId::from_number(2),
                name: Some(name.clone()),
                ..view.nodes[0].clone()
            };
            view.nodes.push(other);
        }
        assert!(is_name_told(&node, &action, &seen));
    }

    #[test]
    fn a_cordon_is_found_by_name_while_it_cannot_be_told_which_node_an_instance_is() {
        let action = action(ActionState::Settling { until: AT });
        let mut snapshot = snapshot(&action, Reading::Partial);
        assert_eq!(cordon_in(&action, &snapshot), OwnCordon::Unread);
        let name = action.identity.name.clone().expect("it has one");
        let doubt = NameDoubt::Shared { name: name.clone() };
        for view in snapshot.groups.values_mut() {
            view.nodes[0].join_doubt = Some(doubt.clone());
        }
        assert_eq!(cordon_in(&action, &snapshot), OwnCordon::Clear);
        let ours = CordonStatus::Ours { actions: action.id.into() };
        snapshot.cordons = vec![SeenCordon { name, instance: None, cordon: ours }];
        assert_eq!(cordon_in(&action, &snapshot), OwnCordon::Ours);
    }
}
