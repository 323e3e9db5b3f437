//! The loop: sleep, tick, sleep. One tick at a time; a ring that comes while a
//! tick runs is not kept.

use trimtab_core::units::Time;

use crate::driver::{Driver, Intent, TickReport};
use crate::ports::{Doorbell, LedgerError, Ring};

/// Called with every tick's report, or with what kept it from one.
pub trait Audience {
    /// A tick ended.
    fn ticked(&mut self, report: Result<&TickReport, &LedgerError>);
}

/// Runs until the doorbell says stop, then takes back what can be taken back.
///
/// A tick that fails is reported and the next one tries again: nothing was
/// done that is not in the ledger.
///
/// # Errors
/// When the ledger could not be written at the end.
pub async fn run(
    drivers: &mut [Driver],
    doorbell: &mut dyn Doorbell,
    audience: &mut dyn Audience,
) -> Result<(), LedgerError> {
    loop {
        let ring = doorbell.next(earliest(drivers)).await;
        if ring == Ring::Stop {
            break;
        }
        for driver in &mut *drivers {
            let report = driver.tick(ring, Intent::Act).await;
            audience.ticked(report.as_ref());
        }
    }
    let mut last = Ok(());
    for driver in drivers {
        last = last.and(driver.shut_down().await);
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
) -> Result<(), LedgerError> {
    let mut intent = Intent::Act;
    let mut ring = Ring::Schedule;
    loop {
        for driver in &mut *drivers {
            let report = driver.tick(ring, intent).await;
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
        last = last.and(driver.shut_down().await);
    }
    last
}

fn earliest(drivers: &[Driver]) -> Option<Time> {
    drivers.iter().filter_map(Driver::deadline).min()
}
