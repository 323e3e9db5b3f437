//! Generated clusters: a policy, and what the ports would read at each of several points in time.
//! The daemon's real code builds the history from these reads, so every history could occur.

use std::collections::{BTreeMap, BTreeSet};

use trimtab_core::assemble::{Reads, assemble};
use trimtab_core::census;
use trimtab_core::history::History;
use trimtab_core::ids::{GroupName, InstanceId, LedgerId, NodeName, PartitionName};
use trimtab_core::policy::{
    Amount, Budgets, ClusterPolicy, EvidenceSource, Factor, GroupCalls, GroupPolicy,
    MassChangeLimit, NodeLocalData, Prefer, Regain, TimerChoice, Timing, UtilizationRule,
};
use trimtab_core::reads::{
    Activity, Capacity, Claim, ClusterDescription, ClusterState, ClusterStatus, Condition,
    Eligible, GroupDescription, InstanceStatus, Joined, ListedNode, NodeCapacity, NodeListing,
    PendingJob, Provisioning, Reading, Role, SchedulerFacts, SchedulerNode, Workload,
};
use trimtab_core::snapshot::Snapshot;
use trimtab_core::units::{MilliGpus, NodeCount, Share, Span, Time, Usd, UsdPerHour};
use trimtab_core::windows::{KeepWindow, WindowSpec};

use crate::random::Random;

/// A Wednesday at noon.
pub const START: Time = Time::from_secs(1_790_769_600);

/// Time between two reads of a generated world.
pub const STEP: Span = Span::mins(2);

/// Parses a name that is valid by construction.
pub fn name<T: std::str::FromStr>(text: &str) -> T {
    match text.parse() {
        Ok(name) => name,
        Err(_) => panic!("`{text}` is no valid name"),
    }
}

/// Returns a ledger id for tests.
pub fn ledger() -> LedgerId {
    name("test-ledger")
}

/// Returns a share in percent.
pub fn percent(percent: u64) -> Share {
    match Share::try_from_percent(percent as f64) {
        Some(share) => share,
        None => panic!("{percent} is no percentage"),
    }
}

/// Returns a group policy with safe defaults: ten nodes, two dollars an hour, no minimum.
pub fn group_policy() -> GroupPolicy {
    GroupPolicy {
        size: NodeCount(10),
        min_nodes: Amount::Nodes(NodeCount::ZERO),
        min_idle_nodes: NodeCount::ZERO,
        keep_windows: vec![],
        lookahead: Span::hours(24),
        budgets: Budgets {
            per_request: NodeCount(99),
            per_hour: NodeCount(1000),
            per_day: NodeCount(1000),
            leaving: Share::ALL,
        },
        capacity: Capacity::OnDemand,
        regain: Regain::Plentiful,
        price: Some(UsdPerHour(2_000_000)),
        boot: Some(Span::mins(10)),
        billed_after_delete: Span::ZERO,
        delay_value: Factor::ONE,
        boot_failure_cost: Usd::ZERO,
        timer: TimerChoice::Fixed(Span::mins(10)),
        queue_lookahead: Span::mins(10),
        min_age: Span::ZERO,
        post_job_grace: Span::ZERO,
        prefer: Prefer::Oldest,
        node_local_data: Some(NodeLocalData::Disposable),
        gpus_per_node: MilliGpus::whole(8),
        partitions: vec![],
        max_job_nodes: None,
        utilization: None,
        group_calls: GroupCalls::Never,
        protected: vec![],
    }
}

/// Returns a policy for these groups with safe defaults.
pub fn cluster_policy(groups: BTreeMap<GroupName, GroupPolicy>) -> ClusterPolicy {
    ClusterPolicy {
        cluster: name("research"),
        evidence_source: EvidenceSource::Scheduler,
        groups,
        min_nodes: NodeCount::ZERO,
        mass_change: MassChangeLimit { nodes: NodeCount(10_000), share: Share::ALL },
        timing: Timing { tick: STEP, ..Timing::default() },
        node_name: None,
        hash: name("policy1"),
    }
}

/// A node of a generated world at one point in time.
#[derive(Debug, Clone)]
pub struct WorldNode {
    pub id: InstanceId,
    pub group: GroupName,
    pub launched: Time,
    /// SageMaker's status.
    pub status: InstanceStatus,
    /// Claims of jobs and reservations on it.
    pub claims: Vec<Claim>,
    /// Its condition in the scheduler.
    pub condition: Condition,
    /// Drain reason.
    pub drained: Option<String>,
    /// Whether a tag protects it from deletion.
    pub protected: bool,
    /// Whether the scheduler has an entry for it.
    pub known: bool,
    /// Reading of its metrics.
    pub activity: Reading<Activity>,
    /// Health, 0 to 100.
    pub health: u8,
    /// Capacity type in its description.
    pub capacity: NodeCapacity,
}

impl WorldNode {
    /// Returns the scheduler's name for it.
    pub fn node_name(&self) -> NodeName {
        name(&format!("ip-{}", self.id))
    }
}

