//! Runs the daemon under the oracle: simulated cluster-days with faults, and planted bugs that the
//! oracle must notice.

mod found;
mod meddling;
mod planted;

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Instant;

use trimtab_tests::oracle::Breach;
use trimtab_tests::oracle::play::{Played, play};
use trimtab_tests::oracle::worlds::{Case, by_group_calls, case};
use trimtab_tests::scale;

/// Number of seeds of the run in CI, and days of each.
const SEEDS: u64 = 100;
const DAYS: i64 = 10;
/// Seeds of the run with one fault an hour, 3 days each.
const STRESSED: Range<u64> = 1_093..1_133;
/// If set to a seed, only this seed runs, and the last lines of its log are printed.
const SEED_VARIABLE: &str = "TRIMTAB_ORACLE_SEED";

fn played(seed: u64, days: i64, faults_per_day: f64) -> Played {
    let folder = tempfile::tempdir().expect("a folder");
    play(&case(seed, days, faults_per_day), folder.path())
}

/// Generates a case from a seed, a number of days and a number of faults a day.
type Cases = fn(u64, i64, f64) -> Case;

/// Totals of all seeds of a run.
#[derive(Default)]
struct Sum {
    seeds: u64,
    breaches: Vec<Breach>,
    faults: BTreeMap<&'static str, u32>,
    deletions: u64,
    group_calls: u64,
    jobs: usize,
    ticks: u64,
    kills: u32,
    thaws: u32,
}

#[expect(clippy::print_stdout, reason = "what happened is part of the result")]
fn campaign(name: &str, cases: Cases, seeds: Range<u64>, days: i64, faults_per_day: f64) -> Sum {
    let folder = || tempfile::tempdir().expect("a folder");
    let only: Option<u64> =
        std::env::var(SEED_VARIABLE).ok().map(|seed| seed.parse().expect("a seed is a number"));
    let began = Instant::now();
    let mut sum = Sum::default();
    for seed in scale::seeds(seeds).filter(|seed| only.is_none_or(|only| only == *seed)) {
        let one = play(&cases(seed, days, faults_per_day), folder().path());
        if !one.breaches.is_empty() {
            println!("seed {seed}; play it again with");
            println!("  {SEED_VARIABLE}={seed} cargo test -p trimtab-tests oracle -- --nocapture");
            for breach in one.breaches.iter().take(8) {
                println!("  {breach}");
            }
            if only.is_some() {
                println!("{}", one.tail.join("\n"));
            }
        }
        sum.seeds += 1;
        sum.breaches.extend(one.breaches);
        for (fault, times) in &one.faults {
            *sum.faults.entry(fault).or_default() += times;
        }
        sum.deletions += one.deletions;
        sum.group_calls += one.group_calls;
        sum.jobs += one.jobs;
        sum.ticks += one.ticks;
        sum.kills += one.kills;
        sum.thaws += one.thaws;
    }
    println!(
        "{name}: {} days, {} deletions, {} group calls, {} jobs, {} ticks, {} kills, {} freezes ended, {} breaches \
         in {:.1} s; faults: {:?}",
        sum.seeds as i64 * days,
        sum.deletions,
        sum.group_calls,
        sum.jobs,
        sum.ticks,
        sum.kills,
        sum.thaws,
        sum.breaches.len(),
        began.elapsed().as_secs_f64(),
        sum.faults
    );
    sum
}

#[test]
fn the_contract_holds_in_a_thousand_cluster_days() {
    let sum = campaign("a fault a day", case, 0..SEEDS, DAYS, 1.0);
    assert!(sum.breaches.is_empty(), "{} breaches, see above", sum.breaches.len());
    if sum.seeds == SEEDS {
        let days = SEEDS * DAYS as u64;
        assert!(sum.deletions >= days, "{} deletions in {days} days", sum.deletions);
        assert!(sum.jobs as u64 >= 50 * days, "{} jobs in {days} days", sum.jobs);
        assert!(sum.ticks >= 288 * days, "{} ticks in {days} days", sum.ticks);
        let faults: u64 = sum.faults.values().map(|times| u64::from(*times)).sum();
        assert!(faults * 10 >= days * 7, "{faults} faults in {days} days");
        assert!(sum.kills > 0 && sum.thaws > 0);
    }
}

/// With one fault an hour, many faults overlap. This covers rare combinations of two faults.
#[test]
fn the_contract_holds_under_a_fault_an_hour() {
    let sum = campaign("a fault an hour", case, STRESSED, 3, 24.0);
    assert!(sum.breaches.is_empty(), "{} breaches, see above", sum.breaches.len());
    assert!(
        sum.seeds < STRESSED.end - STRESSED.start || (sum.kills > 500 && sum.deletions > 1_000)
    );
}

/// Groups of 6 to 118 nodes whose nodes are deleted by requests by count.
#[test]
fn the_contract_holds_where_whole_groups_go_by_a_count() {
    let calm = campaign("group calls", by_group_calls, 0..16, 3, 1.0);
    let stressed = campaign("group calls, a fault an hour", by_group_calls, 16..26, 2, 24.0);
    let breaches = calm.breaches.len() + stressed.breaches.len();
    assert_eq!(breaches, 0, "see above");
    assert!(calm.seeds < 16 || calm.group_calls > 48, "{} group calls", calm.group_calls);
    assert!(stressed.seeds < 10 || stressed.group_calls > 10, "{}", stressed.group_calls);
}

#[test]
fn one_seed_gives_one_log_and_one_ledger() {
    for seed in [3, 17, 29, 41] {
        let (one, two) = (played(seed, 3, 12.0), played(seed, 3, 12.0));
        assert_eq!(one.digest, two.digest, "seed {seed}: the world's log");
        assert!(one.rows == two.rows, "seed {seed}: the ledger's rows");
        assert!(one.deletions > 0 && one.rows.len() > 10_000);
    }
    assert_ne!(played(3, 1, 1.0).digest, played(4, 1, 1.0).digest);
}
