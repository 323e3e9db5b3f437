//! Tests of slurmrestd 24.11: it reports the same as the commands, and a read fails if
//! slurmrestd cannot answer it. tests/slurm/suite-24.11.sh starts the Slurm for these tests.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use trimtab_config::RestAddress;
use trimtab_core::ids::{ActionId, ClusterName, LedgerId};
use trimtab_core::reads::{Eligible, PendingJob, Workload};
use trimtab_core::units::NodeCount;
use trimtab_daemon::ports::{Cordon, CordonOrder, ReadError, WorkloadRead, WriteError};
use trimtab_slurm::backend::NewState;
use trimtab_slurm::{Backend, Commands, Rest, Slurm};
use trimtab_tests::slurm::Cluster;

use crate::adapter::WallClock;

const NODES: usize = 6;

fn research() -> ClusterName {
    "research".parse().expect("a name")
}

fn cluster() -> Cluster {
    Cluster::start(NODES).expect("TRIMTAB_SLURM_CHROOT is set")
}

fn over(rest: Rest) -> Slurm {
    Slurm::new(Arc::new(rest), Arc::new(WallClock)).with_word_on_jobs(true)
}

fn by_commands(cluster: &Cluster) -> Slurm {
    let commands = Commands::new(cluster.bin_dir(), cluster.path().join("slurm.conf"));
    Slurm::new(Arc::new(commands), Arc::new(WallClock))
}

fn socket(cluster: &Cluster, token: Option<PathBuf>) -> Rest {
    Rest::new(RestAddress::Socket(cluster.path().join("rest/socket")), token)
}

/// The queue as sorted lines, with the fields that commands and slurmrestd both report.
fn queue(workload: &Workload) -> Vec<String> {
    let line = |job: &PendingJob| {
        let partitions: Vec<&str> = job.partitions.iter().map(|one| one.as_str()).collect();
        let (nodes, gpus) = (job.nodes.0, job.gpus.0);
        format!("{} {} {nodes} {gpus} {:?}", job.id, partitions.join(","), job.eligible)
    };
    let mut lines: Vec<String> = workload.pending.iter().map(line).collect();
    lines.sort();
    lines
}

