//! The gate: the operator's programs that are asked before nodes are deleted.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use trimtab_core::ids::{ActionId, ClusterName, GroupName, InstanceId, LedgerId, NodeName};
use trimtab_core::units::Time;

/// Nodes of one group that somebody outside is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Whose nodes they are.
    pub cluster: ClusterName,
    /// Their group.
    pub group: GroupName,
    /// Our ledger, in which the actions are.
    pub ledger: LedgerId,
    /// When it is asked.
    pub at: Time,
    /// The nodes: settled, and looked at clean.
    pub nodes: Vec<QuestionedNode>,
}

/// A node that somebody outside is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuestionedNode {
    /// The node.
    pub id: InstanceId,
    /// The scheduler's name for it.
    pub name: Option<NodeName>,
    /// Its address in the customer's network, if it was read.
    pub ip: Option<IpAddr>,
    /// The action that is to delete it.
    pub action: ActionId,
}

/// How a question stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InquiryState {
    /// There is no answer yet.
    Open,
    /// It is answered. A node that no veto names may go.
    Answered {
        /// When the answer was there.
        at: Time,
        /// The nodes that may not go, and why not.
        vetoes: BTreeMap<InstanceId, Arc<str>>,
    },
}

/// Somebody outside who is asked before nodes are deleted, after they settled: a
/// program that saves what is on their disks, or one that looks for people on them.
///
/// Nothing here waits: an answer may take many ticks.
pub trait Gate: Send + Sync {
    /// Begins to ask whether these nodes may go. What goes wrong, at the start or
    /// later, is an answer, too: a veto.
    fn ask(&self, question: Question) -> Box<dyn Inquiry>;
}

/// A question under way. To drop it is to withdraw it: what was begun for it is
/// ended.
pub trait Inquiry: Send + Sync {
    /// How it stands now. Once answered, always the same.
    fn state(&self) -> InquiryState;

    /// When it will be answered at the latest: no answer by then is a veto.
    fn deadline(&self) -> Time;
}
