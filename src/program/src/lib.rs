//! Runs another program, bounded in every direction: an absolute path, a vector
//! of arguments and no shell, an environment of our own, a time after which it
//! and its children are ended, and sizes at which its output is cut off.
//!
//! Whoever drops [`run`] half-way ends the program and its children with it. A
//! child that leaves the program's process group (`setsid`) is not found again.
//!
//! [`trusted`] says whether a program may be run at all: what an operator wrote
//! into a configuration runs with our rights, so nobody else may have a hand in it.

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

/// The most of what a program complains of that is kept, in bytes.
const COMPLAINT_KEPT: u64 = 4 << 10;

/// The most that a program may complain of, in bytes: one that writes its
/// progress there goes on for hours before it is called broken.
const COMPLAINT_MAX: u64 = 64 << 20;

/// The longest first line of a complaint that is shown, in characters.
const FIRST_LINE_MAX: usize = 200;

/// How long a program that was ended is waited for.
const REAPED_WITHIN: Duration = Duration::from_secs(1);

/// What to run, and within what bounds.
#[derive(Debug, Clone, Copy)]
pub struct Task<'a> {
    /// The program's file, absolute.
    pub program: &'a Path,
    /// Its arguments.
    pub arguments: &'a [&'a str],
    /// All of its environment: nothing is inherited.
    pub environment: &'a [(&'a str, &'a OsStr)],
    /// What it reads on its standard input, which is empty without it.
    pub input: Option<&'a [u8]>,
    /// The most that it may print, in bytes; `None` if nobody wants to know.
    pub output_max: Option<u64>,
    /// How long it may take.
    pub time_max: Duration,
}

/// How a program ended by itself.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code or the signal that ended it.
    pub status: ExitStatus,
    /// What it printed.
    pub output: Vec<u8>,
    complaint: Vec<u8>,
}

/// Why a program did not get so far.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It did not begin.
    #[error("cannot be started: {0}")]
    NotStarted(io::Error),
    /// It took too long, and was ended.
    #[error("takes longer than {0:?}")]
    Late(Duration),
    /// It printed too much, and was ended.
    #[error("prints more than {0} bytes")]
    TooMuch(u64),
    /// What it printed could not be read, and it was ended.
    #[error("cannot be read from: {0}")]
    Unreadable(io::Error),
}

impl Ended {
    /// The first line of what it complained of (its standard error), without
    /// control characters, and cut; empty if it said nothing.
    pub fn complaint(&self) -> String {
        let text = String::from_utf8_lossy(&self.complaint);
        let first = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        first.chars().filter(|c| !c.is_control()).take(FIRST_LINE_MAX).collect()
    }
}

/// Runs a program to its end.
///
/// # Errors
/// When it cannot be started, takes too long or prints too much. Nothing of it
/// is left then.
pub async fn run(task: &Task<'_>) -> Result<Ended, Failure> {
    let mut child = start(task).map_err(Failure::NotStarted)?;
    let group = Group::of(&child);
    // Whatever ends the waiting drops the group, and that ends the program.
    let ended = timeout(task.time_max, outcome(&mut child, group, task)).await;
    let failure = match ended {
        Ok(Ok(ended)) => return Ok(ended),
        Ok(Err(failure)) => failure,
        Err(_) => Failure::Late(task.time_max),
    };
    // One that hangs in the kernel is not waited for: it is reaped whenever it ends.
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
        // What it left behind would keep the pipes open, and is nobody's.
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

/// Reads to the end, but keeps so many bytes only.
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

/// Writes what it is to read. A program need not read it.
async fn feed(pipe: Option<ChildStdin>, input: &[u8]) -> Result<(), Failure> {
    let Some(mut pipe) = pipe else { return Ok(()) };
    match pipe.write_all(input).await {
        Err(why) if why.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Unreadable(why)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// A program and what it started, ended when nobody waits for it any more.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // All of it may have ended by itself.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
