//! Reads the metrics of nodes from CloudWatch.
//!
//! ListMetrics returns the series of each node, which are cached. GetMetricData returns their
//! datapoints and is billed per series. A node whose series cannot be read completely has no
//! evidence from metrics (see [`crate::series`]).

mod look_up;
mod read;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use trimtab_config::{CloudwatchSignal, FullScale};
use trimtab_core::ids::{ClusterName, GroupName, InstanceId};
use trimtab_core::reads::Reading;
use trimtab_core::units::{Span, Time};
use trimtab_daemon::ports::{MetricsAnswer, MetricsQuery, ReadError, Utilization};

use self::look_up::{Kind, Known, kind_of};
use crate::connection::Connection;
use crate::series::{Dimensions, SeriesAnswer, SeriesReading, combine, is_of_node, is_whole};

/// Limit on the pages of one answer: half a million series of one metric, thirty clusters of a
/// thousand nodes with eight devices each.
const MOST_PAGES: usize = 1000;
/// Limit on the full scales that are cached: a few times the series of the largest account.
const FULL_SCALES_KEPT: usize = 1_000_000;

/// One metric in one namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    namespace: String,
    metric: String,
}

/// Values cached between ticks.
#[derive(Debug, Default)]
struct Memory {
    known: BTreeMap<Kind, BTreeMap<InstanceId, Known>>,
    /// The value that means 100 %, if another metric reports it. It does not change during the
    /// life of the node.
    full_scales: BTreeMap<Name, BTreeMap<Dimensions, f64>>,
}

/// CloudWatch signals of one cluster.
#[derive(Debug)]
pub struct Metrics {
    connection: Connection,
    signals: BTreeMap<GroupName, Vec<CloudwatchSignal>>,
    memory: Mutex<Memory>,
}

/// One series to read, and its name.
#[derive(Debug, Clone)]
struct Wanted {
    name: Arc<Name>,
    dimensions: Dimensions,
    from: Time,
    window: Span,
    period: Span,
}

impl Metrics {
    /// Returns a reader of these signals, by group.
    pub fn new(
        connection: Connection,
        signals: BTreeMap<GroupName, Vec<CloudwatchSignal>>,
    ) -> Self {
        Self { connection, signals, memory: Mutex::default() }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signals(&self, group: &GroupName) -> &[CloudwatchSignal] {
        self.signals.get(group).map_or(&[], Vec::as_slice)
    }

    /// Reads the value that means 100 % for each series whose signal takes it from another
    /// metric. Returns the numbers of metrics and requests.
    async fn learn_full_scales(
        &self,
        wanted: Vec<Wanted>,
        now: Time,
    ) -> Result<(u64, u64), ReadError> {
        if wanted.is_empty() {
            return Ok((0, 0));
        }
        let (read, calls) = self.read_series(&wanted, now).await?;
        let metrics = u64::try_from(wanted.len()).unwrap_or(u64::MAX);
        let mut memory = self.memory();
        for (wanted, word) in wanted.into_iter().zip(read) {
            if let SeriesAnswer::Run { highest, .. } = word
                && highest > 0.0
            {
                let kept = memory.full_scales.entry((*wanted.name).clone()).or_default();
                if kept.len() >= FULL_SCALES_KEPT {
                    kept.clear();
                }
                kept.insert(wanted.dimensions, highest);
            }
        }
        Ok((metrics, calls))
    }
}

/// Series to read.
struct Choice<'a> {
    series: Vec<Wanted>,
    /// Query and signal of each series.
    owners: Vec<(usize, &'a CloudwatchSignal)>,
    /// Series to read once, for the value that means 100 %.
    unscaled: Vec<Wanted>,
    /// Missing series, by query.
    lacking: Vec<Lack>,
}

/// Which series of a node are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lack {
    Nothing,
    Some,
    All,
}

