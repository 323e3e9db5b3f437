//! Tests which users Slurm allows to read and to change nodes: the recipes of
//! docs/slurm.md, each with its own daemons that run as Debian's `slurm` user. The other
//! users are ones that exist on every system, so the tests create none.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use trimtab_core::ids::{ActionId, ClusterName, LedgerId};
use trimtab_core::reads::Workload;
use trimtab_daemon::ports::{Cordon, CordonOrder, WorkloadRead};
use trimtab_slurm::Slurm;
use trimtab_tests::slurm::{Cluster, SKIPPED};

use crate::adapter::WallClock;

/// The user for trimtab: neither root nor SlurmUser.
const TRIMTAB: &str = "nobody";
/// The user who submits jobs.
const OPERATOR: &str = "daemon";
/// SlurmUser.
const SLURM_USER: &str = "slurm";

/// Slurm's message for a user who may not change nodes.
const MAY_NOT_CHANGE: &str = "Invalid user id";
/// Slurm's message for a user who may not read nodes.
const MAY_NOT_SEE: &str = "Access/permission denied";

/// Starts a cluster whose daemons run as `slurm`. The error says why the test is skipped:
/// only root can start such a cluster.
fn cluster(nodes: usize, settings: &[&str]) -> Result<Cluster, &'static str> {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    if id.stdout.trim_ascii() != b"0" {
        return Err("SKIPPED: only root can run Slurm's commands as several users");
    }
    let mut all = vec!["SlurmUser=slurm"];
    all.extend(settings);
    Cluster::start_with(nodes, &all).ok_or(SKIPPED)
}

/// The adapter as this user.
fn as_seen_by(cluster: &Cluster, user: &str) -> Slurm {
    cluster.slurm_of(user, Arc::new(WallClock))
}

fn research() -> ClusterName {
    "research".parse().expect("a name")
}

/// Submits a job as a user without special rights, and returns its id.
fn submit(cluster: &Cluster, args: &[&str]) -> String {
    let sbatch = cluster.commands_of(OPERATOR).join("sbatch");
    let mut all = vec!["--parsable", "--output=/dev/null", "--wrap", "sleep 600"];
    all.extend(args);
    cluster.operator(sbatch.to_str().expect("a plain path"), &all)
}

async fn read(slurm: &Slurm) -> Result<Workload, String> {
    slurm.read(&research()).await.map_err(|why| why.to_string())
}