/// A generated cluster at one point in time, with its history.
#[derive(Debug, Clone)]
pub struct World {
    pub policy: ClusterPolicy,
    pub nodes: Vec<WorldNode>,
    /// Waiting jobs.
    pub pending: Vec<PendingJob>,
    /// Whether the listing includes the last page.
    pub complete: bool,
    /// Provisioning mode.
    pub provisioning: Provisioning,
    pub now: Time,
    /// History of the reads before `now`.
    pub past: History,
}

impl World {
    /// Returns what the ports would read now.
    pub fn reads(&self) -> Reads {
        let mut groups: BTreeMap<GroupName, GroupDescription> = BTreeMap::new();
        for name in self.policy.groups.keys() {
            let current = self.nodes.iter().filter(|n| n.group == *name).count();
            groups.insert(
                name.clone(),
                GroupDescription {
                    role: Role::Worker,
                    current: NodeCount::of(current),
                    target: NodeCount::of(current),
                    calm: true,
                    capacity: None,
                },
            );
        }
        let listed = self.nodes.iter().map(|node| ListedNode {
            id: node.id,
            group: node.group.clone(),
            launched: node.launched,
            status: node.status.clone(),
            name: Some(node.node_name()),
            joined: Joined::ByDnsName,
            address: None,
            image: None,
            health: node.health,
            protected: node.protected,
            capacity: node.capacity,
        });
        let known = self.nodes.iter().filter(|node| node.known);
        let scheduled = known.map(|node| SchedulerNode {
            name: node.node_name(),
            condition: node.condition,
            claims: node.claims.clone(),
            drained: node.drained.as_deref().map(Into::into),
            hostname: None,
            address: None,
            offers: None,
        });
        Reads {
            begun_at: self.now,
            taken_at: self.now,
            description: Ok(ClusterDescription {
                state: ClusterState {
                    status: ClusterStatus::InService,
                    provisioning: self.provisioning,
                    rival_autoscaler: false,
                    software_update: false,
                    created: None,
                },
                groups,
            }),
            listing: Ok(NodeListing { complete: self.complete, nodes: listed.collect() }),
            workload: Some(Ok(Workload {
                at: self.now,
                nodes: scheduled.collect(),
                pending: self.pending.clone(),
                facts: SchedulerFacts::default(),
            })),
            activity: self.nodes.iter().map(|node| (node.id, node.activity)).collect(),
            described: BTreeMap::new(),
        }
    }

    /// Returns the snapshot at `now`.
    pub fn snapshot(&self) -> Snapshot {
        assemble(self.reads(), &self.policy, &self.past, &ledger())
    }

    /// Returns the history including `now`, as the planner expects it.
    pub fn history(&self) -> History {
        let mut history = self.past.clone();
        fold(&mut history, &self.snapshot(), &self.policy);
        history
    }
}

/// Adds a snapshot to the history, as the daemon does.
pub fn fold(history: &mut History, snapshot: &Snapshot, policy: &ClusterPolicy) {
    match census::take(snapshot, policy, history) {
        Ok(census) => {
            history.fold(&census, policy);
            if let Some(why) = census.mass_change {
                history.freeze = Some(trimtab_core::history::Freeze { at: census.at, why });
            }
        }
        Err(_) => history.end_windows(),
    }
}

/// Generates the world of a seed: one to three groups of up to 30 nodes, observed for about 20
/// minutes, with nodes that become busy and idle.
pub fn generate(seed: u64) -> World {
    let mut random = Random::new(seed);
    let mut groups = BTreeMap::new();
    let mut nodes = vec![];
    for g in 0..random.between(1, 3) {
        let group: GroupName = name(&format!("workers-{g}"));
        let size = random.between(3, 30);
        groups.insert(group.clone(), random_group(&mut random, size, g));
        for n in 0..random.between(size / 2, size) {
            nodes.push(random_node(&mut random, &group, g, n));
        }
    }
    let mut policy = cluster_policy(groups);
    if random.one_in(3) {
        policy.min_nodes = NodeCount(random.between(0, 12) as u32);
    }
    if random.one_in(8) {
        policy.mass_change =
            MassChangeLimit { nodes: NodeCount(8), share: percent(random.between(20, 60)) };
    }
    let steps = random.between(3, 14);
    let provisioning =
        if random.one_in(2) { Provisioning::Classic } else { Provisioning::Continuous };
    let mut world = World {
        policy,
        nodes,
        pending: vec![],
        complete: true,
        provisioning,
        now: START,
        past: History::default(),
    };
    let restless = random.between(5, 60);
    for _ in 0..steps {
        world.past = world.history();
        world.now = world.now + STEP;
        for node in &mut world.nodes {
            if random.one_in(restless) {
                node.claims = if node.claims.is_empty() { vec![job(&mut random)] } else { vec![] };
            }
        }
    }
    if random.one_in(3) {
        for _ in 0..random.between(1, 4) {
            let pending = pending_job(&mut random, world.now);
            world.pending.push(pending);
        }
    }
    spoil(&mut random, &mut world);
    world
}

