//! What has to stay: a group's floor with its look-ahead, and its headroom.

use crate::policy::GroupPolicy;
use crate::units::{NodeCount, Time};

/// Fewest live nodes a group may be left with: the largest floor in force at
/// any time from now until the look-ahead ends, or what its largest job needs, plus
/// the headroom. A node takes
/// a boot to come back, and until trimtab can grow a group, an operator to ask
/// for it, so a floor that is about to come into force holds already.
pub fn floor(policy: &GroupPolicy, now: Time) -> NodeCount {
    let until = now + policy.lookahead;
    let ahead = policy.keep_windows.iter().filter(|w| w.opens_within(now, until));
    let highest =
        ahead.map(|w| w.min_nodes.of(policy.size)).fold(policy.min_nodes.of(policy.size), Ord::max);
    highest.max(policy.max_job_nodes.unwrap_or_default()) + policy.min_idle_nodes
}
