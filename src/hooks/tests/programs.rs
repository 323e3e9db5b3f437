//! Tests with real programs: what they read, and how each way to end counts.

#![expect(clippy::disallowed_methods, reason = "these are real processes, in real time")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use trimtab_config::HookSettings;
use trimtab_core::ids::{ActionId, InstanceId};
use trimtab_core::units::{Span, Time};
use trimtab_daemon::ports::{Clock, Gate, Inquiry, InquiryState, Question, QuestionedNode};
use trimtab_hooks::{GateProgram, NodeProgram, Start};

/// A clock that is set by hand.
struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> Time {
        Time(self.0.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Span {
        Span(self.0.load(Ordering::Relaxed))
    }
}

const NOON: Time = Time::from_secs(1_790_769_600);
const PLENTY: Span = Span::mins(1);

fn clock() -> Arc<Hand> {
    Arc::new(Hand(AtomicI64::new(NOON.0)))
}

fn start() -> Start {
    Arc::new(|work| {
        tokio::spawn(work);
    })
}

fn id(number: u64) -> InstanceId {
    format!("i-{number:017x}").parse().expect("valid")
}

/// A question about this number of nodes. The first has no address.
fn question(nodes: u64) -> Question {
    let node = |number: u64| QuestionedNode {
        id: id(number),
        name: Some(format!("ip-10-0-0-{number}").parse().expect("valid")),
        ip: (number > 0).then(|| format!("10.0.0.{number}").parse().expect("valid")),
        action: ActionId(100 + number),
    };
    Question {
        cluster: "research".parse().expect("valid"),
        group: "workers".parse().expect("valid"),
        ledger: "ledger-1".parse().expect("valid"),
        at: NOON,
        nodes: (0..nodes).map(node).collect(),
    }
}

fn hook(command: &[&str], time_limit: Span) -> HookSettings {
    HookSettings { command: command.iter().map(|part| (*part).to_owned()).collect(), time_limit }
}

/// A gate that runs a line of shell.
fn gate(line: &str, time_limit: Span) -> GateProgram {
    let hook = hook(&["/bin/sh", "-c", line], time_limit);
    GateProgram::new(hook, "us-west-2", "123456789012", clock(), start())
}

/// A check that runs a line of shell, with the node's name and address as `$1` and `$2`.
fn check(line: &str) -> NodeProgram {
    let hook = hook(&["/bin/sh", "-c", line, "sh", "{node}", "{ip}"], PLENTY);
    NodeProgram::new(hook, clock(), start())
}

async fn vetoes(inquiry: &dyn Inquiry) -> BTreeMap<InstanceId, String> {
    for _ in 0..3_000 {
        if let InquiryState::Answered { at, vetoes } = inquiry.state() {
            assert_eq!(at, NOON);
            return vetoes.into_iter().map(|(node, why)| (node, why.to_string())).collect();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no answer in 30 seconds");
}

/// Returns the veto of a gate, which is the same for both nodes.
async fn veto(gate: &GateProgram) -> String {
    let vetoes = vetoes(&*gate.ask(question(2))).await;
    assert_eq!(vetoes.keys().copied().collect::<Vec<_>>(), [id(0), id(1)]);
    assert_eq!(vetoes[&id(0)], vetoes[&id(1)]);
    vetoes[&id(0)].clone()
}

#[tokio::test]
async fn a_gate_reads_the_nodes_as_json_and_lets_them_go_with_0() {
    let folder = tempfile::tempdir().expect("a folder");
    let read = folder.path().join("read");
    let gate = gate(&format!("cat > {}; echo noise", read.display()), PLENTY);
    let inquiry = gate.ask(question(2));
    assert!(inquiry.deadline() >= NOON + PLENTY);
    assert_eq!(vetoes(&*inquiry).await, BTreeMap::new());
    let text = std::fs::read_to_string(read).expect("it was read");
    let read: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let wanted = serde_json::json!({
        "schema_version": 1,
        "cluster": "research",
        "region": "us-west-2",
        "account_id": "123456789012",
        "group": "workers",
        "ledger": "ledger-1",
        "asked_at": "2026-09-30T12:00:00Z",
        "deadline": "2026-09-30T12:01:00Z",
        "nodes": [
            {
                "instance_id": id(0).to_string(),
                "name": "ip-10-0-0-0",
                "ip": null,
                "action": 100,
            },
            {
                "instance_id": id(1).to_string(),
                "name": "ip-10-0-0-1",
                "ip": "10.0.0.1",
                "action": 101,
            },
        ],
    });
    assert_eq!(read, wanted);
}

#[tokio::test]
async fn everything_but_0_in_time_is_a_veto() {
    for (line, why) in [
        (
            "echo bucket is full >&2; echo again >&2; exit 3",
            "/bin/sh: exit status: 3: bucket is full",
        ),
        ("exit 1", "/bin/sh: exit status: 1, no error output"),
        ("kill -9 $$", "/bin/sh: signal: 9 (SIGKILL), no error output"),
        ("exec yes >&2", "/bin/sh printed more than 67108864 bytes"),
    ] {
        assert_eq!(veto(&gate(line, PLENTY)).await, why);
    }
    let late = veto(&gate("sleep 600", Span::millis(300))).await;
    assert_eq!(late, "/bin/sh takes longer than 0.3 seconds");
}

#[tokio::test]
async fn a_program_that_anybody_could_have_put_there_is_not_run() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let (program, ran) = (folder.path().join("gate"), folder.path().join("ran"));
    std::fs::write(&program, format!("#!/bin/sh\n: > {}\n", ran.display())).expect("written");
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o757)).expect("a mode");
    let text = program.to_str().expect("text");
    let gate = GateProgram::new(hook(&[text], PLENTY), "r", "a", clock(), start());
    let why = veto(&gate).await;
    assert!(why.contains("can be written by its group or by all users"), "{why}");
    let gone = hook(&["/nowhere/at-all"], PLENTY);
    let why = veto(&GateProgram::new(gone, "r", "a", clock(), start())).await;
    assert!(why.contains("/nowhere cannot be checked"), "{why}");
    assert!(!ran.exists());
}

