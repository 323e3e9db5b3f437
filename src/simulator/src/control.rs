//! Control plane for the simulated endpoint: a consistent view of the cluster, its groups and its
//! nodes. It shows more members than the daemon's ports. Faults apply here, too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use trimtab_core::ids::{GroupName, InstanceId, LedgerId, NodeName};
use trimtab_core::reads::{ClusterState, InstanceStatus, NodeListing};
use trimtab_core::units::{NodeCount, Time};
use trimtab_daemon::ports::{Clock, CordonOrder, DeleteOutcome, ReadError, WriteError};

use crate::faults::FaultKind;
use crate::fleet::{GroupNo, Phase, Serial};
use crate::ports::PortOptions;
use crate::rng::{Stream, id_number};
use crate::spec::{GroupSpec, WorldSpec};
use crate::truth::Caller;
use crate::world::{Inner, Scheduled, World};

pub use crate::update::GroupChange;

/// XORed into the seed for logical node ids, so that they differ from instance ids.
const LOGICAL_IDS: u64 = 0x6c6f_6769_6361_6c21;

/// Start of the refusal message of a delete request whose nodes all fail.
pub(crate) const ALL_FAILED: &str = "ValidationException: all nodes failed";
/// Error of a request that was carried out but whose answer was lost.
pub(crate) const ACTED_UNANSWERED: &str = "timed out on the way back";

/// State of software updates.
#[derive(Debug, Clone)]
pub(crate) struct Software {
    /// Whether UpdateClusterSoftware has run since the cluster was created.
    pub(crate) patched: bool,
    /// Image release that a running update installs.
    coming: Option<Arc<str>>,
}

impl Software {
    pub(crate) fn new(spec: &WorldSpec) -> Self {
        Self { patched: spec.api.patched, coming: None }
    }

    /// Whether a requested update is running.
    pub(crate) fn is_updating(&self) -> bool {
        self.coming.is_some()
    }
}

/// The cluster at one instant, as the API shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct ControlPlane {
    /// The spec, including groups that were added later.
    pub spec: Arc<WorldSpec>,
    pub state: ClusterState,
    /// Image release of the nodes.
    pub image: Arc<str>,
    /// Image release that a running update installs.
    pub coming_image: Option<Arc<str>>,
    /// Groups in the order in which they were added.
    pub groups: Vec<ControlGroup>,
}

/// One group at one instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlGroup {
    /// Index into [`WorldSpec::groups`].
    pub number: usize,
    /// CurrentCount as DescribeCluster shows it; it lags behind.
    pub current: NodeCount,
    pub target: NodeCount,
    pub min: Option<NodeCount>,
    /// Nodes that are booting or being checked.
    pub arriving: NodeCount,
    /// Nodes being deleted.
    pub leaving: NodeCount,
    /// Failed nodes that are not replaced yet.
    pub failed: NodeCount,
    /// Whether the group is being deleted.
    pub deleting: bool,
    /// Whether the group is still growing to its MinCount.
    pub lacks_minimum: bool,
}

impl ControlPlane {
    /// Returns the spec of a group.
    pub fn spec_of(&self, group: &ControlGroup) -> &GroupSpec {
        &self.spec.groups[group.number]
    }

    /// Returns the group with this name.
    pub fn group(&self, name: &str) -> Option<&ControlGroup> {
        self.groups.iter().find(|group| self.spec_of(group).name.as_str() == name)
    }
}

/// One node, as the API lists it.
#[derive(Debug, Clone, PartialEq)]
pub struct ControlNode {
    pub id: InstanceId,
    /// Whether the API shows the instance id already.
    pub has_instance: bool,
    /// Logical id, which a node of a continuous cluster has from the request on.
    pub logical_id: String,
    pub group: GroupName,
    /// First label of the private DNS name; the scheduler's name for the node.
    pub name: NodeName,
    pub launched: Time,
    /// Time of the last UpdateClusterSoftware on this node.
    pub software_updated: Option<Time>,
    /// Status that the API shows.
    pub status: InstanceStatus,
    /// Position in the order of launches.
    pub number: u32,
}

