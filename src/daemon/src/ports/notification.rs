//! Notifications for operators.

use std::fmt;

use trimtab_core::action::Notice;
use trimtab_core::backoff::Backoff;
use trimtab_core::history::FreezeReason;
use trimtab_core::ids::{ActionId, ClusterName, GroupName, InstanceId, LedgerId, RequestId};
use trimtab_core::units::{Span, Time};

/// Something that an operator should know.
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
    /// The cluster is frozen until an operator clears the freeze.
    Frozen {
        /// Why.
        why: FreezeReason,
    },
    /// A group has been frozen for too long by its counts or by scaling.
    GroupFrozenLong {
        /// The group.
        group: GroupName,
        /// How long.
        for_how_long: Span,
    },
    /// The audit refused a plan, which is a bug in trimtab.
    PlanRefused {
        /// What it found.
        violations: Vec<String>,
    },
    /// Nodes are cordoned by another trimtab.
    ForeignCordons {
        /// Its ledger.
        ledger: LedgerId,
    },
    /// A request was refused for a reason that only an operator can change, or that is unknown.
    Refused {
        /// The request.
        request: RequestId,
        /// The reason, the number of refusals, and how long trimtab sends no request.
        backoff: Backoff,
    },
    /// Every id of a request was refused in an old cluster that never accepted one. The API's
    /// documentation says that such a cluster must be patched once.
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
                    Notice::CordonLost => "an operator changed its cordon; trimtab skips it",
                    Notice::DeletionOverdue => "its accepted deletion did not finish in time",
                    Notice::ReleaseOverdue => "it was not uncordoned in time; check the scheduler",
                };
                write!(f, "action {action}, node {node}: {what}")
            }
            Self::Frozen { why } => {
                write!(f, "frozen: {why}; check it, then run `trimtab resume --clear-freeze`")
            }
            Self::GroupFrozenLong { group, for_how_long } => {
                write!(f, "group {group}: frozen for {for_how_long} by its counts or by scaling")
            }
            Self::PlanRefused { violations } => {
                write!(f, "plan not carried out, the audit refused it: {}", violations.join("; "))
            }
            Self::ForeignCordons { ledger } => {
                write!(f, "another trimtab, ledger {ledger}, cordoned nodes; nothing is deleted")
            }
            Self::Refused { request, backoff } => write!(f, "request {request}: {backoff}"),
            Self::ProbablyNeverPatched { request, created } => write!(
                f,
                "request {request} was refused for every node. The cluster was created at {created}. \
                 A cluster from before 2024-06-20 deletes nodes by id only after a software update, \
                 so this one was probably never patched. trimtab never updates software: an \
                 operator must call UpdateClusterSoftware. It takes 30 to 60 minutes or more and \
                 interrupts jobs"
            ),
        }
    }
}

/// Sends notifications to operators. It cannot fail, so that no tick depends on it.
pub trait Notifier: Send + Sync {
    /// Sends a notification.
    fn notify(&self, cluster: &ClusterName, at: Time, notification: &Notification);
}
