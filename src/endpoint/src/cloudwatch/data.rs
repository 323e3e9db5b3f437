//! GetMetricData.
//!
//! Where the documentation is not precise, this module does the following. Periods are
//! aligned to the epoch. StartTime is rounded down to a whole period. EndTime is
//! exclusive, and is rounded down for periods below one minute. A period that contains
//! EndTime is returned complete. Data points that are older than the retention time of
//! their period are omitted, without an error.

use std::collections::BTreeMap;

use trimtab_core::units::{Span, Time};
use trimtab_simulator::World;
use trimtab_simulator::faults::MetricsStatus;

use super::failure::{Failure, FailureKind};
use super::rules::Rules;
use super::statistic::{Statistic, Tally};
use super::store::{MetricStore, SeriesKey};
use super::token;
use super::value::{Members, Value};

/// Maximum number of queries in a request.
const QUERIES_MAX: usize = 500;
/// Maximum number of data points in a page, over all queries.
const DATAPOINTS_MAX: usize = 100_800;
/// Maximum length of a query id, in characters.
const ID_MAX: usize = 255;
/// Supported periods below one minute, in seconds.
const SHORT_PERIODS: [i64; 5] = [1, 5, 10, 20, 30];
const MINUTE: i64 = 60;
/// Pairs of age and period, in seconds: above this age, only data points whose period is
/// a multiple of this one are kept.
const KEPT: [(i64, i64); 3] = [(3 * 3_600, 60), (15 * 86_400, 300), (63 * 86_400, 3_600)];
/// Retention time of any data point, in seconds.
const KEPT_AT_ALL: i64 = 455 * 86_400;

const RULES: Rules = Rules { wrong: FailureKind::Validation, missing: FailureKind::Validation };

/// Order of the data points of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ScanBy {
    NewestFirst,
    OldestFirst,
}

/// One query of a request.
#[derive(Debug)]
struct Query {
    id: String,
    label: String,
    key: SeriesKey,
    statistic: Statistic,
    /// In seconds.
    period: i64,
    unit: Option<String>,
    /// Whether the response includes its results (`ReturnData`).
    returned: bool,
}

/// A validated request.
#[derive(Debug)]
struct Asked {
    queries: Vec<Query>,
    start: Time,
    end: Time,
    scan_by: ScanBy,
}

pub(super) fn get(
    worlds: &[World],
    store: &MetricStore,
    request: &Members<'_>,
    now: Time,
) -> Result<Value, Failure> {
    let asked = asked(request)?;
    let max = datapoints_max(request)?;
    // Computed only when needed: most results fit in one page.
    let digest = || token::digest(&format!("GetMetricData {asked:?}"));
    let (first, mut after) = match request.text("NextToken")? {
        None => (0, None),
        Some(text) => match token::read(digest(), text)? {
            [query, 0, _] => (usize::try_from(query).unwrap_or(0), None),
            [query, _, stamp] => (usize::try_from(query).unwrap_or(0), Some(stamp)),
        },
    };
    let mut left = max;
    let mut results = vec![];
    let mut next = None;
    let returned = asked.queries.iter().enumerate().filter(|(_, query)| query.returned);
    for (number, query) in returned.skip_while(|(number, _)| *number < first) {
        if left == 0 {
            next = Some([number as i64, 0, 0]);
            break;
        }
        let mut answer = read(worlds, store, query, &asked, now);
        if let Some(after) = after.take() {
            answer.points.retain(|(stamp, _)| match asked.scan_by {
                ScanBy::NewestFirst => *stamp < after,
                ScanBy::OldestFirst => *stamp > after,
            });
        }
        let is_cut = answer.points.len() > left;
        answer.points.truncate(left);
        left -= answer.points.len();
        if is_cut {
            let last = answer.points.last().map_or(0, |(stamp, _)| *stamp);
            next = Some([number as i64, 1, last]);
            answer.status = Some(MetricsStatus::PartialData);
        }
        results.push(result(query, answer));
        if is_cut {
            break;
        }
    }
    let mut output = vec![
        ("MetricDataResults".to_owned(), Value::List(results)),
        ("Messages".to_owned(), Value::List(vec![])),
    ];
    if let Some(next) = next {
        output.push(("NextToken".to_owned(), Value::Text(token::write(digest(), next))));
    }
    Ok(Value::Map(output))
}

