//! Specification of a world: a TOML file, or the same as a value.
//!
//! Durations are strings with units (`"15m"`, `"1h 30m"`), or `{ min, max }` for a random duration.
//! Unknown keys are rejected. All problems of a file are reported at once, with line numbers.

pub mod api;
mod problems;

use serde::{Deserialize, Serialize};
use trimtab_core::ids::{ClusterName, GroupName, PartitionName};
use trimtab_core::reads::{Capacity, Provisioning, Role};
use trimtab_core::units::{MilliGpus, NodeCount, Span, Time, UsdPerHour};

pub use api::ApiSpec;
pub use problems::{Problem, SpecError};

use crate::faults::FaultKind;
use crate::layout::MetricsLayout;
use crate::text;
pub use crate::text::Between;

/// A world file that uses every key.
pub const EXAMPLE: &str = include_str!("spec/example.toml");

/// Specification of a world.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorldSpec {
    /// Random seed.
    pub seed: u64,
    /// Start of the world (RFC 3339).
    #[serde(with = "text::time")]
    pub start: Time,
    /// Duration of the world. At its end the doorbell rings to stop.
    #[serde(with = "text::span")]
    pub duration: Span,
    pub cluster: ClusterName,
    /// Provisioning mode. A classic cluster runs one operation at a time.
    #[serde(with = "text::ProvisioningText")]
    pub provisioning: Provisioning,
    /// Whether the daemon can reach the scheduler. Jobs run in both cases.
    pub scheduler: bool,
    /// How the scheduler chooses between idle nodes.
    pub placement: Placement,
    /// Time from an accepted delete to the node's termination. The node is ShuttingDown meanwhile.
    pub delete_delay: Between,
    /// Time until a change shows in ListClusterNodes.
    #[serde(with = "text::span")]
    pub listing_lag: Span,
    /// Time until a change shows in DescribeCluster's counts.
    #[serde(with = "text::span")]
    pub count_lag: Span,
    /// Time for which the scheduler keeps the entry of a terminated node.
    pub prune_delay: Between,
    /// Time from Running in the listing until the node joins the scheduler.
    pub join_delay: Between,
    /// Time for which the scheduler still starts jobs on a node that already shows as drained.
    #[serde(with = "text::span")]
    pub cordon_lag: Span,
    /// Whether idle nodes that a blocked job will get show as planned, as Slurm's back-filling
    /// scheduler reports them.
    pub show_planned: bool,
    /// Prolog: time until a job runs on its nodes.
    pub configuring: Between,
    /// Epilog: time from the end of a job until its nodes are free.
    pub completing: Between,
    /// Time from a node's failure to the launch of its replacement.
    pub recovery_delay: Between,
    /// Whether nodes publish metrics.
    pub metrics: bool,
    /// Time between two datapoints.
    #[serde(with = "text::span")]
    pub metric_period: Span,
    /// Time until a datapoint is visible.
    #[serde(with = "text::span")]
    pub metric_latency: Span,
    /// Publishers of metrics in CloudWatch, which decide how the metrics are named. They do not
    /// matter for the in-process port.
    pub metrics_layouts: Vec<MetricsLayout>,
    /// Whether to keep the log text. The digest is always kept.
    pub keep_log: bool,
    /// Average number of random faults in a day.
    pub random_faults_per_day: f64,
    /// Kinds of random faults. If empty: all kinds that a daemon must survive.
    pub random_fault_kinds: Vec<FaultKind>,
    /// Actor that grows groups when jobs wait; none if left out.
    pub regrow: Option<RegrowSpec>,
    /// The API that the simulated endpoint serves.
    pub api: ApiSpec,
    #[serde(rename = "group")]
    pub groups: Vec<GroupSpec>,
    /// Single jobs.
    #[serde(rename = "job")]
    pub jobs: Vec<JobSpec>,
    /// Streams of random jobs.
    #[serde(rename = "generate")]
    pub generators: Vec<GenerateSpec>,
    /// A recorded load, which [`WorldSpec::load_trace`] reads.
    pub trace: Option<TraceSpec>,
    /// Scheduled faults.
    #[serde(rename = "fault")]
    pub faults: Vec<FaultSpec>,
}

