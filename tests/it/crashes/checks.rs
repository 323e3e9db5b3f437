//! Checks at the end of every run, from the world's true record and the remaining ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use trimtab_core::action::{ActionState, End, ReleaseReason};
use trimtab_core::ids::{GroupName, InstanceId};
use trimtab_core::policy::{Amount, ClusterPolicy, EvidenceSource};
use trimtab_core::units::{NodeCount, Span, Time};
use trimtab_daemon::ledger::{HistoryRow, RequestRow};
use trimtab_daemon::ports::Notification;
use trimtab_simulator::truth::{Caller, DeleteRequest, Truth};
use trimtab_tests::life::Life;

/// A failed check.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    /// Name of the check.
    pub(super) check: &'static str,
    pub(super) text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check, self.text)
    }
}

/// Events of the daemon in a run.
#[derive(Debug, Clone, Default)]
pub(super) struct Lived {
    /// Number of kills.
    pub(super) kills: u32,
    /// Number of ticks that could not read or write everything, by cause.
    pub(super) shown: BTreeMap<&'static str, u32>,
}

/// Result of a run, as far as runs are compared.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// Nodes deleted.
    pub(super) deleted: u64,
    /// Nodes left.
    pub(super) left: u64,
    /// Time at which the last action ended, counted from the world's start.
    pub(super) settled: Span,
    /// Number of times that each of these happened: ends of actions, requests without an answer,
    /// ticks that could not read or write.
    pub(super) shown: BTreeMap<&'static str, u32>,
}

/// Checks a completed run.
pub(super) fn look(life: &Life, policy: &ClusterPolicy, lived: &Lived) -> (Seen, Vec<Finding>) {
    let truth = life.world.truth();
    let mut report = Report(vec![]);
    check_work(&mut report, &truth);
    check_calls(&mut report, &truth, policy);
    check_rates(&mut report, &truth, policy);
    let rows = life.open_ledger().reader().history(usize::MAX, None).unwrap_or_else(|why| {
        // Opening it ran SQLite's quick check.
        report.add("ledger unreadable", why.to_string());
        vec![]
    });
    check_ledger(&mut report, &rows, &truth, policy, lived.kills);
    check_cooldowns(&mut report, &rows, policy.timing.cooldown);
    for (name, reason) in &truth.cordons {
        report.add("cordon left", format!("{name} is drained for `{reason}` at the end"));
    }
    for (at, notification) in life.world.notifications() {
        if let Notification::PlanRefused { violations } = notification {
            report.add("plan refused", format!("at {at}: {violations:?}"));
        }
    }
    let left = truth.groups.iter().filter(|(name, _)| policy.groups.contains_key(name));
    let left = left.map(|(_, group)| u64::from(group.live.0)).sum();
    let settled = rows.iter().filter_map(|row| row.ended_at).max().unwrap_or(truth.since);
    let unanswered = ours(&truth).filter(|(_, call)| !call.answered).map(|_| "unanswered");
    let mut shown = lived.shown.clone();
    let by_count = ours(&truth).filter(|(_, call)| call.count.is_some()).map(|_| "group calls");
    for what in rows.iter().map(end).chain(unanswered).chain(by_count) {
        *shown.entry(what).or_default() += 1;
    }
    let settled = settled.since(truth.since);
    (Seen { deleted: truth.nodes_deleted(), left, settled, shown }, report.0)
}

/// Checks that kills cost time but no savings; every world lasts long enough for that.
pub(super) fn liveness(seen: &Seen, unharmed: &Seen, fewer: u64) -> Option<Finding> {
    let is_idle = seen.deleted == 0 && unharmed.deleted > 0;
    if !is_idle && seen.left <= unharmed.left + fewer {
        return None;
    }
    let text = format!(
        "{} nodes left and {} deleted; without a kill {} and {}",
        seen.left, seen.deleted, unharmed.left, unharmed.deleted
    );
    Some(Finding { check: "not trimmed", text })
}

