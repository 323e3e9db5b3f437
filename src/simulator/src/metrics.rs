//! Metrics of the nodes: one value for each period, visible after a latency. The in-process port
//! returns one [`Activity`] for each node. The simulated CloudWatch endpoint returns the series
//! that agents on the nodes publish ([`MetricsView`](crate::metrics::MetricsView)).
//!
//! # One source
//!
//! Each node has one `NodeLoad` for each period: the highest utilization of any of its processors
//! and the highest share in use of any of their memories. A node with a job in the period shows
//! work; a node without a job shows the small load of a machine at rest. The port returns the
//! maximum over the window. In the series, one device carries the node's value and the others show
//! less (the device is a GPU, a NeuronCore, or the processor of a machine without accelerators). So
//! the maximum over all devices and the same window equals the port's value, to a hundredth of a
//! percent.
//!
//! # Two timestamps
//!
//! CloudWatch stamps a datapoint with the **start** of its period: the datapoint of `[t, t +
//! period)` has the timestamp `t`. The port's [`Activity`] uses the **end**: `to` is the end of the
//! newest period, and `from` is the end of the oldest period of the unbroken run. A client of
//! CloudWatch must add one period to convert a timestamp. Inside this module a period is always
//! identified by its number, `PeriodNo`.

mod hardware;
mod series;

use std::collections::BTreeMap;

use trimtab_core::ids::{ClusterName, InstanceId};
use trimtab_core::reads::{Activity, Reading};
use trimtab_core::units::{Share, Span, Time};
use trimtab_daemon::ports::ReadError;

pub use crate::layout::MetricsLayout;
pub use series::{
    METRICS_KEPT, MetricsView, Point, Series, SeriesFilter, SeriesPosition, SeriesRead,
};

use crate::faults::FaultKind;
use crate::fleet::{GroupNo, Node, Phase, Serial};
use crate::rng::Stream;
use crate::scheduler::BusyRun;
use crate::world::Inner;
use hardware::Accelerators;

/// Number of a period, which lasts from `(n - 1) * period` to `n * period` after the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct PeriodNo(i64);

/// Length of the world's periods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Periods(Span);

impl Periods {
    /// Start of a period: the timestamp in CloudWatch.
    fn start(self, period: PeriodNo) -> Time {
        Time((period.0 - 1).saturating_mul(self.0.0))
    }

    /// End of a period: the timestamp at the port.
    fn end(self, period: PeriodNo) -> Time {
        Time(period.0.saturating_mul(self.0.0))
    }

    /// Returns the last period that has ended by this time.
    fn over_by(self, time: Time) -> PeriodNo {
        PeriodNo(time.0.div_euclid(self.0.0))
    }

    /// Returns the period that contains this time.
    fn around(self, time: Time) -> PeriodNo {
        PeriodNo(time.0.div_euclid(self.0.0) + 1)
    }
}

/// Load of a node in one period, in hundredths of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct NodeLoad {
    /// Utilization of the busiest processor.
    utilization: u32,
    /// Share in use of the fullest memory.
    memory: u32,
}

/// A node that has, or had, a running metrics agent.
#[derive(Debug, Clone, Copy)]
struct Subject<'a> {
    serial: Serial,
    id: InstanceId,
    group: GroupNo,
    launched: Time,
    /// Time of its termination.
    ended: Option<Time>,
    busy: &'a [BusyRun],
}

/// Data kept of a terminated node, because CloudWatch keeps its datapoints.
#[derive(Debug, Clone)]
struct GoneNode {
    id: InstanceId,
    group: GroupNo,
    launched: Time,
    ended: Time,
    busy: Vec<BusyRun>,
}

/// Terminated nodes whose datapoints CloudWatch still keeps.
#[derive(Debug, Clone, Default)]
pub(crate) struct Archive {
    nodes: BTreeMap<Serial, GoneNode>,
    by_id: BTreeMap<InstanceId, Serial>,
}

