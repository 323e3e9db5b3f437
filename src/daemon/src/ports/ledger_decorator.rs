//! Ledgers that are put in front of another ledger and change a part of it.

use trimtab_core::history::History;
use trimtab_core::ids::{ActionId, ClusterName, InstanceId, LedgerId, RequestId, TickId};
use trimtab_core::units::{NodeCount, Span, Time};

use super::{
    Decision, DeleteOutcome, Ledger, LedgerError, Observation, RequestRecord, Switch, Transition,
};

/// A ledger in front of another ledger. Every decorator is a [`Ledger`].
///
/// Every method forwards to [`inner`](Self::inner) and an implementation overrides only
/// what it changes. The methods that return a result forward through
/// [`reading`](Self::reading) or [`writing`](Self::writing), so that an implementation
/// can change all reads or all writes in one place.
pub trait LedgerDecorator: Send + Sync {
    /// The type of the ledger behind this one.
    type Inner: Ledger + ?Sized;

    /// The ledger behind this one.
    fn inner(&self) -> &Self::Inner;

    /// Runs a read of the inner ledger. `_what` names the read in error messages.
    fn reading<T>(
        &self,
        _what: &'static str,
        read: impl FnOnce(&Self::Inner) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        read(self.inner())
    }

    /// Runs a write to the inner ledger. `_what` names the write in error messages.
    fn writing<T>(
        &self,
        _what: &'static str,
        write: impl FnOnce(&Self::Inner) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        write(self.inner())
    }

    /// See [`Ledger::id`].
    fn id(&self) -> LedgerId {
        self.inner().id()
    }

    /// See [`Ledger::load`].
    fn load(
        &self,
        cluster: &ClusterName,
        now: Time,
        max_gap: Span,
    ) -> Result<History, LedgerError> {
        self.reading("load", |ledger| ledger.load(cluster, now, max_gap))
    }

    /// See [`Ledger::reserve_actions`].
    fn reserve_actions(&self, count: NodeCount) -> Result<ActionId, LedgerError> {
        self.writing("reserve actions", |ledger| ledger.reserve_actions(count))
    }

    /// See [`Ledger::reserve_request`].
    fn reserve_request(&self) -> Result<RequestId, LedgerError> {
        self.writing("reserve a request", |ledger| ledger.reserve_request())
    }

    /// See [`Ledger::record_observation`].
    fn record_observation(&self, observation: &Observation<'_>) -> Result<TickId, LedgerError> {
        self.writing("record an observation", |ledger| ledger.record_observation(observation))
    }

    /// See [`Ledger::record_decision`].
    fn record_decision(&self, decision: &Decision<'_>) -> Result<(), LedgerError> {
        self.writing("record a decision", |ledger| ledger.record_decision(decision))
    }

    /// See [`Ledger::record_transitions`].
    fn record_transitions(
        &self,
        cluster: &ClusterName,
        transitions: &[Transition],
        request: Option<RequestRecord<'_>>,
    ) -> Result<(), LedgerError> {
        self.writing("record transitions", |ledger| {
            ledger.record_transitions(cluster, transitions, request)
        })
    }

    /// See [`Ledger::record_outcome`].
    fn record_outcome(
        &self,
        request: RequestId,
        at: Time,
        outcome: &DeleteOutcome,
        transitions: &[Transition],
    ) -> Result<(), LedgerError> {
        self.writing("record an outcome", |ledger| {
            ledger.record_outcome(request, at, outcome, transitions)
        })
    }

    /// See [`Ledger::record_cooldown`].
    fn record_cooldown(
        &self,
        cluster: &ClusterName,
        node: InstanceId,
        until: Time,
    ) -> Result<(), LedgerError> {
        self.writing("record a cool-down", |ledger| ledger.record_cooldown(cluster, node, until))
    }

    /// See [`Ledger::read_switch`].
    fn read_switch(&self, cluster: &ClusterName) -> Result<Switch, LedgerError> {
        self.reading("read the switch", |ledger| ledger.read_switch(cluster))
    }

    /// See [`Ledger::freeze_cleared`].
    fn freeze_cleared(&self, cluster: &ClusterName, since: Time) -> Result<bool, LedgerError> {
        self.reading("read the freeze", |ledger| ledger.freeze_cleared(cluster, since))
    }
}

impl<D: LedgerDecorator> Ledger for D {
    fn id(&self) -> LedgerId {
        LedgerDecorator::id(self)
    }

    fn load(
        &self,
        cluster: &ClusterName,
        now: Time,
        max_gap: Span,
    ) -> Result<History, LedgerError> {
        LedgerDecorator::load(self, cluster, now, max_gap)
    }

    fn reserve_actions(&self, count: NodeCount) -> Result<ActionId, LedgerError> {
        LedgerDecorator::reserve_actions(self, count)
    }

    fn reserve_request(&self) -> Result<RequestId, LedgerError> {
        LedgerDecorator::reserve_request(self)
    }

    fn record_observation(&self, observation: &Observation<'_>) -> Result<TickId, LedgerError> {
        LedgerDecorator::record_observation(self, observation)
    }

    fn record_decision(&self, decision: &Decision<'_>) -> Result<(), LedgerError> {
        LedgerDecorator::record_decision(self, decision)
    }

    fn record_transitions(
        &self,
        cluster: &ClusterName,
        transitions: &[Transition],
        request: Option<RequestRecord<'_>>,
    ) -> Result<(), LedgerError> {
        LedgerDecorator::record_transitions(self, cluster, transitions, request)
    }

    fn record_outcome(
        &self,
        request: RequestId,
        at: Time,
        outcome: &DeleteOutcome,
        transitions: &[Transition],
    ) -> Result<(), LedgerError> {
        LedgerDecorator::record_outcome(self, request, at, outcome, transitions)
    }

    fn record_cooldown(
        &self,
        cluster: &ClusterName,
        node: InstanceId,
        until: Time,
    ) -> Result<(), LedgerError> {
        LedgerDecorator::record_cooldown(self, cluster, node, until)
    }

    fn read_switch(&self, cluster: &ClusterName) -> Result<Switch, LedgerError> {
        LedgerDecorator::read_switch(self, cluster)
    }

    fn freeze_cleared(&self, cluster: &ClusterName, since: Time) -> Result<bool, LedgerError> {
        LedgerDecorator::freeze_cleared(self, cluster, since)
    }
}
