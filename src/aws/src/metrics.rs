//! Nodes' metrics through CloudWatch.
//!
//! Which series a node has is found out with ListMetrics and remembered; their datapoints
//! are read with GetMetricData, which is what costs money: one unit for each series asked
//! for. Whatever cannot be read whole is no witness (see [`crate::series`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use aws_sdk_cloudwatch::types::{
    Dimension, DimensionFilter, Metric, MetricDataQuery, MetricDataResult, MetricStat,
    RecentlyActive, ScanBy, StatusCode,
};
use aws_smithy_types::DateTime;
use futures_util::{StreamExt as _, TryStreamExt as _};
use trimtab_core::ids::{ClusterName, GroupName, InstanceId};
use trimtab_core::snapshot::Witness;
use trimtab_core::units::{Span, Time};
use trimtab_daemon::config::{CloudwatchSignal, DimensionPattern, FullScale};
use trimtab_daemon::ports::{MetricsAnswer, MetricsQuery, ReadError, Utilization};

use crate::connection::Connection;
use crate::convert::{time, unreadable};
use crate::failure::read_error;
use crate::series::{
    Dimensions, Reading, Word, combine, dimension, fill, is_of_node, is_whole, word,
};

/// Queries of one GetMetricData call (CloudWatch's limit).
const QUERIES: usize = 500;
/// Datapoints of one GetMetricData call (CloudWatch's limit).
const DATAPOINTS: i64 = 100_800;
/// So much more than up to now is asked for: were our clock behind, what is newer than we
/// think possible must not stay unseen.
const AHEAD: Span = Span::mins(15);
/// A datapoint may be so far ahead of our clock: clocks differ, but not by more.
const CLOCK_TOLERANCE: Span = Span::secs(30);
/// Calls at the same time; the API takes 500 a second, other readers included.
const CALLS_AT_ONCE: usize = 4;
/// Pages of one answer before it counts as never ending: half a million series of one
/// metric, thirty clusters of a thousand nodes with eight devices each.
const MOST_PAGES: usize = 1000;
/// Up to so many nodes are looked up one after the other, each with a call a metric: as
/// many as one tick reads the details of, and not faster than the API allows (25 calls a
/// second). For more, all series of the metric are listed.
const ONE_BY_ONE: usize = 50;
/// Series are looked up again after this long, so that a new device is noticed.
const KNOWN_FOR: Span = Span::hours(1);
/// How often it is looked whether some can be forgotten, in nodes remembered.
const FORGOTTEN_EVERY: usize = 256;
/// A node whose series nobody has looked up for this long is forgotten.
const FORGOTTEN_AFTER: Span = Span::hours(3);
/// Full scales that are kept: a few times the largest account's series.
const FULL_SCALES_KEPT: usize = 1_000_000;
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
    /// As the signal has them: two signals of one metric are told apart.
    dimensions: BTreeMap<String, DimensionPattern>,
    filters: BTreeMap<String, Option<String>>,
}

/// The series of one kind that one node has, as of when.
#[derive(Debug, Clone)]
struct Known {
    at: Time,
    series: Vec<Dimensions>,
}

