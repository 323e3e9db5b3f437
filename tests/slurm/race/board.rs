//! The board: the instances of Slurm's nodes as SageMaker would report them, and their
//! machines, which die after a deletion.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use trimtab_core::audit::{ClearedBatch, ClearedGroup};
use trimtab_core::ids::{ClusterName, GroupName, InstanceId, NodeName};
use trimtab_core::reads::{
    Capacity, ClusterDescription, ClusterState, ClusterStatus, GroupDescription, InstanceStatus,
    Joined, ListedNode, NodeCapacity, NodeListing, Provisioning, Role,
};
use trimtab_core::units::{NodeCount, Span, Time};
use trimtab_daemon::ports::{
    Clock, ClusterRead, ClusterWrite, DeleteOutcome, Lease, LeaseError, NodeDetails, Notification,
    Notifier, Ports, ReadError, Switch, Switches, Writers,
};
use trimtab_slurm::{Commands, Slurm};
use trimtab_tests::random::Random;
use trimtab_tests::slurm::{Cluster, script};

use super::judge::{Job, Loss};
use super::points::{Later, Moment, Point};

/// Number of workers. The cluster also has a login node and a controller.
pub(super) const WORKERS: usize = 6;

/// How far a tick moves the clock.
pub(super) const TICK: Span = Span::mins(1);

/// One instance.
#[derive(Debug, Clone)]
pub(super) struct Instance {
    pub(super) id: InstanceId,
    pub(super) group: GroupName,
    pub(super) name: NodeName,
    launched: Time,
    /// Time until which listings show the instance after its deletion was accepted.
    listed_until: Option<Time>,
}

/// A fault between trimtab and Slurm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// slurmctld was killed.
    Killed,
    /// slurmctld is suspended (SIGSTOP).
    Stopped,
    /// slurmctld does not accept trimtab's key.
    Stranger,
    /// All commands print nothing.
    Empty,
    /// squeue prints nothing.
    EmptySqueue,
    /// All commands print only the first half of their bytes.
    TornBytes,
    /// All commands print only the first half of their lines.
    TornLines,
}

/// A clock that only the test advances.
pub(super) struct Dial(Mutex<Time>);

/// State of the test: past events and the interference to come.
pub(super) struct Board {
    pub(super) instances: Vec<Instance>,
    next: u128,
    /// The point of this round and its moment, until it happens.
    pub(super) coming: Option<(Point, Moment)>,
    /// Whether the point has happened.
    pub(super) has_come: bool,
    pub(super) point: Point,
    /// The first node that was drained in this round.
    pub(super) cordoned: Option<NodeName>,
    pub(super) later: Vec<Later>,
    /// The active fault, and its remaining ticks.
    pub(super) fault: Option<(Fault, u64)>,
    pub(super) jobs: Vec<Job>,
    /// The reasons that operators set, which must still be there at the end of the round.
    pub(super) reasons: BTreeMap<NodeName, &'static str>,
    pub(super) rebooting: Vec<NodeName>,
    pub(super) deleted: usize,
    pub(super) lost: Vec<Loss>,
    /// Pretended drains, used when the cordon is switched off.
    pub(super) pretended: BTreeMap<NodeName, String>,
    /// Threads that kill the machines of deleted nodes.
    dying: Vec<JoinHandle<()>>,
    random: Random,
}

/// Implements all ports of the daemon.
pub(super) struct Race {
    pub(super) cluster: Cluster,
    pub(super) slurm: Slurm,
    pub(super) dial: Arc<Dial>,
    pub(super) has_cordon: bool,
    pub(super) tools: PathBuf,
    board: Mutex<Board>,
}

