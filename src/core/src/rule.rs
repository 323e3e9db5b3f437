//! The count rule: how many nodes of a group are surplus.
//!
//! The rule watches the idle *count* of a group, not single nodes. Whichever nodes the scheduler
//! leaves idle, `k` of them are surplus for τ exactly if the idle count never fell below `k`
//! during τ (docs/cost-rule.md, sections 2 and 7). R is the number of nodes that left {Busy, Idle}
//! so far; a change between Busy and Idle does not count.
//!
//! ```text
//! surplus(t) = min over s in [t-τ, t] of (free(s) + R(s)) - R(t)     at least 0
//! ```
//!
//! The surplus is not defined until samples cover the window. R prevents a second deletion of the
//! same surplus on counts that are older than the first one. If every deletion takes effect at
//! once and no other node leaves, exactly `max over [t-τ, t] of demand` stays (property test
//! `a_clean_curve_is_followed_exactly`).
//!
//! [`GroupState`] is a fold over [`Sample`]s, in amortised O(1) for each. [`learned`] learns the
//! best τ from the same samples. The daemon, the meters and the backtest share that fold.

mod cost;
pub mod gaps;
pub mod headroom;
pub mod learned;
pub mod levels;
pub mod meter;

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::ids::InstanceId;
pub use cost::{BootCost, Costing, boot_cost};

use crate::policy::{GroupPolicy, TimerChoice, Timing};
use crate::rule::learned::{Demand, Learner, OTHERS_TIMER, TimerTerms};
use crate::units::{NodeCount, Span, Time};

/// Counts of one group in one sample: one number of nodes for each [`Class`], the nodes that
/// waiting jobs would take, and the floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Nodes with a claim: a job, a reservation, a planned job or an unknown scheduler state.
    pub busy: NodeCount,
    /// Nodes without a claim.
    pub idle: NodeCount,
    /// Nodes whose status is unrecognised, or whose evidence is missing, stale, partial or
    /// ambiguous.
    pub unknown: NodeCount,
    /// Nodes that start, are updated, are health-checked, or have not joined the scheduler yet.
    pub arriving: NodeCount,
    /// Nodes with an open action, and nodes that shut down.
    pub leaving: NodeCount,
    /// Nodes that failed, are down, are in recovery, or were drained by an operator.
    pub impaired: NodeCount,
    /// Nodes that waiting jobs would take now, packed on empty nodes (q).
    pub queued: NodeCount,
    /// Nodes for jobs that become eligible within the look-ahead and are not in q (V).
    #[serde(default)]
    pub upcoming: NodeCount,
    /// Floor in force, with look-ahead and `min_idle_nodes`.
    #[serde(default)]
    pub floor: NodeCount,
}

impl Counts {
    /// Live nodes: busy and idle. Only these satisfy a floor.
    pub fn live(&self) -> NodeCount {
        self.busy + self.idle
    }

    /// Idle nodes that no waiting job would take: idle − q, at least 0.
    pub fn free(&self) -> NodeCount {
        self.idle.saturating_sub(self.queued)
    }

    /// Nodes that are needed or may be needed: busy + unknown + q.
    pub fn demand(&self) -> NodeCount {
        self.busy + self.unknown + self.queued
    }

    /// Input of one step of a [`Learner`]: demand, V and floor.
    pub fn levels(&self) -> Demand {
        Demand { nodes: self.demand(), upcoming: self.upcoming, floor: self.floor }
    }
}

/// One sample: the counts of one group in one complete snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Time of the snapshot.
    pub at: Time,
    /// Counts at that time.
    pub counts: Counts,
    /// Nodes that left {Busy, Idle} since the first sample, up to and including this one (R). It
    /// never falls. A change between Busy and Idle does not count.
    pub departed: u64,
}

impl Sample {
    /// free(s) + R(s). The surplus is the minimum of this value over the window, minus R now.
    fn level(&self) -> i64 {
        i64::from(self.counts.free().0) + i64::try_from(self.departed).unwrap_or(i64::MAX / 2)
    }
}

/// Consecutive samples with equal counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleRun {
    /// Time of the first sample.
    pub from: Time,
    /// Time of the last sample.
    pub to: Time,
    /// Counts of each sample in the run.
    pub counts: Counts,
    /// R of each sample in the run.
    pub departed: u64,
}