impl Metrics {
    /// Chooses the series to read. A node that lacks a series is kept whatever the others
    /// report, so none of its series are read.
    fn choose(
        &self,
        cluster: &str,
        queries: &[MetricsQuery],
        now: Time,
        fresh_for: Span,
    ) -> Choice<'_> {
        let memory = self.memory();
        let mut choice =
            Choice { series: vec![], owners: vec![], unscaled: vec![], lacking: vec![] };
        for (place, query) in queries.iter().enumerate() {
            let of_signal = |signal| {
                let known = memory.known.get(&kind_of(signal, cluster));
                let known = known.and_then(|nodes| nodes.get(&query.node));
                // At the time of the lookup another node may have had this name.
                let known = known.into_iter().flat_map(|known| &known.series);
                let own = known.filter(|series| is_of_node(series, signal, cluster, query));
                (signal, own.cloned().collect())
            };
            let found: Vec<(&CloudwatchSignal, Vec<Dimensions>)> =
                self.signals(&query.group).iter().map(of_signal).collect();
            let is_there = |(signal, series): &(&CloudwatchSignal, Vec<Dimensions>)| {
                is_whole(series, signal, query.devices)
            };
            let lack = if found.iter().all(|(_, series)| series.is_empty()) {
                Lack::All
            } else if found.iter().all(is_there) {
                Lack::Nothing
            } else {
                Lack::Some
            };
            choice.lacking.push(lack);
            for (signal, all) in found.into_iter().filter(|_| lack == Lack::Nothing) {
                let name = Arc::new(name_of(signal));
                let scale = scale_of(signal).map(Arc::new);
                for dimensions in all {
                    let wanted = series(query, &name, &dimensions, now, fresh_for);
                    if let Some(scale) = &scale
                        && !memory.knows_scale(scale, &dimensions)
                    {
                        choice.unscaled.push(Wanted { name: Arc::clone(scale), ..wanted.clone() });
                    }
                    choice.series.push(wanted);
                    choice.owners.push((place, signal));
                }
            }
        }
        choice
    }

    /// Returns the readings in percent, by query.
    fn readings(
        &self,
        queries: usize,
        series: &[Wanted],
        owners: &[(usize, &CloudwatchSignal)],
        words: &[SeriesAnswer],
    ) -> Vec<Vec<SeriesReading>> {
        let memory = self.memory();
        let mut readings: Vec<Vec<SeriesReading>> = vec![vec![]; queries];
        for ((wanted, (place, signal)), word) in series.iter().zip(owners).zip(words) {
            let full_scale = match (&signal.full_scale, scale_of(signal)) {
                (FullScale::Value(value), _) => Some(*value),
                (FullScale::Metric(_), scale) => {
                    let known = scale.and_then(|scale| memory.full_scales.get(&scale));
                    known.and_then(|known| known.get(&wanted.dimensions)).copied()
                }
            };
            let (measure, word) = (signal.measure, word.in_percent(full_scale));
            readings[*place].push(SeriesReading { measure, word });
        }
        readings
    }
}

impl Memory {
    fn knows_scale(&self, scale: &Name, dimensions: &Dimensions) -> bool {
        self.full_scales.get(scale).is_some_and(|known| known.contains_key(dimensions))
    }
}

/// Returns the metric that reports the value for 100 % of this signal, if there is one.
fn scale_of(signal: &CloudwatchSignal) -> Option<Name> {
    match &signal.full_scale {
        FullScale::Value(_) => None,
        FullScale::Metric(metric) => {
            Some(Name { namespace: signal.namespace.clone(), metric: metric.clone() })
        }
    }
}

#[async_trait]
impl Utilization for Metrics {
    async fn read(
        &self,
        cluster: &ClusterName,
        queries: &[MetricsQuery],
        now: Time,
        fresh_for: Span,
    ) -> Result<MetricsAnswer, ReadError> {
        let cluster = cluster.as_str();
        let looked_up = self.look_up(cluster, queries, now).await?;
        let Choice { series, owners, unscaled, lacking } =
            self.choose(cluster, queries, now, fresh_for);
        let (scales, scale_calls) = self.learn_full_scales(unscaled, now).await?;
        let (words, calls) = self.read_series(&series, now).await?;
        let readings = self.readings(queries.len(), &series, &owners, &words);

        let metrics = scales + u64::try_from(series.len()).unwrap_or(u64::MAX);
        let calls = looked_up + scale_calls + calls;
        let mut answer = MetricsAnswer { activity: BTreeMap::new(), metrics, calls };
        for ((query, readings), lack) in queries.iter().zip(readings).zip(lacking) {
            let evidence_source = match lack {
                Lack::Nothing => combine(&readings, now, fresh_for),
                Lack::Some => Reading::Partial,
                Lack::All => Reading::Absent,
            };
            answer.activity.insert(query.node, evidence_source);
        }
        Ok(answer)
    }

    fn metrics_per_node(&self, _cluster: &ClusterName, group: &GroupName, devices: u32) -> u64 {
        let of_signal = |signal: &CloudwatchSignal| match signal.device {
            Some(_) => u64::from(devices.max(1)),
            None => 1,
        };
        self.signals(group).iter().map(of_signal).sum()
    }
}

fn name_of(signal: &CloudwatchSignal) -> Name {
    Name { namespace: signal.namespace.clone(), metric: signal.metric.clone() }
}

/// Returns the request for one series: the window, plus the time by which datapoints may be
/// late, in whole periods, as CloudWatch aligns them.
fn series(
    query: &MetricsQuery,
    name: &Arc<Name>,
    dimensions: &Dimensions,
    now: Time,
    fresh_for: Span,
) -> Wanted {
    let (window, period) = (query.rule.window, query.rule.period);
    let from = now - window - fresh_for - period;
    let from = Time(from.0.div_euclid(period.0.max(1)) * period.0);
    let (name, dimensions) = (Arc::clone(name), Arc::clone(dimensions));
    Wanted { name, dimensions, from, window, period }
}
