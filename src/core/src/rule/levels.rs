//! Demand as levels: level k is in use while at least k nodes are needed. Its idle gaps are the
//! times between two uses.
//!
//! The cost of any number of nodes x over demand d splits into one rent-or-buy question for each
//! level, because `x = sum over k of [x >= k]`, and likewise for d and for every rise of x
//! (docs/cost-rule.md, section 4). Gaps nest: each gap of level k lies inside one gap of the
//! next level. Therefore the idle levels are a stack, with the oldest and highest at the bottom. A step of
//! demand touches only the top of the stack: amortised O(1), whatever its height.
//!
//! Time here is *watched* time: it stops while there are no samples. Time without samples does not
//! end a gap and adds nothing to its age.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::units::{NodeCount, Span};

/// Levels that became idle at the same step of demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdleLevels {
    /// Number of levels.
    pub levels: NodeCount,
    /// Start of the idle time (or of the announcement), in watched time.
    pub since: Span,
}

/// An idle gap that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdleGap {
    /// Number of levels with this gap.
    pub levels: NodeCount,
    /// Time from the fall of demand to its return, in watched time.
    pub length: Span,
    /// Time between the announcement by waiting jobs and the end of the gap. Zero if the gap was
    /// not announced.
    pub announced: Span,
    /// Index of the gap in the stack of idle levels; 0 is the bottom.
    pub place: usize,
}

impl IdleGap {
    /// Returns the age of the gap at which its end was announced. A timer of this length or longer
    /// keeps the node through the whole gap.
    pub fn until_announced(&self) -> Span {
        self.length - self.announced
    }
}

/// Levels of demand and how long each has been idle.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Levels {
    /// Levels in use: nodes needed now.
    needed: NodeCount,
    /// Idle levels; the bottom is the highest level and has been idle longest.
    idle: Vec<IdleLevels>,
    /// Levels just above `needed` that waiting jobs are about to take, lowest first, with the time
    /// of the announcement.
    announced: VecDeque<IdleLevels>,
    /// Sum of the announced levels.
    upcoming: NodeCount,
    /// Levels in use that only the floor keeps.
    kept_by_floor: NodeCount,
}

impl Levels {
    /// Starts with the levels up to `up`. Those above `needed` are idle from `at` on.
    pub fn starting(at: Span, needed: NodeCount, up: NodeCount) -> Self {
        let mut levels = Self { needed, ..Self::default() };
        levels.push(up.saturating_sub(needed), at);
        levels
    }

    /// Returns the nodes needed now.
    pub const fn needed(&self) -> NodeCount {
        self.needed
    }

    /// Returns the nodes that waiting jobs are about to take (V).
    pub const fn upcoming(&self) -> NodeCount {
        self.upcoming
    }

    /// Returns the needed nodes that only the floor keeps. They are idle, so they count as
    /// headroom already.
    pub const fn kept_by_floor(&self) -> NodeCount {
        self.kept_by_floor
    }

    /// Sets the number of nodes that only the floor keeps.
    pub const fn keep_by_floor(&mut self, nodes: NodeCount) {
        self.kept_by_floor = nodes;
    }

    /// Returns the idle levels, lowest first, each with its age at the announcement; `None` if it
    /// is not announced.
    pub fn idle_by_announcement(&self) -> Vec<(IdleLevels, Option<Span>)> {
        let mut announced = self.announced.iter().copied();
        let mut next = announced.next();
        let mut parts = vec![];
        for IdleLevels { levels, since } in self.idle.iter().rev().copied() {
            let mut left = levels;
            while left > NodeCount::ZERO {
                let (taken, after) = match &mut next {
                    None => (left, None),
                    Some(ahead) => {
                        let taken = left.min(ahead.levels);
                        ahead.levels = ahead.levels.saturating_sub(taken);
                        (taken, Some((ahead.since - since).max(Span::ZERO)))
                    }
                };
                if next.is_some_and(|ahead| ahead.levels == NodeCount::ZERO) {
                    next = announced.next();
                }
                parts.push((IdleLevels { levels: taken, since }, after));
                left = left.saturating_sub(taken);
            }
        }
        parts
    }

    /// Returns the idle levels, longest idle first.
    pub fn idle(&self) -> &[IdleLevels] {
        &self.idle
    }

    /// Steps demand to `needed`, with `upcoming` more levels announced. Calls `ended` for each gap
    /// that ends, lowest level first. Returns the number of levels that are in use for the first
    /// time.
    pub fn step(
        &mut self,
        at: Span,
        needed: NodeCount,
        upcoming: NodeCount,
        mut ended: impl FnMut(IdleGap),
    ) -> NodeCount {
        let fall = self.needed.saturating_sub(needed);
        if fall > NodeCount::ZERO {
            self.push(fall, at);
            // Levels that were in use until now and are announced again.
            if self.upcoming + upcoming > NodeCount::ZERO {
                self.announced.push_front(IdleLevels { levels: fall, since: at });
                self.upcoming += fall;
            }
        }
        let mut rise = needed.saturating_sub(self.needed);
        while rise > NodeCount::ZERO {
            let Some(top) = self.idle.last_mut() else { break };
            let (announced, most) = match self.announced.front() {
                Some(front) => (at - front.since, front.levels),
                None => (Span::ZERO, NodeCount::UNBOUNDED),
            };
            let levels = rise.min(top.levels).min(most);
            let length = at - top.since;
            top.levels = top.levels.saturating_sub(levels);
            let is_empty = top.levels == NodeCount::ZERO;
            let place = self.idle.len() - 1;
            ended(IdleGap { levels, length, announced: announced.min(length), place });
            if is_empty {
                self.idle.pop();
            }
            self.take_announced(levels);
            rise = rise.saturating_sub(levels);
        }
        // Levels that were never up had no gap.
        self.take_announced(rise);
        self.needed = needed;
        self.announce(at, upcoming);
        rise
    }

    fn push(&mut self, levels: NodeCount, since: Span) {
        if levels > NodeCount::ZERO {
            self.idle.push(IdleLevels { levels, since });
        }
    }

    /// Removes the lowest announced levels: they are in use now.
    fn take_announced(&mut self, mut levels: NodeCount) {
        while levels > NodeCount::ZERO {
            let Some(front) = self.announced.front_mut() else { return };
            let taken = levels.min(front.levels);
            front.levels = front.levels.saturating_sub(taken);
            self.upcoming = self.upcoming.saturating_sub(taken);
            levels = levels.saturating_sub(taken);
            if front.levels == NodeCount::ZERO {
                self.announced.pop_front();
            }
        }
    }

    /// Grows or shrinks the announced levels to `upcoming`, at the top.
    fn announce(&mut self, at: Span, upcoming: NodeCount) {
        if upcoming > self.upcoming {
            let levels = upcoming.saturating_sub(self.upcoming);
            self.announced.push_back(IdleLevels { levels, since: at });
        }
        while self.upcoming > upcoming {
            let Some(back) = self.announced.back_mut() else { break };
            let dropped = self.upcoming.saturating_sub(upcoming).min(back.levels);
            back.levels = back.levels.saturating_sub(dropped);
            self.upcoming = self.upcoming.saturating_sub(dropped);
            if back.levels == NodeCount::ZERO {
                self.announced.pop_back();
            }
        }
        self.upcoming = upcoming;
    }
}
