//! One observation of one cluster: the reads of one tick, joined and judged, as data.
//!
//! *Absent*, *stale*, *partial* and *zero* are four different things here, and
//! only a fresh reading can ever lead to a deletion. A snapshot is made by
//! [`crate::assemble::assemble`] and never changed afterwards.

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

/// Everything one tick read of one cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// The cluster.
    pub cluster: ClusterName,
    /// Before the first read of this tick began. A look made from this
    /// snapshot began then.
    pub begun_at: Time,
    /// After the last read of this tick ended.
    pub taken_at: Time,
    /// The cluster as a whole; `None` when it could not be described.
    pub state: Option<ClusterState>,
    /// Whether the node listing can be relied on.
    pub listing: Listing,
    /// Whether the scheduler's answer can be relied on.
    pub workload: WorkloadSource,
    /// The cluster's instance groups, named in the policy or not.
    pub groups: BTreeMap<GroupName, GroupView>,
    /// Every cordon with a trimtab reason that the scheduler shows.
    pub cordons: Vec<SeenCordon>,
    /// The scheduler refuses jobs that are larger than a partition is now.
    pub refuses_large_jobs: bool,
}

/// Whether the node listing is whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Listing {
    /// Every page was read, no id came twice.
    Complete,
    /// It cannot be relied on, and nothing may be deleted from it.
    Lost(ListingFault),
}

/// Why a listing cannot be relied on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ListingFault {
    /// The read failed.
    Failed {
        /// What the API or the transport said.
        why: Arc<str>,
    },
    /// A page could not be had.
    PagesMissing,
    /// One id came twice.
    Duplicate {
        /// That id.
        id: InstanceId,
    },
    /// It names a group that DescribeCluster does not.
    GroupNotDescribed {
        /// That group.
        group: GroupName,
    },
    /// No node at all, though the cluster is said to have some.
    Empty {
        /// What DescribeCluster counts.
        counted: NodeCount,
    },
}

/// Whether the scheduler's answer is whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkloadSource {
    /// The policy names no scheduler.
    NotConfigured,
    /// Read whole, and it knows nodes.
    Complete,
    /// It could not be read.
    Failed {
        /// What it said.
        why: Arc<str>,
    },
    /// It answered, and knew no node at all: a scheduler that has just
    /// restarted answers so with exit status 0.
    Empty,
}

/// One instance group.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupView {
    /// What DescribeCluster says of it.
    pub description: GroupDescription,
    /// Why nothing may be deleted from it now, if so.
    pub freeze: Option<GroupFreeze>,
    /// Its nodes, in the order of their ids.
    pub nodes: Vec<NodeView>,
    /// Jobs that wait in its partitions; `None` when the queue was not read.
    pub pending: Option<Vec<PendingJob>>,
    /// The features and GRES that any of its nodes has; `None` where none is known, as in
    /// a group that is empty now.
    pub offers: Option<BTreeSet<Arc<str>>>,
}

/// Why nothing may be deleted from a group now. It thaws by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupFreeze {
    /// The listing and DescribeCluster disagree, and our own deletions do not
    /// explain it node by node.
    CountsDisagree {
        /// Nodes listed.
        listed: NodeCount,
        /// `CurrentCount`.
        current: NodeCount,
    },
    /// Somebody is scaling it.
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
    /// Its instance id.
    pub id: InstanceId,
    /// When it was launched.
    pub launched: Time,
    /// SageMaker's status.
    pub status: InstanceStatus,
    /// The scheduler's name for it, if one could be joined without doubt; its DNS name
    /// where the scheduler knows no node of it.
    pub name: Option<NodeName>,
    /// Why it cannot be told which of the scheduler's nodes it is.
    pub join_doubt: Option<NameDoubt>,
    /// Its image release, compared as text.
    pub image: Option<Arc<str>>,
    /// Health, 0 worst to 100 best.
    pub health: u8,
    /// It must not be touched.
    pub protected: bool,
    /// How it is paid for, by its own description.
    pub capacity: NodeCapacity,
    /// What the scheduler says of it.
    pub scheduler: Reading<SchedulerStatus>,
    /// What its metrics say of it.
    pub activity: Reading<Activity>,
    /// DescribeClusterNode, asked on purpose this tick, said Running.
    pub described_running: bool,
}

impl NodeView {
    /// What must still hold at the delete for this to be the same node (S9).
    pub fn identity(&self) -> Identity {
        Identity { launched: self.launched, name: self.name.clone() }
    }
}

/// Why it cannot be told which of the scheduler's nodes an instance is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NameDoubt {
    /// It could be either of two.
    Either(JoinDoubt),
    /// Another instance is the same node.
    Shared {
        /// The node.
        name: NodeName,
    },
}

impl fmt::Display for NameDoubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Either(doubt) => doubt.fmt(f),
            Self::Shared { name } => write!(f, "another instance is {name}, too"),
        }
    }
}

/// What identifies a node besides its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// When it was launched.
    pub launched: Time,
    /// The scheduler's name for it.
    pub name: Option<NodeName>,
}

/// What the scheduler says of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchedulerStatus {
    /// Whether it can run jobs.
    pub condition: Condition,
    /// Everything that lays claim to it; empty means purely idle.
    pub claims: Vec<Claim>,
    /// Who keeps new jobs off it.
    pub cordon: CordonStatus,
}
