//! Slurm as the daemon sees it. A round can break the commands and the key that the daemon
//! uses, and can interfere before and after each drain.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use trimtab_core::cordon::cordon_reason;
use trimtab_core::ids::{ClusterName, LedgerId, NodeName};
use trimtab_core::reads::Workload;
use trimtab_daemon::ports::{Cordon, CordonOrder, ReadError, WorkloadRead, WriteError};
use trimtab_tests::slurm::Cluster;

use super::board::{Fault, Race};
use super::points::Moment;

/// Time limit for any wait on Slurm; after it the test fails.
const PATIENCE: Duration = Duration::from_secs(90);

/// Faulty replacements for Slurm's commands: name of the folder, body of `scontrol`, body of
/// `squeue`.
const MISPRINTS: [(&str, &str, &str); 4] = [
    ("empty", "exit 0", "exit 0"),
    ("empty-squeue", "exec /usr/bin/scontrol \"$@\"", "exit 0"),
    (
        "torn-bytes",
        "text=$(/usr/bin/scontrol \"$@\"; /bin/echo x) || exit\n\
         /usr/bin/printf %s \"$text\" | /usr/bin/head -c $((${#text} / 2))",
        "text=$(/usr/bin/squeue \"$@\"; /bin/echo x) || exit\n\
         /usr/bin/printf %s \"$text\" | /usr/bin/head -c $((${#text} / 2))",
    ),
    (
        "torn-lines",
        "/usr/bin/scontrol \"$@\" | /usr/bin/awk '{ line[NR] = $0 }\n\
         END { for (n = 1; n <= NR / 2; n++) print line[n] }'",
        "/usr/bin/squeue \"$@\" | /usr/bin/awk '{ line[NR] = $0 }\n\
         END { for (n = 1; n <= NR / 2; n++) print line[n] }'",
    ),
];

/// Creates the folder with the daemon's commands and configuration. They are links, and a
/// fault changes their targets.
pub(super) fn tools(cluster: &Cluster) -> PathBuf {
    let tools = cluster.path().join("tools");
    fs::create_dir(&tools).expect("made");
    for (folder, scontrol, squeue) in MISPRINTS {
        let folder = tools.join(folder);
        fs::create_dir(&folder).expect("made");
        for (program, script) in [("scontrol", scontrol), ("squeue", squeue)] {
            let path = folder.join(program);
            // Updates still run in the faulty commands, except in those that do nothing.
            let update = format!("[ \"$1\" = update ] && exec /usr/bin/{program} \"$@\"");
            let update = if script == "exit 0" { "" } else { &update };
            fs::write(&path, format!("#!/bin/sh\n{update}\n{script}\n")).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("set");
        }
    }
    // The correct commands log every call.
    let folder = tools.join("true");
    fs::create_dir(&folder).expect("made");
    for program in ["scontrol", "squeue"] {
        let path = folder.join(program);
        let told = tools.join("told");
        let script = format!(
            "#!/bin/sh\n/bin/echo \"{program} $*\" >>{}\nexec /usr/bin/{program} \"$@\"\n",
            told.display()
        );
        fs::write(&path, script).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("set");
    }
    cluster.script(&["stranger"], &[]);
    for name in ["slurm.conf", "stranger.conf"] {
        let text = fs::read_to_string(cluster.path().join(name)).expect("the file exists");
        // Commands give up soon if slurmctld does not answer.
        fs::write(tools.join(format!("our-{name}")), text + "MessageTimeout=2\n").expect("written");
    }
    point(&tools, "bin", &tools.join("true"));
    point(&tools, "slurm.conf", &tools.join("our-slurm.conf"));
    tools
}

/// Changes the target of a link atomically.
fn point(tools: &Path, link: &str, to: &Path) {
    let new = tools.join("new");
    symlink(to, &new).expect("linked");
    fs::rename(new, tools.join(link)).expect("renamed");
}

impl Race {
    /// All changing commands that were sent to Slurm, without node names and without ids of
    /// ledgers and actions.
    pub(super) fn orders(&self) -> BTreeSet<String> {
        let told = fs::read_to_string(self.tools.join("told")).expect("commands were logged");
        let is_question = |line: &&str| {
            line.starts_with("squeue ") || line.contains(" show ") || line.contains(" ping")
        };
        let plain = |line: &str| {
            let words = line.split(' ').map(|word| match word.split_once('=') {
                Some(("NodeName", _)) => "NodeName=".to_owned(),
                Some(("Reason", why)) => {
                    let owner = why.split(':').next().unwrap_or_default();
                    format!("Reason={owner}:")
                }
                Some(_) | None => word.to_owned(),
            });
            words.collect::<Vec<_>>().join(" ")
        };
        told.lines().filter(|line| !is_question(line)).map(plain).collect()
    }

