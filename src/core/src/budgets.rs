//! Budgets: how many nodes may still be deleted within a time. The lowest budget counts.

use crate::action::Phase;
use crate::history::History;
use crate::ids::GroupName;
use crate::plan::Bound;
use crate::policy::{GroupPolicy, REQUEST_NODE_LIMIT};
use crate::units::{NodeCount, Span, Time};

/// Kind of the next API request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestLimit {
    /// By ids: at most [`REQUEST_NODE_LIMIT`].
    Ids,
    /// By a count for the whole group: without that limit.
    Count,
}

/// Returns what each budget of a group still allows, with its name. Open actions that are not
/// charged yet count as spent.
pub fn remaining(
    name: &GroupName,
    policy: &GroupPolicy,
    history: &History,
    now: Time,
    limit: RequestLimit,
) -> [(NodeCount, Bound); 4] {
    let (mut uncharged, mut open) = (NodeCount::ZERO, NodeCount::ZERO);
    for action in history.actions.values().filter(|a| a.group == *name) {
        match action.state.phase() {
            Phase::Ended { .. } => continue,
            Phase::Revocable => uncharged += NodeCount(1),
            Phase::Asked { .. } | Phase::Releasing => {}
        }
        open += NodeCount(1);
    }
    let spent = |window| history.charged(name, window, now) + uncharged;
    let budgets = &policy.budgets;
    let request = match limit {
        RequestLimit::Ids => budgets.per_request.min(REQUEST_NODE_LIMIT),
        RequestLimit::Count => budgets.per_request,
    };
    // No more nodes are cordoned than the next request can name.
    let leaving = leaving_limit(policy);
    [
        (request.saturating_sub(uncharged), Bound::RequestBudget),
        (budgets.per_hour.saturating_sub(spent(Span::hours(1))), Bound::HourBudget),
        (budgets.per_day.saturating_sub(spent(Span::hours(24))), Bound::DayBudget),
        (leaving.saturating_sub(open), Bound::LeavingBudget),
    ]
}

/// Returns the most nodes of a group that may leave at the same time: a share of the declared
/// size, rounded down, but at least one node unless the share is zero.
pub fn leaving_limit(policy: &GroupPolicy) -> NodeCount {
    let share = policy.budgets.leaving;
    let least = share.of_rounded_up(policy.size).min(NodeCount(1));
    share.of_rounded_down(policy.size).max(least)
}