/// Checks that a released node is left alone for the cool-down, above all after an operator's
/// resume.
fn check_cooldowns(report: &mut Report, rows: &[HistoryRow], cooldown: Span) {
    let mut ended: BTreeMap<InstanceId, (Time, &'static str)> = BTreeMap::new();
    // Oldest first.
    for row in rows.iter().rev() {
        let node = row.action.node;
        if let Some((at, why)) = ended.remove(&node)
            && row.action.marked_at < at + cooldown
        {
            let text = format!("{node}, {why} at {at}, marked at {}", row.action.marked_at);
            report.add("no cool-down", text);
        }
        let why = end(row);
        if let Some(at) = row.ended_at
            && !["paused", "restarted", "gone", "spared"].contains(&why)
        {
            ended.insert(node, (at, why));
        }
    }
}

/// Returns in one word how an action ended.
fn end(row: &HistoryRow) -> &'static str {
    match &row.action.state {
        ActionState::Ended { end: End::Released(why), .. } => match why {
            ReleaseReason::Claimed(_) => "claimed",
            ReleaseReason::Active => "active",
            ReleaseReason::StatusChanged(_) => "status changed",
            ReleaseReason::Vanished => "vanished",
            ReleaseReason::Demand => "demand",
            ReleaseReason::Floor => "floor",
            ReleaseReason::Vetoed(_) => "vetoed",
            ReleaseReason::Paused => "paused",
            ReleaseReason::Restarted => "restarted",
            ReleaseReason::TimedOut => "timed out",
            ReleaseReason::RefusedByApi(_) => "refused",
            ReleaseReason::NeverLeft => "never left",
            ReleaseReason::NotPicked => "spared",
        },
        ActionState::Ended { end: End::Gone | End::CordonLost | End::Replaced, .. }
        | ActionState::Marked { .. }
        | ActionState::Cordoning { .. }
        | ActionState::Settling { .. }
        | ActionState::Asking { .. }
        | ActionState::Asked { .. }
        | ActionState::Releasing { .. } => row.action.state.name(),
    }
}

struct Report(Vec<Finding>);

impl Report {
    fn add(&mut self, check: &'static str, text: String) {
        self.0.push(Finding { check, text });
    }
}

/// Checks that no job is lost with its node.
fn check_work(report: &mut Report, truth: &Truth) {
    for job in truth.lost_jobs() {
        report.add("job lost", format!("job {}: {:?}", job.id, job.restarts));
    }
    for asked in truth.busy_nodes_deleted() {
        let text = format!("{} was deleted with jobs {:?}", asked.node, asked.jobs_at_end);
        report.add("busy node deleted", text);
    }
}

fn ours(truth: &Truth) -> impl Iterator<Item = (usize, &DeleteRequest)> {
    truth.requests.iter().enumerate().filter(|(_, request)| request.by == Caller::Daemon)
}

/// Checks that every request names nodes that are cordoned, idle, not requested before, and not
/// needed for a floor.
fn check_calls(report: &mut Report, truth: &Truth, policy: &ClusterPolicy) {
    let mut leaving: BTreeSet<InstanceId> = BTreeSet::new();
    for (number, request) in ours(truth) {
        if let Some((group, stay)) = &request.count {
            check_shrunk(report, truth, request, group, *stay, policy);
        }
        for node in request.nodes.iter().filter(|node| leaving.contains(node)) {
            report.add("asked twice", format!("{node}, again at {}", request.at));
        }
        for asked in truth.asked.iter().filter(|asked| asked.request == number) {
            let node = asked.node;
            let cordoned = asked.drained_at_call.as_ref();
            let is_cordoned = cordoned.is_some_and(|reason| reason.starts_with("trimtab:"));
            // A refused node may have been replaced while the request was sent.
            if asked.failed.is_some() {
                continue;
            }
            leaving.insert(node);
            if policy.evidence_source == EvidenceSource::Scheduler && !is_cordoned {
                report.add("not cordoned", format!("{node} at {}: {cordoned:?}", asked.at));
            }
            if !asked.jobs_at_call.is_empty() {
                report.add("asked while busy", format!("{node}: {:?}", asked.jobs_at_call));
            }
            let group = asked.known.as_ref().and_then(|(group, _)| policy.groups.get(group));
            let floor = group.map(|group| &group.min_nodes);
            if let Some(Amount::Nodes(floor)) = floor
                && asked.live_after < *floor
            {
                report.add("below the floor", format!("{node}: {} live", asked.live_after.0));
            }
        }
    }
}

/// Checks that a group is set to a lower count only while all of its nodes are cordoned and idle.
/// The world keeps no record of the nodes that stay, so only the deleted nodes and the request are
/// checked.
fn check_shrunk(
    report: &mut Report,
    truth: &Truth,
    request: &DeleteRequest,
    group: &GroupName,
    stay: NodeCount,
    policy: &ClusterPolicy,
) {
    let at = request.at;
    let floor = policy.groups.get(group).map(|group| &group.min_nodes);
    if let Some(Amount::Nodes(floor)) = floor
        && stay < *floor
    {
        report.add("below the floor", format!("{group} set to {stay} at {at}"));
    }
    if request.nodes.len() <= stay.get() {
        let there = request.nodes.len();
        report.add("asked for nothing", format!("{group} of {there} set to {stay} at {at}"));
    }
    if !truth.groups.contains_key(group) || !policy.groups.contains_key(group) {
        report.add("not ours", format!("{group} set to {stay} at {at}"));
    }
}

