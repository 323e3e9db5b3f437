//! UpdateCluster: sets group counts, adds groups and deletes groups.
//!
//! A lower count removes random nodes, with or without jobs. Each of these nodes is then handled
//! like a node of a delete request, with the same lags and the same record.

use std::sync::Arc;

use trimtab_core::ids::{GroupName, InstanceId};
use trimtab_core::reads::Role;
use trimtab_core::units::NodeCount;
use trimtab_daemon::ports::{DeleteOutcome, Refusal};

use crate::control::ACTED_UNANSWERED;
use crate::faults::FaultKind;
use crate::fleet::{GroupNo, Phase, Serial};
use crate::log::WorldEvent;
use crate::rng::Stream;
use crate::spec::GroupSpec;
use crate::truth::Caller;
use crate::world::Inner;

/// Change of one group.
#[derive(Debug, Clone, PartialEq)]
pub enum GroupChange {
    /// Sets a group's count, and its MinCount if given.
    Set {
        group: GroupName,
        /// New number of nodes.
        count: NodeCount,
        /// New MinCount; unchanged if `None`.
        min: Option<NodeCount>,
    },
    /// Adds a group and launches its `count` nodes.
    Add(Box<GroupSpec>),
    /// Deletes a group and its nodes.
    Delete(GroupName),
}

impl Inner {
    /// Sets the count of one group with UpdateCluster. The outcome accepts all nodes that may be
    /// deleted, because the caller cannot know which ones the API chooses.
    pub(crate) fn update_count(
        &mut self,
        group: &GroupName,
        count: NodeCount,
        by: Caller,
    ) -> DeleteOutcome {
        let members = self.group_no(group).map_or_else(Vec::new, |number| self.member_ids(number));
        let change = GroupChange::Set { group: group.clone(), count, min: None };
        match self.update_cluster(&[change], by) {
            DeleteOutcome::Answered { .. } => {
                DeleteOutcome::Answered { accepted: members, failed: vec![] }
            }
            other @ (DeleteOutcome::Refused { .. } | DeleteOutcome::NoAnswer { .. }) => other,
        }
    }

    /// Returns the ids of the group's nodes, sorted.
    fn member_ids(&self, group: GroupNo) -> Vec<InstanceId> {
        let mut ids: Vec<InstanceId> = self.fleet.members(group).map(|(_, node)| node.id).collect();
        ids.sort();
        ids
    }

    /// UpdateCluster: makes all of these changes or none. The outcome accepts the nodes that are
    /// deleted.
    pub(crate) fn update_cluster(&mut self, changes: &[GroupChange], by: Caller) -> DeleteOutcome {
        if self.faults.any(|kind| *kind == FaultKind::WriteTimesOutBeforeActing) {
            self.record_unmet(changes, by, "it never arrived".into(), false);
            return DeleteOutcome::NoAnswer { why: "timed out on the way there".into() };
        }
        if let Some((cause, why)) = self.update_refusal(changes) {
            self.record_unmet(changes, by, Arc::clone(&why), true);
            self.write(WorldEvent::RequestRefused(Arc::clone(&why)));
            return DeleteOutcome::Refused { cause, why };
        }
        let answered = !self.faults.any(|kind| *kind == FaultKind::WriteTimesOutAfterActing);
        let mut victims: Vec<InstanceId> = vec![];
        for change in changes {
            match change {
                GroupChange::Set { group, count, min } => {
                    let Some(number) = self.group_no(group) else { continue };
                    if let Some(min) = min {
                        self.fleet.groups[number.0].min = Some(min.0);
                    }
                    victims.extend(self.shrink(number, *count, by, answered));
                }
                GroupChange::Add(_) => {}
                GroupChange::Delete(group) => {
                    let Some(number) = self.group_no(group) else { continue };
                    self.fleet.groups[number.0].deleting = true;
                    victims.extend(self.shrink(number, NodeCount::ZERO, by, answered));
                }
            }
        }
        for change in changes {
            match change {
                GroupChange::Set { group, count, .. } => {
                    let Some(number) = self.group_no(group) else { continue };
                    let members = self.fleet.groups[number.0].members;
                    self.grow(number, count.0.saturating_sub(members), None);
                    self.set_target(number, count.0);
                }
                GroupChange::Add(spec) => self.add_group(spec),
                GroupChange::Delete(group) => {
                    let Some(number) = self.group_no(group) else { continue };
                    self.set_target(number, 0);
                }
            }
        }
        if !answered {
            return DeleteOutcome::NoAnswer { why: ACTED_UNANSWERED.into() };
        }
        DeleteOutcome::Answered { accepted: victims, failed: vec![] }
    }

