//! Metrics of nodes.

use std::collections::BTreeMap;

use async_trait::async_trait;
use trimtab_core::ids::{ClusterName, GroupName, InstanceId, NodeName};
use trimtab_core::policy::UtilizationRule;
use trimtab_core::reads::{Activity, Reading};
use trimtab_core::units::{Span, Time};

use super::ReadError;

/// A node whose metrics are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsQuery {
    /// The node.
    pub node: InstanceId,
    /// Its group.
    pub group: GroupName,
    /// Its name in the scheduler.
    pub name: Option<NodeName>,
    /// Devices (GPUs, accelerators) that must have a datapoint where a metric is per device.
    pub devices: u32,
    /// Window and period of the group.
    pub rule: UtilizationRule,
}

/// Metrics of nodes, and the cost of the read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MetricsAnswer {
    /// Highest utilization and memory in use of each node over its window, with the timestamps
    /// of the datapoints. A node without metrics is missing.
    pub activity: BTreeMap<InstanceId, Reading<Activity>>,
    /// Metrics requested, as CloudWatch bills them.
    pub metrics: u64,
    /// API requests sent, of any kind.
    pub calls: u64,
}

/// Reads the metrics of nodes.
#[async_trait]
pub trait Utilization: Send + Sync {
    /// Reads the metrics of these nodes at `now`. Datapoints must not be older than
    /// `fresh_for`.
    async fn read(
        &self,
        cluster: &ClusterName,
        queries: &[MetricsQuery],
        now: Time,
        fresh_for: Span,
    ) -> Result<MetricsAnswer, ReadError>;

    /// Returns the number of metrics that a read of one node of this group requests; 0 where
    /// reads cost nothing.
    fn metrics_per_node(&self, cluster: &ClusterName, group: &GroupName, devices: u32) -> u64;
}
