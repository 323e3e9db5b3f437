//! Checks the file as a whole and each cluster.
//!
//! No check stops the next one. A check that needs a refused value is skipped, so that one
//! mistake is one problem.

use std::collections::BTreeMap;

use trimtab_core::ids::{GroupName, PolicyHash};
use trimtab_core::policy::{ClusterPolicy, MassChangeLimit};
use trimtab_core::units::{NodeCount, Share};

use super::context::{Cluster, Daemon};
use super::digest::digest;
use super::file::{ClusterTable, ConfigFile, GroupTable, MassChangeTable, VERSION};
use super::group::{self, Group};
use super::hooks::{self, Hooks};
use super::schedule::Schedule;
use super::scheduler::{evidence_source, scheduler};
use super::settings::{ClusterSettings, Mode, Settings};
use super::timing::timing;
use super::utilization;
use crate::language::entry::{Entry, Findings, Given, Item, refuse_duplicates};

/// Checks the whole file.
pub(crate) fn settings(file: &ConfigFile, findings: &mut Findings) -> Option<Settings> {
    let version = file.config_version.required("write config_version = 1", findings);
    if version.is_some_and(|version| *version != VERSION) {
        let what = "is not supported by this version of trimtab";
        findings.problems.push(file.config_version.spot.problem(what, "write 1"));
    }
    let mode = file.mode.value().copied();
    let schedule = file.schedule.value().cloned();
    let pause_file = file.pause_file.value().cloned();
    let state_path = file.state.value().and_then(|state| state.path.value()).cloned();
    let log_level = file.log.value().and_then(|log| log.level.value()).cloned();
    let instead = "write a [[cluster]] table with its name, region, account_id and scheduler";
    let clusters = file.cluster.required(instead, findings);
    file.cluster.refuse_empty(instead, findings);
    let clusters = clusters.map_or(&[][..], |clusters| &clusters.items);
    let names = clusters.iter().map(|cluster| &cluster.value.name);
    refuse_duplicates(
        names,
        "another cluster, and trimtab keeps its records by cluster name",
        findings,
    );
    let schedule_spot = &file.schedule.spot;
    let clusters: Vec<_> = clusters
        .iter()
        .map(|Item { value: table, .. }| {
            let daemon = Daemon {
                mode: mode.unwrap_or(Mode::Observe),
                mode_spot: &file.mode.spot,
                tick: schedule.as_ref().map(Schedule::interval),
                schedule: schedule_spot,
            };
            cluster(table, &daemon, findings)
        })
        .collect();
    Some(Settings {
        mode: mode?,
        schedule: schedule?,
        state_path: state_path?.0,
        pause_file: pause_file?.0,
        log_level: log_level?,
        clusters: clusters.into_iter().collect::<Option<_>>()?,
        notes: vec![],
    })
}

fn cluster(
    table: &ClusterTable,
    daemon: &Daemon<'_>,
    findings: &mut Findings,
) -> Option<ClusterSettings> {
    let name = table.name.required("write the cluster's name as SageMaker shows it", findings);
    let region = table.region.required("write its region, such as \"us-west-2\"", findings);
    let instead = "write the 12 digits of its account, in quotes; it is checked at every start";
    let account = table.account_id.required(instead, findings);
    if let (Some(role), Some(account)) = (table.role_arn.value(), account)
        && role.account() != account.as_str()
    {
        let what = format!("is a role of another account than account_id = \"{account}\"");
        let instead = "write a role of the account of the cluster";
        findings.problems.push(table.role_arn.spot.problem(what, instead));
    }
    let timing = timing(&table.timing, daemon, findings);
    let scheduler = scheduler(table, findings);
    let evidence_source = evidence_source(&table.evidence, scheduler.as_ref(), findings);
    let fresh_for = timing.map(|timing| timing.fresh_for);
    let sources = utilization::sources(table, scheduler.as_ref(), fresh_for, findings);
    if daemon.mode == Mode::Enforce {
        refuse_enforcing_beyond_this_machine(table, daemon, findings);
    }
    let mass_change = mass_change(&table.mass_change, findings);
    let hooks = hooks::hooks(table, findings);

    let instead = "write a [[cluster.group]] for each group that trimtab may touch";
    table.group.required(instead, findings);
    table.group.refuse_empty(instead, findings);
    let names = table.group.items().iter().map(|group| &group.value.name);
    refuse_duplicates(names, "another group of this cluster", findings);
    let has_gate = !matches!(table.gate.given, Given::Absent);
    let context = Cluster { daemon, scheduler: scheduler.clone(), sources: &sources, has_gate };
    let groups = groups(table.group.items(), &context, findings);
    let min_nodes = min_nodes(table, findings);
    if let (Some(mass_change), Some(groups)) = (mass_change, &groups) {
        note_mass_changes(table, mass_change, groups, findings);
    }
    if let (Some(hooks), Some(timing), Some(groups)) = (&hooks, timing, &groups) {
        hooks::must_fit(table, hooks, timing, groups.values(), findings);
    }

    let (policies, signals): (BTreeMap<_, _>, BTreeMap<_, _>) = groups?
        .into_iter()
        .map(|(name, Group { policy, signals })| ((name.clone(), policy), (name, signals)))
        .unzip();
    let mut policy = ClusterPolicy {
        cluster: name?.clone(),
        evidence_source: evidence_source?,
        groups: policies,
        min_nodes: min_nodes?,
        mass_change: mass_change?,
        timing: timing?,
        node_name: match table.scheduler.value() {
            Some(scheduler) => scheduler.node_name.optional()?,
            None => None,
        },
        hash: "0".parse::<PolicyHash>().ok()?,
    };
    policy.hash = digest(&policy)?;
    let Hooks { gate, on_node_check } = hooks?;
    Some(ClusterSettings {
        policy,
        region: region?.clone(),
        account_id: account?.clone(),
        role_arn: table.role_arn.optional()?,
        endpoint_url: table.endpoint_url.optional()?,
        signals: signals.into_iter().filter(|(_, signals)| !signals.is_empty()).collect(),
        scheduler: scheduler?,
        utilization: sources.settings()?,
        gate,
        on_node_check,
    })
}

