//! Facts that both approval and clearance derive from the snapshot, the policy and the history.

use crate::action::{ActionState, Phase, RequestScope};
use crate::cordon::CordonStatus;
use crate::history::History;
use crate::ids::{ActionId, GroupName, InstanceId};
use crate::policy::{
    ClusterPolicy, EvidenceSource, GroupCalls, GroupPolicy, KeepWindow, Regain, UtilizationRule,
};
use crate::reads::{
    Activity, Capacity, ClusterStatus, Condition, Eligible, InstanceStatus, NodeCapacity,
    Provisioning, Reading, Role,
};
use crate::snapshot::{GroupView, Identity, Listing, NodeView, Snapshot, WorkloadSource};
use crate::units::{MilliGpus, NodeCount, Span, Time, UsdPerHour};

pub(super) fn is_backed_off(history: &History, now: Time) -> bool {
    history.backoff.as_ref().is_some_and(|backoff| now < backoff.until)
}

/// Whether the node was described and its purchase option agrees with that of its group.
pub(super) fn is_paid_as_declared(node: &NodeView, group: &GroupPolicy) -> bool {
    match node.capacity {
        NodeCapacity::Unread => false,
        NodeCapacity::NotShown => true,
        NodeCapacity::Shown(seen) => seen == group.capacity,
    }
}

pub(super) fn settled_until(state: &ActionState) -> Option<Time> {
    let ActionState::Settling { until } = state else { return None };
    Some(*until)
}

pub(super) fn is_in_group_call(state: &ActionState) -> bool {
    match state.phase() {
        Phase::Asked { scope: RequestScope::Group { .. }, .. } => true,
        Phase::Asked { scope: RequestScope::Named, .. }
        | Phase::Revocable
        | Phase::Releasing
        | Phase::Ended { .. } => false,
    }
}

/// Whether the policy allows whole-group requests and the API has not refused one.
pub(super) fn allows_group_call(name: &GroupName, group: &GroupPolicy, history: &History) -> bool {
    let is_allowed = match group.group_calls {
        GroupCalls::Never => false,
        GroupCalls::ToZero | GroupCalls::WholeGroup => true,
    };
    is_allowed && !history.group_calls_refused.contains(name)
}

pub(super) fn is_short_of_asking(state: &ActionState) -> bool {
    match state.phase() {
        Phase::Revocable => true,
        Phase::Asked { .. } | Phase::Releasing | Phase::Ended { .. } => false,
    }
}

pub(super) fn cluster_is_calm(
    snapshot: &Snapshot,
    policy: &ClusterPolicy,
    history: &History,
) -> bool {
    let source = match policy.evidence_source {
        EvidenceSource::Scheduler => snapshot.workload == WorkloadSource::Complete,
        EvidenceSource::MetricsOnly => match snapshot.workload {
            WorkloadSource::NotConfigured | WorkloadSource::Complete => true,
            WorkloadSource::Failed { .. } | WorkloadSource::Empty => false,
        },
    };
    let lost = |name: &GroupName, id: &InstanceId| {
        let member = history.groups.get(name).and_then(|state| state.members.get(id));
        member.is_some_and(|member| member.joined)
    };
    let recovering = || {
        let mut nodes = snapshot
            .groups
            .iter()
            .flat_map(|(name, view)| view.nodes.iter().map(move |node| (name, node)));
        policy.evidence_source == EvidenceSource::Scheduler
            && nodes.any(|(name, node)| match &node.scheduler {
                Reading::Fresh { value, .. } => value.cordon == CordonStatus::Recovery,
                Reading::Absent => lost(name, &node.id),
                Reading::Stale { .. } | Reading::Partial => true,
            })
    };
    let state = snapshot.state.as_ref().is_some_and(|state| {
        state.status == ClusterStatus::InService
            && !state.rival_autoscaler
            && !state.software_update
            && (state.provisioning == Provisioning::Continuous || !recovering())
    });
    source
        && state
        && snapshot.listing == Listing::Complete
        && history.stop.is_none()
        && history.freeze.is_none()
}

pub(super) fn group_is_calm(view: &GroupView) -> bool {
    view.description.role == Role::Worker && view.description.calm && view.freeze.is_none()
}

/// Whether the largest job is known. A scheduler that rejects jobs larger than the partition never
/// shows them in the queue, so then the policy must declare it.
pub(super) fn is_floor_known(snapshot: &Snapshot, group: &GroupPolicy) -> bool {
    !snapshot.refuses_large_jobs || group.max_job_nodes.is_some()
}

pub(super) fn is_worth_it(view: &GroupView, group: &GroupPolicy) -> bool {
    let metered = match group.capacity {
        Capacity::OnDemand | Capacity::Spot => true,
        Capacity::TrainingPlan | Capacity::Reserved => false,
    };
    let to_be_had = match group.regain {
        Regain::Plentiful | Regain::Scarce { accepted_risk: Some(_) } => true,
        Regain::Scarce { accepted_risk: None } => false,
    };
    metered
        && to_be_had
        && view.description.capacity.is_none_or(|seen| seen == group.capacity)
        && group.price.is_some_and(|price| price > UsdPerHour::ZERO)
        && group.boot.is_some()
        && group.node_local_data.is_some()
}

/// Finds a node by its id. The nodes of a group are sorted by id.
pub(super) fn find(view: &GroupView, id: InstanceId) -> Option<&NodeView> {
    let place = view.nodes.binary_search_by_key(&id, |node| node.id).ok()?;
    view.nodes.get(place)
}

