//! Converts recorded load into the number of nodes that a group needed over time.

use std::collections::{BTreeMap, BTreeSet};

use trimtab_core::ids::PartitionName;
use trimtab_core::packing::Packer;
use trimtab_core::rule::learned::{Demand, OTHERS_TIMER};
use trimtab_core::rule::{Costing, SampleRun};
use trimtab_core::trace::{NodeCurve, TraceJob};
use trimtab_core::units::{MilliGpus, NodeCount, Span, Time};

/// Change of a group at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MomentKind {
    /// The demand from now on. The group was observed until now.
    Step(Demand),
    /// There are no observations from now until the next step.
    Unwatched,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Time since the start of the trace.
    pub at: Time,
    pub kind: MomentKind,
}

/// Observed time. It stops while there are no observations.
pub(crate) struct Watched {
    pub(crate) watched: Span,
    at: Time,
    watching: bool,
}

impl Watched {
    pub(crate) const fn from(at: Time) -> Self {
        Self { watched: Span::ZERO, at, watching: true }
    }

    pub(crate) fn on_to(&mut self, at: Time) {
        if self.watching {
            self.watched += at.since(self.at);
        }
        self.at = at;
    }

    /// Returns the demand of a step, or `None` when observations stop.
    pub(crate) fn goes_on(&mut self, kind: MomentKind) -> Option<Demand> {
        match kind {
            MomentKind::Step(demand) => {
                self.watching = true;
                Some(demand)
            }
            MomentKind::Unwatched => {
                self.watching = false;
                None
            }
        }
    }
}

/// A node of the packing that starts or stops being used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    pub at: Time,
    /// Place in the packing. The replay decides which node fills it, as the scheduler would.
    pub place: u32,
    /// Whether the place is in use from now on.
    pub in_use: bool,
}

/// Demand on one group of equal nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Name of the partition, or another name.
    pub name: String,
    /// Number of nodes; at least as many as are ever needed.
    pub size: NodeCount,
    /// Number of nodes that are up at the beginning.
    pub up: NodeCount,
    pub begins: Time,
    pub ends: Time,
    /// Demand at the beginning.
    pub first: Demand,
    /// Later changes, ordered by time.
    pub moments: Vec<Moment>,
    /// Places of the packing in use, if jobs are known: first those in use at the beginning,
    /// then the changes. `None` without jobs.
    pub turns: Option<Vec<Turn>>,
    /// Costs of its nodes.
    pub costing: Costing,
    /// Fixed timer that the daemon meters for comparison.
    pub fixed: Span,
}

impl Group {
    /// Returns the node-time in use, which is the same under every policy.
    pub fn used(&self) -> Span {
        let mut used = Span::ZERO;
        self.stretches(|demand, length| used += length.times(i64::from(demand.nodes.0)));
        used
    }

    /// Returns the node-time that the floor keeps idle, which is the same under every policy.
    pub fn kept_by_floor(&self) -> Span {
        let mut kept = Span::ZERO;
        self.stretches(|demand, length| {
            let idle = demand.floor.saturating_sub(demand.nodes);
            kept += length.times(i64::from(idle.0));
        });
        kept
    }

    fn stretches(&self, mut does: impl FnMut(Demand, Span)) {
        let (mut at, mut demand) = (self.begins, Some(self.first));
        let ends = Moment { at: self.ends, kind: MomentKind::Unwatched };
        for moment in self.moments.iter().chain([&ends]) {
            if let Some(demand) = demand {
                does(demand, moment.at.since(at));
            }
            at = moment.at;
            demand = match moment.kind {
                MomentKind::Step(demand) => Some(demand),
                MomentKind::Unwatched => None,
            };
        }
    }
}

/// Part of a trace to replay, and the nodes to replay it on.
#[derive(Debug, Clone)]
pub struct Selection {
    /// First day, and the day after the last, counted from 0 at the start of the trace. `None`
    /// replays all of it.
    pub days: Option<(u32, u32)>,
    /// Fewest jobs of a partition; partitions with fewer jobs are left out.
    pub min_jobs: usize,
    /// Whether all jobs run on one group, instead of one group per partition.
    pub one_group: bool,
    /// GPUs per node, or processors per node for a trace that counts processors.
    pub gpus_per_node: MilliGpus,
    /// Nodes of each group; `None` means its highest demand.
    pub size: Option<NodeCount>,
    /// Costs of the nodes.
    pub costing: Costing,
}

