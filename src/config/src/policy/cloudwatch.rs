//! Checks one entry of `utilization` with metrics of CloudWatch.

use super::file::SourceTable;
use super::signals::{CloudwatchSignal, DimensionPattern, FullScale};
use crate::language::entry::{Findings, Spot};

/// Default value of a metric at full use: percent.
const FULL_SCALE: f64 = 100.0;

/// Returns the keys that describe a metric, except its namespace.
pub(crate) fn free_form(table: &SourceTable) -> [(&Spot, bool); 6] {
    [
        (&table.metric.spot, table.metric.is_written()),
        (&table.measure.spot, table.measure.is_written()),
        (&table.dimensions.spot, table.dimensions.is_written()),
        (&table.device.spot, table.device.is_written()),
        (&table.full_scale.spot, table.full_scale.is_written()),
        (&table.full_scale_metric.spot, table.full_scale_metric.is_written()),
    ]
}

pub(crate) fn cloudwatch(
    spot: &Spot,
    table: &SourceTable,
    alone: Option<bool>,
    findings: &mut Findings,
) -> Option<Vec<CloudwatchSignal>> {
    if let Some(preset) = table.preset.optional()? {
        for (spot, is_written) in free_form(table) {
            if is_written {
                let what =
                    format!("is defined by the preset ({})", table.preset.spot.seen_from(spot));
                let instead = "remove it, or remove the preset and describe the metric";
                findings.problems.push(spot.problem(what, instead));
            }
        }
        let namespace = table.namespace.optional()?;
        return Some(preset.signals(namespace.as_ref().map(|namespace| namespace.0.as_str())));
    }
    let spelled = table.namespace.is_written() || free_form(table).iter().any(|(_, w)| *w);
    if !spelled {
        let what = "does not name a metric";
        let instead = "write preset = \"cwagent-nvidia\", or namespace, metric, measure and \
                       dimensions of a metric of your own";
        findings.problems.push(spot.problem(what, instead));
        return None;
    }
    let namespace = table.namespace.required("write namespace = \"CWAgent\"", findings);
    let metric = table.metric.required("write the metric's name", findings);
    let measure = table.measure.required("write \"utilization\" or \"memory\"", findings);
    let instead = "write dimensions = { InstanceId = \"{instance_id}\" }";
    let dimensions = table.dimensions.required(instead, findings);
    let device = device(table, findings);
    let full_scale = full_scale(table, findings);
    let mut whole = true;
    if let Some(dimensions) = dimensions {
        let node = dimensions.use_of("node");
        if let (Some(spot), Some(true)) = (node, alone) {
            let what = "uses {node}, the name in the scheduler, and with scheduler kind \"none\" \
                        trimtab does not know it";
            findings.problems.push(spot.problem(what, "write \"{instance_id}\""));
            whole = false;
        } else if node.is_none() && dimensions.use_of("instance_id").is_none() {
            let what = "does not distinguish one node from another";
            let instead = "write the dimension that names the node, such as InstanceId = \
                           \"{instance_id}\"";
            findings.problems.push(table.dimensions.spot.problem(what, instead));
            whole = false;
        }
    }
    let signal = CloudwatchSignal {
        namespace: namespace?.0.clone(),
        metric: metric?.0.clone(),
        measure: *measure?,
        full_scale: full_scale?,
        dimensions: dimensions?
            .0
            .iter()
            .map(|(name, (_, pattern))| (name.clone(), pattern.clone()))
            .collect(),
        device: device?,
    };
    whole.then(|| vec![signal])
}

fn device(table: &SourceTable, findings: &mut Findings) -> Option<Option<String>> {
    let Some(device) = table.device.optional()? else { return Some(None) };
    let dimensions = table.dimensions.value()?;
    let what = match dimensions.0.get(&device.0) {
        Some((_, DimensionPattern::Any)) => return Some(Some(device.0)),
        Some((_, DimensionPattern::Text(_))) => {
            "is a dimension with a fixed text, so it does not distinguish devices"
        }
        None => "is not one of the dimensions",
    };
    let instead = format!("write {} = \"*\" in dimensions, or remove device", device.0);
    findings.problems.push(table.device.spot.problem(what, instead));
    None
}

fn full_scale(table: &SourceTable, findings: &mut Findings) -> Option<FullScale> {
    match (table.full_scale.optional()?, table.full_scale_metric.optional()?) {
        (Some(_), Some(_)) => {
            let spot = &table.full_scale_metric.spot;
            let other = table.full_scale.spot.seen_from(spot);
            let what = format!("defines the value at full use, and so does full_scale ({other})");
            findings.problems.push(spot.problem(what, "keep one of them"));
            None
        }
        (None, Some(metric)) => {
            if table.metric.value() == Some(&metric) {
                let what = "is the metric itself, which would then always be at full use";
                let instead = "write the metric whose value is full use";
                findings.problems.push(table.full_scale_metric.spot.problem(what, instead));
                return None;
            }
            Some(FullScale::Metric(metric.0))
        }
        (Some(value), None) => Some(FullScale::Value(value.0)),
        (None, None) => {
            table.full_scale.derive(FULL_SCALE, findings);
            Some(FullScale::Value(FULL_SCALE))
        }
    }
}
