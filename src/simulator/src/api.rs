//! Answers of SageMaker and of the scheduler, faults included. The ports and all other frontends
//! use these functions.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use trimtab_core::ids::{ClusterName, GroupName, InstanceId};
use trimtab_core::policy::REQUEST_NODE_LIMIT;
use trimtab_core::reads::{
    Capacity, ClusterDescription, ClusterState, ClusterStatus, GroupDescription, InstanceStatus,
    Joined, ListedNode, NodeCapacity, NodeListing, Provisioning, Role,
};
use trimtab_core::units::{NodeCount, Span};
use trimtab_daemon::ports::{DeleteOutcome, NodeDetails, ReadError, Refusal};

use crate::control::ALL_FAILED;
use crate::faults::FaultKind;
use crate::fleet::{GroupNo, Leave, OperationNo, Phase, Serial};
use crate::log::WorldEvent;
use crate::rng::Stream;
use crate::spec::api::{BelowMinAnswer, BusyAnswer, DELETES_SINCE, OverLimitAnswer};
use crate::truth::{AskedNode, Caller, DeleteRequest};
use crate::world::Inner;

/// Age of the cluster at the start: older than any of its nodes.
const CLUSTER_AGE: Span = Span::hours(30 * 24);

/// Error codes of BatchDeleteClusterNodes, and one that is not documented.
const FAILURE_CODES: [&str; 4] =
    ["NodeIdInUse", "InvalidNodeStatus", "NodeIdNotFound", "InternalError"];

impl Inner {
    /// Checks that the request is for this world's cluster and that no fault blocks reads.
    fn admit_read(&self, cluster: &ClusterName, service: &str) -> Result<(), ReadError> {
        if *cluster != self.spec.cluster {
            return Err(ReadError::Refused(
                format!("ResourceNotFound: no cluster {cluster}").into(),
            ));
        }
        if self.faults.any(|kind| *kind == FaultKind::AccessDenied) {
            return Err(ReadError::Refused("AccessDeniedException".into()));
        }
        if self.faults.any(|kind| *kind == FaultKind::ThrottledReads) {
            return Err(ReadError::Throttled(service.into()));
        }
        Ok(())
    }

    pub(crate) fn describe(&self, cluster: &ClusterName) -> Result<ClusterDescription, ReadError> {
        self.admit_read(cluster, "DescribeCluster")?;
        let is_updated = self.is_updated();
        let busy = self.is_classic() && self.fleet.is_operating();
        let status = match (is_updated, busy) {
            (true, _) => ClusterStatus::SystemUpdating,
            (false, true) => ClusterStatus::Updating,
            (false, false) => ClusterStatus::InService,
        };
        let listed = self.spec.groups.iter().zip(&self.fleet.groups).enumerate();
        let listed = listed.filter(|(number, _)| !self.fleet.is_deleted(GroupNo(*number)));
        let groups = listed.map(|(_, (named, group))| {
            let description = GroupDescription {
                role: group.role,
                current: NodeCount(group.current_shown),
                target: NodeCount(group.target),
                calm: group.arriving == 0 && !group.deleting && !busy && !is_updated,
                capacity: Some(named.capacity),
            };
            (named.name.clone(), description)
        });
        Ok(ClusterDescription {
            groups: groups.collect(),
            state: ClusterState {
                status,
                provisioning: self.spec.provisioning,
                rival_autoscaler: self.faults.any(|kind| *kind == FaultKind::RivalAutoscaler),
                software_update: is_updated,
                created: Some(self.spec.start - CLUSTER_AGE),
            },
        })
    }

    pub(crate) fn is_classic(&self) -> bool {
        match self.spec.provisioning {
            Provisioning::Classic => true,
            Provisioning::Continuous => false,
        }
    }

    pub(crate) fn is_updated(&self) -> bool {
        self.software.is_updating() || self.faults.any(|kind| *kind == FaultKind::ClusterUpdating)
    }

