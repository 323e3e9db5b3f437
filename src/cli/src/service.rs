//! Notifications to systemd: readiness, status and the watchdog.
//!
//! ```text
//! start ─► configuration, ledger, lease ─► first tick of each cluster ─► READY
//! loop:    [wait ─ WATCHDOG …]  tick ─ STATUS, WATCHDOG  [wait ─ WATCHDOG …]
//! ```
//! The watchdog is pinged after every tick, and while the loop waits for a tick that is not
//! overdue. Only the loop pings it. A tick that hangs, a blocked thread, or a doorbell that never
//! rings therefore leads to a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use sd_notify::NotifyState;
use tokio::sync::watch;
use trimtab_core::action::End;
use trimtab_core::ids::{ClusterName, TickId};
use trimtab_core::plan::{KeepReason, Verdict};
use trimtab_core::units::{Span, Time};
use trimtab_daemon::driver::{TickError, TickReport};
use trimtab_daemon::ports::{Clock, Doorbell, Ring};
use trimtab_daemon::run::Audience;

use crate::clock::SystemClock;
use crate::log::{self, Log};
use crate::output::plain;

/// Extension of the start timeout after the first tick of a cluster, while other clusters are
/// still missing: the same time as WatchdogSec= of the unit.
const MORE_TIME_TO_START: Span = Span::mins(5);

/// How late a ring may be on a busy machine.
const RING_TOLERANCE: Span = Span::secs(30);

/// Pings per watchdog timeout. sd_watchdog_enabled(3) recommends two; with three, one ping may
/// be late on a busy machine.
const PINGS_PER_TIMEOUT: u32 = 3;

/// Longest STATUS= text, in characters: `systemctl status` shows one line.
const STATUS_LIMIT: usize = 400;

/// A notification to the service manager.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    /// READY=1: the start is complete.
    Ready,
    /// WATCHDOG=1.
    Alive,
    /// STATUS=: one line for operators.
    Status(String),
    /// EXTEND_TIMEOUT_USEC=: the start may take this much longer.
    MoreTime(Span),
    /// STOPPING=1.
    Stopping,
}

/// One cluster's last tick.
#[derive(Debug, Clone, PartialEq, Eq)]
struct LastTick {
    tick: TickId,
    at: Time,
    nodes: usize,
    open: usize,
    begun: usize,
    gone: usize,
    /// The reason for which every node is kept, if there is one.
    held: Option<String>,
}

impl LastTick {
    fn of(report: &TickReport) -> Self {
        let keep = |verdict: &Verdict| match verdict {
            Verdict::Keep(why) => Some(why.clone()),
            Verdict::Mark(_) | Verdict::Leaving { .. } | Verdict::Release(_) => None,
        };
        let held = report.plan.verdicts.iter().find_map(|word| keep(&word.verdict));
        let held = held.filter(holds_everything).map(|why| why.to_string());
        let frozen = report.plan.freeze.as_ref().map(|why| format!("frozen: {why}"));
        Self {
            tick: report.tick,
            at: report.snapshot.taken_at,
            nodes: report.plan.verdicts.len(),
            open: report.open,
            begun: report.begun.len(),
            gone: report.ended.iter().filter(|(_, end)| *end == End::Gone).count(),
            held: frozen.or(held),
        }
    }
}

/// Whether the reason applies to a whole cluster, not to one node or one group.
fn holds_everything(why: &KeepReason) -> bool {
    matches!(
        why,
        KeepReason::Stopped(_)
            | KeepReason::Frozen(_)
            | KeepReason::ClusterUnread
            | KeepReason::ListingLost(_)
            | KeepReason::WorkloadUnread(_)
            | KeepReason::ClusterNotReady(_)
            | KeepReason::SoftwareUpdate
            | KeepReason::RivalAutoscaler
    )
}

/// Decides which notification is due. Times are readings of the monotonic clock.
#[derive(Debug)]
struct Progress {
    /// Clusters whose first tick has not succeeded yet.
    awaited: BTreeSet<ClusterName>,
    ready: bool,
    last: BTreeMap<ClusterName, LastTick>,
    /// Error of the newest tick, if it failed.
    failed: Option<String>,
    /// When the newest tick ended, or when the loop started.
    idle_since: Span,
    /// Longest time that the doorbell may let the loop wait.
    longest_wait: Span,
}

