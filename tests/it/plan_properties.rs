//! Properties of plans over generated worlds, with a planted bug for each property that it must
//! notice.

use std::collections::BTreeMap;

use trimtab_core::action::ActionState;
use trimtab_core::audit::{self, Rule};
use trimtab_core::history::{Charge, Freeze, FreezeReason, History, MassTurn, Stop};
use trimtab_core::ids::{ActionId, InstanceId};
use trimtab_core::plan::{Mark, Plan, Release};
use trimtab_core::planner::plan;
use trimtab_core::policy::{Amount, ClusterPolicy};
use trimtab_core::reads::{Capacity, Claim, Reading};
use trimtab_core::snapshot::Snapshot;
use trimtab_core::units::{NodeCount, Share, Span, Time};
use trimtab_tests::properties::{PROPERTIES, Planner, open, plan_of};
use trimtab_tests::random::Random;
use trimtab_tests::scale;
use trimtab_tests::worlds::{World, generate, name};

const WORLDS: u64 = 3_000;

/// Seeds to run: all seeds, or the seed in `TRIMTAB_SEED`.
fn seeds() -> Vec<u64> {
    match std::env::var("TRIMTAB_SEED") {
        Ok(seed) => vec![seed.parse().expect("TRIMTAB_SEED is a number")],
        Err(_) => scale::seeds(0..WORLDS).collect(),
    }
}

#[test]
fn every_property_holds_in_every_world() {
    let mut deleting = 0;
    let seeds = seeds();
    for &seed in &seeds {
        let world = generate(seed);
        deleting += u64::from(!plan_of(&world, plan).marks.is_empty());
        for property in &PROPERTIES {
            let mut random = Random::new(!seed);
            if let Err(seen) = (property.check)(&world, plan, &mut random) {
                panic!(
                    "seed {seed}: not true that {}: {seen}\nreplay: TRIMTAB_SEED={seed} \
                     cargo test -p trimtab-tests every_property_holds",
                    property.says
                );
            }
        }
    }
    let share = deleting * 100 / seeds.len() as u64;
    println!("{deleting} of {} worlds delete something ({share} %)", seeds.len());
    assert!(seeds.len() == 1 || share >= 50, "only {share} % of the worlds delete anything");
}

/// Whether the property notices the planner's bug in any world.
fn noticed(says: &str, planner: Planner) -> bool {
    let property = PROPERTIES.iter().find(|p| p.says == says).expect("a property of that name");
    (0..WORLDS)
        .any(|seed| (property.check)(&generate(seed), planner, &mut Random::new(!seed)).is_err())
}

/// Marks one idle node more than the plan does, ignoring all limits.
fn greedy(snapshot: &Snapshot, policy: &ClusterPolicy, history: &History, now: Time) -> Plan {
    let mut plan = plan(snapshot, policy, history, now);
    let Some(first) = plan.marks.first().cloned() else { return plan };
    let nodes = snapshot.groups.get(&first.group).map_or(&[][..], |view| &view.nodes);
    let extra = nodes.iter().find(|node| {
        let idle = node.scheduler.fresh().is_some_and(|s| s.claims.is_empty());
        idle && !plan.marks.iter().any(|mark| mark.node == node.id)
    });
    if let Some(node) = extra {
        plan.marks.push(Mark { node: node.id, identity: node.identity(), ..first });
    }
    plan
}

/// Ignores protection.
fn blind_to_protection(s: &Snapshot, p: &ClusterPolicy, h: &History, now: Time) -> Plan {
    let mut snapshot = s.clone();
    for node in snapshot.groups.values_mut().flat_map(|group| &mut group.nodes) {
        node.protected = false;
    }
    plan(&snapshot, p, h, now)
}

/// Treats any node that was idle a moment ago as idle.
fn blind_to_claims(s: &Snapshot, p: &ClusterPolicy, h: &History, now: Time) -> Plan {
    let mut snapshot = s.clone();
    for node in snapshot.groups.values_mut().flat_map(|group| &mut group.nodes) {
        if let Reading::Fresh { value, .. } = &mut node.scheduler {
            value.claims.clear();
        }
    }
    let mut history = h.clone();
    for member in history.groups.values_mut().flat_map(|state| state.members.values_mut()) {
        member.idle_since.get_or_insert(now);
    }
    plan(&snapshot, p, &history, now)
}

