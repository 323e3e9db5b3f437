//! What a world is made of: one TOML file, or the same as a value.
//!
//! Durations are texts with units (`"15m"`, `"1h 30m"`); where chance decides,
//! `{ min, max }`. Unknown keys are refused, and all problems of a file are
//! reported at once with their lines.

pub mod api;
mod problems;
pub(crate) mod text;

use serde::{Deserialize, Serialize};
use trimtab_core::ids::{ClusterName, GroupName, PartitionName};
use trimtab_core::policy::Capacity;
use trimtab_core::snapshot::{Provisioning, Role};
use trimtab_core::units::{MilliGpus, NodeCount, Span, Time, UsdPerHour};

pub use api::ApiSpec;
pub use problems::{Problem, SpecError};
pub use text::Between;

use crate::faults::FaultKind;
use crate::metrics::MetricsLayout;

/// A world's file with every key in it.
pub const EXAMPLE: &str = include_str!("spec/example.toml");

/// A world.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorldSpec {
    /// What chance starts from.
    pub seed: u64,
    /// When the world begins (RFC 3339).
    #[serde(with = "text::time")]
    pub start: Time,
    /// How long it lasts: the doorbell then rings to stop.
    #[serde(with = "text::span")]
    pub duration: Span,
    /// The cluster's name.
    pub cluster: ClusterName,
    /// Classic clusters run one operation at a time.
    #[serde(with = "text::ProvisioningText")]
    pub provisioning: Provisioning,
    /// Whether the daemon can reach the scheduler. Jobs run in either case.
    pub scheduler: bool,
    /// Which of several idle nodes a job gets.
    pub placement: Placement,
    /// From an accepted delete to the node's end; it is ShuttingDown meanwhile.
    pub delete_delay: Between,
    /// How long a change takes to show in ListClusterNodes.
    #[serde(with = "text::span")]
    pub listing_lag: Span,
    /// How long a change takes to show in DescribeCluster's counts.
    #[serde(with = "text::span")]
    pub count_lag: Span,
    /// How long the scheduler goes on knowing a node that is gone.
    pub prune_delay: Between,
    /// From Running in the listing to a node the scheduler knows.
    pub join_delay: Between,
    /// How long the scheduler goes on placing jobs on a node that shows as
    /// drained already.
    #[serde(with = "text::span")]
    pub cordon_lag: Span,
    /// Whether idle nodes that a blocked job is going to get show as planned,
    /// as Slurm's back-filling scheduler shows them.
    pub show_planned: bool,
    /// Prolog: how long a job is being started on its nodes.
    pub configuring: Between,
    /// Epilog: how long a job is being ended on its nodes.
    pub completing: Between,
    /// From a node's failure to the launch of its replacement.
    pub recovery_delay: Between,
    /// Whether there are metrics.
    pub metrics: bool,
    /// The time between two datapoints.
    #[serde(with = "text::span")]
    pub metric_period: Span,
    /// How long a datapoint takes to show.
    #[serde(with = "text::span")]
    pub metric_latency: Span,
    /// Who publishes metrics to CloudWatch, and so how they are named there; the
    /// port in process does not care.
    pub metrics_layouts: Vec<MetricsLayout>,
    /// Whether the log's text is kept; its digest always is.
    pub keep_log: bool,
    /// Random faults, so many a day.
    pub random_faults_per_day: f64,
    /// Which kinds; all that a daemon can survive unharmed if none are named.
    pub random_fault_kinds: Vec<FaultKind>,
    /// Who grows groups when jobs wait; nobody if left out.
    pub regrow: Option<RegrowSpec>,
    /// The API in front of the cluster.
    pub api: ApiSpec,
    /// Instance groups.
    #[serde(rename = "group")]
    pub groups: Vec<GroupSpec>,
    /// Single jobs.
    #[serde(rename = "job")]
    pub jobs: Vec<JobSpec>,
    /// Streams of random jobs.
    #[serde(rename = "generate")]
    pub generators: Vec<GenerateSpec>,
    /// A recorded load; [`WorldSpec::load_trace`] reads it.
    pub trace: Option<TraceSpec>,
    /// Scheduled faults.
    #[serde(rename = "fault")]
    pub faults: Vec<FaultSpec>,
}

/// The cluster's name where none is given.
const DEFAULT_CLUSTER: &str = "simulated";
/// 2026-03-02T00:00:00Z, a Monday.
const DEFAULT_START: Time = Time::from_secs(1_772_409_600);

