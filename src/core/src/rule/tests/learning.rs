//! Tests of the learned timer: the fits, the meters and the governor.

use proptest::prelude::*;

use crate::policy::Factor;
use crate::rule::learned::{Demand, Learner, OTHERS_TIMER, TimerInForce, TimerTerms, carry_on};
use crate::rule::{BootCost, Costing};
use crate::units::{NodeCount, Span, Time, Usd, UsdPerHour};

fn costing(boot_mins: i64) -> Costing {
    Costing {
        price: UsdPerHour(3_000_000),
        boot: Span::mins(boot_mins),
        billed_after_delete: Span::ZERO,
        delay_value: Factor::ONE,
        failure: Usd::ZERO,
    }
}

fn terms(boot_mins: i64) -> TimerTerms {
    let cost = costing(boot_mins).boot_cost();
    TimerTerms { cost, fixed: OTHERS_TIMER, shortest: Span::ZERO }
}

fn demand(nodes: u32) -> Demand {
    Demand { nodes: NodeCount(nodes), upcoming: NodeCount::ZERO, floor: NodeCount::ZERO }
}

fn minute(minute: i64) -> Time {
    Time::from_secs(minute * 60)
}

fn starting(nodes: u32, up: u32) -> Learner {
    Learner::starting(minute(0), demand(nodes), NodeCount(up), Some(terms(15)))
}

/// Advances one learner and steps it.
fn step(learner: &mut Learner, at: Time, nodes: u32, terms: TimerTerms) {
    carry_on(&mut [(learner, true)], at);
    learner.step(demand(nodes), Some(terms));
}

/// One node that is needed for `busy` minutes and then idle for `idle` minutes, `times` times.
fn repeat(learner: &mut Learner, from: i64, busy: i64, idle: i64, times: i64) -> i64 {
    let mut at = from;
    for _ in 0..times {
        at += busy;
        step(learner, minute(at), 0, terms(15));
        at += idle;
        step(learner, minute(at), 1, terms(15));
    }
    at
}

#[test]
fn a_group_that_nothing_is_known_of_begins_with_a_timer_shorter_than_break_even() {
    let learner = starting(1, 1);
    let fit = *learner.fit().expect("price and boot are known");
    assert_eq!((fit.own_gaps, fit.pooled_gaps), (0, 0));
    assert_eq!(learner.standing(), TimerInForce::Learned);
    let timer = learner.timer().expect("one is in force");
    assert!(timer > Span::ZERO && timer < terms(15).cost.break_even, "{timer}");
}

#[test]
fn gaps_of_twenty_minutes_teach_to_wait_for_them() {
    let mut learner = starting(1, 1);
    repeat(&mut learner, 0, 30, 20, 200);
    assert_eq!(learner.timer(), Some(Span::mins(20)));
}

#[test]
fn gaps_of_ten_hours_teach_to_wait_for_none() {
    let mut learner = starting(1, 1);
    repeat(&mut learner, 0, 30, 600, 40);
    assert_eq!(learner.timer(), Some(Span::ZERO));
}

#[test]
fn what_ended_more_than_28_days_ago_is_forgotten() {
    let mut learner = starting(1, 1);
    let at = repeat(&mut learner, 0, 30, 20, 200);
    repeat(&mut learner, at, 60, 600, 70);
    let fit = *learner.fit().expect("a fit");
    assert_eq!(fit.timer, Span::ZERO, "the newer gaps are what counts");
    assert!(fit.own_gaps < 80, "{}", fit.own_gaps);
}

#[test]
fn a_gap_that_never_ends_counts_with_its_age() {
    let mut learner = starting(1, 1);
    let at = repeat(&mut learner, 0, 30, 20, 40);
    step(&mut learner, minute(at + 30), 0, terms(15));
    carry_on(&mut [(&mut learner, true)], minute(at + 60 * 24 * 20));
    let fit = *learner.fit().expect("a fit");
    assert_eq!(fit.own_gaps, 40 + 1, "the ended ones, and the open one once");
    let spent = learner.spent().expect("it is metered");
    assert_eq!(learner.kept(), Some(NodeCount::ZERO), "its node was deleted");
    carry_on(&mut [(&mut learner, true)], minute(at + 60 * 24 * 40));
    assert_eq!(learner.spent(), Some(spent), "and it costs nothing since");
    assert_eq!(learner.fit().expect("a fit").own_gaps, 0, "all of it is too long ago");
}

