//! Data as the ports read it: the cluster, the node listing, the scheduler and the metrics.
//!
//! These types are not checked yet. [`crate::join`] matches instances with scheduler nodes, and
//! [`crate::assemble`] turns the reads of one tick into a [`crate::snapshot`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::{GroupName, InstanceId, JobId, NodeName, PartitionName};
use crate::units::{MilliGpus, NodeCount, Share, Time};

/// State of the cluster itself, without its groups and nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterState {
    /// `ClusterStatus` from DescribeCluster.
    pub status: ClusterStatus,
    /// Node provisioning mode.
    pub provisioning: Provisioning,
    /// Whether another autoscaler is enabled (`AutoScaling.Mode = Enable`).
    pub rival_autoscaler: bool,
    /// Whether a software update is running in any group.
    pub software_update: bool,
    /// Creation time, if the API reports it. A cluster created before 2024-06-20 accepts a
    /// deletion by id only after it was patched.
    pub created: Option<Time>,
}

/// `ClusterStatus` of the SageMaker API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClusterStatus {
    /// The cluster accepts changes.
    InService,
    /// The cluster is being created.
    Creating,
    /// An operation is running.
    Updating,
    /// The software of the cluster is being updated.
    SystemUpdating,
    /// A failed operation is being rolled back.
    RollingBack,
    /// The cluster is being deleted.
    Deleting,
    /// The cluster failed and needs an operator.
    Failed,
    /// A status that this version of trimtab does not know, as SageMaker reports it.
    Unrecognised(Arc<str>),
}

/// `NodeProvisioningMode` of the cluster. The API omits it for a classic cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Provisioning {
    /// The cluster runs one operation at a time.
    Classic,
    /// Each group runs its operations independently of the others.
    Continuous,
}

/// One instance group as DescribeCluster reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupDescription {
    /// Role of its nodes.
    pub role: Role,
    /// `CurrentCount`: nodes that the group has now.
    pub current: NodeCount,
    /// `TargetCount`: nodes that the group is scaling to.
    pub target: NodeCount,
    /// Whether the group is in service and no operation runs in it.
    pub calm: bool,
    /// Purchase option of its capacity, if the API reports it.
    pub capacity: Option<Capacity>,
}

/// Role of the nodes of a group. If two sources disagree, the later variant takes precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// The nodes run jobs.
    Worker,
    /// Users log in to the nodes. trimtab never deletes them, whatever the policy says.
    Login,
    /// The nodes run the scheduler. trimtab never deletes them, whatever the policy says.
    Controller,
}

/// Purchase option of one node as DescribeClusterNode reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeCapacity {
    /// The node was not described, so its purchase option is unknown.
    Unread,
    /// The node was described, and the API reports no purchase option.
    NotShown,
    /// The API reports this purchase option.
    Shown(Capacity),
}

/// `ClusterInstanceStatus` of the SageMaker API.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum InstanceStatus {
    /// The node is healthy and registered. trimtab deletes only nodes in this status.
    Running,
    /// The node is being provisioned or rebooted.
    Pending,
    /// Provisioning failed.
    Failure,
    /// The node is being terminated.
    ShuttingDown,
    /// The image of the node is being patched.
    SystemUpdating,
    /// Deep health checks are running on the node.
    DeepHealthCheck,
    /// A status that this version of trimtab does not know, as SageMaker reports it.
    Unrecognised(Arc<str>),
}

/// What one source (scheduler or metrics) reports about one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reading<T> {
    /// The source has no data on the node.
    Absent,
    /// The newest data is older than the allowed age.
    Stale {
        /// Time of the newest data.
        at: Time,
    },
    /// Some of the requested data is missing or ambiguous.
    Partial,
    /// The data is complete and recent enough to rely on.
    Fresh {
        /// Time of the data; for a metric, the timestamp of its newest datapoint.
        at: Time,
        /// The data.
        value: T,
    },
}

impl<T> Reading<T> {
    /// Returns the data if it is fresh.
    pub fn fresh(&self) -> Option<&T> {
        match self {
            Self::Fresh { value, .. } => Some(value),
            Self::Absent | Self::Stale { .. } | Self::Partial => None,
        }
    }
}

