//! JSON documents for plans and figures. Key names contain units; times are RFC 3339 in UTC.

use std::collections::BTreeMap;

use serde::Serialize;
use trimtab_core::action::Evidence;
use trimtab_core::plan::{GroupFigures, Mark, NodeVerdict, Release, Verdict, WaitingJob};
use trimtab_core::rule::Counts;
use trimtab_core::rule::learned::{SoFar, TimerInForce};
use trimtab_core::units::Span;
use trimtab_daemon::driver::TickReport;

use crate::metrics_cost::MetricsDocument;

/// Plans of all clusters, in the order of the configuration.
#[derive(Serialize)]
pub(crate) struct PlansDocument {
    pub(crate) clusters: Vec<PlanDocument>,
}

#[derive(Serialize)]
pub(crate) struct PlanDocument {
    cluster: String,
    at: String,
    groups: BTreeMap<String, GroupDocument>,
    marks: Vec<MarkDocument>,
    releases: Vec<ReleaseDocument>,
    nodes: Vec<NodeDocument>,
    violations: Vec<String>,
    /// `None` when the metrics are free.
    metrics: Option<MetricsDocument>,
}

impl PlanDocument {
    /// Returns the plan of a tick; `tick` is the time between two ticks.
    pub(crate) fn of(report: &TickReport, tick: Span) -> Self {
        let plan = &report.plan;
        Self {
            cluster: plan.cluster.to_string(),
            at: plan.made_at.to_string(),
            groups: plan
                .figures
                .iter()
                .map(|(name, figures)| {
                    let so_far = report.so_far.get(name);
                    (name.to_string(), GroupDocument::of(figures, so_far))
                })
                .collect(),
            marks: plan.marks.iter().map(MarkDocument::of).collect(),
            releases: plan.releases.iter().map(ReleaseDocument::of).collect(),
            nodes: plan.verdicts.iter().map(NodeDocument::of).collect(),
            violations: report.violations.iter().map(ToString::to_string).collect(),
            metrics: MetricsDocument::of(report.metrics, tick),
        }
    }
}

/// Figures behind a group's verdicts.
#[derive(Serialize)]
pub(crate) struct GroupDocument {
    counts: Option<Counts>,
    watched_since: Option<String>,
    idle_timer_seconds: Option<i64>,
    break_even_seconds: Option<i64>,
    price_usd_per_hour: Option<f64>,
    boot_cost_usd: Option<f64>,
    surplus: Option<u32>,
    upcoming: u32,
    /// Number of jobs that wait for nodes of the group; `waiting` lists the largest.
    waiting_jobs: usize,
    waiting: Vec<WaitingDocument>,
    headroom: u32,
    floor: u32,
    candidates: u32,
    marks: u32,
    bound: Option<String>,
    wanted_back: u32,
    /// Time at which the next node is surplus if the counts stay as they are.
    next_at: Option<String>,
    learned: Option<LearnedDocument>,
    so_far: Option<SoFarDocument>,
}

/// A job that waits for nodes of the group.
#[derive(Serialize)]
struct WaitingDocument {
    job: String,
    nodes: u32,
    reason: String,
}

impl WaitingDocument {
    fn of(waiting: &WaitingJob) -> Self {
        Self {
            job: waiting.job.to_string(),
            nodes: waiting.nodes.0,
            reason: waiting.reason.to_string(),
        }
    }
}

/// The learned timer and its data.
#[derive(Serialize)]
struct LearnedDocument {
    idle_timer_seconds: i64,
    headroom: u32,
    fitted_at: String,
    own_gaps: u64,
    pooled_gaps: u64,
    /// Whether break-even replaces it because the learned timer has cost too much so far.
    governed: bool,
}

/// Costs of the timers on the observed demand.
#[derive(Serialize)]
struct SoFarDocument {
    since: String,
    fixed_timer_seconds: i64,
    fixed_usd: f64,
    break_even_usd: f64,
    learned_usd: f64,
    clairvoyant_usd: f64,
}

