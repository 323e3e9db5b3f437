//! Nodes' metrics through CloudWatch.
//!
//! Which series a node has is found out with ListMetrics and remembered; their datapoints
//! are read with GetMetricData, which is what costs money: one unit for each series asked
//! for. Whatever cannot be read whole is no witness (see [`crate::series`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use aws_sdk_cloudwatch::types::{
    Dimension, DimensionFilter, Metric, MetricDataQuery, MetricDataResult, MetricStat,
    RecentlyActive, ScanBy, StatusCode,
};
use aws_smithy_types::DateTime;
use futures_util::{StreamExt as _, TryStreamExt as _};
use trimtab_core::ids::{ClusterName, GroupName, InstanceId};
use trimtab_core::units::{Span, Time};
use trimtab_daemon::config::{CloudwatchSignal, DimensionPattern, FullScale};
use trimtab_daemon::ports::{MetricsAnswer, MetricsQuery, ReadError, Utilization};

use crate::connection::Connection;
use crate::convert::{time, unreadable};
use crate::failure::read_error;
use crate::series::{Dimensions, Reading, combine, is_of_node, is_whole};

/// Queries of one GetMetricData call (CloudWatch's limit).
const QUERIES: usize = 500;
/// Datapoints of one GetMetricData call (CloudWatch's limit).
const DATAPOINTS: i64 = 100_800;
/// Calls at the same time; the API takes 500 a second, other readers included.
const CALLS_AT_ONCE: usize = 4;
/// Pages of one answer before it counts as never ending.
const MOST_PAGES: usize = 100;
/// Series are looked up again after this long, so that a new device is noticed.
const KNOWN_FOR: Span = Span::hours(1);
/// Series of a node that has none are not looked up more often than this: a new metric
/// takes up to 15 minutes to show, and every look-up reads all pages.
const LOOKED_UP_AT_MOST_EVERY: Span = Span::mins(5);

/// One metric of one namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    namespace: String,
    metric: String,
}

/// One metric, and what its series must have in common to be listed: a dimension's name
/// with a value, or with any.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    name: Name,
    filters: BTreeMap<String, Option<String>>,
}

/// All series of one kind, as of when.
#[derive(Debug, Clone, Default)]
struct Known {
    at: Option<Time>,
    series: Vec<Dimensions>,
}

/// What is remembered between ticks.
#[derive(Debug, Default)]
struct Memory {
    known: BTreeMap<Kind, Known>,
    /// What counts as 100 %, where another metric tells: it lasts as long as the node.
    full_scales: BTreeMap<(Name, Dimensions), f64>,
}

/// A cluster's signals in CloudWatch.
#[derive(Debug)]
pub struct Metrics {
    connection: Connection,
    signals: BTreeMap<GroupName, Vec<CloudwatchSignal>>,
    memory: Mutex<Memory>,
}

/// One series to be asked for, and whose it is.
#[derive(Debug, Clone)]
struct Wanted {
    node: InstanceId,
    name: Name,
    dimensions: Dimensions,
    from: Time,
    period: Span,
}

/// What came of it: values by the end of their period; `None` when not all could be told.
type Datapoints = Option<BTreeMap<Time, f64>>;

impl Metrics {
    /// Reads these signals, by group.
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

    /// Looks up the series of every metric that is needed and not known well enough.
    /// Returns how many calls that took.
    async fn look_up(
        &self,
        cluster: &str,
        queries: &[MetricsQuery],
        now: Time,
    ) -> Result<u64, ReadError> {
        let mut missing: BTreeSet<Kind> = BTreeSet::new();
        {
            let memory = self.memory();
            for query in queries {
                for signal in self.signals(&query.group) {
                    let kind = kind_of(signal, cluster);
                    let known = memory.known.get(&kind);
                    let age = known.and_then(|known| known.at).map(|at| now.since(at));
                    let found = known.map(|known| of_node(known, signal, cluster, query));
                    let whole = found.is_some_and(|f| is_whole(&f, signal, query.devices));
                    let due = match age {
                        None => true,
                        // A clock that stepped back must not keep what is old for ever.
                        Some(age) if age < Span::ZERO => true,
                        Some(age) if whole => age >= KNOWN_FOR,
                        Some(age) => age >= LOOKED_UP_AT_MOST_EVERY,
                    };
                    if due {
                        missing.insert(kind);
                    }
                }
            }
        }
        let mut calls = 0;
        for kind in missing {
            let (series, took) = self.list(&kind).await?;
            calls += took;
            self.memory().known.insert(kind, Known { at: Some(now), series });
        }
        Ok(calls)
    }

