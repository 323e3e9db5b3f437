//! The race between a look and a deletion, on purpose and at every point, with
//! the daemon's own driver and ledger on a real Slurm.
//!
//! The cluster in front of it is a board of four instances whose names are
//! those of Slurm's nodes; time is virtual, so that a settle time passes in no
//! time. In every round a job, or a person, comes in at one point of a node's way
//! out. Lost is a job that is on a node when its deletion is asked for, by
//! squeue's word at that very moment, and one that Slurm has started again.
//!
//! `TRIMTAB_RACE_ROUNDS` says how many rounds (12 without it), and
//! `TRIMTAB_RACE_SEED` what chance starts from.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use trimtab_core::audit::{ClearedBatch, ClearedGroup};
use trimtab_core::ids::{ClusterName, GroupName, InstanceId, LedgerId, NodeName};
use trimtab_core::join::Joined;
use trimtab_core::policy::{
    Amount, Budgets, Capacity, ClusterPolicy, GroupPolicy, TimerChoice, Timing,
};
use trimtab_core::snapshot::{
    ClusterDescription, ClusterState, ClusterStatus, FenceSight, GroupDescription, InstanceStatus,
    ListedNode, NodeCapacity, NodeListing, Provisioning, Role, Workload, fence_reason,
};
use trimtab_core::units::{NodeCount, Share, Span, Time};
use trimtab_daemon::driver::{Driver, Intent};
use trimtab_daemon::ledger::SqliteLedger;
use trimtab_daemon::ports::{
    Clock, ClusterRead, ClusterWrite, DeleteOutcome, Fence, FenceOrder, Lease, NodeDetails,
    Notification, Notifier, Ports, ReadError, Ring, Switch, Switches, WorkloadRead, Writers,
};
use trimtab_slurm::Slurm;
use trimtab_tests::random::Random;
use trimtab_tests::slurm::{Cluster, SKIPPED};
use trimtab_tests::worlds::{cluster_policy, group_policy};

const NODES: usize = 4;
const TICK: Span = Span::mins(1);
/// Ticks of a round: enough for two nodes to go and to be confirmed gone.
const TICKS: usize = 10;

/// Where a round's job or person comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Point {
    /// Nobody comes.
    Nowhere,
    /// A job starts after the look that marked its node, and before the drain.
    BeforeFence,
    /// A job is handed in once its node is drained.
    AfterFence,
    /// A person takes the drain off, and a job starts.
    PersonResumes,
    /// A person drains the node with a reason of their own.
    PersonDrains,
    /// slurmctld is started anew after the drain.
    Restart,
    /// A job is handed in after the look that clears its node, and before the call.
    BeforeDelete,
    /// The call acts, but no answer comes.
    AnswerLost,
}

const POINTS: [Point; 8] = [
    Point::Nowhere,
    Point::BeforeFence,
    Point::AfterFence,
    Point::PersonResumes,
    Point::PersonDrains,
    Point::Restart,
    Point::BeforeDelete,
    Point::AnswerLost,
];

/// One instance.
#[derive(Debug, Clone)]
struct Instance {
    id: InstanceId,
    name: NodeName,
    launched: Time,
    /// Its deletion was accepted.
    is_gone: bool,
}

/// The time, which moves only when a test moves it.
struct Dial(Mutex<Time>);

struct Board {
    instances: Vec<Instance>,
    next: u128,
    point: Point,
    /// The point is still to come in this round.
    is_armed: bool,
    jobs: Vec<String>,
    deleted: usize,
    lost: Vec<String>,
    /// Drains that are only pretended, where the fence is switched off.
    pretended: BTreeMap<NodeName, String>,
}

/// All ports, and what stands behind them.
struct Race {
    cluster: Cluster,
    slurm: Slurm,
    dial: Arc<Dial>,
    has_fence: bool,
    board: Mutex<Board>,
}

impl Race {
    fn start(has_fence: bool) -> Option<Arc<Self>> {
        let cluster = Cluster::start(NODES)?;
        let start = Time::from_secs(1_800_000_000);
        let dial = Arc::new(Dial(Mutex::new(start)));
        let slurm = cluster.slurm(dial.clone());
        let mut board = Board {
            instances: vec![],
            next: 1,
            point: Point::Nowhere,
            is_armed: false,
            jobs: vec![],
            deleted: 0,
            lost: vec![],
            pretended: BTreeMap::new(),
        };
        for n in 1..=NODES {
            board.launch(format!("ip-10-0-0-{n}").parse().expect("a name"), start);
        }
        let board = Mutex::new(board);
        Some(Arc::new(Self { cluster, slurm, dial, has_fence, board }))
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().expect("nobody panicked")
    }

    /// A minute passes.
    fn pass(&self) {
        let mut now = self.dial.0.lock().expect("nobody panicked");
        *now = *now + TICK;
    }

