//! Prints what the planner, the audit and the daemon decide in generated worlds,
//! so that two versions of the code can be compared.
//!
//! A change that only moves or renames code leaves this output as it was, up to the
//! names it changed. Run it before and after such a change and compare:
//!
//! ```text
//! cargo run -p trimtab-tests --example behaviour > /tmp/before.txt
//! cargo run -p trimtab-tests --example behaviour > /tmp/after.txt
//! ```

use std::io::{self, BufWriter, Write};

use trimtab_core::audit;
use trimtab_core::planner::plan;
use trimtab_tests::oracle::play::play;
use trimtab_tests::oracle::worlds::{Case, by_group_calls, case};
use trimtab_tests::worlds::generate;

/// Generated clusters whose plans and audits are printed.
const CLUSTERS: u64 = 3_000;

/// How a case is made, the first seed, the number of seeds, days of each and faults a day.
type Runs = (fn(u64, i64, f64) -> Case, u64, u64, i64, f64);

/// Simulated cluster-days whose logs and ledgers are printed.
const RUNS: &[Runs] =
    &[(case, 0, 12, 3, 1.0), (case, 1_093, 6, 2, 24.0), (by_group_calls, 16, 4, 2, 12.0)];

fn main() -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    for seed in 0..CLUSTERS {
        let world = generate(seed);
        let (snapshot, history) = (world.snapshot(), world.history());
        let plan = plan(&snapshot, &world.policy, &history, world.now);
        writeln!(out, "cluster {seed}: {plan:?}")?;
        let approved = audit::approve(plan, &snapshot, &world.policy, &history, world.now);
        writeln!(out, "audit {seed}: {approved:?}")?;
    }
    for (make, first, seeds, days, faults) in RUNS {
        for seed in *first..first + seeds {
            let mut case = make(seed, *days, *faults);
            case.spec.keep_log = true;
            let folder = tempfile::tempdir()?;
            let played = play(&case, folder.path());
            writeln!(out, "run {seed}, {days} days, {faults} faults a day")?;
            writeln!(out, "{}{}", played.log, played.rows)?;
        }
    }
    out.flush()
}