    /// All series of one metric that were active lately, all pages.
    async fn list(&self, kind: &Kind) -> Result<(Vec<Dimensions>, u64), ReadError> {
        let filters = kind.filters.iter().map(|(name, value)| {
            DimensionFilter::builder().name(name).set_value(value.clone()).build()
        });
        let filters: Vec<DimensionFilter> = filters.collect();
        let mut series = vec![];
        let mut token: Option<String> = None;
        let mut tokens = BTreeSet::new();
        for calls in 1..=MOST_PAGES {
            let request = self.connection.cloudwatch.list_metrics();
            let request = request
                .namespace(&kind.name.namespace)
                .metric_name(&kind.name.metric)
                .recently_active(RecentlyActive::Pt3H)
                .set_dimensions(Some(filters.clone()))
                .set_next_token(token);
            let page = request.send().await.map_err(|e| read_error("ListMetrics", &e))?;
            series.extend(page.metrics().iter().map(dimensions_of));
            token = page.next_token;
            match &token {
                None => return Ok((series, u64::try_from(calls).unwrap_or(u64::MAX))),
                Some(token) if !tokens.insert(token.clone()) => break,
                Some(_) => {}
            }
        }
        Err(unreadable(format!("ListMetrics of {}: its pages do not end", kind.name.metric)))
    }

    /// Reads series, in batches that the API takes, some at the same time. In the order of
    /// `wanted`.
    async fn read_series(
        &self,
        wanted: &[Wanted],
        now: Time,
    ) -> Result<(Vec<Datapoints>, u64), ReadError> {
        let mut read = Vec::with_capacity(wanted.len());
        let mut calls = 0;
        let mut pending = vec![];
        for batch in batches(wanted, now) {
            pending.push(self.read_batch(batch, now));
        }
        let answers = futures_util::stream::iter(pending).buffered(CALLS_AT_ONCE);
        let answers: Vec<_> = answers.try_collect().await?;
        for (datapoints, took) in answers {
            read.extend(datapoints);
            calls += took;
        }
        Ok((read, calls))
    }

    /// One batch, all pages of its answer.
    async fn read_batch(
        &self,
        batch: &[Wanted],
        now: Time,
    ) -> Result<(Vec<Datapoints>, u64), ReadError> {
        let from = batch.iter().map(|wanted| wanted.from).min().unwrap_or(now);
        let queries: Vec<MetricDataQuery> =
            batch.iter().enumerate().map(|(place, wanted)| data_query(place, wanted)).collect();
        let mut answers: BTreeMap<String, (BTreeMap<Time, f64>, bool)> = BTreeMap::new();
        let mut token: Option<String> = None;
        let mut tokens = BTreeSet::new();
        let mut calls = 0;
        loop {
            calls += 1;
            let request = self.connection.cloudwatch.get_metric_data();
            let request = request
                .set_metric_data_queries(Some(queries.clone()))
                .start_time(DateTime::from_millis(from.0))
                .end_time(DateTime::from_millis(now.0))
                .scan_by(ScanBy::TimestampAscending)
                .set_next_token(token);
            let page = request.send().await.map_err(|e| read_error("GetMetricData", &e))?;
            for result in page.metric_data_results() {
                take_result(result, &mut answers)?;
            }
            token = page.next_token;
            match &token {
                None => break,
                Some(token) if !tokens.insert(token.clone()) || calls >= MOST_PAGES => {
                    return Err(unreadable("GetMetricData: its pages do not end"));
                }
                Some(_) => {}
            }
        }
        let datapoints = batch.iter().enumerate().map(|(place, wanted)| {
            let (values, whole) = answers.remove(&query_id(place))?;
            // Stamped with the start of its period, and true until its end. A period that is
            // not over yet may still change.
            let ended = values.into_iter().map(|(at, value)| (at + wanted.period, value));
            whole.then(|| ended.filter(|(at, _)| *at <= now).collect())
        });
        Ok((datapoints.collect(), u64::try_from(calls).unwrap_or(u64::MAX)))
    }

