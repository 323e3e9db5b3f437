//! Presets: metrics of known layouts, so that operators need not describe them.
//!
//! Names and dimensions are those of the documentation of the agents. All metrics are published
//! once a minute. All are in percent, except the memory of a GPU, which is in bytes.

use std::collections::BTreeMap;

use super::signals::{CloudwatchSignal, DimensionPattern, FullScale, Measure};

/// A layout of metrics that an agent publishes.
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
    /// Container Insights with enhanced observability, Neuron cores. It has no metric for the
    /// share of their memory in use.
    ContainerInsightsNeuron,
}

const CWAGENT: &str = "CWAgent";
const CONTAINER_INSIGHTS: &str = "ContainerInsights";

/// The dimension that identifies a node in every layout.
const NODE: (&str, &str) = ("InstanceId", "{instance_id}");

/// One line of the table below.
struct Row {
    metric: &'static str,
    measure: Measure,
    /// The metric whose value is full use; `None` for a metric in percent.
    full_scale_metric: Option<&'static str>,
    /// Dimensions in addition to that of the node.
    dimensions: &'static [(&'static str, &'static str)],
    device: Option<&'static str>,
}

const fn of_node(metric: &'static str, measure: Measure) -> Row {
    Row { metric, measure, full_scale_metric: None, dimensions: &[], device: None }
}

impl Preset {
    /// Returns the default namespace of the agent.
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
                    // All CPUs together: one busy core of 96 counts as 1 %.
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

    /// Returns the signals of the preset, in `namespace` if given.
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
