//! Clears a delete request by ids: a node may be deleted if it has settled and a later look still
//! shows it idle.

use super::Rule;
use super::facts::{
    certain_demand, cluster_is_calm, count_live, find, group_is_calm, has_identity, highest_floor,
    is_backed_off, is_floor_known, is_idle, is_paid_as_declared, is_protected, is_worth_it,
    settled_until,
};
use crate::action::Phase;
use crate::history::{History, OpenAction};
use crate::ids::{ActionId, ClusterName, GroupName, InstanceId};
use crate::policy::{ClusterPolicy, EvidenceSource, GroupPolicy, REQUEST_NODE_LIMIT};
use crate::reads::{InstanceStatus, Provisioning, Reading};
use crate::snapshot::{GroupView, NodeView, Snapshot};
use crate::units::{NodeCount, Span, Time};

/// A delete request that may be sent: at most 99 nodes of one group of one cluster, and a time
/// after which it must not be sent. Every node is cordoned (or was looked at twice) and idle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClearedBatch {
    cluster: ClusterName,
    group: GroupName,
    nodes: Vec<InstanceId>,
    look_begun_at: Time,
    expires_at: Time,
}

impl ClearedBatch {
    /// Returns the cluster of the nodes.
    pub fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    /// Returns the group of the nodes.
    pub fn group(&self) -> &GroupName {
        &self.group
    }

    /// Returns the nodes to delete: 1 to 99 different ids.
    pub fn nodes(&self) -> &[InstanceId] {
        &self.nodes
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

/// The audit's answer to an [`Offer`].
#[derive(Debug, Clone, PartialEq)]
pub struct Clearance {
    /// The request, if at least one action was cleared.
    pub request: Option<ClearedBatch>,
    /// Actions that were not cleared, each with the rule that does not hold.
    pub waiting: Vec<(ActionId, Rule)>,
}

/// Input of a clearance.
#[derive(Clone, Copy)]
pub struct Offer<'a> {
    /// The group whose settled actions are offered.
    pub group: &'a GroupName,
    /// Whether every gate let an action through before the reads began.
    pub gated: &'a dyn Fn(&OpenAction) -> bool,
    /// The snapshot of this tick.
    pub snapshot: &'a Snapshot,
    /// The policy in force.
    pub policy: &'a ClusterPolicy,
    /// The history, with open actions and charges.
    pub history: &'a History,
    /// The time at which the request would be sent.
    pub now: Time,
}

/// Returns the group of an offer if every rule holds that does not concern a single node. `stay` of
/// its nodes with open actions are released after the request.
pub(super) fn ready_group<'a>(
    offer: &Offer<'a>,
    stay: NodeCount,
) -> Result<(&'a GroupView, &'a GroupPolicy), Rule> {
    let Offer { group: group_name, snapshot, policy, history, now, .. } = *offer;
    let (Some(view), Some(group)) =
        (snapshot.groups.get(group_name), policy.groups.get(group_name))
    else {
        return Err(Rule::GroupCalm);
    };
    let fresh =
        now.since(snapshot.begun_at) <= policy.timing.max_look_age && now >= snapshot.begun_at;
    if !fresh || snapshot.cluster != policy.cluster {
        return Err(Rule::Current);
    }
    if is_backed_off(history, now) {
        return Err(Rule::BackedOff);
    }
    if !cluster_is_calm(snapshot, policy, history) || !is_our_turn(group_name, snapshot, history) {
        return Err(Rule::ClusterCalm);
    }
    if !group_is_calm(view) {
        return Err(Rule::GroupCalm);
    }
    if !is_worth_it(view, group) {
        return Err(Rule::WorthIt);
    }
    if !is_floor_known(snapshot, group) {
        return Err(Rule::Floor);
    }
    let live = count_live(view, history, policy, group) + stay;
    let floor = highest_floor(group, now) + group.min_idle_nodes;
    let cluster_live: NodeCount = policy
        .groups
        .iter()
        .filter_map(|(name, group)| Some((snapshot.groups.get(name)?, group)))
        .map(|(view, group)| count_live(view, history, policy, group))
        .sum();
    if live < floor || cluster_live + stay < policy.min_nodes {
        return Err(Rule::Floor);
    }
    let idle = view.nodes.iter().filter(|node| {
        !history.actions.contains_key(&node.id) && is_idle(node, None, policy, group)
    });
    if NodeCount::of(idle.count()) + stay < NodeCount(certain_demand(view, group, now)) {
        return Err(Rule::Demand);
    }
    Ok((view, group))
}

/// Returns the nodes that [`clear`] would put into a request now, for asking a gate about them
/// beforehand. The clearance itself is dropped: an `offer` that assumes a gate's answer must not
/// lead to a request.
pub fn trial(offer: Offer<'_>) -> Vec<InstanceId> {
    clear(offer).request.map(|request| request.nodes().to_vec()).unwrap_or_default()
}

