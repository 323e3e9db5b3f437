//! The scheduler: what its nodes do, and cordons on them.

use async_trait::async_trait;
use trimtab_core::ids::{ActionId, ClusterName, LedgerId, NodeName};
use trimtab_core::snapshot::Workload;

use super::{ReadError, WriteError};

/// Reads the scheduler: nodes, claims, cordons, queue.
#[async_trait]
pub trait WorkloadRead: Send + Sync {
    /// Everything about one cluster's scheduler.
    async fn read(&self, cluster: &ClusterName) -> Result<Workload, ReadError>;
}

/// A node to cordon or to release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CordonOrder {
    /// The scheduler's name for it.
    pub name: NodeName,
    /// The action it is for, part of the reason.
    pub action: ActionId,
}

/// Keeps new jobs off nodes, and takes that back. Running jobs go on.
#[async_trait]
pub trait Cordon: Send + Sync {
    /// Drains these nodes with our reason, several in one call. A node that
    /// somebody else has drained is left as it is.
    async fn cordon(
        &self,
        cluster: &ClusterName,
        ledger: &LedgerId,
        orders: &[CordonOrder],
    ) -> Result<(), WriteError>;

    /// Takes exactly these cordons off; a node whose reason is another one, or
    /// none, is left as it is.
    async fn release(
        &self,
        cluster: &ClusterName,
        ledger: &LedgerId,
        orders: &[CordonOrder],
    ) -> Result<(), WriteError>;
}