impl Race {
    pub(super) fn start(has_cordon: bool, seed: u64) -> Option<Arc<Self>> {
        let cluster = Cluster::start_with(WORKERS, &["others"])?;
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let start = Time::from_secs(since.expect("after 1970").as_secs().cast_signed());
        let dial = Arc::new(Dial(Mutex::new(start)));
        let tools = super::scheduler::tools(&cluster);
        let commands = Commands::new(tools.join("bin"), tools.join("slurm.conf"));
        let slurm = Slurm::new(Arc::new(commands), dial.clone());
        let mut board = Board {
            instances: vec![],
            next: 1,
            coming: None,
            has_come: false,
            point: Point::Nowhere,
            cordoned: None,
            later: vec![],
            fault: None,
            jobs: vec![],
            reasons: BTreeMap::new(),
            rebooting: vec![],
            deleted: 0,
            lost: vec![],
            pretended: BTreeMap::new(),
            dying: vec![],
            random: Random::new(seed),
        };
        for name in worker_names() {
            board.launch(workers(), name, start);
        }
        let this_machine = cluster.operator("hostname", &["-s"]);
        board.launch(others(Role::Login), "ip-10-0-1-1".parse().expect("a name"), start);
        board.launch(others(Role::Controller), this_machine.parse().expect("a name"), start);
        let board = Mutex::new(board);
        Some(Arc::new(Self { cluster, slurm, dial, has_cordon, tools, board }))
    }

    pub(super) fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().expect("the lock is not poisoned")
    }

    /// Advances the clock by one tick.
    pub(super) fn pass(&self) {
        let mut now = self.dial.0.lock().expect("the lock is not poisoned");
        *now = *now + TICK;
    }

    pub(super) fn ports(self: &Arc<Self>) -> Ports {
        Ports {
            cluster: self.clone(),
            workload: Some(self.clone()),
            utilization: None,
            prices: None,
            clock: self.dial.clone(),
            switches: self.clone(),
            lease: self.clone(),
            gate: None,
            on_node_check: None,
            notifier: self.clone(),
            writers: Some(Writers { cluster: self.clone(), cordon: Some(self.clone()) }),
        }
    }

    /// A random number; both bounds are inclusive.
    pub(super) fn roll(&self, low: u64, high: u64) -> u64 {
        self.board().random.between(low, high)
    }

    /// Begins a round.
    pub(super) fn begin(&self, point: Point) {
        let moments = point.moments();
        let mut board = self.board();
        let moment = (!moments.is_empty()).then(|| *board.random.pick(moments));
        board.coming = moment.map(|moment| (point, moment));
        (board.point, board.has_come, board.cordoned) = (point, moment.is_none(), None);
    }

    /// The point of this round, if this is its moment.
    pub(super) fn take(&self, moment: Moment) -> Option<Point> {
        let mut board = self.board();
        let (point, _) = board.coming.take_if(|(_, at)| *at == moment)?;
        board.has_come = true;
        Some(point)
    }

    /// Another worker that is not deleted.
    pub(super) fn other_than(&self, node: &NodeName) -> NodeName {
        let mut board = self.board();
        let there = board.instances.iter().filter(|one| one.listed_until.is_none());
        let there = there.filter(|one| one.group == workers() && one.name != *node);
        let names: Vec<NodeName> = there.map(|one| one.name.clone()).collect();
        board.random.pick(&names).clone()
    }

    /// Kills all processes of a node within half a second, including its slurmd.
    fn dies(&self, name: &NodeName) {
        let (folder, name) = (self.cluster.path().to_owned(), name.to_string());
        let within = Duration::from_millis(self.roll(0, 500));
        let death = std::thread::spawn(move || {
            std::thread::sleep(within);
            script(&folder, &["gone"], &[&name]);
        });
        self.board().dying.push(death);
    }

    /// Waits until all deleted machines are dead, and returns their names.
    pub(super) fn are_dead(&self) -> Vec<NodeName> {
        let dying = std::mem::take(&mut self.board().dying);
        for death in dying {
            death.join().expect("the thread does not panic");
        }
        let board = self.board();
        let dead = board.instances.iter().filter(|one| one.listed_until.is_some());
        dead.map(|one| one.name.clone()).collect()
    }
}

impl Board {
    fn launch(&mut self, group: GroupName, name: NodeName, launched: Time) {
        let id = InstanceId::from_number(self.next);
        self.next += 1;
        self.instances.push(Instance { id, group, name, launched, listed_until: None });
    }

