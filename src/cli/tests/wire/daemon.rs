//! The daemon on a simulated cluster over HTTP, through the AWS SDKs.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::endpoint::{Running, root};

fn trimtab(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trimtab"));
    command.args(args).current_dir(root()).env_remove("TRIMTAB_LOG").stdin(Stdio::null());
    command.output().expect("the program starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

fn json(output: &Output) -> Value {
    let parsed = serde_json::from_slice(&output.stdout);
    parsed.unwrap_or_else(|why| panic!("{why}: {}{}", stdout(output), stderr(output)))
}

const WORLD: &str = "config/simulated/world.toml";
const IN_LOCK_STEP: [&str; 4] = ["--listen", "127.0.0.1:0", "--speed", "0"];

/// Starts an endpoint for these worlds in lock-step.
fn endpoint(worlds: &[&str]) -> Running {
    let mut args = IN_LOCK_STEP.to_vec();
    for world in worlds {
        args.extend(["--world", world]);
    }
    Running::start(&args)
}

/// Writes the simulated policy for this endpoint, changed by `change`, and returns its path.
fn policy(folder: &Path, running: &Running, change: impl Fn(String) -> String) -> String {
    let text = std::fs::read_to_string(root().join("config/simulated/trimtab.toml"));
    let own = folder.to_str().expect("a plain path");
    let text = text.expect("the example is there").replace("/tmp/trimtab-simulated", own);
    let text = change(text.replace("127.0.0.1:4010", &running.addr));
    write(&folder.join("trimtab.toml"), &text)
}

fn write(path: &PathBuf, text: &str) -> String {
    std::fs::write(path, text).expect("written");
    path.to_str().expect("a plain path").to_owned()
}

fn calls(running: &Running) -> Value {
    serde_json::from_str(&running.ask("GET", "/_calls", "")).expect("JSON")
}

#[test]
fn a_plan_over_the_wire_is_the_plan_in_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let running = endpoint(&[WORLD]);
    let config = policy(folder.path(), &running, |text| text);
    let wired = trimtab(&["plan", "--config", &config, "--output", "json"]);
    assert_eq!(wired.status.code(), Some(2), "{}", stderr(&wired));
    let direct = trimtab(&["plan", "--config", &config, "--world", WORLD, "--output", "json"]);
    assert_eq!(json(&wired), json(&direct));
    assert!(!folder.path().join("trimtab.db").exists(), "a plan wrote a ledger");
}

#[test]
fn run_once_over_the_wire_deletes_what_the_plan_said_and_leaves_no_cordon() {
    let folder = tempfile::tempdir().expect("a folder");
    let running = endpoint(&[WORLD]);
    let config = policy(folder.path(), &running, |text| text);
    let output = trimtab(&["run", "--once", "--config", &config]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("3 nodes deleted, no open actions"), "{}", stdout(&output));
    let truth: Value =
        serde_json::from_str(&running.ask("GET", "/_world/simulated/truth", "")).expect("JSON");
    assert_eq!(truth["busy_nodes_deleted"], 0, "{truth}");
    let workload = running.ask("GET", "/_world/simulated/workload", "");
    assert!(!workload.contains("trimtab:"), "a cordon was left: {workload}");
    let calls = calls(&running);
    assert_eq!(calls["BatchDeleteClusterNodes"], 1, "{calls}");
    assert_eq!(calls.get("UpdateCluster"), None, "{calls}");
}

#[test]
fn observing_over_the_wire_makes_no_call_that_could_change_anything() {
    let folder = tempfile::tempdir().expect("a folder");
    let running = endpoint(&[WORLD]);
    let config = policy(folder.path(), &running, |text| text.replace("\"enforce\"", "\"observe\""));
    let output = trimtab(&["run", "--config", &config]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let calls = calls(&running);
    for (operation, count) in calls.as_object().expect("an object") {
        let reads = ["DescribeCluster", "ListClusterNodes", "DescribeClusterNode"];
        let ours = operation.starts_with('_');
        assert!(ours || reads.contains(&operation.as_str()), "{operation}: {count}");
    }
    let workload = running.ask("GET", "/_world/simulated/workload", "");
    assert!(!workload.contains("trimtab:"), "{workload}");
}

#[test]
fn a_cluster_in_another_account_or_region_is_a_mistake_of_the_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let running = endpoint(&[WORLD]);
    let elsewhere =
        |from: &str, to: &str| policy(folder.path(), &running, |text| text.replace(from, to));
    let config = elsewhere("123456789012", "210987654321");
    for command in ["plan", "run"] {
        let output = trimtab(&[command, "--config", &config]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(78), "{command}: {said}");
        assert!(said.contains("account 210987654321"), "{said}");
    }
    // In another region there is no such cluster.
    let output = trimtab(&["plan", "--config", &elsewhere("us-west-2", "eu-west-1")]);
    assert_eq!(output.status.code(), Some(69), "{}", stderr(&output));
    assert!(stderr(&output).contains("ResourceNotFound"), "{}", stderr(&output));
}

#[test]
fn an_endpoint_that_is_not_there_is_unavailable() {
    let folder = tempfile::tempdir().expect("a folder");
    let running = endpoint(&[WORLD]);
    let config = policy(folder.path(), &running, |text| text);
    drop(running);
    let output = trimtab(&["plan", "--config", &config]);
    assert_eq!(output.status.code(), Some(69), "{}", stderr(&output));
    assert!(stderr(&output).contains("127.0.0.1"), "{}", stderr(&output));
}

#[test]
fn enforcing_needs_a_simulated_world_and_not_only_an_address_on_this_machine() {
    // The endpoint may be the local end of a tunnel: it does not serve a world.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            use std::io::{Read, Write};
            let mut stream = stream.expect("a connection");
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("trimtab.db");
    let text = format!(
        "config_version = 1\nmode = \"enforce\"\n[state]\npath = \"{}\"\n[[cluster]]\n\
         name = \"tunnelled\"\nregion = \"us-west-2\"\naccount_id = \"123456789012\"\n\
         endpoint_url = \"http://{addr}\"\nscheduler = {{ kind = \"none\" }}\n\
         evidence = \"metrics-only\"\nutilization = [{{ kind = \"cloudwatch\", preset = \
         \"cwagent-nvidia\", idle_below_percent = 5, window = \"20m\" }}]\n[[cluster.group]]\n\
         name = \"workers\"\nsize = 4\nmin_nodes = 0\nmax_delete_per_hour = 1\n\
         capacity = \"on-demand\"\nprice_usd_per_hour = 1.0\nboot = \"20m\"\n\
         node_local_data = \"disposable\"\ngpus_per_node = 8\n",
        state.display()
    );
    let config = write(&folder.path().join("trimtab.toml"), &text);
    let output = trimtab(&["run", "--config", &config]);
    assert_eq!(output.status.code(), Some(78), "{}", stderr(&output));
    assert!(stderr(&output).contains("is not `trimtab simulate`"), "{}", stderr(&output));
}

#[test]
fn what_a_killed_daemon_cordoned_is_released_by_uncordon() {
    let folder = tempfile::tempdir().expect("a folder");
    // Time must move by itself here, because it also moves while a daemon is killed.
    let running = Running::start(&["--listen", "127.0.0.1:0", "--speed", "600", "--world", WORLD]);
    let settle = "[cluster.timing]\nsettle = \"10m\"\n\n[[cluster.group]]";
    let config =
        policy(folder.path(), &running, |text| text.replacen("[[cluster.group]]", settle, 1));
    let mut command = Command::new(env!("CARGO_BIN_EXE_trimtab"));
    command.args(["run", "--config", &config]).current_dir(root()).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut daemon = command.spawn().expect("the program starts");
    let cordoned = || {
        let workload = running.ask("GET", "/_world/simulated/workload", "");
        workload.matches("trimtab:").count()
    };
    let waited = (0..6000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        cordoned() > 0
    });
    daemon.kill().expect("SIGKILL");
    daemon.wait().expect("it ends");
    assert!(waited, "nothing was ever cordoned");
    assert!(cordoned() > 0, "a killed daemon releases nothing");

    let output = trimtab(&["uncordon", "--config", &config]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    assert_eq!(cordoned(), 0, "{}", stdout(&output));
    let calls = calls(&running);
    assert_eq!(calls.get("BatchDeleteClusterNodes"), None, "{calls}");
    let again = trimtab(&["uncordon", "--config", &config]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
}

#[test]
fn the_demo_over_http_comes_to_the_same_as_in_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |name: &str, more: &[&str]| {
        let state = folder.path().join(name);
        let state = state.to_str().expect("a plain path");
        let mut args = vec!["demo", "--days", "1", "--output", "json", "--state", state];
        args.extend(more);
        let output = trimtab(&args);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let mut document = json(&output);
        document["ledger"] = Value::Null;
        document
    };
    let wired = run("wired.db", &[]);
    assert_eq!(wired["busy_nodes_deleted"], 0);
    assert_eq!(wired, run("direct.db", &["--in-process"]));
}

/// Behaviour that the API documentation does not define; both variants are tested.
const OPEN_QUESTIONS: [&str; 14] = [
    "busy = \"conflict\"",
    "busy = \"validation\"",
    "all_failed = \"lists\"",
    "all_failed = \"code\"",
    "over_limit = \"resource-limit\"",
    "over_limit = \"accepted\"",
    "target_falls = \"at-end\"",
    "below_min = \"refused\"",
    "echo = \"refused\"",
    "omission = \"clears\"",
    "events = \"empty\"",
    "deletes_show_as_scaling = true",
    "orchestrator = \"slurm-legacy\"",
    "instance_delay = \"2m\"",
];

#[test]
fn whatever_the_api_does_where_its_documentation_is_silent_no_busy_node_goes_and_no_cordon_stays() {
    let world = std::fs::read_to_string(root().join(WORLD)).expect("the example is there");
    for provisioning in ["continuous", "classic"] {
        for question in OPEN_QUESTIONS {
            let folder = tempfile::tempdir().expect("a folder");
            let text = world.replace("\"continuous\"", &format!("\"{provisioning}\""));
            let text = text.replacen("[[group]]", &format!("[api]\n{question}\n\n[[group]]"), 1);
            let path = write(&folder.path().join("world.toml"), &text);
            let running = endpoint(&[&path]);
            let config = policy(folder.path(), &running, |text| text);
            let output = trimtab(&["run", "--once", "--config", &config]);
            let said = format!("{provisioning}, {question}: {}", stderr(&output));
            assert_eq!(output.status.code(), Some(0), "{said}");
            assert!(stdout(&output).contains("3 nodes deleted, no open actions"), "{said}");
            let truth = running.ask("GET", "/_world/simulated/truth", "");
            let truth: Value = serde_json::from_str(&truth).expect("JSON");
            assert_eq!(truth["busy_nodes_deleted"], 0, "{said}");
            let workload = running.ask("GET", "/_world/simulated/workload", "");
            assert!(!workload.contains("trimtab:"), "{said}");
        }
    }
}

#[test]
fn a_cluster_that_was_never_patched_keeps_its_nodes_and_an_operator_is_told() {
    let world = std::fs::read_to_string(root().join(WORLD)).expect("the example is there");
    let folder = tempfile::tempdir().expect("a folder");
    let old = "[api]\ncreated = \"2024-01-15T00:00:00Z\"\n\n[[group]]";
    let text = world.replacen("[[group]]", old, 1);
    let path = write(&folder.path().join("world.toml"), &text);
    let running = endpoint(&[&path]);
    let config = policy(folder.path(), &running, |text| text);
    let output = trimtab(&["run", "--once", "--config", &config]);
    assert!(stderr(&output).contains("probably never patched"), "{}", stderr(&output));
    assert!(stdout(&output).contains("0 nodes deleted, no open actions"), "{}", stdout(&output));
    let workload = running.ask("GET", "/_world/simulated/workload", "");
    assert!(!workload.contains("trimtab:"), "a cordon was left: {workload}");
    let calls = calls(&running);
    assert_eq!(calls.get("UpdateClusterSoftware"), None, "{calls}");
    assert_eq!(calls["BatchDeleteClusterNodes"], 1, "no retry storm: {calls}");
}

#[test]
fn an_idle_group_goes_by_one_call_and_nothing_of_it_but_the_count_changes() {
    let folder = tempfile::tempdir().expect("a folder");
    let details = "details = { ThreadsPerCore = 1, OnStartDeepHealthChecks = [\"InstanceStress\"], \
                   DesiredImageReleaseVersion = \"1.2.3\", CurrentImageReleaseVersion = \"1.2.3\", \
                   KubernetesConfig = { CurrentLabels = { team = \"b\" }, DesiredLabels = { team = \
                   \"b\" } } }\n";
    let world = idle_world(folder.path(), 0, 120);
    let text = std::fs::read_to_string(&world).expect("just written");
    std::fs::write(&world, text + details).expect("written");
    let running = endpoint(&[&world]);
    let config = policy_of_many(folder.path(), &running, 1, 120);
    let text = std::fs::read_to_string(&config).expect("just written");
    let text = text
        .replace("\"observe\"", "\"enforce\"")
        .replace(
            "max_delete_per_hour = 8",
            "max_delete_per_hour = 120\nmax_delete_per_request = 120",
        )
        .replace("min_nodes = 0", "min_nodes = 0\nmax_leaving_percent = 100")
        .replace(
            "[[cluster.group]]",
            "mass_change = { nodes = 200, percent = 100 }\n[[cluster.group]]",
        )
        + "group_calls = \"to-zero\"\nprice_usd_per_hour = 1.0\n";
    std::fs::write(&config, text).expect("written");

    let describe = || {
        let answer = running.sagemaker("DescribeCluster", "{\"ClusterName\":\"cluster-0\"}");
        answer["InstanceGroups"][0].clone()
    };
    let before = describe();
    let output = trimtab(&["run", "--once", "--config", &config]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("120 nodes deleted"), "{}", stdout(&output));
    let calls = calls(&running);
    assert_eq!(calls["UpdateCluster"], 1, "{calls}");
    assert_eq!(calls.get("BatchDeleteClusterNodes"), None, "{calls}");
    let mut after = describe();
    assert_eq!((&after["CurrentCount"], &after["TargetCount"]), (&0.into(), &0.into()));
    for count in ["CurrentCount", "TargetCount", "TargetStateCount"] {
        after[count] = before[count].clone();
    }
    assert_eq!(after, before);
}

/// Writes a world with one cluster of idle nodes and returns its path.
fn idle_world(folder: &Path, number: usize, nodes: usize) -> String {
    let text = format!(
        "seed = {}\nstart = \"2026-03-02T00:00:00Z\"\nduration = \"1d\"\n\
         cluster = \"cluster-{number}\"\nkeep_log = false\n\
         [[group]]\nname = \"workers\"\ncount = {nodes}\nprice_usd_per_hour = 1.0\n\
         gpus_per_node = 8\npartition = \"gpu\"\n",
        number + 1
    );
    write(&folder.join(format!("world-{number}.toml")), &text)
}

fn policy_of_many(folder: &Path, running: &Running, clusters: usize, nodes: usize) -> String {
    let state = folder.join("trimtab.db");
    let mut text = format!(
        "config_version = 1\nmode = \"observe\"\n[state]\npath = \"{}\"\n",
        state.display()
    );
    for number in 0..clusters {
        text += &format!(
            "[[cluster]]\nname = \"cluster-{number}\"\nregion = \"us-west-2\"\n\
             account_id = \"123456789012\"\nendpoint_url = \"http://{}\"\n\
             scheduler = {{ kind = \"simulated\" }}\n[[cluster.group]]\nname = \"workers\"\n\
             size = {nodes}\nmin_nodes = 0\nmax_delete_per_hour = 8\ncapacity = \"on-demand\"\n\
             boot = \"20m\"\nnode_local_data = \"disposable\"\ngpus_per_node = 8\n\
             partitions = [\"gpu\"]\n",
            running.addr
        );
    }
    write(&folder.join("many.toml"), &text)
}

#[test]
fn ten_clusters_of_a_thousand_nodes_take_the_fewest_calls_there_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let worlds: Vec<String> = (0..10).map(|n| idle_world(folder.path(), n, 1000)).collect();
    let worlds: Vec<&str> = worlds.iter().map(String::as_str).collect();
    let running = endpoint(&worlds);
    let config = policy_of_many(folder.path(), &running, 10, 1000);
    let args = ["plan", "--brief", "--warm-up", "0s", "--config", &config];
    let (output, peak) = with_peak_memory(&args);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let calls = calls(&running);
    // Per cluster: one for the check at start, one for the tick.
    assert_eq!(calls["DescribeCluster"], 20, "{calls}");
    // 1000 nodes per cluster in pages of 100, the API maximum.
    assert_eq!(calls["ListClusterNodes"], 100, "{calls}");
    assert!(peak < 100_000, "{peak} kB");
}

/// Runs the command and returns its output and peak memory in kB.
fn with_peak_memory(args: &[&str]) -> (Output, u64) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trimtab"));
    command.args(args).current_dir(root()).env_remove("TRIMTAB_LOG").stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("the program starts");
    let status = format!("/proc/{}/status", child.id());
    let watcher = std::thread::spawn(move || {
        // VmHWM is the peak, so the last reading is the result.
        let mut peak = 0;
        while let Ok(text) = std::fs::read_to_string(&status) {
            let line = text.lines().find(|line| line.starts_with("VmHWM:"));
            // A process that has exited but was not waited for has no such line.
            let Some(line) = line else { break };
            peak = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(peak);
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        peak
    });
    let output = child.wait_with_output().expect("it ends");
    (output, watcher.join().expect("the watcher ends"))
}