    pub(crate) fn list_nodes(&self, cluster: &ClusterName) -> Result<NodeListing, ReadError> {
        self.admit_read(cluster, "ListClusterNodes")?;
        if self.faults.any(|kind| *kind == FaultKind::ListingEmpty) {
            return Ok(NodeListing { complete: true, nodes: vec![] });
        }
        let missing = self.faults.node_of(|kind| *kind == FaultKind::ListingMissesNode);
        let odd = self.faults.node_of(|kind| *kind == FaultKind::ListingOddStatus);
        let mut nodes: Vec<ListedNode> = Vec::with_capacity(self.fleet.nodes.len() + 1);
        for (serial, node) in &self.fleet.nodes {
            let Some(status) = node.listed.clone().filter(|_| missing != Some(*serial)) else {
                continue;
            };
            let status = if odd == Some(*serial) {
                InstanceStatus::Unrecognised("Mending".into())
            } else {
                status
            };
            nodes.push(ListedNode {
                id: node.id,
                group: self.spec.groups[node.group.0].name.clone(),
                launched: node.launched,
                status,
                name: Some(node.name.clone()),
                joined: Joined::ByDnsName,
                address: None,
                image: Some(Arc::clone(&self.fleet.image)),
                health: 100,
                protected: node.protected,
                capacity: NodeCapacity::Unread,
            });
        }
        if self.faults.any(|kind| *kind == FaultKind::ListingDuplicate) {
            let twice = nodes.last().cloned();
            nodes.extend(twice);
        }
        if self.faults.any(|kind| *kind == FaultKind::ListingTruncated) {
            nodes.truncate(nodes.len() * 2 / 3);
            return Ok(NodeListing { complete: false, nodes });
        }
        Ok(NodeListing { complete: true, nodes })
    }

    pub(crate) fn describe_node(
        &self,
        cluster: &ClusterName,
        node: InstanceId,
    ) -> Result<Option<InstanceStatus>, ReadError> {
        self.admit_read(cluster, "DescribeClusterNode")?;
        Ok(self.fleet.find(node).and_then(|(_, node)| node.listed.clone()))
    }

    /// What DescribeClusterNode returns. Like the API, it shows the capacity type only for
    /// on-demand and spot capacity. A node that is not listed has no entry.
    pub(crate) fn details(
        &self,
        cluster: &ClusterName,
        nodes: &[InstanceId],
    ) -> Result<BTreeMap<InstanceId, NodeDetails>, ReadError> {
        self.admit_read(cluster, "DescribeClusterNode")?;
        let read = |id: &InstanceId| {
            let (_, node) = self.fleet.find(*id)?;
            node.listed.as_ref()?;
            let capacity = match self.spec.groups[node.group.0].capacity {
                metered @ (Capacity::OnDemand | Capacity::Spot) => Some(metered),
                Capacity::TrainingPlan | Capacity::Reserved => None,
            };
            // A node's name contains its address, and a replacement keeps both.
            let digits = node.name.as_str().strip_prefix("ip-")?.replace('-', ".");
            let ip = digits.parse::<IpAddr>().ok();
            Some((*id, NodeDetails { capacity, ip }))
        };
        Ok(nodes.iter().filter_map(read).collect())
    }

    /// Handles a delete request and returns its outcome.
    pub(crate) fn delete_nodes(&mut self, ids: &[InstanceId], by: Caller) -> DeleteOutcome {
        self.delete(ids, &BTreeSet::new(), by).0
    }

