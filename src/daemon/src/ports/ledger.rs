//! The ledger as the driver sees it, and the rows that the driver writes to it.

use std::collections::BTreeMap;

use trimtab_core::action::{ActionState, Event};
use trimtab_core::audit::Cleared;
use trimtab_core::history::{Charge, Freeze, History, OpenAction};
use trimtab_core::ids::{
    ActionId, ClusterName, GroupName, InstanceId, LedgerId, RequestId, TickId,
};
use trimtab_core::plan::{GroupFigures, NodeVerdict};
use trimtab_core::rule::GroupState;
use trimtab_core::units::{NodeCount, Span, Time};

use super::{DeleteOutcome, Ring, Switch};

/// The durable memory: intents before acts, outcomes after, and everything
/// that `explain`, `history` and a restart need. Every method is one
/// transaction, durable when it returns, and synchronous.
pub trait Ledger: Send + Sync {
    /// The ledger's id, part of every cordon's reason.
    fn id(&self) -> LedgerId;

    /// What is known of a cluster from before `now`: folded samples and
    /// members, open actions, charges, cool-downs, a freeze. A window whose
    /// last sample lies more than `max_gap` before `now` is ended.
    fn load(&self, cluster: &ClusterName, now: Time, max_gap: Span)
    -> Result<History, LedgerError>;

    /// Ids for so many new actions: the first of a row that is never used again.
    fn reserve_actions(&self, count: NodeCount) -> Result<ActionId, LedgerError>;

    /// An id for a new request.
    fn reserve_request(&self) -> Result<RequestId, LedgerError>;

    /// Writes what was seen, and makes the tick's row.
    fn record_observation(&self, observation: &Observation<'_>) -> Result<TickId, LedgerError>;

    /// Writes what was decided.
    fn record_decision(&self, decision: &Decision<'_>) -> Result<(), LedgerError>;

    /// Writes steps of open actions; with `request`, the request and its
    /// charges in the same transaction.
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

    /// Leaves a node alone until then.
    fn record_cooldown(
        &self,
        cluster: &ClusterName,
        node: InstanceId,
        until: Time,
    ) -> Result<(), LedgerError>;

    /// The operator's switch for a cluster, as it stands now.
    fn read_switch(&self, cluster: &ClusterName) -> Result<Switch, LedgerError>;

    /// Whether the freeze with this start was cleared by an operator meanwhile.
    fn freeze_cleared(&self, cluster: &ClusterName, since: Time) -> Result<bool, LedgerError>;
}

/// Why the ledger could not do something. Nothing may change in the world
/// when an intent could not be written.
#[derive(Debug, thiserror::Error)]
#[error("ledger {path}: {what}: {source}")]
pub struct LedgerError {
    /// The ledger's file.
    pub path: String,
    /// What was being done.
    pub what: &'static str,
    /// What went wrong. Its text is a part of this error's text, because status lines and
    /// log fields have room for one line only.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// What one tick saw, committed before anything is planned from it.
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
    /// Why this was not a sample, if it was not.
    pub gap: Option<&'a str>,
    /// The groups' states with this tick folded in.
    pub groups: &'a BTreeMap<GroupName, GroupState>,
    /// A freeze that begins now.
    pub freeze: Option<&'a Freeze>,
}

/// What one tick decided, committed before anything is done about it.
#[derive(Debug, Clone, Copy)]
pub struct Decision<'a> {
    /// The tick it belongs to.
    pub tick: TickId,
    /// The cluster.
    pub cluster: &'a ClusterName,
    /// When.
    pub at: Time,
    /// A word on every node.
    pub verdicts: &'a [NodeVerdict],
    /// The numbers behind them.
    pub figures: &'a BTreeMap<GroupName, GroupFigures>,
    /// A freeze that begins now.
    pub freeze: Option<&'a Freeze>,
    /// Intents: actions that begin now, in the state they begin in.
    pub opened: &'a [OpenAction],
    /// Steps of open actions, these new ones included.
    pub transitions: &'a [Transition],
}

/// One step of one action.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// The action.
    pub action: ActionId,
    /// Its node.
    pub node: InstanceId,
    /// What happened.
    pub event: Event,
    /// The state after it.
    pub state: ActionState,
}

/// A delete request about to be sent.
#[derive(Debug, Clone, Copy)]
pub struct RequestRecord<'a> {
    /// The request.
    pub request: &'a Cleared,
    /// One charge for each node that goes. Nobody knows which these are in a
    /// call for a whole group, so there the first so many of its nodes stand for
    /// them.
    pub charges: &'a [Charge],
}

/// What an operator's switch in the ledger says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchEntry {
    /// When it was set.
    pub at: Time,
    /// `None` for every cluster.
    pub cluster: Option<ClusterName>,
    /// On or paused.
    pub switch: Switch,
}