#[test]
fn an_unwatched_stretch_ends_no_gap_and_costs_nothing() {
    let mut watched = starting(2, 2);
    step(&mut watched, minute(30), 1, terms(15));
    let mut away = watched.clone();
    step(&mut watched, minute(35), 2, terms(15));
    carry_on(&mut [(&mut away, true)], minute(31));
    carry_on(&mut [(&mut away, false)], minute(331));
    carry_on(&mut [(&mut away, true)], minute(335));
    away.step(demand(2), Some(terms(15)));
    assert_eq!(away.costs(), watched.costs());
    let gaps = |learner: &mut Learner| {
        carry_on(&mut [(&mut *learner, true)], minute(360));
        learner.fit().copied().map(|fit| (fit.timer, fit.own_gaps))
    };
    assert_eq!(gaps(&mut away), gaps(&mut watched));
}

#[test]
fn a_longer_boot_asks_for_a_longer_timer_at_once_and_keeps_what_was_spent() {
    let mut learner = starting(1, 1);
    let at = repeat(&mut learner, 0, 30, 50, 100);
    assert_eq!(learner.timer(), Some(Span::ZERO), "50 idle minutes cost more than a boot");
    let before = learner.costs().expect("metered");
    step(&mut learner, minute(at + 1), 1, terms(90));
    assert_eq!(learner.costs(), Some(before), "the cost so far counts at the old price");
    assert!(learner.timer() >= Some(Span::mins(60)), "{:?}", learner.timer());
    step(&mut learner, minute(at + 2), 0, terms(90));
    step(&mut learner, minute(at + 52), 1, terms(90));
    let after = learner.costs().expect("metered");
    let idle = terms(90).cost.price.over(Span::mins(50));
    assert_eq!(after.learned - before.learned, idle, "the node stayed through the next gap");
}

#[test]
fn a_lower_price_is_charged_from_its_day_on() {
    let mut learner = starting(1, 1);
    step(&mut learner, minute(10), 0, terms(15));
    let half = TimerTerms {
        cost: Costing { price: UsdPerHour(1_500_000), ..costing(15) }.boot_cost(),
        ..terms(15)
    };
    let one = |terms: TimerTerms| terms.cost.price.over(Span::mins(2));
    step(&mut learner, minute(12), 0, half);
    step(&mut learner, minute(14), 1, half);
    let costs = learner.costs().expect("metered");
    assert_eq!(costs.fixed, one(terms(15)) + one(half));
}

#[test]
fn a_group_without_a_price_learns_gaps_and_meters_nothing() {
    let mut learner = Learner::starting(minute(0), demand(1), NodeCount(1), None);
    for n in 0..60 {
        carry_on(&mut [(&mut learner, true)], minute(n * 50 + 30));
        learner.step(demand(0), None);
        carry_on(&mut [(&mut learner, true)], minute(n * 50 + 50));
        learner.step(demand(1), None);
    }
    assert_eq!((learner.timer(), learner.costs(), learner.fit()), (None, None, None));
    learner.step(demand(1), Some(terms(15)));
    assert_eq!(learner.timer(), Some(Span::mins(20)), "the day a price is declared");
    assert_eq!(learner.costs().expect("metered").learned, Usd::ZERO);
}

#[test]
fn a_group_with_few_gaps_learns_from_the_others() {
    let mut busy = starting(1, 1);
    let mut quiet = starting(1, 1);
    for n in 0..100 {
        for (at, nodes) in [(n * 50 + 30, 0), (n * 50 + 50, 1)] {
            carry_on(&mut [(&mut busy, true), (&mut quiet, true)], minute(at));
            busy.step(demand(nodes), Some(terms(15)));
            // This group has one gap in all of that time.
            let own = u32::from(!(n == 3 && nodes == 0));
            quiet.step(demand(own), Some(terms(15)));
        }
    }
    let fit = *quiet.fit().expect("a fit");
    assert_eq!((fit.own_gaps, fit.timer), (1, Span::mins(20)));
    assert!(fit.pooled_gaps > 90, "{}", fit.pooled_gaps);

    let mut alone = starting(1, 1);
    step(&mut alone, minute(180), 0, terms(15));
    step(&mut alone, minute(200), 1, terms(15));
    carry_on(&mut [(&mut alone, true)], minute(5000));
    assert_ne!(alone.timer(), Some(Span::mins(20)), "its own gaps alone do not show it");
}

