//! Judges a round: which jobs were lost, according to squeue at the time of the API request,
//! to Slurm after the round, and to the number of starts that the jobs recorded.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use trimtab_core::cordon::CordonStatus;
use trimtab_core::ids::{LedgerId, NodeName};
use trimtab_daemon::ports::{Clock, WorkloadRead};

use super::board::{Race, research, worker_names};
use super::points::Point;

/// A submitted job.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) id: String,
    /// Number of restarts that operators requested.
    pub(super) restarts: u32,
}

/// A lost job or an overwritten reason, with the evidence. A job may be reported twice.
#[derive(Debug, Clone)]
pub(super) struct Loss {
    pub(super) point: Point,
    /// The id of a job, or the node whose reason was overwritten.
    pub(super) what: String,
    pub(super) how: String,
}

impl super::board::Board {
    fn lose(&mut self, what: &str, how: String) {
        let point = self.point;
        self.lost.push(Loss { point, what: what.to_owned(), how });
    }

    /// Records that an operator requested a restart of this job.
    pub(super) fn expect_restart(&mut self, id: &str) {
        for job in self.jobs.iter_mut().filter(|job| job.id == id) {
            job.restarts += 1;
        }
    }
}

impl Race {
    /// Records all jobs on this node as lost. Returns whether there was any.
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

    /// Ends a round: judges its jobs, removes all jobs and operators' drains, and replaces
    /// every deleted node by a new machine with the same name.
    pub(super) fn clean_up(&self) {
        self.mend();
        self.replace_the_dead();
        self.judge_jobs();
        self.end_jobs();
        self.end_what_operators_did();
    }

    /// Replaces each dead machine. If jobs ran on dead machines, Slurm must first notice that
    /// they are lost.
    fn replace_the_dead(&self) {
        let dead = self.are_dead();
        let mut has_lost = false;
        for name in &dead {
            has_lost |= self.note_jobs_on(name, "after the machine died");
        }
        if has_lost {
            // Slurm does not check jobs that started less than 11 seconds ago (cluster.sh).
            std::thread::sleep(Duration::from_secs(13));
        }
        let now = self.dial.now();
        for name in &dead {
            self.cluster.script(&["back"], &[name.as_str()]);
            self.board().relaunch(name, now);
        }
        if has_lost {
            // Slurm never notices the loss of a suspended job.
            self.wait_for("Slurm notices the lost jobs of dead machines", || {
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

    /// The record of each job in Slurm, by its id.
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
            // Array tasks and job components have separate records. A name with a newline
            // splits its record into several lines.
            let records = shown.lines().filter(|line| line.starts_with("JobId="));
            let as_expected = format!(" Restarts={} ", job.restarts);
            let is_unhurt = shown.matches(" Restarts=").count()
                == shown.matches(&as_expected).count()
                && !shown.contains("NODE_FAIL");
            for record in records {
                let id = record.trim_start_matches("JobId=").split(' ').next().unwrap_or_default();
                let begun = starts.lines().filter(|line| *line == id).count();
                if !is_unhurt || begun > job.restarts as usize + 1 {
                    let how = format!("was hurt, and recorded {begun} starts: {record}");
                    self.board().lose(id, how);
                }
            }
        }
        // Slurm does not reuse ids, and later rounds do not need these records.
        let _ = fs::remove_file(self.cluster.path().join("starts"));
    }

    /// Cancels all jobs, including jobs of earlier rounds that a killed slurmctld may have
    /// restored.
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
        // In a separate statement: in the head of the loop, the board would stay locked.
        let rebooting = std::mem::take(&mut self.board().rebooting);
        for node in rebooting {
            // Simulate the reboot.
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
        // Check all nodes: a killed slurmctld may have restored an old state. Also, a new
        // machine must not keep an operator's state for the old one.
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

    /// Nodes that are drained by trimtab.
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
