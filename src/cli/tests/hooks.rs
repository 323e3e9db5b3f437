//! The gate and the on-node check: the whole daemon with real programs on a simulated cluster.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn trimtab(args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trimtab"));
    command.args(args).current_dir(root()).env_remove("TRIMTAB_LOG").stdin(Stdio::null());
    let Output { status, stdout, stderr } = command.output().expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

const WORLD: &str = "config/simulated/world.toml";

/// A copy of the simulated policy, with additional lines for the cluster.
struct Operator {
    folder: tempfile::TempDir,
    config: String,
}

impl Operator {
    fn new(lines: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let text = std::fs::read_to_string(root().join("config/simulated/trimtab.toml"));
        let place = "[[cluster.group]]";
        let text = text
            .expect("the example is there")
            .replace("/tmp/trimtab-simulated", folder.path().to_str().expect("a plain path"))
            .replace("\"disposable\"", "\"gate\"")
            .replace(place, &format!("{lines}\n{place}"));
        let path = folder.path().join("trimtab.toml");
        std::fs::write(&path, text).expect("written");
        let config = path.to_str().expect("a plain path").to_owned();
        Self { folder, config }
    }

    fn once(&self) -> (Option<i32>, String, String) {
        trimtab(&["run", "--once", "--config", &self.config, "--world", WORLD])
    }

    fn history(&self) -> String {
        let ledger = self.folder.path().join("trimtab.db");
        let (code, stdout, stderr) =
            trimtab(&["history", "--output", "json", "--state", ledger.to_str().expect("plain")]);
        assert_eq!(code, Some(0), "{stderr}");
        stdout
    }
}

fn shell(key: &str, line: &str, more: &str) -> String {
    format!("{key} = {{ command = [\"/bin/sh\", \"-c\", '{line}'{more}] }}")
}

#[test]
fn nodes_go_once_the_gate_has_read_of_them_and_the_check_has_looked_at_each() {
    let seen = tempfile::tempdir().expect("a folder");
    let here = seen.path().display();
    let gate = shell("gate", &format!("cat > {here}/asked"), "");
    let line = format!("test -s {here}/asked && echo $1 >> {here}/checked");
    let check = shell("on_node_check", &line, ", \"sh\", \"{instance_id}\"");
    let operator = Operator::new(&format!("{gate}\n{check}"));
    let (code, stdout, stderr) = operator.once();
    assert_eq!(code, Some(0), "{stderr}");
    let done = stdout.lines().last().unwrap_or_default();
    assert!(done.starts_with("done: ") && !done.contains(" 0 nodes"), "{stdout}\n{stderr}");
    let asked = std::fs::read_to_string(seen.path().join("asked")).expect("the gate was asked");
    let asked: serde_json::Value = serde_json::from_str(&asked).expect("JSON");
    assert_eq!(
        (&asked["schema_version"], &asked["cluster"], &asked["group"]),
        (&1.into(), &"simulated".into(), &"workers-g5".into())
    );
    let checked = std::fs::read_to_string(seen.path().join("checked")).expect("they were");
    for node in asked["nodes"].as_array().expect("a list") {
        let id = node["instance_id"].as_str().expect("a text");
        assert!(checked.lines().any(|line| line == id), "{id} was not looked at: {checked}");
    }
}

#[test]
fn a_veto_keeps_the_nodes_and_its_reason_is_told() {
    let operator = Operator::new(&shell("gate", "echo the bucket is full >&2; exit 3", ""));
    let (code, stdout, stderr) = operator.once();
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("done: 0 nodes deleted"), "{stdout}");
    let history = operator.history();
    let why = "gate: /bin/sh: exit status: 3: the bucket is full";
    assert!(history.contains(&format!("veto: vetoed: {why}")), "{history}");
}

#[test]
fn observing_asks_nobody() {
    let seen = tempfile::tempdir().expect("a folder");
    let here = seen.path().display();
    let operator = Operator::new(&shell("gate", &format!(": > {here}/asked"), ""));
    let text = std::fs::read_to_string(&operator.config).expect("it is there");
    std::fs::write(&operator.config, text.replace("\"enforce\"", "\"observe\"")).expect("written");
    let (code, stdout, stderr) = operator.once();
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("done: 0 nodes deleted"), "{stdout}");
    let plan = trimtab(&["plan", "--config", &operator.config, "--world", WORLD]);
    assert_eq!(plan.0, Some(2), "there is something to do: {}", plan.2);
    assert!(!seen.path().join("asked").exists());
}

#[test]
fn a_program_that_others_may_write_is_refused_before_anything_is_done() {
    use std::os::unix::fs::PermissionsExt;
    let operator = Operator::new("gate = { command = [\"GATE\"] }");
    let program = operator.folder.path().join("gate");
    std::fs::write(&program, "#!/bin/sh\n").expect("written");
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o777)).expect("a mode");
    let text = std::fs::read_to_string(&operator.config).expect("it is there");
    let path = program.to_str().expect("a plain path");
    std::fs::write(&operator.config, text.replace("GATE", path)).expect("written");
    let (code, _, stderr) = operator.once();
    assert_eq!(code, Some(78), "{stderr}");
    assert!(stderr.contains("cluster simulated: gate:"), "{stderr}");
    assert!(stderr.contains("can be written by its group or by all users"), "{stderr}");
    let (code, _, stderr) = trimtab(&["check-config", &operator.config]);
    assert_eq!(code, Some(78), "{stderr}");
    assert!(stderr.contains("cluster[simulated].gate.command"), "{stderr}");
    assert!(stderr.contains("trimtab.toml:"), "its line is named: {stderr}");
    // A file for another machine can be checked on this one.
    std::fs::write(&operator.config, text.replace("GATE", "/nowhere/at-all")).expect("written");
    let (code, stdout, stderr) = trimtab(&["check-config", &operator.config]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("/nowhere is not on this machine"), "{stdout}");
    let (code, _, stderr) = operator.once();
    assert_eq!(code, Some(78), "{stderr}");
}
