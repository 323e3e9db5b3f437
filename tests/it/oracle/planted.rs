//! Each rule of the oracle catches a planted bug and reports only that rule.
//!
//! Most bugs are planted in the daemon's policy, ports or ledger. Two cannot be planted that way,
//! so the oracle gets events that no run of the product can produce: S9 (only the audit could swap
//! an id) and the part of S8 about a controller (the audit refuses its role). They are marked as
//! doctored.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use trimtab_core::cordon::cordon_reason;
use trimtab_core::ids::InstanceId;
use trimtab_core::policy::{Amount, Budgets, ClusterPolicy, MassChangeLimit, TimerChoice};
use trimtab_core::units::{NodeCount, Share, Span, Time};
use trimtab_daemon::ports::{Cordon, Ledger, Ports};
use trimtab_simulator::World;
use trimtab_simulator::faults::FaultKind;
use trimtab_simulator::gauntlet::KillWhen;
use trimtab_simulator::log::{Call, LogEntry, WorldEvent};
use trimtab_simulator::ports::PortOptions;
use trimtab_simulator::spec::{FaultSpec, GroupSpec};
use trimtab_simulator::truth::Caller;
use trimtab_tests::altered::{Drops, Unreleasing};
use trimtab_tests::oracle::play::{Played, Tampering, play_with};
use trimtab_tests::oracle::worlds::{Case, plain};
use trimtab_tests::oracle::{CHECKS, Mode, Oracle, Rule};

use super::meddling::{
    AlwaysOn, ByCount, Cached, Forgetful, Omits, OneClock, ReleasesOlder, counts, rosy,
};

pub(super) fn run(case: &Case, tampering: &Tampering<'_>) -> Played {
    let folder = tempfile::tempdir().expect("a folder");
    play_with(case, folder.path(), tampering)
}

/// Checks that the bug is reported under this rule only, and that without the bug nothing is
/// reported.
fn check(rule: Rule, case: &Case, tampering: &Tampering<'_>) {
    let honest = run(case, &Tampering::default());
    assert!(honest.breaches.is_empty(), "without the bug: {}", honest.breaches[0]);
    let found = run(case, tampering).breaches;
    let rules = counts(found.iter().map(|breach| breach.rule));
    let first = found.first().map(ToString::to_string);
    assert_eq!(rules.keys().copied().collect::<Vec<_>>(), [rule], "{first:?} {rules:?}");
}

/// Runs the daemon with a policy that differs from the policy that the oracle checks.
fn check_policy(rule: Rule, strict: impl Fn(&mut ClusterPolicy), lax: impl Fn(&mut ClusterPolicy)) {
    let mut case = plain(3, 2);
    strict(&mut case.policy);
    let mut obeyed = case.policy.clone();
    lax(&mut obeyed);
    check(rule, &case, &Tampering { policy: Some(obeyed), ..Tampering::default() });
}

fn check_ports(rule: Rule, case: &Case, ports: &dyn Fn(&World, Ports) -> Ports) {
    check(rule, case, &Tampering { ports, ..Tampering::default() });
}

fn check_ledger(rule: Rule, case: &Case, omits: Omits) {
    let forget = |ledger: Arc<dyn Ledger>| -> Arc<dyn Ledger> {
        Arc::new(Forgetful { ledger, omits: Some(omits), fails: Arc::default() })
    };
    check(rule, case, &Tampering { ledger: &forget, ..Tampering::default() });
}

/// Adds a fault that repeats.
fn every(case: &mut Case, every: Span, lasts: Span, kind: &FaultKind) {
    let times = case.spec.duration.0 / every.0;
    for n in 1..times {
        let at = every.times(n) + Span::secs(10);
        case.spec.faults.push(FaultSpec { at, lasts, kind: kind.clone() });
    }
}

/// A world without jobs: the groups shrink to their floors.
pub(super) fn idle(seed: u64, hours: i64) -> Case {
    let mut case = plain(seed, 1);
    case.spec.generators.clear();
    case.spec.duration = Span::hours(hours);
    case
}