fn random_group(random: &mut Random, size: u64, g: u64) -> GroupPolicy {
    let mut group = GroupPolicy {
        size: NodeCount(size as u32),
        price: UsdPerHour::try_from_dollars(random.between(1, 60) as f64),
        partitions: vec![name::<PartitionName>(&format!("part-{g}"))],
        max_job_nodes: None,
        timer: TimerChoice::Fixed(Span::mins(random.between(0, 8) as i64)),
        ..group_policy()
    };
    match random.between(0, 3) {
        0 => group.min_nodes = Amount::Nodes(NodeCount(random.between(0, size) as u32)),
        1 => group.min_nodes = Amount::ShareOfSize(percent(random.between(0, 50))),
        _ => {}
    }
    if random.one_in(3) {
        group.min_idle_nodes = NodeCount(random.between(0, 3) as u32);
    }
    if random.one_in(3) {
        group.budgets = Budgets {
            per_request: NodeCount(random.between(1, 5) as u32),
            per_hour: NodeCount(random.between(1, 12) as u32),
            per_day: NodeCount(random.between(1, 30) as u32),
            leaving: percent(random.between(5, 100)),
        };
    }
    if random.one_in(4) {
        let from = random.between(0, 23);
        let spec = WindowSpec {
            days: "mon-fri".to_owned(),
            from: format!("{from:02}:00"),
            to: format!("{from:02}:30"),
            zone: (*random.pick(&["America/New_York", "Europe/Amsterdam", "UTC"])).to_owned(),
            min_nodes: Amount::Nodes(NodeCount(random.between(1, size) as u32)),
        };
        group.lookahead = Span::hours(random.between(0, 30) as i64);
        group.keep_windows = KeepWindow::parse(&spec).into_iter().collect();
    }
    if random.one_in(5) {
        group.timer = TimerChoice::BreakEven;
        group.boot = Some(Span::mins(random.between(1, 6) as i64));
    }
    if random.one_in(5) {
        group.timer = TimerChoice::Learned;
        group.boot = Some(Span::mins(random.between(1, 30) as i64));
    }
    if random.one_in(6) {
        group.post_job_grace = Span::mins(random.between(1, 4) as i64);
    }
    if random.one_in(5) {
        group.utilization = Some(UtilizationRule {
            idle_below: percent(5),
            memory_below: percent(5),
            window: Span::mins(10),
            period: Span::mins(1),
        });
    }
    if random.one_in(20) {
        group.capacity = Capacity::Reserved;
    }
    group
}

fn random_node(random: &mut Random, group: &GroupName, g: u64, n: u64) -> WorldNode {
    let busy = random.one_in(3);
    let quiet = Activity {
        utilization: percent(0),
        memory: percent(1),
        from: START - Span::hours(1),
        to: START + Span::hours(1),
    };
    WorldNode {
        id: InstanceId::from_number(u128::from(g * 10_000 + n * 37 % 1009 + 1)),
        group: group.clone(),
        launched: START - Span::hours(random.between(1, 400) as i64),
        status: InstanceStatus::Running,
        claims: if busy { vec![job(random)] } else { vec![] },
        condition: Condition::Up,
        drained: None,
        protected: false,
        known: true,
        activity: Reading::Fresh { at: START, value: quiet },
        health: random.between(60, 100) as u8,
        capacity: NodeCapacity::NotShown,
    }
}

fn job(random: &mut Random) -> Claim {
    Claim::Running(name(&format!("{}", random.between(1, 100_000))))
}

/// Returns a waiting job for the partition of some group.
pub fn pending_job(random: &mut Random, now: Time) -> PendingJob {
    let gpus = random.between(0, 16) as u32;
    PendingJob {
        id: name(&format!("{}", random.between(1, 100_000))),
        partitions: vec![name(&format!("part-{}", random.between(0, 2)))],
        nodes: NodeCount(random.between(1, 3) as u32),
        gpus: MilliGpus::whole(gpus),
        eligible: match random.between(0, 3) {
            0 => Eligible::Held,
            1 => Eligible::At(now + Span::mins(random.between(0, 20) as i64)),
            _ => Eligible::Now,
        },
        requires: BTreeSet::new(),
        reason: "".into(),
    }
}

/// Gives some nodes the unusual states that real clusters show.
fn spoil(random: &mut Random, world: &mut World) {
    for node in &mut world.nodes {
        if !random.one_in(9) {
            continue;
        }
        match random.between(0, 10) {
            0 => node.status = InstanceStatus::Pending,
            1 => node.status = InstanceStatus::Failure,
            2 => node.drained = Some("bad fan".to_owned()),
            3 => node.drained = Some("Action:Replace".to_owned()),
            4 => node.known = false,
            5 => node.protected = true,
            6 => node.condition = Condition::Down,
            7 => node.activity = Reading::Absent,
            8 => node.capacity = NodeCapacity::Unread,
            9 => node.capacity = NodeCapacity::Shown(Capacity::Spot),
            _ => node.claims = vec![Claim::Reserved],
        }
    }
}
