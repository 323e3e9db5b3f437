//! The daemon's doorbell in a simulated world.

use async_trait::async_trait;
use trimtab_core::units::{Span, Time};
use trimtab_daemon::ports::{Doorbell, Ring};

use crate::faults::FaultKind;
use crate::ports::alive;
use crate::world::World;

/// Shortest sleep. It keeps time moving when a deadline has already passed.
const SHORTEST_SLEEP: Span = Span::secs(1);

impl World {
    /// Returns a doorbell that rings every `every`, counted from the start of the world, and rings
    /// to stop at its end.
    pub fn doorbell(&self, every: Span) -> SimDoorbell {
        SimDoorbell { world: self.clone(), every: every.max(SHORTEST_SLEEP) }
    }
}

/// The doorbell that the daemon sleeps on. The world moves on during a sleep.
pub struct SimDoorbell {
    world: World,
    every: Span,
}

#[async_trait]
impl Doorbell for SimDoorbell {
    async fn next(&mut self, deadline: Option<Time>) -> Ring {
        let ring = self.sleep(deadline);
        alive(ring).await
    }
}

impl SimDoorbell {
    /// As [`Doorbell::next`], without a future. Returns `None` after the daemon was killed.
    pub fn sleep(&mut self, deadline: Option<Time>) -> Option<Ring> {
        let mut inner = self.world.lock();
        if inner.gauntlet.is_dead() {
            return None;
        }
        let end = inner.spec.end();
        let slept = inner.now.since(inner.spec.start).0.div_euclid(self.every.0);
        let schedule = inner.spec.start + self.every.times(slept + 1);
        // The deadline is a time of the daemon's clock, which may be wrong.
        let deadline = deadline.map(|at| {
            let true_time = at - inner.daemon.clock_offset;
            true_time.max(inner.now + SHORTEST_SLEEP)
        });
        let (to, ring) = match deadline {
            Some(at) if at < schedule => (at, Ring::Deadline),
            Some(_) | None => (schedule, Ring::Schedule),
        };
        inner.advance_to(to.min(end));
        // A suspended machine does not wake up.
        while let Some(until) = inner.faults.until(|kind| *kind == FaultKind::Suspended) {
            let until = until.min(end).max(inner.now);
            inner.advance_to(until);
            if inner.now >= end {
                break;
            }
        }
        Some(if inner.now >= end { Ring::Stop } else { ring })
    }
}