/// Treats a missing reading as zero, the most common bug of autoscalers.
fn missing_is_idle(s: &Snapshot, p: &ClusterPolicy, h: &History, now: Time) -> Plan {
    let missing = s.groups.values().flat_map(|group| &group.nodes);
    let missing = missing.filter(|node| node.scheduler == Reading::Absent).count();
    let mut plan = plan(s, p, h, now);
    if let (true, Some(mark)) = (missing > 0, plan.marks.first().cloned()) {
        plan.marks.extend((0..missing).map(|_| mark.clone()));
    }
    plan
}

/// Decides by the position in the listing.
fn by_position(s: &Snapshot, p: &ClusterPolicy, h: &History, now: Time) -> Plan {
    let mut plan = plan(s, p, h, now);
    let first_pending = s.groups.values().find_map(|g| g.pending.as_ref()?.first());
    if first_pending.is_some_and(|job| job.id.as_str().ends_with(['1', '3', '5', '7', '9'])) {
        plan.marks.reverse();
        plan.marks.pop();
    }
    plan
}

/// Forgets what has already left (R), so it deletes twice on old counts.
fn forgetful(s: &Snapshot, p: &ClusterPolicy, h: &History, now: Time) -> Plan {
    let mut history = h.clone();
    for state in history.groups.values_mut() {
        let idle = state.runs.front().map_or(NodeCount::ZERO, |run| run.counts.idle);
        if let Some(mut last) = state.runs.back().copied() {
            last.counts.idle = idle.max(last.counts.idle);
            let members = std::mem::take(&mut state.members);
            let since = state.covered_since().unwrap_or(now);
            *state = trimtab_core::rule::GroupState::default();
            state.members = members;
            for at in [since, now] {
                let counts = last.counts;
                state.fold(trimtab_core::rule::Sample { at, counts, departed: 0 }, Span::FOREVER);
            }
        }
    }
    plan(s, p, &history, now)
}

/// Ignores floors.
fn floorless(s: &Snapshot, p: &ClusterPolicy, h: &History, now: Time) -> Plan {
    let mut policy = p.clone();
    policy.min_nodes = NodeCount::ZERO;
    for group in policy.groups.values_mut() {
        group.min_nodes = Amount::Nodes(NodeCount::ZERO);
        group.keep_windows.clear();
    }
    plan(s, &policy, h, now)
}

#[test]
fn every_property_notices_a_planted_bug() {
    let plants: [(&str, Planner); 8] = [
        ("the audit accepts every plan", greedy),
        ("the audit accepts every plan", floorless),
        ("floors hold if every pending deletion succeeds", floorless),
        ("more protection never means more marks", blind_to_protection),
        ("more jobs never mean more marks", blind_to_claims),
        ("less data never means more marks", missing_is_idle),
        ("the order of the input does not matter", by_position),
        ("a plan re-made after it was applied is empty", forgetful),
    ];
    for property in &PROPERTIES {
        assert!(plants.iter().any(|(says, _)| *says == property.says), "{}", property.says);
    }
    for (says, planner) in plants {
        assert!(noticed(says, planner), "not noticed: {says}");
    }
}

/// Input of an audit.
struct Case {
    plan: Plan,
    snapshot: Snapshot,
    policy: ClusterPolicy,
    history: History,
    now: Time,
}

impl Case {
    fn of(world: &World) -> Self {
        Self {
            plan: plan_of(world, plan),
            snapshot: world.snapshot(),
            policy: world.policy.clone(),
            history: world.history(),
            now: world.now,
        }
    }

    fn first(&self) -> Mark {
        self.plan.marks.first().expect("the plan marks something").clone()
    }

    fn with_node(
        &mut self,
        id: InstanceId,
        change: impl Fn(&mut trimtab_core::snapshot::NodeView),
    ) {
        let nodes = self.snapshot.groups.values_mut().flat_map(|group| &mut group.nodes);
        nodes.filter(|node| node.id == id).for_each(change);
    }
}

