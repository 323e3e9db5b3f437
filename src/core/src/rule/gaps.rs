//! Histogram of the recent idle gaps of a group. It is enough to compute the cost of each
//! candidate timer on these gaps, at any price.
//!
//! A gap goes into a bin between two candidates. A bin stores only a number of gaps and their
//! total length. The cost of each candidate still follows exactly, because a candidate keeps a
//! node through all gaps in the bins below it and through none above it (docs/cost-rule.md,
//! section 8).

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::BootCost;
use super::levels::Levels;
use crate::units::{Span, Time};

/// Candidate timers, from 0 to 480 minutes (docs/cost-rule.md, section 8).
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

/// Time between two fits: 6 hours. It is also the resolution of the memory.
pub const REFIT: Span = Span::hours(6);

/// Number of 6-hour spans that are remembered: 28 days.
pub const REMEMBERED: i64 = 28 * 4;

/// Gaps between two candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Bin {
    gaps: u64,
    /// Total idle time of the gaps, in node-milliseconds.
    idle: i64,
}

/// Gaps by the two candidates between which they lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Histogram {
    bins: [Bin; BINS],
}

impl Histogram {
    /// Adds `gaps` gaps of the given length each, whose end was announced at the age
    /// `until_announced`. For gaps that were not announced both are equal.
    pub fn add(&mut self, gaps: u64, length: Span, until_announced: Span) {
        let place = CANDIDATES.partition_point(|candidate| *candidate < until_announced);
        if let Some(bin) = self.bins.get_mut(place) {
            bin.gaps += gaps;
            bin.idle = bin
                .idle
                .saturating_add(length.0.saturating_mul(i64::try_from(gaps).unwrap_or(i64::MAX)));
        }
    }

    /// Returns the number of gaps.
    pub fn gaps(&self) -> u64 {
        self.bins.iter().map(|bin| bin.gaps).sum()
    }

    fn is_empty(&self) -> bool {
        self.bins.iter().all(|bin| bin.gaps == 0)
    }

    /// Adds the gaps of another histogram.
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

    /// Returns what each candidate would have cost on these gaps. The unit is a millionth of a
    /// dollar per hour times a millisecond: the result is exact, and only ratios of it are used.
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

/// Gaps that ended in the last 28 days, by the 6-hour span in which they ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Gaps {
    /// Histograms by the number of 6-hour spans since 1970, ascending.
    spans: VecDeque<(i64, Histogram)>,
    /// Sum of the histograms.
    total: Histogram,
}

impl Gaps {
    /// Returns the number of the 6-hour span that contains `at`, counted from 1970.
    pub const fn span_of(at: Time) -> i64 {
        at.0.div_euclid(REFIT.0)
    }

    /// Adds `gaps` gaps that ended at `at`. See [`Histogram::add`].
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

    /// Forgets gaps that ended more than 28 days before `at`.
    pub fn forget(&mut self, at: Time) {
        let oldest = Self::span_of(at) - REMEMBERED;
        while let Some((_, old)) = self.spans.pop_front_if(|(span, _)| *span < oldest) {
            self.total.part(&old);
        }
        debug_assert!(!self.spans.is_empty() || self.total.is_empty(), "no span holds the gaps");
    }

    /// The clock was set back to `at`: moves gaps with a later date into the span of `at`.
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

    /// Returns the remembered gaps together with the open ones at watched time `at`. The length of
    /// an open gap is its age. Open gaps older than 28 days are left out.
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
