//! The command line: exit codes, help, errors, and the demo.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn trimtab(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trimtab"));
    command.args(args).current_dir(root()).env_remove("TRIMTAB_LOG").stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    trimtab(args).output().expect("the program starts")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("the program was not killed")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

/// Copies the simulated policy to this folder, changed by `change`, and returns its path.
fn policy(folder: &Path, change: impl Fn(String) -> String) -> String {
    let text = std::fs::read_to_string(root().join("config/simulated/trimtab.toml"));
    let text = text.expect("the example is there");
    let own = folder.to_str().expect("a plain path");
    let path = folder.join("trimtab.toml");
    let text = change(text.replace("/tmp/trimtab-simulated", own));
    std::fs::write(&path, text).expect("written");
    path.to_str().expect("a plain path").to_owned()
}

const WORLD: &str = "config/simulated/world.toml";

#[test]
fn help_names_every_command_and_misuse_exits_64() {
    let help = run(&["--help"]);
    assert_eq!(code(&help), 0);
    for command in [
        "demo",
        "run",
        "plan",
        "explain",
        "history",
        "backtest",
        "check-config",
        "pause",
        "resume",
        "simulate",
    ] {
        assert!(stdout(&help).contains(command), "{command}");
        assert_eq!(code(&run(&[command, "--help"])), 0);
    }
    assert_eq!(code(&run(&["--version"])), 0);
    for misuse in [&["nope"][..], &["plan"], &["demo", "--days", "many"], &["demo", "--days", "0"]]
    {
        assert_eq!(code(&run(misuse)), 64, "{misuse:?}");
    }
}

#[test]
fn a_configuration_with_problems_names_all_of_them_and_exits_78() {
    let folder = tempfile::tempdir().expect("a folder");
    let bad = policy(folder.path(), |text| {
        text.replace("size = 12", "size = \"12\"").replace("min_nodes = 2", "min_node = 2")
    });
    for args in [&["check-config", &bad][..], &["plan", "--config", &bad, "--world", WORLD]] {
        let output = run(args);
        assert_eq!(code(&output), 78);
        let said = stderr(&output);
        assert!(said.contains("trimtab.toml:21") && said.contains("size"), "{said}");
        assert!(said.contains("did you mean `min_nodes`?"), "{said}");
        assert!(said.contains("2 problems"), "{said}");
    }
    assert_eq!(code(&run(&["check-config", "config/trimtab.toml"])), 0);
    assert_eq!(code(&run(&["check-config", "no/such/file.toml"])), 78);
}

#[test]
fn a_simulated_scheduler_without_a_simulated_cluster_is_unavailable() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = policy(folder.path(), |text| {
        let observe = text.replace("\"enforce\"", "\"observe\"");
        observe.replace("endpoint_url = \"http://127.0.0.1:4010\"\n", "")
    });
    for command in ["run", "plan"] {
        let output = run(&[command, "--config", &config]);
        assert_eq!(code(&output), 69);
        let said = stderr(&output);
        assert!(said.contains("trimtab simulate") && said.contains("--world"), "{said}");
    }
}

#[test]
fn a_plan_exits_2_when_there_is_something_to_do_and_leaves_no_trace() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = policy(folder.path(), |text| text);
    let output = run(&["plan", "--config", &config, "--world", WORLD]);
    assert_eq!(code(&output), 2, "{}", stderr(&output));
    assert!(stdout(&output).contains("3 to delete"), "{}", stdout(&output));
    assert!(!stdout(&output).contains('\u{1b}'), "colours in a pipe");
    assert!(!folder.path().join("trimtab.db").exists(), "a plan wrote a ledger");

    let json = run(&["plan", "--config", &config, "--world", WORLD, "--output", "json"]);
    let document: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(document["schema_version"], 1);
    assert_eq!(document["clusters"][0]["marks"].as_array().map(Vec::len), Some(3));
    assert_eq!(document["clusters"][0]["nodes"].as_array().map(Vec::len), Some(13));

    std::fs::write(folder.path().join("PAUSE"), "audit").expect("written");
    let paused = run(&["plan", "--config", &config, "--world", WORLD]);
    assert_eq!(code(&paused), 0);
    assert!(stdout(&paused).contains("audit"), "{}", stdout(&paused));
}