#[test]
fn each_rule_is_listed_with_a_sentence() {
    let listed: BTreeSet<Rule> = CHECKS.iter().map(|(rule, _)| *rule).collect();
    assert_eq!(listed.len(), CHECKS.len());
    assert_eq!(listed.len(), 23);
}

#[test]
fn s1_a_cordon_that_only_shows_is_noticed() {
    let options = PortOptions { cordon_disabled: true, ..PortOptions::default() };
    check(Rule::S1, &plain(3, 1), &Tampering { options, ..Tampering::default() });
}

#[test]
fn s2_an_old_answer_sold_as_new_is_noticed() {
    let mut case = plain(3, 2);
    for group in case.policy.groups.values_mut() {
        group.timer = TimerChoice::Fixed(Span::mins(1));
    }
    every(&mut case, Span::mins(20), Span::mins(4), &FaultKind::SchedulerSilent);
    // Silent from 10 seconds after a tick, that is during the next look.
    check_ports(Rule::S2, &case, &|_, mut ports| {
        let clock = Arc::clone(&ports.clock);
        ports.workload = ports.workload.map(|workload| {
            let cached = Cached { workload, clock, last: Mutex::new(None) };
            Arc::new(cached) as Arc<_>
        });
        ports
    });
}

#[test]
fn s3_an_idle_timer_cut_short_is_noticed() {
    check_policy(
        Rule::S3,
        |policy| each(policy, |group| group.timer = TimerChoice::Fixed(Span::mins(45))),
        |policy| each(policy, |group| group.timer = TimerChoice::Fixed(Span::mins(5))),
    );
}

#[test]
fn s4_a_grace_of_nothing_is_noticed() {
    check_policy(
        Rule::S4,
        |policy| each(policy, |group| group.post_job_grace = Span::mins(60)),
        |policy| each(policy, |group| group.post_job_grace = Span::ZERO),
    );
}

#[test]
fn s5_a_floor_of_nothing_is_noticed() {
    let floor = |nodes| {
        move |policy: &mut ClusterPolicy| {
            each(policy, |group| group.min_nodes = Amount::Nodes(NodeCount(nodes)));
        }
    };
    check_policy(Rule::S5, floor(11), floor(0));
}

#[test]
fn s6_larger_budgets_are_noticed() {
    let budgets = |per_hour| Budgets {
        per_request: NodeCount(4),
        per_hour: NodeCount(per_hour),
        per_day: NodeCount(40),
        leaving: Share::ALL,
    };
    check_policy(
        Rule::S6,
        |policy| each(policy, |group| group.budgets = budgets(1)),
        |policy| each(policy, |group| group.budgets = budgets(20)),
    );
    let larger = |request, leaving| Budgets {
        per_request: NodeCount(request),
        leaving: Share::try_from_percent(leaving).expect("a share"),
        ..budgets(20)
    };
    check_policy(
        Rule::S6,
        |policy| each(policy, |group| group.budgets = larger(1, 100.0)),
        |policy| each(policy, |group| group.budgets = larger(8, 100.0)),
    );
    check_policy(
        Rule::S6,
        |policy| each(policy, |group| group.budgets = larger(8, 5.0)),
        |policy| each(policy, |group| group.budgets = larger(8, 100.0)),
    );
}

#[test]
fn s7_a_freeze_that_thaws_by_itself_is_noticed() {
    let mut case = plain(3, 4);
    let share = Share::try_from_percent(12.0).expect("a share");
    case.policy.mass_change = MassChangeLimit { nodes: NodeCount(4), share };
    check_ledger(Rule::S7, &case, Omits::Freezes);
}

#[test]
fn s8_a_group_that_nobody_named_is_noticed() {
    let mut case = plain(3, 1);
    case.spec.groups.retain(|group| group.name.as_str() != "others");
    let template = case.spec.groups.last().cloned().expect("a worker group");
    let name = "others".parse().expect("a valid name");
    case.spec
        .groups
        .push(GroupSpec { price: template.price, ..GroupSpec::new(name, NodeCount(9)) });
    let mut obeyed = case.policy.clone();
    let named = obeyed.groups.get(&template.name).cloned().expect("a named group");
    obeyed.groups.insert("others".parse().expect("a valid name"), named);
    check(Rule::S8, &case, &Tampering { policy: Some(obeyed), ..Tampering::default() });
}

