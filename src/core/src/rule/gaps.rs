//! What the idle gaps of a group have been like lately: enough to say what each
//! candidate timer would have cost on them, at any price.
//!
//! A gap is not kept. It goes into the bin between the two candidates that it
//! lies between, and a bin is its number and its length: what a timer would
//! have cost follows from that exactly, because every candidate keeps a node
//! through all gaps of the bins below it and through none of those above.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::BootCost;
use super::levels::Levels;
use crate::units::{Span, Time};

/// The candidate timers, in minutes and half minutes: 0 to 8 hours
/// (`algorithms.md` R2).
pub const CANDIDATES: [Span; 17] = [
    Span::ZERO,
    Span::mins(1),
    Span::mins(2),
    Span::mins(3),
    Span::mins(5),
    Span::secs(450),
    Span::mins(10),
    Span::mins(15),
    Span::mins(20),
    Span::mins(30),
    Span::mins(45),
    Span::mins(60),
    Span::mins(90),
    Span::mins(120),
    Span::mins(180),
    Span::mins(240),
    Span::mins(480),
];

const BINS: usize = CANDIDATES.len() + 1;

/// The time between two fits, and the resolution of the memory.
pub const REFIT: Span = Span::hours(6);

/// How many of those are remembered: 28 days.
pub const REMEMBERED: i64 = 28 * 4;

/// Gaps between two candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Bin {
    gaps: u64,
    /// Their idle node-time.
    idle: i64,
}

/// Gaps by the candidates they lie between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Histogram {
    bins: [Bin; BINS],
}

impl Histogram {
    /// Adds gaps that were idle for `length` and whose end was in sight after
    /// `until_announced`.
    pub fn add(&mut self, gaps: u64, length: Span, until_announced: Span) {
        let place = CANDIDATES.partition_point(|candidate| *candidate < until_announced);
        if let Some(bin) = self.bins.get_mut(place) {
            bin.gaps += gaps;
            bin.idle = bin
                .idle
                .saturating_add(length.0.saturating_mul(i64::try_from(gaps).unwrap_or(i64::MAX)));
        }
    }

    /// How many gaps are in it.
    pub fn gaps(&self) -> u64 {
        self.bins.iter().map(|bin| bin.gaps).sum()
    }

    fn is_empty(&self) -> bool {
        self.bins.iter().all(|bin| bin.gaps == 0)
    }

    /// Takes in the gaps of another group.
    pub fn join(&mut self, other: &Self) {
        for (bin, more) in self.bins.iter_mut().zip(&other.bins) {
            bin.gaps += more.gaps;
            bin.idle = bin.idle.saturating_add(more.idle);
        }
    }

    fn part(&mut self, other: &Self) {
        for (bin, less) in self.bins.iter_mut().zip(&other.bins) {
            bin.gaps = bin.gaps.saturating_sub(less.gaps);
            bin.idle = bin.idle.saturating_sub(less.idle);
        }
    }

    /// What each candidate would have cost on these gaps, in millionths of a
    /// dollar times milliseconds an hour: exact, and only ratios matter.
    pub fn costs(&self, cost: &BootCost) -> [i128; CANDIDATES.len()] {
        let (price, boot_cost) =
            (i128::from(cost.price.0), i128::from(cost.boot_cost.0) * 3_600_000);
        let mut longer = i128::from(self.gaps());
        let mut kept = 0_i128;
        let mut costs = [0; CANDIDATES.len()];
        for ((total, bin), candidate) in costs.iter_mut().zip(&self.bins).zip(&CANDIDATES) {
            longer -= i128::from(bin.gaps);
            kept += i128::from(bin.idle);
            *total = price * (kept + longer * i128::from(candidate.0)) + boot_cost * longer;
        }
        costs
    }
}

/// The gaps of the last 28 days, in the 6-hour spans in which they ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Gaps {
    /// By the number of 6-hour spans since 1970, ascending.
    spans: VecDeque<(i64, Histogram)>,
    /// Their sum.
    total: Histogram,
}

impl Gaps {
    /// The number of the 6-hour span that `at` lies in.
    pub const fn span_of(at: Time) -> i64 {
        at.0.div_euclid(REFIT.0)
    }

    /// Adds gaps that ended at `at`.
    pub fn add(&mut self, at: Time, gaps: u64, length: Span, until_announced: Span) {
        let now = Self::span_of(at);
        if self.spans.back().is_none_or(|(span, _)| *span < now) {
            self.spans.push_back((now, Histogram::default()));
        }
        if let Some((_, histogram)) = self.spans.back_mut() {
            histogram.add(gaps, length, until_announced);
        }
        self.total.add(gaps, length, until_announced);
    }

    /// Forgets what ended more than 28 days before `at`.
    pub fn forget(&mut self, at: Time) {
        let oldest = Self::span_of(at) - REMEMBERED;
        while let Some((_, old)) = self.spans.pop_front_if(|(span, _)| *span < oldest) {
            self.total.part(&old);
        }
        debug_assert!(!self.spans.is_empty() || self.total.is_empty(), "what is left over");
    }

    /// The clock was set back to `at`: what is dated later ended by then.
    pub fn set_back(&mut self, at: Time) {
        let now = Self::span_of(at);
        let mut later = Histogram::default();
        while let Some((_, histogram)) = self.spans.pop_back_if(|(span, _)| *span >= now) {
            later.join(&histogram);
        }
        if !later.is_empty() {
            self.spans.push_back((now, later));
        }
    }

    /// Those gaps and the ones that are still open, whose length is their age.
    /// One that is older than all that is remembered is no longer awaited.
    pub fn with_open(&self, at: Span, levels: &Levels) -> Histogram {
        let mut all = self.total;
        for (idle, announced_after) in levels.idle_by_announcement() {
            let age = at - idle.since;
            if age <= REFIT.times(REMEMBERED) {
                all.add(u64::from(idle.levels.0), age, announced_after.unwrap_or(age));
            }
        }
        all
    }
}
