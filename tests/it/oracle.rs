//! The daemon under the oracle: simulated cluster-days with faults, and bugs
//! planted to see that the oracle notices them.

mod meddling;
mod planted;

use std::collections::BTreeMap;
use std::time::Instant;

use trimtab_tests::oracle::play::{Played, play};
use trimtab_tests::oracle::worlds::case;

/// Seeds of the run in CI, and days of each.
const SEEDS: u64 = 100;
const DAYS: i64 = 10;
/// Set to a seed, only that one is played, and its log's tail is shown.
const SEED_VARIABLE: &str = "TRIMTAB_ORACLE_SEED";

fn played(seed: u64, days: i64, faults_per_day: f64) -> Played {
    let folder = tempfile::tempdir().expect("a folder");
    play(&case(seed, days, faults_per_day), folder.path())
}

fn campaign(seeds: std::ops::Range<u64>, days: i64, faults_per_day: f64) -> Played {
    let only: Option<u64> =
        std::env::var(SEED_VARIABLE).ok().map(|seed| seed.parse().expect("a seed is a number"));
    let began = Instant::now();
    let mut faults: BTreeMap<&'static str, u32> = BTreeMap::new();
    let mut sum: Option<Played> = None;
    for seed in seeds.filter(|seed| only.is_none_or(|only| only == *seed)) {
        let one = played(seed, days, faults_per_day);
        for (fault, times) in &one.faults {
            *faults.entry(fault).or_default() += times;
        }
        if !one.breaches.is_empty() {
            println!("seed {seed}: replay with");
            println!("  {SEED_VARIABLE}={seed} cargo test -p trimtab-tests oracle -- --nocapture");
            for breach in one.breaches.iter().take(8) {
                println!("  {breach}");
            }
            if only.is_some() {
                println!("{}", one.tail.join("\n"));
            }
        }
        sum = Some(match sum {
            None => one,
            Some(mut sum) => {
                sum.breaches.extend(one.breaches);
                sum.deletions += one.deletions;
                sum.ticks += one.ticks;
                sum.kills += one.kills;
                sum.thaws += one.thaws;
                sum.jobs += one.jobs;
                sum
            }
        });
    }
    let mut sum = sum.expect("at least one seed");
    sum.faults = faults;
    println!(
        "{} deletions, {} jobs, {} ticks, {} kills, {} freezes ended, {} breaches in {:.1} s",
        sum.deletions,
        sum.jobs,
        sum.ticks,
        sum.kills,
        sum.thaws,
        sum.breaches.len(),
        began.elapsed().as_secs_f64()
    );
    println!("{:?}", sum.faults);
    sum
}

#[test]
fn stress_for_now() {
    let sum = campaign(1000..1200, 4, 24.0);
    assert!(sum.breaches.is_empty(), "{} breaches, see above", sum.breaches.len());
}

#[test]
fn the_contract_holds_in_a_thousand_cluster_days() {
    let sum = campaign(0..SEEDS, DAYS, 1.0);
    assert!(sum.breaches.is_empty(), "{} breaches, see above", sum.breaches.len());
}
