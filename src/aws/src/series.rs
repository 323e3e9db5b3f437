//! Matches series to nodes and combines their datapoints. Pure functions.
//!
//! CloudWatch stamps a datapoint with the start of its period. Here it carries the end, because
//! the value holds until then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use trimtab_config::{CloudwatchSignal, DimensionPattern, Measure};
use trimtab_core::reads::{Activity, Reading};
use trimtab_core::units::{Share, Span, Time};
use trimtab_daemon::ports::MetricsQuery;

/// Dimensions of a series, ordered by name. Texts are shared, because a large account has
/// hundreds of thousands of series.
pub(crate) type Dimensions = Arc<[(Arc<str>, Arc<str>)]>;

/// Returns the value of one dimension.
pub(crate) fn dimension<'a>(series: &'a Dimensions, name: &str) -> Option<&'a str> {
    series.iter().find(|(own, _)| &**own == name).map(|(_, value)| &**value)
}

/// Tolerance for rounding, in percent.
const ROUNDING: f64 = 1e-6;

/// Fills the placeholders of a pattern for one node. Returns `None` if the node has no name and
/// the pattern needs it.
pub(crate) fn fill(pattern: &str, cluster: &str, query: &MetricsQuery) -> Option<String> {
    let mut text = pattern.replace("{instance_id}", &query.node.to_string());
    text = text.replace("{cluster}", cluster).replace("{group}", query.group.as_str());
    if text.contains("{node}") {
        text = text.replace("{node}", query.name.as_ref()?.as_str());
    }
    Some(text)
}

/// Whether a series belongs to this node.
pub(crate) fn is_of_node(
    series: &Dimensions,
    signal: &CloudwatchSignal,
    cluster: &str,
    query: &MetricsQuery,
) -> bool {
    signal.dimensions.iter().all(|(name, pattern)| match pattern {
        DimensionPattern::Any => dimension(series, name).is_some(),
        DimensionPattern::Text(text) => {
            let wanted = fill(text, cluster, query);
            wanted.is_some() && dimension(series, name) == wanted.as_deref()
        }
    })
}

/// Whether all expected series were found: one per device, or at least one.
pub(crate) fn is_whole(found: &[Dimensions], signal: &CloudwatchSignal, devices: u32) -> bool {
    match &signal.device {
        None => !found.is_empty(),
        Some(device) => {
            let seen: BTreeSet<&str> = found.iter().filter_map(|s| dimension(s, device)).collect();
            seen.len() >= usize::try_from(devices.max(1)).unwrap_or(usize::MAX)
        }
    }
}

/// Result of one series of a node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SeriesReading {
    pub(crate) measure: Measure,
    pub(crate) word: SeriesAnswer,
}

/// Result of the datapoints of one series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum SeriesAnswer {
    /// CloudWatch did not return all datapoints, or one is invalid.
    Broken,
    /// There are no datapoints.
    Nothing,
    /// There are datapoints up to `newest`.
    Run {
        /// The end of the newest datapoint's period.
        newest: Time,
        /// End of the first period of the unbroken run up to it, limited to the window.
        from: Time,
        /// Highest value of that run.
        highest: f64,
    },
}

/// Evaluates one series. `datapoints` are keyed by the end of their period; `None` means that
/// they are incomplete.
pub(crate) fn word(
    datapoints: Option<&BTreeMap<Time, f64>>,
    window: Span,
    period: Span,
) -> SeriesAnswer {
    let Some(datapoints) = datapoints else { return SeriesAnswer::Broken };
    let Some(newest) = datapoints.keys().next_back().copied() else { return SeriesAnswer::Nothing };
    let first = newest - (window - period);
    let (mut from, mut highest) = (newest, f64::NEG_INFINITY);
    for (at, value) in datapoints.range(..=newest).rev() {
        if *at < first || from.since(*at) > period {
            break;
        }
        if !value.is_finite() || *value < -ROUNDING {
            return SeriesAnswer::Broken;
        }
        highest = highest.max(*value);
        from = *at;
    }
    SeriesAnswer::Run { newest, from, highest }
}

impl SeriesAnswer {
    /// Returns the result in percent of the full scale. A value above 100 %, or a missing full
    /// scale, makes it `Broken`.
    pub(crate) fn in_percent(self, full_scale: Option<f64>) -> Self {
        match (self, full_scale) {
            (Self::Run { newest, from, highest }, Some(full_scale)) => {
                let highest = 100.0 * highest / full_scale;
                let within = (-ROUNDING..=100.0 + ROUNDING).contains(&highest);
                if within { Self::Run { newest, from, highest } } else { Self::Broken }
            }
            (Self::Run { .. } | Self::Broken, _) => Self::Broken,
            (Self::Nothing, _) => Self::Nothing,
        }
    }
}

