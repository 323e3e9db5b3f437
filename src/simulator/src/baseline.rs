//! Other scale-in policies, run on the same world with the same seed: no scale-in at all, or an
//! idle timer on every node (the Cluster Autoscaler's `scale-down-unneeded-time`, Karpenter's
//! `consolidateAfter`, Slurm's `SuspendTime`).

use std::collections::{BTreeMap, BTreeSet};

use trimtab_core::ids::{GroupName, InstanceId, NodeName};
use trimtab_core::policy::REQUEST_NODE_LIMIT;
use trimtab_core::reads::{Condition, InstanceStatus, ListedNode, SchedulerNode};
use trimtab_core::trace::TraceJob;
use trimtab_core::units::{NodeCount, Span, Time};

use crate::spec::{SpecError, WorldSpec};
use crate::truth::{Caller, Truth};
use crate::world::World;

/// An idle timer on every node. It deletes a node that the scheduler reported idle at every look
/// for `after`, without a cordon and without a second look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdleTimer {
    /// How long a node must be idle.
    pub after: Span,
    /// Time between two looks.
    pub every: Span,
    /// Groups that it may delete from, each with the number of nodes it keeps.
    pub min_nodes: BTreeMap<GroupName, NodeCount>,
}

/// Runs the world without any scale-in.
///
/// # Errors
/// All problems of the spec.
pub fn never(spec: WorldSpec, jobs: Vec<TraceJob>) -> Result<Truth, SpecError> {
    let world = World::new(spec, jobs)?;
    world.advance_to(world.end());
    Ok(world.truth())
}

/// Runs the world with an idle timer on every node.
///
/// # Errors
/// All problems of the spec.
pub fn idle_timer(
    spec: WorldSpec,
    jobs: Vec<TraceJob>,
    timer: &IdleTimer,
) -> Result<Truth, SpecError> {
    let world = World::new(spec, jobs)?;
    let mut idle_since: BTreeMap<InstanceId, Time> = BTreeMap::new();
    let mut asked: BTreeSet<InstanceId> = BTreeSet::new();
    while world.now() < world.end() {
        timer.look(&world, &mut idle_since, &mut asked);
        let next = world.now() + timer.every.max(Span::secs(1));
        world.advance_to(next.min(world.end()));
    }
    Ok(world.truth())
}

impl IdleTimer {
    fn look(
        &self,
        world: &World,
        idle_since: &mut BTreeMap<InstanceId, Time>,
        asked: &mut BTreeSet<InstanceId>,
    ) {
        let cluster = world.spec().cluster.clone();
        let (Ok(workload), Ok(listing)) = (world.workload(&cluster), world.list_nodes(&cluster))
        else {
            return;
        };
        let now = world.now();
        let by_name: BTreeMap<&NodeName, &SchedulerNode> =
            workload.nodes.iter().map(|node| (&node.name, node)).collect();
        let is_idle = |node: &&ListedNode| {
            let seen = node.name.as_ref().and_then(|name| by_name.get(name));
            seen.is_some_and(|seen| {
                seen.condition == Condition::Up && seen.claims.is_empty() && seen.drained.is_none()
            })
        };
        let running = |node: &&ListedNode| {
            node.status == InstanceStatus::Running && !asked.contains(&node.id)
        };
        let mut still_idle = BTreeMap::new();
        let mut going = vec![];
        for (group, min_nodes) in &self.min_nodes {
            let nodes: Vec<&ListedNode> =
                listing.nodes.iter().filter(|node| node.group == *group).filter(running).collect();
            let mut room = NodeCount::of(nodes.len()).saturating_sub(*min_nodes).get();
            for node in nodes.into_iter().filter(is_idle) {
                let since = idle_since.get(&node.id).copied().unwrap_or(now);
                still_idle.insert(node.id, since);
                if now.since(since) >= self.after && room > 0 {
                    room -= 1;
                    going.push(node.id);
                }
            }
        }
        for request in going.chunks(REQUEST_NODE_LIMIT.get()) {
            let outcome = world.delete_nodes(request, Caller::Baseline);
            if let trimtab_daemon::ports::DeleteOutcome::Answered { accepted, .. } = outcome {
                asked.extend(accepted);
            }
        }
        let listed: BTreeSet<InstanceId> = listing.nodes.iter().map(|node| node.id).collect();
        asked.retain(|id| listed.contains(id));
        *idle_since = still_idle;
    }
}