fn datapoints_max(request: &Members<'_>) -> Result<usize, Failure> {
    let Some(max) = request.integer("MaxDatapoints")? else { return Ok(DATAPOINTS_MAX) };
    let max = usize::try_from(max).ok().filter(|max| (1..=DATAPOINTS_MAX).contains(max));
    max.ok_or_else(|| {
        let what = format!("The parameter MaxDatapoints must be 1 to {DATAPOINTS_MAX}.");
        FailureKind::Validation.because(what)
    })
}

fn asked(request: &Members<'_>) -> Result<Asked, Failure> {
    let wrong = |what: String| FailureKind::Validation.because(what);
    let queries = request.structures("MetricDataQueries")?;
    if queries.is_empty() {
        return Err(wrong("The parameter MetricDataQueries is required.".to_owned()));
    }
    RULES.size(request, "MetricDataQueries", queries.len(), QUERIES_MAX)?;
    let start = RULES.required(request, "StartTime", request.time("StartTime")?)?;
    let end = RULES.required(request, "EndTime", request.time("EndTime")?)?;
    if start == end {
        return Err(wrong("The parameter StartTime must not equal parameter EndTime.".to_owned()));
    }
    if start > end {
        let what = "The parameter StartTime must be less than the parameter EndTime.";
        return Err(wrong(what.to_owned()));
    }
    let scan_by = match request.text("ScanBy")? {
        None | Some("TimestampDescending") => ScanBy::NewestFirst,
        Some("TimestampAscending") => ScanBy::OldestFirst,
        Some(other) => {
            return Err(wrong(format!(
                "The value {other} for parameter ScanBy must be TimestampDescending or TimestampAscending."
            )));
        }
    };
    // The time zone for dynamic labels, which this endpoint does not support.
    if let Some(options) = request.structure("LabelOptions")? {
        options.text("Timezone")?;
    }
    let queries = queries.iter().map(query).collect::<Result<Vec<_>, _>>()?;
    let mut ids: Vec<&str> = queries.iter().map(|query| query.id.as_str()).collect();
    ids.sort_unstable();
    if let Some([id, _]) = ids.array_windows().find(|[a, b]| a == b) {
        let what =
            format!("The values for parameter id in MetricDataQueries are not unique: {id}.");
        return Err(wrong(what));
    }
    if !queries.iter().any(|query| query.returned) {
        let what = "At least one element of MetricDataQueries must have ReturnData true.";
        return Err(wrong(what.to_owned()));
    }
    Ok(Asked { queries, start, end, scan_by })
}

fn is_id(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|first| first.is_ascii_lowercase())
        && chars.all(|other| other.is_ascii_alphanumeric() || other == '_')
        && text.len() <= ID_MAX
}

fn query(query: &Members<'_>) -> Result<Query, Failure> {
    let wrong = |what: String| FailureKind::Validation.because(what);
    let id = RULES.required(query, "Id", query.text("Id")?)?;
    if !is_id(id) {
        let path = query.path("Id");
        return Err(wrong(format!(
            "The value {id} for parameter {path} is not matching the expected pattern ^[a-z][a-zA-Z0-9_]*$."
        )));
    }
    if query.has("Expression") {
        let path = query.path("Expression");
        return Err(wrong(format!(
            "{path}: this endpoint supports MetricStat queries only, not expressions."
        )));
    }
    let stat = RULES.required(query, "MetricStat", query.structure("MetricStat")?)?;
    let metric = RULES.required(&stat, "Metric", stat.structure("Metric")?)?;
    let namespace = RULES.required(&metric, "Namespace", RULES.namespace(&metric)?)?;
    let key = RULES.key(namespace, &metric)?;
    let period = RULES.required(&stat, "Period", stat.integer("Period")?)?;
    if !SHORT_PERIODS.contains(&period) && (period < MINUTE || period % MINUTE != 0) {
        let path = stat.path("Period");
        return Err(wrong(format!(
            "The parameter {path} must be 1, 5, 10, 20, 30 or a multiple of 60, not {period}."
        )));
    }
    let name = RULES.required(&stat, "Stat", stat.text("Stat")?)?;
    let statistic = Statistic::parse(name).ok_or_else(|| {
        let path = stat.path("Stat");
        wrong(format!("The value {name} for parameter {path} is not a valid statistic."))
    })?;
    Ok(Query {
        id: id.to_owned(),
        label: query.text("Label")?.unwrap_or(&key.metric).to_owned(),
        key,
        statistic,
        period,
        unit: RULES.unit(&stat)?.map(str::to_owned),
        returned: query.boolean("ReturnData")?.unwrap_or(true),
    })
}

