//! The world: what is, what comes next, and the handle to both.
//!
//! Time is virtual and moves in lock-step: only [`World::advance_to`] and its
//! relatives move it, and the [`crate::doorbell::SimDoorbell`] calls them while
//! the daemon sleeps. Events are handled in order of (time, the order in which
//! they were planned), so a run is a function of the spec, the jobs and the
//! calls made.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trimtab_core::snapshot::InstanceStatus;
use trimtab_core::trace::TraceJob;
use trimtab_core::units::{Span, Time};
use trimtab_daemon::ports::Notification;

use crate::actors::Shortages;
use crate::control::Software;
use crate::demand::{self, Order};
use crate::fleet::{Fleet, GroupNo, Serial};
use crate::gauntlet::Gauntlet;
use crate::log::{Log, LogEntry, WorldEvent};
use crate::metrics::Archive;
use crate::nemesis::Faults;
use crate::record::Record;
use crate::rng::{Rng, Stream};
use crate::scheduler::{JobNo, PartitionNo, Scheduler, SlotNo};
use crate::spec::{SpecError, WorldSpec};
use crate::truth::Truth;

/// A handle to a world; copies of it share the world.
#[derive(Clone)]
pub struct World {
    inner: Arc<Mutex<Inner>>,
}

impl World {
    /// A world at its start. `jobs` are a recorded load, times counted from
    /// the start, beside the jobs that the spec itself names.
    ///
    /// # Errors
    /// All that is wrong with the spec.
    pub fn new(spec: WorldSpec, jobs: Vec<TraceJob>) -> Result<Self, SpecError> {
        spec.check()?;
        let orders = demand::orders(&spec, &jobs)?;
        Ok(Self { inner: Arc::new(Mutex::new(Inner::new(spec, orders))) })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A world of its own in the same state: what happens here does not
    /// happen there.
    pub fn fork(&self) -> Self {
        let inner = self.lock().clone();
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// What it was made from.
    pub fn spec(&self) -> Arc<WorldSpec> {
        Arc::clone(&self.lock().spec)
    }

    /// The true time, which no clock of the daemon has to show.
    pub fn now(&self) -> Time {
        self.lock().now
    }

    /// When it ends.
    pub fn end(&self) -> Time {
        self.lock().spec.end()
    }

    /// Lets everything happen up to this time and stops there. A time that
    /// is over changes nothing.
    pub fn advance_to(&self, to: Time) {
        self.lock().advance_to(to);
    }

    /// Lets this much time go by.
    pub fn advance_by(&self, span: Span) {
        let mut inner = self.lock();
        let to = inner.now + span;
        inner.advance_to(to);
    }

    /// Lets one event happen if one is due by `until`; else goes there and
    /// says `false`.
    pub fn step(&self, until: Time) -> bool {
        self.lock().step(until)
    }

    /// What truly happened so far.
    pub fn truth(&self) -> Truth {
        self.lock().truth()
    }

    /// The log so far, one line an event; empty if the spec keeps none.
    pub fn log(&self) -> String {
        self.lock().log.text().to_owned()
    }

    /// A digest of all lines of the log so far, kept or not: equal for equal
    /// runs.
    pub fn log_digest(&self) -> u64 {
        self.lock().log.digest()
    }

    /// From now on keeps events for [`World::take_events`].
    pub fn watch(&self) {
        self.lock().log.watch();
    }

    /// The events since the last call, once [`World::watch`] was called.
    pub fn take_events(&self) -> Vec<LogEntry> {
        self.lock().log.take()
    }

    /// What the daemon told people so far.
    pub fn notifications(&self) -> Vec<(Time, Notification)> {
        self.lock().daemon.notifications.clone()
    }
}

/// What the world keeps for the daemon's machine.
#[derive(Debug, Clone, Default)]
pub(crate) struct Machine {
    /// How far its wall clock is off.
    pub(crate) clock_offset: Span,
    /// How long it was suspended.
    pub(crate) suspended: Span,
    /// The pause file's text, if it is there.
    pub(crate) paused: Option<Arc<str>>,
    /// What it told people.
    pub(crate) notifications: Vec<(Time, Notification)>,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scheduled {
    /// The next job is handed in.
    Submit(JobNo),
    /// A job may start from now on.
    Eligible(PartitionNo),
    /// A job leaves its nodes.
    JobEnds { job: JobNo, start: u32 },
    /// A node has booted.
    Booted(Serial),
    /// A node's health check is over.
    Checked(Serial),
    /// The scheduler gets to know a node.
    Joins(Serial),
    /// An accepted deletion, or a replaced instance, ends.
    Terminates(Serial),
    /// The scheduler forgets a node.
    Pruned(SlotNo),
    /// A drain takes effect.
    DrainTakes(SlotNo),
    /// A change shows in the listing; `None`: the node is not listed.
    ShowsListed { node: Serial, status: Option<InstanceStatus> },
    /// A change shows in the counts.
    ShowsCount { group: GroupNo, current: u32 },
    /// Somebody looks whether jobs wait for nodes.
    Regrow,
    /// A scheduled fault begins.
    FaultBegins(usize),
    /// The n-th random fault begins.
    RandomFault(u64),
    /// A fault is over.
    FaultEnds(u64),
    /// A broken node is replaced.
    Recovers(Serial),
    /// A software update that was asked for is over.
    SoftwareUpdated,
}

/// The world itself.
#[derive(Clone)]
pub(crate) struct Inner {
    pub(crate) spec: Arc<WorldSpec>,
    pub(crate) now: Time,
    planned: u64,
    queue: BTreeMap<(Time, u64), Scheduled>,
    pub(crate) fleet: Fleet,
    pub(crate) scheduler: Scheduler,
    pub(crate) shortages: Shortages,
    pub(crate) software: Software,
    pub(crate) faults: Faults,
    pub(crate) archive: Archive,
    pub(crate) gauntlet: Gauntlet,
    pub(crate) record: Record,
    pub(crate) log: Log,
    pub(crate) daemon: Machine,
}

impl Inner {
    fn new(spec: WorldSpec, orders: Vec<Order>) -> Self {
        let mut inner = Self {
            now: spec.start,
            planned: 0,
            queue: BTreeMap::new(),
            fleet: Fleet::new(&spec),
            scheduler: Scheduler::new(&spec, orders),
            shortages: Shortages::default(),
            software: Software::new(&spec),
            faults: Faults::default(),
            archive: Archive::default(),
            gauntlet: Gauntlet::default(),
            record: Record::new(&spec),
            log: Log::new(spec.start, spec.keep_log),
            daemon: Machine::default(),
            spec: Arc::new(spec),
        };
        inner.place_first_nodes();
        inner.plan_first_job();
        if let Some(regrow) = &inner.spec.regrow {
            let first = inner.now + regrow.every;
            inner.plan(first, Scheduled::Regrow);
        }
        let spec = Arc::clone(&inner.spec);
        for (i, fault) in spec.faults.iter().enumerate() {
            inner.plan(spec.start + fault.at, Scheduled::FaultBegins(i));
        }
        inner.plan_random_fault(0);
        inner
    }

    /// Plans an event; one that lies in the past happens now.
    pub(crate) fn plan(&mut self, at: Time, what: Scheduled) {
        self.planned += 1;
        self.queue.insert((at.max(self.now), self.planned), what);
    }

    pub(crate) fn rng(&self, stream: Stream, n: u64) -> Rng {
        Rng::new(self.spec.seed, stream, n)
    }

    pub(crate) fn write(&mut self, event: WorldEvent) {
        self.log.write(self.now, event);
    }

    pub(crate) fn advance_to(&mut self, to: Time) {
        while self.step(to) {}
    }

    fn step(&mut self, until: Time) -> bool {
        match self.queue.first_entry() {
            Some(entry) if entry.key().0 <= until => {
                let ((at, _), what) = entry.remove_entry();
                self.now = at;
                self.handle(what);
                true
            }
            Some(_) | None => {
                self.now = self.now.max(until);
                false
            }
        }
    }

    fn handle(&mut self, what: Scheduled) {
        match what {
            Scheduled::Submit(job) => self.submit(job),
            Scheduled::Eligible(partition) => self.place_waiting(partition),
            Scheduled::JobEnds { job, start } => self.end_job(job, start),
            Scheduled::Booted(node) => self.boot_ends(node),
            Scheduled::Checked(node) => self.come_up(node),
            Scheduled::Joins(node) => self.join(node),
            Scheduled::Terminates(node) => self.terminate(node),
            Scheduled::Pruned(slot) => self.prune(slot),
            Scheduled::DrainTakes(slot) => self.drain_takes(slot),
            Scheduled::ShowsListed { node, status } => self.show_listed(node, status),
            Scheduled::ShowsCount { group, current } => self.fleet.show_count(group, current),
            Scheduled::Regrow => self.look_for_shortage(),
            Scheduled::FaultBegins(i) => self.begin_scheduled_fault(i),
            Scheduled::RandomFault(n) => self.begin_random_fault(n),
            Scheduled::FaultEnds(id) => self.end_fault(id),
            Scheduled::Recovers(node) => self.recover(node),
            Scheduled::SoftwareUpdated => self.end_software_update(),
        }
    }
}
