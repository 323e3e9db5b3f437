//! What trimtab knows from earlier ticks: samples, open actions, recent deletions, freezes and
//! back-off. All of it is stored in the ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::action::{ActionState, Evidence, Terms};
use crate::backoff::Backoff;
use crate::ids::{ActionId, GroupName, InstanceId, LedgerId, PolicyHash};
use crate::policy::{GroupCalls, GroupPolicy};
use crate::rule::GroupState;
use crate::snapshot::Identity;
use crate::units::{NodeCount, Span, Time};

/// What trimtab knows of one cluster from earlier ticks.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Samples and learner of each named group.
    pub groups: BTreeMap<GroupName, GroupState>,
    /// Open actions by node.
    pub actions: BTreeMap<InstanceId, OpenAction>,
    /// Deletions that were charged in the last 24 hours.
    pub charges: Vec<Charge>,
    /// Nodes in their cool-down, with its end.
    pub cooldowns: BTreeMap<InstanceId, Time>,
    /// Freeze of the cluster, which only an operator clears.
    pub freeze: Option<Freeze>,
    /// Why no deletion is allowed at all, if there is a reason.
    pub stop: Option<Stop>,
    /// Deletions that were confirmed recently. The counts of DescribeCluster can still include
    /// these nodes.
    pub gone: Vec<Gone>,
    /// The back-off after the newest request, if that request was refused. It stays after its
    /// `until`, because the next refusal counts on from it.
    pub backoff: Option<Backoff>,
    /// Whether this cluster has ever accepted a deletion, so that it supports deletions.
    pub has_accepted: bool,
    /// Groups for which the API refused a whole-group request. Their nodes are deleted by id. The
    /// ledger does not store this, so after a restart trimtab tries a whole-group request again.
    pub group_calls_refused: BTreeSet<GroupName>,
}

/// How long after its confirmation a deletion may still explain a difference between counts: 1
/// hour (termination and clean-up take 15 to 20 minutes).
pub const GONE_EXPLAINS: Span = Span::hours(1);

/// A confirmed deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gone {
    /// Instance id.
    pub node: InstanceId,
    /// Instance group of the node.
    pub group: GroupName,
    /// Time of the confirmation.
    pub at: Time,
}

/// The deletion of one node that is not finished.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenAction {
    /// Id in the ledger; part of the cordon's reason.
    pub id: ActionId,
    /// Instance group of the node.
    pub group: GroupName,
    /// Instance id.
    pub node: InstanceId,
    /// Identity of the node. It must be unchanged when the delete request is sent.
    pub identity: Identity,
    /// Time of the mark.
    pub marked_at: Time,
    /// State of the action.
    pub state: ActionState,
    /// Values that stay the same for the whole action.
    pub terms: Terms,
    /// Reason for the mark.
    pub evidence: Evidence,
    /// Digest of the policy at the time of the mark.
    pub policy: PolicyHash,
}

/// Entry of one deletion in the budgets, made before the request is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// Time of the entry.
    pub at: Time,
    /// Instance group of the node.
    pub group: GroupName,
    /// Id of the action. An action is charged at most once.
    pub action: ActionId,
}

/// A freeze of a cluster that only an operator clears.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    /// Start of the freeze.
    pub at: Time,
    /// Reason for the freeze.
    pub why: FreezeReason,
}

/// Why a cluster is frozen until an operator clears it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FreezeReason {
    /// More nodes changed between two samples, or are marked by one plan, than `mass_change`
    /// allows (docs/safety.md, S7).
    MassChange {
        /// Kind of change.
        turned: MassTurn,
        /// Number of nodes that changed.
        changed: NodeCount,
        /// Number of listed workers; for [`MassTurn::Marked`], the declared size of all groups.
        of: NodeCount,
    },
}

/// Kind of a mass change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MassTurn {
    /// Busy nodes turned idle.
    Idle,
    /// Busy or idle nodes turned unknown.
    Unknown,
    /// Nodes left the listing, and trimtab did not delete them.
    Gone,
    /// The plan would delete them.
    Marked,
}

impl fmt::Display for FreezeReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MassChange { turned, changed, of } => {
                let what = match turned {
                    MassTurn::Idle => "turned idle at once",
                    MassTurn::Unknown => "turned unknown at once",
                    MassTurn::Gone => "left the listing at once",
                    MassTurn::Marked => "would be deleted at once",
                };
                write!(f, "{changed} of {of} workers {what}, more than mass_change allows")
            }
        }
    }
}

/// Why no deletion is allowed at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stop {
    /// An operator paused trimtab, by the pause file or in the ledger.
    Paused {
        /// How trimtab was paused, and why.
        why: Arc<str>,
    },
    /// The pause switch could not be read. This stops trimtab, too (docs/safety.md, S14).
    SwitchUnreadable {
        /// Cause of the error.
        why: Arc<str>,
    },
    /// This trimtab does not hold the lease.
    NoLease {
        /// Who holds the lease, or why the lease could not be acquired.
        why: Arc<str>,
    },
    /// Another trimtab has cordoned nodes of this cluster.
    ForeignCordons {
        /// Ledger id of the other trimtab.
        ledger: LedgerId,
    },
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paused { why } => write!(f, "paused: {why}"),
            Self::SwitchUnreadable { why } => write!(f, "the pause switch cannot be read: {why}"),
            Self::NoLease { why } => write!(f, "trimtab does not hold the lease: {why}"),
            Self::ForeignCordons { ledger } => {
                write!(f, "another trimtab (ledger {ledger}) has cordoned nodes of this cluster")
            }
        }
    }
}

impl History {
    /// Returns which whole-group requests are allowed for a group: those of its policy, or none
    /// after the API refused one.
    pub fn group_calls(&self, name: &GroupName, policy: &GroupPolicy) -> GroupCalls {
        if self.group_calls_refused.contains(name) { GroupCalls::Never } else { policy.group_calls }
    }

    /// Returns the number of deletions of a group that were charged within `window` before `now`;
    /// a charge exactly `window` ago is included.
    pub fn charged(&self, group: &GroupName, window: Span, now: Time) -> NodeCount {
        let recent = |c: &&Charge| c.group == *group && now.since(c.at) <= window;
        NodeCount::of(self.charges.iter().filter(recent).count())
    }

    /// Returns a history with the same groups and nothing else. The caller adds samples to it
    /// while the original stays in force.
    pub fn clone_groups(&self) -> Self {
        Self { groups: self.groups.clone(), ..Self::default() }
    }

    /// Returns the back-off in force, if any.
    pub fn backed_off(&self, now: Time) -> Option<&Backoff> {
        self.backoff.as_ref().filter(|backoff| now < backoff.until)
    }

    /// Removes entries that can no longer matter: charges after 24 hours, cool-downs at their end,
    /// confirmed deletions after [`GONE_EXPLAINS`].
    pub fn forget(&mut self, now: Time) {
        self.charges.retain(|c| now.since(c.at) <= Span::hours(24));
        self.cooldowns.retain(|_, until| *until > now);
        self.gone.retain(|g| now.since(g.at) <= GONE_EXPLAINS);
    }
}
