//! Checks of the oracle at each event.

use std::collections::{BTreeMap, BTreeSet};

use trimtab_core::cordon::CordonStatus;
use trimtab_core::ids::{ActionId, GroupName, InstanceId, JobId, NodeName};
use trimtab_core::policy::{GroupPolicy, Regain, TimerChoice};
use trimtab_core::reads::Capacity;
use trimtab_core::units::{NodeCount, Span, Time};
use trimtab_daemon::ports::Notification;
use trimtab_simulator::log::{Call, LogEntry, WorldEvent};
use trimtab_simulator::truth::Caller;

use super::model::Phase;
use super::{Mode, Oracle, Rule, TAIL};

/// Keep windows of the generated policies start and end at multiples of this time.
const WINDOW_STEP: Span = Span::mins(15);
/// Idle counts are kept for this time. No idle timer is longer.
const COUNTS_KEPT: Span = Span::hours(12);

/// What the reads of this tick could show.
#[derive(Debug, Clone, Default)]
pub(super) struct Reads {
    /// Start of the first read.
    pub(super) begun: Option<Time>,
    /// Faults that affected the reads.
    pub(super) bad: Vec<&'static str>,
    /// Time of the scheduler's answer.
    pub(super) as_of: Option<Time>,
    /// Usable nodes of each named group.
    usable: BTreeMap<GroupName, u32>,
    /// Usable nodes when the scheduler's answer last became stale.
    usable_before: BTreeMap<GroupName, u32>,
    arriving: BTreeSet<GroupName>,
    operating: bool,
    /// Sample of these reads, until it is certain that the daemon stored it.
    unstored: Option<Sample>,
}

/// Content of one read of the scheduler.
#[derive(Debug, Clone)]
struct Sample {
    at: Time,
    is_bad: bool,
    busy: Vec<NodeName>,
    idle: BTreeMap<GroupName, u32>,
}

impl Oracle {
    pub(super) fn look_at(&mut self, entry: &LogEntry) {
        if self.pending.is_some_and(|(_, due)| entry.at > due) {
            self.end_read();
        }
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(format!("{} {}", entry.at, entry.event));
        match &entry.event {
            WorldEvent::Called { call, .. } => {
                self.end_read();
                self.model.now = entry.at;
                self.called(*call, entry.at);
            }
            WorldEvent::Killed { .. } => {
                self.end_read();
                self.reads.unstored = None;
                self.killed(entry.at);
            }
            WorldEvent::Revived => {
                // The daemon reads its clocks when it starts.
                self.skew = Some(self.clock_skew(entry.at));
                self.revived.push(entry.at);
            }
            WorldEvent::Drained { node, reason } => self.drained(node, reason, entry.at),
            WorldEvent::Resumed { node, reason } => self.released(node, reason, entry.at),
            WorldEvent::NodeLeaving { node, by: Caller::Daemon, jobs, drained, .. } => {
                self.leaving(*node, jobs, drained.as_deref(), entry.at);
            }
            WorldEvent::GroupShrunk { group, to, by: Caller::Daemon } => {
                self.group_shrunk(group, *to, entry.at);
            }
            WorldEvent::NodeGone { node, jobs } => self.gone(*node, jobs, entry.at),
            WorldEvent::NodeRefused { node, .. } => self.asked(*node, entry.at),
            WorldEvent::Notified(notification) => {
                if let Notification::Frozen { .. } = &**notification {
                    self.frozen = true;
                }
            }
            WorldEvent::FaultBegan(name) => {
                self.fault_at = Some(entry.at);
                if *name == "scheduler-stale" {
                    self.reads.usable_before = self.count_usable();
                }
            }
            WorldEvent::FaultEnded(_) => self.fault_at = Some(entry.at),
            WorldEvent::JobSubmitted(_)
            | WorldEvent::JobStarted { .. }
            | WorldEvent::JobEnded(_)
            | WorldEvent::JobRequeued { .. }
            | WorldEvent::NodeLaunched { .. }
            | WorldEvent::NodeUp { .. }
            | WorldEvent::NodeJoined(_)
            | WorldEvent::NodeFailed(_)
            | WorldEvent::NodeReplaced { .. }
            | WorldEvent::NodeLeaving { .. }
            | WorldEvent::GroupShrunk { .. }
            | WorldEvent::RequestRefused(_)
            | WorldEvent::NodePruned(_)
            | WorldEvent::LeftAlone(_)
            | WorldEvent::Grown { .. }
            | WorldEvent::NoTarget(_)
            | WorldEvent::ClockStepped(_) => {}
        }
        self.note_progress(&entry.event);
        self.model.apply(entry);
        if let WorldEvent::ClockStepped(_) = &entry.event {
            self.offsets.push((entry.at, self.model.offset));
        }
    }