/// Reads until `holds` returns true; panics after 30 seconds.
async fn until(slurm: &Slurm, holds: impl Fn(&Result<Workload, String>) -> bool) {
    let begun = Instant::now();
    loop {
        let found = read(slurm).await;
        if holds(&found) {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{found:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The claims on a node, as text.
fn claims(workload: &Workload, name: &str) -> String {
    let node = workload.nodes.iter().find(|node| node.name.as_str() == name);
    let claims = node.expect(name).claims.iter().map(ToString::to_string);
    claims.collect::<Vec<_>>().join(", ")
}

fn drained(workload: &Workload, name: &str) -> Option<String> {
    let node = workload.nodes.iter().find(|node| node.name.as_str() == name);
    node.expect(name).drained.as_ref().map(ToString::to_string)
}

fn order() -> (LedgerId, [CordonOrder; 1]) {
    let order = CordonOrder { name: "ip-10-0-0-3".parse().expect("a name"), action: ActionId(7) };
    ("ab-12".parse().expect("an id"), [order])
}

async fn drains_and_releases(slurm: &Slurm) {
    let (ledger, orders) = order();
    slurm.cordon(&research(), &ledger, &orders).await.expect("it may drain");
    let workload = read(slurm).await.expect("an answer");
    assert_eq!(drained(&workload, "ip-10-0-0-3").as_deref(), Some("trimtab:ab-12:7"));
    slurm.release(&research(), &ledger, &orders).await.expect("it may undrain");
    let workload = read(slurm).await.expect("an answer");
    assert_eq!(drained(&workload, "ip-10-0-0-3"), None);
}

async fn may_not_drain(slurm: &Slurm) {
    let (ledger, orders) = order();
    let refused = slurm.cordon(&research(), &ledger, &orders).await;
    let said = refused.expect_err("it may not drain").to_string();
    assert!(said.contains(MAY_NOT_CHANGE), "{said}");
    let workload = read(slurm).await.expect("an answer");
    assert_eq!(drained(&workload, "ip-10-0-0-3"), None);
}

#[tokio::test(flavor = "current_thread")]
async fn without_slurmdbd_only_slurms_own_user_drains_and_sees_what_is_private() {
    let cluster = match cluster(3, &[]) {
        Ok(cluster) => cluster,
        Err(why) => return println!("{why}"),
    };
    let (stranger, own) = (|| as_seen_by(&cluster, TRIMTAB), || as_seen_by(&cluster, SLURM_USER));
    drains_and_releases(&own()).await;
    may_not_drain(&stranger()).await;

    let running = submit(&cluster, &["-w", "ip-10-0-0-1"]);
    let suspended = submit(&cluster, &["-w", "ip-10-0-0-2", "--exclusive"]);
    let runs = format!("runs job {running}");
    let stands = format!("job {suspended} is suspended on it");
    until(&stranger(), |found| {
        let found = found.as_ref().ok();
        found.is_some_and(|all| claims(all, "ip-10-0-0-2") == format!("runs job {suspended}"))
    })
    .await;
    cluster.operator("scontrol", &["suspend", &suspended]);
    for slurm in [stranger(), own()] {
        let workload = read(&slurm).await.expect("an answer");
        assert_eq!(claims(&workload, "ip-10-0-0-1"), runs);
        assert_eq!(claims(&workload, "ip-10-0-0-2"), stands);
    }

    // AllowGroups on a partition hides neither its nodes nor its jobs.
    let only_for =
        format!("PartitionName=gpu Nodes=ip-10-0-0-[1-3] Default=YES AllowGroups={OPERATOR}");
    cluster.set(&[&only_for, "PrivateData=none"]);
    let workload = read(&stranger()).await.expect("an answer");
    assert_eq!(workload.nodes.len(), 3);
    assert_eq!(claims(&workload, "ip-10-0-0-1"), runs);

    // An allocated node is claimed although its job is hidden. A node whose job is suspended
    // looks idle to this user, so Slurm must not hide jobs from trimtab.
    submit(&cluster, &["--hold"]);
    let operator = format!("users={OPERATOR}");
    let soon = ["reservationname=soon", "starttime=now+2hours", "duration=60"];
    let mut reserve = vec!["create", "reservation", "nodes=ip-10-0-0-3", &operator];
    reserve.extend(soon);
    cluster.operator("scontrol", &reserve);
    cluster.set(&["PrivateData=jobs,reservations"]);
    let said = read(&stranger()).await.expect_err("jobs may be missing");
    assert!(said.contains("add `nodes` to PrivateData"), "{said}");
    // What trimtab reads if the configuration says, wrongly, that it sees all jobs.
    let workload = read(&stranger().with_word_on_jobs(true)).await.expect("an answer");
    assert_eq!(claims(&workload, "ip-10-0-0-1"), "unknown scheduler state `ALLOCATED`");
    assert_eq!(claims(&workload, "ip-10-0-0-2"), "");
    assert_eq!((claims(&workload, "ip-10-0-0-3").as_str(), workload.pending.len()), ("", 0));
    let workload = read(&own().with_word_on_jobs(true)).await.expect("an answer");
    assert_eq!(claims(&workload, "ip-10-0-0-2"), stands);
    assert_eq!(claims(&workload, "ip-10-0-0-3"), "a reservation covers it");
    assert_eq!(workload.pending.len(), 1);

    // If nodes are private as well, the read fails for a user who may not see jobs.
    cluster.set(&["PrivateData=jobs,nodes,partitions,reservations"]);
    let said = read(&stranger()).await.expect_err("nodes are private");
    assert!(said.contains(MAY_NOT_SEE), "{said}");
    let workload = read(&own()).await.expect("an answer");
    assert_eq!(claims(&workload, "ip-10-0-0-1"), runs);
    assert_eq!(claims(&workload, "ip-10-0-0-2"), stands);
    drains_and_releases(&own()).await;
}

#[tokio::test(flavor = "current_thread")]
async fn with_slurmdbd_an_operator_sees_everything_and_an_administrator_drains() {
    let settings = [
        "AccountingStorageType=accounting_storage/slurmdbd",
        "PrivateData=jobs,nodes,partitions,reservations",
    ];
    let cluster = match cluster(3, &settings) {
        Ok(cluster) => cluster,
        Err(why) => return println!("{why}"),
    };
    let level = |level: &str| {
        let set = format!("adminlevel={level}");
        cluster.operator("sacctmgr", &["-i", "modify", "user", TRIMTAB, "set", &set]);
    };
    let job = submit(&cluster, &["-w", "ip-10-0-0-1"]);
    let sees = |found: &Result<Workload, String>| {
        let claimed = format!("runs job {job}");
        found.as_ref().is_ok_and(|workload| claims(workload, "ip-10-0-0-1") == claimed)
    };
    let is_denied = |found: &Result<Workload, String>| {
        found.as_ref().is_err_and(|said| said.contains(MAY_NOT_SEE))
    };
    let trimtab = as_seen_by(&cluster, TRIMTAB);
    until(&trimtab, is_denied).await;

    let user = format!("name={TRIMTAB}");
    cluster
        .operator("sacctmgr", &["-i", "add", "user", &user, "account=root", "adminlevel=operator"]);
    until(&trimtab, sees).await;
    may_not_drain(&trimtab).await;

    level("admin");
    let may_drain = || async {
        let (ledger, orders) = order();
        trimtab.cordon(&research(), &ledger, &orders).await.is_ok()
    };
    let begun = Instant::now();
    while !may_drain().await {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "slurmctld does not apply the new admin level"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    let (ledger, orders) = order();
    trimtab.release(&research(), &ledger, &orders).await.expect("it may undrain");
    drains_and_releases(&trimtab).await;

    // Without an admin level, trimtab no longer has any rights.
    level("none");
    until(&trimtab, is_denied).await;
}
