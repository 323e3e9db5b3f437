//! What values say together: the file as a whole and each cluster.
//!
//! No check stops the next one. A value that was refused already makes the
//! checks that need it silent, so that one mistake is one problem.

use std::collections::BTreeMap;
use std::fmt::Display;

use trimtab_core::ids::{GroupName, PolicyHash};
use trimtab_core::policy::{
    ClusterPolicy, GroupPolicy, MassChangeLimit, Timing, UtilizationRule, WitnessKind,
};
use trimtab_core::units::{NodeCount, Share, Span};

use super::digest::digest;
use super::file::{
    ClusterTable, ConfigFile, GroupTable, MassChangeTable, SchedulerTable, SourceTable, TimingTable,
};
use super::group;
use super::read::{Entry, Findings, Given, Item, List, Spot};
use super::schedule::Schedule;
use super::settings::{
    ClusterSettings, Mode, SchedulerSettings, Settings, UtilizationSettings, UtilizationSource,
};
use super::values::{AbsolutePath, SchedulerKind, SourceKind};

/// The set of keys this build knows.
const VERSION: u32 = 1;

const STATE_PATH: &str = "/var/lib/trimtab/trimtab.db";
const PAUSE_FILE: &str = "/etc/trimtab/PAUSE";

/// Where HyperPod's images have it.
const SLURM_CONF: &str = "/opt/slurm/etc/slurm.conf";

/// CloudWatch's usual period; shorter ones cost money.
const PERIOD: Span = Span::mins(1);

/// Above half, "idle" would be said of nodes in use.
const MOST_IDLE_BELOW: f64 = 50.0;

/// Judges the whole file.
pub(super) fn settings(file: &ConfigFile, findings: &mut Findings) -> Option<Settings> {
    let version = file.config_version.required("write config_version = 1", findings);
    if version.is_some_and(|version| *version != VERSION) {
        let what = "is not a version of the file that this build knows";
        findings.problems.push(file.config_version.spot.problem(what, "write 1"));
    }
    let mode = file.mode.or(Mode::Observe);
    let schedule = file.schedule.or(Schedule::default());
    let pause_file = path_or(&file.pause_file, PAUSE_FILE);
    let state_path = match &file.state.given {
        Given::Value(state) => path_or(&state.path, STATE_PATH),
        Given::Absent => Some(STATE_PATH.into()),
        Given::Refused => None,
    };
    let instead = "write a [[cluster]] table with its name, region, account_id and scheduler";
    let clusters = file.cluster.required(instead, findings);
    refuse_empty(&file.cluster, instead, findings);
    let clusters = clusters.map_or(&[][..], |clusters| &clusters.items);
    let names = clusters.iter().map(|cluster| &cluster.value.name);
    refuse_duplicates(names, "another cluster, and everything is kept by cluster name", findings);
    let schedule_spot = &file.schedule.spot;
    let clusters: Vec<_> = clusters
        .iter()
        .map(|Item { value: table, .. }| {
            let daemon = Daemon {
                mode: mode.unwrap_or(Mode::Observe),
                tick: schedule.as_ref().map(Schedule::interval),
                schedule: schedule_spot,
            };
            cluster(table, &daemon, findings)
        })
        .collect();
    Some(Settings {
        mode: mode?,
        schedule: schedule?,
        state_path: state_path?,
        pause_file: pause_file?,
        clusters: clusters.into_iter().collect::<Option<_>>()?,
        notes: vec![],
    })
}

/// What holds for all clusters.
pub(super) struct Daemon<'a> {
    pub(super) mode: Mode,
    /// None where the schedule was refused.
    pub(super) tick: Option<Span>,
    pub(super) schedule: &'a Spot,
}