impl Progress {
    fn new(clusters: impl IntoIterator<Item = ClusterName>, longest_wait: Span, now: Span) -> Self {
        Self {
            awaited: clusters.into_iter().collect(),
            ready: false,
            last: BTreeMap::new(),
            failed: None,
            idle_since: now,
            longest_wait,
        }
    }

    /// Returns the notifications after a tick. A failed tick also pings the watchdog: a restart
    /// does not repair a full disk, and it would lose the idle windows.
    fn ticked(&mut self, outcome: Result<(ClusterName, LastTick), String>, now: Span) -> Vec<Word> {
        self.idle_since = now;
        let mut words = vec![];
        match outcome {
            Ok((cluster, tick)) => {
                self.failed = None;
                let first = self.awaited.remove(&cluster);
                self.last.insert(cluster, tick);
                if first && !self.awaited.is_empty() {
                    words.push(Word::MoreTime(MORE_TIME_TO_START));
                }
            }
            Err(why) => self.failed = Some(why),
        }
        if self.awaited.is_empty() && !self.ready {
            self.ready = true;
            words.push(Word::Ready);
        }
        words.push(Word::Status(self.status()));
        words.push(Word::Alive);
        words
    }

    /// Returns the ping to send while the loop waits; `None` when a tick is overdue.
    fn waiting(&self, now: Span) -> Option<Word> {
        let overdue = now - self.idle_since > self.longest_wait + RING_TOLERANCE;
        (!overdue).then_some(Word::Alive)
    }

    /// Returns one line for operators. Line ends in names and errors are removed: systemd would
    /// read the next line as another notification.
    fn status(&self) -> String {
        let mut parts = vec![];
        if let Some(why) = &self.failed {
            parts.push(format!("last tick failed: {why}"));
        }
        if !self.awaited.is_empty() {
            let names: Vec<&str> = self.awaited.iter().map(ClusterName::as_str).collect();
            parts.push(format!("waiting for the first tick of {}", names.join(", ")));
        }
        parts.extend(self.last.iter().map(|(cluster, last)| {
            let LastTick { tick: _, at, nodes, open, begun, gone, held } = last;
            let mut text = format!("{cluster} at {at}: {nodes} nodes, {open} leaving");
            if *begun > 0 {
                text += &format!(", {begun} of them new");
            }
            if *gone > 0 {
                text += &format!(", {gone} deleted");
            }
            if let Some(why) = held {
                text += &format!(", all kept: {why}");
            }
            text
        }));
        let text = plain(&parts.join("; "));
        match text.char_indices().nth(STATUS_LIMIT) {
            None => text,
            Some((end, _)) => format!("{}…", &text[..end]),
        }
    }
}

/// Sends notifications to the service manager.
type Manager = Arc<dyn Fn(&[Word]) + Send + Sync>;

/// Sends the notifications of this process. Without a service manager they have no effect.
#[derive(Clone)]
pub(crate) struct Service {
    progress: Arc<Mutex<Progress>>,
    clock: Arc<SystemClock>,
    manager: Manager,
    /// Time between two pings while the loop waits; `None` without a watchdog.
    ping_every: Option<Duration>,
}

impl Service {
    /// Creates the service for these clusters. `longest_wait` is the longest time that the
    /// doorbell lets pass between two ticks.
    pub(crate) fn new(clusters: impl IntoIterator<Item = ClusterName>, longest_wait: Span) -> Self {
        let ping_every = sd_notify::watchdog_enabled().map(|time| time / PINGS_PER_TIMEOUT);
        Self::with(clusters, longest_wait, Arc::new(notify), ping_every)
    }

    fn with(
        clusters: impl IntoIterator<Item = ClusterName>,
        longest_wait: Span,
        manager: Manager,
        ping_every: Option<Duration>,
    ) -> Self {
        let clock = Arc::new(SystemClock::start());
        let progress = Progress::new(clusters, longest_wait, clock.monotonic());
        manager(&[Word::Status(progress.status())]);
        Self { progress: Arc::new(Mutex::new(progress)), clock, manager, ping_every }
    }

    /// Wraps the doorbell so that the watchdog is pinged during a wait. The first ring comes at
    /// once: readiness must not wait for the schedule.
    pub(crate) fn attend<D: Doorbell>(&self, doorbell: D) -> Attended<D> {
        Attended { doorbell, service: self.clone(), at_once: true }
    }