impl Inner {
    /// Returns the activity of these nodes, without the nodes that have no datapoints.
    pub(crate) fn utilization(
        &self,
        cluster: &ClusterName,
        ids: &[InstanceId],
        window: Span,
    ) -> Result<BTreeMap<InstanceId, Reading<Activity>>, ReadError> {
        if *cluster != self.spec.cluster {
            return Err(ReadError::Refused(format!("no cluster {cluster}").into()));
        }
        if let Some(refusal) = self.metrics_refused() {
            return Err(refusal);
        }
        let mut read = BTreeMap::new();
        for id in ids {
            let Some((serial, node)) = self.fleet.find(*id) else { continue };
            let Some(subject) = self.subject(serial, node) else { continue };
            let Some(activity) = self.activity(&subject, window) else { continue };
            let evidence_source = if self.is_partial(serial, activity.to) {
                Reading::Partial
            } else {
                Reading::Fresh { at: activity.to, value: activity }
            };
            read.insert(*id, evidence_source);
        }
        Ok(read)
    }

    /// Returns the error if CloudWatch refuses all requests now.
    fn metrics_refused(&self) -> Option<ReadError> {
        if self.faults.any(|kind| *kind == FaultKind::MetricsThrottled) {
            Some(ReadError::Throttled("CloudWatch".into()))
        } else if self.faults.any(|kind| *kind == FaultKind::MetricsDenied) {
            Some(ReadError::Refused("AccessDeniedException: not authorized by policy".into()))
        } else {
            None
        }
    }

    /// Whether datapoints up to `newest` are missing or invalid, so that a careful client must not
    /// use them.
    fn is_partial(&self, node: Serial, newest: Time) -> bool {
        self.device_missing_since(node).is_some_and(|since| newest > since)
            || self.faults.on_node(node, |kind| matches!(kind, FaultKind::MetricsStatus { .. }))
            || self.out_of_range(node).is_some()
    }

    /// Returns the time since which a node's busiest device sends no datapoints.
    fn device_missing_since(&self, node: Serial) -> Option<Time> {
        self.faults
            .find_on_node(node, |kind| matches!(kind, FaultKind::MetricsDeviceMissing { .. }))
            .map(|(_, since)| since)
    }

    /// Returns the false utilization that a node's busiest device reports, in percent.
    fn out_of_range(&self, node: Serial) -> Option<i32> {
        self.faults
            .find_on_node(node, |kind| matches!(kind, FaultKind::MetricsOutOfRange { .. }))
            .and_then(|(kind, _)| {
                if let FaultKind::MetricsOutOfRange { percent, .. } = kind {
                    Some(*percent)
                } else {
                    None
                }
            })
    }

    fn periods(&self) -> Periods {
        Periods(Span(self.spec.metric_period.0.max(1)))
    }