/// What a group has to know of its cluster.
pub(super) struct Cluster<'a> {
    pub(super) daemon: &'a Daemon<'a>,
    /// None where it is missing or was refused.
    pub(super) scheduler: Option<SchedulerSettings>,
    /// None where there is no source of metrics, or it was refused.
    pub(super) utilization: Option<UtilizationSettings>,
    /// Whether a source of metrics is written, readable or not.
    pub(super) has_metrics: bool,
    pub(super) fresh_for: Option<Span>,
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
        let instead = "write a role of the account the cluster is in";
        findings.problems.push(table.role_arn.spot.problem(what, instead));
    }
    let timing = timing(&table.timing, daemon, findings);
    let scheduler = scheduler(table, findings);
    let witness = witness(&table.evidence, scheduler.as_ref(), findings);
    let utilization = utilization(&table.utilization, timing.map(|t| t.fresh_for), findings);
    refuse_simulated_metrics_of_real_nodes(table, utilization, findings);
    if scheduler == Some(SchedulerSettings::None) && !table.utilization.is_written() {
        let what = "is missing, and with scheduler kind \"none\" nothing else shows work";
        let instead = "write utilization = [{ kind = \"cloudwatch\", preset = \
                       \"cwagent-nvidia\", idle_below_percent = 5, window = \"20m\" }]";
        findings.problems.push(table.utilization.spot.problem(what, instead));
    }
    let mass_change = mass_change(&table.mass_change, findings);

    let instead = "write a [[cluster.group]] for each group that may be touched; no other ever is";
    table.group.required(instead, findings);
    refuse_empty(&table.group, instead, findings);
    let names = table.group.items().iter().map(|group| &group.value.name);
    refuse_duplicates(names, "another group of this cluster", findings);
    let context = Cluster {
        daemon,
        scheduler: scheduler.clone(),
        utilization,
        has_metrics: table.utilization.is_written(),
        fresh_for: timing.map(|timing| timing.fresh_for),
    };
    let groups = groups(table.group.items(), &context, findings);
    let min_nodes = min_nodes(table, findings);
    if let (Some(mass_change), Some(groups)) = (mass_change, &groups) {
        note_mass_changes(table, mass_change, groups, findings);
    }
    if let Some(why) = scheduler.as_ref().and_then(SchedulerSettings::not_built_yet) {
        findings.notes.push(table.scheduler.spot.note(why));
    }

    let mut policy = ClusterPolicy {
        cluster: name?.clone(),
        witness: witness?,
        groups: groups?,
        min_nodes: min_nodes?,
        mass_change: mass_change?,
        timing: timing?,
        hash: "0".parse::<PolicyHash>().ok()?,
    };
    policy.hash = digest(&policy)?;
    let utilization = if table.utilization.is_written() { Some(utilization?) } else { None };
    Some(ClusterSettings {
        policy,
        region: region?.clone(),
        account_id: account?.clone(),
        role_arn: optional(&table.role_arn)?,
        endpoint_url: optional(&table.endpoint_url)?,
        signals: BTreeMap::new(),
        scheduler: scheduler?,
        utilization,
    })
}

/// The value, or that there is none; nothing if it was refused.
pub(super) fn optional<T: Clone>(entry: &Entry<T>) -> Option<Option<T>> {
    match &entry.given {
        Given::Value(value) => Some(Some(value.clone())),
        Given::Absent => Some(None),
        Given::Refused => None,
    }
}

fn path_or(entry: &Entry<AbsolutePath>, default: &str) -> Option<std::path::PathBuf> {
    entry.or(AbsolutePath(default.into())).map(|path| path.0)
}

/// Refuses a list that was written and has nothing in it.
pub(super) fn refuse_empty<T>(entry: &Entry<List<T>>, instead: &str, findings: &mut Findings) {
    if let Some(List { items, whole: true }) = entry.value()
        && items.is_empty()
    {
        findings.problems.push(entry.spot.problem("is empty, so it does nothing", instead));
    }
}

/// Refuses a name that was given before.
fn refuse_duplicates<'a, T: Ord + Display + 'a>(
    names: impl Iterator<Item = &'a Entry<T>>,
    whose: &str,
    findings: &mut Findings,
) {
    let mut first: BTreeMap<&T, &Spot> = BTreeMap::new();
    for entry in names {
        let Some(name) = entry.value() else { continue };
        match first.get(name) {
            Some(other) => {
                let what = format!("is the name of {whose} ({})", other.line());
                let instead = "write each name once; put the keys of both into one table";
                findings.problems.push(entry.spot.problem(what, instead));
            }
            None => {
                first.insert(name, &entry.spot);
            }
        }
    }
}