/// State of one node that is kept between two samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Class in the last sample.
    pub class: Class,
    /// Start of the time in which every sample showed the node Idle. `None` if it is not Idle, or
    /// if the window ended since.
    pub idle_since: Option<Time>,
    /// Whether the scheduler has ever listed the node. A node that joined and is no longer listed
    /// is Unknown; a node that never joined is Arriving.
    pub joined: bool,
}

/// Class of a node (docs/cost-rule.md, section 1). Each node is in exactly one class: the first
/// that matches, in the order of this list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Class {
    /// It has an open action, its status is ShuttingDown, or trimtab deleted it and it is listed
    /// again.
    Leaving,
    /// It failed, is down, is in HyperPod recovery, or has a drain that no open action explains.
    Impaired,
    /// Its status is Pending, SystemUpdating or DeepHealthCheck, or it has not joined the scheduler
    /// yet or is rebooting there.
    Arriving,
    /// Its status is unrecognised, or its evidence is missing, stale, partial or ambiguous.
    Unknown,
    /// The scheduler shows a claim on it; without a scheduler, its metrics show work.
    Busy,
    /// None of the above.
    Idle,
}

impl Class {
    /// Whether R counts a departure from this class. A node that turns Unknown counts as departed:
    /// otherwise the rule could delete more nodes with less data.
    pub const fn is_working(self) -> bool {
        match self {
            Self::Busy | Self::Idle => true,
            Self::Unknown | Self::Leaving | Self::Impaired | Self::Arriving => false,
        }
    }

    /// Returns the class as one lower-case word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Leaving => "leaving",
            Self::Impaired => "impaired",
            Self::Arriving => "arriving",
            Self::Unknown => "unknown",
            Self::Busy => "busy",
            Self::Idle => "idle",
        }
    }
}

/// What trimtab keeps of one group between ticks.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GroupState {
    /// Nodes of the last sample.
    pub members: BTreeMap<InstanceId, Member>,
    /// Samples of the current window, newest last.
    pub runs: VecDeque<SampleRun>,
    /// Largest number of workers that was ever listed.
    pub largest: NodeCount,
    /// R: nodes that left {Busy, Idle} since the first sample.
    pub departed: u64,
    /// State of the learned timer and of the meters; `None` before the first sample.
    pub learner: Option<Learner>,
    /// Time of the newest sample. It stays when the window ends.
    pub last_seen: Option<Time>,
    /// Start of the window: since then samples follow one another without a gap.
    window_start: Option<Time>,
    /// Suffix minima of free + R. An entry is the lowest level of every window that starts at or
    /// after its time and before the time of the next entry. Times and levels both ascend
    /// strictly.
    minima: VecDeque<(Time, i64)>,
}

impl GroupState {
    /// How long samples are kept: 7 days. A longer idle timer never expires, because a boot that
    /// costs more than a week of a node's price is not worth a deletion.
    pub const HORIZON: Span = Span::hours(7 * 24);

    /// Whether a sample at `at` continues the window: at most `max_gap` after the last sample, and
    /// not before it.
    pub fn is_watched(&self, at: Time, max_gap: Span) -> bool {
        self.last_sample().is_some_and(|last| at >= last && at.since(last) <= max_gap)
    }

    /// Adds the next sample. A sample that does not continue the window starts a new one. This
    /// does not step the learner.
    pub fn fold(&mut self, sample: Sample, max_gap: Span) {
        if !self.runs.is_empty() && !self.is_watched(sample.at, max_gap) {
            self.end_window();
        }
        self.departed = sample.departed;
        self.last_seen = Some(sample.at);
        self.window_start.get_or_insert(sample.at);
        match self.runs.back_mut() {
            Some(run) if run.counts == sample.counts && run.departed == sample.departed => {
                run.to = sample.at;
            }
            Some(_) | None => self.runs.push_back(SampleRun {
                from: sample.at,
                to: sample.at,
                counts: sample.counts,
                departed: sample.departed,
            }),
        }
        let level = sample.level();
        let mut from = sample.at;
        while let Some((reaches_back, _)) = self.minima.pop_back_if(|(_, back)| *back >= level) {
            from = reaches_back;
        }
        self.minima.push_back((from, level));
        let oldest = sample.at - Self::HORIZON;
        while self.runs.front().is_some_and(|run| run.to < oldest) {
            self.runs.pop_front();
        }
        while self.minima.get(1).is_some_and(|(at, _)| *at <= oldest) {
            self.minima.pop_front();
        }
    }

