//! Compares the meters with a plain simulation of the same rule.

use proptest::prelude::*;

use crate::rule::levels::{IdleGap, Levels};
use crate::rule::meter::{Meter, Spent};
use crate::units::{NodeCount, Span};

/// One step of the plain simulation: minutes since the last step, nodes needed, nodes announced.
type Step = (u8, u32, u32);

/// Levels and one meter, stepped together.
struct Metering {
    at: Span,
    levels: Levels,
    meter: Meter,
    gaps: Vec<IdleGap>,
}

impl Metering {
    fn starting(needed: u32, up: u32, timer: Span, headroom: u32) -> Self {
        let levels = Levels::starting(Span::ZERO, NodeCount(needed), NodeCount(up));
        let mut meter = Meter::starting(Span::ZERO, timer, &levels);
        meter.set_headroom(NodeCount(headroom));
        meter.settle(Span::ZERO, &levels);
        Self { at: Span::ZERO, levels, meter, gaps: vec![] }
    }

    fn step(&mut self, (minutes, needed, upcoming): Step) {
        self.at += Span::mins(i64::from(minutes));
        let Self { at, levels, meter, gaps } = self;
        meter.advance(*at, levels);
        meter.fell(levels.needed().saturating_sub(NodeCount(needed)));
        let beyond = levels.step(*at, NodeCount(needed), NodeCount(upcoming), |gap| {
            meter.returned(&gap);
            gaps.push(gap);
        });
        meter.rose_beyond(beyond);
        meter.stepped(levels);
        meter.settle(*at, levels);
    }
}

/// The same rule minute by minute: x = max over [t-τ, t] of demand, but at least the announced
/// nodes, plus headroom, and never more nodes than were up.
fn plain(first: u32, up: u32, steps: &[Step], tau: usize, headroom: u32) -> Vec<(u32, Spent)> {
    let (mut demand, mut nodes) = (vec![first], up);
    let mut spent = Spent::default();
    let mut seen = vec![];
    let let_go = |demand: &[u32], nodes: u32, upcoming: u32| {
        let now = demand.len() - 1;
        // Before the start every node was needed.
        let most = match now.checked_sub(tau) {
            Some(from) => demand[from..].iter().copied().max().unwrap_or(0),
            None => up.max(demand.iter().copied().max().unwrap_or(0)),
        };
        nodes.min(most.max(demand[now] + upcoming) + headroom)
    };
    nodes = let_go(&demand, nodes, 0);
    let mut upcoming = 0;
    for (minutes, needed, soon) in steps {
        let last = demand[demand.len() - 1];
        for _ in 0..*minutes {
            spent.add_idle(NodeCount(nodes - last), Span::mins(1));
            demand.push(last);
            let is_step = demand.len() - 1 == seen_minutes(steps, &seen);
            if !is_step {
                nodes = let_go(&demand, nodes, upcoming);
            }
        }
        let now = demand.len() - 1;
        demand[now] = *needed;
        spent.boots += u64::from(needed.saturating_sub(nodes));
        nodes = nodes.max(*needed);
        upcoming = *soon;
        nodes = let_go(&demand, nodes, upcoming);
        seen.push((nodes - needed, spent));
    }
    seen
}

/// Minute of the next step.
fn seen_minutes(steps: &[Step], seen: &[(u32, Spent)]) -> usize {
    steps[..=seen.len()].iter().map(|(minutes, ..)| usize::from(*minutes)).sum()
}

fn any_steps(most: u32) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((1_u8..9, 0..=most, 0..=3_u32), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_meter_spends_what_the_plain_rule_does(
        first in 0_u32..9,
        more in 0_u32..5,
        steps in any_steps(9),
        tau in 0_usize..20,
        headroom in 0_u32..3,
    ) {
        let up = first + more;
        let timer = Span::mins(tau as i64);
        let mut metering = Metering::starting(first, up, timer, headroom);
        let expected = plain(first, up, &steps, tau, headroom);
        for (step, (kept, spent)) in steps.iter().zip(expected) {
            metering.step(*step);
            prop_assert_eq!(metering.meter.spent(), spent, "at {}", metering.at);
            prop_assert_eq!(metering.meter.kept(), NodeCount(kept), "at {}", metering.at);
        }
    }

    /// The cost of a fixed timer is the sum over gaps of min(L, τ), plus one boot if L > τ. The
    /// fits rely on this.
    #[test]
    fn a_meter_spends_what_its_gaps_say(steps in any_steps(9), tau in 0_i64..20) {
        let timer = Span::mins(tau);
        let mut metering = Metering::starting(9, 9, timer, 0);
        for (minutes, needed, _) in &steps {
            metering.step((*minutes, *needed, 0));
        }
        metering.step((60, 9, 0));
        let mut spent = Spent::default();
        for gap in &metering.gaps {
            spent.add_idle(gap.levels, gap.length.min(timer));
            spent.boots += if gap.length > timer { u64::from(gap.levels.0) } else { 0 };
        }
        prop_assert_eq!(metering.meter.spent(), spent);
    }

    /// A change of the timer deletes nodes or keeps them. It brings none back.
    #[test]
    fn a_longer_timer_brings_no_node_back(
        steps in any_steps(9),
        changes in prop::collection::vec((0_usize..60, 0_i64..20), 1..6),
    ) {
        let mut metering = Metering::starting(9, 9, Span::mins(5), 0);
        for (n, step) in steps.iter().enumerate() {
            metering.step((step.0, step.1, 0));
            for (_, timer) in changes.iter().filter(|(at, _)| *at == n) {
                let before = metering.meter.kept();
                metering.meter.set_timer(metering.at, Span::mins(*timer), &metering.levels);
                prop_assert_eq!(metering.meter.kept(), before);
                metering.meter.settle(metering.at, &metering.levels);
                prop_assert!(metering.meter.kept() <= before);
            }
            let all: NodeCount = metering.levels.idle().iter().map(|idle| idle.levels).sum();
            prop_assert!(metering.meter.kept() <= all);
        }
    }
}

#[test]
fn a_gap_knows_how_long_its_end_was_in_sight() {
    let mut metering = Metering::starting(5, 5, Span::mins(3), 0);
    metering.step((1, 2, 0));
    metering.step((10, 2, 2));
    metering.step((6, 4, 0));
    metering.step((1, 5, 0));
    let said: Vec<_> = metering
        .gaps
        .iter()
        .map(|gap| (gap.levels.0, gap.length, gap.announced, gap.until_announced()))
        .collect();
    let minutes = [16, 6, 10, 17, 0].map(Span::mins);
    assert_eq!(
        said,
        [(2, minutes[0], minutes[1], minutes[2]), (1, minutes[3], minutes[4], minutes[3])]
    );
}

#[test]
fn what_is_announced_is_kept_until_it_is_not() {
    let mut metering = Metering::starting(5, 5, Span::mins(3), 0);
    metering.step((1, 1, 2));
    metering.step((10, 1, 2));
    assert_eq!(metering.meter.kept(), NodeCount(2), "two of four are announced");
    metering.step((1, 1, 0));
    assert_eq!(metering.meter.kept(), NodeCount(0), "the jobs were released");
}
