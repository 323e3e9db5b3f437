//! Datapoints of series, with GetMetricData: as few calls as the API allows, and a series
//! that did not come whole is none.

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

impl Metrics {
    /// Reads series, in batches that the API takes, some at the same time. In the order of
    /// `wanted`.
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

    /// One batch, all pages of its answer.
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
                    return Err(unreadable("GetMetricData: its pages do not end"));
                }
                Some(_) => {}
            }
        }
        let words = batch.iter().enumerate().map(|(place, wanted)| {
            let Some((values, whole)) = answers.remove(&query_id(place)) else {
                return SeriesAnswer::Broken;
            };
            // Stamped with the start of its period, and true until its end. A period that is
            // not over yet may still change.
            let ended = values.into_iter().map(|(at, value)| (at + wanted.period, value));
            let ended: BTreeMap<Time, f64> = ended.filter(|(at, _)| *at <= now).collect();
            word(whole.then_some(&ended), wanted.window, wanted.period)
        });
        Ok((words.collect(), u64::try_from(calls).unwrap_or(u64::MAX)))
    }
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
