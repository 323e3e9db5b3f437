//! The gauntlet: every port call and every commit of the ledger passes here,
//! so that a run can be disturbed at any one of them.
//!
//! - A [`KillPoint`] ends the process at an *effect* (a cordon, a release, a
//!   delete, a commit), before it or after it acted. From then on every port's
//!   future is pending for ever and the ledger refuses everything: the harness
//!   sees the daemon's future pending, drops it, calls [`World::revive`] and
//!   starts a new one.
//! - An [`Injection`] lets something happen in the world right before the n-th
//!   port call, read or write: the race at every point.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use trimtab_core::history::History;
use trimtab_core::ids::{ActionId, ClusterName, InstanceId, LedgerId, RequestId, TickId};
use trimtab_core::units::{NodeCount, Span, Time};
use trimtab_daemon::ports::{
    Decision, DeleteOutcome, Ledger, LedgerError, Observation, RequestRecord, Switch, Transition,
};

use crate::faults::FaultKind;
use crate::log::{Call, WorldEvent};
use crate::world::{Inner, World};

/// Where the daemon is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KillPoint {
    /// At the how many-th effect of the run, counted from 1.
    pub effect: u64,
    /// Before or after it.
    pub when: KillWhen,
}

/// On which side of an effect the daemon is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KillWhen {
    /// It does not happen.
    Before,
    /// It happens, and the daemon does not learn of it.
    AfterActed,
}

/// Something that happens right before a port call.
#[derive(Debug, Clone, PartialEq)]
pub struct Injection {
    /// Before the how many-th call of the run, counted from 1.
    pub call: u64,
    /// What.
    pub action: FaultKind,
    /// For how long, if it is of that kind.
    pub lasts: Span,
}

/// What became of the daemon at an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Goes,
    EndsAfterwards,
    IsOver,
}

/// The counters and what is planned by them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gauntlet {
    calls: u64,
    effects: u64,
    dead: bool,
    kills: Vec<KillPoint>,
    injections: BTreeMap<u64, Vec<Injection>>,
}

impl Gauntlet {
    pub(crate) fn effects(&self) -> u64 {
        self.effects
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead
    }

    pub(crate) fn kill_at(&mut self, point: KillPoint) {
        self.kills.push(point);
    }
}

impl Inner {
    /// A port is called; `false` if there is nobody left who could.
    pub(crate) fn begin_call(&mut self, call: Call) -> bool {
        if self.gauntlet.dead {
            return false;
        }
        self.gauntlet.calls += 1;
        let n = self.gauntlet.calls;
        for Injection { action, lasts, .. } in
            self.gauntlet.injections.remove(&n).unwrap_or_default()
        {
            self.begin_fault(action, lasts);
        }
        self.write(WorldEvent::Called { n, call });
        true
    }

    /// Something is about to be changed.
    pub(crate) fn begin_effect(&mut self) -> Life {
        if self.gauntlet.dead {
            return Life::IsOver;
        }
        self.gauntlet.effects += 1;
        let effect = self.gauntlet.effects;
        match self.gauntlet.kills.iter().find(|point| point.effect == effect).map(|p| p.when) {
            None => Life::Goes,
            Some(KillWhen::AfterActed) => Life::EndsAfterwards,
            Some(KillWhen::Before) => {
                self.die(KillWhen::Before);
                Life::IsOver
            }
        }
    }

    /// It was changed; `false` if nobody is left to be told.
    pub(crate) fn end_effect(&mut self, life: Life) -> bool {
        match life {
            Life::Goes => true,
            Life::IsOver => false,
            Life::EndsAfterwards => {
                self.die(KillWhen::AfterActed);
                false
            }
        }
    }

    fn die(&mut self, when: KillWhen) {
        self.gauntlet.dead = true;
        let effect = self.gauntlet.effects;
        self.write(WorldEvent::Killed { effect, when });
    }
}

impl World {
    /// Plans a kill; a point that is over never comes.
    pub fn kill_at(&self, point: KillPoint) {
        self.lock().gauntlet.kill_at(point);
    }

    /// Plans an injection; a call that is over never comes.
    pub fn inject(&self, injection: Injection) {
        let mut inner = self.lock();
        inner.gauntlet.injections.entry(injection.call).or_default().push(injection);
    }

    /// Lets something happen now.
    pub fn act(&self, action: FaultKind, lasts: Span) {
        self.lock().begin_fault(action, lasts);
    }

    /// Effects so far: cordons, releases, deletes, commits.
    pub fn effects(&self) -> u64 {
        self.lock().gauntlet.effects
    }

