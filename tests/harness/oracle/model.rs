//! The oracle's own model of the world, built from the world's events alone: nodes and their
//! phases, names with cordons and jobs, active faults, clocks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use trimtab_core::ids::{GroupName, InstanceId, JobId, NodeName};
use trimtab_core::reads::{Provisioning, Role};
use trimtab_core::units::{Span, Time};
use trimtab_simulator::World;
use trimtab_simulator::log::{LogEntry, WorldEvent};
use trimtab_simulator::truth::Caller;

/// Phase of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Launched because the group was grown.
    Grown,
    /// Launched to replace another node.
    Replacing,
    /// Up.
    Up,
    /// Failed.
    Failed,
    /// Its deletion was accepted.
    Leaving(Caller, Time),
    /// Replaced: another node has its name.
    Replaced,
    /// Terminated.
    Gone,
}

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) group: GroupName,
    pub(super) name: NodeName,
    pub(super) protected: bool,
    pub(super) phase: Phase,
    pub(super) launched: Time,
    pub(super) up_since: Time,
    pub(super) ended: Option<Time>,
}

/// A drain on a name.
#[derive(Debug, Clone)]
pub(super) struct Drain {
    pub(super) reason: Arc<str>,
    pub(super) since: Time,
}

/// Scheduler entry of a name.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) holder: InstanceId,
    pub(super) joined: bool,
    pub(super) drain: Option<Drain>,
    pub(super) jobs: BTreeSet<JobId>,
    pub(super) idle_since: Time,
    /// Last read of the scheduler that found a job here.
    pub(super) seen_busy: Option<Time>,
    /// Last time at which trimtab removed its cordon.
    pub(super) released: Option<Time>,
    /// Last time at which someone else removed the trimtab cordon or replaced its reason.
    pub(super) cordon_lost: Option<Time>,
}

/// The model.
#[derive(Debug, Clone)]
pub(super) struct Model {
    pub(super) now: Time,
    pub(super) classic: bool,
    pub(super) nodes: BTreeMap<InstanceId, Node>,
    pub(super) places: BTreeMap<NodeName, Place>,
    jobs: BTreeMap<JobId, Vec<NodeName>>,
    pub(super) waiting: BTreeSet<JobId>,
    roles: BTreeMap<GroupName, Role>,
    faults: BTreeMap<&'static str, Vec<Time>>,
    /// Number of times each fault happened.
    pub(super) happened: BTreeMap<&'static str, u32>,
    /// Wall clock minus true time.
    pub(super) offset: Span,
    /// Total time for which the machine was suspended.
    pub(super) slept: Span,
}

impl Model {
    pub(super) fn new(world: &World) -> Self {
        let spec = world.spec();
        let listing = world.list_nodes(&spec.cluster).expect("no fault holds at the start");
        let mut model = Self {
            now: spec.start,
            classic: spec.provisioning == Provisioning::Classic,
            nodes: BTreeMap::new(),
            places: BTreeMap::new(),
            jobs: BTreeMap::new(),
            waiting: BTreeSet::new(),
            roles: spec.groups.iter().map(|group| (group.name.clone(), group.role)).collect(),
            faults: BTreeMap::new(),
            happened: BTreeMap::new(),
            offset: Span::ZERO,
            slept: Span::ZERO,
        };
        for listed in listing.nodes {
            let name = listed.name.expect("every node of the simulator has a name");
            let node = Node {
                group: listed.group,
                name,
                protected: listed.protected,
                phase: Phase::Up,
                launched: listed.launched,
                up_since: spec.start,
                ended: None,
            };
            if model.is_worker(&node.group) {
                model.places.insert(node.name.clone(), place(listed.id, true, spec.start));
            }
            model.nodes.insert(listed.id, node);
        }
        model
    }

    pub(super) fn is_worker(&self, group: &GroupName) -> bool {
        self.roles.get(group) == Some(&Role::Worker)
    }

    /// Returns the start of a fault that is active now.
    pub(super) fn since(&self, fault: &'static str) -> Option<Time> {
        self.faults.get(fault)?.first().copied()
    }

    pub(super) fn is_in_force(&self, fault: &'static str) -> bool {
        self.since(fault).is_some()
    }

    /// Returns the node with this name if it is up and joined.
    pub(super) fn up(&self, place: &Place) -> Option<&Node> {
        let node = self.nodes.get(&place.holder)?;
        (place.joined && node.phase == Phase::Up).then_some(node)
    }

    /// Returns the nodes of a group that are up, joined and not drained.
    pub(super) fn usable<'a>(&'a self, group: &'a GroupName) -> impl Iterator<Item = &'a Place> {
        let fits = |place: &&Place| {
            place.drain.is_none() && self.up(place).is_some_and(|node| node.group == *group)
        };
        self.places.values().filter(fits)
    }

    /// Returns the number of nodes that left a group, not because of trimtab, so recently that the
    /// listing may not show it yet.
    pub(super) fn lagging(&self, group: &GroupName, lag: Span) -> u32 {
        let fits = |node: &&Node| {
            let left = node.ended.is_some_and(|at| self.now.since(at) <= lag);
            node.group == *group && node.phase != Phase::Up && left
        };
        self.nodes.values().filter(fits).count() as u32
    }

