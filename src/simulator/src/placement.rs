//! Scheduler operations: jobs are submitted, placed, finished, or lost with their node. Entries are
//! added, removed, drained and resumed.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use trimtab_core::ids::{JobId, NodeName};
use trimtab_core::reads::Condition;
use trimtab_core::units::{MilliGpus, NodeCount, Span, Time};

use crate::demand::Order;
use crate::fleet::{GroupNo, Phase, Serial};
use crate::log::WorldEvent;
use crate::metrics::METRICS_KEPT;
use crate::rng::Stream;
use crate::scheduler::{
    BACKFILL_DEPTH, BusyRun, Drain, Footprint, JobNo, JobState, PartitionNo, Slot, SlotNo,
};
use crate::spec::Placement;
use crate::truth::{Restart, RestartCause};
use crate::world::{Inner, Scheduled};

/// Drain reason that HyperPod's node recovery sets on failed nodes.
const RECOVERY_REASON: &str = "Action:Replace";
/// Time for which a node's busy periods are kept for metrics. Not shorter than the metrics
/// retention; otherwise old datapoints would show the node as idle.
const BUSY_REMEMBERED: Span = METRICS_KEPT;

/// Constraint on a job that is queued behind a blocked job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behind {
    /// No job before it is blocked.
    Nobody,
    /// The blocked job cannot start on the current nodes at all.
    Hopeless,
    /// The blocked job starts at this time in this group; whole nodes must be free by then.
    Until { starts: Time, group: GroupNo },
}

impl Inner {
    pub(crate) fn plan_first_job(&mut self) {
        if let Some(first) = self.scheduler.jobs.first() {
            let at = first.order.submit;
            self.plan(at, Scheduled::Submit(JobNo(0)));
        }
    }

    /// Submits a job and schedules the next submission.
    pub(crate) fn submit(&mut self, job: JobNo) {
        let next = JobNo(job.0 + 1);
        if next.0 < self.scheduler.planned {
            let at = self.scheduler.job(next).order.submit;
            self.plan(at, Scheduled::Submit(next));
        }
        self.enqueue(job);
    }

    fn enqueue(&mut self, number: JobNo) {
        let now = self.now;
        let job = self.scheduler.job_mut(number);
        job.state = JobState::Waiting;
        job.waits_since = job.waits_since.max(now);
        let (partition, eligible) = (job.partition, job.waits_since);
        let (key, id) = ((job.order.submit, number), job.id.clone());
        self.scheduler.partitions[partition.0].waiting.insert(key);
        self.write(WorldEvent::JobSubmitted(id));
        if eligible > now {
            self.plan(eligible, Scheduled::Eligible(partition));
        } else {
            self.place_waiting(partition);
        }
    }

    /// Submits a job that takes this whole node at once if the node is free; otherwise it is
    /// queued.
    pub(crate) fn land_job(&mut self, slot: SlotNo, length: Span) {
        let now = self.now;
        let Some(entry) = self.scheduler.slots.get(&slot) else { return };
        let takes_it = entry.accepts_jobs() && entry.jobs.is_empty();
        let Some(partition) = self.scheduler.partition_of(entry.group) else { return };
        let order = Order {
            submit: now,
            begin: now,
            held_until: now,
            length,
            nodes: NodeCount(1),
            gpus: MilliGpus(0),
            partition: self.scheduler.partitions[partition.0].name.clone(),
        };
        let spec = Arc::clone(&self.spec);
        let Some(job) = self.scheduler.add_job(&spec, order) else { return };
        if takes_it {
            let id = self.scheduler.job(job).id.clone();
            self.write(WorldEvent::JobSubmitted(id));
            self.start(job, vec![slot]);
        } else {
            self.enqueue(job);
        }
    }