/// Returns the groups of the nodes that requests named.
fn groups(truth: &Truth, rows: &[HistoryRow]) -> BTreeMap<InstanceId, GroupName> {
    let asked = truth.asked.iter().filter_map(|asked| {
        let (group, _) = asked.known.as_ref()?;
        Some((asked.node, group.clone()))
    });
    let known = rows.iter().map(|row| (row.action.node, row.action.group.clone()));
    known.chain(asked).collect()
}

/// Checks that the number of requested nodes in every hour and every day is within the budgets, as
/// the API counts them.
fn check_rates(report: &mut Report, truth: &Truth, policy: &ClusterPolicy) {
    let groups = groups(truth, &[]);
    let mut asked: BTreeMap<&GroupName, Vec<Time>> = BTreeMap::new();
    for (_, request) in ours(truth) {
        let stay = request.count.as_ref().map_or(0, |(_, stay)| stay.get());
        for node in request.nodes.iter().skip(stay) {
            // Only the ledger check covers requests that never arrived.
            if let Some(group) = groups.get(node) {
                asked.entry(group).or_default().push(request.at);
            }
        }
    }
    for (group, times) in &asked {
        check_rate(report, "over the budget", policy, group, times);
    }
}

fn check_rate(
    report: &mut Report,
    check: &'static str,
    policy: &ClusterPolicy,
    group: &GroupName,
    times: &[Time],
) {
    let Some(budgets) = policy.groups.get(group).map(|group| group.budgets) else {
        report.add(check, format!("{group} is not ours"));
        return;
    };
    for (window, most) in [(Span::hours(1), budgets.per_hour), (Span::hours(24), budgets.per_day)] {
        let within =
            |from: Time| times.iter().filter(move |at| **at >= from && at.since(from) < window);
        let worst = times.iter().map(|from| (within(*from).count(), *from)).max();
        if let Some((count, from)) = worst
            && NodeCount::of(count) > most
        {
            let text = format!("{count} of {group} within {window} from {from}, not {}", most.0);
            report.add(check, text);
        }
    }
}

/// Checks that the ledger has every request, charged each of its nodes once, and has no open entry.
fn check_ledger(
    report: &mut Report,
    rows: &[HistoryRow],
    truth: &Truth,
    policy: &ClusterPolicy,
    kills: u32,
) {
    for row in rows.iter().filter(|row| row.ended_at.is_none()) {
        let text =
            format!("action {} of {}: {:?}", row.action.id, row.action.node, row.action.state);
        report.add("left open", text);
    }
    let mut written: BTreeMap<_, (&RequestRow, BTreeSet<InstanceId>)> = BTreeMap::new();
    let mut charges: BTreeMap<&GroupName, Vec<Time>> = BTreeMap::new();
    for row in rows {
        if let Some(at) = row.charged_at {
            charges.entry(&row.action.group).or_default().push(at);
        }
        if let Some(request) = &row.request {
            let (_, charged) = written.entry(request.request).or_insert((request, BTreeSet::new()));
            if row.charged_at.is_some() {
                charged.insert(row.action.node);
            }
        }
    }
    for (group, times) in &charges {
        check_rate(report, "charged over the budget", policy, group, times);
    }
    for (id, (request, charged)) in &written {
        let named: BTreeSet<InstanceId> = request.nodes.iter().copied().collect();
        let stay = request.count_after.map_or(0, NodeCount::get);
        // For a request by count, only the number of deleted nodes is known.
        let is_charged = charged.len() + stay == named.len() && charged.is_subset(&named);
        if !is_charged || named.len() != request.nodes.len() {
            let text = format!("request {id} names {named:?} and charges {charged:?}");
            report.add("charged otherwise", text);
        }
    }
    for (_, call) in ours(truth) {
        let made = written
            .iter()
            .find(|(_, (request, _))| request.at == call.at && request.nodes == call.nodes);
        match made.map(|(request, _)| *request) {
            Some(request) => {
                written.remove(&request);
            }
            None => {
                let text = format!("{:?} at {} is not in the ledger", call.nodes, call.at);
                report.add("uncharged", text);
            }
        }
    }
    // Requests that were written but never sent: the daemon was killed in between, at most once for
    // each kill.
    for (id, (request, _)) in &written {
        if request.outcome.is_some() {
            report.add("never sent", format!("request {id}: {:?}", request.outcome));
        }
    }
    if written.len() > kills as usize {
        report.add("never sent", format!("{} requests by {kills} kills", written.len()));
    }
}