    /// Wraps the audience so that the service manager is notified after every tick.
    pub(crate) fn hear<'a>(&self, audience: &'a mut dyn Audience) -> Heard<'a> {
        Heard { audience, service: self.clone() }
    }

    /// Notifies the service manager when a stop is requested, even during a tick.
    pub(crate) fn follow_stop(&self, mut stop: watch::Receiver<bool>) {
        let manager = Arc::clone(&self.manager);
        tokio::spawn(async move {
            if stop.wait_for(|stopping| *stopping).await.is_ok() {
                let text = "stopping: releasing cordoned nodes without a delete request";
                manager(&[Word::Stopping, Word::Status(text.to_owned())]);
            }
        });
    }

    /// Handles SIGUSR1, which logs the last tick of every cluster, and SIGUSR2, which turns
    /// `debug` on and off.
    ///
    /// # Errors
    /// When a signal handler cannot be installed.
    pub(crate) fn follow_signals(&self, log: Log) -> anyhow::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut status = signal(SignalKind::user_defined1()).context("cannot handle SIGUSR1")?;
        let mut debug = signal(SignalKind::user_defined2()).context("cannot handle SIGUSR2")?;
        let service = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    Some(()) = status.recv() => service.tell_status(),
                    Some(()) = debug.recv() => log.toggle_debug(),
                    else => return,
                }
            }
        });
        Ok(())
    }

    fn tell_status(&self) {
        let progress = self.progress();
        let idle_for = self.clock.monotonic() - progress.idle_since;
        for cluster in &progress.awaited {
            tracing::info!(target: log::STATUS, %cluster, "no tick yet");
        }
        for (cluster, last) in &progress.last {
            tracing::info!(
                target: log::STATUS,
                %cluster,
                tick = last.tick.0,
                at = %last.at,
                nodes = last.nodes,
                open = last.open,
                begun = last.begun,
                gone = last.gone,
                held = last.held.as_deref(),
                "last tick"
            );
        }
        tracing::info!(
            target: log::STATUS,
            ready = progress.ready,
            last_tick_ended_ago = %idle_for,
            failed = progress.failed.as_deref(),
            "status"
        );
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        // A panic cannot leave this data half-written.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A doorbell that pings the watchdog during a wait.
pub(crate) struct Attended<D> {
    doorbell: D,
    service: Service,
    at_once: bool,
}

#[async_trait]
impl<D: Doorbell> Doorbell for Attended<D> {
    async fn next(&mut self, deadline: Option<Time>) -> Ring {
        if std::mem::take(&mut self.at_once) {
            return Ring::Schedule;
        }
        let Some(every) = self.service.ping_every else {
            return self.doorbell.next(deadline).await;
        };
        // One wait for the whole ring: a ping must not restart it.
        let mut ring = self.doorbell.next(deadline);
        loop {
            tokio::select! {
                biased;
                ring = &mut ring => return ring,
                () = tokio::time::sleep(every) => {
                    let now = self.service.clock.monotonic();
                    let word = self.service.progress().waiting(now);
                    match word {
                        Some(word) => (self.service.manager)(&[word]),
                        None => tracing::error!("tick overdue; the watchdog is not pinged"),
                    }
                }
            }
        }
    }
}

/// An audience that also notifies the service manager.
pub(crate) struct Heard<'a> {
    audience: &'a mut dyn Audience,
    service: Service,
}

impl Audience for Heard<'_> {
    fn ticked(&mut self, report: Result<&TickReport, &TickError>) {
        self.audience.ticked(report);
        let outcome = match report {
            Ok(report) => Ok((report.plan.cluster.clone(), LastTick::of(report))),
            Err(why) => Err(why.to_string()),
        };
        let now = self.service.clock.monotonic();
        let words = self.service.progress().ticked(outcome, now);
        (self.service.manager)(&words);
    }
}

/// Sends notifications to systemd if systemd started this process.
fn notify(words: &[Word]) {
    let states: Vec<NotifyState<'_>> = words
        .iter()
        .map(|word| match word {
            Word::Ready => NotifyState::Ready,
            Word::Alive => NotifyState::Watchdog,
            Word::Status(text) => NotifyState::Status(text),
            Word::MoreTime(span) => {
                let micros = u32::try_from(span.0.saturating_mul(1000)).unwrap_or(u32::MAX);
                NotifyState::ExtendTimeoutUsec(micros)
            }
            Word::Stopping => NotifyState::Stopping,
        })
        .collect();
    if let Err(why) = sd_notify::notify(&states) {
        tracing::warn!(%why, "notification to the service manager failed");
    }
}