    fn called(&mut self, call: Call, at: Time) {
        let acts = at + self.call_time;
        (self.acting, self.fault_at) = (None, None);
        self.shrinking = None;
        match call {
            Call::Describe => {
                self.store_sample();
                let usable_before = std::mem::take(&mut self.reads.usable_before);
                self.reads = Reads { begun: Some(at), usable_before, ..Reads::default() };
                self.marks.clear();
                self.pending = Some((call, acts));
            }
            Call::List | Call::Workload => self.pending = Some((call, acts)),
            Call::Delete | Call::Shrink => self.delete_called(at),
            Call::Cordon | Call::Release => {
                if self.mode == Mode::Observe {
                    self.breach(Rule::S15, at, format!("{call:?} in observe mode"));
                }
                self.acting = Some((call, acts));
            }
            Call::DescribeNode
            | Call::Recount
            | Call::Details
            | Call::Utilization
            | Call::Switches
            | Call::Lease
            | Call::Gate => {}
        }
    }

    /// Completes the pending read.
    pub(super) fn end_read(&mut self) {
        let Some((call, at)) = self.pending.take() else { return };
        let faults: &[&'static str] = match call {
            Call::Describe => &["throttled-reads", "access-denied"],
            Call::List => &[
                "throttled-reads",
                "access-denied",
                "listing-empty",
                "listing-truncated",
                "listing-duplicate",
            ],
            Call::Workload => &["scheduler-silent", "scheduler-empty", "scheduler-unknown"],
            Call::DescribeNode
            | Call::Recount
            | Call::Details
            | Call::Delete
            | Call::Shrink
            | Call::Cordon
            | Call::Release
            | Call::Utilization
            | Call::Switches
            | Call::Lease
            | Call::Gate => &[],
        };
        let bad = faults.iter().filter(|fault| self.model.is_in_force(fault));
        self.reads.bad.extend(bad);
        match call {
            Call::Describe => {
                self.reads.operating = self.model.is_operating();
                let named = self.policy.groups.keys();
                self.reads.arriving =
                    named.filter(|group| self.model.is_arriving(group)).cloned().collect();
            }
            Call::Workload => self.scheduler_read(at),
            Call::List
            | Call::DescribeNode
            | Call::Recount
            | Call::Details
            | Call::Delete
            | Call::Shrink
            | Call::Cordon
            | Call::Release
            | Call::Utilization
            | Call::Switches
            | Call::Lease
            | Call::Gate => {}
        }
    }

    fn count_usable(&self) -> BTreeMap<GroupName, u32> {
        let named = self.policy.groups.keys();
        named.map(|group| (group.clone(), self.model.usable(group).count() as u32)).collect()
    }

    fn scheduler_read(&mut self, at: Time) {
        let stale = self.model.since("scheduler-stale");
        self.reads.as_of = Some(stale.unwrap_or(at));
        self.reads.usable = self.count_usable();
        if let Some(since) = stale {
            if at.since(since) > self.policy.timing.fresh_for {
                self.reads.bad.push("scheduler-stale");
            }
            for (group, before) in &self.reads.usable_before {
                let usable = self.reads.usable.entry(group.clone()).or_default();
                *usable = (*usable).max(*before);
            }
        }
        let lag = self.listing_lag + self.call_time;
        for (group, usable) in &mut self.reads.usable {
            *usable += self.model.lagging(group, lag);
        }
        // A sample that cannot be written is not a sample; the daemon sees a gap.
        if !self.model.is_in_force("ledger-fails") {
            self.reads.unstored = Some(self.sample(at, lag, stale.is_none()));
        }
        self.check_clocks(at);
        self.tick_ends_reads(at);
    }

