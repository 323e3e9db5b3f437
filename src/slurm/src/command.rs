//! Runs one of Slurm's commands, bounded in time and output.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use trimtab_daemon::ports::ReadError;
use trimtab_program::{Failure, Task};

/// How long a command may take. Slurm's own give up after 9 seconds when
/// slurmctld is away.
const TIME_MAX: Duration = Duration::from_secs(20);

/// The most output that is taken: 60,000 jobs of 1 kB.
const OUTPUT_MAX: u64 = 64 << 20;

/// Where Slurm's commands are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commands {
    bin_dir: PathBuf,
    conf: PathBuf,
}

/// The programs that are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// Nodes, reservations, drains.
    Scontrol,
    /// Jobs.
    Squeue,
    /// Jobs that are over, from slurmdbd.
    Sacct,
}

impl Program {
    /// Its file.
    pub const fn file(self) -> &'static str {
        match self {
            Self::Scontrol => "scontrol",
            Self::Squeue => "squeue",
            Self::Sacct => "sacct",
        }
    }
}

impl Commands {
    /// Commands in this folder, with this `slurm.conf`; both absolute.
    pub const fn new(bin_dir: PathBuf, conf: PathBuf) -> Self {
        Self { bin_dir, conf }
    }

    /// What a command prints, with U+FFFD for what is no UTF-8.
    ///
    /// # Errors
    /// When it cannot be started, fails, takes too long or prints too much.
    pub async fn run(&self, program: Program, args: &[&str]) -> Result<String, ReadError> {
        let path = self.bin_dir.join(program.file());
        let shown: Arc<str> = path.display().to_string().into();
        let task = Task {
            program: &path,
            arguments: args,
            environment: &[
                ("SLURM_CONF", self.conf.as_os_str()),
                ("LC_ALL", OsStr::new("C.UTF-8")),
                // Slurm prints times in the zone of whoever asks.
                ("TZ", OsStr::new("UTC")),
                // Tasks of an array in full, not the first 64 characters of them.
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
        // Whatever people write into Slurm may be no text; what is read of it is ASCII.
        Ok(String::from_utf8(ended.output)
            .unwrap_or_else(|odd| String::from_utf8_lossy(odd.as_bytes()).into_owned()))
    }
}
