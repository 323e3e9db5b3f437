//! The clocks, and the doorbell that the loop waits on.

use async_trait::async_trait;
use trimtab_core::units::{Span, Time};

/// The two clocks of a machine.
pub trait Clock: Send + Sync {
    /// The wall clock, for windows, timestamps and the ledger.
    fn now(&self) -> Time;

    /// A clock that never steps, for durations only.
    fn monotonic(&self) -> Span;
}

/// Why the loop woke up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ring {
    /// A scheduled tick is due.
    Schedule,
    /// The deadline of an open action has passed.
    Deadline,
    /// There was no tick for too long.
    Backstop,
    /// The program must stop.
    Stop,
}

/// Wakes the loop.
#[async_trait]
pub trait Doorbell: Send {
    /// Waits for the next scheduled tick, this deadline or a stop.
    async fn next(&mut self, deadline: Option<Time>) -> Ring;
}

#[async_trait]
impl<D: Doorbell + ?Sized> Doorbell for Box<D> {
    async fn next(&mut self, deadline: Option<Time>) -> Ring {
        (**self).next(deadline).await
    }
}
