//! Worlds and policies generated from seeds, with many difficulties: lagging views, slow cordons,
//! jobs at all hours, operators, and about one fault a day.

use std::collections::BTreeMap;

use trimtab_core::ids::{GroupName, InstanceId};
use trimtab_core::policy::{
    Amount, Budgets, ClusterPolicy, EvidenceSource, Factor, GroupCalls, GroupPolicy, KeepWindow,
    MassChangeLimit, NodeLocalData, Prefer, Regain, TimerChoice, Timing, UtilizationRule,
};
use trimtab_core::reads::{Capacity, Provisioning, Role};
use trimtab_core::units::{MilliGpus, NodeCount, Share, Span, Usd, UsdPerHour};
use trimtab_core::windows::WindowSpec;
use trimtab_simulator::World;
use trimtab_simulator::faults::FaultKind;
use trimtab_simulator::gauntlet::KillWhen;
use trimtab_simulator::spec::{
    Between, BusyHours, FaultSpec, GenerateSpec, GroupSpec, MixSpec, Placement, RegrowSpec,
    WorldSpec,
};

use crate::random::Random;

/// Time between two scheduled ticks: 288 a day.
pub const TICK: Span = Span::mins(5);

/// Worker groups that the policies name.
pub const WORKERS: [&str; 2] = ["workers-a", "workers-b"];

/// A world and a policy for it.
#[derive(Debug, Clone)]
pub struct Case {
    /// Seed that it was generated from.
    pub seed: u64,
    pub spec: WorldSpec,
    /// Policy that the daemon must follow.
    pub policy: ClusterPolicy,
}

/// Generates a world of `days` days with `faults_per_day` faults.
///
/// # Panics
/// If the generator creates an invalid world.
pub fn case(seed: u64, days: i64, faults_per_day: f64) -> Case {
    let mut random = Random::new(seed ^ 0x6f72_6163_6c65);
    let spec = world(seed, days, faults_per_day, &mut random);
    let policy = policy(&spec, &mut random);
    Case { seed, spec, policy }
}

/// Generates a quiet, large world in which a correct daemon deletes a few nodes every day. Used to
/// test planted bugs.
pub fn plain(seed: u64, days: i64) -> Case {
    let mut random = Random::new(seed ^ 0x0070_6c61_696e);
    let mut spec = world(seed, days, 0.0, &mut random);
    spec.provisioning = Provisioning::Continuous;
    spec.cordon_lag = Span::ZERO;
    let mut policy = policy(&spec, &mut random);
    policy.min_nodes = NodeCount::ZERO;
    policy.mass_change = MassChangeLimit { nodes: NodeCount(100), share: Share::ALL };
    for group in policy.groups.values_mut() {
        group.min_nodes = Amount::Nodes(NodeCount(2));
        group.min_idle_nodes = NodeCount::ZERO;
        group.keep_windows = vec![];
        group.budgets = Budgets {
            per_request: NodeCount(4),
            per_hour: NodeCount(12),
            per_day: NodeCount(60),
            leaving: Share::ALL,
        };
        group.capacity = Capacity::OnDemand;
        group.timer = TimerChoice::Fixed(Span::mins(20));
        group.min_age = Span::ZERO;
        group.post_job_grace = Span::ZERO;
        group.utilization = None;
    }
    for group in &mut spec.groups {
        group.capacity = Capacity::OnDemand;
    }
    Case { seed, spec, policy }
}

/// Generates a world with one large group that is mostly idle and is grown to its full size four
/// times a day. The policy deletes its nodes with requests by count: all of them, or all but a few.
pub fn by_group_calls(seed: u64, days: i64, faults_per_day: f64) -> Case {
    let mut random = Random::new(seed ^ 0x0077_686f_6c65);
    let mut case = case(seed, days, faults_per_day);
    let [kept, dropped] = WORKERS;
    let some_stay = seed.is_multiple_of(2);
    let count = if some_stay { random.between(104, 118) } else { random.between(6, 16) } as u32;
    case.spec.groups.retain(|group| group.name.as_str() != dropped);
    for group in case.spec.groups.iter_mut().filter(|group| group.name.as_str() == kept) {
        group.count = NodeCount(count);
        group.size = Some(NodeCount(count));
        group.partition = None;
        group.protected = NodeCount::ZERO;
        group.capacity = Capacity::OnDemand;
    }
    let mut jobs = generator(&mut random, Some(kept));
    jobs.per_day = random.between(4, 12) as f64;
    jobs.length_max = Span::hours(2);
    case.spec.generators = vec![jobs];
    for n in 0..days * 4 {
        let at = Span::hours(2 + 6 * n);
        case.spec.faults.push(FaultSpec { at, lasts: Span::ZERO, kind: FaultKind::GrowToSize });
    }
    case.policy.groups.retain(|name, _| name.as_str() == kept);
    case.policy.min_nodes = NodeCount::ZERO;
    case.policy.mass_change = MassChangeLimit { nodes: NodeCount(1_000), share: Share::ALL };
    for group in case.policy.groups.values_mut() {
        group.size = NodeCount(count);
        group.group_calls = if some_stay { GroupCalls::WholeGroup } else { GroupCalls::ToZero };
        let floor = if some_stay { random.between(1, 4) } else { 0 };
        group.min_nodes = Amount::Nodes(NodeCount(floor as u32));
        group.min_idle_nodes = NodeCount::ZERO;
        group.keep_windows = vec![];
        group.budgets = Budgets {
            per_request: NodeCount(150),
            per_hour: NodeCount(300),
            per_day: NodeCount(900),
            leaving: Share::ALL,
        };
        group.timer = TimerChoice::Fixed(Span::mins(random.between(10, 40) as i64));
        group.protected = vec![];
        group.partitions = case
            .spec
            .groups
            .iter()
            .filter(|named| named.name.as_str() == kept)
            .map(GroupSpec::partition)
            .collect();
    }
    case
}

