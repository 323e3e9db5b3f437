//! Refused requests. Each cause has its own back-off. The operator is notified where only the
//! operator can help, a restart restores the back-off, and nodes stay available to jobs meanwhile.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use trimtab_core::audit::{ClearedBatch, ClearedGroup};
use trimtab_core::backoff::{Backoff, Refusal};
use trimtab_core::ids::InstanceId;
use trimtab_core::plan::{KeepReason, Verdict};
use trimtab_core::policy::GroupCalls;
use trimtab_core::units::{NodeCount, Span, Time};
use trimtab_daemon::driver::{Driver, Intent};
use trimtab_daemon::ledger::SqliteLedger;
use trimtab_daemon::ports::{ClusterWrite, DeleteOutcome, Doorbell, Notification, Ports, Ring};
use trimtab_simulator::World;
use trimtab_simulator::ports::PortOptions;
use trimtab_simulator::spec::WorldSpec;
use trimtab_tests::altered::AlteredCluster;
use trimtab_tests::life::{Life, poll_once};
use trimtab_tests::worlds::{cluster_policy, group_policy, name};

/// Returns the outcome of a request for these nodes.
type Answer = Box<dyn Fn(&[InstanceId]) -> DeleteOutcome + Send + Sync>;

/// Refuses every request until a given time; later requests go through.
struct Refusing {
    inner: Arc<dyn ClusterWrite>,
    world: World,
    until: Time,
    answer: Answer,
    asked: Mutex<Vec<Time>>,
}

#[async_trait]
impl ClusterWrite for Refusing {
    async fn delete_nodes(&self, request: &ClearedBatch, within: Span) -> DeleteOutcome {
        let now = self.world.now();
        if now >= self.until {
            return self.inner.delete_nodes(request, within).await;
        }
        self.asked.lock().expect("the lock is not poisoned").push(now);
        (self.answer)(request.nodes())
    }

    async fn shrink_group(&self, cleared: &ClearedGroup, within: Span) -> DeleteOutcome {
        self.inner.shrink_group(cleared, within).await
    }
}

/// An idle cluster of six nodes that deletes two nodes at a time.
fn life(folder: &std::path::Path, hours: u32) -> Life {
    let text = format!(
        "duration = \"{hours}h\"\n[[group]]\nname = \"workers\"\ncount = 6\n\
         price_usd_per_hour = 20.0\n"
    );
    let spec = WorldSpec::parse(&text, "refusals").expect("a valid world");
    let world = World::new(spec, vec![]).expect("a valid world");
    let mut policy = cluster_policy([(name("workers"), group_policy())].into_iter().collect());
    policy.cluster = world.spec().cluster.clone();
    policy.timing.cooldown = Span::mins(2);
    for group in policy.groups.values_mut() {
        group.size = NodeCount(6);
        group.budgets.per_request = NodeCount(2);
    }
    Life::new(world, policy, folder, 1)
}

struct Past {
    asked: Vec<Time>,
    told: Vec<(Time, Notification)>,
    /// Times at which something was cordoned.
    cordoned: Vec<Time>,
    /// Back-offs in the plans.
    said: Vec<Backoff>,
    backoff: Option<Backoff>,
    life: Life,
}

fn run(
    life: Life,
    refused_for: Span,
    created: Option<Time>,
    answer: impl Fn(&[InstanceId]) -> DeleteOutcome + Send + Sync + 'static,
) -> Past {
    let world = life.world.clone();
    let mut ports: Ports = world.ports(PortOptions::default());
    if let Some(created) = created {
        let cluster = AlteredCluster::new(ports.cluster);
        ports.cluster =
            Arc::new(cluster.describing(move |read| read.state.created = Some(created)));
    }
    let writers = ports.writers.as_mut().expect("not an observer");
    let refusing = Arc::new(Refusing {
        inner: Arc::clone(&writers.cluster),
        world: world.clone(),
        until: world.now() + refused_for,
        answer: Box::new(answer),
        asked: Mutex::default(),
    });
    writers.cluster = refusing.clone();
    let (mut cordoned, mut said) = (vec![], vec![]);
    let ledger = Arc::new(life.open_ledger());
    life.run_with(ports, ledger, &mut |report| {
        let report = report.expect("the ledger can be written");
        if !report.begun.is_empty() {
            cordoned.push(world.now());
        }
        for word in &report.plan.verdicts {
            if let Verdict::Keep(KeepReason::BackedOff(backoff)) = &word.verdict
                && said.last() != Some(backoff)
            {
                said.push(backoff.clone());
            }
        }
    });
    let told = world.notifications();
    let asked = refusing.asked.lock().expect("the lock is not poisoned").clone();
    let ports = world.ports(PortOptions::default());
    let ledger = Arc::new(life.open_ledger());
    let again = poll_once(Driver::start(ports, ledger, life.policy.clone())).expect("ready");
    let backoff = again.expect("the ledger can be read").history().backoff.clone();
    Past { asked, told, cordoned, said, backoff, life }
}