    /// Whether a node of this group is booting or being checked.
    pub(super) fn is_arriving(&self, group: &GroupName) -> bool {
        self.nodes
            .values()
            .any(|n| n.group == *group && matches!(n.phase, Phase::Grown | Phase::Replacing))
    }

    /// Whether an operation keeps a classic cluster in the Updating status.
    pub(super) fn is_operating(&self) -> bool {
        let runs = |node: &Node| matches!(node.phase, Phase::Grown | Phase::Leaving(..));
        self.classic && self.nodes.values().any(runs)
    }

    /// Applies an event.
    pub(super) fn apply(&mut self, entry: &LogEntry) {
        self.now = entry.at;
        match &entry.event {
            WorldEvent::JobSubmitted(job) => {
                self.waiting.insert(job.clone());
            }
            WorldEvent::JobStarted { job, nodes } => self.start(job, nodes),
            WorldEvent::JobEnded(job) => self.leave(job),
            WorldEvent::JobRequeued { job, cause: _ } => {
                self.leave(job);
                self.waiting.insert(job.clone());
            }
            WorldEvent::NodeLaunched { node, name, group } => {
                let launched = Node {
                    group: group.clone(),
                    name: name.clone(),
                    protected: false,
                    phase: Phase::Grown,
                    launched: entry.at,
                    up_since: entry.at,
                    ended: None,
                };
                self.nodes.insert(*node, launched);
                let is_worker = self.is_worker(group);
                match self.places.get_mut(name) {
                    Some(place) => (place.holder, place.joined) = (*node, false),
                    None if is_worker => {
                        self.places.insert(name.clone(), place(*node, false, entry.at));
                    }
                    None => {}
                }
            }
            WorldEvent::NodeUp { node, .. } => self.turn(*node, Phase::Up),
            WorldEvent::NodeJoined(name) => {
                let now = self.now;
                if let Some(place) = self.places.get_mut(name) {
                    (place.joined, place.idle_since) = (true, now);
                    place.drain.take_if(|drain| drain.reason.starts_with("Action:"));
                }
            }
            WorldEvent::NodeFailed(node) => self.turn(*node, Phase::Failed),
            WorldEvent::NodeReplaced { old, new } => {
                self.turn(*old, Phase::Replaced);
                self.turn(*new, Phase::Replacing);
            }
            WorldEvent::NodeLeaving { node, by, .. } => {
                self.turn(*node, Phase::Leaving(*by, entry.at));
            }
            WorldEvent::NodeGone { node, .. } => self.turn(*node, Phase::Gone),
            WorldEvent::NodePruned(name) => {
                self.places.remove(name);
            }
            WorldEvent::Drained { node, reason } => {
                if let Some(place) = self.places.get_mut(node) {
                    place.drain = Some(Drain { reason: Arc::clone(reason), since: entry.at });
                }
            }
            WorldEvent::Resumed { node, .. } => {
                if let Some(place) = self.places.get_mut(node) {
                    place.drain = None;
                }
            }
            WorldEvent::FaultBegan(name) => {
                self.faults.entry(name).or_default().push(entry.at);
                *self.happened.entry(name).or_default() += 1;
            }
            WorldEvent::NoTarget(name) => {
                self.faults.entry(name).or_default().pop();
                *self.happened.entry(name).or_default() -= 1;
            }
            WorldEvent::FaultEnded(name) => {
                let begun = self.faults.entry(name).or_default();
                if !begun.is_empty() {
                    let since = begun.remove(0);
                    if *name == "suspended" {
                        self.slept += entry.at.since(since);
                    }
                }
            }
            WorldEvent::ClockStepped(by) => self.offset += *by,
            WorldEvent::NodeRefused { .. }
            | WorldEvent::RequestRefused(_)
            | WorldEvent::LeftAlone(_)
            | WorldEvent::GroupShrunk { .. }
            | WorldEvent::Grown { .. }
            | WorldEvent::Called { .. }
            | WorldEvent::Killed { .. }
            | WorldEvent::Revived
            | WorldEvent::Notified(_) => {}
        }
    }

    fn start(&mut self, job: &JobId, nodes: &[NodeName]) {
        self.waiting.remove(job);
        for name in nodes {
            if let Some(place) = self.places.get_mut(name) {
                place.jobs.insert(job.clone());
            }
        }
        self.jobs.insert(job.clone(), nodes.to_vec());
    }

    fn leave(&mut self, job: &JobId) {
        for name in self.jobs.remove(job).unwrap_or_default() {
            if let Some(place) = self.places.get_mut(&name) {
                place.jobs.remove(job);
                place.idle_since = self.now;
            }
        }
    }

    fn turn(&mut self, node: InstanceId, phase: Phase) {
        let now = self.now;
        if let Some(node) = self.nodes.get_mut(&node) {
            node.phase = phase;
            match phase {
                Phase::Up => node.up_since = now,
                Phase::Failed | Phase::Leaving(..) | Phase::Replaced => node.ended = Some(now),
                Phase::Grown | Phase::Replacing | Phase::Gone => {}
            }
        }
    }
}

fn place(holder: InstanceId, joined: bool, now: Time) -> Place {
    Place {
        holder,
        joined,
        drain: None,
        jobs: BTreeSet::new(),
        idle_since: now,
        seen_busy: None,
        released: None,
        cordon_lost: None,
    }
}