/// Whether the scheduler can run jobs on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// The node responds to the scheduler.
    Up,
    /// The node was set down, or does not respond.
    Down,
    /// The node is rebooting, or has not registered with the scheduler yet.
    Joining,
}

/// A use of a node. Every scheduler state other than plain idle counts as a claim.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Claim {
    /// This job runs on the node.
    Running(JobId),
    /// This job is ending on the node; its epilog counts as part of it.
    Completing(JobId),
    /// This job is suspended on the node.
    Suspended(JobId),
    /// This job is starting on the node; its prolog counts as part of it.
    Configuring(JobId),
    /// The scheduler plans to start a job on the node.
    Planned,
    /// A reservation includes the node.
    Reserved,
    /// A scheduler state that this version of trimtab does not know.
    Unrecognised(Arc<str>),
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running(job) => write!(f, "runs job {job}"),
            Self::Completing(job) => write!(f, "job {job} is ending on it"),
            Self::Suspended(job) => write!(f, "job {job} is suspended on it"),
            Self::Configuring(job) => write!(f, "job {job} is starting on it"),
            Self::Planned => f.write_str("a job is planned on it"),
            Self::Reserved => f.write_str("a reservation covers it"),
            Self::Unrecognised(state) => write!(f, "unknown scheduler state `{state}`"),
        }
    }
}

/// Metrics of one node, combined from all its series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// Highest utilization of any processor in the window.
    pub utilization: Share,
    /// Highest share of memory in use in the window.
    pub memory: Share,
    /// Timestamp of the first datapoint of a series without gaps that ends at `to`.
    pub from: Time,
    /// Timestamp of the newest datapoint.
    pub to: Time,
}

/// A job that waits in the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingJob {
    /// Job id.
    pub id: JobId,
    /// Partitions in which it may run.
    pub partitions: Vec<PartitionName>,
    /// Number of nodes that it requests. A job that requests more than one takes whole nodes.
    pub nodes: NodeCount,
    /// GPUs that it requests in total; zero for a job that takes whole nodes.
    pub gpus: MilliGpus,
    /// When the scheduler may start it.
    pub eligible: Eligible,
    /// Features and GRES that each of its nodes must have, by the names in
    /// [`SchedulerNode::offers`]. Empty if the job requires none, or if a plain list cannot
    /// express the requirement.
    #[serde(default)]
    pub requires: BTreeSet<Arc<str>>,
    /// Reason why it waits, as the scheduler reports it; empty if it reports none.
    #[serde(default)]
    pub reason: Arc<str>,
}

/// When the scheduler may start a waiting job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Eligible {
    /// As soon as nodes are free.
    Now,
    /// At this time or later.
    At(Time),
    /// A user or an administrator holds the job, so it needs no nodes.
    Held,
}

/// One node of a listing.
#[derive(Debug, Clone, PartialEq)]
pub struct ListedNode {
    /// Instance id.
    pub id: InstanceId,
    /// Instance group of the node.
    pub group: GroupName,
    /// Launch time.
    pub launched: Time,
    /// Status in SageMaker.
    pub status: InstanceStatus,
    /// First label of its private DNS name.
    pub name: Option<NodeName>,
    /// The scheduler node that matches this instance.
    pub joined: Joined,
    /// Address in the customer's network, if it was read.
    pub address: Option<IpAddr>,
    /// Image release.
    pub image: Option<Arc<str>>,
    /// Health, from 0 (worst) to 100 (best).
    pub health: u8,
    /// Whether a tag or a label protects it.
    pub protected: bool,
    /// Purchase option from DescribeClusterNode; listings do not include it.
    pub capacity: NodeCapacity,
}

impl ListedNode {
    /// Returns the name of the node in the scheduler. If no scheduler node matches, this is its
    /// DNS name; if two different ones match, it is `None`.
    pub fn scheduler_name(&self) -> Option<&NodeName> {
        match &self.joined {
            Joined::As(name) => Some(name),
            Joined::ByDnsName => self.name.as_ref(),
            Joined::Doubtful(_) => None,
        }
    }
}

/// All pages of one node listing.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeListing {
    /// Whether the last page was read.
    pub complete: bool,
    /// Listed nodes, in any order.
    pub nodes: Vec<ListedNode>,
}

