//! HyperPod's side: instance groups, and the lifecycle of nodes.
//!
//! ```text
//! launch ─► Booting ─► (Checking) ─► Up ─► Leaving ─► gone
//!                                    │
//!                                    └─► Failed ─► replaced under its name
//! ```
//!
//! The API shows changes with a delay. The listing and the counts each have a lag of their own.

use std::collections::BTreeMap;
use std::sync::Arc;

use trimtab_core::ids::{InstanceId, NodeName};
use trimtab_core::reads::{InstanceStatus, Role};
use trimtab_core::units::{NodeCount, Span, Time};

use crate::log::WorldEvent;
use crate::rng::{Stream, id_number};
use crate::scheduler::SlotNo;
use crate::spec::api::TargetFalls;
use crate::spec::{GroupSpec, WorldSpec};
use crate::text::Between;
use crate::truth::{Caller, RestartCause};
use crate::world::{Inner, Scheduled};

/// Age of the first nodes at the start.
const FIRST_AGES: Between = Between::secs(3_600, 10 * 86_400);
/// Image release of every node.
const IMAGE: &str = "1.0.3";
/// Time for which a replaced instance is still listed as ShuttingDown.
const REPLACED_SHOWS: Between = Between::secs(20, 240);

/// Index of a group in the spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GroupNo(pub(crate) usize);

/// Number of a node, in launch order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Serial(pub(crate) u32);

/// An operation that keeps a classic cluster Updating.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OperationNo(u64);

/// Lifecycle phase of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Launched, not up yet.
    Booting,
    /// Deep health checks are running.
    Checking,
    /// Running.
    Up,
    /// Failed, not replaced yet.
    Failed,
    /// Being terminated.
    Leaving(Leave),
    /// Terminated; it may still be listed.
    Gone,
}

/// Why a node leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    /// A delete request was accepted. `asked` is the index of its record.
    Deleted { asked: usize, by: Caller },
    /// Another instance took its name.
    Replaced,
}

#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) id: InstanceId,
    pub(crate) group: GroupNo,
    pub(crate) name: NodeName,
    pub(crate) launched: Time,
    pub(crate) phase: Phase,
    /// Status in the listing; `None` if the node is not listed.
    pub(crate) listed: Option<InstanceStatus>,
    /// The scheduler's entry for it.
    pub(crate) slot: Option<SlotNo>,
    /// Whether a tag protects it from deletion.
    pub(crate) protected: bool,
    counted: bool,
    billed_from: Time,
    operation: Option<OperationNo>,
    /// Whether its termination lowers its group's TargetCount.
    lowers_target: bool,
    /// Time of the last UpdateClusterSoftware on this node.
    pub(crate) software_updated: Option<Time>,
}

#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) role: Role,
    /// Nodes that are up and not leaving.
    pub(crate) live: u32,
    /// Nodes that are booting, being checked, up or failed.
    pub(crate) members: u32,
    /// Members that are booting or being checked.
    pub(crate) arriving: u32,
    current: u32,
    pub(crate) target: u32,
    /// Value of `current` that DescribeCluster shows.
    pub(crate) current_shown: u32,
    count_shows_at: Time,
    /// MinCount, in continuous clusters.
    pub(crate) min: Option<u32>,
    /// The group is being deleted; with no nodes left it is deleted.
    pub(crate) deleting: bool,
}

impl Group {
    fn new(group: &GroupSpec, now: Time) -> Self {
        Self {
            role: group.role,
            live: 0,
            members: 0,
            arriving: 0,
            current: group.count.0,
            target: group.count.0,
            current_shown: group.count.0,
            count_shows_at: now,
            min: group.min_count.map(|min| min.0),
            deleting: false,
        }
    }
}

/// All groups and nodes.
#[derive(Debug, Clone)]
pub(crate) struct Fleet {
    pub(crate) groups: Vec<Group>,
    /// Nodes that exist or are still listed, in launch order.
    pub(crate) nodes: BTreeMap<Serial, Node>,
    by_id: BTreeMap<InstanceId, Serial>,
    next: u32,
    operations: BTreeMap<OperationNo, u32>,
    next_operation: u64,
    pub(crate) image: Arc<str>,
}