/// A selection that leaves nothing to replay.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EmptySelection {
    /// No group has demand.
    #[error(
        "nothing to replay: no partition has {min_jobs} jobs, or none of them ran in those days"
    )]
    NoJobs {
        /// Fewest jobs of a partition.
        min_jobs: usize,
    },
    /// A group needs more nodes than its declared size.
    #[error("group {group} needs {needed} nodes at once, more than --size {size}")]
    TooSmall {
        /// Name of the group.
        group: String,
        /// Highest demand.
        needed: NodeCount,
        /// Declared size.
        size: NodeCount,
    },
}

const DAY: Span = Span::hours(24);

/// Returns the groups of a job table. Jobs are packed best fit; ties go to the lowest node.
///
/// # Errors
/// When no group is left, or when a group needs more nodes than its declared size.
pub fn from_jobs(jobs: &[TraceJob], selection: &Selection) -> Result<Vec<Group>, EmptySelection> {
    let mut by_group: BTreeMap<Option<&PartitionName>, Vec<&TraceJob>> = BTreeMap::new();
    for job in jobs {
        let group = (!selection.one_group).then_some(&job.partition);
        by_group.entry(group).or_default().push(job);
    }
    let mut groups = vec![];
    for (partition, jobs) in by_group {
        if jobs.len() >= selection.min_jobs {
            let name = partition.map_or("all".to_owned(), ToString::to_string);
            let (steps, turns) = job_steps(&jobs, selection);
            let mut group = group(name, steps, None, selection)?;
            if let Some(group) = &mut group {
                group.turns = Some(cut(turns, group.begins, group.ends));
            }
            groups.extend(group);
        }
    }
    if groups.is_empty() {
        return Err(EmptySelection::NoJobs { min_jobs: selection.min_jobs });
    }
    Ok(groups)
}

/// Returns the groups of node curves.
///
/// # Errors
/// See [`from_jobs`].
pub fn from_curves(
    curves: &[NodeCurve],
    selection: &Selection,
) -> Result<Vec<Group>, EmptySelection> {
    let mut groups = vec![];
    for curve in curves {
        let steps = curve
            .points
            .iter()
            .map(|point| (Time(point.at.0), Demand { nodes: point.busy, ..NOTHING }));
        let most = curve.points.iter().map(|point| point.total).max();
        let name = curve.partition.to_string();
        groups.extend(group(name, steps.collect(), most, selection)?);
    }
    if groups.is_empty() {
        return Err(EmptySelection::NoJobs { min_jobs: 0 });
    }
    Ok(groups)
}

const NOTHING: Demand =
    Demand { nodes: NodeCount::ZERO, upcoming: NodeCount::ZERO, floor: NodeCount::ZERO };

/// Returns the selected days of a curve as a group.
fn group(
    name: String,
    steps: Vec<(Time, Demand)>,
    declared: Option<NodeCount>,
    selection: &Selection,
) -> Result<Option<Group>, EmptySelection> {
    let (Some(first), Some(last)) = (steps.first(), steps.last()) else { return Ok(None) };
    let day = |n: u32| Time(0) + DAY.times(i64::from(n));
    let (begins, ends) =
        selection.days.map_or((first.0, last.0), |(from, to)| (day(from), day(to)));
    let before = steps.iter().take_while(|(at, _)| *at <= begins).last();
    let first = before.map_or(NOTHING, |(_, demand)| *demand);
    let within = steps.iter().filter(|(at, _)| *at > begins && *at < ends);
    let moments: Vec<Moment> =
        within.map(|(at, demand)| Moment { at: *at, kind: MomentKind::Step(*demand) }).collect();
    let needed = moments.iter().filter_map(|moment| match moment.kind {
        MomentKind::Step(demand) => Some(demand.nodes),
        MomentKind::Unwatched => None,
    });
    let needed = needed.fold(first.nodes, Ord::max);
    if needed == NodeCount::ZERO || begins >= ends {
        return Ok(None);
    }
    let size = selection.size.or(declared).unwrap_or(needed);
    if needed > size {
        return Err(EmptySelection::TooSmall { group: name, needed, size });
    }
    let (costing, fixed, up) = (selection.costing, OTHERS_TIMER, size);
    let turns = None;
    Ok(Some(Group { name, size, up, begins, ends, first, moments, turns, costing, fixed }))
}

