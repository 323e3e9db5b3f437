//! Tests of the count rule, with examples and with generated demand.

mod learning;
mod metering;

use proptest::prelude::*;

use super::*;

fn sample(at_mins: i64, idle: u32, busy: u32, departed: u64) -> Sample {
    let counts = Counts { busy: NodeCount(busy), idle: NodeCount(idle), ..Counts::default() };
    Sample { at: Time::from_secs(at_mins * 60), counts, departed }
}

fn minute(at: i64) -> Time {
    Time::from_secs(at * 60)
}

const GAP: Span = Span::mins(6);

#[test]
fn a_window_that_samples_do_not_cover_has_no_surplus() {
    let mut state = GroupState::default();
    for at in 0..10 {
        state.fold(sample(at, 5, 0, 0), GAP);
        assert_eq!(state.surplus(Span::mins(10), minute(at)), None);
    }
    state.fold(sample(10, 5, 0, 0), GAP);
    assert_eq!(state.surplus(Span::mins(10), minute(10)), Some(NodeCount(5)));
    assert_eq!(state.surplus(Span::mins(10), minute(11)), None, "no sample at that instant");
}

#[test]
fn a_gap_between_samples_ends_the_window_and_a_short_one_does_not() {
    let mut state = GroupState::default();
    state.fold(sample(0, 5, 0, 0), GAP);
    state.fold(sample(6, 5, 0, 0), GAP);
    assert_eq!(state.surplus(Span::mins(6), minute(6)), Some(NodeCount(5)));
    state.fold(sample(13, 5, 0, 0), GAP);
    assert_eq!(state.surplus(Span::mins(6), minute(13)), None);
}

#[test]
fn nodes_that_left_are_not_counted_a_second_time() {
    let mut state = GroupState::default();
    for at in 0..=10 {
        state.fold(sample(at, 5, 0, 0), GAP);
    }
    assert_eq!(state.surplus(Span::mins(10), minute(10)), Some(NodeCount(5)));
    state.fold(sample(11, 2, 0, 3), GAP);
    assert_eq!(state.surplus(Span::mins(10), minute(11)), Some(NodeCount(2)));
}

#[test]
fn reserved_capacity_is_never_worth_deleting() {
    let policy =
        GroupPolicy { capacity: crate::reads::Capacity::Reserved, ..crate::fixture::group() };
    let cost = boot_cost(&policy).expect("price and boot are known");
    assert!(cost.break_even.is_forever());
    let state = GroupState::default();
    assert!(TimerChoice::Fixed(Span::mins(1)).tau(&state, &cost, minute(0)).is_forever());
}

#[test]
fn break_even_of_fifteen_minutes_boot_is_half_an_hour() {
    let policy = GroupPolicy { boot: Some(Span::mins(15)), ..crate::fixture::group() };
    let cost = boot_cost(&policy).expect("price and boot are known");
    assert_eq!(cost.break_even, Span::mins(30));
    assert_eq!(cost.boot_cost, cost.price.over(Span::mins(30)));
}

proptest! {
    /// The queue of suffix minima agrees with the definition at every sample.
    #[test]
    fn surplus_is_the_minimum_over_the_window(
        steps in prop::collection::vec((1i64..4, 0u32..9, 0u64..3), 1..60),
        tau_mins in 0i64..40,
    ) {
        let mut state = GroupState::default();
        let mut samples: Vec<Sample> = vec![];
        let (mut at, mut departed) = (0, 0);
        for (step, idle, left) in steps {
            at += step;
            departed += left;
            let next = sample(at, idle, 3, departed);
            samples.push(next);
            state.fold(next, GAP);
            let start = minute(at) - Span::mins(tau_mins);
            let expected = samples.first().filter(|first| first.at <= start).map(|_| {
                let in_force = samples.iter().rposition(|s| s.at <= start).unwrap_or(0);
                let least = samples[in_force..].iter().map(Sample::level).min().unwrap_or(0);
                (least - departed as i64).max(0) as u32
            });
            prop_assert_eq!(state.surplus(Span::mins(tau_mins), minute(at)).map(|n| n.0), expected);
        }
    }

    /// If every deletion takes effect at once and no other node leaves, the rule keeps exactly the
    /// maximum of demand over the window.
    #[test]
    fn a_clean_curve_is_followed_exactly(
        demand in prop::collection::vec(0u32..20, 2..120),
        tau_mins in 0i64..15,
    ) {
        let mut state = GroupState::default();
        let peak = demand.iter().copied().max().unwrap_or(0);
        let (mut nodes, mut departed) = (peak, 0u64);
        for (at, d) in demand.iter().copied().enumerate() {
            let at = at as i64;
            // Nodes come back at once: a clean curve has no boot time.
            nodes = nodes.max(d);
            state.fold(sample(at, nodes - d, d, departed), GAP);
            let Some(surplus) = state.surplus(Span::mins(tau_mins), minute(at)) else { continue };
            nodes -= surplus.0;
            departed += u64::from(surplus.0);
            state.fold(sample(at, nodes - d, d, departed), GAP);
            let from = (at - tau_mins).max(0) as usize;
            let most = demand[from..=at as usize].iter().copied().max().unwrap_or(0);
            prop_assert_eq!(nodes, most, "at minute {}", at);
            prop_assert_eq!(state.surplus(Span::mins(tau_mins), minute(at)), Some(NodeCount(0)));
        }
    }
}