#[cfg(all(test, feature = "simulator"))]
mod tests {
    use std::path::Path;

    use trimtab_config::Mode;
    use trimtab_daemon::run;
    use trimtab_simulator::gauntlet::{KillPoint, KillWhen};

    use super::*;
    use crate::args::Target;
    use crate::wiring::{Keep, Wired};

    fn cluster(name: &str) -> ClusterName {
        name.parse().expect("a name")
    }

    fn last_tick() -> LastTick {
        let (tick, at) = (TickId(7), Time(0));
        LastTick { tick, at, nodes: 12, open: 3, begun: 2, gone: 1, held: None }
    }

    fn is_ready(words: &[Word]) -> bool {
        words.contains(&Word::Ready)
    }

    #[test]
    fn readiness_waits_for_the_first_tick_of_every_cluster_and_is_said_once() {
        let both = [cluster("one"), cluster("two")];
        let mut progress = Progress::new(both, Span::mins(6), Span::ZERO);
        assert!(progress.status().contains("waiting for the first tick of one, two"));
        let tick = |name| Ok((cluster(name), last_tick()));
        let first = progress.ticked(tick("one"), Span::secs(1));
        assert!(!is_ready(&first));
        assert!(first.contains(&Word::MoreTime(MORE_TIME_TO_START)));
        // Only the first tick of a cluster extends the timeout: a start without progress fails.
        let again = progress.ticked(tick("one"), Span::secs(2));
        assert!(!again.contains(&Word::MoreTime(MORE_TIME_TO_START)));
        let failed = progress.ticked(Err("disk full".to_owned()), Span::secs(3));
        assert!(!is_ready(&failed));
        assert!(progress.status().contains("disk full"));
        let last = progress.ticked(tick("two"), Span::secs(4));
        assert!(is_ready(&last) && !progress.status().contains("disk full"));
        assert!(!is_ready(&progress.ticked(tick("two"), Span::secs(5))));
    }

    #[test]
    fn waiting_feeds_the_watchdog_only_while_no_tick_is_overdue() {
        let mut progress = Progress::new([cluster("one")], Span::mins(6), Span::ZERO);
        let latest = Span::mins(6) + RING_TOLERANCE;
        assert_eq!(progress.waiting(Span::secs(1)), Some(Word::Alive));
        assert_eq!(progress.waiting(latest), Some(Word::Alive));
        assert_eq!(progress.waiting(latest + Span::millis(1)), None);
        let ended = latest + Span::secs(5);
        let words = progress.ticked(Err("no space".to_owned()), ended);
        assert!(words.contains(&Word::Alive));
        assert_eq!(progress.waiting(ended + latest), Some(Word::Alive));
        assert_eq!(progress.waiting(ended + latest + Span::millis(1)), None);
    }

    #[test]
    fn a_status_is_one_short_line_whatever_it_is_made_of() {
        let mut progress = Progress::new([cluster("one")], Span::mins(6), Span::ZERO);
        let held = Some(format!("paused: {}\nMAINPID=1\u{1b}[2J", "audit ".repeat(100)));
        progress.ticked(Ok((cluster("one"), LastTick { held, ..last_tick() })), Span::ZERO);
        let status = progress.status();
        assert!(!status.contains(char::is_control), "{status:?}");
        assert_eq!(status.chars().count(), STATUS_LIMIT + 1);
        assert!(
            status.starts_with(
                "one at 1970-01-01T00:00:00Z: 12 nodes, 3 leaving, 2 of them new, \
                 1 deleted, all kept: paused: audit"
            ),
            "{status}"
        );
    }

    /// The notifications that the service manager received.
    #[derive(Clone, Default)]
    struct Ear(Arc<Mutex<Vec<Word>>>);

    impl Ear {
        fn manager(&self) -> Manager {
            let ear = self.clone();
            Arc::new(move |words: &[Word]| {
                ear.0.lock().expect("not poisoned").extend_from_slice(words);
            })
        }

        fn pings(&self) -> usize {
            let heard = self.0.lock().expect("not poisoned");
            heard.iter().filter(|word| **word == Word::Alive).count()
        }

        fn heard(&self, word: &Word) -> bool {
            self.0.lock().expect("not poisoned").contains(word)
        }
    }

    /// A doorbell that rings after this many pings; the last ring is a stop.
    struct AfterPings {
        ear: Ear,
        pings: usize,
        then: Vec<Ring>,
    }

