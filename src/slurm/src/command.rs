//! Runs one of Slurm's commands, bounded in every direction: an absolute path,
//! a vector of arguments, an environment of our own, a time after which it and
//! its children are ended, and a size at which its output is cut off.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use trimtab_daemon::ports::ReadError;

/// How long a command may take. Slurm's own give up after 9 seconds when
/// slurmctld is away.
const TIME_MAX: Duration = Duration::from_secs(20);

/// The most output that is taken: 60,000 jobs of 1 kB.
const OUTPUT_MAX: u64 = 64 << 20;

/// The most of an error message that is taken.
const MESSAGE_MAX: u64 = 4 << 10;

/// Where Slurm's commands are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commands {
    bin_dir: PathBuf,
    conf: PathBuf,
}

/// The two programs that are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// Nodes, reservations, drains.
    Scontrol,
    /// Jobs.
    Squeue,
}

impl Program {
    /// Its file.
    pub const fn file(self) -> &'static str {
        match self {
            Self::Scontrol => "scontrol",
            Self::Squeue => "squeue",
        }
    }
}

impl Commands {
    /// Commands in this folder, with this `slurm.conf`; both absolute.
    pub const fn new(bin_dir: PathBuf, conf: PathBuf) -> Self {
        Self { bin_dir, conf }
    }

    /// What a command prints.
    ///
    /// # Errors
    /// When it cannot be started, fails, takes too long, prints too much or
    /// prints what is no text.
    pub async fn run(&self, program: Program, args: &[&str]) -> Result<String, ReadError> {
        let path = self.bin_dir.join(program.file());
        let shown: Arc<str> = path.display().to_string().into();
        let mut child = start(&path, &self.conf, args).map_err(|why| {
            ReadError::Refused(format!("{shown} cannot be started: {why}").into())
        })?;
        let ended = timeout(TIME_MAX, outcome(&mut child)).await;
        let (status, output, message) = match ended {
            Err(_) => {
                end(&mut child).await;
                return Err(ReadError::NoAnswer(shown));
            }
            Ok(Err(why)) => {
                end(&mut child).await;
                return Err(ReadError::Unreadable(format!("{shown}: {why}").into()));
            }
            Ok(Ok(outcome)) => outcome,
        };
        if !status.success() {
            let message = String::from_utf8_lossy(&message);
            let first = message.lines().next().unwrap_or_default().trim();
            let first: String = first.chars().filter(|c| !c.is_control()).take(200).collect();
            return Err(ReadError::Refused(format!("{shown}: {status}: {first}").into()));
        }
        String::from_utf8(output).map_err(|why| {
            ReadError::Unreadable(format!("{shown}: its output is no text: {why}").into())
        })
    }
}

/// What a command left: how it ended, what it printed, what it complained of.
type Outcome = (std::process::ExitStatus, Vec<u8>, Vec<u8>);

fn start(path: &Path, conf: &Path, args: &[&str]) -> std::io::Result<Child> {
    Command::new(path)
        .args(args)
        .env_clear()
        .env("SLURM_CONF", conf)
        .env("LC_ALL", "C.UTF-8")
        // Slurm prints times in the zone of whoever asks.
        .env("TZ", "UTC")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

async fn outcome(child: &mut Child) -> Result<Outcome, String> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (Some(stdout), Some(stderr)) = (stdout, stderr) else {
        return Err("its output is not ours to read".to_owned());
    };
    let (output, message) = tokio::join!(read(stdout, OUTPUT_MAX), read(stderr, MESSAGE_MAX));
    let output = output?;
    if output.len() as u64 > OUTPUT_MAX {
        return Err(format!("it prints more than {OUTPUT_MAX} bytes"));
    }
    let status = child.wait().await.map_err(|why| why.to_string())?;
    Ok((status, output, message?))
}

async fn read(pipe: impl AsyncRead + Unpin, most: u64) -> Result<Vec<u8>, String> {
    let mut bytes = vec![];
    let read = pipe.take(most + 1).read_to_end(&mut bytes).await;
    read.map(|_| bytes).map_err(|why| why.to_string())
}

/// Ends it and whatever it started.
async fn end(child: &mut Child) {
    let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    if let Some(group) = group {
        // It may have ended by itself meanwhile.
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait().await;
}
