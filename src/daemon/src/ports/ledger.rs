//! The ledger port, and the records that the driver writes to it.

use std::collections::BTreeMap;

use trimtab_core::audit::NumberedRequest;
use trimtab_core::history::{Charge, Freeze, History, OpenAction};
use trimtab_core::ids::{
    ActionId, ClusterName, GroupName, InstanceId, LedgerId, RequestId, TickId,
};
use trimtab_core::plan::{GroupFigures, NodeVerdict};
use trimtab_core::rule::GroupState;
use trimtab_core::units::{NodeCount, Span, Time};

use super::{DeleteOutcome, Ring, Switch, Transition};

/// The durable memory: intents before requests, outcomes after them, and everything that
/// `explain`, `history` and a restart need. Every method is synchronous and one transaction,
/// which is durable when the method returns.
pub trait Ledger: Send + Sync {
    /// Returns the ledger's id. The reason of every cordon contains it.
    fn id(&self) -> LedgerId;

    /// Returns what is known of a cluster from before `now`: folded samples and members, open
    /// actions, charges, cooldowns and a freeze. A window ends if its last sample is more than
    /// `max_gap` before `now`.
    fn load(&self, cluster: &ClusterName, now: Time, max_gap: Span)
    -> Result<History, LedgerError>;

    /// Reserves ids for `count` new actions and returns the first of consecutive ids. No id is
    /// used twice.
    fn reserve_actions(&self, count: NodeCount) -> Result<ActionId, LedgerError>;

    /// Reserves the id of a new request.
    fn reserve_request(&self) -> Result<RequestId, LedgerError>;

    /// Writes what a tick saw, and returns the id of the tick.
    fn record_observation(&self, observation: &Observation<'_>) -> Result<TickId, LedgerError>;

    /// Writes what a tick decided.
    fn record_decision(&self, decision: &Decision<'_>) -> Result<(), LedgerError>;

    /// Writes steps of open actions. With `request`, writes the request and its charges in the
    /// same transaction.
    fn record_transitions(
        &self,
        cluster: &ClusterName,
        transitions: &[Transition],
        request: Option<RequestRecord<'_>>,
    ) -> Result<(), LedgerError>;

    /// Writes how a request ended.
    fn record_outcome(
        &self,
        request: RequestId,
        at: Time,
        outcome: &DeleteOutcome,
        transitions: &[Transition],
    ) -> Result<(), LedgerError>;

    /// Writes that no action may begin on a node before `until`.
    fn record_cooldown(
        &self,
        cluster: &ClusterName,
        node: InstanceId,
        until: Time,
    ) -> Result<(), LedgerError>;

    /// Returns the operator's switch for a cluster.
    fn read_switch(&self, cluster: &ClusterName) -> Result<Switch, LedgerError>;

    /// Whether an operator cleared the freeze that began at `since`.
    fn freeze_cleared(&self, cluster: &ClusterName, since: Time) -> Result<bool, LedgerError>;
}

/// Why a read or write of the ledger failed. After a failed write of an intent, trimtab must
/// not send its request.
#[derive(Debug, thiserror::Error)]
#[error("ledger {path}: {what}: {source}")]
pub struct LedgerError {
    /// The ledger's file.
    pub path: String,
    /// What failed.
    pub what: &'static str,
    /// The cause. The text of this error contains its text, because status lines and log
    /// fields show one line.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// What one tick saw. It is committed before the planner uses it.
#[derive(Debug, Clone, Copy)]
pub struct Observation<'a> {
    /// The cluster.
    pub cluster: &'a ClusterName,
    /// When the snapshot was taken.
    pub at: Time,
    /// When its first read began.
    pub begun_at: Time,
    /// Why the loop woke up.
    pub ring: Ring,
    /// Why this tick is not a sample; `None` if it is one.
    pub gap: Option<&'a str>,
    /// States of the groups, including this tick.
    pub groups: &'a BTreeMap<GroupName, GroupState>,
    /// A freeze that begins now.
    pub freeze: Option<&'a Freeze>,
}

/// What one tick decided. It is committed before trimtab acts on it.
#[derive(Debug, Clone, Copy)]
pub struct Decision<'a> {
    /// The tick it belongs to.
    pub tick: TickId,
    /// The cluster.
    pub cluster: &'a ClusterName,
    /// When it was decided.
    pub at: Time,
    /// The verdict on every node.
    pub verdicts: &'a [NodeVerdict],
    /// The figures of the groups.
    pub figures: &'a BTreeMap<GroupName, GroupFigures>,
    /// A freeze that begins now.
    pub freeze: Option<&'a Freeze>,
    /// Intents: actions that begin now, in their first state.
    pub opened: &'a [OpenAction],
    /// Steps of open actions, including the new ones.
    pub transitions: &'a [Transition],
}

/// A delete request about to be sent.
#[derive(Debug, Clone, Copy)]
pub struct RequestRecord<'a> {
    /// The request.
    pub request: &'a NumberedRequest,
    /// One charge for each node that is deleted. A request for a whole group does not tell
    /// which nodes these are, so the first nodes of the group are charged.
    pub charges: &'a [Charge],
}

/// A switch that an operator set in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchEntry {
    /// When it was set.
    pub at: Time,
    /// The cluster; `None` for all clusters.
    pub cluster: Option<ClusterName>,
    /// On or paused.
    pub switch: Switch,
}
