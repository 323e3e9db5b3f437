//! For other fronts of the world: the same answers as at the ports, without
//! the gauntlet. Faults hold here too.

use std::collections::BTreeMap;
use std::sync::Arc;

use trimtab_core::ids::{ClusterName, GroupName, InstanceId, LedgerId};
use trimtab_core::snapshot::{
    Activity, ClusterDescription, InstanceStatus, NodeListing, Reading, Workload,
};
use trimtab_core::units::{NodeCount, Span};
use trimtab_daemon::ports::{CordonOrder, DeleteOutcome, NodeDetails, ReadError};

use crate::truth::Caller;
use crate::world::World;

impl World {
    /// DescribeCluster.
    ///
    /// # Errors
    /// By fault, or for another cluster's name.
    pub fn describe(&self, cluster: &ClusterName) -> Result<ClusterDescription, ReadError> {
        self.lock().describe(cluster)
    }

    /// ListClusterNodes, all pages.
    ///
    /// # Errors
    /// By fault, or for another cluster's name.
    pub fn list_nodes(&self, cluster: &ClusterName) -> Result<NodeListing, ReadError> {
        self.lock().list_nodes(cluster)
    }

    /// DescribeClusterNode.
    ///
    /// # Errors
    /// By fault, or for another cluster's name.
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

    /// What nodes' own descriptions show (DescribeClusterNode).
    ///
    /// # Errors
    /// By fault, or for another cluster's name.
    pub fn details(
        &self,
        cluster: &ClusterName,
        nodes: &[InstanceId],
    ) -> Result<BTreeMap<InstanceId, NodeDetails>, ReadError> {
        self.lock().details(cluster, nodes)
    }

    /// UpdateCluster with this count for a group, more or fewer nodes than it has.
    pub fn update_count(&self, group: &GroupName, count: NodeCount, by: Caller) -> DeleteOutcome {
        self.lock().update_count(group, count, by)
    }

    /// UpdateCluster to a higher count; a lower one changes nothing.
    ///
    /// # Errors
    /// What the API said.
    pub fn grow(&self, group: &GroupName, count: NodeCount) -> Result<(), Arc<str>> {
        self.lock().set_count(group, count)
    }

    /// The scheduler's whole answer.
    ///
    /// # Errors
    /// By fault, or for another cluster's name.
    pub fn workload(&self, cluster: &ClusterName) -> Result<Workload, ReadError> {
        self.lock().workload(cluster)
    }

    /// Drains nodes, as its port does.
    ///
    /// # Errors
    /// By fault, or for another cluster's name.
    pub fn cordon(
        &self,
        cluster: &ClusterName,
        ledger: &LedgerId,
        orders: &[CordonOrder],
    ) -> Result<(), ReadError> {
        self.lock().cordon(cluster, ledger, orders, false)
    }

    /// Takes exactly these cordons off, as its port does.
    ///
    /// # Errors
    /// By fault, or for another cluster's name.
    pub fn release(
        &self,
        cluster: &ClusterName,
        ledger: &LedgerId,
        orders: &[CordonOrder],
    ) -> Result<(), ReadError> {
        self.lock().release(cluster, ledger, orders)
    }

    /// What nodes' metrics say, as its port does.
    ///
    /// # Errors
    /// For another cluster's name.
    pub fn utilization(
        &self,
        cluster: &ClusterName,
        nodes: &[InstanceId],
        window: Span,
    ) -> Result<BTreeMap<InstanceId, Reading<Activity>>, ReadError> {
        self.lock().utilization(cluster, nodes, window)
    }
}
