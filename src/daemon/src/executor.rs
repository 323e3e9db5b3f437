//! The executor takes one delete request from its clearance to its recorded answer.
//!
//! It decides nothing. It commits the request and its charges, sends the request
//! once, and commits the answer. If the request expires before it is sent, it is not
//! sent and counts as refused. A whole-group request takes the same steps; its single
//! answer applies to all of its nodes.

use std::collections::BTreeMap;
use std::sync::Arc;

use trimtab_core::action::{self, Answer, Effect, Event, EventKind, RequestScope, Step};
use trimtab_core::audit::{Cleared, NumberedRequest};
use trimtab_core::backoff::{self, Refused};
use trimtab_core::history::{Charge, History};
use trimtab_core::ids::InstanceId;
use trimtab_core::steps;
use trimtab_core::text::shortened;
use trimtab_core::units::{Span, Time};

use crate::ports::{
    Clock, ClusterWrite, DeleteOutcome, Ledger, LedgerError, RequestRecord, Transition,
};

/// Longest text of an answer in the request's row, in bytes. An API error has a few
/// hundred; the error page of a proxy must not fill the ledger.
const BODY_LIMIT: usize = 4096;

/// Longest text of an answer in the row of each node's action, in bytes.
const WORD_LIMIT: usize = 240;

/// A request that is committed to the ledger. Only [`commit`] makes one.
pub struct Committed(NumberedRequest);

/// A request that was sent, and how it ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    pub request: NumberedRequest,
    pub outcome: DeleteOutcome,
}

/// Gives a cleared request its id, and commits it with the new states and the charges of
/// its actions in one transaction. Returns `None` if an action is not open or not ready for
/// a delete request.
///
/// # Errors
/// When the ledger cannot be written. The request must not be sent then.
pub fn commit(
    ledger: &dyn Ledger,
    history: &mut History,
    cleared: Cleared,
    now: Time,
) -> Result<Option<Committed>, LedgerError> {
    let mut transitions = vec![];
    let mut charges = vec![];
    if !cleared.nodes().iter().all(|node| history.actions.contains_key(node)) {
        return Ok(None);
    }
    let request = cleared.numbered(ledger.reserve_request()?);
    let cleared = request.cleared();
    let scope = match cleared.count_after() {
        None => RequestScope::Named,
        Some(after) => RequestScope::Group { after },
    };
    for node in cleared.nodes() {
        let Some(open) = history.actions.get(node) else { return Ok(None) };
        let look_begun_at = cleared.look_begun_at();
        let kind = EventKind::Cleared { request: request.id(), look_begun_at, scope };
        let event = Event { at: now, kind };
        let Step { state, effects } = action::step(&open.terms, open.state.clone(), &event);
        if effects != [Effect::Delete(request.id())] {
            return Ok(None);
        }
        charges.push(Charge { at: now, group: cleared.group().clone(), action: open.id });
        transitions.push(Transition { action: open.id, node: *node, event, state });
    }
    // Budgets count the nodes that a request deletes. A whole-group request may keep some
    // of its nodes, and it is not known which.
    charges.truncate(cleared.going().get());
    let record = RequestRecord { request: &request, charges: &charges };
    ledger.record_transitions(cleared.cluster(), &transitions, Some(record))?;
    history.charges.extend(charges);
    put_all(history, &transitions);
    Ok(Some(Committed(request)))
}

/// Sends a committed request once. Does not send it if it has expired.
pub async fn send(writer: &dyn ClusterWrite, clock: &dyn Clock, committed: Committed) -> Sent {
    let Committed(request) = committed;
    let within = request.cleared().expires_at().since(clock.now());
    if within < Span::ZERO {
        return Sent { request, outcome: DeleteOutcome::too_late() };
    }
    let outcome = match request.cleared() {
        Cleared::Batch(request) => writer.delete_nodes(request, within).await,
        Cleared::Group(group) => writer.shrink_group(group, within).await,
    };
    Sent { request, outcome: bounded(outcome) }
}

