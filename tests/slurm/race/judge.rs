//! The judge of a round: which jobs were lost, by what squeue said at the call,
//! by what Slurm says of them now and by how often they say that they started.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use trimtab_core::ids::{LedgerId, NodeName};
use trimtab_core::snapshot::CordonStatus;
use trimtab_daemon::ports::{Clock, WorkloadRead};

use super::board::{Race, research, worker_names};
use super::points::Point;

/// A job that was handed in.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) id: String,
    /// How often its own people have it started again.
    pub(super) restarts: u32,
}

/// Something that was lost, and how that is known. One job can be told of twice.
#[derive(Debug, Clone)]
pub(super) struct Loss {
    pub(super) point: Point,
    /// A job's id, or the node whose reason was written over.
    pub(super) what: String,
    pub(super) how: String,
}

impl super::board::Board {
    fn lose(&mut self, what: &str, how: String) {
        let point = self.point;
        self.lost.push(Loss { point, what: what.to_owned(), how });
    }

    /// An operator has this job started again.
    pub(super) fn expect_restart(&mut self, id: &str) {
        for job in self.jobs.iter_mut().filter(|job| job.id == id) {
            job.restarts += 1;
        }
    }
}

impl Race {
    /// Whoever is on this node now is lost.
    pub(super) fn note_jobs_on(&self, name: &NodeName, when: &str) -> bool {
        let states = ["-h", "-w", name.as_str(), "-t", "R,CG,CF,S", "-o", "%i"];
        let on_it = self.operator("squeue", &states);
        if on_it.is_empty() {
            return false;
        }
        for job in on_it.lines() {
            self.board().lose(job, format!("on {name} {when}"));
        }
        true
    }

    /// Ends a round: judges its jobs, and nobody's job is left, nobody's drain, and
    /// whatever was deleted is there again under the same name as another machine.
    pub(super) fn clean_up(&self) {
        self.mend();
        self.replace_the_dead();
        self.judge_jobs();
        self.end_jobs();
        self.end_what_operators_did();
    }

    /// Another machine takes each dead one's place. Slurm has to notice first what
    /// ran on the dead one, if anything did.
    fn replace_the_dead(&self) {
        let dead = self.are_dead();
        let mut has_lost = false;
        for name in &dead {
            has_lost |= self.note_jobs_on(name, "after it was dead");
        }
        if has_lost {
            // A job that began less than 11 seconds ago is not missed (cluster.sh).
            std::thread::sleep(Duration::from_secs(13));
        }
        let now = self.dial.now();
        for name in &dead {
            self.cluster.script(&["back"], &[name.as_str()]);
            self.board().relaunch(name, now);
        }
        if has_lost {
            // Of a suspended job it never does.
            self.wait_for("Slurm misses what ran on dead machines", || {
                dead.iter().all(|name| {
                    let on_it = ["-h", "-w", name.as_str(), "-t", "R,CF", "-o", "%i"];
                    let again = self.shown_jobs();
                    let is_known =
                        |id: &str| again.get(id).is_some_and(|shown| !shown.contains("Restarts=0"));
                    self.operator("squeue", &on_it).lines().all(is_known)
                })
            });
        }
    }

    /// What Slurm says of each job, by its id.
    fn shown_jobs(&self) -> BTreeMap<String, String> {
        let text = self.operator("scontrol", &["show", "job", "-o"]);
        let by_id = text.lines().filter_map(|line| {
            let id = line.strip_prefix("JobId=")?.split(' ').next()?;
            Some((id.to_owned(), line.to_owned()))
        });
        by_id.collect()
    }