/// Parameters of a node launch.
struct Launch {
    group: GroupNo,
    /// For a replacement: the name and the scheduler entry that it takes over.
    instead_of: Option<(NodeName, Option<SlotNo>)>,
    operation: Option<OperationNo>,
    boot: Between,
}

impl Fleet {
    pub(crate) fn new(spec: &WorldSpec) -> Self {
        Self {
            groups: spec.groups.iter().map(|group| Group::new(group, spec.start)).collect(),
            nodes: BTreeMap::new(),
            by_id: BTreeMap::new(),
            next: 0,
            operations: BTreeMap::new(),
            next_operation: 0,
            image: IMAGE.into(),
        }
    }

    /// Finds a node that exists or is still listed.
    pub(crate) fn find(&self, id: InstanceId) -> Option<(Serial, &Node)> {
        let serial = *self.by_id.get(&id)?;
        Some((serial, self.nodes.get(&serial)?))
    }

    /// Whether an operation keeps a classic cluster in the Updating status.
    pub(crate) fn is_operating(&self) -> bool {
        !self.operations.is_empty()
    }

    /// Adds an empty group after the start.
    pub(crate) fn add_group(&mut self, group: &GroupSpec, now: Time) -> GroupNo {
        self.groups.push(Group {
            current: 0,
            target: 0,
            current_shown: 0,
            ..Group::new(group, now)
        });
        GroupNo(self.groups.len() - 1)
    }

    /// Whether a group was deleted.
    pub(crate) fn is_deleted(&self, group: GroupNo) -> bool {
        self.groups[group.0].deleting && !self.nodes.values().any(|node| node.group == group)
    }

    /// Returns the nodes of a group that are not leaving, in launch order.
    pub(crate) fn members(&self, group: GroupNo) -> impl Iterator<Item = (Serial, &Node)> {
        let is_member = move |node: &Node| match node.phase {
            Phase::Booting | Phase::Checking | Phase::Up | Phase::Failed => node.group == group,
            Phase::Leaving(_) | Phase::Gone => false,
        };
        self.nodes.iter().filter(move |(_, node)| is_member(node)).map(|(s, node)| (*s, node))
    }

    pub(crate) fn show_count(&mut self, group: GroupNo, current: u32) {
        self.groups[group.0].current_shown = current;
    }

    /// Starts an operation over `nodes` nodes.
    pub(crate) fn begin_operation(&mut self, nodes: u32) -> OperationNo {
        self.next_operation += 1;
        let operation = OperationNo(self.next_operation);
        self.operations.insert(operation, nodes);
        operation
    }

    /// Marks one node of an operation as done. The last node ends the operation.
    fn leave_operation(&mut self, operation: OperationNo) {
        if let Some(left) = self.operations.get_mut(&operation) {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.operations.remove(&operation);
            }
        }
    }

    fn name(serial: Serial) -> NodeName {
        let [_, a, b, c] = serial.0.to_be_bytes();
        format!("ip-10-{a}-{b}-{c}").parse().expect("letters, digits and hyphens are a valid name")
    }
}

impl Inner {
    /// Creates the first nodes: up, joined and of a random age.
    pub(crate) fn place_first_nodes(&mut self) {
        let spec = Arc::clone(&self.spec);
        for (number, group) in spec.groups.iter().enumerate() {
            for n in 0..group.count.0 {
                let serial = Serial(self.fleet.next);
                let age = self.rng(Stream::Ages, u64::from(serial.0)).span(FIRST_AGES);
                self.add_node(serial, GroupNo(number), Fleet::name(serial), self.now - age);
                let node = self.fleet.nodes.get_mut(&serial).expect("the node was just added");
                node.phase = Phase::Up;
                node.listed = Some(InstanceStatus::Running);
                node.counted = true;
                node.protected = n < group.protected.0;
                self.fleet.groups[number].live += 1;
                self.join(serial);
            }
            self.record_live(GroupNo(number));
        }
    }

