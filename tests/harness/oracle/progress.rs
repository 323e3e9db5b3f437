//! Checks of liveness: idle nodes are deleted, cordons do not stay, and a killed daemon leaves
//! nothing behind.

use std::collections::{BTreeMap, BTreeSet};

use trimtab_core::ids::{ActionId, GroupName, InstanceId};
use trimtab_core::policy::TimerChoice;
use trimtab_core::units::{NodeCount, Span, Time};
use trimtab_simulator::log::WorldEvent;

use super::checks::{idle_timer, is_metered};
use super::model::{Phase, Place};
use super::{Mode, Oracle, Rule};

/// Longest time for which a node may have a trimtab cordon without leaving (L2). The longest path
/// is a request without an answer (15 minutes and more), a failed release that is retried after an
/// hour, and the faults in between.
const CORDON_BOUND: Span = Span::hours(3);
/// Longest time after a kill for which its cordons may stay (L3).
const KILL_BOUND: Span = Span::hours(2);
/// Number of ticks that a mark may take in addition to the idle timer (L1).
const MARK_TICKS: i64 = 6;

/// State of the liveness checks.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress {
    /// Time since which a group could lose a node.
    surplus_since: BTreeMap<GroupName, Time>,
    /// Cordons that a kill left behind, with their deadlines.
    after_kill: BTreeMap<ActionId, Time>,
    told: BTreeSet<ActionId>,
    /// Times at which nodes of each group were requested for deletion; for the budgets.
    asked: BTreeMap<GroupName, Vec<Time>>,
}

impl Oracle {
    /// Restarts the waiting time of a group when the event changes the group.
    pub(super) fn note_progress(&mut self, event: &WorldEvent) {
        let now = self.model.now;
        let of_id = |id: &InstanceId| self.model.nodes.get(id).map(|node| node.group.clone());
        let group = match event {
            WorldEvent::NodeUp { node, .. }
            | WorldEvent::NodeLeaving { node, .. }
            | WorldEvent::NodeGone { node, .. }
            | WorldEvent::NodeFailed(node) => of_id(node),
            WorldEvent::Drained { node, .. } | WorldEvent::Resumed { node, .. } => {
                self.model.places.get(node).and_then(|place| of_id(&place.holder))
            }
            WorldEvent::NodeLaunched { group, .. } => Some(group.clone()),
            WorldEvent::JobSubmitted(_)
            | WorldEvent::JobStarted { .. }
            | WorldEvent::JobEnded(_)
            | WorldEvent::JobRequeued { .. }
            | WorldEvent::NodeJoined(_)
            | WorldEvent::NodeReplaced { .. }
            | WorldEvent::NodeRefused { .. }
            | WorldEvent::RequestRefused(_)
            | WorldEvent::NodePruned(_)
            | WorldEvent::LeftAlone(_)
            | WorldEvent::GroupShrunk { .. }
            | WorldEvent::Grown { .. }
            | WorldEvent::FaultBegan(_)
            | WorldEvent::FaultEnded(_)
            | WorldEvent::NoTarget(_)
            | WorldEvent::ClockStepped(_)
            | WorldEvent::Called { .. }
            | WorldEvent::Killed { .. }
            | WorldEvent::Revived
            | WorldEvent::Notified(_) => None,
        };
        let Some(group) = group else { return };
        self.progress.surplus_since.remove(&group);
        if let WorldEvent::NodeLeaving { .. } = event {
            self.progress.asked.entry(group).or_default().push(now);
        }
    }

    /// Sets the deadlines of the cordons on living nodes when the daemon is killed.
    pub(super) fn killed(&mut self, at: Time) {
        for action in self.living_cordons().into_keys() {
            self.progress.after_kill.entry(action).or_insert(at + KILL_BOUND);
        }
    }

    /// Returns the trimtab cordons on nodes that are up and not leaving, with their start.
    pub(super) fn living_cordons(&self) -> BTreeMap<ActionId, (InstanceId, Time)> {
        let cordon = |place: &Place| {
            let node = self.model.nodes.get(&place.holder)?;
            let drain = place.drain.as_ref().filter(|_| node.phase == Phase::Up)?;
            let since = drain.since.max(node.up_since);
            Some((self.ours(&drain.reason)?, (place.holder, since)))
        };
        self.model.places.values().filter_map(cordon).collect()
    }

