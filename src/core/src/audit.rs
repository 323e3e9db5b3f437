//! The audit checks every plan and every delete request. trimtab acts only on what it approved.
//!
//! It imports only data types and shares no code with the planner, so that it detects mistakes of
//! the planner (a test checks the imports). It also computes differently: the planner counts in one
//! pass, and the audit counts again for each check; the planner uses interval arithmetic for keep
//! windows, and the audit tests every minute; the planner uses a monotone queue, and the audit
//! reads all samples.
//!
//! Only [`approve`] creates an [`ApprovedPlan`], which has marks and releases but no delete
//! requests. Only [`clear`] creates a [`ClearedBatch`], and only [`clear_group`] a
//! [`ClearedGroup`]. The delete port accepts no other requests.

use std::fmt;

mod approval;
mod clearance;
mod facts;
mod whole_group;

pub use self::approval::{ApprovedPlan, approve};
pub use self::clearance::{Clearance, ClearedBatch, Offer, clear, trial};
pub use self::whole_group::{
    Cleared, ClearedGroup, NumberedRequest, Recount, clear_group, group_trial,
};

/// A rule that a plan violates. Every violation is a bug in trimtab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Name of the node, group or cluster.
    pub subject: String,
    /// The violated rule.
    pub rule: Rule,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.rule)
    }
}

/// The rules for plans and delete requests. Each variant says what must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The plan or look is current: this cluster, the policy in force, and a recent enough time.
    Current,
    /// The cluster is not stopped, frozen or changing, and was read completely.
    ClusterCalm,
    /// The policy names the group, it is a worker group, it is not changing, and its counts agree.
    GroupCalm,
    /// A deletion saves money: the capacity is metered, the price and the boot time are known, and
    /// the policy accepts the loss of the capacity and of node-local data.
    WorthIt,
    /// The node is listed as Running, is unchanged, is not leaving, and is marked only once.
    SameNode,
    /// Fresh evidence shows that the node is idle.
    Evidence,
    /// The node is not protected, not in a cooldown, old enough, and was not busy recently.
    LeftAlone,
    /// The node was surplus during the whole idle timer. Headroom and nodes for waiting jobs are
    /// not surplus.
    Surplus,
    /// The floors of the group and of the cluster hold.
    Floor,
    /// The budgets for one request, one hour, one day and nodes leaving at once hold.
    Budget,
    /// The number of nodes that change at once is plausible.
    MassChange,
    /// Enough idle nodes stay for the jobs that wait now.
    Demand,
    /// A release is for an open action whose deletion was not requested yet.
    Revocable,
    /// Every gate allowed the action before the look began.
    Gate,
    /// The cluster is not in back-off after a refused request.
    BackedOff,
    /// A whole-group request covers every node of the group, and the policy allows it.
    WholeGroup,
    /// `CurrentCount`, `TargetCount` and the numbers of listed and cordoned nodes are equal,
    /// before and after the looks.
    Counts,
}
