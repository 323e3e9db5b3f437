//! The count rule: how many nodes a group can spare.
//!
//! A group's idle *count* is watched, not its nodes: whichever nodes the
//! scheduler happens to leave idle, `k` of them were surplus for τ exactly when
//! the idle count never fell below `k` during τ. With R the number of nodes
//! that ever left {Busy, Idle} other than into each other,
//!
//! ```text
//! surplus(t) = min over s in [t-τ, t] of (free(s) + R(s)) - R(t)
//! ```
//!
//! and 0 unless samples cover the window. R keeps the rule from deleting twice
//! on counts that are older than its own deletions: on a clean curve the group
//! follows x - max d exactly (a property test demands it).
//!
//! [`GroupState`] is a fold over [`Sample`]s, O(1) amortised each. Which τ is
//! best is learned from the same samples ([`learned`]), by a fold that the
//! daemon, the meters beside it and the backtester share.

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

/// What one sample counted in one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Nodes something lays claim to.
    pub busy: NodeCount,
    /// Nodes nothing lays claim to.
    pub idle: NodeCount,
    /// Nodes whose evidence source is missing, stale or partial.
    pub unknown: NodeCount,
    /// Nodes on their way in.
    pub arriving: NodeCount,
    /// Nodes on their way out.
    pub leaving: NodeCount,
    /// Nodes that are of no use now.
    pub impaired: NodeCount,
    /// Nodes that fitting pending jobs would take now, packed (q).
    pub queued: NodeCount,
    /// Nodes for jobs that become eligible soon and are not in q (V).
    #[serde(default)]
    pub upcoming: NodeCount,
    /// The floor in force, look-ahead and headroom included.
    #[serde(default)]
    pub floor: NodeCount,
}

impl Counts {
    /// Nodes that can be counted on: busy and idle ones.
    pub fn live(&self) -> NodeCount {
        self.busy + self.idle
    }

    /// Idle nodes that no pending job would take.
    pub fn free(&self) -> NodeCount {
        self.idle.saturating_sub(self.queued)
    }

    /// Nodes in use, perhaps in use, or about to be.
    pub fn demand(&self) -> NodeCount {
        self.busy + self.unknown + self.queued
    }

    /// What a [`Learner`] steps by.
    pub fn levels(&self) -> Demand {
        Demand { nodes: self.demand(), upcoming: self.upcoming, floor: self.floor }
    }
}

/// One sample of one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// When it was taken.
    pub at: Time,
    /// What it counted.
    pub counts: Counts,
    /// How many nodes ever left {Busy, Idle} by any way other than into each
    /// other, up to and including this sample (R).
    pub departed: u64,
}

impl Sample {
    /// free(s) + R(s), what the window's minimum is taken of.
    fn level(&self) -> i64 {
        i64::from(self.counts.free().0) + i64::try_from(self.departed).unwrap_or(i64::MAX / 2)
    }
}

/// A run of samples that counted the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleRun {
    /// The first sample's time.
    pub from: Time,
    /// The last sample's time.
    pub to: Time,
    /// What they counted.
    pub counts: Counts,
    /// R of all of them.
    pub departed: u64,
}

/// What is remembered of one node of the working set between samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The class it was last seen in.
    pub class: Class,
    /// Since when it was Idle in every sample, if it is.
    pub idle_since: Option<Time>,
    /// Whether its scheduler ever knew it: a node that was known and is not
    /// any more is Unknown, one that never was has not joined yet.
    pub joined: bool,
}

/// The classes of design section 4, first match wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Class {
    /// An open action, or ShuttingDown.
    Leaving,
    /// Failed, down, drained by others or in recovery.
    Impaired,
    /// Pending, health check, updating, rebooting, not joined yet.
    Arriving,
    /// A evidence source of the count is missing, stale or partial.
    Unknown,
    /// Something lays claim to it.
    Busy,
    /// Nothing does.
    Idle,
}

impl Class {
    /// Whether it belongs to the set whose departures R counts. A node that
    /// turns Unknown may have left for good, so it counts as departed: with
    /// less data the rule must not spare more nodes than with all of it.
    pub const fn is_working(self) -> bool {
        match self {
            Self::Busy | Self::Idle => true,
            Self::Unknown | Self::Leaving | Self::Impaired | Self::Arriving => false,
        }
    }