/// Default cluster name.
const DEFAULT_CLUSTER: &str = "simulated";
/// 2026-03-02T00:00:00Z, a Monday.
const DEFAULT_START: Time = Time::from_secs(1_772_409_600);

impl Default for WorldSpec {
    /// A continuous cluster without groups, with delays that HyperPod users report (node entries
    /// removed within seconds, counts updated minutes later).
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

/// How the scheduler chooses between idle nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// The oldest entry, as Slurm does with equal weights.
    LowestIndex,
    /// The node that was busy last.
    MostRecent,
    /// A random node.
    Random,
    /// The node that was idle longest. This keeps the idle time of every node short.
    Spreading,
}

/// Specification of an instance group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupSpec {
    pub name: GroupName,
    /// Role of its nodes.
    #[serde(default = "default_role", with = "text::RoleText")]
    pub role: Role,
    /// Number of nodes at the start.
    pub count: NodeCount,
    /// Maximum number of nodes that it grows to; `count` if left out.
    #[serde(default)]
    pub size: Option<NodeCount>,
    /// SageMaker instance type.
    #[serde(default = "default_instance_type")]
    pub instance_type: String,
    /// Price of a node.
    #[serde(default, with = "text::price", rename = "price_usd_per_hour")]
    pub price: UsdPerHour,
    /// GPUs of a node. With 0, every job takes whole nodes.
    #[serde(default)]
    pub gpus_per_node: u32,
    /// Partition of its nodes; the group's name if left out.
    #[serde(default)]
    pub partition: Option<PartitionName>,
    /// Time from the launch to Running.
    #[serde(default = "default_boot")]
    pub boot: Between,
    /// Duration of a deep health check after the boot; none if left out.
    #[serde(default)]
    pub health_check: Option<Between>,
    /// Number of first nodes that a tag protects from deletion.
    #[serde(default)]
    pub protected: NodeCount,
    /// Capacity type, as DescribeCluster shows it.
    #[serde(default = "default_capacity", with = "text::CapacityText")]
    pub capacity: Capacity,
    /// MinCount in continuous clusters; none if left out.
    #[serde(default)]
    pub min_count: Option<NodeCount>,
    /// Members of the group in DescribeCluster's answer, by their API names. They replace the
    /// world's own values. Only the simulated endpoint shows them.
    #[serde(default)]
    pub details: toml::Table,
}

impl GroupSpec {
    /// Returns a group of workers without GPUs and without a price that boot in 10 to 20 minutes.
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

    /// Returns the maximum number of nodes that it grows to.
    pub fn size(&self) -> NodeCount {
        self.size.unwrap_or(self.count).max(self.count)
    }

    /// Returns the GPUs of a node.
    pub fn gpus(&self) -> MilliGpus {
        MilliGpus::whole(self.gpus_per_node)
    }

    /// Returns the partition of its nodes.
    ///
    /// # Panics
    /// Never: every group name is a valid partition name.
    pub fn partition(&self) -> PartitionName {
        let own =
            || self.name.as_str().parse().expect("every group name is a valid partition name");
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

/// Models the operator, or the pipeline, that grows a group up to its size when jobs wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegrowSpec {
    /// Time between two checks.
    #[serde(with = "text::span")]
    pub every: Span,
    /// How long a shortage must last before the group is grown.
    #[serde(with = "text::span", default)]
    pub delay: Span,
    /// Boot time of the added nodes; the group's boot time if left out.
    #[serde(default)]
    pub boot: Option<Between>,
}

/// Specification of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    /// Submission time, counted from the world's start.
    #[serde(with = "text::span")]
    pub at: Span,
    /// Running time.
    #[serde(with = "text::span")]
    pub length: Span,
    /// Number of nodes.
    #[serde(default = "one_node")]
    pub nodes: NodeCount,
    /// GPUs of the whole job; 0 for whole nodes.
    #[serde(default)]
    pub gpus: f64,
    /// Partition; the first worker group's partition if left out.
    #[serde(default)]
    pub partition: Option<PartitionName>,
    /// Earliest start that the job asks for, counted from its submission.
    #[serde(with = "text::span", default)]
    pub begin_after: Span,
    /// Time for which the job is held after its submission.
    #[serde(with = "text::span", default)]
    pub held_for: Span,
}

