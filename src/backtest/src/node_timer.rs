//! Replays timers on nodes, as most autoscalers use them: each node is deleted when it has been
//! idle for the timer.
//!
//! The cost depends on which idle node the scheduler gives to the next job. If jobs are known,
//! a node becomes idle when its jobs end. In a curve of counts this is not known, so a random
//! node becomes idle.

use std::collections::{BTreeMap, VecDeque};

use trimtab_core::random::SplitMix64;
use trimtab_core::rule::meter::Spent;
use trimtab_core::units::{NodeCount, Span};

use crate::demand::{Group, Turn, Watched};
use crate::policy::{NodeChoice, Order};

/// Nodes, identified by number, and their states.
struct Nodes {
    timer: Span,
    placement: NodeChoice,
    random: SplitMix64,
    /// Busy nodes, if only their count is known.
    busy: Vec<u32>,
    /// Idle nodes, longest idle first: (since, node).
    idle: VecDeque<(Span, u32)>,
    /// Deleted nodes, longest out of use first.
    gone: VecDeque<u32>,
    counted: Span,
    spent: Spent,
}

/// Follows a group's demand.
pub(crate) fn follow(group: &Group, timer: Span, placement: NodeChoice, seed: u64) -> Spent {
    let needed = group.first.needed().0;
    let up = group.up.0.max(needed);
    let mut nodes = Nodes {
        timer,
        placement,
        random: SplitMix64::new(seed),
        busy: (0..needed).collect(),
        idle: (needed..up).map(|node| (Span::ZERO, node)).collect(),
        gone: (up..group.size.0).collect(),
        counted: Span::ZERO,
        spent: Spent::default(),
    };
    match &group.turns {
        Some(turns) => nodes.follow_jobs(turns, group),
        None => nodes.follow_counts(group),
    }
    let gone = NodeCount::of(nodes.gone.iter().filter(|node| **node < up).count());
    nodes.spent.add_idle(gone, group.costing.billed_after_delete);
    nodes.spent
}

impl Nodes {
    fn follow_counts(&mut self, group: &Group) {
        let mut clock = Watched::from(group.begins);
        for moment in &group.moments {
            clock.on_to(moment.at);
            self.advance(clock.watched);
            if let Some(demand) = clock.goes_on(moment.kind) {
                self.step(clock.watched, demand.needed());
            }
        }
        clock.on_to(group.ends);
        self.advance(clock.watched);
    }

    fn follow_jobs(&mut self, turns: &[Turn], group: &Group) {
        // At the beginning, the nodes with the lowest numbers are in use.
        let held = turns.iter().take_while(|turn| turn.at == group.begins).count();
        let (held, turns) = turns.split_at(held);
        let mut fills: BTreeMap<u32, u32> = held.iter().map(|turn| turn.place).zip(0..).collect();
        for turn in turns {
            let at = turn.at.since(group.begins);
            self.advance(at);
            if turn.in_use {
                fills.extend(self.take().map(|node| (turn.place, node)));
            } else if let Some(node) = fills.remove(&turn.place) {
                self.leave(at, node);
            }
        }
        self.advance(group.ends.since(group.begins));
    }

    /// Deletes the nodes whose timer expires before `at`. A job that starts at exactly that
    /// time still finds the node.
    fn advance(&mut self, at: Span) {
        while let Some((since, node)) = self.idle.front().copied()
            && since + self.timer < at
        {
            self.count_to(since + self.timer);
            self.idle.pop_front();
            self.gone.push_back(node);
        }
        self.count_to(at);
    }

    fn count_to(&mut self, at: Span) {
        // A timer that expired between two instants takes effect at the later one.
        let at = at.max(self.counted);
        self.spent.add_idle(NodeCount::of(self.idle.len()), at - self.counted);
        self.counted = at;
    }

    fn step(&mut self, at: Span, needed: NodeCount) {
        let busy = NodeCount::of(self.busy.len());
        for _ in 0..busy.saturating_sub(needed).0 {
            let place = self.random.index(self.busy.len());
            let node = self.busy.swap_remove(place);
            self.leave(at, node);
        }
        for _ in 0..needed.saturating_sub(busy).0 {
            let node = self.take();
            self.busy.extend(node);
        }
    }

    /// Returns a node for the next job: an idle node, or one that is brought back.
    fn take(&mut self) -> Option<u32> {
        let is_blind = self.placement.is_blind();
        let free = self.idle.len() + if is_blind { self.gone.len() } else { 0 };
        let place = match self.placement.order() {
            _ if free == 0 => None,
            Order::Lowest => {
                let idle = self.idle.iter().map(|(_, node)| node).enumerate();
                let gone = self.gone.iter().enumerate().filter(|_| is_blind);
                let gone = gone.map(|(place, node)| (self.idle.len() + place, node));
                idle.chain(gone).min_by_key(|(_, node)| **node).map(|(place, _)| place)
            }
            Order::Random => Some(self.random.index(free)),
            // Deleted nodes have been out of use longer than idle ones.
            Order::Spread if is_blind && !self.gone.is_empty() => Some(self.idle.len()),
            Order::Spread => Some(0),
        };
        match place.map(|place| place.checked_sub(self.idle.len()).ok_or(place)) {
            Some(Err(idle)) => self.idle.remove(idle).map(|(_, node)| node),
            Some(Ok(gone)) => self.boot_cost(gone),
            None => {
                let lowest = self.gone.iter().enumerate().min_by_key(|(_, node)| **node)?.0;
                self.boot_cost(lowest)
            }
        }
    }

    fn boot_cost(&mut self, place: usize) -> Option<u32> {
        self.spent.boots += 1;
        self.gone.remove(place)
    }

    /// Marks a node idle after its last job.
    fn leave(&mut self, at: Span, node: u32) {
        self.idle.push_back((at, node));
    }
}
