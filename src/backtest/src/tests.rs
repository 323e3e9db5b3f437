//! Tests of the replay against costs that are computed independently.

use proptest::prelude::*;
use trimtab_core::policy::Factor;
use trimtab_core::rule::Costing;
use trimtab_core::rule::learned::{Demand, OTHERS_TIMER};
use trimtab_core::trace::{TraceJob, parse_curves, parse_jobs};
use trimtab_core::units::{MilliGpus, NodeCount, Span, Time, Usd, UsdPerHour};

use crate::demand::{EmptySelection, Group, Moment, MomentKind, Selection, from_curves, from_jobs};
use crate::policy::{NodeChoice, Order, Policy};
use crate::replay::{Outcome, Replay};

/// One dollar per hour, so that a node-hour costs a dollar.
fn costing(boot_mins: i64, billed_after_mins: i64) -> Costing {
    Costing {
        price: UsdPerHour(1_000_000),
        boot: Span::mins(boot_mins),
        billed_after_delete: Span::mins(billed_after_mins),
        delay_value: Factor::ONE,
        failure: Usd::ZERO,
    }
}

fn selection(costing: Costing) -> Selection {
    Selection {
        days: None,
        min_jobs: 1,
        one_group: false,
        gpus_per_node: MilliGpus::whole(8),
        size: None,
        costing,
    }
}

fn demand(nodes: u32, floor: u32) -> Demand {
    Demand { nodes: NodeCount(nodes), upcoming: NodeCount::ZERO, floor: NodeCount(floor) }
}

fn minute(minute: i64) -> Time {
    Time::from_secs(minute * 60)
}

/// A group that needs these numbers of nodes, each for these minutes.
fn group(steps: &[(i64, u32)], floor: u32, costing: Costing) -> Group {
    let mut at = 0;
    let mut moments = vec![];
    for (minutes, nodes) in steps {
        let kind = MomentKind::Step(demand(*nodes, floor));
        moments.push(Moment { at: minute(at), kind });
        at += minutes;
    }
    let most = steps.iter().map(|(_, nodes)| *nodes).max().unwrap_or(0).max(floor);
    Group {
        name: "g".to_owned(),
        size: NodeCount(most),
        up: NodeCount(most),
        begins: minute(0),
        ends: minute(at),
        first: demand(steps[0].1, floor),
        moments: moments.split_off(1),
        turns: None,
        costing,
        fixed: OTHERS_TIMER,
    }
}

fn replay(groups: Vec<Group>) -> Replay {
    Replay { groups, shortest: Span::ZERO, seed: 1 }
}

fn run(group: &Group, policy: Policy) -> Outcome {
    replay(vec![group.clone()]).run(policy, |_| {})
}

/// Returns the lowest possible cost over all ways to hold nodes. A deleted node is paid for e
/// longer; a node that is brought back costs b more, and w for waiting unless it boots ahead.
fn least(steps: &[(i64, u32)], floor: u32, costing: &Costing, waits: bool) -> i64 {
    let most = steps.iter().map(|(_, nodes)| *nodes).max().unwrap_or(0).max(floor) as usize;
    let (boot, after) = (costing.boot.0, costing.billed_after_delete.0);
    let boot_cost = boot + if waits { costing.delay_value.of(costing.boot).0 } else { 0 };
    let far = i64::MAX / 4;
    // Everything is up at the beginning.
    let mut so_far = vec![far; most + 1];
    so_far[most] = 0;
    for (minutes, nodes) in steps {
        let mut next = vec![far; most + 1];
        let needed = (*nodes).max(floor) as usize;
        for (x, best) in next.iter_mut().enumerate().skip(needed) {
            let idle = (x as i64 - i64::from(*nodes)) * Span::mins(*minutes).0;
            for (before, spent) in so_far.iter().enumerate() {
                let up = x.saturating_sub(before) as i64;
                let down = before.saturating_sub(x) as i64;
                *best = (*best).min(spent + up * boot_cost + down * after + idle);
            }
        }
        so_far = next;
    }
    so_far.into_iter().min().unwrap_or(0)
}