/// All nodes, as the API lists them.
#[derive(Debug, Clone, PartialEq)]
pub struct ControlNodes {
    /// False if the end of the list is missing.
    pub complete: bool,
    /// In launch order. A fault can list a node twice.
    pub nodes: Vec<ControlNode>,
}

/// Outcome of a delete request and the failure of each node. The failures are given even if the
/// whole request was refused because of them.
#[derive(Debug, Clone, PartialEq)]
pub struct DeleteReport {
    pub outcome: DeleteOutcome,
    /// The API's code of each node that cannot be deleted.
    pub failures: BTreeMap<InstanceId, Arc<str>>,
}

impl DeleteReport {
    /// Whether the request was refused because every node failed.
    pub fn all_failed(&self) -> bool {
        match &self.outcome {
            DeleteOutcome::Refused { why, .. } => why.starts_with(ALL_FAILED),
            DeleteOutcome::Answered { .. } | DeleteOutcome::NoAnswer { .. } => false,
        }
    }
}

/// Whether the request was carried out, with or without an answer.
pub fn has_acted(outcome: &DeleteOutcome) -> bool {
    match outcome {
        DeleteOutcome::Answered { .. } => true,
        DeleteOutcome::Refused { .. } => false,
        DeleteOutcome::NoAnswer { why } => **why == *ACTED_UNANSWERED,
    }
}

/// Outcome of a change that deletes no nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeOutcome {
    /// The change was carried out; these nodes were launched.
    Done(Vec<InstanceId>),
    /// Refusal, as `CODE: reason`.
    Refused(Arc<str>),
    /// No answer. The change may have been carried out.
    NoAnswer,
}

impl World {
    /// DescribeCluster, with all members that the API shows.
    ///
    /// # Errors
    /// If a fault blocks the read.
    pub fn control(&self) -> Result<ControlPlane, ReadError> {
        self.lock().control()
    }

    /// ListClusterNodes, all pages, with all members that the API shows.
    ///
    /// # Errors
    /// If a fault blocks the read.
    pub fn control_nodes(&self) -> Result<ControlNodes, ReadError> {
        let inner = self.lock();
        let listing = inner.list_nodes(&inner.spec.cluster)?;
        Ok(inner.with_particulars(listing))
    }

    /// DescribeClusterNode. Returns `None` if the node does not exist.
    ///
    /// # Errors
    /// If a fault blocks the read.
    pub fn control_node(&self, node: InstanceId) -> Result<Option<ControlNode>, ReadError> {
        let inner = self.lock();
        let status = inner.describe_node(&inner.spec.cluster, node)?;
        let found = inner.fleet.find(node);
        Ok(found.zip(status).map(|((serial, _), status)| inner.particulars(serial, status)))
    }

    /// Returns the instance with this logical id, if it exists or is still listed.
    pub fn instance_of(&self, logical_id: &str) -> Option<InstanceId> {
        let inner = self.lock();
        let mut nodes = inner.fleet.nodes.iter();
        nodes
            .find_map(|(serial, node)| (inner.logical_id(*serial) == logical_id).then_some(node.id))
    }

    /// Returns the logical id of a node that exists or is still listed.
    pub fn logical_id_of(&self, node: InstanceId) -> Option<String> {
        let inner = self.lock();
        let (serial, _) = inner.fleet.find(node)?;
        Some(inner.logical_id(serial))
    }

    /// Returns the last `count` nodes launched in a group that exist or are still listed.
    pub fn newest_nodes(&self, group: &GroupName, count: NodeCount) -> Vec<InstanceId> {
        let inner = self.lock();
        let Some(number) = inner.group_no(group) else { return vec![] };
        let nodes = inner.fleet.nodes.values().rev().filter(|node| node.group == number);
        nodes.take(count.get()).map(|node| node.id).collect()
    }