    /// Starts the waiting jobs of a partition that can start now.
    pub(crate) fn place_waiting(&mut self, partition: PartitionNo) {
        let groups = self.scheduler.partitions[partition.0].groups.clone();
        let mut behind = Behind::Nobody;
        let mut tried = 0;
        let mut after = Bound::Unbounded;
        loop {
            let waiting = &self.scheduler.partitions[partition.0].waiting;
            let Some(key) = waiting.range((after, Bound::Unbounded)).next().copied() else {
                return;
            };
            let is_free = |group: &GroupNo| {
                let index = &self.scheduler.index[group.0];
                !index.idle.is_empty() || !index.shared.is_empty()
            };
            if !groups.iter().any(is_free) {
                return;
            }
            after = Bound::Excluded(key);
            let (_, number) = key;
            let job = self.scheduler.job(number);
            if !job.fits || job.waits_since > self.now {
                continue;
            }
            match self.find_place(&groups, number, behind) {
                Some(slots) => {
                    self.scheduler.partitions[partition.0].waiting.remove(&key);
                    self.start(number, slots);
                }
                None if behind == Behind::Nobody => behind = self.begins(&groups, number),
                None => tried += 1,
            }
            if tried >= BACKFILL_DEPTH {
                return;
            }
        }
    }

    fn find_place(&self, groups: &[GroupNo], job: JobNo, behind: Behind) -> Option<Vec<SlotNo>> {
        let order = &self.scheduler.job(job).order;
        let longest = order.length + self.spec.configuring.max + self.spec.completing.max;
        let may_take_idle = match behind {
            Behind::Nobody | Behind::Hopeless => true,
            Behind::Until { starts, .. } => self.now + longest <= starts,
        };
        groups.iter().find_map(|group| {
            let index = &self.scheduler.index[group.0];
            let per_node = self.scheduler.gpus[group.0];
            if order.gpus > MilliGpus(0) && per_node == MilliGpus(0) {
                return None;
            }
            let wanted = match Footprint::of(order.nodes, order.gpus, per_node) {
                Footprint::Part(gpus) => {
                    let mut best = index.shared.range((gpus, SlotNo(0))..);
                    if let Some((_, slot)) = best.next() {
                        return Some(vec![*slot]);
                    }
                    1
                }
                Footprint::Whole(nodes) => nodes as usize,
            };
            (may_take_idle && index.idle.len() >= wanted).then(|| self.choose(*group, wanted, job))
        })
    }

    /// Chooses the idle entries that a job gets.
    fn choose(&self, group: GroupNo, wanted: usize, job: JobNo) -> Vec<SlotNo> {
        let idle = &self.scheduler.index[group.0].idle;
        let touched = |slot: &SlotNo| self.scheduler.slots.get(slot).map_or(Time(0), |s| s.touched);
        let mut chosen: Vec<SlotNo> = match self.spec.placement {
            Placement::LowestIndex => return idle.iter().take(wanted).copied().collect(),
            Placement::MostRecent | Placement::Random | Placement::Spreading => {
                idle.iter().copied().collect()
            }
        };
        match self.spec.placement {
            Placement::LowestIndex => {}
            Placement::MostRecent => chosen.sort_by_key(|slot| (-touched(slot).0, *slot)),
            Placement::Spreading => chosen.sort_by_key(|slot| (touched(slot), *slot)),
            Placement::Random => {
                let starts = u64::from(self.scheduler.job(job).starts);
                let mut rng = self.rng(Stream::Placement, u64::from(job.0) << 16 | starts);
                for i in 0..wanted.min(chosen.len()) {
                    let other = i + rng.index(chosen.len() - i);
                    chosen.swap(i, other);
                }
            }
        }
        chosen.truncate(wanted);
        chosen
    }

    /// Returns when a blocked job can start if no new job is placed before it.
    fn begins(&self, groups: &[GroupNo], job: JobNo) -> Behind {
        let order = &self.scheduler.job(job).order;
        let times = groups.iter().filter_map(|group| {
            let per_node = self.scheduler.gpus[group.0];
            let wanted = match Footprint::of(order.nodes, order.gpus, per_node) {
                Footprint::Part(_) => 1,
                Footprint::Whole(nodes) => nodes as usize,
            };
            let usable = |slot: &&Slot| slot.group == *group && slot.accepts_jobs();
            let mut free: Vec<Time> =
                self.scheduler.slots.values().filter(usable).map(|s| self.free_at(s)).collect();
            free.sort_unstable();
            Some((*free.get(wanted - 1)?, *group))
        });
        times.min().map_or(Behind::Hopeless, |(starts, group)| Behind::Until { starts, group })
    }

