//! The text form of a world, and its run through every tick up to now.
//!
//! ```text
//! group workers size=4 min_nodes=1     policy and description of a group
//! node n1..n3 idle                     nodes, of the group `workers` unless in=
//! node n4 running 17 launched=-1h
//! at -6m                               from here on: at that tick
//! node n4 idle
//! ```
//!
//! Now is a Wednesday at 12:00 UTC; ticks are every 2 minutes from 20 minutes
//! before it. Times are relative to now. A word that is not known panics.

use std::collections::BTreeSet;
use std::sync::Arc;

use trimtab_core::action::{
    ActionState, Answer, End, Evidence, ReleaseReason, RequestScope, Terms,
};
use trimtab_core::backoff::{self, Refusal, Refused};
use trimtab_core::cordon::cordon_reason;
use trimtab_core::history::{Charge, Freeze, FreezeReason, Gone, MassTurn, OpenAction, Stop};
use trimtab_core::ids::{ActionId, GroupName, InstanceId, RequestId};
use trimtab_core::policy::{EvidenceSource, MassChangeLimit};
use trimtab_core::reads::{
    Claim, ClusterStatus, Condition, ControllerHost, Eligible, InstanceStatus, JoinDoubt, JoinKey,
    Joined, NodeCapacity, PendingJob, Provisioning, Role,
};
use trimtab_core::snapshot::Identity;
use trimtab_core::units::{MilliGpus, NodeCount, Span, Time, Usd, UsdPerHour};
use trimtab_tests::worlds::{START, STEP, fold, group_policy, ledger, name};

use super::world::{Group, ListingRead, Metrics, Node, SchedulerRead, World};

mod policy;
mod values;

use values::{capacity, count, instances, key_value, share, span};

/// Runs a script up to now and adds now to the history, as the daemon does.
pub(super) fn run(text: &str) -> World {
    let mut world = World::new();
    let mut due: Vec<(Option<Span>, &str)> = vec![];
    let mut at = None;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match line.strip_prefix("at ") {
            Some(offset) => at = Some(span(offset)),
            None => due.push((at, line)),
        }
    }
    let (first, later): (Vec<_>, Vec<_>) = due.into_iter().partition(|(at, _)| at.is_none());
    for (_, line) in first {
        apply(&mut world, line);
    }
    let mut later = later.into_iter().peekable();
    let mut tick = world.now - world.watched;
    while tick <= world.now {
        world.tick = tick;
        while let Some((_, line)) =
            later.next_if(|(at, _)| at.is_some_and(|at| world.now + at <= tick))
        {
            apply(&mut world, line);
        }
        let missed = world.unwatched.is_some_and(|(from, to)| tick > from && tick < to);
        if !missed {
            let snapshot = world.snapshot();
            fold(&mut world.history, &snapshot, &world.policy);
        }
        tick = tick + STEP;
    }
    assert!(later.peek().is_none(), "a section lies after now or out of order");
    world
}

