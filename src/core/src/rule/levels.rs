//! Demand taken apart into levels: level k is in use while at least k nodes are
//! needed, and its idle gaps are the times between.
//!
//! The bill of any number of nodes x over demand d separates into one
//! rent-or-buy question for each level, because
//! `x = sum over k of [x >= k]` and likewise for d and for every rise of x
//! (`algorithms.md` section 2). Gaps nest: a gap of level k lies inside one of
//! level k + 1. So the idle levels are a stack, oldest and highest at the
//! bottom, and a step of demand only touches its top: O(1) amortised for each
//! step, whatever its height.
//!
//! Time here is *watched* time, which stands still while nobody looks. A gap
//! that was not watched to its end keeps the age it had: it is censored, not
//! ended.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::units::{NodeCount, Span};

/// Levels that fell idle at the same step of demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdleLevels {
    /// How many.
    pub levels: NodeCount,
    /// Since when, in watched time.
    pub since: Span,
}

/// An idle gap that came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdleGap {
    /// How many levels had it.
    pub levels: NodeCount,
    /// From the fall of demand to its return.
    pub length: Span,
    /// How long before its end the waiting jobs had announced it.
    pub announced: Span,
    /// Where in the stack of idle levels it lay; 0 is the bottom.
    pub place: usize,
}

impl IdleGap {
    /// The idle time after which the return was in sight. A timer of this
    /// length or longer keeps the node through the whole gap.
    pub fn until_announced(&self) -> Span {
        self.length - self.announced
    }
}

/// Levels of demand and how long each has been idle.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Levels {
    /// Levels in use: nodes needed now.
    needed: NodeCount,
    /// Idle levels: the bottom is the highest and longest idle one.
    idle: Vec<IdleLevels>,
    /// The levels just above `needed` that waiting jobs are about to take,
    /// lowest first, and since when they are announced.
    announced: VecDeque<IdleLevels>,
    /// Their sum.
    upcoming: NodeCount,
    /// Levels of those in use that only the floor keeps.
    kept_by_floor: NodeCount,
}

impl Levels {
    /// Levels up to `up`, of which those above `needed` are idle from `at` on.
    pub fn starting(at: Span, needed: NodeCount, up: NodeCount) -> Self {
        let mut levels = Self { needed, ..Self::default() };
        levels.push(up.saturating_sub(needed), at);
        levels
    }

    /// Nodes needed now.
    pub const fn needed(&self) -> NodeCount {
        self.needed
    }

    /// Nodes that waiting jobs are about to take (V).
    pub const fn upcoming(&self) -> NodeCount {
        self.upcoming
    }

    /// Nodes among those needed that only the floor keeps: they idle, and so
    /// are headroom already.
    pub const fn kept_by_floor(&self) -> NodeCount {
        self.kept_by_floor
    }

    /// The floor keeps so many nodes that nothing else needs.
    pub const fn keep_by_floor(&mut self, nodes: NodeCount) {
        self.kept_by_floor = nodes;
    }

    /// The idle levels again, lowest first, and after how long each was announced,
    /// if it is.
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

    /// Idle levels, longest idle first.
    pub fn idle(&self) -> &[IdleLevels] {
        &self.idle
    }

    /// Demand steps to `needed`, with `upcoming` more announced. Gaps that end
    /// by it are handed to `ended`, lowest level first. Returns how many levels
    /// are in use for the first time.
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
            // What was in use a moment ago and is announced again now.
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
        // Levels above every one that was ever needed have had no gap.
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

    /// The lowest announced levels are in use now.
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

    /// Brings the announced levels to `upcoming` from the top.
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
