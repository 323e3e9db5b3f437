//! The results of the demo, from the world's own record, which the daemon never reads.

use std::path::PathBuf;

use serde::Serialize;
use trimtab_core::policy::ClusterPolicy;
use trimtab_core::units::{NodeCount, Span, Usd};
use trimtab_simulator::truth::{JobRecord, RestartCause, Truth};

use crate::output::{Style, Tone, line, right, table};

/// The result of one policy on the same days.
pub(crate) struct Outcome {
    name: &'static str,
    truth: Truth,
}

impl Outcome {
    pub(crate) fn new(name: &'static str, truth: Truth) -> Self {
        Self { name, truth }
    }
}

/// All results of the demo.
pub(crate) struct Summary {
    pub(crate) days: u32,
    pub(crate) jobs: usize,
    pub(crate) state: PathBuf,
    pub(crate) policy: ClusterPolicy,
    pub(crate) never: Outcome,
    pub(crate) timer: Outcome,
    pub(crate) trimtab: Outcome,
    pub(crate) uncordoned: Outcome,
}

/// The summary, as printed by `--output json`.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    days: u32,
    jobs: usize,
    ledger: String,
    outcomes: Vec<Row>,
    saved_usd_against_never: f64,
    saved_usd_against_timer: f64,
    floors: Vec<Floor>,
    busy_nodes_deleted: usize,
    busy_nodes_deleted_without_cordon: usize,
}

/// Figures of one policy.
#[derive(Debug, Serialize)]
struct Row {
    policy: &'static str,
    nodes_deleted: u64,
    nodes_regrown: u64,
    node_hours: f64,
    bill_usd: f64,
    job_delay_hours: f64,
    job_delay_usd: f64,
    jobs_lost: usize,
    work_lost_usd: f64,
    saved_usd: f64,
    busy_nodes_deleted: usize,
}

/// A floor and the lowest number of live nodes.
#[derive(Debug, Serialize)]
struct Floor {
    group: String,
    floor: u32,
    fewest: u32,
    held: bool,
}

impl Summary {
    /// Returns the figures of the summary.
    pub(crate) fn report(&self) -> Report {
        let never = &self.never.truth;
        let floors = self.policy.groups.iter().map(|(name, group)| {
            let floor = group.floor_at(never.since).0;
            let fewest = self.trimtab.truth.groups.get(name).map_or(0, |g| g.live_min.0);
            Floor { group: name.to_string(), floor, fewest, held: fewest >= floor }
        });
        let row = |outcome: &Outcome| Row {
            policy: outcome.name,
            nodes_deleted: outcome.truth.nodes_deleted(),
            nodes_regrown: outcome.truth.nodes_regrown(),
            node_hours: outcome.truth.billed().as_hours(),
            bill_usd: outcome.truth.cost().as_dollars(),
            job_delay_hours: (outcome.truth.waited() - never.waited()).as_hours(),
            job_delay_usd: self.delay(&outcome.truth).as_dollars(),
            jobs_lost: outcome.truth.lost_jobs().count(),
            work_lost_usd: self.work_lost(&outcome.truth).as_dollars(),
            saved_usd: self.saved(&outcome.truth).as_dollars(),
            busy_nodes_deleted: outcome.truth.busy_nodes_deleted().count(),
        };
        let saved = self.saved(&self.trimtab.truth);
        Report {
            days: self.days,
            jobs: self.jobs,
            ledger: self.state.display().to_string(),
            outcomes: [&self.never, &self.timer, &self.trimtab, &self.uncordoned].map(row).into(),
            saved_usd_against_never: saved.as_dollars(),
            saved_usd_against_timer: (saved - self.saved(&self.timer.truth)).as_dollars(),
            floors: floors.collect(),
            busy_nodes_deleted: self.trimtab.truth.busy_nodes_deleted().count(),
            busy_nodes_deleted_without_cordon: self.uncordoned.truth.busy_nodes_deleted().count(),
        }
    }
}

impl Summary {
    /// Savings compared with no deletions: the difference of the bills, minus the value of waiting
    /// time and lost work.
    fn saved(&self, truth: &Truth) -> Usd {
        self.never.truth.cost() - truth.cost() - self.delay(truth) - self.work_lost(truth)
    }