/// What is remembered between ticks.
#[derive(Debug, Default)]
struct Memory {
    known: BTreeMap<Kind, BTreeMap<InstanceId, Known>>,
    /// What counts as 100 %, where another metric tells: it lasts as long as the node.
    full_scales: BTreeMap<Name, BTreeMap<Dimensions, f64>>,
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
    name: Arc<Name>,
    dimensions: Dimensions,
    from: Time,
    window: Span,
    period: Span,
}

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

    /// Looks up the series that are needed and not known well enough. Returns how many
    /// calls that took.
    async fn look_up(
        &self,
        cluster: &str,
        queries: &[MetricsQuery],
        now: Time,
    ) -> Result<u64, ReadError> {
        let mut due: BTreeMap<Kind, Vec<(&CloudwatchSignal, &MetricsQuery)>> = BTreeMap::new();
        {
            let memory = self.memory();
            for query in queries {
                for signal in self.signals(&query.group) {
                    let kind = kind_of(signal, cluster);
                    let known = memory.known.get(&kind).and_then(|nodes| nodes.get(&query.node));
                    let is_due = known.is_none_or(|known| {
                        let age = now.since(known.at);
                        let whole = is_whole(&known.series, signal, query.devices);
                        let good_for = if whole { KNOWN_FOR } else { LOOKED_UP_AT_MOST_EVERY };
                        // A clock that stepped back must not keep what is old for ever.
                        age < Span::ZERO || age >= good_for
                    });
                    if is_due {
                        due.entry(kind).or_default().push((signal, query));
                    }
                }
            }
        }
        let mut calls = 0;
        for (kind, wanted) in due {
            // One by one a node takes a call; all at once the whole account's series of this
            // metric do, so many a page.
            if wanted.len() > ONE_BY_ONE {
                let found = self.look_up_all(&kind, cluster, &wanted).await?;
                calls += found.calls;
                for ((_, query), series) in wanted.iter().zip(found.series) {
                    self.remember(&kind, query.node, Known { at: now, series });
                }
                continue;
            }
            for (signal, query) in wanted {
                // Each is kept as soon as it is known: should the next call be throttled, the
                // next tick goes on from here.
                let (series, took) = self.look_up_one(&kind, cluster, signal, query).await?;
                calls += took;
                self.remember(&kind, query.node, Known { at: now, series });
            }
        }
        Ok(calls)
    }

    fn remember(&self, kind: &Kind, node: InstanceId, known: Known) {
        let mut memory = self.memory();
        let now = known.at;
        let nodes = memory.known.entry(kind.clone()).or_default();
        nodes.insert(node, known);
        if nodes.len().is_multiple_of(FORGOTTEN_EVERY) {
            // Nobody has asked for them for a while: they are gone.
            nodes.retain(|_, known| now.since(known.at) < FORGOTTEN_AFTER);
        }
    }

    async fn look_up_one(
        &self,
        kind: &Kind,
        cluster: &str,
        signal: &CloudwatchSignal,
        query: &MetricsQuery,
    ) -> Result<(Vec<Dimensions>, u64), ReadError> {
        let mut series = vec![];
        // A node without a name has no series that is found by its name.
        let Some(filters) = filters_of(signal, cluster, query) else { return Ok((series, 0)) };
        let keep = |found: Dimensions| {
            if is_of_node(&found, signal, cluster, query) {
                series.push(found);
            }
        };
        let calls = self.list(&kind.name, &filters, keep).await?;
        Ok((series, calls))
    }

    async fn look_up_all(
        &self,
        kind: &Kind,
        cluster: &str,
        wanted: &[(&CloudwatchSignal, &MetricsQuery)],
    ) -> Result<Found, ReadError> {
        let mut found = Found { series: vec![vec![]; wanted.len()], calls: 0 };
        // By the dimension that tells nodes apart, whose value is another one on each.
        let mut by_value: BTreeMap<(String, String), Vec<usize>> = BTreeMap::new();
        for (place, (signal, query)) in wanted.iter().enumerate() {
            if let Some((name, pattern)) = telling(signal)
                && let Some(value) = fill(pattern, cluster, query)
            {
                by_value.entry((name.clone(), value)).or_default().push(place);
            }
        }
        let mut names: Vec<&String> = by_value.keys().map(|(name, _)| name).collect();
        names.dedup();
        let names: Vec<String> = names.into_iter().cloned().collect();
        let keep = |series: Dimensions| {
            for name in &names {
                let Some(value) = dimension(&series, name) else { continue };
                let key = (name.clone(), value.to_owned());
                for place in by_value.get(&key).into_iter().flatten() {
                    let (signal, query) = wanted[*place];
                    if is_of_node(&series, signal, cluster, query) {
                        found.series[*place].push(series.clone());
                    }
                }
            }
        };
        found.calls = self.list(&kind.name, &kind.filters, keep).await?;
        Ok(found)
    }

    /// Shows every series of one metric that was active lately, all pages. Returns how many
    /// calls that took.
    async fn list(
        &self,
        name: &Name,
        filters: &BTreeMap<String, Option<String>>,
        mut keep: impl FnMut(Dimensions),
    ) -> Result<u64, ReadError> {
        let filters = filters.iter().map(|(name, value)| {
            DimensionFilter::builder().name(name).set_value(value.clone()).build()
        });
        let filters: Vec<DimensionFilter> = filters.collect();
        let mut shared = BTreeSet::new();
        let mut token: Option<String> = None;
        let mut tokens = BTreeSet::new();
        for calls in 1..=MOST_PAGES {
            let request = self.connection.cloudwatch.list_metrics();
            let request = request
                .namespace(&name.namespace)
                .metric_name(&name.metric)
                .recently_active(RecentlyActive::Pt3H)
                .set_dimensions(Some(filters.clone()))
                .set_next_token(token);
            let page = request.send().await.map_err(|e| read_error("ListMetrics", &e))?;
            for metric in page.metrics() {
                keep(dimensions_of(metric, &mut shared));
            }
            token = page.next_token;
            match &token {
                None => return Ok(u64::try_from(calls).unwrap_or(u64::MAX)),
                Some(token) if !tokens.insert(token.clone()) => break,
                Some(_) => {}
            }
        }
        Err(unreadable(format!("ListMetrics of {}: its pages do not end", name.metric)))
    }

    /// Reads series, in batches that the API takes, some at the same time. In the order of
    /// `wanted`.
    async fn read_series(
        &self,
        wanted: &[Wanted],
        now: Time,
    ) -> Result<(Vec<Word>, u64), ReadError> {
        let mut read = Vec::with_capacity(wanted.len());
        let mut calls = 0;
        let mut pending = vec![];
        for batch in batches(wanted, now) {
            pending.push(self.read_batch(batch, now));
        }
        let answers = futures_util::stream::iter(pending).buffered(CALLS_AT_ONCE);
        let answers: Vec<_> = answers.try_collect().await?;
        for (words, took) in answers {
            read.extend(words);
            calls += took;
        }
        Ok((read, calls))
    }

    /// One batch, all pages of its answer.
    async fn read_batch(&self, batch: &[Wanted], now: Time) -> Result<(Vec<Word>, u64), ReadError> {
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
                .end_time(DateTime::from_millis((now + AHEAD).0))
                .scan_by(ScanBy::TimestampAscending)
                .set_next_token(token);
            let page = request.send().await.map_err(|e| read_error("GetMetricData", &e))?;
            for result in page.metric_data_results() {
                take_result(result, now, &mut answers)?;
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
        let words = batch.iter().enumerate().map(|(place, wanted)| {
            let Some((values, whole)) = answers.remove(&query_id(place)) else {
                return Word::Broken;
            };
            // Stamped with the start of its period, and true until its end. A period that is
            // not over yet may still change.
            let ended = values.into_iter().map(|(at, value)| (at + wanted.period, value));
            let ended: BTreeMap<Time, f64> = ended.filter(|(at, _)| *at <= now).collect();
            word(whole.then_some(&ended), wanted.window, wanted.period)
        });
        Ok((words.collect(), u64::try_from(calls).unwrap_or(u64::MAX)))
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
        for (wanted, word) in wanted.into_iter().zip(read) {
            if let Word::Run { highest, .. } = word
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

/// What is asked for.
struct Choice<'a> {
    series: Vec<Wanted>,
    /// For which query and signal, series by series.
    owners: Vec<(usize, &'a CloudwatchSignal)>,
    /// Series that have to be read once, to know what counts as 100 %.
    unscaled: Vec<Wanted>,
    /// Query by query.
    lacking: Vec<Lack>,
}

/// What of a node's series is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lack {
    Nothing,
    Some,
    All,
}

impl Metrics {
    /// Which series to ask for. A node that lacks one is kept whatever the others say, so
    /// nothing is asked about it.
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
                // What was looked up may have been another node's name then.
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

    /// The words in percent, query by query.
    fn readings(
        &self,
        queries: usize,
        series: &[Wanted],
        owners: &[(usize, &CloudwatchSignal)],
        words: &[Word],
    ) -> Vec<Vec<Reading>> {
        let memory = self.memory();
        let mut readings: Vec<Vec<Reading>> = vec![vec![]; queries];
        for ((wanted, (place, signal)), word) in series.iter().zip(owners).zip(words) {
            let full_scale = match (&signal.full_scale, scale_of(signal)) {
                (FullScale::Value(value), _) => Some(*value),
                (FullScale::Metric(_), scale) => {
                    let known = scale.and_then(|scale| memory.full_scales.get(&scale));
                    known.and_then(|known| known.get(&wanted.dimensions)).copied()
                }
            };
            let (measure, word) = (signal.measure, word.in_percent(full_scale));
            readings[*place].push(Reading { measure, word });
        }
        readings
    }
}

impl Memory {
    fn knows_scale(&self, scale: &Name, dimensions: &Dimensions) -> bool {
        self.full_scales.get(scale).is_some_and(|known| known.contains_key(dimensions))
    }
}

/// The metric that says what counts as 100 % of this signal, if one does.
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
            let witness = match lack {
                Lack::Nothing => combine(&readings, now, fresh_for),
                Lack::Some => Witness::Partial,
                Lack::All => Witness::Absent,
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

/// The series that were looked up, in the order of who wanted them.
#[derive(Debug, Default)]
struct Found {
    series: Vec<Vec<Dimensions>>,
    calls: u64,
}

fn name_of(signal: &CloudwatchSignal) -> Name {
    Name { namespace: signal.namespace.clone(), metric: signal.metric.clone() }
}

/// The window and as much before it as datapoints may be late, on whole periods, which is
/// how CloudWatch aligns them.
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

/// Batches of equal period that fit into one call.
fn batches(wanted: &[Wanted], now: Time) -> Vec<&[Wanted]> {
    let mut batches = vec![];
    let mut rest = wanted;
    while let Some(first) = rest.first() {
        let alike = rest.iter().take_while(|w| (w.from, w.period) == (first.from, first.period));
        let points = ((now + AHEAD).since(first.from).0 / first.period.0.max(1) + 1).max(1);
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
    let pair = |(name, value): &(Arc<str>, Arc<str>)| {
        Dimension::builder().name(&**name).value(&**value).build()
    };
    let metric = Metric::builder()
        .namespace(&wanted.name.namespace)
        .metric_name(&wanted.name.metric)
        .set_dimensions(Some(wanted.dimensions.iter().map(pair).collect()))
        .build();
    let stat = MetricStat::builder()
        .metric(metric)
        .period(i32::try_from(wanted.period.as_secs()).unwrap_or(i32::MAX))
        .stat("Maximum")
        .build();
    MetricDataQuery::builder().id(query_id(place)).metric_stat(stat).return_data(true).build()
}

/// Adds one result of one page. Only a last word of `Complete` makes a series whole.
///
/// # Errors
/// Also where a stamp lies ahead of us: then our clock is behind, and what looks new to us
/// is old.
fn take_result(
    result: &MetricDataResult,
    now: Time,
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
        let at = time(stamp)?;
        if at.since(now) > CLOCK_TOLERANCE {
            let ahead = at.since(now);
            return Err(unreadable(format!(
                "CloudWatch has a datapoint from {ahead} ahead: this machine's clock is behind"
            )));
        }
        points.insert(at, *value);
    }
    Ok(())
}

/// A series' dimensions, its texts shared with those that were seen before.
fn dimensions_of(metric: &Metric, shared: &mut BTreeSet<Arc<str>>) -> Dimensions {
    let mut share = |text: &str| match shared.get(text) {
        Some(known) => Arc::clone(known),
        None => {
            let new: Arc<str> = text.into();
            shared.insert(Arc::clone(&new));
            new
        }
    };
    let mut pairs = vec![];
    for dimension in metric.dimensions() {
        if let (Some(name), Some(value)) = (dimension.name(), dimension.value()) {
            pairs.push((share(name), share(value)));
        }
    }
    pairs.sort();
    pairs.into()
}

/// The dimension by which nodes are told apart, and its pattern.
fn telling(signal: &CloudwatchSignal) -> Option<(&String, &String)> {
    signal.dimensions.iter().find_map(|(name, pattern)| match pattern {
        DimensionPattern::Text(text)
            if text.contains("{instance_id}") || text.contains("{node}") =>
        {
            Some((name, text))
        }
        DimensionPattern::Text(_) | DimensionPattern::Any => None,
    })
}

/// What the series of one node have in common; `None` if it has no series.
fn filters_of(
    signal: &CloudwatchSignal,
    cluster: &str,
    query: &MetricsQuery,
) -> Option<BTreeMap<String, Option<String>>> {
    let filter = |(name, pattern): (&String, &DimensionPattern)| match pattern {
        DimensionPattern::Any => Some((name.clone(), None)),
        DimensionPattern::Text(text) => Some((name.clone(), Some(fill(text, cluster, query)?))),
    };
    signal.dimensions.iter().map(filter).collect()
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
    Kind {
        name: name_of(signal),
        dimensions: signal.dimensions.clone(),
        filters: signal.dimensions.iter().map(filter).collect(),
    }
}
