//! Each fault has its effect where the daemon would see it.

use std::sync::Arc;

use trimtab_core::ids::JobId;
use trimtab_core::reads::{Activity, Claim, ClusterStatus, Condition, InstanceStatus, Reading};
use trimtab_core::units::{NodeCount, Share, Span};
use trimtab_daemon::ports::{DeleteOutcome, ReadError, Switch};

use super::{cluster, group, ids, job, ledger, now, order, scheduler_node, spec, world};
use crate::faults::{FaultKind, MetricsStatus, Target};
use crate::ports::PortOptions;
use crate::truth::Caller;
use crate::world::World;

const WHILE: Span = Span::mins(10);

/// A world in which this fault holds for [`WHILE`] from the 20th minute.
fn with(kind: FaultKind) -> World {
    let world = world(&(job("1m", "5h", "nodes = 2") + &job("2m", "5h", "nodes = 3")));
    world.advance_by(Span::mins(20));
    world.act(kind, WHILE);
    world
}

fn delete(world: &World, n: usize) -> DeleteOutcome {
    let id = ids(world)[n];
    world.delete_nodes(&[id], Caller::Daemon)
}

#[test]
fn reads_are_throttled_denied_and_well_again() {
    let c = cluster();
    for (kind, throttled) in [(FaultKind::ThrottledReads, true), (FaultKind::AccessDenied, false)] {
        let world = with(kind);
        match world.list_nodes(&c) {
            Err(ReadError::Throttled(_)) => assert!(throttled),
            Err(ReadError::Refused(why)) => assert!(!throttled && why.contains("AccessDenied")),
            other => panic!("{other:?}"),
        }
        assert!(world.describe(&c).is_err() && world.workload(&c).is_ok());
        world.advance_by(WHILE);
        assert!(world.list_nodes(&c).is_ok() && world.describe(&c).is_ok());
    }
    let other = "other".parse().expect("valid");
    assert!(world("").describe(&other).is_err(), "no such cluster");
}

#[test]
fn deletes_are_refused_or_unanswered_and_truth_knows_whether_they_acted() {
    for (kind, acts, answered) in [
        (FaultKind::ThrottledWrites, false, true),
        (FaultKind::DeleteTotalFailure, false, true),
        (FaultKind::AccessDenied, false, true),
        (FaultKind::ClusterUpdating, false, true),
        (FaultKind::WriteTimesOutBeforeActing, false, false),
        (FaultKind::WriteTimesOutAfterActing, true, false),
    ] {
        let world = world("");
        let id = ids(&world)[0];
        world.act(kind.clone(), WHILE);
        match world.delete_nodes(&[id], Caller::Daemon) {
            DeleteOutcome::Refused { .. } => assert!(!acts && answered, "{kind:?}"),
            DeleteOutcome::NoAnswer { .. } => assert!(!answered, "{kind:?}"),
            DeleteOutcome::Answered { .. } => panic!("{kind:?}"),
        }
        world.advance_by(WHILE);
        assert_eq!(world.truth().nodes_deleted(), u64::from(acts), "{kind:?}");
        assert_eq!(world.truth().requests[0].answered, answered, "{kind:?}");
    }
}

#[test]
fn partial_failure_spares_some_nodes_with_codes() {
    let mut spec = spec("");
    spec.groups[0].count = NodeCount(90);
    spec.groups[0].size = None;
    let world = World::new(spec, vec![]).expect("a world");
    world.act(FaultKind::DeletePartialFailure { percent: 50 }, WHILE);
    match world.delete_nodes(&ids(&world), Caller::Daemon) {
        DeleteOutcome::Answered { accepted, failed } => {
            assert_eq!(accepted.len() + failed.len(), 90);
            assert!((25..65).contains(&failed.len()), "{}", failed.len());
            for code in ["NodeIdInUse", "InvalidNodeStatus", "NodeIdNotFound", "InternalError"] {
                assert!(failed.iter().any(|(_, given)| **given == *code), "{code}");
            }
        }
        other @ (DeleteOutcome::Refused { .. } | DeleteOutcome::NoAnswer { .. }) => {
            panic!("{other:?}")
        }
    }
}

