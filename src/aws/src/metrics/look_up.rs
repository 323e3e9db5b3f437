//! Finds the series of each node with ListMetrics (limit: 25 requests per second and account)
//! and caches them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_sdk_cloudwatch::types::{DimensionFilter, Metric, RecentlyActive};
use trimtab_config::{CloudwatchSignal, DimensionPattern};
use trimtab_core::ids::InstanceId;
use trimtab_core::units::{Span, Time};
use trimtab_daemon::ports::{MetricsQuery, ReadError};

use super::{MOST_PAGES, Metrics, Name, name_of};
use crate::convert::unreadable;
use crate::failure::read_error;
use crate::series::{Dimensions, dimension, fill, is_of_node, is_whole};

/// Limit on the nodes that are looked up one at a time, with one request per metric: as many as
/// one tick reads details of, and within the API's rate limit (25 per second). For more nodes,
/// all series of the metric are listed.
const ONE_BY_ONE: usize = 50;
/// How long found series are cached. A new device is noticed after this time.
const KNOWN_FOR: Span = Span::hours(1);
/// Cached nodes between two searches for outdated entries.
const FORGOTTEN_EVERY: usize = 256;
/// Age at which the series of a node are removed from the cache.
const FORGOTTEN_AFTER: Span = Span::hours(3);
/// Shortest time between lookups for a node without series. A new metric takes up to 15 minutes
/// to appear, and every lookup reads all pages.
const LOOKED_UP_AT_MOST_EVERY: Span = Span::mins(5);

/// One metric, and what its series must have in common: the name of a dimension with a certain
/// value, or with any value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    name: Name,
    /// As in the signal; they distinguish two signals of one metric.
    dimensions: BTreeMap<String, DimensionPattern>,
    filters: BTreeMap<String, Option<String>>,
}

/// Series of one kind that a node has, and when they were looked up.
#[derive(Debug, Clone)]
pub(super) struct Known {
    at: Time,
    pub(super) series: Vec<Dimensions>,
}

/// Series found, in the order of the queries.
#[derive(Debug, Default)]
struct Found {
    series: Vec<Vec<Dimensions>>,
    calls: u64,
}

impl Metrics {
    /// Looks up the series that are missing from the cache or outdated. Returns the number of
    /// requests.
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
                        // If the clock was set back, look up again; otherwise an old entry
                        // would never expire.
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
            // A single lookup takes one request per node. A lookup of all nodes lists the
            // metric's series in the whole account, page by page.
            if wanted.len() > ONE_BY_ONE {
                let found = self.look_up_all(&kind, cluster, &wanted).await?;
                calls += found.calls;
                for ((_, query), series) in wanted.iter().zip(found.series) {
                    self.remember(&kind, query.node, Known { at: now, series });
                }
                continue;
            }
            for (signal, query) in wanted {
                // Each result is cached at once: if the next request is throttled, the next
                // tick continues from here.
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
            // Nodes that were not looked up for a while no longer exist.
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
        // Series that are found by node name do not exist for a node without a name.
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
        // By the dimension that identifies the node.
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

    /// Passes every series of one metric that was active in the last three hours to `keep`, on
    /// all pages. Returns the number of requests.
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
        Err(unreadable(format!("ListMetrics of {}: the pages do not end", name.metric)))
    }
}

/// Returns the dimensions of a series, sharing texts with earlier ones.
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

/// Returns the dimension that identifies the node, and its pattern.
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

/// Returns the filters for the series of one node; `None` if it can have no series.
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

/// Returns what all series of a signal have in common, so that the API can filter.
pub(super) fn kind_of(signal: &CloudwatchSignal, cluster: &str) -> Kind {
    let filter = |(name, pattern): (&String, &DimensionPattern)| {
        let value = match pattern {
            DimensionPattern::Text(text) => Some(text.replace("{cluster}", cluster)),
            DimensionPattern::Any => None,
        };
        // Values that differ between nodes are compared locally.
        (name.clone(), value.filter(|text| !text.contains('{')))
    };
    Kind {
        name: name_of(signal),
        dimensions: signal.dimensions.clone(),
        filters: signal.dimensions.iter().map(filter).collect(),
    }
}
