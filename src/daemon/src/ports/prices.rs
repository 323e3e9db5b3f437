//! Prices of nodes.

use trimtab_core::ids::{ClusterName, GroupName};
use trimtab_core::units::UsdPerHour;

/// Prices of groups whose policy names none.
pub trait Prices: Send + Sync {
    /// Returns the price of one node of this group; `None` if it is unknown.
    fn price(&self, cluster: &ClusterName, group: &GroupName) -> Option<UsdPerHour>;
}
