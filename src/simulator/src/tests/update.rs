//! Groups that are set to another count.

use super::*;
use crate::log::WorldEvent;
use trimtab_daemon::ports::Refusal;

fn set(world: &World, count: u32) -> DeleteOutcome {
    let group = world.spec().groups[0].name.clone();
    world.update_count(&group, NodeCount(count), Caller::Daemon)
}

fn cause(outcome: &DeleteOutcome) -> Option<Refusal> {
    match outcome {
        DeleteOutcome::Refused { cause, .. } => Some(*cause),
        DeleteOutcome::Answered { .. } | DeleteOutcome::NoAnswer { .. } => None,
    }
}

/// Returns which of the four nodes were deleted.
fn victims(seed: u64) -> Vec<InstanceId> {
    let mut spec = spec("");
    spec.seed = seed;
    let world = World::new(spec, vec![]).expect("a world");
    world.watch();
    let before = ids(&world);
    let DeleteOutcome::Answered { accepted, failed } = set(&world, 2) else { panic!("accepted") };
    assert_eq!((accepted.len(), failed.len()), (4, 0), "any of them may go");
    assert_eq!((group(&world).target, group(&world).current), (NodeCount(2), NodeCount(4)));
    let mut went: Vec<InstanceId> = vec![];
    for entry in world.take_events() {
        if let WorldEvent::NodeLeaving { node, by: Caller::Daemon, .. } = entry.event {
            went.push(node);
        }
    }
    went.sort();
    world.advance_by(Span::mins(3));
    assert_eq!(group(&world).current, NodeCount(2));
    let left = ids(&world);
    let mut gone: Vec<InstanceId> = before.into_iter().filter(|id| !left.contains(id)).collect();
    gone.sort();
    assert_eq!(gone, went);
    let truth = world.truth();
    assert_eq!(truth.asked.len(), 2, "only those who go have a record");
    assert!(truth.asked.iter().all(|asked| asked.terminated.is_some()));
    let request = &truth.requests[0];
    assert_eq!(request.count.as_ref().map(|(_, count)| *count), Some(NodeCount(2)));
    assert_eq!((request.nodes.len(), truth.nodes_deleted()), (4, 2));
    gone
}

#[test]
fn a_lower_count_takes_any_of_the_nodes_by_the_seed() {
    let all: std::collections::BTreeSet<Vec<usize>> = (1..30)
        .map(|seed| {
            let mut spec = spec("");
            spec.seed = seed;
            let before = ids(&World::new(spec, vec![]).expect("a world"));
            let gone = victims(seed);
            gone.iter().map(|id| before.iter().position(|b| b == id).expect("one")).collect()
        })
        .map(|mut places: Vec<usize>| {
            places.sort();
            places
        })
        .collect();
    assert_eq!(all.len(), 6, "every pair of four comes up: {all:?}");
    assert_eq!(victims(3), victims(3));
}

#[test]
fn a_group_stays_at_zero_and_can_be_grown_again() {
    let world = world("");
    assert!(matches!(set(&world, 0), DeleteOutcome::Answered { .. }));
    world.advance_by(Span::mins(3));
    assert_eq!((group(&world).current, group(&world).target), (NodeCount(0), NodeCount(0)));
    assert!(ids(&world).is_empty());
    assert!(matches!(set(&world, 3), DeleteOutcome::Answered { .. }));
    assert_eq!(group(&world).target, NodeCount(3));
    world.advance_by(Span::mins(15));
    assert_eq!(ids(&world).len(), 3);
}

#[test]
fn a_classic_cluster_runs_one_operation_at_a_time() {
    let mut spec = spec("");
    spec.provisioning = Provisioning::Classic;
    let world = World::new(spec, vec![]).expect("a world");
    assert!(matches!(set(&world, 3), DeleteOutcome::Answered { .. }));
    let status = world.describe(&cluster()).expect("an answer").state.status;
    assert_eq!(status, ClusterStatus::Updating);
    assert_eq!(cause(&set(&world, 2)), Some(Refusal::Conflict));
    world.advance_by(Span::mins(3));
    assert!(matches!(set(&world, 2), DeleteOutcome::Answered { .. }));
}

#[test]
fn faults_hold_for_counts_as_for_ids() {
    let refused = |kind: FaultKind| {
        let world = world("");
        world.act(kind, Span::mins(10));
        let outcome = set(&world, 2);
        let truth = world.truth();
        (outcome, truth.asked.len(), truth.requests[0].answered)
    };
    for (kind, wanted) in [
        (FaultKind::AccessDenied, Refusal::Denied),
        (FaultKind::ThrottledWrites, Refusal::Throttled),
        (FaultKind::DeleteTotalFailure, Refusal::Unknown),
        (FaultKind::ClusterUpdating, Refusal::Conflict),
    ] {
        let (outcome, went, _) = refused(kind);
        assert_eq!((cause(&outcome), went), (Some(wanted), 0));
    }
    let (outcome, went, answered) = refused(FaultKind::WriteTimesOutBeforeActing);
    assert!(matches!(outcome, DeleteOutcome::NoAnswer { .. }) && went == 0 && !answered);
    let (outcome, went, answered) = refused(FaultKind::WriteTimesOutAfterActing);
    assert!(matches!(outcome, DeleteOutcome::NoAnswer { .. }) && went == 2 && !answered);
}

#[test]
fn controllers_and_groups_that_are_not_there_are_refused() {
    let head = "[[group]]\nname = \"head\"\nrole = \"controller\"\ncount = 1\n";
    let world = world(head);
    let of = |name: &str| {
        let group = name.parse().expect("a name");
        cause(&world.update_count(&group, NodeCount::ZERO, Caller::Daemon))
    };
    assert_eq!((of("head"), of("none")), (Some(Refusal::Unknown), Some(Refusal::NotFound)));
    assert_eq!(world.truth().asked, []);
}
