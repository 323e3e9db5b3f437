//! One observation of one cluster: the reads of one tick, matched with each other and checked.
//!
//! *Absent*, *stale*, *partial* and *zero* have four different meanings here. Only a fresh reading
//! can lead to a deletion. [`crate::assemble::assemble`] creates a snapshot, and nothing changes it
//! afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::cordon::{CordonStatus, SeenCordon};
use crate::ids::{ClusterName, GroupName, InstanceId, NodeName};
use crate::reads::{
    Activity, Claim, ClusterState, Condition, GroupDescription, InstanceStatus, JoinDoubt,
    NodeCapacity, PendingJob, Reading,
};
use crate::units::{NodeCount, Time};

/// Everything that one tick read of one cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Name of the cluster.
    pub cluster: ClusterName,
    /// Time before the first read of this tick. It is also the begin of every look that uses this
    /// snapshot.
    pub begun_at: Time,
    /// Time after the last read of this tick.
    pub taken_at: Time,
    /// State of the cluster itself; `None` if DescribeCluster failed.
    pub state: Option<ClusterState>,
    /// Whether the node listing can be relied on.
    pub listing: Listing,
    /// Whether the scheduler's answer can be relied on.
    pub workload: WorkloadSource,
    /// Instance groups of the cluster, including groups that the policy does not name.
    pub groups: BTreeMap<GroupName, GroupView>,
    /// All cordons with a trimtab reason that the scheduler shows.
    pub cordons: Vec<SeenCordon>,
    /// Whether the scheduler rejects a job that is larger than its partition is now.
    pub refuses_large_jobs: bool,
}

/// Whether the node listing is complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Listing {
    /// Every page was read, and nothing in it is contradictory.
    Complete,
    /// The listing is unusable. No node may be deleted because of it.
    Lost(ListingFault),
}

/// Why a listing is unusable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ListingFault {
    /// The read failed.
    Failed {
        /// Error of the API or of the connection.
        why: Arc<str>,
    },
    /// The last page was not read.
    PagesMissing,
    /// One instance id is listed twice.
    Duplicate {
        /// The id.
        id: InstanceId,
    },
    /// The listing contains a group that DescribeCluster does not report.
    GroupNotDescribed {
        /// Name of the group.
        group: GroupName,
    },
    /// The listing contains no nodes, but DescribeCluster counts some.
    Empty {
        /// Number of nodes that DescribeCluster counts.
        counted: NodeCount,
    },
}

/// Whether the answer of the scheduler is complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkloadSource {
    /// The policy names no scheduler.
    NotConfigured,
    /// The scheduler was read completely and has nodes.
    Complete,
    /// The read failed.
    Failed {
        /// Error of the scheduler.
        why: Arc<str>,
    },
    /// The scheduler answered without any nodes, although the cluster has some. A scheduler that
    /// has just restarted does so, with exit status 0.
    Empty,
}

/// One instance group.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupView {
    /// The group as DescribeCluster reports it.
    pub description: GroupDescription,
    /// Reason why no node may be deleted from it now, if there is one.
    pub freeze: Option<GroupFreeze>,
    /// Nodes of the group, sorted by id.
    pub nodes: Vec<NodeView>,
    /// Jobs that wait in the queue; `None` if the queue was not read.
    pub pending: Option<Vec<PendingJob>>,
    /// Features and GRES that any node of the group has. `None` if they are unknown, for example
    /// because the group is empty now.
    pub offers: Option<BTreeSet<Arc<str>>>,
}

/// Why no node may be deleted from a group now. The freeze ends when its reason does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupFreeze {
    /// The listing and DescribeCluster disagree, and trimtab's own deletions do not explain the
    /// difference.
    CountsDisagree {
        /// Number of listed nodes.
        listed: NodeCount,
        /// `CurrentCount`.
        current: NodeCount,
    },
    /// The group is being scaled, but not by trimtab.
    Scaling {
        /// `CurrentCount`.
        current: NodeCount,
        /// `TargetCount`.
        target: NodeCount,
    },
}

/// One node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeView {
    /// Instance id.
    pub id: InstanceId,
    /// Launch time.
    pub launched: Time,
    /// Status in SageMaker.
    pub status: InstanceStatus,
    /// Name of the node in the scheduler. It is the DNS name if no scheduler node matches, and
    /// `None` if two different ones do.
    pub name: Option<NodeName>,
    /// Reason why no single scheduler node matches the instance, if that is so.
    pub join_doubt: Option<NameDoubt>,
    /// Image release, compared as text.
    pub image: Option<Arc<str>>,
    /// Health, from 0 (worst) to 100 (best).
    pub health: u8,
    /// Whether a tag or a label protects it.
    pub protected: bool,
    /// Purchase option from DescribeClusterNode.
    pub capacity: NodeCapacity,
    /// What the scheduler reports.
    pub scheduler: Reading<SchedulerStatus>,
    /// What the metrics report.
    pub activity: Reading<Activity>,
    /// Whether DescribeClusterNode was called for it in this tick and reported Running.
    pub described_running: bool,
}

impl NodeView {
    /// Returns the identity of the node. It must be unchanged when the node is deleted (S9).
    pub fn identity(&self) -> Identity {
        Identity { launched: self.launched, name: self.name.clone() }
    }
}

/// Why no single scheduler node matches an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NameDoubt {
    /// Two different scheduler nodes match.
    Either(JoinDoubt),
    /// Another instance matches the same scheduler node.
    Shared {
        /// Name of that scheduler node.
        name: NodeName,
    },
}

impl fmt::Display for NameDoubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Either(doubt) => doubt.fmt(f),
            Self::Shared { name } => write!(f, "another instance also matches {name}"),
        }
    }
}

/// What identifies a node in addition to its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Launch time.
    pub launched: Time,
    /// Name of the node in the scheduler.
    pub name: Option<NodeName>,
}

/// What the scheduler reports about one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchedulerStatus {
    /// Whether it can run jobs.
    pub condition: Condition,
    /// Uses of the node; empty if it is idle.
    pub claims: Vec<Claim>,
    /// Whether and by whom it is cordoned.
    pub cordon: CordonStatus,
}
