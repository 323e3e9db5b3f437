//! Prices of nodes.

use trimtab_core::ids::{ClusterName, GroupName};
use trimtab_core::units::UsdPerHour;

/// What a node costs where the policy does not say.
pub trait Prices: Send + Sync {
    /// The price of a node of this group; `None` if it is not known.
    fn price(&self, cluster: &ClusterName, group: &GroupName) -> Option<UsdPerHour>;
}
