//! Runs another program under limits: an absolute path, a vector of arguments without a shell,
//! its own environment, a time limit after which the program and its children are killed, and
//! limits on its output.
//!
//! Dropping the future of [`run`] kills the program and its children. A child that leaves the
//! process group (`setsid`) is not found.
//!
//! [`trusted`] checks whether a program may run. A program that an operator configured runs
//! with trimtab's rights, so no other user may be able to change it.

mod trusted;

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

pub use trusted::{Untrusted, trusted};

/// Limit on the standard error that is kept, in bytes.
const COMPLAINT_KEPT: u64 = 4 << 10;

/// Limit on the standard error of a program, in bytes. A program that writes its progress there
/// reaches it only after hours.
const COMPLAINT_MAX: u64 = 64 << 20;

/// Limit on the first line of standard error that is shown, in characters.
const FIRST_LINE_MAX: usize = 200;

/// How long trimtab waits for a killed program to end.
const REAPED_WITHIN: Duration = Duration::from_secs(1);

/// A program to run, and its limits.
#[derive(Debug, Clone, Copy)]
pub struct Task<'a> {
    /// Absolute path of the program.
    pub program: &'a Path,
    pub arguments: &'a [&'a str],
    /// The complete environment; nothing is inherited.
    pub environment: &'a [(&'a str, &'a OsStr)],
    /// Standard input; empty if `None`.
    pub input: Option<&'a [u8]>,
    /// Limit on the standard output, in bytes; `None` discards the output.
    pub output_max: Option<u64>,
    /// Time limit.
    pub time_max: Duration,
}

/// Result of a program that ended by itself.
#[derive(Debug)]
pub struct Ended {
    /// Exit code, or the signal that ended the program.
    pub status: ExitStatus,
    /// Standard output.
    pub output: Vec<u8>,
    complaint: Vec<u8>,
}

/// Why a program has no result.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The program could not be started.
    #[error("cannot be started: {0}")]
    NotStarted(io::Error),
    /// It took too long, and was ended.
    #[error("takes longer than {} seconds", .0.as_secs_f64())]
    Late(Duration),
    /// The program printed too much and was killed.
    #[error("printed more than {0} bytes")]
    TooMuch(u64),
    /// The output could not be read, and the program was killed.
    #[error("output cannot be read: {0}")]
    Unreadable(io::Error),
}

impl Ended {
    /// Returns the first line of standard error that is not empty, without control characters
    /// and shortened; empty if there is none.
    pub fn complaint(&self) -> String {
        let text = String::from_utf8_lossy(&self.complaint);
        let first = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        first.chars().filter(|c| !c.is_control()).take(FIRST_LINE_MAX).collect()
    }
}

/// Runs a program and waits until it ends.
///
/// # Errors
/// When the program cannot be started, exceeds its time limit or prints too much. The program
/// no longer runs then.
#[expect(
    clippy::disallowed_methods,
    reason = "a program gets a time limit in real time, and this sets it"
)]
pub async fn run(task: &Task<'_>) -> Result<Ended, Failure> {
    let mut child = start(task).map_err(Failure::NotStarted)?;
    let group = Group::of(&child);
    // When the wait ends for any reason, the group is dropped, which kills the program.
    let ended = timeout(task.time_max, outcome(&mut child, group, task)).await;
    let failure = match ended {
        Ok(Ok(ended)) => return Ok(ended),
        Ok(Err(failure)) => failure,
        Err(_) => Failure::Late(task.time_max),
    };
    // A program that hangs in the kernel is not waited for; it is reaped when it ends.
    let _ = timeout(REAPED_WITHIN, child.wait()).await;
    Err(failure)
}

fn start(task: &Task<'_>) -> io::Result<Child> {
    let piped = |is_wanted| if is_wanted { Stdio::piped() } else { Stdio::null() };
    Command::new(task.program)
        .args(task.arguments)
        .env_clear()
        .envs(task.environment.iter().copied())
        .current_dir("/")
        .stdin(piped(task.input.is_some()))
        .stdout(piped(task.output_max.is_some()))
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

async fn outcome(child: &mut Child, group: Group, task: &Task<'_>) -> Result<Ended, Failure> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let ended = async move {
        let status = child.wait().await.map_err(Failure::Unreadable)?;
        // Kill the children that are left; they would keep the pipes open.
        drop(group);
        Ok(status)
    };
    let output_max = task.output_max.unwrap_or_default();
    let (output, complaint, (), status) = tokio::try_join!(
        read(stdout, output_max, output_max),
        read(stderr, COMPLAINT_KEPT, COMPLAINT_MAX),
        feed(stdin, task.input.unwrap_or_default()),
        ended,
    )?;
    Ok(Ended { status, output, complaint })
}

/// Reads to the end of the pipe and keeps the first `kept` bytes. Fails beyond `most` bytes.
async fn read(
    pipe: Option<impl AsyncRead + Unpin>,
    kept: u64,
    most: u64,
) -> Result<Vec<u8>, Failure> {
    let mut bytes = vec![];
    let Some(mut pipe) = pipe else { return Ok(bytes) };
    (&mut pipe).take(kept).read_to_end(&mut bytes).await.map_err(Failure::Unreadable)?;
    let mut rest = pipe.take(most - kept + 1);
    let skipped = tokio::io::copy(&mut rest, &mut tokio::io::sink()).await;
    if skipped.map_err(Failure::Unreadable)? > most - kept {
        return Err(Failure::TooMuch(most));
    }
    Ok(bytes)
}

/// Writes the standard input. A program need not read it.
async fn feed(pipe: Option<ChildStdin>, input: &[u8]) -> Result<(), Failure> {
    let Some(mut pipe) = pipe else { return Ok(()) };
    match pipe.write_all(input).await {
        Err(why) if why.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Unreadable(why)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// A program and its children, killed on drop.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // All processes may have ended already.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
