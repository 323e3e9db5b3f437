//! Faults as data: the part of the fault model F1 to F27 that lies outside the daemon.
//!
//! Most faults hold for some time and change the answers of requests. Others happen at once and
//! change the world. The comment of each kind says which. A [`Target`] selects the node of a fault
//! that needs one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use trimtab_core::ids::{InstanceId, NodeName};
use trimtab_core::units::Span;

use crate::text::span;

/// Whether the daemon is killed before or after an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KillWhen {
    /// The effect does not happen.
    Before,
    /// The effect happens, but the daemon gets no answer.
    AfterActed,
}

/// Kind of fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum FaultKind {
    // Answers of SageMaker; hold for some time.
    /// Cluster reads are throttled (F1).
    ThrottledReads,
    /// Deletes are throttled: a definite refusal (F1).
    ThrottledWrites,
    /// Deletes, cordons and releases are carried out, but the answer is lost (F2).
    WriteTimesOutAfterActing,
    /// Deletes, cordons and releases get no answer and are not carried out (F2).
    WriteTimesOutBeforeActing,
    /// Deletes fail for some of their nodes, with the API's codes and one that is not documented
    /// (F3).
    DeletePartialFailure {
        /// Percentage of nodes that fail, 0 to 100.
        percent: u8,
    },
    /// Delete requests are refused as a whole: HTTP 400, all nodes failed (F4).
    DeleteTotalFailure,
    /// SageMaker denies every request (F4).
    AccessDenied,
    /// The listing is marked complete but is empty (F5).
    ListingEmpty,
    /// The listing lacks its last third and is marked incomplete (F5).
    ListingTruncated,
    /// One id is listed twice (F6).
    ListingDuplicate,
    /// A listing that is marked complete lacks one node (F6).
    ListingMissesNode,
    /// One node is listed with an unknown status (F20).
    ListingOddStatus,
    /// Node counts show this much later (F7).
    CountsLag {
        /// Additional lag.
        #[serde(with = "span")]
        by: Span,
    },
    /// A software update of the cluster is running; deletes are refused (F21).
    ClusterUpdating,
    /// HyperPod's own autoscaler is switched on (F22).
    RivalAutoscaler,
    /// Accepted deletions do not finish while the fault holds (F23).
    DeletionStuck,

    // Answers of the scheduler and of the metrics; hold for some time.
    /// The scheduler does not answer (F15).
    SchedulerSilent,
    /// The scheduler answers without an error and without nodes (F15).
    SchedulerEmpty,
    /// The scheduler repeats an old answer with its old timestamp (F15).
    SchedulerStale,
    /// The scheduler has just restarted and reports every node as unknown (F15).
    SchedulerUnknown,
    /// A reservation covers one node, so that no job gets it (F17).
    NodeReserved {
        /// Node to reserve.
        node: Target,
    },
    /// A running job is suspended (F17).
    JobSuspended {
        /// Node that the job runs on.
        node: Target,
    },
    /// The scheduler reports every node as idle (F9). The daemon cannot detect this in a small
    /// group, so random faults use this kind only if the world names it.
    MassIdle,
    /// There are no datapoints (F8).
    MetricsMissing,
    /// Every datapoint is 0 (F8).
    MetricsZero,
    /// No datapoint is newer than the fault's beginning (F8).
    MetricsStale,
    /// CloudWatch throttles every request (F8).
    MetricsThrottled,
    /// CloudWatch denies every request (F8).
    MetricsDenied,
    /// The busiest device of a node sends no datapoints (F8). On a machine without accelerators
    /// that is the processor.
    MetricsDeviceMissing {
        /// Node of the device.
        node: Target,
    },
    /// The busiest device of a node reports this utilization in every datapoint (F8).
    MetricsOutOfRange {
        /// Node of the device.
        node: Target,
        /// Utilization in percent: below 0 or above 100.
        percent: i32,
    },
    /// CloudWatch cannot return all datapoints of a node, or may not return them (F8).
    MetricsStatus {
        /// Node of the datapoints.
        node: Target,
        /// Status that CloudWatch returns instead of `Complete`.
        status: MetricsStatus,
    },
    /// Datapoints show this much later (F8).
    MetricsLate {
        /// Additional latency.
        #[serde(with = "span")]
        by: Span,
    },
    /// One of every `every` datapoints is lost (F8).
    MetricsGaps {
        /// At least 2.
        every: u32,
    },

    // Events of nodes; happen at once.
    /// Another instance takes the node's place and keeps its name (F20).
    NodeReplaced {
        /// Node to replace.
        node: Target,
    },
    /// The node fails. Its jobs are requeued, and node recovery replaces it (F20).
    NodeFailure {
        /// Node that fails.
        node: Target,
    },
    /// An operator drains the node while the fault holds (F14).
    OperatorDrains {
        /// Node to drain.
        node: Target,
        /// Drain reason. It overwrites the reason of a trimtab drain.
        reason: String,
    },
    /// An operator resumes the node, whatever its drain reason (F14).
    OperatorResumes {
        /// Node to resume.
        node: Target,
    },
    /// An operator deletes the node (F22).
    OperatorDeletes {
        /// Node to delete.
        node: Target,
    },
    /// A new job starts on the node if the node accepts jobs; otherwise it is queued (F16).
    JobLands {
        /// Node that gets the job.
        node: Target,
        /// Length of the job.
        #[serde(with = "span")]
        length: Span,
    },
    /// Every group is grown to its size, as Terraform would do (F22).
    GrowToSize,

    // Events of the daemon.
    /// The wall clock steps; the monotonic clock does not (F10).
    ClockStep {
        /// Length of the step; negative steps go back.
        #[serde(with = "span")]
        by: Span,
    },
    /// The machine is suspended for some time (F10).
    Suspended,
    /// The pause file exists for some time (S14).
    Paused,
    /// Another process holds the lease for some time (F14).
    LeaseLost,
    /// Ledger writes fail for some time (F12).
    LedgerFails,
    /// The daemon is killed at a later effect (F11). The harness must detect this and start the
    /// daemon again, so random faults use this kind only if the world names it.
    DaemonKill {
        /// Number of effects that still succeed.
        after: u64,
        /// Kill before the effect or after it.
        when: KillWhen,
    },
}