    /// Whether the node exists or is still listed.
    pub fn has_node(&self, node: InstanceId) -> bool {
        self.lock().fleet.find(node).is_some()
    }

    /// BatchDeleteClusterNodes. Nodes named by their logical ids may still be booting.
    pub fn delete(
        &self,
        nodes: &[InstanceId],
        by_logical_id: &BTreeSet<InstanceId>,
        by: Caller,
    ) -> DeleteReport {
        let (outcome, failures) = self.lock().delete(nodes, by_logical_id, by);
        DeleteReport { outcome, failures }
    }

    /// UpdateCluster. Either all changes are made or none.
    pub fn update_cluster(&self, changes: &[GroupChange], by: Caller) -> DeleteOutcome {
        self.lock().update_cluster(changes, by)
    }

    /// BatchAddClusterNodes for one group.
    pub fn add_nodes(&self, group: &GroupName, by: NodeCount) -> ChangeOutcome {
        self.lock().add_nodes(group, by)
    }

    /// UpdateClusterSoftware to this image release, or to the next one.
    pub fn update_software(&self, image: Option<Arc<str>>) -> ChangeOutcome {
        self.lock().update_software(image)
    }

    /// Returns the fault that refuses all changes, as `CODE: reason`.
    pub fn refuses_changes(&self) -> Option<Arc<str>> {
        self.lock().gate_refusal().map(|(_, why)| why)
    }

    /// Negative control: shows a cordon, but the scheduler still starts jobs on the nodes.
    ///
    /// # Errors
    /// If a fault blocks the request.
    pub fn pretend_cordon(
        &self,
        ledger: &LedgerId,
        orders: &[CordonOrder],
    ) -> Result<(), WriteError> {
        let mut inner = self.lock();
        let cluster = inner.spec.cluster.clone();
        inner.cordon(&cluster, ledger, orders, true)
    }

    /// Returns the clocks of the daemon's machine, faults included.
    pub fn machine_clock(&self) -> Arc<dyn Clock> {
        self.ports(PortOptions::default()).clock
    }
}

impl Inner {
    fn control(&self) -> Result<ControlPlane, ReadError> {
        let description = self.describe(&self.spec.cluster)?;
        let mut groups: Vec<ControlGroup> = vec![];
        for (number, group) in self.fleet.groups.iter().enumerate() {
            if self.fleet.is_deleted(GroupNo(number)) {
                continue;
            }
            groups.push(ControlGroup {
                number,
                current: NodeCount(group.current_shown),
                target: NodeCount(group.target),
                min: group.min.map(NodeCount),
                arriving: NodeCount(group.arriving),
                leaving: NodeCount::ZERO,
                failed: NodeCount::ZERO,
                deleting: group.deleting,
                lacks_minimum: self.lacks_minimum(GroupNo(number)),
            });
        }
        for node in self.fleet.nodes.values() {
            let Some(group) = groups.iter_mut().find(|group| group.number == node.group.0) else {
                continue;
            };
            match node.phase {
                Phase::Leaving(_) => group.leaving += NodeCount(1),
                Phase::Failed => group.failed += NodeCount(1),
                Phase::Booting | Phase::Checking | Phase::Up | Phase::Gone => {}
            }
        }
        Ok(ControlPlane {
            spec: Arc::clone(&self.spec),
            state: description.state,
            image: Arc::clone(&self.fleet.image),
            coming_image: self.software.coming.clone(),
            groups,
        })
    }

    fn with_particulars(&self, listing: NodeListing) -> ControlNodes {
        let node = |listed: trimtab_core::reads::ListedNode| {
            let (serial, _) = self.fleet.find(listed.id)?;
            Some(self.particulars(serial, listed.status))
        };
        let nodes = listing.nodes.into_iter().filter_map(node).collect();
        ControlNodes { complete: listing.complete, nodes }
    }

