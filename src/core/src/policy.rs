//! Policy of one cluster: the validated values that the planner obeys.
//!
//! The configuration was parsed and checked as a whole, so later code does not check these values
//! again. A value whose absence must stop a deletion (a price, a boot time, the treatment of
//! node-local data) is an `Option`; `None` is a reason to keep a node.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{ClusterName, GroupName, InstanceId, PartitionName, PolicyHash};
use crate::join::NodeNaming;
use crate::reads::Capacity;
use crate::units::{MilliGpus, NodeCount, Share, Span, Time, Usd, UsdPerHour};
pub use crate::windows::{Amount, KeepWindow};

/// Most node ids in one `BatchDeleteClusterNodes` request (SageMaker's documentation: "99 per
/// request").
pub const REQUEST_NODE_LIMIT: NodeCount = NodeCount(99);

/// What trimtab may do in one cluster, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterPolicy {
    /// Name of the cluster.
    pub cluster: ClusterName,
    /// What decides whether a node is idle.
    pub evidence_source: EvidenceSource,
    /// Groups that trimtab may touch. It never touches any other group.
    pub groups: BTreeMap<GroupName, GroupPolicy>,
    /// Floor of the live nodes of all named groups together.
    pub min_nodes: NodeCount,
    /// Limit above which a change is a mass change.
    pub mass_change: MassChangeLimit,
    /// Time limits of ticks, cordons, looks and confirmations.
    pub timing: Timing,
    /// How to find a node in the scheduler if its names and addresses do not match there.
    pub node_name: Option<NodeNaming>,
    /// Digest of this policy. A plan with another digest is void.
    pub hash: PolicyHash,
}

/// Evidence source: what decides whether a node is idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EvidenceSource {
    /// A scheduler, which can also cordon.
    Scheduler,
    /// Metrics only: two looks, compared by the times of their datapoints, and no cordon. A job
    /// can be lost in this mode; trimtab counts and reports such jobs.
    MetricsOnly,
}

/// Limit of a mass change. A change exceeds it if it concerns more than `nodes` nodes *or* more
/// than `share` of the workers, and at least [`MassChangeLimit::SMALLEST`] nodes (docs/safety.md,
/// S7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MassChangeLimit {
    /// Most nodes that may change at once.
    pub nodes: NodeCount,
    /// Largest share of the workers that may change at once; rounded down.
    pub share: Share,
}

impl MassChangeLimit {
    /// A change of fewer nodes is never a mass change: in a group of four nodes, the end of one
    /// job can be half of the group. (Cluster Autoscaler's `ok-total-unready-count` is 3 for the
    /// same reason.)
    pub const SMALLEST: NodeCount = NodeCount(4);

    /// Whether a change of `changed` nodes out of `of` workers exceeds the limit.
    pub fn is_exceeded(self, changed: NodeCount, of: NodeCount) -> bool {
        changed >= Self::SMALLEST
            && (changed > self.nodes || changed > self.share.of_rounded_down(of))
    }
}

/// Time limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// Time between two scheduled ticks.
    pub tick: Span,
    /// Most ticks between two samples of one window. A longer gap ends the window (docs/safety.md,
    /// S3).
    pub max_missed_ticks: u32,
    /// Time from the visible cordon until a look counts. At least as long as the scheduler takes
    /// to apply a drain.
    pub settle: Span,
    /// Longest wait for a cordon to become visible. Then the node is released.
    pub cordon_timeout: Span,
    /// Longest wait of a settled node for a clean look. Then the node is released.
    pub settling_timeout: Span,
    /// Largest age of a look when the delete request is sent (docs/safety.md, S13).
    pub max_look_age: Span,
    /// Time for which a node of an unanswered request must be Running in every complete listing
    /// before it may be released; at least 15 minutes (docs/safety.md, S17).
    pub confirm_running: Span,
    /// Time after which an accepted deletion is reported as overdue.
    pub deletion_overdue: Span,
    /// Cool-down: time for which a released node is not marked again.
    pub cooldown: Span,
    /// Largest age of a scheduler or metric reading that counts as fresh.
    pub fresh_for: Span,
    /// Largest difference between the wall clock and the monotonic clock over one tick. A larger
    /// one voids idle history and open plans. Shorter than `settle`, because a smaller step must
    /// not use up the settle time (docs/safety.md, S20).
    pub clock_tolerance: Span,
}

impl Timing {
    /// Returns the longest time between two samples of one window: `tick` times
    /// `max_missed_ticks`.
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

/// Whether a deleted node can be obtained again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Regain {
    /// Capacity is usually available.
    Plentiful,
    /// Capacity may be unavailable. A node is deleted only if a risk is accepted.
    Scarce {
        /// Cost of a failed regain in dollars, added to the boot cost (`accept_regain_risk_usd`).
        /// `None`: never delete.
        accepted_risk: Option<Usd>,
    },
}

/// What is on the disks of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeLocalData {
    /// Nothing that must be kept.
    Disposable,
    /// Data that a gate program saves before the deletion.
    Gate,
}

/// Which of two otherwise equal nodes is deleted first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Prefer {
    /// The node that was launched last.
    Newest,
    /// The node that was launched first.
    Oldest,
}

