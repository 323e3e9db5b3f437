//! The audit: nothing is done that it has not approved.
//!
//! It imports data only and shares no code with the planner, so that a mistake
//! there is caught here (a test checks the imports). Where the planner counts
//! in one pass, the audit counts anew; where the planner does interval
//! arithmetic on keep windows, the audit steps through the minutes; where the
//! planner keeps a monotone queue, the audit walks the samples.
//!
//! [`approve`] makes the only [`ApprovedPlan`]s: marks and releases, never a
//! delete. [`clear`] makes the only [`ClearedBatch`]es and [`clear_group`] the
//! only [`ClearedGroup`]s, and the delete port takes nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::action::{ActionState, RequestScope};
use crate::history::{History, OpenAction};
use crate::ids::{ActionId, ClusterName, GroupName, InstanceId, RequestId};
use crate::plan::{Mark, Plan, Release};
use crate::policy::{
    Capacity, ClusterPolicy, EvidenceSource, GroupCalls, GroupPolicy, KeepWindow,
    REQUEST_NODE_LIMIT, Regain, TimerChoice, UtilizationRule,
};
use crate::snapshot::{
    Activity, ClusterStatus, Condition, CordonStatus, Eligible, GroupView, Identity,
    InstanceStatus, Listing, NodeCapacity, NodeView, Provisioning, Reading, Role, Snapshot,
    WorkloadSource,
};
use crate::units::{MilliGpus, NodeCount, Span, Time, UsdPerHour};

mod whole_group;

pub use self::whole_group::{Cleared, ClearedGroup, Recount, clear_group, group_trial};

/// A plan that may be carried out.
#[derive(Debug, Clone, PartialEq)]
pub struct ApprovedPlan {
    marks: Vec<Mark>,
    releases: Vec<Release>,
}

impl ApprovedPlan {
    /// Nodes to begin with.
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// Actions to release.
    pub fn releases(&self) -> &[Release] {
        &self.releases
    }

    /// The same without anything to begin with.
    pub fn without_marks(self) -> Self {
        Self { marks: vec![], ..self }
    }
}

/// What a plan does that it may not. Each is a bug of ours, not of the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The node or group concerned.
    pub subject: String,
    /// What is wrong.
    pub rule: Rule,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.rule)
    }
}

/// The rules a plan is held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Made under the policy in force, for this cluster and instant.
    Current,
    /// Nothing is stopped, frozen, unread or under way in the cluster.
    ClusterCalm,
    /// Named in the policy, a worker group, calm, counts explained.
    GroupCalm,
    /// Metered, priced, declared, to be had again.
    WorthIt,
    /// Listed once, Running, the same node, not under way already.
    SameNode,
    /// Positive, fresh evidence that nothing lays claim to it.
    Evidence,
    /// Not protected, cooling down, too young or busy lately.
    LeftAlone,
    /// Spare all through the idle timer, headroom and queue left out.
    Surplus,
    /// The group's and the cluster's floor.
    Floor,
    /// Request, hour, day and share.
    Budget,
    /// Not more at once than may be believed.
    MassChange,
    /// Enough idle nodes stay for jobs that wait now.
    Demand,
    /// Only open, revocable actions are released.
    Revocable,
    /// A gate has let it through before the look began.
    Gate,
    /// No refused request is being waited out.
    BackedOff,
    /// A call for the whole group takes all of it or nothing: every node, and
    /// only where the policy lets it.
    WholeGroup,
    /// `CurrentCount == TargetCount ==` listed `==` cordoned, before and after the
    /// looks.
    Counts,
}

/// Approves a plan.
///
/// # Errors
/// Everything it does that it may not; nothing of it may then be carried out.
pub fn approve(
    plan: Plan,
    snapshot: &Snapshot,
    policy: &ClusterPolicy,
    history: &History,
    now: Time,
) -> Result<ApprovedPlan, Vec<Violation>> {
    let mut auditor = Auditor { snapshot, policy, history, now, violations: vec![] };
    auditor.check_plan(&plan);
    let Plan { marks, releases, .. } = plan;
    if auditor.violations.is_empty() {
        Ok(ApprovedPlan { marks, releases })
    } else {
        Err(auditor.violations)
    }
}

struct Auditor<'a> {
    snapshot: &'a Snapshot,
    policy: &'a ClusterPolicy,
    history: &'a History,
    now: Time,
    violations: Vec<Violation>,
}