#[test]
fn floor_levels_are_never_given_up_and_teach_nothing() {
    let floored = |nodes| Demand { floor: NodeCount(1), ..demand(nodes) };
    let mut learner = Learner::starting(minute(0), floored(1), NodeCount(1), Some(terms(15)));
    for n in 0..50 {
        carry_on(&mut [(&mut learner, true)], minute(n * 100 + 50));
        learner.step(floored(0), Some(terms(15)));
        carry_on(&mut [(&mut learner, true)], minute(n * 100 + 100));
        learner.step(floored(1), Some(terms(15)));
    }
    assert_eq!(learner.fit().expect("a fit").own_gaps, 0);
    assert_eq!(learner.costs().expect("metered").learned, Usd::ZERO);
}

#[test]
fn a_timer_that_costs_too_much_gives_way_to_break_even_until_it_has_earned_it_back() {
    // Ten minutes between jobs: the cheapest timer would have been 0.
    let mut learner = starting(1, 1);
    let mut at = repeat(&mut learner, 0, 10, 720, 20);
    assert_eq!((learner.timer(), learner.standing()), (Some(Span::ZERO), TimerInForce::Learned));
    let mut standings = vec![];
    for _ in 0..100 {
        at = repeat(&mut learner, at, 1, 10, 1);
        standings.push(learner.standing());
    }
    let costs = learner.costs().expect("metered");
    let bound = Usd(costs.break_even.0 / 100 * 105) + terms(15).cost.boot_cost.times(5);
    assert!(costs.learned <= bound, "{} is more than {bound}", costs.learned);
    assert_eq!(standings.last(), Some(&TimerInForce::Learned), "it learned the new gaps");

    // Every gap is one second longer than the timer, until the timer has used up its slack.
    let mut teased = starting(1, 1);
    let mut at = minute(0);
    let mut was_governed = false;
    for _ in 0..200 {
        at = at + Span::mins(1);
        step(&mut teased, at, 0, terms(15));
        at = at + teased.timer().expect("one is in force") + Span::secs(1);
        step(&mut teased, at, 1, terms(15));
        if teased.standing() == TimerInForce::Governed {
            was_governed = true;
            assert_eq!(teased.timer(), Some(terms(15).cost.break_even));
        }
    }
    assert!(was_governed);
}

#[test]
fn a_spare_that_no_longer_pays_goes_at_the_next_fit() {
    // Two jobs at a time, every 50 minutes, for one minute: one node of headroom saves a boot at
    // the price of 50 idle minutes, and no timer does.
    let mut learner = starting(0, 4);
    let mut at = 0;
    for _ in 0..400 {
        for (minutes, nodes) in [(20, 2), (1, 1), (1, 3), (1, 0)] {
            at += minutes;
            step(&mut learner, minute(at), nodes, terms(15));
        }
    }
    carry_on(&mut [(&mut learner, true)], minute(at + 60 * 24 * 30));
    assert_eq!((learner.headroom(), learner.kept()), (NodeCount::ZERO, Some(NodeCount::ZERO)));
}

#[test]
fn a_state_is_the_same_whether_it_was_kept_as_text_or_not() {
    let mut learner = starting(3, 5);
    let at = repeat(&mut learner, 0, 17, 23, 60);
    let text = serde_json::to_string(&learner).expect("it can be written");
    let mut read: Learner = serde_json::from_str(&text).expect("it can be read");
    assert_eq!(read, learner);
    repeat(&mut learner, at, 5, 40, 30);
    repeat(&mut read, at, 5, 40, 30);
    assert_eq!(read, learner);
}

