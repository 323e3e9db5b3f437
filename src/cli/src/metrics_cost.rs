//! Cost of a cluster's metrics on this schedule, compared with requesting all metrics.

use serde::Serialize;
use trimtab_core::units::Span;
use trimtab_daemon::observe::MetricsUse;

/// CloudWatch price of one metric requested with GetMetricData, in US dollars; other calls
/// cost the same each (CloudWatch pricing page, all commercial regions but GovCloud, 2026).
const USD_PER_METRIC: f64 = 0.01 / 1000.0;
/// A month of 30 days.
const MONTH: Span = Span::hours(30 * 24);

/// Metrics that a tick requested, and their cost per month at this tick rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct MetricsDocument {
    metrics_requested: u64,
    calls: u64,
    metrics_of_every_node: u64,
    usd_per_month: f64,
    usd_per_month_for_every_node: f64,
}

impl MetricsDocument {
    /// Returns the cost of one tick's metrics; `None` if there are no metrics with a price.
    pub(crate) fn of(used: MetricsUse, tick: Span) -> Option<Self> {
        if used.everything == 0 || tick.0 <= 0 {
            return None;
        }
        let ticks = MONTH.0 as f64 / tick.0 as f64;
        let month = |metrics: u64| metrics as f64 * USD_PER_METRIC * ticks;
        Some(Self {
            metrics_requested: used.metrics,
            calls: used.calls,
            metrics_of_every_node: used.everything,
            usd_per_month: month(used.metrics),
            usd_per_month_for_every_node: month(used.everything),
        })
    }

    /// Returns the cost as a sentence.
    pub(crate) fn sentence(&self) -> String {
        format!(
            "metrics: {} requested in {} API requests, about ${:.2} per month for CloudWatch on \
             this schedule; for all nodes: {} metrics, ${:.2} per month",
            self.metrics_requested,
            self.calls,
            self.usd_per_month,
            self.metrics_of_every_node,
            self.usd_per_month_for_every_node
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_of_ticks_is_priced_by_the_metric() {
        // 1,000 nodes with 2 metrics each, once a minute, are 86.4 million metrics a month.
        let used = MetricsUse { metrics: 400, calls: 1, everything: 2000 };
        let document = MetricsDocument::of(used, Span::mins(1)).expect("metrics cost something");
        assert!((document.usd_per_month_for_every_node - 864.0).abs() < 1e-6);
        assert!((document.usd_per_month - 172.8).abs() < 1e-6);
        assert!(document.sentence().contains("$172.80"), "{}", document.sentence());
        assert_eq!(MetricsDocument::of(MetricsUse::default(), Span::mins(1)), None);
    }
}
