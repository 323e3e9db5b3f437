//! The scheduler: reads of its nodes and jobs, and cordons.

use async_trait::async_trait;
use trimtab_core::ids::{ClusterName, LedgerId};
use trimtab_core::reads::Workload;

use super::{CordonOrder, ReadError, WriteError};

/// Reads the scheduler: nodes, claims, cordons and the queue.
#[async_trait]
pub trait WorkloadRead: Send + Sync {
    /// Returns the state of the scheduler of one cluster.
    async fn read(&self, cluster: &ClusterName) -> Result<Workload, ReadError>;
}

/// Cordons and uncordons nodes. Running jobs continue.
#[async_trait]
pub trait Cordon: Send + Sync {
    /// Cordons these nodes with trimtab's reason, several in one request. A node that is
    /// already drained is not changed.
    ///
    /// # Errors
    /// When a node may not be cordoned. Some of several nodes may be cordoned all the same.
    async fn cordon(
        &self,
        cluster: &ClusterName,
        ledger: &LedgerId,
        orders: &[CordonOrder],
    ) -> Result<(), WriteError>;

    /// Removes exactly these cordons. A node with another reason, or none, is not changed.
    ///
    /// # Errors
    /// When a cordon may not be removed. Some of several cordons may be removed all the same.
    async fn release(
        &self,
        cluster: &ClusterName,
        ledger: &LedgerId,
        orders: &[CordonOrder],
    ) -> Result<(), WriteError>;
}