#[tokio::test]
async fn a_question_that_is_withdrawn_ends_its_program() {
    let folder = tempfile::tempdir().expect("a folder");
    let ids = folder.path().join("ids");
    let line = format!("sleep 600 & echo $$ $! > {}.new; mv {0}.new {0}; wait", ids.display());
    let inquiry = gate(&line, PLENTY).ask(question(1));
    while !ids.exists() {
        assert_eq!(inquiry.state(), InquiryState::Open);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(inquiry);
    let ids = std::fs::read_to_string(ids).expect("it began");
    for id in ids.split_whitespace() {
        let stat = format!("/proc/{id}/stat");
        let is_there = |stat: &str| {
            let stat = std::fs::read_to_string(stat).unwrap_or_default();
            !stat.is_empty() && !stat.contains(") Z ")
        };
        let mut rounds = 0;
        while is_there(&stat) {
            rounds += 1;
            assert!(rounds < 500, "{id} is still there");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn a_question_that_nobody_works_on_is_vetoed_once_it_is_late() {
    let (clock, start): (_, Start) = (clock(), Arc::new(drop));
    let hook = hook(&["/bin/true"], PLENTY);
    let gate = GateProgram::new(hook, "r", "a", clock.clone(), start);
    let inquiry = gate.ask(question(1));
    assert_eq!(inquiry.state(), InquiryState::Open);
    clock.0.store(inquiry.deadline().0, Ordering::Relaxed);
    let vetoes = [(id(0), "no answer within the time limit".into())].into();
    assert_eq!(inquiry.state(), InquiryState::Answered { at: inquiry.deadline(), vetoes });
}

#[tokio::test]
async fn a_check_is_about_each_node_by_itself() {
    let line = "case $1 in *7) echo \"ssh session on $1\" >&2; exit 1;; esac; test -n \"$2\"";
    let inquiry = check(line).ask(question(40));
    let vetoes = vetoes(&*inquiry).await;
    let wanted: BTreeMap<InstanceId, String> = [7, 17, 27, 37]
        .into_iter()
        .map(|n| (id(n), format!("/bin/sh: exit status: 1: ssh session on ip-10-0-0-{n}")))
        // The first has no address.
        .chain([(
            id(0),
            "argument {ip} has a placeholder without a value for this node".to_owned(),
        )])
        .collect();
    assert_eq!(vetoes, wanted);
    // Three rounds of sixteen at most.
    assert!(inquiry.deadline() >= NOON + PLENTY.times(3));
}

#[tokio::test]
async fn a_check_runs_for_a_bounded_number_of_nodes_at_a_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path().display();
    // Each program creates a folder while it runs, and counts the folders it sees.
    let line = format!(
        "mkdir {here}/$1; ls {here} | grep -c ip- >> {here}/seen; sleep 0.1; rmdir {here}/$1"
    );
    let inquiry = check(&line.replace("; rmdir", "; test -n \"$2\"; rmdir")).ask(question(40));
    let vetoes = vetoes(&*inquiry).await;
    assert_eq!(vetoes.keys().copied().collect::<Vec<_>>(), [id(0)]);
    let seen = std::fs::read_to_string(Path::new(folder.path()).join("seen")).expect("they ran");
    let seen: Vec<usize> = seen.lines().map(|line| line.parse().expect("a count")).collect();
    assert_eq!(seen.len(), 39);
    let most = seen.iter().max().expect("one");
    assert!((2..=16).contains(most), "{most} at the same time");
}
