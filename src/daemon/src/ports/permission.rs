//! Permission to act: the operator's switches, and the lease.

use std::sync::Arc;

use trimtab_core::ids::ClusterName;

use super::{LeaseError, ReadError};

/// Whether an operator lets us act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Switch {
    /// Nobody says no.
    On,
    /// Somebody does.
    Paused {
        /// By what and why.
        why: Arc<str>,
    },
}

/// Reads the pause file. The ledger's own switch is read beside it.
pub trait Switches: Send + Sync {
    /// Whether we may act in this cluster.
    ///
    /// # Errors
    /// When it cannot be told; that stops, too.
    fn read(&self, cluster: &ClusterName) -> Result<Switch, ReadError>;
}

/// Holding of the right to be the one that acts.
pub trait Lease: Send + Sync {
    /// Whether we hold it now with enough time left, and its generation.
    ///
    /// # Errors
    /// Why not.
    fn hold(&self) -> Result<u64, LeaseError>;
}