    /// Runs once in every tick, after all reads.
    pub(super) fn tick_ends_reads(&mut self, at: Time) {
        if self.reads.bad.is_empty() && self.is_calm() {
            self.calm_ticks.push(at);
        }
        let cordons = self.living_cordons();
        for (action, (node, since)) in &cordons {
            let age = at.since(*since);
            if age > CORDON_BOUND && self.progress.told.insert(*action) {
                self.breach(Rule::L2, at, format!("{node} has our cordon {action} for {age}"));
            }
            let due = self.progress.after_kill.get(action);
            if due.is_some_and(|due| at > *due) {
                self.progress.after_kill.remove(action);
                let what = format!("{node} still has our cordon {action} after a kill");
                self.breach(Rule::L3, at, what);
            }
        }
        self.progress.after_kill.retain(|action, _| cordons.contains_key(action));
        if self.fault_free && self.mode == Mode::Enforce {
            self.check_idle(at);
        }
    }

    /// Whether no fault keeps the daemon from cleaning up.
    fn is_calm(&self) -> bool {
        let faults = [
            "scheduler-stale",
            "write-times-out-before-acting",
            "write-times-out-after-acting",
            "ledger-fails",
            "suspended",
            "listing-misses-node",
        ];
        !faults.iter().any(|fault| self.model.is_in_force(fault))
    }

    fn check_idle(&mut self, at: Time) {
        let groups: Vec<GroupName> = self.policy.groups.keys().cloned().collect();
        for group in groups {
            if !self.could_lose(&group, at) {
                self.progress.surplus_since.remove(&group);
                continue;
            }
            let since = *self.progress.surplus_since.entry(group.clone()).or_insert(at);
            let Some(policy) = self.group_policy(&group) else { continue };
            let ticks = self.policy.timing.tick.times(MARK_TICKS);
            if policy.timer == TimerChoice::Learned {
                // The oracle does not know the headroom that trimtab has learned.
                continue;
            }
            let tick = self.policy.timing.tick;
            let bound = idle_timer(policy, tick) + ticks + self.listing_lag + self.count_lag;
            if at.since(since) > bound {
                self.progress.surplus_since.remove(&group);
                let what = format!("{group} could lose a node since {since}, and loses none");
                self.breach(Rule::L1, at, what);
            }
        }
    }

    fn could_lose(&mut self, group: &GroupName, at: Time) -> bool {
        let floor = self.floor(group, at);
        let Some(policy) = self.group_policy(group) else { return false };
        let timing = &self.policy.timing;
        let asked = self.progress.asked.get(group);
        let within = |window: Span| {
            let recent = asked.into_iter().flatten().filter(|t| at.since(**t) <= window);
            NodeCount::of(recent.count())
        };
        let budgets = &policy.budgets;
        let has_budget = within(Span::hours(1)) < budgets.per_hour
            && within(Span::hours(24)) < budgets.per_day
            && budgets.per_request > NodeCount::ZERO;
        let metrics = policy
            .utilization
            .map_or(Span::ZERO, |rule| rule.window + rule.period.times(3) + Span::mins(5));
        let idle_for = policy.post_job_grace.max(metrics) + timing.tick.times(2);
        let is_candidate = |place: &&Place| {
            let Some(node) = self.model.nodes.get(&place.holder) else { return false };
            let cool = place.released.is_none_or(|r| at.since(r) > timing.cooldown + timing.tick);
            place.jobs.is_empty()
                && at.since(place.idle_since) > idle_for
                && at.since(node.launched) > policy.min_age
                && cool
                && !node.protected
                && !policy.protected.contains(&place.holder)
        };
        let usable = self.model.usable(group).count() as u32;
        let idle = self.model.usable(group).filter(|place| place.jobs.is_empty()).count() as u32;
        let all: usize =
            self.policy.groups.keys().map(|group| self.model.usable(group).count()).sum();
        let going = self.model.nodes.values().any(|node| {
            node.group == *group && matches!(node.phase, Phase::Leaving(..) | Phase::Failed)
        });
        has_budget
            && is_metered(policy)
            && policy.price.is_some()
            && policy.boot.is_some()
            && !self.frozen
            && !self.paused
            && !going
            && !self.model.is_operating()
            && !self.model.is_arriving(group)
            && self.model.waiting.is_empty()
            && usable > floor
            && NodeCount::of(all) > self.policy.min_nodes
            && idle > policy.min_idle_nodes.0
            && self.model.usable(group).any(|place| is_candidate(&place))
    }
}
