//! Checks the metrics that can veto a deletion.
//!
//! Each entry of a cluster has the signals of one layout or one metric, for some or all of its
//! groups. All entries of a group form one rule, so their limits must be the same: the first
//! entry sets them, and the others may omit them. The `utilization` table of a group changes
//! the rule for that group, but not the signals.

use std::collections::BTreeSet;

use trimtab_core::ids::GroupName;
use trimtab_core::policy::UtilizationRule;
use trimtab_core::units::{Share, Span};

use super::cloudwatch::{cloudwatch, free_form};
use super::file::{ClusterTable, GroupTable, RuleTable, SourceTable};
use super::idle::{PERIOD, Parts, Spots, judge, percent};
use super::settings::{SchedulerSettings, UtilizationSettings, UtilizationSource};
use super::signals::{CloudwatchSignal, Measure};
use super::values::{SchedulerKind, SourceKind};
use crate::language::entry::{Entry, Findings, Given, Item, Spot};
use crate::language::suggest;

/// The sources of the metrics of a cluster.
pub(crate) struct Sources<'a> {
    entries: Vec<Source<'a>>,
    /// Whether there are entries, valid or not.
    is_written: bool,
    /// Whether all entries and their groups could be read.
    is_whole: bool,
    /// `None` if it was refused.
    fresh_for: Option<Span>,
    /// Whether metrics are the only evidence; `None` if the scheduler was refused.
    alone: Option<bool>,
}

struct Source<'a> {
    spot: &'a Spot,
    table: &'a SourceTable,
    kind: Option<SourceKind>,
    /// `None` if they were refused.
    signals: Option<Vec<CloudwatchSignal>>,
}

/// The rule and the signals of one group.
pub(crate) struct GroupMetrics {
    pub(crate) rule: UtilizationRule,
    pub(crate) signals: Vec<CloudwatchSignal>,
}

/// Checks the entries of a cluster, each one and all together.
pub(crate) fn sources<'a>(
    table: &'a ClusterTable,
    scheduler: Option<&SchedulerSettings>,
    fresh_for: Option<Span>,
    findings: &mut Findings,
) -> Sources<'a> {
    table.utilization.refuse_empty("remove it", findings);
    let alone = scheduler.map(|scheduler| *scheduler == SchedulerSettings::None);
    if alone == Some(true) && !table.utilization.is_written() {
        let what = "is missing, and with scheduler kind \"none\" only metrics show whether a node \
                    is in use";
        let instead = "write utilization = [{ kind = \"cloudwatch\", preset = \
                       \"cwagent-nvidia\", idle_below_percent = 5, window = \"20m\" }]";
        findings.problems.push(table.utilization.spot.problem(what, instead));
    }
    let items = table.utilization.items();
    let entries: Vec<_> = items.iter().map(|item| source(item, alone, findings)).collect();
    let names_groups = |entry: &Source<'_>| match &entry.table.groups.given {
        Given::Absent => true,
        Given::Value(groups) => groups.whole,
        Given::Refused => false,
    };
    let list = table.utilization.value();
    let is_whole = list.is_some_and(|list| list.whole && !list.items.is_empty())
        && entries.iter().all(names_groups);
    let is_written = table.utilization.is_written();
    let sources = Sources { entries, is_written, is_whole, fresh_for, alone };
    sources.refuse_mixture(findings);
    refuse_unknown_groups(table, findings);
    refuse_simulated_metrics_of_real_nodes(table, &sources, findings);
    for (number, entry) in sources.entries.iter().enumerate() {
        let is_first_of = |group: &Item<GroupTable>| {
            let name = group.value.name.value();
            name.is_some_and(|name| sources.first(name).is_some_and(|first| first == number))
        };
        if number == 0 || table.group.items().iter().any(is_first_of) {
            sources.first_rule(entry, findings);
        }
    }
    sources
}