/// Lowest possible cost on this demand with knowledge of the future: a dynamic program over all
/// ways to hold x nodes between steps.
fn optimum(steps: &[(Span, u32)], up: u32, cost: &BootCost) -> i128 {
    let most = steps.iter().map(|(_, nodes)| *nodes).max().unwrap_or(0).max(up) as usize;
    let boot_cost = i128::from(cost.boot_cost.0) * 3_600_000;
    let mut least: Vec<i128> =
        (0..=most).map(|x| if x as u32 <= up { 0 } else { i128::MAX / 4 }).collect();
    for (length, nodes) in steps {
        let mut next = vec![i128::MAX / 4; most + 1];
        for (x, best) in next.iter_mut().enumerate().skip(*nodes as usize) {
            let idle = (x as i128 - i128::from(*nodes)) * i128::from(length.0);
            for (before, so_far) in least.iter().enumerate() {
                let woken = x.saturating_sub(before) as i128;
                *best = (*best).min(so_far + woken * boot_cost + idle * i128::from(cost.price.0));
            }
        }
        least = next;
    }
    least.into_iter().min().unwrap_or(0) / 3_600_000
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// I <= 2 (1 + eps) OPT + K + N (p tau_max + beta) + (1 + eps) N p T* for any demand
    /// (docs/cost-rule.md, section 9). Here demand knows the timer in force: it returns right
    /// after the timer expires, or stays away longer than it did before.
    #[test]
    fn the_governed_timer_is_within_its_bound_on_adversarial_demand(
        boot in prop_oneof![Just(1_i64), Just(5), Just(15), Just(90)],
        moves in prop::collection::vec((0_u8..6, 0_u32..5), 20..160),
    ) {
        const N: u32 = 5;
        let terms = terms(boot);
        let break_even = terms.cost.break_even;
        let mut learner = Learner::starting(minute(0), demand(N), NodeCount(N), Some(terms));
        let mut at = minute(0);
        let mut steps: Vec<(Span, u32)> = vec![];
        let mut nodes = N;
        for (how, next) in moves {
            let timer = learner.timer().expect("one is in force");
            let second = Span::secs(1);
            let wait = match how {
                0 => timer + second,
                1 => (timer - second).max(second),
                2 => break_even + second,
                3 => (break_even - second).max(second),
                4 => Span::hours(9),
                _ => Span::secs(30),
            };
            steps.push((wait, nodes));
            at = at + wait;
            carry_on(&mut [(&mut learner, true)], at);
            learner.step(demand(next), Some(terms));
            nodes = next;
        }
        steps.push((Span::ZERO, nodes));
        let costs = learner.costs().expect("metered");
        let cost = &terms.cost;
        let optimum = optimum(&steps, N, cost);
        let levels = |span: Span| i128::from(cost.price.over(span).0) * i128::from(N);
        let longest = break_even.max(Span::hours(8));
        let slack = i128::from(cost.boot_cost.0) * 4
            + levels(longest) + i128::from(cost.boot_cost.0) * i128::from(N)
            + levels(break_even) * 105 / 100;
        let bound = 2 * optimum * 105 / 100 + slack;
        prop_assert!(
            i128::from(costs.learned.0) <= bound,
            "{} is more than {} for an optimum of {}", costs.learned.0, bound, optimum
        );
        // T* without the governor is within twice the optimum plus its own open gaps.
        prop_assert!(i128::from(costs.break_even.0) <= 2 * optimum + levels(break_even));
        prop_assert!(i128::from(costs.clairvoyant.0) <= optimum + 1_000);
    }

    /// Samples that repeat the same counts change nothing: a daemon that ticks every minute learns
    /// the same as a replay of change points.
    #[test]
    fn learning_does_not_depend_on_how_often_one_looks(
        steps in prop::collection::vec((1_i64..400, 0_u32..6, 0_u32..3), 1..60),
        looks in prop::collection::vec(1_i64..9, 1..200),
    ) {
        let whole = |nodes, upcoming| Demand { upcoming: NodeCount(upcoming), ..demand(nodes) };
        let mut rare = starting(3, 6);
        let mut often = starting(3, 6);
        let (mut at, mut now) = (0, whole(3, 0));
        for (minutes, nodes, upcoming) in steps {
            let next = at + minutes;
            let mut look = at;
            for step in &looks {
                look += step;
                if look >= next {
                    break;
                }
                carry_on(&mut [(&mut often, true)], minute(look));
                often.step(now, Some(terms(15)));
            }
            (at, now) = (next, whole(nodes, upcoming));
            for learner in [&mut rare, &mut often] {
                carry_on(&mut [(&mut *learner, true)], minute(at));
                learner.step(now, Some(terms(15)));
            }
            prop_assert_eq!(&rare, &often, "at minute {}", at);
        }
    }
}

#[test]
fn only_timers_that_may_be_in_force_are_fitted() {
    // The cheapest timer is 0. Among timers of at least 20 minutes the cheapest is 30 minutes.
    let gaps = |learner: &mut Learner, terms: TimerTerms| {
        let mut at = 0;
        for n in 0..200 {
            at += 10;
            step(learner, minute(at), 0, terms);
            at += if n % 10 == 0 { 600 } else { 30 };
            step(learner, minute(at), 1, terms);
        }
    };
    let mut free = starting(1, 1);
    gaps(&mut free, terms(15));
    let late = TimerTerms { shortest: Span::mins(20), ..terms(15) };
    let mut held = Learner::starting(minute(0), demand(1), NodeCount(1), Some(late));
    gaps(&mut held, late);
    let fitted = |learner: &Learner| learner.fit().expect("a fit").timer;
    assert_eq!((fitted(&free), fitted(&held)), (Span::ZERO, Span::mins(30)));
}

