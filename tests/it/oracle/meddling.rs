//! Ports and ledgers with planted bugs: they report wrong data, forget data, or change the world.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use trimtab_core::audit::{ClearedBatch, ClearedGroup};
use trimtab_core::ids::{ClusterName, LedgerId};
use trimtab_core::reads::{ClusterStatus, Workload};
use trimtab_core::units::{NodeCount, Span, Time};
use trimtab_daemon::ports::{
    Clock, ClusterRead, ClusterWrite, Cordon, CordonOrder, Decision, DeleteOutcome, Lease,
    LeaseError, Ledger, LedgerDecorator, LedgerError, ReadError, RequestRecord, Switch, Switches,
    Transition, WorkloadRead, WriteError,
};
use trimtab_simulator::World;
use trimtab_simulator::truth::Caller;
use trimtab_tests::altered::AlteredCluster;

/// A switch that is always on, and a lease that is always held.
pub(super) struct AlwaysOn;

impl Switches for AlwaysOn {
    fn read(&self, _: &ClusterName) -> Result<Switch, ReadError> {
        Ok(Switch::On)
    }
}

impl Lease for AlwaysOn {
    fn hold(&self) -> Result<u64, LeaseError> {
        Ok(1)
    }
}

/// A monotonic clock that steps with the wall clock.
pub(super) struct OneClock(pub(super) Arc<dyn Clock>);

impl Clock for OneClock {
    fn now(&self) -> Time {
        self.0.now()
    }

    fn monotonic(&self) -> Span {
        self.0.now().since(Time(0))
    }
}

/// A cluster that always reports itself in service and its groups calm.
pub(super) fn rosy(cluster: Arc<dyn ClusterRead>) -> AlteredCluster {
    AlteredCluster::new(cluster).describing(|read| {
        read.state.status = ClusterStatus::InService;
        read.state.software_update = false;
        for group in read.groups.values_mut() {
            group.calm = true;
        }
    })
}

/// A scheduler client that repeats its last answer as new when a read fails.
pub(super) struct Cached {
    pub(super) workload: Arc<dyn WorkloadRead>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) last: Mutex<Option<Workload>>,
}

#[async_trait]
impl WorkloadRead for Cached {
    async fn read(&self, cluster: &ClusterName) -> Result<Workload, ReadError> {
        let read = self.workload.read(cluster).await;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok(read) => {
                *last = Some(read.clone());
                Ok(read)
            }
            Err(why) => {
                let old = last.clone().ok_or(why)?;
                Ok(Workload { at: self.clock.now(), ..old })
            }
        }
    }
}

/// A cordon port that takes all older cordons off at every cordon.
pub(super) struct ReleasesOlder {
    pub(super) cordon: Arc<dyn Cordon>,
    pub(super) asked: Mutex<Vec<CordonOrder>>,
}

#[async_trait]
impl Cordon for ReleasesOlder {
    async fn cordon(
        &self,
        cluster: &ClusterName,
        ledger: &LedgerId,
        orders: &[CordonOrder],
    ) -> Result<(), WriteError> {
        let older = {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            let older = asked.clone();
            asked.extend_from_slice(orders);
            older
        };
        if !older.is_empty() {
            self.cordon.release(cluster, ledger, &older).await?;
        }
        self.cordon.cordon(cluster, ledger, orders).await
    }

    async fn release(
        &self,
        cluster: &ClusterName,
        ledger: &LedgerId,
        orders: &[CordonOrder],
    ) -> Result<(), WriteError> {
        self.cordon.release(cluster, ledger, orders).await
    }
}

/// Change of the world when these nodes were cordoned.
type Meddle = Box<dyn Fn(&[CordonOrder]) + Send + Sync>;

/// Changes the world right after a cordon was set.
pub(super) struct AfterCordon {
    pub(super) cordon: Arc<dyn Cordon>,
    pub(super) meddle: Meddle,
}

