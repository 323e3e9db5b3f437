//! The job scheduler: partitions, node entries, jobs and the queue.
//!
//! Each partition is first in, first out. A job that cannot start blocks the jobs behind it, with
//! two exceptions: a job for part of a node starts if it fits next to running jobs, and a job
//! starts if it ends before the blocked job could start (back-filling with known lengths). A job of
//! one node that asks for only some of its GPUs shares a node, chosen by best fit. Every other job
//! takes whole nodes of one group.
//!
//! An entry that is drained or down gets no new jobs; its running jobs continue.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use trimtab_core::ids::{JobId, NodeName, PartitionName};
use trimtab_core::reads::{Condition, Role};
use trimtab_core::units::{MilliGpus, NodeCount, Span, Time};

use crate::demand::Order;
use crate::fleet::{GroupNo, Serial};
use crate::spec::{GroupSpec, WorldSpec};
use crate::truth::{JobRecord, Restart};

/// Maximum number of waiting jobs behind a blocked job that are tried in one pass.
pub(crate) const BACKFILL_DEPTH: usize = 100;
/// First job id. Not 1, as in a cluster that has run for some time.
const FIRST_JOB_ID: u32 = 1001;

/// Number of a job, in submission order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct JobNo(pub(crate) u32);

/// Index of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PartitionNo(pub(crate) usize);

/// Number of a scheduler entry, in the order in which entries were added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SlotNo(pub(crate) u32);

/// Resources that a job takes on nodes of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Footprint {
    /// Part of one node.
    Part(MilliGpus),
    /// Whole nodes, not shared with other jobs.
    Whole(u32),
}

impl Footprint {
    pub(crate) fn of(nodes: NodeCount, gpus: MilliGpus, per_node: MilliGpus) -> Self {
        if nodes <= NodeCount(1) && gpus > MilliGpus(0) && gpus < per_node {
            return Self::Part(gpus);
        }
        let by_gpus = if per_node.0 == 0 { 0 } else { gpus.0.div_ceil(per_node.0) };
        Self::Whole(nodes.0.max(by_gpus).max(1))
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Partition {
    pub(crate) name: PartitionName,
    pub(crate) groups: Vec<GroupNo>,
    /// Waiting jobs, ordered by submission time.
    pub(crate) waiting: BTreeSet<(Time, JobNo)>,
}

/// Drain of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Drain {
    pub(crate) reason: Arc<str>,
    /// Whether the drain is in effect. It shows earlier than that.
    pub(crate) takes: bool,
}

/// Position of an entry in its group's index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NodeSlot {
    Idle,
    Shared(MilliGpus),
}

#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub(crate) name: NodeName,
    pub(crate) node: Option<Serial>,
    pub(crate) group: GroupNo,
    pub(crate) condition: Condition,
    pub(crate) drain: Option<Drain>,
    /// Reason of a cordon that shows but has no effect (negative control).
    pub(crate) pretended: Option<Arc<str>>,
    /// Number of reservations on the entry.
    pub(crate) reservations: u32,
    pub(crate) jobs: Vec<JobNo>,
    pub(crate) free: MilliGpus,
    place: Option<NodeSlot>,
    /// Last time at which a job started or left.
    pub(crate) touched: Time,
    /// Times during which the entry had a job; for metrics.
    pub(crate) busy: Vec<BusyRun>,
}

/// A time during which a node had a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BusyRun {
    pub(crate) from: Time,
    pub(crate) to: Option<Time>,
}

impl Slot {
    pub(crate) fn accepts_jobs(&self) -> bool {
        self.condition == Condition::Up
            && self.reservations == 0
            && !self.drain.as_ref().is_some_and(|drain| drain.takes)
    }
}

/// Entries of a group that accept jobs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Index {
    /// Entries without a job.
    pub(crate) idle: BTreeSet<SlotNo>,
    /// Entries with some of their GPUs free, ordered by free GPUs.
    pub(crate) shared: BTreeSet<(MilliGpus, SlotNo)>,
}

/// State of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JobState {
    /// Not submitted yet.
    Unknown,
    /// In the queue.
    Waiting,
    /// On its nodes: configuring until `runs`, completing from `ends`, gone at `leaves`.
    Placed { runs: Time, ends: Time, leaves: Time },
    /// Finished.
    Done,
}

