//! Checks the keys of one instance group against each other.

use trimtab_core::policy::{
    Budgets, GroupCalls, GroupPolicy, NodeLocalData, REQUEST_NODE_LIMIT, Regain, TimerChoice,
};
use trimtab_core::reads::Capacity;
use trimtab_core::rule::{GroupState, boot_cost};
use trimtab_core::units::{MilliGpus, NodeCount, Share, Span, UsdPerHour};

use super::context::Cluster;
use super::file::{GroupTable, LARGEST_SIZE};
use super::floors::{Floors, floors};
use super::settings::{Mode, SchedulerSettings};
use super::signals::CloudwatchSignal;
use super::utilization::GroupMetrics;
use super::values::RegainWord;
use crate::language::entry::{Entry, Findings, Given};

/// Default of `max_delete_per_request`, if the budget of an hour is not smaller. It is small
/// enough to notice a wrong policy before it has cost much.
const MAX_DELETE_PER_REQUEST: NodeCount = NodeCount(10);

/// Default of `max_delete_per_day`, in budgets of an hour. A quiet weekend day fits, and a wrong
/// policy costs at most four hours of budget in a day.
const HOURS_A_DAY: u32 = 4;

/// The policy of one group, and the metrics of its nodes.
pub(crate) struct Group {
    pub(crate) policy: GroupPolicy,
    /// Empty if the group has no metrics of CloudWatch.
    pub(crate) signals: Vec<CloudwatchSignal>,
}

/// Checks one group.
pub(crate) fn judge(
    table: &GroupTable,
    cluster: &Cluster<'_>,
    findings: &mut Findings,
) -> Option<Group> {
    let instead = "write the number of nodes of the whole group";
    let size = table.size.required(instead, findings).copied();
    let floors = floors(table, size, findings);
    let budgets = budgets(table, cluster.daemon.mode, findings);
    let instead = "write \"on-demand\", \"spot\", \"training-plan\" or \"reserved\"";
    let capacity = table.capacity.required(instead, findings).copied();
    let regain = regain(table, findings);
    let price = price(&table.price_usd_per_hour, capacity, findings);
    declared(table, capacity, regain, cluster, findings);

    let timer = timer(&table.idle_timer, cluster.daemon.tick, findings);
    queue_keys(table, cluster, findings);
    group_calls(table, size, findings);
    let metrics = cluster.sources.of_group(table, findings);
    table.partitions.refuse_repeats(findings);
    table.protected.refuse_repeats(findings);

    let Floors { min_nodes, min_idle_nodes, keep_windows, lookahead } = floors?;
    let (utilization, signals) = match metrics? {
        Some(GroupMetrics { rule, signals }) => (Some(rule), signals),
        None => (None, vec![]),
    };
    let policy = GroupPolicy {
        size: size?,
        min_nodes,
        min_idle_nodes,
        keep_windows,
        lookahead,
        budgets: budgets?,
        capacity: capacity?,
        regain: regain?,
        price: price?,
        boot: table.boot.optional()?,
        billed_after_delete: *table.billed_after_delete.value()?,
        delay_value: *table.delay_value.value()?,
        boot_failure_cost: *table.boot_failure_cost_usd.value()?,
        timer: timer?,
        queue_lookahead: *table.queue_lookahead.value()?,
        min_age: *table.min_age.value()?,
        post_job_grace: *table.post_job_grace.value()?,
        prefer: *table.prefer.value()?,
        node_local_data: table.node_local_data.optional()?,
        gpus_per_node: MilliGpus::whole(*table.gpus_per_node.value()?),
        partitions: table.partitions.values()?,
        max_job_nodes: table.max_job_nodes.optional()?,
        utilization,
        group_calls: *table.group_calls.value()?,
        protected: table.protected.values()?,
    };
    break_even(table, &policy, cluster, findings);
    Some(Group { policy, signals })
}