fn source<'a>(
    Item { spot, value: table }: &'a Item<SourceTable>,
    alone: Option<bool>,
    findings: &mut Findings,
) -> Source<'a> {
    let kind = table.kind.required("write kind = \"cloudwatch\"", findings).copied();
    table.groups.refuse_empty("remove it: the entry then applies to all groups", findings);
    table.groups.refuse_repeats(findings);
    let signals = match kind {
        Some(SourceKind::Cloudwatch) => cloudwatch(spot, table, alone, findings),
        Some(SourceKind::Simulated) => {
            let preset = [(&table.preset.spot, table.preset.is_written())];
            let namespace = [(&table.namespace.spot, table.namespace.is_written())];
            for (spot, is_written) in preset.into_iter().chain(namespace).chain(free_form(table)) {
                if is_written {
                    let what = "applies to metrics of CloudWatch, but kind is \"simulated\"";
                    findings.problems.push(spot.problem(what, "remove it"));
                }
            }
            if table.groups.is_written() {
                let what = "restricts simulated metrics, but every group has them";
                findings.problems.push(table.groups.spot.problem(what, "remove it"));
            }
            Some(vec![])
        }
        None => None,
    };
    Source { spot, table, kind, signals }
}

fn refuse_unknown_groups(table: &ClusterTable, findings: &mut Findings) {
    let known: BTreeSet<&str> = table
        .group
        .items()
        .iter()
        .filter_map(|g| g.value.name.value())
        .map(GroupName::as_str)
        .collect();
    let whole = table.group.items().iter().all(|group| group.value.name.value().is_some());
    for Item { value: source, .. } in table.utilization.items() {
        for Item { spot, value: name } in source.groups.items() {
            if known.contains(name.as_str()) || !whole {
                continue;
            }
            let instead = match suggest::nearest(name.as_str(), known.iter().copied()) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => "write the name of a [[cluster.group]] of this cluster".to_owned(),
            };
            findings.problems.push(spot.problem("is not a group of this cluster", instead));
        }
    }
}

/// Reports simulated metrics of a real cluster.
fn refuse_simulated_metrics_of_real_nodes(
    table: &ClusterTable,
    sources: &Sources<'_>,
    findings: &mut Findings,
) {
    let simulated = |entry: &&Source<'_>| entry.kind == Some(SourceKind::Simulated);
    let Some(source) = sources.entries.iter().find(simulated) else { return };
    let kind = table.scheduler.value().and_then(|scheduler| scheduler.kind.value());
    let real = match kind {
        Some(SchedulerKind::Slurm | SchedulerKind::Kubernetes) => true,
        Some(SchedulerKind::Simulated | SchedulerKind::None) | None => {
            table.endpoint_url.value().is_some_and(|endpoint| !endpoint.is_loopback())
        }
    };
    if real {
        let what = "is simulated, and the cluster is not";
        let instead = "write a source that has metrics of the cluster, such as \"cloudwatch\"";
        findings.problems.push(source.table.kind.spot.problem(what, instead));
    }
}

