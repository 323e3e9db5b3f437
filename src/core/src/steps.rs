//! Computes the next state of open actions from a list of events. The driver commits the changed
//! states first and runs the effects afterwards.

use std::collections::BTreeMap;

use crate::action::{self, ActionState, Effect, End, Event, EventKind, ReleaseReason, Step};
use crate::history::{History, OpenAction};
use crate::ids::{ActionId, InstanceId};
use crate::units::Time;

/// An event for the action of one node.
pub type NodeEvent = (InstanceId, EventKind);

/// One change of state of one action.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// Id of the action.
    pub action: ActionId,
    /// Instance id of its node.
    pub node: InstanceId,
    /// The event that caused the change.
    pub event: Event,
    /// The new state.
    pub state: ActionState,
}

/// The result of a list of events. The effects may run only after the transitions are committed.
pub struct Steps {
    /// Changes of state, in order.
    pub transitions: Vec<Transition>,
    /// Effects to run, in order.
    pub effects: Vec<(InstanceId, Effect)>,
}

/// Applies the events to the actions, in order. An event that leaves the state unchanged adds no
/// transition, but its effects are still returned.
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

/// Puts a committed transition into the history: the action takes the state of the transition.
/// Removes and returns the action if that state is its end.
pub fn put(history: &mut History, transition: &Transition) -> Option<OpenAction> {
    let action = history.actions.get_mut(&transition.node)?;
    action.state = transition.state.clone();
    if action.state.is_ended() { history.actions.remove(&transition.node) } else { None }
}

/// Whether the node gets a cooldown after this end of its action. A released node gets one, except
/// if the reason has nothing to do with the node itself.
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
