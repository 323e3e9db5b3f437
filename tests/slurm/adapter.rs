//! Tests the adapter on a real slurmctld with 8 slurmd (tests/slurm/cluster.sh). It is one
//! test, because all steps use the same cluster.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use trimtab_core::ids::{ActionId, ClusterName, LedgerId};
use trimtab_core::reads::{Condition, Eligible, PendingJob, SchedulerNode, Workload};
use trimtab_core::units::{NodeCount, Span, Time};
use trimtab_daemon::ports::{Clock, Cordon, CordonOrder, ReadError, WorkloadRead};
use trimtab_slurm::{Commands, Slurm};
use trimtab_tests::slurm::{Cluster, SKIPPED, Way};

const NODES: usize = 8;

/// The clock of this machine.
pub(crate) struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> Time {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Time(since.expect("after 1970").as_millis() as i64)
    }

    fn monotonic(&self) -> Span {
        Span::ZERO
    }
}

fn research() -> ClusterName {
    "research".parse().expect("a name")
}

async fn read(slurm: &Slurm) -> Workload {
    slurm.read(&research()).await.expect("Slurm answers")
}

fn node<'a>(workload: &'a Workload, name: &str) -> &'a SchedulerNode {
    let found = workload.nodes.iter().find(|node| node.name.as_str() == name);
    found.unwrap_or_else(|| panic!("Slurm does not list {name}"))
}

fn claims(workload: &Workload, name: &str) -> String {
    let claims = node(workload, name).claims.iter().map(ToString::to_string);
    claims.collect::<Vec<_>>().join(", ")
}