/// Shortens the texts of an outcome to what the ledger keeps.
fn bounded(outcome: DeleteOutcome) -> DeleteOutcome {
    match outcome {
        DeleteOutcome::Answered { accepted, failed } => {
            let cut = |(node, code)| (node, shortened(&code, WORD_LIMIT));
            DeleteOutcome::Answered { accepted, failed: failed.into_iter().map(cut).collect() }
        }
        DeleteOutcome::Refused { cause, why } => {
            DeleteOutcome::Refused { cause, why: shortened(&why, BODY_LIMIT) }
        }
        DeleteOutcome::NoAnswer { why } => {
            DeleteOutcome::NoAnswer { why: shortened(&why, BODY_LIMIT) }
        }
    }
}

/// Commits the answer. A node that the answer does not mention counts as unanswered.
///
/// # Errors
/// When the ledger cannot be written. The next tick then treats the request as
/// unanswered.
pub fn record(
    ledger: &dyn Ledger,
    history: &mut History,
    sent: &Sent,
    now: Time,
) -> Result<(), LedgerError> {
    let answers = answers(sent);
    let mut transitions = vec![];
    for node in sent.request.cleared().nodes() {
        let Some(open) = history.actions.get(node) else { continue };
        let answer = match &sent.outcome {
            DeleteOutcome::Answered { .. } => {
                answers.get(node).cloned().unwrap_or(Answer::NoAnswer)
            }
            DeleteOutcome::Refused { why, .. } => {
                Answer::Refused { why: shortened(why, WORD_LIMIT) }
            }
            DeleteOutcome::NoAnswer { .. } => Answer::NoAnswer,
        };
        let event = Event { at: now, kind: EventKind::Answered(answer) };
        let Step { state, .. } = action::step(&open.terms, open.state.clone(), &event);
        transitions.push(Transition { action: open.id, node: *node, event, state });
    }
    ledger.record_outcome(sent.request.id(), now, &sent.outcome, &transitions)?;
    put_all(history, &transitions);
    back_off(history, sent, now);
    Ok(())
}

/// Updates the back-off by the outcome, the same way as a restart derives it from the
/// outcomes in the ledger.
fn back_off(history: &mut History, sent: &Sent, now: Time) {
    match &sent.outcome {
        DeleteOutcome::Answered { accepted, .. } if !accepted.is_empty() => {
            history.backoff = None;
            history.has_accepted = true;
        }
        DeleteOutcome::Refused { cause, why } => {
            let (request, cause, why) = (sent.request.id(), *cause, Arc::clone(why));
            let refused = Refused { request, at: now, cause, why };
            history.backoff =
                backoff::after(history.backoff.take(), &refused, sent.request.cleared().cluster());
        }
        // The outcome is unknown, or each node failed for its own reason.
        DeleteOutcome::Answered { .. } | DeleteOutcome::NoAnswer { .. } => {}
    }
}

fn answers(sent: &Sent) -> BTreeMap<InstanceId, Answer> {
    match (&sent.outcome, sent.request.cleared()) {
        // The API accepts a count, so the answer is the same for each node, even if an
        // implementation returns single failures.
        (DeleteOutcome::Answered { .. }, Cleared::Group(group)) => {
            group.nodes().iter().map(|node| (*node, Answer::Accepted)).collect()
        }
        (DeleteOutcome::Answered { accepted, failed }, Cleared::Batch(_)) => {
            let mut answers: BTreeMap<InstanceId, Answer> =
                accepted.iter().map(|node| (*node, Answer::Accepted)).collect();
            for (node, code) in failed {
                let failed = Answer::Failed { code: Arc::clone(code) };
                // A node that is both accepted and failed counts as unanswered.
                answers
                    .entry(*node)
                    .and_modify(|answer| *answer = Answer::NoAnswer)
                    .or_insert(failed);
            }
            answers
        }
        (DeleteOutcome::Refused { .. } | DeleteOutcome::NoAnswer { .. }, _) => BTreeMap::new(),
    }
}

fn put_all(history: &mut History, transitions: &[Transition]) {
    for transition in transitions {
        let ended = steps::put(history, transition);
        debug_assert!(ended.is_none(), "a request and its answer end no action");
    }
}