    fn add_node(&mut self, serial: Serial, group: GroupNo, name: NodeName, launched: Time) {
        self.fleet.next = serial.0 + 1;
        let id = InstanceId::from_number(id_number(self.spec.seed, u64::from(serial.0)).into());
        self.fleet.by_id.insert(id, serial);
        self.fleet.groups[group.0].members += 1;
        let node = Node {
            id,
            group,
            name,
            launched,
            phase: Phase::Booting,
            listed: None,
            slot: None,
            protected: false,
            counted: false,
            billed_from: launched.max(self.spec.start),
            operation: None,
            lowers_target: false,
            software_updated: None,
        };
        self.fleet.nodes.insert(serial, node);
    }

    /// Grows a group by `by` nodes and returns their ids.
    pub(crate) fn grow(
        &mut self,
        group: GroupNo,
        by: u32,
        boot: Option<Between>,
    ) -> Vec<InstanceId> {
        let spec = Arc::clone(&self.spec);
        let Some(named) = spec.groups.get(group.0).filter(|_| by > 0) else { return vec![] };
        self.write(WorldEvent::Grown { group: named.name.clone(), by: NodeCount(by) });
        let operation = Some(self.fleet.begin_operation(by));
        self.fleet.groups[group.0].target += by;
        let boot = boot.unwrap_or(named.boot);
        (0..by).map(|_| self.launch(Launch { group, instead_of: None, operation, boot })).collect()
    }

    fn launch(&mut self, launch: Launch) -> InstanceId {
        let Launch { group, instead_of, operation, boot } = launch;
        let serial = Serial(self.fleet.next);
        let replaces = instead_of.is_some();
        let (name, slot) = instead_of.unwrap_or_else(|| (Fleet::name(serial), None));
        self.add_node(serial, group, name.clone(), self.now);
        self.fleet.groups[group.0].arriving += 1;
        let node = self.fleet.nodes.get_mut(&serial).expect("the node was just added");
        node.operation = operation;
        node.slot = slot;
        // A replacement counts in place of the node it replaces.
        node.counted = replaces;
        let id = node.id;
        self.record.groups[group.0].launched += 1;
        let group_name = self.spec.groups[group.0].name.clone();
        self.write(WorldEvent::NodeLaunched { node: id, name, group: group_name });
        self.list(serial, Some(InstanceStatus::Pending));
        let boot = self.rng(Stream::Boot, u64::from(serial.0)).span(boot);
        self.plan(self.now + boot, Scheduled::Booted(serial));
        id
    }

    pub(crate) fn boot_ends(&mut self, serial: Serial) {
        let Some(node) = self.fleet.nodes.get_mut(&serial) else { return };
        if node.phase != Phase::Booting {
            return;
        }
        match self.spec.groups[node.group.0].health_check {
            None => self.come_up(serial),
            Some(check) => {
                node.phase = Phase::Checking;
                let check = self.rng(Stream::Boot, u64::from(serial.0) | 1 << 40).span(check);
                self.list(serial, Some(InstanceStatus::DeepHealthCheck));
                self.plan(self.now + check, Scheduled::Checked(serial));
            }
        }
    }

    pub(crate) fn come_up(&mut self, serial: Serial) {
        let now = self.now;
        let Some(node) = self.fleet.nodes.get_mut(&serial) else { return };
        match node.phase {
            Phase::Booting | Phase::Checking => {}
            Phase::Up | Phase::Failed | Phase::Leaving(_) | Phase::Gone => return,
        }
        node.phase = Phase::Up;
        let (id, group, launched) = (node.id, node.group, node.launched);
        let (operation, counted) =
            (node.operation.take(), std::mem::replace(&mut node.counted, true));
        let state = &mut self.fleet.groups[group.0];
        state.live += 1;
        state.arriving -= 1;
        let live = NodeCount(state.live);
        self.record.groups[group.0].booting += now.since(launched);
        if !counted {
            self.count(group, 1);
        }
        if let Some(operation) = operation {
            self.fleet.leave_operation(operation);
        }
        self.list(serial, Some(InstanceStatus::Running));
        self.record_live(group);
        self.write(WorldEvent::NodeUp { node: id, live });
        let join = self.rng(Stream::Boot, u64::from(serial.0) | 1 << 41).span(self.spec.join_delay);
        self.plan(now + join, Scheduled::Joins(serial));
    }

