//! `trimtab demo --scheduler slurm`: runs the daemon with a real Slurm on this machine and a
//! simulated HyperPod cluster of the same nodes. The demo submits jobs with `sbatch`, the daemon
//! drains nodes with `scontrol`, and the deletion of an instance ends its slurmd and every process
//! on it. Each job logs its own start and end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};
use serde::Serialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::sleep;
use trimtab_core::action::{ActionState, End};
use trimtab_daemon::ledger::SqliteLedger;

use crate::clock::stop_on_signals;
use crate::exit::Unavailable;
use crate::output::{Style, Tone, line};

/// Scripts that start Slurm, also used by the tests.
const SCRIPTS: [(&str, &str); 3] = [
    ("cluster.sh", include_str!("../../../../tests/slurm/cluster.sh")),
    ("node-gone.sh", include_str!("../../../../tests/slurm/node-gone.sh")),
    ("agent.sh", include_str!("../../../../tests/slurm/agent.sh")),
];
/// Programs that must be installed.
const PROGRAMS: [&str; 6] = ["slurmctld", "slurmd", "scontrol", "squeue", "sbatch", "munged"];

const NODES: u16 = 8;
/// Speed of the simulated cluster, as a multiple of real time.
const SPEED: u32 = 20;
/// Real time during which the demo submits jobs.
const SHOW: Duration = Duration::from_secs(100);
/// Real time limit for the last jobs after that.
const LAST_JOBS: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// ip-10-0-0-0 is the controller; ip-10-0-0-1 and the following are Slurm nodes.
const WORLD: &str = r#"
duration = "7d"
cluster = "research"
provisioning = "continuous"
delete_delay = { min = "30s", max = "3m" }
[[group]]
name = "controller"
role = "controller"
count = 1
[[group]]
name = "workers"
count = 8
instance_type = "ml.g5.48xlarge"
gpus_per_node = 8
price_usd_per_hour = 20.36
"#;

/// Returns the demo's policy: shipped waiting times, and budgets that do not limit eight nodes.
fn policy(folder: &str, bin_dir: &str, endpoint: &str) -> String {
    format!(
        r#"
config_version = 1
mode = "enforce"
schedule = "0 * * * * *"
pause_file = "{folder}/PAUSE"
state = {{ path = "{folder}/trimtab.db" }}
[[cluster]]
name = "research"
region = "us-west-2"
account_id = "123456789012"
endpoint_url = "{endpoint}"
scheduler = {{ kind = "slurm", conf = "{folder}/slurm.conf", bin_dir = "{bin_dir}" }}
[[cluster.group]]
name = "workers"
size = 8
min_nodes = 2
max_delete_per_hour = 8
max_leaving_percent = 100
capacity = "on-demand"
regain = "plentiful"
price_usd_per_hour = 20.36
boot = "10m"
node_local_data = "disposable"
gpus_per_node = 8
partitions = ["gpu"]
idle_timer = "3m"
min_age = "0s"
post_job_grace = "0s"
"#
    )
}

/// Result of the demo.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Number of submitted jobs.
    jobs: usize,
    /// Number of jobs that ended by themselves after one start.
    finished: usize,
    /// Jobs that started more than once, or started and did not end.
    lost: Vec<String>,
    /// Deleted nodes.
    deleted: Vec<String>,
    /// Number of nodes that were cordoned and released because a job or the floor needed them.
    released: usize,
}

impl Report {
    /// Whether the demo succeeded: it deleted nodes and lost no job.
    pub(crate) fn holds(&self) -> bool {
        self.lost.is_empty() && !self.deleted.is_empty()
    }

    /// Prints the result as text.
    pub(crate) fn print(&self, style: Style) -> anyhow::Result<()> {
        let Self { jobs, finished, lost, deleted, released } = self;
        let text = format!(
            "{jobs} jobs submitted, {finished} finished, {} lost; {} nodes deleted ({}), \
             {released} released",
            lost.len(),
            deleted.len(),
            deleted.join(", "),
        );
        let tone = if self.holds() { Tone::Strong } else { Tone::Bad };
        line(&style.paint(tone, &text))?;
        for job in lost {
            line(&style.paint(Tone::Bad, &format!("lost: job {job}")))?;
        }
        Ok(())
    }
}

