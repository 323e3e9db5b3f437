//! The true record of what happened. The daemon cannot read it through any port; only oracles,
//! scores and reports read it.

use std::collections::BTreeMap;
use std::sync::Arc;

use trimtab_core::ids::{GroupName, InstanceId, JobId, NodeName, PartitionName};
use trimtab_core::units::{MilliGpus, NodeCount, Span, Time, Usd, UsdPerHour};

/// Everything that happened up to one point in time.
#[derive(Debug, Clone, PartialEq)]
pub struct Truth {
    /// End of the record.
    pub at: Time,
    /// Start of the record.
    pub since: Time,
    /// All submitted jobs, in submission order.
    pub jobs: Vec<JobRecord>,
    pub groups: BTreeMap<GroupName, GroupTruth>,
    /// Every node id of every delete request, in request order.
    pub asked: Vec<AskedNode>,
    /// All delete requests.
    pub requests: Vec<DeleteRequest>,
    /// Nodes that have a drain with a trimtab reason now, each with the reason.
    pub cordons: Vec<(NodeName, Arc<str>)>,
}

/// Record of one job.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRecord {
    pub id: JobId,
    pub partition: PartitionName,
    /// Number of nodes that the job asks for.
    pub nodes: NodeCount,
    /// Total number of GPUs that the job asks for.
    pub gpus: MilliGpus,
    /// Running time.
    pub length: Span,
    /// Submission time.
    pub submit: Time,
    /// Earliest time at which it could run. Later than the submission if the job was held or asked
    /// for a later start.
    pub eligible: Time,
    /// Whether the job fits in any group at the group's full size.
    pub fits: bool,
    /// Time of the first start.
    pub first_start: Option<Time>,
    /// Time of the last start.
    pub last_start: Option<Time>,
    /// Number of starts.
    pub starts: u32,
    /// The times it was killed.
    pub restarts: Vec<Restart>,
    /// Total time that it was ready to run and waited.
    pub waited: Span,
    /// End time.
    pub end: Option<Time>,
}

impl JobRecord {
    /// Whether trimtab or a baseline killed the job by deleting its node. This must never happen.
    pub fn is_lost(&self) -> bool {
        self.restarts.iter().any(|restart| match restart.cause {
            RestartCause::Deleted { by: Caller::Daemon | Caller::Baseline, .. } => true,
            RestartCause::Deleted { by: Caller::Operator, .. }
            | RestartCause::Failed { .. }
            | RestartCause::Replaced { .. } => false,
        })
    }
}

/// A job was killed with its node and requeued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restart {
    pub at: Time,
    /// The node, and what happened to it.
    pub cause: RestartCause,
    /// Work lost on each of its nodes.
    pub lost_work: Span,
}

/// Reason why a job was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartCause {
    /// Its node was deleted.
    Deleted {
        node: InstanceId,
        /// Sender of the delete request.
        by: Caller,
    },
    /// Its node failed.
    Failed { node: InstanceId },
    /// Its node was replaced.
    Replaced { node: InstanceId },
}

/// Sender of a delete request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Caller {
    /// The daemon, through its port.
    Daemon,
    /// A baseline policy of this crate.
    Baseline,
    /// An operator.
    Operator,
}

/// Record of one group.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupTruth {
    /// Price of a node.
    pub price: UsdPerHour,
    /// Nodes that are up and not leaving now.
    pub live: NodeCount,
    /// Lowest value of `live` since the start.
    pub live_min: NodeCount,
    /// Changes of `live`, each with its time.
    pub live_series: Vec<(Time, NodeCount)>,
    /// Nodes that are up, arriving or failed now, without those that are leaving.
    pub members: NodeCount,
    /// Nodes launched after the start, replacements included.
    pub launched: u64,
    /// Nodes launched because jobs were waiting.
    pub regrown: u64,
    /// Nodes terminated on request of the daemon or a baseline.
    pub deleted: u64,
    /// Billed node time: from the launch, or the start of the world, to the termination.
    pub billed: Span,
    /// Node time with at least one job.
    pub busy: Span,
    /// Node time from the launch to Running.
    pub booting: Span,
}

impl GroupTruth {
    /// Returns the cost of the billed time.
    pub fn cost(&self) -> Usd {
        self.price.over(self.billed)
    }
}

/// One delete request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteRequest {
    pub at: Time,
    /// Sender.
    pub by: Caller,
    /// The ids as sent. For a request that sets a count: all nodes that it could delete.
    pub nodes: Vec<InstanceId>,
    /// For a request that sets a count: the group and the new count.
    pub count: Option<(GroupName, NodeCount)>,
    /// Reason of the refusal if the whole request was refused; `None` if each node was answered
    /// separately.
    pub refused: Option<Arc<str>>,
    /// Whether the sender got an answer.
    pub answered: bool,
}

/// One node id of one delete request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedNode {
    /// Index into [`Truth::requests`].
    pub request: usize,
    pub at: Time,
    /// Sender.
    pub by: Caller,
    pub node: InstanceId,
    /// Group and name, if the node exists.
    pub known: Option<(GroupName, NodeName)>,
    /// The API's error code if the deletion failed.
    pub failed: Option<Arc<str>>,
    /// Jobs on it at the time of the request: running, starting or completing.
    pub jobs_at_call: Vec<JobId>,
    /// Its drain reason at the time of the request.
    pub drained_at_call: Option<Arc<str>>,
    /// Nodes of its group that were up and not leaving after the request.
    pub live_after: NodeCount,
    /// Time of its termination.
    pub terminated: Option<Time>,
    /// Jobs on it when it was terminated: running, starting or completing.
    pub jobs_at_end: Vec<JobId>,
}

impl Truth {
    /// Returns the jobs that trimtab or a baseline killed by deleting their node.
    pub fn lost_jobs(&self) -> impl Iterator<Item = &JobRecord> {
        self.jobs.iter().filter(|job| job.is_lost())
    }

    /// Returns the deleted nodes that had a job when they were terminated.
    pub fn busy_nodes_deleted(&self) -> impl Iterator<Item = &AskedNode> {
        let ours = |asked: &&AskedNode| asked.by != Caller::Operator;
        self.asked.iter().filter(ours).filter(|asked| !asked.jobs_at_end.is_empty())
    }

    /// Returns the number of nodes terminated on request of the daemon or a baseline.
    pub fn nodes_deleted(&self) -> u64 {
        self.groups.values().map(|group| group.deleted).sum()
    }

    /// Returns the number of nodes launched because jobs were waiting.
    pub fn nodes_regrown(&self) -> u64 {
        self.groups.values().map(|group| group.regrown).sum()
    }

    /// Returns the cost of all groups.
    pub fn cost(&self) -> Usd {
        self.groups.values().map(GroupTruth::cost).sum()
    }

    /// Returns the billed node time of all groups.
    pub fn billed(&self) -> Span {
        self.groups.values().fold(Span::ZERO, |sum, group| sum + group.billed)
    }

    /// Returns the total waiting time of the jobs that fit.
    pub fn waited(&self) -> Span {
        let fitting = self.jobs.iter().filter(|job| job.fits);
        fitting.fold(Span::ZERO, |sum, job| sum + job.waited)
    }

    /// Returns the number of finished jobs.
    pub fn jobs_done(&self) -> usize {
        self.jobs.iter().filter(|job| job.end.is_some()).count()
    }
}