#[test]
fn listings_lie_in_each_of_their_ways() {
    let c = cluster();
    let list = |kind: FaultKind| with(kind).list_nodes(&c).expect("a listing");
    let sizes = |kind: FaultKind| {
        let listing = list(kind);
        (listing.complete, listing.nodes.len())
    };
    assert_eq!(sizes(FaultKind::ListingEmpty), (true, 0));
    assert_eq!(sizes(FaultKind::ListingTruncated), (false, 2));
    assert_eq!(sizes(FaultKind::ListingDuplicate), (true, 5));
    assert_eq!(sizes(FaultKind::ListingMissesNode), (true, 3));
    let odd = list(FaultKind::ListingOddStatus);
    let is_odd = |status: &InstanceStatus| matches!(status, InstanceStatus::Unrecognised(_));
    assert_eq!(odd.nodes.iter().filter(|node| is_odd(&node.status)).count(), 1);
}

#[test]
fn counts_lag_and_deletions_stick_while_told_to() {
    let world = with(FaultKind::CountsLag { by: Span::mins(30) });
    delete(&world, 3);
    world.advance_by(Span::mins(20));
    assert_eq!((ids(&world).len(), group(&world).current), (3, NodeCount(4)));
    world.advance_by(Span::mins(20));
    assert_eq!(group(&world).current, NodeCount(3));

    let world = with(FaultKind::DeletionStuck);
    delete(&world, 3);
    world.advance_by(WHILE);
    assert_eq!(ids(&world).len(), 4, "still shutting down");
    world.advance_by(Span::mins(2));
    assert_eq!(ids(&world).len(), 3);
}

#[test]
fn the_scheduler_falls_silent_forgets_repeats_itself_and_lies() {
    let c = cluster();
    assert!(matches!(with(FaultKind::SchedulerSilent).workload(&c), Err(ReadError::NoAnswer(_))));
    let empty = with(FaultKind::SchedulerEmpty).workload(&c).expect("an answer");
    assert!(empty.nodes.is_empty() && empty.pending.is_empty());
    let world = with(FaultKind::SchedulerStale);
    let before = world.workload(&c).expect("an answer");
    world.cordon(&c, &ledger(), &[order(&world, 0, 1)]).expect("done");
    world.advance_by(Span::mins(5));
    assert_eq!(world.workload(&c).expect("an answer"), before, "stamp and all");
    assert_eq!(before.at, world.now() - Span::mins(5));
    world.advance_by(Span::mins(5));
    assert!(scheduler_node(&world, 0).drained.is_some());
    let busy = |kind: FaultKind| scheduler_node(&with(kind), 0).claims;
    assert!(matches!(busy(FaultKind::SchedulerUnknown)[..], [Claim::Unrecognised(_)]));
    assert_eq!(busy(FaultKind::MassIdle), []);
}

#[test]
fn metrics_show_work_and_go_missing_zero_and_stale() {
    let read = |world: &World| {
        let ids = ids(world);
        let mut read = world.utilization(&cluster(), &ids, Span::mins(10)).expect("an answer");
        let mut of = |n: usize| match read.remove(&ids[n]) {
            Some(Reading::Fresh { value, .. }) => Some(value),
            None => None,
            other => panic!("{other:?}"),
        };
        (of(0), of(3))
    };
    let percent = |percent| Share::try_from_percent(percent).expect("in range");
    let world = with(FaultKind::LeaseLost);
    let (busy, idle): (Option<Activity>, Option<Activity>) = read(&world);
    let (busy, idle) = (busy.expect("read"), idle.expect("read"));
    assert!(busy.utilization > percent(50.0) && busy.memory > percent(20.0));
    assert!(idle.utilization < percent(2.0) && idle.memory < percent(3.0));
    assert_eq!((idle.to, idle.from), (world.now(), world.now() - Span::mins(9)));
    assert_eq!(read(&with(FaultKind::MetricsMissing)), (None, None));
    let zero = read(&with(FaultKind::MetricsZero)).0.expect("read");
    assert_eq!((zero.utilization, zero.memory), (Share::default(), Share::default()));
    let world = with(FaultKind::MetricsStale);
    let since = world.now();
    world.advance_by(Span::mins(9));
    assert_eq!(read(&world).1.expect("read").to, since);
}

