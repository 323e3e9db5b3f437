//! Which of a group's candidates goes first.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::ids::InstanceId;
use crate::policy::{GroupPolicy, Prefer};
use crate::snapshot::NodeView;
use crate::units::{Time, UsdPerHour};

/// The order of deletion: the smallest goes first. The order of the fields is
/// the order of importance, and the id at the end makes ties stable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// The dearest first: its absence saves most.
    dearest: Reverse<UsdPerHour>,
    /// The worst health first.
    health: u8,
    /// The oldest image first; no image known sorts before any.
    image: Option<Arc<str>>,
    /// By age, as the policy prefers.
    age: Age,
    /// By id.
    id: InstanceId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Age {
    Oldest(Time),
    Newest(Reverse<Time>),
}

impl Rank {
    /// A node's place in the order.
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
