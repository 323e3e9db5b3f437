//! Series that agents on the nodes publish to CloudWatch, with the names of real agents.
//!
//! [`PUBLISHED`] lists everything: metric, namespace, unit of aggregation, and which of the three
//! [`MetricsLayout`]s publishes it. Names and dimensions are those of the CloudWatch agent
//! (`nvidia_gpu`, `cpu` and `mem` sections with InstanceId and InstanceType appended) and of
//! Container Insights with enhanced observability.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::MutexGuard;

use trimtab_core::ids::InstanceId;
use trimtab_core::units::{Span, Time};
use trimtab_daemon::ports::ReadError;

use super::{Accelerators, NodeLoad, PeriodNo, Subject};
use crate::faults::{FaultKind, MetricsStatus};
use crate::fleet::Serial;
use crate::layout::MetricsLayout;
use crate::rng::Stream;
use crate::world::{Inner, World};

/// Retention of datapoints: CloudWatch keeps one-minute datapoints for this long.
pub const METRICS_KEPT: Span = Span::hours(15 * 24);

/// Memory in use on a GPU without any process, in hundredths of a percent.
const MEMORY_AT_REST: u32 = 60;
/// A processor's share of the node's load, in thousandths.
const FULL_SHARE: u64 = 1_000;

/// What a series covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    /// The host.
    Host,
    /// One GPU.
    EachGpu,
    /// All GPUs of a node, one sample each.
    AllGpus,
    /// One NeuronCore.
    EachCore,
    /// All NeuronCores of a node, one sample each.
    AllCores,
}

/// Measured quantity of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gauge {
    /// Percent of the time that a processor was working.
    Utilization,
    /// Percent of the time that a GPU's memory was read or written, not the share in use.
    MemoryActivity,
    /// Percent of a processor's memory in use.
    MemoryPercent,
    /// MiB of a GPU's memory in use.
    MemoryUsedMib,
    /// MiB of memory of a GPU.
    MemoryTotalMib,
    /// Bytes of a NeuronCore's memory in use.
    MemoryBytes,
    /// Percent of the host's processors in use.
    HostCpu,
    /// Percent of the host's memory in use.
    HostMemory,
}

/// One kind of series.
#[derive(Debug, Clone, Copy)]
struct Published {
    layout: MetricsLayout,
    over: Over,
    metric: &'static str,
    gauge: Gauge,
    unit: &'static str,
}

const CWAGENT: &str = "CWAgent";
const CONTAINER_INSIGHTS: &str = "ContainerInsights";

const fn published(
    layout: MetricsLayout,
    over: Over,
    metric: &'static str,
    gauge: Gauge,
    unit: &'static str,
) -> Published {
    Published { layout, over, metric, gauge, unit }
}

/// All published series, in listing order.
const PUBLISHED: [Published; 14] = {
    use Gauge::*;
    use MetricsLayout::{ContainerInsights, Cwagent, Neuron};
    use Over::*;
    [
        published(Cwagent, Host, "cpu_usage_active", HostCpu, "Percent"),
        published(Cwagent, Host, "mem_used_percent", HostMemory, "Percent"),
        // The agent reports the values of nvidia-smi without a unit.
        published(Cwagent, EachGpu, "nvidia_smi_utilization_gpu", Utilization, "None"),
        published(Cwagent, EachGpu, "nvidia_smi_utilization_memory", MemoryActivity, "None"),
        published(Cwagent, EachGpu, "nvidia_smi_memory_used", MemoryUsedMib, "None"),
        published(Cwagent, EachGpu, "nvidia_smi_memory_total", MemoryTotalMib, "None"),
        published(ContainerInsights, Host, "node_cpu_utilization", HostCpu, "Percent"),
        published(ContainerInsights, Host, "node_memory_utilization", HostMemory, "Percent"),
        published(ContainerInsights, AllGpus, "node_gpu_utilization", Utilization, "Percent"),
        published(ContainerInsights, EachGpu, "node_gpu_utilization", Utilization, "Percent"),
        published(
            ContainerInsights,
            EachGpu,
            "node_gpu_memory_utilization",
            MemoryPercent,
            "Percent",
        ),
        published(Neuron, AllCores, "node_neuroncore_utilization", Utilization, "Percent"),
        published(Neuron, EachCore, "node_neuroncore_utilization", Utilization, "Percent"),
        published(Neuron, EachCore, "node_neuroncore_memory_usage_total", MemoryBytes, "Bytes"),
    ]
};

