//! Which series a node's signal has, and what their datapoints say together. Pure.
//!
//! CloudWatch stamps a datapoint with the start of its period; here it carries the end,
//! because that is until when it speaks.

use std::collections::{BTreeMap, BTreeSet};

use trimtab_core::snapshot::{Activity, Witness};
use trimtab_core::units::{Share, Span, Time};
use trimtab_daemon::config::{CloudwatchSignal, DimensionPattern, Measure};
use trimtab_daemon::ports::MetricsQuery;

/// A series' dimensions, by name.
pub(crate) type Dimensions = BTreeMap<String, String>;

/// How far above 100 % rounding may carry a value.
const ROUNDING: f64 = 1e-6;

/// What a placeholder stands for on one node.
pub(crate) fn fill(pattern: &str, cluster: &str, query: &MetricsQuery) -> Option<String> {
    let mut text = pattern.replace("{instance_id}", &query.node.to_string());
    text = text.replace("{cluster}", cluster).replace("{group}", query.group.as_str());
    if text.contains("{node}") {
        text = text.replace("{node}", query.name.as_ref()?.as_str());
    }
    Some(text)
}

/// Whether a series is this node's.
pub(crate) fn is_of_node(
    series: &Dimensions,
    signal: &CloudwatchSignal,
    cluster: &str,
    query: &MetricsQuery,
) -> bool {
    signal.dimensions.iter().all(|(name, pattern)| match pattern {
        DimensionPattern::Any => series.contains_key(name),
        DimensionPattern::Text(text) => {
            let wanted = fill(text, cluster, query);
            wanted.is_some() && series.get(name) == wanted.as_ref()
        }
    })
}

/// Whether the series found are all there have to be: one for each device, or one at all.
pub(crate) fn is_whole(found: &[&Dimensions], signal: &CloudwatchSignal, devices: u32) -> bool {
    match &signal.device {
        None => !found.is_empty(),
        Some(device) => {
            let seen: BTreeSet<&String> = found.iter().filter_map(|s| s.get(device)).collect();
            seen.len() >= usize::try_from(devices.max(1)).unwrap_or(usize::MAX)
        }
    }
}

/// One series as read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reading {
    /// What it says.
    pub(crate) measure: Measure,
    /// What counts as 100 %.
    pub(crate) full_scale: f64,
    /// Values by the end of their period; `None` when CloudWatch could not tell them all.
    pub(crate) datapoints: Option<BTreeMap<Time, f64>>,
}

/// What all series of a node say together, by the maximum of each measure. Whatever is
/// missing, late, broken off or out of range makes the whole no witness.
pub(crate) fn combine(
    readings: &[Reading],
    query: &MetricsQuery,
    now: Time,
    fresh_for: Span,
) -> Witness<Activity> {
    let known = readings.iter().filter_map(|reading| reading.datapoints.as_ref());
    if known.clone().all(BTreeMap::is_empty) {
        return if readings.iter().all(|reading| reading.datapoints.is_some()) {
            Witness::Absent
        } else {
            Witness::Partial
        };
    }
    let mut whole = Activity {
        utilization: Share::default(),
        memory: Share::default(),
        from: Time(i64::MIN),
        to: Time(i64::MAX),
    };
    let mut stale: Option<Time> = None;
    for reading in readings {
        let Some(datapoints) = &reading.datapoints else { return Witness::Partial };
        let Some(newest) = datapoints.keys().next_back().copied() else { return Witness::Partial };
        if now.since(newest) > fresh_for {
            stale = Some(stale.map_or(newest, |before| before.min(newest)));
            continue;
        }
        let Some((from, share)) = highest(datapoints, newest, reading.full_scale, query) else {
            return Witness::Partial;
        };
        match reading.measure {
            Measure::Utilization => whole.utilization = whole.utilization.max(share),
            Measure::Memory => whole.memory = whole.memory.max(share),
        }
        whole.from = whole.from.max(from);
        whole.to = whole.to.min(newest);
    }
    if let Some(at) = stale {
        return Witness::Stale { at };
    }
    if whole.from > whole.to {
        return Witness::Partial;
    }
    Witness::Fresh { at: whole.to, value: whole }
}

/// The unbroken run up to `newest`, no longer than the window: where it begins and its
/// highest value. `None` when a value makes no sense.
fn highest(
    datapoints: &BTreeMap<Time, f64>,
    newest: Time,
    full_scale: f64,
    query: &MetricsQuery,
) -> Option<(Time, Share)> {
    let period = query.rule.period;
    let first = newest - (query.rule.window - period);
    let mut from = newest;
    let mut highest = Share::default();
    for (at, value) in datapoints.range(..=newest).rev() {
        if *at < first || from.since(*at) > period {
            break;
        }
        let percent = 100.0 * value / full_scale;
        let within = (-ROUNDING..=100.0 + ROUNDING).contains(&percent);
        let share = Share::try_from_percent(percent.clamp(0.0, 100.0)).filter(|_| within)?;
        highest = highest.max(share);
        from = *at;
    }
    Some((from, highest))
}
