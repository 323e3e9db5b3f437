//! What the loop sleeps on, by where the clusters are.
//!
//! A simulated world in lock-step moves only while the loop sleeps, and its sleep takes no
//! time. Everything else goes by the clock on the wall: the cron schedule, deadlines, and
//! a backstop should the schedule die.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use trimtab_core::units::{Span, Time};
use trimtab_daemon::ports::{Clock, Doorbell, Ring};

use crate::clock::{CronDoorbell, SystemClock};
use crate::hooks::Hearing;
use crate::simulated::{self, WorldClient};
use crate::wiring::{Endpoint, Wired};

/// How many ticks may be missed before the backstop rings.
const BACKSTOP_TICKS: i64 = 3;
/// The shortest sleep: a deadline that is over does not make the loop spin.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);
/// The longest, whatever a world's clock says.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

impl Wired {
    /// Whether time is had for nothing: it moves only while somebody sleeps.
    pub(crate) fn is_lock_step(&self) -> bool {
        match &self.place {
            Endpoint::World(_) => true,
            Endpoint::Remote(remote) => remote.is_lock_step(),
        }
    }

    /// What to sleep on.
    ///
    /// # Errors
    /// When the schedule cannot be started.
    pub(crate) async fn doorbell(
        &self,
        stop: watch::Receiver<bool>,
    ) -> anyhow::Result<Box<dyn Doorbell>> {
        let heard = stop.clone();
        let bell: Box<dyn Doorbell> = match &self.place {
            Endpoint::World(world) => {
                Box::new(Stoppable { bell: world.doorbell(self.tick()), stop })
            }
            Endpoint::Remote(remote) => match remote.world() {
                Some(world) if world.is_in_lock_step() => {
                    Box::new(Stoppable { bell: world.doorbell(self.tick()), stop })
                }
                // Only the offset of its clock is its own.
                Some(world) if world.speed() == 1.0 => {
                    Box::new(self.cron(stop, simulated::clock(world)).await?)
                }
                Some(world) => Box::new(Paced { world: world.clone(), every: self.tick(), stop }),
                None => Box::new(self.cron(stop, Arc::new(SystemClock::start())).await?),
            },
        };
        Ok(self.hearing(bell, heard, self.is_lock_step()))
    }

    /// The same that also hears the end of a program that was asked.
    fn hearing(
        &self,
        bell: Box<dyn Doorbell>,
        stop: watch::Receiver<bool>,
        holds_time: bool,
    ) -> Box<dyn Doorbell> {
        Box::new(Hearing { bell, errands: Arc::clone(&self.errands), stop, holds_time })
    }

    /// The same for a world in this process that moves with the clock on the wall.
    ///
    /// # Errors
    /// When the schedule cannot be started.
    pub(crate) async fn real_time_doorbell(
        &self,
        stop: watch::Receiver<bool>,
    ) -> anyhow::Result<Box<dyn Doorbell>> {
        match &self.place {
            Endpoint::World(world) => {
                let cron = self.cron(stop.clone(), Arc::new(SystemClock::start())).await?;
                Ok(self.hearing(simulated::in_real_time(world, cron), stop, false))
            }
            Endpoint::Remote(_) => self.doorbell(stop).await,
        }
    }

    /// The longest that the loop sleeps.
    pub(crate) fn backstop(&self) -> Span {
        self.tick().times(BACKSTOP_TICKS)
    }

    async fn cron(
        &self,
        stop: watch::Receiver<bool>,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<CronDoorbell> {
        CronDoorbell::start(self.settings.schedule.text(), self.backstop(), stop, clock).await
    }
}

/// A doorbell whose sleep takes no time, and that also hears a stop.
struct Stoppable<D> {
    bell: D,
    stop: watch::Receiver<bool>,
}

#[async_trait]
impl<D: Doorbell> Doorbell for Stoppable<D> {
    async fn next(&mut self, deadline: Option<Time>) -> Ring {
        // A signal is heard between two sleeps.
        tokio::task::yield_now().await;
        if *self.stop.borrow() { Ring::Stop } else { self.bell.next(deadline).await }
    }
}

/// A world elsewhere whose time goes by itself, some times as fast as on the wall.
struct Paced {
    world: WorldClient,
    every: Span,
    stop: watch::Receiver<bool>,
}

#[async_trait]
impl Doorbell for Paced {
    async fn next(&mut self, deadline: Option<Time>) -> Ring {
        if *self.stop.borrow() {
            return Ring::Stop;
        }
        // A reading that fails leaves the clock as it was reckoned.
        let _ = self.world.read_clock().await;
        let now = self.world.now();
        let every = self.every.0.max(1);
        let schedule = Time((now.0.div_euclid(every) + 1) * every);
        let (at, ring) = match deadline {
            Some(at) if at < schedule => (at, Ring::Deadline),
            Some(_) | None => (schedule, Ring::Schedule),
        };
        let wait = at.since(now).0.max(0) as f64 / 1000.0 / self.world.speed();
        let wait = Duration::try_from_secs_f64(wait).unwrap_or(LONGEST_WAIT);
        tokio::select! {
            biased;
            _ = self.stop.changed() => Ring::Stop,
            () = tokio::time::sleep(wait.clamp(SHORTEST_WAIT, LONGEST_WAIT)) => ring,
        }
    }
}
