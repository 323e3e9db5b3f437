//! The clocks of this machine, and the doorbell that follows them.
//!
//! No other crate of the daemon reads a clock or sleeps.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use async_trait::async_trait;
use tokio::sync::{mpsc, watch};
use tokio_cron_scheduler::{Job, JobScheduler};
use trimtab_core::units::{Span, Time};
use trimtab_daemon::ports::{Clock, Doorbell, Ring};

/// The wall clock and the monotonic clock of this machine.
#[derive(Debug)]
pub(crate) struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// Returns a clock whose monotonic reading starts at zero.
    pub(crate) fn start() -> Self {
        Self { started: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Time {
        // A wall clock before 1970 reads as 1970.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Time(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> Span {
        Span(i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX))
    }
}

/// Rings on a cron schedule, at deadlines, and at a backstop interval in case the scheduler stops.
///
/// `tokio-cron-scheduler` only posts rings to a channel with a capacity of one, so rings neither
/// queue nor overlap. If the scheduler stops firing, ticks continue at the backstop interval.
pub(crate) struct CronDoorbell {
    /// Clock of the deadlines; it runs at the speed of the wall clock.
    clock: Arc<dyn Clock>,
    backstop: Span,
    rings: mpsc::Receiver<()>,
    stop: watch::Receiver<bool>,
    // Dropping it ends the schedule.
    _scheduler: JobScheduler,
}

impl CronDoorbell {
    /// Starts a doorbell for a six-field cron schedule in UTC. `backstop` is the longest sleep;
    /// deadlines are times of `clock`.
    ///
    /// # Errors
    /// When the schedule cannot be parsed or the scheduler cannot start.
    pub(crate) async fn start(
        schedule: &str,
        backstop: Span,
        stop: watch::Receiver<bool>,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let (ring, rings) = mpsc::channel(1);
        let scheduler = JobScheduler::new().await.context("cannot start the cron scheduler")?;
        let job = Job::new_async(schedule, move |_, _| {
            let ring = ring.clone();
            Box::pin(async move {
                // A full channel already contains a ring.
                let _ = ring.try_send(());
            })
        });
        let job = job.with_context(|| format!("invalid schedule `{schedule}`"))?;
        scheduler.add(job).await.context("cannot add the schedule")?;
        scheduler.start().await.context("cannot start the cron scheduler")?;
        Ok(Self { clock, backstop, rings, stop, _scheduler: scheduler })
    }
}

#[async_trait]
impl Doorbell for CronDoorbell {
    async fn next(&mut self, deadline: Option<Time>) -> Ring {
        if *self.stop.borrow() {
            return Ring::Stop;
        }
        let until_deadline = deadline.map_or(self.backstop, |at| at.since(self.clock.now()));
        let (wait, ring) = if until_deadline < self.backstop {
            (until_deadline, Ring::Deadline)
        } else {
            (self.backstop, Ring::Backstop)
        };
        let wait = std::time::Duration::from_millis(wait.0.max(0).unsigned_abs());
        tokio::select! {
            biased;
            _ = self.stop.changed() => Ring::Stop,
            Some(()) = self.rings.recv() => Ring::Schedule,
            () = tokio::time::sleep(wait) => ring,
        }
    }
}

/// Turns the first SIGTERM or SIGINT into an orderly stop; the second one ends
/// the process at once.
///
/// # Errors
/// When a signal handler cannot be installed.
pub(crate) fn stop_on_signals() -> anyhow::Result<watch::Receiver<bool>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        for already in [false, true] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if already {
                std::process::exit(130);
            }
            tracing::info!("stopping: releasing cordoned nodes without a delete request");
            let _ = stop.send(true);
        }
    });
    Ok(stopped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wall() -> Arc<dyn Clock> {
        Arc::new(SystemClock::start())
    }

    /// Some releases of the scheduler crate never fire repeated jobs again after a stall; cron
    /// jobs must.
    #[tokio::test]
    async fn a_schedule_still_rings_after_a_stall() {
        let (_keep, stop) = watch::channel(false);
        let every_second = "* * * * * *";
        let mut doorbell = CronDoorbell::start(every_second, Span::secs(30), stop, wall())
            .await
            .expect("a valid schedule");
        assert_eq!(doorbell.next(None).await, Ring::Schedule);
        std::thread::sleep(std::time::Duration::from_secs(3));
        assert_eq!(doorbell.next(None).await, Ring::Schedule);
        assert_eq!(doorbell.next(None).await, Ring::Schedule);
    }

    #[tokio::test]
    async fn deadlines_backstop_and_stop_ring_without_the_schedule() {
        let (send_stop, stop) = watch::channel(false);
        let never = "0 0 0 1 1 *";
        let mut doorbell = CronDoorbell::start(never, Span::millis(200), stop, wall())
            .await
            .expect("a valid schedule");
        let soon = SystemClock::start().now() + Span::millis(20);
        assert_eq!(doorbell.next(Some(soon)).await, Ring::Deadline);
        assert_eq!(doorbell.next(None).await, Ring::Backstop);
        send_stop.send(true).expect("the doorbell listens");
        assert_eq!(doorbell.next(None).await, Ring::Stop);
        assert_eq!(doorbell.next(None).await, Ring::Stop);
    }

    #[tokio::test]
    async fn a_schedule_that_makes_no_sense_is_an_error() {
        let (_keep, stop) = watch::channel(false);
        let outcome = CronDoorbell::start("every day", Span::secs(1), stop, wall()).await;
        assert!(outcome.is_err_and(|e| e.to_string().contains("every day")));
    }
}
