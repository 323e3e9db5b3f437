//! Capacity types of single nodes. trimtab reads them only for nodes that it may delete, a limited
//! number at a time and once for each node. A contradiction keeps the node.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use trimtab_core::ids::InstanceId;
use trimtab_core::plan::{Doubt, KeepReason, Verdict};
use trimtab_core::reads::Capacity;
use trimtab_core::units::NodeCount;
use trimtab_daemon::ports::{NodeDetails, Ports};
use trimtab_simulator::World;
use trimtab_simulator::ports::PortOptions;
use trimtab_simulator::spec::WorldSpec;
use trimtab_tests::altered::AlteredCluster;
use trimtab_tests::life::Life;
use trimtab_tests::worlds::{cluster_policy, group_policy, name};

/// The capacity type in a node's description; the outer `None` means no answer.
type Answer = fn(InstanceId, usize) -> Option<Option<Capacity>>;

struct Past {
    calls: Vec<Vec<InstanceId>>,
    /// Last verdict of each node.
    words: BTreeMap<InstanceId, Verdict>,
    deleted: u64,
    cordoned_ever: usize,
}

fn run(count: u32, busy: u32, answer: Answer) -> Past {
    let jobs = (0..busy).map(|_| "[[job]]\nat = \"0s\"\nlength = \"20h\"\nnodes = 1\n");
    let text = format!(
        "duration = \"2h\"\n[[group]]\nname = \"workers\"\ncount = {count}\n\
         price_usd_per_hour = 20.0\n{}",
        jobs.collect::<String>()
    );
    let spec = WorldSpec::parse(&text, "capacity").expect("a valid world");
    let world = World::new(spec, vec![]).expect("a valid world");
    let mut policy = cluster_policy([(name("workers"), group_policy())].into_iter().collect());
    policy.cluster = world.spec().cluster.clone();
    for group in policy.groups.values_mut() {
        group.size = NodeCount(count);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let life = Life::new(world.clone(), policy, folder.path(), 1);
    let mut ports: Ports = world.ports(PortOptions::default());
    // Node ids of each request.
    let asked: Arc<Mutex<Vec<Vec<InstanceId>>>> = Arc::default();
    let noted = Arc::clone(&asked);
    ports.cluster = Arc::new(AlteredCluster::new(ports.cluster).detailing(move |nodes, read| {
        noted.lock().expect("the lock is not poisoned").push(nodes.to_vec());
        let places = read.into_keys().enumerate();
        let answers = places
            .filter_map(|(n, id)| Some((id, NodeDetails { capacity: answer(id, n)?, ip: None })));
        answers.collect()
    }));
    let (mut words, mut cordoned_ever) = (BTreeMap::new(), 0);
    life.run_with(ports, Arc::new(life.open_ledger()), &mut |report| {
        let report = report.expect("the ledger can be written");
        cordoned_ever += report.begun.len();
        words.extend(report.plan.verdicts.iter().map(|word| (word.node, word.verdict.clone())));
    });
    let calls = asked.lock().expect("the lock is not poisoned").clone();
    Past { calls, words, deleted: world.truth().nodes_deleted(), cordoned_ever }
}

#[test]
fn nodes_are_described_once_each_a_bounded_number_a_tick_and_busy_ones_not_at_all() {
    let past = run(130, 10, |_, _| Some(Some(Capacity::OnDemand)));
    let sizes: Vec<usize> = past.calls.iter().map(Vec::len).collect();
    assert!(sizes.iter().all(|size| *size <= 50), "{sizes:?}");
    assert!(sizes.len() >= 3, "{sizes:?}");
    let mut all: Vec<InstanceId> = past.calls.concat();
    let asked = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), asked, "one was asked about twice");
    // The jobs start before or right after the first look.
    assert!((120..=130).contains(&asked), "{asked}");
    assert_eq!(past.deleted, 120);
}

#[test]
fn a_node_that_shows_another_capacity_is_never_marked() {
    let past =
        run(4, 0, |_, n| Some(Some(if n == 1 { Capacity::Spot } else { Capacity::OnDemand })));
    assert_eq!((past.deleted, past.cordoned_ever), (3, 3));
    let kept: Vec<&Verdict> =
        past.words.values().filter(|word| matches!(word, Verdict::Keep(_))).collect();
    let (declared, seen) = (Capacity::OnDemand, Capacity::Spot);
    assert_eq!(kept, [&Verdict::Keep(KeepReason::CapacityContradicts { declared, seen })]);
}

#[test]
fn a_node_whose_description_cannot_be_read_is_kept() {
    let past = run(3, 0, |_, _| None);
    assert_eq!((past.deleted, past.cordoned_ever), (0, 0));
    let unread = Verdict::Keep(KeepReason::Unknown(Doubt::DetailsUnread));
    assert!(past.words.values().all(|word| *word == unread), "{:?}", past.words);
    assert!(past.calls.len() > 40, "it is asked again");
}

#[test]
fn one_that_never_answers_does_not_hold_up_the_others() {
    let past = run(120, 0, |_, n| (n >= 50 || n % 2 == 0).then_some(Some(Capacity::OnDemand)));
    // Every other node of each request answers: the first half in the last tick.
    assert!(past.deleted > 100, "{}", past.deleted);
}

#[test]
fn a_node_that_shows_no_capacity_is_what_was_declared() {
    let past = run(3, 0, |_, _| Some(None));
    assert_eq!(past.deleted, 3);
    assert!(past.calls.len() == 1);
}