    /// What counts as 100 % of every series whose signal leaves that to another metric.
    /// Returns metrics requested and calls made.
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
        for (wanted, datapoints) in wanted.into_iter().zip(read) {
            let newest = datapoints.and_then(|points| points.into_values().next_back());
            if let Some(value) = newest.filter(|value| value.is_finite() && *value > 0.0) {
                memory.full_scales.insert((wanted.name, wanted.dimensions), value);
            }
        }
        Ok((metrics, calls))
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
        let mut answer = MetricsAnswer {
            calls: self.look_up(cluster, queries, now).await?,
            ..MetricsAnswer::default()
        };

        // Which series, which of them need a full scale first, and which nodes lack some.
        let mut wanted: Vec<(usize, &CloudwatchSignal, Wanted)> = vec![];
        let mut unscaled: Vec<Wanted> = vec![];
        let mut lacking: Vec<Lack> = vec![Lack::default(); queries.len()];
        {
            let memory = self.memory();
            for (place, query) in queries.iter().enumerate() {
                for signal in self.signals(&query.group) {
                    let name = name_of(signal);
                    let empty = Known::default();
                    let known = memory.known.get(&kind_of(signal, cluster)).unwrap_or(&empty);
                    let found = of_node(known, signal, cluster, query);
                    lacking[place].found_any |= !found.is_empty();
                    lacking[place].lacks |= !is_whole(&found, signal, query.devices);
                    for dimensions in found {
                        let series =
                            series(query, name.clone(), dimensions.clone(), now, fresh_for);
                        if let FullScale::Metric(metric) = &signal.full_scale {
                            let of =
                                Name { namespace: name.namespace.clone(), metric: metric.clone() };
                            if !memory.full_scales.contains_key(&(of.clone(), dimensions.clone())) {
                                unscaled.push(Wanted { name: of, ..series.clone() });
                            }
                        }
                        wanted.push((place, signal, series));
                    }
                }
            }
        }
        // A node that lacks a series is kept whatever the others say: it is not asked about.
        wanted.retain(|(place, ..)| !lacking[*place].lacks);
        let asked: BTreeSet<InstanceId> = wanted.iter().map(|(.., series)| series.node).collect();
        unscaled.retain(|series| asked.contains(&series.node));
        let (metrics, calls) = self.learn_full_scales(unscaled, now).await?;
        answer.metrics += metrics;
        answer.calls += calls;

        let series: Vec<Wanted> = wanted.iter().map(|(.., series)| series.clone()).collect();
        let (read, calls) = self.read_series(&series, now).await?;
        answer.metrics += u64::try_from(series.len()).unwrap_or(u64::MAX);
        answer.calls += calls;
        let mut readings: Vec<Vec<Reading>> = vec![vec![]; queries.len()];
        {
            let memory = self.memory();
            for ((place, signal, series), datapoints) in wanted.into_iter().zip(read) {
                let full_scale = match &signal.full_scale {
                    FullScale::Value(value) => Some(*value),
                    FullScale::Metric(metric) => {
                        let of = Name { namespace: series.name.namespace, metric: metric.clone() };
                        memory.full_scales.get(&(of, series.dimensions)).copied()
                    }
                };
                readings[place].push(Reading {
                    measure: signal.measure,
                    full_scale: full_scale.unwrap_or(f64::NAN),
                    // Without it a value says nothing.
                    datapoints: datapoints.filter(|_| full_scale.is_some()),
                });
            }
        }
        for ((query, readings), lack) in queries.iter().zip(readings).zip(lacking) {
            use trimtab_core::snapshot::Witness;
            let witness = if lack.lacks {
                if lack.found_any { Witness::Partial } else { Witness::Absent }
            } else {
                combine(&readings, query, now, fresh_for)
            };
            answer.activity.insert(query.node, witness);
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

/// What of a node's series is there.
#[derive(Debug, Clone, Copy, Default)]
struct Lack {
    found_any: bool,
    lacks: bool,
}

fn name_of(signal: &CloudwatchSignal) -> Name {
    Name { namespace: signal.namespace.clone(), metric: signal.metric.clone() }
}

fn of_node<'a>(
    known: &'a Known,
    signal: &CloudwatchSignal,
    cluster: &str,
    query: &MetricsQuery,
) -> Vec<&'a Dimensions> {
    known.series.iter().filter(|series| is_of_node(series, signal, cluster, query)).collect()
}