fn scheduler(table: &ClusterTable, findings: &mut Findings) -> Option<SchedulerSettings> {
    let instead = "write scheduler = { kind = \"slurm\" }, or { kind = \"none\" } where nothing \
                   schedules jobs";
    let SchedulerTable { spot: _, kind, conf } = table.scheduler.required(instead, findings)?;
    let kind_given = *kind.required("write kind = \"slurm\" or \"none\"", findings)?;
    if kind_given != SchedulerKind::Slurm && conf.is_written() {
        let what = "is Slurm's configuration file, and the kind is not \"slurm\"";
        findings.problems.push(conf.spot.problem(what, "leave it out"));
    }
    match kind_given {
        SchedulerKind::Slurm => Some(SchedulerSettings::Slurm { conf: path_or(conf, SLURM_CONF)? }),
        SchedulerKind::None => Some(SchedulerSettings::None),
        SchedulerKind::Simulated => {
            if let Some(endpoint) = table.endpoint_url.value()
                && !endpoint.is_loopback()
            {
                let what = format!(
                    "is a simulated scheduler, and endpoint_url = \"{endpoint}\" is not on this \
                     machine: a simulation knows nothing of the jobs of a real cluster"
                );
                let instead = "write the scheduler the cluster has";
                findings.problems.push(kind.spot.problem(what, instead));
                return None;
            }
            Some(SchedulerSettings::Simulated)
        }
        SchedulerKind::Kubernetes => {
            let what = "is not supported yet";
            let instead = "leave the cluster out; \"none\" is not a way around it, since pods \
                           that were not looked for would be lost";
            findings.problems.push(kind.spot.problem(what, instead));
            None
        }
    }
}

fn witness(
    entry: &Entry<WitnessKind>,
    scheduler: Option<&SchedulerSettings>,
    findings: &mut Findings,
) -> Option<WitnessKind> {
    let no_scheduler = *scheduler? == SchedulerSettings::None;
    let wrong = match (no_scheduler, optional(entry)?) {
        (false, None | Some(WitnessKind::Scheduler)) => return Some(WitnessKind::Scheduler),
        (true, Some(WitnessKind::MetricsOnly)) => return Some(WitnessKind::MetricsOnly),
        (true, None) => {
            "is missing, and with scheduler kind \"none\" a job can be lost that metrics do not \
             show: that is for an operator to accept in writing"
        }
        (true, Some(WitnessKind::Scheduler)) => "asks a scheduler, and its kind is \"none\"",
        (false, Some(WitnessKind::MetricsOnly)) => {
            "would pass over the scheduler, which knows of jobs that metrics do not show"
        }
    };
    let instead = if no_scheduler {
        "write evidence = \"metrics-only\" to accept it"
    } else {
        "leave it out"
    };
    findings.problems.push(entry.spot.problem(wrong, instead));
    None
}

fn utilization(
    entry: &Entry<List<SourceTable>>,
    fresh_for: Option<Span>,
    findings: &mut Findings,
) -> Option<UtilizationSettings> {
    refuse_empty(entry, "leave it out", findings);
    let items = entry.items();
    for Item { spot, .. } in items.iter().skip(1) {
        let what = "is a second source of metrics, and this build reads one";
        findings.problems.push(spot.problem(what, "keep one of them"));
    }
    let source = &items.first()?.value;
    let SourceTable { spot: _, kind, preset, idle_below_percent, window, period } = source;
    let kind_given = kind.required("write kind = \"cloudwatch\"", findings).copied();
    let origin = match kind_given {
        Some(SourceKind::Cloudwatch) => {
            let preset = preset.required("write preset = \"cwagent-nvidia\"", findings);
            preset.copied().map(UtilizationSource::Cloudwatch)
        }
        Some(SourceKind::Simulated) => {
            if preset.is_written() {
                let what = "names metrics of CloudWatch, and the kind is \"simulated\"";
                findings.problems.push(preset.spot.problem(what, "leave it out"));
            }
            Some(UtilizationSource::Simulated)
        }
        None => None,
    };
    let parts = RuleParts {
        idle_below: idle_below_percent.required("write idle_below_percent = 5", findings).copied(),
        memory_below: idle_below_percent.value().copied(),
        window: window.required("write window = \"20m\"", findings).copied(),
        period: period.or(PERIOD),
    };
    let spots = RuleSpots {
        idle_below: &idle_below_percent.spot,
        window: &window.spot,
        period: &period.spot,
    };
    let rule = rule(&parts, &spots, origin, fresh_for, findings);
    Some(UtilizationSettings { source: origin?, rule: rule? })
}

