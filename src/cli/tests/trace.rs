//! `trimtab trace export` with a real Slurm and slurmdbd, and `trimtab backtest` with its output.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use trimtab_core::trace::{TraceJob, parse_jobs};
use trimtab_core::units::{Span, Time};
use trimtab_tests::slurm::{Cluster, SKIPPED};

fn trimtab(args: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut command = Command::new(env!("CARGO_BIN_EXE_trimtab"));
    command.args(args).current_dir(root).stdin(Stdio::null());
    command.env_remove("TRIMTAB_LOG").output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    Time::from_secs(since.as_secs().try_into().expect("before the end of time"))
}

/// Writes a configuration that uses this slurm.conf and returns its path.
fn config(folder: &Path, name: &str, conf: &Path) -> String {
    let path = folder.join(name);
    let conf = conf.display();
    let policy = format!(
        r#"
config_version = 1
[[cluster]]
name = "research"
region = "us-west-2"
account_id = "123456789012"
scheduler = {{ kind = "slurm", conf = "{conf}", bin_dir = "/usr/bin" }}
[[cluster.group]]
name = "workers"
size = 3
min_nodes = 1
max_delete_per_hour = 1
capacity = "on-demand"
"#
    );
    std::fs::write(&path, policy).expect("written");
    path.to_str().expect("a plain path").to_owned()
}

/// Runs `trace export` and returns its summary, or its exit code and error.
fn export(config: &str, from: Time, to: Time, file: &Path) -> Result<Value, (Option<i32>, String)> {
    let (from, to) = (from.to_string(), to.to_string());
    let file = file.to_str().expect("a plain path");
    let args = ["trace", "export", "--config", config, "--from", &from, "--to", &to];
    let output = trimtab(&[&args[..], &["--file", file, "--output", "json"]].concat());
    if output.status.success() {
        Ok(serde_json::from_slice(&output.stdout).expect("one document"))
    } else {
        Err((output.status.code(), text(&output.stderr)))
    }
}

#[test]
fn what_a_real_slurm_ran_is_exported_and_replayed() {
    let settings = ["AccountingStorageType=accounting_storage/slurmdbd"];
    let Some(cluster) = Cluster::start_with(3, &settings) else { return println!("{SKIPPED}") };
    let from = Time(now().0 - Span::mins(10).0);
    let path = |name: &str| -> PathBuf { cluster.path().join(name) };
    let config_file = config(cluster.path(), "trimtab.toml", &path("slurm.conf"));

    let secret = "--job-name=a secret, with | and commas";
    let on_third = ["-w", "ip-10-0-0-3", secret];
    let array = cluster.submit(&["--array=1-2", "--gres=gpu:2", secret, "--wrap", "sleep 2"]);
    let pair = cluster.submit(&["-w", "ip-10-0-0-[1-2]", "--exclusive", "--wrap", "sleep 2"]);
    let runs = ["--gres=gpu:4", "-p", "last", "--wrap", "sleep 600"];
    cluster.submit(&[&on_third[..], &runs].concat());
    let requeued = cluster.submit(&[&on_third[..], &["--requeue", "--wrap", "sleep 500"]].concat());
    let cancelled = cluster.submit(&["--hold", "--wrap", "true"]);
    let until = |what: &str, holds: &dyn Fn() -> bool| {
        let begun = Instant::now();
        while !holds() {
            assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
            std::thread::sleep(Duration::from_millis(300));
        }
    };
    // slurmctld sends updates to slurmdbd every 5 seconds; a run that is requeued sooner may be
    // missing there.
    let known = || cluster.operator("sacct", &["-n", "-X", "-P", "-o", "state", "-j", &requeued]);
    until("slurmdbd knows that the job runs", &|| known() == "RUNNING");
    // Requeue it in a later second than the one it started in.
    std::thread::sleep(Duration::from_millis(1100));
    cluster.operator("scontrol", &["requeue", &requeued]);
    cluster.operator("scancel", &[&cancelled]);
    let queue = || cluster.operator("squeue", &["-h", "-a", "-o", "%F"]);
    until("they end", &|| !queue().lines().any(|job| job == array || job == pair));

    // slurmdbd receives the updates a few seconds later.
    let file = path("trace.csv");
    until("slurmdbd knows of all runs, and how they ended", &|| {
        let told = export(&config_file, from, now(), &path("first.csv"));
        told.is_ok_and(|told| told["runs"] == 5 && told["ran_at_end"] == 1)
    });
    let to = now();
    let said = export(&config_file, from, to, &file).expect("a trace");
    assert_eq!(said["schema_version"], 1);
    assert_eq!((&said["cluster"], &said["from"]), (&"research".into(), &from.to_string().into()));
    assert_eq!((&said["runs"], &said["ran_at_end"]), (&5.into(), &1.into()));
    assert_eq!(said["partitions"], serde_json::json!(["gpu", "last"]));

    let table = std::fs::read_to_string(&file).expect("written");
    assert!(!table.contains("secret"), "{table}");
    let jobs = parse_jobs(&table).expect("a trace");
    let ran = |nodes: u32, gpus: u32, partition: &str| -> Vec<&TraceJob> {
        let is_it = |job: &&TraceJob| {
            let (its_nodes, its_gpus) = (job.nodes.0, job.gpus.0 / 1000);
            (its_nodes, its_gpus, job.partition.as_str()) == (nodes, gpus, partition)
        };
        jobs.iter().filter(is_it).collect()
    };
    let counts = [(1, 2, "gpu"), (2, 16, "gpu"), (1, 4, "last"), (1, 0, "gpu")];
    let counts = counts.map(|(nodes, gpus, partition)| ran(nodes, gpus, partition).len());
    assert_eq!(counts, [2, 1, 1, 1], "{table}");
    assert_eq!(ran(1, 4, "last")[0].end, to.since(from), "it still runs: {table}");
    let pair = ran(2, 16, "gpu")[0];
    let ran_for = Span(pair.end.0 - pair.start.0).as_secs();
    assert!((1..=20).contains(&ran_for) && pair.submit <= pair.start, "{table}");

    let trace = file.to_str().expect("a plain path");
    let replay = ["backtest", "--trace", trace, "--group-by", "all", "--output", "json"];
    let replay = trimtab(&replay);
    assert_eq!(replay.status.code(), Some(0), "{}", text(&replay.stderr));
    let document: Value = serde_json::from_slice(&replay.stdout).expect("one document");
    let group = &document["traces"][0]["groups"][0];
    assert!(group["busy_node_hours"].as_f64().is_some_and(|hours| hours > 0.0), "{group}");

    // Without --file, stdout has the table and nothing else.
    let (first, last) = (from.to_string(), to.to_string());
    let args = ["trace", "export", "--config", &config_file, "--from", &first, "--to", &last];
    let piped = trimtab(&args);
    assert_eq!((text(&piped.stdout), text(&piped.stderr)), (table, String::new()));

    what_there_is_no_trace_of(&cluster, &config_file, (from, to));
}

