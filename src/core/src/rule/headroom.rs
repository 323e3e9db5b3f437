//! Learned headroom: how many idle nodes are worth keeping beyond the timer (docs/cost-rule.md,
//! section 10).
//!
//! Headroom saves boots and the waiting of jobs, and costs the price of idle nodes. Its value
//! depends on how bursty the demand is, which a rate of misses does not show. Therefore it is
//! metered: the learned timer runs with 0, 1, 2 and 4 idle nodes beyond it, on the same demand.
//! The number that would have cost least over the last 28 days is kept if it is clearly cheaper
//! than 0.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::BootCost;
use super::gaps::{Gaps, REMEMBERED};
use super::levels::Levels;
use super::meter::{Meter, Spent};
use crate::units::{NodeCount, Span, Time, Usd};

/// Amounts of headroom that are metered, in nodes; the first is none.
pub const CHOICES: [NodeCount; 4] = [NodeCount(0), NodeCount(1), NodeCount(2), NodeCount(4)];

/// Headroom is clearly cheaper than none if it saves at least four boots and at least 2 % (one
/// part in 50).
const CLEAR_BOOTS: u64 = 4;
const CLEAR_PART: i64 = 50;

/// Meters of the learned timer, one for each amount of headroom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Headroom {
    meters: [Meter; CHOICES.len()],
    /// What each meter spent, by 6-hour span, over the last 28 days.
    spans: VecDeque<(i64, [Spent; CHOICES.len()])>,
}

impl Headroom {
    /// Starts the meters at watched time `at`. All levels that `levels` knows are up.
    pub fn starting(at: Span, timer: Span, levels: &Levels) -> Self {
        let meters = CHOICES.map(|headroom| {
            let mut meter = Meter::starting(at, timer, levels);
            meter.set_headroom(headroom);
            meter
        });
        Self { meters, spans: VecDeque::new() }
    }

    /// Returns the meters. The caller steps them with the others.
    pub fn meters(&mut self) -> impl Iterator<Item = &mut Meter> {
        self.meters.iter_mut()
    }

    /// Ends the 6-hour span before `at` and returns the headroom that would have cost least over
    /// the last 28 days; 0 unless it is clearly cheaper than 0.
    pub fn choose(&mut self, at: Time, cost: &BootCost) -> NodeCount {
        let ended = Gaps::span_of(at) - 1;
        let spent = self.meters.each_mut().map(Meter::take_spent);
        self.spans.push_back((ended, spent));
        while self.spans.pop_front_if(|(span, _)| *span <= ended - REMEMBERED).is_some() {}
        let mut total = [Usd::ZERO; CHOICES.len()];
        for (_, spent) in &self.spans {
            for (total, spent) in total.iter_mut().zip(spent) {
                *total += spent.cost(cost);
            }
        }
        let [without, ..] = total;
        let clearly = cost.boot_cost.times(CLEAR_BOOTS).max(Usd(without.0 / CLEAR_PART));
        let cheapest = CHOICES.iter().zip(total).min_by_key(|(_, total)| *total);
        let cheapest = cheapest.filter(|(_, total)| *total + clearly <= without);
        cheapest.map_or(NodeCount::ZERO, |(headroom, _)| *headroom)
    }
}