fn span(random: &mut Random, low_secs: u64, high_secs: u64) -> Span {
    Span::secs(random.between(low_secs, high_secs) as i64)
}

fn between(random: &mut Random, low: u64, middle: u64, high: u64) -> Between {
    Between { min: span(random, low, middle), max: span(random, middle, high) }
}

fn world(seed: u64, days: i64, faults_per_day: f64, random: &mut Random) -> WorldSpec {
    let name = |text: &str| text.parse::<GroupName>().expect("a valid name");
    let mut groups = vec![GroupSpec {
        role: Role::Controller,
        ..GroupSpec::new(name("controller"), NodeCount(1))
    }];
    if random.one_in(2) {
        let login = GroupSpec::new(name("login"), NodeCount(1));
        groups.push(GroupSpec { role: Role::Login, ..login });
    }
    let shared = random.one_in(3).then(|| "all".parse().expect("a valid name"));
    for worker in WORKERS {
        let count = random.between(12, 18) as u32;
        groups.push(GroupSpec {
            size: Some(NodeCount(count + random.between(0, 6) as u32)),
            gpus_per_node: *random.pick(&[0, 4, 8]),
            price: UsdPerHour::try_from_dollars(random.between(1, 40) as f64)
                .expect("a price in range"),
            partition: shared.clone(),
            boot: between(random, 180, 480, 1_200),
            health_check: random.one_in(4).then(|| Between::secs(60, 1_800)),
            protected: NodeCount(random.between(0, 2) as u32),
            ..GroupSpec::new(name(worker), NodeCount(count))
        });
    }
    if random.one_in(3) {
        groups.push(GroupSpec::new(name("others"), NodeCount(3)));
    }
    let placements =
        [Placement::LowestIndex, Placement::MostRecent, Placement::Random, Placement::Spreading];
    WorldSpec {
        seed,
        duration: Span::hours(24 * days),
        provisioning: *random.pick(&[Provisioning::Continuous, Provisioning::Classic]),
        placement: placements[(seed % 4) as usize],
        delete_delay: between(random, 20, 60, 300),
        listing_lag: span(random, 0, 60),
        count_lag: span(random, 0, 240),
        prune_delay: between(random, 5, 30, 180),
        join_delay: between(random, 0, 10, 120),
        cordon_lag: span(random, 0, 25),
        show_planned: !random.one_in(4),
        configuring: between(random, 0, 3, 30),
        completing: between(random, 0, 3, 90),
        recovery_delay: between(random, 20, 120, 1_200),
        keep_log: false,
        random_faults_per_day: faults_per_day,
        random_fault_kinds: fault_kinds(),
        regrow: Some(RegrowSpec {
            every: span(random, 60, 300),
            delay: span(random, 0, 600),
            boot: None,
        }),
        generators: WORKERS
            .iter()
            .filter(|_| shared.is_none())
            .map(|worker| generator(random, Some(worker)))
            .chain(shared.is_some().then_some(()).map(|()| generator(&mut Random::new(seed), None)))
            .collect(),
        groups,
        ..WorldSpec::default()
    }
}

/// Generates jobs of all lengths at all times, with more jobs during the day.
fn generator(random: &mut Random, partition: Option<&str>) -> GenerateSpec {
    let mix =
        |weight, nodes: u64, gpus: f64| MixSpec { weight, nodes: NodeCount(nodes as u32), gpus };
    GenerateSpec {
        per_day: random.between(35, 70) as f64 * if partition.is_some() { 1.0 } else { 2.0 },
        burst: *random.pick(&[1, 1, 2, 4]),
        partition: partition.map(|name| name.parse().expect("a valid name")),
        length_median: span(random, 240, 2_400),
        length_spread: *random.pick(&[0.6, 1.2, 1.6]),
        length_min: Span::secs(30),
        length_max: Span::hours(12),
        busy_hours: random.one_in(2).then_some(BusyHours { from: 7, to: 19, factor: 3.0 }),
        mix: vec![
            mix(5, 1, 0.0),
            mix(2, random.between(2, 4), 0.0),
            mix(1, random.between(4, 7), 0.0),
        ],
    }
}