    /// Ends the window: forgets the samples and the idle times of all nodes, because time was not
    /// watched or the samples are in doubt. R, the members and the learner stay.
    pub fn end_window(&mut self) {
        self.runs.clear();
        self.minima.clear();
        self.window_start = None;
        for member in self.members.values_mut() {
            member.idle_since = None;
        }
    }

    /// Returns the start of the window; `None` without a sample.
    pub fn covered_since(&self) -> Option<Time> {
        self.window_start
    }

    /// Returns the time of the newest sample of the window; `None` without a sample.
    pub fn last_sample(&self) -> Option<Time> {
        self.runs.back().map(|run| run.to)
    }

    /// Returns the number of nodes that were surplus throughout `[now - tau, now]`, without the
    /// nodes that left since (docs/cost-rule.md, section 2). Returns `None` if samples do not
    /// cover that window, if no sample was taken at `now`, or if `tau` is longer than
    /// [`GroupState::HORIZON`].
    pub fn surplus(&self, tau: Span, now: Time) -> Option<NodeCount> {
        let start = now - tau;
        if tau > Self::HORIZON || self.covered_since()? > start || self.last_sample()? != now {
            return None;
        }
        // A sample holds until the next one, so the window begins with the last sample at or
        // before its start.
        let after = self.minima.partition_point(|(at, _)| *at <= start);
        let (_, level) = self.minima.get(after.saturating_sub(1))?;
        let departed = i64::try_from(self.departed).unwrap_or(i64::MAX / 2);
        let surplus = (level - departed).max(0);
        Some(NodeCount(u32::try_from(surplus).unwrap_or(u32::MAX)))
    }

    /// Returns the time at which the surplus reaches `wanted` if the counts stay as they are; the
    /// time may be in the past. Returns `None` if the surplus never reaches it.
    pub fn surplus_from(&self, wanted: NodeCount, tau: Span) -> Option<Time> {
        let departed = i64::try_from(self.departed).unwrap_or(i64::MAX / 2);
        let level = departed + i64::from(wanted.0);
        // Levels ascend: the first one that is high enough holds from its time on.
        let enough = self.minima.partition_point(|(_, least)| *least < level);
        let (since, _) = self.minima.get(enough)?;
        let since = (*since).max(self.covered_since()?);
        (tau <= Self::HORIZON).then_some(since + tau)
    }
}

/// A rule that returns the idle timer τ of a group.
pub trait Timer {
    /// Returns τ at `now`, from the group's past and the cost of a boot. [`Span::FOREVER`] means
    /// that no node is ever surplus.
    fn tau(&self, state: &GroupState, cost: &BootCost, now: Time) -> Span;
}

impl Timer for TimerChoice {
    fn tau(&self, state: &GroupState, cost: &BootCost, _: Time) -> Span {
        match self {
            // Prepaid capacity is never deleted to save money, however short the timer is.
            Self::Fixed(_) | Self::Learned if cost.break_even.is_forever() => Span::FOREVER,
            Self::Fixed(tau) => *tau,
            Self::BreakEven => cost.break_even,
            Self::Learned => {
                let learned = state.learner.as_ref().and_then(Learner::timer);
                learned.unwrap_or(cost.break_even)
            }
        }
    }
}

/// Costs and limits of a group's timers. Returns `None` if the price or the boot time is unknown,
/// or if the capacity is prepaid.
pub fn terms(policy: &GroupPolicy, timing: &Timing) -> Option<TimerTerms> {
    let cost = boot_cost(policy).filter(|cost| !cost.break_even.is_forever())?;
    let fixed = match policy.timer {
        TimerChoice::Fixed(tau) => tau,
        TimerChoice::BreakEven | TimerChoice::Learned => OTHERS_TIMER,
    };
    // One sample is not enough to call a node idle, so no timer is shorter than two ticks.
    Some(TimerTerms { cost, fixed, shortest: timing.tick.times(2) })
}

#[cfg(test)]
mod tests;