/// Runs the demo.
///
/// # Errors
/// [`Unavailable`] when Slurm is not installed; other errors when a part fails to start.
pub(crate) async fn run(seed: u64, silent: bool, style: Style) -> anyhow::Result<Report> {
    let bin_dir = bin_dir()?;
    let mut stop = stop_on_signals()?;
    let stage = Stage::set(&bin_dir, silent).await?;
    stage.say(&style.paint(
        Tone::Strong,
        &format!(
            "slurmctld and {NODES} slurmd on this machine, and a simulated HyperPod cluster of the \
             same nodes at {SPEED} times real time"
        ),
    ))?;
    let played = tokio::select! {
        played = stage.play(seed) => played,
        _ = stop.wait_for(|stop| *stop) => Err(anyhow!("the demo was stopped")),
    };
    stage.end().await;
    played
}

/// Returns the directory of the Slurm commands.
fn bin_dir() -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.push("/usr/sbin".into());
    let found = |program: &str| folders.iter().find(|folder| folder.join(program).is_file());
    let missing: Vec<&str> =
        PROGRAMS.into_iter().filter(|program| found(program).is_none()).collect();
    if let (Some(folder), []) = (found("scontrol"), missing.as_slice()) {
        return Ok(folder.clone());
    }
    bail!(Unavailable(format!(
        "Slurm is not installed ({} missing): on Debian or Ubuntu, run apt-get install munge \
         slurm-client slurm-wlm-basic-plugins slurmctld slurmd",
        missing.join(", ")
    )))
}

/// Returns the first port of a free range that is large enough.
fn free_ports() -> anyhow::Result<u16> {
    // One for slurmctld, one per node, and three more that cluster.sh may use.
    let wanted = NODES + 4;
    let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let first = (20_000..32_000).step_by(usize::from(wanted));
    first
        .into_iter()
        .find(|first| (*first..first + wanted).all(is_free))
        .context("not enough free ports between 20000 and 32000")
}

/// The temporary directory of the demo, removed on drop.
struct Folder(PathBuf);

