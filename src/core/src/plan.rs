//! The plan of one cluster: marks, releases, a verdict for each node, and the numbers behind them.
//! Data only: [`crate::planner`] creates it and [`crate::audit`] checks it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::action::{Evidence, ReleaseReason};
use crate::backoff::Backoff;
use crate::history::{Freeze, FreezeReason, Stop};
use crate::ids::{ActionId, ClusterName, GroupName, InstanceId, JobId, NodeName, PolicyHash};
use crate::reads::{Capacity, Claim, ClusterStatus, InstanceStatus, Role};
use crate::rule::learned::{Fit, TimerInForce};
use crate::rule::{BootCost, Counts};
use crate::snapshot::{GroupFreeze, Identity, ListingFault, NameDoubt, WorkloadSource};
use crate::text::plain;
use crate::units::{NodeCount, Share, Span, Time};

/// What to do about one cluster now, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Name of the cluster.
    pub cluster: ClusterName,
    /// Time of planning. The plan is void if the policy changes or if the plan is too old.
    pub made_at: Time,
    /// Digest of the policy under which the plan was made.
    pub policy: PolicyHash,
    /// Nodes to delete, in order of [`crate::ranking::Rank`].
    pub marks: Vec<Mark>,
    /// Open actions to release.
    pub releases: Vec<Release>,
    /// Freeze of the cluster, if the plan exceeds the mass-change limit. Then it has no marks.
    pub freeze: Option<FreezeReason>,
    /// Verdict for each listed node of each group.
    pub verdicts: Vec<NodeVerdict>,
    /// Numbers behind the verdicts, by group that the policy names.
    pub figures: BTreeMap<GroupName, GroupFigures>,
}

/// The decision to delete one node. It opens an action.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// Instance id.
    pub node: InstanceId,
    /// Instance group of the node.
    pub group: GroupName,
    /// Identity of the node. It must be unchanged when the delete request is sent.
    pub identity: Identity,
    /// Reason for the mark.
    pub evidence: Evidence,
}

/// The decision to release one open action.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// Id of the action.
    pub action: ActionId,
    /// Instance id of its node.
    pub node: InstanceId,
    /// Reason for the release.
    pub why: ReleaseReason,
}

/// Verdict for one node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeVerdict {
    /// Instance id.
    pub node: InstanceId,
    /// Name of the node in the scheduler, if known.
    pub name: Option<NodeName>,
    /// Instance group of the node.
    pub group: GroupName,
    /// The verdict.
    pub verdict: Verdict,
}

/// What happens to a node, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It stays. The reason is the first check that rejected it.
    Keep(KeepReason),
    /// This plan marks it.
    Mark(Evidence),
    /// It has an open action.
    Leaving {
        /// Name of the state of the action.
        state: Arc<str>,
    },
    /// This plan releases it.
    Release(ReleaseReason),
}

/// Why a node stays: the first check that rejected it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeepReason {
    /// No deletion is allowed at all: trimtab is paused or must not act. See [`Stop`].
    Stopped(Stop),
    /// The cluster is frozen until an operator clears the freeze.
    Frozen(Freeze),
    /// SageMaker refused a request recently, and the cluster is in back-off.
    BackedOff(Backoff),
    /// DescribeCluster failed.
    ClusterUnread,
    /// The node listing is missing, incomplete or contradictory.
    ListingLost(ListingFault),
    /// The scheduler could not be read, or returned no nodes.
    WorkloadUnread(WorkloadSource),
    /// The status of the cluster is not InService.
    ClusterNotReady(ClusterStatus),
    /// A software update of the cluster is running.
    SoftwareUpdate,
    /// Another autoscaler is enabled in the cluster.
    RivalAutoscaler,
    /// A node of this classic cluster is, or may be, in HyperPod recovery.
    RecoveryUnderWay,
    /// The configuration does not name the node's group.
    GroupNotNamed,
    /// It is a controller or login node.
    ControlRole(Role),
    /// Its group is frozen until its counts agree and it is not being scaled.
    GroupFrozen(GroupFreeze),
    /// The status of its group is not InService, or an operation is running in the group.
    GroupNotCalm,
    /// `price_usd_per_hour` is not set.
    PriceUnknown,
    /// `boot` is not set.
    BootUnknown,
    /// Its capacity is prepaid, so a deletion saves nothing.
    PaidAnyway(Capacity),
    /// SageMaker reports another kind of capacity than the configuration.
    CapacityContradicts {
        /// Kind of capacity in the configuration.
        declared: Capacity,
        /// Kind of capacity that SageMaker reports.
        seen: Capacity,
    },
    /// `regain` is scarce and `accept_regain_risk_usd` is not set.
    ScarceCapacity,
    /// `node_local_data` is not set.
    NodeLocalDataUndeclared,
    /// The scheduler rejects jobs that are larger than the remaining nodes, and `max_job_nodes` is
    /// not set.
    LargestJobUndeclared,
    /// It is shutting down, or trimtab deleted it and it is listed again.
    ShuttingDown,
    /// It is impaired. trimtab does not touch it.
    Impaired(Impairment),
    /// It starts, is updated, is health-checked, or has not joined the scheduler yet.
    Arriving(InstanceStatus),
    /// Its evidence is missing, so it may be in use.
    Unknown(Doubt),
    /// The scheduler shows a claim on it.
    Busy(Claim),
    /// Its metrics show work.
    Active(Usage),
    /// It is protected by a tag or by the configuration.
    Protected,
    /// It was released recently and is in its cool-down.
    CoolingDown {
        /// End of the cool-down.
        until: Time,
    },
    /// It is younger than `min_age`.
    TooYoung {
        /// Time at which it reaches `min_age`.
        until: Time,
    },
    /// It was busy less than `post_job_grace` ago.
    RecentlyBusy {
        /// End of the grace.
        until: Time,
    },
    /// Samples do not cover the idle timer yet.
    WindowOpen {
        /// Start of the window; `None` without samples.
        covered_since: Option<Time>,
        /// Idle timer τ in force.
        tau: Span,
    },
    /// It is idle and could be chosen, but this bound does not allow more marks.
    Enough(Bound),
}

