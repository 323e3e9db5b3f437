//! The whole daemon with a real Slurm: it cordons nodes in Slurm and deletes them, through the AWS
//! SDK, from a simulated cluster with the same nodes.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use trimtab_tests::slurm::{Cluster, SKIPPED};

/// Time limit for the deletions, long enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// Eight nodes in HyperPod; the jobs are in Slurm. Simulated time runs at 20 times real time.
const WORLD: &str = r#"
duration = "7d"
cluster = "research"
[[group]]
name = "workers"
count = 8
gpus_per_node = 8
price_usd_per_hour = 20.0
"#;

const SPEED: &str = "20";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Returns the command that repeats the change of an instance in the Slurm of this folder.
fn hook(name: &str, slurm: &Path) -> String {
    let script = root().join("tests/slurm").join(name);
    let script = script.canonicalize().expect("it is there");
    format!("'{}' '{}'", script.display(), slurm.display())
}

/// Processes that end with the test.
struct Real {
    cluster: Cluster,
    simulated: Option<Child>,
}

impl Real {
    fn path(&self) -> &Path {
        self.cluster.path()
    }

    /// Starts `trimtab simulate` and returns its URL.
    fn simulate(&mut self) -> String {
        let world = self.path().join("world.toml");
        std::fs::write(&world, WORLD).expect("written");
        let mut command = trimtab(&["simulate", "--listen", "127.0.0.1:0", "--speed", SPEED]);
        command.arg("--on-node-gone").arg(hook("node-gone.sh", self.path()));
        command.arg("--on-node-added").arg(hook("node-added.sh", self.path()));
        command.arg("--world").arg(&world).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        self.simulated = Some(child);
        let first = lines.next().expect("a line").expect("text");
        // Read the rest of the output: a full pipe would block the program.
        std::thread::spawn(move || lines.for_each(drop));
        first.rsplit(' ').next().expect("an address").to_owned()
    }

    /// Waits until Slurm no longer has these nodes and returns its nodes, one per line.
    fn nodes_but(&self, gone: &[String]) -> String {
        let begun = Instant::now();
        loop {
            let nodes = self.cluster.operator("scontrol", &["show", "node", "-o"]);
            let is_there = |name: &String| nodes.contains(&format!("NodeName={name} "));
            if !gone.iter().any(is_there) {
                return nodes;
            }
            assert!(begun.elapsed() < PATIENCE, "{gone:?} are still in slurm.conf: {nodes}");
            std::thread::sleep(Duration::from_millis(500));
        }
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        if let Some(simulated) = &mut self.simulated {
            let _ = simulated.kill();
            let _ = simulated.wait();
        }
    }
}

fn trimtab(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trimtab"));
    command.args(args).current_dir(root()).env_remove("TRIMTAB_LOG").stdin(Stdio::null());
    command.env("AWS_ACCESS_KEY_ID", "x").env("AWS_SECRET_ACCESS_KEY", "x");
    command
}