/// Returns the most nodes that one plan may delete from a group.
pub(crate) fn most_at_once(policy: &GroupPolicy) -> NodeCount {
    let Budgets { per_request, per_hour, per_day, leaving } = policy.budgets;
    let above_floor = policy.size.saturating_sub(policy.min_nodes.of(policy.size));
    let share = leaving.of_rounded_down(policy.size).max(NodeCount(1));
    [per_request, per_hour, per_day, above_floor].into_iter().fold(share, Ord::min)
}

/// Refuses `group_calls = "to-zero"` for a group that always keeps a node.
fn group_calls(table: &GroupTable, size: Option<NodeCount>, findings: &mut Findings) {
    match table.group_calls.value() {
        Some(GroupCalls::ToZero) => {}
        Some(GroupCalls::Never | GroupCalls::WholeGroup) | None => return,
    }
    let floor = table.min_nodes.value().zip(size).map(|(floor, size)| floor.of(size));
    let headroom = table.min_idle_nodes.value().copied();
    let keeps = [
        (floor, "min_nodes", &table.min_nodes.spot),
        (headroom, "min_idle_nodes", &table.min_idle_nodes.spot),
    ];
    for (count, key, other) in keeps {
        let spot = &table.group_calls.spot;
        if let Some(count) = count.filter(|count| *count > NodeCount::ZERO) {
            let what = format!(
                "has no effect: {key} keeps {count} of its nodes ({}), so the group never has zero \
                 nodes",
                other.seen_from(spot)
            );
            let instead = "remove it, or write group_calls = \"whole-group\"";
            findings.problems.push(spot.problem(what, instead));
        }
    }
}

fn budgets(table: &GroupTable, mode: Mode, findings: &mut Findings) -> Option<Budgets> {
    let instead = "write the most nodes that may be deleted in any 60 minutes, such as 8";
    let per_hour = table.max_delete_per_hour.required(instead, findings).copied();
    let why = "one API request takes at most 99 ids";
    // An API request for the whole group contains a count, not ids.
    let by_count = match table.group_calls.or(GroupCalls::Never) {
        Some(GroupCalls::ToZero | GroupCalls::WholeGroup) => true,
        Some(GroupCalls::Never) | None => false,
    };
    let range = (NodeCount::ZERO, if by_count { LARGEST_SIZE } else { REQUEST_NODE_LIMIT });
    let default = per_hour.map_or(MAX_DELETE_PER_REQUEST, |hour| hour.min(MAX_DELETE_PER_REQUEST));
    let per_request = match &table.max_delete_per_request.given {
        Given::Absent => {
            table.max_delete_per_request.derive(default.0, findings);
            Some(default)
        }
        Given::Value(_) | Given::Refused => {
            table.max_delete_per_request.within(range, why, findings)
        }
    };
    let default = per_hour.map_or(NodeCount::ZERO, |h| NodeCount(h.0.saturating_mul(HOURS_A_DAY)));
    table.max_delete_per_day.derive(default.0, findings);
    let per_day = table.max_delete_per_day.or(default);
    let leaving = table.max_leaving_percent.value().copied();

    let (request, hour, day) =
        (&table.max_delete_per_request, &table.max_delete_per_hour, &table.max_delete_per_day);
    for (small, large, larger_key) in
        [(request, hour, "max_delete_per_hour"), (hour, day, "max_delete_per_day")]
    {
        if let (Some(less), Some(more)) = (small.value(), large.value())
            && less > more
            && *more > NodeCount::ZERO
        {
            let what = format!(
                "is more than {larger_key} = {more} ({}), so it would never be reached",
                large.spot.seen_from(&small.spot)
            );
            findings.problems.push(small.spot.problem(what, format!("write up to {more}")));
        }
    }
    let zero = |entry: &Entry<NodeCount>| entry.value() == Some(&NodeCount::ZERO);
    let share = &table.max_leaving_percent;
    let zeros = [
        zero(request).then_some(&request.spot),
        zero(hour).then_some(&hour.spot),
        zero(day).then_some(&day.spot),
        (share.value() == Some(&Share::default())).then_some(&share.spot),
    ];
    for spot in zeros.into_iter().flatten() {
        let what = "is 0, so no node of the group is deleted";
        match mode {
            Mode::Enforce => {
                let instead = "write 1 or more, or remove the group: trimtab does not touch groups \
                               that are not listed";
                findings.problems.push(spot.problem(what, instead));
            }
            Mode::Observe => findings.notes.push(spot.note(what)),
        }
    }
    Some(Budgets {
        per_request: per_request?,
        per_hour: per_hour?,
        per_day: per_day?,
        leaving: leaving?,
    })
}

