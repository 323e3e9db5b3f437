//! What nodes' metrics say, once a period and late by a latency: to the port in
//! process as one [`Activity`] a node, and to CloudWatch's front as the series that
//! agents on the nodes publish ([`series`](crate::metrics::MetricsView)).
//!
//! # One truth
//!
//! There is one [`Reading`] for each node and period: the highest utilization of any
//! of its processors and the highest share of any of their memories. A node with a job
//! in the period shows work; one without shows the little that a machine at rest does.
//! The port gives the maximum of a window's readings. In the series one device (GPU,
//! NeuronCore; the processor of a machine without either) carries the reading and the
//! others show less, so that the maximum over a node's devices and over the same
//! window is what the port gives, to a hundredth of a percent.
//!
//! # Two stamps
//!
//! CloudWatch stamps a datapoint with the **start** of its period: what happened in
//! `[t, t + period)` is stamped `t`. The port's [`Activity`] counts by the **end**:
//! `to` is when the newest period was over, `from` when the oldest one of the unbroken
//! run was. Who reads CloudWatch adds one period to a stamp to get the other. Inside
//! this module a period is known by its number, [`PeriodNo`], and nothing else.

mod hardware;
mod series;

use std::collections::BTreeMap;

use trimtab_core::ids::{ClusterName, InstanceId};
use trimtab_core::snapshot::{Activity, Reading};
use trimtab_core::units::{Share, Span, Time};
use trimtab_daemon::ports::ReadError;

pub use series::{
    METRICS_KEPT, MetricsLayout, MetricsView, Point, Series, SeriesFilter, SeriesPosition,
    SeriesRead,
};

use crate::faults::FaultKind;
use crate::fleet::{GroupNo, Node, Phase, Serial};
use crate::rng::Stream;
use crate::scheduler::BusyRun;
use crate::world::Inner;
use hardware::Accelerators;

/// A period by its number: it lasts from `(n - 1) * period` to `n * period` after the
/// epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct PeriodNo(i64);

/// The lengths of a world's periods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Periods(Span);

impl Periods {
    /// When it began: CloudWatch's stamp.
    fn start(self, period: PeriodNo) -> Time {
        Time((period.0 - 1).saturating_mul(self.0.0))
    }

    /// When it was over: the port's stamp.
    fn end(self, period: PeriodNo) -> Time {
        Time(period.0.saturating_mul(self.0.0))
    }

    /// The last that is over by this time.
    fn over_by(self, time: Time) -> PeriodNo {
        PeriodNo(time.0.div_euclid(self.0.0))
    }

    /// The one that goes on at this time.
    fn around(self, time: Time) -> PeriodNo {
        PeriodNo(time.0.div_euclid(self.0.0) + 1)
    }
}

/// What a node did in one period, in hundredths of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct NodeLoad {
    /// Of its busiest processor.
    utilization: u32,
    /// Of its fullest memory.
    memory: u32,
}

/// A node whose agent has, or had, something to say.
#[derive(Debug, Clone, Copy)]
struct Subject<'a> {
    serial: Serial,
    id: InstanceId,
    group: GroupNo,
    launched: Time,
    /// When it was no more.
    ended: Option<Time>,
    busy: &'a [BusyRun],
}

/// What is kept of a node that is no more: CloudWatch does not forget its datapoints.
#[derive(Debug, Clone)]
struct GoneNode {
    id: InstanceId,
    group: GroupNo,
    launched: Time,
    ended: Time,
    busy: Vec<BusyRun>,
}

/// The nodes that are no more and have datapoints that CloudWatch still keeps.
#[derive(Debug, Clone, Default)]
pub(crate) struct Archive {
    nodes: BTreeMap<Serial, GoneNode>,
    by_id: BTreeMap<InstanceId, Serial>,
}

impl Inner {
    /// What the port says of these nodes. A node without datapoints is left out.
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

    /// Why CloudWatch answers nothing at all now.
    fn metrics_refused(&self) -> Option<ReadError> {
        if self.faults.any(|kind| *kind == FaultKind::MetricsThrottled) {
            Some(ReadError::Throttled("CloudWatch".into()))
        } else if self.faults.any(|kind| *kind == FaultKind::MetricsDenied) {
            Some(ReadError::Refused("AccessDeniedException: not authorized by policy".into()))
        } else {
            None
        }
    }

    /// Whether something of what a careful reader asks for is missing or makes no
    /// sense, if the newest datapoint is of this age.
    fn is_partial(&self, node: Serial, newest: Time) -> bool {
        self.device_missing_since(node).is_some_and(|since| newest > since)
            || self.faults.on_node(node, |kind| matches!(kind, FaultKind::MetricsStatus { .. }))
            || self.out_of_range(node).is_some()
    }

    /// Since when a node's device shows nothing any more.
    fn device_missing_since(&self, node: Serial) -> Option<Time> {
        self.faults
            .find_on_node(node, |kind| matches!(kind, FaultKind::MetricsDeviceMissing { .. }))
            .map(|(_, since)| since)
    }

    /// The percentage that a node's busiest device pretends.
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

    /// A node whose agent runs.
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

    /// A node that is about to be no more: its datapoints outlive it.
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

    /// The periods of a node that show datapoints now, gaps not counted; first and
    /// last, both included.
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

    /// The highest datapoints of the window up to the newest; `None` if there
    /// is none.
    fn activity(&self, subject: &Subject<'_>, window: Span) -> Option<Activity> {
        let periods = self.periods();
        let (first, last) = self.visible(subject)?;
        let shows = |period: &i64| !self.is_gap(PeriodNo(*period));
        let to = (first.0..=last.0).rev().find(shows)?;
        let from_window = to - (window.0 / periods.0.0 - 1).max(0);
        let first = first.0.max(from_window);
        // The run that has no gap ends where the port stops counting; what lies before
        // it still tells how busy the node was.
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
        // Runs are in order of time: those before the period need no look.
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
