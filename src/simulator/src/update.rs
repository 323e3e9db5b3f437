//! UpdateCluster, as far as it is about a group's count. Below what the group
//! has, HyperPod picks who goes, at random; the caller is told a count and no
//! ids.

use std::sync::Arc;

use trimtab_core::ids::{GroupName, InstanceId};
use trimtab_core::snapshot::Role;
use trimtab_core::units::NodeCount;
use trimtab_daemon::ports::{DeleteOutcome, Refusal};

use crate::faults::FaultKind;
use crate::fleet::{GroupNo, Phase};
use crate::log::WorldEvent;
use crate::rng::Stream;
use crate::truth::Caller;
use crate::world::Inner;

impl Inner {
    /// Sets a group to so many nodes, more or fewer. Accepted are all nodes that
    /// may go by it, which are all that are up: who goes is not for the caller.
    ///
    /// A limit of this world: while nodes of the group boot or are broken, a
    /// lower count is refused as a conflict, so that victims are always up.
    pub(crate) fn update_count(
        &mut self,
        group: &GroupName,
        count: NodeCount,
        by: Caller,
    ) -> DeleteOutcome {
        let timeout =
            |acted: &str| DeleteOutcome::NoAnswer { why: format!("timed out {acted}").into() };
        let number = self.spec.groups.iter().position(|named| named.name == *group);
        let mut up: Vec<InstanceId> = number.map_or_else(Vec::new, |number| {
            let of_group = self.fleet.nodes.values().filter(|node| node.group.0 == number);
            of_group.filter(|node| node.phase == Phase::Up).map(|node| node.id).collect()
        });
        up.sort();
        let to = Some((group, count));
        if self.faults.any(|kind| *kind == FaultKind::WriteTimesOutBeforeActing) {
            self.record_request(&up, by, Some("it never arrived".into()), false, to);
            return timeout("on the way there");
        }
        let number = match self.count_refusal(number, group, count, &up) {
            Ok(number) => number,
            Err((cause, why)) => {
                self.record_request(&up, by, Some(Arc::clone(&why)), true, to);
                self.write(WorldEvent::RequestRefused(Arc::clone(&why)));
                return DeleteOutcome::Refused { cause, why };
            }
        };
        let answered = !self.faults.any(|kind| *kind == FaultKind::WriteTimesOutAfterActing);
        let members = self.fleet.groups[number.0].members;
        if count.0 >= members {
            self.grow(number, count.0 - members, None);
        } else {
            self.shrink(number, count, &up, by, answered);
        }
        if answered {
            DeleteOutcome::Answered { accepted: up, failed: vec![] }
        } else {
            timeout("on the way back")
        }
    }

    fn shrink(
        &mut self,
        number: GroupNo,
        count: NodeCount,
        up: &[InstanceId],
        by: Caller,
        answered: bool,
    ) {
        let group = self.spec.groups[number.0].name.clone();
        let request = self.record_request(up, by, None, answered, Some((&group, count)));
        let going = NodeCount::of(up.len()).less(count);
        self.write(WorldEvent::GroupShrunk { group, to: count, by });
        let operation = self.fleet.begin_operation(going.0);
        let mut rng = self.rng(Stream::Victims, request as u64);
        let mut left = up.to_vec();
        for _ in 0..going.0 {
            let victim = left.remove(rng.index(left.len()));
            self.accept(request, victim, by, operation);
        }
        self.settle_live_after(request);
    }

    /// Why the count is refused, if it is.
    fn count_refusal(
        &self,
        number: Option<usize>,
        group: &GroupName,
        count: NodeCount,
        up: &[InstanceId],
    ) -> Result<GroupNo, (Refusal, Arc<str>)> {
        let is = |fault: FaultKind| self.faults.any(|kind| *kind == fault);
        if is(FaultKind::AccessDenied) {
            return Err((Refusal::Denied, "AccessDeniedException".into()));
        }
        if is(FaultKind::ThrottledWrites) {
            return Err((Refusal::Throttled, "ThrottlingException: rate exceeded".into()));
        }
        if is(FaultKind::DeleteTotalFailure) {
            let why = "ValidationException: the request could not be validated";
            return Err((Refusal::Unknown, why.into()));
        }
        let Some(number) = number else {
            let why = format!("ValidationException: no group {group}");
            return Err((Refusal::Unknown, why.into()));
        };
        if self.is_updated() {
            let why = "ConflictException: the cluster is SystemUpdating";
            return Err((Refusal::Conflict, why.into()));
        }
        if self.is_classic() && self.fleet.is_operating() {
            let why = "ConflictException: the cluster is Updating";
            return Err((Refusal::Conflict, why.into()));
        }
        let state = &self.fleet.groups[number];
        if count.0 < state.members {
            if state.role == Role::Controller {
                let why = "ValidationException: a controller group cannot be scaled down";
                return Err((Refusal::Unknown, why.into()));
            }
            if NodeCount::of(up.len()) != NodeCount(state.members) {
                let why = format!("ConflictException: group {group} is being scaled or recovered");
                return Err((Refusal::Conflict, why.into()));
            }
        }
        Ok(GroupNo(number))
    }
}