/// The window and as much before it as datapoints may be late, on whole periods, which is
/// how CloudWatch aligns them.
fn series(
    query: &MetricsQuery,
    name: Name,
    dimensions: Dimensions,
    now: Time,
    fresh_for: Span,
) -> Wanted {
    let period = query.rule.period;
    let from = now - query.rule.window - fresh_for - period;
    let from = Time(from.0.div_euclid(period.0.max(1)) * period.0);
    Wanted { node: query.node, name, dimensions, from, period }
}

/// Batches of equal period that fit into one call.
fn batches(wanted: &[Wanted], now: Time) -> Vec<&[Wanted]> {
    let mut batches = vec![];
    let mut rest = wanted;
    while let Some(first) = rest.first() {
        let alike = rest.iter().take_while(|w| (w.from, w.period) == (first.from, first.period));
        let points = (now.since(first.from).0 / first.period.0.max(1) + 1).max(1);
        let most = usize::try_from(DATAPOINTS / points).unwrap_or(QUERIES).clamp(1, QUERIES);
        let (batch, others) = rest.split_at(alike.take(most).count());
        batches.push(batch);
        rest = others;
    }
    batches
}

fn query_id(place: usize) -> String {
    format!("q{place}")
}

fn data_query(place: usize, wanted: &Wanted) -> MetricDataQuery {
    let dimension =
        |(name, value): (&String, &String)| Dimension::builder().name(name).value(value).build();
    let metric = Metric::builder()
        .namespace(&wanted.name.namespace)
        .metric_name(&wanted.name.metric)
        .set_dimensions(Some(wanted.dimensions.iter().map(dimension).collect()))
        .build();
    let stat = MetricStat::builder()
        .metric(metric)
        .period(i32::try_from(wanted.period.as_secs()).unwrap_or(i32::MAX))
        .stat("Maximum")
        .build();
    MetricDataQuery::builder().id(query_id(place)).metric_stat(stat).return_data(true).build()
}

/// Adds one result of one page. Only a last word of `Complete` makes a series whole.
fn take_result(
    result: &MetricDataResult,
    answers: &mut BTreeMap<String, (BTreeMap<Time, f64>, bool)>,
) -> Result<(), ReadError> {
    let id = result.id().unwrap_or("");
    let (stamps, values) = (result.timestamps(), result.values());
    if stamps.len() != values.len() {
        return Err(unreadable(format!(
            "GetMetricData: {} stamps and {} values",
            stamps.len(),
            values.len()
        )));
    }
    let (points, whole) = answers.entry(id.to_owned()).or_default();
    *whole = result.status_code() == Some(&StatusCode::Complete);
    for (stamp, value) in stamps.iter().zip(values) {
        points.insert(time(stamp)?, *value);
    }
    Ok(())
}

fn dimensions_of(metric: &Metric) -> Dimensions {
    let pair = |d: &Dimension| Some((d.name()?.to_owned(), d.value()?.to_owned()));
    metric.dimensions().iter().filter_map(pair).collect()
}

/// What every series of a signal has in common, so that the API leaves the others out.
fn kind_of(signal: &CloudwatchSignal, cluster: &str) -> Kind {
    let filter = |(name, pattern): (&String, &DimensionPattern)| {
        let value = match pattern {
            DimensionPattern::Text(text) => Some(text.replace("{cluster}", cluster)),
            DimensionPattern::Any => None,
        };
        // What differs from node to node is compared here, not there.
        (name.clone(), value.filter(|text| !text.contains('{')))
    };
    Kind { name: name_of(signal), filters: signal.dimensions.iter().map(filter).collect() }
}
