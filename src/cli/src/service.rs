//! What the service manager is told, and when: readiness, status, the watchdog.
//!
//! ```text
//! start ─► configuration, ledger, lease ─► first tick of each cluster ─► READY
//! loop:    [wait ─ WATCHDOG …]  tick ─ STATUS, WATCHDOG  [wait ─ WATCHDOG …]
//! ```
//! The watchdog is fed by progress alone: by a tick that ended, and from inside the
//! loop's own wait while no tick is overdue. There is no task that feeds it beside
//! the loop, so a tick that hangs, a blocked thread and a doorbell that never rings
//! all starve it.

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

/// How much more time the start gets when another cluster's first tick is through:
/// what the unit's WatchdogSec= gives a tick later on.
const MORE_TIME_TO_START: Span = Span::mins(5);

/// How late a ring may be: the doorbell and a busy machine are not exact.
const RING_TOLERANCE: Span = Span::secs(30);

/// Pings in one watchdog time. Two are what sd_watchdog_enabled(3) recommends; one
/// more lets one come late on a machine under load.
const PINGS_PER_TIMEOUT: u32 = 3;

/// Longest STATUS= text, in characters: `systemctl status` shows one line.
const STATUS_LIMIT: usize = 400;

/// Something to tell the service manager.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    /// The start is over.
    Ready,
    /// The loop goes on.
    Alive,
    /// How things stand, for people.
    Status(String),
    /// The start goes on and may take so much longer.
    MoreTime(Span),
    /// The end has begun.
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
    /// What keeps every node of it, if one thing does.
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

/// Whether this keeps a whole cluster, not one node or one group.
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

/// When what is to be said. Times are readings of a clock that never steps.
#[derive(Debug)]
struct Progress {
    /// Clusters whose first tick is not through.
    awaited: BTreeSet<ClusterName>,
    ready: bool,
    last: BTreeMap<ClusterName, LastTick>,
    /// What kept the newest tick from being carried through.
    failed: Option<String>,
    /// When the newest tick ended, or the loop began.
    idle_since: Span,
    /// The longest that the doorbell may let the loop wait.
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

    /// A tick ended. One that could not be written counts as progress of the loop:
    /// a restart mends no disk, and takes the windows with it.
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

    /// The loop waits for its doorbell. Nothing is said once a tick is overdue.
    fn waiting(&self, now: Span) -> Option<Word> {
        let overdue = now - self.idle_since > self.longest_wait + RING_TOLERANCE;
        (!overdue).then_some(Word::Alive)
    }

    /// One line for people. What came from outside cannot begin another one, which
    /// the service manager would take for a word of its own.
    fn status(&self) -> String {
        let mut parts = vec![];
        if let Some(why) = &self.failed {
            parts.push(format!("the last tick was not carried through: {why}"));
        }
        if !self.awaited.is_empty() {
            let names: Vec<&str> = self.awaited.iter().map(ClusterName::as_str).collect();
            parts.push(format!("waiting for the first tick of {}", names.join(", ")));
        }
        parts.extend(self.last.iter().map(|(cluster, last)| {
            let LastTick { tick: _, at, nodes, open, begun, gone, held } = last;
            let mut text = format!("{cluster} at {at}: {nodes} nodes, {open} on their way out");
            if *begun > 0 {
                text += &format!(", {begun} of them new");
            }
            if *gone > 0 {
                text += &format!(", {gone} gone");
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

/// Whom it is said to.
type Manager = Arc<dyn Fn(&[Word]) + Send + Sync>;

/// The service that this process is, if a service manager started it; else nobody
/// listens.
#[derive(Clone)]
pub(crate) struct Service {
    progress: Arc<Mutex<Progress>>,
    clock: Arc<SystemClock>,
    manager: Manager,
    /// How often the loop says that it waits; `None` without a watchdog.
    ping_every: Option<Duration>,
}

impl Service {
    /// A service that watches over these clusters. `longest_wait` is the most that
    /// the doorbell lets pass between two ticks.
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

    /// The doorbell, with the watchdog fed while it is waited for. Its first ring is
    /// at once: whoever starts the service should not wait for the schedule to learn
    /// whether it works.
    pub(crate) fn attend<D: Doorbell>(&self, doorbell: D) -> Attended<D> {
        Attended { doorbell, service: self.clone(), at_once: true }
    }

    /// The audience, with the service manager in it.
    pub(crate) fn hear<'a>(&self, audience: &'a mut dyn Audience) -> Heard<'a> {
        Heard { audience, service: self.clone() }
    }

    /// Tells the service manager as soon as the end has begun, also while a tick is
    /// still under way.
    pub(crate) fn follow_stop(&self, mut stop: watch::Receiver<bool>) {
        let manager = Arc::clone(&self.manager);
        tokio::spawn(async move {
            if stop.wait_for(|stopping| *stopping).await.is_ok() {
                let text = "stopping: taking back what has not been asked for";
                manager(&[Word::Stopping, Word::Status(text.to_owned())]);
            }
        });
    }

    /// SIGUSR1 writes the last tick of every cluster to the log, SIGUSR2 turns
    /// `debug` on and off.
    ///
    /// # Errors
    /// When the signals cannot be listened to.
    pub(crate) fn follow_signals(&self, log: Log) -> anyhow::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut status = signal(SignalKind::user_defined1()).context("listening to SIGUSR1")?;
        let mut debug = signal(SignalKind::user_defined2()).context("listening to SIGUSR2")?;
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
        // Whoever panicked while holding it left numbers, not half a number.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A doorbell that says so while it is waited for.
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
        // One wait from beginning to end: the pings must not begin it anew.
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
                        None => tracing::error!("a tick is overdue, the watchdog is not fed"),
                    }
                }
            }
        }
    }
}

/// An audience with the service manager in it.
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

/// Tells systemd, if it started us.
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
        tracing::warn!(%why, "the service manager could not be told how things stand");
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
        // Only news is worth more time: a start that does not get on is given up.
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
                "one at 1970-01-01T00:00:00Z: 12 nodes, 3 on their way out, 2 of them new, \
                 1 gone, all kept: paused: audit"
            ),
            "{status}"
        );
    }

    /// What the service manager heard.
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

    /// A doorbell that lets the loop wait until the watchdog was fed so often, and
    /// then rings; the second time it says stop.
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
        // At its first effect the world falls silent: from then on every call to it
        // waits for ever.
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

    /// Moves the world on before each ring.
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
        stop.send(true).expect("somebody listens");
        while !ear.heard(&Word::Stopping) {
            tokio::task::yield_now().await;
        }
    }
}
