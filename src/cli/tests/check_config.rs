//! `trimtab check-config`: settings with their origins, problems, and that the daemon reads the
//! same layers.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn trimtab(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trimtab"));
    command.args(args).current_dir(root()).env_remove("TRIMTAB_LOG").stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

/// Copies the simulated policy to this folder and returns the path of the copy.
fn simulated(folder: &Path) -> String {
    let text = std::fs::read_to_string(root().join("config/simulated/trimtab.toml"));
    let text = text.expect("the example is there");
    let text = text.replace("/tmp/trimtab-simulated", folder.to_str().expect("a plain path"));
    let path = folder.join("trimtab.toml");
    std::fs::write(&path, text).expect("written");
    path.to_str().expect("a plain path").to_owned()
}

fn beside(folder: &Path, name: &str, text: &str) {
    let folder = folder.join("conf.d");
    std::fs::create_dir_all(&folder).expect("made");
    std::fs::write(folder.join(name), text).expect("written");
}

const WORLD: &str = "config/simulated/world.toml";
const MORE: &str = "[[cluster]]\nname = \"simulated\"\n[[cluster.group]]\nname = \"workers-g5\"\n";

/// Returns the line of a setting, its columns separated by one space.
fn line_of<'a>(output: &'a str, key: &str) -> Option<String> {
    let words = |line: &'a str| line.split_whitespace().collect::<Vec<_>>();
    let lines = output.lines().map(words);
    lines.filter(|words| words.first() == Some(&key)).map(|words| words.join(" ")).next()
}

#[test]
fn what_is_in_force_is_printed_with_its_origin() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = simulated(folder.path());
    beside(folder.path(), "10.toml", &format!("{MORE}min_idle_nodes = 1\n"));
    beside(folder.path(), "20.toml", &format!("overrides = true\n{MORE}size = 14\n"));
    let mut command = trimtab(&["check-config", &config, "--state", "here.db"]);
    let (code, stdout, stderr) = run(command.env("TRIMTAB__LOG__LEVEL", "debug"));
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    let own = folder.path().display();
    let here = root().canonicalize().expect("it is there");
    let here = std::path::absolute(here).expect("a path");
    for (key, expected) in [
        ("mode", format!("mode \"enforce\" {own}/trimtab.toml:3")),
        ("log.level", "log.level \"debug\" environment TRIMTAB__LOG__LEVEL".to_owned()),
        ("state.path", format!("state.path \"{}/here.db\" --state", here.display())),
        ("timing.settle", "timing.settle \"30s\" default".to_owned()),
        ("min_idle_nodes", format!("min_idle_nodes 1 {own}/conf.d/10.toml:5")),
        ("size", format!("size 14 {own}/conf.d/20.toml:6")),
        ("max_delete_per_day", "max_delete_per_day 24 default".to_owned()),
    ] {
        assert_eq!(line_of(&stdout, key), Some(expected), "{stdout}");
    }
    let position = |text: &str| stdout.find(text).unwrap_or_else(|| panic!("no {text}: {stdout}"));
    assert!(
        position("\ncluster[simulated]\n") < position("\ncluster[simulated].group[workers-g5]\n")
    );
    assert!(stdout.contains("note: replaces 12 ("), "{stdout}");
    assert!(stdout.contains("no problems, 1 cluster(s)"), "{stdout}");
    assert!(!stdout.contains('\u{1b}'), "colours in a pipe");
}

#[test]
fn json_has_every_setting_with_its_value_and_origin() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = simulated(folder.path());
    beside(folder.path(), "10.toml", &format!("{MORE}protected = [\"i-0123456789abcdef0\"]\n"));
    let mut command = trimtab(&["check-config", &config, "--output", "json"]);
    let (code, stdout, _) = run(command.env("TRIMTAB__SCHEDULE", "0 */3 * * * *"));
    assert_eq!(code, Some(0), "{stdout}");
    let document: serde_json::Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!((&document["schema_version"], &document["valid"]), (&1.into(), &true.into()));
    assert_eq!(document["files"].as_array().map(Vec::len), Some(2));
    assert_eq!(document["problems"].as_array().map(Vec::len), Some(0));
    let settings = document["settings"].as_array().expect("settings");
    let setting = |key: &str| {
        let found = settings.iter().find(|setting| setting["key"] == key);
        let found = found.unwrap_or_else(|| panic!("no {key}"));
        (found["value"].clone(), found["origin"].clone())
    };
    let (value, origin) = setting("schedule");
    assert_eq!((value, &origin["kind"]), ("0 */3 * * * *".into(), &"environment".into()));
    assert_eq!(origin["variable"], "TRIMTAB__SCHEDULE");
    let (value, origin) = setting("cluster[simulated].group[workers-g5].protected");
    assert_eq!(value, serde_json::json!(["i-0123456789abcdef0"]));
    assert_eq!((&origin["kind"], &origin["line"]), (&"file".into(), &5.into()));
    assert!(origin["file"].as_str().is_some_and(|file| file.ends_with("conf.d/10.toml")));
    let (value, origin) = setting("cluster[simulated].group[workers-g5].lookahead");
    assert_eq!((value, origin), ("24h".into(), serde_json::json!({ "kind": "default" })));
}

