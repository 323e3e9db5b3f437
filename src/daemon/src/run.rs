//! The loop: sleep, tick, sleep. One tick at a time; a ring that comes while a
//! tick runs is not kept.

use futures_util::StreamExt as _;
use trimtab_core::units::Time;

use crate::driver::{Driver, Intent, TickError, TickReport};
use crate::ports::{Doorbell, Ring};

/// Clusters that are read at the same time: each holds a handful of connections and at
/// most one page of nodes.
const TICKS_AT_ONCE: usize = 8;

/// Called with every tick's report, or with what kept it from one.
pub trait Audience {
    /// A tick ended.
    fn ticked(&mut self, report: Result<&TickReport, &TickError>);
}

/// Runs until the doorbell says stop, then releases what can be released.
///
/// A tick that fails is reported and the next one tries again: nothing was
/// done that is not in the ledger.
///
/// # Errors
/// When the lease is lost, or the ledger could not be written at the end.
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
            // Somebody else may have written to the ledger by now: what is in
            // memory is no longer what is true. A new start reads it anew.
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

/// Plans once, then follows the actions it began to their end.
///
/// # Errors
/// When a tick could not be written to the ledger.
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

/// One tick of each, some at the same time, their reports in the drivers' order. A
/// cluster that is slow costs the others nothing but their place.
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

/// The earliest deadline of all clusters that lies ahead.
pub fn earliest(drivers: &[Driver]) -> Option<Time> {
    drivers.iter().filter_map(Driver::deadline).min()
}
