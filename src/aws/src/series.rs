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

#[cfg(test)]
mod tests {
    use trimtab_core::policy::UtilizationRule;
    use trimtab_daemon::config::FullScale;

    use super::*;

    const NOW: Time = Time(10_000 * 60_000);

    fn query() -> MetricsQuery {
        let five = Share::try_from_percent(5.0).expect("a share");
        MetricsQuery {
            node: "i-0123456789abcdef0".parse().expect("valid"),
            group: "workers".parse().expect("valid"),
            name: Some("ip-10-0-0-1".parse().expect("valid")),
            devices: 2,
            rule: UtilizationRule {
                idle_below: five,
                memory_below: five,
                window: Span::mins(5),
                period: Span::mins(1),
            },
        }
    }

    /// Values at one-minute steps, the last one so many minutes ago.
    fn reading(measure: Measure, minutes_ago: i64, values: &[f64]) -> Reading {
        let newest = NOW - Span::mins(minutes_ago);
        let stamps = (0i64..).map(|n| newest - Span::mins(n));
        let datapoints = stamps.zip(values.iter().rev().copied()).collect();
        Reading { measure, full_scale: 100.0, datapoints: Some(datapoints) }
    }

    fn utilization(values: &[f64]) -> Reading {
        reading(Measure::Utilization, 1, values)
    }

    fn together(readings: &[Reading]) -> Witness<Activity> {
        combine(readings, &query(), NOW, Span::mins(3))
    }

    fn fresh(readings: &[Reading]) -> Activity {
        *together(readings).fresh().expect("a word that counts")
    }

    #[test]
    fn several_devices_and_signals_are_combined_by_the_maximum_of_each_measure() {
        let activity = fresh(&[
            utilization(&[1.0, 2.0, 1.0, 1.0, 1.0]),
            utilization(&[0.0, 0.0, 0.0, 3.5, 0.0]),
            reading(Measure::Memory, 1, &[7.0, 6.0, 6.0, 6.0, 6.0]),
        ]);
        let share = |percent| Share::try_from_percent(percent).expect("a share");
        assert_eq!((activity.utilization, activity.memory), (share(3.5), share(7.0)));
        assert_eq!(activity.to, NOW - Span::mins(1));
        assert_eq!(activity.from, NOW - Span::mins(5), "five periods, each stamped with its end");
    }

    #[test]
    fn what_lies_before_the_window_does_not_count() {
        let activity = fresh(&[utilization(&[99.0, 1.0, 1.0, 1.0, 1.0, 1.0])]);
        assert_eq!(activity.utilization, Share::try_from_percent(1.0).expect("a share"));
    }

    #[test]
    fn a_gap_ends_the_run_and_the_shortest_run_counts() {
        let gap = Reading {
            datapoints: Some([1, 2, 4, 5].map(|n| (NOW - Span::mins(n), 1.0)).into()),
            ..utilization(&[])
        };
        let activity = fresh(&[gap, utilization(&[1.0; 5])]);
        assert_eq!(activity.from, NOW - Span::mins(2));
        let late = reading(Measure::Memory, 3, &[1.0; 5]);
        assert_eq!(fresh(&[late, utilization(&[1.0; 5])]).to, NOW - Span::mins(3));
    }

    #[test]
    fn whatever_is_missing_late_or_out_of_range_is_no_witness() {
        let fine = utilization(&[1.0; 5]);
        let empty = utilization(&[]);
        let failed = Reading { datapoints: None, ..fine.clone() };
        let unscaled = Reading { full_scale: f64::NAN, ..fine.clone() };
        for odd in [f64::NAN, f64::INFINITY, -0.5, 101.0] {
            let odd = utilization(&[1.0, odd, 1.0]);
            assert_eq!(together(&[fine.clone(), odd]), Witness::Partial);
        }
        for lacking in [&empty, &failed, &unscaled] {
            assert_eq!(together(&[fine.clone(), lacking.clone()]), Witness::Partial);
        }
        assert_eq!(together(&[empty.clone(), empty]), Witness::Absent);
        assert_eq!(together(&[]), Witness::Absent);
        assert_eq!(together(&[failed]), Witness::Partial);
        let stale = reading(Measure::Memory, 4, &[1.0; 5]);
        let at = NOW - Span::mins(4);
        assert_eq!(together(&[fine, stale]), Witness::Stale { at });
    }

    fn signal(device: Option<&str>) -> CloudwatchSignal {
        CloudwatchSignal {
            namespace: "CWAgent".to_owned(),
            metric: "m".to_owned(),
            measure: Measure::Utilization,
            full_scale: FullScale::Value(100.0),
            dimensions: [
                ("InstanceId".to_owned(), DimensionPattern::Text("{instance_id}".to_owned())),
                ("index".to_owned(), DimensionPattern::Any),
            ]
            .into(),
            device: device.map(str::to_owned),
        }
    }

    fn series(node: &str, index: &str) -> Dimensions {
        let pairs = [("InstanceId", node), ("index", index), ("arch", "Ampere")];
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    #[test]
    fn a_series_is_a_nodes_by_the_dimensions_that_are_named() {
        let id = query().node.to_string();
        let is_mine = |series| is_of_node(&series, &signal(None), "research", &query());
        assert!(is_mine(series(&id, "0")));
        assert!(!is_mine(series("i-0123456789abcdef1", "0")));
        let mut without = series(&id, "0");
        without.remove("index");
        assert!(!is_mine(without));
        let filled = fill("{cluster}/{group}/{node}/{instance_id}", "research", &query());
        assert_eq!(filled, Some(format!("research/workers/ip-10-0-0-1/{id}")));
        let nameless = MetricsQuery { name: None, ..query() };
        assert_eq!(fill("{node}", "research", &nameless), None);
    }

    #[test]
    fn a_missing_device_is_a_missing_signal() {
        let (first, second) = (series("i", "0"), series("i", "1"));
        let again = series("i", "0");
        let by_device = signal(Some("index"));
        assert!(is_whole(&[&first, &second], &by_device, 2));
        assert!(!is_whole(&[&first], &by_device, 2));
        assert!(!is_whole(&[&first, &again], &by_device, 2), "one device twice");
        assert!(is_whole(&[&first], &signal(None), 8), "a metric of the whole node");
        assert!(!is_whole(&[], &signal(None), 1));
    }
}
