//! How long a cluster of 2,000 nodes and 20,000 jobs takes to be read from Slurm and
//! joined to its instances, how much memory that takes, and how many questions.
//!
//! `cargo bench -p trimtab-tests --bench slurm` prints the table that the docs quote.
//! The adapter is the real one. What it runs are programs that print what Slurm 22.05
//! printed of one node and one job of each kind, once for each of so many: the time is
//! that of processes, pipes, parsers and the join, not slurmctld's.

#![expect(clippy::print_stdout, reason = "a benchmark's output is its table")]

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use trimtab_core::ids::{ClusterName, InstanceId};
use trimtab_core::join;
use trimtab_core::reads::{InstanceStatus, Joined, ListedNode, NodeCapacity};
use trimtab_core::units::{Span, Time};
use trimtab_daemon::ports::{Clock, WorkloadRead as _};
use trimtab_slurm::{Commands, Slurm};
use trimtab_tests::worlds::name;

const NODES: usize = 2_000;
/// Jobs that hold a node each, and jobs that wait.
const RUNNING: usize = 1_500;
const WAITING: usize = 18_500;
const ROUNDS: usize = 10;

/// A clock that stands still: freshness is not what is measured.
struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Time {
        Time::from_secs(1_800_000_000)
    }

    fn monotonic(&self) -> Span {
        Span::ZERO
    }
}

fn node_name(n: usize) -> String {
    format!("ip-10-{}-{}-{}", n / 40_000, n / 200 % 200, n % 200 + 1)
}

/// `scontrol show node -o` of 22.05.8, as it prints one of the test cluster's.
fn nodes() -> String {
    let mut text = String::new();
    for n in 0..NODES {
        let (name, is_busy) = (node_name(n), n < RUNNING);
        let (cpus, state) = if is_busy { (8, "MIXED") } else { (0, "IDLE") };
        writeln!(
            text,
            "NodeName={name} Arch=x86_64 CoresPerSocket=8  CPUAlloc={cpus} CPUEfctv=8 CPUTot=8 \
             CPULoad=8.84 AvailableFeatures=a100,efa ActiveFeatures=a100,efa Gres=gpu:a100:8 \
             NodeAddr={name} NodeHostName={name} Port=6818 Version=22.05.8 OS=Linux 6.1.0-28-amd64 \
             #1 SMP PREEMPT_DYNAMIC Debian 6.1.119-1 RealMemory=1100000 AllocMem=0 FreeMem=10704 \
             Sockets=1 Boards=1 State={state} ThreadsPerCore=1 TmpDisk=0 Weight=1 Owner=N/A \
             MCS_label=N/A Partitions=gpu,dev  BootTime=2026-11-25T02:04:03 \
             SlurmdStartTime=2026-11-25T09:33:15 LastBusyTime=2026-11-25T09:33:15 \
             CfgTRES=cpu=8,mem=1100000M,billing=8,gres/gpu=8 AllocTRES=cpu={cpus} CapWatts=n/a \
             CurrentWatts=0 AveWatts=0 ExtSensorsJoules=n/s ExtSensorsWatts=0 ExtSensorsTemp=n/s"
        )
        .expect("a string takes everything");
    }
    text
}

/// `squeue -o` of everything that is not over.
fn active() -> String {
    let mut text = "JOBID\u{1f}STATE\u{1f}NODELIST\n".to_owned();
    for n in 0..RUNNING {
        writeln!(text, "{}\u{1f}RUNNING\u{1f}{}", 100_000 + n, node_name(n)).expect("written");
    }
    for n in 0..WAITING {
        writeln!(text, "{}\u{1f}PENDING\u{1f}", 200_000 + n).expect("written");
    }
    text
}

/// What the fields of a waiting job hold, by their titles.
fn waiting(n: usize) -> impl Fn(&str) -> String {
    move |field: &str| match field.to_ascii_lowercase().as_str() {
        "jobarrayid" => (200_000 + n).to_string(),
        "partition" => "gpu".to_owned(),
        "numnodes" => (n % 4 + 1).to_string(),
        "numtasks" => "1".to_owned(),
        "tres-per-node" => "gres:gpu:a100:8".to_owned(),
        "reason" => "Resources".to_owned(),
        "starttime" | "tres-per-job" | "tres-per-task" => "N/A".to_owned(),
        _ => "(null)".to_owned(),
    }
}