    fn particulars(&self, serial: Serial, status: InstanceStatus) -> ControlNode {
        let node = &self.fleet.nodes[&serial];
        let delay = self.spec.api.instance_delay;
        ControlNode {
            id: node.id,
            has_instance: self.is_classic() || self.now >= node.launched + delay,
            logical_id: self.logical_id(serial),
            group: self.spec.groups[node.group.0].name.clone(),
            name: node.name.clone(),
            launched: node.launched,
            software_updated: node.software_updated,
            status,
            number: serial.0,
        }
    }

    fn logical_id(&self, serial: Serial) -> String {
        format!("node-{:016x}", id_number(self.spec.seed ^ LOGICAL_IDS, u64::from(serial.0)))
    }

    fn add_nodes(&mut self, group: &GroupName, by: NodeCount) -> ChangeOutcome {
        if self.faults.any(|kind| *kind == FaultKind::WriteTimesOutBeforeActing) {
            return ChangeOutcome::NoAnswer;
        }
        if let Some((_, why)) = self.gate_refusal().or_else(|| self.busy_refusal()) {
            return ChangeOutcome::Refused(why);
        }
        let Some(number) = self.group_no(group) else {
            let why = format!("ResourceNotFound: no instance group {group}");
            return ChangeOutcome::Refused(why.into());
        };
        let new = self.grow(number, by.0, None);
        if self.faults.any(|kind| *kind == FaultKind::WriteTimesOutAfterActing) {
            return ChangeOutcome::NoAnswer;
        }
        ChangeOutcome::Done(new)
    }

    fn update_software(&mut self, image: Option<Arc<str>>) -> ChangeOutcome {
        if self.faults.any(|kind| *kind == FaultKind::WriteTimesOutBeforeActing) {
            return ChangeOutcome::NoAnswer;
        }
        let busy = self.busy_refusal().or_else(|| {
            let groups = (0..self.fleet.groups.len()).map(GroupNo);
            let mut groups = groups.filter(|group| !self.fleet.is_deleted(*group));
            groups.find_map(|group| self.group_busy_refusal(group))
        });
        if let Some((_, why)) = self.gate_refusal().or(busy) {
            return ChangeOutcome::Refused(why);
        }
        self.software.coming = Some(image.unwrap_or_else(|| next_release(&self.fleet.image)));
        let mut rng = self.rng(Stream::Software, self.now.0.unsigned_abs());
        let takes = rng.span(self.spec.api.software_update);
        self.plan(self.now + takes, Scheduled::SoftwareUpdated);
        for serial in self.nodes_that_are_up() {
            self.list(serial, Some(InstanceStatus::SystemUpdating));
        }
        match self.faults.any(|kind| *kind == FaultKind::WriteTimesOutAfterActing) {
            true => ChangeOutcome::NoAnswer,
            false => ChangeOutcome::Done(vec![]),
        }
    }

    pub(crate) fn end_software_update(&mut self) {
        let Some(image) = self.software.coming.take() else { return };
        self.software.patched = true;
        self.fleet.image = image;
        for serial in self.nodes_that_are_up() {
            if let Some(node) = self.fleet.nodes.get_mut(&serial) {
                node.software_updated = Some(self.now);
            }
            self.list(serial, Some(InstanceStatus::Running));
        }
    }

    fn nodes_that_are_up(&self) -> Vec<Serial> {
        let up = self.fleet.nodes.iter().filter(|(_, node)| node.phase == Phase::Up);
        up.map(|(serial, _)| *serial).collect()
    }
}

/// Returns the release after one of the form `1.0.3`.
fn next_release(image: &str) -> Arc<str> {
    let next = image.rsplit_once('.').and_then(|(front, last)| {
        let last: u64 = last.parse().ok()?;
        Some(format!("{front}.{}", last + 1))
    });
    next.map_or_else(|| image.into(), Into::into)
}