    /// As [`Self::delete_nodes`], but nodes in `by_logical_id` may still be booting. Returns the
    /// outcome and the failure code of each failed node, also if the whole request is refused
    /// because all nodes failed.
    pub(crate) fn delete(
        &mut self,
        ids: &[InstanceId],
        by_logical_id: &BTreeSet<InstanceId>,
        by: Caller,
    ) -> (DeleteOutcome, BTreeMap<InstanceId, Arc<str>>) {
        let timeout =
            |acted: &str| DeleteOutcome::NoAnswer { why: format!("timed out {acted}").into() };
        if self.faults.any(|kind| *kind == FaultKind::WriteTimesOutBeforeActing) {
            self.record_request(ids, by, Some("it never arrived".into()), false, None);
            return (timeout("on the way there"), BTreeMap::new());
        }
        if let Some((cause, why)) = self.refusal(ids) {
            return (self.refuse(ids, by, cause, why), BTreeMap::new());
        }
        let failures = self.failures(ids, by_logical_id);
        if failures.len() == ids.len() {
            let why = failures.values().next().map_or("", |code| &**code);
            let why = format!("{ALL_FAILED}: {why}").into();
            return (self.refuse(ids, by, Refusal::Unknown, why), failures);
        }
        let answered = !self.faults.any(|kind| *kind == FaultKind::WriteTimesOutAfterActing);
        let request = self.record_request(ids, by, None, answered, None);
        let accepted: Vec<InstanceId> =
            ids.iter().copied().filter(|id| !failures.contains_key(id)).collect();
        let operation = self.fleet.begin_operation(NodeCount::of(accepted.len()).0);
        for id in ids {
            match failures.get(id) {
                None => self.accept(request, *id, by, operation),
                Some(code) => {
                    self.record_asked(request, *id, by, Some(Arc::clone(code)));
                    let code = Arc::clone(code);
                    self.write(WorldEvent::NodeRefused { node: *id, code });
                }
            }
        }
        self.settle_live_after(request);
        if !answered {
            return (timeout("on the way back"), failures);
        }
        let failed = failures.clone().into_iter().collect();
        (DeleteOutcome::Answered { accepted, failed }, failures)
    }

    /// Deletes a node for an operator. Faults do not block this request.
    pub(crate) fn delete_as_operator(&mut self, serial: Serial) {
        let Some(node) = self.fleet.nodes.get(&serial) else { return };
        if node.phase != Phase::Up || (self.is_classic() && self.fleet.is_operating()) {
            return;
        }
        let (id, by) = (node.id, Caller::Operator);
        let request = self.record_request(&[id], by, None, true, None);
        let operation = self.fleet.begin_operation(1);
        self.accept(request, id, by, operation);
        self.settle_live_after(request);
    }

    pub(crate) fn accept(
        &mut self,
        request: usize,
        id: InstanceId,
        by: Caller,
        operation: OperationNo,
    ) {
        let asked = self.record_asked(request, id, by, None);
        let Some((serial, node)) = self.fleet.find(id) else { return };
        let (group, slot) = (node.group, node.slot);
        self.begin_leaving(serial, Leave::Deleted { asked, by }, Some(operation));
        let live = NodeCount(self.fleet.groups[group.0].live);
        let jobs = slot.map_or_else(Vec::new, |slot| self.jobs_on(slot));
        let drained = self.record.asked[asked].drained_at_call.clone();
        self.write(WorldEvent::NodeLeaving { node: id, by, jobs, drained, live });
    }

    /// Returns why the whole request is refused, before single nodes are checked.
    fn refusal(&self, ids: &[InstanceId]) -> Option<(Refusal, Arc<str>)> {
        let is = |fault: FaultKind| self.faults.any(|kind| *kind == fault);
        if let Some(refusal) = self.gate_refusal() {
            return Some(refusal);
        }
        if is(FaultKind::DeleteTotalFailure) {
            let why = "ValidationException: all nodes failed: InvalidNodeStatus";
            return Some((Refusal::Unknown, why.into()));
        }
        let is_over = match self.spec.api.over_limit {
            OverLimitAnswer::Validation | OverLimitAnswer::ResourceLimit => {
                ids.len() > REQUEST_NODE_LIMIT.get()
            }
            OverLimitAnswer::Accepted => false,
        };
        if ids.is_empty() || is_over {
            let code = match self.spec.api.over_limit {
                OverLimitAnswer::ResourceLimit if is_over => "ResourceLimitExceeded",
                OverLimitAnswer::Validation
                | OverLimitAnswer::ResourceLimit
                | OverLimitAnswer::Accepted => "ValidationException",
            };
            let why = format!("{code}: {} node ids, not 1 to 99", ids.len());
            return Some((Refusal::Unknown, why.into()));
        }
        if ids.iter().collect::<BTreeSet<_>>().len() < ids.len() {
            return Some((Refusal::Unknown, "ValidationException: a node id twice".into()));
        }
        if !self.software.patched && self.spec.api.created < DELETES_SINCE {
            let why = "ValidationException: the cluster has to be updated with \
                       UpdateClusterSoftware once before nodes can be deleted from it";
            return Some((Refusal::Unknown, why.into()));
        }
        let busy = self.busy_refusal().or_else(|| {
            let groups = ids.iter().filter_map(|id| Some(self.fleet.find(*id)?.1.group));
            groups.into_iter().find_map(|group| self.group_busy_refusal(group))
        });
        if let Some((cause, why)) = busy {
            return Some(match self.spec.api.busy {
                BusyAnswer::Conflict => (cause, why),
                BusyAnswer::Validation => {
                    let said = why.strip_prefix("ConflictException").unwrap_or(&why);
                    (Refusal::Unknown, format!("ValidationException{said}").into())
                }
            });
        }
        self.below_min(ids)
    }