/// A request by ids that is sent as a count, so that HyperPod chooses other nodes.
#[test]
fn s8b_a_count_in_place_of_ids_is_noticed() {
    let by_count = |world: &World, mut ports: Ports| {
        if let Some(writers) = &mut ports.writers {
            writers.cluster = Arc::new(ByCount(world.clone()));
        }
        ports
    };
    let found = run(&plain(3, 1), &Tampering { ports: &by_count, ..Tampering::default() });
    let rules = counts(found.breaches.iter().map(|breach| breach.rule));
    assert!(rules.contains_key(&Rule::S8b), "{rules:?}");
    // Nodes without a cordon were deleted, which also breaks S1.
    assert!(rules.contains_key(&Rule::S1), "{rules:?}");
}

/// Doctored, because only the real state machine releases nodes, and it waits. A node that a
/// request by count did not choose is released while the chosen node is still being terminated.
#[test]
fn s8b_a_node_that_is_released_before_the_call_is_over_is_noticed() {
    let mut case = plain(3, 1);
    case.spec.random_faults_per_day = 0.001;
    let world = World::new(case.spec.clone(), vec![]).expect("a world");
    let listing = world.list_nodes(&case.spec.cluster).expect("no fault");
    let nodes: Vec<_> =
        listing.nodes.iter().filter(|node| node.group.as_str() == "workers-a").collect();
    let ledger: trimtab_core::ids::LedgerId = "0f3a-77".parse().expect("an id");
    let reason = |n: usize| -> Arc<str> {
        cordon_reason(&ledger, trimtab_core::ids::ActionId(n as u64)).into()
    };
    let hour = |n: i64| case.spec.start + Span::hours(n);
    let at = |at, event| LogEntry { at, event };
    let call = |time, call| at(time, WorldEvent::Called { n: 1, call });
    let reads = |time| [Call::Describe, Call::List, Call::Workload].map(|c| call(time, c));
    let tell = |uncordoned: usize, gone_first: bool| {
        let mut oracle =
            Oracle::new(case.policy.clone(), Mode::Enforce, ledger.clone(), &world, Span::ZERO);
        let mut events = reads(hour(1)).to_vec();
        events.push(call(hour(1), Call::Cordon));
        for (n, node) in nodes.iter().enumerate().skip(uncordoned) {
            let name = node.name.clone().expect("a name");
            events.push(at(hour(1), WorldEvent::Drained { node: name, reason: reason(n) }));
        }
        events.extend(reads(hour(2)));
        events.push(call(hour(2), Call::Recount));
        events.push(call(hour(2), Call::Shrink));
        let (group, by) = (nodes[0].group.clone(), Caller::Daemon);
        let to = NodeCount::of(nodes.len() - 1);
        events.push(at(hour(2), WorldEvent::GroupShrunk { group, to, by }));
        let last = nodes.len() - 1;
        let (node, drained) = (nodes[last].id, Some(reason(last)));
        let (jobs, live) = (vec![], to);
        events.push(at(hour(2), WorldEvent::NodeLeaving { node, by, jobs, drained, live }));
        let gone = at(hour(3), WorldEvent::NodeGone { node, jobs: vec![] });
        if gone_first {
            events.push(gone);
        }
        events.push(call(hour(3), Call::Release));
        let spared = nodes[1].name.clone().expect("a name");
        events.push(at(hour(3), WorldEvent::Resumed { node: spared, reason: reason(1) }));
        oracle.see(&events);
        oracle.breaches().iter().filter(|breach| breach.rule == Rule::S8b).count()
    };
    assert_eq!(tell(0, true), 0, "an honest call");
    assert_eq!(tell(0, false), 1, "released too early");
    assert_eq!(tell(1, true), 1, "one of the group is not cordoned");
}

#[test]
fn s10_a_protection_that_was_dropped_is_noticed() {
    let world = World::new(plain(3, 2).spec, vec![]).expect("a world");
    let listing = world.list_nodes(&world.spec().cluster).expect("no fault");
    let some: Vec<InstanceId> = listing.nodes.iter().map(|n| n.id).step_by(2).collect();
    check_policy(
        Rule::S10,
        |policy| each(policy, |group| group.protected = some.clone()),
        |policy| each(policy, |group| group.protected.clear()),
    );
}

