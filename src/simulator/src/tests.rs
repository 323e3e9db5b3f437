//! Tests of the world at its ports and in its true record.

mod daemon;
mod faults;
mod gauntlet;
mod runs;
mod update;
mod updates;

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use trimtab_core::cordon::cordon_reason;
use trimtab_core::ids::{ActionId, ClusterName, InstanceId, JobId, LedgerId};
use trimtab_core::reads::{
    Claim, ClusterStatus, Condition, Eligible, GroupDescription, InstanceStatus, Provisioning,
    SchedulerNode,
};
use trimtab_core::units::{MilliGpus, NodeCount, Span};
use trimtab_daemon::ports::{CordonOrder, DeleteOutcome};

use crate::faults::{FaultKind, Target};
use crate::spec::WorldSpec;
use crate::truth::{Caller, RestartCause};
use crate::world::World;

/// Polls once, as a harness does. Returns `None` if the future is pending.
fn poll<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

fn now<T>(future: impl Future<Output = T>) -> T {
    poll(future).expect("ready at once")
}

/// Four nodes of eight GPUs, with fixed delays of whole minutes.
const SMALL: &str = r#"
seed = 3
duration = "2d"
cluster = "c"
delete_delay = "2m"
prune_delay = "1m"
join_delay = "0s"
listing_lag = "0s"
count_lag = "0s"
configuring = "5s"
completing = "5s"
recovery_delay = "5m"
metric_latency = "0s"
[[group]]
name = "gpu"
count = 4
size = 6
gpus_per_node = 8
price_usd_per_hour = 10.0
boot = "10m"
"#;

fn spec(more: &str) -> WorldSpec {
    match WorldSpec::parse(&format!("{SMALL}{more}"), "small.toml") {
        Ok(spec) => spec,
        Err(e) => panic!("{e}"),
    }
}

fn world(more: &str) -> World {
    World::new(spec(more), vec![]).expect("a world")
}

fn cluster() -> ClusterName {
    "c".parse().expect("valid")
}

fn ledger() -> LedgerId {
    "abc-1".parse().expect("valid")
}

fn job(at: &str, length: &str, needs: &str) -> String {
    format!("[[job]]\nat = \"{at}\"\nlength = \"{length}\"\n{needs}\n")
}

fn ids(world: &World) -> Vec<InstanceId> {
    world.list_nodes(&cluster()).expect("a listing").nodes.iter().map(|node| node.id).collect()
}

fn scheduler_node(world: &World, n: usize) -> SchedulerNode {
    world.workload(&cluster()).expect("an answer").nodes[n].clone()
}

fn order(world: &World, n: usize, action: u64) -> CordonOrder {
    CordonOrder { name: scheduler_node(world, n).name, action: ActionId(action) }
}

fn group(world: &World) -> GroupDescription {
    let description = world.describe(&cluster()).expect("an answer");
    description.groups.values().next().expect("one group").clone()
}

#[test]
fn a_job_goes_through_its_states_and_is_accounted_for() {
    let world = world(&job("10m", "1h", "nodes = 2"));
    world.advance_by(Span::mins(10));
    let id: JobId = "1001".parse().expect("valid");
    assert_eq!(scheduler_node(&world, 0).claims, [Claim::Configuring(id.clone())]);
    world.advance_by(Span::secs(5));
    assert_eq!(scheduler_node(&world, 1).claims, [Claim::Running(id.clone())]);
    world.advance_by(Span::hours(1));
    assert_eq!(scheduler_node(&world, 1).claims, [Claim::Completing(id)]);
    world.advance_by(Span::secs(5));
    assert_eq!(scheduler_node(&world, 0).claims, []);
    let truth = world.truth();
    let record = &truth.jobs[0];
    assert_eq!((record.starts, record.waited, record.is_lost()), (1, Span::ZERO, false));
    assert_eq!(record.end, Some(world.spec().start + Span::mins(70) + Span::secs(5)));
    let gpu = truth.groups.values().next().expect("one group");
    assert_eq!(gpu.busy, (Span::hours(1) + Span::secs(10)).times(2));
    assert_eq!(gpu.billed, truth.at.since(truth.since).times(4));
    assert_eq!(gpu.cost(), gpu.price.over(gpu.billed));
}