    /// Returns the fault that refuses all changes.
    pub(crate) fn gate_refusal(&self) -> Option<(Refusal, Arc<str>)> {
        if self.faults.any(|kind| *kind == FaultKind::AccessDenied) {
            return Some((Refusal::Denied, "AccessDeniedException".into()));
        }
        if self.faults.any(|kind| *kind == FaultKind::ThrottledWrites) {
            return Some((Refusal::Throttled, "ThrottlingException: rate exceeded".into()));
        }
        None
    }

    /// Returns why the cluster accepts no change now.
    pub(crate) fn busy_refusal(&self) -> Option<(Refusal, Arc<str>)> {
        if self.is_updated() {
            let why = "ConflictException: the cluster is SystemUpdating";
            return Some((Refusal::Conflict, why.into()));
        }
        if self.is_classic() && self.fleet.is_operating() {
            let why = "ConflictException: the cluster is Updating";
            return Some((Refusal::Conflict, why.into()));
        }
        None
    }

    /// Returns why a group of a continuous cluster accepts no node deletions now: the group is
    /// being deleted, or it has not reached its MinCount yet.
    pub(crate) fn group_busy_refusal(&self, group: GroupNo) -> Option<(Refusal, Arc<str>)> {
        let name = &self.spec.groups[group.0].name;
        let what = if self.fleet.groups[group.0].deleting {
            "is being deleted"
        } else if self.lacks_minimum(group) {
            "does not have its MinCount yet"
        } else {
            return None;
        };
        let why = format!("ConflictException: instance group {name} {what}");
        Some((Refusal::Conflict, why.into()))
    }

    /// Whether a group is still growing to its MinCount.
    pub(crate) fn lacks_minimum(&self, group: GroupNo) -> bool {
        let group = &self.fleet.groups[group.0];
        group.arriving > 0 && group.min.is_some_and(|min| group.live < min)
    }

    /// Returns why these nodes must not be deleted, if this API enforces MinCount.
    fn below_min(&self, ids: &[InstanceId]) -> Option<(Refusal, Arc<str>)> {
        match self.spec.api.below_min {
            BelowMinAnswer::Accepted => return None,
            BelowMinAnswer::Refused => {}
        }
        let mut leaving: BTreeMap<GroupNo, u32> = BTreeMap::new();
        for (_, node) in ids.iter().filter_map(|id| self.fleet.find(*id)) {
            *leaving.entry(node.group).or_default() += 1;
        }
        leaving.into_iter().find_map(|(number, leaving)| {
            let group = &self.fleet.groups[number.0];
            let min = group.min?;
            (group.members.saturating_sub(leaving) < min).then(|| {
                let name = &self.spec.groups[number.0].name;
                let why = format!("ValidationException: instance group {name} has MinCount {min}");
                (Refusal::Unknown, why.into())
            })
        })
    }

