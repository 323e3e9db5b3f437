//! The executor: one delete request from clearance to recorded answer.
//!
//! It has no choices left. The request and its charges are committed, the call
//! is sent once, and its answer is committed; a request that expired meanwhile
//! is not sent and counts as refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use trimtab_core::action::{self, ActionState, Answer, Effect, Event, EventKind};
use trimtab_core::audit::ClearedBatch;
use trimtab_core::history::{Charge, History};
use trimtab_core::ids::InstanceId;
use trimtab_core::units::Time;

use crate::ports::{
    Clock, ClusterWrite, DeleteOutcome, Ledger, LedgerError, Refusal, Request, Transition,
};

/// A request whose intent is durable. Only [`commit`] makes one.
pub struct Committed(ClearedBatch);

/// A request that was sent, and how it ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    /// The request.
    pub batch: ClearedBatch,
    /// How it ended.
    pub outcome: DeleteOutcome,
}

/// Commits the request, the new state of each of its actions and their
/// charges, in one transaction. `None` if the state machine did not agree.
///
/// # Errors
/// When the ledger could not be written; nothing may be sent then.
pub fn commit(
    ledger: &dyn Ledger,
    history: &mut History,
    batch: &ClearedBatch,
    now: Time,
) -> Result<Option<Committed>, LedgerError> {
    let mut transitions = vec![];
    let mut charges = vec![];
    for node in batch.nodes() {
        let Some(open) = history.actions.get(node) else { return Ok(None) };
        let kind = EventKind::Cleared { batch: batch.id(), look_begun_at: batch.look_begun_at() };
        let event = Event { at: now, kind };
        let (state, effects) = action::step(&open.terms, open.state.clone(), &event);
        if effects != [Effect::Delete(batch.id())] {
            return Ok(None);
        }
        charges.push(Charge { at: now, group: batch.group().clone(), action: open.id });
        transitions.push(Transition { action: open.id, node: *node, event, state });
    }
    let request = Request { batch, charges: &charges };
    ledger.record_transitions(batch.cluster(), &transitions, Some(request))?;
    history.charges.extend(charges);
    put(history, &transitions);
    Ok(Some(Committed(batch.clone())))
}

/// Sends a committed request, once.
pub async fn send(writer: &dyn ClusterWrite, clock: &dyn Clock, committed: Committed) -> Sent {
    let Committed(batch) = committed;
    if clock.now() > batch.expires_at() {
        let why = "not sent: the look behind it had grown too old".into();
        return Sent { batch, outcome: DeleteOutcome::Refused { cause: Refusal::NotSent, why } };
    }
    let outcome = writer.delete_nodes(&batch).await;
    Sent { batch, outcome }
}

/// Commits the answer. A node without a word in it is unanswered.
///
/// # Errors
/// When the ledger could not be written; the next tick then treats the request
/// as unanswered.
pub fn record(
    ledger: &dyn Ledger,
    history: &mut History,
    sent: &Sent,
    now: Time,
) -> Result<(), LedgerError> {
    let answers = answers(&sent.outcome);
    let mut transitions = vec![];
    for node in sent.batch.nodes() {
        let Some(open) = history.actions.get(node) else { continue };
        let answer = match &sent.outcome {
            DeleteOutcome::Answered { .. } => {
                answers.get(node).cloned().unwrap_or(Answer::NoAnswer)
            }
            DeleteOutcome::Refused { why, .. } => Answer::Refused { why: Arc::clone(why) },
            DeleteOutcome::NoAnswer { .. } => Answer::NoAnswer,
        };
        let event = Event { at: now, kind: EventKind::Answered(answer) };
        let (state, _) = action::step(&open.terms, open.state.clone(), &event);
        transitions.push(Transition { action: open.id, node: *node, event, state });
    }
    ledger.record_outcome(sent.batch.id(), now, &sent.outcome, &transitions)?;
    put(history, &transitions);
    Ok(())
}

fn answers(outcome: &DeleteOutcome) -> BTreeMap<InstanceId, Answer> {
    match outcome {
        DeleteOutcome::Answered { accepted, failed } => {
            let mut answers: BTreeMap<InstanceId, Answer> =
                accepted.iter().map(|node| (*node, Answer::Accepted)).collect();
            for (node, code) in failed {
                let failed = Answer::Failed { code: Arc::clone(code) };
                // Two words on one node are none.
                answers
                    .entry(*node)
                    .and_modify(|answer| *answer = Answer::NoAnswer)
                    .or_insert(failed);
            }
            answers
        }
        DeleteOutcome::Refused { .. } | DeleteOutcome::NoAnswer { .. } => BTreeMap::new(),
    }
}

fn put(history: &mut History, transitions: &[Transition]) {
    for step in transitions {
        if let Some(open) = history.actions.get_mut(&step.node) {
            debug_assert!(!matches!(step.state, ActionState::Ended { .. }));
            open.state = step.state.clone();
        }
    }
}
