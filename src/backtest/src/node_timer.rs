//! Timers on nodes, as most autoscalers have them: each node goes once it has
//! been idle for so long itself.
//!
//! What that costs depends on which idle node the scheduler picks for the next
//! job. Which busy node becomes idle is not in a curve of counts: any of them,
//! at random.

use std::collections::{BTreeSet, VecDeque};

use trimtab_core::rule::meter::Spent;
use trimtab_core::units::{NodeCount, Span};

use crate::demand::Group;
use crate::levels::Watched;
use crate::policy::Placement;
use crate::replay::Random;

/// Nodes by their number, and what each does.
struct Nodes {
    timer: Span,
    placement: Placement,
    random: Random,
    busy: Vec<u32>,
    /// Idle and up, longest idle first: (since, node).
    idle: VecDeque<(Span, u32)>,
    /// The same by number.
    by_number: BTreeSet<u32>,
    /// Nodes that are gone; the lowest is brought back first.
    gone: BTreeSet<u32>,
    counted: Span,
    spent: Spent,
}

/// Follows a group's demand.
pub(crate) fn follow(group: &Group, timer: Span, placement: Placement, seed: u64) -> Spent {
    let needed = group.first.needed().0;
    let up = group.up.0.max(needed);
    let mut nodes = Nodes {
        timer,
        placement,
        random: Random::new(seed),
        busy: (0..needed).collect(),
        idle: (needed..up).map(|node| (Span::ZERO, node)).collect(),
        by_number: (needed..up).collect(),
        gone: (up..group.size.0).collect(),
        counted: Span::ZERO,
        spent: Spent::default(),
    };
    let mut clock = Watched::from(group.begins);
    for moment in &group.moments {
        clock.on_to(moment.at);
        nodes.advance(clock.watched);
        if let Some(demand) = clock.goes_on(moment.kind) {
            nodes.step(clock.watched, demand.needed());
        }
    }
    clock.on_to(group.ends);
    nodes.advance(clock.watched);
    let gone = NodeCount::of(nodes.gone.range(..up).count());
    nodes.spent.add_idle(gone, group.costing.billed_after_delete);
    nodes.spent
}

impl Nodes {
    /// Lets go what runs out before `at`: a job that comes at that very instant
    /// still finds the node.
    fn advance(&mut self, at: Span) {
        while let Some((since, node)) = self.idle.front().copied()
            && since + self.timer < at
        {
            self.count_to(since + self.timer);
            self.idle.pop_front();
            self.by_number.remove(&node);
            self.gone.insert(node);
        }
        self.count_to(at);
    }

    fn count_to(&mut self, at: Span) {
        // What ran out between two instants is let go at the later one.
        let at = at.max(self.counted);
        self.spent.add_idle(NodeCount::of(self.idle.len()), at - self.counted);
        self.counted = at;
    }

    fn step(&mut self, at: Span, needed: NodeCount) {
        let busy = NodeCount::of(self.busy.len());
        for _ in 0..busy.less(needed).0 {
            let place = self.random.below(self.busy.len());
            let node = self.busy.swap_remove(place);
            self.idle.push_back((at, node));
            self.by_number.insert(node);
        }
        for _ in 0..needed.less(busy).0 {
            let node = self.pick().or_else(|| {
                self.spent.wakes += 1;
                self.gone.pop_first()
            });
            self.busy.extend(node);
        }
    }

    /// The idle node that the next job gets, if there is one.
    fn pick(&mut self) -> Option<u32> {
        let node = match self.placement {
            Placement::Lowest => *self.by_number.first()?,
            Placement::Spread => self.idle.front()?.1,
            Placement::Random => {
                let most = self.idle.len().checked_sub(1)?;
                self.idle.get(self.random.below(most + 1))?.1
            }
        };
        let place = self.idle.iter().position(|(_, idle)| *idle == node)?;
        self.idle.remove(place);
        self.by_number.remove(&node);
        Some(node)
    }
}
