//! Reads the datapoints of series with GetMetricData, in as few requests as the API allows. A
//! series that was not returned completely counts as unreadable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_sdk_cloudwatch::types::{
    Dimension, Metric, MetricDataQuery, MetricDataResult, MetricStat, ScanBy, StatusCode,
};
use aws_smithy_types::DateTime;
use futures_util::{StreamExt as _, TryStreamExt as _};
use trimtab_core::units::{Span, Time};
use trimtab_daemon::ports::ReadError;

use super::{MOST_PAGES, Metrics, Wanted};
use crate::convert::{time, unreadable};
use crate::failure::read_error;
use crate::series::{SeriesAnswer, word};

/// Limit on the queries of one GetMetricData request (CloudWatch's limit).
const QUERIES: usize = 500;
/// Limit on the datapoints of one GetMetricData request (CloudWatch's limit).
const DATAPOINTS: i64 = 100_800;
/// How far beyond the current time to read. If this machine's clock is behind, newer datapoints
/// must still be seen.
const AHEAD: Span = Span::mins(15);
/// How far ahead of this machine's clock a datapoint may be; clocks differ by less.
const CLOCK_TOLERANCE: Span = Span::secs(30);
/// Requests that run at the same time. The API allows 500 per second for all readers.
const CALLS_AT_ONCE: usize = 4;

impl Metrics {
    /// Reads series in as many requests as needed, some at the same time. Returns the answers
    /// in the order of `wanted`, and the number of requests.
    pub(super) async fn read_series(
        &self,
        wanted: &[Wanted],
        now: Time,
    ) -> Result<(Vec<SeriesAnswer>, u64), ReadError> {
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

    /// Reads all pages of one request.
    async fn read_batch(
        &self,
        batch: &[Wanted],
        now: Time,
    ) -> Result<(Vec<SeriesAnswer>, u64), ReadError> {
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
                    return Err(unreadable("GetMetricData: the pages do not end"));
                }
                Some(_) => {}
            }
        }
        let words = batch.iter().enumerate().map(|(place, wanted)| {
            let Some((values, whole)) = answers.remove(&query_id(place)) else {
                return SeriesAnswer::Broken;
            };
            // CloudWatch stamps a datapoint with the start of its period; here it counts at the
            // end. A period that has not ended may still change.
            let ended = values.into_iter().map(|(at, value)| (at + wanted.period, value));
            let ended: BTreeMap<Time, f64> = ended.filter(|(at, _)| *at <= now).collect();
            word(whole.then_some(&ended), wanted.window, wanted.period)
        });
        Ok((words.collect(), u64::try_from(calls).unwrap_or(u64::MAX)))
    }
}

/// Splits the series into groups of equal period that fit into one request.
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

/// Adds one result of one page. A series is complete only if its last status is `Complete`.
///
/// # Errors
/// When stamps and values do not match, or when a datapoint is ahead of this machine's clock:
/// then the clock is behind, and datapoints that look new are old.
fn take_result(
    result: &MetricDataResult,
    now: Time,
    answers: &mut BTreeMap<String, (BTreeMap<Time, f64>, bool)>,
) -> Result<(), ReadError> {
    let id = result.id().unwrap_or("");
    let (stamps, values) = (result.timestamps(), result.values());
    if stamps.len() != values.len() {
        return Err(unreadable(format!(
            "GetMetricData: {} timestamps but {} values",
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
                "CloudWatch has a datapoint {ahead} in the future: this machine's clock is behind"
            )));
        }
        points.insert(at, *value);
    }
    Ok(())
}
