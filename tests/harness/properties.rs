//! Properties of every plan in every world. Each check takes the planner as an argument, so that a
//! planner with a planted bug can replace it.

use trimtab_core::action::{ActionState, Terms};
use trimtab_core::audit;
use trimtab_core::history::{History, OpenAction};
use trimtab_core::ids::ActionId;
use trimtab_core::plan::{Mark, Plan};
use trimtab_core::policy::ClusterPolicy;
use trimtab_core::reads::{Claim, Condition, InstanceStatus, Reading};
use trimtab_core::snapshot::Snapshot;
use trimtab_core::units::{NodeCount, Time};

use crate::random::Random;
use crate::worlds::{World, fold, name, pending_job};

/// A planner: the real one, or one with a planted bug.
pub type Planner = fn(&Snapshot, &ClusterPolicy, &History, Time) -> Plan;

/// A property and its check.
pub struct Property {
    /// Statement of the property.
    pub says: &'static str,
    /// Checks the property in one world. The error describes the violation.
    pub check: fn(&World, Planner, &mut Random) -> Result<(), String>,
}

/// All properties.
pub const PROPERTIES: [Property; 7] = [
    Property { says: "the audit accepts every plan", check: audit_accepts },
    Property { says: "floors hold if every pending deletion succeeds", check: floors_hold },
    Property { says: "more protection never means more marks", check: protection_is_monotone },
    Property { says: "more jobs never mean more marks", check: jobs_are_monotone },
    Property { says: "less data never means more marks", check: data_is_monotone },
    Property { says: "the order of the input does not matter", check: order_is_irrelevant },
    Property { says: "a plan re-made after it was applied is empty", check: replan_is_empty },
];

/// Returns the plan of a world.
pub fn plan_of(world: &World, planner: Planner) -> Plan {
    planner(&world.snapshot(), &world.policy, &world.history(), world.now)
}

fn audit_accepts(world: &World, planner: Planner, _: &mut Random) -> Result<(), String> {
    let plan = plan_of(world, planner);
    let (snapshot, history) = (world.snapshot(), world.history());
    audit::approve(plan, &snapshot, &world.policy, &history, world.now)
        .map(drop)
        .map_err(|violations| format!("{violations:?}"))
}

/// Counts the remaining nodes from the generated nodes themselves.
fn floors_hold(world: &World, planner: Planner, _: &mut Random) -> Result<(), String> {
    let plan = plan_of(world, planner);
    let mut cluster_left = 0;
    for (group, policy) in &world.policy.groups {
        let marked =
            |node: &&crate::worlds::WorldNode| !plan.marks.iter().any(|mark| mark.node == node.id);
        let left = world.nodes.iter().filter(|n| n.group == *group).filter(marked).filter(|n| {
            let plain = n.known && n.drained.is_none() && n.condition == Condition::Up;
            plain && n.status == InstanceStatus::Running
        });
        let left = left.count();
        cluster_left += left;
        let marks = plan.marks.iter().filter(|mark| mark.group == *group).count();
        let minute = |m: i64| world.now + trimtab_core::units::Span::mins(m);
        let ahead = policy.lookahead.0 / 60_000;
        let floor = (0..=ahead).map(|m| policy.floor_at(minute(m))).max();
        let floor = floor.unwrap_or(NodeCount::ZERO) + policy.min_idle_nodes;
        if marks > 0 && left < floor.get() {
            return Err(format!("{group}: {left} left under a floor of {floor}"));
        }
    }
    if !plan.marks.is_empty() && cluster_left < world.policy.min_nodes.get() {
        return Err(format!("{cluster_left} left under the cluster's floor"));
    }
    Ok(())
}

/// Checks that the change adds no marks. Exception: a plan that would mark too many nodes freezes
/// and marks none, so a change that leaves fewer to mark can end the freeze.
fn no_more_marks(before: &World, after: &World, planner: Planner) -> Result<(), String> {
    let (base, changed) = (plan_of(before, planner), plan_of(after, planner));
    let was_frozen = base.freeze.is_some() || before.history().freeze.is_some();
    if !was_frozen && changed.marks.len() > base.marks.len() {
        return Err(format!("{} marks became {}", base.marks.len(), changed.marks.len()));
    }
    Ok(())
}

fn protection_is_monotone(
    world: &World,
    planner: Planner,
    random: &mut Random,
) -> Result<(), String> {
    let mut after = world.clone();
    for node in &mut after.nodes {
        node.protected |= random.one_in(4);
    }
    let plan = plan_of(&after, planner);
    for mark in &plan.marks {
        if after.nodes.iter().any(|n| n.id == mark.node && n.protected) {
            return Err(format!("{} is protected and marked", mark.node));
        }
    }
    no_more_marks(world, &after, planner)
}

fn jobs_are_monotone(world: &World, planner: Planner, random: &mut Random) -> Result<(), String> {
    let mut after = world.clone();
    for node in &mut after.nodes {
        if node.claims.is_empty() && random.one_in(4) {
            node.claims = vec![Claim::Running(name("77"))];
        }
    }
    if random.one_in(2) {
        let job = pending_job(random, after.now);
        after.pending.push(job);
    }
    let plan = plan_of(&after, planner);
    for mark in &plan.marks {
        if after.nodes.iter().any(|n| n.id == mark.node && !n.claims.is_empty()) {
            return Err(format!("{} is in use and marked", mark.node));
        }
    }
    no_more_marks(world, &after, planner)
}

fn data_is_monotone(world: &World, planner: Planner, random: &mut Random) -> Result<(), String> {
    let mut after = world.clone();
    for node in &mut after.nodes {
        if random.one_in(4) {
            match random.between(0, 2) {
                0 => node.known = false,
                1 => node.activity = Reading::Absent,
                _ => node.activity = Reading::Stale { at: world.past_instant() },
            }
        }
    }
    if random.one_in(4) {
        after.complete = false;
    }
    no_more_marks(world, &after, planner)
}

fn order_is_irrelevant(world: &World, planner: Planner, random: &mut Random) -> Result<(), String> {
    let mut after = world.clone();
    random.shuffle(&mut after.nodes);
    random.shuffle(&mut after.pending);
    if plan_of(world, planner) == plan_of(&after, planner) {
        Ok(())
    } else {
        Err("the plans differ".to_owned())
    }
}

fn replan_is_empty(world: &World, planner: Planner, _: &mut Random) -> Result<(), String> {
    let plan = plan_of(world, planner);
    let mut history = world.history();
    for (mark, id) in plan.marks.iter().zip(1..) {
        history.actions.insert(mark.node, open(mark, ActionId(id), world));
    }
    let snapshot = world.snapshot();
    fold(&mut history, &snapshot, &world.policy);
    let again = planner(&snapshot, &world.policy, &history, world.now);
    if again.marks.is_empty() {
        Ok(())
    } else {
        Err(format!("{} marks after {}", again.marks.len(), plan.marks.len()))
    }
}

/// Returns the open action that a mark starts.
pub fn open(mark: &Mark, id: ActionId, world: &World) -> OpenAction {
    let timing = &world.policy.timing;
    OpenAction {
        id,
        group: mark.group.clone(),
        node: mark.node,
        identity: mark.identity.clone(),
        marked_at: world.now,
        state: ActionState::Cordoning { since: world.now },
        terms: Terms::new(timing, true, timing.settle),
        evidence: mark.evidence,
        policy: world.policy.hash.clone(),
    }
}

impl World {
    /// Returns some time before now.
    pub fn past_instant(&self) -> Time {
        self.now - trimtab_core::units::Span::hours(1)
    }
}
