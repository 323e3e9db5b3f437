//! Runs a daemon in a simulated world. The daemon is polled by hand, so that it can be killed at
//! any point and started again from its ledger.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use trimtab_core::policy::ClusterPolicy;
use trimtab_core::units::Time;
use trimtab_daemon::driver::{Driver, Intent, TickError, TickReport};
use trimtab_daemon::ledger::{Durability, SqliteLedger};
use trimtab_daemon::ports::{Doorbell, Ledger, Ports, Ring};
use trimtab_simulator::World;
use trimtab_simulator::gauntlet::CrashingLedger;
use trimtab_simulator::ports::PortOptions;

/// Polls a future once. In a simulated world every future is ready at once, so `None` means that
/// the daemon was killed.
pub fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// How one run of the daemon ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The world ended, and the daemon shut down normally.
    Ended,
    /// The daemon was killed.
    Killed,
}

/// A world, a policy and a ledger file that outlives the daemon.
pub struct Life {
    pub world: World,
    /// Policy of the daemon.
    pub policy: ClusterPolicy,
    /// Options of the ports.
    pub options: PortOptions,
    /// Seed of the ledger id and of the random numbers.
    pub seed: u64,
    ledger: PathBuf,
}

impl Life {
    /// Creates a life with its ledger in this folder.
    pub fn new(world: World, policy: ClusterPolicy, folder: &Path, seed: u64) -> Self {
        let ledger = folder.join("trimtab.db");
        Self { world, policy, options: PortOptions::default(), seed, ledger }
    }

    /// Returns the path of the ledger file.
    pub fn ledger_path(&self) -> &Path {
        &self.ledger
    }

    /// Opens the ledger. It is not synced to disk, because a killed process loses no written data.
    ///
    /// # Panics
    /// If the ledger cannot be opened.
    pub fn open_ledger(&self) -> SqliteLedger {
        let durability = Durability::ProcessCrash;
        match SqliteLedger::open_seeded(&self.ledger, self.world.now(), durability, self.seed) {
            Ok(ledger) => ledger,
            Err(why) => panic!("{}: {why}", self.ledger.display()),
        }
    }

    /// Runs the daemon until it is killed or the world ends. Calls `after` with the report of every
    /// tick.
    pub fn run(&self, after: &mut dyn FnMut(Result<&TickReport, &TickError>)) -> Fate {
        let ledger = CrashingLedger::new(self.world.clone(), Arc::new(self.open_ledger()));
        self.run_with(self.world.ports(self.options.clone()), Arc::new(ledger), after)
    }

    /// As [`Life::run`], with ports and a ledger that the caller changed.
    pub fn run_with(
        &self,
        ports: Ports,
        ledger: Arc<dyn Ledger>,
        after: &mut dyn FnMut(Result<&TickReport, &TickError>),
    ) -> Fate {
        match poll_once(self.live(ports, ledger, after)) {
            // A killed ledger returns an error, and no daemon is left to handle it.
            Some(_) if self.world.is_dead() => Fate::Killed,
            Some(()) => Fate::Ended,
            None => Fate::Killed,
        }
    }

    async fn live(
        &self,
        ports: Ports,
        ledger: Arc<dyn Ledger>,
        after: &mut dyn FnMut(Result<&TickReport, &TickError>),
    ) {
        let Ok(mut driver) = Driver::start(ports, ledger, self.policy.clone()).await else {
            return;
        };
        let mut doorbell = self.world.doorbell(self.policy.timing.tick);
        loop {
            let ring = doorbell.next(driver.deadline()).await;
            if self.world.is_dead() {
                return;
            }
            if ring == Ring::Stop {
                break;
            }
            let report = driver.tick(ring, Intent::Act).await;
            if self.world.is_dead() {
                return;
            }
            after(report.as_ref());
        }
        // What cannot be written now is found at the next start.
        let _ = driver.shut_down().await;
    }

    /// Runs to the world's end and starts the daemon again after every kill. Returns the number of
    /// kills.
    pub fn run_on(&self, after: &mut dyn FnMut(Result<&TickReport, &TickError>)) -> u32 {
        let mut kills = 0;
        while self.run(after) == Fate::Killed {
            kills += 1;
            self.world.revive();
            if self.world.now() >= self.world.end() {
                break;
            }
        }
        kills
    }

    /// Returns the end of the world.
    pub fn end(&self) -> Time {
        self.world.end()
    }
}