impl Sources<'_> {
    /// Returns the position of the first entry that applies to this group.
    fn first(&self, group: &GroupName) -> Option<usize> {
        self.entries.iter().position(|entry| entry.is_for(group))
    }

    /// Returns the settings of the whole cluster: `Some(None)` without metrics, and `None` if
    /// they were refused.
    pub(crate) fn settings(&self) -> Option<Option<UtilizationSettings>> {
        if !self.is_written {
            return Some(None);
        }
        let first = self.entries.first()?;
        let source = match first.kind? {
            SourceKind::Cloudwatch => UtilizationSource::Cloudwatch,
            SourceKind::Simulated => UtilizationSource::Simulated,
        };
        let parts = Parts::of_first(first.table);
        Some(Some(UtilizationSettings { source, rule: parts.rule()? }))
    }

    /// Reports entries beside simulated metrics: a simulated cluster has no other metrics.
    fn refuse_mixture(&self, findings: &mut Findings) {
        if self.entries.iter().all(|entry| entry.kind != Some(SourceKind::Simulated)) {
            return;
        }
        for entry in self.entries.iter().skip(1) {
            let what = "cannot be combined with simulated metrics";
            findings.problems.push(entry.spot.problem(what, "keep one of them"));
        }
    }

    /// Checks the rule of an entry that is the first one of a group.
    fn first_rule(&self, entry: &Source<'_>, findings: &mut Findings) {
        let table = entry.table;
        table.idle_below_percent.required("write idle_below_percent = 5", findings);
        table.window.required("write window = \"20m\"", findings);
        table.period.derive(PERIOD.to_string(), findings);
        if let Some(idle_below) = table.idle_below_percent.value() {
            table.memory_below_percent.derive(percent(*idle_below), findings);
        }
        let parts = Parts::of_first(table);
        let spots = Spots {
            idle_below: &table.idle_below_percent.spot,
            memory_below: &table.memory_below_percent.spot,
            window: &table.window.spot,
            period: &table.period.spot,
        };
        judge(&parts, &spots, entry.kind, self.fresh_for, findings);
    }

    /// Returns the metrics of a group: `Some(None)` if it has none, and `None` if something was
    /// refused.
    pub(crate) fn of_group(
        &self,
        table: &GroupTable,
        findings: &mut Findings,
    ) -> Option<Option<GroupMetrics>> {
        let own = &table.utilization;
        if self.is_written && !self.is_whole {
            // The entries of this group are not known.
            return None;
        }
        let name = if self.is_written { Some(table.name.value()?) } else { None };
        let first = name.and_then(|name| self.first(name)).and_then(|at| self.entries.get(at));
        let (Some(name), Some(first)) = (name, first) else {
            if own.is_written() {
                let what = "changes the utilization rule of the cluster, but there is none";
                let instead = "first write utilization = [{ kind = … }] in the [[cluster]]";
                findings.problems.push(own.spot.problem(what, instead));
                return None;
            }
            if self.is_written && self.alone == Some(true) {
                let what = "has no entry in utilization, and with scheduler kind \"none\" only \
                            metrics show whether a node is in use";
                let instead = "add the group to the `groups` of an entry";
                findings.problems.push(table.spot.problem(what, instead));
                return None;
            }
            return Some(None);
        };
        let entries: Vec<&Source<'_>> =
            self.entries.iter().filter(|entry| entry.is_for(name)).collect();
        let agreed = refuse_disagreement(&entries, findings);
        let signals = self.signals(table, name, &entries, findings);
        let parts = self.own_rule(table, first, findings);
        let rule = parts?.rule()?;
        (agreed && own.optional().is_some()).then_some(())?;
        Some(Some(GroupMetrics { rule, signals: signals? }))
    }

    /// Returns the rule of the first entry with the changes of this group.
    fn own_rule(
        &self,
        table: &GroupTable,
        first: &Source<'_>,
        findings: &mut Findings,
    ) -> Option<Parts> {
        let common = Parts::of_first(first.table);
        let Some(own) = table.utilization.optional()? else { return Some(common) };
        let RuleTable { spot, idle_below_percent, memory_below_percent, window, period } = own;
        let is_empty = !idle_below_percent.is_written()
            && !memory_below_percent.is_written()
            && !window.is_written()
            && !period.is_written();
        if is_empty {
            let what = "changes nothing: it has no keys";
            findings.problems.push(spot.problem(what, "write the keys that differ, or remove it"));
        }
        let either = |own: &Entry<Share>, common| own.optional().map(|own| own.or(common));
        let parts = Parts {
            idle_below: either(&idle_below_percent, common.idle_below)?,
            memory_below: either(&memory_below_percent, common.memory_below)?,
            window: window.optional()?.or(common.window),
            period: period.optional()?.or(common.period),
        };
        let spots = Spots {
            idle_below: &idle_below_percent.spot,
            memory_below: &memory_below_percent.spot,
            window: &window.spot,
            period: &period.spot,
        };
        // The rule of the entry is checked in `first_rule`.
        if !is_empty {
            judge(&parts, &spots, first.kind, self.fresh_for, findings);
        }
        Some(parts)
    }

    /// Returns all signals of this group.
    fn signals(
        &self,
        table: &GroupTable,
        name: &GroupName,
        entries: &[&Source<'_>],
        findings: &mut Findings,
    ) -> Option<Vec<CloudwatchSignal>> {
        if entries.iter().any(|entry| entry.kind != Some(SourceKind::Cloudwatch)) {
            let simulated = |entry: &&Source<'_>| entry.kind == Some(SourceKind::Simulated);
            return entries.iter().all(simulated).then(Vec::new);
        }
        let mut all: Vec<CloudwatchSignal> = vec![];
        for entry in entries {
            for signal in entry.signals.as_ref()? {
                let again = |known: &CloudwatchSignal| {
                    known.namespace == signal.namespace
                        && known.metric == signal.metric
                        && known.dimensions == signal.dimensions
                };
                if all.iter().any(again) {
                    let what = format!("reads {} of group {name} a second time", signal.metric);
                    findings.problems.push(entry.spot.problem(what, "use each metric once"));
                }
                all.push(signal.clone());
            }
        }
        self.judge_measures(table, name, entries, &all, findings);
        refuse_uncounted_devices(table, &all, findings);
        Some(all)
    }

    fn judge_measures(
        &self,
        table: &GroupTable,
        name: &GroupName,
        entries: &[&Source<'_>],
        signals: &[CloudwatchSignal],
        findings: &mut Findings,
    ) {
        let has = |measure| signals.iter().any(|signal| signal.measure == measure);
        let Some(first) = entries.first() else { return };
        if !has(Measure::Utilization) {
            let what = format!(
                "applies to group {name}, but no metric of this group measures utilization: a node \
                 with free memory can still be in use"
            );
            let instead = "add an entry whose measure is \"utilization\"";
            findings.problems.push(first.spot.problem(what, instead));
        }
        if has(Measure::Memory) {
            return;
        }
        let own = table.utilization.value().map(|own| &own.memory_below_percent);
        let written = entries.iter().map(|entry| &entry.table.memory_below_percent).chain(own);
        for entry in written.filter(|entry| entry.is_written()) {
            let what = format!("has no effect: no metric of group {name} measures memory");
            let instead = "add an entry whose measure is \"memory\", or remove it";
            findings.problems.push(entry.spot.problem(what, instead));
        }
        if self.alone == Some(true) {
            let what = format!(
                "applies to group {name}, but no metric of this group measures memory: with \
                 scheduler kind \"none\" a node is idle only if its memory is idle too"
            );
            let instead = "add an entry whose measure is \"memory\"";
            findings.problems.push(first.spot.problem(what, instead));
        } else {
            let text = format!(
                "no metric of group {name} measures memory, so only the scheduler can report work \
                 that uses nothing but memory"
            );
            findings.notes.push(first.spot.note(text));
        }
    }
}

impl Source<'_> {
    fn is_for(&self, group: &GroupName) -> bool {
        !self.table.groups.is_written()
            || self.table.groups.items().iter().any(|item| item.value == *group)
    }
}