#[test]
fn metrics_are_throttled_denied_partial_late_and_full_of_holes() {
    let read = |world: &World, n: usize| {
        let id = ids(world)[n];
        let mut read = world.utilization(&cluster(), &[id], Span::mins(10))?;
        Ok(read.remove(&id).expect("datapoints"))
    };
    let fresh = |world: &World, n: usize| match read(world, n) {
        Ok(Reading::Fresh { value, .. }) => value,
        other => panic!("{other:?}"),
    };
    let refused = |kind| read(&with(kind), 0).expect_err("refused");
    assert!(matches!(refused(FaultKind::MetricsThrottled), ReadError::Throttled(_)));
    assert!(matches!(refused(FaultKind::MetricsDenied), ReadError::Refused(_)));
    let node = || Target::Nth(1);
    let status = MetricsStatus::PartialData;
    for kind in [
        FaultKind::MetricsOutOfRange { node: node(), percent: -1 },
        FaultKind::MetricsStatus { node: node(), status },
        FaultKind::MetricsDeviceMissing { node: node() },
    ] {
        let world = with(kind.clone());
        world.advance_by(Span::mins(1));
        assert_eq!(read(&world, 1), Ok(Reading::Partial), "{kind:?}");
        fresh(&world, 0);
        world.advance_by(WHILE);
        fresh(&world, 1);
    }
    let world = with(FaultKind::MetricsDeviceMissing { node: node() });
    fresh(&world, 1); // What it sent before is there.
    let world = with(FaultKind::MetricsLate { by: Span::mins(7) });
    assert_eq!(fresh(&world, 0).to, world.now() - Span::mins(7));
    // The datapoint of the world's 20th minute is lost, so the newest is that of the 19th. The
    // datapoint of the 16th is lost, too.
    let world = with(FaultKind::MetricsGaps { every: 4 });
    let ends = |minutes| spec("").start + Span::mins(minutes);
    let activity = fresh(&world, 0);
    assert_eq!((activity.from, activity.to), (ends(17), ends(19)));
}

#[test]
fn metrics_of_a_window_are_its_periods_maximum() {
    // Busy from the 1st to the 11th minute.
    let world = world(&job("1m", "10m", "nodes = 1"));
    world.advance_by(Span::mins(40));
    let id = (0..4).map(|n| ids(&world)[n]);
    let busiest = |window| {
        let read = |id| match world.utilization(&cluster(), &[id], window).expect("read").get(&id) {
            Some(Reading::Fresh { value, .. }) => value.utilization,
            other => panic!("{other:?}"),
        };
        id.clone().map(read).max().expect("four")
    };
    let percent = |percent| Share::try_from_percent(percent).expect("in range");
    assert!(busiest(Span::mins(28)) < percent(2.0), "from the 12th minute on");
    assert!(busiest(Span::mins(30)) > percent(50.0));
    assert!(busiest(Span::hours(12)) >= busiest(Span::mins(30)), "more periods, no less");
}

#[test]
fn new_metric_faults_are_never_drawn_at_random() {
    let is_new = |kind: &FaultKind| {
        let of_metrics = kind.name().starts_with("metrics-");
        of_metrics && ![FaultKind::MetricsMissing, FaultKind::MetricsStale].contains(kind)
    };
    assert!(!FaultKind::survivable().iter().any(is_new), "every seed's faults would change");
}