fn refuse(cause: Refusal) -> impl Fn(&[InstanceId]) -> DeleteOutcome + Send + Sync + 'static {
    move |_| DeleteOutcome::Refused { cause, why: format!("{cause:?} body").into() }
}

const CAUSES: [Refusal; 6] = [
    Refusal::Conflict,
    Refusal::Throttled,
    Refusal::Denied,
    Refusal::ExpiredCredentials,
    Refusal::NotFound,
    Refusal::Unknown,
];

#[test]
fn a_refused_cluster_is_left_alone_longer_each_time_and_whoever_can_help_is_told() {
    for cause in CAUSES {
        let folder = tempfile::tempdir().expect("a folder");
        let past = run(life(folder.path(), 12), Span::hours(24), None, refuse(cause));
        let waits: Vec<Span> = past.asked.windows(2).map(|pair| pair[1].since(pair[0])).collect();
        assert!(waits.len() >= 2, "{cause:?}: {waits:?}");
        assert!(past.asked.len() < 40, "{cause:?}: a storm of {} requests", past.asked.len());
        assert_eq!(past.said.len(), past.asked.len(), "{cause:?}: every refusal shows in the plan");
        for (asked, backoff) in past.asked.iter().zip(&past.said) {
            assert_eq!((backoff.at, backoff.cause), (*asked, cause));
            let early = past.cordoned.iter().find(|at| **at > backoff.at && **at < backoff.until);
            assert_eq!(early, None, "{cause:?}: cordoned while left alone until {}", backoff.until);
        }
        let delays: Vec<Span> = past.said.iter().map(|b| b.until.since(b.at)).collect();
        assert!(delays.windows(2).all(|two| two[1].0 * 5 >= two[0].0 * 4), "{cause:?}: {delays:?}");
        assert!(delays[1] > delays[0], "{cause:?}: {delays:?}");
        let told = past.told.iter().filter(|(_, told)| {
            matches!(told, Notification::Refused { backoff, .. } if backoff.cause == cause)
        });
        let told = told.count();
        assert_eq!(told, if cause.wants_an_operator() { past.asked.len() } else { 0 }, "{cause:?}");
        // A restart restores it from the outcomes alone.
        assert_eq!(past.backoff.as_ref(), past.said.last(), "{cause:?}");
        let truth = past.life.world.truth();
        assert_eq!((truth.nodes_deleted(), truth.cordons), (0, vec![]), "{cause:?}");
    }
}

#[test]
fn an_accepted_request_ends_the_patience() {
    let folder = tempfile::tempdir().expect("a folder");
    let past = run(life(folder.path(), 8), Span::mins(30), None, refuse(Refusal::Throttled));
    assert!(past.asked.len() >= 2);
    assert_eq!(past.backoff, None);
    assert_eq!(past.life.world.truth().nodes_deleted(), 6);
}

#[test]
fn a_refusals_body_is_kept_in_the_ledger_up_to_a_limit() {
    let folder = tempfile::tempdir().expect("a folder");
    let body = |_: &[InstanceId]| DeleteOutcome::Refused {
        cause: Refusal::Unknown,
        why: format!("{{\"__type\":\"Odd\",\"message\":\"{}\"}}", "x".repeat(100_000)).into(),
    };
    let past = run(life(folder.path(), 1), Span::hours(24), None, body);
    let reader = SqliteLedger::open_reader(past.life.ledger_path()).expect("the ledger is there");
    let rows = reader.history(100, None).expect("readable");
    let mut seen = 0;
    for row in &rows {
        let Some(DeleteOutcome::Refused { cause, why }) =
            row.request.as_ref().and_then(|request| request.outcome.clone())
        else {
            continue;
        };
        seen += 1;
        assert_eq!(cause, Refusal::Unknown);
        assert!(why.starts_with("{\"__type\":\"Odd\"") && why.len() > 4_000 && why.len() < 4_200);
        let state = format!("{:?}", row.action.state);
        assert!(state.len() < 1_000, "each node repeats {} bytes", state.len());
    }
    assert!(seen > 0);
}

fn never_patched(past: &Past) -> usize {
    let is_it = |told: &Notification| matches!(told, Notification::ProbablyNeverPatched { .. });
    past.told.iter().filter(|(_, told)| is_it(told)).count()
}

