//! Planted bugs. Each breaks one promise that a restart relies on, and none shows without a kill.
//! The checks must notice each of them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trimtab_core::audit::NumberedRequest;
use trimtab_core::history::{Charge, History};
use trimtab_core::ids::ClusterName;
use trimtab_core::units::{Span, Time};
use trimtab_daemon::ports::{
    Ledger, LedgerDecorator, LedgerError, Ports, RequestRecord, Transition,
};
use trimtab_tests::altered::{Drops, Unreleasing};

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
            writers.cordon = Some(Arc::new(Unreleasing::new(cordon, drops)));
        }
        ports
    }

    fn ledger(&self, _: u32, ledger: Arc<dyn Ledger>) -> Arc<dyn Ledger> {
        Arc::new(Forgetful { ledger, plant: *self, behind: Mutex::default() })
    }
}

/// A request that is not written yet.
struct Behind {
    cluster: ClusterName,
    transitions: Vec<Transition>,
    request: NumberedRequest,
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

    /// Writes what is behind.
    fn catch_up(&self) -> Result<(), LedgerError> {
        while let Some(late) = self.behind().pop_front() {
            let request = RequestRecord { request: &late.request, charges: &late.charges };
            self.ledger.record_transitions(&late.cluster, &late.transitions, Some(request))?;
        }
        Ok(())
    }
}

impl LedgerDecorator for Forgetful {
    type Inner = dyn Ledger;

    fn inner(&self) -> &Self::Inner {
        &*self.ledger
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

    fn writing<T>(
        &self,
        _what: &'static str,
        write: impl FnOnce(&Self::Inner) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        self.catch_up()?;
        write(&*self.ledger)
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
            Some(_) | None => {
                self.catch_up()?;
                self.ledger.record_transitions(cluster, transitions, request)
            }
        }
    }
}