    /// The class in one lower-case word.
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

/// What is remembered of one group.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GroupState {
    /// The nodes of the last sample.
    pub members: BTreeMap<InstanceId, Member>,
    /// Samples of the unbroken window, newest last.
    pub runs: VecDeque<SampleRun>,
    /// The most workers ever listed.
    pub largest: NodeCount,
    /// R.
    pub departed: u64,
    /// What was learned of its demand; `None` before the first sample.
    pub learner: Option<Learner>,
    /// When the newest sample was taken, whether the window ended since or not.
    pub last_seen: Option<Time>,
    /// Since when samples follow one another without a gap.
    window_start: Option<Time>,
    /// Suffix minima of free + R: the lowest level of every window that starts
    /// at or after the entry's time and before the next entry's. Times and
    /// levels both ascend strictly.
    minima: VecDeque<(Time, i64)>,
}

impl GroupState {
    /// How far back samples are kept. An idle timer longer than this never
    /// runs out: a boot that costs more than a week of a node's price is not
    /// worth trimming for.
    pub const HORIZON: Span = Span::hours(7 * 24);

    /// Whether a sample at `at` goes on from the last one: at most `max_gap`
    /// behind it, and not before it.
    pub fn is_watched(&self, at: Time, max_gap: Span) -> bool {
        self.last_sample().is_some_and(|last| at >= last && at.since(last) <= max_gap)
    }

    /// Takes in the next sample. One that does not go on from the last one
    /// starts a new window. The learner is not stepped by this.
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

    /// Forgets the samples: nobody watched, or what was seen is in doubt. R
    /// stays, and so do the members, but none of them is idle since any time.
    pub fn end_window(&mut self) {
        self.runs.clear();
        self.minima.clear();
        self.window_start = None;
        for member in self.members.values_mut() {
            member.idle_since = None;
        }
    }

    /// Since when samples follow one another without a gap.
    pub fn covered_since(&self) -> Option<Time> {
        self.window_start
    }

    /// The newest sample's time.
    pub fn last_sample(&self) -> Option<Time> {
        self.runs.back().map(|run| run.to)
    }

    /// How many nodes were surplus all through `[now - tau, now]`, over and
    /// above those that left meanwhile; `None` while samples do not cover
    /// that window.
    pub fn surplus(&self, tau: Span, now: Time) -> Option<NodeCount> {
        let start = now - tau;
        if tau > Self::HORIZON || self.covered_since()? > start || self.last_sample()? != now {
            return None;
        }
        // A sample holds until the next one, so the last one at or before the
        // window's start is in force there.
        let after = self.minima.partition_point(|(at, _)| *at <= start);
        let (_, level) = self.minima.get(after.saturating_sub(1))?;
        let departed = i64::try_from(self.departed).unwrap_or(i64::MAX / 2);
        let surplus = (level - departed).max(0);
        Some(NodeCount(u32::try_from(surplus).unwrap_or(u32::MAX)))
    }

    /// When the surplus would be `wanted`, if nothing changed any more; `None`
    /// if it never would.
    pub fn surplus_from(&self, wanted: NodeCount, tau: Span) -> Option<Time> {
        let departed = i64::try_from(self.departed).unwrap_or(i64::MAX / 2);
        let level = departed + i64::from(wanted.0);
        // Levels ascend: the first that is high enough holds from its time on.
        let enough = self.minima.partition_point(|(_, least)| *least < level);
        let (since, _) = self.minima.get(enough)?;
        let since = (*since).max(self.covered_since()?);
        (tau <= Self::HORIZON).then_some(since + tau)
    }
}

/// Finds the idle timer τ of a group.
pub trait Timer {
    /// τ now, from what the group's past shows and what a boot costs.
    fn tau(&self, state: &GroupState, cost: &BootCost, now: Time) -> Span;
}

impl Timer for TimerChoice {
    fn tau(&self, state: &GroupState, cost: &BootCost, _: Time) -> Span {
        match self {
            // A node that is paid for anyway is not deleted for money, however
            // short the timer.
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

/// What a group's timers go by; `None` while price or boot time is unknown, and
/// where a node is paid for anyway.
pub fn terms(policy: &GroupPolicy, timing: &Timing) -> Option<TimerTerms> {
    let cost = boot_cost(policy).filter(|cost| !cost.break_even.is_forever())?;
    let fixed = match policy.timer {
        TimerChoice::Fixed(tau) => tau,
        TimerChoice::BreakEven | TimerChoice::Learned => OTHERS_TIMER,
    };
    // On one sample nothing is called idle.
    Some(TimerTerms { cost, fixed, shortest: timing.tick.times(2) })
}

#[cfg(test)]
mod tests;