#[test]
fn parts_share_a_node_best_fit_and_the_rest_take_whole_ones() {
    let jobs = [
        job("1m", "1h", "gpus = 5"),
        job("2m", "1h", "gpus = 6"),
        job("3m", "1h", "gpus = 2"),
        job("4m", "1h", "gpus = 0.5"),
        job("5m", "1h", "nodes = 2\ngpus = 16"),
    ];
    let world = world(&jobs.concat());
    world.advance_by(Span::mins(6));
    let jobs_on = |n: usize| scheduler_node(&world, n).claims.len();
    assert_eq!([jobs_on(0), jobs_on(1), jobs_on(2), jobs_on(3)], [2, 2, 1, 1]);
}

#[test]
fn a_blocked_job_lets_only_those_pass_that_do_not_delay_it() {
    let jobs = [
        job("1m", "2h", "nodes = 3"),
        job("2m", "1h", "nodes = 4"),
        job("3m", "3h", "nodes = 1"),
        job("4m", "1h", "nodes = 1"),
    ];
    let world = world(&jobs.concat());
    world.advance_by(Span::mins(5));
    let started: Vec<bool> =
        world.truth().jobs.iter().map(|job| job.first_start.is_some()).collect();
    assert_eq!(started, [true, false, false, true]);
    world.advance_by(Span::hours(2));
    assert!(world.truth().jobs[1].first_start.is_some(), "the head got its four nodes");
    assert_eq!(world.truth().jobs[1].waited, Span::mins(119) + Span::secs(10));
}

#[test]
fn waiting_jobs_are_shown_with_when_they_could_run() {
    let jobs = [
        job("0s", "1h", "nodes = 4"),
        job("1m", "1h", "gpus = 3"),
        job("1m", "1h", "begin_after = \"30m\""),
        job("1m", "1h", "held_for = \"3h\""),
        job("1m", "1h", "nodes = 7"),
    ];
    let world = world(&jobs.concat());
    world.advance_by(Span::mins(2));
    let pending = world.workload(&cluster()).expect("an answer").pending;
    let eligible: Vec<Eligible> = pending.iter().map(|job| job.eligible).collect();
    let begin = world.spec().start + Span::mins(31);
    assert_eq!(eligible, [Eligible::Now, Eligible::At(begin), Eligible::Held, Eligible::Now]);
    assert_eq!((pending[0].nodes, pending[0].gpus), (NodeCount(1), MilliGpus::whole(3)));
    world.advance_by(Span::hours(5));
    let truth = world.truth();
    assert_eq!(truth.jobs_done(), 4);
    assert!(!truth.jobs[4].fits && truth.jobs[4].first_start.is_none(), "larger than the group");
}

#[test]
fn a_delete_ends_its_node_after_the_delay_and_requeues_what_ran_there() {
    let world = world(&job("1m", "1h", "nodes = 2"));
    world.advance_by(Span::mins(10));
    let all = ids(&world);
    let outcome = world.delete_nodes(&[all[0], all[3]], Caller::Daemon);
    assert_eq!(outcome, DeleteOutcome::Answered { accepted: vec![all[0], all[3]], failed: vec![] });
    let listing = world.list_nodes(&cluster()).expect("a listing");
    assert_eq!(listing.nodes[0].status, InstanceStatus::ShuttingDown);
    assert_eq!((group(&world).current, group(&world).target), (NodeCount(4), NodeCount(2)));
    assert_eq!(scheduler_node(&world, 0).claims.len(), 1, "it runs on until the end");
    world.advance_by(Span::mins(2));
    assert_eq!((ids(&world).len(), group(&world).current), (2, NodeCount(2)));
    assert_eq!(scheduler_node(&world, 0).condition, Condition::Down);
    world.advance_by(Span::mins(1));
    assert_eq!(world.workload(&cluster()).expect("an answer").nodes.len(), 2, "pruned");

    let truth = world.truth();
    assert_eq!((truth.lost_jobs().count(), truth.busy_nodes_deleted().count()), (1, 1));
    assert_eq!((truth.jobs[0].starts, truth.jobs[0].restarts.len()), (2, 1), "on the other two");
    assert_eq!(truth.jobs[0].restarts[0].lost_work, Span::mins(11) - Span::secs(5));
    assert_eq!((truth.asked[0].jobs_at_call.len(), truth.asked[1].jobs_at_call.len()), (1, 0));
    assert_eq!(truth.asked[0].live_after, NodeCount(2));
    let gpu = &truth.groups.values().next().expect("one group");
    assert_eq!((gpu.live, gpu.live_min, gpu.deleted), (NodeCount(2), NodeCount(2), 2));
    assert_eq!(gpu.billed, Span::mins(12).times(2) + Span::mins(13).times(2));
}

