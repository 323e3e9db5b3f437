//! Signals: the CloudWatch metrics that trimtab reads for the nodes of a group.
//!
//! A signal is one metric of a node, or of each of its devices. For each measure, the maximum
//! of all signals of a group counts. A missing series makes the whole reading partial.

use std::collections::BTreeMap;

/// One metric that shows whether the nodes of a group are in use.
#[derive(Debug, Clone, PartialEq)]
pub struct CloudwatchSignal {
    /// Namespace in CloudWatch, such as `CWAgent`.
    pub namespace: String,
    /// Name of the metric, such as `nvidia_smi_utilization_gpu`.
    pub metric: String,
    pub measure: Measure,
    pub full_scale: FullScale,
    /// Dimensions that identify a series of the node. The series may have more dimensions.
    pub dimensions: BTreeMap<String, DimensionPattern>,
    /// The dimension that distinguishes the devices of a node, such as `index`; `None` for a
    /// metric of the whole node. Every device of a node must have a series.
    pub device: Option<String>,
}

/// What a signal measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// How busy the node is.
    Utilization,
    /// How much of its memory is in use.
    Memory,
}

/// The value of a signal that counts as 100 %.
#[derive(Debug, Clone, PartialEq)]
pub enum FullScale {
    /// A fixed value; 100 for a metric in percent.
    Value(f64),
    /// The value of another metric with the same namespace and dimensions, such as the total
    /// memory. It does not change during the life of a node.
    Metric(String),
}

/// The value that a dimension of a series must have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum DimensionPattern {
    Any,
    /// This text, after its placeholders are replaced: `{instance_id}`, `{node}` (the name in
    /// the scheduler), `{cluster}`, `{group}`.
    Text(String),
}
