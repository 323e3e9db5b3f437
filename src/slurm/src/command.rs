//! Runs one of Slurm's commands, with limits on time and output.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use trimtab_daemon::ports::ReadError;
use trimtab_program::{Failure, Task};

/// Time limit of one command. Slurm's commands themselves give up after 9 seconds when
/// slurmctld does not answer.
const TIME_MAX: Duration = Duration::from_secs(20);

/// Limit on the output of one command, in bytes: 60,000 jobs of 1 kB.
const OUTPUT_MAX: u64 = 64 << 20;

/// Runs Slurm's commands from one folder, with one `slurm.conf`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commands {
    bin_dir: PathBuf,
    conf: PathBuf,
}

/// Slurm's commands that trimtab runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// Reads the configuration, nodes and reservations, and drains nodes.
    Scontrol,
    /// Reads jobs that have not ended.
    Squeue,
    /// Reads past jobs from slurmdbd.
    Sacct,
}

impl Program {
    /// Returns the file name of the program.
    pub const fn file(self) -> &'static str {
        match self {
            Self::Scontrol => "scontrol",
            Self::Squeue => "squeue",
            Self::Sacct => "sacct",
        }
    }
}

impl Commands {
    /// Returns the commands in `bin_dir`, to be run with the configuration file `conf`. Both
    /// paths are absolute.
    pub const fn new(bin_dir: PathBuf, conf: PathBuf) -> Self {
        Self { bin_dir, conf }
    }

    /// Runs a command and returns its output. Bytes that are not UTF-8 are replaced with
    /// U+FFFD.
    ///
    /// # Errors
    /// When the command cannot be started, fails, exceeds its time limit or prints too much.
    pub async fn run(&self, program: Program, args: &[&str]) -> Result<String, ReadError> {
        let path = self.bin_dir.join(program.file());
        let shown: Arc<str> = path.display().to_string().into();
        let task = Task {
            program: &path,
            arguments: args,
            environment: &[
                ("SLURM_CONF", self.conf.as_os_str()),
                ("LC_ALL", OsStr::new("C.UTF-8")),
                // Slurm prints times in the time zone of the caller.
                ("TZ", OsStr::new("UTC")),
                // Print all tasks of an array instead of the first 64 characters.
                ("SLURM_BITSTR_LEN", OsStr::new("0")),
            ],
            input: None,
            output_max: Some(OUTPUT_MAX),
            time_max: TIME_MAX,
        };
        let ended = trimtab_program::run(&task).await.map_err(|failure| match failure {
            Failure::NotStarted(_) => ReadError::Refused(format!("{shown} {failure}").into()),
            Failure::Late(_) => ReadError::NoAnswer(Arc::clone(&shown)),
            Failure::TooMuch(_) | Failure::Unreadable(_) => {
                ReadError::Unreadable(format!("{shown} {failure}").into())
            }
        })?;
        if !ended.status.success() {
            let (status, first) = (ended.status, ended.complaint());
            return Err(ReadError::Refused(format!("{shown}: {status}: {first}").into()));
        }
        // Users can write invalid UTF-8 into Slurm's text fields. The fields that trimtab uses
        // are ASCII.
        Ok(String::from_utf8(ended.output)
            .unwrap_or_else(|odd| String::from_utf8_lossy(odd.as_bytes()).into_owned()))
    }
}
