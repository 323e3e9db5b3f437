//! PutMetricData.

use trimtab_core::units::{Span, Time};

use super::failure::{Failure, FailureKind};
use super::rules::{NO_UNIT, Rules};
use super::statistic::Sent;
use super::store::{Datum, MetricStore, Resolution};
use super::value::Members;

/// Maximum number of metrics in a request.
const METRICS_MAX: usize = 1_000;
/// Maximum number of different values in a datum.
const VALUES_MAX: usize = 150;
/// Maximum decompressed body size in bytes.
pub(super) const BODY_BYTES_MAX: usize = 1 << 20;
/// Maximum age of a datum.
const PAST_MAX: Span = Span::hours(14 * 24);
/// A datum's timestamp may be at most this far in the future.
const FUTURE_MAX: Span = Span::hours(2);
/// 2^360: values whose magnitude is larger are rejected.
const VALUE_MAX: f64 = f64::from_bits((1023 + 360) << 52);

const RULES: Rules =
    Rules { wrong: FailureKind::InvalidParameterValue, missing: FailureKind::MissingParameter };

/// Stores all data of the request. If one datum is invalid, none is stored.
pub(super) fn put(
    store: &mut MetricStore,
    request: &Members<'_>,
    now: Time,
) -> Result<(), Failure> {
    let namespace = RULES.required(request, "Namespace", RULES.namespace(request)?)?;
    if namespace.starts_with("AWS/") {
        let what = format!("The value {namespace} for parameter Namespace is invalid.");
        return Err(FailureKind::InvalidParameterValue.because(what));
    }
    let mut metrics = request.structures("MetricData")?;
    // The entity that a metric belongs to is not used.
    for entity in request.structures("EntityMetricData")? {
        metrics.extend(entity.structures("MetricData")?);
    }
    if metrics.is_empty() {
        let what = "At least one of the parameters MetricData and EntityMetricData is required.";
        return Err(FailureKind::MissingParameter.because(what));
    }
    RULES.size(request, "MetricData", metrics.len(), METRICS_MAX)?;
    let data = metrics.iter().map(|metric| datum(namespace, metric, now));
    let data = data.collect::<Result<Vec<_>, _>>()?;
    store.put(data, now)
}

fn datum(namespace: &str, metric: &Members<'_>, now: Time) -> Result<Datum, Failure> {
    let wrong = |what: String| Err(FailureKind::InvalidParameterValue.because(what));
    let at = metric.time("Timestamp")?.unwrap_or(now);
    let path = metric.path("Timestamp");
    if now.since(at) > PAST_MAX {
        return wrong(format!(
            "The parameter {path} must specify a time within the past two weeks."
        ));
    }
    if at.since(now) > FUTURE_MAX {
        return wrong(format!(
            "The parameter {path} must specify a time no more than two hours in the future."
        ));
    }
    let resolution = match metric.integer("StorageResolution")? {
        None | Some(60) => Resolution::Standard,
        Some(1) => Resolution::High,
        Some(other) => {
            let path = metric.path("StorageResolution");
            return wrong(format!("The parameter {path} must be 1 or 60, not {other}."));
        }
    };
    let key = RULES.key(namespace, metric)?;
    for (name, value) in &key.dimensions {
        let is_plain = |text: &str| text.is_ascii() && !text.trim().is_empty();
        if !is_plain(name) || !is_plain(value) || name.starts_with(':') {
            let path = metric.path("Dimensions");
            return wrong(format!("The dimension {name}={value} of {path} is invalid."));
        }
    }
    let unit = RULES.unit(metric)?.unwrap_or(NO_UNIT).to_owned();
    Ok(Datum { key, at, resolution, unit, sent: sent(metric)? })
}

/// Reads exactly one of Value, Values (with Counts) and StatisticValues.
fn sent(metric: &Members<'_>) -> Result<Sent, Failure> {
    let given: Vec<String> = ["Value", "Values", "StatisticValues"]
        .into_iter()
        .filter(|name| metric.has(name))
        .map(|name| metric.path(name))
        .collect();
    if let [first, second, ..] = &given[..] {
        let what = format!(
            "The parameters {first} and {second} are mutually exclusive and you have specified both."
        );
        return Err(FailureKind::InvalidParameterCombination.because(what));
    }
    if let Some(value) = metric.float("Value")? {
        return Ok(Sent::Values(vec![(number(metric, "Value", value)?, 1.0)]));
    }
    if let Some(set) = metric.structure("StatisticValues")? {
        let of = |name: &str| {
            let value = RULES.required(&set, name, set.float(name)?)?;
            number(&set, name, value)
        };
        let (count, sum) = (of("SampleCount")?, of("Sum")?);
        let (minimum, maximum) = (of("Minimum")?, of("Maximum")?);
        if count <= 0.0 || minimum > maximum {
            let path = metric.path("StatisticValues");
            let what = format!(
                "The parameter {path} must have a SampleCount above 0 and a Minimum not above the Maximum."
            );
            return Err(FailureKind::InvalidParameterValue.because(what));
        }
        return Ok(Sent::Set { count, sum, minimum, maximum });
    }
    let values = RULES.required(metric, "Value", metric.floats("Values")?)?;
    RULES.size(metric, "Values", values.len(), VALUES_MAX)?;
    let counts = match metric.floats("Counts")? {
        None => vec![1.0; values.len()],
        Some(counts) => counts,
    };
    if counts.len() != values.len() || values.is_empty() {
        let (path, other) = (metric.path("Values"), metric.path("Counts"));
        let what =
            format!("The parameters {path} and {other} must have the same size, and not be empty.");
        return Err(FailureKind::InvalidParameterValue.because(what));
    }
    let mut sent = vec![];
    for (value, count) in values.into_iter().zip(counts) {
        let (value, count) = (number(metric, "Values", value)?, number(metric, "Counts", count)?);
        if count <= 0.0 {
            let path = metric.path("Counts");
            let what = format!("The parameter {path} contains {count}, which is not above 0.");
            return Err(FailureKind::InvalidParameterValue.because(what));
        }
        sent.push((value, count));
    }
    Ok(Sent::Values(sent))
}

fn number(metric: &Members<'_>, name: &str, value: f64) -> Result<f64, Failure> {
    // This is false for NaN.
    if value.abs() <= VALUE_MAX {
        return Ok(value);
    }
    let path = metric.path(name);
    let what = format!(
        "The parameter {path} must be a number between -2^360 and 2^360 other than NaN, not {value}."
    );
    Err(FailureKind::InvalidParameterValue.because(what))
}
