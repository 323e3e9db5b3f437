//! Requests by count: when they are planned, when the audit clears them, what releases their nodes,
//! and when they are over.

use trimtab_core::action::{ActionState, Answer, ReleaseReason, RequestScope};
use trimtab_core::audit::{self, Offer, Recount, Rule};
use trimtab_core::group_call;
use trimtab_core::ids::{GroupName, InstanceId, RequestId};
use trimtab_core::plan::{Bound, Plan};
use trimtab_core::reads::ClusterDescription;
use trimtab_core::snapshot::Snapshot;
use trimtab_core::units::{NodeCount, Span, Time};
use trimtab_tests::worlds::name;

use super::report::plan_of;
use super::script;
use super::world::World;

fn world(text: &str) -> World {
    script::run(&text.replace("; ", "\n"))
}

fn violations(plan: Plan, world: &World) -> Vec<Rule> {
    let snapshot = world.snapshot();
    match audit::approve(plan, &snapshot, &world.policy, &world.history, world.now) {
        Ok(_) => vec![],
        Err(found) => found.into_iter().map(|violation| violation.rule).collect(),
    }
}

fn planned(text: &str) -> (Plan, World) {
    let world = world(text);
    let (plan, _) = plan_of(&world);
    assert_eq!(violations(plan.clone(), &world), [], "{text}");
    (plan, world)
}

fn marks(plan: &Plan) -> (usize, Vec<Option<NodeCount>>) {
    let mut stay: Vec<_> = plan.marks.iter().map(|mark| mark.evidence.remainder).collect();
    stay.dedup();
    (plan.marks.len(), stay)
}

const LARGE: &str = "group workers size=120 per_request=200 group_calls=";

#[test]
fn whole_group_may_go_to_nothing_though_ids_could_not_name_it() {
    let (plan, _) = planned(&format!("{LARGE}to-zero; node n1..n120 idle"));
    assert_eq!(marks(&plan), (120, vec![None]));
    let (plan, _) = planned("group workers size=120 per_request=200; node n1..n120 idle");
    assert_eq!(marks(&plan), (99, vec![None]), "the key is off by default");
}

#[test]
fn budget_of_one_request_and_a_busy_node_keep_it_to_what_ids_can_name() {
    let cut = LARGE.replace("per_request=200", "per_request=60");
    let (plan, _) = planned(&format!("{cut}to-zero; node n1..n120 idle"));
    assert_eq!(marks(&plan), (60, vec![None]));
    let (plan, _) = planned(&format!("{LARGE}to-zero; node n1..n119 idle; node n120 running 7"));
    assert_eq!(marks(&plan), (99, vec![None]));
    let (plan, _) = planned(&format!("{LARGE}to-zero min_nodes=1; node n1..n120 idle"));
    assert_eq!(marks(&plan), (99, vec![None]), "one has to stay, and to-zero leaves none");
}

#[test]
fn change_that_could_not_be_believed_is_no_reason_to_leave_ids() {
    let text = format!("cluster mass_change=100,100%; {LARGE}to-zero; node n1..n120 idle");
    let (plan, _) = planned(&text);
    assert_eq!((marks(&plan), plan.freeze), ((99, vec![None]), None));
}

#[test]
fn after_a_refused_group_call_the_group_goes_by_ids_under_the_same_policy() {
    let text = format!("{LARGE}whole-group min_nodes=5; node n1..n120 idle");
    let (whole, mut world) = planned(&text);
    let group: GroupName = name("workers");
    world.history.group_calls_refused.insert(group.clone());
    assert!(violations(whole, &world).contains(&Rule::WholeGroup), "the audit knows it, too");
    let plan =
        trimtab_core::planner::plan(&world.snapshot(), &world.policy, &world.history, world.now);
    assert_eq!(marks(&plan), (99, vec![None]));
    assert!(plan.figures[&group].group_call_refused, "the plan says why");
    assert_eq!(violations(plan, &world), []);

    let mut world = self::world(&settled("group_calls=to-zero", "", "node n1 idle"));
    assert!(clear(&world, &counted(&world)).is_ok());
    world.history.group_calls_refused.insert(group);
    assert_eq!(clear(&world, &counted(&world)), Err(Rule::WholeGroup));
}