/// Clears settled actions of one group for one request by ids.
pub fn clear(offer: Offer<'_>) -> Clearance {
    let Offer { group: group_name, gated, snapshot, policy, history, now, .. } = offer;
    let settled: Vec<&OpenAction> = history
        .actions
        .values()
        .filter(|a| a.group == *group_name && settled_until(&a.state).is_some())
        .collect();
    let group = match ready_group(&offer, NodeCount::ZERO) {
        Ok((_, group)) => group,
        Err(rule) => {
            let waiting = settled.iter().map(|action| (action.id, rule)).collect();
            return Clearance { request: None, waiting };
        }
    };
    let room = room_in_budgets(group_name, group, history, now).min(REQUEST_NODE_LIMIT);
    let mut nodes = vec![];
    let mut waiting = vec![];
    for action in settled {
        match clearance(action, &offer) {
            Some(rule) => waiting.push((action.id, rule)),
            // It was marked for a whole-group request that keeps some nodes. A request by ids could
            // delete one of those.
            None if action.evidence.remainder.is_some() => {
                waiting.push((action.id, Rule::WholeGroup));
            }
            None if !gated(action) => waiting.push((action.id, Rule::Gate)),
            None if nodes.len() >= room.get() => waiting.push((action.id, Rule::Budget)),
            None => nodes.push(action.node),
        }
    }
    let request = (!nodes.is_empty()).then(|| ClearedBatch {
        cluster: policy.cluster.clone(),
        group: group_name.clone(),
        nodes,
        look_begun_at: snapshot.begun_at,
        expires_at: snapshot.begun_at + policy.timing.max_look_age,
    });
    Clearance { request, waiting }
}

/// Returns the first rule that does not hold for one settled action.
pub(super) fn clearance(action: &OpenAction, offer: &Offer<'_>) -> Option<Rule> {
    let Offer { snapshot, policy, now, .. } = *offer;
    let settled = settled_until(&action.state)?;
    let (Some(view), Some(group)) =
        (snapshot.groups.get(&action.group), policy.groups.get(&action.group))
    else {
        return Some(Rule::GroupCalm);
    };
    if snapshot.begun_at < settled || action.policy != policy.hash {
        return Some(Rule::Current);
    }
    let Some(node) = find(view, action.node) else {
        return Some(Rule::SameNode);
    };
    if node.status != InstanceStatus::Running || !has_identity(node, &action.identity) {
        return Some(Rule::SameNode);
    }
    if !is_idle(node, Some(action.id), policy, group) || !is_second_look(node, action, policy, now)
    {
        return Some(Rule::Evidence);
    }
    if !is_paid_as_declared(node, group) {
        return Some(Rule::WorthIt);
    }
    is_protected(node, group).then_some(Rule::LeftAlone)
}

/// Whether the data of the second look is newer than the end of the settle time. The timestamps of
/// the data count, not the time of the read: a repeated old answer of the scheduler or an old
/// datapoint proves nothing about the time after the settle time.
fn is_second_look(node: &NodeView, action: &OpenAction, policy: &ClusterPolicy, now: Time) -> bool {
    let Some(until) = settled_until(&action.state) else { return false };
    match policy.evidence_source {
        EvidenceSource::Scheduler => match &node.scheduler {
            // A repeated old answer of the scheduler is not a second look (S13).
            Reading::Fresh { at, .. } => {
                action.terms.cordoned
                    && *at >= until
                    && now.since(*at) <= policy.timing.max_look_age
            }
            Reading::Absent | Reading::Stale { .. } | Reading::Partial => false,
        },
        EvidenceSource::MetricsOnly => match &node.activity {
            Reading::Fresh { value, .. } => value.to >= until,
            Reading::Absent | Reading::Stale { .. } | Reading::Partial => false,
        },
    }
}

/// Whether no other request is in flight: in the cluster if it is classic, in the group if it is
/// continuous.
fn is_our_turn(group: &GroupName, snapshot: &Snapshot, history: &History) -> bool {
    let provisioning = snapshot.state.as_ref().map(|state| state.provisioning);
    let in_flight = history.actions.values().filter(|action| match action.state.phase() {
        Phase::Asked { .. } => true,
        Phase::Revocable | Phase::Releasing | Phase::Ended { .. } => false,
    });
    match provisioning {
        Some(Provisioning::Classic) | None => in_flight.count() == 0,
        Some(Provisioning::Continuous) => !in_flight.into_iter().any(|a| a.group == *group),
    }
}

pub(super) fn room_in_budgets(
    name: &GroupName,
    group: &GroupPolicy,
    history: &History,
    now: Time,
) -> NodeCount {
    let spent = |window: Span| {
        let recent =
            history.charges.iter().filter(|c| c.group == *name && now.since(c.at) <= window);
        NodeCount::of(recent.count())
    };
    let hour = group.budgets.per_hour.saturating_sub(spent(Span::hours(1)));
    let day = group.budgets.per_day.saturating_sub(spent(Span::hours(24)));
    hour.min(day).min(group.budgets.per_request)
}
