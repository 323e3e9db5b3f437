//! What nodes' metrics say: datapoints once a period, late by a latency. A
//! node with a job shows work; one without shows the little that a machine at
//! rest does.

use std::collections::BTreeMap;

use trimtab_core::ids::{ClusterName, InstanceId};
use trimtab_core::snapshot::{Activity, Witness};
use trimtab_core::units::{Share, Span, Time};
use trimtab_daemon::ports::ReadError;

use crate::faults::FaultKind;
use crate::fleet::{Node, Phase, Serial};
use crate::rng::Stream;
use crate::world::Inner;

impl Inner {
    pub(crate) fn utilization(
        &self,
        cluster: &ClusterName,
        ids: &[InstanceId],
        window: Span,
    ) -> Result<BTreeMap<InstanceId, Witness<Activity>>, ReadError> {
        if *cluster != self.spec.cluster {
            return Err(ReadError::Refused(format!("no cluster {cluster}").into()));
        }
        if self.faults.any(|kind| *kind == FaultKind::MetricsMissing) {
            return Ok(BTreeMap::new());
        }
        let zero = self.faults.any(|kind| *kind == FaultKind::MetricsZero);
        let stale_since = self.faults.since(|kind| *kind == FaultKind::MetricsStale);
        let newest = stale_since.unwrap_or(self.now) - self.spec.metric_latency;
        let mut read = BTreeMap::new();
        for id in ids {
            let Some((serial, node)) = self.fleet.find(*id) else { continue };
            let Some(mut activity) = self.activity(serial, node, newest, window) else { continue };
            if zero {
                activity.utilization = Share::default();
                activity.memory = Share::default();
            }
            read.insert(*id, Witness::Fresh { at: activity.to, value: activity });
        }
        Ok(read)
    }

    /// The highest datapoints of the window up to `newest`; `None` if there
    /// is none.
    fn activity(
        &self,
        serial: Serial,
        node: &Node,
        newest: Time,
        window: Span,
    ) -> Option<Activity> {
        let period = self.spec.metric_period.0.max(1);
        match node.phase {
            Phase::Up | Phase::Leaving(_) => {}
            Phase::Booting | Phase::Checking | Phase::Failed | Phase::Gone => return None,
        }
        // A datapoint stands at the end of its period, on the whole minute.
        let to = newest.0.div_euclid(period) * period;
        let first_of_node = (node.launched.0.div_euclid(period) + 1) * period;
        let first_of_window = to - (window.0 / period - 1).max(0) * period;
        let from = first_of_window.max(first_of_node);
        if from > to {
            return None;
        }
        let begins = Time(from - period);
        let slot = node.slot.and_then(|slot| self.scheduler.slots.get(&slot));
        let was_busy = slot.is_some_and(|slot| {
            let overlaps = |run: &crate::scheduler::BusyRun| {
                run.from < Time(to) && run.to.is_none_or(|end| end > begins)
            };
            slot.busy.iter().rev().any(overlaps)
        });
        let mut rng = self.rng(Stream::Metrics, u64::from(serial.0) << 32 ^ (to / period) as u64);
        let (utilization, memory) = if was_busy {
            (70.0 + rng.below(3_000) as f64 / 100.0, 30.0 + rng.below(6_000) as f64 / 100.0)
        } else {
            (rng.below(150) as f64 / 100.0, 1.0 + rng.below(100) as f64 / 100.0)
        };
        Some(Activity {
            utilization: Share::try_from_percent(utilization)?,
            memory: Share::try_from_percent(memory)?,
            from: Time(from),
            to: Time(to),
        })
    }
}
