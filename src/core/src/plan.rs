//! What a plan says: marks, releases, a verdict for every node, and figures.
//! Data only; [`crate::planner`] makes it and [`crate::audit`] checks it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::action::ReleaseReason;
use crate::backoff::Backoff;
use crate::history::{Freeze, FreezeReason, Stop};
use crate::ids::{ActionId, ClusterName, GroupName, InstanceId, JobId, NodeName, PolicyHash};
use crate::policy::Capacity;
use crate::rule::learned::{Fit, TimerInForce};
use crate::rule::{BootCost, Counts};
use crate::snapshot::{
    Claim, ClusterStatus, GroupFreeze, Identity, InstanceStatus, ListingFault, NameDoubt, Role,
    WorkloadSource,
};
use crate::units::{NodeCount, Share, Span, Time, Usd, UsdPerHour};

/// What to do about one cluster now, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// The cluster.
    pub cluster: ClusterName,
    /// When it was made; it is void once the policy changes or it grows old.
    pub made_at: Time,
    /// The policy it was made under.
    pub policy: PolicyHash,
    /// Nodes to begin with, best first.
    pub marks: Vec<Mark>,
    /// Actions to release.
    pub releases: Vec<Release>,
    /// A freeze to be put in force: the plan itself wants too much.
    pub freeze: Option<FreezeReason>,
    /// A word on every listed node of every group.
    pub verdicts: Vec<NodeVerdict>,
    /// The numbers behind them.
    pub figures: BTreeMap<GroupName, GroupFigures>,
}

/// One node to begin with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// The node.
    pub node: InstanceId,
    /// Its group.
    pub group: GroupName,
    /// What must still hold at the delete.
    pub identity: Identity,
    /// Why.
    pub evidence: Evidence,
}

/// Why a node was marked, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Since when it was seen idle in every sample.
    pub idle_since: Time,
    /// How many nodes of its group were surplus all through τ.
    pub surplus: NodeCount,
    /// The idle timer in force.
    pub tau: Span,
    /// What its absence saves.
    pub price: UsdPerHour,
    /// What bringing one back costs.
    pub boot_cost: Usd,
    /// Marked together with every other node of its group, for one call that
    /// leaves so many of them, nobody knows which; `None` for a node that is
    /// asked for by its id, or goes with all of its group.
    #[serde(default)]
    pub remainder: Option<NodeCount>,
}

/// One action to release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// The action.
    pub action: ActionId,
    /// The node it is about.
    pub node: InstanceId,
    /// Why.
    pub why: ReleaseReason,
}

/// A word on one node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeVerdict {
    /// The node.
    pub node: InstanceId,
    /// The scheduler's name for it.
    pub name: Option<NodeName>,
    /// Its group.
    pub group: GroupName,
    /// The word.
    pub verdict: Verdict,
}

/// What is to become of a node, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It stays, for the first of these reasons that holds.
    Keep(KeepReason),
    /// It is marked by this plan.
    Mark(Evidence),
    /// It is on its way out already.
    Leaving {
        /// The state its action was in.
        state: Arc<str>,
    },
    /// It is released by this plan.
    Release(ReleaseReason),
}