fn regain(table: &GroupTable, findings: &mut Findings) -> Option<Regain> {
    let instance_type = table.instance_type.optional()?;
    let by_type = match &instance_type {
        Some(instance_type) if instance_type.is_scarce() => RegainWord::Scarce,
        Some(_) | None => RegainWord::Plentiful,
    };
    if instance_type.is_none() && !table.regain.is_written() {
        findings.notes.push(
            table.spot.note("instance_type and regain are not set, so regain is \"plentiful\""),
        );
    }
    let word = match by_type {
        RegainWord::Scarce => "scarce",
        RegainWord::Plentiful => "plentiful",
    };
    table.regain.derive(word, findings);
    let risk = table.accept_regain_risk_usd.optional();
    match table.regain.or(by_type)? {
        RegainWord::Scarce => Some(Regain::Scarce { accepted_risk: risk? }),
        RegainWord::Plentiful => {
            if table.accept_regain_risk_usd.is_written() {
                let what = "has no effect, because regain of the group is \"plentiful\"";
                let instead = "remove it, or write regain = \"scarce\"";
                findings.problems.push(table.accept_regain_risk_usd.spot.problem(what, instead));
            }
            Some(Regain::Plentiful)
        }
    }
}

fn price(
    entry: &Entry<UsdPerHour>,
    capacity: Option<Capacity>,
    findings: &mut Findings,
) -> Option<Option<UsdPerHour>> {
    let price = entry.optional()?;
    if price == Some(UsdPerHour::ZERO) && capacity.is_none_or(Capacity::is_metered) {
        let what = "is 0, but nodes of this capacity are billed by time: no node would ever be \
                    deleted";
        let instead = "write the price of one node; if nodes are paid for anyway, write capacity = \
                       \"reserved\" or \"training-plan\"";
        findings.problems.push(entry.spot.problem(what, instead));
        return None;
    }
    Some(price)
}

/// Reports keys that the planner needs before it deletes a node.
fn declared(
    table: &GroupTable,
    capacity: Option<Capacity>,
    regain: Option<Regain>,
    cluster: &Cluster<'_>,
    findings: &mut Findings,
) {
    let (mode, has_gate) = (cluster.daemon.mode, cluster.has_gate);
    if capacity.is_some_and(|capacity| !capacity.is_metered()) {
        let text = "costs the same with and without nodes, so no node of the group is deleted";
        findings.notes.push(table.capacity.spot.note(text));
        return;
    }
    if regain == Some(Regain::Scarce { accepted_risk: None }) {
        findings.notes.push(
            table.spot.note(
                "its nodes are scarce, so none is deleted unless accept_regain_risk_usd is set",
            ),
        );
        return;
    }
    let needed = [
        (&table.price_usd_per_hour.spot, table.price_usd_per_hour.is_written()),
        (&table.boot.spot, table.boot.is_written()),
        (&table.node_local_data.spot, table.node_local_data.is_written()),
    ];
    if table.node_local_data.value() == Some(&NodeLocalData::Gate) && !has_gate {
        let spot = &table.node_local_data.spot;
        let what = "requires a gate before each deletion, and the cluster has none";
        match mode {
            Mode::Enforce => {
                let instead = "write gate = { command = [\"/path/of/the/program\"] } in the \
                               [[cluster]], before its groups";
                findings.problems.push(spot.problem(what, instead));
            }
            Mode::Observe => findings.notes.push(spot.note(what)),
        }
    }
    for (spot, is_written) in needed {
        if is_written {
            continue;
        }
        let what = "is missing: no node of the group is deleted until it is set";
        match mode {
            Mode::Enforce => {
                let instead = "set it, or keep mode = \"observe\"";
                findings.problems.push(spot.problem(what, instead));
            }
            Mode::Observe => findings.notes.push(spot.note(what)),
        }
    }
}