    /// Returns the nodes that cannot be deleted, with the API's error codes.
    fn failures(
        &self,
        ids: &[InstanceId],
        by_logical_id: &BTreeSet<InstanceId>,
    ) -> BTreeMap<InstanceId, Arc<str>> {
        let percent = self.faults.failing_percent();
        let mut rng = self.rng(Stream::Targets, 1 << 40 | self.record.requests.len() as u64);
        let mut failures = BTreeMap::new();
        for id in ids {
            let (unlucky, code) = (rng.below(100), rng.index(FAILURE_CODES.len()));
            let code = match self.fleet.find(*id) {
                None => Some("NodeIdNotFound"),
                Some((_, node)) => match (self.fleet.groups[node.group.0].role, node.phase) {
                    (Role::Controller, _) => Some("InvalidNodeStatus"),
                    (_, Phase::Gone) => Some("NodeIdNotFound"),
                    (_, Phase::Booting | Phase::Checking) if by_logical_id.contains(id) => None,
                    (_, Phase::Booting | Phase::Checking | Phase::Failed | Phase::Leaving(_)) => {
                        Some("InvalidNodeStatus")
                    }
                    (Role::Worker | Role::Login, Phase::Up) => percent
                        .filter(|percent| unlucky < *percent)
                        .and_then(|_| FAILURE_CODES.get(code).copied()),
                },
            };
            if let Some(code) = code {
                failures.insert(*id, code.into());
            }
        }
        failures
    }

    pub(crate) fn refuse(
        &mut self,
        ids: &[InstanceId],
        by: Caller,
        cause: Refusal,
        why: Arc<str>,
    ) -> DeleteOutcome {
        let request = self.record_request(ids, by, Some(Arc::clone(&why)), true, None);
        for id in ids {
            self.record_asked(request, *id, by, Some(Arc::clone(&why)));
        }
        self.settle_live_after(request);
        self.write(WorldEvent::RequestRefused(Arc::clone(&why)));
        DeleteOutcome::Refused { cause, why }
    }

    pub(crate) fn record_request(
        &mut self,
        ids: &[InstanceId],
        by: Caller,
        refused: Option<Arc<str>>,
        answered: bool,
        count: Option<(&GroupName, NodeCount)>,
    ) -> usize {
        let nodes = ids.to_vec();
        let count = count.map(|(group, count)| (group.clone(), count));
        let request = DeleteRequest { at: self.now, by, nodes, count, refused, answered };
        self.record.requests.push(request);
        self.record.requests.len() - 1
    }

    fn record_asked(
        &mut self,
        request: usize,
        id: InstanceId,
        by: Caller,
        failed: Option<Arc<str>>,
    ) -> usize {
        let node = self.fleet.find(id).map(|(_, node)| node);
        let slot = node.and_then(|node| self.scheduler.slots.get(&node.slot?));
        let asked = AskedNode {
            request,
            at: self.now,
            by,
            node: id,
            known: node.map(|n| (self.spec.groups[n.group.0].name.clone(), n.name.clone())),
            failed,
            jobs_at_call: node
                .and_then(|node| node.slot)
                .map_or_else(Vec::new, |s| self.jobs_on(s)),
            drained_at_call: slot.and_then(|s| Some(Arc::clone(&s.drain.as_ref()?.reason))),
            live_after: NodeCount::ZERO,
            terminated: None,
            jobs_at_end: vec![],
        };
        self.record.asked.push(asked);
        self.record.asked.len() - 1
    }

    /// Fills in the number of live nodes after the request, once all of its nodes are handled.
    pub(crate) fn settle_live_after(&mut self, request: usize) {
        for asked in self.record.asked.iter_mut().rev().take_while(|a| a.request == request) {
            let group = asked.known.as_ref().map(|(group, _)| group);
            let at = self.spec.groups.iter().position(|named| Some(&named.name) == group);
            asked.live_after =
                at.map_or(NodeCount::ZERO, |at| NodeCount(self.fleet.groups[at].live));
        }
    }

    /// Sets a group to `count` nodes if that is more than it has. Operators grow groups this way.
    pub(crate) fn set_count(
        &mut self,
        group: &GroupName,
        count: NodeCount,
    ) -> Result<(), Arc<str>> {
        let Some(number) = self.spec.groups.iter().position(|named| named.name == *group) else {
            return Err(format!("ResourceNotFound: no group {group}").into());
        };
        if self.is_updated() || (self.is_classic() && self.fleet.is_operating()) {
            return Err("ConflictException: the cluster is Updating".into());
        }
        if self.fleet.groups[number].deleting {
            return Err("ConflictException: the instance group is being deleted".into());
        }
        let members = self.fleet.groups[number].members;
        self.grow(GroupNo(number), count.0.saturating_sub(members), None);
        Ok(())
    }
}