#[test]
fn an_old_cluster_that_refuses_every_id_is_reported_as_never_patched() {
    let old = Time::from_secs(1_700_000_000);
    let all_fail = |nodes: &[InstanceId]| DeleteOutcome::Answered {
        accepted: vec![],
        failed: nodes.iter().map(|node| (*node, "InvalidNodeStatus".into())).collect(),
    };
    let folder = || tempfile::tempdir().expect("a folder");
    let hour = Span::hours(1);
    let (one, two, three, four) = (folder(), folder(), folder(), folder());
    let whole = run(life(one.path(), 1), hour, Some(old), refuse(Refusal::Unknown));
    assert!(never_patched(&whole) > 0);
    let sentence = whole.told.iter().map(|(_, told)| told.to_string()).collect::<String>();
    assert!(sentence.contains("an operator must call UpdateClusterSoftware"), "{sentence}");
    let each = run(life(two.path(), 1), hour, Some(old), all_fail);
    assert!(never_patched(&each) > 0);
    // A newer cluster, or a cause that is not about node ids, does not count.
    assert_eq!(never_patched(&run(life(three.path(), 1), hour, None, all_fail)), 0);
    let busy = run(life(four.path(), 1), hour, Some(old), refuse(Refusal::Conflict));
    assert_eq!(never_patched(&busy), 0);
}

#[test]
fn a_cluster_that_once_accepted_a_deletion_was_patched() {
    let old = Time::from_secs(1_700_000_000);
    let folder = tempfile::tempdir().expect("a folder");
    let life = life(folder.path(), 10);
    let world = life.world.clone();
    let answer = move |nodes: &[InstanceId]| {
        // The world accepts the first request; all later requests are refused.
        if world.truth().requests.is_empty() {
            world.delete_nodes(nodes, trimtab_simulator::truth::Caller::Daemon)
        } else {
            DeleteOutcome::Refused { cause: Refusal::Unknown, why: "odd".into() }
        }
    };
    let past = run(life, Span::hours(24), Some(old), answer);
    assert!(past.asked.len() > 2);
    assert_eq!(never_patched(&past), 0);
}

/// The driver handles a node's own error code: a node that was not found counts as gone only if the
/// listings confirm it.
#[test]
fn a_node_that_is_not_found_and_still_runs_is_released() {
    let folder = tempfile::tempdir().expect("a folder");
    let not_found = |nodes: &[InstanceId]| DeleteOutcome::Answered {
        accepted: vec![],
        failed: nodes.iter().map(|node| (*node, "NodeIdNotFound".into())).collect(),
    };
    let past = run(life(folder.path(), 2), Span::mins(30), None, not_found);
    assert!(!past.asked.is_empty());
    let reader = SqliteLedger::open_reader(past.life.ledger_path()).expect("the ledger is there");
    let rows = reader.history(100, None).expect("readable");
    let early: Vec<_> = rows
        .iter()
        .filter(|row| row.request.as_ref().is_some_and(|r| past.asked.contains(&r.at)))
        .map(|row| row.action.state.name())
        .collect();
    assert!(!early.is_empty() && early.iter().all(|state| *state == "released"), "{early:?}");
    assert_eq!(past.life.world.truth().cordons, []);
}

/// Refuses every call for a whole group; ids go through.
struct RefusingGroups(Arc<dyn ClusterWrite>);

#[async_trait]
impl ClusterWrite for RefusingGroups {
    async fn delete_nodes(&self, request: &ClearedBatch, within: Span) -> DeleteOutcome {
        self.0.delete_nodes(request, within).await
    }

    async fn shrink_group(&self, _: &ClearedGroup, _: Span) -> DeleteOutcome {
        DeleteOutcome::Refused { cause: Refusal::Unknown, why: "odd".into() }
    }
}

#[test]
fn a_refused_group_call_leaves_the_policy_as_it_was_recorded_and_shows_in_the_plan() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut life = life(folder.path(), 8);
    for group in life.policy.groups.values_mut() {
        group.group_calls = GroupCalls::ToZero;
        group.budgets.per_request = NodeCount(6);
    }
    let world = life.world.clone();
    let mut ports: Ports = world.ports(PortOptions::default());
    let writers = ports.writers.as_mut().expect("not an observer");
    writers.cluster = Arc::new(RefusingGroups(Arc::clone(&writers.cluster)));
    let ledger = Arc::new(life.open_ledger());
    let group = name("workers");
    let run = async {
        let mut refused = vec![];
        let started = Driver::start(ports, ledger, life.policy.clone()).await;
        let mut driver = started.expect("the ledger can be read");
        let mut doorbell = world.doorbell(life.policy.timing.tick);
        loop {
            let ring = doorbell.next(driver.deadline()).await;
            if ring == Ring::Stop {
                break;
            }
            let report = driver.tick(ring, Intent::Act).await.expect("the ledger can be written");
            assert_eq!(report.plan.policy, life.policy.hash);
            refused.extend(report.plan.figures.get(&group).map(|f| f.group_call_refused));
        }
        (driver.policy().clone(), refused)
    };
    let (policy, refused) = poll_once(run).expect("the world ends");
    assert_eq!(policy, life.policy, "the policy in force is the one that was given");
    assert!(!refused[0] && refused.last() == Some(&true), "the plan says it from then on");
    assert_eq!(world.truth().nodes_deleted(), 6, "by their ids they go");
}
