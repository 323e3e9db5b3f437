//! A real Slurm for one test: slurmctld and so many slurmd on loopback
//! (tests/slurm/cluster.sh).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;
use trimtab_daemon::ports::Clock;
use trimtab_slurm::{Commands, Slurm};

/// A cluster of its own, which goes with the test.
pub struct Cluster {
    folder: TempDir,
}

/// What a test says that is skipped for want of Slurm.
pub const SKIPPED: &str =
    "SKIPPED: Slurm is not installed; scripts/components.sh slurm installs it";

impl Cluster {
    /// Starts one; `None` where Slurm is not installed, which a test has to say.
    pub fn start(nodes: usize) -> Option<Self> {
        let is_there = |program: &str| {
            let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
            found.is_ok_and(|output| output.status.success())
        };
        if !["slurmctld", "slurmd", "scontrol", "munged"].into_iter().all(is_there) {
            return None;
        }
        let cluster = Self { folder: TempDir::new().expect("a folder") };
        // Ports of this process and this cluster, so that no two of them meet.
        static CLUSTERS: AtomicU32 = AtomicU32::new(0);
        let number = CLUSTERS.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + std::process::id() % 350 * 32 + number % 2 * 16;
        cluster.script(&["start"], &[&nodes.to_string(), &port.to_string()]);
        Some(cluster)
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a verb of the script.
    pub fn script(&self, verb: &[&str], rest: &[&str]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("slurm/cluster.sh");
        let mut command = Command::new(script);
        command.args(verb).arg(self.path()).args(rest);
        let output = command.output().expect("bash is there");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{verb:?}: {said}");
    }

    /// Runs one of Slurm's commands as a person would.
    pub fn person(&self, program: &str, args: &[&str]) -> String {
        let mut command = Command::new(program);
        command.args(args).env("SLURM_CONF", self.path().join("slurm.conf")).current_dir("/tmp");
        let output = command.output().expect("it is there");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{program} {args:?}: {said}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Hands a job in and returns its id.
    pub fn submit(&self, args: &[&str]) -> String {
        let mut all = vec!["--parsable", "--output=/dev/null"];
        all.extend(args);
        self.person("sbatch", &all)
    }

    /// What it is read through, at this clock's time.
    pub fn slurm(&self, clock: Arc<dyn Clock>) -> Slurm {
        let commands = Commands::new(PathBuf::from("/usr/bin"), self.path().join("slurm.conf"));
        Slurm::new(commands, clock)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("slurm/cluster.sh");
        let _ = Command::new(script).arg("stop").arg(self.path()).output();
    }
}
