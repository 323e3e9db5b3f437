use super::*;

const NOW: Time = Time::from_secs(1_000_000);
const BATCH: RequestId = RequestId(7);

fn terms(cordoned: bool) -> Terms {
    Terms::new(&Timing::default(), cordoned, Span::secs(30))
}

fn asked(answer: Answer, scope: RequestScope) -> ActionState {
    ActionState::Asked {
        request: BATCH,
        at: NOW,
        answer,
        absent_since: None,
        running_since: None,
        scope,
    }
}

fn failed(code: &str) -> Answer {
    Answer::Failed { code: code.into() }
}

fn look(at: Time, seen_node: NodeSeen) -> Event {
    Event { at, kind: EventKind::Look(Look { begun_at: at, seen_node }) }
}

fn running(cordon: OwnCordon, described_running: bool) -> NodeSeen {
    let status = InstanceStatus::Running;
    NodeSeen::Present { status, cordon, work: Work::None, described_running }
}

fn absent() -> NodeSeen {
    NodeSeen::Absent { cordon: OwnCordon::Ours }
}

/// Steps a cordoned action through looks one minute apart and returns its last state.
fn after(state: ActionState, sights: impl IntoIterator<Item = NodeSeen>) -> ActionState {
    let mut state = state;
    for (minute, seen_node) in (1..).zip(sights) {
        state = step(&terms(true), state, &look(NOW + Span::mins(minute), seen_node)).state;
    }
    state
}

#[test]
fn node_that_is_not_found_is_gone_when_two_listings_lack_it_too() {
    let state = after(asked(failed("NodeIdNotFound"), RequestScope::Named), [absent()]);
    assert_eq!(state.name(), "asked", "one listing may lag behind");
    let state = after(asked(failed("NodeIdNotFound"), RequestScope::Named), [absent(), absent()]);
    assert_eq!(state.name(), "gone");
}

#[test]
fn node_that_is_not_found_and_listed_is_released_after_minutes_and_a_read_of_its_own() {
    for code in ["NodeIdNotFound", "NodeIdInUse", "InvalidNodeStatus", "NeverHeardOf"] {
        let failed = || asked(failed(code), RequestScope::Named);
        let listed = vec![running(OwnCordon::Ours, false); 9];
        let state = after(failed(), listed);
        assert_eq!(state.name(), "asked", "{code}: the listing may lag behind");
        // The first look shows it running. Six minutes later that is reliable.
        assert!(!state.wants_description(&terms(true), NOW + Span::mins(6)));
        assert!(state.wants_description(&terms(true), NOW + Span::mins(7)));
        let read = running(OwnCordon::Ours, true);
        let state = after(failed(), vec![read.clone(); 6]);
        assert_eq!(state.name(), "asked", "{code}: an operator may be terminating it");
        let state = after(failed(), vec![read; 7]);
        let why = ReleaseReason::RefusedByApi(code.into());
        assert_eq!(state, ActionState::Releasing { why, since: NOW + Span::mins(7) });
    }
}

#[test]
fn node_that_was_refused_and_turns_out_to_be_going_is_never_released() {
    let status = InstanceStatus::ShuttingDown;
    let cordon = OwnCordon::Ours;
    let going = NodeSeen::Present { status, cordon, work: Work::None, described_running: false };
    let mut sights = vec![running(OwnCordon::Ours, true); 5];
    sights.extend([going.clone(), going, absent(), absent()]);
    assert_eq!(
        after(asked(failed("InvalidNodeStatus"), RequestScope::Named), sights).name(),
        "gone"
    );
}

#[test]
fn a_clock_that_steps_forward_makes_no_action_wait_for_a_time_to_come() {
    let by = Span::hours(5);
    let at = NOW + Span::mins(1);
    let step_clock = Event { at, kind: EventKind::ClockStepped(by) };
    let Step { state, .. } =
        step(&terms(true), asked(Answer::Accepted, RequestScope::Named), &step_clock);
    assert_eq!(after(state, [absent(), absent(), absent()]).name(), "gone");
}