    fn judge_jobs(&self) {
        let jobs = self.board().jobs.clone();
        if jobs.is_empty() {
            return;
        }
        let starts = fs::read_to_string(self.cluster.path().join("starts")).unwrap_or_default();
        for job in &jobs {
            let shown = self.operator("scontrol", &["show", "job", &job.id, "-o"]);
            // Tasks of an array and components of a job are told one by one; names
            // with a newline make lines of their own.
            let records = shown.lines().filter(|line| line.starts_with("JobId="));
            let as_expected = format!(" Restarts={} ", job.restarts);
            let is_unhurt = shown.matches(" Restarts=").count()
                == shown.matches(&as_expected).count()
                && !shown.contains("NODE_FAIL");
            for record in records {
                let id = record.trim_start_matches("JobId=").split(' ').next().unwrap_or_default();
                let begun = starts.lines().filter(|line| *line == id).count();
                if !is_unhurt || begun > job.restarts as usize + 1 {
                    let how = format!("was hurt, and says that it started {begun} times: {record}");
                    self.board().lose(id, how);
                }
            }
        }
        // Ids are not used again, and nothing of these rounds is asked about later.
        let _ = fs::remove_file(self.cluster.path().join("starts"));
    }

    /// Also those of earlier rounds, which a slurmctld that was killed may remember.
    fn end_jobs(&self) {
        self.board().jobs.clear();
        self.wait_for("jobs end", || {
            let left = self.operator("squeue", &["-h", "-o", "%T"]);
            if left.lines().any(|state| state != "COMPLETING") {
                self.operator("scancel", &["--user", &self.operator("id", &["-un"])]);
            }
            left.is_empty()
        });
    }

    fn end_what_operators_did(&self) {
        if self.operator("scontrol", &["show", "res", "-o"]).contains("ReservationName=mine ") {
            self.operator("scontrol", &["delete", "reservationname=mine"]);
        }
        // Not in the head of the loop: the board would stay locked in its body.
        let rebooting = std::mem::take(&mut self.board().rebooting);
        for node in rebooting {
            // The machine goes down and comes up again.
            self.cluster.script(&["gone"], &[node.as_str()]);
            self.cluster.script(&["back"], &[node.as_str()]);
            self.wait_for("the node is back", || !self.shown(&node).contains("REBOOT"));
        }
        let reasons = std::mem::take(&mut self.board().reasons);
        for (node, reason) in reasons {
            let shown = self.shown(&node);
            if !shown.contains(&format!(" Reason={reason} ")) {
                self.board().lose(node.as_str(), format!("`{reason}` was overwritten: {shown}"));
            }
        }
        // All nodes: a slurmctld that was killed may remember what was undone. A machine
        // that took a dead one's place is not what the operator meant.
        let is_out =
            |shown: &str| ["+DRAIN", "=DOWN", "+FAIL"].iter().any(|state| shown.contains(state));
        if !is_out(&self.operator("scontrol", &["show", "node", "-o"])) {
            return;
        }
        for node in worker_names() {
            let shown = self.shown(&node);
            let (of_slurm, reason) = shown.split_once(" Reason=").unwrap_or((&shown, ""));
            if is_out(of_slurm) && !reason.starts_with("trimtab:") {
                self.operator("scontrol", &["update", &format!("nodename={node}"), "state=resume"]);
            }
        }
    }

    fn shown(&self, node: &NodeName) -> String {
        self.operator("scontrol", &["show", "node", node.as_str(), "-o"])
    }

    /// Nodes that bear a cordon of trimtab's.
    pub(super) async fn cordoned_nodes(&self) -> Vec<NodeName> {
        let ours: LedgerId = "0-0".parse().expect("an id");
        let nodes = self.slurm.read(&research()).await.expect("Slurm answers").nodes;
        let is_cordon = |reason: &str| match CordonStatus::of_reason(reason, &ours) {
            CordonStatus::Foreign { .. } | CordonStatus::Ours { .. } => true,
            CordonStatus::Clear | CordonStatus::Recovery | CordonStatus::Operator { .. } => false,
        };
        let cordoned =
            nodes.into_iter().filter(|node| node.drained.as_deref().is_some_and(is_cordon));
        cordoned.map(|node| node.name).collect()
    }
}
