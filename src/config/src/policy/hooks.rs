//! Checks the programs of the operator: the gate and the on-node check.
//!
//! Only the keys are checked here. The owners and permissions of the files are checked before
//! each run.

use std::path::Path;

use trimtab_core::policy::{NodeLocalData, Timing};
use trimtab_core::units::Span;

use super::file::{ClusterTable, GateTable, GroupTable, OnNodeCheckTable};
use super::group::{self, Group};
use super::settings::HookSettings;
use crate::language::entry::{Entry, Findings, Given, Item, List, Spot};

/// On-node checks that run at the same time. All rounds for the nodes of a request must fit
/// into the time that a cordoned node may wait.
pub const NODES_AT_ONCE: usize = 16;

/// A backup of a node's disks takes minutes.
const GATE_TIME_LIMIT: &str = "20m";

/// A login takes seconds.
const CHECK_TIME_LIMIT: &str = "20s";

/// Placeholders for the node in the arguments of a check.
const PLACES: [&str; 3] = ["{node}", "{ip}", "{instance_id}"];

/// The gate and the on-node check of a cluster, each if it is written.
pub(crate) struct Hooks {
    pub(crate) gate: Option<HookSettings>,
    pub(crate) on_node_check: Option<HookSettings>,
}

/// Checks both programs. Returns `None` if one was refused.
pub(crate) fn hooks(table: &ClusterTable, findings: &mut Findings) -> Option<Hooks> {
    let gate = gate(table, findings);
    let on_node_check = on_node_check(&table.on_node_check, findings);
    Some(Hooks { gate: gate?, on_node_check: on_node_check? })
}

fn gate(table: &ClusterTable, findings: &mut Findings) -> Option<Option<HookSettings>> {
    let (spot, GateTable { command, time_limit, .. }) = match &table.gate.given {
        Given::Absent => return Some(None),
        Given::Refused => return None,
        Given::Value(gate) => (&table.gate.spot, gate),
    };
    let groups = table.group.items().iter();
    let asks =
        |item: &Item<GroupTable>| item.value.node_local_data.value() == Some(&NodeLocalData::Gate);
    if !groups.clone().any(asks) {
        let what = "would never run: no group has node_local_data = \"gate\"";
        let instead = "set that in the groups whose nodes have data to save, or remove the gate";
        findings.problems.push(spot.problem(what, instead));
    }
    let arguments = arguments(command, findings);
    for Item { spot, value } in command.items() {
        if let Some(place) = PLACES.iter().find(|place| value.contains(**place)) {
            let what =
                format!("contains {place}, but the gate runs once for all nodes of an API request");
            let instead = "remove it: the program reads the nodes from its standard input, as JSON";
            findings.problems.push(spot.problem(what, instead));
        }
    }
    let time_limit = limit(time_limit, GATE_TIME_LIMIT, Span::mins(20), findings);
    Some(Some(HookSettings { command: arguments?, time_limit: time_limit? }))
}

fn on_node_check(
    entry: &Entry<OnNodeCheckTable>,
    findings: &mut Findings,
) -> Option<Option<HookSettings>> {
    let OnNodeCheckTable { command, time_limit, .. } = match &entry.given {
        Given::Absent => return Some(None),
        Given::Refused => return None,
        Given::Value(check) => check,
    };
    let arguments = arguments(command, findings);
    if let Some(List { items, whole: true }) = command.value()
        && !items.is_empty()
        && !items.iter().any(|item| PLACES.iter().any(|place| item.value.contains(place)))
    {
        let what = "does not name a node, so it would check the same machine each time";
        let instead = "write {node}, {ip} or {instance_id} in the arguments";
        findings.problems.push(command.spot.problem(what, instead));
    }
    let time_limit = limit(time_limit, CHECK_TIME_LIMIT, Span::secs(20), findings);
    Some(Some(HookSettings { command: arguments?, time_limit: time_limit? }))
}