/// Why a node stays: the first guard that said no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeepReason {
    /// Nothing may be done at all.
    Stopped(Stop),
    /// The cluster is frozen until an operator clears it.
    Frozen(Freeze),
    /// The API refused a request lately, and the cluster is left alone for a while.
    BackedOff(Backoff),
    /// The cluster could not be described.
    ClusterUnread,
    /// The listing cannot be relied on.
    ListingLost(ListingFault),
    /// The scheduler's answer cannot be relied on.
    WorkloadUnread(WorkloadSource),
    /// The cluster is not in service.
    ClusterNotReady(ClusterStatus),
    /// Software is being updated.
    SoftwareUpdate,
    /// Another autoscaler is switched on.
    RivalAutoscaler,
    /// A node of this classic cluster is being recovered.
    RecoveryUnderWay,
    /// The policy does not name its group.
    GroupNotNamed,
    /// It is a controller or login node.
    ControlRole(Role),
    /// Its group is frozen until the counts agree or the scaling is over.
    GroupFrozen(GroupFreeze),
    /// Its group is not in service or runs an operation.
    GroupNotCalm,
    /// Nobody said what it costs.
    PriceUnknown,
    /// Nobody said how long one takes to come back.
    BootUnknown,
    /// It is paid for whether it runs or not.
    PaidAnyway(Capacity),
    /// The API shows another kind of capacity than was declared.
    CapacityContradicts {
        /// As declared.
        declared: Capacity,
        /// As the API shows.
        seen: Capacity,
    },
    /// One like it may not be had again.
    ScarceCapacity,
    /// Nobody said what lives on its disks.
    NodeLocalDataUndeclared,
    /// The scheduler refuses jobs that are larger than what is left, and nobody said how
    /// large jobs are.
    LargestJobUndeclared,
    /// It is shutting down without us.
    ShuttingDown,
    /// It is of no use now, and not ours to judge.
    Impaired(Impairment),
    /// It is on its way in.
    Arriving(InstanceStatus),
    /// A evidence source is missing, so it may be in use.
    Unknown(Doubt),
    /// It is in use.
    Busy(Claim),
    /// Its metrics show work.
    Active(Usage),
    /// Somebody protects it.
    Protected,
    /// It was released lately.
    CoolingDown {
        /// Until when it is left alone.
        until: Time,
    },
    /// It is too young.
    TooYoung {
        /// When it is old enough.
        until: Time,
    },
    /// Work between two attempts is work.
    RecentlyBusy {
        /// When the grace is over.
        until: Time,
    },
    /// Samples do not cover the idle timer yet.
    WindowOpen {
        /// Since when they follow one another; `None` if there are none.
        covered_since: Option<Time>,
        /// The idle timer.
        tau: Span,
    },
    /// The group needs as many as it has: this bound was met first.
    Enough(Bound),
}

/// Why a node is of no use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Impairment {
    /// SageMaker calls it failed.
    Failed,
    /// The scheduler calls it down.
    Down,
    /// HyperPod is recovering it.
    InRecovery,
    /// Somebody drained it, for this reason.
    Drained(Arc<str>),
    /// Another trimtab cordoned it, or we did and forgot; the sweep looks after it.
    StrayCordon,
}

/// Which evidence source is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Doubt {
    /// The scheduler does not know the node any more.
    SchedulerLost,
    /// The scheduler's word is too old.
    SchedulerStale,
    /// The scheduler's word is incomplete or ambiguous.
    SchedulerPartial,
    /// It cannot be told which of the scheduler's nodes it is.
    Name(NameDoubt),
    /// There are no metrics for it.
    MetricsAbsent,
    /// Its newest datapoint is too old.
    MetricsStale,
    /// Some of its series or datapoints are missing.
    MetricsPartial,
    /// SageMaker's status is not one this build knows.
    StatusUnrecognised(Arc<str>),
    /// Its own description, which shows how it is paid for, was not read yet.
    DetailsUnread,
}

/// What metrics show of a node that is not idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Highest utilization in the window.
    pub utilization: Share,
    /// Highest memory in use in the window.
    pub memory: Share,
    /// Utilization below this would be idle.
    pub idle_below: Share,
    /// Memory in use below this would be idle.
    pub memory_below: Share,
}

/// What limits the number of nodes that go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Bound {
    /// So many were surplus all through τ, less headroom and jobs about to start.
    Surplus,
    /// The group's floor.
    Floor,
    /// The cluster's floor.
    ClusterFloor,
    /// Most nodes in one request.
    RequestBudget,
    /// Most nodes in an hour.
    HourBudget,
    /// Most nodes in a day.
    DayBudget,
    /// Largest share on its way out at the same time.
    LeavingBudget,
    /// So many idle nodes may be chosen.
    Candidates,
    /// The whole group is on its way to one call.
    WholeGroup,
}

/// A job that waits, and holds nodes of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingJob {
    /// Its id.
    pub job: JobId,
    /// Nodes it takes by itself.
    pub nodes: NodeCount,
    /// The scheduler's word on why it waits.
    pub reason: Arc<str>,
}

impl WaitingJob {
    /// The most that are listed of a group.
    pub const LISTED: usize = 8;
}

impl fmt::Display for WaitingJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { job, nodes, reason } = self;
        let plural = if *nodes == NodeCount(1) { "" } else { "s" };
        write!(f, "{job} ({nodes} node{plural}")?;
        if !reason.is_empty() {
            // Words of the scheduler: none of them moves a cursor.
            f.write_str(", ")?;
            reason.chars().filter(|c| !c.is_control()).try_for_each(|c| write!(f, "{c}"))?;
        }
        f.write_str(")")
    }
}

