//! The floor of a group: the fewest live nodes that must stay.

use crate::policy::GroupPolicy;
use crate::units::{NodeCount, Time};

/// Returns the fewest live nodes that must stay: the highest of `min_nodes`, every keep window
/// that is open at any time from now until the end of `lookahead`, and `max_job_nodes`; plus
/// `min_idle_nodes`. Percentages of `size` are rounded up.
///
/// The floor looks ahead because a node needs a boot time to come back, and, until trimtab can
/// grow a group, an operator who requests it.
pub fn floor(policy: &GroupPolicy, now: Time) -> NodeCount {
    let until = now + policy.lookahead;
    let ahead = policy.keep_windows.iter().filter(|w| w.opens_within(now, until));
    let highest =
        ahead.map(|w| w.min_nodes.of(policy.size)).fold(policy.min_nodes.of(policy.size), Ord::max);
    highest.max(policy.max_job_nodes.unwrap_or_default()) + policy.min_idle_nodes
}