impl Auditor<'_> {
    fn demand(&mut self, holds: bool, subject: impl fmt::Display, rule: Rule) {
        if !holds {
            self.violations.push(Violation { subject: subject.to_string(), rule });
        }
    }

    fn check_plan(&mut self, plan: &Plan) {
        let current = plan.policy == self.policy.hash
            && plan.cluster == self.policy.cluster
            && self.snapshot.cluster == plan.cluster
            && plan.made_at == self.now;
        self.demand(current, &plan.cluster, Rule::Current);
        let by_id: BTreeMap<ActionId, &OpenAction> =
            self.history.actions.values().map(|action| (action.id, action)).collect();
        for release in &plan.releases {
            let action = by_id.get(&release.action);
            let revocable = action.is_some_and(|action| {
                action.node == release.node && is_short_of_asking(&action.state)
            });
            self.demand(revocable, release.node, Rule::Revocable);
        }
        self.check_whole_releases(&plan.releases);
        if plan.marks.is_empty() {
            return;
        }
        let calm =
            cluster_is_calm(self.snapshot, self.policy, self.history) && plan.freeze.is_none();
        self.demand(calm, &plan.cluster, Rule::ClusterCalm);
        let waited_out = !is_backed_off(self.history, self.now);
        self.demand(waited_out, &plan.cluster, Rule::BackedOff);
        let mut groups: BTreeMap<&GroupName, Vec<&Mark>> = BTreeMap::new();
        let mut ids = BTreeSet::new();
        for mark in &plan.marks {
            self.demand(ids.insert(mark.node), mark.node, Rule::SameNode);
            groups.entry(&mark.group).or_default().push(mark);
        }
        for (name, marks) in &groups {
            let (Some(view), Some(group)) =
                (self.snapshot.groups.get(*name), self.policy.groups.get(*name))
            else {
                self.demand(false, name, Rule::GroupCalm);
                continue;
            };
            self.check_group(name, view, group, marks);
        }
        self.check_cluster(&groups);
    }

    fn check_group(
        &mut self,
        name: &GroupName,
        view: &GroupView,
        group: &GroupPolicy,
        marks: &[&Mark],
    ) {
        self.demand(group_is_calm(view), name, Rule::GroupCalm);
        self.demand(is_worth_it(view, group), name, Rule::WorthIt);
        self.demand(is_floor_known(self.snapshot, group), name, Rule::Floor);
        for mark in marks {
            let Some(node) = find(view, mark.node) else {
                self.demand(false, mark.node, Rule::SameNode);
                continue;
            };
            let same = node.status == InstanceStatus::Running
                && has_identity(node, &mark.identity)
                && !self.history.gone.iter().any(|gone| gone.node == mark.node)
                && !self.history.actions.contains_key(&mark.node);
            self.demand(same, mark.node, Rule::SameNode);
            let idle = is_idle(node, None, self.policy, group);
            self.demand(idle, mark.node, Rule::Evidence);
            let alone = self.is_free_to_go(name, node, group);
            self.demand(alone, mark.node, Rule::LeftAlone);
            self.demand(is_paid_as_declared(node, group), mark.node, Rule::WorthIt);
        }
        self.check_whole_group(name, view, group, marks);
        let going = going(marks);
        let fits = self.surplus(name, view, group).is_some_and(|surplus| going <= surplus);
        self.demand(fits, name, Rule::Surplus);
        let live = count_live(view, self.history, self.policy, group);
        let floor = highest_floor(group, self.now) + group.min_idle_nodes;
        self.demand(going + floor <= live, name, Rule::Floor);
        let in_budget = self.is_in_budget(name, view, group, marks);
        self.demand(in_budget, name, Rule::Budget);
    }

    /// Marks for a call for the whole group: all of them for the same one, every
    /// listed node and nothing else open, more than ids could do, and only where
    /// the policy wants it.
    fn check_whole_group(
        &mut self,
        name: &GroupName,
        view: &GroupView,
        group: &GroupPolicy,
        marks: &[&Mark],
    ) {
        let open = |a: &&OpenAction| a.group == *name;
        let mut open = self.history.actions.values().filter(open);
        let same = |stay| marks.iter().all(|mark| mark.evidence.remainder == stay);
        let holds = match marks.first().and_then(|mark| mark.evidence.remainder) {
            None => {
                same(None)
                    && open.all(|action| {
                        action.evidence.remainder.is_none() && !is_in_group_call(&action.state)
                    })
            }
            Some(stay) => {
                same(Some(stay))
                    && group.group_calls == GroupCalls::WholeGroup
                    && open.next().is_none()
                    && marks.len() == view.nodes.len()
                    && stay > NodeCount::ZERO
                    && going(marks) > REQUEST_NODE_LIMIT
            }
        };
        self.demand(holds, name, Rule::WholeGroup);
    }

    /// What was marked for a call for the whole group is released as a whole.
    fn check_whole_releases(&mut self, releases: &[Release]) {
        let released: BTreeSet<ActionId> = releases.iter().map(|release| release.action).collect();
        let whole: Vec<&OpenAction> = self
            .history
            .actions
            .values()
            .filter(|a| a.evidence.remainder.is_some() && is_short_of_asking(&a.state))
            .collect();
        let broken: BTreeSet<&GroupName> =
            whole.iter().filter(|a| released.contains(&a.id)).map(|a| &a.group).collect();
        let left_behind: Vec<InstanceId> = whole
            .iter()
            .filter(|a| broken.contains(&a.group) && !released.contains(&a.id))
            .map(|a| a.node)
            .collect();
        for node in left_behind {
            self.demand(false, node, Rule::WholeGroup);
        }
    }

    fn check_cluster(&mut self, groups: &BTreeMap<&GroupName, Vec<&Mark>>) {
        let mut live = NodeCount::ZERO;
        let mut declared = NodeCount::ZERO;
        for (name, group) in &self.policy.groups {
            if let Some(view) = self.snapshot.groups.get(name) {
                live += count_live(view, self.history, self.policy, group);
            }
            declared += group.size;
        }
        let marked = NodeCount::of(groups.values().map(Vec::len).sum());
        let going: NodeCount = groups.values().map(|marks| going(marks)).sum();
        let cluster = &self.policy.cluster;
        self.demand(going + self.policy.min_nodes <= live, cluster, Rule::Floor);
        let believable = !self.policy.mass_change.is_exceeded(marked, declared);
        self.demand(believable, cluster, Rule::MassChange);
    }

    /// Not protected, cooling down, too young or busy lately.
    fn is_free_to_go(&self, name: &GroupName, node: &NodeView, group: &GroupPolicy) -> bool {
        let cool = self.history.cooldowns.get(&node.id).is_none_or(|until| *until <= self.now);
        let state = self.history.groups.get(name);
        let idle_since = state.and_then(|s| s.members.get(&node.id)).and_then(|m| m.idle_since);
        cool && !is_protected(node, group)
            && self.now.since(node.launched) >= group.min_age
            && idle_since.is_some_and(|since| self.now.since(since) >= group.post_job_grace)
    }

    /// Nodes spare all through the idle timer, less headroom and certain demand;
    /// `None` while samples do not cover it.
    fn surplus(
        &self,
        name: &GroupName,
        view: &GroupView,
        group: &GroupPolicy,
    ) -> Option<NodeCount> {
        let state = self.history.groups.get(name)?;
        let tau = match group.timer {
            TimerChoice::Fixed(tau) => tau,
            TimerChoice::BreakEven => break_even(group)?,
            TimerChoice::Learned => {
                // Whatever was learned: never on one sample alone.
                let learned = state.learner.as_ref()?.timer()?;
                if learned < self.policy.timing.tick.times(2) {
                    return None;
                }
                learned
            }
        };
        let start = self.now - tau;
        let first = state.runs.front()?;
        let last = state.runs.back()?;
        if first.from > start || last.to != self.now {
            return None;
        }
        // A run's value holds until the next run begins.
        let ends = state.runs.iter().skip(1).map(|run| run.from).chain([Time(i64::MAX)]);
        let in_window = state.runs.iter().zip(ends).filter(|(_, end)| *end > start);
        let least = in_window
            .map(|(run, _)| {
                let free = run.counts.idle.0.saturating_sub(run.counts.queued.0);
                i64::from(free) + run.departed as i64
            })
            .min()?;
        let surplus_count = least - last.departed as i64;
        let idle_now = last.counts.idle.0;
        let certain = certain_demand(view, group, self.now);
        let surplus_now = i64::from(idle_now) - i64::from(certain);
        let surplus_count = surplus_count.min(surplus_now) - i64::from(group.min_idle_nodes.0);
        Some(NodeCount(u32::try_from(surplus_count.max(0)).unwrap_or(u32::MAX)))
    }

    fn is_in_budget(
        &self,
        name: &GroupName,
        view: &GroupView,
        group: &GroupPolicy,
        marks: &[&Mark],
    ) -> bool {
        let going = going(marks);
        let open: Vec<_> =
            self.history.actions.values().filter(|action| action.group == *name).collect();
        let uncharged = open.iter().filter(|a| is_short_of_asking(&a.state)).count();
        let within = |window: Span, limit: NodeCount| {
            let spent = self
                .history
                .charges
                .iter()
                .filter(|c| c.group == *name && self.now.since(c.at) <= window)
                .count();
            spent + uncharged + going.get() <= limit.get()
        };
        let size = group.size.0 as usize;
        // Those that stay are cordoned, too, and the share is of what is.
        let leaving = open.len() + marks.len();
        // A call for the whole group carries any number of nodes, but then it
        // has to take every one that is listed, or to say how many stay.
        let takes_all = uncharged == open.len() && open.len() + marks.len() == view.nodes.len();
        let request = match group.group_calls {
            GroupCalls::ToZero | GroupCalls::WholeGroup if takes_all => group.budgets.per_request,
            GroupCalls::Never | GroupCalls::ToZero | GroupCalls::WholeGroup => {
                group.budgets.per_request.min(REQUEST_NODE_LIMIT)
            }
        };
        let share_of_size = group.budgets.leaving.of_rounded_down(group.size).get();
        let small_group = usize::from(group.budgets.leaving > Default::default() && size > 0);
        uncharged + going.get() <= request.get()
            && within(Span::hours(1), group.budgets.per_hour)
            && within(Span::hours(24), group.budgets.per_day)
            && leaving <= share_of_size.max(small_group)
    }
}

