//! One way to ask Slurm and to tell it something. There are two: its commands, and
//! its REST daemon.

use async_trait::async_trait;
use trimtab_core::ids::NodeName;
use trimtab_core::snapshot::{ControllerHost, PendingJob};
use trimtab_daemon::ports::ReadError;

use crate::jobs::ActiveJob;
use crate::nodes::Node;
use crate::reservations::Reservation;

/// A way to Slurm. Every method is one question or order, or two where Slurm has no
/// single one; each answers whole or not at all.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Every node.
    async fn nodes(&self) -> Result<Vec<Node>, ReadError>;

    /// Every reservation, also those that have not begun.
    async fn reservations(&self) -> Result<Vec<Reservation>, ReadError>;

    /// Every job that is not over. What waits is read before what holds nodes, so that
    /// a job that starts in between is seen at least once.
    async fn jobs(&self) -> Result<Jobs, ReadError>;

    /// What Slurm says of itself.
    async fn configuration(&self) -> Result<Configuration, ReadError>;

    /// Sets these nodes to a new state, all in one order where Slurm can.
    async fn set(&self, nodes: &[NodeName], state: NewState<'_>) -> Result<(), ReadError>;
}

/// Jobs that are not over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Jobs {
    /// Jobs that hold nodes.
    pub active: Vec<ActiveJob>,
    /// Jobs that wait.
    pub pending: Vec<PendingJob>,
}

/// What a node's state may be set to. Nothing else can be said: neither DOWN nor FAIL
/// nor a power state, which end running jobs, nor a drain without a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewState<'a> {
    /// No new jobs, for this reason; running ones go on.
    Drain {
        /// The reason.
        reason: &'a str,
    },
    /// New jobs again; nothing but a drain is taken away.
    Undrain,
}

/// What Slurm says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    /// The hosts that slurmctld runs on.
    pub controllers: Vec<ControllerHost>,
    /// Jobs that are larger than their partition is now are refused when they are handed
    /// in (`EnforcePartLimits` is not `NO`).
    pub refuses_large_jobs: bool,
    /// What is hidden from users that are not operators.
    pub hidden: Hidden,
}

/// What Slurm hides from users that are not operators (`PrivateData`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hidden {
    /// Neither jobs nor reservations.
    Nothing,
    /// Jobs or reservations, and nodes as well: whoever is shown nodes is shown all of it.
    NodesToo,
    /// Jobs or reservations but not nodes. Without rights, nodes are shown without their
    /// jobs, and that of a suspended job looks idle.
    JobsOnly,
    /// This backend is not told.
    Untold,
}