#[test]
fn people_drain_resume_and_delete_nodes() {
    let world = world("");
    let cordoned = order(&world, 1, 4);
    world.cordon(&cluster(), &ledger(), std::slice::from_ref(&cordoned)).expect("done");
    let operator = |node| FaultKind::OperatorDrains { node, reason: "bad fan".to_owned() };
    world.act(operator(Target::AnyCordoned), WHILE);
    assert_eq!(scheduler_node(&world, 1).drained.as_deref(), Some("bad fan"), "over our cordon");
    world.release(&cluster(), &ledger(), std::slice::from_ref(&cordoned)).expect("done");
    assert!(scheduler_node(&world, 1).drained.is_some(), "not ours to take");
    world.advance_by(WHILE);
    assert_eq!(scheduler_node(&world, 1).drained, None);
    world.cordon(&cluster(), &ledger(), &[cordoned]).expect("done");
    world.act(FaultKind::OperatorResumes { node: Target::AnyCordoned }, Span::ZERO);
    assert_eq!(scheduler_node(&world, 1).drained, None);
    world.act(FaultKind::OperatorDeletes { node: Target::Nth(2) }, Span::ZERO);
    world.advance_by(WHILE);
    assert_eq!((ids(&world).len(), world.truth().nodes_deleted()), (3, 0), "not by us");
    world.act(FaultKind::GrowToSize, Span::ZERO);
    assert_eq!(group(&world).target, NodeCount(6));
}

#[test]
fn a_job_lands_where_it_is_told_or_waits() {
    let world = world("");
    let lands = |node| FaultKind::JobLands { node, length: Span::hours(1) };
    let cordoned = order(&world, 1, 4);
    world.cordon(&cluster(), &ledger(), std::slice::from_ref(&cordoned)).expect("done");
    world.act(lands(Target::Nth(2)), Span::ZERO);
    assert_eq!(scheduler_node(&world, 2).claims.len(), 1);
    world.act(lands(Target::AnyCordoned), Span::ZERO);
    assert_eq!(scheduler_node(&world, 1).claims.len(), 0);
    assert_eq!(scheduler_node(&world, 0).claims.len(), 1, "the queue gave it another node");
    assert_eq!(world.truth().jobs.len(), 2);
}

#[test]
fn an_update_calms_nothing_and_a_broken_node_changes_names_with_nobody() {
    let world = with(FaultKind::ClusterUpdating);
    let description = world.describe(&cluster()).expect("an answer");
    assert_eq!(description.state.status, ClusterStatus::SystemUpdating);
    assert!(description.state.software_update && !group(&world).calm);
    let world = with(FaultKind::NodeFailure { node: Target::Nth(3) });
    assert_eq!(scheduler_node(&world, 3).condition, Condition::Down);
    let world = with(FaultKind::NodeFailure { node: "ip-9-9-9-9".parse().expect("a target") });
    assert_eq!(group(&world).current, NodeCount(4), "no such node: nothing happens");
    assert!(world.log().contains("no node for node-failure"));
}

