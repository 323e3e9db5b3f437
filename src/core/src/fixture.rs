//! Values with safe defaults for this crate's tests.

use crate::policy::{
    Amount, Budgets, Capacity, Factor, GroupCalls, GroupPolicy, NodeLocalData, Prefer, Regain,
    TimerChoice,
};
use crate::units::{MilliGpus, NodeCount, Share, Span, Usd, UsdPerHour};

/// A group of ten nodes at two dollars an hour that may be trimmed to nothing.
pub(crate) fn group() -> GroupPolicy {
    GroupPolicy {
        size: NodeCount(10),
        min_nodes: Amount::Nodes(NodeCount::ZERO),
        min_idle_nodes: NodeCount::ZERO,
        keep_windows: vec![],
        lookahead: Span::hours(24),
        budgets: Budgets {
            per_request: NodeCount(99),
            per_hour: NodeCount(1000),
            per_day: NodeCount(1000),
            leaving: Share::ALL,
        },
        capacity: Capacity::OnDemand,
        regain: Regain::Plentiful,
        price: Some(UsdPerHour(2_000_000)),
        boot: Some(Span::mins(10)),
        billed_after_delete: Span::ZERO,
        delay_value: Factor::ONE,
        boot_failure_cost: Usd::ZERO,
        timer: TimerChoice::BreakEven,
        queue_lookahead: Span::mins(10),
        min_age: Span::ZERO,
        post_job_grace: Span::ZERO,
        prefer: Prefer::Oldest,
        node_local_data: Some(NodeLocalData::Disposable),
        gpus_per_node: MilliGpus::whole(8),
        partitions: vec![],
        max_job_nodes: None,
        utilization: None,
        group_calls: GroupCalls::Never,
        protected: vec![],
    }
}
