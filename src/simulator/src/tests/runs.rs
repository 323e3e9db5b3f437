//! Whole runs: equal logs for equal seeds, the baselines, and the form of a world file.

use std::collections::BTreeMap;
use std::path::Path;

use trimtab_core::policy::UtilizationRule;
use trimtab_core::reads::ListedNode;
use trimtab_core::units::{NodeCount, Share, Span, Time};
use trimtab_daemon::ports::{MetricsQuery, Ring};

use super::{cluster, ids, job, now, spec, world};
use crate::baseline::{self, IdleTimer};
use crate::log::{LogEntry, WorldEvent};
use crate::ports::PortOptions;
use crate::spec::{Placement, TraceSpec, WorldSpec};
use crate::truth::Caller;
use crate::world::World;

/// A day of a busy cluster with many kinds of faults.
const BUSY: &str = r#"
duration = "1d"
cluster = "c"
placement = "spreading"
random_faults_per_day = 20.0
regrow = { every = "1m", delay = "2m" }
[[group]]
name = "gpu"
count = 24
size = 32
gpus_per_node = 8
price_usd_per_hour = 3.06
boot = { min = "8m", max = "20m" }
[[generate]]
per_day = 60
length_median = "40m"
mix = [{ weight = 3, gpus = 1 }, { weight = 2, gpus = 8 }, { weight = 1, nodes = 4, gpus = 32 }]
"#;

fn busy(seed: u64) -> World {
    let mut spec = WorldSpec::parse(BUSY, "busy.toml").expect("a world");
    spec.seed = seed;
    World::new(spec, vec![]).expect("a world")
}

/// Reads from the ports as a daemon does, once every `every`, until the end.
fn watch(world: &World, every: Span) {
    let ports = world.ports(PortOptions::default());
    let mut bell = world.doorbell(every);
    let c = cluster();
    while bell.sleep(None) != Some(Ring::Stop) {
        let _ = now(ports.cluster.describe(&c));
        let _ = now(ports.workload.as_ref().expect("a scheduler").read(&c));
        if let Ok(listing) = now(ports.cluster.list_nodes(&c)) {
            let share = Share::try_from_percent(5.0).expect("a share");
            let rule = UtilizationRule {
                idle_below: share,
                memory_below: share,
                window: Span::mins(20),
                period: Span::mins(1),
            };
            let query = |node: &ListedNode| MetricsQuery {
                node: node.id,
                group: node.group.clone(),
                name: node.name.clone(),
                devices: 8,
                rule,
            };
            let queries: Vec<_> = listing.nodes.iter().map(query).collect();
            let utilization = ports.utilization.as_ref().expect("metrics");
            let _ = now(utilization.read(&c, &queries, world.now(), Span::mins(5)));
        }
    }
}

#[test]
fn one_seed_gives_one_log_and_another_seed_another() {
    let run = |seed| {
        let world = busy(seed);
        watch(&world, Span::mins(5));
        (world.log(), world.log_digest(), world.truth())
    };
    let (first, again, other) = (run(1), run(1), run(2));
    assert!(first.0.lines().count() > 1_000);
    assert_eq!(first, again);
    assert_ne!(first.1, other.1);
}

#[test]
fn the_step_size_of_time_changes_nothing() {
    let (by_event, by_day) = (busy(5), busy(5));
    while by_event.step(by_event.end()) {}
    by_day.advance_to(by_day.end());
    assert_eq!(by_event.log(), by_day.log());
}

#[test]
fn what_the_daemon_does_leaves_the_jobs_of_a_seed_as_they_are() {
    let (left_alone, trimmed) = (busy(3), busy(3));
    let nodes = ids(&trimmed);
    trimmed.delete_nodes(&nodes[20..], Caller::Daemon);
    for world in [&left_alone, &trimmed] {
        world.advance_to(world.end());
    }
    let asked = |world: &World| -> Vec<(Time, Span, NodeCount)> {
        world.truth().jobs.iter().map(|job| (job.submit, job.length, job.nodes)).collect()
    };
    assert_eq!(asked(&left_alone)[..20], asked(&trimmed)[..20]);
}

