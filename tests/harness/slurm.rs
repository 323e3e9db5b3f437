//! A real Slurm cluster for one test: slurmctld and several slurmd on loopback
//! (tests/slurm/cluster.sh). The tests use the installed Slurm and its commands, unless
//! tests/slurm/suite-24.11.sh names the chroot of another version and how to query it.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;
use trimtab_daemon::ports::Clock;
use trimtab_slurm::{Commands, Rest, Slurm};

/// A Slurm cluster that is stopped and removed at the end of the test.
pub struct Cluster {
    folder: TempDir,
    /// Chroot that it runs in (scripts/slurm-24.11.sh); `None` for the installed Slurm.
    chroot: Option<PathBuf>,
}

/// How tests query Slurm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// With Slurm's commands.
    Commands,
    /// Through slurmrestd.
    Rest,
}

/// Environment variable with the chroot of the Slurm under test.
const CHROOT: &str = "TRIMTAB_SLURM_CHROOT";

/// Environment variable that selects slurmrestd: `rest`.
const WAY: &str = "TRIMTAB_SLURM_WAY";

/// Output of a test that is skipped because Slurm is not installed.
pub const SKIPPED: &str =
    "SKIPPED: Slurm is not installed; scripts/components.sh slurm installs it";

impl Cluster {
    /// Starts a cluster. Returns `None` if Slurm is not installed; the test must print [`SKIPPED`].
    pub fn start(nodes: usize) -> Option<Self> {
        Self::start_with(nodes, &[])
    }

    /// Starts a cluster with options of the script, including settings of slurm.conf (`KEY=VALUE`).
    pub fn start_with(nodes: usize, options: &[&str]) -> Option<Self> {
        let is_there = |program: &str| {
            let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
            found.is_ok_and(|output| output.status.success())
        };
        let programs = ["slurmctld", "slurmd", "slurmdbd", "scontrol", "munged", "mariadbd"];
        let chroot = std::env::var_os(CHROOT).map(PathBuf::from);
        if chroot.is_none() && !programs.into_iter().all(is_there) {
            return None;
        }
        let folder = match &chroot {
            Some(root) => TempDir::new_in(root.join("clusters")),
            None => TempDir::new(),
        };
        let cluster = Self { folder: folder.expect("a folder"), chroot };
        // Ports of slurmctld, the nodes, two more nodes, slurmdbd and slurmrestd.
        let port = free_ports(nodes + 5).to_string();
        let nodes = nodes.to_string();
        cluster.script(&["start"], &[&[nodes.as_str(), port.as_str()], options].concat());
        Some(cluster)
    }

    /// Returns its folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a subcommand of the script.
    pub fn script(&self, verb: &[&str], rest: &[&str]) {
        let script = self.script_file();
        run_script(&script, self.path(), verb, rest);
    }

    fn script_file(&self) -> PathBuf {
        let of_chroot = self.chroot.as_ref().map(|_| "../scripts/slurm-24.11.sh");
        Path::new(env!("CARGO_MANIFEST_DIR")).join(of_chroot.unwrap_or("slurm/cluster.sh"))
    }

    /// Returns the folder of its commands.
    pub fn bin_dir(&self) -> PathBuf {
        match &self.chroot {
            Some(root) => root.join("bin-outside"),
            None => PathBuf::from("/usr/bin"),
        }
    }

    /// Runs a Slurm command as an operator.
    pub fn operator(&self, program: &str, args: &[&str]) -> String {
        let args: Vec<&OsStr> = args.iter().map(OsStr::new).collect();
        self.operator_with_bytes(program, &args)
    }