impl Published {
    fn namespace(&self) -> &'static str {
        match self.layout {
            MetricsLayout::Cwagent => CWAGENT,
            MetricsLayout::ContainerInsights | MetricsLayout::Neuron => CONTAINER_INSIGHTS,
        }
    }

    /// Returns which of a node's series of this kind has these dimensions.
    fn unit_of(&self, dimensions: &[(String, String)]) -> Option<u32> {
        let (name, before) = match (self.layout, self.over) {
            (_, Over::Host | Over::AllGpus | Over::AllCores) => return Some(0),
            (MetricsLayout::Cwagent, Over::EachGpu | Over::EachCore) => ("index", ""),
            (_, Over::EachGpu) => ("GpuDevice", GPU_DEVICE),
            (_, Over::EachCore) => ("NeuronCore", NEURON_CORE),
        };
        let (_, value) = dimensions.iter().find(|(own, _)| own == name)?;
        value.strip_prefix(before)?.parse().ok()
    }

    /// Returns how many series of this kind a node has.
    fn series_of(&self, accelerators: Accelerators) -> u32 {
        let gpus = matches!(accelerators, Accelerators::Gpus { .. });
        let cores = matches!(accelerators, Accelerators::Neuron { .. });
        match self.over {
            Over::Host => 1,
            Over::AllGpus => u32::from(gpus),
            Over::EachGpu => {
                if gpus {
                    accelerators.units()
                } else {
                    0
                }
            }
            Over::AllCores => u32::from(cores),
            Over::EachCore => {
                if cores {
                    accelerators.units()
                } else {
                    0
                }
            }
        }
    }
}

/// Prefix of a device number in the dimensions of Container Insights.
const GPU_DEVICE: &str = "nvidia";
const NEURON_CORE: &str = "core";

/// A CloudWatch series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    pub namespace: &'static str,
    pub metric: &'static str,
    /// Dimensions, sorted by name.
    pub dimensions: Vec<(&'static str, String)>,
}

/// A datapoint as an agent sent it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Start of its period.
    pub at: Time,
    /// Value in the unit of the series.
    pub value: f64,
}

/// Content of a series.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesRead {
    /// Unit, in CloudWatch's spelling.
    pub unit: &'static str,
    /// Datapoints in time order. A series over all processors of a node has one datapoint for each
    /// processor and period.
    pub points: Vec<Point>,
    /// Status that a fault returns instead of `Complete`.
    pub status: Option<MetricsStatus>,
}

/// Position of a series in the listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeriesPosition {
    /// Number of the node, in launch order.
    pub node: u32,
    /// Index among the node's series.
    pub series: u32,
}

/// Filter for a listing.
#[derive(Debug, Clone, Default)]
pub struct SeriesFilter {
    /// Only this namespace.
    pub namespace: Option<String>,
    /// Only this metric.
    pub metric: Option<String>,
    /// Only series with all of these dimensions. A dimension without a value matches any value.
    pub dimensions: Vec<(String, Option<String>)>,
    /// Only series with a datapoint stamped at this time or later.
    pub active_since: Option<Time>,
}

impl SeriesFilter {
    fn fits(&self, series: &Series) -> bool {
        self.dimensions.iter().all(|(name, value)| {
            let mut of_series = series.dimensions.iter();
            of_series.any(|(own, is)| own == name && value.as_ref().is_none_or(|v| v == is))
        })
    }

    /// Returns the instance that the filter names.
    fn instance(&self) -> Option<&str> {
        let named =
            self.dimensions.iter().find(|(name, value)| name == "InstanceId" && value.is_some());
        named.and_then(|(_, value)| value.as_deref())
    }
}

/// The world's metrics as CloudWatch returns them. The world is locked while this view exists.
pub struct MetricsView<'a> {
    inner: MutexGuard<'a, Inner>,
}

impl World {
    /// Returns the world's metrics as CloudWatch returns them. The world is locked while the view
    /// exists.
    pub fn metrics(&self) -> MetricsView<'_> {
        MetricsView { inner: self.lock() }
    }
}