/// Requires the number of devices for metrics of each device. Without it, trimtab cannot notice
/// a missing device.
fn refuse_uncounted_devices(
    table: &GroupTable,
    signals: &[CloudwatchSignal],
    findings: &mut Findings,
) {
    let Some(signal) = signals.iter().find(|signal| signal.device.is_some()) else { return };
    let entry = &table.gpus_per_node;
    let what = if !entry.is_written() {
        format!(
            "is not set, but {} is a metric of each device: trimtab could not notice a missing \
             device",
            signal.metric
        )
    } else if entry.value() == Some(&0) {
        format!("is 0, but {} is a metric of each device", signal.metric)
    } else {
        return;
    };
    let instead = "write the number of devices of a node, or exclude the group with groups = […]";
    findings.problems.push(entry.spot.problem(what, instead));
}

/// Reports entries of a group with different rules. Returns whether all rules are the same.
fn refuse_disagreement(entries: &[&Source<'_>], findings: &mut Findings) -> bool {
    let Some((first, others)) = entries.split_first() else { return true };
    let common = Parts::of_first(first.table);
    let before = findings.problems.len();
    for other in others {
        let table = other.table;
        let mut compare = |spot: &Spot, differs: bool, key: &str, from: &Spot| {
            if differs {
                let what = format!(
                    "differs from the first entry ({}), and a group has only one rule",
                    from.seen_from(spot)
                );
                let instead = format!(
                    "write the same value or remove it; to change it for one group, write \
                     utilization = {{ {key} = … }} in that group"
                );
                findings.problems.push(spot.problem(what, instead));
            }
        };
        let differs = |entry: &Entry<Share>, common: Option<Share>| {
            entry.value().zip(common).is_some_and(|(own, common)| *own != common)
        };
        let spans_differ = |entry: &Entry<Span>, common: Option<Span>| {
            entry.value().zip(common).is_some_and(|(own, common)| *own != common)
        };
        let (mine, its) = (table, first.table);
        compare(
            &mine.idle_below_percent.spot,
            differs(&mine.idle_below_percent, common.idle_below),
            "idle_below_percent",
            &its.idle_below_percent.spot,
        );
        compare(
            &mine.memory_below_percent.spot,
            differs(&mine.memory_below_percent, common.memory_below.or(common.idle_below)),
            "memory_below_percent",
            if its.memory_below_percent.is_written() {
                &its.memory_below_percent.spot
            } else {
                &its.idle_below_percent.spot
            },
        );
        compare(
            &mine.window.spot,
            spans_differ(&mine.window, common.window),
            "window",
            &its.window.spot,
        );
        compare(
            &mine.period.spot,
            spans_differ(&mine.period, common.period),
            "period",
            &its.period.spot,
        );
    }
    findings.problems.len() == before
}
