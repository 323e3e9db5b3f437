//! Ports: everything that the daemon needs from outside, as traits.
//!
//! An implementation talks to AWS, to Slurm or to the simulated world, and the
//! driver cannot tell which. [`Ports`] holds one implementation of each:
//!
//! - [`cluster`](ClusterRead), [`scheduler`](WorkloadRead) and [`utilization`](Utilization)
//!   are read at every tick. Reads fail with [`ReadError`].
//! - [`Writers`] are the two ports that change something: [`ClusterWrite`] deletes
//!   nodes and [`Cordon`] keeps new jobs off them. Observe mode has none. Cordons fail
//!   with [`WriteError`]. A delete request ends in one of three ways (done, refused, no answer), and the third is never
//!   mistaken for one of the others.
//! - [`Switches`], [`Lease`] and [`Gate`] can each keep the driver from acting.
//! - [`Clock`] and [`Doorbell`] are the only sources of time.
//! - [`Ledger`] is the durable memory. It is not in [`Ports`], because one ledger
//!   serves every cluster.

mod clock;
mod cluster;
mod error;
mod gate;
mod ledger;
mod ledger_decorator;
mod notification;
mod permission;
mod prices;
mod scheduler;
mod utilization;

use std::sync::Arc;

pub use trimtab_core::cordon::CordonOrder;
pub use trimtab_core::steps::Transition;

pub use self::clock::{Clock, Doorbell, Ring};
pub use self::cluster::{ClusterRead, ClusterWrite, DeleteOutcome, NodeDetails, Refusal};
pub use self::error::{LeaseError, ReadError, WriteError};
pub use self::gate::{Gate, Inquiry, InquiryState, Question, QuestionedNode};
pub use self::ledger::{Decision, Ledger, LedgerError, Observation, RequestRecord, SwitchEntry};
pub use self::ledger_decorator::LedgerDecorator;
pub use self::notification::{Notification, Notifier};
pub use self::permission::{Lease, Switch, Switches};
pub use self::prices::Prices;
pub use self::scheduler::{Cordon, WorkloadRead};
pub use self::utilization::{MetricsAnswer, MetricsQuery, Utilization};

/// All ports of one cluster's driver.
pub struct Ports {
    /// Reads clusters.
    pub cluster: Arc<dyn ClusterRead>,
    /// Reads the scheduler; `None` without a scheduler.
    pub workload: Option<Arc<dyn WorkloadRead>>,
    /// Reads metrics; `None` where the policy uses none.
    pub utilization: Option<Arc<dyn Utilization>>,
    /// Prices of groups whose policy names none; `None` where there are none.
    pub prices: Option<Arc<dyn Prices>>,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// The pause file.
    pub switches: Arc<dyn Switches>,
    /// The lease.
    pub lease: Arc<dyn Lease>,
    /// Gate for groups whose `node_local_data` needs one. Without a gate, no node of these
    /// groups is deleted.
    pub gate: Option<Arc<dyn Gate>>,
    /// Gate that is asked last, about every node; `None` without an on-node check.
    pub on_node_check: Option<Arc<dyn Gate>>,
    /// Notifies operators.
    pub notifier: Arc<dyn Notifier>,
    /// Changes things; `None` in observe mode.
    pub writers: Option<Writers>,
}

/// The ports that change something. Observe mode has none.
pub struct Writers {
    /// Deletes nodes.
    pub cluster: Arc<dyn ClusterWrite>,
    /// Cordons nodes; `None` without a scheduler.
    pub cordon: Option<Arc<dyn Cordon>>,
}
