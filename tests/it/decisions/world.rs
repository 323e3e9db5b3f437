//! The world of a scenario: the state after the script's lines, and what the ports would read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use trimtab_core::assemble::{Reads, assemble};
use trimtab_core::history::History;
use trimtab_core::ids::{GroupName, InstanceId, NodeName};
use trimtab_core::policy::{ClusterPolicy, MassChangeLimit};
use trimtab_core::reads::{
    Activity, Capacity, Claim, ClusterDescription, ClusterState, ClusterStatus, Condition,
    GroupDescription, InstanceStatus, Joined, ListedNode, NodeCapacity, NodeListing, PendingJob,
    Provisioning, Reading, Role, SchedulerFacts, SchedulerNode, Workload,
};
use trimtab_core::snapshot::Snapshot;
use trimtab_core::units::{NodeCount, Share, Span, Time};
use trimtab_tests::worlds::{START, cluster_policy, ledger, name};

/// A cluster as the script describes it, at one instant.
pub(super) struct World {
    pub(super) policy: ClusterPolicy,
    pub(super) state: ClusterState,
    pub(super) groups: BTreeMap<GroupName, Group>,
    pub(super) nodes: BTreeMap<InstanceId, Node>,
    pub(super) pending: Vec<PendingJob>,
    pub(super) described: bool,
    pub(super) listing: ListingRead,
    pub(super) scheduler: SchedulerRead,
    /// Facts that the scheduler reports about itself.
    pub(super) facts: SchedulerFacts,
    /// Time of the plan. Times in the script are relative to it.
    pub(super) now: Time,
    /// Time from the first tick to `now`.
    pub(super) watched: Span,
    /// No tick lies strictly between these times.
    pub(super) unwatched: Option<(Time, Time)>,
    /// Tick that is being read.
    pub(super) tick: Time,
    /// Duration of the reads of the last tick.
    pub(super) reads_took: Span,
    /// Nodes that a gate has not approved.
    pub(super) gate_holds: BTreeSet<InstanceId>,
    pub(super) history: History,
}

/// DescribeCluster's values of a group, where they differ from the listing.
#[derive(Clone)]
pub(super) struct Group {
    pub(super) role: Role,
    pub(super) current: Option<NodeCount>,
    pub(super) target: Option<NodeCount>,
    pub(super) calm: bool,
    pub(super) shows: Option<Capacity>,
    pub(super) vanished: bool,
}

impl Default for Group {
    fn default() -> Self {
        let role = Role::Worker;
        Self { role, current: None, target: None, calm: true, shows: None, vanished: false }
    }
}

/// One node.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) group: GroupName,
    pub(super) name: Option<NodeName>,
    pub(super) launched: Time,
    pub(super) status: InstanceStatus,
    pub(super) image: Option<Arc<str>>,
    pub(super) health: u8,
    pub(super) protected: bool,
    pub(super) capacity: NodeCapacity,
    /// The node is neither listed nor in the scheduler.
    pub(super) gone: bool,
    /// Number of times that the scheduler's answer contains it.
    pub(super) told: usize,
    pub(super) condition: Condition,
    pub(super) claims: Vec<Claim>,
    pub(super) drained: Option<Arc<str>>,
    /// Features and GRES that the scheduler reports for it.
    pub(super) offers: Option<BTreeSet<Arc<str>>>,
    /// How it was matched to a scheduler node.
    pub(super) joined: Joined,
    pub(super) metrics: Metrics,
}

/// Metrics of a node at each tick.
#[derive(Clone, Copy)]
pub(super) enum Metrics {
    Absent,
    Stale,
    Partial,
    /// Highest values, age of the oldest datapoint, and age of the newest.
    Fresh {
        utilization: Share,
        memory: Share,
        covers: Span,
        age: Span,
    },
}

/// Result of the listing.
pub(super) enum ListingRead {
    Whole,
    Failed(String),
    PagesMissing,
    Twice(InstanceId),
    Empty,
}

/// Result of the scheduler read.
pub(super) enum SchedulerRead {
    Whole,
    NotAsked,
    Failed(String),
    Empty,
    /// The answer has this age.
    Old(Span),
}

impl Node {
    pub(super) fn new(id: u128, group: GroupName, now: Time) -> Self {
        let quiet = Share::default();
        Self {
            group,
            name: Some(name(&format!("n{id}"))),
            launched: now - Span::hours(100),
            status: InstanceStatus::Running,
            image: None,
            health: 100,
            protected: false,
            capacity: NodeCapacity::NotShown,
            gone: false,
            told: 1,
            condition: Condition::Up,
            claims: vec![],
            drained: None,
            offers: None,
            joined: Joined::ByDnsName,
            metrics: Metrics::Fresh {
                utilization: quiet,
                memory: quiet,
                covers: Span::hours(1),
                age: Span::ZERO,
            },
        }
    }
}