/// A rule of the audit, and a change to a valid case that breaks it.
type Break = (Rule, fn(&mut Case));

#[test]
fn the_audit_refuses_every_kind_of_broken_plan() {
    let breaks: [Break; 22] = [
        (Rule::Current, |c| c.policy.hash = name("another")),
        (Rule::Current, |c| c.plan.made_at = c.now - Span::mins(1)),
        (Rule::ClusterCalm, |c| c.history.stop = Some(Stop::Paused { why: "test".into() })),
        (Rule::ClusterCalm, |c| {
            let (changed, of) = (NodeCount(9), NodeCount(9));
            let why = FreezeReason::MassChange { turned: MassTurn::Gone, changed, of };
            c.history.freeze = Some(Freeze { at: c.now, why });
        }),
        (Rule::ClusterCalm, |c| c.snapshot.state = None),
        (Rule::ClusterCalm, |c| {
            let why = "down".into();
            c.snapshot.workload = trimtab_core::snapshot::WorkloadSource::Failed { why };
        }),
        (Rule::GroupCalm, |c| {
            let group = c.first().group;
            if let Some(view) = c.snapshot.groups.get_mut(&group) {
                view.description.role = trimtab_core::reads::Role::Controller;
            }
        }),
        (Rule::GroupCalm, |c| {
            let group = c.first().group;
            c.policy.groups.remove(&group);
        }),
        (Rule::WorthIt, |c| {
            c.policy.groups.values_mut().for_each(|g| g.capacity = Capacity::TrainingPlan);
        }),
        (Rule::WorthIt, |c| c.policy.groups.values_mut().for_each(|g| g.price = None)),
        (Rule::WorthIt, |c| c.policy.groups.values_mut().for_each(|g| g.node_local_data = None)),
        (Rule::SameNode, |c| {
            let mark = c.first();
            c.plan.marks.push(mark);
        }),
        (Rule::SameNode, |c| {
            let id = c.first().node;
            c.with_node(id, |node| node.launched = node.launched + Span::secs(1));
        }),
        (Rule::SameNode, |c| c.plan.marks[0].node = InstanceId::from_number(0xdead)),
        (Rule::Evidence, |c| {
            let id = c.first().node;
            c.with_node(id, |node| node.scheduler = Reading::Partial);
        }),
        (Rule::Evidence, |c| {
            let id = c.first().node;
            c.with_node(id, |node| {
                if let Reading::Fresh { value, .. } = &mut node.scheduler {
                    value.claims.push(Claim::Planned);
                }
            });
        }),
        (Rule::LeftAlone, |c| {
            let until = c.now + Span::mins(1);
            c.history.cooldowns.insert(c.first().node, until);
        }),
        (Rule::LeftAlone, |c| {
            let id = c.first().node;
            c.with_node(id, |node| node.protected = true);
        }),
        (Rule::Surplus, |c| {
            c.history.end_windows();
        }),
        (Rule::Floor, |c| c.policy.min_nodes = NodeCount(10_000)),
        (Rule::Budget, |c| {
            let group = c.first().group;
            let day = c.policy.groups[&group].budgets.per_day.0;
            let charge = Charge { at: c.now, group, action: ActionId(1) };
            c.history.charges.extend((0..day).map(|_| charge.clone()));
        }),
        (Rule::Revocable, |c| {
            let node = c.first().node;
            let why = trimtab_core::action::ReleaseReason::Demand;
            c.plan.releases.push(Release { action: ActionId(99), node, why });
        }),
    ];
    let worlds: Vec<World> = (0..300).map(generate).collect();
    let deleting: Vec<&World> =
        worlds.iter().filter(|world| !plan_of(world, plan).marks.is_empty()).collect();
    assert!(deleting.len() > 100);
    for (i, (rule, break_it)) in breaks.iter().enumerate() {
        for world in deleting.iter().take(40) {
            let mut case = Case::of(world);
            break_it(&mut case);
            let Case { plan, snapshot, policy, history, now } = case;
            let refused = audit::approve(plan, &snapshot, &policy, &history, now);
            let violations = refused.expect_err("a broken plan was approved");
            let named = violations.iter().any(|violation| violation.rule == *rule);
            assert!(named, "break {i} ({rule:?}) was called {violations:?}");
        }
    }
    // A plan that wants too many nodes at once, and one that marks more than it may.
    let world = deleting[0];
    let mut case = Case::of(world);
    case.policy.mass_change.share = Share::default();
    case.policy.mass_change.nodes = NodeCount(0);
    let many: Vec<Mark> = (0..5).map(|_| case.first()).collect();
    case.plan.marks = many;
    let refused = audit::approve(case.plan, &case.snapshot, &case.policy, &case.history, case.now);
    let violations = refused.expect_err("approved");
    assert!(violations.iter().any(|violation| violation.rule == Rule::MassChange));
}