/// Reads until `holds` returns true; panics after 30 seconds.
async fn until(slurm: &Slurm, what: &str, holds: impl Fn(&Workload) -> bool) -> Workload {
    let begun = Instant::now();
    loop {
        let workload = read(slurm).await;
        if holds(&workload) {
            return workload;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}: {workload:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn order(name: &str, action: u64) -> CordonOrder {
    CordonOrder { name: name.parse().expect("a name"), action: ActionId(action) }
}

#[tokio::test(flavor = "current_thread")]
async fn a_real_slurm_is_read_and_drained_as_it_is() {
    let Some(cluster) = Cluster::start(NODES) else { return println!("{SKIPPED}") };
    let slurm = cluster.slurm(Arc::new(WallClock));
    idle_nodes_are_claimed_by_nothing(&slurm, cluster.way()).await;
    jobs_claim_their_nodes_and_waiting_ones_ask_for_some(&cluster, &slurm).await;
    drains_are_ours_or_an_operators(&cluster, &slurm).await;
    a_read_fails_while_slurmctld_is_stopped(&cluster, &slurm).await;
}

async fn idle_nodes_are_claimed_by_nothing(slurm: &Slurm, way: Way) {
    let workload = read(slurm).await;
    assert_eq!((workload.nodes.len(), workload.pending.len()), (NODES, 0));
    for node in &workload.nodes {
        assert_eq!((node.condition, node.drained.as_deref()), (Condition::Up, None), "{node:?}");
        assert!(node.claims.is_empty(), "{node:?}");
        assert_eq!(node.hostname.as_deref(), Some("localhost"));
        assert_eq!(node.address, Some(IpAddr::from([127, 0, 0, 1])));
        assert_eq!(node.offers, Some(BTreeSet::from(["gres/gpu".into()])));
    }
    // For the controller, Slurm reports the machine's host name instead of `localhost`.
    let [controller] = workload.facts.controllers.as_slice() else {
        panic!("one controller: {:?}", workload.facts)
    };
    // slurmrestd reports neither addresses nor settings. For what it does not report, trimtab
    // assumes the value that keeps more nodes.
    let is_told = way == Way::Commands;
    assert_eq!(controller.address, is_told.then_some(IpAddr::from([127, 0, 0, 1])));
    assert_eq!(workload.facts.refuses_large_jobs, !is_told);
}

async fn jobs_claim_their_nodes_and_waiting_ones_ask_for_some(cluster: &Cluster, slurm: &Slurm) {
    // A user chooses the name of a job, which may contain any bytes.
    let name = "--job-name=a|b State=IDLE \u{1f} \u{7} \u{fffd}";
    let running =
        cluster.submit(&[name, "-w", "ip-10-0-0-1", "--gres=gpu:2", "--wrap", "sleep 600"]);
    let pair =
        cluster.submit(&["-w", "ip-10-0-0-[2-3]", "-N2", "--exclusive", "--wrap", "sleep 600"]);
    let held = cluster.submit(&["-H", "--wrap", "true"]);
    let later = cluster.submit(&["--begin=now+1hour", "-N2", "--gres=gpu:8", "--wrap", "true"]);
    let wants = cluster.submit(&["-w", "ip-10-0-0-1", "-N1", "--gres=gpu:8", "--wrap", "true"]);
    let array =
        cluster.submit(&["-w", "ip-10-0-0-1", "--array=1-3", "--gres=gpu:8", "--wrap", "true"]);
    let limited =
        cluster.submit(&["-w", "ip-10-0-0-1", "--array=2-900%3", "--gres=gpu:8", "--wrap", "true"]);
    let dependent = cluster.submit(&["-d", &format!("afterok:{running}"), "--wrap", "true"]);
    let workload = until(slurm, "both jobs run", |workload| {
        claims(workload, "ip-10-0-0-1") == format!("runs job {running}")
            && claims(workload, "ip-10-0-0-3") == format!("runs job {pair}")
    })
    .await;
    assert_eq!(claims(&workload, "ip-10-0-0-2"), format!("runs job {pair}"));
    assert_eq!(claims(&workload, "ip-10-0-0-7"), "");
    let job = |id: &str| {
        let found = workload.pending.iter().find(|job| job.id.as_str() == id);
        found.unwrap_or_else(|| panic!("{id} is not waiting: {:?}", workload.pending))
    };
    assert_eq!(job(&held).eligible, Eligible::Held);
    assert_eq!(job(&dependent).eligible, Eligible::Held);
    let in_an_hour = job(&later);
    assert_eq!((in_an_hour.nodes, in_an_hour.gpus.0), (NodeCount(2), 16_000));
    let Eligible::At(at) = in_an_hour.eligible else { panic!("{in_an_hour:?}") };
    let off = at.since(workload.at + Span::hours(1)).0.abs();
    assert!(off < Span::mins(2).0, "times are read as UTC: {at}");
    for id in [wants.clone(), format!("{array}_1"), format!("{array}_3")] {
        assert_eq!((job(&id).eligible, job(&id).gpus.0), (Eligible::Now, 8_000), "{id}");
    }
    let of_array = |job: &&PendingJob| job.id.as_str().starts_with(&format!("{limited}_"));
    let tasks: Vec<&PendingJob> = workload.pending.iter().filter(of_array).collect();
    let could_begin = tasks.iter().filter(|job| job.eligible == Eligible::Now).count();
    assert_eq!((tasks.len(), could_begin), (899, 3), "no more tasks than may run at once");
    let wanted = BTreeSet::from(["gres/gpu".into()]);
    assert!(tasks.iter().all(|job| job.requires == wanted && !job.reason.is_empty()));
    for id in [running, pair, held, later, wants, array, limited, dependent] {
        cluster.operator("scancel", &[&id]);
    }
    cluster.operator(
        "scontrol",
        &[
            "create",
            "reservation",
            "reservationname=soon",
            "starttime=now+2hours",
            "duration=60",
            "nodes=ip-10-0-0-[5-6]",
            "users=root",
        ],
    );
    let workload = until(slurm, "all is quiet", |workload| {
        let on_jobs = |node: &SchedulerNode| {
            node.claims.iter().any(|claim| *claim != trimtab_core::reads::Claim::Reserved)
        };
        workload.pending.is_empty() && !workload.nodes.iter().any(on_jobs)
    })
    .await;
    assert_eq!(claims(&workload, "ip-10-0-0-6"), "a reservation covers it");
    cluster.operator("scontrol", &["delete", "reservationname=soon"]);
}

async fn drains_are_ours_or_an_operators(cluster: &Cluster, slurm: &Slurm) {
    let (ledger, cluster_name): (LedgerId, _) = ("ab-12".parse().expect("an id"), research());
    let job = cluster.submit(&["-w", "ip-10-0-0-2", "--wrap", "sleep 600"]);
    let runs = format!("runs job {job}");
    until(slurm, "the job runs", |workload| claims(workload, "ip-10-0-0-2") == runs).await;
    cluster.operator(
        "scontrol",
        &["update", "nodename=ip-10-0-0-3", "state=drain", "reason=bad fan [2]"],
    );
    let orders = [
        order("ip-10-0-0-1", 7),
        order("ip-10-0-0-2", 8),
        order("ip-10-0-0-3", 9),
        order("ip-10-0-0-99", 10),
    ];
    slurm.cordon(&cluster_name, &ledger, &orders).await.expect("drained");
    let workload = read(slurm).await;
    let reason =
        |workload: &Workload, name| node(workload, name).drained.as_deref().map(str::to_owned);
    assert_eq!(reason(&workload, "ip-10-0-0-1").as_deref(), Some("trimtab:ab-12:7-8"));
    assert_eq!(reason(&workload, "ip-10-0-0-2").as_deref(), Some("trimtab:ab-12:7-8"));
    assert_eq!(
        reason(&workload, "ip-10-0-0-3").as_deref(),
        Some("bad fan [2]"),
        "an operator's drain stays"
    );
    assert_eq!(claims(&workload, "ip-10-0-0-1"), "");
    assert_eq!(claims(&workload, "ip-10-0-0-2"), runs, "the job continues");

    let others: LedgerId = "cd-34".parse().expect("an id");
    slurm.release(&cluster_name, &others, &orders).await.expect("nothing to do");
    let again = read(slurm).await;
    assert_eq!(
        reason(&again, "ip-10-0-0-1").as_deref(),
        Some("trimtab:ab-12:7-8"),
        "another ledger's drain"
    );
    slurm.release(&cluster_name, &ledger, &orders).await.expect("released");
    let workload = read(slurm).await;
    let drained: Vec<&str> = workload
        .nodes
        .iter()
        .filter(|node| node.drained.is_some())
        .map(|node| node.name.as_str())
        .collect();
    assert_eq!(drained, ["ip-10-0-0-3"]);
    let shown = cluster.operator("scontrol", &["show", "job", &job, "-o"]);
    assert!(shown.contains("JobState=RUNNING") && shown.contains("Restarts=0"), "{shown}");
    cluster.operator("scancel", &[&job]);
    cluster.operator("scontrol", &["update", "nodename=ip-10-0-0-3", "state=undrain"]);
}

async fn a_read_fails_while_slurmctld_is_stopped(cluster: &Cluster, slurm: &Slurm) {
    cluster.script(&["halt"], &[]);
    let away = slurm.read(&research()).await.expect_err("slurmctld is stopped");
    assert!(matches!(away, ReadError::Refused(_) | ReadError::NoAnswer(_)), "{away}");
    cluster.script(&["resume"], &[]);
    // Right after its start slurmctld does not know the state of its nodes. Until it does, each
    // node must be claimed or down, or the read must fail.
    let begun = Instant::now();
    loop {
        if let Ok(workload) = slurm.read(&research()).await {
            assert_eq!(workload.nodes.len(), NODES);
            let idle = |node: &SchedulerNode| {
                node.claims.is_empty() && node.condition == Condition::Up && node.drained.is_none()
            };
            if workload.nodes.iter().all(idle) {
                break;
            }
        }
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "the nodes did not become idle after slurmctld was restarted"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    let elsewhere = Commands::new(PathBuf::from("/nowhere"), cluster.path().join("slurm.conf"));
    let missing = Slurm::new(Arc::new(elsewhere), Arc::new(WallClock)).read(&research()).await;
    let said = missing.expect_err("no such command").to_string();
    assert!(said.starts_with("refused: /nowhere/scontrol cannot be started: "), "{said}");
}