/// Returns all faults that a daemon must survive, and kills at any effect.
fn fault_kinds() -> Vec<FaultKind> {
    let mut kinds = FaultKind::survivable();
    for after in 0..5 {
        kinds.push(FaultKind::DaemonKill { after, when: KillWhen::Before });
        kinds.push(FaultKind::DaemonKill { after, when: KillWhen::AfterActed });
    }
    kinds
}

fn policy(spec: &WorldSpec, random: &mut Random) -> ClusterPolicy {
    let world = World::new(spec.clone(), vec![]).expect("a world");
    let listing = world.list_nodes(&spec.cluster).expect("no fault holds at the start");
    let mut groups = BTreeMap::new();
    for named in spec.groups.iter().filter(|g| WORKERS.contains(&g.name.as_str())) {
        let of_group = listing.nodes.iter().filter(|node| node.group == named.name);
        let ids: Vec<InstanceId> = of_group.map(|node| node.id).collect();
        groups.insert(named.name.clone(), group_policy(named, &ids, random));
    }
    ClusterPolicy {
        cluster: spec.cluster.clone(),
        evidence_source: EvidenceSource::Scheduler,
        groups,
        min_nodes: NodeCount(random.between(0, 8) as u32),
        mass_change: MassChangeLimit {
            nodes: NodeCount(random.between(10, 18) as u32),
            share: Share::try_from_percent(random.between(35, 70) as f64).expect("a share"),
        },
        timing: Timing {
            tick: TICK,
            settle: span(random, 30, 90).max(spec.cordon_lag),
            fresh_for: span(random, 240, 600),
            cooldown: span(random, 300, 3_600),
            ..Timing::default()
        },
        node_name: None,
        hash: "generated".parse().expect("a valid digest"),
    }
}

fn group_policy(named: &GroupSpec, ids: &[InstanceId], random: &mut Random) -> GroupPolicy {
    let size = named.size();
    let percent = |random: &mut Random, low, high| {
        Share::try_from_percent(random.between(low, high) as f64).expect("a share")
    };
    let min_nodes = match random.one_in(2) {
        true => Amount::Nodes(NodeCount(random.between(0, 5) as u32)),
        false => Amount::ShareOfSize(percent(random, 5, 30)),
    };
    let windows = random.between(0, 2);
    let boot = Span::mins(random.between(5, 15) as i64);
    GroupPolicy {
        size,
        min_nodes,
        min_idle_nodes: NodeCount(random.between(0, 2) as u32),
        keep_windows: (0..windows).map(|_| keep_window(random)).collect(),
        lookahead: Span::mins(random.between(10, 120) as i64),
        budgets: Budgets {
            per_request: NodeCount(random.between(1, 5) as u32),
            per_hour: NodeCount(random.between(2, 8) as u32),
            per_day: NodeCount(random.between(6, 30) as u32),
            leaving: percent(random, 5, 50),
        },
        capacity: Capacity::OnDemand,
        regain: match random.one_in(4) {
            true => Regain::Scarce { accepted_risk: Some(Usd::from_dollars(1.0)) },
            false => Regain::Plentiful,
        },
        price: Some(named.price),
        boot: Some(boot),
        billed_after_delete: Span::mins(random.between(0, 5) as i64),
        delay_value: Factor::ONE,
        boot_failure_cost: Usd::ZERO,
        timer: match random.between(0, 5) {
            0 | 1 => TimerChoice::BreakEven,
            2 | 3 => TimerChoice::Learned,
            _ => TimerChoice::Fixed(Span::mins(random.between(10, 60) as i64)),
        },
        queue_lookahead: Span::mins(random.between(0, 15) as i64),
        min_age: Span::mins(random.between(0, 30) as i64),
        post_job_grace: Span::mins(random.between(0, 25) as i64),
        prefer: *random.pick(&[Prefer::Newest, Prefer::Oldest]),
        node_local_data: Some(NodeLocalData::Disposable),
        gpus_per_node: MilliGpus::whole(named.gpus_per_node),
        partitions: vec![named.partition()],
        max_job_nodes: None,
        group_calls: GroupCalls::Never,
        utilization: random.one_in(3).then(|| UtilizationRule {
            idle_below: Share::try_from_percent(5.0).expect("a share"),
            memory_below: Share::try_from_percent(5.0).expect("a share"),
            window: Span::mins(20),
            period: Span::secs(60),
        }),
        protected: ids.iter().rev().take(random.between(0, 2) as usize).copied().collect(),
    }
}

fn keep_window(random: &mut Random) -> KeepWindow {
    let from = random.between(0, 22);
    let to = random.between(from + 1, 23);
    let zones = ["UTC", "America/New_York", "Asia/Kolkata"];
    let spec = WindowSpec {
        days: (*random.pick(&["daily", "mon-fri", "sat,sun"])).to_owned(),
        from: format!("{from:02}:00"),
        to: format!("{to:02}:30"),
        zone: (*random.pick(&zones)).to_owned(),
        min_nodes: Amount::Nodes(NodeCount(random.between(3, 9) as u32)),
    };
    KeepWindow::parse(&spec).expect("a window")
}