fn timer(
    entry: &Entry<TimerChoice>,
    tick: Option<Span>,
    findings: &mut Findings,
) -> Option<TimerChoice> {
    let timer = *entry.value()?;
    let TimerChoice::Fixed(tau) = timer else { return Some(timer) };
    let least = tick?.times(2);
    if (least..=GroupState::HORIZON).contains(&tau) {
        return Some(timer);
    }
    let most = GroupState::HORIZON;
    let what = format!(
        "is not between two ticks ({least}) and {most}, the time for which samples are kept: a \
         node would be idle after one sample, or never"
    );
    let instead = format!("write {least} to {most}, \"break-even\" or \"learned\"");
    findings.problems.push(entry.spot.problem(what, instead));
    None
}

/// Checks the break-even time, which has the same limits as a fixed timer. Below the lower
/// limit it is only noted, because it is computed and not a typing error.
fn break_even(
    table: &GroupTable,
    policy: &GroupPolicy,
    cluster: &Cluster<'_>,
    findings: &mut Findings,
) {
    match policy.timer {
        TimerChoice::Fixed(_) => return,
        // The learned timer is the break-even time too, if that is longer than 8 hours.
        TimerChoice::Learned | TimerChoice::BreakEven => {}
    }
    let Some(cost) = boot_cost(policy).filter(|cost| !cost.break_even.is_forever()) else { return };
    let (tau, most) = (cost.break_even, GroupState::HORIZON);
    let spot = &table.idle_timer.spot;
    if tau > most {
        let what = format!(
            "gives a break-even time of {tau}, but samples are kept for {most}: no node would ever \
             be deleted"
        );
        match cluster.daemon.mode {
            Mode::Enforce => {
                let instead = "set a fixed idle_timer, or lower the costs of a boot \
                               (accept_regain_risk_usd, boot_failure_cost_usd, delay_value)";
                findings.problems.push(spot.problem(what, instead));
            }
            Mode::Observe => findings.notes.push(spot.note(what)),
        }
    } else if let Some(tick) = cluster.daemon.tick.filter(|tick| tau < tick.times(2)) {
        findings.notes.push(spot.note(format!(
            "gives a break-even time of {tau}, less than two ticks of {tick}: a node can be idle \
             after one sample"
        )));
    }
}

/// Refuses keys about the queue if the cluster has no scheduler.
fn queue_keys(table: &GroupTable, cluster: &Cluster<'_>, findings: &mut Findings) {
    let has_queue = match cluster.scheduler {
        Some(SchedulerSettings::Slurm(_) | SchedulerSettings::Simulated) => true,
        Some(SchedulerSettings::None) => false,
        None => return,
    };
    if has_queue {
        if !table.gpus_per_node.is_written() {
            let text = "is not set: trimtab assumes 1 GPU per node for waiting jobs";
            findings.notes.push(table.gpus_per_node.spot.note(text));
        }
        return;
    }
    let needless = [
        (&table.partitions.spot, table.partitions.is_written()),
        (&table.queue_lookahead.spot, table.queue_lookahead.is_written()),
        (&table.max_job_nodes.spot, table.max_job_nodes.is_written()),
    ];
    for (spot, is_written) in needless {
        if is_written {
            let what =
                "applies to waiting jobs, and with scheduler kind \"none\" trimtab sees none";
            findings.problems.push(spot.problem(what, "remove it"));
        }
    }
}
