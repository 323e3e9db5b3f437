//! How fast the rule is folded: a year of 1,000 nodes at steps of a minute
//! under each policy, and all candidate timers over all groups of a trace.
//!
//! `cargo bench -p trimtab-tests --bench backtest` prints the table that the
//! docs quote. Not a test: nothing fails when a machine is slow.

#![expect(clippy::print_stdout, reason = "a benchmark's output is its table")]

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use trimtab_backtest::demand::{Group, Moment, MomentKind, Selection, from_curves, from_jobs};
use trimtab_backtest::load::{Trace, read};
use trimtab_backtest::{Policy, Replay};
use trimtab_core::policy::Factor;
use trimtab_core::rule::Costing;
use trimtab_core::rule::gaps::CANDIDATES;
use trimtab_core::rule::learned::{Demand, OTHERS_TIMER};
use trimtab_core::units::{MilliGpus, NodeCount, Span, Time, Usd, UsdPerHour};

const NODES: u32 = 1_000;
const MINUTES: i64 = 365 * 24 * 60;
const RUNS: u32 = 5;

fn main() {
    println!("a year of {NODES} nodes, {MINUTES} steps of a minute, one policy");
    println!("policy             median s");
    let year = Replay { groups: vec![year()], shortest: Span::ZERO, seed: 1 };
    for policy in [Policy::Count(Span::mins(10)), Policy::Learned, Policy::Optimum] {
        let took = median(|| {
            black_box(year.run(policy, |_| {}));
        });
        println!("{:16}  {:9.3}", policy.to_string(), took.as_secs_f64());
    }
    println!();
    println!("all {} candidate timers over all groups", CANDIDATES.len());
    println!("trace              groups     steps  median s");
    for (name, days) in [
        ("philly_cluster.nodes", None),
        ("philly_vc.jobs", Some((21, 107))),
        ("alibaba_fgd_2023.jobs", None),
        ("surf_lisa_2022.jobs", Some((2, 122))),
    ] {
        let replay = Replay { groups: recorded(name, days), shortest: Span::ZERO, seed: 1 };
        let took = median(|| {
            black_box(replay.run_timers(&CANDIDATES));
        });
        let groups = replay.groups.len();
        println!("{name:22} {groups:2}  {:8}  {:8.3}", replay.moments(), took.as_secs_f64());
    }
}

fn median(mut does: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            does();
            start.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

fn costing() -> Costing {
    Costing {
        price: UsdPerHour(1_000_000),
        boot: Span::mins(15),
        billed_after_delete: Span::ZERO,
        delay_value: Factor::ONE,
        failure: Usd::ZERO,
    }
}

/// Demand that wanders through the whole group, up to 20 nodes a minute.
fn year() -> Group {
    let mut state = 1_u64;
    let mut below = |n: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    let mut nodes = i64::from(NODES) / 2;
    let demand = |nodes: i64| Demand {
        nodes: NodeCount(nodes as u32),
        upcoming: NodeCount::ZERO,
        floor: NodeCount::ZERO,
    };
    let first = demand(nodes);
    let moments = (1..MINUTES)
        .map(|minute| {
            nodes = (nodes + below(41) as i64 - 20).clamp(0, i64::from(NODES));
            Moment { at: Time::from_secs(minute * 60), kind: MomentKind::Step(demand(nodes)) }
        })
        .collect();
    Group {
        name: "year".to_owned(),
        size: NodeCount(NODES),
        up: NodeCount(NODES),
        begins: Time(0),
        ends: Time::from_secs(MINUTES * 60),
        first,
        moments,
        turns: None,
        costing: costing(),
        fixed: OTHERS_TIMER,
    }
}

fn recorded(name: &str, days: Option<(u32, u32)>) -> Vec<Group> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../traces");
    let trace = read(&folder.join(format!("{name}.csv.gz"))).expect("a trace of the repository");
    let selection = Selection {
        days,
        min_jobs: if name.starts_with("philly_vc") { 300 } else { 1 },
        one_group: false,
        gpus_per_node: MilliGpus::whole(8),
        size: None,
        costing: costing(),
    };
    let groups = match &trace {
        Trace::Jobs(jobs) => from_jobs(jobs, &selection),
        Trace::Curves(curves) => from_curves(curves, &selection),
        Trace::Swf(workload) => from_jobs(&workload.jobs, &selection),
    };
    groups.expect("it has groups")
}
