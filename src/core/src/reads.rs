//! What the ports read, as data: the cluster, its listing, the scheduler and metrics.
//!
//! Nothing here is judged yet. [`crate::join`] matches instances with scheduler nodes, and
//! [`crate::assemble`] turns the reads of one tick into a [`crate::snapshot`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::{GroupName, InstanceId, JobId, NodeName, PartitionName};
use crate::units::{MilliGpus, NodeCount, Share, Time};

/// The cluster as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterState {
    /// SageMaker's `ClusterStatus`.
    pub status: ClusterStatus,
    /// How the cluster provisions.
    pub provisioning: Provisioning,
    /// Another autoscaler is switched on (`AutoScaling.Mode = Enable`).
    pub rival_autoscaler: bool,
    /// A software update is under way in some group.
    pub software_update: bool,
    /// When the cluster was created, where the API says so. Clusters from before
    /// 2024-06-20 delete by id only once they were patched.
    pub created: Option<Time>,
}

/// SageMaker's `ClusterStatus`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClusterStatus {
    /// Ready for changes.
    InService,
    /// Being created.
    Creating,
    /// An operation is running.
    Updating,
    /// Software is being updated.
    SystemUpdating,
    /// An operation is being undone.
    RollingBack,
    /// Being deleted.
    Deleting,
    /// Failed.
    Failed,
    /// A status this build does not know.
    Unrecognised(Arc<str>),
}

/// `NodeProvisioningMode`: absent is classic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Provisioning {
    /// One cluster-level operation at a time.
    Classic,
    /// Groups scale by themselves.
    Continuous,
}

/// What DescribeCluster says of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupDescription {
    /// What its nodes are for.
    pub role: Role,
    /// `CurrentCount`.
    pub current: NodeCount,
    /// `TargetCount`.
    pub target: NodeCount,
    /// The group is in service and runs no operation of its own.
    pub calm: bool,
    /// How its capacity is paid for, where the API shows it.
    pub capacity: Option<Capacity>,
}

/// What a group's nodes are for. Where two sources differ, the later one here counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// Runs jobs.
    Worker,
    /// People log in there; never touched whatever the policy says.
    Login,
    /// Runs the scheduler; never touched whatever the policy says.
    Controller,
}

/// How one node is paid for, as DescribeClusterNode shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeCapacity {
    /// It was not read, so it may be anything.
    Unread,
    /// It was read, and the API shows none.
    NotShown,
    /// As shown.
    Shown(Capacity),
}

/// SageMaker's `ClusterInstanceStatus`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum InstanceStatus {
    /// Healthy and registered; the only status to choose from.
    Running,
    /// Being provisioned or rebooted.
    Pending,
    /// Provisioning failed.
    Failure,
    /// Terminating.
    ShuttingDown,
    /// Its image is being patched.
    SystemUpdating,
    /// Deep health checks run.
    DeepHealthCheck,
    /// A status this build does not know.
    Unrecognised(Arc<str>),
}

/// One source's word on one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reading<T> {
    /// The source does not know the node.
    Absent,
    /// The newest word is older than it may be.
    Stale {
        /// How old.
        at: Time,
    },
    /// Some of what was asked for is missing.
    Partial,
    /// A word that counts.
    Fresh {
        /// When the source said it; for a metric the datapoint's own stamp.
        at: Time,
        /// The word.
        value: T,
    },
}

impl<T> Reading<T> {
    /// The word, if it counts.
    pub fn fresh(&self) -> Option<&T> {
        match self {
            Self::Fresh { value, .. } => Some(value),
            Self::Absent | Self::Stale { .. } | Self::Partial => None,
        }
    }
}

/// Whether the scheduler can use a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// It answers.
    Up,
    /// It was set down or does not answer.
    Down,
    /// It is being rebooted or has not joined yet.
    Joining,
}

/// Something that lays claim to a node. Whatever is not purely idle is one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Claim {
    /// A job runs on it.
    Running(JobId),
    /// A job on it is ending, epilog included.
    Completing(JobId),
    /// A job on it is suspended.
    Suspended(JobId),
    /// A job is being started on it, prolog included.
    Configuring(JobId),
    /// The scheduler has planned a job on it.
    Planned,
    /// A reservation covers it.
    Reserved,
    /// A state this build does not know.
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
            Self::Unrecognised(state) => write!(f, "the scheduler calls it `{state}`"),
        }
    }
}

/// What a node's metrics say, all series together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// Highest utilization of any processor in the window.
    pub utilization: Share,
    /// Highest share of memory in use in the window.
    pub memory: Share,
    /// Stamp of the first datapoint of an unbroken run up to `to`.
    pub from: Time,
    /// Stamp of the newest datapoint.
    pub to: Time,
}

/// A job that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingJob {
    /// Its id.
    pub id: JobId,
    /// Partitions it may run in.
    pub partitions: Vec<PartitionName>,
    /// Nodes it asks for; more than one means whole nodes.
    pub nodes: NodeCount,
    /// GPUs it asks for in all; zero for a job that takes whole nodes.
    pub gpus: MilliGpus,
    /// From when on it could run.
    pub eligible: Eligible,
    /// Every feature and GRES that each of its nodes must have, by the names that
    /// [`SchedulerNode::offers`] uses; empty where it needs none, or where what it
    /// needs is more than a list can say.
    #[serde(default)]
    pub requires: BTreeSet<Arc<str>>,
    /// The scheduler's word on why it waits; empty where it has none.
    #[serde(default)]
    pub reason: Arc<str>,
}

