//! Display text of statuses, answers, ends and audit rules, as operators read it.
//!
//! The text is lower case and fits into a sentence. The names in JSON documents and in the ledger
//! come from serde, not from here.

use std::fmt;

use crate::action::{Answer, End, OwnCordon, Work};
use crate::audit::Rule;
use crate::reads::{Capacity, ClusterStatus, InstanceStatus, Role};

impl fmt::Display for ClusterStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InService => f.write_str("in service"),
            Self::Creating => f.write_str("being created"),
            Self::Updating => f.write_str("updating"),
            Self::SystemUpdating => f.write_str("updating its software"),
            Self::RollingBack => f.write_str("rolling back"),
            Self::Deleting => f.write_str("being deleted"),
            Self::Failed => f.write_str("failed"),
            Self::Unrecognised(status) => write!(f, "in the unknown status `{status}`"),
        }
    }
}

impl fmt::Display for InstanceStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("running"),
            Self::Pending => f.write_str("pending"),
            Self::Failure => f.write_str("failure"),
            Self::ShuttingDown => f.write_str("shutting down"),
            Self::SystemUpdating => f.write_str("updating its software"),
            Self::DeepHealthCheck => f.write_str("deep health check"),
            Self::Unrecognised(status) => write!(f, "unknown status `{status}`"),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Worker => "worker",
            Self::Login => "login",
            Self::Controller => "controller",
        })
    }
}

/// Writes the value of the configuration key.
impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OnDemand => "on-demand",
            Self::Spot => "spot",
            Self::TrainingPlan => "training-plan",
            Self::Reserved => "reserved",
        })
    }
}

impl fmt::Display for OwnCordon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ours => "cordoned by this action",
            Self::Clear => "not cordoned",
            Self::NotOurs => "cordoned, but not by this action",
            Self::Unread => "cordon unknown",
        })
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("no work"),
            Self::Claimed(claim) => write!(f, "in use: {claim}"),
            Self::Active => f.write_str("its metrics show work"),
            Self::Unread => f.write_str("work unknown"),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted => f.write_str("accepted"),
            Self::Failed { code } => write!(f, "failed: {code}"),
            Self::Refused { why } => write!(f, "refused: {why}"),
            Self::NoAnswer => f.write_str("no answer"),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("deleted"),
            Self::Released(why) => write!(f, "released: {why}"),
            Self::CordonLost => f.write_str("left alone: its cordon was removed or replaced"),
            Self::Replaced => f.write_str("left alone: another instance has its name now"),
        }
    }
}

/// Writes how a plan or request violates the rule.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Current => "the plan was made for another cluster, policy or time",
            Self::ClusterCalm => {
                "the cluster is stopped, frozen, changing, or was not read completely"
            }
            Self::GroupCalm => {
                "the group is not a worker group of the policy, is changing, or its counts disagree"
            }
            Self::WorthIt => {
                "its price, boot time, capacity or node-local data does not allow a deletion"
            }
            Self::SameNode => {
                "it is not listed as running, has changed, is marked twice or is leaving already"
            }
            Self::Evidence => "there is no fresh evidence that it is idle",
            Self::LeftAlone => "it is protected, cooling down, too young or was busy lately",
            Self::Surplus => "it was not surplus during the whole idle timer",
            Self::Floor => "the floor of the group or of the cluster does not hold",
            Self::Budget => "a budget is exceeded: request, hour, day or leaving at once",
            Self::MassChange => "too many nodes change at once",
            Self::Demand => "waiting jobs need the idle nodes",
            Self::Revocable => "it has no open action, or its deletion was requested already",
            Self::Gate => "a gate did not allow it before the look began",
            Self::BackedOff => "the back-off after a refused request is not over",
            Self::WholeGroup => {
                "a request for a whole group must be allowed by the policy and take every node"
            }
            Self::Counts => "the counts of the group differ from its listed and cordoned nodes",
        })
    }
}
