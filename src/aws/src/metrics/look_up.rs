//! Which series a node has: found out with ListMetrics, of which an account has 25 calls a
//! second, and remembered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_sdk_cloudwatch::types::{DimensionFilter, Metric, RecentlyActive};
use trimtab_core::ids::InstanceId;
use trimtab_core::units::{Span, Time};
use trimtab_daemon::config::{CloudwatchSignal, DimensionPattern};
use trimtab_daemon::ports::{MetricsQuery, ReadError};

use super::{MOST_PAGES, Metrics, Name, name_of};
use crate::convert::unreadable;
use crate::failure::read_error;
use crate::series::{Dimensions, dimension, fill, is_of_node, is_whole};

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
/// Series of a node that has none are not looked up more often than this: a new metric
/// takes up to 15 minutes to show, and every look-up reads all pages.
const LOOKED_UP_AT_MOST_EVERY: Span = Span::mins(5);

/// One metric, and what its series must have in common to be listed: a dimension's name
/// with a value, or with any.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    name: Name,
    /// As the signal has them: two signals of one metric are told apart.
    dimensions: BTreeMap<String, DimensionPattern>,
    filters: BTreeMap<String, Option<String>>,
}

/// The series of one kind that one node has, as of when.
#[derive(Debug, Clone)]
pub(super) struct Known {
    at: Time,
    pub(super) series: Vec<Dimensions>,
}

/// The series that were looked up, in the order of who wanted them.
#[derive(Debug, Default)]
struct Found {
    series: Vec<Vec<Dimensions>>,
    calls: u64,
}

impl Metrics {
    /// Looks up the series that are needed and not known well enough. Returns how many
    /// calls that took.
    pub(super) async fn look_up(
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
pub(super) fn kind_of(signal: &CloudwatchSignal, cluster: &str) -> Kind {
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