/// From when on a waiting job could run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Eligible {
    /// It waits for nodes only.
    Now,
    /// Not before this time.
    At(Time),
    /// Held by somebody: it holds nothing.
    Held,
}

/// What the ports read of a node in a listing.
#[derive(Debug, Clone, PartialEq)]
pub struct ListedNode {
    /// Its instance id.
    pub id: InstanceId,
    /// Its group.
    pub group: GroupName,
    /// When it was launched.
    pub launched: Time,
    /// SageMaker's status.
    pub status: InstanceStatus,
    /// The first label of its private DNS name.
    pub name: Option<NodeName>,
    /// Which of the scheduler's nodes it is.
    pub joined: Joined,
    /// Its address in the customer's network, where it was read.
    pub address: Option<IpAddr>,
    /// Its image release.
    pub image: Option<Arc<str>>,
    /// Health, 0 worst to 100 best.
    pub health: u8,
    /// Marked as protected by a tag or label.
    pub protected: bool,
    /// How it is paid for, by its own description; listings do not show it.
    pub capacity: NodeCapacity,
}

impl ListedNode {
    /// The scheduler's name for it; its DNS name where the scheduler knows no node of it,
    /// and none where it could be either of two.
    pub fn scheduler_name(&self) -> Option<&NodeName> {
        match &self.joined {
            Joined::As(name) => Some(name),
            Joined::ByDnsName => self.name.as_ref(),
            Joined::Doubtful(_) => None,
        }
    }
}

/// A listing as read, all pages together.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeListing {
    /// Whether the last page was reached.
    pub complete: bool,
    /// What was listed, in any order.
    pub nodes: Vec<ListedNode>,
}

/// DescribeCluster as read.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterDescription {
    /// The cluster as a whole.
    pub state: ClusterState,
    /// Its groups.
    pub groups: BTreeMap<GroupName, GroupDescription>,
}

/// One node as the scheduler tells it, its cordon still a bare reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchedulerNode {
    /// The scheduler's name.
    pub name: NodeName,
    /// Whether it can run jobs.
    pub condition: Condition,
    /// Everything that lays claim to it.
    pub claims: Vec<Claim>,
    /// The reason it is drained for; `None` when it is not drained.
    pub drained: Option<Arc<str>>,
    /// The host name the scheduler has for it, its first label.
    #[serde(default)]
    pub hostname: Option<Arc<str>>,
    /// The address at which the scheduler reaches it, where that is an address.
    #[serde(default)]
    pub address: Option<IpAddr>,
    /// The features and GRES it has; `None` where the scheduler tells none of any node.
    #[serde(default)]
    pub offers: Option<BTreeSet<Arc<str>>>,
}

/// The scheduler's whole answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// When the scheduler said it.
    pub at: Time,
    /// Its nodes.
    pub nodes: Vec<SchedulerNode>,
    /// Its queue.
    pub pending: Vec<PendingJob>,
    /// What it says of itself.
    #[serde(default)]
    pub facts: SchedulerFacts,
}

/// What a scheduler says of itself, and files beside it of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchedulerFacts {
    /// The hosts that the scheduler itself runs on.
    pub controllers: Vec<ControllerHost>,
    /// Roles of groups that the cluster's own files give them.
    pub roles: BTreeMap<GroupName, Role>,
    /// Instances as the cluster's own files know them.
    pub recorded: BTreeMap<InstanceId, RecordedInstance>,
    /// It refuses jobs that are larger than a partition is now, so that they never
    /// wait and cannot be seen.
    pub refuses_large_jobs: bool,
}

/// A host that the scheduler itself runs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControllerHost {
    /// Its host name, first label.
    pub hostname: Arc<str>,
    /// Its address, where one is told.
    pub address: Option<IpAddr>,
}

/// An instance as a file of the cluster knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedInstance {
    /// The name it has there.
    pub name: Option<NodeName>,
    /// Its address in the customer's network.
    pub address: Option<IpAddr>,
}

/// How the capacity of a group is paid for.
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

/// What an instance is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinKey {
    /// The name that `node_name` gives it.
    Rule,
    /// What the resource configuration records of it.
    Record,
    /// The first label of its private DNS name.
    DnsName,
    /// Its address.
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

/// What is known of an instance's name in the scheduler.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Joined {
    /// Nobody has looked: its DNS name is all there is.
    #[default]
    ByDnsName,
    /// It is this node.
    As(NodeName),
    /// It could be either of two.
    Doubtful(JoinDoubt),
}

/// Two marks of one instance that point to two nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinDoubt {
    /// A mark, and the node it points to.
    pub one: (JoinKey, NodeName),
    /// Another, and its node.
    pub other: (JoinKey, NodeName),
}

impl fmt::Display for JoinDoubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (by, node) = &self.one;
        let (other_by, other) = &self.other;
        write!(f, "it is {node} by {by} and {other} by {other_by}")
    }
}
