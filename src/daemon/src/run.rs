//! The loop around the drivers: sleep, tick, sleep. One tick runs at a time. A ring
//! during a tick is dropped.

use futures_util::StreamExt as _;
use trimtab_core::units::Time;

use crate::driver::{Driver, Intent, TickError, TickReport};
use crate::ports::{Doorbell, Ring};

/// Number of clusters that tick at the same time. Each needs a few connections and memory
/// for at most one page of nodes.
const TICKS_AT_ONCE: usize = 8;

/// Receives the result of every tick.
pub trait Audience {
    /// Called at the end of a tick, with its report or its error.
    fn ticked(&mut self, report: Result<&TickReport, &TickError>);
}

/// Runs until the doorbell returns [`Ring::Stop`], then releases all nodes that can be
/// released.
///
/// After a failed tick, the next tick tries again. This is safe because nothing is done
/// before it is in the ledger.
///
/// # Errors
/// When the lease is lost, or the ledger cannot be written at the end.
pub async fn run(
    drivers: &mut [Driver],
    doorbell: &mut dyn Doorbell,
    audience: &mut dyn Audience,
) -> Result<(), TickError> {
    loop {
        let ring = doorbell.next(earliest(drivers)).await;
        if ring == Ring::Stop {
            break;
        }
        for report in tick_all(drivers, ring, Intent::Act).await {
            audience.ticked(report.as_ref());
            // Another process may have written to the ledger, so the memory may be out of
            // date. Only a restart reads the ledger again.
            if let Err(lost @ TickError::NoLease { .. }) = report {
                return Err(lost);
            }
        }
    }
    let mut last = Ok(());
    for driver in drivers {
        last = last.and(driver.shut_down().await.map_err(TickError::from));
    }
    last
}

/// Plans once, then follows all open actions to their end.
///
/// # Errors
/// When a tick fails, or the ledger cannot be written at the end.
pub async fn run_once(
    drivers: &mut [Driver],
    doorbell: &mut dyn Doorbell,
    audience: &mut dyn Audience,
) -> Result<(), TickError> {
    let mut intent = Intent::Act;
    let mut ring = Ring::Schedule;
    loop {
        for report in tick_all(drivers, ring, intent).await {
            audience.ticked(report.as_ref());
            report?;
        }
        if drivers.iter().all(|driver| driver.history().actions.is_empty()) {
            return Ok(());
        }
        intent = Intent::FollowOnly;
        ring = doorbell.next(earliest(drivers)).await;
        if ring == Ring::Stop {
            break;
        }
    }
    let mut last = Ok(());
    for driver in drivers {
        last = last.and(driver.shut_down().await.map_err(TickError::from));
    }
    last
}

/// Runs one tick of each driver, several at the same time, and returns the results in the
/// order of the drivers. A slow cluster occupies one place and does not block the others.
pub async fn tick_all(
    drivers: &mut [Driver],
    ring: Ring,
    intent: Intent,
) -> Vec<Result<TickReport, TickError>> {
    let mut ticks = vec![];
    for driver in drivers {
        ticks.push(driver.tick(ring, intent));
    }
    futures_util::stream::iter(ticks).buffered(TICKS_AT_ONCE).collect().await
}

/// Returns the earliest future deadline of all clusters.
pub fn earliest(drivers: &[Driver]) -> Option<Time> {
    drivers.iter().filter_map(Driver::deadline).min()
}