#[test]
fn s11_a_request_that_was_never_written_is_noticed() {
    check_ledger(Rule::S11, &idle(3, 6), Omits::Requests);
}

#[test]
fn s12_a_lease_that_is_not_looked_at_is_noticed() {
    let mut case = plain(3, 2);
    every(&mut case, Span::mins(20), Span::mins(12), &FaultKind::LeaseLost);
    check_ports(Rule::S12, &case, &|_, ports| Ports { lease: Arc::new(AlwaysOn), ..ports });
}

#[test]
fn s13_a_look_that_has_grown_old_is_noticed() {
    let mut case = plain(3, 1);
    case.policy.timing.max_look_age = Span::secs(30);
    let mut obeyed = case.policy.clone();
    obeyed.timing.max_look_age = Span::hours(5);
    let options = PortOptions { call_time: Span::secs(12), ..PortOptions::default() };
    check(Rule::S13, &case, &Tampering { policy: Some(obeyed), options, ..Tampering::default() });
}

#[test]
fn s14_a_pause_that_is_not_read_is_noticed() {
    let mut case = plain(3, 2);
    every(&mut case, Span::mins(20), Span::mins(12), &FaultKind::Paused);
    check_ports(Rule::S14, &case, &|_, ports| Ports { switches: Arc::new(AlwaysOn), ..ports });
}

#[test]
fn s15_an_observer_with_hands_is_noticed() {
    check(Rule::S15, &idle(3, 6), &Tampering { mode: Mode::Observe, ..Tampering::default() });
}

#[test]
fn s16_a_cluster_that_is_not_in_service_is_noticed() {
    let mut case = plain(3, 2);
    every(&mut case, Span::mins(30), Span::mins(14), &FaultKind::ClusterUpdating);
    for group in &mut case.spec.groups {
        group.size = Some(group.count);
    }
    case.spec.regrow = None;
    check_ports(Rule::S16, &case, &|_, mut ports| {
        ports.cluster = Arc::new(rosy(ports.cluster));
        ports
    });
}

fn with_cordon(mut ports: Ports, alter: fn(Arc<dyn Cordon>) -> Arc<dyn Cordon>) -> Ports {
    if let Some(writers) = &mut ports.writers {
        writers.cordon = writers.cordon.take().map(alter);
    }
    ports
}

fn releases_older(cordon: Arc<dyn Cordon>) -> Arc<dyn Cordon> {
    Arc::new(ReleasesOlder { cordon, asked: Mutex::new(vec![]) })
}

fn never_releases(cordon: Arc<dyn Cordon>) -> Arc<dyn Cordon> {
    Arc::new(Unreleasing::new(cordon, Drops::All))
}

#[test]
fn s17_a_cordon_taken_off_a_node_that_is_being_deleted_is_noticed() {
    let mut case = idle(3, 8);
    case.spec.delete_delay.min = Span::mins(40);
    case.spec.delete_delay.max = Span::mins(60);
    check_ports(Rule::S17, &case, &|_, ports| with_cordon(ports, releases_older));
}

#[test]
fn s19_a_node_without_a_word_is_noticed() {
    check_ledger(Rule::S19, &idle(3, 3), Omits::Verdicts);
}

#[test]
fn s20_a_clock_that_steps_with_the_other_is_noticed() {
    let mut case = plain(3, 2);
    for (n, by) in [(1, 2), (2, -2)] {
        let kind = FaultKind::ClockStep { by: Span::mins(by) };
        every(&mut case, Span::mins(35 + 10 * n), Span::ZERO, &kind);
    }
    case.policy.timing.fresh_for = Span::hours(2);
    let mut obeyed = case.policy.clone();
    obeyed.timing.fresh_for = Span::hours(5);
    check_ports(Rule::S20, &case, &|_, mut ports| {
        ports.clock = Arc::new(OneClock(ports.clock));
        ports
    });
}

