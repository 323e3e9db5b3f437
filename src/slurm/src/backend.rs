//! Interface to Slurm. It has two implementations: Slurm's commands and its REST daemon.

use async_trait::async_trait;
use trimtab_core::ids::NodeName;
use trimtab_core::reads::{ControllerHost, PendingJob};
use trimtab_daemon::ports::{ReadError, WriteError};

use crate::jobs::ActiveJob;
use crate::nodes::Node;
use crate::reservations::Reservation;

/// Reads from Slurm and changes node states. Each method sends one request, or two where Slurm
/// has no single one, and returns either a complete answer or an error.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Returns every node.
    async fn nodes(&self) -> Result<Vec<Node>, ReadError>;

    /// Returns every reservation, including those that have not begun.
    async fn reservations(&self) -> Result<Vec<Reservation>, ReadError>;

    /// Returns every job that has not ended. Waiting jobs are read before running jobs, so that
    /// a job that starts between the two requests is seen at least once.
    async fn jobs(&self) -> Result<Jobs, ReadError>;

    /// Returns the parts of Slurm's configuration that trimtab needs.
    async fn configuration(&self) -> Result<Configuration, ReadError>;

    /// Sets the state of these nodes, in one request where Slurm allows it.
    async fn set(&self, nodes: &[NodeName], state: NewState<'_>) -> Result<(), WriteError>;
}

/// Jobs that have not ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Jobs {
    /// Jobs that hold nodes: running, starting, suspended or ending.
    pub active: Vec<ActiveJob>,
    /// Jobs that wait for nodes.
    pub pending: Vec<PendingJob>,
}

/// States that trimtab can set on a node. DOWN, FAIL and power states, which end running jobs,
/// and a drain without a reason cannot be expressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewState<'a> {
    /// Drains the node: no new jobs start on it, running jobs continue.
    Drain { reason: &'a str },
    /// Removes the drain and nothing else.
    Undrain,
}

/// Parts of Slurm's configuration that trimtab needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    /// Hosts that slurmctld runs on.
    pub controllers: Vec<ControllerHost>,
    /// Whether Slurm rejects a job at submission if it needs more nodes than its partition has
    /// now (`EnforcePartLimits` is not `NO`).
    pub refuses_large_jobs: bool,
    pub hidden: Hidden,
}

/// What Slurm hides from users without operator rights in Slurm (`PrivateData`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hidden {
    /// Neither jobs nor reservations are hidden.
    Nothing,
    /// Jobs or reservations are hidden, and nodes too. A user who can list nodes therefore sees
    /// all jobs.
    NodesToo,
    /// Jobs or reservations are hidden, but nodes are not. A user without rights sees nodes
    /// without their jobs, and a node with only a suspended job looks idle.
    JobsOnly,
    /// The backend cannot read `PrivateData`.
    Untold,
}