    /// Starts the termination of a node whose deletion was accepted. The node may still be booting.
    pub(crate) fn begin_leaving(
        &mut self,
        serial: Serial,
        leave: Leave,
        operation: Option<OperationNo>,
    ) {
        let delay = self.rng(Stream::Delete, u64::from(serial.0)).span(self.spec.delete_delay);
        let until = self.deletions_stuck_until().unwrap_or(self.now) + delay;
        let now = self.now;
        let falls = self.spec.api.target_falls;
        let Some(node) = self.fleet.nodes.get_mut(&serial) else { return };
        let (group, launched) = (node.group, node.launched);
        let state = &mut self.fleet.groups[group.0];
        match node.phase {
            Phase::Up => state.live -= 1,
            Phase::Booting | Phase::Checking => {
                state.arriving -= 1;
                self.record.groups[group.0].booting += now.since(launched);
            }
            Phase::Failed => {}
            Phase::Leaving(_) | Phase::Gone => return,
        }
        node.phase = Phase::Leaving(leave);
        let arrival = std::mem::replace(&mut node.operation, operation);
        state.members -= 1;
        match falls {
            TargetFalls::AtOnce => state.target = state.target.saturating_sub(1),
            TargetFalls::AtEnd => node.lowers_target = true,
        }
        if let Some(arrival) = arrival {
            self.fleet.leave_operation(arrival);
        }
        self.record_live(group);
        self.list(serial, Some(InstanceStatus::ShuttingDown));
        self.plan(until, Scheduled::Terminates(serial));
    }

    /// Terminates a node. Its jobs are lost.
    pub(crate) fn terminate(&mut self, serial: Serial) {
        self.archive_metrics(serial);
        let now = self.now;
        let Some(node) = self.fleet.nodes.get_mut(&serial) else { return };
        let Phase::Leaving(leave) = node.phase else { return };
        node.phase = Phase::Gone;
        let (id, group, slot, counted) = (node.id, node.group, node.slot.take(), node.counted);
        let (operation, billed_from) = (node.operation.take(), node.billed_from);
        self.record.groups[group.0].billed += now.since(billed_from);
        if std::mem::take(&mut node.lowers_target) {
            let state = &mut self.fleet.groups[group.0];
            state.target = state.target.saturating_sub(1);
        }
        if counted {
            self.count(group, -1);
        }
        if let Some(operation) = operation {
            self.fleet.leave_operation(operation);
        }
        let jobs = slot.map_or_else(Vec::new, |slot| self.jobs_on(slot));
        self.write(WorldEvent::NodeGone { node: id, jobs: jobs.clone() });
        if let Leave::Deleted { asked, by } = leave {
            if by != Caller::Operator {
                self.record.groups[group.0].deleted += 1;
            }
            let asked = &mut self.record.asked[asked];
            asked.terminated = Some(now);
            asked.jobs_at_end = jobs;
            if let Some(slot) = slot {
                self.lose_slot(slot, RestartCause::Deleted { node: id, by });
                let prune =
                    self.rng(Stream::Prune, u64::from(serial.0)).span(self.spec.prune_delay);
                self.plan(now + prune, Scheduled::Pruned(slot));
            }
        }
        self.list(serial, None);
    }

    /// Fails a node. Its jobs are requeued, and node recovery replaces the node later.
    pub(crate) fn fail(&mut self, serial: Serial) {
        let Some(node) = self.fleet.nodes.get_mut(&serial) else { return };
        if node.phase != Phase::Up {
            return;
        }
        node.phase = Phase::Failed;
        let (id, group, slot) = (node.id, node.group, node.slot);
        self.fleet.groups[group.0].live -= 1;
        self.record_live(group);
        self.write(WorldEvent::NodeFailed(id));
        self.list(serial, Some(InstanceStatus::Failure));
        if let Some(slot) = slot {
            self.drain_for_recovery(slot);
            self.lose_slot(slot, RestartCause::Failed { node: id });
        }
        let delay = self.rng(Stream::Recovery, u64::from(serial.0)).span(self.spec.recovery_delay);
        self.plan(self.now + delay, Scheduled::Recovers(serial));
    }

