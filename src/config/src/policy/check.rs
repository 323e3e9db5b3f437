//! What values say together: the file as a whole and each cluster.
//!
//! No check stops the next one. A value that was refused already makes the
//! checks that need it silent, so that one mistake is one problem.

use std::collections::BTreeMap;
use std::fmt::Display;

use trimtab_core::ids::{GroupName, PolicyHash};
use trimtab_core::policy::{ClusterPolicy, EvidenceSource, MassChangeLimit, Timing};
use trimtab_core::units::{NodeCount, Share, Span};

use super::digest::digest;
use super::file::{
    ClusterTable, ConfigFile, GroupTable, MassChangeTable, SchedulerTable, TimingTable,
};
use super::group::{self, Group};
use super::hooks::{self, Hooks};
use super::rest_address::RestAddress;
use super::schedule::Schedule;
use super::settings::{
    ClusterSettings, Mode, SchedulerSettings, Settings, SlurmAccess, SlurmSettings,
};
use super::utilization::{self, Sources};
use super::values::{AbsolutePath, SchedulerKind};
use crate::language::read::{Entry, Findings, Given, Item, List, Spot};

/// The set of keys this build knows.
pub(crate) const VERSION: u32 = 1;

/// Where HyperPod's images have it.
const SLURM_CONF: &str = "/opt/slurm/etc/slurm.conf";
/// Where HyperPod's images have Slurm's commands.
const SLURM_BIN: &str = "/opt/slurm/bin";

/// Judges the whole file.
pub(crate) fn settings(file: &ConfigFile, findings: &mut Findings) -> Option<Settings> {
    let version = file.config_version.required("write config_version = 1", findings);
    if version.is_some_and(|version| *version != VERSION) {
        let what = "is not a version of the file that this build knows";
        findings.problems.push(file.config_version.spot.problem(what, "write 1"));
    }
    let mode = file.mode.value().copied();
    let schedule = file.schedule.value().cloned();
    let pause_file = file.pause_file.value().cloned();
    let state_path = file.state.value().and_then(|state| state.path.value()).cloned();
    let log_level = file.log.value().and_then(|log| log.level.value()).cloned();
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

/// What holds for all clusters.
pub(crate) struct Daemon<'a> {
    pub(crate) mode: Mode,
    mode_spot: &'a Spot,
    /// None where the schedule was refused.
    pub(crate) tick: Option<Span>,
    pub(crate) schedule: &'a Spot,
}

/// What a group has to know of its cluster.
pub(crate) struct Cluster<'a> {
    pub(crate) daemon: &'a Daemon<'a>,
    /// None where it is missing or was refused.
    pub(crate) scheduler: Option<SchedulerSettings>,
    /// Where its metrics come from.
    pub(crate) sources: &'a Sources<'a>,
    /// Whether it was given a gate.
    pub(crate) has_gate: bool,
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
    let evidence_source = evidence_source(&table.evidence, scheduler.as_ref(), findings);
    let fresh_for = timing.map(|timing| timing.fresh_for);
    let sources = utilization::sources(table, scheduler.as_ref(), fresh_for, findings);
    if daemon.mode == Mode::Enforce {
        refuse_enforcing_beyond_this_machine(table, daemon, findings);
    }
    let mass_change = mass_change(&table.mass_change, findings);
    let hooks = hooks::hooks(table, findings);

    let instead = "write a [[cluster.group]] for each group that may be touched; no other ever is";
    table.group.required(instead, findings);
    refuse_empty(&table.group, instead, findings);
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
            Some(scheduler) => optional(&scheduler.node_name)?,
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
        role_arn: optional(&table.role_arn)?,
        endpoint_url: optional(&table.endpoint_url)?,
        signals: signals.into_iter().filter(|(_, signals)| !signals.is_empty()).collect(),
        scheduler: scheduler?,
        utilization: sources.settings()?,
        gate,
        on_node_check,
    })
}

/// This build carries plans out only where nothing real can be lost: on a simulated
/// cluster behind an endpoint of this machine. When what is owed below is there, this
/// function and its call go.
fn refuse_enforcing_beyond_this_machine(
    table: &ClusterTable,
    daemon: &Daemon<'_>,
    findings: &mut Findings,
) {
    let where_to = match &table.endpoint_url.given {
        Given::Value(endpoint) if endpoint.is_loopback() => return,
        Given::Value(_) => "is not on this machine",
        Given::Absent => "is missing, so that requests go to AWS",
        Given::Refused => return,
    };
    let spot = &table.endpoint_url.spot;
    let what = format!(
        "{where_to}, and mode = \"enforce\" ({}) is refused for real clusters until trimtab has \
         what they need for safety: the simulation of faults at scale, and an operator's switches \
         and lease",
        daemon.mode_spot.seen_from(spot)
    );
    let instead = "go on with mode = \"observe\", or write the endpoint of `trimtab simulate`, such \
                   as endpoint_url = \"http://127.0.0.1:4010\"";
    findings.problems.push(spot.problem(what, instead));
}

