//! Tests of the example programs, with fake commands.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A folder with fake commands, which is the only folder in PATH, and links to the real
/// commands that a script needs.
struct Commands(tempfile::TempDir);

impl Commands {
    fn new(needed: &[&str]) -> Self {
        let commands = Self(tempfile::tempdir().expect("a folder"));
        for name in needed {
            let real = ["/usr/bin", "/bin"].iter().map(|folder| PathBuf::from(folder).join(name));
            let real = real.into_iter().find(|path| path.exists());
            let real = real.unwrap_or_else(|| panic!("there is no {name}"));
            std::os::unix::fs::symlink(real, commands.0.path().join(name)).expect("a link");
        }
        commands
    }

    /// Adds a command that runs this line of shell.
    fn add(&self, name: &str, line: &str) {
        let path = self.0.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{line}\n")).expect("written");
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("a mode");
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn run(&self, program: &str, arguments: &[&str], input: &str) -> Output {
        let program = format!("{}/../../config/hooks/{program}", env!("CARGO_MANIFEST_DIR"));
        let socket = self.path("socket");
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .env("PATH", self.0.path())
            .env("XDG_SESSION_ID", "77")
            .env("DOCKER_SOCKET", &socket)
            .env("CONTAINERD_SOCKET", &socket)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut pipe = child.stdin.take().expect("piped");
        // A program that ends at once does not read it.
        let _ = std::io::Write::write_all(&mut pipe, input.as_bytes());
        drop(pipe);
        child.wait_with_output().expect("it ends")
    }
}

const LOGINCTL: &str = "case $1 in list-sessions) cat <<'.'
c1 0 root  
77 0 root  
5 1000 ubuntu seat0 tty1
.
;; show-session) case $2 in c1) echo manager;; 5) echo ${CLASS:-background};; *) echo user;; esac;; esac";

/// A HyperPod node without users, and the commands that the script runs there.
fn idle() -> Commands {
    let commands = Commands::new(&["head", "awk", "cat"]);
    std::fs::write(commands.path("socket"), "").expect("written");
    commands.add("loginctl", LOGINCTL);
    commands.add("docker", "echo dcgm-exporter");
    commands.add("podman", "exit 0");
    commands.add("ctr", "case $1 in namespaces) echo moby; echo default;; esac");
    commands.add("enroot", "echo NAME PID COMM; echo image+of+mine");
    commands.add("nvidia-smi", "exit 0");
    commands.add("neuron-ls", "echo '[{\"neuron_device\": 0, \"neuron_processes\": []}]'");
    commands
}

/// Returns the script's output for an idle node on which this command differs.
fn said(change: Option<(&str, &str)>) -> (Option<i32>, String) {
    let commands = idle();
    if let Some((name, line)) = change {
        commands.add(name, line);
    }
    let output = commands.run("trimtab-node-idle", &["--ignore-container", "dcgm-exporter"], "");
    let complaint = String::from_utf8(output.stderr).expect("text");
    (output.status.code(), complaint.lines().last().unwrap_or_default().to_owned())
}

#[test]
fn nobody_is_on_an_idle_node() {
    assert_eq!(said(None), (Some(0), String::new()));
}

#[test]
fn whoever_is_on_a_node_is_named() {
    let operator = LOGINCTL.replace("background", "user");
    for (command, line, why) in [
        ("loginctl", operator.as_str(), "session 5 of ubuntu"),
        ("docker", "echo dcgm-exporter; echo training", "container training is running (docker)"),
        ("podman", "echo jupyter", "container jupyter is running (podman)"),
        (
            "ctr",
            "case $1 in namespaces) echo moby; echo k8s.io;; -n) echo pod;; esac",
            "container pod is running (containerd k8s.io)",
        ),
        (
            "enroot",
            "echo NAME PID COMM; echo idle; echo pytorch 4711 python",
            "container pytorch is running (enroot)",
        ),
        ("nvidia-smi", "echo 4711, python", "on a GPU: 4711, python"),
        (
            "neuron-ls",
            "echo '[{\"neuron_processes\": [{\"pid\": 4711}]}]'",
            "a process is on a Neuron device",
        ),
    ] {
        assert_eq!(said(Some((command, line))), (Some(1), why.to_owned()));
    }
}

#[test]
fn what_cannot_be_told_keeps_a_node() {
    for (command, why) in [
        ("loginctl", "loginctl list-sessions fails"),
        ("docker", "docker ps fails"),
        ("podman", "podman ps fails"),
        ("ctr", "ctr namespaces list fails"),
        ("enroot", "enroot list fails"),
        ("nvidia-smi", "nvidia-smi fails"),
        ("neuron-ls", "neuron-ls fails"),
    ] {
        assert_eq!(said(Some((command, "exit 9"))), (Some(1), why.to_owned()));
    }
    let nothing = Commands::new(&[]);
    let output = nothing.run("trimtab-node-idle", &[], "");
    assert_eq!(output.status.code(), Some(1));
    let odd = nothing.run("trimtab-node-idle", &["--force"], "");
    assert_eq!(odd.status.code(), Some(64));
}

#[test]
fn without_loginctl_who_is_asked() {
    let commands = idle();
    std::fs::remove_file(commands.path("loginctl")).expect("it was there");
    commands.add("who", "echo 'ubuntu pts/0 2026-09-30 12:00 (10.0.0.9)'");
    let arguments = ["--ignore-container", "dcgm-exporter"];
    let output = commands.run("trimtab-node-idle", &arguments, "");
    let complaint = String::from_utf8(output.stderr).expect("text");
    assert!(complaint.starts_with("logged in: ubuntu pts/0"), "{complaint}");
    commands.add("who", "exit 0");
    assert!(commands.run("trimtab-node-idle", &arguments, "").status.success());
}

/// Runs the backup of two nodes, one of which has this address.
fn backup(address: &str) -> (Output, String) {
    let needed = ["jq", "xargs", "bash", "cat"];
    let commands = Commands::new(&needed);
    let log = commands.path("log");
    // The host is the last argument but one.
    commands.add(
        "ssh",
        &format!(
            "printf '%s\\n' \"$*\" >> {log}; case \"$*\" in *@10.0.0.9*) echo refused >&2; exit 255;; esac"
        ),
    );
    let document = format!(
        r#"{{"schema_version": 1, "nodes": [{{"instance_id": "i-1", "ip": "10.0.0.1"}}, {{"instance_id": "i-2", "ip": {address}}}]}}"#
    );
    let output = commands.run("trimtab-backup", &["s3://bucket/nodes"], &document);
    (output, std::fs::read_to_string(log).unwrap_or_default())
}

#[test]
fn the_backup_saves_each_node_or_vetoes_the_batch() {
    if !["/usr/bin/jq", "/bin/jq"].iter().any(|path| std::path::Path::new(path).exists()) {
        return println!("SKIPPED: jq is not installed");
    }
    let (output, log) = backup("\"10.0.0.2\"");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for (id, ip) in [("i-1", "10.0.0.1"), ("i-2", "10.0.0.2")] {
        let wanted = format!(
            "HostKeyAlias={id} -o UserKnownHostsFile=/var/lib/trimtab/known_hosts backup@{ip} \
             aws s3 sync --only-show-errors /opt/dlami/nvme 's3://bucket/nodes/{id}/'"
        );
        assert_eq!(log.lines().filter(|line| line.ends_with(&wanted)).count(), 1, "{log}");
    }
    let (output, _) = backup("\"10.0.0.9\"");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("i-2 is not saved"));
    // A node without an address: no backup starts.
    let (output, log) = backup("null");
    assert!(!output.status.success() && log.is_empty(), "{log}");
}