impl FaultKind {
    /// Kinds that random faults are chosen from if the world names none. The daemon must survive
    /// each of them without losing a job, and each is large enough to matter. Seeds draw from this
    /// list by index, so a new kind changes the faults of every world.
    pub fn survivable() -> Vec<Self> {
        let node = Target::Any;
        vec![
            Self::ThrottledReads,
            Self::ThrottledWrites,
            Self::WriteTimesOutAfterActing,
            Self::WriteTimesOutBeforeActing,
            Self::DeletePartialFailure { percent: 50 },
            Self::DeleteTotalFailure,
            Self::AccessDenied,
            Self::ListingEmpty,
            Self::ListingTruncated,
            Self::ListingDuplicate,
            Self::ListingMissesNode,
            Self::ListingOddStatus,
            Self::CountsLag { by: Span::mins(5) },
            Self::ClusterUpdating,
            Self::RivalAutoscaler,
            Self::DeletionStuck,
            Self::SchedulerSilent,
            Self::SchedulerEmpty,
            Self::SchedulerStale,
            Self::SchedulerUnknown,
            Self::NodeReserved { node: Target::AnyIdle },
            Self::NodeReserved { node: Target::AnyCordoned },
            Self::JobSuspended { node: Target::AnyBusy },
            Self::MetricsMissing,
            Self::MetricsStale,
            Self::NodeReplaced { node: node.clone() },
            Self::NodeReplaced { node: Target::AnyCordoned },
            Self::NodeFailure { node: node.clone() },
            Self::OperatorDrains { node: node.clone(), reason: "bad fan".to_owned() },
            Self::OperatorDrains { node: Target::AnyCordoned, reason: "mine".to_owned() },
            Self::OperatorResumes { node: Target::AnyCordoned },
            Self::OperatorDeletes { node: Target::AnyIdle },
            Self::JobLands { node: Target::AnyIdle, length: Span::mins(20) },
            Self::GrowToSize,
            Self::ClockStep { by: Span::mins(7) },
            Self::ClockStep { by: Span::mins(-7) },
            Self::Suspended,
            Self::Paused,
            Self::LeaseLost,
            Self::LedgerFails,
        ]
    }

    /// Whether the fault holds for some time. All other kinds happen at once; an operator's drain
    /// may also last forever.
    pub fn holds(&self) -> bool {
        match self {
            Self::ThrottledReads
            | Self::ThrottledWrites
            | Self::WriteTimesOutAfterActing
            | Self::WriteTimesOutBeforeActing
            | Self::DeletePartialFailure { .. }
            | Self::DeleteTotalFailure
            | Self::AccessDenied
            | Self::ListingEmpty
            | Self::ListingTruncated
            | Self::ListingDuplicate
            | Self::ListingMissesNode
            | Self::ListingOddStatus
            | Self::CountsLag { .. }
            | Self::ClusterUpdating
            | Self::RivalAutoscaler
            | Self::DeletionStuck
            | Self::NodeReserved { .. }
            | Self::JobSuspended { .. }
            | Self::SchedulerSilent
            | Self::SchedulerEmpty
            | Self::SchedulerStale
            | Self::SchedulerUnknown
            | Self::MassIdle
            | Self::MetricsMissing
            | Self::MetricsZero
            | Self::MetricsStale
            | Self::MetricsThrottled
            | Self::MetricsDenied
            | Self::MetricsDeviceMissing { .. }
            | Self::MetricsOutOfRange { .. }
            | Self::MetricsStatus { .. }
            | Self::MetricsLate { .. }
            | Self::MetricsGaps { .. }
            | Self::Suspended
            | Self::Paused
            | Self::LeaseLost
            | Self::LedgerFails => true,
            Self::NodeReplaced { .. }
            | Self::NodeFailure { .. }
            | Self::OperatorDrains { .. }
            | Self::OperatorResumes { .. }
            | Self::OperatorDeletes { .. }
            | Self::JobLands { .. }
            | Self::GrowToSize
            | Self::ClockStep { .. }
            | Self::DaemonKill { .. } => false,
        }
    }