/// The value, or that there is none; nothing if it was refused.
pub(crate) fn optional<T: Clone>(entry: &Entry<T>) -> Option<Option<T>> {
    match &entry.given {
        Given::Value(value) => Some(Some(value.clone())),
        Given::Absent => Some(None),
        Given::Refused => None,
    }
}

/// Refuses a list that was written and has nothing in it.
pub(crate) fn refuse_empty<T>(entry: &Entry<List<T>>, instead: &str, findings: &mut Findings) {
    if let Some(List { items, whole: true }) = entry.value()
        && items.is_empty()
    {
        findings.problems.push(entry.spot.problem("is empty, so it does nothing", instead));
    }
}

/// Refuses a value that a list has twice.
pub(crate) fn refuse_repeats<T: Ord>(entry: &Entry<List<T>>, findings: &mut Findings) {
    let items = entry.items();
    for (number, Item { spot, value }) in items.iter().enumerate() {
        if let Some(first) = items.iter().take(number).find(|item| item.value == *value) {
            let what = format!("is there twice, first on {}", first.spot.seen_from(spot));
            findings.problems.push(spot.problem(what, "write it once"));
        }
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
                let what = format!("is the name of {whose} ({})", other.seen_from(&entry.spot));
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
    let scheduler = table.scheduler.required(instead, findings)?;
    let kind = &scheduler.kind;
    let kind_given = *kind.required("write kind = \"slurm\" or \"none\"", findings)?;
    if kind_given != SchedulerKind::Slurm {
        let SchedulerTable {
            spot: _,
            kind: _,
            conf,
            bin_dir,
            rest_url,
            token_file,
            sees_all_jobs,
            node_name,
            resource_config,
            provisioning_parameters,
        } = scheduler;
        let slurms_own = [
            (&conf.spot, conf.is_written(), "Slurm's configuration file"),
            (&bin_dir.spot, bin_dir.is_written(), "where Slurm's commands are"),
            (&rest_url.spot, rest_url.is_written(), "where slurmrestd is"),
            (&token_file.spot, token_file.is_written(), "a token for slurmrestd"),
            (&sees_all_jobs.spot, sees_all_jobs.is_written(), "about Slurm's jobs"),
            (&node_name.spot, node_name.is_written(), "how nodes are called in Slurm"),
            (&resource_config.spot, resource_config.is_written(), "how nodes are called in Slurm"),
            (
                &provisioning_parameters.spot,
                provisioning_parameters.is_written(),
                "what groups are for in Slurm",
            ),
        ];
        for (spot, _, what) in slurms_own.into_iter().filter(|(_, is_written, _)| *is_written) {
            let what = format!("is {what}, and the kind is not \"slurm\"");
            findings.problems.push(spot.problem(what, "leave it out"));
        }
    }
    match kind_given {
        SchedulerKind::Slurm => {
            let path = |entry: &Entry<AbsolutePath>| optional(entry).map(|path| path.map(|p| p.0));
            Some(SchedulerSettings::Slurm(SlurmSettings {
                access: slurm_access(scheduler, findings)?,
                sees_all_jobs: optional(&scheduler.sees_all_jobs)?.unwrap_or(false),
                resource_config: path(&scheduler.resource_config)?,
                provisioning_parameters: path(&scheduler.provisioning_parameters)?,
            }))
        }
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

/// Slurm's commands, unless slurmrestd is named.
fn slurm_access(scheduler: &SchedulerTable, findings: &mut Findings) -> Option<SlurmAccess> {
    let SchedulerTable { conf, bin_dir, rest_url, token_file, .. } = scheduler;
    if !rest_url.is_written() && !token_file.is_written() {
        conf.derive(SLURM_CONF, findings);
        bin_dir.derive(SLURM_BIN, findings);
        let conf = conf.or(AbsolutePath(SLURM_CONF.into()));
        let bin_dir = bin_dir.or(AbsolutePath(SLURM_BIN.into()))?;
        return Some(SlurmAccess::Commands { conf: conf?.0, bin_dir: bin_dir.0 });
    }
    for one in [conf, bin_dir].into_iter().filter(|one| one.is_written()) {
        let what = "is for Slurm's commands, and rest_url or token_file says to ask slurmrestd";
        let instead = "write conf and bin_dir, or rest_url and token_file";
        findings.problems.push(one.spot.problem(what, instead));
    }
    let instead = "write rest_url = \"unix:/run/slurmrestd/slurmrestd.socket\", or leave \
                   token_file out to run Slurm's commands";
    let address = rest_url.required(instead, findings)?.clone();
    // By a socket slurmrestd can know who asks.
    if !matches!(address, RestAddress::Socket(_)) {
        let instead = "write token_file = \"/etc/trimtab/slurm.jwt\", a file with what \
                       `scontrol token` prints that only trimtab's user may use";
        token_file.required(instead, findings)?;
    }
    let token_file = optional(token_file)?.map(|path| path.0);
    Some(SlurmAccess::Rest { address, token_file })
}

fn evidence_source(
    entry: &Entry<EvidenceSource>,
    scheduler: Option<&SchedulerSettings>,
    findings: &mut Findings,
) -> Option<EvidenceSource> {
    let no_scheduler = *scheduler? == SchedulerSettings::None;
    let wrong = match (no_scheduler, optional(entry)?) {
        (false, None | Some(EvidenceSource::Scheduler)) => {
            entry.derive("scheduler", findings);
            return Some(EvidenceSource::Scheduler);
        }
        (true, Some(EvidenceSource::MetricsOnly)) => return Some(EvidenceSource::MetricsOnly),
        (true, None) => {
            "is missing, and with scheduler kind \"none\" a job can be lost that metrics do not \
             show: that is for an operator to accept in writing"
        }
        (true, Some(EvidenceSource::Scheduler)) => "asks a scheduler, and its kind is \"none\"",
        (false, Some(EvidenceSource::MetricsOnly)) => {
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
        findings.problems.push(spot.problem(what, "write how many may change at once"));
    }
    Some(MassChangeLimit { nodes: nodes?, share: share? })
}

/// A request that the daemon itself would not believe.
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

fn timing(
    entry: &Entry<TimingTable>,
    daemon: &Daemon<'_>,
    findings: &mut Findings,
) -> Option<Timing> {
    let table = entry.value()?;
    let days = |days: i64| Span::hours(24 * days);
    let f = findings;
    let settle = table.settle.within(
        (Span::secs(5), Span::mins(10)),
        "it is the time a scheduler takes to act on a drain",
        f,
    );
    let cordon_timeout = table.cordon_timeout.within(
        (Span::mins(1), days(1)),
        "it is how long a cordon may take to show",
        f,
    );
    let settling_timeout = table.settling_timeout.within(
        (Span::mins(1), days(1)),
        "it is how long a cordoned node may wait for its look",
        f,
    );
    let max_look_age = table.max_look_age.within(
        (Span::secs(5), Span::mins(5)),
        "it is how old the look may be on which a node is deleted",
        f,
    );
    let confirm_running = table.confirm_running.within(
        (Span::mins(15), days(1)),
        "a node whose deletion got no answer may still be going",
        f,
    );
    let deletion_overdue = table.deletion_overdue.within(
        (Span::mins(5), days(7)),
        "it is when a deletion under way is reported",
        f,
    );
    let cooldown = table.cooldown.within(
        (Span::mins(1), days(7)),
        "it is how long a node that was released is left alone",
        f,
    );
    let max_missed_ticks = table.max_missed_ticks.within(
        (1, 10),
        "time that nobody watched does not count as idle",
        f,
    );
    let fresh_for = table.fresh_for.within(
        (Span::secs(10), Span::hours(1)),
        "it is how old a reading may be",
        f,
    );
    let clock_tolerance = table.clock_tolerance.within(
        (Span::secs(1), Span::mins(10)),
        "it is how far two clocks may differ",
        f,
    );
    let looked_at = [
        (&table.cordon_timeout, "cordon_timeout", cordon_timeout),
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
            "makes timing.{name}, {time}, no longer than a tick, {tick} (schedule, {}): a cordon \
             would be given up before anybody looks at it",
            daemon.schedule.seen_from(spot)
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
        cordon_timeout: cordon_timeout?,
        settling_timeout: settling_timeout?,
        max_look_age: max_look_age?,
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
