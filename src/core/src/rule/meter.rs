//! Meters: what an idle timer would have cost on the recorded demand.
//!
//! A meter follows one timer τ over [`Levels`]. It keeps a level until the level has been idle for
//! τ, so it keeps `max over [t-τ, t] of demand` nodes, plus headroom. Demand does not depend on
//! the meter, so any number of timers can be metered on the same steps. Each idle level expires
//! once, so a step costs amortised O(1). docs/cost-rule.md, section 3, says what a timer is
//! charged for.

use serde::{Deserialize, Serialize};

use super::BootCost;
use super::levels::{IdleGap, Levels};
use crate::units::{NodeCount, Span, Usd};

/// What a timer costs beyond the nodes in use: idle node-time and boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Spent {
    /// Paid idle time, summed over nodes.
    pub idle: Span,
    /// Nodes that were brought back.
    pub boots: u64,
}

impl Spent {
    /// Returns the cost in dollars: idle time at the price, plus β for each boot.
    pub fn cost(&self, cost: &BootCost) -> Usd {
        cost.price.over(self.idle) + cost.boot_cost.times(self.boots)
    }

    /// Adds `levels` nodes that were idle for `span`.
    pub fn add_idle(&mut self, levels: NodeCount, span: Span) {
        self.idle += span.times(i64::from(levels.0));
    }
}

/// Meter of one timer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meter {
    /// τ in force.
    timer: Span,
    /// Time from which τ is in force, in watched time.
    timer_since: Span,
    /// Idle nodes kept beyond those that τ keeps.
    headroom: NodeCount,
    /// Idle nodes that are up.
    kept: NodeCount,
    /// The entries `[0, expired)` of the stack of idle levels have been idle for τ.
    expired: usize,
    /// Levels in the entries above those.
    warm: NodeCount,
    /// Watched time up to which idle time is counted.
    counted: Span,
    spent: Spent,
}

impl Meter {
    /// Starts a meter at watched time `at`. All levels that `levels` knows are up.
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

    /// Returns τ in force.
    pub const fn timer(&self) -> Span {
        self.timer
    }

    /// Returns the headroom in force.
    pub const fn headroom(&self) -> NodeCount {
        self.headroom
    }

    /// Returns the idle nodes that are up.
    pub const fn kept(&self) -> NodeCount {
        self.kept
    }

    /// Returns what was spent up to the last step.
    pub const fn spent(&self) -> Spent {
        self.spent
    }

    /// Returns what was spent and starts again at zero. Call it when prices change.
    pub fn take_spent(&mut self) -> Spent {
        std::mem::take(&mut self.spent)
    }

    /// Counts idle time up to `at` and deletes the levels that expire *before* `at`. Levels that
    /// expire at `at` itself wait until demand was stepped: see [`Meter::settle`].
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

    /// Deletes the levels that expired at `at`. Call it after demand was stepped to `at`.
    pub fn settle(&mut self, at: Span, levels: &Levels) {
        while let Some(oldest) = levels.idle().get(self.expired) {
            if (oldest.since + self.timer).max(self.timer_since) > at {
                break;
            }
            self.expire(at, oldest.levels, levels);
        }
        self.let_go(levels);
    }

    /// Sets τ from `at` on. Nothing is deleted before the next call of [`Meter::advance`] or
    /// [`Meter::settle`].
    pub fn set_timer(&mut self, at: Span, timer: Span, levels: &Levels) {
        if timer == self.timer {
            return;
        }
        if timer > self.timer {
            // Levels that were deleted stay deleted. The youngest expired entries count as warm
            // again, and so do levels that return.
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

    /// Sets the headroom from now on. More headroom brings no node back; it only keeps more.
    pub const fn set_headroom(&mut self, headroom: NodeCount) {
        self.headroom = headroom;
    }

    /// Demand fell: `levels` more levels are idle and up.
    pub fn fell(&mut self, levels: NodeCount) {
        self.kept += levels;
        self.warm += levels;
    }

    /// A gap ended: its levels are in use again. Levels that were deleted are brought back.
    pub fn returned(&mut self, gap: &IdleGap) {
        if gap.place >= self.expired {
            self.warm = self.warm.saturating_sub(gap.levels);
        }
        self.rose_beyond(gap.levels);
    }

    /// Demand rose by `levels`. Levels that are not idle and up are brought back.
    pub fn rose_beyond(&mut self, levels: NodeCount) {
        self.spent.boots += u64::from(levels.saturating_sub(self.kept).0);
        self.kept = self.kept.saturating_sub(levels);
    }

    /// Adjusts the meter after gaps ended, because the stack may be shorter.
    pub fn stepped(&mut self, levels: &Levels) {
        self.expired = self.expired.min(levels.idle().len());
    }

    fn expire(&mut self, at: Span, expired: NodeCount, levels: &Levels) {
        self.count_to(at);
        self.expired += 1;
        self.warm = self.warm.saturating_sub(expired);
        self.let_go(levels);
    }

    /// Keeps what τ, the waiting jobs and the headroom need, and deletes the rest.
    fn let_go(&mut self, levels: &Levels) {
        // Nodes that idle only because of the floor already count as headroom.
        let headroom = self.headroom.saturating_sub(levels.kept_by_floor());
        self.kept = self.kept.min(self.warm.max(levels.upcoming()) + headroom);
    }

    fn count_to(&mut self, at: Span) {
        self.spent.add_idle(self.kept, at - self.counted);
        self.counted = at;
    }
}