    /// Replaces a deleted instance by a new one with the same name.
    pub(super) fn relaunch(&mut self, name: &NodeName, now: Time) {
        self.instances.retain(|one| one.name != *name);
        self.launch(workers(), name.clone(), now);
    }

    fn listed(&self, now: Time) -> impl Iterator<Item = &Instance> {
        self.instances.iter().filter(move |one| one.listed_until.is_none_or(|until| now < until))
    }
}

#[async_trait]
impl ClusterRead for Race {
    async fn describe(&self, _: &ClusterName) -> Result<ClusterDescription, ReadError> {
        let (now, board) = (self.dial.now(), self.board());
        let group = |name: GroupName, role| {
            let count = NodeCount::of(board.listed(now).filter(|one| one.group == name).count());
            let (current, target) = (count, count);
            (name, GroupDescription { role, current, target, calm: true, capacity: None })
        };
        let groups = [
            group(workers(), Role::Worker),
            group(others(Role::Login), Role::Login),
            group(others(Role::Controller), Role::Controller),
        ];
        let state = ClusterState {
            status: ClusterStatus::InService,
            provisioning: Provisioning::Continuous,
            rival_autoscaler: false,
            software_update: false,
            created: None,
        };
        Ok(ClusterDescription { state, groups: groups.into() })
    }

    async fn list_nodes(&self, _: &ClusterName) -> Result<NodeListing, ReadError> {
        let (now, board) = (self.dial.now(), self.board());
        let nodes = board.listed(now).map(|one| ListedNode {
            id: one.id,
            group: one.group.clone(),
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
        let (now, board) = (self.dial.now(), self.board());
        Ok(board.listed(now).any(|one| one.id == node).then_some(InstanceStatus::Running))
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
        let Some(first) = names.first() else { return DeleteOutcome::too_late() };
        self.moment(Moment::BeforeDelete, first);
        if !self.has_cordon {
            self.wait_until_all_run();
        }
        for name in &names {
            self.note_jobs_on(name, "when its deletion was requested");
        }
        self.moment(Moment::DuringDelete, first);
        let point = self.board().coming.map(|(point, _)| point);
        self.moment(Moment::Answer, first);
        let was_sent = point != Some(Point::CallLost);
        let now = self.dial.now();
        if was_sent {
            for name in &names {
                self.dies(name);
            }
            let mut board = self.board();
            board.deleted += names.len();
            // Listings show the deleted instances as Running for up to three more minutes.
            let lag = board.random.between(0, 3);
            let until = (0..lag).fold(now, |until, _| until + TICK);
            for one in &mut board.instances {
                if ids.contains(&one.id) {
                    one.listed_until = Some(until);
                }
            }
        }
        if matches!(point, Some(Point::AnswerLost | Point::CallLost)) {
            return DeleteOutcome::NoAnswer { why: "the connection broke".into() };
        }
        DeleteOutcome::Answered { accepted: ids, failed: vec![] }
    }

    async fn shrink_group(&self, _: &ClearedGroup, _: Span) -> DeleteOutcome {
        unreachable!("group_calls is `never`")
    }
}

impl Clock for Dial {
    fn now(&self) -> Time {
        *self.0.lock().expect("the lock is not poisoned")
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
    fn hold(&self) -> Result<u64, LeaseError> {
        Ok(1)
    }
}

impl Notifier for Race {
    fn notify(&self, _: &ClusterName, _: Time, _: &Notification) {}
}

pub(super) fn research() -> ClusterName {
    "research".parse().expect("a name")
}

pub(super) fn workers() -> GroupName {
    "workers".parse().expect("a name")
}

/// The group with this role.
pub(super) fn others(role: Role) -> GroupName {
    let name = match role {
        Role::Worker => "workers",
        Role::Controller => "controller",
        Role::Login => "login",
    };
    name.parse().expect("a name")
}

pub(super) fn worker_names() -> impl Iterator<Item = NodeName> {
    (1..=WORKERS).map(|n| format!("ip-10-0-0-{n}").parse().expect("a name"))
}