/// Returns the path and the arguments.
fn arguments(entry: &Entry<List<String>>, findings: &mut Findings) -> Option<Vec<String>> {
    let instead = "write the absolute path of the program and its arguments, each as one text: \
                   command = [\"/usr/local/sbin/backup\", \"--verbose\"]";
    entry.required(instead, findings);
    entry.refuse_empty(instead, findings);
    let List { items, whole } = entry.value()?;
    let program = items.first()?;
    if !Path::new(&program.value).is_absolute() {
        let what = "is not an absolute path, and trimtab does not search PATH for a program that \
                    runs with its rights";
        let instead =
            "write the absolute path of the program first, then each argument as one text";
        findings.problems.push(program.spot.problem(what, instead));
        return None;
    }
    if let Some(place) = PLACES.iter().find(|place| program.value.contains(**place)) {
        let what = format!("contains {place} in the path of the program");
        findings.problems.push(program.spot.problem(what, "use one program for all nodes"));
        return None;
    }
    let nul = items.iter().find(|item| item.value.contains('\0'));
    if let Some(item) = nul {
        let what = "contains a NUL character, which cannot be passed to a program";
        findings.problems.push(item.spot.problem(what, "remove it"));
        return None;
    }
    whole.then(|| items.iter().map(|item| item.value.clone()).collect())
}

fn limit(
    entry: &Entry<Span>,
    default_text: &str,
    default: Span,
    findings: &mut Findings,
) -> Option<Span> {
    entry.derive(default_text, findings);
    entry.or(default)
}

/// Reports programs that cannot finish in time. A cordoned node is released after
/// `settling_timeout`, even if the gate still runs. And the checks of a whole request must end
/// before the first result is older than `fresh_for`.
pub(crate) fn must_fit<'a>(
    table: &ClusterTable,
    hooks: &Hooks,
    timing: Timing,
    groups: impl Iterator<Item = &'a Group>,
    findings: &mut Findings,
) {
    let most = groups.map(|group| group::most_at_once(&group.policy).get()).max().unwrap_or(1);
    let rounds = i64::try_from(most.div_ceil(NODES_AT_ONCE)).unwrap_or(i64::MAX).max(1);
    let of = |hook: &Option<HookSettings>| hook.as_ref().map(|hook| hook.time_limit);
    let gate = of(&hooks.gate).unwrap_or(Span::ZERO);
    let check = of(&hooks.on_node_check).unwrap_or(Span::ZERO).times(rounds);
    if gate + check == Span::ZERO {
        return;
    }
    if check > timing.fresh_for {
        let what = format!(
            "may take {check} for {most} nodes ({NODES_AT_ONCE} at a time): the first result would \
             then be older than timing.fresh_for, {}",
            timing.fresh_for
        );
        let instead = "set a shorter time_limit, a smaller max_delete_per_request or a longer \
                       timing.fresh_for";
        findings.problems.push(table.on_node_check.spot.problem(what, instead));
    }
    // Up to one tick passes before the start, and one before trimtab acts on the answer.
    let needed = gate + check + timing.tick.times(2);
    if timing.settling_timeout > needed {
        return;
    }
    let spots: [(&Spot, bool); 2] = [
        (&table.gate.spot, hooks.gate.is_some()),
        (&table.on_node_check.spot, hooks.on_node_check.is_some()),
    ];
    let Some((spot, _)) = spots.into_iter().find(|(_, is_there)| *is_there) else { return };
    let what = format!(
        "may take too long: the gate ({gate}), the on-node check ({check} for {most} nodes, \
         {NODES_AT_ONCE} at a time) and two ticks take {needed}, but a cordoned node is released \
         after timing.settling_timeout, {}",
        timing.settling_timeout
    );
    let instead = format!(
        "set settling_timeout in [cluster.timing] to more than {needed}, or set shorter time limits"
    );
    findings.problems.push(spot.problem(what, instead));
}
