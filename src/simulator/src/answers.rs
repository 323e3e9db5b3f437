//! The world's API for other frontends, such as the simulated endpoint. Answers are the same as at
//! the ports, faults included, but calls do not pass through the gauntlet.

use std::collections::BTreeMap;
use std::sync::Arc;

use trimtab_core::ids::{ClusterName, GroupName, InstanceId, LedgerId};
use trimtab_core::reads::{
    Activity, ClusterDescription, InstanceStatus, NodeListing, Reading, Workload,
};
use trimtab_core::units::{NodeCount, Span};
use trimtab_daemon::ports::{CordonOrder, DeleteOutcome, NodeDetails, ReadError, WriteError};

use crate::truth::Caller;
use crate::world::World;

impl World {
    /// DescribeCluster.
    ///
    /// # Errors
    /// If a fault blocks the read, or the cluster name is unknown.
    pub fn describe(&self, cluster: &ClusterName) -> Result<ClusterDescription, ReadError> {
        self.lock().describe(cluster)
    }

    /// ListClusterNodes, all pages.
    ///
    /// # Errors
    /// If a fault blocks the read, or the cluster name is unknown.
    pub fn list_nodes(&self, cluster: &ClusterName) -> Result<NodeListing, ReadError> {
        self.lock().list_nodes(cluster)
    }

    /// DescribeClusterNode.
    ///
    /// # Errors
    /// If a fault blocks the read, or the cluster name is unknown.
    pub fn describe_node(
        &self,
        cluster: &ClusterName,
        node: InstanceId,
    ) -> Result<Option<InstanceStatus>, ReadError> {
        self.lock().describe_node(cluster, node)
    }

    /// BatchDeleteClusterNodes.
    pub fn delete_nodes(&self, nodes: &[InstanceId], by: Caller) -> DeleteOutcome {
        self.lock().delete_nodes(nodes, by)
    }

    /// DescribeClusterNode for several nodes: capacity type and address.
    ///
    /// # Errors
    /// If a fault blocks the read, or the cluster name is unknown.
    pub fn details(
        &self,
        cluster: &ClusterName,
        nodes: &[InstanceId],
    ) -> Result<BTreeMap<InstanceId, NodeDetails>, ReadError> {
        self.lock().details(cluster, nodes)
    }

    /// UpdateCluster that sets a group to `count` nodes, higher or lower.
    pub fn update_count(&self, group: &GroupName, count: NodeCount, by: Caller) -> DeleteOutcome {
        self.lock().update_count(group, count, by)
    }

    /// UpdateCluster that raises a group's count. A count that is not higher changes nothing.
    ///
    /// # Errors
    /// The API's error message.
    pub fn grow(&self, group: &GroupName, count: NodeCount) -> Result<(), Arc<str>> {
        self.lock().set_count(group, count)
    }

    /// Returns the scheduler's nodes and pending jobs.
    ///
    /// # Errors
    /// If a fault blocks the read, or the cluster name is unknown.
    pub fn workload(&self, cluster: &ClusterName) -> Result<Workload, ReadError> {
        self.lock().workload(cluster)
    }

    /// Drains nodes, as the `Cordon` port does.
    ///
    /// # Errors
    /// If a fault blocks the request, or the cluster name is unknown.
    pub fn cordon(
        &self,
        cluster: &ClusterName,
        ledger: &LedgerId,
        orders: &[CordonOrder],
    ) -> Result<(), WriteError> {
        self.lock().cordon(cluster, ledger, orders, false)
    }

    /// Resumes the nodes that have exactly these cordons, as the `Cordon` port does.
    ///
    /// # Errors
    /// If a fault blocks the request, or the cluster name is unknown.
    pub fn release(
        &self,
        cluster: &ClusterName,
        ledger: &LedgerId,
        orders: &[CordonOrder],
    ) -> Result<(), WriteError> {
        self.lock().release(cluster, ledger, orders)
    }

    /// Returns the nodes' utilization, as the `Utilization` port does.
    ///
    /// # Errors
    /// If a fault blocks the read, or the cluster name is unknown.
    pub fn utilization(
        &self,
        cluster: &ClusterName,
        nodes: &[InstanceId],
        window: Span,
    ) -> Result<BTreeMap<InstanceId, Reading<Activity>>, ReadError> {
        self.lock().utilization(cluster, nodes, window)
    }
}