#[test]
fn listing_that_shows_it_again_begins_the_two_listings_anew() {
    let sights = [absent(), running(OwnCordon::Ours, false), absent()];
    let state = after(asked(failed("NodeIdNotFound"), RequestScope::Named), sights);
    assert_eq!(state.name(), "asked");
}

const GROUP: RequestScope = RequestScope::Group { after: NodeCount(4) };

#[test]
fn in_a_group_call_nothing_seen_of_one_node_hands_it_back() {
    for answer in [Answer::Accepted, Answer::NoAnswer] {
        for cordoned in [true, false] {
            let mut state = asked(answer.clone(), GROUP);
            for minute in 1..300 {
                let cordon = if cordoned { OwnCordon::Ours } else { OwnCordon::Clear };
                let seen = look(NOW + Span::mins(minute), running(cordon, true));
                state = step(&terms(cordoned), state, &seen).state;
                let late = Event { at: seen.at, kind: EventKind::Deadline };
                state = step(&terms(cordoned), state, &late).state;
            }
            assert_eq!(state.name(), "asked", "{answer:?}, cordoned: {cordoned}");
        }
    }
    // After a request by ids without an answer, it is released.
    let state = after(
        asked(Answer::NoAnswer, RequestScope::Named),
        vec![running(OwnCordon::Ours, true); 20],
    );
    assert_eq!(state.name(), "releasing");
}

#[test]
fn end_of_a_group_call_hands_back_what_was_not_picked_and_nothing_else() {
    let over = |state, cordoned| {
        let kind = EventKind::GroupRequestOver(ReleaseReason::NotPicked);
        step(&terms(cordoned), state, &Event { at: NOW + Span::mins(9), kind })
    };
    for answer in [Answer::Accepted, Answer::NoAnswer] {
        let Step { state, effects } = over(asked(answer.clone(), GROUP), true);
        assert_eq!((state.name(), effects), ("releasing", vec![]), "the next look requests it");
        assert_eq!(over(asked(answer, GROUP), false).state.name(), "released");
    }
    let at = NOW;
    for state in [
        asked(Answer::Accepted, RequestScope::Named),
        asked(Answer::NoAnswer, RequestScope::Named),
        asked(Answer::Refused { why: "busy".into() }, GROUP),
        ActionState::Marked { since: at },
        ActionState::Cordoning { since: at },
        ActionState::Settling { until: at },
        ActionState::Asking { request: BATCH, at, scope: GROUP },
        ActionState::Releasing { why: ReleaseReason::Demand, since: at },
        ActionState::Ended { end: End::Gone, at },
    ] {
        assert_eq!(over(state.clone(), true), Step { state, effects: vec![] });
    }
}

#[test]
fn refused_group_call_hands_each_node_back_after_minutes_and_a_read_of_its_own() {
    let refused = asked(Answer::Refused { why: "busy".into() }, GROUP);
    let state = after(refused.clone(), vec![running(OwnCordon::Ours, false); 9]);
    assert_eq!(state.name(), "asked");
    assert_eq!(after(refused, vec![running(OwnCordon::Ours, true); 7]).name(), "releasing");
}

#[test]
fn restart_keeps_what_a_group_call_was_answered() {
    let started = Event { at: NOW, kind: EventKind::Started };
    for answer in [Answer::Accepted, Answer::NoAnswer] {
        let state = asked(answer, GROUP);
        let same = Step { state: state.clone(), effects: vec![] };
        assert_eq!(step(&terms(true), state, &started), same);
    }
    let asking = ActionState::Asking { request: BATCH, at: NOW, scope: GROUP };
    let Step { state, .. } = step(&terms(true), asking, &started);
    assert_eq!(state, asked(Answer::NoAnswer, GROUP));
}
