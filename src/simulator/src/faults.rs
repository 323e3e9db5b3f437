//! What can go wrong, as data: the fault model F1 to F27 as far as it lies
//! outside the daemon.
//!
//! Most faults hold for a while and change what a call answers; some happen in
//! an instant and change the world. Each says which. Where a fault needs a
//! node, a [`Target`] names it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use trimtab_core::ids::{InstanceId, NodeName};
use trimtab_core::units::Span;

use crate::gauntlet::KillWhen;
use crate::spec::text::span;

/// One kind of fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum FaultKind {
    // What SageMaker answers, for a while.
    /// Cluster reads are throttled (F1).
    ThrottledReads,
    /// Deletes are throttled, a definite refusal (F1).
    ThrottledWrites,
    /// Deletes, cordons and releases act but give no answer (F2).
    WriteTimesOutAfterActing,
    /// Deletes, cordons and releases give no answer and do not act (F2).
    WriteTimesOutBeforeActing,
    /// Deletes fail for this share of their nodes, with each of the API's
    /// codes and one that nobody knows (F3).
    DeletePartialFailure {
        /// Percent of the nodes, 0 to 100.
        percent: u8,
    },
    /// Deletes are refused as a whole: HTTP 400, all nodes failed (F4).
    DeleteTotalFailure,
    /// Every SageMaker call is denied (F4).
    AccessDenied,
    /// The listing is complete and empty (F5).
    ListingEmpty,
    /// The listing lacks its last third and says so (F5).
    ListingTruncated,
    /// One id is listed twice (F6).
    ListingDuplicate,
    /// A complete listing lacks one node (F6).
    ListingMissesNode,
    /// One node is listed with a status that no build knows (F20).
    ListingOddStatus,
    /// Counts take this much longer to show (F7).
    CountsLag {
        /// How much longer.
        #[serde(with = "span")]
        by: Span,
    },
    /// Somebody updates the cluster's software; deletes are refused (F21).
    ClusterUpdating,
    /// HyperPod's own autoscaler is switched on (F22).
    RivalAutoscaler,
    /// Accepted deletions do not finish before this is over (F23).
    DeletionStuck,

    // What the scheduler and the metrics answer, for a while.
    /// The scheduler does not answer (F15).
    SchedulerSilent,
    /// It answers without error and without nodes (F15).
    SchedulerEmpty,
    /// It repeats an old answer, old stamp included (F15).
    SchedulerStale,
    /// It has just restarted and calls every node unknown (F15).
    SchedulerUnknown,
    /// A reservation covers one node: nobody's jobs get it (F17).
    NodeReserved {
        /// Which.
        node: Target,
    },
    /// A job is suspended where it runs (F17).
    JobSuspended {
        /// The node it runs on.
        node: Target,
    },
    /// It says that every node is idle (F9). A liar that no daemon can find
    /// out in a small group: never chosen at random unless named.
    MassIdle,
    /// There are no datapoints (F8).
    MetricsMissing,
    /// Every datapoint is 0 (F8).
    MetricsZero,
    /// No datapoint is newer than the fault's beginning (F8).
    MetricsStale,
    /// CloudWatch throttles every call (F8).
    MetricsThrottled,
    /// CloudWatch denies every call (F8).
    MetricsDenied,
    /// The busiest device of a node, the processor of a machine without any, sends
    /// nothing any more (F8).
    MetricsDeviceMissing {
        /// Which node.
        node: Target,
    },
    /// That device's utilization is this in every datapoint (F8).
    MetricsOutOfRange {
        /// Which node.
        node: Target,
        /// In percent: below 0 or above 100.
        percent: i32,
    },
    /// CloudWatch cannot or may not give all of a node's datapoints (F8).
    MetricsStatus {
        /// Which node.
        node: Target,
        /// What it says instead.
        status: MetricsStatus,
    },
    /// Datapoints take this much longer to show (F8).
    MetricsLate {
        /// How much longer.
        #[serde(with = "span")]
        by: Span,
    },
    /// One in so many datapoints was lost (F8).
    MetricsGaps {
        /// In how many, at least 2.
        every: u32,
    },

    // What happens to nodes, in an instant.
    /// Another instance takes the node's place under its name (F20).
    NodeReplaced {
        /// Which.
        node: Target,
    },
    /// The node breaks, its jobs are requeued, recovery replaces it (F20).
    NodeFailure {
        /// Which.
        node: Target,
    },
    /// An operator drains the node, for as long as the fault lasts (F14).
    OperatorDrains {
        /// Which.
        node: Target,
        /// The reason given; a drain of ours is overwritten by it.
        reason: String,
    },
    /// An operator resumes the node, whoever drained it (F14).
    OperatorResumes {
        /// Which.
        node: Target,
    },
    /// An operator deletes the node (F22).
    OperatorDeletes {
        /// Which.
        node: Target,
    },
    /// A job lands on the node if it takes jobs, else in the queue (F16).
    JobLands {
        /// Which.
        node: Target,
        /// How long it runs.
        #[serde(with = "span")]
        length: Span,
    },
    /// Every group is set to its size again, as Terraform would (F22).
    GrowToSize,

    // What happens to the daemon.
    /// Its wall clock steps; the monotonic one does not (F10).
    ClockStep {
        /// Forward, or back if negative.
        #[serde(with = "span")]
        by: Span,
    },
    /// Its machine is suspended for a while (F10).
    Suspended,
    /// The pause file is there for a while (S14).
    Paused,
    /// The lease is somebody else's for a while (F14).
    LeaseLost,
    /// Nothing can be written to the ledger for a while (F12).
    LedgerFails,
    /// It is killed so many effects later (F11). The harness has to notice
    /// and start it anew: never chosen at random unless named.
    DaemonKill {
        /// How many more effects it lives to see.
        after: u64,
        /// Before the effect or after it acted.
        when: KillWhen,
    },
}

impl FaultKind {
    /// The kinds that random faults are chosen from unless some are named:
    /// those that a daemon must survive without losing a job, at a size that
    /// makes them felt. What a seed draws depends on this list: a new kind
    /// would change every world's faults.
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

    /// Whether it holds for a while; else it happens in an instant, or, as an
    /// operator's drain may, for good.
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

    /// Its name, as in a world's file.
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

/// What CloudWatch says of a series that it does not give in full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MetricsStatus {
    /// Some datapoints are missing.
    PartialData,
    /// It failed.
    InternalError,
    /// The caller may not see it.
    Forbidden,
}

/// Which node something happens to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Any worker that is up, by the seed.
    Any,
    /// Any that is up, idle and takes jobs.
    AnyIdle,
    /// Any that is up and has a job.
    AnyBusy,
    /// Any with a trimtab cordon.
    AnyCordoned,
    /// The n-th worker that is up, from 0, in the scheduler's order.
    Nth(usize),
    /// The one with this name.
    Name(NodeName),
    /// The one with this id.
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

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no node (any, any-idle, any-busy, any-cordoned, #3, a name, an id)"
            )
        };
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