    /// Replaces a failed node, unless it was deleted in the meantime.
    pub(crate) fn recover(&mut self, serial: Serial) {
        if self.fleet.nodes.get(&serial).is_some_and(|node| node.phase == Phase::Failed) {
            self.replace(serial);
        }
    }

    /// Replaces a node by another instance with the same name. A drain on that name stays.
    pub(crate) fn replace(&mut self, serial: Serial) {
        let Some(node) = self.fleet.nodes.get_mut(&serial) else { return };
        let was_up = match node.phase {
            Phase::Up => true,
            Phase::Failed => false,
            Phase::Booting | Phase::Checking | Phase::Leaving(_) | Phase::Gone => return,
        };
        node.phase = Phase::Leaving(Leave::Replaced);
        node.counted = false;
        let (old, group, slot, name) = (node.id, node.group, node.slot.take(), node.name.clone());
        let state = &mut self.fleet.groups[group.0];
        state.live -= u32::from(was_up);
        state.members -= 1;
        self.record_live(group);
        if let Some(slot) = slot {
            self.lose_slot(slot, RestartCause::Replaced { node: old });
            self.set_joining(slot);
        }
        self.list(serial, Some(InstanceStatus::ShuttingDown));
        let shown = self.rng(Stream::Recovery, u64::from(serial.0) | 1 << 40).span(REPLACED_SHOWS);
        self.plan(self.now + shown, Scheduled::Terminates(serial));
        let boot = self.spec.groups[group.0].boot;
        let instead_of = Some((name, slot));
        let new = self.launch(Launch { group, instead_of, operation: None, boot });
        self.write(WorldEvent::NodeReplaced { old, new });
    }

    /// Sets the TargetCount of a group, as UpdateCluster does.
    pub(crate) fn set_target(&mut self, group: GroupNo, target: u32) {
        self.fleet.groups[group.0].target = target;
        for node in self.fleet.nodes.values_mut().filter(|node| node.group == group) {
            node.lowers_target = false;
        }
    }

    /// Changes the status in the listing, after the listing lag.
    pub(crate) fn list(&mut self, node: Serial, status: Option<InstanceStatus>) {
        if self.spec.listing_lag <= Span::ZERO {
            self.show_listed(node, status);
        } else {
            let at = self.now + self.spec.listing_lag;
            self.plan(at, Scheduled::ShowsListed { node, status });
        }
    }

    pub(crate) fn show_listed(&mut self, serial: Serial, status: Option<InstanceStatus>) {
        let Some(node) = self.fleet.nodes.get_mut(&serial) else { return };
        let is_over = node.phase == Phase::Gone && status.is_none();
        node.listed = status;
        if is_over {
            let id = node.id;
            self.fleet.nodes.remove(&serial);
            self.fleet.by_id.remove(&id);
        }
    }

    /// Changes `CurrentCount`. The change shows after the count lag and never before an earlier
    /// change.
    fn count(&mut self, group: GroupNo, change: i32) {
        let lag = self.spec.count_lag + self.counts_lag_longer();
        let state = &mut self.fleet.groups[group.0];
        state.current = state.current.saturating_add_signed(change);
        let at = (self.now + lag).max(state.count_shows_at);
        state.count_shows_at = at;
        let current = state.current;
        if at <= self.now {
            state.current_shown = current;
        } else {
            self.plan(at, Scheduled::ShowsCount { group, current });
        }
    }

    fn record_live(&mut self, group: GroupNo) {
        let live = NodeCount(self.fleet.groups[group.0].live);
        self.record.live(group, self.now, live);
    }

    /// Returns the billed time and the boot time that the group's current nodes have added so far.
    pub(crate) fn open_accounts(&self, group: GroupNo) -> (Span, Span) {
        let mut billed = Span::ZERO;
        let mut booting = Span::ZERO;
        for node in self.fleet.nodes.values().filter(|node| node.group == group) {
            match node.phase {
                Phase::Gone => continue,
                Phase::Booting | Phase::Checking => booting += self.now.since(node.launched),
                Phase::Up | Phase::Failed | Phase::Leaving(_) => {}
            }
            billed += self.now.since(node.billed_from);
        }
        (billed, booting)
    }
}