    fn free_at(&self, slot: &Slot) -> Time {
        let leaves = slot.jobs.iter().map(|job| match self.scheduler.job(*job).state {
            JobState::Placed { leaves, .. } => leaves,
            JobState::Unknown | JobState::Waiting | JobState::Done => self.now,
        });
        leaves.max().unwrap_or(self.now)
    }

    fn start(&mut self, number: JobNo, slots: Vec<SlotNo>) {
        let now = self.now;
        let starts = self.scheduler.job(number).starts + 1;
        let mut rng = self.rng(Stream::JobSteps, u64::from(number.0) << 16 | u64::from(starts));
        let (configuring, completing) =
            (rng.span(self.spec.configuring), rng.span(self.spec.completing));
        let group = slots.first().and_then(|slot| self.scheduler.slots.get(slot)).map(|s| s.group);
        let job = self.scheduler.job_mut(number);
        let runs = now + configuring;
        let ends = runs + job.order.length;
        let leaves = ends + completing;
        job.state = JobState::Placed { runs, ends, leaves };
        job.starts = starts;
        job.first_start.get_or_insert(now);
        job.last_start = Some(now);
        job.waited += now.since(job.waits_since).max(Span::ZERO);
        job.on.clone_from(&slots);
        let (nodes, gpus, lasts) = (job.order.nodes, job.order.gpus, job.order.length);
        let id = job.id.clone();
        let per_node = group.map_or(MilliGpus(0), |group| self.scheduler.gpus[group.0]);
        let part = match Footprint::of(nodes, gpus, per_node) {
            Footprint::Part(gpus) => gpus,
            Footprint::Whole(_) => per_node,
        };
        self.scheduler.job_mut(number).part = part;
        let mut names: Vec<NodeName> = Vec::with_capacity(slots.len());
        for slot in slots {
            let Some(entry) = self.scheduler.slots.get_mut(&slot) else { continue };
            names.push(entry.name.clone());
            if entry.jobs.is_empty() {
                entry.busy.retain(|run| run.to.is_none_or(|to| now.since(to) < BUSY_REMEMBERED));
                entry.busy.push(BusyRun { from: now, to: None });
            }
            entry.jobs.push(number);
            entry.free = MilliGpus(entry.free.0.saturating_sub(part.0));
            entry.touched = now;
            self.scheduler.reindex(slot);
        }
        self.write(WorldEvent::JobStarted { job: id, nodes: names });
        if !lasts.is_forever() {
            self.plan(leaves, Scheduled::JobEnds { job: number, start: starts });
        }
    }

    pub(crate) fn end_job(&mut self, number: JobNo, start: u32) {
        let job = self.scheduler.job(number);
        let JobState::Placed { ends, leaves, .. } = job.state else { return };
        if job.starts != start {
            return;
        }
        if leaves > self.now {
            // The job was suspended for some time and is not done yet.
            self.plan(leaves, Scheduled::JobEnds { job: number, start });
            return;
        }
        let partition = job.partition;
        self.finish(number, ends);
        self.place_waiting(partition);
    }

    fn finish(&mut self, number: JobNo, ended: Time) {
        self.leave_nodes(number);
        let job = self.scheduler.job_mut(number);
        job.state = JobState::Done;
        job.end = Some(ended);
        let id = job.id.clone();
        self.write(WorldEvent::JobEnded(id));
    }

