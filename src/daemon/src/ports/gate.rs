//! The gate: programs of the operator that can veto a deletion.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use trimtab_core::ids::{ActionId, ClusterName, GroupName, InstanceId, LedgerId, NodeName};
use trimtab_core::units::Time;

/// Nodes of one group that a gate is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Their cluster.
    pub cluster: ClusterName,
    /// Their group.
    pub group: GroupName,
    /// The ledger that contains the actions.
    pub ledger: LedgerId,
    /// When the gate is asked.
    pub at: Time,
    /// The nodes. Their settle time is over and their last look found no work.
    pub nodes: Vec<QuestionedNode>,
}

/// A node that a gate is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuestionedNode {
    /// The node.
    pub id: InstanceId,
    /// The scheduler's name for it.
    pub name: Option<NodeName>,
    /// Address in the customer's network, if known.
    pub ip: Option<IpAddr>,
    /// The action that deletes it.
    pub action: ActionId,
}

/// Progress of an inquiry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InquiryState {
    /// No answer yet.
    Open,
    /// The gate has answered. A node without a veto may be deleted.
    Answered {
        /// When the answer arrived.
        at: Time,
        /// Nodes that must not be deleted, with the reason.
        vetoes: BTreeMap<InstanceId, Arc<str>>,
    },
}

/// A program outside trimtab that is asked before nodes are deleted, after their settle time:
/// for example to save data from their disks, or to look for logged-in users.
///
/// No method waits. An answer may take many ticks.
pub trait Gate: Send + Sync {
    /// Starts an inquiry about whether these nodes may be deleted. A failure, at the start or
    /// later, is a veto.
    fn ask(&self, question: Question) -> Box<dyn Inquiry>;
}

/// An inquiry under way. Dropping it withdraws the question and ends the program.
pub trait Inquiry: Send + Sync {
    /// Returns the current state. It does not change after an answer.
    fn state(&self) -> InquiryState;

    /// Returns the latest time of an answer. No answer by then is a veto.
    fn deadline(&self) -> Time;
}
