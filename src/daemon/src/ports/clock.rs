//! Time: the clocks, and the doorbell that the loop sleeps on.

use async_trait::async_trait;
use trimtab_core::units::{Span, Time};

/// The two clocks of a machine.
pub trait Clock: Send + Sync {
    /// The wall clock: for windows, stamps and the ledger.
    fn now(&self) -> Time;

    /// A clock that never steps: for durations only.
    fn monotonic(&self) -> Span;
}

/// Why the loop woke up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ring {
    /// The schedule says so.
    Schedule,
    /// An open action's deadline has come.
    Deadline,
    /// Neither rang for too long.
    Backstop,
    /// The program is to stop.
    Stop,
}

/// What the loop sleeps on.
#[async_trait]
pub trait Doorbell: Send {
    /// Sleeps until the schedule, this deadline or a stop.
    async fn next(&mut self, deadline: Option<Time>) -> Ring;
}

#[async_trait]
impl<D: Doorbell + ?Sized> Doorbell for Box<D> {
    async fn next(&mut self, deadline: Option<Time>) -> Ring {
        (**self).next(deadline).await
    }
}