#[tokio::test(flavor = "current_thread")]
#[ignore = "needs Slurm 24.11: tests/slurm/suite-24.11.sh"]
async fn slurmrestd_reports_the_same_as_the_commands() {
    let cluster = cluster();
    let submit = |args: &[&str]| cluster.submit(&[args, &["--wrap", "sleep 600"]].concat());
    submit(&["-w", "ip-10-0-0-1", "--gres=gpu:2"]);
    submit(&["-w", "ip-10-0-0-[2-3]", "-N2", "--exclusive"]);
    submit(&["-H", "-p", "gpu,last", "-n4", "--gpus-per-task=1"]);
    submit(&["--begin=now+1hour", "-N2-4", "--gpus=12"]);
    submit(&["-w", "ip-10-0-0-1", "--exclusive", "--array=1-9:4"]);
    let many: Vec<String> = (1..60).map(|n| (n * n / 2).to_string()).collect();
    let many = format!("--array={}", many.join(","));
    let many = submit(&["-w", "ip-10-0-0-1", "--exclusive", &many]);
    submit(&["-H", "-N1", "--wrap", "true", ":", "-N1"]);
    let reason = "reason=bad fan [2] State=IDLE\nmore";
    cluster.operator("scontrol", &["update", "nodename=ip-10-0-0-4", "state=drain", reason]);
    let all = ["create", "reservation", "reservationname=m", "starttime=now", "duration=60"];
    let rest = ["nodes=ip-10-0-0-5", "users=root", "flags=maint"];
    cluster.operator("scontrol", &[&all[..], &rest].concat());
    let (told, shown) = (over(cluster.rest()), by_commands(&cluster));
    let (told, shown) = both(&told, &shown).await;
    // The commands truncate a long list of array tasks, so the adapter may assume more tasks.
    // slurmrestd reports the complete list.
    let of_many = |line: &String| {
        line.starts_with(&format!("{many}_")) || line.starts_with(&format!("{many} "))
    };
    let (long, others): (Vec<_>, Vec<_>) = queue(&told).into_iter().partition(of_many);
    let (guessed, others_shown): (Vec<_>, Vec<_>) = queue(&shown).into_iter().partition(of_many);
    assert_eq!(others, others_shown);
    assert_eq!(long.len(), 59, "every task of the array");
    assert!(guessed.len() >= 59, "{guessed:?}");
    let states = |workload: &Workload| {
        let mut nodes = workload.nodes.clone();
        for node in &mut nodes {
            node.claims.sort_by_key(ToString::to_string);
            // The commands print a reason with several lines on one line.
            node.drained = node.drained.take().map(|reason| match reason.contains("bad fan") {
                true => "an operator's".into(),
                false => reason,
            });
        }
        nodes
    };
    assert_eq!(states(&told), states(&shown));
    let hosts = |workload: &Workload| {
        let hosts = workload.facts.controllers.iter();
        hosts.map(|host| host.hostname.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(hosts(&told), hosts(&shown));
    let by_socket = over(socket(&cluster, Some(cluster.path().join("token"))));
    let by_socket = by_socket.read(&research()).await.expect("an answer");
    assert_eq!(by_socket.nodes.len(), NODES);
}

/// Reads both ways once the cluster no longer changes; panics after 30 seconds.
async fn both(told: &Slurm, shown: &Slurm) -> (Workload, Workload) {
    let begun = Instant::now();
    loop {
        let one = told.read(&research()).await.expect("slurmrestd answers");
        let other = shown.read(&research()).await.expect("the commands answer");
        let again = told.read(&research()).await.expect("slurmrestd answers");
        let is_settled = |name: &str| {
            let mut nodes = again.nodes.iter();
            nodes.any(|node| node.name.as_str() == name && !node.claims.is_empty())
        };
        let runs = ["ip-10-0-0-1", "ip-10-0-0-3", "ip-10-0-0-5"].into_iter().all(is_settled);
        if runs && one.nodes == again.nodes && queue(&one) == queue(&again) {
            return (again, other);
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "the cluster still changes: {again:?}");
        std::thread::sleep(Duration::from_millis(500));
    }
}

#[tokio::test(flavor = "current_thread")]
#[ignore = "needs Slurm 24.11: tests/slurm/suite-24.11.sh"]
async fn an_array_requests_no_more_nodes_than_its_throttle_allows() {
    let cluster = cluster();
    let wrap = ["--wrap", "sleep 600"];
    let array = cluster.submit(&[&["--array=1-9%3", "-N1", "--exclusive"], &wrap[..]].concat());
    let slurm = over(cluster.rest());
    let begun = Instant::now();
    let now = |workload: &Workload| {
        let jobs = workload.pending.iter().filter(|job| job.eligible == Eligible::Now);
        jobs.count()
    };
    loop {
        let workload = slurm.read(&research()).await.expect("an answer");
        let claimed = workload.nodes.iter().filter(|node| !node.claims.is_empty()).count();
        if claimed == 3 {
            let of_array = workload.pending.iter().filter(|job| {
                job.id.as_str().starts_with(&format!("{array}_")) && job.nodes == NodeCount(1)
            });
            assert_eq!((of_array.count(), now(&workload)), (6, 0));
            return;
        }
        assert!(now(&workload) <= 3, "{workload:?}");
        assert!(begun.elapsed() < Duration::from_secs(30), "{workload:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[tokio::test(flavor = "current_thread")]
#[ignore = "needs Slurm 24.11: tests/slurm/suite-24.11.sh"]
async fn an_unknown_node_does_not_prevent_the_drain_of_others() {
    let cluster = cluster();
    let rest = cluster.rest();
    let names = |names: &[&str]| -> Vec<_> {
        names.iter().map(|name| name.parse().expect("a name")).collect()
    };
    let drain = NewState::Drain { reason: "trimtab:ab-1:7-8" };
    let all = names(&["ip-10-0-0-1", "ip-10-0-0-99", "ip-10-0-0-2"]);
    let why = rest.set(&all, drain).await.expect_err("one node is unknown");
    assert!(matches!(why, WriteError::Refused(_)), "{why}");
    // The cordon retries each node in its own request.
    let slurm = over(rest);
    let ledger: LedgerId = "ab-1".parse().expect("an id");
    let order = |name: &str, action| CordonOrder {
        name: name.parse().expect("a name"),
        action: ActionId(action),
    };
    let orders = [order("ip-10-0-0-3", 9), order("ip-10-0-0-4", 10)];
    slurm.cordon(&research(), &ledger, &orders).await.expect("drained");
    let drained = async || {
        let workload = slurm.read(&research()).await.expect("an answer");
        let nodes = workload.nodes.iter();
        nodes
            .filter_map(|node| Some(format!("{} {}", node.name, node.drained.as_deref()?)))
            .collect::<Vec<_>>()
    };
    let found = drained().await;
    assert!(found.contains(&"ip-10-0-0-3 trimtab:ab-1:9-10".to_owned()), "{found:?}");
    assert!(found.contains(&"ip-10-0-0-4 trimtab:ab-1:9-10".to_owned()), "{found:?}");
    slurm.release(&research(), &ledger, &orders).await.expect("released");
    let found = drained().await;
    assert!(!found.iter().any(|line| line.contains("9-10")), "{found:?}");
}

#[tokio::test(flavor = "current_thread")]
#[ignore = "needs Slurm 24.11: tests/slurm/suite-24.11.sh"]
async fn a_read_fails_without_rights_and_without_daemons() {
    let cluster = cluster();
    let slurm = over(cluster.rest());
    let nodes = async || slurm.read(&research()).await.map(|workload| workload.nodes.len());
    assert_eq!(nodes().await, Ok(NODES));

    let token = cluster.path().join("token");
    let good = fs::read_to_string(&token).expect("a token");
    fs::write(&token, format!("{}AAAA", &good.trim()[..good.trim().len() - 4])).expect("written");
    let why = nodes().await.expect_err("not signed by Slurm");
    assert!(matches!(why, ReadError::Denied(_)), "{why}");
    let short = cluster.operator("scontrol", &["token", "username=root", "lifespan=1"]);
    fs::write(&token, short).expect("written");
    std::thread::sleep(Duration::from_secs(3));
    let why = nodes().await.expect_err("the token has expired");
    assert!(matches!(why, ReadError::Denied(_)), "{why}");
    // Every user may read; only a Slurm operator may drain.
    let anybody = cluster.operator("scontrol", &["token", "username=nobody", "lifespan=600"]);
    fs::write(&token, anybody).expect("written");
    assert_eq!(nodes().await, Ok(NODES));
    let order = CordonOrder { name: "ip-10-0-0-1".parse().expect("a name"), action: ActionId(1) };
    let ledger: LedgerId = "ab-1".parse().expect("an id");
    let why = slurm.cordon(&research(), &ledger, &[order]).await.expect_err("not an operator");
    assert!(matches!(why, WriteError::Denied(_)), "{why}");
    fs::write(&token, &good).expect("written");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).expect("set");
    let why = nodes().await.expect_err("every user can read the token");
    assert!(why.to_string().contains("chmod 600"), "{why}");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).expect("set");
    let why = over(socket(&cluster, None)).read(&research()).await.expect_err("no token");
    assert!(matches!(why, ReadError::Denied(_)), "{why}");
    assert_eq!(nodes().await, Ok(NODES), "a valid token is used immediately");

    cluster.script(&["halt-rest"], &[]);
    let why = nodes().await.expect_err("slurmrestd is stopped");
    assert!(matches!(why, ReadError::NoAnswer(_)), "{why}");
    cluster.script(&["resume-rest"], &[]);
    assert_eq!(nodes().await, Ok(NODES));
    cluster.script(&["freeze"], &[]);
    let begun = Instant::now();
    let why = nodes().await.expect_err("slurmctld is suspended");
    assert!(matches!(why, ReadError::NoAnswer(_) | ReadError::Refused(_)), "{why}");
    assert!(begun.elapsed() < Duration::from_secs(90), "{:?}", begun.elapsed());
    cluster.script(&["thaw"], &[]);
    cluster.script(&["halt"], &[]);
    let why = nodes().await.expect_err("slurmctld is stopped");
    assert!(matches!(&why, ReadError::Refused(why) if why.contains("Unable to contact")), "{why}");
    cluster.script(&["resume"], &[]);
}
