//! Requests and their outcomes: whole-group requests, and the back-off after refusals.

use trimtab_core::backoff::{self, Refusal, Refused};
use trimtab_core::reads::ClusterDescription;

use super::*;
use crate::executor;

/// A cleared whole-group request that deletes all of these nodes.
fn whole_group(id: RequestId, actions: &[OpenAction], now: Time) -> audit::NumberedRequest {
    let mut policy = policy();
    for group in policy.groups.values_mut() {
        group.group_calls = GroupCalls::ToZero;
    }
    let cleared: audit::Cleared = offered(actions, now, &policy, |offer| {
        let description = ClusterDescription {
            state: offer.snapshot.state.clone().unwrap(),
            groups: offer
                .snapshot
                .groups
                .iter()
                .map(|(name, view)| (name.clone(), view.description.clone()))
                .collect(),
        };
        let recount = audit::Recount { begun_at: now, description };
        audit::clear_group(offer, &recount).unwrap().into()
    });
    cleared.numbered(id)
}

#[test]
fn a_call_for_a_whole_group_is_known_again_with_its_count() {
    let folder = Folder::new();
    let ledger = folder.open();
    let mut world = World::new(3);
    let opened = mark(&ledger, &mut world, &[0, 1, 2]);
    let at = world.at + Span::mins(1);
    let request = ledger.reserve_request().unwrap();
    let record = whole_group(request, &opened, at);
    assert_eq!(record.cleared().count_after(), Some(NodeCount::ZERO));
    assert_eq!(record.cleared().going(), NodeCount(3));
    let scope = RequestScope::Group { after: NodeCount::ZERO };
    let kind = EventKind::Cleared { request, look_begun_at: at, scope };
    let asking = ActionState::Asking { request, at, scope };
    let steps: Vec<Transition> =
        opened.iter().map(|a| step(a, at, kind.clone(), asking.clone())).collect();
    // Charge only two of the three nodes, so that one node has no charge.
    let charges: Vec<Charge> =
        opened[..2].iter().map(|a| Charge { at, group: group(), action: a.id }).collect();
    let written = RequestRecord { request: &record, charges: &charges };
    ledger.record_transitions(&cluster(), &steps, Some(written)).unwrap();

    let again = ledger.load(&cluster(), at, MAX_GAP).unwrap();
    assert_eq!(again.charges, charges);
    assert!(again.actions.values().all(|action| action.state == asking));
    let rows = ledger.reader().history(9, None).unwrap();
    assert_eq!(rows.len(), 3);
    for row in rows {
        // The node without a charge has its request, too.
        let record = row.request.unwrap();
        assert_eq!((record.request, record.count_after), (request, Some(NodeCount::ZERO)));
        assert_eq!(record.nodes.len(), 3);
    }
}

#[test]
fn what_is_not_committed_spends_no_request_id() {
    let ledger = SqliteLedger::in_memory(START).unwrap();
    let mut world = World::new(1);
    let opened = mark(&ledger, &mut world, &[0]);
    let mut history = History::default();
    // The action is no longer open at the time of the commit.
    let late = unnumbered(&opened, world.at);
    assert!(executor::commit(&ledger, &mut history, late, world.at).unwrap().is_none());
    assert_eq!(ledger.reserve_request().unwrap(), RequestId(1));
}

#[test]
fn a_request_by_ids_has_no_count() {
    let ledger = SqliteLedger::in_memory(START).unwrap();
    let mut world = World::new(1);
    let opened = mark(&ledger, &mut world, &[0]);
    ask(&ledger, &opened, world.at).unwrap();
    let rows = ledger.reader().history(9, None).unwrap();
    assert_eq!(rows[0].request.as_ref().unwrap().count_after, None);
}

/// Writes one request for each of these outcomes.
fn end_each(ledger: &SqliteLedger, outcomes: &[DeleteOutcome]) -> (Vec<(RequestId, Time)>, World) {
    let mut world = World::new(u32::try_from(outcomes.len()).unwrap());
    let mut ended = vec![];
    for (number, outcome) in (0u128..).zip(outcomes) {
        let opened = mark(ledger, &mut world, &[number]);
        let request = ask(ledger, &opened, world.at).unwrap();
        let at = world.at + Span::secs(1);
        ledger.record_outcome(request, at, outcome, &[]).unwrap();
        ended.push((request, at));
    }
    (ended, world)
}

fn refused(cause: Refusal) -> DeleteOutcome {
    DeleteOutcome::Refused { cause, why: "no".into() }
}

#[test]
fn refusals_in_a_row_are_counted_again_from_their_outcomes() {
    let yes = DeleteOutcome::Answered { accepted: vec![node(0)], failed: vec![] };
    let none = DeleteOutcome::Answered { accepted: vec![], failed: vec![(node(3), "x".into())] };
    let lost = DeleteOutcome::NoAnswer { why: "timed out".into() };
    let (throttled, denied) = (refused(Refusal::Throttled), refused(Refusal::Denied));
    let unsent = refused(Refusal::NotSent);

    let ledger = SqliteLedger::in_memory(START).unwrap();
    let before = [throttled.clone(), yes.clone(), denied.clone()];
    let after = [none, throttled.clone(), lost, unsent];
    let all: Vec<DeleteOutcome> = before.into_iter().chain(after).collect();
    let (ended, world) = end_each(&ledger, &all);
    let history = ledger.load(&cluster(), world.at, MAX_GAP).unwrap();
    let mut wanted = None;
    for (number, cause) in [(2, Refusal::Denied), (4, Refusal::Throttled)] {
        let (request, at) = ended[number];
        let refused = Refused { request, at, cause, why: "no".into() };
        wanted = backoff::after(wanted, &refused, &cluster());
    }
    assert_eq!(history.backoff, wanted);
    assert_eq!(history.backoff.unwrap().refused, 2);
    assert!(history.has_accepted);

    let ledger = SqliteLedger::in_memory(START).unwrap();
    let (_, world) = end_each(&ledger, &[denied, throttled, yes]);
    let history = ledger.load(&cluster(), world.at, MAX_GAP).unwrap();
    assert_eq!((history.backoff, history.has_accepted), (None, true));
    let other = ledger.load(&"other".parse().unwrap(), world.at, MAX_GAP).unwrap();
    assert_eq!((other.backoff, other.has_accepted), (None, false));
}