/// How the idle timer τ of a group is chosen (`idle_timer`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimerChoice {
    /// A fixed duration.
    Fixed(Span),
    /// The break-even timer T* (docs/cost-rule.md, section 5).
    BreakEven,
    /// The learned timer, bounded by T* (docs/cost-rule.md, sections 8 and 9).
    Learned,
}

/// Metrics that veto the deletion of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UtilizationRule {
    /// Utilization below which a node is idle.
    pub idle_below: Share,
    /// Memory use below which a node is idle.
    pub memory_below: Share,
    /// Time that the datapoints must cover.
    pub window: Span,
    /// Time between two datapoints.
    pub period: Span,
}

/// When trimtab may shrink a group by count instead of by ids. It requires that all nodes of the
/// group are cordoned and passed a look, because HyperPod selects which nodes go (docs/safety.md,
/// S8b).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupCalls {
    /// Never: delete by ids only.
    Never,
    /// Only to zero, so that no node remains.
    ToZero,
    /// To any count. The remaining nodes are released once the request is confirmed.
    WholeGroup,
}

/// Most deletions within a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budgets {
    /// In one request; at most [`REQUEST_NODE_LIMIT`] by ids.
    pub per_request: NodeCount,
    /// In any 60 minutes.
    pub per_hour: NodeCount,
    /// In any 24 hours.
    pub per_day: NodeCount,
    /// Share of the declared size that may leave at the same time; rounded down, but at least one
    /// node unless the share is 0.
    pub leaving: Share,
}

/// What trimtab may do in one instance group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupPolicy {
    /// Declared number of nodes that 100 % means. It is not the current count, which falls with
    /// every deletion.
    pub size: NodeCount,
    /// Fewest live nodes at any time.
    pub min_nodes: Amount,
    /// Headroom: idle nodes that are kept in addition.
    pub min_idle_nodes: NodeCount,
    /// Times of the week with a higher floor.
    pub keep_windows: Vec<KeepWindow>,
    /// How far the floor looks ahead: a floor that is due within this time holds already.
    pub lookahead: Span,
    /// Most deletions within a time.
    pub budgets: Budgets,
    /// How the capacity is paid for.
    pub capacity: Capacity,
    /// Whether a deleted node can be obtained again.
    pub regain: Regain,
    /// Price of one node-hour; `None`: plan and explain, but keep.
    pub price: Option<UsdPerHour>,
    /// Boot time: from the request for a node until it takes jobs. `None`: keep.
    pub boot: Option<Span>,
    /// Time for which a node is still billed after the delete call.
    pub billed_after_delete: Span,
    /// Value of one node-hour of a waiting job, in node-hours of price (λ).
    pub delay_value: Factor,
    /// Expected cost of a failed boot, in dollars per boot (a part of φ).
    pub boot_failure_cost: Usd,
    /// How τ is chosen.
    pub timer: TimerChoice,
    /// How far the queue is looked ahead (W); at most T* is used.
    pub queue_lookahead: Span,
    /// Age below which a node is kept.
    pub min_age: Span,
    /// Time after a job in which its node is kept, because the next job may follow
    /// (docs/safety.md, S4).
    pub post_job_grace: Span,
    /// Which of two otherwise equal nodes is deleted first.
    pub prefer: Prefer,
    /// What is on the disks of a node; `None`: keep.
    pub node_local_data: Option<NodeLocalData>,
    /// GPUs per node, for packing the queue; zero for CPU nodes.
    pub gpus_per_node: MilliGpus,
    /// Partitions of the scheduler whose waiting jobs this group serves; empty for all.
    pub partitions: Vec<PartitionName>,
    /// Nodes of the largest job that the group runs; part of the floor. Required where the
    /// scheduler rejects jobs larger than the current partition, because such a job never waits in
    /// the queue.
    pub max_job_nodes: Option<NodeCount>,
    /// Metrics that veto a deletion.
    pub utilization: Option<UtilizationRule>,
    /// When trimtab may shrink the group by count.
    pub group_calls: GroupCalls,
    /// Nodes that are never deleted.
    pub protected: Vec<InstanceId>,
}

/// A factor in tenths, 0.0 to 100.0 (λ).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Factor(pub u16);

impl Factor {
    /// Factor of 1.0.
    pub const ONE: Self = Self(10);

    /// Converts a factor, rounded to the nearest tenth. Returns `None` unless it is finite and 0
    /// to 100.
    pub fn try_from_factor(factor: f64) -> Option<Self> {
        (0.0..=100.0).contains(&factor).then(|| Self((factor * 10.0).round() as u16))
    }

    /// Returns the factor as a number, for reports only.
    pub fn as_factor(self) -> f64 {
        f64::from(self.0) / 10.0
    }

    /// Returns the span times the factor, rounded down to the millisecond.
    pub fn of(self, span: Span) -> Span {
        Span(span.0.saturating_mul(i64::from(self.0)) / 10)
    }
}

impl GroupPolicy {
    /// Returns the floor in force at one instant, without look-ahead, `max_job_nodes` and
    /// headroom.
    pub fn floor_at(&self, at: Time) -> NodeCount {
        let windows = self.keep_windows.iter().filter(|w| w.is_open(at));
        windows.map(|w| w.min_nodes.of(self.size)).fold(self.min_nodes.of(self.size), Ord::max)
    }
}
