//! Replays policies over levels in one pass over a group's demand: count timers, randomised
//! timers and both optima.

use trimtab_core::random::SplitMix64;
use trimtab_core::rule::levels::{IdleGap, Levels};
use trimtab_core::rule::meter::{Meter, Spent};
use trimtab_core::units::{NodeCount, Span};

use crate::demand::{Group, Watched};
use crate::random::random_timer;

/// Costs of each policy on one group.
pub(crate) struct Pass {
    /// One per timer, in the same order.
    pub(crate) timers: Vec<Spent>,
    pub(crate) randomised: Spent,
    pub(crate) optimum: Spent,
    pub(crate) prewarmed: Spent,
}

/// Follows a group's demand with these count timers.
pub(crate) fn pass(group: &Group, timers: &[Span], seed: u64) -> Pass {
    let billed_after = group.costing.billed_after_delete;
    let break_even = group.costing.boot_cost().break_even;
    let mut rent_or_buy = RentOrBuy {
        random: SplitMix64::new(seed),
        break_even,
        // A policy that boots ahead pays for no waiting.
        boot: group.costing.boot + billed_after,
        randomised: Spent::default(),
        optimum: Spent::default(),
        prewarmed: Spent::default(),
    };
    let mut levels = Levels::starting(Span::ZERO, group.first.needed(), group.up);
    let mut meters: Vec<Meter> =
        timers.iter().map(|timer| Meter::starting(Span::ZERO, *timer, &levels)).collect();
    let mut clock = Watched::from(group.begins);
    for meter in &mut meters {
        meter.settle(clock.watched, &levels);
    }
    for moment in &group.moments {
        clock.on_to(moment.at);
        for meter in &mut meters {
            meter.advance(clock.watched, &levels);
        }
        let Some(demand) = clock.goes_on(moment.kind) else { continue };
        step(&mut levels, &mut meters, &mut rent_or_buy, demand.needed(), clock.watched);
    }
    clock.on_to(group.ends);
    for meter in &mut meters {
        meter.advance(clock.watched, &levels);
    }
    // Levels that are idle at the end do not return.
    for idle in levels.idle() {
        rent_or_buy.left(idle.levels, clock.watched - idle.since, billed_after);
    }
    let all: NodeCount = levels.idle().iter().map(|idle| idle.levels).sum();
    let spent = |meter: &Meter| {
        let mut spent = meter.spent();
        spent.add_idle(all.saturating_sub(meter.kept()), billed_after);
        spent
    };
    let RentOrBuy { randomised, optimum, prewarmed, .. } = rent_or_buy;
    Pass { timers: meters.iter().map(spent).collect(), randomised, optimum, prewarmed }
}

fn step(
    levels: &mut Levels,
    meters: &mut [Meter],
    rent_or_buy: &mut RentOrBuy,
    needed: NodeCount,
    at: Span,
) {
    let fall = levels.needed().saturating_sub(needed);
    for meter in meters.iter_mut() {
        meter.fell(fall);
    }
    let new = levels.step(at, needed, NodeCount::ZERO, |gap| {
        for meter in meters.iter_mut() {
            meter.returned(&gap);
        }
        rent_or_buy.ended(&gap);
    });
    rent_or_buy.booted(new);
    for meter in meters {
        meter.rose_beyond(new);
        meter.stepped(levels);
        meter.settle(at, levels);
    }
}

/// Policies that decide at each gap.
struct RentOrBuy {
    random: SplitMix64,
    break_even: Span,
    boot: Span,
    randomised: Spent,
    optimum: Spent,
    prewarmed: Spent,
}

impl RentOrBuy {
    fn ended(&mut self, gap: &IdleGap) {
        rent_or_buy(&mut self.optimum, gap.levels, gap.length, self.break_even);
        rent_or_buy(&mut self.prewarmed, gap.levels, gap.length, self.boot);
        for _ in 0..gap.levels.0 {
            let timer = random_timer(&mut self.random, self.break_even);
            let one = NodeCount(1);
            if gap.length > timer {
                self.randomised.add_idle(one, timer);
                self.randomised.boots += 1;
            } else {
                self.randomised.add_idle(one, gap.length);
            }
        }
    }

    /// Counts boots of levels that were never up, which every policy pays.
    fn booted(&mut self, levels: NodeCount) {
        for spent in [&mut self.randomised, &mut self.optimum, &mut self.prewarmed] {
            spent.boots += u64::from(levels.0);
        }
    }

    /// Counts a gap that is still open at the end.
    fn left(&mut self, levels: NodeCount, age: Span, billed_after: Span) {
        let least = age.min(billed_after);
        self.optimum.add_idle(levels, least);
        self.prewarmed.add_idle(levels, least);
        for _ in 0..levels.0 {
            let timer = random_timer(&mut self.random, self.break_even);
            let idle = if age > timer { timer + billed_after } else { age };
            self.randomised.add_idle(NodeCount(1), idle);
        }
    }
}

/// Keeps the levels through the gap or deletes them at its beginning, whichever costs less.
fn rent_or_buy(spent: &mut Spent, levels: NodeCount, length: Span, worth: Span) {
    if length <= worth {
        spent.add_idle(levels, length);
    } else {
        spent.boots += u64::from(levels.0);
    }
}