/// The answer of DescribeCluster.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterDescription {
    /// State of the cluster itself.
    pub state: ClusterState,
    /// Instance groups of the cluster.
    pub groups: BTreeMap<GroupName, GroupDescription>,
}

/// One node as the scheduler reports it. Its drain reason is not parsed yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchedulerNode {
    /// Name of the node in the scheduler.
    pub name: NodeName,
    /// Whether it can run jobs.
    pub condition: Condition,
    /// Uses of the node; empty if it is idle.
    pub claims: Vec<Claim>,
    /// Drain reason; `None` if the node is not drained.
    pub drained: Option<Arc<str>>,
    /// First label of the host name that the scheduler has for the node.
    #[serde(default)]
    pub hostname: Option<Arc<str>>,
    /// IP address at which the scheduler reaches the node. `None` if it uses a host name.
    #[serde(default)]
    pub address: Option<IpAddr>,
    /// Features and GRES of the node; `None` if the scheduler does not report them.
    #[serde(default)]
    pub offers: Option<BTreeSet<Arc<str>>>,
}

/// Everything that the scheduler reports in one read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// Time of the scheduler's answer.
    pub at: Time,
    /// Nodes that the scheduler knows.
    pub nodes: Vec<SchedulerNode>,
    /// Jobs that wait in the queue.
    pub pending: Vec<PendingJob>,
    /// Facts about the scheduler and the cluster.
    #[serde(default)]
    pub facts: SchedulerFacts,
}

/// Facts from the settings of the scheduler and from the configuration files of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchedulerFacts {
    /// Hosts on which the scheduler runs.
    pub controllers: Vec<ControllerHost>,
    /// Roles of groups, from the configuration files of the cluster.
    pub roles: BTreeMap<GroupName, Role>,
    /// Instances that the configuration files of the cluster list.
    pub recorded: BTreeMap<InstanceId, RecordedInstance>,
    /// Whether the scheduler rejects a job that is larger than its partition is now. Such a job
    /// never waits in the queue, so trimtab cannot see that it needs nodes.
    pub refuses_large_jobs: bool,
}

/// A host on which the scheduler runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControllerHost {
    /// First label of its host name.
    pub hostname: Arc<str>,
    /// IP address, if it is known.
    pub address: Option<IpAddr>,
}

/// An instance in a configuration file of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedInstance {
    /// Name in that file.
    pub name: Option<NodeName>,
    /// Address in the customer's network.
    pub address: Option<IpAddr>,
}

/// Purchase option of the capacity of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Capacity {
    /// On demand: billing stops when the node is deleted.
    OnDemand,
    /// Spot: billed at the spot price until the node is deleted.
    Spot,
    /// Training plan: prepaid, so a deletion saves nothing.
    TrainingPlan,
    /// Reserved capacity: billed whether the node runs or not.
    Reserved,
}

impl Capacity {
    /// Whether a deletion saves money. If not, T* is infinite and no node is deleted to save
    /// money.
    pub const fn is_metered(self) -> bool {
        match self {
            Self::OnDemand | Self::Spot => true,
            Self::TrainingPlan | Self::Reserved => false,
        }
    }
}

/// Property of an instance that identifies its scheduler node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinKey {
    /// The name that the setting `node_name` produces for it.
    Rule,
    /// Its entry in the resource configuration.
    Record,
    /// The first label of its private DNS name.
    DnsName,
    /// An IP address of the instance.
    Address,
}

impl fmt::Display for JoinKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rule => "`node_name`",
            Self::Record => "the resource configuration",
            Self::DnsName => "its private DNS name",
            Self::Address => "its address",
        })
    }
}

/// The scheduler node that matches an instance, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Joined {
    /// No scheduler node matched, or none was searched. Its DNS name is used.
    #[default]
    ByDnsName,
    /// This node matches.
    As(NodeName),
    /// Two different nodes match.
    Doubtful(JoinDoubt),
}

/// Two properties of one instance that match two different scheduler nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinDoubt {
    /// One property, and the node that it matches.
    pub one: (JoinKey, NodeName),
    /// Another property, and the node that it matches.
    pub other: (JoinKey, NodeName),
}

impl fmt::Display for JoinDoubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (by, node) = &self.one;
        let (other_by, other) = &self.other;
        write!(f, "{by} matches {node}, but {other_by} matches {other}")
    }
}
