//! Clears a whole-group request (S8b).
//!
//! `UpdateCluster` selects the nodes to delete at random, so it is safe only if every node of the
//! group may be deleted: each listed node must pass the checks of a request by ids, and the group
//! must have no other nodes. The counts prove the latter, in the reads of this tick and again in a
//! DescribeCluster that began after the last look. A node that was added in between is not
//! cordoned, and the API could select it.
//!
//! One race remains: if an operator adds a node between that DescribeCluster and the request, the
//! API may delete that node. trimtab cannot prevent this, because the request has a count and no
//! node ids.

use std::collections::BTreeMap;

use super::Rule;
use super::clearance::{ClearedBatch, Offer, clearance, ready_group, room_in_budgets};
use super::facts::{allows_group_call, settled_until};
use crate::history::OpenAction;
use crate::ids::{ClusterName, GroupName, InstanceId, RequestId};
use crate::policy::{GroupCalls, REQUEST_NODE_LIMIT};
use crate::reads::{ClusterDescription, ClusterStatus, Role};
use crate::units::{NodeCount, Time};

/// A whole-group request that may be sent: one group of one cluster, and a time after which it must
/// not be sent. Every node of the group is cordoned (or was looked at twice) and idle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClearedGroup {
    cluster: ClusterName,
    group: GroupName,
    nodes: Vec<InstanceId>,
    count_after: NodeCount,
    look_begun_at: Time,
    expires_at: Time,
}

impl ClearedGroup {
    /// Returns the cluster of the group.
    pub fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    /// Returns the name of the group.
    pub fn group(&self) -> &GroupName {
        &self.group
    }

    /// Returns all nodes of the group, without duplicates. Each of them may be deleted.
    pub fn nodes(&self) -> &[InstanceId] {
        &self.nodes
    }

    /// Returns how many nodes stay: fewer than the group has now.
    pub fn count_after(&self) -> NodeCount {
        self.count_after
    }

    /// Returns the time at which the look that cleared it began.
    pub fn look_begun_at(&self) -> Time {
        self.look_begun_at
    }

    /// Returns the time after which the request must not be sent.
    pub fn expires_at(&self) -> Time {
        self.expires_at
    }
}

/// A request of either kind that may be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cleared {
    /// A request that deletes nodes by their ids.
    Batch(ClearedBatch),
    /// A request that sets the node count of a whole group.
    Group(ClearedGroup),
}

impl Cleared {
    /// Adds the id that the ledger reserved for this request. The cleared request does not change.
    /// Only the executor calls this, right before the commit, so that a failed clearance uses no
    /// id.
    pub fn numbered(self, id: RequestId) -> NumberedRequest {
        NumberedRequest { id, cleared: self }
    }

    /// Returns the cluster of the nodes.
    pub fn cluster(&self) -> &ClusterName {
        match self {
            Self::Batch(request) => request.cluster(),
            Self::Group(group) => group.cluster(),
        }
    }

    /// Returns the group of the nodes.
    pub fn group(&self) -> &GroupName {
        match self {
            Self::Batch(request) => request.group(),
            Self::Group(group) => group.group(),
        }
    }

    /// Returns the nodes that may be deleted.
    pub fn nodes(&self) -> &[InstanceId] {
        match self {
            Self::Batch(request) => request.nodes(),
            Self::Group(group) => group.nodes(),
        }
    }

    /// Returns how many of them stay after a whole-group request; `None` for a request by ids.
    pub fn count_after(&self) -> Option<NodeCount> {
        match self {
            Self::Batch(_) => None,
            Self::Group(group) => Some(group.count_after()),
        }
    }

    /// Returns how many of them are deleted.
    pub fn going(&self) -> NodeCount {
        let stay = self.count_after().unwrap_or(NodeCount::ZERO);
        NodeCount::of(self.nodes().len()).saturating_sub(stay)
    }

    /// Returns the time at which the look that cleared it began.
    pub fn look_begun_at(&self) -> Time {
        match self {
            Self::Batch(request) => request.look_begun_at(),
            Self::Group(group) => group.look_begun_at(),
        }
    }

    /// Returns the time after which the request must not be sent.
    pub fn expires_at(&self) -> Time {
        match self {
            Self::Batch(request) => request.expires_at(),
            Self::Group(group) => group.expires_at(),
        }
    }
}

/// A cleared request with its id in the ledger. Only [`Cleared::numbered`] creates it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberedRequest {
    id: RequestId,
    cleared: Cleared,
}

impl NumberedRequest {
    /// Returns the id of the request in the ledger.
    pub fn id(&self) -> RequestId {
        self.id
    }