fn apply(world: &mut World, line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (verb, rest) = words.split_first().expect("a line has a word");
    match *verb {
        "group" => set_group(world, rest),
        "cluster" => set_cluster(world, rest),
        "node" => set_nodes(world, rest),
        "job" => set_job(world, rest),
        "action" => open_action(world, rest),
        "now" => world.now = moment(rest),
        "watched" => world.watched = span(rest[0]),
        "unwatched" => world.unwatched = Some((at(world, rest[0]), at(world, rest[1]))),
        "gate-holds" => world.gate_holds.extend(instances(rest[0])),
        "reads-took" => world.reads_took = span(rest[0]),
        "listing" => {
            world.listing = match rest {
                ["whole"] => ListingRead::Whole,
                ["failed", why @ ..] => ListingRead::Failed(why.join(" ")),
                ["pages-missing"] => ListingRead::PagesMissing,
                ["twice", node] => ListingRead::Twice(one(node)),
                ["empty"] => ListingRead::Empty,
                _ => panic!("`{line}`: no such listing"),
            }
        }
        "scheduler" => {
            world.scheduler = match rest {
                ["whole"] => SchedulerRead::Whole,
                ["not-asked"] => SchedulerRead::NotAsked,
                ["failed", why @ ..] => SchedulerRead::Failed(why.join(" ")),
                ["empty"] => SchedulerRead::Empty,
                ["old", age] => SchedulerRead::Old(span(age)),
                ["refuses-large-jobs"] => {
                    world.facts.refuses_large_jobs = true;
                    SchedulerRead::Whole
                }
                ["runs-on", host] => {
                    let controller = ControllerHost { hostname: (*host).into(), address: None };
                    world.facts.controllers.push(controller);
                    SchedulerRead::Whole
                }
                _ => panic!("`{line}`: no such scheduler"),
            }
        }
        "stop" => world.history.stop = Some(stop(rest)),
        "freeze" => {
            let why = FreezeReason::MassChange {
                turned: MassTurn::Gone,
                changed: count(rest[0]),
                of: count(rest[1]),
            };
            world.history.freeze = Some(Freeze { at: world.tick, why });
        }
        // A refused request at that time: `refused throttled -30s`.
        "refused" => {
            let (request, at) = (RequestId(3), at(world, rest[1]));
            let cause = *Refusal::ALL
                .iter()
                .find(|cause| format!("{cause:?}").eq_ignore_ascii_case(rest[0]))
                .expect("a kind of refusal");
            let refused = Refused { request, at, cause, why: "as the API said".into() };
            let before = world.history.backoff.take();
            world.history.backoff = backoff::after(before, &refused, &world.policy.cluster);
        }
        "cooldown" => {
            let until = at(world, rest[1]);
            world.history.cooldowns.insert(one(rest[0]), until);
        }
        // Deletions requested at that time: `charge 3 -30m [group]`.
        "charge" => {
            let group: GroupName = name(rest.get(2).unwrap_or(&"workers"));
            let at = at(world, rest[1]);
            for _ in 0..count(rest[0]).0 {
                let action = ActionId(900 + world.history.charges.len() as u64);
                world.history.charges.push(Charge { at, group: group.clone(), action });
            }
        }
        // A confirmed deletion by trimtab: `confirmed n3`.
        "confirmed" => {
            for node in instances(rest[0]) {
                let group = world.nodes[&node].group.clone();
                world.history.actions.remove(&node);
                world.history.gone.push(Gone { node, group, at: world.tick });
            }
        }
        _ => panic!("`{line}`: no such verb"),
    }
}

fn at(world: &World, offset: &str) -> Time {
    world.now + span(offset)
}

fn one(node: &str) -> InstanceId {
    match instances(node).as_slice() {
        [id] => *id,
        _ => panic!("`{node}` is not one node"),
    }
}

/// `fri 18:00`, counted from the Wednesday of all scenarios.
fn moment(words: &[&str]) -> Time {
    let days = ["wed", "thu", "fri", "sat", "sun", "mon", "tue"];
    let day = days.iter().position(|day| *day == words[0]).expect("a weekday");
    let (hours, minutes) = words[1].split_once(':').expect("a time of day");
    let midnight = START - Span::hours(12) + Span::hours(24).times(day as i64);
    let hours: i64 = hours.parse().expect("hours");
    let minutes: i64 = minutes.parse().expect("minutes");
    midnight + Span::hours(hours) + Span::mins(minutes)
}

fn stop(words: &[&str]) -> Stop {
    let why = |words: &[&str]| words.join(" ").into();
    match words {
        ["paused", rest @ ..] => Stop::Paused { why: why(rest) },
        ["switch-unreadable", rest @ ..] => Stop::SwitchUnreadable { why: why(rest) },
        ["no-lease", rest @ ..] => Stop::NoLease { why: why(rest) },
        ["foreign-cordons", ledger] => Stop::ForeignCordons { ledger: name(ledger) },
        _ => panic!("{words:?}: no such stop"),
    }
}

fn set_cluster(world: &mut World, words: &[&str]) {
    let state = &mut world.state;
    for word in words {
        match key_value(word) {
            ("unread", "") => world.described = false,
            ("status", status) => {
                state.status = match status {
                    "InService" => ClusterStatus::InService,
                    "Creating" => ClusterStatus::Creating,
                    "Updating" => ClusterStatus::Updating,
                    "SystemUpdating" => ClusterStatus::SystemUpdating,
                    "RollingBack" => ClusterStatus::RollingBack,
                    "Deleting" => ClusterStatus::Deleting,
                    "Failed" => ClusterStatus::Failed,
                    other => ClusterStatus::Unrecognised(other.into()),
                }
            }
            ("classic", "") => state.provisioning = Provisioning::Classic,
            ("software-update", "") => state.software_update = true,
            ("rival-autoscaler", "") => state.rival_autoscaler = true,
            ("evidence", "metrics") => {
                world.policy.evidence_source = EvidenceSource::MetricsOnly;
                world.scheduler = SchedulerRead::NotAsked;
            }
            ("min_nodes", nodes) => world.policy.min_nodes = count(nodes),
            ("mass_change", limit) => {
                let (nodes, part) = limit.split_once(',').expect("nodes,share");
                let (nodes, share) = (count(nodes), share(part));
                world.policy.mass_change = MassChangeLimit { nodes, share };
            }
            _ => panic!("cluster: `{word}` is not known"),
        }
    }
}