/// Settles a world's marks as the driver would, and shows the cordons.
fn settled(world: &World) -> Case {
    let mut case = Case::of(world);
    let marks = case.plan.marks.clone();
    for (mark, id) in marks.iter().zip(1..) {
        let mut action = open(mark, ActionId(id), world);
        action.state = ActionState::Settling { until: case.now };
        case.with_node(mark.node, |node| {
            if let Reading::Fresh { value, .. } = &mut node.scheduler {
                value.cordon =
                    trimtab_core::cordon::CordonStatus::Ours { actions: ActionId(id).into() };
            }
        });
        case.history.actions.insert(mark.node, action);
    }
    case
}

#[test]
fn only_cordoned_clean_and_settled_nodes_of_one_group_are_cleared() {
    let mut cleared = 0;
    for seed in 0..400 {
        let world = generate(seed);
        let case = settled(&world);
        let groups: BTreeMap<_, usize> =
            case.plan.marks.iter().fold(BTreeMap::new(), |mut groups, mark| {
                *groups.entry(mark.group.clone()).or_default() += 1;
                groups
            });
        for (group, marks) in groups {
            let clear = |case: &Case, at| {
                audit::clear(audit::Offer {
                    group: &group,
                    gated: &|_| true,
                    snapshot: &case.snapshot,
                    policy: &case.policy,
                    history: &case.history,
                    now: at,
                })
                .request
            };
            let request = clear(&case, case.now).expect("settled and clean");
            assert!(request.nodes().len() <= marks && request.nodes().len() <= 99);
            assert_eq!(request.group(), &group);
            cleared += 1;

            let late = case.now + case.policy.timing.max_look_age + Span::millis(1);
            assert_eq!(clear(&case, late), None, "older than max_look_age allows");

            let node = request.nodes()[0];
            let without = |change: &dyn Fn(&mut Case)| {
                let mut case = settled(&world);
                change(&mut case);
                clear(&case, case.now).is_none_or(|request| !request.nodes().contains(&node))
            };
            assert!(without(&|c| c.with_node(node, |n| n.scheduler = Reading::Absent)));
            assert!(without(&|c| c.with_node(node, |n| n.protected = true)));
            assert!(without(&|c| c.with_node(node, |n| {
                n.status = trimtab_core::reads::InstanceStatus::ShuttingDown;
            })));
            assert!(without(&|c| c.with_node(node, |n| {
                if let Reading::Fresh { value, .. } = &mut n.scheduler {
                    value.claims.push(Claim::Running(name("5")));
                }
            })));
            assert!(without(&|c| c.with_node(node, |n| {
                if let Reading::Fresh { value, .. } = &mut n.scheduler {
                    value.cordon = trimtab_core::cordon::CordonStatus::Clear;
                }
            })));
            assert!(without(&|c| c.policy.hash = name("newer")));
            assert!(without(&|c| c.policy.min_nodes = NodeCount(10_000)));
            assert!(without(&|c| c.history.stop = Some(Stop::Paused { why: "test".into() })));
            assert!(without(&|c| {
                let later = c.now + Span::secs(1);
                for action in c.history.actions.values_mut() {
                    action.state = ActionState::Settling { until: later };
                }
            }));
        }
    }
    assert!(cleared > 200, "only {cleared} groups were cleared");
}