/// `squeue -O` as it was asked: `Name:width` fields, each with what stands behind it.
fn pending(format: &str) -> String {
    let titles = |field: &str| {
        let title = match field.to_ascii_lowercase().as_str() {
            "jobarrayid" => "JOBID",
            "numnodes" => "NODES",
            "numtasks" => "TASKS",
            "starttime" => "START_TIME",
            other => return other.to_ascii_uppercase().replace('-', "_"),
        };
        title.to_owned()
    };
    let row = |value: &dyn Fn(&str) -> String| {
        let mut line = String::new();
        for field in format.split(',') {
            let (name, rest) = field.split_once(':').expect("a width");
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let width: usize = rest[..digits].parse().expect("a width");
            write!(line, "{:<width$.width$}{}", value(name), &rest[digits..]).expect("written");
        }
        line + "\n"
    };
    let rows = (0..WAITING).map(|n| row(&waiting(n)));
    std::iter::once(row(&titles)).chain(rows).collect()
}

const CONFIG: &str = "Configuration data as of 2026-11-25T09:33:15\n\
    EnforcePartLimits       = NO\nPrivateData             = none\n\
    SlurmctldHost[0]        = ip-10-9-9-9(10.9.9.9)\n";

/// Programs that print all that, and count how often they are run.
fn programs(folder: &Path) {
    let write = |file: &str, text: &str| std::fs::write(folder.join(file), text).expect("written");
    write("nodes", &nodes());
    write("active", &active());
    write("config", CONFIG);
    let format = trimtab_slurm::jobs::PENDING.last().expect("a format");
    write("pending", &pending(format));
    let shown = folder.display();
    let asked = format!("echo \"$*\" >>{shown}/asked\n");
    let scontrol = format!(
        "#!/bin/sh\n{asked}case \"$*\" in\n*node*) exec cat {shown}/nodes ;;\n\
         *res*) echo 'No reservations in the system' ;;\n*config*) exec cat {shown}/config ;;\n\
         *) exit 1 ;;\nesac\n"
    );
    let squeue = format!(
        "#!/bin/sh\n{asked}case \"$*\" in\n*JobArrayID*) exec cat {shown}/pending ;;\n\
         *) exec cat {shown}/active ;;\nesac\n"
    );
    for (file, script) in [("scontrol", scontrol), ("squeue", squeue)] {
        write(file, &script);
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.join(file), mode).expect("its mode is set");
    }
}

/// A line of `/proc/self/status`, in MB.
fn memory(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("a key");
    let kb: u64 = line.trim_matches(|c: char| !c.is_ascii_digit()).parse().expect("a number");
    kb / 1024
}

fn listed() -> Vec<ListedNode> {
    let node = |n: usize| ListedNode {
        id: InstanceId::from_number(n as u128 + 1),
        group: name("workers"),
        launched: Time(0),
        status: InstanceStatus::Running,
        name: Some(name(&node_name(n))),
        joined: Joined::ByDnsName,
        address: None,
        image: None,
        health: 100,
        protected: false,
        capacity: NodeCapacity::NotShown,
    };
    (0..NODES).map(node).collect()
}

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    programs(folder.path());
    let commands = Commands::new(folder.path().to_owned(), folder.path().join("slurm.conf"));
    let slurm = Slurm::new(Arc::new(commands), Arc::new(Stopped));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let cluster: ClusterName = name("research");
    let mut instances = listed();
    // What made the files is no part of what is measured.
    std::fs::write("/proc/self/clear_refs", "5").expect("Linux");
    let before = memory("VmRSS:");
    let mut times = vec![];
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let workload = runtime.block_on(slurm.read(&cluster)).expect("an answer");
        join::join(&mut instances, &workload, None);
        times.push(begun.elapsed());
        assert_eq!((workload.nodes.len(), workload.pending.len()), (NODES, WAITING));
        let idle = workload.nodes.iter().filter(|node| node.claims.is_empty()).count();
        assert_eq!(idle, NODES - RUNNING);
        assert!(instances.iter().all(|node| matches!(node.joined, Joined::As(_))));
    }
    let peak = memory("VmHWM:");
    times.sort_unstable();
    let asked = std::fs::read_to_string(folder.path().join("asked")).expect("it was asked");
    let once = asked.lines().filter(|line| line.contains("config")).count();
    println!("nodes  jobs    read and joined, ms p50  max   memory before, peak, MB  questions");
    println!(
        "{NODES}   {}   {:>23} {:>5}   {before:>17}, {peak:>4}      {} a tick, {once} an hour",
        RUNNING + WAITING,
        times[times.len() / 2].as_millis(),
        times.last().expect("a round").as_millis(),
        (asked.lines().count() - once) / ROUNDS,
    );
}
