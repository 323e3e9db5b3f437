//! A client that reads a node's metrics from CloudWatch gets the same result as the
//! in-process port.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use trimtab_core::ids::InstanceId;
use trimtab_core::reads::{Activity, Reading};
use trimtab_core::units::{Share, Span, Time};
use trimtab_simulator::World;

use super::{Service, cluster, ids, mixed};

const WINDOW: Span = Span::mins(20);
const PERIOD: Span = Span::mins(1);

/// The metrics that one kind of client reads: utilization and memory of each device.
struct Reader {
    namespace: &'static str,
    utilization: &'static str,
    memory: Memory,
    /// The dimension that identifies a device; `None` for host metrics.
    device: Option<&'static str>,
}

enum Memory {
    Percent(&'static str),
    Used { used: &'static str, total: &'static str },
    Bytes(&'static str, f64),
}

const GPU_AGENT: Reader = Reader {
    namespace: "CWAgent",
    utilization: "nvidia_smi_utilization_gpu",
    memory: Memory::Used { used: "nvidia_smi_memory_used", total: "nvidia_smi_memory_total" },
    device: Some("index"),
};
const GPU_INSIGHTS: Reader = Reader {
    namespace: "ContainerInsights",
    utilization: "node_gpu_utilization",
    memory: Memory::Percent("node_gpu_memory_utilization"),
    device: Some("GpuDevice"),
};
const HOST_AGENT: Reader = Reader {
    namespace: "CWAgent",
    utilization: "cpu_usage_active",
    memory: Memory::Percent("mem_used_percent"),
    device: None,
};
const HOST_INSIGHTS: Reader = Reader {
    namespace: "ContainerInsights",
    utilization: "node_cpu_utilization",
    memory: Memory::Percent("node_memory_utilization"),
    device: None,
};
const NEURON: Reader = Reader {
    namespace: "ContainerInsights",
    utilization: "node_neuroncore_utilization",
    memory: Memory::Bytes("node_neuroncore_memory_usage_total", (16u64 << 30) as f64),
    device: Some("NeuronCore"),
};

impl Reader {
    /// The dimensions of each series of one metric of a node.
    fn series(&self, service: &Service, node: InstanceId, metric: &str) -> Vec<Json> {
        let mut filter = vec![json!({ "Name": "InstanceId", "Value": node.to_string() })];
        filter.extend(self.device.map(|name| json!({ "Name": name })));
        let input =
            json!({ "Namespace": self.namespace, "MetricName": metric, "Dimensions": filter });
        let answer = service.call("ListMetrics", &input).expect("a listing");
        let metrics = answer["Metrics"].as_array().expect("a list").clone();
        metrics.into_iter().map(|metric| metric["Dimensions"].clone()).collect()
    }

    /// Maximum over all devices of a node, by timestamp.
    fn maxima(
        &self,
        service: &Service,
        node: InstanceId,
        metric: &str,
        by: Option<&str>,
    ) -> BTreeMap<i64, f64> {
        let now = service.worlds[0].now().0 / 1000;
        let mut maxima = BTreeMap::new();
        for dimensions in self.series(service, node, metric) {
            let wanted = |metric: &str| {
                let metric = json!({
                    "Namespace": self.namespace,
                    "MetricName": metric,
                    "Dimensions": dimensions,
                });
                json!({ "Metric": metric, "Period": PERIOD.as_secs(), "Stat": "Maximum" })
            };
            let mut queries = vec![json!({ "Id": "used", "MetricStat": wanted(metric) })];
            queries.extend(by.map(|by| json!({ "Id": "total", "MetricStat": wanted(by) })));
            let input = json!({
                "StartTime": now - 3_600,
                "EndTime": now,
                "MetricDataQueries": queries,
            });
            let json = service.call("GetMetricData", &input).expect("data");
            let results = json["MetricDataResults"].as_array().expect("a list");
            // CBOR returns the same values.
            let cbor = service.call_cbor("GetMetricData", &input);
            let same = &cbor["MetricDataResults"][0];
            assert_eq!(same["Values"], results[0]["Values"]);
            assert_eq!(
                same["Timestamps"].as_array().map(Vec::len),
                results[0]["Timestamps"].as_array().map(Vec::len)
            );
            let numbers = |n: usize, of: &str| -> Vec<f64> {
                let list = results[n][of].as_array().expect("a list");
                list.iter().map(|item| item.as_f64().expect("a number")).collect()
            };
            let (stamps, used) = (numbers(0, "Timestamps"), numbers(0, "Values"));
            for (at, stamp) in stamps.iter().enumerate() {
                let percent = match by {
                    None => used[at],
                    Some(_) => used[at] / numbers(1, "Values")[at] * 100.0,
                };
                let highest = maxima.entry(*stamp as i64).or_insert(percent);
                *highest = percent.max(*highest);
            }
        }
        maxima
    }

    fn read(&self, service: &Service, node: InstanceId) -> Option<Activity> {
        let utilization = self.maxima(service, node, self.utilization, None);
        let memory = match self.memory {
            Memory::Percent(metric) => self.maxima(service, node, metric, None),
            Memory::Used { used, total } => self.maxima(service, node, used, Some(total)),
            Memory::Bytes(metric, all) => self
                .maxima(service, node, metric, None)
                .into_iter()
                .map(|(stamp, bytes)| (stamp, 100.0 * bytes / all))
                .collect(),
        };
        let (last, _) = utilization.last_key_value()?;
        // CloudWatch's timestamp is the start of a period, the port's is the end.
        let to = Time::from_secs(*last) + PERIOD;
        let first = utilization.range((to - WINDOW).0 / 1000..).map(|(stamp, _)| *stamp);
        let stamps: Vec<i64> = first.collect();
        let run = stamps.rchunk_by_gap();
        let highest = |values: &BTreeMap<i64, f64>| {
            let window = values.range((to - WINDOW).0 / 1000..);
            Share::try_from_percent(window.map(|(_, value)| *value).fold(0.0, f64::max))
        };
        Some(Activity {
            utilization: highest(&utilization)?,
            memory: highest(&memory)?,
            from: Time::from_secs(run) + PERIOD,
            to,
        })
    }
}

trait Runs {
    fn rchunk_by_gap(&self) -> i64;
}

impl Runs for Vec<i64> {
    /// The first timestamp of the last run without a gap.
    fn rchunk_by_gap(&self) -> i64 {
        let together = |a: &i64, b: &i64| b - a == PERIOD.as_secs();
        *self.chunk_by(together).last().expect("not empty").first().expect("not empty")
    }
}

fn of_port(world: &World, node: InstanceId) -> Option<Activity> {
    let read = world.utilization(&cluster(), &[node], WINDOW).expect("an answer");
    match read.get(&node) {
        None => None,
        Some(Reading::Fresh { at, value }) => {
            assert_eq!(*at, value.to);
            Some(*value)
        }
        other => panic!("{other:?}"),
    }
}

/// The readers for a node, by its group.
fn readers(world: &World, node: InstanceId) -> Vec<Reader> {
    let listing = world.list_nodes(&cluster()).expect("a listing");
    let listed = listing.nodes.iter().find(|listed| listed.id == node).expect("listed");
    match listed.group.as_str() {
        "gpu" | "big" => vec![GPU_AGENT, GPU_INSIGHTS],
        "cpu" => vec![HOST_AGENT, HOST_INSIGHTS],
        _ => vec![NEURON],
    }
}

pub(super) fn compare(world: &World) -> usize {
    let service = Service::of(world);
    let mut compared = 0;
    for node in ids(world) {
        let port = of_port(world, node);
        for reader in readers(world, node) {
            let read = reader.read(&service, node);
            assert_eq!(read, port, "{node} {} at {:?}", reader.utilization, world.now());
            compared += usize::from(read.is_some());
        }
    }
    compared
}

#[test]
fn reader_of_every_layout_finds_what_the_port_says() {
    let world = mixed(Span::ZERO);
    let mut compared = 0;
    for _ in 0..12 {
        // Not at a full minute, so that a period is incomplete.
        world.advance_by(Span::secs(31 * 60 + 17));
        compared += compare(&world);
    }
    assert_eq!(compared, 12 * (5 * 2 + 2 * 2 + 2));
}

#[test]
fn nodes_are_seen_at_work_and_at_rest() {
    let world = mixed(Span::hours(6));
    let busy = ids(&world).into_iter().filter_map(|node| of_port(&world, node));
    let (busy, idle): (Vec<Activity>, Vec<Activity>) = busy.partition(|activity| {
        activity.utilization > Share::try_from_percent(50.0).expect("in range")
    });
    assert!(!busy.is_empty() && !idle.is_empty(), "{} and {}", busy.len(), idle.len());
}

#[test]
fn one_device_carries_the_maximum_and_the_others_show_less() {
    let world = mixed(Span::hours(6));
    let service = Service::of(&world);
    let node = ids(&world)[0];
    let mut highest: Vec<f64> = vec![];
    for dimensions in GPU_AGENT.series(&service, node, GPU_AGENT.utilization) {
        let metric = GPU_AGENT.utilization;
        let query = super::query("m", "CWAgent", metric, &dimensions, "Maximum");
        let input = super::between(world.now() - Span::hours(1), world.now(), vec![query]);
        let answer = service.call("GetMetricData", &input).expect("data");
        let values = answer["MetricDataResults"][0]["Values"].as_array().expect("a list").clone();
        highest.push(values.iter().filter_map(Json::as_f64).fold(0.0, f64::max));
    }
    assert_eq!(highest.len(), 8);
    let most = highest.iter().copied().fold(0.0, f64::max);
    assert_eq!(highest.iter().filter(|value| **value == most).count(), 1, "{highest:?}");
}