/// A utilization rule before it is judged.
pub(super) struct RuleParts {
    pub(super) idle_below: Option<Share>,
    pub(super) memory_below: Option<Share>,
    pub(super) window: Option<Span>,
    pub(super) period: Option<Span>,
}

/// Where its parts were written.
pub(super) struct RuleSpots<'a> {
    pub(super) idle_below: &'a Spot,
    pub(super) window: &'a Spot,
    pub(super) period: &'a Spot,
}

pub(super) fn rule(
    parts: &RuleParts,
    spots: &RuleSpots<'_>,
    source: Option<UtilizationSource>,
    fresh_for: Option<Span>,
    findings: &mut Findings,
) -> Option<UtilizationRule> {
    let RuleParts { idle_below, memory_below, window, period } = *parts;
    let is_cloudwatch = match source {
        Some(UtilizationSource::Cloudwatch(_)) => true,
        Some(UtilizationSource::Simulated) | None => false,
    };
    let mut refuse = |spot: &Spot, what: String, instead: &str| {
        findings.problems.push(spot.problem(what, instead));
    };
    if idle_below == Some(Share::default()) {
        let what = "is 0, and no utilization is below that, so no node would ever be idle";
        refuse(spots.idle_below, what.to_owned(), "write a percentage such as 5");
    }
    if idle_below > Share::try_from_percent(MOST_IDLE_BELOW) {
        let what = format!("is more than {MOST_IDLE_BELOW}: a node in use would count as idle");
        refuse(spots.idle_below, what, "write a percentage such as 5");
    }
    let period_fits = period.is_some_and(|period| {
        let secs = period.as_secs();
        let known = !is_cloudwatch || secs % 60 == 0 || [10, 20, 30].contains(&secs);
        if !known {
            let what = "is not a period that CloudWatch has".to_owned();
            refuse(spots.period, what, "write \"10s\", \"30s\" or whole minutes");
        } else if !(10..=3600).contains(&secs) {
            let what = "is not between 10s and 1h".to_owned();
            refuse(spots.period, what, "write the time between two datapoints, such as \"60s\"");
        }
        known && (10..=3600).contains(&secs)
    });
    if let (Some(window), Some(period), true) = (window, period, period_fits) {
        if window < period.times(2) || window > Span::hours(24) {
            let what = format!("is not between two periods of {period} and 24h");
            refuse(
                spots.window,
                what,
                "write how long metrics must have been low, such as \"20m\"",
            );
        }
        if let Some(fresh_for) = fresh_for.filter(|fresh_for| *fresh_for < period.times(2)) {
            let what = format!(
                "is more than half of timing.fresh_for = {fresh_for}, so every datapoint would \
                 be too old"
            );
            refuse(spots.period, what, "write a shorter period, or a longer timing.fresh_for");
        }
    }
    Some(UtilizationRule {
        idle_below: idle_below?,
        memory_below: memory_below?,
        window: window?,
        period: period?,
    })
}

/// Simulated metrics are of simulated nodes.
fn refuse_simulated_metrics_of_real_nodes(
    table: &ClusterTable,
    utilization: Option<UtilizationSettings>,
    findings: &mut Findings,
) {
    let simulated = utilization.is_some_and(|u| u.source == UtilizationSource::Simulated);
    let Some(source) = table.utilization.items().first().filter(|_| simulated) else { return };
    let kind = table.scheduler.value().and_then(|scheduler| scheduler.kind.value());
    let real = match kind {
        Some(SchedulerKind::Slurm | SchedulerKind::Kubernetes) => true,
        Some(SchedulerKind::Simulated | SchedulerKind::None) | None => {
            table.endpoint_url.value().is_some_and(|endpoint| !endpoint.is_loopback())
        }
    };
    if real {
        let what = "is simulated, and the cluster is not";
        let instead = "write a source that knows the cluster's nodes, such as \"cloudwatch\"";
        findings.problems.push(source.value.kind.spot.problem(what, instead));
    }
}