    fn ports(self: &Arc<Self>) -> Ports {
        Ports {
            cluster: self.clone(),
            workload: Some(self.clone()),
            utilization: None,
            prices: None,
            clock: self.dial.clone(),
            switches: self.clone(),
            lease: self.clone(),
            gate: None,
            notifier: self.clone(),
            writers: Some(Writers { cluster: self.clone(), fence: Some(self.clone()) }),
        }
    }

    /// Whether this round's point is this one, and comes now.
    fn comes(&self, point: Point) -> bool {
        let mut board = self.board();
        let comes = board.is_armed && board.point == point;
        if comes {
            board.is_armed = false;
        }
        comes
    }

    /// Hands a job in that only this node can run.
    fn submit(&self, node: &NodeName) -> String {
        let job = self.cluster.submit(&["-w", node.as_str(), "--wrap", "sleep 600"]);
        self.board().jobs.push(job.clone());
        job
    }

    fn wait_until_it_runs(&self, job: &str) {
        let begun = Instant::now();
        while self.cluster.person("squeue", &["-h", "-j", job, "-o", "%T"]) != "RUNNING" {
            assert!(begun.elapsed() < Duration::from_secs(60), "job {job} does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn undrain(&self, node: &NodeName) {
        self.cluster.person("scontrol", &["update", &format!("nodename={node}"), "state=undrain"]);
    }

    /// What may happen once nodes are drained.
    fn after_fence(&self, node: &NodeName) {
        if self.comes(Point::AfterFence) {
            self.submit(node);
        }
        if self.comes(Point::PersonResumes) && self.has_fence {
            self.undrain(node);
            let job = self.submit(node);
            self.wait_until_it_runs(&job);
        }
        if self.comes(Point::PersonDrains) {
            let name = format!("nodename={node}");
            self.cluster.person("scontrol", &["update", &name, "state=drain", "reason=mine"]);
        }
        if self.comes(Point::Restart) {
            self.cluster.script(&["halt"], &[]);
            self.cluster.script(&["resume"], &[]);
        }
    }

    /// Ends a round: nobody's job is left, nobody's drain, and whatever was
    /// deleted is there again under the same name as another instance.
    fn clean_up(&self) {
        let jobs = std::mem::take(&mut self.board().jobs);
        for job in &jobs {
            let shown = self.cluster.person("scontrol", &["show", "job", job, "-o"]);
            let is_unhurt = shown.contains("Restarts=0") && !shown.contains("NODE_FAIL");
            if !is_unhurt {
                self.board().lost.push(format!("{job} was started again: {shown}"));
            }
            self.cluster.person("scancel", &[job]);
        }
        let begun = Instant::now();
        while !self.cluster.person("squeue", &["-h"]).is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(60), "jobs do not end");
            std::thread::sleep(Duration::from_millis(50));
        }
        for n in 1..=NODES {
            let name: NodeName = format!("ip-10-0-0-{n}").parse().expect("a name");
            let shown = self.cluster.person("scontrol", &["show", "node", name.as_str(), "-o"]);
            if shown.contains("Reason=mine") {
                self.undrain(&name);
            }
        }
        let now = self.dial.now();
        let mut board = self.board();
        let gone: Vec<NodeName> =
            board.instances.iter().filter(|one| one.is_gone).map(|one| one.name.clone()).collect();
        board.instances.retain(|one| !one.is_gone);
        for name in gone {
            board.launch(name, now);
        }
    }

    /// Nodes that bear a fence of trimtab's.
    async fn fenced(&self) -> Vec<NodeName> {
        let ours: LedgerId = "0-0".parse().expect("an id");
        let nodes = self.slurm.read(&research()).await.expect("Slurm answers").nodes;
        let is_fence = |reason: &str| {
            matches!(
                FenceSight::of_reason(reason, &ours),
                FenceSight::Foreign { .. } | FenceSight::Ours { .. }
            )
        };
        let fenced = nodes.into_iter().filter(|node| node.drained.as_deref().is_some_and(is_fence));
        fenced.map(|node| node.name).collect()
    }
}

impl Board {
    fn launch(&mut self, name: NodeName, launched: Time) {
        let id = InstanceId::from_number(self.next);
        self.next += 1;
        self.instances.push(Instance { id, name, launched, is_gone: false });
    }
}

#[async_trait]
impl ClusterRead for Race {
    async fn describe(&self, _: &ClusterName) -> Result<ClusterDescription, ReadError> {
        let board = self.board();
        let count = NodeCount::of(board.instances.iter().filter(|one| !one.is_gone).count());
        let group = GroupDescription {
            role: Role::Worker,
            current: count,
            target: count,
            calm: true,
            capacity: None,
        };
        let state = ClusterState {
            status: ClusterStatus::InService,
            provisioning: Provisioning::Continuous,
            rival_autoscaler: false,
            software_update: false,
            created: None,
        };
        Ok(ClusterDescription { state, groups: BTreeMap::from([(workers(), group)]) })
    }