#[test]
fn with_a_remainder_every_node_is_marked_and_the_floor_is_named() {
    let (plan, _) = planned(&format!("{LARGE}whole-group min_nodes=5; node n1..n120 idle"));
    assert_eq!(marks(&plan), (120, vec![Some(NodeCount(5))]));
    let figures = &plan.figures[&name::<GroupName>("workers")];
    assert_eq!((figures.marks, figures.bound), (NodeCount(115), Some(Bound::Floor)));
    let word = plan.verdicts[0].verdict.to_string();
    assert!(
        word.starts_with("cordon for a whole-group request that keeps 5 of its nodes"),
        "{word}"
    );
}

#[test]
fn no_more_than_ids_can_name_goes_by_ids() {
    let (plan, _) = planned(&format!("{LARGE}whole-group min_nodes=21; node n1..n120 idle"));
    assert_eq!(marks(&plan), (99, vec![None]));
}

#[test]
fn node_that_cannot_be_cordoned_keeps_its_group_from_going_as_a_whole() {
    for odd in ["running 7", "idle protected", "idle shows=spot", "drained=bad-fan", "joining"] {
        let text = format!("{LARGE}whole-group min_nodes=5; node n1..n119 idle; node n120 {odd}");
        let (plan, _) = planned(&text);
        assert_eq!(marks(&plan), (99, vec![None]), "{odd}");
    }
    let shares = LARGE.replace("size=120", "size=120 leaving=99%");
    let (plan, _) = planned(&format!("{shares}whole-group min_nodes=5; node n1..n120 idle"));
    assert_eq!(marks(&plan), (99, vec![None]), "all of them would be cordoned at once");
}

#[test]
fn audit_refuses_a_part_of_a_whole_group_and_a_whole_group_that_nobody_wants() {
    let text = format!("{LARGE}whole-group min_nodes=5; node n1..n120 idle");
    let (plan, mut world) = planned(&text);
    let mut part = plan.clone();
    part.marks.pop();
    assert!(violations(part, &world).contains(&Rule::WholeGroup));
    let mut mixed = plan.clone();
    mixed.marks[3].evidence.remainder = Some(NodeCount(6));
    assert!(violations(mixed, &world).contains(&Rule::WholeGroup));
    let mut fewer = plan.clone();
    for mark in &mut fewer.marks {
        mark.evidence.remainder = Some(NodeCount(4));
    }
    assert!(violations(fewer, &world).contains(&Rule::Floor), "fewer stay than the floor");
    let mut all = plan.clone();
    for mark in &mut all.marks {
        mark.evidence.remainder = None;
    }
    assert!(violations(all, &world).contains(&Rule::Floor), "none stays");
    for group in world.policy.groups.values_mut() {
        group.group_calls = trimtab_core::policy::GroupCalls::ToZero;
    }
    assert!(violations(plan, &world).contains(&Rule::WholeGroup), "to zero only");
}

/// Cordoned and settled, with these differences.
fn settled(policy: &str, stay: &str, more: &str) -> String {
    format!(
        "group workers size=120 per_request=200 {policy}; node n1..n120 idle; at -4m; \
         action n1..n120 settling {stay}; at 0s; {more}"
    )
}

fn described(world: &World) -> ClusterDescription {
    let snapshot: Snapshot = world.snapshot();
    let groups = snapshot.groups.into_iter().map(|(name, view)| (name, view.description));
    ClusterDescription { state: snapshot.state.expect("described"), groups: groups.collect() }
}

