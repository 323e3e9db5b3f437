//! Every state of [`trimtab_core::action`] under every event, as a table.
//!
//! Times are seconds relative to the event. Each state lists its outcomes and the
//! events that lead to them; an event that is not listed changes nothing and has no effect.

use std::collections::BTreeMap;
use std::fmt::Write;

use trimtab_core::action::{
    ActionState, Answer, Effect, End, Event, EventKind, Look, NodeSeen, OwnCordon, ReleaseReason,
    RequestScope, Step, Terms, Work, step,
};
use trimtab_core::ids::RequestId;
use trimtab_core::policy::Timing;
use trimtab_core::reads::{Claim, InstanceStatus};
use trimtab_core::units::{NodeCount, Span, Time};

use super::compare_text;

const NOW: Time = Time::from_secs(1_800_000_000);
const AGES: [Span; 4] = [Span::ZERO, Span::mins(7), Span::mins(31), Span::hours(2)];
const GROUP: RequestScope = RequestScope::Group { after: NodeCount(4) };

#[test]
fn every_state_answers_every_event_as_written() {
    let mut text = String::new();
    for cordoned in [true, false] {
        let terms = Terms::new(&Timing::default(), cordoned, Span::secs(30));
        for state in states() {
            let mut outcomes: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for (event, kind) in events() {
                let event_at = Event { at: NOW, kind };
                let Step { state: after, effects } = step(&terms, state.clone(), &event_at);
                if after == state && effects.is_empty() {
                    continue;
                }
                let mut outcome = shown(&after);
                outcome.extend(effects.iter().map(|one| format!(", {}", effect(one))));
                outcomes.entry(outcome).or_default().push(event);
            }
            let terms = if cordoned { "cordon" } else { "no cordon" };
            writeln!(text, "{terms}: {}", shown(&state)).expect("a text takes everything");
            for (outcome, events) in outcomes {
                writeln!(text, "  {outcome} <- {}", events.join("; "))
                    .expect("a text takes everything");
            }
        }
    }
    compare_text("transitions", &text);
}

fn states() -> Vec<ActionState> {
    let mut states = vec![];
    for age in AGES {
        let since = NOW - age;
        states.push(ActionState::Marked { since });
        states.push(ActionState::Cordoning { since });
        states.push(ActionState::Settling { until: since });
        states.push(ActionState::Releasing { why: ReleaseReason::Demand, since });
        for scope in [RequestScope::Named, GROUP] {
            states.push(ActionState::Asking { request: RequestId(7), at: since, scope });
            // Two ages are enough here: before and after every limit.
            if age != AGES[0] && age != AGES[3] {
                continue;
            }
            for answer in answers() {
                for running_since in [None, Some(since)] {
                    let (request, at) = (RequestId(7), since);
                    let answer = answer.clone();
                    let absent_since = running_since.xor(Some(since));
                    states.push(ActionState::Asked {
                        request,
                        at,
                        answer,
                        absent_since,
                        running_since,
                        scope,
                    });
                }
            }
        }
    }
    states.push(ActionState::Settling { until: NOW + Span::secs(10) });
    states.push(ActionState::Ended { end: End::Gone, at: NOW - Span::mins(1) });
    states
}

fn answers() -> [Answer; 4] {
    [
        Answer::Accepted,
        Answer::Failed { code: "code".into() },
        Answer::Refused { why: "busy".into() },
        Answer::NoAnswer,
    ]
}

fn events() -> Vec<(String, EventKind)> {
    let mut events = vec![];
    let mut add = |name: String, kind| events.push((name, kind));
    let mut looks = vec![
        ("unread".to_owned(), NodeSeen::Unread),
        ("absent".to_owned(), NodeSeen::Absent { cordon: OwnCordon::Ours }),
        ("replaced".to_owned(), NodeSeen::Replaced),
    ];
    let cordons = [OwnCordon::Ours, OwnCordon::Clear, OwnCordon::NotOurs, OwnCordon::Unread];
    for cordon in cordons {
        let works = [
            (Work::None, true),
            (Work::None, false),
            (Work::Claimed(Claim::Planned), false),
            (Work::Active, false),
            (Work::Unread, false),
        ];
        for (work, described_running) in works {
            let status = InstanceStatus::Running;
            let read = if described_running { " and described" } else { "" };
            let name = format!("running{read}, cordon {cordon:?}, work {work:?}");
            looks.push((name, NodeSeen::Present { status, cordon, work, described_running }));
        }
        let status = InstanceStatus::ShuttingDown;
        let (work, described_running) = (Work::None, false);
        let name = format!("shutting down, cordon {cordon:?}");
        looks.push((name, NodeSeen::Present { status, cordon, work, described_running }));
    }
    for (name, seen_node) in looks {
        for (age, begun_at) in [("", NOW), (" an hour ago", NOW - Span::hours(1))] {
            let look = Look { begun_at, seen_node: seen_node.clone() };
            add(format!("look{age}: {name}"), EventKind::Look(look));
        }
    }
    for (age, look_begun_at) in [("", NOW), (" by an old look", NOW - Span::hours(3))] {
        let (request, scope) = (RequestId(8), RequestScope::Named);
        let kind = EventKind::Cleared { request, look_begun_at, scope };
        add(format!("cleared{age}"), kind);
    }
    for answer in answers() {
        add(format!("answered {answer:?}"), EventKind::Answered(answer));
    }
    add("group request over".to_owned(), EventKind::GroupRequestOver(ReleaseReason::NotPicked));
    add("veto".to_owned(), EventKind::Veto(ReleaseReason::Floor));
    add("deadline".to_owned(), EventKind::Deadline);
    add("paused".to_owned(), EventKind::Paused);
    add("started".to_owned(), EventKind::Started);
    add("clock stepped".to_owned(), EventKind::ClockStepped(Span::mins(5)));
    events
}

fn shown(state: &ActionState) -> String {
    let rel = |at: Time| format!("{:+}", at.since(NOW).0 / 1000);
    let maybe = |at: &Option<Time>| at.map_or("-".to_owned(), rel);
    match state {
        ActionState::Marked { since } | ActionState::Cordoning { since } => {
            format!("{} {}", state.name(), rel(*since))
        }
        ActionState::Settling { until } => format!("settling {}", rel(*until)),
        ActionState::Asking { request, at, scope } => {
            format!("asking {} {} {}", request.0, rel(*at), scope_name(*scope))
        }
        ActionState::Asked { request, at, answer, absent_since, running_since, scope } => format!(
            "asked {} {} {} {answer:?} absent {} running {}",
            request.0,
            rel(*at),
            scope_name(*scope),
            maybe(absent_since),
            maybe(running_since)
        ),
        ActionState::Releasing { why, since } => format!("releasing {} ({why})", rel(*since)),
        ActionState::Ended { end: End::Released(why), at } => {
            format!("released {} ({why})", rel(*at))
        }
        ActionState::Ended { end: _, at } => format!("{} {}", state.name(), rel(*at)),
    }
}

fn scope_name(scope: RequestScope) -> &'static str {
    match scope {
        RequestScope::Named => "by id",
        RequestScope::Group { .. } => "group",
    }
}

fn effect(effect: &Effect) -> String {
    match effect {
        Effect::Cordon => "cordon".to_owned(),
        Effect::Release => "release".to_owned(),
        Effect::Delete(request) => format!("delete {}", request.0),
        Effect::Notify(notice) => format!("notify {notice:?}"),
    }
}