fn any_steps() -> impl Strategy<Value = Vec<(i64, u32)>> {
    prop::collection::vec((1_i64..120, 0_u32..7), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Compares the level stack with a dynamic program over the number of nodes.
    #[test]
    fn both_optima_are_the_least_there_is(
        steps in any_steps(),
        floor in 0_u32..3,
        boot in 1_i64..60,
        after in prop_oneof![Just(0_i64), 1_i64..20],
    ) {
        let costing = costing(boot, after);
        let group = group(&steps, floor, costing);
        for (policy, waits) in [(Policy::Optimum, true), (Policy::OptimumPrewarmed, false)] {
            let outcome = run(&group, policy);
            let least = costing.price.over(Span(least(&steps, floor, &costing, waits)));
            let off = (outcome.cost() - least).0.abs();
            // Each boot is rounded to the millionth of a dollar.
            prop_assert!(off <= 2 + outcome.boots as i64, "{policy}: {:?} {least:?}", outcome.cost());
        }
    }

    /// T* costs at most twice the optimum plus the gaps that are open at the end. Every policy
    /// costs at least the optimum.
    #[test]
    fn break_even_is_within_twice_the_optimum(
        steps in any_steps(),
        boot in 1_i64..60,
        timer in 0_i64..100,
    ) {
        let group = group(&steps, 0, costing(boot, 0));
        let optimum = run(&group, Policy::Optimum).cost();
        let open = group.costing.boot_cost().boot_cost.times(u64::from(group.size.0));
        let break_even = run(&group, Policy::BreakEven).cost();
        prop_assert!(break_even.0 <= 2 * optimum.0 + open.0 + 100, "{break_even:?} {optimum:?}");
        let timer = Span::mins(timer);
        let node = NodeChoice::ALL.map(|placement| Policy::Node(timer, placement));
        let others = [
            Policy::Never,
            Policy::Count(timer),
            Policy::Randomised,
            Policy::Learned,
            Policy::LearnedQueue,
        ];
        for policy in node.into_iter().chain(others) {
            let outcome = run(&group, policy);
            let rounding = Usd(2 * outcome.boots as i64 + 2);
            prop_assert!(outcome.cost() + rounding >= optimum, "{policy}");
        }
    }

    /// If only the needed nodes are up, node timers and the count timer of 0 give the same
    /// result.
    #[test]
    fn a_timer_of_nothing_is_the_same_on_nodes_and_on_the_count(steps in any_steps()) {
        let group = group(&steps, 0, costing(15, 0));
        let count = run(&group, Policy::Count(Span::ZERO));
        prop_assert_eq!(count.idle, Span::ZERO);
        for placement in NodeChoice::ALL {
            prop_assert_eq!(run(&group, Policy::Node(Span::ZERO, placement)), count);
        }
    }

    #[test]
    fn all_timers_in_one_pass_are_what_each_is_by_itself(
        steps in any_steps(),
        timers in prop::collection::vec(0_i64..90, 1..5),
    ) {
        let group = group(&steps, 1, costing(15, 3));
        let timers: Vec<Span> = timers.into_iter().map(Span::mins).collect();
        let together = replay(vec![group.clone()]).run_timers(&timers);
        let alone: Vec<Outcome> =
            timers.iter().map(|timer| run(&group, Policy::Count(*timer))).collect();
        prop_assert_eq!(together, alone);
    }
}

#[test]
fn a_bill_is_what_was_used_what_was_idle_and_what_was_booted() {
    // Two nodes for an hour, one for 20 minutes, two for 40.
    let group = group(&[(60, 2), (20, 1), (40, 2)], 0, costing(15, 0));
    let dollars = |outcome: Outcome| {
        let usd = [outcome.idle_usd, outcome.boot_usd, outcome.delay_usd, outcome.bill_usd];
        usd.map(|usd| (usd.as_dollars() * 100.0).round() / 100.0)
    };
    let used = 2.0 + 20.0 / 60.0 + 80.0 / 60.0;
    let cents = |dollars: f64| (dollars * 100.0).round() / 100.0;
    assert_eq!(dollars(run(&group, Policy::Never)), [0.33, 0.0, 0.0, 4.0]);
    assert_eq!(
        dollars(run(&group, Policy::Count(Span::mins(10)))),
        [0.17, 0.25, 0.25, cents(used + 1.0 / 6.0 + 0.25)]
    );
    assert_eq!(dollars(run(&group, Policy::Count(Span::mins(20)))), [0.33, 0.0, 0.0, 4.0]);
    assert_eq!(
        dollars(run(&group, Policy::OptimumPrewarmed)),
        [0.0, 0.25, 0.0, cents(used + 0.25)]
    );
}

#[test]
fn what_the_floor_keeps_idle_is_in_every_bill() {
    let group = group(&[(60, 2), (60, 0), (60, 2)], 1, costing(15, 0));
    for policy in [Policy::Optimum, Policy::Count(Span::ZERO), Policy::Never] {
        let idle = run(&group, policy).idle.as_hours();
        let expected = if policy == Policy::Never { 2.0 } else { 1.0 };
        assert!((idle - expected).abs() < 1e-9, "{policy}: {idle}");
    }
}

#[test]
fn a_stretch_that_nobody_watched_is_in_no_bill() {
    let mut group = group(&[(60, 2), (60, 2), (60, 2)], 0, costing(15, 0));
    group.moments[0].kind = MomentKind::Unwatched;
    let never = run(&group, Policy::Never);
    assert_eq!((group.used().as_hours(), never.bill_usd), (4.0, Usd::from_dollars(4.0)));
    for policy in Policy::usual() {
        let outcome = run(&group, policy);
        assert_eq!((outcome.bill_usd, outcome.boots), (never.bill_usd, 0), "{policy}");
    }
}

const JOBS: &str = "submit_s,start_s,end_s,nodes,gpus,partition\n";

fn jobs(rows: &str) -> Vec<TraceJob> {
    parse_jobs(&format!("{JOBS}{rows}")).expect("a table")
}

/// Two nodes, and a job of one minute every 3 minutes.
fn short_jobs() -> Vec<Group> {
    let row = |n: i64| format!("{0},{0},{1},1,8,p\n", n * 180, n * 180 + 60);
    let mut rows: String = (0..200).map(row).collect();
    rows.push_str("0,0,60,1,8,p\n36000,36000,36060,1,8,p\n");
    from_jobs(&jobs(&rows), &selection(costing(15, 0))).expect("a group")
}

#[test]
fn spreading_keeps_two_nodes_awake_where_one_would_do() {
    let spent = |order| {
        let policy = Policy::Node(Span::mins(10), NodeChoice::Up(order));
        replay(short_jobs()).run(policy, |_| {})
    };
    let (lowest, spread) = (spent(Order::Lowest), spent(Order::Spread));
    let count = replay(short_jobs()).run(Policy::Count(Span::mins(10)), |_| {});
    assert!(spread.idle.as_hours() > lowest.idle.as_hours() + 9.0, "{spread:?} {lowest:?}");
    assert_eq!(count.idle, lowest.idle, "a count does not care which node it is");
}

#[test]
fn a_scheduler_that_is_blind_to_power_wakes_the_node_that_is_gone() {
    // Two jobs end, one a minute before the other. 10 minutes later the node of the first is
    // deleted, the other is still up, and a new job starts.
    let table = "0,0,60,1,8,p\n0,0,120,1,8,p\n690,690,720,1,8,p\n";
    let groups = from_jobs(&jobs(table), &selection(costing(15, 0))).expect("a group");
    let boots = |placement| {
        let policy = Policy::Node(Span::mins(10), placement);
        replay(groups.clone()).run(policy, |_| {}).boots
    };
    assert_eq!(boots(NodeChoice::Up(Order::Spread)), 0);
    assert_eq!(boots(NodeChoice::Blind(Order::Spread)), 1);
    assert_eq!(boots(NodeChoice::Blind(Order::Lowest)), 1, "it has the lower number");
}

#[test]
fn a_queue_that_shows_every_return_leaves_little_to_pay() {
    // Jobs of 5 minutes, with random gaps of 10 minutes or 3 hours. Each job waits for 30
    // minutes before it starts.
    let mut at = 3600;
    let mut rows = String::new();
    let mut state = 7_u64;
    for _ in 0..600 {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        at += if state >> 63 == 0 { 600 } else { 10_800 };
        rows.push_str(&format!("{},{at},{},1,8,p\n", at - 1800, at + 300));
        at += 300;
    }
    let groups = from_jobs(&jobs(&rows), &selection(costing(15, 0))).expect("a group");
    let replay = replay(groups);
    let ratio = |policy| {
        let cost = |policy| replay.run(policy, |_| {}).cost().as_dollars();
        cost(policy) / cost(Policy::Optimum)
    };
    let (blind, seeing) = (ratio(Policy::Learned), ratio(Policy::LearnedQueue));
    assert!(seeing < 1.05 && blind > 1.15, "with the queue {seeing}, without {blind}");
}

#[test]
fn days_are_cut_out_with_what_runs_at_their_beginning() {
    let table = "0,0,200000,1,8,p\n90000,90000,100000,2,16,p\n90000,90000,90001,1,8,q\n";
    let chosen = Selection { days: Some((1, 2)), ..selection(costing(15, 0)) };
    let groups = from_jobs(&jobs(table), &chosen).expect("groups");
    let [p, q] = &groups[..] else { panic!("two partitions") };
    assert_eq!((p.first.nodes, p.size, p.begins), (NodeCount(1), NodeCount(3), minute(24 * 60)));
    assert_eq!(p.used(), Span::hours(24) + Span::secs(20_000));
    assert_eq!((q.first.nodes, q.size), (NodeCount(0), NodeCount(1)));
    let lowest = Policy::Node(Span::mins(10), NodeChoice::Up(Order::Lowest));
    let spent = replay(vec![p.clone()]).run(lowest, |_| {});
    assert_eq!((spent.boots, spent.idle), (2, Span::mins(10).times(4)));
}

#[test]
fn what_leaves_nothing_to_replay_is_refused() {
    let table = jobs("0,0,100,4,32,p\n");
    let usual = selection(costing(15, 0));
    let many = Selection { min_jobs: 2, ..usual.clone() };
    assert_eq!(from_jobs(&table, &many), Err(EmptySelection::NoJobs { min_jobs: 2 }));
    let small = Selection { size: Some(NodeCount(3)), ..usual.clone() };
    let said = from_jobs(&table, &small).expect_err("4 nodes").to_string();
    assert_eq!(said, "group p needs 4 nodes at once, more than --size 3");
    let curves = parse_curves("time_s,partition,nodes_busy,nodes_total\n0,p,0,9\n60,p,0,8\n");
    let none = from_curves(&curves.expect("a curve"), &usual);
    assert_eq!(none, Err(EmptySelection::NoJobs { min_jobs: 0 }));
}
