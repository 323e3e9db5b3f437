//! What to ask CloudWatch for: signals of a group's nodes, as data.
//!
//! A signal is one metric of a node, or of each of its devices. Several signals of one
//! group are combined by the maximum, measure by measure; a series that is missing makes
//! the whole reading partial.

use std::collections::BTreeMap;

/// One metric that tells whether a group's nodes are in use.
#[derive(Debug, Clone, PartialEq)]
pub struct CloudwatchSignal {
    /// CloudWatch's namespace, `CWAgent`.
    pub namespace: String,
    /// The metric's name, `nvidia_smi_utilization_gpu`.
    pub metric: String,
    /// What it says.
    pub measure: Measure,
    /// What counts as 100 %.
    pub full_scale: FullScale,
    /// The dimensions a series must have to be this node's; it may have others beside.
    pub dimensions: BTreeMap<String, DimensionPattern>,
    /// The dimension that tells one device of a node from another, `index`; `None` for a
    /// metric of the whole node. A node must show as many devices as it has.
    pub device: Option<String>,
}

/// What a signal says of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// How busy it is.
    Utilization,
    /// How much of its memory is in use.
    Memory,
}

/// What counts as 100 % of a signal.
#[derive(Debug, Clone, PartialEq)]
pub enum FullScale {
    /// This value; 100 for a metric in percent.
    Value(f64),
    /// The value of another metric of the same namespace and dimensions, such as the
    /// memory that there is. It does not change while the node lives.
    Metric(String),
}

/// What a dimension of a series must be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum DimensionPattern {
    /// Anything.
    Any,
    /// This text, once its placeholders are filled in: `{instance_id}`, `{node}` (the
    /// scheduler's name), `{cluster}`, `{group}`.
    Text(String),
}
