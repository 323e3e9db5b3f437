//! One observation of one cluster: what was read, as data.
//!
//! *Absent*, *stale*, *partial* and *zero* are four different things here, and
//! only a fresh reading can ever lead to a deletion. A snapshot is made by
//! [`crate::assemble::assemble`] and never changed afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::{
    ActionId, ClusterName, GroupName, InstanceId, JobId, LedgerId, NodeName, PartitionName,
};
use crate::join::{JoinDoubt, Joined};
use crate::policy::Capacity;
use crate::units::{MilliGpus, NodeCount, Share, Time};

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

/// Who keeps new jobs off a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CordonStatus {
    /// Nobody.
    Clear,
    /// This ledger, for one of these actions.
    Ours {
        /// The actions named in the reason.
        actions: ActionSpan,
    },
    /// Another trimtab.
    Foreign {
        /// Its ledger.
        ledger: LedgerId,
    },
    /// HyperPod's own recovery (a reason that begins with `Action:`).
    Recovery,
    /// Somebody else, with this reason.
    Operator {
        /// The reason given.
        reason: Arc<str>,
    },
}

/// The text put before every cordon's reason.
const CORDON_PREFIX: &str = "trimtab:";
/// HyperPod's recovery drains nodes with reasons that begin like this.
const RECOVERY_PREFIX: &str = "Action:";

/// How Slurm begins what it adds to a reason when a node is rebooted.
const REBOOT_NOTE: &str = " : reboot ";

/// The reason our cordon carries: `trimtab:<ledger>:<action>`, or with several nodes
/// cordoned in one call `trimtab:<ledger>:<first>-<last>`.
pub fn cordon_reason(ledger: &LedgerId, actions: impl Into<ActionSpan>) -> String {
    format!("{CORDON_PREFIX}{ledger}:{}", actions.into())
}

/// The actions that one call cordons for, from the lowest id to the highest. Ids are
/// never used again and an action is of one node, so an action of a node that lies in
/// the span of its cordon is the one it was cordoned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionSpan {
    first: ActionId,
    last: ActionId,
}

impl ActionSpan {
    /// The narrowest span of these; `None` of none.
    pub fn of(actions: impl IntoIterator<Item = ActionId>) -> Option<Self> {
        let mut actions = actions.into_iter();
        let one = Self::from(actions.next()?);
        Some(actions.fold(one, |span, action| Self {
            first: span.first.min(action),
            last: span.last.max(action),
        }))
    }

    /// Its lowest id.
    pub const fn first(self) -> ActionId {
        self.first
    }

    /// Whether an action lies in it.
    pub fn contains(self, action: ActionId) -> bool {
        self.first <= action && action <= self.last
    }
}

impl From<ActionId> for ActionSpan {
    fn from(action: ActionId) -> Self {
        Self { first: action, last: action }
    }
}

impl fmt::Display for ActionSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last } = self;
        if first == last { write!(f, "{first}") } else { write!(f, "{first}-{last}") }
    }
}

impl FromStr for ActionSpan {
    type Err = ();

    /// Reads just what is written; signs, blanks and spans that run backwards are none.
    fn from_str(text: &str) -> Result<Self, ()> {
        let id = |text: &str| text.parse().map(ActionId).map_err(drop);
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (id(first)?, id(last)?);
        let span = Self { first, last };
        if first <= last && span.to_string() == text { Ok(span) } else { Err(()) }
    }
}

impl CordonStatus {
    /// Whether it is ours, for this action.
    pub fn is_for(&self, action: ActionId) -> bool {
        matches!(self, Self::Ours { actions } if actions.contains(action))
    }

    /// Whose cordon a drain with this reason is. A reason that begins like ours
    /// but does not parse is somebody else's: hands off.
    pub fn of_reason(reason: &str, ours: &LedgerId) -> Self {
        if reason.starts_with(RECOVERY_PREFIX) {
            return Self::Recovery;
        }
        // Slurm itself writes ` : reboot issued` behind a reason when somebody reboots.
        let own = reason.split_once(REBOOT_NOTE).map_or(reason, |(own, _)| own);
        let parsed = own.strip_prefix(CORDON_PREFIX).and_then(|rest| {
            let (ledger, action) = rest.split_once(':')?;
            Some((ledger.parse::<LedgerId>().ok()?, action.parse::<ActionSpan>().ok()?))
        });
        match parsed {
            Some((ledger, actions)) if ledger == *ours => Self::Ours { actions },
            Some((ledger, _)) => Self::Foreign { ledger },
            None => Self::Operator { reason: reason.into() },
        }
    }
}

/// A trimtab cordon that the scheduler shows, ours or another's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenCordon {
    /// The scheduler's name for the node.
    pub name: NodeName,
    /// The instance that bears this name now, if one is listed.
    pub instance: Option<InstanceId>,
    /// Whose it is.
    pub cordon: CordonStatus,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_well_formed_reason_is_our_cordon() {
        let ours: LedgerId = "0f3a-77".parse().expect("valid");
        let theirs: LedgerId = "aaaa-11".parse().expect("valid");
        let reason = cordon_reason(&ours, ActionId(7));
        assert_eq!(reason, "trimtab:0f3a-77:7");
        assert_eq!(
            CordonStatus::of_reason(&reason, &ours),
            CordonStatus::Ours { actions: ActionId(7).into() }
        );
        let span = ActionSpan::of([9, 7, 12].map(ActionId)).expect("one at least");
        let reason = cordon_reason(&ours, span);
        assert_eq!(reason, "trimtab:0f3a-77:7-12");
        assert_eq!(CordonStatus::of_reason(&reason, &ours), CordonStatus::Ours { actions: span });
        assert!([7, 8, 12].iter().all(|id| span.contains(ActionId(*id))));
        assert!([6, 13].iter().all(|id| !span.contains(ActionId(*id))));
        assert_eq!(
            CordonStatus::of_reason(&reason, &theirs),
            CordonStatus::Foreign { ledger: ours.clone() }
        );
        let rebooted = format!("{reason} : reboot issued");
        assert_eq!(CordonStatus::of_reason(&rebooted, &ours), CordonStatus::Ours { actions: span });
        assert_eq!(CordonStatus::of_reason("Action:Replace", &ours), CordonStatus::Recovery);
        for odd in [
            "trimtab:0f3a-77:",
            "trimtab:0f3a-77:7 and more",
            "trimtab:0f3a-77:+7",
            "trimtab:0f3a-77:7-7",
            "trimtab:0f3a-77:9-7",
            "trimtab:0f3a-77:7-9-11",
            "trimtab",
            "bad fan",
            "",
        ] {
            let seen_node = CordonStatus::of_reason(odd, &ours);
            assert!(matches!(seen_node, CordonStatus::Operator { .. }), "{odd}: {seen_node:?}");
        }
    }
}