fn set_group(world: &mut World, words: &[&str]) {
    let (group, words) = words.split_first().expect("a group has a name");
    let group: GroupName = name(group);
    let is_named = !words.contains(&"unnamed");
    let seen = world.groups.entry(group.clone()).or_default();
    if is_named {
        world.policy.groups.entry(group.clone()).or_insert_with(group_policy);
    }
    for word in words {
        match key_value(word) {
            ("unnamed", "") => {}
            ("role", "controller") => seen.role = Role::Controller,
            ("role", "login") => seen.role = Role::Login,
            ("current", nodes) => seen.current = Some(count(nodes)),
            ("target", nodes) => seen.target = Some(count(nodes)),
            ("not-calm", "") => seen.calm = false,
            ("vanished", "") => seen.vanished = true,
            ("shows", kind) => seen.shows = Some(capacity(kind)),
            (key, value) => {
                let policy = world.policy.groups.get_mut(&group).expect("a named group");
                policy::set(policy, key, value);
            }
        }
    }
}

fn set_nodes(world: &mut World, words: &[&str]) {
    let (which, words) = words.split_first().expect("which nodes");
    for id in instances(which) {
        let number = (1..10_000).find(|n| InstanceId::from_number(*n) == id).expect("small");
        let (now, group) = (world.now, name::<GroupName>("workers"));
        let node = world.nodes.entry(id).or_insert_with(|| Node::new(number, group, now));
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut job = || name(words.next().expect("a job's number"));
            match *word {
                "running" => node.claims = vec![Claim::Running(job())],
                "completing" => node.claims = vec![Claim::Completing(job())],
                "suspended" => node.claims = vec![Claim::Suspended(job())],
                "configuring" => node.claims = vec![Claim::Configuring(job())],
                other => set_node(node, other, now),
            }
        }
        world.groups.entry(node.group.clone()).or_insert_with(|| {
            let named = world.policy.groups.entry(node.group.clone());
            named.or_insert_with(group_policy);
            Group::default()
        });
    }
}

fn set_node(node: &mut Node, word: &str, now: Time) {
    match key_value(word) {
        ("idle", "") => node.claims.clear(),
        ("planned", "") => node.claims = vec![Claim::Planned],
        ("reserved", "") => node.claims = vec![Claim::Reserved],
        ("called", state) => node.claims = vec![Claim::Unrecognised(state.into())],
        ("in", group) => node.group = name(group),
        ("up", "") => node.condition = Condition::Up,
        ("down", "") => node.condition = Condition::Down,
        ("joining", "") => node.condition = Condition::Joining,
        ("drained", why) => node.drained = Some(why.into()),
        ("told", times) => node.told = count(times).get(),
        ("gone", "") => node.gone = true,
        ("listed", "") => node.gone = false,
        ("undrained", "") => node.drained = None,
        ("offers", list) => node.offers = Some(list.split(',').map(Arc::from).collect()),
        ("either", pair) => {
            let (one, other) = pair.split_once(',').expect("two names");
            node.joined = Joined::Doubtful(JoinDoubt {
                one: (JoinKey::DnsName, name(one)),
                other: (JoinKey::Address, name(other)),
            });
        }
        ("protected", "") => node.protected = true,
        ("details", "unread") => node.capacity = NodeCapacity::Unread,
        ("shows", kind) => node.capacity = NodeCapacity::Shown(capacity(kind)),
        ("health", health) => node.health = count(health).0 as u8,
        ("image", image) => node.image = Some(image.into()),
        ("launched", offset) => node.launched = now + span(offset),
        ("named", "nothing") => node.name = None,
        ("named", other) => node.name = Some(name(other)),
        ("metrics", words) => node.metrics = metrics(words),
        ("status", status) => {
            node.status = match status {
                "Running" => InstanceStatus::Running,
                "Pending" => InstanceStatus::Pending,
                "Failure" => InstanceStatus::Failure,
                "ShuttingDown" => InstanceStatus::ShuttingDown,
                "SystemUpdating" => InstanceStatus::SystemUpdating,
                "DeepHealthCheck" => InstanceStatus::DeepHealthCheck,
                other => InstanceStatus::Unrecognised(other.into()),
            }
        }
        _ => panic!("node: `{word}` is not known"),
    }
}