    async fn list_nodes(&self, _: &ClusterName) -> Result<NodeListing, ReadError> {
        let board = self.board();
        let here = board.instances.iter().filter(|one| !one.is_gone);
        let nodes = here.map(|one| ListedNode {
            id: one.id,
            group: workers(),
            launched: one.launched,
            status: InstanceStatus::Running,
            name: Some(one.name.clone()),
            joined: Joined::ByDnsName,
            address: None,
            image: None,
            health: 100,
            protected: false,
            capacity: NodeCapacity::Unread,
        });
        Ok(NodeListing { complete: true, nodes: nodes.collect() })
    }

    async fn describe_node(
        &self,
        _: &ClusterName,
        node: InstanceId,
    ) -> Result<Option<InstanceStatus>, ReadError> {
        let board = self.board();
        let here = board.instances.iter().any(|one| one.id == node && !one.is_gone);
        Ok(here.then_some(InstanceStatus::Running))
    }

    async fn details(
        &self,
        _: &ClusterName,
        nodes: &[InstanceId],
    ) -> Result<BTreeMap<InstanceId, NodeDetails>, ReadError> {
        let shown = NodeDetails { capacity: Some(Capacity::OnDemand), ip: None };
        Ok(nodes.iter().map(|node| (*node, shown)).collect())
    }
}

#[async_trait]
impl ClusterWrite for Race {
    async fn delete_nodes(&self, batch: &ClearedBatch, _: Span) -> DeleteOutcome {
        let ids: Vec<InstanceId> = batch.nodes().to_vec();
        let names: Vec<NodeName> = {
            let board = self.board();
            let named = |id: &InstanceId| board.instances.iter().find(|one| one.id == *id);
            ids.iter().filter_map(named).map(|one| one.name.clone()).collect()
        };
        if let Some(first) = names.first()
            && self.comes(Point::BeforeDelete)
        {
            let job = self.submit(first);
            if self.has_fence {
                // The scheduler has its time to start it, and must not.
                std::thread::sleep(Duration::from_secs(2));
            } else {
                self.wait_until_it_runs(&job);
            }
        }
        for name in &names {
            let on_it = self
                .cluster
                .person("squeue", &["-h", "-w", name.as_str(), "-t", "R,CG,CF,S", "-o", "%i"]);
            let mut board = self.board();
            if !on_it.is_empty() {
                let point = board.point;
                board.lost.push(format!("{on_it} on {name}, {point:?}"));
            }
            board.deleted += 1;
        }
        let is_answer_lost = self.comes(Point::AnswerLost);
        let mut board = self.board();
        for one in &mut board.instances {
            one.is_gone |= ids.contains(&one.id);
        }
        if is_answer_lost {
            return DeleteOutcome::NoAnswer { why: "the connection broke".into() };
        }
        DeleteOutcome::Answered { accepted: ids, failed: vec![] }
    }

    async fn shrink_group(&self, _: &ClearedGroup, _: Span) -> DeleteOutcome {
        unreachable!("group_calls is never")
    }
}

#[async_trait]
impl WorkloadRead for Race {
    async fn read(&self, cluster: &ClusterName) -> Result<Workload, ReadError> {
        let mut workload = self.slurm.read(cluster).await?;
        let board = self.board();
        for node in &mut workload.nodes {
            if let Some(reason) = board.pretended.get(&node.name) {
                node.drained = Some(reason.as_str().into());
            }
        }
        Ok(workload)
    }
}

#[async_trait]
impl Fence for Race {
    async fn fence(
        &self,
        cluster: &ClusterName,
        ledger: &LedgerId,
        orders: &[FenceOrder],
    ) -> Result<(), ReadError> {
        let Some(first) = orders.first() else { return Ok(()) };
        if self.comes(Point::BeforeFence) {
            let job = self.submit(&first.name);
            self.wait_until_it_runs(&job);
        }
        if self.has_fence {
            self.slurm.fence(cluster, ledger, orders).await?;
        } else {
            let reason = |order: &FenceOrder| fence_reason(ledger, order.action);
            let drains = orders.iter().map(|order| (order.name.clone(), reason(order)));
            self.board().pretended.extend(drains);
        }
        self.after_fence(&first.name);
        Ok(())
    }

    async fn release(
        &self,
        cluster: &ClusterName,
        ledger: &LedgerId,
        orders: &[FenceOrder],
    ) -> Result<(), ReadError> {
        if self.has_fence {
            return self.slurm.release(cluster, ledger, orders).await;
        }
        for order in orders {
            self.board().pretended.remove(&order.name);
        }
        Ok(())
    }
}