/// The complete result of a query, before it is split into pages.
struct Answer {
    /// Timestamps in seconds and values, in the requested order.
    points: Vec<(i64, f64)>,
    status: Option<MetricsStatus>,
}

fn read(worlds: &[World], store: &MetricStore, query: &Query, asked: &Asked, now: Time) -> Answer {
    let Query { key, period, .. } = query;
    let width = period.saturating_mul(1000);
    let floor = |time: Time| Time(time.0.div_euclid(width).saturating_mul(width));
    let from = floor(asked.start);
    let last = if *period < MINUTE { floor(asked.end) } else { asked.end };
    // The end of the last period that begins before `last`.
    let to = Time(floor(Time(last.0 - 1)).0.saturating_add(width));
    let is_of_unit = |unit: &str| query.unit.as_ref().is_none_or(|wanted| wanted == unit);
    let mut tallies: BTreeMap<Time, Tally> = BTreeMap::new();
    let none = || Tally::of(query.statistic);
    let mut status = None;
    for world in worlds {
        let SeriesKey { namespace, metric, dimensions } = key;
        let view = world.metrics();
        let Some(read) = view.read(namespace, metric, dimensions, from, to) else { continue };
        status = read.status;
        if is_of_unit(read.unit) {
            for point in read.points {
                let tally = tallies.entry(floor(point.at)).or_insert_with(none);
                tally.add_value(point.value, 1.0);
            }
        }
        break;
    }
    for (at, unit, sent) in store.read(key, from, to) {
        if is_of_unit(unit) {
            tallies.entry(floor(at)).or_insert_with(none).add(sent);
        }
    }
    let points = tallies.into_iter().filter(|(at, _)| is_kept(now.since(*at), *period));
    let mut points: Vec<(i64, f64)> = points
        .filter_map(|(at, tally)| Some((at.0.div_euclid(1000), tally.statistic(query.statistic)?)))
        .collect();
    match asked.scan_by {
        ScanBy::OldestFirst => {}
        ScanBy::NewestFirst => points.reverse(),
    }
    match status {
        None => {}
        Some(MetricsStatus::PartialData) => points.truncate(points.len() / 2),
        Some(MetricsStatus::InternalError | MetricsStatus::Forbidden) => points.clear(),
    }
    Answer { points, status }
}

/// Whether CloudWatch still keeps data points of this period (in seconds) at this age.
fn is_kept(age: Span, period: i64) -> bool {
    let age = age.as_secs();
    age <= KEPT_AT_ALL
        && KEPT.iter().all(|(beyond, multiple)| age <= *beyond || period % multiple == 0)
}

fn result(query: &Query, answer: Answer) -> Value {
    let (code, message) = match answer.status {
        None => ("Complete", None),
        Some(MetricsStatus::PartialData) => ("PartialData", None),
        Some(MetricsStatus::InternalError) => {
            ("InternalError", Some("The data could not be read. Try again."))
        }
        Some(MetricsStatus::Forbidden) => {
            ("Forbidden", Some("You are not authorized to see this metric."))
        }
    };
    let (stamps, values): (Vec<i64>, Vec<f64>) = answer.points.into_iter().unzip();
    let stamps = stamps.into_iter().map(|secs| Value::Time(Time::from_secs(secs))).collect();
    let values = values.into_iter().map(Value::Float).collect();
    let mut result = vec![
        ("Id".to_owned(), Value::text(query.id.as_str())),
        ("Label".to_owned(), Value::text(query.label.as_str())),
        ("Timestamps".to_owned(), Value::List(stamps)),
        ("Values".to_owned(), Value::List(values)),
        ("StatusCode".to_owned(), Value::text(code)),
    ];
    if let Some(text) = message {
        let message = Value::Map(vec![
            ("Code".to_owned(), Value::text(code)),
            ("Value".to_owned(), Value::text(text)),
        ]);
        result.push(("Messages".to_owned(), Value::List(vec![message])));
    }
    Value::Map(result)
}