    /// Returns the cleared request.
    pub fn cleared(&self) -> &Cleared {
        &self.cleared
    }
}

impl From<ClearedBatch> for Cleared {
    fn from(request: ClearedBatch) -> Self {
        Self::Batch(request)
    }
}

impl From<ClearedGroup> for Cleared {
    fn from(group: ClearedGroup) -> Self {
        Self::Group(group)
    }
}

/// A second DescribeCluster after the looks.
#[derive(Debug, Clone, PartialEq)]
pub struct Recount {
    /// Time before it was sent.
    pub begun_at: Time,
    /// Its answer.
    pub description: ClusterDescription,
}

/// Returns the nodes of a possible whole-group request and how many of them stay. The caller then
/// reads a [`Recount`] and calls [`clear_group`].
///
/// # Errors
/// Returns the first rule that does not hold.
pub fn group_trial(offer: &Offer<'_>) -> Result<(Vec<InstanceId>, NodeCount), Rule> {
    let Offer { group: name, gated, policy, history, now, .. } = *offer;
    let actions: BTreeMap<InstanceId, &OpenAction> =
        history.actions.iter().filter(|(_, a)| a.group == *name).map(|(id, a)| (*id, a)).collect();
    let wants: Vec<Option<NodeCount>> = actions.values().map(|a| a.evidence.remainder).collect();
    let stay = match wants.first() {
        Some(first) if wants.iter().all(|other| other == first) => *first,
        // The group has no open actions, or not all of them are for the same request.
        Some(_) | None => return Err(Rule::WholeGroup),
    };
    let stay = stay.unwrap_or(NodeCount::ZERO);
    let (view, group) = ready_group(offer, stay)?;
    // The listed nodes and the nodes with open actions must be the same. A node that is not listed
    // may still exist.
    let listed: Vec<InstanceId> = view.nodes.iter().map(|node| node.id).collect();
    if !listed.iter().eq(actions.keys()) {
        return Err(Rule::WholeGroup);
    }
    let going = NodeCount::of(listed.len()).saturating_sub(stay);
    let is_wanted = match group.group_calls {
        GroupCalls::Never => false,
        GroupCalls::ToZero => stay == NodeCount::ZERO,
        // A request that keeps nodes is used only for more nodes than a request by ids can delete.
        GroupCalls::WholeGroup => stay == NodeCount::ZERO || going > REQUEST_NODE_LIMIT,
    };
    if !is_wanted || !allows_group_call(name, group, history) || going == NodeCount::ZERO {
        return Err(Rule::WholeGroup);
    }
    for action in actions.values() {
        if settled_until(&action.state).is_none() {
            return Err(Rule::WholeGroup);
        }
        if let Some(rule) = clearance(action, offer) {
            return Err(rule);
        }
    }
    if !actions.values().all(|action| gated(action)) {
        return Err(Rule::Gate);
    }
    let described = &view.description;
    if described.current != described.target || described.current.get() != listed.len() {
        return Err(Rule::Counts);
    }
    if going > room_in_budgets(name, group, history, now) {
        return Err(Rule::Budget);
    }
    let declared: NodeCount = policy.groups.values().map(|group| group.size).sum();
    if policy.mass_change.is_exceeded(going, declared) {
        return Err(Rule::MassChange);
    }
    Ok((listed, stay))
}

/// Clears one whole-group request, which sets how many nodes stay.
///
/// # Errors
/// Returns the first rule that does not hold.
pub fn clear_group(offer: Offer<'_>, recount: &Recount) -> Result<ClearedGroup, Rule> {
    let (nodes, count_after) = group_trial(&offer)?;
    let Offer { group: name, snapshot, policy, now, .. } = offer;
    // The looks ended with the last read of the tick.
    if recount.begun_at < snapshot.taken_at || recount.begun_at > now {
        return Err(Rule::Current);
    }
    let state = &recount.description.state;
    if state.status != ClusterStatus::InService || state.software_update || state.rival_autoscaler {
        return Err(Rule::ClusterCalm);
    }
    let Some(described) = recount.description.groups.get(name) else {
        return Err(Rule::GroupCalm);
    };
    if described.role != Role::Worker || !described.calm {
        return Err(Rule::GroupCalm);
    }
    if described.current != described.target || described.current.get() != nodes.len() {
        return Err(Rule::Counts);
    }
    Ok(ClearedGroup {
        cluster: policy.cluster.clone(),
        group: name.clone(),
        nodes,
        count_after,
        look_begun_at: snapshot.begun_at,
        expires_at: snapshot.begun_at + policy.timing.max_look_age,
    })
}
