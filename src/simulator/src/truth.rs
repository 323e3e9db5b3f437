//! What truly happened. No port can reach it: oracles, scores and reports read
//! it, the daemon never does.

use std::collections::BTreeMap;
use std::sync::Arc;

use trimtab_core::ids::{GroupName, InstanceId, JobId, NodeName, PartitionName};
use trimtab_core::units::{MilliGpus, NodeCount, Span, Time, Usd, UsdPerHour};

/// Everything that happened up to one instant.
#[derive(Debug, Clone, PartialEq)]
pub struct Truth {
    /// Up to when.
    pub at: Time,
    /// Since when.
    pub since: Time,
    /// Every job handed in, in that order.
    pub jobs: Vec<JobRecord>,
    /// Every group.
    pub groups: BTreeMap<GroupName, GroupTruth>,
    /// Every id of every delete request, in order of the requests.
    pub asked: Vec<AskedNode>,
    /// Every delete request.
    pub requests: Vec<DeleteRequest>,
    /// Nodes drained with a trimtab reason now.
    pub cordons: Vec<(NodeName, Arc<str>)>,
}

/// One job.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRecord {
    /// Its id.
    pub id: JobId,
    /// Its partition.
    pub partition: PartitionName,
    /// Nodes it asks for.
    pub nodes: NodeCount,
    /// GPUs it asks for in all.
    pub gpus: MilliGpus,
    /// How long it runs.
    pub length: Span,
    /// When it was handed in.
    pub submit: Time,
    /// From when on it could have run: later if it was held or asked for it.
    pub eligible: Time,
    /// Whether it could run in any group at its full size.
    pub fits: bool,
    /// When it first began.
    pub first_start: Option<Time>,
    /// When it last began.
    pub last_start: Option<Time>,
    /// How often it began.
    pub starts: u32,
    /// What killed it, each time.
    pub restarts: Vec<Restart>,
    /// How long it waited in all while it could have run.
    pub waited: Span,
    /// When it was over.
    pub end: Option<Time>,
}

impl JobRecord {
    /// Whether a delete request of ours killed it: the one thing that must
    /// never happen.
    pub fn is_lost(&self) -> bool {
        self.restarts.iter().any(|restart| match restart.cause {
            RestartCause::Deleted { by: Caller::Daemon | Caller::Baseline, .. } => true,
            RestartCause::Deleted { by: Caller::Operator, .. }
            | RestartCause::Failed { .. }
            | RestartCause::Replaced { .. } => false,
        })
    }
}

/// A job was killed with its node and put back into the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restart {
    /// When.
    pub at: Time,
    /// Which node, and what became of it.
    pub cause: RestartCause,
    /// Work that was thrown away, on each of its nodes.
    pub lost_work: Span,
}

/// What killed a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartCause {
    /// Its node was deleted.
    Deleted {
        /// The node.
        node: InstanceId,
        /// By whom.
        by: Caller,
    },
    /// Its node broke.
    Failed {
        /// The node.
        node: InstanceId,
    },
    /// Its node was replaced.
    Replaced {
        /// The node.
        node: InstanceId,
    },
}

/// Who asked for a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Caller {
    /// The daemon, through its port.
    Daemon,
    /// A policy this crate compares it with.
    Baseline,
    /// An operator.
    Operator,
}

/// One group.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupTruth {
    /// What a node costs.
    pub price: UsdPerHour,
    /// Nodes that are up and not leaving, now.
    pub live: NodeCount,
    /// Fewest of them at any time since the start.
    pub live_min: NodeCount,
    /// Their number from each instant on.
    pub live_series: Vec<(Time, NodeCount)>,
    /// Nodes up, arriving or broken, now: what it would be without the leaving.
    pub members: NodeCount,
    /// Nodes launched after the start, replacements included.
    pub launched: u64,
    /// Nodes launched because jobs waited.
    pub regrown: u64,
    /// Nodes terminated because the daemon or a baseline asked for it.
    pub deleted: u64,
    /// Node time billed: from the launch, or the start, until terminated.
    pub billed: Span,
    /// Node time with a job on it.
    pub busy: Span,
    /// Node time between launch and up.
    pub booting: Span,
}

impl GroupTruth {
    /// What it cost.
    pub fn cost(&self) -> Usd {
        self.price.over(self.billed)
    }
}

/// One delete request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteRequest {
    /// When.
    pub at: Time,
    /// By whom.
    pub by: Caller,
    /// The ids, as sent; for a group's count, all nodes that could go by it.
    pub nodes: Vec<InstanceId>,
    /// The group and the count it was to be set to, if this was no request by ids.
    pub count: Option<(GroupName, NodeCount)>,
    /// What became of the whole: `None` if each node got its own word.
    pub refused: Option<Arc<str>>,
    /// Whether the caller was told.
    pub answered: bool,
}

/// One id of one delete request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedNode {
    /// Which request, an index into [`Truth::requests`].
    pub request: usize,
    /// When.
    pub at: Time,
    /// By whom.
    pub by: Caller,
    /// The id.
    pub node: InstanceId,
    /// Its group and name, if there is such a node.
    pub known: Option<(GroupName, NodeName)>,
    /// The API's code if it was refused.
    pub failed: Option<Arc<str>>,
    /// Jobs on it when it was asked for: running, starting or ending.
    pub jobs_at_call: Vec<JobId>,
    /// The reason it was drained for when it was asked for.
    pub drained_at_call: Option<Arc<str>>,
    /// Nodes of its group that were up and not leaving after the request.
    pub live_after: NodeCount,
    /// When it was terminated.
    pub terminated: Option<Time>,
    /// Jobs on it when it was terminated: running, starting or ending.
    pub jobs_at_end: Vec<JobId>,
}

impl Truth {
    /// Jobs that a delete request of ours killed.
    pub fn lost_jobs(&self) -> impl Iterator<Item = &JobRecord> {
        self.jobs.iter().filter(|job| job.is_lost())
    }

    /// Deleted nodes that had a job on them when they were terminated.
    pub fn busy_nodes_deleted(&self) -> impl Iterator<Item = &AskedNode> {
        let ours = |asked: &&AskedNode| asked.by != Caller::Operator;
        self.asked.iter().filter(ours).filter(|asked| !asked.jobs_at_end.is_empty())
    }

    /// Nodes terminated because the daemon or a baseline asked for it.
    pub fn nodes_deleted(&self) -> u64 {
        self.groups.values().map(|group| group.deleted).sum()
    }

    /// Nodes launched because jobs waited.
    pub fn nodes_regrown(&self) -> u64 {
        self.groups.values().map(|group| group.regrown).sum()
    }

    /// What all groups cost.
    pub fn cost(&self) -> Usd {
        self.groups.values().map(GroupTruth::cost).sum()
    }

    /// Node time billed in all groups.
    pub fn billed(&self) -> Span {
        self.groups.values().fold(Span::ZERO, |sum, group| sum + group.billed)
    }

    /// How long jobs that fit have waited in all.
    pub fn waited(&self) -> Span {
        let fitting = self.jobs.iter().filter(|job| job.fits);
        fitting.fold(Span::ZERO, |sum, job| sum + job.waited)
    }

    /// Jobs that are over.
    pub fn jobs_done(&self) -> usize {
        self.jobs.iter().filter(|job| job.end.is_some()).count()
    }
}