/// Why a node is impaired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Impairment {
    /// Its status in SageMaker is Failure.
    Failed,
    /// The scheduler reports it as down.
    Down,
    /// HyperPod is recovering it.
    InRecovery,
    /// An operator drained it, for this reason.
    Drained(Arc<str>),
    /// It is cordoned by trimtab, by this or another ledger, but no open action matches. The sweep
    /// handles it.
    StrayCordon,
}

/// Which evidence is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Doubt {
    /// The scheduler listed the node before and no longer does.
    SchedulerLost,
    /// The scheduler's data on the node is stale.
    SchedulerStale,
    /// The scheduler's data on the node is incomplete or ambiguous.
    SchedulerPartial,
    /// The node has no unique match among the scheduler's nodes.
    Name(NameDoubt),
    /// It has no metrics.
    MetricsAbsent,
    /// Its newest datapoint is too old.
    MetricsStale,
    /// Some of its series or datapoints are missing.
    MetricsPartial,
    /// This version of trimtab does not recognise its status.
    StatusUnrecognised(Arc<str>),
    /// Its capacity type was not read yet (DescribeClusterNode).
    DetailsUnread,
}

/// Metrics of a node that is not idle, with the thresholds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Highest utilization in the metrics window.
    pub utilization: Share,
    /// Highest memory use in the metrics window.
    pub memory: Share,
    /// Utilization below which a node is idle.
    pub idle_below: Share,
    /// Memory use below which a node is idle.
    pub memory_below: Share,
}

/// What limits the number of marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Bound {
    /// Nodes that were surplus throughout τ, without headroom and without nodes for jobs that
    /// start soon.
    Surplus,
    /// Floor of the group.
    Floor,
    /// Floor of the cluster (`min_nodes` of the cluster).
    ClusterFloor,
    /// `max_delete_per_request`, at most [`crate::policy::REQUEST_NODE_LIMIT`].
    RequestBudget,
    /// `max_delete_per_hour`.
    HourBudget,
    /// `max_delete_per_day`.
    DayBudget,
    /// `max_leaving_percent` of the declared size.
    LeavingBudget,
    /// Idle nodes that pass every check.
    Candidates,
    /// A whole-group request is open, so nothing else is marked.
    WholeGroup,
}

/// A waiting job that would take nodes of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingJob {
    /// Job id.
    pub job: JobId,
    /// Nodes that the job takes alone.
    pub nodes: NodeCount,
    /// The scheduler's reason for the wait.
    pub reason: Arc<str>,
}

impl WaitingJob {
    /// Most jobs that are listed for one group.
    pub const LISTED: usize = 8;
}

impl fmt::Display for WaitingJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { job, nodes, reason } = self;
        let plural = if *nodes == NodeCount(1) { "" } else { "s" };
        write!(f, "{job} ({nodes} node{plural}")?;
        if !reason.is_empty() {
            // The text comes from the scheduler. Control characters could move the cursor of a
            // terminal.
            write!(f, ", {}", plain(reason))?;
        }
        f.write_str(")")
    }
}

