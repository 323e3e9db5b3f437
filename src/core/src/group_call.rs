//! When a call for a whole group is over, and for whom.
//!
//! `UpdateCluster` says how many nodes stay, and HyperPod picks which. Between
//! the call and its end any node that is still listed may be the next to go, so
//! nothing that is seen of one node can prove that it stays: only the counts of
//! its whole group can. The victims end by themselves, by two complete listings
//! without them ([`crate::action`]); [`over`] says who of the others stays.
//!
//! A call is over for its remaining nodes when, in one snapshot whose reads
//! began after the call was sent, the cluster and the group are calm,
//! `CurrentCount == TargetCount ==` listed, and every remaining node is listed
//! as Running, so that none of them can be on its way out; and then
//! - the API said yes, listed is the count that was asked for, and exactly so
//!   many actions of the call are left, so that all others were seen gone
//!   (absent from complete listings at least a minute apart): at once;
//! - else, because somebody else changed the group meanwhile, no answer came or
//!   the call did nothing: after [`Terms::confirm_running`] of Running in every
//!   complete listing and a single-node read, the same as S17 asks for any
//!   unanswered node. A call that the API said yes to must besides have taken
//!   as many as it was to take.
//!
//! [`Terms::confirm_running`]: crate::action::Terms::confirm_running

use std::collections::BTreeMap;

use crate::action::{ActionState, Answer, ReleaseReason, RequestScope};
use crate::history::{History, OpenAction};
use crate::ids::{GroupName, InstanceId, RequestId};
use crate::snapshot::{
    ClusterStatus, GroupView, InstanceStatus, Listing, NodeView, Role, Snapshot,
};
use crate::units::{NodeCount, Time};

/// What is left of one call.
struct Open<'a> {
    after: NodeCount,
    left: Vec<Left<'a>>,
}

/// A node of a call that may still be picked.
struct Left<'a> {
    action: &'a OpenAction,
    asked_at: Time,
    answer: &'a Answer,
    running_since: Option<Time>,
}

/// Nodes whose group call is over without them, and why they go back.
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
                // Reads that began before the call was sent say nothing about it.
                let counts =
                    node.status == InstanceStatus::Running && snapshot.begun_at >= left.asked_at;
                counts.then_some(node)
            })
            .collect();
        let Some(seen) = seen.filter(|_| has_settled) else { return vec![] };
        let left = NodeCount::of(self.left.len());
        // When it was sent, all of its nodes and no others were in the group. So
        // one that is listed and was launched before is one that it left, though
        // its action may have ended since: released, or its cordon lost.
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

/// A group's nodes are in the order of their ids.
fn find(view: &GroupView, id: InstanceId) -> Option<&NodeView> {
    let place = view.nodes.binary_search_by_key(&id, |node| node.id).ok()?;
    view.nodes.get(place)
}
