//! The world: its state, its event queue, and the handle to both.
//!
//! Time is virtual and moves only in [`World::advance_to`], [`World::advance_by`] and
//! [`World::step`], while the daemon sleeps on a [`crate::doorbell::SimDoorbell`], and during port
//! calls if [`crate::ports::PortOptions::call_time`] is set. Events are handled by time, and by
//! planning order at the same time. So a run depends only on the spec, the jobs and the calls.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trimtab_core::reads::InstanceStatus;
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

/// Handle to a world. Clones share the same world.
#[derive(Clone)]
pub struct World {
    inner: Arc<Mutex<Inner>>,
}

impl World {
    /// Creates a world at its start. `jobs` is a recorded load with times counted from the start;
    /// these jobs are added to the jobs of the spec.
    ///
    /// # Errors
    /// All problems of the spec.
    pub fn new(spec: WorldSpec, jobs: Vec<TraceJob>) -> Result<Self, SpecError> {
        spec.check()?;
        let orders = demand::orders(&spec, &jobs)?;
        Ok(Self { inner: Arc::new(Mutex::new(Inner::new(spec, orders))) })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns an independent copy of the world in the same state.
    pub fn fork(&self) -> Self {
        let inner = self.lock().clone();
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// Returns the spec, including groups that were added later.
    pub fn spec(&self) -> Arc<WorldSpec> {
        Arc::clone(&self.lock().spec)
    }

    /// Returns the true time. The daemon's clock may show another time.
    pub fn now(&self) -> Time {
        self.lock().now
    }

    /// Returns the end of the world.
    pub fn end(&self) -> Time {
        self.lock().spec.end()
    }

    /// Runs all events up to this time and stops there. A time in the past changes nothing.
    pub fn advance_to(&self, to: Time) {
        self.lock().advance_to(to);
    }

    /// Runs all events of the next `span`.
    pub fn advance_by(&self, span: Span) {
        let mut inner = self.lock();
        let to = inner.now + span;
        inner.advance_to(to);
    }

    /// Runs one event if one is due by `until` and returns `true`. Otherwise moves the time to
    /// `until` and returns `false`.
    pub fn step(&self, until: Time) -> bool {
        self.lock().step(until)
    }

    /// Returns the true record of what happened so far.
    pub fn truth(&self) -> Truth {
        self.lock().truth()
    }

    /// Returns the log so far, one line for each event. Empty if the spec keeps no log text.
    pub fn log(&self) -> String {
        self.lock().log.text().to_owned()
    }

    /// Returns a digest of all log lines so far, kept or not. Equal runs have equal digests.
    pub fn log_digest(&self) -> u64 {
        self.lock().log.digest()
    }

    /// Starts to keep events for [`World::take_events`].
    pub fn watch(&self) {
        self.lock().log.watch();
    }

    /// Returns the events since the last call, if [`World::watch`] was called.
    pub fn take_events(&self) -> Vec<LogEntry> {
        self.lock().log.take()
    }

    /// Returns the notifications that the daemon sent so far.
    pub fn notifications(&self) -> Vec<(Time, Notification)> {
        self.lock().daemon.notifications.clone()
    }
}

/// State of the daemon's machine.
#[derive(Debug, Clone, Default)]
pub(crate) struct Machine {
    /// Error of the wall clock.
    pub(crate) clock_offset: Span,
    /// Total time for which the machine was suspended.
    pub(crate) suspended: Span,
    /// Text of the pause file, if it exists.
    pub(crate) paused: Option<Arc<str>>,
    /// Notifications sent so far.
    pub(crate) notifications: Vec<(Time, Notification)>,
}

/// A scheduled event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scheduled {
    /// The next job is submitted.
    Submit(JobNo),
    /// A job may start from now on.
    Eligible(PartitionNo),
    /// A job leaves its nodes. `start` is the number of its start.
    JobEnds { job: JobNo, start: u32 },
    /// A node finished booting.
    Booted(Serial),
    /// A node's health check finished.
    Checked(Serial),
    /// A node joins the scheduler.
    Joins(Serial),
    /// A node that is being deleted or replaced is terminated.
    Terminates(Serial),
    /// The scheduler removes its entry of a node.
    Pruned(SlotNo),
    /// A drain takes effect.
    DrainTakes(SlotNo),
    /// A change shows in the listing. With `None` the node is no longer listed.
    ShowsListed { node: Serial, status: Option<InstanceStatus> },
    /// A change shows in the counts.
    ShowsCount { group: GroupNo, current: u32 },
    /// The regrow actor checks for jobs that wait for nodes.
    Regrow,
    /// A fault of the spec starts. The number is its index there.
    FaultBegins(usize),
    /// The n-th random fault starts.
    RandomFault(u64),
    /// A fault ends.
    FaultEnds(u64),
    /// A failed node is replaced.
    Recovers(Serial),
    /// A software update ends.
    SoftwareUpdated,
}

/// State of the world.
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

    /// Schedules an event. An event in the past happens now.
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