/// Combines all series of a node, in percent, with the maximum of each measure. If a series is
/// missing, late, incomplete or out of range, the node has no reading.
pub(crate) fn combine(readings: &[SeriesReading], now: Time, fresh_for: Span) -> Reading<Activity> {
    if readings.iter().all(|reading| reading.word == SeriesAnswer::Nothing) {
        return Reading::Absent;
    }
    let mut whole = Activity {
        utilization: Share::default(),
        memory: Share::default(),
        from: Time(i64::MIN),
        to: Time(i64::MAX),
    };
    let mut stale: Option<Time> = None;
    for reading in readings {
        let SeriesAnswer::Run { newest, from, highest } = reading.word else {
            return Reading::Partial;
        };
        let Some(share) = Share::try_from_percent(highest.clamp(0.0, 100.0)) else {
            return Reading::Partial;
        };
        if now.since(newest) > fresh_for {
            stale = Some(stale.map_or(newest, |before| before.min(newest)));
        }
        match reading.measure {
            Measure::Utilization => whole.utilization = whole.utilization.max(share),
            Measure::Memory => whole.memory = whole.memory.max(share),
        }
        whole.from = whole.from.max(from);
        whole.to = whole.to.min(newest);
    }
    if let Some(at) = stale {
        return Reading::Stale { at };
    }
    if whole.from > whole.to {
        return Reading::Partial;
    }
    Reading::Fresh { at: whole.to, value: whole }
}

#[cfg(test)]
mod tests {
    use trimtab_config::FullScale;
    use trimtab_core::policy::UtilizationRule;

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

    /// Values at one-minute steps, the last `minutes_ago` minutes ago.
    fn reading(measure: Measure, minutes_ago: i64, values: &[f64]) -> SeriesReading {
        let newest = NOW - Span::mins(minutes_ago);
        let stamps = (0i64..).map(|n| newest - Span::mins(n));
        of(measure, Some(stamps.zip(values.iter().rev().copied()).collect()))
    }

    fn of(measure: Measure, datapoints: Option<BTreeMap<Time, f64>>) -> SeriesReading {
        let rule = query().rule;
        let word = word(datapoints.as_ref(), rule.window, rule.period).in_percent(Some(100.0));
        SeriesReading { measure, word }
    }

    fn utilization(values: &[f64]) -> SeriesReading {
        reading(Measure::Utilization, 1, values)
    }

    fn together(readings: &[SeriesReading]) -> Reading<Activity> {
        combine(readings, NOW, Span::mins(3))
    }

    fn fresh(readings: &[SeriesReading]) -> Activity {
        *together(readings).fresh().expect("a fresh reading")
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
        let points = [1, 2, 4, 5].map(|n| (NOW - Span::mins(n), 1.0));
        let gap = of(Measure::Utilization, Some(points.into()));
        let activity = fresh(&[gap, utilization(&[1.0; 5])]);
        assert_eq!(activity.from, NOW - Span::mins(2));
        let late = reading(Measure::Memory, 3, &[1.0; 5]);
        assert_eq!(fresh(&[late, utilization(&[1.0; 5])]).to, NOW - Span::mins(3));
    }

    #[test]
    fn whatever_is_missing_late_or_out_of_range_is_no_witness() {
        let fine = utilization(&[1.0; 5]);
        let empty = utilization(&[]);
        let failed = of(Measure::Utilization, None);
        let unscaled = SeriesReading { word: fine.word.in_percent(None), ..fine };
        for odd in [f64::NAN, f64::INFINITY, -0.5, 101.0] {
            let odd = utilization(&[1.0, odd, 1.0]);
            assert_eq!(together(&[fine, odd]), Reading::Partial);
        }
        for lacking in [&empty, &failed, &unscaled] {
            assert_eq!(together(&[fine, *lacking]), Reading::Partial);
        }
        assert_eq!(together(&[empty, empty]), Reading::Absent);
        assert_eq!(together(&[]), Reading::Absent);
        assert_eq!(together(&[failed]), Reading::Partial);
        let stale = reading(Measure::Memory, 4, &[1.0; 5]);
        let at = NOW - Span::mins(4);
        assert_eq!(together(&[fine, stale]), Reading::Stale { at });
        assert_eq!(together(&[stale, failed]), Reading::Partial);
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
        let pairs = [("InstanceId", node), ("arch", "Ampere"), ("index", index)];
        pairs.map(|(name, value)| (Arc::from(name), Arc::from(value))).into()
    }

    #[test]
    fn a_series_is_a_nodes_by_the_dimensions_that_are_named() {
        let id = query().node.to_string();
        let is_mine = |series| is_of_node(&series, &signal(None), "research", &query());
        assert!(is_mine(series(&id, "0")));
        assert!(!is_mine(series("i-0123456789abcdef1", "0")));
        let all = series(&id, "0");
        let without = all.iter().filter(|(name, _)| &**name != "index").cloned();
        assert!(!is_mine(without.collect()));
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
        assert!(is_whole(&[first.clone(), second], &by_device, 2));
        assert!(!is_whole(std::slice::from_ref(&first), &by_device, 2));
        assert!(!is_whole(&[first.clone(), again], &by_device, 2), "one device twice");
        assert!(is_whole(&[first], &signal(None), 8), "a metric of the whole node");
        assert!(!is_whole(&[], &signal(None), 1));
    }
}