#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) id: JobId,
    pub(crate) order: Order,
    pub(crate) partition: PartitionNo,
    pub(crate) fits: bool,
    pub(crate) state: JobState,
    /// Whether the job is suspended on its nodes.
    pub(crate) suspended: bool,
    pub(crate) on: Vec<SlotNo>,
    pub(crate) part: MilliGpus,
    pub(crate) waits_since: Time,
    pub(crate) waited: Span,
    pub(crate) first_start: Option<Time>,
    pub(crate) last_start: Option<Time>,
    pub(crate) starts: u32,
    pub(crate) restarts: Vec<Restart>,
    pub(crate) end: Option<Time>,
}

#[derive(Debug, Clone)]
pub(crate) struct Scheduler {
    pub(crate) partitions: Vec<Partition>,
    /// Entries in the order in which they were added.
    pub(crate) slots: BTreeMap<SlotNo, Slot>,
    by_name: BTreeMap<NodeName, SlotNo>,
    next_slot: u32,
    pub(crate) index: Vec<Index>,
    partition_of: Vec<Option<PartitionNo>>,
    pub(crate) gpus: Vec<MilliGpus>,
    pub(crate) jobs: Vec<Job>,
    /// Number of jobs known from the start. Later jobs come from faults or calls.
    pub(crate) planned: u32,
}

impl Scheduler {
    pub(crate) fn new(spec: &WorldSpec, orders: Vec<Order>) -> Self {
        let mut partitions: Vec<Partition> = vec![];
        let mut partition_of = vec![];
        for (number, group) in spec.groups.iter().enumerate() {
            if group.role != Role::Worker {
                partition_of.push(None);
                continue;
            }
            let name = group.partition();
            let at = partitions.iter().position(|p| p.name == name).unwrap_or_else(|| {
                partitions.push(Partition { name, groups: vec![], waiting: BTreeSet::new() });
                partitions.len() - 1
            });
            partitions[at].groups.push(GroupNo(number));
            partition_of.push(Some(PartitionNo(at)));
        }
        let mut scheduler = Self {
            partitions,
            slots: BTreeMap::new(),
            by_name: BTreeMap::new(),
            next_slot: 0,
            index: vec![Index::default(); spec.groups.len()],
            partition_of,
            gpus: spec.groups.iter().map(GroupSpec::gpus).collect(),
            jobs: Vec::with_capacity(orders.len()),
            planned: 0,
        };
        for order in orders {
            scheduler.add_job(spec, order);
        }
        scheduler.planned = scheduler.jobs.len() as u32;
        scheduler
    }

    /// Adds a group after the start. A partition is created if none has its name.
    pub(crate) fn add_group(&mut self, group: &GroupSpec) {
        let number = GroupNo(self.gpus.len());
        self.gpus.push(group.gpus());
        self.index.push(Index::default());
        if group.role != Role::Worker {
            self.partition_of.push(None);
            return;
        }
        let name = group.partition();
        let at = self.partitions.iter().position(|p| p.name == name).unwrap_or_else(|| {
            self.partitions.push(Partition { name, groups: vec![], waiting: BTreeSet::new() });
            self.partitions.len() - 1
        });
        self.partitions[at].groups.push(number);
        self.partition_of.push(Some(PartitionNo(at)));
    }

    /// Adds a job. Returns `None` if no group is in its partition; such a job is never submitted.
    pub(crate) fn add_job(&mut self, spec: &WorldSpec, order: Order) -> Option<JobNo> {
        let partition = self.partitions.iter().position(|p| p.name == order.partition)?;
        let number = u32::try_from(self.jobs.len()).ok()?;
        let fits = self.partitions[partition].groups.iter().any(|group| {
            let spec = &spec.groups[group.0];
            let has_gpus = order.gpus == MilliGpus(0) || spec.gpus_per_node > 0;
            match Footprint::of(order.nodes, order.gpus, spec.gpus()) {
                Footprint::Part(_) => true,
                Footprint::Whole(nodes) => has_gpus && nodes <= spec.size().0,
            }
        });
        let id = (FIRST_JOB_ID.saturating_add(number)).to_string();
        self.jobs.push(Job {
            id: id.parse().expect("a number is a valid job id"),
            partition: PartitionNo(partition),
            fits,
            state: JobState::Unknown,
            suspended: false,
            on: vec![],
            part: MilliGpus(0),
            waits_since: order.begin.max(order.held_until),
            waited: Span::ZERO,
            first_start: None,
            last_start: None,
            starts: 0,
            restarts: vec![],
            end: None,
            order,
        });
        Some(JobNo(number))
    }

