//! The validated numbers the planner obeys: one cluster's policy.
//!
//! Everything here was parsed and cross-checked when the configuration was
//! read, so nothing downstream checks again. A value whose absence must stop a
//! deletion (a price, a boot time, what happens to node-local data) is an
//! `Option`, and `None` is a reason to keep.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{ClusterName, GroupName, InstanceId, PartitionName, PolicyHash};
use crate::join::NodeNaming;
use crate::units::{MilliGpus, NodeCount, Share, Span, Time, Usd, UsdPerHour};
pub use crate::windows::{Amount, KeepWindow};

/// The most ids one `BatchDeleteClusterNodes` request may name
/// (SageMaker's scale-down page: "99 per request").
pub const REQUEST_NODE_LIMIT: NodeCount = NodeCount(99);

/// What may be done to one cluster, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterPolicy {
    /// The cluster this policy is for.
    pub cluster: ClusterName,
    /// Whose word the count of idle nodes rests on.
    pub evidence_source: EvidenceSource,
    /// Groups that may be touched; a group not named here never is.
    pub groups: BTreeMap<GroupName, GroupPolicy>,
    /// A floor over the live nodes of all named groups together.
    pub min_nodes: NodeCount,
    /// When a change is too large to be believed.
    pub mass_change: MassChangeLimit,
    /// How long things may take before they count as failed or stale.
    pub timing: Timing,
    /// How instances are called in the scheduler, where their names and addresses do not
    /// say.
    pub node_name: Option<NodeNaming>,
    /// Digest of this policy; a plan made under another one is void.
    pub hash: PolicyHash,
}

/// Who is asked whether a node is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EvidenceSource {
    /// A scheduler that can also cordon.
    Scheduler,
    /// Nothing but metrics: two looks by the datapoints' own stamps, no cordon.
    /// Jobs lost in this mode are counted and published, not denied.
    MetricsOnly,
}

/// A change is a mass change when it concerns more than `nodes` nodes *or*
/// more than `share` of the listed workers, and at least
/// [`MassChangeLimit::SMALLEST`] of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MassChangeLimit {
    /// Most nodes that may change at once.
    pub nodes: NodeCount,
    /// Largest share of the workers that may change at once.
    pub share: Share,
}

impl MassChangeLimit {
    /// Fewer nodes than this are never a mass change: in a group of four, one
    /// job's end is half the group (the Cluster Autoscaler's
    /// `ok-total-unready-count` is 3 for the same reason).
    pub const SMALLEST: NodeCount = NodeCount(4);

    /// Whether `changed` of `of` workers is too much at once.
    pub fn is_exceeded(self, changed: NodeCount, of: NodeCount) -> bool {
        changed >= Self::SMALLEST
            && (changed > self.nodes || changed > self.share.of_rounded_down(of))
    }
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// The time between two scheduled ticks.
    pub tick: Span,
    /// Samples further apart than this many ticks leave a gap, and a gap ends
    /// the window (S3).
    pub max_missed_ticks: u32,
    /// From the moment our cordon was seen until a look may count; not shorter
    /// than the scheduler takes to act on a drain.
    pub settle: Span,
    /// How long a cordon may take to show before the node is released.
    pub cordon_timeout: Span,
    /// How long a settled node may wait for a clean look before it is released.
    pub settling_timeout: Span,
    /// How old a look may be when the delete is sent (`t_guard`, S13).
    pub max_look_age: Span,
    /// How long an unanswered node must be Running in every complete listing
    /// before it may be released (S17 says 15 minutes; never less).
    pub confirm_running: Span,
    /// An accepted deletion that takes longer than this is reported (F23).
    pub deletion_overdue: Span,
    /// A node that was released is not marked again for this long.
    pub cooldown: Span,
    /// How old a scheduler or metric reading may be and still be fresh.
    pub fresh_for: Span,
    /// A wall clock that disagrees with the monotonic one by more than this
    /// between two ticks voids idle history and open plans (S20). Shorter than
    /// `settle`, which a smaller step must not eat up.
    pub clock_tolerance: Span,
}

impl Timing {
    /// The longest step between two samples that leaves no gap.
    pub fn max_gap(&self) -> Span {
        self.tick.times(i64::from(self.max_missed_ticks))
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            tick: Span::mins(2),
            max_missed_ticks: 3,
            settle: Span::secs(30),
            cordon_timeout: Span::mins(10),
            settling_timeout: Span::mins(30),
            max_look_age: Span::secs(30),
            confirm_running: Span::mins(15),
            deletion_overdue: Span::hours(1),
            cooldown: Span::mins(30),
            fresh_for: Span::mins(5),
            clock_tolerance: Span::secs(10),
        }
    }
}

/// How a group's capacity is paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Capacity {
    /// Metered; metering stops when the node goes.
    OnDemand,
    /// Metered at the spot price.
    Spot,
    /// A training plan: prepaid, so a deletion saves nothing.
    TrainingPlan,
    /// Reserved with the account team: metered whether it runs or not.
    Reserved,
}

impl Capacity {
    /// Whether a deleted node stops costing money. Where it does not, the
    /// break-even time is infinite and nothing is deleted for money.
    pub const fn is_metered(self) -> bool {
        match self {
            Self::OnDemand | Self::Spot => true,
            Self::TrainingPlan | Self::Reserved => false,
        }
    }
}