    /// Returns the busy nodes and the idle counts. Both are empty if the scheduler repeats an old
    /// answer.
    fn sample(&self, at: Time, lag: Span, is_new: bool) -> Sample {
        let is_bad = !self.reads.bad.is_empty();
        if !is_new {
            return Sample { at, is_bad, busy: vec![], idle: BTreeMap::new() };
        }
        let places = self.model.places.iter().filter(|(_, place)| !place.jobs.is_empty());
        let idle = self.policy.groups.keys().map(|group| {
            let idle = self.model.usable(group).filter(|place| place.jobs.is_empty()).count();
            (group.clone(), idle as u32 + self.model.lagging(group, lag))
        });
        Sample {
            at,
            is_bad,
            busy: places.map(|(name, _)| name.clone()).collect(),
            idle: idle.collect(),
        }
    }

    /// Stores the last sample. The daemon has continued, so the sample is in its ledger.
    pub(super) fn store_sample(&mut self) {
        let Some(Sample { at, is_bad, busy, idle }) = self.reads.unstored.take() else { return };
        if is_bad {
            self.last_bad_read = Some(at);
        }
        for name in busy {
            if let Some(place) = self.model.places.get_mut(&name) {
                place.seen_busy = Some(at);
            }
        }
        for (group, idle) in idle {
            let counts = self.idle.entry(group).or_default();
            counts.push_back((at, idle));
            while counts.front().is_some_and(|(old, _)| at.since(*old) > COUNTS_KEPT) {
                counts.pop_front();
            }
        }
    }

    /// Notes a step that the daemon's two clocks show. Cordons from before the step are void.
    fn check_clocks(&mut self, at: Time) {
        let skew = self.clock_skew(at);
        if let Some(before) = self.skew
            && (skew - before).0.abs() > self.policy.timing.clock_tolerance.0
        {
            self.void_before = Some(at);
        }
        self.skew = Some(skew);
    }

    /// Returns wall clock minus monotonic clock, up to a constant.
    fn clock_skew(&self, at: Time) -> Span {
        let asleep = self.model.since("suspended").map_or(Span::ZERO, |since| at.since(since));
        self.model.offset + self.model.slept + asleep
    }

    fn delete_called(&mut self, at: Time) {
        self.calls.push(at);
        let begun = self.reads.begun.unwrap_or(Time(i64::MIN / 2));
        let age = at.since(begun);
        let mut found: Vec<(Rule, String)> = vec![];
        if self.mode == Mode::Observe {
            found.push((Rule::S15, "Delete in observe mode".to_owned()));
        }
        if !self.reads.bad.is_empty() {
            found.push((Rule::S2, format!("deletes after reads with {:?}", self.reads.bad)));
        }
        if self.frozen {
            found.push((Rule::S7, "deletes while frozen".to_owned()));
        }
        if self.model.is_in_force("lease-lost") {
            found.push((Rule::S12, "deletes without the lease".to_owned()));
        }
        if age > self.policy.timing.max_look_age {
            found.push((Rule::S13, format!("deletes {age} after its reads began")));
        }
        if self.paused || self.model.is_in_force("paused") {
            found.push((Rule::S14, "deletes while paused".to_owned()));
        }
        for fault in ["cluster-updating", "rival-autoscaler"] {
            if self.model.since(fault).is_some_and(|since| since <= begun) {
                found.push((Rule::S16, format!("deletes during {fault}")));
            }
        }
        if self.reads.operating {
            found.push((Rule::S16, "deletes while a classic cluster is Updating".to_owned()));
        }
        for (rule, what) in found {
            self.breach(rule, at, what);
        }
    }

    /// Checks every node id of a request.
    fn asked(&mut self, id: InstanceId, at: Time) {
        let Some(node) = self.model.nodes.get(&id).cloned() else {
            self.breach(Rule::S8, at, format!("asks for {id}, which never was"));
            return;
        };
        let policy = self.policy.groups.get(&node.group);
        let kept = policy.is_some_and(|policy| policy.protected.contains(&id));
        if policy.is_none() || !self.model.is_worker(&node.group) {
            self.breach(Rule::S8, at, format!("asks for {id} of {}", node.group));
        }
        if node.protected || kept {
            self.breach(Rule::S10, at, format!("asks for {id}, which is protected"));
        }
    }