    fn leave_nodes(&mut self, number: JobNo) {
        let now = self.now;
        let job = self.scheduler.job_mut(number);
        let (slots, part) = (std::mem::take(&mut job.on), job.part);
        for slot in slots {
            let Some(entry) = self.scheduler.slots.get_mut(&slot) else { continue };
            entry.jobs.retain(|job| *job != number);
            entry.free = MilliGpus(entry.free.0.saturating_add(part.0));
            entry.touched = now;
            if entry.jobs.is_empty()
                && let Some(run) = entry.busy.last_mut()
            {
                run.to = Some(now);
                self.record.groups[entry.group.0].busy += now.since(run.from);
            }
            self.scheduler.reindex(slot);
        }
    }

    /// Marks an entry as down because its node is lost. Its jobs are requeued; jobs that were only
    /// completing are finished.
    pub(crate) fn lose_slot(&mut self, slot: SlotNo, cause: RestartCause) {
        let now = self.now;
        let Some(entry) = self.scheduler.slots.get_mut(&slot) else { return };
        entry.condition = Condition::Down;
        entry.node = None;
        let (jobs, group) = (entry.jobs.clone(), entry.group);
        self.scheduler.reindex(slot);
        for number in jobs {
            let job = self.scheduler.job(number);
            let JobState::Placed { runs, ends, .. } = job.state else { continue };
            if ends <= now {
                self.finish(number, ends);
                continue;
            }
            self.leave_nodes(number);
            let job = self.scheduler.job_mut(number);
            job.restarts.push(Restart {
                at: now,
                cause,
                lost_work: now.since(runs).max(Span::ZERO),
            });
            job.state = JobState::Waiting;
            job.suspended = false;
            job.waits_since = now;
            let (id, key, partition) = (job.id.clone(), (job.order.submit, number), job.partition);
            self.scheduler.partitions[partition.0].waiting.insert(key);
            self.write(WorldEvent::JobRequeued { job: id, cause });
        }
        self.place_waiting_in(group);
    }

    fn place_waiting_in(&mut self, group: GroupNo) {
        if let Some(partition) = self.scheduler.partition_of(group) {
            self.place_waiting(partition);
        }
    }

    /// Joins a node to the scheduler, for the first time or again.
    pub(crate) fn join(&mut self, serial: Serial) {
        let now = self.now;
        let Some(node) = self.fleet.nodes.get_mut(&serial) else { return };
        let is_worker = self.scheduler.partition_of(node.group).is_some();
        if node.phase != Phase::Up || !is_worker {
            return;
        }
        let (group, name) = (node.group, node.name.clone());
        match node.slot {
            None => node.slot = Some(self.scheduler.add_slot(name.clone(), serial, group, now)),
            Some(slot) => {
                let Some(entry) = self.scheduler.slots.get_mut(&slot) else { return };
                entry.condition = Condition::Up;
                entry.node = Some(serial);
                entry.busy.clear();
                entry.drain.take_if(|drain| &*drain.reason == RECOVERY_REASON);
                self.scheduler.reindex(slot);
            }
        }
        self.write(WorldEvent::NodeJoined(name));
        self.place_waiting_in(group);
    }

    pub(crate) fn prune(&mut self, slot: SlotNo) {
        if let Some(entry) = self.scheduler.remove_slot(slot) {
            self.write(WorldEvent::NodePruned(entry.name));
        }
    }

    pub(crate) fn set_joining(&mut self, slot: SlotNo) {
        if let Some(entry) = self.scheduler.slots.get_mut(&slot) {
            entry.condition = Condition::Joining;
            self.scheduler.reindex(slot);
        }
    }

    /// Drains an entry. The new reason replaces an earlier one.
    pub(crate) fn drain(&mut self, slot: SlotNo, reason: &str) {
        let lag = self.spec.cordon_lag;
        let Some(entry) = self.scheduler.slots.get_mut(&slot) else { return };
        let reason: Arc<str> = reason.into();
        let was_drained = entry.drain.as_ref().is_some_and(|drain| drain.takes);
        let takes = was_drained || lag <= Span::ZERO;
        entry.drain = Some(Drain { reason: Arc::clone(&reason), takes });
        let node = entry.name.clone();
        self.scheduler.reindex(slot);
        self.write(WorldEvent::Drained { node, reason });
        if !takes {
            self.plan(self.now + lag, Scheduled::DrainTakes(slot));
        }
    }

