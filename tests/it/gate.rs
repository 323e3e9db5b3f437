//! The gate: asked once a node has settled and before the look that counts,
//! however long it takes, and its no is a no.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use trimtab_core::action::{EventKind, ReleaseReason};
use trimtab_core::ids::{ClusterName, GroupName, InstanceId};
use trimtab_core::policy::NodeLocalData;
use trimtab_core::units::{NodeCount, Span, Time};
use trimtab_daemon::ledger::SqliteLedger;
use trimtab_daemon::ports::{Gate, Ports};
use trimtab_simulator::World;
use trimtab_simulator::ports::PortOptions;
use trimtab_simulator::spec::WorldSpec;
use trimtab_tests::life::Life;
use trimtab_tests::worlds::{cluster_policy, group_policy, name};

/// A gate that takes this long, and then says this.
struct SlowGate {
    world: World,
    takes: Span,
    answer: Result<(), Arc<str>>,
    asked: Mutex<Vec<(Time, Vec<InstanceId>)>>,
}

#[async_trait]
impl Gate for SlowGate {
    async fn ask(
        &self,
        _: &ClusterName,
        _: &GroupName,
        nodes: &[InstanceId],
    ) -> Result<(), Arc<str>> {
        self.world.advance_by(self.takes);
        let ended = self.world.now();
        self.asked.lock().expect("nobody panicked").push((ended, nodes.to_vec()));
        self.answer.clone()
    }
}

/// A life that is over, and what the gate was asked.
struct Past {
    life: Life,
    asked: Vec<(Time, Vec<InstanceId>)>,
    _folder: tempfile::TempDir,
}

/// An idle cluster of six, its disks to be saved by a gate.
fn run(gate: Option<(Span, Result<(), Arc<str>>)>) -> Past {
    let text = "duration = \"3h\"\n[[group]]\nname = \"workers\"\ncount = 6\n\
                price_usd_per_hour = 20.0\n";
    let spec = WorldSpec::parse(text, "gate").expect("a valid world");
    let world = World::new(spec, vec![]).expect("a valid world");
    let mut policy = cluster_policy([(name("workers"), group_policy())].into_iter().collect());
    policy.cluster = world.spec().cluster.clone();
    for group in policy.groups.values_mut() {
        group.size = NodeCount(6);
        group.node_local_data = Some(NodeLocalData::Gate);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let life = Life::new(world.clone(), policy, folder.path(), 1);
    let slow = gate.map(|(takes, answer)| {
        let asked = Mutex::new(vec![]);
        Arc::new(SlowGate { world: world.clone(), takes, answer, asked })
    });
    let ports = world.ports(PortOptions::default());
    let port = slow.clone().map(|gate| gate as Arc<dyn Gate>);
    let ports = Ports { gate: port, ..ports };
    life.run_with(ports, Arc::new(life.open_ledger()), &mut |report| {
        report.expect("the ledger can be written");
    });
    let asked = slow.map_or(vec![], |gate| gate.asked.lock().expect("nobody panicked").clone());
    Past { life, asked, _folder: folder }
}

#[test]
fn a_gate_slower_than_the_guard_is_followed_by_a_fresh_look() {
    let Past { life, asked, _folder } = run(Some((Span::mins(4), Ok(()))));
    let truth = life.world.truth();
    assert!(truth.nodes_deleted() > 0, "the gate said yes, and nothing went");
    let mut seen = std::collections::BTreeSet::new();
    for (_, nodes) in &asked {
        assert!(nodes.iter().all(|node| seen.insert(*node)), "a node was asked about twice");
    }
    let reader = SqliteLedger::open_reader(life.ledger_path()).expect("the ledger is there");
    for row in reader.history(100, None).expect("readable") {
        let Some(request) = row.request else { continue };
        let passed = asked.iter().find(|(_, nodes)| nodes.contains(&row.action.node));
        let (ended, _) = passed.expect("every deleted node passed the gate");
        assert!(request.look_begun_at >= *ended, "the look began before the gate's yes");
        assert!(request.at.since(request.look_begun_at) <= life.policy.timing.guard);
    }
}

#[test]
fn a_gates_no_hands_the_nodes_back() {
    let Past { life, asked, _folder } = run(Some((Span::secs(1), Err("backup failed".into()))));
    assert!(!asked.is_empty());
    let truth = life.world.truth();
    assert_eq!((truth.nodes_deleted(), truth.requests.len()), (0, 0));
    assert_eq!(truth.fences, [], "a fence is left");
    let reader = SqliteLedger::open_reader(life.ledger_path()).expect("the ledger is there");
    let rows = reader.history(100, None).expect("readable");
    let said = |event: &trimtab_daemon::ledger::ActionEvent| match &event.event.kind {
        EventKind::Veto(ReleaseReason::Vetoed(why)) => why.contains("backup failed"),
        EventKind::Veto(_)
        | EventKind::Look(_)
        | EventKind::Cleared { .. }
        | EventKind::CallOver(_)
        | EventKind::Answered(_)
        | EventKind::Deadline
        | EventKind::Paused
        | EventKind::ClockStepped(_)
        | EventKind::Started => false,
    };
    assert!(rows.iter().any(|row| row.events.iter().any(said)));
}

#[test]
fn data_that_a_gate_should_save_is_never_deleted_without_one() {
    let life = run(None).life;
    let truth = life.world.truth();
    assert_eq!((truth.nodes_deleted(), truth.requests.len()), (0, 0));
    assert_eq!(truth.fences, [], "a fence is left");
}
