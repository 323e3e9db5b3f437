//! The audit: nothing is done that it has not approved.
//!
//! It imports data only and shares no code with the planner, so that a mistake
//! there is caught here (a test checks the imports). Where the planner counts
//! in one pass, the audit counts anew; where the planner does interval
//! arithmetic on keep windows, the audit steps through the minutes; where the
//! planner keeps a monotone queue, the audit walks the samples.
//!
//! [`approve`] makes the only [`ApprovedPlan`]s: marks and releases, never a
//! delete. [`clear`] makes the only [`ClearedBatch`]es and [`clear_group`] the
//! only [`ClearedGroup`]s, and the delete port takes nothing else.

use std::fmt;

mod approval;
mod clearance;
mod facts;
mod whole_group;

pub use self::approval::{ApprovedPlan, approve};
pub use self::clearance::{Clearance, ClearedBatch, Offer, clear};
pub use self::whole_group::{
    Cleared, ClearedGroup, NumberedRequest, Recount, clear_group, group_trial,
};

/// What a plan does that it may not. Each is a bug of ours, not of the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The node or group concerned.
    pub subject: String,
    /// What is wrong.
    pub rule: Rule,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.rule)
    }
}

/// The rules a plan is held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Made under the policy in force, for this cluster and instant.
    Current,
    /// Nothing is stopped, frozen, unread or under way in the cluster.
    ClusterCalm,
    /// Named in the policy, a worker group, calm, counts explained.
    GroupCalm,
    /// Metered, priced, declared, to be had again.
    WorthIt,
    /// Listed once, Running, the same node, not under way already.
    SameNode,
    /// Positive, fresh evidence that nothing lays claim to it.
    Evidence,
    /// Not protected, cooling down, too young or busy lately.
    LeftAlone,
    /// Spare all through the idle timer, headroom and queue left out.
    Surplus,
    /// The group's and the cluster's floor.
    Floor,
    /// Request, hour, day and share.
    Budget,
    /// Not more at once than may be believed.
    MassChange,
    /// Enough idle nodes stay for jobs that wait now.
    Demand,
    /// Only open, revocable actions are released.
    Revocable,
    /// A gate has let it through before the look began.
    Gate,
    /// No refused request is being waited out.
    BackedOff,
    /// A call for the whole group takes all of it or nothing: every node, and
    /// only where the policy lets it.
    WholeGroup,
    /// `CurrentCount == TargetCount ==` listed `==` cordoned, before and after the
    /// looks.
    Counts,
}
