//! Values with safe defaults for the tests of this crate.

use std::collections::BTreeMap;

use crate::action::{ActionState, Evidence, Terms};
use crate::history::OpenAction;
use crate::ids::{ActionId, InstanceId};
use crate::policy::{
    Amount, Budgets, Factor, GroupCalls, GroupPolicy, NodeLocalData, Prefer, Regain, TimerChoice,
    Timing,
};
use crate::reads::{
    Capacity, ClusterState, ClusterStatus, GroupDescription, InstanceStatus, NodeCapacity,
    Provisioning, Reading, Role,
};
use crate::snapshot::{
    GroupView, Identity, Listing, NodeView, SchedulerStatus, Snapshot, WorkloadSource,
};
use crate::units::{MilliGpus, NodeCount, Share, Span, Time, Usd, UsdPerHour};

/// Returns the policy of a group of ten nodes at 2 USD per hour that may shrink to zero nodes.
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

pub(crate) const AT: Time = Time::from_secs(1_800_000_000);

/// Returns an open action in this state. Its node can be cordoned.
pub(crate) fn action(state: ActionState) -> OpenAction {
    let identity = Identity { launched: Time(0), name: Some("n1".parse().expect("a name")) };
    OpenAction {
        id: ActionId(7),
        group: "workers".parse().expect("a name"),
        node: InstanceId::from_number(1),
        identity,
        marked_at: AT,
        state,
        terms: Terms::new(&Timing::default(), true, Span::secs(30)),
        evidence: Evidence {
            idle_since: AT,
            surplus: NodeCount(1),
            tau: Span::mins(20),
            price: UsdPerHour(3_060_000),
            boot_cost: Usd(1_020_000),
            remainder: None,
        },
        policy: "cafe".parse().expect("a digest"),
    }
}

/// Returns a snapshot in which the node of the action is Running and the scheduler reports this.
pub(crate) fn snapshot(action: &OpenAction, scheduler: Reading<SchedulerStatus>) -> Snapshot {
    let node = NodeView {
        id: action.node,
        launched: action.identity.launched,
        status: InstanceStatus::Running,
        name: action.identity.name.clone(),
        join_doubt: None,
        image: None,
        health: 100,
        protected: false,
        capacity: NodeCapacity::NotShown,
        scheduler,
        activity: Reading::Absent,
        described_running: true,
    };
    let description = GroupDescription {
        role: Role::Worker,
        current: NodeCount(1),
        target: NodeCount(1),
        calm: true,
        capacity: None,
    };
    let view = GroupView {
        description,
        freeze: None,
        nodes: vec![node],
        pending: Some(vec![]),
        offers: None,
    };
    Snapshot {
        cluster: "research".parse().expect("a name"),
        begun_at: AT,
        taken_at: AT,
        state: Some(ClusterState {
            status: ClusterStatus::InService,
            provisioning: Provisioning::Continuous,
            rival_autoscaler: false,
            software_update: false,
            created: None,
        }),
        listing: Listing::Complete,
        workload: WorkloadSource::Complete,
        groups: BTreeMap::from([(action.group.clone(), view)]),
        cordons: vec![],
        refuses_large_jobs: false,
    }
}