#[test]
fn delete_requests_are_refused_as_hyperpod_refuses_them() {
    let text = "[[group]]\nname = \"head\"\nrole = \"controller\"\ncount = 1\n";
    let world = world(text);
    let all = ids(&world);
    let unknown = InstanceId::from_number(7);
    let refused = |ids: &[InstanceId], what: &str| match world.delete_nodes(ids, Caller::Daemon) {
        DeleteOutcome::Refused { why, .. } => assert!(why.contains(what), "{why}"),
        other @ (DeleteOutcome::Answered { .. } | DeleteOutcome::NoAnswer { .. }) => {
            panic!("{other:?}")
        }
    };
    refused(&[], "ValidationException");
    refused(&vec![unknown; 100], "100 node ids");
    refused(&[all[0], all[0]], "twice");
    refused(&[unknown], "NodeIdNotFound");
    refused(&[all[4]], "InvalidNodeStatus");
    match world.delete_nodes(&[all[0], unknown, all[4]], Caller::Daemon) {
        DeleteOutcome::Answered { accepted, failed } => {
            assert_eq!(accepted, [all[0]]);
            let mut codes: Vec<_> = failed.iter().map(|(id, code)| (*id, &**code)).collect();
            codes.sort();
            let mut want = vec![(unknown, "NodeIdNotFound"), (all[4], "InvalidNodeStatus")];
            want.sort();
            assert_eq!(codes, want);
        }
        other @ (DeleteOutcome::Refused { .. } | DeleteOutcome::NoAnswer { .. }) => {
            panic!("{other:?}")
        }
    }
    refused(&[all[0]], "InvalidNodeStatus");
    world.advance_by(Span::mins(3));
    refused(&[all[0]], "NodeIdNotFound");
    assert_eq!(world.truth().nodes_deleted(), 1);
}

#[test]
fn a_classic_cluster_runs_one_operation_at_a_time() {
    let mut spec = spec("");
    spec.provisioning = Provisioning::Classic;
    let world = World::new(spec, vec![]).expect("a world");
    let all = ids(&world);
    let status = || world.describe(&cluster()).expect("an answer").state.status;
    assert!(matches!(
        world.delete_nodes(&all[..1], Caller::Daemon),
        DeleteOutcome::Answered { .. }
    ));
    assert_eq!(status(), ClusterStatus::Updating);
    let second = world.delete_nodes(&all[1..2], Caller::Daemon);
    assert!(matches!(second, DeleteOutcome::Refused { .. }), "{second:?}");
    assert!(world.grow(&"gpu".parse().expect("valid"), NodeCount(6)).is_err());
    world.advance_by(Span::mins(2));
    assert_eq!(status(), ClusterStatus::InService);
    world.grow(&"gpu".parse().expect("valid"), NodeCount(6)).expect("in service");
    assert_eq!((status(), group(&world).calm), (ClusterStatus::Updating, false));
    assert_eq!((group(&world).current, group(&world).target), (NodeCount(3), NodeCount(6)));
    world.advance_by(Span::mins(10));
    assert_eq!((status(), group(&world).current), (ClusterStatus::InService, NodeCount(6)));
}

#[test]
fn views_lag_behind_the_truth_and_behind_one_another() {
    let mut spec = spec("");
    spec.listing_lag = Span::secs(20);
    spec.count_lag = Span::mins(3);
    let world = World::new(spec, vec![]).expect("a world");
    let all = ids(&world);
    world.delete_nodes(&all[..1], Caller::Daemon);
    let status = || world.list_nodes(&cluster()).expect("a listing").nodes[0].status.clone();
    assert_eq!(status(), InstanceStatus::Running, "not listed as leaving yet");
    world.advance_by(Span::secs(20));
    assert_eq!(status(), InstanceStatus::ShuttingDown);
    world.advance_by(Span::mins(2));
    assert_eq!(
        (ids(&world).len(), group(&world).current),
        (3, NodeCount(4)),
        "gone, still counted"
    );
    world.advance_by(Span::mins(3));
    assert_eq!(group(&world).current, NodeCount(3));
}