impl MetricsView<'_> {
    /// Returns the world's time.
    pub fn now(&self) -> Time {
        self.inner.now
    }

    /// Returns the error if a fault refuses all requests.
    pub fn refused(&self) -> Option<ReadError> {
        self.inner.metrics_refused()
    }

    /// Returns at most `limit` series in listing order, starting after `after`.
    pub fn list(
        &self,
        filter: &SeriesFilter,
        after: Option<SeriesPosition>,
        limit: usize,
    ) -> Vec<(SeriesPosition, Series)> {
        let inner = &*self.inner;
        let mut found = vec![];
        for subject in inner.subjects(filter, after.map(|place| Serial(place.node))) {
            let mut number = 0;
            let newest = inner.visible(&subject).map(|(_, last)| last);
            for published in inner.published() {
                for unit in 0..published.series_of(inner.accelerators(&subject)) {
                    let place = SeriesPosition { node: subject.serial.0, series: number };
                    number += 1;
                    let is_wanted =
                        filter.namespace.as_ref().is_none_or(|n| n == published.namespace())
                            && filter.metric.as_ref().is_none_or(|m| m == published.metric)
                            && after.is_none_or(|after| place > after);
                    if !is_wanted {
                        continue;
                    }
                    let newest =
                        newest.map(|last| inner.newest_of(&subject, published, unit, last));
                    let is_active = newest.is_some_and(|newest| {
                        filter
                            .active_since
                            .is_none_or(|since| inner.periods().start(newest) >= since)
                    });
                    let series = inner.series(&subject, published, unit);
                    if is_active && filter.fits(&series) {
                        found.push((place, series));
                        if found.len() >= limit {
                            return found;
                        }
                    }
                }
            }
        }
        found
    }

    /// Returns the datapoints with timestamps in `[from, to)` of the series with exactly these
    /// dimensions, in any order. Returns `None` if the series does not exist.
    pub fn read(
        &self,
        namespace: &str,
        metric: &str,
        dimensions: &[(String, String)],
        from: Time,
        to: Time,
    ) -> Option<SeriesRead> {
        let inner = &*self.inner;
        // Every published series has an InstanceId dimension.
        let (_, id) = dimensions.iter().find(|(name, _)| name == "InstanceId")?;
        let subject = inner.subject_of(id.parse().ok()?)?;
        let accelerators = inner.accelerators(&subject);
        let kinds =
            inner.published().filter(|kind| kind.metric == metric && kind.namespace() == namespace);
        for published in kinds {
            let unit = published.unit_of(dimensions);
            let Some(unit) = unit.filter(|unit| *unit < published.series_of(accelerators)) else {
                continue;
            };
            let series = inner.series(&subject, published, unit);
            let is_it = series.dimensions.len() == dimensions.len()
                && series.dimensions.iter().all(|(name, value)| {
                    dimensions.iter().any(|(own, is)| own == name && is == value)
                });
            if is_it {
                let points = inner.points(&subject, published, unit, from, to);
                let status = inner.metrics_status(subject.serial);
                return Some(SeriesRead { unit: published.unit, points, status });
            }
        }
        None
    }
}