impl Clock for Dial {
    fn now(&self) -> Time {
        *self.0.lock().expect("nobody panicked")
    }

    fn monotonic(&self) -> Span {
        self.now().since(Time(0))
    }
}

impl Switches for Race {
    fn read(&self, _: &ClusterName) -> Result<Switch, ReadError> {
        Ok(Switch::On)
    }
}

impl Lease for Race {
    fn hold(&self) -> Result<u64, ReadError> {
        Ok(1)
    }
}

impl Notifier for Race {
    fn notify(&self, _: &ClusterName, _: Time, _: &Notification) {}
}

fn research() -> ClusterName {
    "research".parse().expect("a name")
}

fn workers() -> GroupName {
    "workers".parse().expect("a name")
}

fn policy() -> ClusterPolicy {
    let group = GroupPolicy {
        size: NodeCount(NODES as u32),
        min_nodes: Amount::Nodes(NodeCount(2)),
        lookahead: Span::ZERO,
        budgets: Budgets {
            per_batch: NodeCount(2),
            per_hour: NodeCount(1_000),
            per_day: NodeCount(100_000),
            leaving: Share::ALL,
        },
        timer: TimerChoice::Fixed(TICK.times(2)),
        queue_lookahead: Span::ZERO,
        ..group_policy()
    };
    let mut policy = cluster_policy(BTreeMap::from([(workers(), group)]));
    policy.timing = Timing { tick: TICK, cooldown: TICK, ..Timing::default() };
    policy
}

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| {
        text.parse().unwrap_or_else(|_| panic!("{name}: `{text}` is no number"))
    })
}

/// What a number of rounds came to.
struct Played {
    rounds: BTreeMap<Point, u32>,
    deleted: usize,
    lost: Vec<String>,
    left_fenced: usize,
}

async fn play(race: &Arc<Race>, points: &[Point]) -> Played {
    let ledger = Arc::new(SqliteLedger::in_memory(race.dial.now()).expect("a ledger"));
    let mut driver = Driver::start(race.ports(), ledger, policy()).await.expect("it starts");
    let mut played = Played { rounds: BTreeMap::new(), deleted: 0, lost: vec![], left_fenced: 0 };
    for point in points {
        *played.rounds.entry(*point).or_default() += 1;
        {
            let mut board = race.board();
            (board.point, board.is_armed) = (*point, true);
        }
        for _ in 0..TICKS {
            race.pass();
            let ticked = driver.tick(Ring::Schedule, Intent::Act).await;
            ticked.expect("the ledger is written");
        }
        race.clean_up();
        // Whatever is under way comes to its end: 15 minutes where no answer came.
        race.board().is_armed = false;
        let mut fenced = race.fenced().await;
        for _ in 0..30 {
            if fenced.is_empty() && race.board().pretended.is_empty() {
                break;
            }
            // Nodes that idle go again meanwhile; what counts is that none is left
            // behind, so nothing new is begun.
            race.pass();
            let followed = driver.tick(Ring::Schedule, Intent::FollowOnly).await;
            followed.expect("the ledger is written");
            race.clean_up();
            fenced = race.fenced().await;
        }
        played.left_fenced += fenced.len();
    }
    let board = race.board();
    (played.deleted, played.lost) = (board.deleted, board.lost.clone());
    played
}

#[tokio::test(flavor = "current_thread")]
async fn no_job_is_lost_at_any_point_and_no_node_is_left_fenced() {
    let Some(race) = Race::start(true) else { return println!("{SKIPPED}") };
    let rounds = setting("TRIMTAB_RACE_ROUNDS", 12);
    let mut random = Random::new(setting("TRIMTAB_RACE_SEED", 1));
    // Every point once, then by chance.
    let by_chance = |_| *random.pick(&POINTS);
    let points: Vec<Point> =
        POINTS.into_iter().chain((POINTS.len() as u64..rounds).map(by_chance)).collect();
    let played = play(&race, &points).await;
    println!(
        "race: {} rounds, {} nodes deleted; by point {:?}",
        points.len(),
        played.deleted,
        played.rounds
    );
    assert_eq!(played.lost, Vec::<String>::new());
    assert_eq!(played.left_fenced, 0);
    assert!(played.deleted >= points.len() / 2, "only {} nodes went", played.deleted);
}

#[tokio::test(flavor = "current_thread")]
async fn with_the_fence_switched_off_the_same_race_loses_jobs() {
    let Some(race) = Race::start(false) else { return println!("{SKIPPED}") };
    let played = play(&race, &[Point::BeforeDelete; 4]).await;
    let Played { deleted, lost, .. } = &played;
    assert!(!lost.is_empty(), "{deleted} went; a race that nobody can lose proves nothing");
}
