//! A ledger that cannot be written: trimtab starts no deletion, sends no request, and leaves no
//! node cordoned for hours.

use std::collections::BTreeMap;

use trimtab_core::units::{NodeCount, Span, Time};
use trimtab_simulator::World;
use trimtab_simulator::spec::WorldSpec;
use trimtab_tests::life::Life;
use trimtab_tests::worlds::{cluster_policy, group_policy, name};

const WORLD: &str = "duration = \"6h\"\n\
    [[group]]\nname = \"workers\"\ncount = 6\nprice_usd_per_hour = 20.0\n\
    [[fault]]\nat = \"12m 20s\"\nfor = \"3h\"\nkind = \"ledger-fails\"\n";

#[test]
fn a_disk_that_stays_full_gives_cordoned_nodes_back() {
    let spec = WorldSpec::parse(WORLD, "unwritable").expect("a valid world");
    let world = World::new(spec, vec![]).expect("a valid world");
    let start = world.now();
    let mut policy = cluster_policy([(name("workers"), group_policy())].into_iter().collect());
    policy.cluster = world.spec().cluster.clone();
    for group in policy.groups.values_mut() {
        group.size = NodeCount(6);
        group.budgets.per_hour = NodeCount(2);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let life = Life::new(world.clone(), policy, folder.path(), 1);
    let mut cordoned: BTreeMap<Time, usize> = BTreeMap::new();
    let mut failed = 0;
    life.run(&mut |report| {
        failed += usize::from(report.is_err());
        cordoned.insert(world.now(), world.truth().cordons.len());
    });
    let at = |mins: i64| {
        let until = start + Span::mins(mins);
        cordoned.range(..=until).next_back().map_or(0, |(_, cordons)| *cordons)
    };
    assert!(failed > 50, "only {failed} ticks failed");
    assert!(at(13) > 0, "nothing was cordoned when the disk filled up: the test shows nothing");
    assert!(at(20) > 0, "a short failure is sat out");
    assert_eq!(at(60), 0, "nodes are still cordoned: {cordoned:?}");
    let truth = world.truth();
    let during = |asked: &&trimtab_simulator::truth::AskedNode| {
        asked.at > start + Span::secs(740) && asked.at < start + Span::mins(192)
    };
    assert_eq!(truth.asked.iter().filter(during).count(), 0, "asked without an intent");
    assert!(truth.nodes_deleted() > 0, "it goes on once the disk has room");
    assert_eq!(truth.cordons, [], "a cordon is left");
    assert_eq!(truth.lost_jobs().count(), 0);
}