/// Numbers behind the verdicts of one group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupFigures {
    /// Counts of the newest sample; `None` without a sample.
    pub counts: Option<Counts>,
    /// Start of the window: since then samples follow one another without a gap.
    pub covered_since: Option<Time>,
    /// Idle timer τ in force; `None` without price or boot time.
    pub tau: Option<Span>,
    /// Price, boot cost and break-even; `None` without price or boot time.
    pub cost: Option<BootCost>,
    /// Nodes that were surplus throughout τ; `None` while samples do not cover τ.
    pub surplus: Option<NodeCount>,
    /// Nodes for jobs that become eligible soon (V).
    pub upcoming: NodeCount,
    /// Waiting jobs that would take nodes of the group, largest first; at most
    /// [`WaitingJob::LISTED`].
    #[serde(default)]
    pub waiting: Vec<WaitingJob>,
    /// Number of waiting jobs that would take nodes of the group.
    #[serde(default)]
    pub waiting_jobs: usize,
    /// Headroom in force, declared or learned.
    pub headroom: NodeCount,
    /// Floor in force, with look-ahead and `min_idle_nodes`.
    pub floor: NodeCount,
    /// Idle nodes that pass every check.
    pub candidates: NodeCount,
    /// Nodes that this plan deletes. As many nodes are marked, except for a whole-group request,
    /// for which all nodes of the group are marked.
    pub marks: NodeCount,
    /// The bound that prevented more marks.
    pub bound: Option<Bound>,
    /// Nodes that are to be released because the floor or waiting jobs need them.
    pub wanted_back: NodeCount,
    /// Time at which one more node is surplus if the counts stay as they are; may be in the past.
    #[serde(default)]
    pub next_at: Option<Time>,
    /// Newest fit of the learned timer; `None` without price or boot time.
    #[serde(default)]
    pub fit: Option<Fit>,
    /// Whether the learned timer or T* is in force; `None` if the policy chooses another timer.
    #[serde(default)]
    pub standing: Option<TimerInForce>,
    /// The API refused a call for the whole group, so nodes go by their ids.
    #[serde(default)]
    pub group_call_refused: bool,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Surplus => "the number of surplus nodes",
            Self::Floor => "the group's floor",
            Self::ClusterFloor => "the cluster's floor",
            Self::RequestBudget => "max_delete_per_request",
            Self::HourBudget => "max_delete_per_hour",
            Self::DayBudget => "max_delete_per_day",
            Self::LeavingBudget => "max_leaving_percent",
            Self::Candidates => "the number of candidates",
            Self::WholeGroup => "an open whole-group request",
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep(why) => write!(f, "keep: {why}"),
            Self::Mark(e) => {
                match e.remainder {
                    None => f.write_str("delete")?,
                    Some(stay) => write!(
                        f,
                        "cordon for a whole-group request that keeps {stay} of its nodes"
                    )?,
                }
                write!(
                    f,
                    ": idle since {}, {} surplus for {}, saves {}, boot cost {}",
                    e.idle_since, e.surplus, e.tau, e.price, e.boot_cost
                )
            }
            Self::Leaving { state } => write!(f, "leaving: {state}"),
            Self::Release(why) => write!(f, "release: {why}"),
        }
    }
}