pub(super) fn is_protected(node: &NodeView, group: &GroupPolicy) -> bool {
    node.protected || group.protected.contains(&node.id)
}

pub(super) fn has_identity(node: &NodeView, identity: &Identity) -> bool {
    node.launched == identity.launched && node.name == identity.name
}

/// Whether fresh evidence shows that the node is idle and, if the scheduler is the evidence source,
/// that it has the cordon of the given action (without an action: no cordon).
pub(super) fn is_idle(
    node: &NodeView,
    cordoned_for: Option<ActionId>,
    policy: &ClusterPolicy,
    group: &GroupPolicy,
) -> bool {
    let is_as_meant = |cordon: &CordonStatus| match cordoned_for {
        None => *cordon == CordonStatus::Clear,
        Some(action) => cordon.is_for(action),
    };
    let by_scheduler = match &node.scheduler {
        Reading::Fresh { value, .. } => {
            value.condition == Condition::Up
                && value.claims.is_empty()
                && is_as_meant(&value.cordon)
        }
        Reading::Absent | Reading::Stale { .. } | Reading::Partial => false,
    };
    let by_metrics = |rule: &UtilizationRule| match &node.activity {
        Reading::Fresh { value, .. } => is_quiet(value, rule),
        Reading::Absent | Reading::Stale { .. } | Reading::Partial => false,
    };
    match (policy.evidence_source, &group.utilization) {
        (EvidenceSource::Scheduler, None) => by_scheduler,
        (EvidenceSource::Scheduler, Some(rule)) => by_scheduler && by_metrics(rule),
        (EvidenceSource::MetricsOnly, Some(rule)) => by_metrics(rule),
        (EvidenceSource::MetricsOnly, None) => false,
    }
}

pub(super) fn is_quiet(activity: &Activity, rule: &UtilizationRule) -> bool {
    activity.utilization < rule.idle_below
        && activity.memory < rule.memory_below
        && activity.to.since(activity.from) + rule.period >= rule.window
}

/// Counts the nodes that are certainly available to jobs: Running, without an open action, and
/// known to be either in use or idle.
pub(super) fn count_live(
    view: &GroupView,
    history: &History,
    policy: &ClusterPolicy,
    group: &GroupPolicy,
) -> NodeCount {
    let live = view.nodes.iter().filter(|node| {
        let running = node.status == InstanceStatus::Running;
        let gone = history.gone.iter().any(|gone| gone.node == node.id);
        if !running || gone || history.actions.contains_key(&node.id) {
            return false;
        }
        match policy.evidence_source {
            EvidenceSource::Scheduler => match &node.scheduler {
                Reading::Fresh { value, .. } => {
                    value.condition == Condition::Up && value.cordon == CordonStatus::Clear
                }
                Reading::Absent | Reading::Stale { .. } | Reading::Partial => false,
            },
            EvidenceSource::MetricsOnly => match (&node.activity, &group.utilization) {
                (Reading::Fresh { value, .. }, Some(rule)) => {
                    let active =
                        value.utilization >= rule.idle_below || value.memory >= rule.memory_below;
                    active || is_quiet(value, rule)
                }
                (_, _) => false,
            },
        }
    });
    NodeCount::of(live.count())
}

/// Returns the highest floor of any minute from now to the end of the look-ahead. Keep windows open
/// and close on whole minutes, so testing every minute finds all of them.
pub(super) fn highest_floor(group: &GroupPolicy, now: Time) -> NodeCount {
    let base = group.min_nodes.of(group.size).max(group.max_job_nodes.unwrap_or_default());
    let opens = |window: &&KeepWindow| {
        let minute = Span::mins(1);
        let last = now + group.lookahead;
        let next_whole = Time((now.0.div_euclid(minute.0) + 1) * minute.0);
        let minutes = std::iter::successors(Some(next_whole), |at| Some(*at + minute));
        window.is_open(now) || minutes.take_while(|at| *at <= last).any(|at| window.is_open(at))
    };
    group.keep_windows.iter().filter(opens).map(|w| w.min_nodes.of(group.size)).fold(base, Ord::max)
}

/// Lower bound of the nodes that waiting jobs need: whole nodes as requested, plus the sum of
/// shared GPUs. It is never more than the packed count.
pub(super) fn certain_demand(view: &GroupView, group: &GroupPolicy, now: Time) -> u32 {
    let (mut whole, mut shared) = (0u64, 0u64);
    for job in view.pending.iter().flatten() {
        let lacks = |wanted| view.offers.as_ref().is_some_and(|has| !has.contains(wanted));
        let eligible = match job.eligible {
            Eligible::Now => true,
            Eligible::At(at) => at <= now,
            Eligible::Held => false,
        };
        let here = group.partitions.is_empty()
            || job.partitions.iter().any(|p| group.partitions.contains(p));
        let fits = job.nodes <= group.size
            && job.gpus.0 <= group.gpus_per_node.0.saturating_mul(group.size.0);
        if !eligible || !here || !fits || job.requires.iter().any(lacks) {
            continue;
        }
        if job.nodes > NodeCount(1) || job.gpus == MilliGpus(0) {
            whole += u64::from(job.nodes.0.max(1));
        } else {
            shared += u64::from(job.gpus.0);
        }
    }
    let per_node = u64::from(group.gpus_per_node.0);
    let nodes = whole + if per_node == 0 { 0 } else { shared.div_ceil(per_node) };
    u32::try_from(nodes.min(u64::from(group.size.0))).unwrap_or(u32::MAX)
}