fn mass_change(entry: &Entry<MassChangeTable>, findings: &mut Findings) -> Option<MassChangeLimit> {
    let half = Share::try_from_percent(50.0)?;
    let default = MassChangeLimit { nodes: NodeCount(50), share: half };
    let table = match &entry.given {
        Given::Value(table) => table,
        Given::Absent => return Some(default),
        Given::Refused => return None,
    };
    let (nodes, share) = (table.nodes.or(default.nodes), table.percent.or(default.share));
    let zero_nodes = (nodes == Some(NodeCount::ZERO)).then_some(&table.nodes.spot);
    let zero_share = (share == Some(Share::default())).then_some(&table.percent.spot);
    for spot in [zero_nodes, zero_share].into_iter().flatten() {
        let what = format!(
            "is 0, so any {} nodes that change at once would freeze the cluster",
            MassChangeLimit::SMALLEST
        );
        findings.problems.push(spot.problem(what, "write how many may change at once"));
    }
    Some(MassChangeLimit { nodes: nodes?, share: share? })
}

/// A batch that the daemon itself would not believe.
fn note_mass_changes(
    table: &ClusterTable,
    limit: MassChangeLimit,
    groups: &BTreeMap<GroupName, GroupPolicy>,
    findings: &mut Findings,
) {
    let listed: NodeCount = groups.values().map(|group| group.size).sum();
    for Item { value: GroupTable { spot, name, .. }, .. } in table.group.items() {
        let Some(group) = name.value().and_then(|name| groups.get(name)) else { continue };
        let most = group::most_at_once(group);
        if limit.is_exceeded(most, listed) {
            let MassChangeLimit { nodes, share } = limit;
            findings.notes.push(spot.note(format!(
                "its budgets allow {most} nodes at once, which is more than mass_change allows \
                 ({nodes} nodes, {share} of {listed}): such a plan freezes the cluster until a \
                 person clears it"
            )));
        }
    }
}