    /// Port calls so far, reads and writes.
    pub fn calls(&self) -> u64 {
        self.lock().gauntlet.calls
    }

    /// Whether the daemon was killed and not started anew.
    pub fn is_dead(&self) -> bool {
        self.lock().gauntlet.dead
    }

    /// The daemon is started anew: ports and ledger work again. Counters go on.
    pub fn revive(&self) {
        let mut inner = self.lock();
        if inner.gauntlet.dead {
            inner.gauntlet.dead = false;
            inner.write(WorldEvent::Revived);
        }
    }
}

/// A ledger whose every commit is an effect of the gauntlet. Around the
/// durable ledger that outlives the daemon: after a kill, put a new one around
/// the same file.
pub struct CrashingLedger<L: ?Sized> {
    world: World,
    ledger: Arc<L>,
}

impl<L: Ledger + ?Sized> CrashingLedger<L> {
    /// Puts the gauntlet before a ledger.
    pub fn new(world: World, ledger: Arc<L>) -> Self {
        Self { world, ledger }
    }

    /// The ledger behind it.
    pub fn inner(&self) -> &Arc<L> {
        &self.ledger
    }

    fn dead(what: &'static str) -> LedgerError {
        LedgerError { path: "simulated".to_owned(), what, why: "the process was killed".to_owned() }
    }

    fn read<T>(
        &self,
        what: &'static str,
        read: impl FnOnce(&L) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        if self.world.lock().gauntlet.dead {
            return Err(Self::dead(what));
        }
        read(&self.ledger)
    }

    fn commit<T>(
        &self,
        what: &'static str,
        commit: impl FnOnce(&L) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let life = {
            let mut inner = self.world.lock();
            let life = inner.begin_effect();
            if life == Life::IsOver {
                return Err(Self::dead(what));
            }
            if inner.faults.any(|kind| *kind == FaultKind::LedgerFails) {
                let why = "no space left on device".to_owned();
                inner.end_effect(life);
                return Err(LedgerError { path: "simulated".to_owned(), what, why });
            }
            life
        };
        let done = commit(&self.ledger);
        if self.world.lock().end_effect(life) { done } else { Err(Self::dead(what)) }
    }
}

impl<L: Ledger + ?Sized> Ledger for CrashingLedger<L> {
    fn id(&self) -> LedgerId {
        self.ledger.id()
    }

    fn load(
        &self,
        cluster: &ClusterName,
        now: Time,
        max_gap: Span,
    ) -> Result<History, LedgerError> {
        self.read("load", |ledger| ledger.load(cluster, now, max_gap))
    }

    fn reserve_actions(&self, count: NodeCount) -> Result<ActionId, LedgerError> {
        self.commit("reserve actions", |ledger| ledger.reserve_actions(count))
    }

    fn reserve_request(&self) -> Result<RequestId, LedgerError> {
        self.commit("reserve a request", |ledger| ledger.reserve_request())
    }

    fn record_observation(&self, observation: &Observation<'_>) -> Result<TickId, LedgerError> {
        self.commit("record an observation", |ledger| ledger.record_observation(observation))
    }

    fn record_decision(&self, decision: &Decision<'_>) -> Result<(), LedgerError> {
        self.commit("record a decision", |ledger| ledger.record_decision(decision))
    }

    fn record_transitions(
        &self,
        cluster: &ClusterName,
        transitions: &[Transition],
        request: Option<RequestRecord<'_>>,
    ) -> Result<(), LedgerError> {
        self.commit("record transitions", |ledger| {
            ledger.record_transitions(cluster, transitions, request)
        })
    }

    fn record_outcome(
        &self,
        request: RequestId,
        at: Time,
        outcome: &DeleteOutcome,
        transitions: &[Transition],
    ) -> Result<(), LedgerError> {
        self.commit("record an outcome", |ledger| {
            ledger.record_outcome(request, at, outcome, transitions)
        })
    }

    fn record_cooldown(
        &self,
        cluster: &ClusterName,
        node: InstanceId,
        until: Time,
    ) -> Result<(), LedgerError> {
        self.commit("record a cool-down", |ledger| ledger.record_cooldown(cluster, node, until))
    }

    fn read_switch(&self, cluster: &ClusterName) -> Result<Switch, LedgerError> {
        self.read("read the switch", |ledger| ledger.read_switch(cluster))
    }

    fn freeze_cleared(&self, cluster: &ClusterName, since: Time) -> Result<bool, LedgerError> {
        self.read("read the freeze", |ledger| ledger.freeze_cleared(cluster, since))
    }
}
