//! A plan, or a clearance, as text that an operator can review.

use std::collections::BTreeMap;
use std::fmt::Write;

use trimtab_core::audit;
use trimtab_core::eligibility::cluster_objection;
use trimtab_core::ids::{GroupName, InstanceId};
use trimtab_core::plan::{GroupFigures, NodeVerdict, Plan};
use trimtab_core::planner::plan;
use trimtab_core::rule::Counts;
use trimtab_core::snapshot::Snapshot;
use trimtab_core::units::{NodeCount, Span};
use trimtab_tests::worlds::name;

use super::world::World;

/// Returns the plan of a world whose history includes the newest sample.
pub(super) fn plan_of(world: &World) -> (Plan, Snapshot) {
    let snapshot = world.snapshot();
    (plan(&snapshot, &world.policy, &world.history, world.now), snapshot)
}

/// Returns the complete report of a plan.
pub(super) fn of_plan(world: &World) -> String {
    let (plan, snapshot) = plan_of(world);
    let mut text = String::new();
    if let Some(why) = cluster_objection(&snapshot, &world.policy, &world.history, world.now) {
        line(&mut text, &format!("nothing may go: {why}"));
    }
    let mut by_group: BTreeMap<&GroupName, Vec<&NodeVerdict>> =
        plan.figures.keys().map(|group| (group, vec![])).collect();
    for verdict in &plan.verdicts {
        by_group.entry(&verdict.group).or_default().push(verdict);
    }
    for (group, verdicts) in by_group {
        line(&mut text, &format!("group {group}"));
        if let Some(figures) = plan.figures.get(group) {
            write_figures(&mut text, figures);
        }
        let members = world.history.groups.get(group).map(|state| &state.members);
        for word in verdicts {
            let member = members.and_then(|members| members.get(&word.node));
            let class = member.map_or("-", |member| member.class.name());
            let node = label(world, word.node);
            line(&mut text, &format!("  {node:<4} {class:<8} {}", word.verdict));
        }
    }
    let marks: Vec<_> = plan.marks.iter().map(|mark| label(world, mark.node)).collect();
    line(&mut text, &format!("marks: {}", listed(&marks)));
    let release = |r: &trimtab_core::plan::Release| format!("{} ({})", label(world, r.node), r.why);
    let releases: Vec<_> = plan.releases.iter().map(release).collect();
    if !releases.is_empty() {
        line(&mut text, &format!("releases: {}", listed(&releases)));
    }
    if let Some(why) = &plan.freeze {
        line(&mut text, &format!("freezes the cluster: {why}"));
    }
    let (wanted_marks, wanted_releases) = (plan.marks.clone(), plan.releases.clone());
    match audit::approve(plan, &snapshot, &world.policy, &world.history, world.now) {
        Ok(approved) => {
            assert_eq!(approved.marks(), wanted_marks, "the audit changes nothing");
            assert_eq!(approved.releases(), wanted_releases, "the audit changes nothing");
        }
        Err(violations) => {
            for violation in violations {
                line(&mut text, &format!("the audit refuses: {violation}"));
            }
        }
    }
    shorten(world, &text)
}

/// Returns what is cleared for one request in the group `workers`, and what waits.
pub(super) fn of_clearing(world: &World) -> String {
    let snapshot = world.snapshot();
    let group: GroupName = name("workers");
    let clearance = audit::clear(audit::Offer {
        group: &group,
        gated: &|action| !world.gate_holds.contains(&action.node),
        snapshot: &snapshot,
        policy: &world.policy,
        history: &world.history,
        now: world.now,
    });
    let mut text = String::new();
    match &clearance.request {
        None => line(&mut text, "request: none"),
        Some(request) => {
            let nodes: Vec<_> = request.nodes().iter().map(|node| label(world, *node)).collect();
            let (look, end) = (request.look_begun_at(), request.expires_at());
            line(&mut text, &format!("request: {}", listed(&nodes)));
            line(&mut text, &format!("look begun at {look}, void after {end}"));
        }
    }
    for (action, rule) in &clearance.waiting {
        let about = world.history.actions.values().find(|open| open.id == *action);
        let node = about.map_or_else(|| "?".to_owned(), |open| label(world, open.node));
        line(&mut text, &format!("{node} waits: {rule:?}"));
    }
    shorten(world, &text)
}

fn write_figures(text: &mut String, figures: &GroupFigures) {
    line(text, &format!("  counts  {}", counted(figures.counts)));
    let watched = match figures.covered_since {
        Some(since) => format!("watched since {since}"),
        None => "not watched".to_owned(),
    };
    let tau = figures.tau.map_or("unknown".to_owned(), |tau: Span| tau.to_string());
    let surplus = match figures.surplus {
        Some(surplus) => format!("{surplus} surplus during the whole timer"),
        None => "surplus unknown".to_owned(),
    };
    line(text, &format!("  rule    {watched}; idle timer {tau}; {surplus}"));
    let GroupFigures { floor, headroom, upcoming, .. } = figures;
    let of_it = positive(*headroom).map_or(String::new(), |n| format!(", {n} of it idle headroom"));
    let soon = positive(*upcoming).map_or(String::new(), |n| format!("; {n} for jobs soon"));
    line(text, &format!("  keeps   floor {floor}{of_it}{soon}"));
    let bound = figures.bound.map_or(String::new(), |bound| format!("; bound: {bound}"));
    let GroupFigures { marks, candidates, .. } = figures;
    line(text, &format!("  goes    {marks} of {candidates} candidates{bound}"));
    if let Some(wanted) = positive(figures.wanted_back) {
        line(text, &format!("  needs   {wanted} released"));
    }
}

fn counted(counts: Option<Counts>) -> String {
    let Some(counts) = counts else { return "nothing".to_owned() };
    let Counts { busy, idle, unknown, arriving, leaving, impaired, queued, .. } = counts;
    let words = [
        (idle, "idle"),
        (busy, "busy"),
        (unknown, "unknown"),
        (arriving, "arriving"),
        (impaired, "impaired"),
        (leaving, "leaving"),
        (queued, "queued"),
    ];
    let words: Vec<String> = words
        .into_iter()
        .filter_map(|(count, word)| Some(format!("{} {word}", positive(count)?)))
        .collect();
    listed(&words)
}

fn positive(count: NodeCount) -> Option<NodeCount> {
    (count > NodeCount::ZERO).then_some(count)
}

fn listed(words: &[String]) -> String {
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

/// Returns the script's name of a node.
fn label(world: &World, id: InstanceId) -> String {
    let known = world.nodes.keys().position(|known| *known == id);
    let number = (1..10_000).find(|number| InstanceId::from_number(*number) == id);
    match (known, number) {
        (Some(_), Some(number)) => format!("n{number}"),
        (None, _) | (_, None) => id.to_string(),
    }
}

fn line(text: &mut String, words: &str) {
    writeln!(text, "{words}").expect("a string takes everything");
}

/// Shortens times of the plan's day to hours and minutes.
fn shorten(world: &World, text: &str) -> String {
    let now = world.now.to_string();
    let (day, _) = now.split_once('T').expect("a time has a day");
    text.replace(&format!("{day}T"), "").replace(":00Z", "")
}
