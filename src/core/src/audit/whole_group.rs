//! Clearing a call for a whole group (S8b).
//!
//! `UpdateCluster` picks its victims at random, so it is safe only while any
//! victim is: every node that is listed has to be one that could be asked for
//! by its id in this very moment, and nothing may be in the group that is not
//! listed. The counts say the latter, once in the reads of this tick and once
//! more in a DescribeCluster that began after the last look: a node that was
//! added meanwhile is not cordoned, and could be picked.
//!
//! A race stays, and cannot be closed from here: whoever adds a node between
//! that description and the call could see it picked. The group is then larger
//! than we said, and the call's count, not its victims, is what the API obeys.

use std::collections::BTreeMap;

use super::Rule;
use super::clearance::{ClearedBatch, Offer, clearance, ready_group, room_in_budgets};
use super::facts::{allows_group_call, settled_until};
use crate::history::OpenAction;
use crate::ids::{ClusterName, GroupName, InstanceId, RequestId};
use crate::policy::{GroupCalls, REQUEST_NODE_LIMIT};
use crate::reads::{ClusterDescription, ClusterStatus, Role};
use crate::units::{NodeCount, Time};

/// A request that shrinks a whole group, to be sent once: one cluster, one
/// group, all of whose nodes are cordoned (or twice looked at) and clean, and a
/// time by which it is void.
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
    /// The cluster the group is in.
    pub fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    /// The group.
    pub fn group(&self) -> &GroupName {
        &self.group
    }

    /// All nodes of the group, any number, no id twice: each of them may go.
    pub fn nodes(&self) -> &[InstanceId] {
        &self.nodes
    }

    /// How many of them stay: fewer than there are.
    pub fn count_after(&self) -> NodeCount {
        self.count_after
    }

    /// When the look behind it began.
    pub fn look_begun_at(&self) -> Time {
        self.look_begun_at
    }

    /// From when on it may not be sent any more.
    pub fn expires_at(&self) -> Time {
        self.expires_at
    }
}

/// A request that may be sent, of either kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cleared {
    /// By ids.
    Batch(ClearedBatch),
    /// By a count, for a whole group.
    Group(ClearedGroup),
}

impl Cleared {
    /// Attaches the id that the ledger reserved for this request. It does not change
    /// what was cleared. Only the executor calls it, right before the commit, so that a
    /// clearance that fails spends no id.
    pub fn numbered(self, id: RequestId) -> NumberedRequest {
        NumberedRequest { id, cleared: self }
    }

    /// The cluster the nodes are in.
    pub fn cluster(&self) -> &ClusterName {
        match self {
            Self::Batch(request) => request.cluster(),
            Self::Group(group) => group.cluster(),
        }
    }

    /// The group the nodes are in.
    pub fn group(&self) -> &GroupName {
        match self {
            Self::Batch(request) => request.group(),
            Self::Group(group) => group.group(),
        }
    }

    /// The nodes that may go.
    pub fn nodes(&self) -> &[InstanceId] {
        match self {
            Self::Batch(request) => request.nodes(),
            Self::Group(group) => group.nodes(),
        }
    }

    /// How many of them stay, for a call for a whole group.
    pub fn count_after(&self) -> Option<NodeCount> {
        match self {
            Self::Batch(_) => None,
            Self::Group(group) => Some(group.count_after()),
        }
    }

    /// How many of them go.
    pub fn going(&self) -> NodeCount {
        let stay = self.count_after().unwrap_or(NodeCount::ZERO);
        NodeCount::of(self.nodes().len()).saturating_sub(stay)
    }

    /// When the look behind it began.
    pub fn look_begun_at(&self) -> Time {
        match self {
            Self::Batch(request) => request.look_begun_at(),
            Self::Group(group) => group.look_begun_at(),
        }
    }

    /// From when on it may not be sent any more.
    pub fn expires_at(&self) -> Time {
        match self {
            Self::Batch(request) => request.expires_at(),
            Self::Group(group) => group.expires_at(),
        }
    }
}

/// A cleared request with its id in the ledger. Only [`Cleared::numbered`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberedRequest {
    id: RequestId,
    cleared: Cleared,
}

impl NumberedRequest {
    /// Its id in the ledger.
    pub fn id(&self) -> RequestId {
        self.id
    }

    /// What was cleared.
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

/// DescribeCluster, asked once more after the looks.
#[derive(Debug, Clone, PartialEq)]
pub struct Recount {
    /// Before the call began.
    pub begun_at: Time,
    /// What it said.
    pub description: ClusterDescription,
}

/// What a call for the whole group would be about, were the recount to agree:
/// its nodes, and how many stay. Whoever wants to send one asks this first, and
/// then counts anew.
///
/// # Errors
/// The first rule that speaks against it.
pub fn group_trial(offer: &Offer<'_>) -> Result<(Vec<InstanceId>, NodeCount), Rule> {
    let Offer { group: name, gated, policy, history, now, .. } = *offer;
    let actions: BTreeMap<InstanceId, &OpenAction> =
        history.actions.iter().filter(|(_, a)| a.group == *name).map(|(id, a)| (*id, a)).collect();
    let wants: Vec<Option<NodeCount>> = actions.values().map(|a| a.evidence.remainder).collect();
    let stay = match wants.first() {
        Some(first) if wants.iter().all(|other| other == first) => *first,
        // Nothing is on its way, or not all of it for the same call.
        Some(_) | None => return Err(Rule::WholeGroup),
    };
    let stay = stay.unwrap_or(NodeCount::ZERO);
    let (view, group) = ready_group(offer, stay)?;
    // What is listed and what is on its way must be the same, node by node. An
    // action whose node is not listed may be a node that is only not seen.
    let listed: Vec<InstanceId> = view.nodes.iter().map(|node| node.id).collect();
    if !listed.iter().eq(actions.keys()) {
        return Err(Rule::WholeGroup);
    }
    let going = NodeCount::of(listed.len()).saturating_sub(stay);
    let is_wanted = match group.group_calls {
        GroupCalls::Never => false,
        GroupCalls::ToZero => stay == NodeCount::ZERO,
        // With a remainder only for what ids cannot do.
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

/// Clears the whole group for one call that says how many stay.
///
/// # Errors
/// The first rule that speaks against it.
pub fn clear_group(offer: Offer<'_>, recount: &Recount) -> Result<ClearedGroup, Rule> {
    let (nodes, count_after) = group_trial(&offer)?;
    let Offer { group: name, snapshot, policy, now, .. } = offer;
    // The looks ended when the last read of the tick did.
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