fn timing(
    entry: &Entry<TimingTable>,
    daemon: &Daemon<'_>,
    findings: &mut Findings,
) -> Option<Timing> {
    let Timing {
        tick: _,
        max_missed_ticks,
        settle,
        fencing_timeout,
        settling_timeout,
        guard,
        confirm_running,
        deletion_overdue,
        cooldown,
        fresh_for,
        clock_tolerance,
    } = Timing::default();
    let absent;
    let table = match &entry.given {
        Given::Value(table) => table,
        Given::Absent => {
            absent = TimingTable::absent(&entry.spot);
            &absent
        }
        Given::Refused => return None,
    };
    let days = |days: i64| Span::hours(24 * days);
    let f = findings;
    let settle = table.settle.within(
        settle,
        (Span::secs(5), Span::mins(10)),
        "it is the time a scheduler takes to act on a drain",
        f,
    );
    let fencing_timeout = table.fencing_timeout.within(
        fencing_timeout,
        (Span::mins(1), days(1)),
        "it is how long a fence may take to show",
        f,
    );
    let settling_timeout = table.settling_timeout.within(
        settling_timeout,
        (Span::mins(1), days(1)),
        "it is how long a fenced node may wait for its look",
        f,
    );
    let guard = table.guard.within(
        guard,
        (Span::secs(5), Span::mins(5)),
        "it is how old the look may be on which a node is deleted",
        f,
    );
    let confirm_running = table.confirm_running.within(
        confirm_running,
        (Span::mins(15), days(1)),
        "a node whose deletion got no answer may still be going",
        f,
    );
    let deletion_overdue = table.deletion_overdue.within(
        deletion_overdue,
        (Span::mins(5), days(7)),
        "it is when a deletion under way is reported",
        f,
    );
    let cooldown = table.cooldown.within(
        cooldown,
        (Span::mins(1), days(7)),
        "it is how long a node that was handed back is left alone",
        f,
    );
    let max_missed_ticks = table.max_missed_ticks.within(
        max_missed_ticks,
        (1, 10),
        "time that nobody watched does not count as idle",
        f,
    );
    let fresh_for = table.fresh_for.within(
        fresh_for,
        (Span::secs(10), Span::hours(1)),
        "it is how old a reading may be",
        f,
    );
    let clock_tolerance = table.clock_tolerance.within(
        clock_tolerance,
        (Span::secs(1), Span::mins(10)),
        "it is how far two clocks may differ",
        f,
    );
    let looked_at = [
        (&table.fencing_timeout, "fencing_timeout", fencing_timeout),
        (
            &table.settling_timeout,
            "settling_timeout less settle",
            settling_timeout.zip(settle).map(|(timeout, settle)| timeout - settle),
        ),
    ];
    for (entry, name, time) in looked_at {
        let (Some(time), Some(tick)) = (time, daemon.tick) else { continue };
        if time > tick {
            continue;
        }
        let spot = if entry.is_written() { &entry.spot } else { daemon.schedule };
        let what = format!(
            "makes timing.{name}, {time}, no longer than a tick, {tick} (schedule, {}): a fence \
             would be given up before anybody looks at it",
            daemon.schedule.line()
        );
        f.problems.push(spot.problem(what, "tick more often, or allow more time"));
    }
    if let (Some(tolerance), Some(settle)) = (clock_tolerance, settle)
        && tolerance >= settle
    {
        let written = [&table.clock_tolerance, &table.settle].into_iter().find(|e| e.is_written());
        let spot = written.map_or(&entry.spot, |entry| &entry.spot);
        let what = format!(
            "makes timing.clock_tolerance, {tolerance}, no shorter than timing.settle, {settle}: \
             a step of the clock could pass for the settle time"
        );
        f.problems.push(spot.problem(what, "allow a smaller step, or a longer settle time"));
    }
    Some(Timing {
        tick: daemon.tick?,
        max_missed_ticks: max_missed_ticks?,
        settle: settle?,
        fencing_timeout: fencing_timeout?,
        settling_timeout: settling_timeout?,
        guard: guard?,
        confirm_running: confirm_running?,
        deletion_overdue: deletion_overdue?,
        cooldown: cooldown?,
        fresh_for: fresh_for?,
        clock_tolerance: clock_tolerance?,
    })
}

/// All groups, or none if one of them has a problem or no name.
fn groups(
    items: &[Item<GroupTable>],
    context: &Cluster<'_>,
    findings: &mut Findings,
) -> Option<BTreeMap<GroupName, GroupPolicy>> {
    let checked: Vec<_> = items
        .iter()
        .map(|Item { value: table, .. }| {
            let instead = "write the group's name as SageMaker shows it";
            let name = table.name.required(instead, findings).cloned();
            let policy = group::policy(table, context, findings);
            Some((name?, policy?))
        })
        .collect();
    checked.into_iter().collect()
}

fn min_nodes(table: &ClusterTable, findings: &mut Findings) -> Option<NodeCount> {
    let entry = &table.min_nodes;
    let min_nodes = entry.or(NodeCount::ZERO)?;
    let sizes = table.group.items().iter().map(|group| group.value.size.value().copied());
    // With a size unknown there is nothing to compare with.
    let Some(sizes) = sizes.sum::<Option<NodeCount>>() else { return Some(min_nodes) };
    if min_nodes > sizes {
        let what = format!("is more than the groups' sizes together, {sizes}");
        findings.problems.push(entry.spot.problem(what, format!("write 0 to {sizes}")));
        return None;
    }
    if min_nodes == sizes && min_nodes > NodeCount::ZERO {
        findings.notes.push(
            entry.spot.note(
                "is all the groups have, so nothing is deleted unless they outgrow their sizes",
            ),
        );
    }
    Some(min_nodes)
}