/// Refuses enforce mode for real clusters: this build carries out plans only on a simulated
/// cluster behind an endpoint of this machine. Remove this function when the safety features
/// in its message exist.
fn refuse_enforcing_beyond_this_machine(
    table: &ClusterTable,
    daemon: &Daemon<'_>,
    findings: &mut Findings,
) {
    let where_to = match &table.endpoint_url.given {
        Given::Value(endpoint) if endpoint.is_loopback() => return,
        Given::Value(_) => "is not on this machine",
        Given::Absent => "is missing, so requests go to AWS",
        Given::Refused => return,
    };
    let spot = &table.endpoint_url.spot;
    let what = format!(
        "{where_to}, and mode = \"enforce\" ({}) is refused for real clusters until these safety \
         features exist: the simulation of faults at scale, and the operator's switches and lease",
        daemon.mode_spot.seen_from(spot)
    );
    let instead = "keep mode = \"observe\", or write the endpoint of `trimtab simulate`, such as \
                   endpoint_url = \"http://127.0.0.1:4010\"";
    findings.problems.push(spot.problem(what, instead));
}

fn mass_change(entry: &Entry<MassChangeTable>, findings: &mut Findings) -> Option<MassChangeLimit> {
    let table = entry.value()?;
    let (nodes, share) = (table.nodes.value().copied(), table.percent.value().copied());
    let zero_nodes = (nodes == Some(NodeCount::ZERO)).then_some(&table.nodes.spot);
    let zero_share = (share == Some(Share::default())).then_some(&table.percent.spot);
    for spot in [zero_nodes, zero_share].into_iter().flatten() {
        let what = format!(
            "is 0, so any {} nodes that change at once would freeze the cluster",
            MassChangeLimit::SMALLEST
        );
        findings.problems.push(spot.problem(what, "write how many nodes may change at once"));
    }
    Some(MassChangeLimit { nodes: nodes?, share: share? })
}

/// Notes budgets that allow a plan larger than the mass change limit.
fn note_mass_changes(
    table: &ClusterTable,
    limit: MassChangeLimit,
    groups: &BTreeMap<GroupName, Group>,
    findings: &mut Findings,
) {
    let listed: NodeCount = groups.values().map(|group| group.policy.size).sum();
    for Item { value: GroupTable { spot, name, .. }, .. } in table.group.items() {
        let Some(group) = name.value().and_then(|name| groups.get(name)) else { continue };
        let most = group::most_at_once(&group.policy);
        if limit.is_exceeded(most, listed) {
            let MassChangeLimit { nodes, share } = limit;
            findings.notes.push(spot.note(format!(
                "its budgets allow {most} nodes at once, which is more than mass_change allows \
                 ({nodes} nodes, {share} of {listed}): such a plan freezes the cluster until an \
                 operator clears it"
            )));
        }
    }
}

/// Returns all groups, or `None` if one of them has a problem or no name.
fn groups(
    items: &[Item<GroupTable>],
    context: &Cluster<'_>,
    findings: &mut Findings,
) -> Option<BTreeMap<GroupName, Group>> {
    let checked: Vec<_> = items
        .iter()
        .map(|Item { value: table, .. }| {
            let instead = "write the group's name as SageMaker shows it";
            let name = table.name.required(instead, findings).cloned();
            let group = group::judge(table, context, findings);
            Some((name?, group?))
        })
        .collect();
    checked.into_iter().collect()
}

fn min_nodes(table: &ClusterTable, findings: &mut Findings) -> Option<NodeCount> {
    let entry = &table.min_nodes;
    let min_nodes = *entry.value()?;
    let sizes = table.group.items().iter().map(|group| group.value.size.value().copied());
    // If one size is not known, the sum is not known.
    let Some(sizes) = sizes.sum::<Option<NodeCount>>() else { return Some(min_nodes) };
    if min_nodes > sizes {
        let what = format!("is more than the sizes of all groups together, {sizes}");
        findings.problems.push(entry.spot.problem(what, format!("write 0 to {sizes}")));
        return None;
    }
    if min_nodes == sizes && min_nodes > NodeCount::ZERO {
        findings.notes.push(entry.spot.note(
            "is the size of all groups together, so nothing is deleted unless they have more \
                 nodes",
        ));
    }
    Some(min_nodes)
}