#[test]
fn the_daemons_machine_is_paused_suspended_loses_its_lease_and_its_time() {
    let world = with(FaultKind::Paused);
    let ports = world.ports(PortOptions::default());
    assert!(matches!(ports.switches.read(&cluster()), Ok(Switch::Paused { .. })));
    world.advance_by(WHILE);
    assert_eq!(ports.switches.read(&cluster()), Ok(Switch::On));
    world.set_pause(Some("maintenance".into()));
    let paused = Switch::Paused { why: Arc::from("maintenance") };
    assert_eq!(ports.switches.read(&cluster()), Ok(paused));
    assert!(matches!(ports.lease.hold(), Ok(1)));
    world.act(FaultKind::LeaseLost, WHILE);
    assert!(ports.lease.hold().is_err());

    let (wall, steady) = (ports.clock.now(), ports.clock.monotonic());
    world.act(FaultKind::ClockStep { by: Span::mins(-7) }, Span::ZERO);
    assert_eq!((ports.clock.now(), ports.clock.monotonic()), (wall - Span::mins(7), steady));
    let mut bell = world.doorbell(Span::mins(5));
    let deadline = ports.clock.now() + Span::mins(2);
    assert_eq!(bell.sleep(Some(deadline)), Some(trimtab_daemon::ports::Ring::Deadline));
    assert_eq!(ports.clock.now(), deadline, "a deadline is a time of the daemon's clock");

    world.act(FaultKind::Suspended, Span::hours(1));
    let (wall, steady) = (ports.clock.now(), ports.clock.monotonic());
    bell.sleep(None);
    assert_eq!(ports.clock.now(), wall + Span::hours(1));
    assert_eq!(ports.clock.monotonic(), steady, "the clock stops while the machine is suspended");
}

#[test]
fn everything_is_survived_by_the_world_itself() {
    let mut spec = spec(&job("1m", "30m", "").repeat(20));
    spec.duration = Span::hours(24 * 60);
    spec.random_faults_per_day = 50.0;
    spec.regrow =
        Some(crate::spec::RegrowSpec { every: Span::mins(1), delay: Span::ZERO, boot: None });
    let world = World::new(spec, vec![]).expect("a world");
    let ports = world.ports(PortOptions::default());
    let mut bell = world.doorbell(Span::mins(10));
    while bell.sleep(None) != Some(trimtab_daemon::ports::Ring::Stop) {
        let _ = now(ports.cluster.describe(&cluster()));
        let _ = now(ports.cluster.list_nodes(&cluster()));
        let _ = now(ports.workload.as_ref().expect("a scheduler").read(&cluster()));
    }
    let (truth, log) = (world.truth(), world.log());
    assert_eq!(truth.lost_jobs().count(), 0, "no node is deleted");
    let unseen: Vec<&str> = FaultKind::survivable()
        .iter()
        .map(FaultKind::name)
        .filter(|name| !log.contains(&format!("fault {name} began")))
        .collect();
    assert_eq!(unseen, Vec::<&str>::new());
    let gpu = truth.groups.values().next().expect("one group");
    assert!(gpu.members <= NodeCount(6) && gpu.live <= gpu.members, "{gpu:?}");
    assert!(gpu.billed + Span::hours(1) > gpu.busy + gpu.booting);
}

#[test]
fn what_looks_idle_and_is_not_shows_as_claimed() {
    let world = with(FaultKind::NodeReserved { node: Target::Nth(3) });
    let claims = |world: &World, n| scheduler_node(world, n).claims;
    assert_eq!(claims(&world, 3), [Claim::Reserved]);
    assert_eq!(
        claims(&world, 2),
        [Claim::Planned],
        "the other three are enough for the job that waits"
    );
    world.advance_by(WHILE);
    assert_eq!(
        (claims(&world, 2), claims(&world, 3)),
        (vec![Claim::Planned], vec![Claim::Planned])
    );

    let world = with(FaultKind::JobSuspended { node: Target::AnyBusy });
    let id: JobId = "1001".parse().expect("valid");
    assert_eq!(claims(&world, 1), [Claim::Suspended(id.clone())]);
    world.advance_by(WHILE);
    assert_eq!(claims(&world, 0), [Claim::Running(id)]);
    world.advance_by(Span::hours(5));
    let end = world.spec().start + Span::hours(5) + Span::mins(11) + Span::secs(5);
    assert_eq!(world.truth().jobs[0].end, Some(end), "ten minutes later");
    assert_eq!(world.describe(&cluster()).map(|d| d.state.rival_autoscaler), Ok(false));
    world.act(FaultKind::RivalAutoscaler, WHILE);
    assert_eq!(world.describe(&cluster()).map(|d| d.state.rival_autoscaler), Ok(true));
}