    pub(crate) fn drain_for_recovery(&mut self, slot: SlotNo) {
        if self.scheduler.slots.get(&slot).is_some_and(|entry| entry.drain.is_none()) {
            self.drain(slot, RECOVERY_REASON);
        }
    }

    pub(crate) fn drain_takes(&mut self, slot: SlotNo) {
        if let Some(entry) = self.scheduler.slots.get_mut(&slot)
            && let Some(drain) = &mut entry.drain
        {
            drain.takes = true;
            self.scheduler.reindex(slot);
        }
    }

    /// Removes the drain from an entry, whatever its reason.
    pub(crate) fn resume(&mut self, slot: SlotNo) {
        let Some(entry) = self.scheduler.slots.get_mut(&slot) else { return };
        let Some(drain) = entry.drain.take() else { return };
        let (node, group) = (entry.name.clone(), entry.group);
        self.scheduler.reindex(slot);
        self.write(WorldEvent::Resumed { node, reason: drain.reason });
        self.place_waiting_in(group);
    }

    /// Suspends a running job on an entry, which delays its end by `by`.
    pub(crate) fn suspend_job(&mut self, slot: SlotNo, by: Span) -> Option<JobNo> {
        let jobs = self.scheduler.slots.get(&slot)?.jobs.clone();
        let now = self.now;
        jobs.into_iter().find(|number| {
            let job = self.scheduler.job_mut(*number);
            match job.state {
                JobState::Placed { runs, ends, leaves }
                    if (runs..ends).contains(&now) && !job.suspended =>
                {
                    job.state = JobState::Placed { runs, ends: ends + by, leaves: leaves + by };
                    job.suspended = true;
                    true
                }
                JobState::Placed { .. }
                | JobState::Unknown
                | JobState::Waiting
                | JobState::Done => false,
            }
        })
    }

    /// Reserves an entry: a running job continues, and no new job starts.
    pub(crate) fn reserve(&mut self, slot: SlotNo) {
        if let Some(entry) = self.scheduler.slots.get_mut(&slot) {
            entry.reservations += 1;
            self.scheduler.reindex(slot);
        }
    }

    pub(crate) fn end_reservation(&mut self, slot: SlotNo) {
        let Some(entry) = self.scheduler.slots.get_mut(&slot) else { return };
        entry.reservations = entry.reservations.saturating_sub(1);
        let group = entry.group;
        self.scheduler.reindex(slot);
        self.place_waiting_in(group);
    }

    /// Returns the idle entries that a blocked job gets once enough of them are free.
    pub(crate) fn planned_slots(&self) -> BTreeSet<SlotNo> {
        let mut planned = BTreeSet::new();
        for partition in &self.scheduler.partitions {
            let mut waiting = partition.waiting.iter().map(|(_, number)| *number);
            let blocked = waiting.find(|number| {
                let job = self.scheduler.job(*number);
                job.fits && job.waits_since <= self.now
            });
            let begins = blocked.map_or(Behind::Nobody, |job| self.begins(&partition.groups, job));
            if let Behind::Until { group, .. } = begins {
                planned.extend(&self.scheduler.index[group.0].idle);
            }
        }
        planned
    }

    /// Returns the jobs on an entry: running, starting or completing.
    pub(crate) fn jobs_on(&self, slot: SlotNo) -> Vec<JobId> {
        let jobs = self.scheduler.slots.get(&slot).map_or(&[][..], |entry| &entry.jobs);
        jobs.iter().map(|job| self.scheduler.job(*job).id.clone()).collect()
    }

    /// Returns the busy time that nodes with a running job add to the group's total.
    pub(crate) fn open_busy(&self, group: GroupNo) -> Span {
        let slots = self.scheduler.slots.values().filter(|slot| slot.group == group);
        let open = slots.filter_map(|slot| slot.busy.last().filter(|run| run.to.is_none()));
        open.fold(Span::ZERO, |sum, run| sum + self.now.since(run.from))
    }
}
