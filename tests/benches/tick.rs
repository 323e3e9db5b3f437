//! How long a whole tick of 1,000 nodes takes with its ledger on disk
//! (WAL, synchronous=FULL), and how much the ledger grows.
//!
//! `cargo bench -p trimtab-tests --bench tick` prints the table that the docs
//! quote. The reads come from the simulated world and are part of the time.

#![expect(clippy::print_stdout, reason = "a benchmark's output is its table")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use trimtab_core::units::{NodeCount, Span};
use trimtab_daemon::driver::{Driver, Intent};
use trimtab_daemon::ledger::{Durability, SqliteLedger};
use trimtab_daemon::ports::{Doorbell, Ring};
use trimtab_simulator::World;
use trimtab_simulator::ports::PortOptions;
use trimtab_simulator::spec::WorldSpec;
use trimtab_tests::life::poll_once;
use trimtab_tests::worlds::{STEP, cluster_policy, group_policy, name};

const NODES: u32 = 1_000;

fn main() {
    println!(
        "jobs/day  ticks  deleted  tick ms p50  p99    max    ledger bytes/tick  bytes/tick/node"
    );
    for per_day in [0, 1_000, 10_000] {
        row(per_day);
    }
}

fn row(jobs_per_day: u32) {
    let folder = tempfile::tempdir().expect("a folder for the ledger");
    let path = folder.path().join("trimtab.db");
    let world = world(jobs_per_day);
    let ledger = SqliteLedger::open(&path, world.now(), Durability::Full).expect("a ledger");
    let mut policy = cluster_policy([(name("workers"), group_policy())].into_iter().collect());
    policy.cluster = world.spec().cluster.clone();
    for group in policy.groups.values_mut() {
        group.size = NodeCount(NODES);
        group.budgets.per_hour = NodeCount(40);
        group.budgets.per_day = NodeCount(200);
    }
    let ports = world.ports(PortOptions::default());
    let started = poll_once(Driver::start(ports, Arc::new(ledger), policy)).expect("alive");
    let mut driver = started.expect("the ledger can be read");
    let mut doorbell = world.doorbell(STEP);
    let before = size(&path);
    let mut times: Vec<Duration> = vec![];
    while let Some(ring) = poll_once(doorbell.next(driver.deadline())) {
        if ring == Ring::Stop {
            break;
        }
        let start = Instant::now();
        let report = poll_once(driver.tick(ring, Intent::Act)).expect("alive");
        times.push(start.elapsed());
        report.expect("the ledger can be written");
    }
    let ticks = times.len();
    // The last handle writes the log back into the file and removes it.
    drop(driver);
    let growth = (size(&path) - before) as f64 / ticks as f64;
    times.sort();
    let ms = |share: f64| times[((ticks - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    let deleted = world.truth().nodes_deleted();
    println!(
        "{jobs_per_day:<9} {ticks:<6} {deleted:<8} {:<12.2} {:<6.2} {:<6.2} {growth:<18.0} {:.2}",
        ms(0.5),
        ms(0.99),
        ms(1.0),
        growth / f64::from(NODES)
    );
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}

fn world(jobs_per_day: u32) -> World {
    let generate = match jobs_per_day {
        0 => String::new(),
        jobs => format!(
            "[[generate]]\nper_day = {jobs}\nlength_median = \"1h\"\n\
             mix = [{{ weight = 3, gpus = 8 }}, {{ weight = 1, nodes = 4, gpus = 32 }}]\n"
        ),
    };
    let text = format!(
        "duration = \"1d\"\nkeep_log = false\n[regrow]\nevery = \"5m\"\ndelay = \"5m\"\n\
         [[group]]\nname = \"workers\"\ncount = {NODES}\ngpus_per_node = 8\n\
         price_usd_per_hour = 20.36\n{generate}"
    );
    let spec = WorldSpec::parse(&text, "bench").expect("a valid world");
    let span = spec.duration;
    assert_eq!(span, Span::hours(24));
    World::new(spec, vec![]).expect("a valid world")
}