#[test]
fn books_agree_with_one_another_after_a_hard_day() {
    for seed in 0..10 {
        let world = busy(seed);
        watch(&world, Span::mins(5));
        let truth = world.truth();
        for job in &truth.jobs {
            assert!(job.end.is_none() || job.starts as usize == job.restarts.len() + 1, "{job:?}");
            assert!(job.first_start <= job.last_start && job.waited >= Span::ZERO, "{job:?}");
            assert!(job.first_start.is_none_or(|start| start >= job.submit), "{job:?}");
        }
        let group = truth.groups.values().next().expect("one group");
        let (mut from, mut live, mut up) = (truth.since, NodeCount::ZERO, 0);
        for (at, count) in group.live_series.iter().chain([&(truth.at, group.live)]) {
            up += at.since(from).0 * i64::from(live.0);
            (from, live) = (*at, *count);
        }
        assert!(group.billed >= Span(up) + group.booting, "seed {seed}: {group:?}");
        assert!(group.busy <= group.billed, "seed {seed}");
        assert_eq!(group.live_min, group.live_series.iter().map(|(_, n)| *n).min().expect("one"));
    }
}

#[test]
fn a_node_timer_deletes_idle_nodes_above_its_floor_and_they_are_grown_back() {
    let jobs = job("1h", "2h", "nodes = 2") + &job("10h", "1h", "nodes = 4");
    let text = format!("regrow = {{ every = \"1m\" }}\n{}", super::SMALL);
    let spec = || WorldSpec::parse(&format!("{text}{jobs}"), "w.toml").expect("a world");
    let timer = IdleTimer {
        after: Span::mins(30),
        every: Span::mins(1),
        min_nodes: BTreeMap::from([("gpu".parse().expect("valid"), NodeCount(1))]),
    };
    let never = baseline::never(spec(), vec![]).expect("a run");
    let timed = baseline::idle_timer(spec(), vec![], &timer).expect("a run");
    assert_eq!((never.nodes_deleted(), never.jobs_done()), (0, 2));
    assert_eq!((timed.jobs_done(), timed.lost_jobs().count()), (2, 0));
    let gpu = timed.groups.values().next().expect("one group");
    assert_eq!(gpu.live_min, NodeCount(1));
    assert!(timed.nodes_deleted() >= 6 && timed.nodes_regrown() >= 4, "{gpu:?}");
    assert!(timed.cost() < never.cost() && timed.waited() > never.waited());
}

#[test]
fn a_node_timer_kills_jobs_that_land_while_it_deletes() {
    let mut lost = 0;
    for seed in 0..20 {
        let mut spec = WorldSpec::parse(BUSY, "busy.toml").expect("a world");
        (spec.seed, spec.random_faults_per_day) = (seed, 0.0);
        let min_nodes = BTreeMap::from([("gpu".parse().expect("valid"), NodeCount(2))]);
        let timer = IdleTimer { after: Span::mins(20), every: Span::mins(2), min_nodes };
        let truth = baseline::idle_timer(spec, vec![], &timer).expect("a run");
        assert_eq!(truth.lost_jobs().count() > 0, truth.busy_nodes_deleted().count() > 0);
        lost += truth.lost_jobs().count();
    }
    assert!(lost > 0, "the race that a cordon closes");
}

#[test]
fn placement_decides_which_nodes_stay_idle() {
    let used = |placement| {
        let mut spec = WorldSpec::parse(BUSY, "busy.toml").expect("a world");
        (spec.placement, spec.random_faults_per_day) = (placement, 0.0);
        let world = World::new(spec, vec![]).expect("a world");
        world.watch();
        world.advance_to(world.end());
        let started = |entry: LogEntry| {
            if let WorldEvent::JobStarted { nodes, .. } = entry.event { nodes } else { vec![] }
        };
        let names: std::collections::BTreeSet<_> =
            world.take_events().into_iter().flat_map(started).collect();
        names.len()
    };
    let lowest = used(Placement::LowestIndex);
    assert!(lowest <= used(Placement::MostRecent) && lowest < used(Placement::Spreading));
    assert!(used(Placement::Random) > lowest);
}

#[test]
fn a_recorded_load_of_a_real_cluster_is_replayed() {
    let mut spec = spec("");
    spec.duration = Span::hours(5 * 24);
    spec.groups[0].count = NodeCount(60);
    spec.groups[0].size = None;
    spec.trace = Some(TraceSpec {
        path: "philly_vc.jobs.csv.gz".to_owned(),
        partitions: vec![],
        from_day: 40,
        days: 5,
        scale: 0.2,
        into: None,
    });
    let traces = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../traces");
    let jobs = spec.load_trace(&traces).expect("a trace");
    assert!(jobs.len() > 500, "{}", jobs.len());
    let truth = baseline::never(spec, jobs).expect("a run");
    assert!(truth.jobs_done() > 400, "{}", truth.jobs_done());
}