    /// Runs a Slurm command as an operator, with arguments that are not valid UTF-8.
    pub fn operator_with_bytes(&self, program: &str, args: &[&OsStr]) -> String {
        let mut command = Command::new(self.bin_dir().join(program));
        command.args(args).env("SLURM_CONF", self.path().join("slurm.conf")).current_dir("/tmp");
        let output = command.output().expect("it is there");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{program} {args:?}: {said}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Submits a job and returns its id.
    pub fn submit(&self, args: &[&str]) -> String {
        let args: Vec<&OsStr> = args.iter().map(OsStr::new).collect();
        self.submit_with_bytes(&args)
    }

    /// Submits a job with arguments that are not valid UTF-8, and returns its id.
    pub fn submit_with_bytes(&self, args: &[&OsStr]) -> String {
        let ours = ["--parsable", "--output=/dev/null"].map(OsStr::new);
        self.operator_with_bytes("sbatch", &[&ours[..], args].concat())
    }

    /// Changes settings of slurm.conf (`KEY=VALUE`) while it runs.
    pub fn set(&self, settings: &[&str]) {
        self.script(&["set"], settings);
    }

    /// Returns a folder with Slurm's commands that run as this user. Only root can create it.
    pub fn commands_of(&self, user: &str) -> PathBuf {
        let id = |flag| {
            let output = Command::new("id").args([flag, user]).output().expect("id is there");
            String::from_utf8(output.stdout).expect("a number").trim().to_owned()
        };
        let (uid, gid) = (id("-u"), id("-g"));
        let folder = self.path().join(format!("bin-{user}"));
        std::fs::create_dir_all(&folder).expect("a folder");
        for program in ["scontrol", "squeue", "sbatch", "sacct"] {
            let path = folder.join(program);
            let script = format!(
                "#!/bin/sh\ncd /\nexec setpriv --reuid={uid} --regid={gid} --clear-groups \
                 /usr/bin/{program} \"$@\"\n"
            );
            std::fs::write(&path, script).expect("written");
            let mode = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(&path, mode).expect("its mode is set");
        }
        folder
    }

    /// Returns the adapter that reads this cluster as the given user, with this clock.
    pub fn slurm_of(&self, user: &str, clock: Arc<dyn Clock>) -> Slurm {
        let commands = Commands::new(self.commands_of(user), self.path().join("slurm.conf"));
        Slurm::new(Arc::new(commands), clock)
    }

    /// Returns the adapter that reads this cluster, with this clock.
    pub fn slurm(&self, clock: Arc<dyn Clock>) -> Slurm {
        match self.way() {
            Way::Rest => Slurm::new(Arc::new(self.rest()), clock).with_word_on_jobs(true),
            Way::Commands => {
                let commands = Commands::new(self.bin_dir(), self.path().join("slurm.conf"));
                Slurm::new(Arc::new(commands), clock)
            }
        }
    }

    /// Returns how tests query this cluster.
    pub fn way(&self) -> Way {
        match std::env::var(WAY).as_deref() {
            Ok("rest") if self.chroot.is_some() => Way::Rest,
            Ok(other) if other != "commands" => panic!("{WAY}={other}"),
            Ok(_) | Err(_) => Way::Commands,
        }
    }

    /// Returns the adapter of its slurmrestd, over TCP.
    pub fn rest(&self) -> Rest {
        let address = std::fs::read_to_string(self.path().join("rest/address"));
        let address = address.expect("it has one").trim().parse().expect("an address");
        Rest::new(address, Some(self.path().join("token")))
    }
}

/// Runs a subcommand of the script on the cluster in this folder.
pub fn script(folder: &Path, verb: &[&str], rest: &[&str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("slurm/cluster.sh");
    run_script(&script, folder, verb, rest);
}

fn run_script(script: &Path, folder: &Path, verb: &[&str], rest: &[&str]) {
    let output = Command::new(script).args(verb).arg(folder).args(rest).output();
    let output = output.expect("bash is there");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{verb:?} {rest:?}: {said}");
}

/// Returns the first of `count` consecutive free ports. This process uses each port once; processes
/// start at different ports.
fn free_ports(count: usize) -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Below the ephemeral ports that the system assigns.
    const FIRST: u32 = 20_000;
    const PORTS: u32 = 12_000;
    let count = u32::try_from(count).expect("a small number");
    let begin = std::process::id().wrapping_mul(97);
    for _ in 0..PORTS {
        let at = begin.wrapping_add(NEXT.fetch_add(count, Ordering::Relaxed)) % PORTS;
        let ports = (FIRST + at..FIRST + at + count).map(|port| u16::try_from(port).expect("low"));
        let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if ports.clone().all(is_free) {
            return ports.min().expect("one at least");
        }
    }
    panic!("no {count} free ports in a row from {FIRST} on");
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = Command::new(self.script_file()).arg("stop").arg(self.path()).output();
    }
}
