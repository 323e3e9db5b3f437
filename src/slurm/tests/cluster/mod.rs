//! A real Slurm for one test: slurmctld and so many slurmd on loopback.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;
use trimtab_core::units::{Span, Time};
use trimtab_daemon::ports::Clock;
use trimtab_slurm::{Commands, Slurm};

/// The machine's clock.
pub(crate) struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> Time {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Time(since.expect("after 1970").as_millis() as i64)
    }

    fn monotonic(&self) -> Span {
        Span::ZERO
    }
}

/// A cluster of its own, which goes with the test.
pub(crate) struct Cluster {
    folder: TempDir,
}

impl Cluster {
    /// Starts one, if Slurm is installed.
    pub(crate) fn start(nodes: usize) -> Option<Self> {
        let is_there = |program: &str| {
            let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
            found.is_ok_and(|output| output.status.success())
        };
        if !["slurmctld", "slurmd", "scontrol", "munged"].into_iter().all(is_there) {
            println!("SKIPPED: Slurm is not installed; scripts/components.sh slurm installs it");
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
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a verb of the script.
    pub(crate) fn script(&self, verb: &[&str], rest: &[&str]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/slurm/cluster.sh");
        let mut command = Command::new(script);
        command.args(verb).arg(self.path()).args(rest);
        let output = command.output().expect("bash is there");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{verb:?}: {said}");
    }

    /// Runs one of Slurm's commands as a person would.
    pub(crate) fn person(&self, program: &str, args: &[&str]) -> String {
        let mut command = Command::new(program);
        command.args(args).env("SLURM_CONF", self.path().join("slurm.conf")).current_dir("/tmp");
        let output = command.output().expect("it is there");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{program} {args:?}: {said}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Hands a job in and returns its id.
    pub(crate) fn submit(&self, args: &[&str]) -> String {
        let mut all = vec!["--parsable", "--output=/dev/null"];
        all.extend(args);
        self.person("sbatch", &all)
    }

    /// What it is read through, at this clock's time.
    pub(crate) fn slurm(&self, clock: Arc<dyn Clock>) -> Slurm {
        let commands = Commands::new(PathBuf::from("/usr/bin"), self.path().join("slurm.conf"));
        Slurm::new(commands, clock)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/slurm/cluster.sh");
        let _ = Command::new(script).arg("stop").arg(self.path()).output();
    }
}
