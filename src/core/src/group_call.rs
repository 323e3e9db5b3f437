//! Decides when a whole-group request is over, and which nodes stay.
//!
//! A whole-group `UpdateCluster` request says how many nodes stay, and HyperPod selects which.
//! Until the request is over, any node that is still listed may be the next to be deleted, so no
//! observation of a single node proves that it stays. Only the counts of the whole group can. The
//! actions of deleted nodes end by themselves, after complete listings without the node
//! ([`crate::action`]). [`over`] returns which of the other nodes stay.
//!
//! The request is over for its remaining nodes if one snapshot, whose reads began after the
//! request was sent, shows all of this: the cluster and the group are InService without an
//! operation, `CurrentCount == TargetCount ==` the number of listed nodes, and every remaining
//! node is listed as Running. In addition, one of these must hold:
//! - The API accepted the request, the number of listed nodes is the requested count, and as many
//!   actions of the request are left. Then all others were seen gone, and the request is over at
//!   once.
//! - Otherwise (another actor changed the group, no answer came, or the request did nothing):
//!   every remaining node was Running for [`Terms::confirm_running`] in every complete listing and
//!   in a single-node read, as for any unanswered request (docs/safety.md, S17). An accepted
//!   request must also have deleted as many nodes as it should.
//!
//! [`Terms::confirm_running`]: crate::action::Terms::confirm_running

use std::collections::BTreeMap;

use crate::action::{ActionState, Answer, ReleaseReason, RequestScope};
use crate::history::{History, OpenAction};
use crate::ids::{GroupName, InstanceId, RequestId};
use crate::reads::{ClusterStatus, InstanceStatus, Role};
use crate::snapshot::{GroupView, Listing, NodeView, Snapshot};
use crate::units::{NodeCount, Time};

/// Open actions of one whole-group request.
struct Open<'a> {
    after: NodeCount,
    left: Vec<Left<'a>>,
}

/// A node that the request may still delete.
struct Left<'a> {
    action: &'a OpenAction,
    asked_at: Time,
    answer: &'a Answer,
    running_since: Option<Time>,
}

/// Returns the nodes whose whole-group request is over and that stay, with the reason for their
/// release.
pub fn over(snapshot: &Snapshot, history: &History) -> Vec<(InstanceId, ReleaseReason)> {
    let calm = snapshot
        .state
        .as_ref()
        .is_some_and(|state| state.status == ClusterStatus::InService && !state.software_update);
    if !calm || snapshot.listing != Listing::Complete {
        return vec![];
    }
    let mut calls: BTreeMap<(&GroupName, RequestId), Open<'_>> = BTreeMap::new();
    for action in history.actions.values() {
        if let ActionState::Asked {
            request,
            at,
            answer,
            absent_since: _,
            running_since,
            scope: RequestScope::Group { after },
        } = &action.state
        {
            let open = Open { after: *after, left: vec![] };
            let open = calls.entry((&action.group, *request)).or_insert(open);
            let running_since = *running_since;
            open.left.push(Left { action, asked_at: *at, answer, running_since });
        }
    }
    let mut over = vec![];
    for ((group, _), open) in &calls {
        if let Some(view) = snapshot.groups.get(*group) {
            over.extend(open.over(view, snapshot));
        }
    }
    over
}

impl Open<'_> {
    fn over(&self, view: &GroupView, snapshot: &Snapshot) -> Vec<(InstanceId, ReleaseReason)> {
        let description = &view.description;
        let listed = NodeCount::of(view.nodes.len());
        let has_settled = description.role == Role::Worker
            && description.calm
            && description.current == description.target
            && description.current == listed;
        let seen: Option<Vec<&NodeView>> = self
            .left
            .iter()
            .map(|left| {
                let node = find(view, left.action.node)?;
                // Reads that began before the request was sent prove nothing about it.
                let counts =
                    node.status == InstanceStatus::Running && snapshot.begun_at >= left.asked_at;
                counts.then_some(node)
            })
            .collect();
        let Some(seen) = seen.filter(|_| has_settled) else { return vec![] };
        let left = NodeCount::of(self.left.len());
        // When the request was sent, it covered all nodes of the group and no others. So a listed
        // node that was launched before is one that the request kept, even if its action ended
        // since (released, or its cordon was lost).
        let asked_at = self.left.iter().map(|left| left.asked_at).max();
        let of_call = |node: &&NodeView| asked_at.is_some_and(|at| node.launched <= at);
        let survivors = NodeCount::of(view.nodes.iter().filter(of_call).count());
        let took_its_number = survivors <= self.after;
        let is_as_asked = listed == self.after && left == self.after;
        let of_node = |(left, node): (&Left<'_>, &NodeView)| {
            let long = left.running_since.is_some_and(|since| {
                snapshot.taken_at.since(since) >= left.action.terms.confirm_running
            });
            let is_proven = long && node.described_running;
            let why = match left.answer {
                Answer::Accepted if is_as_asked => ReleaseReason::NotPicked,
                Answer::Accepted if took_its_number && is_proven => ReleaseReason::NotPicked,
                Answer::NoAnswer if took_its_number && is_proven => ReleaseReason::NotPicked,
                Answer::NoAnswer if is_proven => ReleaseReason::NeverLeft,
                Answer::Accepted
                | Answer::NoAnswer
                | Answer::Refused { .. }
                | Answer::Failed { .. } => return None,
            };
            Some((node.id, why))
        };
        self.left.iter().zip(seen).filter_map(of_node).collect()
    }
}

/// The nodes of a group are sorted by id.
fn find(view: &GroupView, id: InstanceId) -> Option<&NodeView> {
    let place = view.nodes.binary_search_by_key(&id, |node| node.id).ok()?;
    view.nodes.get(place)
}