impl Default for WorldSpec {
    /// A continuous cluster without groups, with the delays that HyperPod's
    /// users report (node entries gone in seconds, counts minutes later).
    fn default() -> Self {
        Self {
            seed: 1,
            start: DEFAULT_START,
            duration: Span::hours(24),
            cluster: DEFAULT_CLUSTER.parse().expect("a valid name"),
            provisioning: Provisioning::Continuous,
            scheduler: true,
            placement: Placement::LowestIndex,
            delete_delay: Between::secs(30, 180),
            listing_lag: Span::secs(15),
            count_lag: Span::secs(75),
            prune_delay: Between::secs(20, 120),
            join_delay: Between::secs(0, 30),
            cordon_lag: Span::ZERO,
            show_planned: true,
            configuring: Between::secs(1, 8),
            completing: Between::secs(1, 10),
            recovery_delay: Between::secs(60, 600),
            metrics: true,
            metric_period: Span::secs(60),
            metric_latency: Span::secs(90),
            metrics_layouts: MetricsLayout::ALL.to_vec(),
            keep_log: true,
            random_faults_per_day: 0.0,
            random_fault_kinds: vec![],
            regrow: None,
            api: ApiSpec::default(),
            groups: vec![],
            jobs: vec![],
            generators: vec![],
            trace: None,
            faults: vec![],
        }
    }
}

/// Which of several idle nodes a job gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// The oldest entry: what Slurm does with equal weights.
    LowestIndex,
    /// The one that was busy last.
    MostRecent,
    /// Any.
    Random,
    /// The one that was idle longest, which keeps every node's idle time short.
    Spreading,
}

/// One instance group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupSpec {
    /// Its name.
    pub name: GroupName,
    /// What its nodes are for.
    #[serde(default = "default_role", with = "text::RoleText")]
    pub role: Role,
    /// Nodes at the start.
    pub count: NodeCount,
    /// Most nodes it is grown to; `count` if left out.
    #[serde(default)]
    pub size: Option<NodeCount>,
    /// SageMaker's name of the machine.
    #[serde(default = "default_instance_type")]
    pub instance_type: String,
    /// What a node costs.
    #[serde(default, with = "text::price", rename = "price_usd_per_hour")]
    pub price: UsdPerHour,
    /// GPUs of a node; 0 means that every job takes whole nodes.
    #[serde(default)]
    pub gpus_per_node: u32,
    /// The partition its nodes are in; its own name if left out.
    #[serde(default)]
    pub partition: Option<PartitionName>,
    /// From the launch to Running.
    #[serde(default = "default_boot")]
    pub boot: Between,
    /// A deep health check after the boot.
    #[serde(default)]
    pub health_check: Option<Between>,
    /// So many of its first nodes bear a tag that says to keep them.
    #[serde(default)]
    pub protected: NodeCount,
    /// How it is paid for, as DescribeCluster shows it.
    #[serde(default = "default_capacity", with = "text::CapacityText")]
    pub capacity: Capacity,
    /// MinCount, in continuous clusters; none if left out.
    #[serde(default)]
    pub min_count: Option<NodeCount>,
    /// Members of DescribeCluster's group, by the API's own names, that replace
    /// what the world would say of it. Only seen through the endpoint.
    #[serde(default)]
    pub details: toml::Table,
}

impl GroupSpec {
    /// Workers without GPUs that cost nothing and boot in 10 to 20 minutes.
    pub fn new(name: GroupName, count: NodeCount) -> Self {
        Self {
            name,
            role: default_role(),
            count,
            size: None,
            instance_type: default_instance_type(),
            price: UsdPerHour::ZERO,
            gpus_per_node: 0,
            partition: None,
            boot: default_boot(),
            health_check: None,
            protected: NodeCount::ZERO,
            capacity: default_capacity(),
            min_count: None,
            details: toml::Table::new(),
        }
    }

    /// Most nodes it is grown to.
    pub fn size(&self) -> NodeCount {
        self.size.unwrap_or(self.count).max(self.count)
    }

    /// GPUs of a node.
    pub fn gpus(&self) -> MilliGpus {
        MilliGpus::whole(self.gpus_per_node)
    }

    /// The partition its nodes are in.
    ///
    /// # Panics
    /// Never: every group name is a valid partition name.
    pub fn partition(&self) -> PartitionName {
        let own = || self.name.as_str().parse().expect("a group's name is a partition's name");
        self.partition.clone().unwrap_or_else(own)
    }
}

fn default_role() -> Role {
    Role::Worker
}

fn default_instance_type() -> String {
    "ml.g5.8xlarge".to_owned()
}

fn default_capacity() -> Capacity {
    Capacity::OnDemand
}

fn default_boot() -> Between {
    Between::secs(600, 1200)
}

/// The operator or pipeline who grows a group when jobs wait, up to its size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegrowSpec {
    /// How often they look.
    #[serde(with = "text::span")]
    pub every: Span,
    /// How long jobs must have waited for nodes before they act.
    #[serde(with = "text::span", default)]
    pub delay: Span,
    /// The boot time of nodes they add, if not the group's.
    #[serde(default)]
    pub boot: Option<Between>,
}

