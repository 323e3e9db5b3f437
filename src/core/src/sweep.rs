//! Sweep: finds trimtab's own cordons that belong to no open action, so that they can be removed.

use crate::cordon::{CordonOrder, CordonStatus, SeenCordon};
use crate::history::History;
use crate::ids::NodeName;
use crate::reads::InstanceStatus;
use crate::snapshot::{Listing, Snapshot, WorkloadSource};

/// Returns our cordons that belong to no open action, and those that are on the wrong instance.
/// Returns none if the cluster, the listing or the scheduler could not be read completely.
pub fn stray_cordons(snapshot: &Snapshot, history: &History) -> Vec<CordonOrder> {
    if snapshot.listing != Listing::Complete
        || snapshot.workload != WorkloadSource::Complete
        || snapshot.state.is_none()
    {
        return vec![];
    }
    let stray = |seen: &SeenCordon| {
        let CordonStatus::Ours { actions } = seen.cordon else { return None };
        // A name without an instance belongs to a deleted node. HyperPod removes the name, and no
        // job can run there. A deleted node that is listed again may still be shutting down.
        let instance = seen.instance?;
        let was_gone = history.gone.iter().any(|gone| gone.node == instance);
        let open = history.actions.get(&instance);
        let is_accounted_for = open.is_some_and(|open| actions.contains(open.id));
        let is_stray =
            !was_gone && !is_accounted_for && !may_be_dying(&seen.name, snapshot, history);
        is_stray.then(|| CordonOrder { name: seen.name.clone(), action: actions.first() })
    };
    snapshot.cordons.iter().filter_map(stray).collect()
}

/// Whether the scheduler node of this name may be an instance that is being terminated. Its
/// replacement can be listed under the same name before it runs. Removing the cordon at that time
/// would start jobs on the instance that is being terminated.
fn may_be_dying(name: &NodeName, snapshot: &Snapshot, history: &History) -> bool {
    let mut asked = history.actions.values().filter(|action| action.state.is_asked());
    let mut nodes = snapshot.groups.values().flat_map(|group| &group.nodes);
    asked.any(|action| action.identity.name.as_ref() == Some(name))
        || nodes
            .any(|node| node.name.as_ref() == Some(name) && node.status != InstanceStatus::Running)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::{ActionState, Answer, RequestScope};
    use crate::fixture::{AT, action, snapshot};
    use crate::ids::{InstanceId, RequestId};
    use crate::reads::Reading;

    #[test]
    fn a_name_that_a_dying_node_still_has_is_not_undrained_for_its_replacement() {
        let asked = |running| ActionState::Asked {
            request: RequestId(1),
            answer: Answer::Accepted,
            at: AT,
            scope: RequestScope::Named,
            running_since: running,
            absent_since: None,
        };
        let old = action(asked(None));
        let mut seen = snapshot(&old, Reading::Absent);
        let name = old.identity.name.clone().expect("it has one");
        // The old instance is not listed or is shutting down. The new one has its name.
        let new = InstanceId::from_number(2);
        let ours = CordonStatus::Ours { actions: old.id.into() };
        seen.cordons = vec![SeenCordon { name: name.clone(), instance: Some(new), cordon: ours }];
        for view in seen.groups.values_mut() {
            view.nodes[0].id = new;
        }
        let mut history = History::default();
        let order = CordonOrder { name, action: old.id };
        assert_eq!(stray_cordons(&seen, &history), [order], "no action has this cordon");
        history.actions.insert(old.node, old.clone());
        assert_eq!(stray_cordons(&seen, &history), [], "its deletion was requested");
        history.actions.clear();
        for view in seen.groups.values_mut() {
            let mut dying = view.nodes[0].clone();
            (dying.id, dying.status) = (old.node, InstanceStatus::ShuttingDown);
            view.nodes.push(dying);
        }
        assert_eq!(stray_cordons(&seen, &history), [], "an operator terminates it");
        for view in seen.groups.values_mut() {
            view.nodes.pop();
            view.nodes[0].status = InstanceStatus::Pending;
        }
        assert_eq!(stray_cordons(&seen, &history), [], "its replacement does not run yet");
    }
}
