//! ListMetrics: first the metrics that the worlds' agents publish, world by world, then
//! the metrics from PutMetricData.

use trimtab_core::units::{Span, Time};
use trimtab_simulator::World;
use trimtab_simulator::metrics::{SeriesFilter, SeriesPosition};

use super::failure::{Failure, FailureKind};
use super::rules::Rules;
use super::store::{MetricStore, SeriesKey};
use super::token::{self, Position};
use super::value::{Members, Value};

/// Maximum number of metrics in a page.
pub(super) const PAGE: usize = 500;
/// Maximum number of dimensions in a filter.
const DIMENSIONS_MAX: usize = 10;
/// Metrics without data for this long are not listed.
const LISTED: Span = Span::hours(14 * 24);
/// The only value of RecentlyActive, and its span.
const RECENTLY_ACTIVE: (&str, Span) = ("PT3H", Span::hours(3));

const RULES: Rules =
    Rules { wrong: FailureKind::InvalidParameterValue, missing: FailureKind::MissingParameter };

pub(super) fn list(
    worlds: &[World],
    store: &MetricStore,
    request: &Members<'_>,
    now: Time,
) -> Result<Value, Failure> {
    let filter = filter(request, now)?;
    // A token is valid for this filter at any time, so the time is not part of the digest.
    let timeless = SeriesFilter { active_since: None, ..filter.clone() };
    let recent = request.has("RecentlyActive");
    let digest = token::digest(&format!("ListMetrics {recent} {timeless:?}"));
    let from: Position = match request.text("NextToken")? {
        None => [0, -1, -1],
        Some(text) => token::read(digest, text)?,
    };
    let mut found = vec![];
    collect(worlds, store, &filter, from, &mut found);
    let has_more = found.len() > PAGE;
    found.truncate(PAGE);
    let last = found.last().map(|(position, _)| *position).filter(|_| has_more);
    let metrics = found.into_iter().map(|(_, key)| metric(key)).collect();
    let mut output = vec![("Metrics".to_owned(), Value::List(metrics))];
    if let Some(last) = last {
        output.push(("NextToken".to_owned(), Value::Text(token::write(digest, last))));
    }
    Ok(Value::Map(output))
}

fn filter(request: &Members<'_>, now: Time) -> Result<SeriesFilter, Failure> {
    let wrong = |what: String| Err(FailureKind::InvalidParameterValue.because(what));
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let namespace = owned(RULES.namespace(request)?);
    let metric = owned(RULES.name(request, "MetricName")?);
    let of_filter = request.structures("Dimensions")?;
    RULES.size(request, "Dimensions", of_filter.len(), DIMENSIONS_MAX)?;
    let mut dimensions = vec![];
    for one in &of_filter {
        let name = RULES.required(one, "Name", RULES.name(one, "Name")?)?;
        dimensions.push((name.to_owned(), owned(RULES.dimension_value(one)?)));
    }
    let active_since = match request.text("RecentlyActive")? {
        None => now - LISTED,
        Some(text) if text == RECENTLY_ACTIVE.0 => now - RECENTLY_ACTIVE.1,
        Some(other) => {
            return wrong(format!("The value {other} for parameter RecentlyActive is not PT3H."));
        }
    };
    Ok(SeriesFilter { namespace, metric, dimensions, active_since: Some(active_since) })
}

/// Collects up to one series more than fit in a page, each with its position. A position is
/// the index of the world (or the number of worlds, for the store) and the place in it.
fn collect(
    worlds: &[World],
    store: &MetricStore,
    filter: &SeriesFilter,
    [source, node, series]: Position,
    found: &mut Vec<(Position, SeriesKey)>,
) {
    let source = usize::try_from(source).unwrap_or(0);
    for (number, world) in worlds.iter().enumerate().skip(source) {
        let place = || {
            let (node, series) = (u32::try_from(node).ok()?, u32::try_from(series).ok()?);
            Some(SeriesPosition { node, series })
        };
        let after = if number == source { place() } else { None };
        let wanted = (PAGE + 1).saturating_sub(found.len());
        for (place, series) in world.metrics().list(filter, after, wanted) {
            let position = [number as i64, i64::from(place.node), i64::from(place.series)];
            let dimensions =
                series.dimensions.into_iter().map(|(name, is)| (name.to_owned(), is)).collect();
            let (namespace, metric) = (series.namespace.to_owned(), series.metric.to_owned());
            found.push((position, SeriesKey { namespace, metric, dimensions }));
        }
        if found.len() > PAGE {
            return;
        }
    }
    let after = if source >= worlds.len() { usize::try_from(node).ok() } else { None };
    for (number, key, newest) in store.list(after) {
        let is_wanted = filter.namespace.as_ref().is_none_or(|name| *name == key.namespace)
            && filter.metric.as_ref().is_none_or(|name| *name == key.metric)
            && filter.active_since.is_none_or(|since| newest >= since)
            && filter.dimensions.iter().all(|(name, value)| {
                let mut of_series = key.dimensions.iter();
                of_series.any(|(own, is)| own == name && value.as_ref().is_none_or(|v| v == is))
            });
        if is_wanted && !is_of_world(worlds, key) {
            found.push(([worlds.len() as i64, number as i64, 0], key.clone()));
            if found.len() > PAGE {
                return;
            }
        }
    }
}

/// Whether a world's agents also publish this series. Such a series is listed only once.
fn is_of_world(worlds: &[World], key: &SeriesKey) -> bool {
    let SeriesKey { namespace, metric, dimensions } = key;
    let never = Time(0);
    worlds
        .iter()
        .any(|world| world.metrics().read(namespace, metric, dimensions, never, never).is_some())
}

fn metric(key: SeriesKey) -> Value {
    let dimension = |(name, value): (String, String)| {
        Value::Map(vec![
            ("Name".to_owned(), Value::Text(name)),
            ("Value".to_owned(), Value::Text(value)),
        ])
    };
    let dimensions = key.dimensions.into_iter().map(dimension).collect();
    Value::Map(vec![
        ("Namespace".to_owned(), Value::Text(key.namespace)),
        ("MetricName".to_owned(), Value::Text(key.metric)),
        ("Dimensions".to_owned(), Value::List(dimensions)),
    ])
}
