//! Cordons: the drain reason that trimtab writes, and how it reads the reason of any drain.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::{ActionId, InstanceId, LedgerId, NodeName, ParseIdError};

/// Whether and by whom a node is cordoned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CordonStatus {
    /// The node is not cordoned.
    Clear,
    /// This trimtab cordoned it, for one of these actions.
    Ours {
        /// Action ids in the drain reason.
        actions: ActionSpan,
    },
    /// Another trimtab cordoned it.
    Foreign {
        /// Ledger id of that trimtab.
        ledger: LedgerId,
    },
    /// HyperPod recovers it (the drain reason begins with `Action:`).
    Recovery,
    /// An operator or another program drained it.
    Operator {
        /// The drain reason.
        reason: Arc<str>,
    },
}

/// Prefix of every drain reason that trimtab writes.
const CORDON_PREFIX: &str = "trimtab:";

/// Prefix of the drain reasons that HyperPod's recovery writes.
const RECOVERY_PREFIX: &str = "Action:";

/// Begin of the note that Slurm appends to a drain reason when the node is rebooted.
const REBOOT_NOTE: &str = " : reboot ";

/// Returns the drain reason of a cordon: `trimtab:<ledger>:<action>`, or
/// `trimtab:<ledger>:<first>-<last>` if one request cordons several nodes.
pub fn cordon_reason(ledger: &LedgerId, actions: impl Into<ActionSpan>) -> String {
    format!("{CORDON_PREFIX}{ledger}:{}", actions.into())
}

/// Range of the action ids for which one request cordons nodes. Ids are never reused, and each
/// action belongs to one node. Therefore the action of a node that is in the range of its cordon
/// is the action that cordoned it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionSpan {
    first: ActionId,
    last: ActionId,
}

impl ActionSpan {
    /// Returns the smallest range that contains these ids; `None` if there are none.
    pub fn of(actions: impl IntoIterator<Item = ActionId>) -> Option<Self> {
        let mut actions = actions.into_iter();
        let one = Self::from(actions.next()?);
        Some(actions.fold(one, |span, action| Self {
            first: span.first.min(action),
            last: span.last.max(action),
        }))
    }

    /// Returns the lowest id.
    pub const fn first(self) -> ActionId {
        self.first
    }

    /// Whether the id is in the range.
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
    type Err = ParseIdError;

    /// Parses exactly the form that `Display` writes. Signs, blanks and descending ranges are
    /// errors.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseIdError {
            text: text.to_owned(),
            wanted: "an action id or an ascending range of ids (such as `7` or `7-12`)",
        };
        let id = |text: &str| text.parse().map(ActionId).map_err(|_| wrong());
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (id(first)?, id(last)?);
        let span = Self { first, last };
        if first <= last && span.to_string() == text { Ok(span) } else { Err(wrong()) }
    }
}

impl CordonStatus {
    /// Whether this trimtab cordoned the node for this action.
    pub fn is_for(&self, action: ActionId) -> bool {
        matches!(self, Self::Ours { actions } if actions.contains(action))
    }

    /// Returns who drained a node with this reason. A reason that begins with our prefix but does
    /// not parse counts as the operator's, so trimtab does not change that node.
    pub fn of_reason(reason: &str, ours: &LedgerId) -> Self {
        if reason.starts_with(RECOVERY_PREFIX) {
            return Self::Recovery;
        }
        // Slurm appends ` : reboot issued` to the reason when an operator reboots the node.
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

/// A cordon of this or another trimtab that the scheduler shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenCordon {
    /// Name of the node in the scheduler.
    pub name: NodeName,
    /// The instance that has this name now, if exactly one is listed.
    pub instance: Option<InstanceId>,
    /// Who cordoned it.
    pub cordon: CordonStatus,
}

/// A node to cordon or uncordon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CordonOrder {
    /// Name of the node in the scheduler.
    pub name: NodeName,
    /// The action to cordon it for. Its id is part of the drain reason.
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
        let why = "9-7".parse::<ActionSpan>().expect_err("it runs backwards").to_string();
        assert!(why.starts_with("`9-7` is not an action id or an ascending range"), "{why}");
    }
}