/// A delete request that may be sent: one cluster, one group, at most 99
/// cordoned (or twice looked at) and clean nodes, and a time by which it is void.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClearedBatch {
    id: RequestId,
    cluster: ClusterName,
    group: GroupName,
    nodes: Vec<InstanceId>,
    look_begun_at: Time,
    expires_at: Time,
}

impl ClearedBatch {
    /// Its id in the ledger.
    pub fn id(&self) -> RequestId {
        self.id
    }

    /// The cluster the nodes are in.
    pub fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    /// The group the nodes are in.
    pub fn group(&self) -> &GroupName {
        &self.group
    }

    /// The nodes to delete: 1 to 99, no id twice.
    pub fn nodes(&self) -> &[InstanceId] {
        &self.nodes
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

/// What became of the actions offered for one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Clearance {
    /// The request, if any action was cleared.
    pub request: Option<ClearedBatch>,
    /// Actions that have to wait, and for what.
    pub waiting: Vec<(ActionId, Rule)>,
}

/// What a clearance rests on.
#[derive(Clone, Copy)]
pub struct Offer<'a> {
    /// The request's id in the ledger.
    pub id: RequestId,
    /// The group whose settled actions are offered.
    pub group: &'a GroupName,
    /// Whether every gate let an action through before the reads began.
    pub gated: &'a dyn Fn(&OpenAction) -> bool,
    /// The reads of this very tick.
    pub snapshot: &'a Snapshot,
    /// The policy in force.
    pub policy: &'a ClusterPolicy,
    /// Open actions and charges.
    pub history: &'a History,
    /// The instant at which the request would be sent.
    pub now: Time,
}