/// How sure it is that a deleted node can be had again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Regain {
    /// Commonly available.
    Plentiful,
    /// Not to be deleted for money without an accepted risk.
    Scarce {
        /// What the operator says a failed regain costs, added to the boot
        /// cost; `None` means never delete.
        accepted_risk: Option<Usd>,
    },
}

/// What lives on a node's own disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeLocalData {
    /// Nothing that anybody would miss.
    Disposable,
    /// Something that a gate program saves before the delete.
    Gate,
}

/// Which of two otherwise equal nodes goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Prefer {
    /// The one launched last.
    Newest,
    /// The one launched first.
    Oldest,
}

/// How the idle timer τ of a group is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimerChoice {
    /// This long, whatever it costs.
    Fixed(Span),
    /// T*, the time after which waiting has cost as much as bringing back.
    BreakEven,
    /// The one that would have cost least on the group's own idle gaps, held to
    /// a bound by T*.
    Learned,
}

/// When a node's own metrics veto its deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UtilizationRule {
    /// Utilization below this is idle.
    pub idle_below: Share,
    /// Memory in use below this is idle.
    pub memory_below: Share,
    /// The datapoints must cover at least this long.
    pub window: Span,
    /// The time between two datapoints.
    pub period: Span,
}

/// When a group may be shrunk by count instead of by ids (S8b): only while all of
/// its nodes are cordoned and were looked at clean, so that any victim will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupCalls {
    /// Never: by ids only.
    Never,
    /// Only to zero: nothing is left over.
    ToZero,
    /// To any count: the survivors are released once the call is confirmed.
    WholeGroup,
}

/// Most nodes that may be deleted in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budgets {
    /// In one request, at most [`REQUEST_NODE_LIMIT`].
    pub per_request: NodeCount,
    /// In any 60 minutes.
    pub per_hour: NodeCount,
    /// In any 24 hours.
    pub per_day: NodeCount,
    /// Of the declared size, on their way out at the same time; rounded down.
    pub leaving: Share,
}

/// What may be done to one instance group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupPolicy {
    /// What 100 % means: the declared size, not the current count, which
    /// would ratchet down with every deletion.
    pub size: NodeCount,
    /// Fewest live nodes at any time.
    pub min_nodes: Amount,
    /// Idle headroom that are always kept on top.
    pub min_idle_nodes: NodeCount,
    /// Times with a higher floor.
    pub keep_windows: Vec<KeepWindow>,
    /// How far ahead the floor looks: a floor that comes into force within
    /// this time already holds now.
    pub lookahead: Span,
    /// How many may go in a time.
    pub budgets: Budgets,
    /// How the capacity is paid for.
    pub capacity: Capacity,
    /// How sure it is to come back.
    pub regain: Regain,
    /// Price of a node; `None` means plan and explain, but keep.
    pub price: Option<UsdPerHour>,
    /// From the request for a node to a node that takes jobs; `None` means keep.
    pub boot: Option<Span>,
    /// How long a node is still billed after the delete call.
    pub billed_after_delete: Span,
    /// Value of one node-hour of waiting jobs in node-hours of price (λ).
    pub delay_value: Factor,
    /// Expected cost of a failed boot (φ), in dollars a boot.
    pub boot_failure_cost: Usd,
    /// How τ is found.
    pub timer: TimerChoice,
    /// How far ahead the queue is looked at (W); at most T* is useful.
    pub queue_lookahead: Span,
    /// A node younger than this is kept.
    pub min_age: Span,
    /// A node that was busy less than this ago is kept: work between two
    /// attempts is work (S4).
    pub post_job_grace: Span,
    /// Which of two otherwise equal nodes goes first.
    pub prefer: Prefer,
    /// What lives on a node's disks; `None` means keep.
    pub node_local_data: Option<NodeLocalData>,
    /// GPUs of one node, for packing the queue; zero for a CPU group.
    pub gpus_per_node: MilliGpus,
    /// The scheduler's partitions whose pending jobs this group serves.
    pub partitions: Vec<PartitionName>,
    /// Nodes of the largest job that the group is to run; a floor. A scheduler that
    /// refuses jobs larger than a partition is now never shows that one waits.
    pub max_job_nodes: Option<NodeCount>,
    /// A veto by metrics.
    pub utilization: Option<UtilizationRule>,
    /// When the whole group may be shrunk by one call.
    pub group_calls: GroupCalls,
    /// Nodes that are never touched.
    pub protected: Vec<InstanceId>,
}

/// A factor in tenths: λ from 0.0 to 100.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Factor(pub u16);

impl Factor {
    /// A factor of one.
    pub const ONE: Self = Self(10);

    /// From a factor; `None` unless finite and 0 to 100.
    pub fn try_from_factor(factor: f64) -> Option<Self> {
        (0.0..=100.0).contains(&factor).then(|| Self((factor * 10.0).round() as u16))
    }

    /// As a number, for reports only.
    pub fn as_factor(self) -> f64 {
        f64::from(self.0) / 10.0
    }

    /// A span this many times, rounded down to the millisecond.
    pub fn of(self, span: Span) -> Span {
        Span(span.0.saturating_mul(i64::from(self.0)) / 10)
    }
}

impl GroupPolicy {
    /// The floor in force at one instant, without headroom.
    pub fn floor_at(&self, at: Time) -> NodeCount {
        let windows = self.keep_windows.iter().filter(|w| w.is_open(at));
        windows.map(|w| w.min_nodes.of(self.size)).fold(self.min_nodes.of(self.size), Ord::max)
    }
}