    /// Value of the waiting time that deletions caused: node-hours of waiting jobs at the price of
    /// their nodes (`delay_value` 1).
    fn delay(&self, truth: &Truth) -> Usd {
        let waited = |truth: &Truth| -> Usd {
            let fitting = truth.jobs.iter().filter(|job| job.fits);
            fitting.map(|job| self.worth(job, job.waited)).sum()
        };
        waited(truth) - waited(&self.never.truth)
    }

    /// Value of the work that was lost through deletions.
    fn work_lost(&self, truth: &Truth) -> Usd {
        let lost = truth.jobs.iter().flat_map(|job| job.restarts.iter().map(move |r| (job, r)));
        let ours =
            lost.filter(|(_, restart)| matches!(restart.cause, RestartCause::Deleted { .. }));
        ours.map(|(job, restart)| self.worth(job, restart.lost_work)).sum()
    }

    /// Price of a span on all nodes of a job, or on its share of one node.
    fn worth(&self, job: &JobRecord, span: Span) -> Usd {
        let group = self.policy.groups.values().find(|g| g.partitions.contains(&job.partition));
        let Some(group) = group else { return Usd::ZERO };
        let price = group.price.unwrap_or_default();
        if job.nodes > NodeCount(1) || job.gpus.0 == 0 || group.gpus_per_node.0 == 0 {
            return price.over(span.times(i64::from(job.nodes.0)));
        }
        let share = i64::from(job.gpus.0);
        price.over(Span(span.0.saturating_mul(share) / i64::from(group.gpus_per_node.0)))
    }
}

impl Report {
    /// Whether the demo succeeded: trimtab deleted no busy node, and without the cordon it did.
    pub(crate) fn holds(&self) -> bool {
        self.busy_nodes_deleted == 0
            && self.busy_nodes_deleted_without_cordon > 0
            && self.floors.iter().all(|floor| floor.held)
    }

    /// Prints the summary as text.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub(crate) fn print(&self, style: Style) -> anyhow::Result<()> {
        line("")?;
        line(&style.paint(Tone::Strong, "the same days, four ways"))?;
        let mut rows = table(&[
            "policy",
            "deleted",
            "regrown",
            "node-h",
            "bill",
            "delay",
            "worth",
            "killed",
            "work lost",
            "saved",
            "busy deleted",
        ]);
        for row in &self.outcomes {
            rows.add_row([
                row.policy.to_owned(),
                row.nodes_deleted.to_string(),
                row.nodes_regrown.to_string(),
                format!("{:.0}", row.node_hours),
                Usd::from_dollars(row.bill_usd).to_string(),
                format!("{:.0} h", row.job_delay_hours),
                Usd::from_dollars(row.job_delay_usd).to_string(),
                row.jobs_lost.to_string(),
                Usd::from_dollars(row.work_lost_usd).to_string(),
                Usd::from_dollars(row.saved_usd).to_string(),
                row.busy_nodes_deleted.to_string(),
            ]);
        }
        right(&mut rows, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        line(&rows.to_string())?;
        line("")?;
        line(
            "bill: all nodes from launch to termination, including boots. delay, worth: additional",
        )?;
        line("job waiting time caused by deletions, and its value at the price of the nodes.")?;
        line("killed: jobs ended by a deletion. saved: bill saved, minus worth and work lost.")?;
        line("")?;
        line(&format!(
            "saved compared with never delete: {}; with the per-node timer (kills {} jobs): {}",
            Usd::from_dollars(self.saved_usd_against_never),
            self.outcomes.get(1).map_or(0, |timer| timer.jobs_lost),
            Usd::from_dollars(self.saved_usd_against_timer)
        ))?;
        for floor in &self.floors {
            let held = if floor.held { "held" } else { "BROKEN" };
            line(&format!(
                "floor of {}: {} nodes, fewest live {}: {held}",
                floor.group, floor.floor, floor.fewest
            ))?;
        }
        let tone = if self.busy_nodes_deleted == 0 { Tone::Good } else { Tone::Bad };
        let zero = format!("busy nodes deleted: {}", self.busy_nodes_deleted);
        line(&style.paint(tone, &zero))?;
        line(&format!(
            "busy nodes deleted with the cordon switched off (negative control): {}",
            self.busy_nodes_deleted_without_cordon
        ))?;
        line("")?;
        line(&format!("see also:      trimtab history --state {}", self.ledger))?;
        line(&format!("               trimtab explain NODE --state {}", self.ledger))
    }
}