/// One job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    /// When it is handed in, from the world's start.
    #[serde(with = "text::span")]
    pub at: Span,
    /// How long it runs.
    #[serde(with = "text::span")]
    pub length: Span,
    /// Nodes.
    #[serde(default = "one_node")]
    pub nodes: NodeCount,
    /// GPUs of the whole job; 0 for whole nodes.
    #[serde(default)]
    pub gpus: f64,
    /// Its partition; the first worker group's if left out.
    #[serde(default)]
    pub partition: Option<PartitionName>,
    /// It asks not to start earlier than this after it was handed in.
    #[serde(with = "text::span", default)]
    pub begin_after: Span,
    /// It is held for this long after it was handed in.
    #[serde(with = "text::span", default)]
    pub held_for: Span,
}

fn one_node() -> NodeCount {
    NodeCount(1)
}

/// A stream of random jobs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenerateSpec {
    /// Jobs a day.
    pub per_day: f64,
    /// Jobs that come together.
    #[serde(default = "one")]
    pub burst: u32,
    /// Their partition; the first worker group's if left out.
    #[serde(default)]
    pub partition: Option<PartitionName>,
    /// Half of the jobs are shorter.
    #[serde(with = "text::span")]
    pub length_median: Span,
    /// The standard deviation of the length's logarithm: 0 for equal lengths,
    /// 1.5 to 2.5 for the heavy tails that real clusters show.
    #[serde(default = "default_spread")]
    pub length_spread: f64,
    /// No job is shorter.
    #[serde(with = "text::span", default = "default_length_min")]
    pub length_min: Span,
    /// No job is longer.
    #[serde(with = "text::span", default = "default_length_max")]
    pub length_max: Span,
    /// Hours of the day (UTC) with more jobs.
    #[serde(default)]
    pub busy_hours: Option<BusyHours>,
    /// What they ask for, by weight; one whole node if left out.
    #[serde(default)]
    pub mix: Vec<MixSpec>,
}

/// Hours of the day with more jobs than the others.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BusyHours {
    /// The first hour, 0 to 23.
    pub from: u8,
    /// The hour after the last, 1 to 24.
    pub to: u8,
    /// So many times more jobs, at least 1.
    pub factor: f64,
}

/// One kind of generated job.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixSpec {
    /// Its weight among the kinds.
    pub weight: u32,
    /// Nodes.
    #[serde(default = "one_node")]
    pub nodes: NodeCount,
    /// GPUs of the whole job; 0 for whole nodes.
    #[serde(default)]
    pub gpus: f64,
}

fn one() -> u32 {
    1
}

fn default_spread() -> f64 {
    1.6
}

fn default_length_min() -> Span {
    Span::secs(30)
}

fn default_length_max() -> Span {
    Span::hours(72)
}

/// Which part of a recorded load is replayed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceSpec {
    /// A job table, `.csv` or `.csv.gz`.
    pub path: String,
    /// Its partitions to take; all if left out.
    #[serde(default)]
    pub partitions: Vec<PartitionName>,
    /// The first day, from 0.
    #[serde(default)]
    pub from_day: u32,
    /// How many days.
    pub days: u32,
    /// So many times its jobs: below 1 leaves some out, above 1 copies some.
    #[serde(default = "whole")]
    pub scale: f64,
    /// The partition they are handed in to here; the first worker group's if
    /// left out.
    #[serde(default)]
    pub into: Option<PartitionName>,
}

fn whole() -> f64 {
    1.0
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultSpec {
    /// When it begins, from the world's start.
    #[serde(with = "text::span")]
    pub at: Span,
    /// How long it lasts; what happens in an instant ignores it.
    #[serde(with = "text::span", rename = "for", default)]
    pub lasts: Span,
    /// What it is.
    pub kind: FaultKind,
}

impl WorldSpec {
    /// Reads a world from TOML text; `file` is its name in messages.
    ///
    /// # Errors
    /// All that is wrong with it, by line.
    pub fn parse(text: &str, file: &str) -> Result<Self, SpecError> {
        problems::parse(text, file)
    }

    /// Checks what single values cannot tell.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn check(&self) -> Result<(), SpecError> {
        problems::check(self)
    }

    /// When the world ends.
    pub fn end(&self) -> Time {
        self.start + self.duration
    }

    /// The first worker group's partition, where jobs go that name none.
    pub fn first_partition(&self) -> Option<PartitionName> {
        self.partitions().next()
    }

    /// The worker groups' partitions, in their order; one may come twice.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = PartitionName> {
        let workers = self.groups.iter().filter(|group| group.role == Role::Worker);
        workers.map(GroupSpec::partition)
    }
}