#[test]
fn where_a_boot_costs_more_than_any_candidate_saves_the_timer_is_break_even() {
    let dear = Costing { failure: Usd::from_dollars(1_000.0), ..costing(15) };
    let terms = TimerTerms { cost: dear.boot_cost(), ..terms(15) };
    let mut learner = Learner::starting(minute(0), demand(20), NodeCount(20), Some(terms));
    for night in 0..28 {
        let evening = night * 24 * 60 + 600;
        step(&mut learner, minute(evening), 0, terms);
        step(&mut learner, minute(evening + 14 * 60), 20, terms);
    }
    assert_eq!(learner.timer(), Some(terms.cost.break_even));
    assert_eq!(learner.spent().expect("metered").boots, 0);
}

#[test]
fn a_level_that_never_returns_does_not_teach_for_ever() {
    let mut learner = starting(60, 60);
    let mut at = 10;
    step(&mut learner, minute(at), 1, terms(15));
    for _ in 0..60 * 2 {
        at += 700;
        step(&mut learner, minute(at), 0, terms(15));
        at += 20;
        step(&mut learner, minute(at), 1, terms(15));
    }
    let fit = *learner.fit().expect("a fit");
    assert_eq!((fit.timer, fit.own_gaps < 60), (Span::mins(20), true), "{fit:?}");
}

#[test]
fn one_that_was_away_is_fitted_after_the_others_and_not_they_again() {
    let mut steady = starting(1, 1);
    let mut away = starting(1, 1);
    for hour in 0..48 {
        carry_on(&mut [(&mut steady, true)], minute(hour * 60));
    }
    let before = steady.fits();
    carry_on(&mut [(&mut steady, true), (&mut away, false)], minute(48 * 60));
    assert_eq!(steady.fits(), before + 1, "the span that has just begun");
    assert_eq!((away.fits(), away.at()), (before + 1, minute(48 * 60)));
}

#[test]
fn a_clock_that_was_ahead_does_not_keep_it_from_learning() {
    let year = 365 * 24 * 60;
    let mut learner = starting(1, 1);
    carry_on(&mut [(&mut learner, false)], minute(year));
    learner.step(demand(0), Some(terms(15)));
    carry_on(&mut [(&mut learner, false)], minute(60));
    learner.step(demand(1), Some(terms(15)));
    let fits = learner.fits();
    repeat(&mut learner, 60, 30, 20, 100);
    assert!(learner.fits() > fits + 10, "{} {fits}", learner.fits());
    assert_eq!(learner.timer(), Some(Span::mins(20)));
}

#[test]
fn what_the_floor_keeps_idle_is_to_spare_already() {
    let floored = |nodes| Demand { floor: NodeCount(4), ..demand(nodes) };
    let levels = floored(0);
    assert_eq!((levels.needed(), levels.kept_by_floor()), (NodeCount(4), NodeCount(4)));
    let mut stack =
        crate::rule::levels::Levels::starting(Span::ZERO, levels.needed(), NodeCount(10));
    stack.keep_by_floor(levels.kept_by_floor());
    let mut meter = crate::rule::meter::Meter::starting(Span::ZERO, Span::ZERO, &stack);
    meter.set_headroom(NodeCount(2));
    meter.settle(Span::ZERO, &stack);
    assert_eq!(meter.kept(), NodeCount(0), "four idle for the floor, two of them headroom");
}

#[test]
fn levels_that_were_never_up_cost_everybody_a_boot() {
    let mut learner = starting(4, 4);
    step(&mut learner, minute(10), 40, terms(15));
    let costs = learner.costs().expect("metered");
    let boots = terms(15).cost.boot_cost.times(36);
    assert_eq!((costs.learned, costs.break_even, costs.clairvoyant), (boots, boots, boots));
}

#[test]
fn without_a_price_any_more_nothing_is_metered_any_more() {
    let mut learner = starting(1, 1);
    repeat(&mut learner, 0, 30, 20, 10);
    let fits = learner.fits();
    learner.step(demand(1), None);
    assert_eq!((learner.costs(), learner.timer()), (None, None));
    assert!(learner.fits() > fits, "the daemon stores the state again");
}