#[test]
fn idle_nodes_of_a_real_slurm_are_drained_and_deleted_and_a_job_runs_on() {
    let Some(cluster) = Cluster::start(7) else { return println!("{SKIPPED}") };
    let mut real = Real { cluster, simulated: None };
    let path = real.path().to_str().expect("a plain path").to_owned();
    let job = real.cluster.submit(&["-w", "ip-10-0-0-3", "--wrap", "sleep 900"]);
    real.cluster.operator(
        "scontrol",
        &["update", "nodename=ip-10-0-0-5", "state=drain", "reason=fan is loud"],
    );
    let endpoint = real.simulate();
    let state = real.path().join("trimtab.db");
    let config = real.path().join("trimtab.toml");
    let policy = format!(
        r#"
config_version = 1
mode = "enforce"
schedule = "0 * * * * *"
pause_file = "{path}/PAUSE"
state = {{ path = "{path}/trimtab.db" }}
[[cluster]]
name = "research"
region = "us-west-2"
account_id = "123456789012"
endpoint_url = "{endpoint}"
scheduler = {{ kind = "slurm", conf = "{path}/slurm.conf", bin_dir = "/usr/bin" }}
[[cluster.group]]
name = "workers"
size = 8
min_nodes = 2
max_delete_per_hour = 8
max_leaving_percent = 100
capacity = "on-demand"
regain = "plentiful"
price_usd_per_hour = 20.0
boot = "10m"
node_local_data = "disposable"
gpus_per_node = 8
partitions = ["gpu"]
idle_timer = "3m"
min_age = "0s"
post_job_grace = "0s"
"#
    );
    std::fs::write(&config, policy).expect("written");
    let config = config.to_str().expect("a plain path");
    let mut daemon = trimtab(&["run", "--config", config]);
    let mut daemon = daemon.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");

    // Nodes 1, 2, 4, 6 and 7 are idle, and may go as far as the floor of 2 live
    // nodes: 3 runs a job, one of the others stays.
    let state = state.to_str().expect("a plain path");
    let begun = Instant::now();
    let gone = loop {
        let gone = gone(state);
        if gone.len() >= 4 {
            break gone;
        }
        assert!(daemon.try_wait().expect("asked").is_none(), "the daemon has ended");
        assert!(begun.elapsed() < PATIENCE, "only {gone:?} went");
        std::thread::sleep(Duration::from_millis(500));
    };
    let stopped = Command::new("kill").args(["-TERM", &daemon.id().to_string()]).status();
    assert!(stopped.expect("kill is there").success());
    daemon.wait().expect("it ends");

    assert_eq!(gone.len(), 4, "the floor holds: {gone:?}");
    for kept in ["ip-10-0-0-3", "ip-10-0-0-5"] {
        assert!(!gone.contains(&kept.to_owned()), "{kept} was in use: {gone:?}");
    }
    let shown = real.cluster.operator("scontrol", &["show", "job", &job, "-o"]);
    assert!(shown.contains("JobState=RUNNING") && shown.contains("Restarts=0"), "{shown}");
    // The instances have ended, and HyperPod's agent has taken them out of slurm.conf.
    let nodes = real.nodes_but(&gone);
    assert_eq!(nodes.lines().count(), 3, "{nodes}");
    for line in nodes.lines() {
        let name = line.split([' ', '=']).nth(1).expect("a name").to_owned();
        let reason = line.split_once("Reason=").map_or("", |(_, reason)| reason);
        assert!(!reason.starts_with("trimtab:"), "left cordoned: {line}");
        assert_eq!(reason.starts_with("fan is loud"), name == "ip-10-0-0-5", "{line}");
    }
    let shown = real.cluster.operator("scontrol", &["show", "job", &job, "-o"]);
    assert!(shown.contains("JobState=RUNNING") && shown.contains("Restarts=0"), "{shown}");
}

/// Returns the names of the nodes whose deletion is confirmed.
fn gone(state: &str) -> Vec<String> {
    let output = trimtab(&["history", "--state", state, "--output", "json"]).output();
    let output = output.expect("the program starts");
    // The daemon creates the ledger at its first start.
    let Ok(document) = serde_json::from_slice::<Value>(&output.stdout) else { return vec![] };
    let actions = document["actions"].as_array().expect("actions");
    let ended = actions.iter().filter(|action| !action["ended_at"].is_null());
    let deleted = ended.filter(|action| !action["request"].is_null());
    let mut names: Vec<String> = deleted
        .filter_map(|action| {
            let node = action["node"].as_str().expect("an id");
            let words = trimtab(&["explain", node, "--state", state]).output().expect("it starts");
            let words = String::from_utf8_lossy(&words.stdout).into_owned();
            words.contains("request").then(|| node_name(state, node)).flatten()
        })
        .collect();
    names.sort();
    names
}

/// Returns the node's name in the scheduler, from the ledger.
fn node_name(state: &str, node: &str) -> Option<String> {
    (0..8).map(|n| format!("ip-10-0-0-{n}")).find(|name| {
        let output = trimtab(&["explain", name, "--state", state, "--output", "json"]).output();
        let document = serde_json::from_slice::<Value>(&output.expect("it starts").stdout);
        document.is_ok_and(|document| document["node"] == node)
    })
}