impl SoFarDocument {
    fn of(so_far: &SoFar) -> Self {
        let SoFar { since, fixed, costs } = so_far;
        Self {
            since: since.to_string(),
            fixed_timer_seconds: fixed.as_secs(),
            fixed_usd: costs.fixed.as_dollars(),
            break_even_usd: costs.break_even.as_dollars(),
            learned_usd: costs.learned.as_dollars(),
            clairvoyant_usd: costs.clairvoyant.as_dollars(),
        }
    }
}

impl GroupDocument {
    pub(crate) fn of(figures: &GroupFigures, so_far: Option<&SoFar>) -> Self {
        let cost = figures.cost.as_ref();
        let break_even = cost.map(|cost| cost.break_even).filter(|span| !span.is_forever());
        let timer = figures.tau.filter(|tau| !tau.is_forever());
        Self {
            counts: figures.counts,
            watched_since: figures.covered_since.map(|at| at.to_string()),
            idle_timer_seconds: timer.map(Span::as_secs),
            break_even_seconds: break_even.map(Span::as_secs),
            price_usd_per_hour: cost.map(|cost| cost.price.as_dollars()),
            boot_cost_usd: cost.map(|cost| cost.boot_cost.as_dollars()),
            surplus: figures.surplus.map(|count| count.0),
            upcoming: figures.upcoming.0,
            waiting_jobs: figures.waiting_jobs,
            waiting: figures.waiting.iter().map(WaitingDocument::of).collect(),
            headroom: figures.headroom.0,
            floor: figures.floor.0,
            candidates: figures.candidates.0,
            marks: figures.marks.0,
            bound: figures.bound.map(|bound| bound.to_string()),
            wanted_back: figures.wanted_back.0,
            next_at: figures.next_at.map(|at| at.to_string()),
            learned: figures.fit.map(|fit| LearnedDocument {
                idle_timer_seconds: fit.timer.as_secs(),
                headroom: fit.headroom.0,
                fitted_at: fit.at.to_string(),
                own_gaps: fit.own_gaps,
                pooled_gaps: fit.pooled_gaps,
                governed: figures.standing == Some(TimerInForce::Governed),
            }),
            so_far: so_far.map(SoFarDocument::of),
        }
    }
}

/// A node to delete.
#[derive(Serialize)]
struct MarkDocument {
    node: String,
    group: String,
    launched: String,
    idle_since: String,
    surplus: u32,
    idle_timer_seconds: i64,
    saves_usd_per_hour: f64,
    boot_cost_usd: f64,
    /// Nodes that stay after a request for the whole group; absent for a request by IDs.
    #[serde(skip_serializing_if = "Option::is_none")]
    whole_group_leaves: Option<u32>,
}

impl MarkDocument {
    fn of(mark: &Mark) -> Self {
        let Evidence { idle_since, surplus, tau, price, boot_cost, remainder } = mark.evidence;
        Self {
            node: mark.node.to_string(),
            group: mark.group.to_string(),
            launched: mark.identity.launched.to_string(),
            idle_since: idle_since.to_string(),
            surplus: surplus.0,
            idle_timer_seconds: tau.as_secs(),
            saves_usd_per_hour: price.as_dollars(),
            boot_cost_usd: boot_cost.as_dollars(),
            whole_group_leaves: remainder.map(|count| count.0),
        }
    }
}

/// A cordoned node to release.
#[derive(Serialize)]
struct ReleaseDocument {
    action: u64,
    node: String,
    reason: String,
}

impl ReleaseDocument {
    fn of(release: &Release) -> Self {
        Self {
            action: release.action.0,
            node: release.node.to_string(),
            reason: release.why.to_string(),
        }
    }
}

/// The verdict on a node.
#[derive(Serialize)]
struct NodeDocument {
    node: String,
    name: Option<String>,
    group: String,
    decision: &'static str,
    reason: String,
}

impl NodeDocument {
    fn of(verdict: &NodeVerdict) -> Self {
        Self {
            node: verdict.node.to_string(),
            name: verdict.name.as_ref().map(ToString::to_string),
            group: verdict.group.to_string(),
            decision: decision(&verdict.verdict),
            reason: verdict.verdict.to_string(),
        }
    }
}

/// Returns a verdict as one word.
pub(crate) fn decision(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Keep(_) => "keep",
        Verdict::Mark(_) => "delete",
        Verdict::Leaving { .. } => "leaving",
        Verdict::Release(_) => "release",
    }
}
