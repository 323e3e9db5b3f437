//! Checks the utilization rule: the limits below which the metrics of a node are idle.

use trimtab_core::policy::UtilizationRule;
use trimtab_core::units::{Share, Span};

use super::file::SourceTable;
use super::values::SourceKind;
use crate::language::entry::{Findings, Spot};

/// Default period, the usual one of CloudWatch. Shorter periods cost money.
pub(crate) const PERIOD: Span = Span::mins(1);

/// Highest limit, in percent. Above it, nodes in use would count as idle.
const MOST_IDLE_BELOW: f64 = 50.0;

/// Returns a share in percent, as a file writes it. The text of a share is `5 %` or `12.50 %`.
pub(crate) fn percent(share: Share) -> toml::Value {
    let text = share.to_string();
    let number = text.trim_end_matches([' ', '%']);
    match (number.parse::<i64>(), number.parse::<f64>()) {
        (Ok(whole), _) => toml::Value::Integer(whole),
        (Err(_), Ok(number)) => toml::Value::Float(number),
        (Err(_), Err(_)) => toml::Value::String(text),
    }
}

/// A rule before the checks.
pub(crate) struct Parts {
    pub(crate) idle_below: Option<Share>,
    /// `None` if it is the same as `idle_below`.
    pub(crate) memory_below: Option<Share>,
    pub(crate) window: Option<Span>,
    pub(crate) period: Option<Span>,
}

impl Parts {
    /// Returns the rule of the first entry of a group.
    pub(crate) fn of_first(table: &SourceTable) -> Self {
        Self {
            idle_below: table.idle_below_percent.value().copied(),
            memory_below: table.memory_below_percent.value().copied(),
            window: table.window.value().copied(),
            period: table.period.or(PERIOD),
        }
    }

    /// Returns the rule, or `None` if a part is missing.
    pub(crate) fn rule(&self) -> Option<UtilizationRule> {
        Some(UtilizationRule {
            idle_below: self.idle_below?,
            memory_below: self.memory_below.or(self.idle_below)?,
            window: self.window?,
            period: self.period?,
        })
    }
}

/// Places of the parts.
pub(crate) struct Spots<'a> {
    pub(crate) idle_below: &'a Spot,
    pub(crate) memory_below: &'a Spot,
    pub(crate) window: &'a Spot,
    pub(crate) period: &'a Spot,
}

/// Checks the parts, each one and all together.
pub(crate) fn judge(
    parts: &Parts,
    spots: &Spots<'_>,
    kind: Option<SourceKind>,
    fresh_for: Option<Span>,
    findings: &mut Findings,
) {
    let mut refuse = |spot: &Spot, what: String, instead: &str| {
        findings.problems.push(spot.problem(what, instead));
    };
    for (share, spot) in
        [(parts.idle_below, spots.idle_below), (parts.memory_below, spots.memory_below)]
    {
        if share == Some(Share::default()) {
            let what = "is 0: no measured value is below 0, so no node would ever be idle";
            refuse(spot, what.to_owned(), "write a percentage such as 5");
        }
        if share > Share::try_from_percent(MOST_IDLE_BELOW) {
            let what = format!("is more than {MOST_IDLE_BELOW}: a node in use would count as idle");
            refuse(spot, what, "write a percentage such as 5");
        }
    }
    let (Some(window), Some(period)) = (parts.window, parts.period) else { return };
    let secs = period.as_secs();
    let is_known =
        kind != Some(SourceKind::Cloudwatch) || secs % 60 == 0 || [10, 20, 30].contains(&secs);
    if !is_known {
        let what = "is not a period that CloudWatch supports".to_owned();
        refuse(spots.period, what, "write \"10s\", \"20s\", \"30s\" or whole minutes");
        return;
    }
    if !(10..=3600).contains(&secs) {
        let what = "is not between 10s and 1h".to_owned();
        refuse(spots.period, what, "write the time between two datapoints, such as \"60s\"");
        return;
    }
    if window < period.times(2) || window > Span::hours(24) {
        let what = format!("is not between two periods of {period} and 24h");
        refuse(spots.window, what, "write how long metrics must have been low, such as \"20m\"");
    }
    if let Some(fresh_for) = fresh_for.filter(|fresh_for| *fresh_for < period.times(2)) {
        let what = format!(
            "is more than half of timing.fresh_for = {fresh_for}, so every datapoint would be too \
             old"
        );
        refuse(spots.period, what, "write a shorter period, or a longer timing.fresh_for");
    }
}