#[test]
fn a_cordon_keeps_jobs_off_and_only_its_own_release_takes_it_away() {
    let world = world(&job("1m", "1h", "").repeat(5));
    let (ours, cluster) = (ledger(), cluster());
    let theirs: LedgerId = "xyz-2".parse().expect("valid");
    let (first, second) = (order(&world, 0, 7), order(&world, 1, 8));
    world.cordon(&cluster, &theirs, std::slice::from_ref(&second)).expect("done");
    world.cordon(&cluster, &ours, &[first.clone(), second.clone()]).expect("done");
    let reason = |n| scheduler_node(&world, n).drained;
    assert_eq!(reason(0).as_deref(), Some(&*cordon_reason(&ours, ActionId(7))));
    assert_eq!(reason(1).as_deref(), Some(&*cordon_reason(&theirs, ActionId(8))), "left alone");
    world.advance_by(Span::mins(2));
    assert_eq!(scheduler_node(&world, 0).claims, []);
    assert_eq!(world.workload(&cluster).expect("an answer").pending.len(), 3);
    assert_eq!(world.truth().cordons.len(), 2);
    let other_action = CordonOrder { action: ActionId(9), ..first.clone() };
    world.release(&cluster, &ours, &[other_action, second]).expect("done");
    assert_eq!(world.truth().cordons.len(), 2);
    world.release(&cluster, &ours, &[first]).expect("done");
    assert_eq!(world.truth().cordons.len(), 1);
    assert_eq!(scheduler_node(&world, 0).claims.len(), 1, "a waiting job took it at once");
}

#[test]
fn a_cordoned_node_keeps_the_job_it_has_and_a_late_cordon_lets_one_in() {
    let mut spec = spec(&(job("1m", "1h", "") + &job("10m", "1h", "") + &job("11m", "1h", "")));
    spec.cordon_lag = Span::secs(30);
    let world = World::new(spec, vec![]).expect("a world");
    world.advance_by(Span::mins(10) - Span::secs(10));
    let (first, second) = (order(&world, 0, 1), order(&world, 1, 2));
    world.cordon(&cluster(), &ledger(), &[first, second]).expect("done");
    world.advance_by(Span::mins(5));
    assert_eq!(scheduler_node(&world, 0).claims.len(), 1, "it goes on");
    assert_eq!(scheduler_node(&world, 1).claims.len(), 1, "placed before the cordon took");
    assert_eq!(scheduler_node(&world, 2).claims.len(), 1, "the next one is kept off");
    world.advance_by(Span::hours(1));
    assert_eq!(world.truth().jobs_done(), 3);
}

#[test]
fn groups_are_grown_when_jobs_have_waited_and_not_beyond_their_size() {
    let regrow = "[regrow]\nevery = \"1m\"\ndelay = \"3m\"\n";
    let world = world(&format!(
        "{regrow}{}",
        job("30s", "5h", "nodes = 4") + &job("40s", "1h", "nodes = 1").repeat(9)
    ));
    world.advance_by(Span::mins(3));
    assert_eq!(ids(&world).len(), 4, "not waited for long enough");
    world.advance_by(Span::mins(1));
    assert_eq!((ids(&world).len(), group(&world).target), (6, NodeCount(6)));
    assert_eq!(group(&world).current, NodeCount(4), "they boot");
    let status = world.list_nodes(&cluster()).expect("a listing").nodes[5].status.clone();
    assert_eq!(status, InstanceStatus::Pending);
    assert_eq!(world.workload(&cluster()).expect("an answer").nodes.len(), 4, "not joined");
    world.advance_by(Span::mins(10));
    assert_eq!((group(&world).current, group(&world).calm), (NodeCount(6), true));
    world.advance_by(Span::hours(6));
    let truth = world.truth();
    assert_eq!((truth.nodes_regrown(), truth.jobs_done()), (2, 10));
    assert_eq!(truth.groups.values().next().expect("one").booting, Span::mins(20));
}