/// Returns the demand that a daemon counted. `runs` are runs of equal samples, oldest first,
/// each with the number of its window, in which there is no gap. Returns `None` if there are no
/// runs.
pub fn from_runs(
    name: String,
    runs: &[(i64, SampleRun)],
    costing: Costing,
    fixed: Span,
) -> Option<Group> {
    let (first_window, first) = runs.first()?;
    let (_, last) = runs.last()?;
    let mut window = *first_window;
    let up = first.counts.live() + first.counts.unknown;
    let mut moments = vec![];
    let mut watched_to = first.to;
    for (of, run) in runs.iter().skip(1) {
        if *of != window {
            moments.push(Moment { at: watched_to, kind: MomentKind::Unwatched });
        }
        moments.push(Moment { at: run.from, kind: MomentKind::Step(run.counts.levels()) });
        (window, watched_to) = (*of, run.to);
    }
    let needed = runs.iter().map(|(_, run)| run.counts.levels().needed());
    Some(Group {
        name,
        size: needed.fold(up, Ord::max),
        up,
        begins: first.from,
        ends: runs.iter().map(|(_, run)| run.to).fold(last.to, Ord::max),
        first: first.counts.levels(),
        moments,
        turns: None,
        costing,
        fixed,
    })
}

/// Returns the places in use at the beginning, then the changes before the end.
fn cut(turns: Vec<Turn>, begins: Time, ends: Time) -> Vec<Turn> {
    let (before, after): (Vec<Turn>, Vec<Turn>) =
        turns.into_iter().partition(|turn| turn.at <= begins);
    let mut in_use = BTreeSet::new();
    for Turn { place, in_use: is_in_use, .. } in before {
        if is_in_use {
            in_use.insert(place);
        } else {
            in_use.remove(&place);
        }
    }
    let held = in_use.into_iter().map(|place| Turn { at: begins, place, in_use: true });
    held.chain(after.into_iter().filter(|turn| turn.at < ends)).collect()
}

/// Event of a job. Ends sort first, so that a job can start on a node that another job leaves
/// at the same instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    End,
    /// The job is known and starts within T*.
    Announced,
    Start,
}

/// Returns the demand over time: nodes that these jobs keep busy, and nodes for jobs that wait
/// and start within T*. Also returns which places of the packing are in use.
fn job_steps(jobs: &[&TraceJob], selection: &Selection) -> (Vec<(Time, Demand)>, Vec<Turn>) {
    let lookahead = selection.costing.boot_cost().break_even;
    let mut steps = Vec::with_capacity(jobs.len() * 2);
    for (key, job) in (0_u64..).zip(jobs) {
        if job.start >= job.end {
            continue;
        }
        let (start, need) = (Time(job.start.0), job.need());
        let announced = Time(job.submit.0).max(start - lookahead);
        if announced < start {
            steps.push((announced, Step::Announced, key, need));
        }
        steps.push((start, Step::Start, key, need));
        if !job.end.is_forever() {
            steps.push((Time(job.end.0), Step::End, key, need));
        }
    }
    steps.sort_unstable();
    let mut running = Packer::new(selection.gpus_per_node);
    let mut waiting = Packer::new(selection.gpus_per_node);
    let mut curve: Vec<(Time, Demand)> = vec![];
    let mut places = Places::default();
    for instant in steps.chunk_by(|a, b| a.0 == b.0) {
        for (at, step, key, need) in instant {
            match step {
                Step::End => {
                    running.free(*key);
                    places.leave(*at, *key);
                }
                Step::Announced => drop(waiting.place(*key, *need)),
                Step::Start => {
                    waiting.free(*key);
                    places.take(*at, *key, running.place(*key, *need));
                }
            }
        }
        let demand =
            Demand { nodes: running.busy(), upcoming: waiting.busy(), floor: NodeCount::ZERO };
        if curve.last().is_none_or(|(_, before)| *before != demand) {
            curve.extend(instant.first().map(|(at, ..)| (*at, demand)));
        }
    }
    (curve, places.turns)
}

/// Places of running jobs.
#[derive(Default)]
struct Places {
    /// Places of each job.
    of_job: BTreeMap<u64, Vec<u32>>,
    /// Number of jobs on each place.
    jobs: BTreeMap<u32, u32>,
    turns: Vec<Turn>,
}

impl Places {
    fn take(&mut self, at: Time, job: u64, places: Vec<u32>) {
        for place in &places {
            let jobs = self.jobs.entry(*place).or_default();
            *jobs += 1;
            if *jobs == 1 {
                self.turns.push(Turn { at, place: *place, in_use: true });
            }
        }
        self.of_job.insert(job, places);
    }

    fn leave(&mut self, at: Time, job: u64) {
        for place in self.of_job.remove(&job).unwrap_or_default() {
            let jobs = self.jobs.entry(place).or_default();
            *jobs = jobs.saturating_sub(1);
            if *jobs == 0 {
                self.turns.push(Turn { at, place, in_use: false });
            }
        }
    }
}
