//! Tests with programs that exceed each limit.

#![expect(clippy::disallowed_methods, reason = "these are real processes, in real time")]

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use trimtab_program::{Ended, Failure, Task, run};

/// Runs a line of shell. Programs that should not exceed the time limit get `PLENTY`.
async fn sh(line: &str, time_max: Duration) -> Result<Ended, Failure> {
    run(&Task {
        program: Path::new("/bin/sh"),
        arguments: &["-c", line],
        environment: &[("PATH", OsStr::new("/usr/bin:/bin")), ("SAID", OsStr::new("here"))],
        input: Some(b"what it reads"),
        output_max: Some(1000),
        time_max,
    })
    .await
}

const PLENTY: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(300);

/// Whether a process exists and is not a zombie.
fn is_alive(id: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

/// A signal takes a moment to end a process.
async fn ends(id: &str) -> bool {
    for _ in 0..500 {
        if !is_alive(id) {
            return true;
        }
        tokio::task::yield_now().await;
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

#[tokio::test]
async fn a_program_gets_its_arguments_its_input_and_our_environment_only() {
    let ended = sh("cat; echo; env | sort; pwd; exit 3", PLENTY).await.expect("it ends");
    assert_eq!(ended.status.code(), Some(3));
    let output = String::from_utf8(ended.output).expect("text");
    let lines: Vec<&str> = output.lines().filter(|line| !line.starts_with("_=")).collect();
    assert_eq!(lines, ["what it reads", "PATH=/usr/bin:/bin", "PWD=/", "SAID=here", "/"]);
}

#[tokio::test]
async fn the_first_line_of_a_complaint_is_kept_without_control_characters() {
    let line = r"printf '\n \033[31mno space\tleft\n and more\n' >&2; yes x | head -c 900000 >&2";
    let ended = sh(line, PLENTY).await.expect("it ends");
    assert_eq!(ended.complaint(), "[31mno spaceleft");
    let ended = sh("head -c 100000 /dev/zero | tr '\\0' x >&2", PLENTY).await.expect("it ends");
    assert_eq!(ended.complaint().len(), 200);
    let ended = sh("printf 'disk \\377 full' >&2", PLENTY).await.expect("it ends");
    assert_eq!(ended.complaint(), "disk \u{fffd} full");
}

#[tokio::test]
async fn a_program_that_does_not_read_its_input_is_no_failure() {
    let input = vec![b'x'; 1 << 20];
    let task = Task {
        program: Path::new("/bin/true"),
        arguments: &[],
        environment: &[],
        input: Some(&input),
        output_max: None,
        time_max: PLENTY,
    };
    assert!(run(&task).await.expect("it ends").status.success());
}

#[tokio::test]
async fn a_late_program_is_ended_with_its_children() {
    let folder = tempfile::tempdir().expect("a folder");
    let ids = folder.path().join("ids");
    let line = format!("sleep 600 & echo $$ $! > {}; wait", ids.display());
    let late = sh(&line, SHORT).await.expect_err("it is late");
    assert!(matches!(late, Failure::Late(after) if after == SHORT), "{late}");
    let ids = std::fs::read_to_string(ids).expect("it began");
    assert_eq!(ids.split_whitespace().count(), 2);
    for id in ids.split_whitespace() {
        assert!(ends(id).await, "{id} is still there");
    }
}

#[tokio::test]
async fn what_a_program_leaves_behind_is_ended_and_holds_nothing_up() {
    let began = std::time::Instant::now();
    // The child holds both pipes.
    let ended = sh("sleep 600 & echo $!", PLENTY).await.expect("it ends");
    assert!(ended.status.success());
    assert!(began.elapsed() < Duration::from_secs(30), "it was waited for");
    let id = String::from_utf8(ended.output).expect("text");
    assert!(ends(id.trim()).await, "{id} is still there");
}

#[tokio::test]
async fn a_program_that_prints_without_end_is_ended() {
    let much = sh("echo $$ >&2; exec yes", PLENTY).await.expect_err("it prints too much");
    assert!(matches!(much, Failure::TooMuch(1000)), "{much}");
    let much = sh("exec yes >&2", PLENTY).await.expect_err("it complains too much");
    assert!(matches!(much, Failure::TooMuch(_)), "{much}");
}

#[tokio::test]
async fn a_signal_is_no_success() {
    let ended = sh("kill -9 $$", PLENTY).await.expect("it ends");
    assert!(!ended.status.success());
    assert_eq!(ended.status.to_string(), "signal: 9 (SIGKILL)");
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_is_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    let ids = folder.path().join("ids");
    let line = format!("sleep 600 & echo $$ $! > {}.new; mv {0}.new {0}; wait", ids.display());
    let mut waiting = Box::pin(sh(&line, PLENTY));
    let began = async {
        while !ids.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        ended = &mut waiting => panic!("it ended: {ended:?}"),
        () = began => {}
    }
    drop(waiting);
    let ids = std::fs::read_to_string(ids).expect("it began");
    for id in ids.split_whitespace() {
        assert!(ends(id).await, "{id} is still there");
    }
}

#[tokio::test]
async fn a_program_that_is_not_there_cannot_be_started() {
    let task = Task {
        program: Path::new("/nowhere/at-all"),
        arguments: &[],
        environment: &[],
        input: None,
        output_max: None,
        time_max: PLENTY,
    };
    let why = run(&task).await.expect_err("there is none");
    assert!(why.to_string().starts_with("cannot be started: No such file"), "{why}");
}