impl World {
    /// An empty cluster with safe defaults.
    pub(super) fn new() -> Self {
        let mut policy = cluster_policy(BTreeMap::new());
        policy.mass_change = MassChangeLimit { nodes: NodeCount(10_000), share: Share::ALL };
        Self {
            policy,
            state: ClusterState {
                status: ClusterStatus::InService,
                provisioning: Provisioning::Continuous,
                rival_autoscaler: false,
                software_update: false,
                created: None,
            },
            groups: BTreeMap::new(),
            nodes: BTreeMap::new(),
            pending: vec![],
            described: true,
            listing: ListingRead::Whole,
            scheduler: SchedulerRead::Whole,
            facts: SchedulerFacts::default(),
            now: START,
            watched: Span::mins(20),
            unwatched: None,
            tick: START,
            reads_took: Span::ZERO,
            gate_holds: BTreeSet::new(),
            history: History::default(),
        }
    }

    /// Returns the snapshot of this tick.
    pub(super) fn snapshot(&self) -> Snapshot {
        assemble(self.reads(), &self.policy, &self.history, &ledger())
    }

    fn reads(&self) -> Reads {
        let begun_at = if self.tick == self.now { self.tick - self.reads_took } else { self.tick };
        let description = if self.described {
            Ok(ClusterDescription { state: self.state.clone(), groups: self.descriptions() })
        } else {
            Err("throttled".into())
        };
        Reads {
            begun_at,
            taken_at: self.tick,
            description,
            listing: self.listed(),
            workload: self.workload(begun_at),
            activity: self.activity(),
            described: BTreeMap::new(),
        }
    }

    fn descriptions(&self) -> BTreeMap<GroupName, GroupDescription> {
        let there = self.groups.iter().filter(|(_, group)| !group.vanished);
        there
            .map(|(name, group)| {
                let nodes = self.nodes.values().filter(|n| n.group == *name && !n.gone);
                let current = group.current.unwrap_or(NodeCount::of(nodes.count()));
                let description = GroupDescription {
                    role: group.role,
                    current,
                    target: group.target.unwrap_or(current),
                    calm: group.calm,
                    capacity: group.shows,
                };
                (name.clone(), description)
            })
            .collect()
    }

    fn listed(&self) -> Result<NodeListing, Arc<str>> {
        let list = |(id, node): (&InstanceId, &Node)| ListedNode {
            id: *id,
            group: node.group.clone(),
            launched: node.launched,
            status: node.status.clone(),
            name: node.name.clone(),
            joined: node.joined.clone(),
            address: None,
            image: node.image.clone(),
            health: node.health,
            protected: node.protected,
            capacity: node.capacity,
        };
        let there = self.nodes.iter().filter(|(_, node)| !node.gone);
        let mut nodes: Vec<ListedNode> = there.map(list).collect();
        let mut complete = true;
        match &self.listing {
            ListingRead::Whole => {}
            ListingRead::Failed(why) => return Err(why.as_str().into()),
            ListingRead::PagesMissing => complete = false,
            ListingRead::Twice(id) => nodes.extend(self.nodes.get_key_value(id).map(list)),
            ListingRead::Empty => nodes.clear(),
        }
        Ok(NodeListing { complete, nodes })
    }

    fn workload(&self, begun_at: Time) -> Option<Result<Workload, Arc<str>>> {
        let there = self.nodes.values().filter(|node| !node.gone);
        let told = there.flat_map(|node| {
            node.name.iter().flat_map(|name| {
                std::iter::repeat_n(
                    SchedulerNode {
                        name: name.clone(),
                        condition: node.condition,
                        claims: node.claims.clone(),
                        drained: node.drained.clone(),
                        hostname: None,
                        address: None,
                        offers: node.offers.clone(),
                    },
                    node.told,
                )
            })
        });
        let whole = |at| Workload {
            at,
            nodes: told.collect(),
            pending: self.pending.clone(),
            facts: self.facts.clone(),
        };
        match &self.scheduler {
            SchedulerRead::Whole => Some(Ok(whole(self.tick))),
            SchedulerRead::NotAsked => None,
            SchedulerRead::Failed(why) => Some(Err(why.as_str().into())),
            SchedulerRead::Empty => Some(Ok(Workload { nodes: vec![], ..whole(self.tick) })),
            SchedulerRead::Old(age) => Some(Ok(whole(begun_at - *age))),
        }
    }

    fn activity(&self) -> BTreeMap<InstanceId, Reading<Activity>> {
        let evidence_source = |metrics| match metrics {
            Metrics::Absent => Reading::Absent,
            Metrics::Stale => Reading::Stale { at: self.tick - Span::hours(1) },
            Metrics::Partial => Reading::Partial,
            Metrics::Fresh { utilization, memory, covers, age } => {
                let to = self.tick - age;
                let value = Activity { utilization, memory, from: to - covers, to };
                Reading::Fresh { at: to, value }
            }
        };
        self.nodes.iter().map(|(id, node)| (*id, evidence_source(node.metrics))).collect()
    }
}
