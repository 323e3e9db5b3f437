//! Whether spare idle nodes would have paid.
//!
//! A spare is worth what it saves: the boots and the waiting of jobs that find
//! it there, against the price of its idling. That depends on how bursty the
//! demand is, which a rate of misses does not show, so it is metered: the
//! learned timer with no spare, and with a few numbers of them, on the same
//! demand. The number that would have cost least over the last 28 days is
//! kept, if it is clearly cheaper than none.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::BootCost;
use super::gaps::{Gaps, REMEMBERED};
use super::levels::Levels;
use super::meter::{Meter, Spent};
use crate::units::{NodeCount, Span, Time, Usd};

/// Numbers of headroom that are metered; the first is none.
pub const CHOICES: [NodeCount; 4] = [NodeCount(0), NodeCount(1), NodeCount(2), NodeCount(4)];

/// Clearly cheaper is by four boots at least, and by 2 %.
const CLEAR_BOOTS: u64 = 4;
const CLEAR_PART: i64 = 50;

/// The learned timer with each number of headroom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Headroom {
    meters: [Meter; CHOICES.len()],
    /// What each has spent in the 6-hour spans of the last 28 days.
    spans: VecDeque<(i64, [Spent; CHOICES.len()])>,
}

impl Headroom {
    /// From `at` on, with everything up that `levels` knows.
    pub fn starting(at: Span, timer: Span, levels: &Levels) -> Self {
        let meters = CHOICES.map(|headroom| {
            let mut meter = Meter::starting(at, timer, levels);
            meter.set_headroom(headroom);
            meter
        });
        Self { meters, spans: VecDeque::new() }
    }

    /// The meters, to be moved on with the others.
    pub fn meters(&mut self) -> impl Iterator<Item = &mut Meter> {
        self.meters.iter_mut()
    }

    /// The number of headroom that would have cost least, with the 6-hour span
    /// that ends at `at` taken in.
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