#[test]
fn a_replaced_node_keeps_its_name_and_its_drain() {
    let world = world(&job("1m", "1h", ""));
    world.advance_by(Span::mins(2));
    let before = world.list_nodes(&cluster()).expect("a listing").nodes;
    let cordoned = order(&world, 0, 5);
    world.cordon(&cluster(), &ledger(), std::slice::from_ref(&cordoned)).expect("done");
    world.act(FaultKind::NodeReplaced { node: Target::Name(cordoned.name.clone()) }, Span::ZERO);
    let after = world.list_nodes(&cluster()).expect("a listing").nodes;
    let new = after.last().expect("five").clone();
    assert_eq!((after.len(), &new.status), (5, &InstanceStatus::Pending));
    assert!(new.name == before[0].name && new.id != before[0].id);
    assert_eq!(after[0].status, InstanceStatus::ShuttingDown);
    assert_eq!(scheduler_node(&world, 0).condition, Condition::Joining);
    world.advance_by(Span::mins(10));
    let node = scheduler_node(&world, 0);
    assert_eq!((node.condition, node.name), (Condition::Up, cordoned.name));
    assert_eq!(node.drained.as_deref(), Some(&*cordon_reason(&ledger(), ActionId(5))));
    let truth = world.truth();
    assert!(matches!(truth.jobs[0].restarts[0].cause, RestartCause::Replaced { .. }));
    assert_eq!((truth.lost_jobs().count(), group(&world).current), (0, NodeCount(4)));
}

#[test]
fn a_failed_node_is_recovered_and_its_job_is_not_ours_to_answer_for() {
    let world = world(&job("1m", "1h", ""));
    world.advance_by(Span::mins(2));
    let name = scheduler_node(&world, 0).name;
    world.act(FaultKind::NodeFailure { node: Target::AnyBusy }, Span::ZERO);
    let node = scheduler_node(&world, 0);
    assert_eq!(
        (node.condition, node.drained.as_deref()),
        (Condition::Down, Some("Action:Replace"))
    );
    let status = world.list_nodes(&cluster()).expect("a listing").nodes[0].status.clone();
    assert_eq!(status, InstanceStatus::Failure);
    world.advance_by(Span::mins(15));
    let node = scheduler_node(&world, 0);
    assert_eq!((node.condition, node.drained, node.name), (Condition::Up, None, name));
    let truth = world.truth();
    assert_eq!((truth.jobs[0].starts, truth.lost_jobs().count()), (2, 0));
    assert!(matches!(truth.jobs[0].restarts[0].cause, RestartCause::Failed { .. }));
}

#[test]
fn new_nodes_are_checked_where_asked_for_and_some_are_marked_to_be_kept() {
    let mut spec =
        spec("[regrow]\nevery = \"1m\"\n[[job]]\nat = \"1m\"\nlength = \"1h\"\nnodes = 5\n");
    spec.groups[0].health_check = Some(crate::spec::Between::exactly(Span::mins(60)));
    spec.groups[0].protected = NodeCount(2);
    let world = World::new(spec, vec![]).expect("a world");
    let listed = |n: usize| world.list_nodes(&cluster()).expect("a listing").nodes[n].clone();
    assert_eq!(
        [listed(0).protected, listed(1).protected, listed(2).protected],
        [true, true, false]
    );
    world.advance_by(Span::mins(12));
    assert_eq!(listed(4).status, InstanceStatus::DeepHealthCheck);
    world.advance_by(Span::mins(60));
    assert_eq!(listed(4).status, InstanceStatus::Running);
    assert_eq!(world.truth().jobs[0].starts, 1);
}

#[test]
fn a_world_without_scheduler_or_metrics_has_no_such_ports() {
    let mut spec = spec("");
    (spec.scheduler, spec.metrics) = (false, false);
    let ports =
        World::new(spec, vec![]).expect("a world").ports(crate::ports::PortOptions::default());
    assert!(ports.workload.is_none() && ports.utilization.is_none());
    assert!(ports.writers.is_some_and(|writers| writers.cordon.is_none()));
}
