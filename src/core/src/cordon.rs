//! The cordon: the reason that trimtab drains a node with, and what a drain's reason says.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::{ActionId, InstanceId, LedgerId, NodeName};

/// Who keeps new jobs off a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CordonStatus {
    /// Nobody.
    Clear,
    /// This ledger, for one of these actions.
    Ours {
        /// The actions named in the reason.
        actions: ActionSpan,
    },
    /// Another trimtab.
    Foreign {
        /// Its ledger.
        ledger: LedgerId,
    },
    /// HyperPod's own recovery (a reason that begins with `Action:`).
    Recovery,
    /// Somebody else, with this reason.
    Operator {
        /// The reason given.
        reason: Arc<str>,
    },
}

/// The text put before every cordon's reason.
const CORDON_PREFIX: &str = "trimtab:";

/// HyperPod's recovery drains nodes with reasons that begin like this.
const RECOVERY_PREFIX: &str = "Action:";

/// How Slurm begins what it adds to a reason when a node is rebooted.
const REBOOT_NOTE: &str = " : reboot ";

/// The reason our cordon carries: `trimtab:<ledger>:<action>`, or with several nodes
/// cordoned in one call `trimtab:<ledger>:<first>-<last>`.
pub fn cordon_reason(ledger: &LedgerId, actions: impl Into<ActionSpan>) -> String {
    format!("{CORDON_PREFIX}{ledger}:{}", actions.into())
}

/// The actions that one call cordons for, from the lowest id to the highest. Ids are
/// never used again and an action is of one node, so an action of a node that lies in
/// the span of its cordon is the one it was cordoned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionSpan {
    first: ActionId,
    last: ActionId,
}

impl ActionSpan {
    /// The narrowest span of these; `None` of none.
    pub fn of(actions: impl IntoIterator<Item = ActionId>) -> Option<Self> {
        let mut actions = actions.into_iter();
        let one = Self::from(actions.next()?);
        Some(actions.fold(one, |span, action| Self {
            first: span.first.min(action),
            last: span.last.max(action),
        }))
    }

    /// Its lowest id.
    pub const fn first(self) -> ActionId {
        self.first
    }

    /// Whether an action lies in it.
    pub fn contains(self, action: ActionId) -> bool {
        self.first <= action && action <= self.last
    }
}

impl From<ActionId> for ActionSpan {
    fn from(action: ActionId) -> Self {
        Self { first: action, last: action }
    }
}

impl fmt::Display for ActionSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last } = self;
        if first == last { write!(f, "{first}") } else { write!(f, "{first}-{last}") }
    }
}

impl FromStr for ActionSpan {
    type Err = ();

    /// Reads just what is written; signs, blanks and spans that run backwards are none.
    fn from_str(text: &str) -> Result<Self, ()> {
        let id = |text: &str| text.parse().map(ActionId).map_err(drop);
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (id(first)?, id(last)?);
        let span = Self { first, last };
        if first <= last && span.to_string() == text { Ok(span) } else { Err(()) }
    }
}

impl CordonStatus {
    /// Whether it is ours, for this action.
    pub fn is_for(&self, action: ActionId) -> bool {
        matches!(self, Self::Ours { actions } if actions.contains(action))
    }

    /// Whose cordon a drain with this reason is. A reason that begins like ours
    /// but does not parse is somebody else's: hands off.
    pub fn of_reason(reason: &str, ours: &LedgerId) -> Self {
        if reason.starts_with(RECOVERY_PREFIX) {
            return Self::Recovery;
        }
        // Slurm itself writes ` : reboot issued` behind a reason when somebody reboots.
        let own = reason.split_once(REBOOT_NOTE).map_or(reason, |(own, _)| own);
        let parsed = own.strip_prefix(CORDON_PREFIX).and_then(|rest| {
            let (ledger, action) = rest.split_once(':')?;
            Some((ledger.parse::<LedgerId>().ok()?, action.parse::<ActionSpan>().ok()?))
        });
        match parsed {
            Some((ledger, actions)) if ledger == *ours => Self::Ours { actions },
            Some((ledger, _)) => Self::Foreign { ledger },
            None => Self::Operator { reason: reason.into() },
        }
    }
}

/// A trimtab cordon that the scheduler shows, ours or another's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenCordon {
    /// The scheduler's name for the node.
    pub name: NodeName,
    /// The instance that bears this name now, if one is listed.
    pub instance: Option<InstanceId>,
    /// Whose it is.
    pub cordon: CordonStatus,
}

/// A node to cordon or to release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CordonOrder {
    /// The scheduler's name for it.
    pub name: NodeName,
    /// The action it is for, part of the reason.
    pub action: ActionId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_well_formed_reason_is_our_cordon() {
        let ours: LedgerId = "0f3a-77".parse().expect("valid");
        let theirs: LedgerId = "aaaa-11".parse().expect("valid");
        let reason = cordon_reason(&ours, ActionId(7));
        assert_eq!(reason, "trimtab:0f3a-77:7");
        assert_eq!(
            CordonStatus::of_reason(&reason, &ours),
            CordonStatus::Ours { actions: ActionId(7).into() }
        );
        let span = ActionSpan::of([9, 7, 12].map(ActionId)).expect("one at least");
        let reason = cordon_reason(&ours, span);
        assert_eq!(reason, "trimtab:0f3a-77:7-12");
        assert_eq!(CordonStatus::of_reason(&reason, &ours), CordonStatus::Ours { actions: span });
        assert!([7, 8, 12].iter().all(|id| span.contains(ActionId(*id))));
        assert!([6, 13].iter().all(|id| !span.contains(ActionId(*id))));
        assert_eq!(
            CordonStatus::of_reason(&reason, &theirs),
            CordonStatus::Foreign { ledger: ours.clone() }
        );
        let rebooted = format!("{reason} : reboot issued");
        assert_eq!(CordonStatus::of_reason(&rebooted, &ours), CordonStatus::Ours { actions: span });
        assert_eq!(CordonStatus::of_reason("Action:Replace", &ours), CordonStatus::Recovery);
        for odd in [
            "trimtab:0f3a-77:",
            "trimtab:0f3a-77:7 and more",
            "trimtab:0f3a-77:+7",
            "trimtab:0f3a-77:7-7",
            "trimtab:0f3a-77:9-7",
            "trimtab:0f3a-77:7-9-11",
            "trimtab",
            "bad fan",
            "",
        ] {
            let seen_node = CordonStatus::of_reason(odd, &ours);
            assert!(matches!(seen_node, CordonStatus::Operator { .. }), "{odd}: {seen_node:?}");
        }
    }
}