    /// Name in a world file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ThrottledReads => "throttled-reads",
            Self::ThrottledWrites => "throttled-writes",
            Self::WriteTimesOutAfterActing => "write-times-out-after-acting",
            Self::WriteTimesOutBeforeActing => "write-times-out-before-acting",
            Self::DeletePartialFailure { .. } => "delete-partial-failure",
            Self::DeleteTotalFailure => "delete-total-failure",
            Self::AccessDenied => "access-denied",
            Self::ListingEmpty => "listing-empty",
            Self::ListingTruncated => "listing-truncated",
            Self::ListingDuplicate => "listing-duplicate",
            Self::ListingMissesNode => "listing-misses-node",
            Self::ListingOddStatus => "listing-odd-status",
            Self::CountsLag { .. } => "counts-lag",
            Self::ClusterUpdating => "cluster-updating",
            Self::RivalAutoscaler => "rival-autoscaler",
            Self::DeletionStuck => "deletion-stuck",
            Self::SchedulerSilent => "scheduler-silent",
            Self::SchedulerEmpty => "scheduler-empty",
            Self::SchedulerStale => "scheduler-stale",
            Self::SchedulerUnknown => "scheduler-unknown",
            Self::NodeReserved { .. } => "node-reserved",
            Self::JobSuspended { .. } => "job-suspended",
            Self::MassIdle => "mass-idle",
            Self::MetricsMissing => "metrics-missing",
            Self::MetricsZero => "metrics-zero",
            Self::MetricsStale => "metrics-stale",
            Self::MetricsThrottled => "metrics-throttled",
            Self::MetricsDenied => "metrics-denied",
            Self::MetricsDeviceMissing { .. } => "metrics-device-missing",
            Self::MetricsOutOfRange { .. } => "metrics-out-of-range",
            Self::MetricsStatus { .. } => "metrics-status",
            Self::MetricsLate { .. } => "metrics-late",
            Self::MetricsGaps { .. } => "metrics-gaps",
            Self::NodeReplaced { .. } => "node-replaced",
            Self::NodeFailure { .. } => "node-failure",
            Self::OperatorDrains { .. } => "operator-drains",
            Self::OperatorResumes { .. } => "operator-resumes",
            Self::OperatorDeletes { .. } => "operator-deletes",
            Self::JobLands { .. } => "job-lands",
            Self::GrowToSize => "grow-to-size",
            Self::ClockStep { .. } => "clock-step",
            Self::Suspended => "suspended",
            Self::Paused => "paused",
            Self::LeaseLost => "lease-lost",
            Self::LedgerFails => "ledger-fails",
            Self::DaemonKill { .. } => "daemon-kill",
        }
    }
}

/// Status of a series that CloudWatch does not return completely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MetricsStatus {
    /// Some datapoints are missing.
    PartialData,
    /// CloudWatch failed.
    InternalError,
    /// The caller has no permission.
    Forbidden,
}

/// Node that a fault hits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A random worker that is up.
    Any,
    /// A random worker that is up, idle and accepts jobs.
    AnyIdle,
    /// A random worker that is up and has a job.
    AnyBusy,
    /// A random worker that is up and has a trimtab cordon.
    AnyCordoned,
    /// The n-th worker that is up, counted from 0 in the scheduler's order.
    Nth(usize),
    /// The node with this name.
    Name(NodeName),
    /// The node with this instance id.
    Instance(InstanceId),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::AnyIdle => f.write_str("any-idle"),
            Self::AnyBusy => f.write_str("any-busy"),
            Self::AnyCordoned => f.write_str("any-cordoned"),
            Self::Nth(n) => write!(f, "#{n}"),
            Self::Name(name) => write!(f, "{name}"),
            Self::Instance(id) => write!(f, "{id}"),
        }
    }
}

/// A text that is not a [`Target`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid node `{0}`: write any, any-idle, any-busy, any-cordoned, #3, a node name or an \
     instance id"
)]
pub struct BadTarget(String);

impl FromStr for Target {
    type Err = BadTarget;

    fn from_str(text: &str) -> Result<Self, BadTarget> {
        let wrong = || BadTarget(text.to_owned());
        match text {
            "any" => Ok(Self::Any),
            "any-idle" => Ok(Self::AnyIdle),
            "any-busy" => Ok(Self::AnyBusy),
            "any-cordoned" => Ok(Self::AnyCordoned),
            _ => {
                if let Some(n) = text.strip_prefix('#') {
                    n.parse().map(Self::Nth).map_err(|_| wrong())
                } else if let Ok(id) = text.parse() {
                    Ok(Self::Instance(id))
                } else {
                    text.parse().map(Self::Name).map_err(|_| wrong())
                }
            }
        }
    }
}

impl Serialize for Target {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}