/// The numbers behind a group's verdicts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupFigures {
    /// What the newest sample counted; `None` before the first.
    pub counts: Option<Counts>,
    /// Since when samples follow one another.
    pub covered_since: Option<Time>,
    /// The idle timer in force; `None` without price or boot time.
    pub tau: Option<Span>,
    /// What a node costs and what bringing one back costs.
    pub cost: Option<BootCost>,
    /// Nodes surplus all through τ; `None` while samples do not cover it.
    pub surplus: Option<NodeCount>,
    /// Nodes for jobs that become eligible soon (V).
    pub upcoming: NodeCount,
    /// Jobs that wait for nodes of the group, those that take most first, as many as an
    /// operator reads.
    #[serde(default)]
    pub waiting: Vec<WaitingJob>,
    /// How many wait for nodes of the group.
    #[serde(default)]
    pub waiting_jobs: usize,
    /// Idle headroom that are kept.
    pub headroom: NodeCount,
    /// The floor in force, look-ahead and headroom included.
    pub floor: NodeCount,
    /// Nodes that could be chosen.
    pub candidates: NodeCount,
    /// Nodes that go by this plan. As many are marked, but for a call for the
    /// whole group, which takes the mark of every node.
    pub marks: NodeCount,
    /// What kept it from marking more.
    pub bound: Option<Bound>,
    /// Nodes that floor or demand want back.
    pub wanted_back: NodeCount,
    /// From when on one more node is surplus, if nothing changes any more; may be
    /// over.
    #[serde(default)]
    pub next_at: Option<Time>,
    /// Where the learned timer comes from; `None` without price or boot time.
    #[serde(default)]
    pub fit: Option<Fit>,
    /// Whether it is in force or held to its bound; `None` where the policy goes
    /// by another timer.
    #[serde(default)]
    pub standing: Option<TimerInForce>,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Surplus => "no more were surplus",
            Self::Floor => "the group's floor",
            Self::ClusterFloor => "the cluster's floor",
            Self::RequestBudget => "the budget of one request",
            Self::HourBudget => "the hour's budget",
            Self::DayBudget => "the day's budget",
            Self::LeavingBudget => "the share that may leave at the same time",
            Self::Candidates => "no other node may be chosen",
            Self::WholeGroup => "a call for the whole group is under way",
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
                        "cordon with its whole group, of which one call leaves {stay}, which come \
                         back"
                    )?,
                }
                write!(
                    f,
                    ": idle since {}, {} surplus for {}, saves {}, bringing one back costs {}",
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
                write!(f, "the cluster is frozen since {}: {}", freeze.at, freeze.why)
            }
            Self::BackedOff(backoff) => backoff.fmt(f),
            Self::ClusterUnread => f.write_str("the cluster could not be described"),
            Self::ListingLost(fault) => write!(f, "the node listing is not whole: {fault}"),
            Self::WorkloadUnread(source) => match source {
                WorkloadSource::Failed { why } => {
                    write!(f, "the scheduler could not be read: {why}")
                }
                WorkloadSource::Empty => f.write_str("the scheduler answered with no node at all"),
                WorkloadSource::NotConfigured | WorkloadSource::Complete => {
                    f.write_str("the scheduler was not asked")
                }
            },
            Self::ClusterNotReady(status) => write!(f, "the cluster is {status:?}"),
            Self::SoftwareUpdate => f.write_str("software is being updated"),
            Self::RivalAutoscaler => {
                f.write_str("another autoscaler is on (AutoScaling.Mode = Enable)")
            }
            Self::RecoveryUnderWay => {
                f.write_str("a node of this classic cluster is, or may be, being recovered")
            }
            Self::GroupNotNamed => f.write_str("the policy does not name its group"),
            Self::ControlRole(role) => write!(f, "it is a {role:?} node"),
            Self::GroupFrozen(GroupFreeze::CountsDisagree { listed, current }) => write!(
                f,
                "its group lists {listed} nodes but is said to have {current}, \
                 and our deletions do not explain it"
            ),
            Self::GroupFrozen(GroupFreeze::Scaling { current, target }) => {
                write!(f, "its group is being scaled from {current} to {target}")
            }
            Self::GroupNotCalm => f.write_str("its group is not in service"),
            Self::PriceUnknown => f.write_str("its price is not known (price_usd_per_hour)"),
            Self::BootUnknown => f.write_str("its boot time is not known (boot)"),
            Self::PaidAnyway(capacity) => {
                write!(f, "{capacity:?} capacity is paid for whether it runs or not")
            }
            Self::CapacityContradicts { declared, seen } => {
                write!(f, "declared {declared:?} but the API shows {seen:?}")
            }
            Self::ScarceCapacity => f.write_str(
                "one like it may not be had again (regain = \"scarce\", no accept_regain_risk_usd)",
            ),
            Self::NodeLocalDataUndeclared => {
                f.write_str("what lives on its disks is not declared (node_local_data)")
            }
            Self::LargestJobUndeclared => f.write_str(
                "Slurm refuses jobs that are larger than their partition is now \
                 (EnforcePartLimits), and how large they may be is not declared (max_job_nodes)",
            ),
            Self::ShuttingDown => {
                f.write_str("it is shutting down, or was deleted by us and shows again")
            }
            Self::Impaired(why) => match why {
                Impairment::Failed => f.write_str("it has failed; recovery or an operator decides"),
                Impairment::Down => f.write_str("the scheduler calls it down"),
                Impairment::InRecovery => f.write_str("HyperPod is recovering it"),
                Impairment::Drained(reason) => write!(f, "somebody drained it: {reason}"),
                Impairment::StrayCordon => {
                    f.write_str("it bears a trimtab cordon without an action")
                }
            },
            Self::Arriving(status) => match status {
                InstanceStatus::Running => f.write_str(
                    "it has not joined the scheduler: no node there has its name or address \
                     (`scheduler.node_name` can give it another)",
                ),
                InstanceStatus::Pending
                | InstanceStatus::Failure
                | InstanceStatus::ShuttingDown
                | InstanceStatus::SystemUpdating
                | InstanceStatus::DeepHealthCheck
                | InstanceStatus::Unrecognised(_) => write!(f, "it is on its way in ({status:?})"),
            },
            Self::Unknown(doubt) => match doubt {
                Doubt::SchedulerLost => f.write_str("the scheduler does not know it any more"),
                Doubt::SchedulerStale => f.write_str("the scheduler's word on it is too old"),
                Doubt::SchedulerPartial => {
                    f.write_str("the scheduler's word on it is incomplete or ambiguous")
                }
                Doubt::Name(doubt) => write!(
                    f,
                    "it cannot be told which node of the scheduler it is: {doubt} \
                     (`scheduler.node_name` and `scheduler.resource_config` say more)"
                ),
                Doubt::MetricsAbsent => f.write_str("it has no metrics"),
                Doubt::MetricsStale => f.write_str("its newest metric is too old"),
                Doubt::MetricsPartial => f.write_str("some of its metrics are missing"),
                Doubt::StatusUnrecognised(status) => {
                    write!(f, "its status `{status}` is not one this build knows")
                }
                Doubt::DetailsUnread => {
                    f.write_str("how it is paid for could not be read yet (DescribeClusterNode)")
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
                write!(f, "it was released; left alone until {until}")
            }
            Self::TooYoung { until } => write!(f, "it is too young until {until}"),
            Self::RecentlyBusy { until } => write!(f, "it was busy lately; kept until {until}"),
            Self::WindowOpen { covered_since: Some(since), tau } => {
                write!(f, "watched since {since} only, the idle timer is {tau}")
            }
            Self::WindowOpen { covered_since: None, tau } => {
                write!(f, "not watched yet, the idle timer is {tau}")
            }
            Self::Enough(Bound::Surplus) => f.write_str(
                "idle, but not surplus: used within the idle timer, or kept for waiting jobs \
                     or as headroom",
            ),
            Self::Enough(bound) => write!(f, "idle, but no further node may go: {bound}"),
        }
    }
}

impl fmt::Display for ListingFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { why } => f.write_str(why),
            Self::PagesMissing => f.write_str("a page is missing"),
            Self::Duplicate { id } => write!(f, "{id} came twice"),
            Self::GroupNotDescribed { group } => {
                write!(f, "it has nodes of group {group}, which the cluster does not describe")
            }
            Self::Empty { counted } => write!(f, "it is empty, but the cluster has {counted}"),
        }
    }
}