    pub(crate) fn job(&self, job: JobNo) -> &Job {
        &self.jobs[job.0 as usize]
    }

    pub(crate) fn job_mut(&mut self, job: JobNo) -> &mut Job {
        &mut self.jobs[job.0 as usize]
    }

    pub(crate) fn find(&self, name: &NodeName) -> Option<SlotNo> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn partition_of(&self, group: GroupNo) -> Option<PartitionNo> {
        self.partition_of[group.0]
    }

    /// Returns the number of idle entries of a group that accept jobs.
    pub(crate) fn idle(&self, group: GroupNo) -> NodeCount {
        NodeCount::of(self.index[group.0].idle.len())
    }

    /// Adds an entry for a new node name.
    pub(crate) fn add_slot(
        &mut self,
        name: NodeName,
        node: Serial,
        group: GroupNo,
        now: Time,
    ) -> SlotNo {
        let number = SlotNo(self.next_slot);
        self.next_slot += 1;
        self.by_name.insert(name.clone(), number);
        let slot = Slot {
            name,
            node: Some(node),
            group,
            condition: Condition::Up,
            drain: None,
            pretended: None,
            reservations: 0,
            jobs: vec![],
            free: self.gpus[group.0],
            place: None,
            touched: now,
            busy: vec![],
        };
        self.slots.insert(number, slot);
        self.reindex(number);
        number
    }

    pub(crate) fn remove_slot(&mut self, number: SlotNo) -> Option<Slot> {
        if let Some(slot) = self.slots.get_mut(&number) {
            slot.condition = Condition::Down;
        }
        self.reindex(number);
        let slot = self.slots.remove(&number)?;
        self.by_name.remove(&slot.name);
        Some(slot)
    }

    /// Updates an entry's position in the index. Must be called after every change of the entry.
    pub(crate) fn reindex(&mut self, number: SlotNo) {
        let Some(slot) = self.slots.get_mut(&number) else { return };
        let full = self.gpus[slot.group.0];
        let place = if !slot.accepts_jobs() {
            None
        } else if slot.jobs.is_empty() {
            Some(NodeSlot::Idle)
        } else {
            Some(NodeSlot::Shared(slot.free))
                .filter(|_| slot.free > MilliGpus(0) && slot.free < full)
        };
        if place == slot.place {
            return;
        }
        let index = &mut self.index[slot.group.0];
        match std::mem::replace(&mut slot.place, place) {
            Some(NodeSlot::Idle) => index.idle.remove(&number),
            Some(NodeSlot::Shared(free)) => index.shared.remove(&(free, number)),
            None => false,
        };
        match place {
            Some(NodeSlot::Idle) => index.idle.insert(number),
            Some(NodeSlot::Shared(free)) => index.shared.insert((free, number)),
            None => false,
        };
    }

    /// Returns the records of all jobs submitted so far.
    pub(crate) fn records(&self, now: Time) -> Vec<JobRecord> {
        let known = self.jobs.iter().filter(|job| job.state != JobState::Unknown);
        known
            .map(|job| JobRecord {
                id: job.id.clone(),
                partition: job.order.partition.clone(),
                nodes: job.order.nodes,
                gpus: job.order.gpus,
                length: job.order.length,
                submit: job.order.submit,
                eligible: job.order.begin.max(job.order.held_until),
                fits: job.fits,
                first_start: job.first_start,
                last_start: job.last_start,
                starts: job.starts,
                restarts: job.restarts.clone(),
                waited: match job.state {
                    JobState::Waiting => job.waited + now.since(job.waits_since).max(Span::ZERO),
                    JobState::Unknown | JobState::Placed { .. } | JobState::Done => job.waited,
                },
                end: job.end,
            })
            .collect()
    }

    /// Returns the entries drained with a trimtab reason.
    pub(crate) fn cordons(&self) -> Vec<(NodeName, Arc<str>)> {
        let drained = self.slots.values().filter_map(|slot| Some((slot, slot.drain.as_ref()?)));
        drained
            .filter(|(_, drain)| drain.reason.starts_with("trimtab:"))
            .map(|(slot, drain)| (slot.name.clone(), Arc::clone(&drain.reason)))
            .collect()
    }
}
