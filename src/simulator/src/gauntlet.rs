//! The gauntlet: every port call and every ledger commit passes here, so that a test can disturb a
//! run at each of them.
//!
//! - A [`KillPoint`] kills the daemon at an *effect* (a cordon, a release, a delete, a commit),
//!   before or after the effect acts. From then on every future of a port stays pending forever,
//!   and the ledger returns errors. The harness sees that the daemon's future is pending, drops it,
//!   calls [`World::revive`] and starts a new daemon.
//! - An [`Injection`] applies a fault right before the n-th port call, read or write. It tests
//!   races at every point.

use std::collections::BTreeMap;
use std::sync::Arc;

use trimtab_core::units::Span;
use trimtab_daemon::ports::{Ledger, LedgerDecorator, LedgerError};

use crate::faults::FaultKind;
pub use crate::faults::KillWhen;
use crate::log::{Call, WorldEvent};
use crate::world::{Inner, World};

/// Point at which the daemon is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KillPoint {
    /// Number of the effect in the run, counted from 1.
    pub effect: u64,
    /// Before the effect or after it.
    pub when: KillWhen,
}

/// A fault that is applied right before a port call.
#[derive(Debug, Clone, PartialEq)]
pub struct Injection {
    /// Number of the call in the run, counted from 1.
    pub call: u64,
    /// Fault to apply.
    pub action: FaultKind,
    /// Duration, for faults that hold for some time.
    pub lasts: Span,
}

/// State of the daemon at an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Goes,
    EndsAfterwards,
    IsOver,
}

/// Counters, and the kills and injections that wait for them.
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
    /// Counts a port call and applies its injections. Returns `false` if the daemon was killed.
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

    /// Counts an effect that is about to act, and kills the daemon if a kill is planned before it.
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

    /// Ends an effect that acted. Returns `false` if the daemon was killed.
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
    /// Plans a kill. A point that has passed has no effect.
    pub fn kill_at(&self, point: KillPoint) {
        self.lock().gauntlet.kill_at(point);
    }

    /// Plans an injection. A call that has passed has no effect.
    pub fn inject(&self, injection: Injection) {
        let mut inner = self.lock();
        inner.gauntlet.injections.entry(injection.call).or_default().push(injection);
    }

    /// Applies a fault now.
    pub fn act(&self, action: FaultKind, lasts: Span) {
        self.lock().begin_fault(action, lasts);
    }

    /// Returns the number of effects so far: cordons, releases, deletes and commits.
    pub fn effects(&self) -> u64 {
        self.lock().gauntlet.effects
    }

    /// Returns the number of port calls so far, reads and writes.
    pub fn calls(&self) -> u64 {
        self.lock().gauntlet.calls
    }

    /// Whether the daemon was killed and not started again.
    pub fn is_dead(&self) -> bool {
        self.lock().gauntlet.dead
    }

    /// Marks the daemon as started again: ports and ledger work. Counters are kept.
    pub fn revive(&self) {
        let mut inner = self.lock();
        if inner.gauntlet.dead {
            inner.gauntlet.dead = false;
            inner.write(WorldEvent::Revived);
        }
    }
}

/// A ledger that makes every commit an effect of the gauntlet. It wraps the durable ledger that
/// outlives the daemon; after a kill, wrap the same file again.
pub struct CrashingLedger<L: ?Sized> {
    world: World,
    ledger: Arc<L>,
}

impl<L: Ledger + ?Sized> CrashingLedger<L> {
    /// Wraps a ledger.
    pub fn new(world: World, ledger: Arc<L>) -> Self {
        Self { world, ledger }
    }

    fn dead(what: &'static str) -> LedgerError {
        LedgerError { path: "simulated".to_owned(), what, source: "the process was killed".into() }
    }
}

impl<L: Ledger + ?Sized> LedgerDecorator for CrashingLedger<L> {
    type Inner = L;

    fn inner(&self) -> &L {
        &self.ledger
    }

    fn reading<T>(
        &self,
        what: &'static str,
        read: impl FnOnce(&L) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        if self.world.lock().gauntlet.dead {
            return Err(Self::dead(what));
        }
        read(&self.ledger)
    }

    fn writing<T>(
        &self,
        what: &'static str,
        write: impl FnOnce(&L) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let life = {
            let mut inner = self.world.lock();
            let life = inner.begin_effect();
            if life == Life::IsOver {
                return Err(Self::dead(what));
            }
            if inner.faults.any(|kind| *kind == FaultKind::LedgerFails) {
                inner.end_effect(life);
                let source = "no space left on device".into();
                return Err(LedgerError { path: "simulated".to_owned(), what, source });
            }
            life
        };
        let done = write(&self.ledger);
        if self.world.lock().end_effect(life) { done } else { Err(Self::dead(what)) }
    }
}