#[async_trait]
impl Cordon for AfterCordon {
    async fn cordon(
        &self,
        cluster: &ClusterName,
        ledger: &LedgerId,
        orders: &[CordonOrder],
    ) -> Result<(), WriteError> {
        let done = self.cordon.cordon(cluster, ledger, orders).await;
        (self.meddle)(orders);
        done
    }

    async fn release(
        &self,
        cluster: &ClusterName,
        ledger: &LedgerId,
        orders: &[CordonOrder],
    ) -> Result<(), WriteError> {
        self.cordon.release(cluster, ledger, orders).await
    }
}

/// Delete requests whose answers are lost.
pub(super) struct Unheard {
    pub(super) cluster: Arc<dyn ClusterWrite>,
    pub(super) world: World,
}

#[async_trait]
impl ClusterWrite for Unheard {
    async fn delete_nodes(&self, request: &ClearedBatch, within: Span) -> DeleteOutcome {
        let _ = self.cluster.delete_nodes(request, within).await;
        let why = format!("the line broke at {}", self.world.now());
        DeleteOutcome::NoAnswer { why: why.into() }
    }

    async fn shrink_group(&self, cleared: &ClearedGroup, within: Span) -> DeleteOutcome {
        let _ = self.cluster.shrink_group(cleared, within).await;
        let why = format!("the line broke at {}", self.world.now());
        DeleteOutcome::NoAnswer { why: why.into() }
    }
}

/// Sends a request by ids as the count that remains after it.
pub(super) struct ByCount(pub(super) World);

#[async_trait]
impl ClusterWrite for ByCount {
    async fn delete_nodes(&self, request: &ClearedBatch, _within: Span) -> DeleteOutcome {
        let live = self.0.truth().groups[request.group()].members;
        let stay = live.saturating_sub(NodeCount::of(request.nodes().len()));
        self.0.update_count(request.group(), stay, Caller::Daemon)
    }

    async fn shrink_group(&self, cleared: &ClearedGroup, _within: Span) -> DeleteOutcome {
        self.0.update_count(cleared.group(), cleared.count_after(), Caller::Daemon)
    }
}

/// Data that a ledger leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Omits {
    /// Requests, with their charges.
    Requests,
    /// Verdicts.
    Verdicts,
    /// Freezes that only an operator may end.
    Freezes,
}

/// A ledger that leaves something out.
pub(super) struct Forgetful {
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) omits: Option<Omits>,
    /// While this is set, the next write of transitions fails and clears it.
    pub(super) fails: Arc<AtomicBool>,
}

impl LedgerDecorator for Forgetful {
    type Inner = dyn Ledger;

    fn inner(&self) -> &Self::Inner {
        &*self.ledger
    }

    fn record_decision(&self, decision: &Decision<'_>) -> Result<(), LedgerError> {
        let verdicts = if self.omits == Some(Omits::Verdicts) { &[] } else { decision.verdicts };
        self.ledger.record_decision(&Decision { verdicts, ..*decision })
    }

    fn record_transitions(
        &self,
        cluster: &ClusterName,
        transitions: &[Transition],
        request: Option<RequestRecord<'_>>,
    ) -> Result<(), LedgerError> {
        if self.fails.swap(false, Ordering::Relaxed) {
            let (path, source) = ("planted".to_owned(), "no space left on device".into());
            return Err(LedgerError { path, what: "could not write the steps of actions", source });
        }
        let request = request.filter(|_| self.omits != Some(Omits::Requests));
        self.ledger.record_transitions(cluster, transitions, request)
    }

    fn freeze_cleared(&self, cluster: &ClusterName, since: Time) -> Result<bool, LedgerError> {
        match self.omits {
            Some(Omits::Freezes) => Ok(true),
            Some(Omits::Requests | Omits::Verdicts) | None => {
                self.ledger.freeze_cleared(cluster, since)
            }
        }
    }
}

/// Counts how often each item occurs.
pub(super) fn counts<T: Ord>(items: impl IntoIterator<Item = T>) -> BTreeMap<T, usize> {
    let mut counts = BTreeMap::new();
    for item in items {
        *counts.entry(item).or_default() += 1;
    }
    counts
}
