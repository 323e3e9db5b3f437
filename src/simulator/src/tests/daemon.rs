//! Runs the real daemon in a world to test the world, not the daemon. A world in which the daemon
//! cannot act, or cannot do harm without a cordon, would prove nothing about it.

use std::collections::BTreeMap;
use std::sync::Arc;

use trimtab_core::policy::{
    Amount, Budgets, ClusterPolicy, EvidenceSource, Factor, GroupCalls, GroupPolicy,
    MassChangeLimit, NodeLocalData, Prefer, Regain, TimerChoice, Timing,
};
use trimtab_core::reads::Capacity;
use trimtab_core::units::{MilliGpus, NodeCount, Share, Span, Usd, UsdPerHour};
use trimtab_daemon::driver::{Driver, TickError, TickReport};
use trimtab_daemon::ledger::SqliteLedger;
use trimtab_daemon::ports::{Ledger, Ring};
use trimtab_daemon::run::{Audience, run};

use super::{cluster, poll};
use crate::baseline;
use crate::faults::FaultKind;
use crate::gauntlet::CrashingLedger;
use crate::ports::PortOptions;
use crate::spec::WorldSpec;
use crate::world::World;

const DAY: &str = r#"
duration = "1d"
cluster = "c"
placement = "random"
regrow = { every = "1m", delay = "2m" }
[[group]]
name = "gpu"
count = 24
size = 32
gpus_per_node = 8
price_usd_per_hour = 3.06
boot = { min = "8m", max = "20m" }
[[generate]]
per_day = 60
length_median = "40m"
mix = [{ weight = 3, gpus = 1 }, { weight = 2, gpus = 8 }, { weight = 1, nodes = 4, gpus = 32 }]
"#;

fn day(seed: u64) -> WorldSpec {
    let mut spec = WorldSpec::parse(DAY, "day.toml").expect("a world");
    spec.seed = seed;
    spec
}

fn policy() -> ClusterPolicy {
    let gpu = GroupPolicy {
        size: NodeCount(32),
        min_nodes: Amount::Nodes(NodeCount(2)),
        min_idle_nodes: NodeCount::ZERO,
        keep_windows: vec![],
        lookahead: Span::hours(1),
        budgets: Budgets {
            per_request: NodeCount(8),
            per_hour: NodeCount(32),
            per_day: NodeCount(500),
            leaving: Share::ALL,
        },
        capacity: Capacity::OnDemand,
        regain: Regain::Plentiful,
        price: UsdPerHour::try_from_dollars(3.06),
        boot: Some(Span::mins(15)),
        billed_after_delete: Span::ZERO,
        delay_value: Factor::ONE,
        boot_failure_cost: Usd::ZERO,
        timer: TimerChoice::Fixed(Span::mins(20)),
        queue_lookahead: Span::mins(10),
        min_age: Span::ZERO,
        post_job_grace: Span::ZERO,
        prefer: Prefer::Oldest,
        node_local_data: Some(NodeLocalData::Disposable),
        gpus_per_node: MilliGpus::whole(8),
        partitions: vec!["gpu".parse().expect("valid")],
        max_job_nodes: None,
        utilization: None,
        group_calls: GroupCalls::Never,
        protected: vec![],
    };
    ClusterPolicy {
        cluster: cluster(),
        evidence_source: EvidenceSource::Scheduler,
        groups: BTreeMap::from([("gpu".parse().expect("valid"), gpu)]),
        min_nodes: NodeCount::ZERO,
        mass_change: MassChangeLimit { nodes: NodeCount(1000), share: Share::ALL },
        timing: Timing::default(),
        node_name: None,
        hash: "p1".parse().expect("valid"),
    }
}

struct Nobody;

impl Audience for Nobody {
    fn ticked(&mut self, _: Result<&TickReport, &TickError>) {}
}

/// Runs the daemon to the end of the world and starts it again after each kill.
fn live(world: &World, options: &PortOptions) {
    let durable = Arc::new(SqliteLedger::in_memory(world.now()).expect("memory"));
    loop {
        let life = async {
            let ledger = CrashingLedger::new(world.clone(), Arc::clone(&durable));
            let ledger: Arc<dyn Ledger> = Arc::new(ledger);
            let ports = world.ports(options.clone());
            let mut bell = world.doorbell(Span::mins(2));
            let Ok(driver) = Driver::start(ports, ledger, policy()).await else {
                // The disk was full at the start; the next start tries again.
                return bell.sleep(None) == Some(Ring::Stop);
            };
            let _ = run(&mut [driver], &mut bell, &mut Nobody).await;
            world.now() >= world.end()
        };
        match poll(life) {
            Some(true) => return,
            Some(false) => {}
            None => assert!(world.is_dead(), "only a dead daemon waits"),
        }
        world.revive();
    }
}

#[test]
fn a_day_is_trimmed_without_losing_a_job() {
    let mut saved = Usd::ZERO;
    for seed in 0..3 {
        let world = World::new(day(seed), vec![]).expect("a world");
        live(&world, &PortOptions::default());
        let truth = world.truth();
        assert_eq!(truth.lost_jobs().count(), 0, "seed {seed}");
        assert_eq!(truth.busy_nodes_deleted().count(), 0, "seed {seed}");
        assert!(truth.nodes_deleted() > 10, "seed {seed}: {}", truth.nodes_deleted());
        saved += baseline::never(day(seed), vec![]).expect("a run").cost() - truth.cost();
    }
    assert!(saved > Usd::from_dollars(500.0), "{saved}");
}

#[test]
fn one_seed_gives_one_log_with_the_daemon_in_it() {
    let run = || {
        let mut spec = day(4);
        spec.random_faults_per_day = 30.0;
        let world = World::new(spec, vec![]).expect("a world");
        live(&world, &PortOptions::default());
        (world.log(), world.truth())
    };
    let (first, again) = (run(), run());
    assert!(first.0.contains("Delete") && first.0.contains("drained: trimtab:"));
    assert_eq!(first, again);
}

#[test]
fn a_daemon_is_killed_and_started_anew_through_the_day() {
    let mut spec = day(5);
    spec.random_faults_per_day = 40.0;
    spec.random_fault_kinds = vec![
        FaultKind::DaemonKill { after: 1, when: crate::gauntlet::KillWhen::Before },
        FaultKind::DaemonKill { after: 3, when: crate::gauntlet::KillWhen::AfterActed },
    ];
    let world = World::new(spec, vec![]).expect("a world");
    live(&world, &PortOptions::default());
    let (truth, log) = (world.truth(), world.log());
    assert!(log.matches("killed at effect").count() > 20);
    assert_eq!(log.matches("killed at effect").count(), log.matches("revived").count());
    assert_eq!(truth.lost_jobs().count(), 0);
    assert!(truth.nodes_deleted() > 0);
}

#[test]
fn without_its_cordon_the_same_daemon_loses_jobs() {
    let options = PortOptions { cordon_disabled: true, ..PortOptions::default() };
    let lost: usize = (0..10)
        .map(|seed| {
            let mut spec = day(seed);
            spec.generators[0].per_day = 600.0;
            spec.generators[0].length_median = Span::mins(6);
            let world = World::new(spec, vec![]).expect("a world");
            live(&world, &options);
            world.truth().lost_jobs().count()
        })
        .sum();
    assert!(lost > 0, "a world in which nothing can go wrong proves nothing");
}
