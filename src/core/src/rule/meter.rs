//! What an idle timer would have cost on the demand that was seen.
//!
//! A meter follows one timer τ over [`Levels`]: level k is kept while it has
//! been idle for less than τ, so the nodes kept are
//! `max over [t-τ, t] of demand`, plus headroom. Demand does not depend on what
//! the meter does, so any number of timers can be metered side by side on the
//! same steps. Each idle level expires once, so a step costs O(1) amortised.

use serde::{Deserialize, Serialize};

use super::BootCost;
use super::levels::{IdleGap, Levels};
use crate::units::{NodeCount, Span, Usd};

/// What was spent on nodes beyond those in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Spent {
    /// Idle node-time that was paid.
    pub idle: Span,
    /// Nodes that had to be brought back.
    pub boots: u64,
}

impl Spent {
    /// In dollars: idle time at the price, and β for each boot.
    pub fn cost(&self, cost: &BootCost) -> Usd {
        cost.price.over(self.idle) + cost.boot_cost.times(self.boots)
    }

    /// So many nodes were idle for so long.
    pub fn add_idle(&mut self, levels: NodeCount, span: Span) {
        self.idle += span.times(i64::from(levels.0));
    }
}

/// One timer, metered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meter {
    /// τ in force.
    timer: Span,
    /// Since when, in watched time.
    timer_since: Span,
    /// Spare nodes that are kept beyond what τ keeps.
    headroom: NodeCount,
    /// Idle nodes that are up.
    kept: NodeCount,
    /// Places `[0, expired)` of the idle stack have been idle for τ.
    expired: usize,
    /// Levels at the places above those.
    warm: NodeCount,
    /// Up to when idle time is counted, in watched time.
    counted: Span,
    spent: Spent,
}

impl Meter {
    /// From `at` on, with everything up that `levels` knows.
    pub fn starting(at: Span, timer: Span, levels: &Levels) -> Self {
        let idle = levels.idle().iter().map(|idle| idle.levels).sum();
        Self {
            timer,
            timer_since: at,
            headroom: NodeCount::ZERO,
            kept: idle,
            expired: 0,
            warm: idle,
            counted: at,
            spent: Spent::default(),
        }
    }

    /// τ in force.
    pub const fn timer(&self) -> Span {
        self.timer
    }

    /// Headroom in force.
    pub const fn headroom(&self) -> NodeCount {
        self.headroom
    }

    /// Idle nodes that are up.
    pub const fn kept(&self) -> NodeCount {
        self.kept
    }

    /// What was spent up to the last step.
    pub const fn spent(&self) -> Spent {
        self.spent
    }

    /// Takes what was spent and begins at zero: its prices no longer hold.
    pub fn take_spent(&mut self) -> Spent {
        std::mem::take(&mut self.spent)
    }

    /// Counts on to `at`, letting go what runs out *before* it: what happens at
    /// `at` itself comes first.
    pub fn advance(&mut self, at: Span, levels: &Levels) {
        while let Some(oldest) = levels.idle().get(self.expired) {
            let out = (oldest.since + self.timer).max(self.timer_since);
            if out >= at {
                break;
            }
            self.expire(out, oldest.levels, levels);
        }
        self.count_to(at);
    }

    /// Lets go what has run out at `at`, now that demand was stepped to it.
    pub fn settle(&mut self, at: Span, levels: &Levels) {
        while let Some(oldest) = levels.idle().get(self.expired) {
            if (oldest.since + self.timer).max(self.timer_since) > at {
                break;
            }
            self.expire(at, oldest.levels, levels);
        }
        self.let_go(levels);
    }

    /// τ from `at` on. Nothing is let go by it before the next advance.
    pub fn set_timer(&mut self, at: Span, timer: Span, levels: &Levels) {
        if timer == self.timer {
            return;
        }
        if timer > self.timer {
            // Levels that are gone stay gone, but the youngest of them count
            // as warm again, and so do those that return.
            while let Some(below) = self.expired.checked_sub(1)
                && let Some(idle) = levels.idle().get(below)
                && idle.since + timer > at
            {
                self.expired = below;
                self.warm += idle.levels;
            }
        }
        (self.timer, self.timer_since) = (timer, at);
    }

    /// Headroom from now on; more of them only let fewer go.
    pub const fn set_headroom(&mut self, headroom: NodeCount) {
        self.headroom = headroom;
    }

    /// Demand fell: these levels are idle and up.
    pub fn fell(&mut self, levels: NodeCount) {
        self.kept += levels;
        self.warm += levels;
    }

    /// A gap ended: its levels are in use again, and those that were gone are
    /// brought back.
    pub fn returned(&mut self, gap: &IdleGap) {
        if gap.place >= self.expired {
            self.warm = self.warm.saturating_sub(gap.levels);
        }
        self.rose_beyond(gap.levels);
    }

    /// Demand rose by so many levels; what is not idle and up is brought back.
    pub fn rose_beyond(&mut self, levels: NodeCount) {
        self.spent.boots += u64::from(levels.saturating_sub(self.kept).0);
        self.kept = self.kept.saturating_sub(levels);
    }

    /// After gaps ended, the stack may be shorter.
    pub fn stepped(&mut self, levels: &Levels) {
        self.expired = self.expired.min(levels.idle().len());
    }

    fn expire(&mut self, at: Span, expired: NodeCount, levels: &Levels) {
        self.count_to(at);
        self.expired += 1;
        self.warm = self.warm.saturating_sub(expired);
        self.let_go(levels);
    }

    /// Keeps what τ, the waiting jobs and the headroom ask for, and no more.
    fn let_go(&mut self, levels: &Levels) {
        // What idles for the floor is surplus, too.
        let headroom = self.headroom.saturating_sub(levels.kept_by_floor());
        self.kept = self.kept.min(self.warm.max(levels.upcoming()) + headroom);
    }

    fn count_to(&mut self, at: Span) {
        self.spent.add_idle(self.kept, at - self.counted);
        self.counted = at;
    }
}