#[test]
fn problems_of_all_files_are_reported_in_one_run_and_exit_78() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = simulated(folder.path());
    let text = std::fs::read_to_string(&config).expect("it is there");
    std::fs::write(&config, text.replace("size = 12", "size = \"12\"")).expect("written");
    beside(folder.path(), "10.toml", &format!("{MORE}min_nodes = 1\nprotectd = []\n"));
    let mut command = trimtab(&["check-config", &config]);
    let (code, stdout, stderr) = run(command.env("TRIMTAB__MODE", "observe"));
    assert_eq!((code, stdout.as_str()), (Some(78), ""));
    for text in [
        "trimtab.toml:21:1: cluster[simulated].group[workers-g5].size = \"12\"",
        "conf.d/10.toml:5:1: cluster[simulated].group[workers-g5].min_nodes",
        "did you mean `protected`?",
        "environment TRIMTAB__MODE",
        "4 problems in the configuration",
    ] {
        assert!(stderr.contains(text), "{text}: {stderr}");
    }
    let mut command = trimtab(&["check-config", &config, "--output", "json"]);
    let (code, stdout, _) = run(&mut command);
    assert_eq!(code, Some(78));
    let document: serde_json::Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(document["valid"], false);
    let problems = document["problems"].as_array().expect("problems");
    assert_eq!(problems.len(), 3, "{problems:?}");
    let size = problems.iter().find(|problem| problem["value"] == "\"12\"").expect("the size");
    assert_eq!((&size["origin"]["line"], &size["origin"]["column"]), (&21.into(), &1.into()));
    assert!(size["instead"].as_str().is_some_and(|text| text.contains("write 12")));
}

#[test]
fn enforcing_on_a_real_cluster_is_refused_by_every_command() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = simulated(folder.path());
    let text = std::fs::read_to_string(&config).expect("it is there");
    let real =
        text.replace("http://127.0.0.1:4010", "https://api.sagemaker.us-west-2.amazonaws.com");
    std::fs::write(&config, real.replace("\"simulated\" }", "\"slurm\" }")).expect("written");
    for args in [
        &["check-config", &config][..],
        &["run", "--once", "--config", &config, "--world", WORLD],
        &["plan", "--config", &config, "--world", WORLD],
    ] {
        let (code, _, stderr) = run(&mut trimtab(args));
        assert_eq!(code, Some(78), "{args:?}: {stderr}");
        for owed in ["faults at scale", "switches and lease"] {
            assert!(stderr.contains(owed), "{owed}: {stderr}");
        }
    }
}

#[test]
fn the_daemon_runs_by_the_same_layers() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = simulated(folder.path());
    let more = "overrides = true\nmode = \"observe\"\n[log]\nlevel = \"info\"\n";
    beside(folder.path(), "10.toml", more);
    let ledger = folder.path().join("elsewhere.db");
    let once = ["run", "--once", "--config", &config, "--world", WORLD];
    let (code, stdout, stderr) = run(trimtab(&once).env("TRIMTAB__STATE__PATH", &ledger));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("0 nodes deleted"), "conf.d sets observe mode: {stdout}");
    assert!(ledger.exists() && !folder.path().join("trimtab.db").exists());
    let info = |stderr: &str| stderr.lines().any(|line| line.contains("\"level\":\"INFO\""));
    assert!(info(&stderr), "conf.d sets level info: {stderr}");

    let world = root().join(WORLD).canonicalize().expect("it is there");
    let world = world.to_str().expect("a plain path");
    let once = ["run", "--once", "--config", &config, "--world", world, "--state", "relative.db"];
    let mut command = trimtab(&once);
    command.current_dir(folder.path()).env("TRIMTAB__STATE__PATH", folder.path().join("not.db"));
    let (code, _, stderr) = run(command.env("TRIMTAB__LOG__LEVEL", "error"));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(folder.path().join("relative.db").exists(), "an option overrides a variable");
    assert!(!folder.path().join("not.db").exists());
    assert!(!info(&stderr), "{stderr}");
}

#[test]
fn every_level_that_the_file_may_name_is_one_of_the_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = simulated(folder.path());
    for level in ["error", "trace", "warn,trimtab_daemon::driver=debug,hyper=off"] {
        let args = ["run", "--once", "--config", &config, "--world", WORLD];
        let ledger = folder.path().join(format!("{}.db", level.len()));
        let mut command = trimtab(&args);
        command.env("TRIMTAB__LOG__LEVEL", level).env("TRIMTAB__STATE__PATH", ledger);
        let (code, _, stderr) = run(&mut command);
        assert_eq!(code, Some(0), "{level}: {stderr}");
        assert!(!stderr.contains("changing the log level failed"), "{level}: {stderr}");
    }
}