fn one_node() -> NodeCount {
    NodeCount(1)
}

/// Specification of a stream of random jobs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenerateSpec {
    /// Average number of jobs in a day.
    pub per_day: f64,
    /// Number of jobs that arrive together.
    #[serde(default = "one")]
    pub burst: u32,
    /// Partition; the first worker group's partition if left out.
    #[serde(default)]
    pub partition: Option<PartitionName>,
    /// Median running time.
    #[serde(with = "text::span")]
    pub length_median: Span,
    /// Standard deviation of the logarithm of the running time: 0 for equal times, 1.5 to 2.5 for
    /// the heavy tails of real clusters.
    #[serde(default = "default_spread")]
    pub length_spread: f64,
    /// Shortest running time.
    #[serde(with = "text::span", default = "default_length_min")]
    pub length_min: Span,
    /// Longest running time.
    #[serde(with = "text::span", default = "default_length_max")]
    pub length_max: Span,
    /// Hours of the day (UTC) with more jobs than the others.
    #[serde(default)]
    pub busy_hours: Option<BusyHours>,
    /// Kinds of jobs, by weight; one whole node if left out.
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
    /// How many times more jobs arrive in these hours; at least 1.
    pub factor: f64,
}

/// A kind of generated job.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixSpec {
    /// Relative weight of this kind.
    pub weight: u32,
    /// Number of nodes.
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

/// Selection from a recorded load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceSpec {
    /// Path of a job table, `.csv` or `.csv.gz`.
    pub path: String,
    /// Partitions of the table to use; all if left out.
    #[serde(default)]
    pub partitions: Vec<PartitionName>,
    /// First day, counted from 0.
    #[serde(default)]
    pub from_day: u32,
    /// Number of days.
    pub days: u32,
    /// Scale of the load: below 1 leaves out jobs, above 1 copies jobs.
    #[serde(default = "whole")]
    pub scale: f64,
    /// Partition that the jobs are submitted to in this world; the first worker group's partition
    /// if left out.
    #[serde(default)]
    pub into: Option<PartitionName>,
}

fn whole() -> f64 {
    1.0
}

/// A scheduled fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultSpec {
    /// Start, counted from the world's start.
    #[serde(with = "text::span")]
    pub at: Span,
    /// Duration. Ignored by faults that happen at once.
    #[serde(with = "text::span", rename = "for", default)]
    pub lasts: Span,
    /// Kind of fault.
    pub kind: FaultKind,
}

impl WorldSpec {
    /// Parses a world from TOML text. `file` is the file name in error messages.
    ///
    /// # Errors
    /// All problems of the text, with line numbers.
    pub fn parse(text: &str, file: &str) -> Result<Self, SpecError> {
        problems::parse(text, file)
    }

    /// Checks rules that involve several values.
    ///
    /// # Errors
    /// All problems of the spec.
    pub fn check(&self) -> Result<(), SpecError> {
        problems::check(self)
    }

    /// Returns the end of the world.
    pub fn end(&self) -> Time {
        self.start + self.duration
    }

    /// Returns the partition of the first worker group, the default for jobs without a partition.
    pub fn first_partition(&self) -> Option<PartitionName> {
        self.partitions().next()
    }

    /// Returns the partitions of the worker groups in order. A partition can appear more than once.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = PartitionName> {
        let workers = self.groups.iter().filter(|group| group.role == Role::Worker);
        workers.map(GroupSpec::partition)
    }
}