impl Inner {
    fn published(&self) -> impl Iterator<Item = &'static Published> {
        let (metrics, layouts) = (self.spec.metrics, self.spec.metrics_layouts.clone());
        PUBLISHED.iter().filter(move |kind| metrics && layouts.contains(&kind.layout))
    }

    fn accelerators(&self, subject: &Subject<'_>) -> Accelerators {
        let group = self.spec.groups.get(subject.group.0);
        group.map_or(Accelerators::None, |group| {
            Accelerators::of(&group.instance_type, group.gpus_per_node)
        })
    }

    fn metrics_status(&self, node: Serial) -> Option<MetricsStatus> {
        let is_it = |kind: &FaultKind| matches!(kind, FaultKind::MetricsStatus { .. });
        let (kind, _) = self.faults.find_on_node(node, is_it)?;
        if let FaultKind::MetricsStatus { status, .. } = kind { Some(*status) } else { None }
    }

    /// Returns the node with this id while its datapoints are kept.
    fn subject_of(&self, id: InstanceId) -> Option<Subject<'_>> {
        let living = self.fleet.find(id).and_then(|(serial, node)| self.subject(serial, node));
        living.or_else(|| self.gone_subject(*self.archive.by_id.get(&id)?))
    }

    fn gone_subject(&self, serial: Serial) -> Option<Subject<'_>> {
        let node = self.archive.nodes.get(&serial)?;
        let (id, group, launched) = (node.id, node.group, node.launched);
        Some(Subject { serial, id, group, launched, ended: Some(node.ended), busy: &node.busy })
    }

    /// Returns the nodes that match a filter, starting at `from`.
    fn subjects(&self, filter: &SeriesFilter, from: Option<Serial>) -> Vec<Subject<'_>> {
        if let Some(instance) = filter.instance() {
            let subject = instance.parse().ok().and_then(|id| self.subject_of(id));
            let is_after = |subject: &Subject<'_>| from.is_none_or(|from| subject.serial >= from);
            return subject.filter(is_after).into_iter().collect();
        }
        let range = (from.map_or(Bound::Unbounded, Bound::Included), Bound::Unbounded);
        let mut serials: BTreeSet<Serial> =
            self.fleet.nodes.range(range).map(|(serial, _)| *serial).collect();
        serials.extend(self.archive.nodes.range(range).map(|(serial, _)| *serial));
        let subject = |serial: Serial| {
            let living = self.fleet.nodes.get(&serial).and_then(|node| self.subject(serial, node));
            living.or_else(|| self.gone_subject(serial))
        };
        serials.into_iter().filter_map(subject).collect()
    }

    fn series(&self, subject: &Subject<'_>, kind: &Published, unit: u32) -> Series {
        let group = self.spec.groups.get(subject.group.0);
        let instance_type = || group.map_or_else(String::new, |group| group.instance_type.clone());
        let cluster = || self.spec.cluster.to_string();
        let id = subject.id.to_string();
        let node_name = || format!("hyperpod-{}", subject.id);
        let accelerators = self.accelerators(subject);
        let dimensions = match (kind.layout, kind.over) {
            (MetricsLayout::Cwagent, Over::EachGpu) => {
                let (name, arch) = match accelerators {
                    Accelerators::Gpus { model, .. } => (model.name, model.arch),
                    Accelerators::None | Accelerators::Neuron { .. } => ("", ""),
                };
                vec![
                    ("InstanceId", id),
                    ("InstanceType", instance_type()),
                    ("arch", arch.to_owned()),
                    ("index", unit.to_string()),
                    ("name", name.to_owned()),
                ]
            }
            (MetricsLayout::Cwagent, _) => {
                let mut host = vec![("InstanceId", id), ("InstanceType", instance_type())];
                // The agent publishes the sum over all processors under this name.
                if kind.gauge == Gauge::HostCpu {
                    host.push(("cpu", "cpu-total".to_owned()));
                }
                host
            }
            (_, Over::EachGpu) => vec![
                ("ClusterName", cluster()),
                ("GpuDevice", format!("{GPU_DEVICE}{unit}")),
                ("InstanceId", id),
                ("InstanceType", instance_type()),
                ("NodeName", node_name()),
            ],
            (_, Over::EachCore) => {
                let cores = match accelerators {
                    Accelerators::Neuron { model, .. } => model.cores.max(1),
                    Accelerators::None | Accelerators::Gpus { .. } => 1,
                };
                vec![
                    ("ClusterName", cluster()),
                    ("InstanceId", id),
                    ("InstanceType", instance_type()),
                    // Cores are numbered across the whole machine.
                    ("NeuronCore", format!("{NEURON_CORE}{unit}")),
                    ("NeuronDevice", format!("device{}", unit / cores)),
                    ("NodeName", node_name()),
                ]
            }
            (_, Over::Host | Over::AllGpus | Over::AllCores) => {
                vec![("ClusterName", cluster()), ("InstanceId", id), ("NodeName", node_name())]
            }
        };
        Series { namespace: kind.namespace(), metric: kind.metric, dimensions }
    }

    /// Returns the processor that carries the node's full load.
    fn carrier(&self, subject: &Subject<'_>) -> u32 {
        let units = self.accelerators(subject).units();
        let mut rng = self.rng(Stream::Devices, u64::from(subject.serial.0) << 32);
        rng.below(u64::from(units)) as u32
    }

    /// Returns a processor's share of the node's load, in thousandths. Half of the processors other
    /// than the carrier are idle; the others take a random share.
    fn share_of(&self, subject: &Subject<'_>, unit: u32) -> u64 {
        if unit == self.carrier(subject) {
            return FULL_SHARE;
        }
        let key = u64::from(subject.serial.0) << 32 | (u64::from(unit) + 1);
        let mut rng = self.rng(Stream::Devices, key);
        if rng.below(2) == 0 { 0 } else { rng.below(FULL_SHARE) }
    }

    /// Whether the series belongs to the processor that device faults hit.
    fn is_hit(&self, subject: &Subject<'_>, kind: &Published, unit: u32) -> bool {
        match kind.over {
            // On a machine without accelerators, this is the host's processor.
            Over::Host => {
                kind.gauge == Gauge::HostCpu && self.accelerators(subject) == Accelerators::None
            }
            Over::EachGpu | Over::EachCore | Over::AllGpus | Over::AllCores => {
                unit == self.carrier(subject)
            }
        }
    }

    /// Returns the newest period of a series, given the newest period of its node.
    fn newest_of(
        &self,
        subject: &Subject<'_>,
        kind: &Published,
        unit: u32,
        newest: PeriodNo,
    ) -> PeriodNo {
        match kind.over {
            Over::AllGpus | Over::AllCores => newest,
            Over::Host | Over::EachGpu | Over::EachCore => {
                let missing = self.device_missing_since(subject.serial);
                match missing.filter(|_| self.is_hit(subject, kind, unit)) {
                    Some(since) => newest.min(self.periods().over_by(since)),
                    None => newest,
                }
            }
        }
    }

    fn points(
        &self,
        subject: &Subject<'_>,
        kind: &Published,
        unit: u32,
        from: Time,
        to: Time,
    ) -> Vec<Point> {
        let periods = self.periods();
        let Some((first, last)) = self.visible(subject) else { return vec![] };
        let accelerators = self.accelerators(subject);
        // First timestamp at or after `from`, and last one before `to`.
        let first = first.max(PeriodNo(periods.over_by(Time(from.0.saturating_sub(1))).0 + 2));
        let last = last.min(periods.around(Time(to.0.saturating_sub(1))));
        let units = match kind.over {
            Over::Host | Over::EachGpu | Over::EachCore => unit..unit + 1,
            Over::AllGpus | Over::AllCores => 0..accelerators.units(),
        };
        let parts: Vec<(u64, bool)> = units
            .map(|unit| (self.share_of(subject, unit), self.is_hit(subject, kind, unit)))
            .collect();
        let missing_since = self.device_missing_since(subject.serial);
        let pretended = match kind.gauge {
            Gauge::Utilization | Gauge::HostCpu => self.out_of_range(subject.serial),
            Gauge::MemoryActivity
            | Gauge::MemoryPercent
            | Gauge::MemoryUsedMib
            | Gauge::MemoryTotalMib
            | Gauge::MemoryBytes
            | Gauge::HostMemory => None,
        };
        let host = u64::from(subject.serial.0) << 32 | u64::from(u32::MAX);
        let host_share = 200 + self.rng(Stream::Devices, host).below(500);
        let mut points = vec![];
        for period in (first.0..=last.0).map(PeriodNo).filter(|period| !self.is_gap(*period)) {
            let reading = self.reading(subject, period);
            let ends = periods.end(period);
            for (share, is_hit) in &parts {
                if *is_hit && missing_since.is_some_and(|since| ends > since) {
                    continue;
                }
                let value = match pretended.filter(|_| *is_hit) {
                    Some(percent) => f64::from(percent),
                    None => gauge(kind.gauge, reading, *share, host_share, accelerators),
                };
                points.push(Point { at: periods.start(period), value });
            }
        }
        points
    }
}

