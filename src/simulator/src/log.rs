//! Event log of the world: one line for each event, byte for byte the same for the same seed and
//! the same calls.

use std::fmt::{self, Write};
use std::sync::Arc;

use trimtab_core::digest::Digest;
use trimtab_core::ids::{GroupName, InstanceId, JobId, NodeName};
use trimtab_core::units::{NodeCount, Span, Time};
use trimtab_daemon::ports::Notification;

use crate::faults::KillWhen;
use crate::truth::{Caller, RestartCause};

/// One event with its time.
#[derive(Debug, Clone, PartialEq)]
pub struct LogEntry {
    pub at: Time,
    pub event: WorldEvent,
}

/// An event in the world or at a port.
#[derive(Debug, Clone, PartialEq)]
pub enum WorldEvent {
    /// A job was submitted.
    JobSubmitted(JobId),
    /// A job started.
    JobStarted { job: JobId, nodes: Vec<NodeName> },
    /// A job left its nodes.
    JobEnded(JobId),
    /// A job was killed and requeued.
    JobRequeued { job: JobId, cause: RestartCause },
    /// A node was launched.
    NodeLaunched { node: InstanceId, name: NodeName, group: GroupName },
    /// A node reached Running.
    NodeUp {
        node: InstanceId,
        /// Nodes of its group that are up and not leaving.
        live: NodeCount,
    },
    /// A node joined the scheduler.
    NodeJoined(NodeName),
    /// A node failed.
    NodeFailed(InstanceId),
    /// Another instance took a node's place.
    NodeReplaced { old: InstanceId, new: InstanceId },
    /// A deletion was accepted.
    NodeLeaving {
        node: InstanceId,
        /// Sender of the request.
        by: Caller,
        /// Jobs on the node.
        jobs: Vec<JobId>,
        /// Drain reason of the node.
        drained: Option<Arc<str>>,
        /// Nodes of its group that are up and not leaving.
        live: NodeCount,
    },
    /// A node was terminated.
    NodeGone {
        node: InstanceId,
        /// Jobs that were on the node.
        jobs: Vec<JobId>,
    },
    /// A delete request failed for this node.
    NodeRefused {
        node: InstanceId,
        /// The API's code.
        code: Arc<str>,
    },
    /// A delete request was refused as a whole.
    RequestRefused(Arc<str>),
    /// The scheduler removed its entry of a node.
    NodePruned(NodeName),
    /// A node was drained.
    Drained {
        node: NodeName,
        /// Drain reason.
        reason: Arc<str>,
    },
    /// A node was resumed.
    Resumed {
        node: NodeName,
        /// Drain reason until now.
        reason: Arc<str>,
    },
    /// A cordon or a release did not change this node.
    LeftAlone(NodeName),
    /// A group was set to a lower count; the chosen nodes are leaving.
    GroupShrunk {
        group: GroupName,
        /// New count.
        to: NodeCount,
        /// Sender of the request.
        by: Caller,
    },
    /// A group was grown.
    Grown {
        group: GroupName,
        /// Number of new nodes.
        by: NodeCount,
    },
    /// A fault started or happened.
    FaultBegan(&'static str),
    /// A fault ended.
    FaultEnded(&'static str),
    /// No node matched the target of a fault.
    NoTarget(&'static str),
    /// The daemon's wall clock stepped.
    ClockStepped(Span),
    /// A port was called.
    Called {
        /// Number of the call, counted from 1.
        n: u64,
        call: Call,
    },
    /// The daemon was killed.
    Killed {
        /// Number of the effect at which it was killed.
        effect: u64,
        /// Before or after the effect.
        when: KillWhen,
    },
    /// The daemon was started again.
    Revived,
    /// The daemon sent a notification to the operator.
    Notified(Box<Notification>),
}

/// A port method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// `ClusterRead::describe`.
    Describe,
    /// `ClusterRead::recount`.
    Recount,
    /// `ClusterRead::list_nodes`.
    List,
    /// `ClusterRead::details`.
    Details,
    /// `ClusterRead::describe_node`.
    DescribeNode,
    /// `ClusterWrite::delete_nodes`.
    Delete,
    /// `ClusterWrite::shrink_group`.
    Shrink,
    /// `WorkloadRead::read`.
    Workload,
    /// `Cordon::cordon`.
    Cordon,
    /// `Cordon::release`.
    Release,
    /// `Utilization::read`.
    Utilization,
    /// `Switches::read`.
    Switches,
    /// `Lease::hold`.
    Lease,
    /// `Gate::ask`.
    Gate,
}

impl fmt::Display for WorldEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::JobSubmitted(job) => write!(f, "job {job} submitted"),
            Self::JobStarted { job, nodes } => write!(f, "job {job} started on {}", list(nodes)),
            Self::JobEnded(job) => write!(f, "job {job} ended"),
            Self::JobRequeued { job, cause } => write!(f, "job {job} requeued: {cause:?}"),
            Self::NodeLaunched { node, name, group } => {
                write!(f, "node {node} launched as {name} in {group}")
            }
            Self::NodeUp { node, live } => write!(f, "node {node} up, {live} live"),
            Self::NodeJoined(name) => write!(f, "node {name} joined"),
            Self::NodeFailed(node) => write!(f, "node {node} failed"),
            Self::NodeReplaced { old, new } => write!(f, "node {old} replaced by {new}"),
            Self::NodeLeaving { node, by, jobs, drained, live } => {
                let drained = drained.as_deref().unwrap_or("not drained");
                write!(
                    f,
                    "node {node} leaving for {by:?}, {live} live, {drained}, jobs {}",
                    list(jobs)
                )
            }
            Self::NodeGone { node, jobs } => write!(f, "node {node} gone, jobs {}", list(jobs)),
            Self::NodeRefused { node, code } => write!(f, "node {node} refused: {code}"),
            Self::RequestRefused(why) => write!(f, "request refused: {why}"),
            Self::NodePruned(name) => write!(f, "node {name} pruned"),
            Self::Drained { node, reason } => write!(f, "node {node} drained: {reason}"),
            Self::Resumed { node, reason } => write!(f, "node {node} resumed, was: {reason}"),
            Self::LeftAlone(node) => write!(f, "node {node} left alone"),
            Self::GroupShrunk { group, to, by } => {
                write!(f, "group {group} shrinks to {to} for {by:?}")
            }
            Self::Grown { group, by } => write!(f, "group {group} grown by {by}"),
            Self::FaultBegan(name) => write!(f, "fault {name} began"),
            Self::FaultEnded(name) => write!(f, "fault {name} ended"),
            Self::NoTarget(name) => write!(f, "no node for {name}"),
            Self::ClockStepped(by) => write!(f, "clock stepped by {by}"),
            Self::Called { n, call } => write!(f, "call {n}: {call:?}"),
            Self::Killed { effect, when } => write!(f, "killed at effect {effect}, {when:?}"),
            Self::Revived => f.write_str("revived"),
            Self::Notified(notification) => write!(f, "notified: {notification:?}"),
        }
    }
}

