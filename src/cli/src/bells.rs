//! Doorbells for real and simulated clusters.
//!
//! In lock-step, simulated time moves only while the loop sleeps, and the sleep takes no real
//! time. All other clusters follow the wall clock: the cron schedule, deadlines, and a backstop in
//! case the scheduler stops.

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

/// Number of ticks without a ring after which the backstop rings.
const BACKSTOP_TICKS: i64 = 3;
/// Shortest sleep: prevents a busy loop at a deadline in the past.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);
/// Longest sleep, for any clock of a world.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

impl Wired {
    /// Whether simulated time moves only while the loop sleeps, so that waiting takes no real time.
    pub(crate) fn is_lock_step(&self) -> bool {
        match &self.place {
            Endpoint::World(_) => true,
            Endpoint::Remote(remote) => remote.is_lock_step(),
        }
    }

    /// Returns the doorbell of the loop.
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
                // Its clock differs from the wall clock only by an offset.
                Some(world) if world.speed() == 1.0 => {
                    Box::new(self.cron(stop, simulated::clock(world)).await?)
                }
                Some(world) => Box::new(Paced { world: world.clone(), every: self.tick(), stop }),
                None => Box::new(self.cron(stop, Arc::new(SystemClock::start())).await?),
            },
        };
        Ok(self.hearing(bell, heard, self.is_lock_step()))
    }

    /// Wraps a doorbell so that it also rings when a hook ends.
    fn hearing(
        &self,
        bell: Box<dyn Doorbell>,
        stop: watch::Receiver<bool>,
        holds_time: bool,
    ) -> Box<dyn Doorbell> {
        Box::new(Hearing { bell, errands: Arc::clone(&self.errands), stop, holds_time })
    }

    /// Returns the doorbell for real time: a world in this process follows the wall clock.
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

    /// Longest sleep of the loop.
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

/// A doorbell whose sleep takes no real time, with a check for a stop before each sleep.
struct Stoppable<D> {
    bell: D,
    stop: watch::Receiver<bool>,
}

#[async_trait]
impl<D: Doorbell> Doorbell for Stoppable<D> {
    async fn next(&mut self, deadline: Option<Time>) -> Ring {
        // Lets the signal task run between two sleeps.
        tokio::task::yield_now().await;
        if *self.stop.borrow() { Ring::Stop } else { self.bell.next(deadline).await }
    }
}

/// Doorbell of a world behind an endpoint whose time runs at another speed than real time.
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
        // If the reading fails, the extrapolated clock is used.
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
