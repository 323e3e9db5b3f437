//! Metrics of nodes.

use std::collections::BTreeMap;

use async_trait::async_trait;
use trimtab_core::ids::{ClusterName, GroupName, InstanceId, NodeName};
use trimtab_core::policy::UtilizationRule;
use trimtab_core::snapshot::{Activity, Reading};
use trimtab_core::units::{Span, Time};

use super::ReadError;

/// A node whose metrics are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsQuery {
    /// The node.
    pub node: InstanceId,
    /// Its group.
    pub group: GroupName,
    /// The scheduler's name for it.
    pub name: Option<NodeName>,
    /// Devices (GPUs, accelerators) it must show where a metric is of each device.
    pub devices: u32,
    /// The window and period that the group's rule wants.
    pub rule: UtilizationRule,
}

/// What metrics say, and what asking took.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MetricsAnswer {
    /// The highest utilization and memory in use of each node over its window, with the
    /// datapoints' own stamps. A node that is missing here has no metrics.
    pub activity: BTreeMap<InstanceId, Reading<Activity>>,
    /// Metrics requested, as CloudWatch bills them.
    pub metrics: u64,
    /// Calls made, of any kind.
    pub calls: u64,
}

/// Reads what nodes' metrics say.
#[async_trait]
pub trait Utilization: Send + Sync {
    /// Reads these nodes' metrics as they are at `now`, datapoints no older than
    /// `fresh_for`.
    async fn read(
        &self,
        cluster: &ClusterName,
        queries: &[MetricsQuery],
        now: Time,
        fresh_for: Span,
    ) -> Result<MetricsAnswer, ReadError>;

    /// Metrics that asking for one node of this group requests. 0 where asking costs
    /// nothing.
    fn metrics_per_node(&self, cluster: &ClusterName, group: &GroupName, devices: u32) -> u64;
}
