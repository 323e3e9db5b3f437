//! Metrics of known layouts, as data: what an operator need not write out.
//!
//! Names and dimensions are those of the agents' documentation. All of them are
//! published once a minute, and all of them but the bytes of a GPU's memory in percent.

use std::collections::BTreeMap;

use super::signals::{CloudwatchSignal, DimensionPattern, FullScale, Measure};

/// Under which names an agent publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Preset {
    /// The CloudWatch agent with its NVIDIA plugin.
    CwagentNvidia,
    /// The CloudWatch agent's CPU and memory.
    CwagentCpu,
    /// Container Insights with enhanced observability, NVIDIA GPUs.
    ContainerInsightsNvidia,
    /// Container Insights, CPU and memory.
    ContainerInsightsCpu,
    /// Container Insights with enhanced observability, Neuron cores; it has no metric of
    /// their memory in relation to what there is.
    ContainerInsightsNeuron,
}

const CWAGENT: &str = "CWAgent";
const CONTAINER_INSIGHTS: &str = "ContainerInsights";

/// What the HyperPod-independent part of each layout names a node by.
const NODE: (&str, &str) = ("InstanceId", "{instance_id}");

/// One line of the table below.
struct Row {
    metric: &'static str,
    measure: Measure,
    /// The metric that is full use; without one it is 100.
    full_scale_metric: Option<&'static str>,
    /// Dimensions beside the node's.
    dimensions: &'static [(&'static str, &'static str)],
    device: Option<&'static str>,
}

const fn of_node(metric: &'static str, measure: Measure) -> Row {
    Row { metric, measure, full_scale_metric: None, dimensions: &[], device: None }
}

impl Preset {
    /// The agent's own namespace.
    fn namespace(self) -> &'static str {
        match self {
            Self::CwagentNvidia | Self::CwagentCpu => CWAGENT,
            Self::ContainerInsightsNvidia
            | Self::ContainerInsightsCpu
            | Self::ContainerInsightsNeuron => CONTAINER_INSIGHTS,
        }
    }

    fn rows(self) -> Vec<Row> {
        match self {
            Self::CwagentNvidia => vec![
                Row {
                    metric: "nvidia_smi_utilization_gpu",
                    measure: Measure::Utilization,
                    full_scale_metric: None,
                    dimensions: &[("index", "*")],
                    device: Some("index"),
                },
                Row {
                    metric: "nvidia_smi_memory_used",
                    measure: Measure::Memory,
                    full_scale_metric: Some("nvidia_smi_memory_total"),
                    dimensions: &[("index", "*")],
                    device: Some("index"),
                },
            ],
            Self::CwagentCpu => vec![
                Row {
                    // Of all CPUs together: one busy core of 96 is a percent.
                    dimensions: &[("cpu", "cpu-total")],
                    ..of_node("cpu_usage_active", Measure::Utilization)
                },
                of_node("mem_used_percent", Measure::Memory),
            ],
            Self::ContainerInsightsNvidia => vec![
                Row {
                    dimensions: &[("GpuDevice", "*")],
                    device: Some("GpuDevice"),
                    ..of_node("node_gpu_utilization", Measure::Utilization)
                },
                Row {
                    dimensions: &[("GpuDevice", "*")],
                    device: Some("GpuDevice"),
                    ..of_node("node_gpu_memory_utilization", Measure::Memory)
                },
            ],
            Self::ContainerInsightsCpu => vec![
                of_node("node_cpu_utilization", Measure::Utilization),
                of_node("node_memory_utilization", Measure::Memory),
            ],
            Self::ContainerInsightsNeuron => {
                vec![of_node("node_neuroncore_utilization", Measure::Utilization)]
            }
        }
    }

    /// Its signals, in this namespace instead of the agent's own.
    pub(crate) fn signals(self, namespace: Option<&str>) -> Vec<CloudwatchSignal> {
        let namespace = namespace.unwrap_or(self.namespace());
        let signal = |row: Row| {
            let Row { metric, measure, full_scale_metric, dimensions, device } = row;
            let full_scale = match full_scale_metric {
                Some(metric) => FullScale::Metric(metric.to_owned()),
                None => FullScale::Value(100.0),
            };
            let dimensions: BTreeMap<_, _> = dimensions
                .iter()
                .chain([&NODE])
                .map(|(name, text)| {
                    let pattern = match *text {
                        "*" => DimensionPattern::Any,
                        text => DimensionPattern::Text(text.to_owned()),
                    };
                    ((*name).to_owned(), pattern)
                })
                .collect();
            CloudwatchSignal {
                namespace: namespace.to_owned(),
                metric: metric.to_owned(),
                measure,
                full_scale,
                dimensions,
                device: device.map(str::to_owned),
            }
        };
        self.rows().into_iter().map(signal).collect()
    }
}