    #[async_trait]
    impl Doorbell for AfterPings {
        async fn next(&mut self, _: Option<Time>) -> Ring {
            let before = self.ear.pings();
            while self.ear.pings() < before + self.pings {
                tokio::task::yield_now().await;
            }
            self.then.pop().unwrap_or(Ring::Stop)
        }
    }

    struct Nobody;

    impl Audience for Nobody {
        fn ticked(&mut self, _: Result<&TickReport, &TickError>) {}
    }

    async fn wired(folder: &Path) -> Wired {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let target = Target {
            config: root.join("config/simulated/trimtab.toml"),
            world: Some(root.join("config/simulated/world.toml")),
            state: Some(folder.join("trimtab.db")),
        };
        Wired::new(&target).await.expect("the example is good")
    }

    const OFTEN: Duration = Duration::from_millis(1);

    #[tokio::test]
    async fn a_loop_that_waits_and_ticks_feeds_the_watchdog() {
        let folder = tempfile::tempdir().expect("a folder");
        let wired = wired(folder.path()).await;
        let mut drivers = wired.drivers(Mode::Observe, Keep::Ledger).await.expect("a driver");
        let ear = Ear::default();
        let clusters = [cluster("simulated")];
        let service = Service::with(clusters, Span::mins(6), ear.manager(), Some(OFTEN));
        let bell = AfterPings { ear: ear.clone(), pings: 3, then: vec![Ring::Schedule] };
        let mut doorbell = service.attend(bell);
        let mut nobody = Nobody;
        let mut audience = service.hear(&mut nobody);
        run::run(&mut drivers, &mut doorbell, &mut audience).await.expect("it ends");
        // Two ticks, the first at once, and two waits of three pings.
        assert_eq!(ear.pings(), 2 + 2 * 3);
        assert!(ear.heard(&Word::Ready));
    }

    #[tokio::test]
    async fn a_tick_that_hangs_starves_the_watchdog() {
        let folder = tempfile::tempdir().expect("a folder");
        let wired = wired(folder.path()).await;
        let mut drivers = wired.drivers(Mode::Enforce, Keep::Ledger).await.expect("a driver");
        let ear = Ear::default();
        let clusters = [cluster("simulated")];
        let service = Service::with(clusters, Span::mins(6), ear.manager(), Some(OFTEN));
        let bell = AfterPings { ear: ear.clone(), pings: 3, then: vec![Ring::Schedule; 1000] };
        let mut doorbell = service.attend(bell);
        let mut nobody = Nobody;
        let mut audience = service.hear(&mut nobody);
        // At its first effect the world stops answering: from then on every call to it hangs.
        let effect = wired.world().effects() + 1;
        wired.world().kill_at(KillPoint { effect, when: KillWhen::Before });
        let world = wired.world().clone();
        let mut bell = Moving { doorbell: &mut doorbell, world: world.clone() };
        let drivers = &mut drivers;
        let mut running = std::pin::pin!(run::run(drivers, &mut bell, &mut audience));
        while !world.is_dead() {
            tokio::select! {
                biased;
                _ = &mut running => panic!("the loop ended"),
                () = tokio::task::yield_now() => {}
            }
        }
        let before = ear.pings();
        let long = OFTEN * 100;
        assert!(tokio::time::timeout(long, running).await.is_err(), "the tick hangs");
        assert_eq!(ear.pings(), before);
    }

    /// Advances the world before each ring.
    struct Moving<'a, D> {
        doorbell: &'a mut D,
        world: trimtab_simulator::World,
    }

    #[async_trait]
    impl<D: Doorbell> Doorbell for Moving<'_, D> {
        async fn next(&mut self, deadline: Option<Time>) -> Ring {
            let ring = self.doorbell.next(deadline).await;
            self.world.advance_by(Span::mins(2));
            ring
        }
    }

    #[tokio::test]
    async fn stopping_is_said_when_the_stop_is_asked_for() {
        let ear = Ear::default();
        let service = Service::with([], Span::mins(6), ear.manager(), None);
        let (stop, stopped) = watch::channel(false);
        service.follow_stop(stopped);
        tokio::task::yield_now().await;
        assert!(!ear.heard(&Word::Stopping));
        stop.send(true).expect("the service follows it");
        while !ear.heard(&Word::Stopping) {
            tokio::task::yield_now().await;
        }
    }
}
