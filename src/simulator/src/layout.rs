//! Layouts of metrics.

use serde::{Deserialize, Serialize};

/// Publisher of a node's metrics, which decides how they are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MetricsLayout {
    /// The CloudWatch agent: namespace `CWAgent`, series for each GPU and for the host.
    Cwagent,
    /// Container Insights on EKS: namespace `ContainerInsights`, series for each GPU and for the
    /// host.
    ContainerInsights,
    /// Container Insights on machines with Neuron devices: series for each NeuronCore.
    Neuron,
}

impl MetricsLayout {
    /// All layouts. Each publishes only what the machine has.
    pub const ALL: [Self; 3] = [Self::Cwagent, Self::ContainerInsights, Self::Neuron];
}