fn what_there_is_no_trace_of(cluster: &Cluster, config_file: &str, (from, to): (Time, Time)) {
    let file = cluster.path().join("nothing.csv");
    let (code, said) = export(config_file, to, from, &file).expect_err("from is after to");
    assert_eq!((code, said.contains("is not before")), (Some(1), true), "{said}");
    let before = Time(from.0 - Span::hours(48).0);
    let (code, said) = export(config_file, before, from, &file).expect_err("nothing ran then");
    assert_eq!((code, said.contains("no jobs ran on cluster research")), (Some(1), true), "{said}");
    let tomorrow = Time(to.0 + Span::hours(24).0);
    let (code, said) = export(config_file, from, tomorrow, &file).expect_err("it is not tomorrow");
    assert_eq!((code, said.contains("is in the future")), (Some(1), true), "{said}");

    // A Slurm without accounting storage.
    let conf = std::fs::read_to_string(cluster.path().join("slurm.conf")).expect("it is there");
    let kept = conf.lines().filter(|line| !line.starts_with("AccountingStorage"));
    let without = format!(
        "{}\nAccountingStorageType=accounting_storage/none\n",
        kept.collect::<Vec<_>>().join("\n")
    );
    let path = cluster.path().join("without.conf");
    std::fs::write(&path, without).expect("written");
    let other = config(cluster.path(), "without.toml", &path);
    let (code, said) = export(&other, from, to, &file).expect_err("there is no slurmdbd");
    assert_eq!((code, said.contains("Slurm accounting storage is disabled")), (Some(69), true));
    assert!(said.contains("AccountingStorageType=accounting_storage/slurmdbd"), "{said}");

    // A slurmdbd that does not run.
    let pid = std::fs::read_to_string(cluster.path().join("run/slurmdbd.pid")).expect("it runs");
    let killed = Command::new("kill").arg(pid.trim()).status().expect("kill is there");
    assert!(killed.success());
    let begun = Instant::now();
    let (code, said) = loop {
        match export(config_file, from, to, &file) {
            Ok(_) => assert!(begun.elapsed() < Duration::from_secs(30), "it does not end"),
            Err(away) => break away,
        }
    };
    assert_eq!(code, Some(69), "{said}");
    assert!(!file.exists(), "nothing was written");
}