#[test]
fn a_price_that_the_policy_does_not_name_is_the_worlds() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = policy(folder.path(), |text| {
        text.replace("\"enforce\"", "\"observe\"").replace("price_usd_per_hour = 20.36\n", "")
    });
    let output = run(&["plan", "--config", &config, "--world", WORLD]);
    assert_eq!(code(&output), 2, "{}", stderr(&output));
    assert!(stdout(&output).contains("saves $20.36/h"), "{}", stdout(&output));
}

#[test]
fn run_once_follows_its_actions_to_their_end_and_the_ledger_tells() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = policy(folder.path(), |text| text);
    let output = run(&["run", "--once", "--config", &config, "--world", WORLD]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).contains("3 nodes deleted, no open actions"), "{}", stdout(&output));

    let state = folder.path().join("trimtab.db");
    let state = state.to_str().expect("a plain path");
    let history = run(&["history", "--state", state, "--output", "json"]);
    let document: serde_json::Value = serde_json::from_slice(&history.stdout).expect("JSON");
    let actions = document["actions"].as_array().expect("actions");
    assert_eq!(actions.len(), 3);
    assert!(actions.iter().all(|action| action["state"] == "gone"));
    let node = actions[0]["node"].as_str().expect("an id");
    let explained = run(&["explain", node, "--state", state]);
    assert_eq!(code(&explained), 0, "{}", stderr(&explained));
    for words in ["cleared for request 1", "accepted", "boot cost"] {
        assert!(stdout(&explained).contains(words), "{words}: {}", stdout(&explained));
    }
    let unknown = run(&["explain", "i-0000000000000dead", "--state", state]);
    assert_eq!(code(&unknown), 1);
    let busy = run(&["explain", "ip-10-0-0-3", "--state", state]);
    assert!(stdout(&busy).contains("runs job"), "{}", stdout(&busy));
}

#[test]
fn observe_mode_deletes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = policy(folder.path(), |text| text.replace("\"enforce\"", "\"observe\""));
    let output = run(&["run", "--config", &config, "--world", WORLD]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let state = folder.path().join("trimtab.db");
    let state = state.to_str().expect("a plain path");
    let history = run(&["history", "--state", state, "--output", "json"]);
    let document: serde_json::Value = serde_json::from_slice(&history.stdout).expect("JSON");
    assert_eq!(document["actions"].as_array().map(Vec::len), Some(0));
}

#[test]
fn a_second_daemon_on_one_ledger_is_told_who_holds_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = policy(folder.path(), |text| text);
    let mut first = trimtab(&["run", "--real-time", "--config", &config, "--world", WORLD]);
    let mut first = first.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
    let lock = folder.path().join("trimtab.db.lock");
    let held = || std::fs::read_to_string(&lock).is_ok_and(|text| !text.is_empty());
    let waited = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        held()
    });
    assert!(waited, "the first daemon never took the lock");
    let second = run(&["run", "--once", "--config", &config, "--world", WORLD]);
    assert_eq!(code(&second), 1);
    assert!(stderr(&second).contains(&first.id().to_string()), "{}", stderr(&second));

    // SIGTERM stops it with exit code 0.
    let term = Command::new("kill").arg(first.id().to_string()).status().expect("kill runs");
    assert!(term.success());
    let ended = first.wait().expect("it ends");
    assert_eq!(ended.code(), Some(0));
}

#[test]
fn the_demo_deletes_no_busy_node_and_some_without_the_cordon() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("demo.db");
    let state = state.to_str().expect("a plain path");
    let args = ["demo", "--days", "2", "--state", state];
    let output = trimtab(&args).arg("--output").arg("json").output().expect("the program starts");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(document["busy_nodes_deleted"], 0);
    assert!(document["busy_nodes_deleted_without_cordon"].as_u64() > Some(0));
    assert!(document["saved_usd_against_never"].as_f64() > Some(5_000.0));
    let again = folder.path().join("again.db");
    let again = again.to_str().expect("a plain path");
    let again = run(&["demo", "--days", "2", "--state", again, "--output", "json"]);
    let mut second: serde_json::Value = serde_json::from_slice(&again.stdout).expect("JSON");
    second["ledger"] = document["ledger"].clone();
    assert_eq!(second, document, "one seed gives one result");
    let used = run(&["demo", "--days", "1", "--state", state]);
    assert_eq!(code(&used), 1);
    assert!(stderr(&used).contains("use another file"), "{}", stderr(&used));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut demo = trimtab(&["demo", "--days", "1", "--plain"]);
    let mut demo = demo.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    drop(demo.stdout.take());
    let ended = demo.wait_with_output().expect("it ends");
    assert_eq!(code(&ended), 0, "{}", stderr(&ended));
}
