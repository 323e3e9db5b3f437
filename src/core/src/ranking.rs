//! Order in which the candidates of a group are deleted.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::ids::InstanceId;
use crate::policy::{GroupPolicy, Prefer};
use crate::snapshot::NodeView;
use crate::units::{Time, UsdPerHour};

/// Rank of a candidate; the smallest is deleted first. The order of the fields is the order of
/// priority. The id at the end makes ties stable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// Highest price first: its deletion saves most.
    dearest: Reverse<UsdPerHour>,
    /// Worst health first.
    health: u8,
    /// Oldest image first; an unknown image sorts before all others.
    image: Option<Arc<str>>,
    /// Age, in the order that the policy prefers.
    age: Age,
    /// Instance id.
    id: InstanceId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Age {
    Oldest(Time),
    Newest(Reverse<Time>),
}

impl Rank {
    /// Returns the rank of a node.
    pub fn of(node: &NodeView, policy: &GroupPolicy) -> Self {
        Self {
            dearest: Reverse(policy.price.unwrap_or(UsdPerHour::ZERO)),
            health: node.health,
            image: node.image.clone(),
            age: match policy.prefer {
                Prefer::Oldest => Age::Oldest(node.launched),
                Prefer::Newest => Age::Newest(Reverse(node.launched)),
            },
            id: node.id,
        }
    }
}