/// Time since the world's start, days first: `2+03:04:05.006`.
struct Since(Span);

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.0;
        let (days, hours, mins) = (ms / 86_400_000, ms / 3_600_000 % 24, ms / 60_000 % 60);
        write!(f, "{days}+{hours:02}:{mins:02}:{:02}.{:03}", ms / 1000 % 60, ms % 1000)
    }
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    if items.is_empty() {
        return "none".to_owned();
    }
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// The event log. The digest is always kept, the text if the spec asks for it, and the events while
/// a watcher is registered.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    start: Time,
    text: String,
    line: String,
    keep: bool,
    digest: Digest,
    watched: bool,
    fresh: Vec<LogEntry>,
}

impl Log {
    pub(crate) fn new(start: Time, keep: bool) -> Self {
        Self {
            start,
            text: String::new(),
            line: String::new(),
            keep,
            digest: Digest::EMPTY,
            watched: false,
            fresh: vec![],
        }
    }

    pub(crate) fn write(&mut self, at: Time, event: WorldEvent) {
        self.line.clear();
        // Writing to a string cannot fail.
        let _ = writeln!(self.line, "{} {event}", Since(at.since(self.start)));
        self.digest = self.digest.with(self.line.as_bytes());
        if self.keep {
            self.text.push_str(&self.line);
        }
        if self.watched {
            self.fresh.push(LogEntry { at, event });
        }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn digest(&self) -> u64 {
        self.digest.number()
    }

    pub(crate) fn watch(&mut self) {
        self.watched = true;
    }

    pub(crate) fn take(&mut self) -> Vec<LogEntry> {
        std::mem::take(&mut self.fresh)
    }
}