/// Returns the value of a gauge. `share` is the processor's share of the load; `host_share` is the
/// share of the host on a machine with accelerators. Both are in thousandths.
fn gauge(
    gauge: Gauge,
    reading: NodeLoad,
    share: u64,
    host_share: u64,
    accelerators: Accelerators,
) -> f64 {
    let part = |of: u32, share: u64| (u64::from(of) * share / FULL_SHARE) as u32;
    let percent = |hundredths: u32| f64::from(hundredths) / 100.0;
    let at_rest = reading.memory.min(MEMORY_AT_REST);
    let memory = part(reading.memory, share).max(at_rest);
    match gauge {
        Gauge::Utilization => percent(part(reading.utilization, share)),
        Gauge::MemoryActivity => percent(part(reading.utilization, share * 6 / 10)),
        Gauge::MemoryPercent => percent(memory),
        Gauge::MemoryUsedMib => {
            let total = gpu_memory(accelerators);
            (f64::from(total) * f64::from(memory) / 10_000.0).round()
        }
        Gauge::MemoryTotalMib => f64::from(gpu_memory(accelerators)),
        Gauge::MemoryBytes => {
            let total = match accelerators {
                Accelerators::Neuron { model, .. } => model.core_memory,
                Accelerators::None | Accelerators::Gpus { .. } => 0,
            };
            (total as f64 * f64::from(memory) / 10_000.0).round()
        }
        Gauge::HostCpu => match accelerators {
            Accelerators::None => percent(reading.utilization),
            Accelerators::Gpus { .. } | Accelerators::Neuron { .. } => {
                percent(part(reading.utilization, host_share))
            }
        },
        // CloudWatch has no total for a Neuron device's memory, so clients use the host's memory.
        Gauge::HostMemory => match accelerators {
            Accelerators::None | Accelerators::Neuron { .. } => percent(reading.memory),
            Accelerators::Gpus { .. } => percent(part(reading.memory, host_share)),
        },
    }
}

fn gpu_memory(accelerators: Accelerators) -> u32 {
    match accelerators {
        Accelerators::Gpus { model, .. } => model.memory_mib,
        Accelerators::None | Accelerators::Neuron { .. } => 0,
    }
}