    /// Returns the subject of a node whose agent is running.
    fn subject<'a>(&'a self, serial: Serial, node: &Node) -> Option<Subject<'a>> {
        match node.phase {
            Phase::Up | Phase::Leaving(_) => {}
            Phase::Booting | Phase::Checking | Phase::Failed | Phase::Gone => return None,
        }
        let slot = node.slot.and_then(|slot| self.scheduler.slots.get(&slot));
        let busy = slot.map_or(&[][..], |slot| &slot.busy);
        let (id, group, launched) = (node.id, node.group, node.launched);
        Some(Subject { serial, id, group, launched, ended: None, busy })
    }

    /// Archives a node that is being terminated, because its datapoints stay visible.
    pub(crate) fn archive_metrics(&mut self, serial: Serial) {
        let now = self.now;
        let Some(subject) =
            self.fleet.nodes.get(&serial).and_then(|node| self.subject(serial, node))
        else {
            return;
        };
        let ended = |run: &BusyRun| BusyRun { to: Some(run.to.unwrap_or(now)), ..*run };
        let gone = GoneNode {
            id: subject.id,
            group: subject.group,
            launched: subject.launched,
            ended: now,
            busy: subject.busy.iter().map(ended).collect(),
        };
        let archive = &mut self.archive;
        archive.nodes.retain(|_, node| now.since(node.ended) < METRICS_KEPT);
        archive.by_id.retain(|_, serial| archive.nodes.contains_key(serial));
        archive.by_id.insert(gone.id, serial);
        archive.nodes.insert(serial, gone);
    }

    /// Returns the first and the last period of a node with visible datapoints, both included. Gaps
    /// are not considered.
    fn visible(&self, subject: &Subject<'_>) -> Option<(PeriodNo, PeriodNo)> {
        if self.faults.any(|kind| *kind == FaultKind::MetricsMissing) {
            return None;
        }
        let stale_since = self.faults.since(|kind| *kind == FaultKind::MetricsStale);
        let late = self.spec.metric_latency + self.metrics_later();
        let newest = stale_since.unwrap_or(self.now) - late;
        let newest = subject.ended.map_or(newest, |ended| newest.min(ended));
        let periods = self.periods();
        let kept_from = periods.around(self.now - METRICS_KEPT);
        let first = periods.around(subject.launched).max(kept_from);
        let last = periods.over_by(newest);
        (first <= last).then_some((first, last))
    }

    /// Whether the datapoints of a period were lost.
    fn is_gap(&self, period: PeriodNo) -> bool {
        self.faults.any(|kind| {
            if let FaultKind::MetricsGaps { every } = kind {
                period.0.rem_euclid(i64::from((*every).max(1))) == 0
            } else {
                false
            }
        })
    }

    /// Returns the highest datapoints of the window that ends at the newest one; `None` if there
    /// are no datapoints.
    fn activity(&self, subject: &Subject<'_>, window: Span) -> Option<Activity> {
        let periods = self.periods();
        let (first, last) = self.visible(subject)?;
        let shows = |period: &i64| !self.is_gap(PeriodNo(*period));
        let to = (first.0..=last.0).rev().find(shows)?;
        let from_window = to - (window.0 / periods.0.0 - 1).max(0);
        let first = first.0.max(from_window);
        // `from` covers only the unbroken run. Datapoints before a gap still count for the maximum.
        let from = (first..=to).rev().take_while(shows).last()?;
        let mut highest = NodeLoad::default();
        for period in (first..=to).filter(shows) {
            let reading = self.reading(subject, PeriodNo(period));
            highest.utilization = highest.utilization.max(reading.utilization);
            highest.memory = highest.memory.max(reading.memory);
        }
        Some(Activity {
            utilization: share(highest.utilization)?,
            memory: share(highest.memory)?,
            from: periods.end(PeriodNo(from)),
            to: periods.end(PeriodNo(to)),
        })
    }

    fn reading(&self, subject: &Subject<'_>, period: PeriodNo) -> NodeLoad {
        if self.faults.any(|kind| *kind == FaultKind::MetricsZero) {
            return NodeLoad::default();
        }
        let periods = self.periods();
        let (begins, ends) = (periods.start(period), periods.end(period));
        // Runs are in time order, so earlier ones need no check.
        let mut late_runs =
            subject.busy.iter().rev().take_while(|run| run.to.is_none_or(|end| end > begins));
        let was_busy = late_runs.any(|run| run.from < ends);
        let key = u64::from(subject.serial.0) << 32 ^ period.0 as u64;
        let mut rng = self.rng(Stream::Metrics, key);
        let mut draw = |least: u32, below: u64| least + rng.below(below) as u32;
        if was_busy {
            NodeLoad { utilization: draw(7_000, 3_000), memory: draw(3_000, 6_000) }
        } else {
            NodeLoad { utilization: draw(0, 150), memory: draw(100, 100) }
        }
    }
}

fn share(hundredths: u32) -> Option<Share> {
    Share::try_from_percent(f64::from(hundredths) / 100.0)
}