impl Folder {
    fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("trimtab-demo-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| path.display().to_string())?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Slurm's daemons are not child processes and would outlive the demo.
        let mut stop = std::process::Command::new("bash");
        stop.arg(self.0.join("cluster.sh")).arg("stop").arg(&self.0);
        let _ = stop.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        // A directory that a daemon still writes to may remain; that does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The processes and files of the demo.
struct Stage {
    folder: Folder,
    bin_dir: PathBuf,
    silent: bool,
    simulated: Child,
    daemon: Child,
    begun: Instant,
}

impl Stage {
    async fn set(bin_dir: &Path, silent: bool) -> anyhow::Result<Self> {
        let folder = Folder::new()?;
        let path = folder.0.as_path();
        for (name, text) in SCRIPTS {
            let script = path.join(name);
            std::fs::write(&script, text)?;
            std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
        }
        let (nodes, port) = (NODES.to_string(), free_ports()?.to_string());
        start_slurm(path, &nodes, &port).await?;
        let trimtab = std::env::current_exe().context("cannot find the trimtab program file")?;
        let world = path.join("world.toml");
        std::fs::write(&world, WORLD)?;
        let gone = format!("{} {}", path.join("node-gone.sh").display(), path.display());
        let speed = SPEED.to_string();
        let mut simulated = Command::new(&trimtab)
            .args([
                "simulate",
                "--listen",
                "127.0.0.1:0",
                "--speed",
                &speed,
                "--on-node-gone",
                &gone,
            ])
            .arg("--world")
            .arg(&world)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = simulated.stdout.take().context("no pipe to `trimtab simulate`")?;
        let mut lines = BufReader::new(stdout).lines();
        let first = lines.next_line().await?.context("`trimtab simulate` exited at start")?;
        // Read the rest of the output: a full pipe would block the program.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let endpoint = first.rsplit(' ').next().unwrap_or_default();
        let config = path.join("trimtab.toml");
        let text = policy(&path.display().to_string(), &bin_dir.display().to_string(), endpoint);
        std::fs::write(&config, text)?;
        let log = std::fs::File::create(path.join("trimtab.log"))?;
        let daemon = Command::new(&trimtab)
            .args(["run", "--config"])
            .arg(&config)
            // The endpoint accepts any credentials; without them the SDK would search for some.
            .envs([("AWS_ACCESS_KEY_ID", "demo"), ("AWS_SECRET_ACCESS_KEY", "demo")])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        let (bin_dir, begun) = (bin_dir.to_owned(), Instant::now());
        Ok(Self { folder, bin_dir, silent, simulated, daemon, begun })
    }

    fn path(&self) -> &Path {
        &self.folder.0
    }

    fn say(&self, text: &str) -> anyhow::Result<()> {
        if self.silent { Ok(()) } else { line(text) }
    }

    /// Prints a line with the minutes of simulated time since the start.
    fn tell(&self, text: &str) -> anyhow::Result<()> {
        let minutes = self.begun.elapsed().as_secs() * u64::from(SPEED) / 60;
        self.say(&format!("{minutes:>3} min  {text}"))
    }

    async fn play(&self, seed: u64) -> anyhow::Result<Report> {
        let mut chance = seed.wrapping_mul(2).wrapping_add(1);
        let mut next_job = Duration::ZERO;
        let mut jobs = BTreeSet::new();
        let mut states: BTreeMap<String, String> = BTreeMap::new();
        loop {
            let passed = self.begun.elapsed();
            if passed >= SHOW {
                break;
            }
            if passed >= next_job {
                // Many jobs at first, then few, so that nodes become idle while jobs still arrive.
                let (pause, longest) = if passed < SHOW / 4 { (2, 12) } else { (9, 14) };
                let job = self.submit(&mut chance, longest).await?;
                self.tell(&format!("job {job} submitted"))?;
                jobs.insert(job);
                next_job = passed + Duration::from_secs(1 + random(&mut chance, pause));
            }
            self.look(&mut states)?;
            sleep(LOOK_EVERY).await;
        }
        self.tell("no more jobs; waiting for the last jobs to end")?;
        let until = Instant::now() + LAST_JOBS;
        while !self.squeue().await?.is_empty() && Instant::now() < until {
            self.look(&mut states)?;
            sleep(LOOK_EVERY).await;
        }
        self.look(&mut states)?;
        self.report(&jobs)
    }

    /// Submits a job on one or two nodes that logs its own start and end; returns its ID.
    async fn submit(&self, chance: &mut u64, longest: u64) -> anyhow::Result<String> {
        let nodes = 1 + random(chance, 2);
        let length = 3 + random(chance, longest);
        let log = self.path().join("jobs");
        let wrap = format!(
            "echo began $SLURM_JOB_ID >>{log}; sleep {length}; echo ended $SLURM_JOB_ID >>{log}",
            log = log.display()
        );
        let nodes = format!("-N{nodes}");
        self.slurm(
            "sbatch",
            &["--parsable", "-o", "/dev/null", "--exclusive", &nodes, "--wrap", &wrap],
        )
        .await
    }

    async fn squeue(&self) -> anyhow::Result<String> {
        self.slurm("squeue", &["-h"]).await
    }

    async fn slurm(&self, program: &str, args: &[&str]) -> anyhow::Result<String> {
        // slurmctld is unavailable for a moment when a node is removed from slurm.conf.
        let mut attempts = 0;
        loop {
            let mut command = Command::new(self.bin_dir.join(program));
            command
                .args(args)
                .env("SLURM_CONF", self.path().join("slurm.conf"))
                .current_dir("/tmp");
            let output = command.stdin(Stdio::null()).output().await?;
            if output.status.success() {
                return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
            }
            attempts += 1;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(attempts < 10, "{program}: {}", said.trim());
            sleep(LOOK_EVERY).await;
        }
    }

    /// Prints every node whose action has a new state.
    fn look(&self, states: &mut BTreeMap<String, String>) -> anyhow::Result<()> {
        for (key, node, state) in self.actions()? {
            if states.insert(key, state.clone()).as_ref() != Some(&state) {
                self.tell(&format!("{node}: {state}"))?;
            }
        }
        Ok(())
    }

    /// Returns all actions so far: ID, node and state.
    fn actions(&self) -> anyhow::Result<Vec<(String, String, String)>> {
        // The daemon creates the ledger at its first start.
        let Ok(ledger) = SqliteLedger::open_reader(&self.path().join("trimtab.db")) else {
            return Ok(vec![]);
        };
        let rows = ledger.history(1_000, None)?;
        let told = rows.into_iter().map(|row| {
            let node = row
                .action
                .identity
                .name
                .as_ref()
                .map_or(row.action.node.to_string(), |name| name.to_string());
            (row.action.id.to_string(), node, word(&row.action.state).to_owned())
        });
        Ok(told.collect())
    }

    fn report(&self, jobs: &BTreeSet<String>) -> anyhow::Result<Report> {
        let log = std::fs::read_to_string(self.path().join("jobs")).unwrap_or_default();
        let count = |word: &str, job: &str| {
            log.lines().filter(|line| *line == format!("{word} {job}")).count()
        };
        let is_lost = |job: &&String| {
            let (began, ended) = (count("began", job), count("ended", job));
            began > 1 || began > ended
        };
        let actions = self.actions()?;
        let of = |wanted: &'static str| actions.iter().filter(move |(_, _, state)| state == wanted);
        Ok(Report {
            jobs: jobs.len(),
            finished: jobs.iter().filter(|job| count("ended", job) == 1).count(),
            lost: jobs.iter().filter(is_lost).cloned().collect(),
            deleted: of(DELETED).map(|(_, node, _)| node.clone()).collect(),
            released: of(RELEASED).count(),
        })
    }

    /// Stops the processes; the daemon first, so that it can release its cordoned nodes.
    async fn end(mut self) {
        if let Some(id) = self.daemon.id() {
            let _ = Command::new("kill").args(["-TERM", &id.to_string()]).status().await;
            let _ = tokio::time::timeout(Duration::from_secs(20), self.daemon.wait()).await;
        }
        let _ = self.simulated.kill().await;
    }
}

const DELETED: &str = "deleted";
const RELEASED: &str = "released";

fn word(state: &ActionState) -> &'static str {
    match state {
        ActionState::Marked { .. } => "surplus, to be drained",
        ActionState::Cordoning { .. } => "draining (scontrol update State=DRAIN)",
        ActionState::Settling { .. } => "drained, settling",
        ActionState::Asking { .. } | ActionState::Asked { .. } => {
            "second look passed, delete requested (BatchDeleteClusterNodes)"
        }
        ActionState::Releasing { .. } => "releasing (scontrol update State=UNDRAIN)",
        ActionState::Ended { end: End::Gone, .. } => DELETED,
        ActionState::Ended { end: End::Released(_), .. } => RELEASED,
        ActionState::Ended { end: End::CordonLost, .. } => {
            "not deleted: its drain was removed or replaced"
        }
        ActionState::Ended { end: End::Replaced, .. } => "not deleted: replaced by a new instance",
    }
}

/// Returns a pseudorandom number below `below`, so that one seed always gives the same jobs
/// (linear congruential generator with the constants of Knuth's MMIX).
fn random(state: &mut u64, below: u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % below.max(1)
}

/// Starts slurmctld at this port, and this number of nodes.
async fn start_slurm(folder: &Path, nodes: &str, port: &str) -> anyhow::Result<()> {
    let mut command = Command::new("bash");
    command.arg(folder.join("cluster.sh")).arg("start").arg(folder).args([nodes, port]);
    let output = command.stdin(Stdio::null()).output().await.context("cannot run bash")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "Slurm failed to start: {}", said.trim());
    Ok(())
}
