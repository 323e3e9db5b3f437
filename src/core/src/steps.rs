//! Steps: stepping open actions through what happened to them, in thought. The
//! driver commits what changed and then runs the effects.

use std::collections::BTreeMap;

use crate::action::{self, ActionState, Effect, End, Event, EventKind, ReleaseReason, Step};
use crate::history::OpenAction;
use crate::ids::{ActionId, InstanceId};
use crate::units::Time;

/// What is to happen to one action.
pub type NodeEvent = (InstanceId, EventKind);

/// One step of one action.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// The action.
    pub action: ActionId,
    /// Its node.
    pub node: InstanceId,
    /// What happened.
    pub event: Event,
    /// The state after it.
    pub state: ActionState,
}

/// Steps taken in thought: what changed, and what to do once that is durable.
pub struct Steps {
    /// What changed.
    pub transitions: Vec<Transition>,
    /// What to do about it, in order.
    pub effects: Vec<(InstanceId, Effect)>,
}

/// Steps every action through what happened to it, in order. A step that
/// changes nothing is not a transition, but its effects still count.
pub fn take_steps(
    actions: &BTreeMap<InstanceId, OpenAction>,
    happenings: Vec<NodeEvent>,
    at: Time,
) -> Steps {
    let mut steps = Steps { transitions: vec![], effects: vec![] };
    let mut states: BTreeMap<InstanceId, ActionState> = BTreeMap::new();
    for (node, kind) in happenings {
        let Some(open) = actions.get(&node) else { continue };
        let before = states.remove(&node).unwrap_or_else(|| open.state.clone());
        let event = Event { at, kind };
        let Step { state: after, effects } = action::step(&open.terms, before.clone(), &event);
        steps.effects.extend(effects.into_iter().map(|effect| (node, effect)));
        if after != before {
            steps.transitions.push(Transition {
                action: open.id,
                node,
                event,
                state: after.clone(),
            });
        }
        states.insert(node, after);
    }
    steps
}

/// A node that was released is left alone for a while, unless it was for a
/// reason of ours that says nothing about the node.
pub fn wants_cooldown(end: &End) -> bool {
    match end {
        End::Released(
            ReleaseReason::Paused | ReleaseReason::Restarted | ReleaseReason::NotPicked,
        )
        | End::Gone => false,
        End::Released(
            ReleaseReason::Claimed(_)
            | ReleaseReason::Active
            | ReleaseReason::StatusChanged(_)
            | ReleaseReason::Vanished
            | ReleaseReason::Demand
            | ReleaseReason::Floor
            | ReleaseReason::Vetoed(_)
            | ReleaseReason::TimedOut
            | ReleaseReason::RefusedByApi(_)
            | ReleaseReason::NeverLeft,
        )
        | End::CordonLost
        | End::Replaced => true,
    }
}