impl fmt::Display for KeepReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped(stop) => stop.fmt(f),
            Self::Frozen(freeze) => {
                write!(f, "the cluster has been frozen since {}: {}", freeze.at, freeze.why)
            }
            Self::BackedOff(backoff) => backoff.fmt(f),
            Self::ClusterUnread => f.write_str("the cluster could not be read (DescribeCluster)"),
            Self::ListingLost(fault) => write!(f, "the node listing is not reliable: {fault}"),
            Self::WorkloadUnread(source) => match source {
                WorkloadSource::Failed { why } => {
                    write!(f, "the scheduler could not be read: {why}")
                }
                WorkloadSource::Empty => f.write_str("the scheduler returned no nodes"),
                WorkloadSource::NotConfigured | WorkloadSource::Complete => {
                    f.write_str("the scheduler was not read")
                }
            },
            Self::ClusterNotReady(status) => write!(f, "the cluster is {status}"),
            Self::SoftwareUpdate => f.write_str("a software update is running"),
            Self::RivalAutoscaler => {
                f.write_str("another autoscaler is enabled (AutoScaling.Mode = Enable)")
            }
            Self::RecoveryUnderWay => {
                f.write_str("a node of this classic cluster is, or may be, in HyperPod recovery")
            }
            Self::GroupNotNamed => f.write_str("the configuration does not name its group"),
            Self::ControlRole(role) => write!(f, "it is a {role} node"),
            Self::GroupFrozen(GroupFreeze::CountsDisagree { listed, current }) => write!(
                f,
                "its group lists {listed} nodes, but CurrentCount is {current}, and trimtab's \
                 deletions do not explain the difference"
            ),
            Self::GroupFrozen(GroupFreeze::Scaling { current, target }) => {
                write!(f, "its group is scaling from {current} to {target} nodes")
            }
            Self::GroupNotCalm => f.write_str("its group is not InService or runs an operation"),
            Self::PriceUnknown => f.write_str("its price is unknown: set price_usd_per_hour"),
            Self::BootUnknown => f.write_str("its boot time is unknown: set boot"),
            Self::PaidAnyway(capacity) => {
                write!(f, "{capacity} capacity is prepaid: a deletion saves nothing")
            }
            Self::CapacityContradicts { declared, seen } => {
                write!(f, "capacity is declared as {declared}, but SageMaker reports {seen}")
            }
            Self::ScarceCapacity => {
                f.write_str("regain is \"scarce\", and accept_regain_risk_usd is not set")
            }
            Self::NodeLocalDataUndeclared => f.write_str("node_local_data is not set"),
            Self::LargestJobUndeclared => f.write_str(
                "Slurm rejects jobs that are larger than their partition is now \
                 (EnforcePartLimits), and max_job_nodes is not set",
            ),
            Self::ShuttingDown => {
                f.write_str("it is shutting down, or trimtab deleted it and it is listed again")
            }
            Self::Impaired(why) => match why {
                Impairment::Failed => f.write_str("SageMaker reports it as failed"),
                Impairment::Down => f.write_str("the scheduler reports it as down"),
                Impairment::InRecovery => f.write_str("HyperPod is recovering it"),
                Impairment::Drained(reason) => write!(f, "drained by an operator: {reason}"),
                Impairment::StrayCordon => {
                    f.write_str("cordoned by trimtab, but no open action matches")
                }
            },
            Self::Arriving(status) => match status {
                InstanceStatus::Running => f.write_str(
                    "it has not joined the scheduler: no node there has its name or address \
                     (if the names differ, set `scheduler.node_name`)",
                ),
                InstanceStatus::Pending
                | InstanceStatus::Failure
                | InstanceStatus::ShuttingDown
                | InstanceStatus::SystemUpdating
                | InstanceStatus::DeepHealthCheck
                | InstanceStatus::Unrecognised(_) => write!(f, "it is not ready yet ({status})"),
            },
            Self::Unknown(doubt) => match doubt {
                Doubt::SchedulerLost => f.write_str("the scheduler no longer lists it"),
                Doubt::SchedulerStale => f.write_str("the scheduler's data on it is too old"),
                Doubt::SchedulerPartial => {
                    f.write_str("the scheduler's data on it is incomplete or ambiguous")
                }
                Doubt::Name(doubt) => write!(
                    f,
                    "no unique match among the scheduler's nodes: {doubt} (see \
                     `scheduler.node_name` and `scheduler.resource_config`)"
                ),
                Doubt::MetricsAbsent => f.write_str("it has no metrics"),
                Doubt::MetricsStale => f.write_str("its newest datapoint is too old"),
                Doubt::MetricsPartial => f.write_str("some of its metrics are missing"),
                Doubt::StatusUnrecognised(status) => {
                    write!(f, "its status `{status}` is unknown to this version of trimtab")
                }
                Doubt::DetailsUnread => {
                    f.write_str("its capacity type was not read yet (DescribeClusterNode)")
                }
            },
            Self::Busy(claim) => write!(f, "in use: {claim}"),
            Self::Active(usage) => write!(
                f,
                "its metrics show work: utilization {} (idle below {}), memory {} (idle below {})",
                usage.utilization, usage.idle_below, usage.memory, usage.memory_below
            ),
            Self::Protected => f.write_str("it is protected"),
            Self::CoolingDown { until } => {
                write!(f, "it was released; in its cool-down until {until}")
            }
            Self::TooYoung { until } => write!(f, "it is younger than min_age; kept until {until}"),
            Self::RecentlyBusy { until } => write!(f, "busy recently; in its grace until {until}"),
            Self::WindowOpen { covered_since: Some(since), tau } => {
                write!(f, "watched since {since} only; the idle timer is {tau}")
            }
            Self::WindowOpen { covered_since: None, tau } => {
                write!(f, "not watched yet; the idle timer is {tau}")
            }
            Self::Enough(Bound::Surplus) => f.write_str(
                "idle, but not surplus: needed within the idle timer, or kept for waiting jobs \
                     or as headroom",
            ),
            Self::Enough(bound) => write!(f, "idle, limited by {bound}"),
        }
    }
}

impl fmt::Display for ListingFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { why } => f.write_str(why),
            Self::PagesMissing => f.write_str("a page is missing"),
            Self::Duplicate { id } => write!(f, "{id} is listed twice"),
            Self::GroupNotDescribed { group } => {
                write!(f, "it has nodes of group {group}, which DescribeCluster does not return")
            }
            Self::Empty { counted } => {
                write!(f, "it is empty; the cluster reports {counted} nodes")
            }
        }
    }
}