#[test]
fn l1_a_daemon_that_never_acts_is_noticed() {
    let options = PortOptions { observe_only: true, ..PortOptions::default() };
    check(Rule::L1, &idle(3, 12), &Tampering { options, ..Tampering::default() });
}

#[test]
fn l2_a_cordon_that_stays_is_noticed() {
    let mut case = idle(3, 12);
    // Every deletion is refused, so every node must be released.
    let kind = FaultKind::ThrottledWrites;
    case.spec.faults.push(FaultSpec { at: Span::secs(1), lasts: Span::hours(24), kind });
    check_ports(Rule::L2, &case, &|_, ports| with_cordon(ports, never_releases));
}

#[test]
fn l3_a_cordon_that_outlasts_a_kill_is_noticed() {
    let mut case = idle(3, 3);
    // The daemon is killed while the first cordons settle.
    let kind = FaultKind::DaemonKill { after: 0, when: KillWhen::Before };
    case.spec.faults.push(FaultSpec { at: Span::mins(26), lasts: Span::ZERO, kind });
    check_ports(Rule::L3, &case, &|_, ports| with_cordon(ports, never_releases));
}

fn each(policy: &mut ClusterPolicy, change: impl Fn(&mut trimtab_core::policy::GroupPolicy)) {
    policy.groups.values_mut().for_each(change);
}

/// Doctored: a name is cordoned, and then the instance that took over the name leaves with this
/// cordon; and the controller leaves.
#[test]
fn s9_and_s8_an_instance_that_took_the_name_over_and_a_controller_are_noticed() {
    let mut case = plain(3, 1);
    // L1 is not checked in a world that may have faults.
    case.spec.random_faults_per_day = 0.001;
    let world = World::new(case.spec.clone(), vec![]).expect("a world");
    let listing = world.list_nodes(&case.spec.cluster).expect("no fault");
    let of = |group: &str| listing.nodes.iter().find(|node| node.group.as_str() == group);
    let node = of("workers-a").expect("a worker");
    let controller = of("controller").expect("a controller");
    let ledger: trimtab_core::ids::LedgerId = "0f3a-77".parse().expect("an id");
    let name = node.name.clone().expect("a name");
    let new = InstanceId::from_number(7);
    let reason: Arc<str> = cordon_reason(&ledger, trimtab_core::ids::ActionId(1)).into();
    let hour = |n: i64| case.spec.start + Span::hours(n);
    let call = |at: Time, call| LogEntry { at, event: WorldEvent::Called { n: 1, call } };
    let reads = |at| [Call::Describe, Call::List, Call::Workload].map(|c| call(at, c));
    let leaves = |at, node, drained| {
        let (jobs, live) = (vec![], NodeCount(9));
        let by = Caller::Daemon;
        let event = WorldEvent::NodeLeaving { node, by, jobs, drained, live };
        [call(at, Call::Delete), LogEntry { at, event }]
    };
    let tell = |leaving: InstanceId| {
        let mut oracle =
            Oracle::new(case.policy.clone(), Mode::Enforce, ledger.clone(), &world, Span::ZERO);
        let at = |at, event| LogEntry { at, event };
        let mut events = reads(hour(1)).to_vec();
        events.push(call(hour(1), Call::Cordon));
        events
            .push(at(hour(1), WorldEvent::Drained { node: name.clone(), reason: reason.clone() }));
        let group = node.group.clone();
        let launched = WorldEvent::NodeLaunched { node: new, name: name.clone(), group };
        events.push(at(hour(2), launched));
        events.push(at(hour(2), WorldEvent::NodeReplaced { old: node.id, new }));
        events.push(at(hour(3), WorldEvent::NodeUp { node: new, live: NodeCount(9) }));
        events.push(at(hour(3), WorldEvent::NodeJoined(name.clone())));
        events.extend(reads(hour(3)));
        events.extend(leaves(hour(3), leaving, Some(reason.clone())));
        oracle.see(&events);
        counts(oracle.breaches().iter().map(|breach| breach.rule))
    };
    assert_eq!(tell(new).into_keys().collect::<Vec<_>>(), [Rule::S9]);
    assert!(tell(controller.id).contains_key(&Rule::S8));
}
