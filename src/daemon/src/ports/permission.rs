//! Permission to act: the operator's switches, and the lease.

use std::sync::Arc;

use trimtab_core::ids::ClusterName;

use super::{LeaseError, ReadError};

/// Whether an operator allows trimtab to act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Switch {
    /// trimtab may act.
    On,
    /// An operator paused trimtab.
    Paused {
        /// What paused it, and the reason.
        why: Arc<str>,
    },
}

/// Reads the pause file. The switch in the ledger is read by [`Ledger::read_switch`](super::Ledger::read_switch).
pub trait Switches: Send + Sync {
    /// Whether trimtab may act in this cluster.
    ///
    /// # Errors
    /// When the switch cannot be read. The driver then treats the cluster as paused.
    fn read(&self, cluster: &ClusterName) -> Result<Switch, ReadError>;
}

/// The right to be the only process that acts.
pub trait Lease: Send + Sync {
    /// Returns the generation of the lease if this process holds it with enough time left.
    ///
    /// # Errors
    /// When this process does not hold it, or the lease cannot be read.
    fn hold(&self) -> Result<u64, LeaseError>;
}
