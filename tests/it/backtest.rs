//! The cost rule on the recorded clusters of `traces/`, compared with the clairvoyant optimum: the
//! figures that the docs quote, and their upper limits.
//!
//! `cargo test --workspace --test it backtest -- --nocapture` prints the figures.
//! `scripts/backtest-table.sh` prints them together with those of every other policy.

use std::path::Path;

use trimtab_backtest::demand::{Group, Selection, from_curves, from_jobs};
use trimtab_backtest::load::{Trace, read};
use trimtab_backtest::{Policy, Replay};
use trimtab_core::policy::Factor;
use trimtab_core::rule::Costing;
use trimtab_core::units::{MilliGpus, Span, Usd, UsdPerHour};

/// A recorded cluster, and its replay options.
struct Case {
    name: &'static str,
    file: &'static str,
    days: Option<(u32, u32)>,
    min_jobs: usize,
    one_group: bool,
    /// Maximum cost of the learned timer at a boot of 15 minutes and a delay value of 1, as a
    /// multiple of the optimum.
    at_most: f64,
}

const CASES: [Case; 5] = [
    Case {
        name: "philly-cluster",
        file: "philly_cluster.nodes.csv.gz",
        days: None,
        min_jobs: 1,
        one_group: false,
        at_most: 1.31,
    },
    Case {
        name: "philly-vc",
        file: "philly_vc.jobs.csv.gz",
        days: Some((21, 107)),
        min_jobs: 300,
        one_group: false,
        at_most: 1.21,
    },
    Case {
        name: "alibaba-fgd",
        file: "alibaba_fgd_2023.jobs.csv.gz",
        days: None,
        min_jobs: 1,
        one_group: true,
        at_most: 1.31,
    },
    Case {
        name: "alibaba-fgd by class",
        file: "alibaba_fgd_2023.jobs.csv.gz",
        days: None,
        min_jobs: 1,
        one_group: false,
        at_most: 1.31,
    },
    Case {
        name: "surf-lisa",
        file: "surf_lisa_2022.jobs.csv.gz",
        days: Some((2, 122)),
        min_jobs: 1,
        one_group: false,
        at_most: 1.45,
    },
];

fn costing(boot_mins: i64, delay_value: u16) -> Costing {
    Costing {
        price: UsdPerHour(1_000_000),
        boot: Span::mins(boot_mins),
        billed_after_delete: Span::ZERO,
        delay_value: Factor(delay_value * 10),
        failure: Usd::ZERO,
    }
}

fn trace(case: &Case) -> Trace {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../traces");
    read(&folder.join(case.file)).unwrap_or_else(|why| panic!("{why}"))
}

fn groups(case: &Case, trace: &Trace, costing: Costing) -> Vec<Group> {
    let selection = Selection {
        days: case.days,
        min_jobs: case.min_jobs,
        one_group: case.one_group,
        gpus_per_node: MilliGpus::whole(8),
        size: None,
        costing,
    };
    let groups = match trace {
        Trace::Jobs(jobs) => from_jobs(jobs, &selection),
        Trace::Curves(curves) => from_curves(curves, &selection),
        Trace::Swf(workload) => from_jobs(&workload.jobs, &selection),
    };
    groups.unwrap_or_else(|why| panic!("{}: {why}", case.name))
}

#[test]
fn the_learned_timer_pays_close_to_the_optimum_on_every_recorded_cluster() {
    println!(
        "trace                 boot  delay  learned/optimum  break-even/optimum  bill/optimum"
    );
    for case in &CASES {
        let trace = trace(case);
        for boot in [5, 15, 30, 90] {
            for delay in [0, 1, 4] {
                let costing = costing(boot, delay);
                let groups = groups(case, &trace, costing);
                let nodes: u32 = groups.iter().map(|group| group.size.0).sum();
                let replay = Replay { groups, shortest: Span::ZERO, seed: 1 };
                let [learned, break_even, optimum] =
                    [Policy::Learned, Policy::BreakEven, Policy::Optimum]
                        .map(|policy| replay.run(policy, |_| {}));
                let over = |a: Usd, b: Usd| a.as_dollars() / b.as_dollars();
                let ratio = over(learned.cost(), optimum.cost());
                let bill = over(learned.bill_usd, optimum.bill_usd);
                println!(
                    "{:20} {boot:3} m  {delay:5}  {ratio:15.3}  {:18.3}  {bill:12.4}",
                    case.name,
                    over(break_even.cost(), optimum.cost())
                );
                let name = case.name;
                assert!(ratio <= 1.6, "{name}, boot {boot} min, delay {delay}: {ratio:.3}");
                if (boot, delay) == (15, 1) {
                    assert!(ratio <= case.at_most, "{name}: {ratio:.3}");
                    assert!(bill <= 1.02, "{name}: the bill is {bill:.4} of the optimum's");
                }
                // Each level may wait for T* once more at the end.
                let open = costing.boot_cost().boot_cost.times(u64::from(nodes));
                assert!(break_even.cost().0 <= 2 * optimum.cost().0 + open.0, "{name}");
            }
        }
    }
}