    /// Records a request that changed nothing: its first group with a new count, and all nodes that
    /// the request could have deleted.
    fn record_unmet(&mut self, changes: &[GroupChange], by: Caller, why: Arc<str>, answered: bool) {
        let set = changes.iter().find_map(|change| match change {
            GroupChange::Set { group, count, .. } => Some((group, *count)),
            GroupChange::Add(_) | GroupChange::Delete(_) => None,
        });
        let number = set.and_then(|(group, _)| self.group_no(group));
        let members = number.map_or_else(Vec::new, |number| self.member_ids(number));
        self.record_request(&members, by, Some(why), answered, set);
    }

    /// Sets a group to a lower count and returns the nodes that are deleted. Returns no nodes if
    /// the count is not lower.
    fn shrink(
        &mut self,
        number: GroupNo,
        count: NodeCount,
        by: Caller,
        answered: bool,
    ) -> Vec<InstanceId> {
        let members = self.member_ids(number);
        let victims = self.victims(number, count);
        if victims.is_empty() {
            return victims;
        }
        let group = self.spec.groups[number.0].name.clone();
        let request = self.record_request(&members, by, None, answered, Some((&group, count)));
        self.write(WorldEvent::GroupShrunk { group, to: count, by });
        let operation = self.fleet.begin_operation(NodeCount::of(victims.len()).0);
        for id in &victims {
            self.accept(request, *id, by, operation);
        }
        self.settle_live_after(request);
        victims
    }

    fn add_group(&mut self, group: &GroupSpec) {
        Arc::make_mut(&mut self.spec).groups.push(group.clone());
        let number = self.fleet.add_group(group, self.now);
        self.record.add_group(group, self.now);
        self.scheduler.add_group(group);
        self.grow(number, group.count.0, None);
        self.set_target(number, group.count.0);
    }

    /// Chooses random nodes to delete so that a group has `count` nodes.
    fn victims(&self, group: GroupNo, count: NodeCount) -> Vec<InstanceId> {
        let mut members: Vec<(Serial, InstanceId)> =
            self.fleet.members(group).map(|(serial, node)| (serial, node.id)).collect();
        let surplus = members.len().saturating_sub(count.get());
        let n = (group.0 as u64) << 40 | self.record.requests.len() as u64;
        let mut rng = self.rng(Stream::Victims, n);
        // The first `surplus` positions of a shuffle (Fisher and Yates).
        for place in 0..surplus {
            let chosen = place + rng.index(members.len() - place);
            members.swap(place, chosen);
        }
        members.truncate(surplus);
        members.into_iter().map(|(_, id)| id).collect()
    }

    /// Returns why UpdateCluster is refused as a whole.
    fn update_refusal(&self, changes: &[GroupChange]) -> Option<(Refusal, Arc<str>)> {
        if let Some(refusal) = self.gate_refusal().or_else(|| self.busy_refusal()) {
            return Some(refusal);
        }
        if self.faults.any(|kind| *kind == FaultKind::DeleteTotalFailure) {
            let why = "ValidationException: the request could not be validated";
            return Some((Refusal::Unknown, why.into()));
        }
        if self.fleet.nodes.values().any(|node| node.phase == Phase::Checking) {
            let why = "ConflictException: deep health checks are running";
            return Some((Refusal::Conflict, why.into()));
        }
        let mut members: u64 = self.fleet.groups.iter().map(|group| u64::from(group.members)).sum();
        for change in changes {
            let (group, count) = match change {
                GroupChange::Set { group, count, .. } => (group, *count),
                GroupChange::Add(group) => {
                    members += u64::from(group.count.0);
                    continue;
                }
                GroupChange::Delete(group) => (group, NodeCount::ZERO),
            };
            let Some(number) = self.group_no(group) else {
                let why = format!("ResourceNotFound: no instance group {group}");
                return Some((Refusal::NotFound, why.into()));
            };
            let state = &self.fleet.groups[number.0];
            if state.deleting {
                let why = format!("ConflictException: instance group {group} is being deleted");
                return Some((Refusal::Conflict, why.into()));
            }
            match state.role {
                Role::Controller if count.0 < state.members => {
                    let why = "ValidationException: Slurm controller nodes cannot be removed";
                    return Some((Refusal::Unknown, why.into()));
                }
                Role::Controller | Role::Worker | Role::Login => {}
            }
            members = members - u64::from(state.members) + u64::from(count.0);
        }
        let limit = self.spec.api.max_nodes;
        let grows = members > self.fleet.groups.iter().map(|group| u64::from(group.members)).sum();
        if grows && members > u64::from(limit.0) {
            let why = format!(
                "ResourceLimitExceeded: the account-level service limit 'Maximum number of \
                 instances allowed per SageMaker HyperPod cluster' is {limit} instances, and the \
                 request would make it {members}"
            );
            return Some((Refusal::Unknown, why.into()));
        }
        None
    }

    /// Returns the group with this name, unless it was deleted.
    pub(crate) fn group_no(&self, group: &GroupName) -> Option<GroupNo> {
        let mut named = self.spec.groups.iter().enumerate();
        named.find_map(|(number, named)| {
            let number = GroupNo(number);
            (named.name == *group && !self.fleet.is_deleted(number)).then_some(number)
        })
    }
}