    fn leaving(&mut self, id: InstanceId, jobs: &[JobId], drained: Option<&str>, at: Time) {
        self.asked(id, at);
        let Some(node) = self.model.nodes.get(&id).cloned() else { return };
        let begun = self.reads.begun.unwrap_or(at);
        let place = self.model.places.get(&node.name);
        let lost = place.and_then(|place| place.cordon_lost).is_some_and(|lost| lost >= begun);
        if !jobs.is_empty() && !lost {
            self.breach(Rule::S1, at, format!("{id} leaves with jobs {jobs:?}"));
        }
        match drained.and_then(|reason| self.ours(reason)) {
            Some(action) => self.cordoned_leaving(id, action, at),
            None if lost => {}
            None => self.breach(Rule::S1, at, format!("{id} leaves drained as {drained:?}")),
        }
        if let Some((group, _)) = self.shrinking.clone()
            && group == node.group
        {
            self.shrunk.entry(group).or_default().insert(id);
        }
        self.check_floors(&node.group, at);
        if self.reads.arriving.contains(&node.group) {
            self.breach(Rule::S16, at, format!("{id} leaves while {} is scaling", node.group));
        }
    }

    /// Checks a request by count. HyperPod may choose any node of the group, so every node must
    /// satisfy the rules of a request by id.
    fn group_shrunk(&mut self, group: &GroupName, to: NodeCount, at: Time) {
        self.shrinking = Some((group.clone(), to.0));
        let begun = self.reads.begun.unwrap_or(at);
        let mut found = vec![];
        let mut there = 0;
        for (id, node) in self.model.nodes.iter().filter(|(_, node)| node.group == *group) {
            match node.phase {
                Phase::Up => {}
                // A node that was added after the last reads is no breach.
                Phase::Grown | Phase::Replacing if node.launched >= begun => continue,
                Phase::Grown | Phase::Replacing | Phase::Failed => {
                    found.push(format!("{group} shrinks with {id} {:?}", node.phase));
                    continue;
                }
                Phase::Leaving(..) | Phase::Replaced | Phase::Gone => continue,
            }
            there += 1;
            let Some(place) = self.model.places.get(&node.name) else {
                found.push(format!("{group} shrinks with {id}, which no scheduler knows"));
                continue;
            };
            let lost = place.cordon_lost.is_some_and(|lost| lost >= begun);
            let ours = place.drain.as_ref().and_then(|drain| self.ours(&drain.reason));
            let settled =
                ours.and_then(|action| self.cordoned.get(&action)).is_some_and(|cordoned| {
                    let settled = cordoned.at + self.policy.timing.settle;
                    cordoned.node == Some(*id) && self.reads.as_of.is_some_and(|at| at >= settled)
                });
            if !place.jobs.is_empty() && !lost {
                found.push(format!("{group} shrinks with jobs {:?} on {id}", place.jobs));
            }
            if !settled && !lost {
                found.push(format!("{group} shrinks with {id} drained as {:?}", place.drain));
            }
        }
        if there <= to.0 {
            found.push(format!("{group} shrinks from {there} to {to}"));
        }
        for what in found {
            self.breach(Rule::S8b, at, what);
        }
    }

    fn cordoned_leaving(&mut self, id: InstanceId, action: ActionId, at: Time) {
        let Some(cordoned) = self.cordoned.get(&action).cloned() else {
            self.breach(Rule::S1, at, format!("{id} leaves, and action {action} never cordoned"));
            return;
        };
        let settled = cordoned.at + self.policy.timing.settle;
        if self.reads.as_of.is_some_and(|as_of| as_of < settled) {
            let as_of = self.reads.as_of;
            let what = format!("{id} leaves: cordoned at {}, answer of {as_of:?}", cordoned.at);
            self.breach(Rule::S1, at, what);
        }
        if cordoned.node != Some(id) {
            let what = format!("{id} leaves by action {action} of {:?}", cordoned.node);
            self.breach(Rule::S9, at, what);
        }
        if self.void_before.is_some_and(|void| cordoned.at < void) {
            let what = format!("{id} leaves: cordoned at {}, clocks parted since", cordoned.at);
            self.breach(Rule::S20, at, what);
        }
    }

