//! Notifications for operators.

use std::fmt;

use trimtab_core::action::Notice;
use trimtab_core::backoff::Backoff;
use trimtab_core::history::FreezeReason;
use trimtab_core::ids::{ActionId, ClusterName, GroupName, InstanceId, LedgerId, RequestId};
use trimtab_core::units::{Span, Time};

/// Something an operator should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notification {
    /// About one action.
    Action {
        /// The action.
        action: ActionId,
        /// Its node.
        node: InstanceId,
        /// What.
        notice: Notice,
    },
    /// The cluster froze until an operator clears it.
    Frozen {
        /// Why.
        why: FreezeReason,
    },
    /// A group has been frozen by its counts or a scaling for too long.
    GroupFrozenLong {
        /// The group.
        group: GroupName,
        /// For how long.
        for_how_long: Span,
    },
    /// The audit refused a plan: a bug of ours.
    PlanRefused {
        /// What it found.
        violations: Vec<String>,
    },
    /// Cordons of another trimtab are here.
    ForeignCordons {
        /// Its ledger.
        ledger: LedgerId,
    },
    /// A request was refused for something that only an operator can change, or
    /// that nobody understands.
    Refused {
        /// The request.
        request: RequestId,
        /// Why, how often, and until when the cluster is left alone.
        backoff: Backoff,
    },
    /// Every id of a request was refused in an old cluster in which none was
    /// ever accepted: by the API's documentation it has to be patched once.
    ProbablyNeverPatched {
        /// The request.
        request: RequestId,
        /// When the cluster was created.
        created: Time,
    },
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Action { action, node, notice } => {
                let what = match notice {
                    Notice::CordonLost => "somebody took our cordon away; it is left alone",
                    Notice::DeletionOverdue => "its deletion was accepted and has not finished",
                    Notice::ReleaseOverdue => "it could not be released to the scheduler",
                };
                write!(f, "action {action}, node {node}: {what}")
            }
            Self::Frozen { why } => {
                write!(f, "frozen until `trimtab resume --clear-freeze`: {why}")
            }
            Self::GroupFrozenLong { group, for_how_long } => {
                write!(f, "group {group} has been frozen by its counts for {for_how_long}")
            }
            Self::PlanRefused { violations } => {
                write!(f, "the audit refused the plan, nothing was done: {}", violations.join("; "))
            }
            Self::ForeignCordons { ledger } => {
                write!(f, "nodes bear cordons of another trimtab, ledger {ledger}; nothing is done")
            }
            Self::Refused { request, backoff } => write!(f, "request {request}: {backoff}"),
            Self::ProbablyNeverPatched { request, created } => write!(
                f,
                "request {request} was refused for every node. The cluster was created at {created}, \
                 and one from before 2024-06-20 deletes nodes by id only once its software was \
                 updated, so it was probably never patched. UpdateClusterSoftware is an operator's \
                 step, never trimtab's: it takes 30 to 60 minutes or more and interrupts jobs"
            ),
        }
    }
}

/// Tells an operator. Never on the critical path: it may not fail.
pub trait Notifier: Send + Sync {
    /// Passes a notification on.
    fn notify(&self, cluster: &ClusterName, at: Time, notification: &Notification);
}