fn clear(world: &World, recount: &Recount) -> Result<(usize, NodeCount), Rule> {
    let snapshot = world.snapshot();
    let offer = Offer {
        group: &name("workers"),
        gated: &|action| !world.gate_holds.contains(&action.node),
        snapshot: &snapshot,
        policy: &world.policy,
        history: &world.history,
        now: world.now,
    };
    let cleared = audit::clear_group(offer, recount)?;
    assert_eq!(cleared.group(), offer.group);
    assert_eq!(cleared.look_begun_at(), snapshot.begun_at);
    assert_eq!(cleared.expires_at(), snapshot.begun_at + world.policy.timing.max_look_age);
    Ok((cleared.nodes().len(), cleared.count_after()))
}

fn counted(world: &World) -> Recount {
    Recount { begun_at: world.now, description: described(world) }
}

fn cleared(text: &str) -> Result<(usize, NodeCount), Rule> {
    let world = world(text);
    clear(&world, &counted(&world))
}

#[test]
fn settled_clean_and_counted_twice_a_whole_group_is_cleared() {
    assert_eq!(
        cleared(&settled("group_calls=to-zero", "", "node n1 idle")),
        Ok((120, NodeCount(0)))
    );
    let some_stay = settled("group_calls=whole-group min_nodes=5", "stay=5", "node n1 idle");
    assert_eq!(cleared(&some_stay), Ok((120, NodeCount(5))));
}

