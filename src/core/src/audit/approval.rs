//! Approves a plan after deriving every limit of every mark and release again from the data.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::facts::{
    allows_group_call, certain_demand, cluster_is_calm, count_live, find, group_is_calm,
    has_identity, highest_floor, is_backed_off, is_floor_known, is_idle, is_in_group_call,
    is_paid_as_declared, is_protected, is_short_of_asking, is_worth_it,
};
use super::{Rule, Violation};
use crate::history::{History, OpenAction};
use crate::ids::{ActionId, GroupName, InstanceId};
use crate::plan::{Mark, Plan, Release};
use crate::policy::{
    ClusterPolicy, GroupCalls, GroupPolicy, REQUEST_NODE_LIMIT, Regain, TimerChoice,
};
use crate::reads::InstanceStatus;
use crate::snapshot::{GroupView, NodeView, Snapshot};
use crate::units::{NodeCount, Span, Time};

/// A plan that may be executed. Only [`approve`] creates it.
#[derive(Debug, Clone, PartialEq)]
pub struct ApprovedPlan {
    marks: Vec<Mark>,
    releases: Vec<Release>,
}

impl ApprovedPlan {
    /// Returns the nodes to delete.
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// Returns the actions to release.
    pub fn releases(&self) -> &[Release] {
        &self.releases
    }

    /// Returns the same plan without its marks.
    pub fn without_marks(self) -> Self {
        Self { marks: vec![], ..self }
    }
}

/// Approves a plan.
///
/// # Errors
/// Returns all violations. Then no part of the plan may be executed.
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

    /// Checks marks for a whole-group request: they have the same remainder, cover every listed
    /// node, delete more nodes than one request by ids can, no other action is open, and the policy
    /// allows it.
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
                    && allows_group_call(name, group, self.history)
                    && open.next().is_none()
                    && marks.len() == view.nodes.len()
                    && stay > NodeCount::ZERO
                    && going(marks) > REQUEST_NODE_LIMIT
            }
        };
        self.demand(holds, name, Rule::WholeGroup);
    }

    /// Nodes that were marked for one whole-group request must be released together.
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

    /// Whether the node is not protected, not in a cooldown, old enough, and was not busy recently.
    fn is_free_to_go(&self, name: &GroupName, node: &NodeView, group: &GroupPolicy) -> bool {
        let cool = self.history.cooldowns.get(&node.id).is_none_or(|until| *until <= self.now);
        let state = self.history.groups.get(name);
        let idle_since = state.and_then(|s| s.members.get(&node.id)).and_then(|m| m.idle_since);
        cool && !is_protected(node, group)
            && self.now.since(node.launched) >= group.min_age
            && idle_since.is_some_and(|since| self.now.since(since) >= group.post_job_grace)
    }

    /// Number of nodes that were surplus during the whole idle timer, minus headroom and certain
    /// demand. `None` if the samples do not cover the timer.
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
                // A learned timer must span at least two ticks, so that no decision uses a single
                // sample.
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
        // The value of a run is valid until the next run begins.
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
        // Nodes that a whole-group request keeps are cordoned too, so they count for the share.
        let leaving = open.len() + marks.len();
        // A whole-group request may delete any number of nodes, but the marks must cover every
        // listed node.
        let takes_all = uncharged == open.len() && open.len() + marks.len() == view.nodes.len();
        let request = if takes_all && allows_group_call(name, group, self.history) {
            group.budgets.per_request
        } else {
            group.budgets.per_request.min(REQUEST_NODE_LIMIT)
        };
        let share_of_size = group.budgets.leaving.of_rounded_down(group.size).get();
        let small_group = usize::from(group.budgets.leaving > Default::default() && size > 0);
        uncharged + going.get() <= request.get()
            && within(Span::hours(1), group.budgets.per_hour)
            && within(Span::hours(24), group.budgets.per_day)
            && leaving <= share_of_size.max(small_group)
    }
}

/// Number of nodes that these marks of one group delete.
fn going(marks: &[&Mark]) -> NodeCount {
    let stay = marks.first().and_then(|mark| mark.evidence.remainder);
    NodeCount::of(marks.len()).saturating_sub(stay.unwrap_or(NodeCount::ZERO))
}

/// T* = b + e + λb + (φ + risk)/p, computed in whole milliseconds.
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
