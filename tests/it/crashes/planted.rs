//! Planted bugs. Each breaks one promise that a restart relies on, and none shows without a kill.
//! The checks must notice each of them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use trimtab_core::audit::Cleared;
use trimtab_core::history::{Charge, History};
use trimtab_core::ids::{ActionId, ClusterName, InstanceId, LedgerId, RequestId, TickId};
use trimtab_core::units::{NodeCount, Span, Time};
use trimtab_daemon::ports::{
    Cordon, CordonOrder, Decision, DeleteOutcome, Ledger, LedgerError, Observation, Ports,
    ReadError, RequestRecord, Switch, Transition,
};

use super::run::Wiring;

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plant {
    /// Forgets charges at a restart.
    ForgetsCharges,
    /// Forgets open actions at a restart.
    ForgetsActions,
    /// Writes a request together with the next write, not before it is sent.
    WritesBehind,
    /// Removes no cordon after a restart.
    NeverReleases,
    /// Loses the first release after a restart. This is not a bug; it can happen.
    LosesFirstRelease,
}

impl Wiring for Plant {
    fn ports(&self, start: u32, mut ports: Ports) -> Ports {
        let drops = match self {
            Self::NeverReleases => Drops::All,
            Self::LosesFirstRelease => Drops::First,
            Self::ForgetsCharges | Self::ForgetsActions | Self::WritesBehind => return ports,
        };
        if start > 0
            && let Some(writers) = &mut ports.writers
            && let Some(cordon) = writers.cordon.take()
        {
            writers.cordon =
                Some(Arc::new(Unreleasing { cordon, drops, dropped: AtomicBool::new(false) }));
        }
        ports
    }

    fn ledger(&self, _: u32, ledger: Arc<dyn Ledger>) -> Arc<dyn Ledger> {
        Arc::new(Forgetful { ledger, plant: *self, behind: Mutex::default() })
    }
}

/// Which releases are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drops {
    All,
    First,
}

struct Unreleasing {
    cordon: Arc<dyn Cordon>,
    drops: Drops,
    dropped: AtomicBool,
}

#[async_trait]
impl Cordon for Unreleasing {
    async fn cordon(
        &self,
        cluster: &ClusterName,
        ledger: &LedgerId,
        orders: &[CordonOrder],
    ) -> Result<(), ReadError> {
        self.cordon.cordon(cluster, ledger, orders).await
    }

    async fn release(
        &self,
        cluster: &ClusterName,
        ledger: &LedgerId,
        orders: &[CordonOrder],
    ) -> Result<(), ReadError> {
        let was_dropped = self.dropped.swap(true, Ordering::Relaxed);
        if self.drops == Drops::All || !was_dropped {
            return Ok(());
        }
        self.cordon.release(cluster, ledger, orders).await
    }
}

/// A request that is not written yet.
struct Behind {
    cluster: ClusterName,
    transitions: Vec<Transition>,
    request: Cleared,
    charges: Vec<Charge>,
}

struct Forgetful {
    ledger: Arc<dyn Ledger>,
    plant: Plant,
    behind: Mutex<VecDeque<Behind>>,
}

impl Forgetful {
    fn behind(&self) -> MutexGuard<'_, VecDeque<Behind>> {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the ledger after writing everything.
    fn caught_up(&self) -> Result<&dyn Ledger, LedgerError> {
        while let Some(late) = self.behind().pop_front() {
            let request = RequestRecord { request: &late.request, charges: &late.charges };
            self.ledger.record_transitions(&late.cluster, &late.transitions, Some(request))?;
        }
        Ok(&*self.ledger)
    }
}

impl Ledger for Forgetful {
    fn id(&self) -> LedgerId {
        self.ledger.id()
    }

    fn load(
        &self,
        cluster: &ClusterName,
        now: Time,
        max_gap: Span,
    ) -> Result<History, LedgerError> {
        let mut history = self.ledger.load(cluster, now, max_gap)?;
        match self.plant {
            Plant::ForgetsCharges => history.charges.clear(),
            Plant::ForgetsActions => history.actions.clear(),
            Plant::WritesBehind | Plant::NeverReleases | Plant::LosesFirstRelease => {}
        }
        Ok(history)
    }

    fn reserve_actions(&self, count: NodeCount) -> Result<ActionId, LedgerError> {
        self.caught_up()?.reserve_actions(count)
    }

    fn reserve_request(&self) -> Result<RequestId, LedgerError> {
        self.caught_up()?.reserve_request()
    }

    fn record_observation(&self, observation: &Observation<'_>) -> Result<TickId, LedgerError> {
        self.caught_up()?.record_observation(observation)
    }

    fn record_decision(&self, decision: &Decision<'_>) -> Result<(), LedgerError> {
        self.caught_up()?.record_decision(decision)
    }

    fn record_transitions(
        &self,
        cluster: &ClusterName,
        transitions: &[Transition],
        request: Option<RequestRecord<'_>>,
    ) -> Result<(), LedgerError> {
        match request {
            Some(request) if self.plant == Plant::WritesBehind => {
                self.behind().push_back(Behind {
                    cluster: cluster.clone(),
                    transitions: transitions.to_vec(),
                    request: request.request.clone(),
                    charges: request.charges.to_vec(),
                });
                Ok(())
            }
            Some(_) | None => self.caught_up()?.record_transitions(cluster, transitions, request),
        }
    }

    fn record_outcome(
        &self,
        request: RequestId,
        at: Time,
        outcome: &DeleteOutcome,
        transitions: &[Transition],
    ) -> Result<(), LedgerError> {
        self.caught_up()?.record_outcome(request, at, outcome, transitions)
    }

    fn record_cooldown(
        &self,
        cluster: &ClusterName,
        node: InstanceId,
        until: Time,
    ) -> Result<(), LedgerError> {
        self.caught_up()?.record_cooldown(cluster, node, until)
    }

    fn read_switch(&self, cluster: &ClusterName) -> Result<Switch, LedgerError> {
        self.ledger.read_switch(cluster)
    }

    fn freeze_cleared(&self, cluster: &ClusterName, since: Time) -> Result<bool, LedgerError> {
        self.ledger.freeze_cleared(cluster, since)
    }
}