#[test]
fn one_node_of_which_it_is_not_sure_refuses_the_whole_group() {
    let mut refused = vec![];
    for (more, rule) in [
        ("node n7 running 17", Rule::Evidence),
        ("node n7 drained=bad-fan", Rule::Evidence),
        ("node n7 undrained", Rule::Evidence),
        ("node n7 drained=trimtab:test-ledger:99", Rule::Evidence),
        ("node n7 down", Rule::Evidence),
        ("node n7 told=2", Rule::Evidence),
        ("node n7 status=ShuttingDown", Rule::SameNode),
        ("node n7 launched=-1m", Rule::SameNode),
        ("node n7 protected", Rule::LeftAlone),
        ("node n7 shows=spot", Rule::WorthIt),
        ("node n7 details=unread", Rule::WorthIt),
        ("node n7 gone", Rule::WholeGroup),
        ("node n121 idle", Rule::WholeGroup),
        ("action n7 settling since=-29s", Rule::Current),
        ("action n7 settling policy=other", Rule::Current),
        ("action n7 cordoning", Rule::WholeGroup),
        ("action n7 releasing", Rule::WholeGroup),
        ("action n7 asked", Rule::ClusterCalm),
        ("action n7 settling since=-4m stay=5", Rule::WholeGroup),
        ("gate-holds n7", Rule::Gate),
        ("group workers current=121", Rule::GroupCalm),
        ("group workers current=120 target=119", Rule::GroupCalm),
        ("group workers not-calm", Rule::GroupCalm),
        ("group workers shows=reserved", Rule::WorthIt),
        ("group workers per_request=119", Rule::Budget),
        ("group workers per_hour=119", Rule::Budget),
        ("charge 881 -30m", Rule::Budget),
        ("group workers min_nodes=1", Rule::Floor),
        ("cluster min_nodes=1", Rule::Floor),
        ("job 17 nodes=1", Rule::Demand),
        ("cluster mass_change=119,100%", Rule::MassChange),
        ("cluster status=Updating", Rule::ClusterCalm),
        ("cluster software-update", Rule::ClusterCalm),
        ("cluster rival-autoscaler", Rule::ClusterCalm),
        ("scheduler old 31s", Rule::Evidence),
        ("reads-took 31s", Rule::Current),
        ("refused throttled -30s", Rule::BackedOff),
        ("stop paused", Rule::ClusterCalm),
        ("freeze 5 8", Rule::ClusterCalm),
    ] {
        let found = cleared(&settled("group_calls=to-zero", "", more));
        if found != Err(rule) {
            refused.push(format!("{more}: {found:?}, not {rule:?}"));
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

#[test]
fn policy_that_does_not_want_it_refuses_it() {
    let never = cleared(&settled("", "", "node n1 idle"));
    assert_eq!(never, Err(Rule::WholeGroup));
    let left = cleared(&settled("group_calls=to-zero min_nodes=5", "stay=5", "node n1 idle"));
    assert_eq!(left, Err(Rule::WholeGroup), "to zero only");
    let few = settled("group_calls=whole-group min_nodes=21", "stay=21", "node n1 idle");
    assert_eq!(cleared(&few), Err(Rule::WholeGroup), "ids can name 99");
    let floor = settled("group_calls=whole-group min_nodes=6", "stay=5", "node n1 idle");
    assert_eq!(cleared(&floor), Err(Rule::Floor));
}

#[test]
fn count_after_the_looks_must_agree_with_the_one_before() {
    let world = world(&settled("group_calls=to-zero", "", "node n1 idle"));
    let honest = counted(&world);
    assert_eq!(clear(&world, &honest), Ok((120, NodeCount(0))));
    let group: GroupName = name("workers");
    let spoilt = |spoil: &dyn Fn(&mut Recount)| {
        let mut recount = honest.clone();
        spoil(&mut recount);
        clear(&world, &recount)
    };
    let of_group = |change: &dyn Fn(&mut trimtab_core::reads::GroupDescription)| {
        spoilt(&|recount| change(recount.description.groups.get_mut(&group).expect("a group")))
    };
    // A node that was added meanwhile is not cordoned and could be chosen.
    assert_eq!(
        of_group(&|group| (group.current, group.target) = (NodeCount(121), NodeCount(121))),
        Err(Rule::Counts)
    );
    assert_eq!(of_group(&|group| group.target = NodeCount(121)), Err(Rule::Counts));
    assert_eq!(of_group(&|group| group.current = NodeCount(119)), Err(Rule::Counts));
    assert_eq!(of_group(&|group| group.calm = false), Err(Rule::GroupCalm));
    assert_eq!(
        spoilt(&|recount| recount.begun_at = world.now - Span::millis(1)),
        Err(Rule::Current),
        "it has to begin after the looks"
    );
    assert_eq!(
        spoilt(&|recount| recount.begun_at = world.now + Span::millis(1)),
        Err(Rule::Current)
    );
    assert_eq!(
        spoilt(&|recount| recount.description.state.software_update = true),
        Err(Rule::ClusterCalm)
    );
    assert_eq!(
        spoilt(&|recount| {
            recount.description.groups.remove(&group);
        }),
        Err(Rule::GroupCalm)
    );
}

#[test]
fn by_ids_nothing_goes_that_was_marked_with_its_whole_group() {
    let world = world(&settled("group_calls=whole-group", "stay=20", "node n121 idle"));
    let snapshot = world.snapshot();
    let found = audit::clear(Offer {
        group: &name("workers"),
        gated: &|_| true,
        snapshot: &snapshot,
        policy: &world.policy,
        history: &world.history,
        now: world.now,
    });
    assert_eq!(found.request, None);
    assert!(found.waiting.iter().all(|(_, rule)| *rule == Rule::WholeGroup));
    assert_eq!(found.waiting.len(), 120);
}

#[test]
fn what_was_marked_with_its_whole_group_is_released_as_a_whole_or_not_at_all() {
    let policy = "group_calls=whole-group min_nodes=5";
    let releases = |more: &str| {
        let world = world(&settled(policy, "stay=5", more));
        let (plan, _) = plan_of(&world);
        assert!(plan.marks.is_empty(), "{more}");
        let whys: Vec<ReleaseReason> = plan.releases.iter().map(|r| r.why.clone()).collect();
        assert_eq!(violations(plan.clone(), &world), [], "{more}");
        if !plan.releases.is_empty() {
            let mut part = plan;
            part.releases.truncate(3);
            assert!(violations(part, &world).contains(&Rule::WholeGroup), "{more}");
        }
        (whys.len(), whys.first().cloned())
    };
    assert_eq!(releases("node n1 idle"), (0, None), "the five that stay are the floor");
    assert_eq!(releases("job 17 nodes=5"), (0, None), "the five that stay take them");
    assert_eq!(releases("job 17 nodes=6"), (120, Some(ReleaseReason::Demand)));
    assert_eq!(releases("group workers min_nodes=6"), (120, Some(ReleaseReason::Floor)));
    let (count, why) = releases("node n7 gone");
    assert!(count == 120 && matches!(why, Some(ReleaseReason::Vetoed(_))), "{count} {why:?}");
    let (count, _) = releases("action n7 releasing");
    assert_eq!(count, 119, "those that can still be released");
    let (count, _) = releases("node n121 idle");
    assert_eq!(count, 120, "a node was added that is not cordoned");
}

/// A world of four nodes with a request that keeps `after` nodes, and what is read now.
struct Called {
    after: u32,
    answer: Answer,
    running: Option<Span>,
    described: bool,
}

const YES: Called = Called { after: 2, answer: Answer::Accepted, running: None, described: false };

fn over(text: &str, called: &Called) -> Vec<(u128, ReleaseReason)> {
    let mut world = world(&format!("group workers size=4; {text}"));
    let asked_at = world.now - Span::mins(20);
    for action in world.history.actions.values_mut() {
        action.state = ActionState::Asked {
            request: RequestId(7),
            at: asked_at,
            answer: called.answer.clone(),
            absent_since: None,
            running_since: called.running.map(|ago| world.now - ago),
            scope: RequestScope::Group { after: NodeCount(called.after) },
        };
    }
    let mut snapshot = world.snapshot();
    for node in snapshot.groups.values_mut().flat_map(|group| &mut group.nodes) {
        node.described_running = called.described;
    }
    let number =
        |id: InstanceId| (1..9).find(|n| InstanceId::from_number(*n) == id).expect("small");
    let over = group_call::over(&snapshot, &world.history);
    over.into_iter().map(|(node, why)| (number(node), why)).collect()
}

#[test]
fn accepted_call_is_over_at_once_when_listing_and_counts_are_as_asked_and_the_others_gone() {
    let spared = vec![(1, ReleaseReason::NotPicked), (2, ReleaseReason::NotPicked)];
    // n3 and n4 were seen gone, so they have no open action.
    let two = "node n1..n2 idle; at -20m; action n1..n2 asked; at 0s; ";
    assert_eq!(over(&format!("{two}node n1 idle"), &YES), spared);
    for (more, why) in [
        ("group workers current=4 target=2", "the count lags"),
        ("group workers current=2 target=3", "the group is being grown"),
        ("group workers not-calm", "something runs in it"),
        ("cluster status=Updating", "a classic cluster is at work"),
        ("cluster software-update", "an update runs"),
        ("node n2 status=ShuttingDown", "one is going"),
        ("node n2 gone", "one is gone, and not yet for good"),
        ("listing pages-missing", "not everything is listed"),
        ("node n5 idle", "more are listed than were asked for"),
    ] {
        assert_eq!(over(&format!("{two}{more}"), &YES), [], "{why}");
    }
    // Two nodes will be deleted; which ones is not known.
    let four = "node n1..n4 idle; at -20m; action n1..n4 asked; at 0s; node n1 idle";
    assert_eq!(over(four, &YES), []);
    let three = "node n1..n3 idle; at -20m; action n1..n3 asked; at 0s; node n1 idle";
    assert_eq!(over(three, &YES), []);
}

#[test]
fn accepted_call_is_never_over_before_it_took_as_many_as_it_was_to_take() {
    let long = Called { running: Some(Span::mins(60)), described: true, ..YES };
    let four = "node n1..n4 idle; at -20m; action n1..n4 asked; at 0s; node n1 idle";
    assert_eq!(over(four, &long), [], "it may still begin");
    // An operator removed the cordons of two nodes, so their actions ended. The nodes still exist,
    // and two of the four are still to be deleted.
    let resumed = "node n1..n4 idle; at -20m; action n1..n2 asked; at 0s; node n1 idle";
    assert_eq!(over(resumed, &long), []);
    // The group was grown meanwhile: the remaining nodes are seen to stay.
    let grown = "node n1..n2 idle; at -20m; action n1..n2 asked; at 0s; node n5 idle launched=-9m";
    assert_eq!(over(grown, &long).len(), 2);
    assert_eq!(over(grown, &Called { described: false, ..long }), []);
    assert_eq!(over(grown, &Called { running: Some(Span::mins(14)), described: true, ..YES }), []);
}

#[test]
fn unanswered_call_is_over_after_a_quarter_of_an_hour_of_settled_counts() {
    let none = |minutes, described| {
        let running = Some(Span::mins(minutes));
        Called { answer: Answer::NoAnswer, running, described, ..YES }
    };
    let four = "node n1..n4 idle; at -20m; action n1..n4 asked; at 0s; ";
    let untouched = format!("{four}node n1 idle");
    let back = over(&untouched, &none(15, true));
    assert_eq!(back.len(), 4);
    assert!(back.iter().all(|(_, why)| *why == ReleaseReason::NeverLeft));
    assert_eq!(over(&untouched, &none(14, true)), []);
    assert_eq!(over(&untouched, &none(15, false)), []);
    // The request was carried out: no node is released while any node may still be chosen.
    for more in ["group workers target=2", "node n3 status=ShuttingDown", "node n3 gone"] {
        assert_eq!(over(&format!("{four}{more}"), &none(60, true)), [], "{more}");
    }
    let two = "node n1..n2 idle; at -20m; action n1..n2 asked; at 0s; node n1 idle";
    let back = over(two, &none(15, true));
    assert!(back.len() == 2 && back.iter().all(|(_, why)| *why == ReleaseReason::NotPicked));
    assert_eq!(over(two, &none(1, true)), [], "without an answer never at once");
}

#[test]
fn nothing_is_marked_in_a_group_while_a_call_for_it_is_open() {
    let text =
        "group workers size=4; node n1..n3 idle; at -8m; action n1 asked; at 0s; node n1 idle";
    let (plan, mut world) = planned(text);
    assert_eq!(marks(&plan), (2, vec![None]), "next to a request by ids");
    for action in world.history.actions.values_mut() {
        if let ActionState::Asked { scope, .. } = &mut action.state {
            *scope = RequestScope::Group { after: NodeCount::ZERO };
        }
    }
    assert_eq!(violations(plan, &world), [Rule::WholeGroup]);
    assert_eq!(marks(&plan_of(&world).0), (0, vec![]));
}

#[test]
fn refused_call_is_not_over_by_its_counts() {
    let no = Answer::Refused { why: "busy".into() };
    let refused = Called { answer: no, running: Some(Span::mins(60)), described: true, after: 4 };
    let four = "node n1..n4 idle; at -20m; action n1..n4 asked; at 0s; node n1 idle";
    assert_eq!(over(four, &refused), [], "each goes back by a read of its own");
}

#[test]
fn reads_from_before_the_call_say_nothing_about_it() {
    let mut world = world(
        "group workers size=2; node n1..n2 idle; at -4m; action n1..n2 asked; at 0s; node n1 idle",
    );
    let at = |world: &mut World, at: Time| {
        for action in world.history.actions.values_mut() {
            if let ActionState::Asked { at: asked, scope, .. } = &mut action.state {
                (*asked, *scope) = (at, RequestScope::Group { after: NodeCount(2) });
            }
        }
        group_call::over(&world.snapshot(), &world.history).len()
    };
    let now = world.now;
    assert_eq!(at(&mut world, now), 2);
    assert_eq!(at(&mut world, now + Span::millis(1)), 0);
}