    fn check_floors(&mut self, group: &GroupName, at: Time) {
        // The nodes that a request by count keeps are released right after it.
        let back = match &self.shrinking {
            Some((shrinking, stay)) if shrinking == group => *stay,
            Some(_) | None => 0,
        };
        let usable = self.reads.usable.get(group).copied().unwrap_or(0) + back;
        let floor = self.floor(group, at);
        if usable < floor {
            self.breach(Rule::S5, at, format!("{group} has {usable} live, floor {floor}"));
        }
        let all: u32 = self.reads.usable.values().sum::<u32>() + back;
        if NodeCount(all) < self.policy.min_nodes {
            let what = format!("the cluster has {all} live, floor {}", self.policy.min_nodes);
            self.breach(Rule::S5, at, what);
        }
    }

    /// Returns the highest floor within the look-ahead, plus the headroom.
    pub(super) fn floor(&mut self, group: &GroupName, at: Time) -> u32 {
        let from = self.wall(at);
        let Some(policy) = self.policy.groups.get(group) else { return 0 };
        let until = from + policy.lookahead;
        let step = WINDOW_STEP.0;
        let mut highest = policy.min_nodes.of(policy.size).0;
        let whole = from.0.div_euclid(step)..=until.0.div_euclid(step);
        for quarter in whole.filter(|_| !policy.keep_windows.is_empty()) {
            let key = (group.clone(), quarter);
            let floor =
                self.floors.entry(key).or_insert_with(|| policy.floor_at(Time(quarter * step)).0);
            highest = highest.max(*floor);
        }
        highest + policy.min_idle_nodes.0
    }

    fn gone(&mut self, id: InstanceId, jobs: &[JobId], at: Time) {
        let Some(node) = self.model.nodes.get(&id) else { return };
        let Phase::Leaving(Caller::Daemon, since) = node.phase else { return };
        let place = self.model.places.get(&node.name);
        let lost = place.and_then(|place| place.cordon_lost);
        // The look for this request was in the same tick.
        let excused = lost.is_some_and(|lost| lost + self.policy.timing.max_look_age >= since);
        if !jobs.is_empty() && !excused {
            self.breach(Rule::S1, at, format!("{id} is gone with jobs {jobs:?}"));
        }
    }

    /// Returns the action of a trimtab cordon's reason.
    pub(super) fn ours(&self, reason: &str) -> Option<ActionId> {
        match CordonStatus::of_reason(reason, &self.ledger) {
            CordonStatus::Ours { actions } => Some(actions.first()),
            CordonStatus::Clear
            | CordonStatus::Foreign { .. }
            | CordonStatus::Recovery
            | CordonStatus::Operator { .. } => None,
        }
    }
}

/// Returns the shortest idle timer that can be active, computed independently. A learned timer is
/// at least two ticks.
pub(super) fn idle_timer(policy: &GroupPolicy, tick: Span) -> Span {
    if policy.timer == TimerChoice::Learned {
        return tick.times(2);
    }
    let TimerChoice::Fixed(tau) = policy.timer else {
        let (Some(price), Some(boot)) = (policy.price, policy.boot) else { return Span::ZERO };
        let risk = match policy.regain {
            Regain::Scarce { accepted_risk: Some(risk) } => risk.as_dollars(),
            Regain::Scarce { accepted_risk: None } | Regain::Plentiful => 0.0,
        };
        let extra_hours =
            (policy.boot_failure_cost.as_dollars() + risk) / price.as_dollars().max(1e-9);
        let waiting = policy.delay_value.of(boot);
        let known = boot + policy.billed_after_delete + waiting;
        // One second shorter, because rounding is not checked.
        return known + Span((extra_hours * 3_600_000.0) as i64) - Span::secs(1);
    };
    tau
}

/// Whether a deletion saves money.
pub(super) fn is_metered(policy: &GroupPolicy) -> bool {
    match policy.capacity {
        Capacity::OnDemand | Capacity::Spot => true,
        Capacity::TrainingPlan | Capacity::Reserved => false,
    }
}