/// `absent`, `stale`, `partial`, or `gpu,memory,covers,age` as `3%,4%,20m,30s`.
fn metrics(words: &str) -> Metrics {
    match words {
        "absent" => Metrics::Absent,
        "stale" => Metrics::Stale,
        "partial" => Metrics::Partial,
        values => {
            let values: Vec<&str> = values.split(',').collect();
            let [utilization, memory, covers, age] = values[..] else {
                panic!("metrics=`{words}` are not four values");
            };
            let (utilization, memory) = (share(utilization), share(memory));
            Metrics::Fresh { utilization, memory, covers: span(covers), age: span(age) }
        }
    }
}

/// `job 17 nodes=2 gpus=8 eligible=now|held|+5m partition=p`; `job 17 gone`.
fn set_job(world: &mut World, words: &[&str]) {
    let (id, words) = words.split_first().expect("a job has a number");
    let id = name(id);
    world.pending.retain(|job| job.id != id);
    if words.contains(&"gone") {
        return;
    }
    let mut job = PendingJob {
        id,
        partitions: vec![],
        nodes: NodeCount(1),
        gpus: MilliGpus(0),
        eligible: Eligible::Now,
        requires: BTreeSet::new(),
        reason: "".into(),
    };
    for word in words {
        match key_value(word) {
            ("nodes", nodes) => job.nodes = count(nodes),
            ("gpus", gpus) => job.gpus = MilliGpus::whole(count(gpus).0),
            ("eligible", "held") => job.eligible = Eligible::Held,
            ("eligible", offset) => job.eligible = Eligible::At(world.now + span(offset)),
            ("requires", list) => job.requires = list.split(',').map(Arc::from).collect(),
            ("partition", partition) => job.partitions.push(name(partition)),
            _ => panic!("job: `{word}` is not known"),
        }
    }
    world.pending.push(job);
}

/// `action n3 settling [since=-4m] [uncordoned] [policy=other] [stay=20]`: an open action since
/// that time, with `stay` for a request by count. Its id is the node's number, and the scheduler
/// shows its cordon.
fn open_action(world: &mut World, words: &[&str]) {
    let (node, words) = words.split_first().expect("an action has a node");
    let (stage, words) = words.split_first().expect("an action has a state");
    let mut since = world.tick;
    let mut shows_cordon = !matches!(*stage, "marked" | "cordoning");
    let mut policy = world.policy.hash.clone();
    let mut remainder = None;
    for word in words {
        match key_value(word) {
            ("since", offset) => since = world.now + span(offset),
            ("uncordoned", "") => shows_cordon = false,
            ("policy", other) => policy = name(other),
            ("stay", nodes) => remainder = Some(count(nodes)),
            _ => panic!("action: `{word}` is not known"),
        }
    }
    let cordoned = world.policy.evidence_source == EvidenceSource::Scheduler;
    let settle = world.policy.timing.settle;
    for id in instances(node) {
        let action = action_id(id);
        let there = world.nodes.get_mut(&id).expect("the node was described before its action");
        if cordoned && shows_cordon {
            there.drained = Some(cordon_reason(&ledger(), action).into());
        }
        let evidence = Evidence {
            idle_since: since,
            surplus: NodeCount(1),
            tau: Span::mins(10),
            price: UsdPerHour(2_000_000),
            boot_cost: Usd::ZERO,
            remainder,
        };
        let open = OpenAction {
            id: action,
            group: there.group.clone(),
            node: id,
            identity: Identity { launched: there.launched, name: there.name.clone() },
            marked_at: since,
            state: state(stage, since, settle),
            terms: Terms::new(&world.policy.timing, cordoned, settle),
            evidence,
            policy: policy.clone(),
        };
        world.history.actions.insert(id, open);
    }
}

fn action_id(node: InstanceId) -> ActionId {
    let number = (1..10_000).find(|n| InstanceId::from_number(u128::from(*n)) == node);
    ActionId(number.expect("a small number"))
}

fn state(stage: &str, since: Time, settle: Span) -> ActionState {
    let request = RequestId(7);
    match stage {
        "marked" => ActionState::Marked { since },
        "cordoning" => ActionState::Cordoning { since },
        "settling" => ActionState::Settling { until: since + settle },
        "asking" => ActionState::Asking { request, at: since, scope: RequestScope::Named },
        "asked" => ActionState::Asked {
            request,
            at: since,
            answer: Answer::Accepted,
            absent_since: None,
            running_since: None,
            scope: RequestScope::Named,
        },
        "releasing" => ActionState::Releasing { why: ReleaseReason::Demand, since },
        "ended" => ActionState::Ended { end: End::Gone, at: since },
        _ => panic!("`{stage}` is no state of an action"),
    }
}