    /// Starts a fault that lasts 1 to 3 ticks.
    pub(super) fn break_down(&self, fault: Fault) {
        let ticks = self.roll(1, 3);
        match fault {
            Fault::Killed => self.cluster.script(&["kill"], &[]),
            Fault::Stopped => self.cluster.script(&["freeze"], &[]),
            Fault::Stranger => {
                point(&self.tools, "slurm.conf", &self.tools.join("our-stranger.conf"));
            }
            Fault::Empty => point(&self.tools, "bin", &self.tools.join("empty")),
            Fault::EmptySqueue => point(&self.tools, "bin", &self.tools.join("empty-squeue")),
            Fault::TornBytes => point(&self.tools, "bin", &self.tools.join("torn-bytes")),
            Fault::TornLines => point(&self.tools, "bin", &self.tools.join("torn-lines")),
        }
        self.board().fault = Some((fault, ticks));
    }

    /// Counts a tick, and ends the fault if its ticks are over.
    pub(super) fn mend_in_time(&self) {
        let is_over = {
            let mut board = self.board();
            let left = board.fault.as_mut().map(|(_, left)| {
                *left -= 1;
                *left
            });
            left == Some(0)
        };
        if is_over {
            self.mend();
        }
    }

    /// Ends the fault, if there is one.
    pub(super) fn mend(&self) {
        let Some((fault, _)) = self.board().fault.take() else { return };
        match fault {
            Fault::Killed => self.cluster.script(&["resume"], &[]),
            Fault::Stopped => self.cluster.script(&["thaw"], &[]),
            Fault::Stranger => {
                point(&self.tools, "slurm.conf", &self.tools.join("our-slurm.conf"));
            }
            Fault::Empty | Fault::EmptySqueue | Fault::TornBytes | Fault::TornLines => {
                point(&self.tools, "bin", &self.tools.join("true"));
            }
        }
        if matches!(fault, Fault::Killed | Fault::Stopped) {
            self.wait_for("slurmctld answers and knows its nodes", || {
                let ping = std::process::Command::new("scontrol")
                    .arg("ping")
                    .env("SLURM_CONF", self.cluster.path().join("slurm.conf"))
                    .output();
                ping.is_ok_and(|output| output.status.success())
                    && !self.operator("sinfo", &["-h", "-N", "-o", "%T"]).contains("unk")
            });
        }
    }

    pub(super) fn operator(&self, program: &str, args: &[&str]) -> String {
        self.cluster.operator(program, args)
    }

    pub(super) fn wait_for(&self, what: &str, holds: impl Fn() -> bool) {
        let begun = Instant::now();
        while !holds() {
            let board = self.board();
            assert!(
                begun.elapsed() < PATIENCE,
                "timed out waiting until {what}; point {:?}",
                board.point
            );
            drop(board);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until a job has this state.
    pub(super) fn wait_until(&self, job: &str, state: &str) {
        self.wait_for(&format!("job {job} is {state}"), || {
            self.operator("squeue", &["-h", "-j", job, "-o", "%T"]) == state
        });
    }

    pub(super) fn wait_until_it_runs(&self, job: &str) {
        self.wait_until(job, "RUNNING");
    }

    pub(super) fn wait_until_all_run(&self) {
        let jobs: Vec<String> = self.board().jobs.iter().map(|job| job.id.clone()).collect();
        for job in jobs {
            self.wait_until_it_runs(&job);
        }
    }

    pub(super) fn undrain(&self, node: &NodeName) {
        self.operator("scontrol", &["update", &format!("nodename={node}"), "state=undrain"]);
    }
}

#[async_trait]
impl WorkloadRead for Race {
    async fn read(&self, cluster: &ClusterName) -> Result<Workload, ReadError> {
        let cordoned = self.board().cordoned.clone();
        if let Some(node) = cordoned {
            self.moment(Moment::BeforeLook, &node);
        }
        let mut workload = self.slurm.read(cluster).await?;
        let board = self.board();
        for node in &mut workload.nodes {
            if let Some(reason) = board.pretended.get(&node.name) {
                node.drained = Some(reason.as_str().into());
            }
        }
        Ok(workload)
    }
}

#[async_trait]
impl Cordon for Race {
    async fn cordon(
        &self,
        cluster: &ClusterName,
        ledger: &LedgerId,
        orders: &[CordonOrder],
    ) -> Result<(), WriteError> {
        let Some(first) = orders.first() else { return Ok(()) };
        self.moment(Moment::BeforeCordon, &first.name);
        let asked = if self.has_cordon {
            self.slurm.cordon(cluster, ledger, orders).await
        } else {
            let reason = |order: &CordonOrder| cordon_reason(ledger, order.action);
            let drains = orders.iter().map(|order| (order.name.clone(), reason(order)));
            self.board().pretended.extend(drains);
            Ok(())
        };
        self.cordoned(&first.name);
        asked
    }

    async fn release(
        &self,
        cluster: &ClusterName,
        ledger: &LedgerId,
        orders: &[CordonOrder],
    ) -> Result<(), WriteError> {
        if self.has_cordon {
            return self.slurm.release(cluster, ledger, orders).await;
        }
        for order in orders {
            self.board().pretended.remove(&order.name);
        }
        Ok(())
    }
}
