//! What we know from before this tick: folded samples, open actions, what was
//! deleted lately, and what is frozen. All of it comes from the ledger.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::action::{ActionState, Terms};
use crate::backoff::Backoff;
use crate::ids::{ActionId, GroupName, InstanceId, LedgerId, PolicyHash};
use crate::plan::Evidence;
use crate::rule::GroupState;
use crate::snapshot::Identity;
use crate::units::{NodeCount, Span, Time};

/// What we know from before.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Folded samples of every named group.
    pub groups: BTreeMap<GroupName, GroupState>,
    /// Open actions by the node they are about.
    pub actions: BTreeMap<InstanceId, OpenAction>,
    /// Deletions asked for in the last 24 hours.
    pub charges: Vec<Charge>,
    /// Nodes that are left alone for a while.
    pub cooldowns: BTreeMap<InstanceId, Time>,
    /// Freezes that only an operator ends.
    pub freeze: Option<Freeze>,
    /// Why nothing may be done at all, if so.
    pub stop: Option<Stop>,
    /// Actions that ended lately because their node is gone: their trace in
    /// the counts of DescribeCluster can outlast them.
    pub gone: Vec<Gone>,
    /// The last refusals of whole requests in a row, if the last request was
    /// refused. It outlasts its `until`: the next refusal counts on.
    pub backoff: Option<Backoff>,
    /// A deletion was accepted here before, so the cluster can do it.
    pub has_accepted: bool,
}

/// How long after its end a deletion may still explain a difference between
/// counts (termination and clean-up take 15 to 20 minutes).
pub const GONE_EXPLAINS: Span = Span::hours(1);

/// A deletion that is confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gone {
    /// The node.
    pub node: InstanceId,
    /// Its group.
    pub group: GroupName,
    /// When it was confirmed.
    pub at: Time,
}

/// One node on its way out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenAction {
    /// Its id in the ledger, part of the cordon's reason.
    pub id: ActionId,
    /// The node's group.
    pub group: GroupName,
    /// The node.
    pub node: InstanceId,
    /// What must still hold at the delete.
    pub identity: Identity,
    /// When it was marked.
    pub marked_at: Time,
    /// Where it stands.
    pub state: ActionState,
    /// What is the same for its whole life.
    pub terms: Terms,
    /// Why it was marked.
    pub evidence: Evidence,
    /// The policy it was marked under.
    pub policy: PolicyHash,
}

/// One deletion that was asked for, charged before the call was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// When.
    pub at: Time,
    /// In which group.
    pub group: GroupName,
    /// For which action; an action is charged at most once.
    pub action: ActionId,
}

/// A freeze that only an operator ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    /// Since when.
    pub at: Time,
    /// Why.
    pub why: FreezeReason,
}

/// Why a cluster was frozen until an operator clears it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FreezeReason {
    /// Too many nodes changed between two samples to be believed (S7).
    MassChange {
        /// What they turned into.
        turned: MassTurn,
        /// How many did.
        changed: NodeCount,
        /// Of how many: listed workers, or, for a plan, those declared.
        of: NodeCount,
    },
}

/// What too many nodes turned into at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MassTurn {
    /// Busy nodes turned idle.
    Idle,
    /// Known nodes turned unknown.
    Unknown,
    /// Nodes left the listing without us.
    Gone,
    /// The plan wants to delete them.
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
                write!(f, "{changed} of {of} workers {what}, more than may be believed")
            }
        }
    }
}

/// Why nothing may be done at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stop {
    /// An operator paused us, by file or in the ledger.
    Paused {
        /// By what and why.
        why: Arc<str>,
    },
    /// The switch could not be read, which stops too (S14).
    SwitchUnreadable {
        /// What went wrong.
        why: Arc<str>,
    },
    /// We do not hold the lease.
    NoLease {
        /// Who does, or what went wrong.
        why: Arc<str>,
    },
    /// The cluster bears cordons of another trimtab.
    ForeignCordons {
        /// Its ledger.
        ledger: LedgerId,
    },
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paused { why } => write!(f, "paused: {why}"),
            Self::SwitchUnreadable { why } => write!(f, "the pause switch cannot be read: {why}"),
            Self::NoLease { why } => write!(f, "the lease is not ours: {why}"),
            Self::ForeignCordons { ledger } => {
                write!(f, "another trimtab (ledger {ledger}) has cordoned nodes here")
            }
        }
    }
}

impl History {
    /// Deletions of a group charged within `window` before `now`, an instant
    /// exactly that long ago included.
    pub fn charged(&self, group: &GroupName, window: Span, now: Time) -> NodeCount {
        let recent = |c: &&Charge| c.group == *group && now.since(c.at) <= window;
        NodeCount::of(self.charges.iter().filter(recent).count())
    }

    /// A history with the same group states and nothing else, to fold into
    /// while the old ones stay in force.
    pub fn clone_groups(&self) -> Self {
        Self { groups: self.groups.clone(), ..Self::default() }
    }

    /// The back-off in force, if there is one.
    pub fn backed_off(&self, now: Time) -> Option<&Backoff> {
        self.backoff.as_ref().filter(|backoff| now < backoff.until)
    }

    /// Drops what can no longer matter.
    pub fn forget(&mut self, now: Time) {
        self.charges.retain(|c| now.since(c.at) <= Span::hours(24));
        self.cooldowns.retain(|_, until| *until > now);
        self.gone.retain(|g| now.since(g.at) <= GONE_EXPLAINS);
    }
}
