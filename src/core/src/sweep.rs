//! Sweep: cordons of ours that no open action accounts for, which are taken off.

use crate::cordon::{CordonOrder, CordonStatus, SeenCordon};
use crate::history::History;
use crate::ids::NodeName;
use crate::reads::InstanceStatus;
use crate::snapshot::{Listing, Snapshot, WorkloadSource};

/// Cordons of ours that no open action accounts for, and those that sit on an instance they
/// were not meant for. None where anything could not be read.
pub fn stray_cordons(snapshot: &Snapshot, history: &History) -> Vec<CordonOrder> {
    if snapshot.listing != Listing::Complete
        || snapshot.workload != WorkloadSource::Complete
        || snapshot.state.is_none()
    {
        return vec![];
    }
    let stray = |seen: &SeenCordon| {
        let CordonStatus::Ours { actions } = seen.cordon else { return None };
        // A name without an instance is a deleted node's: HyperPod prunes it, and nothing
        // can run there. One that was gone a while ago and shows again may be on its way out.
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

/// Whether what the scheduler has under this name may be a node that is being terminated.
/// Its replacement can be listed under the same name before it is there: who undrains the
/// name then gives jobs to the node that dies.
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
        // The old one is not listed, or shuts down; the new one has its name.
        let new = InstanceId::from_number(2);
        let ours = CordonStatus::Ours { actions: old.id.into() };
        seen.cordons = vec![SeenCordon { name: name.clone(), instance: Some(new), cordon: ours }];
        for view in seen.groups.values_mut() {
            view.nodes[0].id = new;
        }
        let mut history = History::default();
        let order = CordonOrder { name, action: old.id };
        assert_eq!(stray_cordons(&seen, &history), [order], "nothing accounts for it");
        history.actions.insert(old.node, old.clone());
        assert_eq!(stray_cordons(&seen, &history), [], "its deletion was asked for");
        history.actions.clear();
        for view in seen.groups.values_mut() {
            let mut dying = view.nodes[0].clone();
            (dying.id, dying.status) = (old.node, InstanceStatus::ShuttingDown);
            view.nodes.push(dying);
        }
        assert_eq!(stray_cordons(&seen, &history), [], "somebody else terminates it");
        for view in seen.groups.values_mut() {
            view.nodes.pop();
            view.nodes[0].status = InstanceStatus::Pending;
        }
        assert_eq!(stray_cordons(&seen, &history), [], "its replacement is not there yet");
    }
}