#[test]
fn all_problems_of_a_file_are_told_with_their_lines() {
    let wrong = |text: &str| WorldSpec::parse(text, "w.toml").expect_err(text).to_string();
    let text = "seed = 1\n[[group]]\nname = \"a\"\ncount = 3\nsize = 2\n[[group]]\nname = \"a\"\n\
                count = 1\n[[job]]\nat = \"1m\"\nlength = \"1h\"\npartition = \"b\"\n\
                [[fault]]\nat = \"1m\"\nkind = \"paused\"\n";
    assert_eq!(
        wrong(text),
        "w.toml:2: size 2 must be at least count 3\nw.toml:6: duplicate group name `a`\n\
         w.toml:9: partition `b` has no worker group\n\
         w.toml:13: fault `paused` needs a duration: add `for`",
    );
    assert_eq!(wrong("seed = 1"), "w.toml: no [[group]]: add at least one");
    let e = wrong("seed = 1\n\nlag = 3\n");
    assert!(e.starts_with("w.toml:3: unknown field `lag`"), "{e}");
    let e = wrong("\nduration = \"5\"");
    assert!(e.starts_with("w.toml:2: ") && e.contains("write a number with a unit"), "{e}");
    let e = wrong("[[fault]]\nat = \"1m\"\nfor = \"1m\"\nkind = \"gremlins\"");
    assert!(e.starts_with("w.toml:4: unknown variant `gremlins`"), "{e}");
    let fault = |kind: &str| {
        let fault = format!("[[fault]]\nat = \"1m\"\nfor = \"1m\"\nkind = {{ {kind} }}\n");
        wrong(&format!("[[group]]\nname = \"a\"\ncount = 3\n{fault}"))
    };
    assert_eq!(
        fault("metrics-out-of-range = { node = \"any\", percent = 100 }"),
        "w.toml:4: percent is 100: use a value below 0 or above 100",
    );
    assert_eq!(
        fault("metrics-gaps = { every = 1 }"),
        "w.toml:4: every is 1: use at least 2, or the fault `metrics-missing`",
    );
    assert_eq!(fault("metrics-late = { by = \"-1m\" }"), "w.toml:4: by is -1m: use at least 0s");
    let none = wrong("metrics_layouts = []\n[[group]]\nname = \"a\"\ncount = 3\n");
    assert_eq!(none, "w.toml: metrics_layouts is empty: add a layout, or set `metrics = false`",);
    let e = wrong("metrics_layouts = [\"statsd\"]\n[[group]]\nname = \"a\"\ncount = 3\n");
    assert!(e.starts_with("w.toml:1: unknown variant `statsd`"), "{e}");
}

#[test]
fn the_example_is_a_world_and_names_every_key() {
    let spec = WorldSpec::parse(crate::spec::EXAMPLE, "example.toml").expect("a world");
    let mut whole = spec.clone();
    whole.random_fault_kinds = crate::faults::FaultKind::survivable();
    let written = toml::to_string(&whole).expect("text");
    let keys = written.lines().filter_map(|line| line.split_once(" = ")).map(|(key, _)| key);
    for key in keys.filter(|key| !key.starts_with(['{', '"'])) {
        assert!(crate::spec::EXAMPLE.contains(key), "{key} is missing");
    }
    let world = World::new(spec, vec![]).expect("a world");
    watch(&world, Span::mins(5));
    assert!(world.truth().jobs_done() > 30);
}

#[test]
fn a_world_survives_its_own_file_form() {
    let text = "random_fault_kinds = [\"paused\", { clock-step = { by = \"-5m\" } }]\n\
                [[group]]\nname = \"a\"\ncount = 3\nboot = \"10m\"\nhealth_check = \"1h\"\n\
                [[fault]]\nat = \"1h\"\nkind = { node-failure = { node = \"#2\" } }\n\
                [[fault]]\nat = \"2h\"\nkind = { daemon-kill = { after = 3, when = \"before\" } }\n";
    let spec = WorldSpec::parse(text, "w.toml").expect("a world");
    let written = toml::to_string(&spec).expect("text");
    assert_eq!(WorldSpec::parse(&written, "again.toml").expect(&written), spec);
    assert!(world("").spec().check().is_ok());
}