/// The group that an offer is about, if all holds that is not about one node.
/// `stay` nodes that are on their way out come back right after the request.
fn ready_group<'a>(
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

/// Clears settled actions of one group for one request by ids.
pub fn clear(offer: Offer<'_>) -> Clearance {
    let Offer { id, group: group_name, gated, snapshot, policy, history, now, .. } = offer;
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
            // By ids it might be one that was to stay.
            None if action.evidence.remainder.is_some() => {
                waiting.push((action.id, Rule::WholeGroup));
            }
            None if !gated(action) => waiting.push((action.id, Rule::Gate)),
            None if nodes.len() >= room.get() => waiting.push((action.id, Rule::Budget)),
            None => nodes.push(action.node),
        }
    }
    let request = (!nodes.is_empty()).then(|| ClearedBatch {
        id,
        cluster: policy.cluster.clone(),
        group: group_name.clone(),
        nodes,
        look_begun_at: snapshot.begun_at,
        expires_at: snapshot.begun_at + policy.timing.max_look_age,
    });
    Clearance { request, waiting }
}

/// What keeps one settled action from being cleared, if anything does.
fn clearance(action: &OpenAction, offer: &Offer<'_>) -> Option<Rule> {
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

/// How many nodes go by these marks of one group.
fn going(marks: &[&Mark]) -> NodeCount {
    let stay = marks.first().and_then(|mark| mark.evidence.remainder);
    NodeCount::of(marks.len()).saturating_sub(stay.unwrap_or(NodeCount::ZERO))
}

fn is_backed_off(history: &History, now: Time) -> bool {
    history.backoff.as_ref().is_some_and(|backoff| now < backoff.until)
}

/// Its own description was read, and does not contradict its group's.
fn is_paid_as_declared(node: &NodeView, group: &GroupPolicy) -> bool {
    match node.capacity {
        NodeCapacity::Unread => false,
        NodeCapacity::NotShown => true,
        NodeCapacity::Shown(seen) => seen == group.capacity,
    }
}

/// The second look counts by the stamps of what was seen, not by when it was
/// asked for: a scheduler that repeats an old answer, or a datapoint from
/// before, says nothing about the time after the settle time's end.
fn is_second_look(node: &NodeView, action: &OpenAction, policy: &ClusterPolicy, now: Time) -> bool {
    let Some(until) = settled_until(&action.state) else { return false };
    match policy.evidence_source {
        EvidenceSource::Scheduler => match &node.scheduler {
            // A scheduler that repeats an old answer is not a look (S13).
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

/// Classic clusters take one request at a time, continuous ones one a group.
fn is_our_turn(group: &GroupName, snapshot: &Snapshot, history: &History) -> bool {
    let provisioning = snapshot.state.as_ref().map(|state| state.provisioning);
    let in_flight = history.actions.values().filter(|action| match action.state {
        ActionState::Asking { .. } | ActionState::Asked { .. } => true,
        ActionState::Marked { .. }
        | ActionState::Cordoning { .. }
        | ActionState::Settling { .. }
        | ActionState::Releasing { .. }
        | ActionState::Ended { .. } => false,
    });
    match provisioning {
        Some(Provisioning::Classic) | None => in_flight.count() == 0,
        Some(Provisioning::Continuous) => !in_flight.into_iter().any(|a| a.group == *group),
    }
}

fn room_in_budgets(
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

fn settled_until(state: &ActionState) -> Option<Time> {
    match state {
        ActionState::Settling { until } => Some(*until),
        ActionState::Marked { .. }
        | ActionState::Cordoning { .. }
        | ActionState::Asking { .. }
        | ActionState::Asked { .. }
        | ActionState::Releasing { .. }
        | ActionState::Ended { .. } => None,
    }
}

fn is_in_group_call(state: &ActionState) -> bool {
    match state {
        ActionState::Asking { scope, .. } | ActionState::Asked { scope, .. } => match scope {
            RequestScope::Group { .. } => true,
            RequestScope::Named => false,
        },
        ActionState::Marked { .. }
        | ActionState::Cordoning { .. }
        | ActionState::Settling { .. }
        | ActionState::Releasing { .. }
        | ActionState::Ended { .. } => false,
    }
}

fn is_short_of_asking(state: &ActionState) -> bool {
    match state {
        ActionState::Marked { .. }
        | ActionState::Cordoning { .. }
        | ActionState::Settling { .. } => true,
        ActionState::Asking { .. }
        | ActionState::Asked { .. }
        | ActionState::Releasing { .. }
        | ActionState::Ended { .. } => false,
    }
}

fn cluster_is_calm(snapshot: &Snapshot, policy: &ClusterPolicy, history: &History) -> bool {
    let source = match policy.evidence_source {
        EvidenceSource::Scheduler => snapshot.workload == WorkloadSource::Complete,
        EvidenceSource::MetricsOnly => match snapshot.workload {
            WorkloadSource::NotConfigured | WorkloadSource::Complete => true,
            WorkloadSource::Failed { .. } | WorkloadSource::Empty => false,
        },
    };
    let lost = |name: &GroupName, id: &InstanceId| {
        let member = history.groups.get(name).and_then(|state| state.members.get(id));
        member.is_some_and(|member| member.joined)
    };
    let recovering = || {
        let mut nodes = snapshot
            .groups
            .iter()
            .flat_map(|(name, view)| view.nodes.iter().map(move |node| (name, node)));
        policy.evidence_source == EvidenceSource::Scheduler
            && nodes.any(|(name, node)| match &node.scheduler {
                Reading::Fresh { value, .. } => value.cordon == CordonStatus::Recovery,
                Reading::Absent => lost(name, &node.id),
                Reading::Stale { .. } | Reading::Partial => true,
            })
    };
    let state = snapshot.state.as_ref().is_some_and(|state| {
        state.status == ClusterStatus::InService
            && !state.rival_autoscaler
            && !state.software_update
            && (state.provisioning == Provisioning::Continuous || !recovering())
    });
    source
        && state
        && snapshot.listing == Listing::Complete
        && history.stop.is_none()
        && history.freeze.is_none()
}

fn group_is_calm(view: &GroupView) -> bool {
    view.description.role == Role::Worker && view.description.calm && view.freeze.is_none()
}

/// A scheduler that refuses jobs larger than what is left never shows them waiting.
fn is_floor_known(snapshot: &Snapshot, group: &GroupPolicy) -> bool {
    !snapshot.refuses_large_jobs || group.max_job_nodes.is_some()
}

fn is_worth_it(view: &GroupView, group: &GroupPolicy) -> bool {
    let metered = match group.capacity {
        Capacity::OnDemand | Capacity::Spot => true,
        Capacity::TrainingPlan | Capacity::Reserved => false,
    };
    let to_be_had = match group.regain {
        Regain::Plentiful | Regain::Scarce { accepted_risk: Some(_) } => true,
        Regain::Scarce { accepted_risk: None } => false,
    };
    metered
        && to_be_had
        && view.description.capacity.is_none_or(|seen| seen == group.capacity)
        && group.price.is_some_and(|price| price > UsdPerHour::ZERO)
        && group.boot.is_some()
        && group.node_local_data.is_some()
}

/// A group's nodes are in the order of their ids.
fn find(view: &GroupView, id: InstanceId) -> Option<&NodeView> {
    let place = view.nodes.binary_search_by_key(&id, |node| node.id).ok()?;
    view.nodes.get(place)
}

fn is_protected(node: &NodeView, group: &GroupPolicy) -> bool {
    node.protected || group.protected.contains(&node.id)
}

fn has_identity(node: &NodeView, identity: &Identity) -> bool {
    node.launched == identity.launched && node.name == identity.name
}

/// Positive, fresh evidence that nothing lays claim to a node, and that it bears
/// the cordon of this action, or no cordon at all.
fn is_idle(
    node: &NodeView,
    cordoned_for: Option<ActionId>,
    policy: &ClusterPolicy,
    group: &GroupPolicy,
) -> bool {
    let is_as_meant = |cordon: &CordonStatus| match cordoned_for {
        None => *cordon == CordonStatus::Clear,
        Some(action) => cordon.is_for(action),
    };
    let by_scheduler = match &node.scheduler {
        Reading::Fresh { value, .. } => {
            value.condition == Condition::Up
                && value.claims.is_empty()
                && is_as_meant(&value.cordon)
        }
        Reading::Absent | Reading::Stale { .. } | Reading::Partial => false,
    };
    let by_metrics = |rule: &UtilizationRule| match &node.activity {
        Reading::Fresh { value, .. } => is_quiet(value, rule),
        Reading::Absent | Reading::Stale { .. } | Reading::Partial => false,
    };
    match (policy.evidence_source, &group.utilization) {
        (EvidenceSource::Scheduler, None) => by_scheduler,
        (EvidenceSource::Scheduler, Some(rule)) => by_scheduler && by_metrics(rule),
        (EvidenceSource::MetricsOnly, Some(rule)) => by_metrics(rule),
        (EvidenceSource::MetricsOnly, None) => false,
    }
}

fn is_quiet(activity: &Activity, rule: &UtilizationRule) -> bool {
    activity.utilization < rule.idle_below
        && activity.memory < rule.memory_below
        && activity.to.since(activity.from) + rule.period >= rule.window
}

/// Nodes that can be counted on: Running, not on their way out, and either
/// claimed or free for sure.
fn count_live(
    view: &GroupView,
    history: &History,
    policy: &ClusterPolicy,
    group: &GroupPolicy,
) -> NodeCount {
    let live = view.nodes.iter().filter(|node| {
        let running = node.status == InstanceStatus::Running;
        let gone = history.gone.iter().any(|gone| gone.node == node.id);
        if !running || gone || history.actions.contains_key(&node.id) {
            return false;
        }
        match policy.evidence_source {
            EvidenceSource::Scheduler => match &node.scheduler {
                Reading::Fresh { value, .. } => {
                    value.condition == Condition::Up && value.cordon == CordonStatus::Clear
                }
                Reading::Absent | Reading::Stale { .. } | Reading::Partial => false,
            },
            EvidenceSource::MetricsOnly => match (&node.activity, &group.utilization) {
                (Reading::Fresh { value, .. }, Some(rule)) => {
                    let active =
                        value.utilization >= rule.idle_below || value.memory >= rule.memory_below;
                    active || is_quiet(value, rule)
                }
                (_, _) => false,
            },
        }
    });
    NodeCount::of(live.count())
}

/// The highest floor of any minute from now until the look-ahead ends. Windows
/// open and close on whole minutes, so stepping through them misses nothing.
fn highest_floor(group: &GroupPolicy, now: Time) -> NodeCount {
    let base = group.min_nodes.of(group.size).max(group.max_job_nodes.unwrap_or_default());
    let opens = |window: &&KeepWindow| {
        let minute = Span::mins(1);
        let last = now + group.lookahead;
        let next_whole = Time((now.0.div_euclid(minute.0) + 1) * minute.0);
        let minutes = std::iter::successors(Some(next_whole), |at| Some(*at + minute));
        window.is_open(now) || minutes.take_while(|at| *at <= last).any(|at| window.is_open(at))
    };
    group.keep_windows.iter().filter(opens).map(|w| w.min_nodes.of(group.size)).fold(base, Ord::max)
}

/// T* = b + e + λb + (φ + risk)/p, reckoned in whole milliseconds.
fn break_even(group: &GroupPolicy) -> Option<Span> {
    let price = group.price.filter(|price| price.0 > 0)?;
    let boot = group.boot?;
    let risk = match group.regain {
        Regain::Scarce { accepted_risk: Some(risk) } => risk.0,
        Regain::Scarce { accepted_risk: None } | Regain::Plentiful => 0,
    };
    let extra_usd = i128::from(group.boot_failure_cost.0) + i128::from(risk);
    let hour_ms = i128::from(Span::hours(1).0);
    let extra = extra_usd * hour_ms / i128::from(price.0);
    let waiting = i128::from(boot.0) * i128::from(group.delay_value.0) / 10;
    let total = i128::from(boot.0) + i128::from(group.billed_after_delete.0) + waiting + extra;
    Some(Span(i64::try_from(total).unwrap_or(i64::MAX / 8)))
}

/// Nodes that waiting jobs need however well they are packed: whole nodes as
/// asked, and shared GPUs added up. Never more than the packed count.
fn certain_demand(view: &GroupView, group: &GroupPolicy, now: Time) -> u32 {
    let (mut whole, mut shared) = (0u64, 0u64);
    for job in view.pending.iter().flatten() {
        let lacks = |wanted| view.offers.as_ref().is_some_and(|has| !has.contains(wanted));
        let eligible = match job.eligible {
            Eligible::Now => true,
            Eligible::At(at) => at <= now,
            Eligible::Held => false,
        };
        let here = group.partitions.is_empty()
            || job.partitions.iter().any(|p| group.partitions.contains(p));
        let fits = job.nodes <= group.size
            && job.gpus.0 <= group.gpus_per_node.0.saturating_mul(group.size.0);
        if !eligible || !here || !fits || job.requires.iter().any(lacks) {
            continue;
        }
        if job.nodes > NodeCount(1) || job.gpus == MilliGpus(0) {
            whole += u64::from(job.nodes.0.max(1));
        } else {
            shared += u64::from(job.gpus.0);
        }
    }
    let per_node = u64::from(group.gpus_per_node.0);
    let nodes = whole + if per_node == 0 { 0 } else { shared.div_ceil(per_node) };
    u32::try_from(nodes.min(u64::from(group.size.0))).unwrap_or(u32::MAX)
}
