//! Counting: each listed worker of a named group gets one class, and the counts of a group are its
//! sample (docs/cost-rule.md, section 1).
//!
//! An incomplete snapshot is not a sample. It ends the windows (docs/safety.md, S3), instead of
//! counting unread nodes in a class to which they may not belong.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cordon::CordonStatus;
use crate::demand::{self, Queue};
use crate::floors;
use crate::history::{FreezeReason, History, MassTurn};
use crate::ids::{GroupName, InstanceId};
use crate::plan::{Doubt, Impairment, KeepReason, Usage};
use crate::policy::{ClusterPolicy, EvidenceSource, GroupPolicy, UtilizationRule};
use crate::reads::{Activity, Condition, InstanceStatus, Reading, Role};
use crate::rule::learned::{self, Learner};
use crate::rule::{self, Class, Counts, Member, Sample, boot_cost};
use crate::snapshot::{GroupView, Listing, NodeView, Snapshot, WorkloadSource};
use crate::units::{NodeCount, Span, Time};

/// Longest time between two samples that are still compared for a mass change, even if the window
/// ended between them. After a longer time many changes are normal (docs/safety.md, S7).
const TURNS_REMEMBERED: Span = Span::mins(30);

/// Counts of one snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct Census {
    /// Time of the snapshot.
    pub at: Time,
    /// Counts by named group.
    pub groups: BTreeMap<GroupName, GroupCensus>,
    /// A change since the last sample that exceeds the mass-change limit.
    pub mass_change: Option<FreezeReason>,
}

/// Counts of one group in one snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupCensus {
    /// The sample.
    pub sample: Sample,
    /// State of each node that is kept until the next sample.
    pub members: BTreeMap<InstanceId, Member>,
}

/// Why a snapshot is not a sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SampleGap {
    /// The cluster or its nodes could not be read completely.
    Nodes,
    /// The scheduler could not be read completely.
    Workload(WorkloadSource),
}

/// Class of a node, and the reason for it unless the node is idle.
#[derive(Debug, Clone, PartialEq)]
pub struct Classified {
    /// The class.
    pub class: Class,
    /// Why the node is not idle; `None` if it is.
    pub why: Option<KeepReason>,
}

/// Counts a snapshot.
///
/// # Errors
/// The snapshot is not a sample. The caller then ends the window of every group.
pub fn take(
    snapshot: &Snapshot,
    policy: &ClusterPolicy,
    history: &History,
) -> Result<Census, SampleGap> {
    if snapshot.state.is_none() || snapshot.listing != Listing::Complete {
        return Err(SampleGap::Nodes);
    }
    match (&snapshot.workload, policy.evidence_source) {
        (WorkloadSource::Complete, _)
        | (WorkloadSource::NotConfigured, EvidenceSource::MetricsOnly) => {}
        (other, _) => return Err(SampleGap::Workload(other.clone())),
    }
    // A stale answer is a failure of the scheduler, not a change of the nodes. It ends the
    // windows, but it is not a mass change that an operator has to clear.
    let mut nodes = snapshot.groups.values().flat_map(|group| &group.nodes);
    if policy.evidence_source == EvidenceSource::Scheduler
        && let Some(at) = nodes.find_map(|node| match node.scheduler {
            Reading::Stale { at } => Some(at),
            Reading::Absent | Reading::Partial | Reading::Fresh { .. } => None,
        })
    {
        let why = format!("its answer is of {at}").into();
        return Err(SampleGap::Workload(WorkloadSource::Failed { why }));
    }
    let mut groups = BTreeMap::new();
    let mut turns = Turns::default();
    for (name, group_policy) in &policy.groups {
        let Some(view) = snapshot.groups.get(name) else { continue };
        if view.description.role != Role::Worker {
            continue;
        }
        let counted = count_group(snapshot, policy, history, name, group_policy, view, &mut turns);
        groups.insert(name.clone(), counted);
    }
    let mass_change = turns.too_many(policy);
    Ok(Census { at: snapshot.taken_at, groups, mass_change })
}

/// Number of nodes that changed since the last sample, by kind of change.
#[derive(Default)]
struct Turns {
    listed: NodeCount,
    idle: NodeCount,
    unknown: NodeCount,
    gone: NodeCount,
}

impl Turns {
    fn too_many(&self, policy: &ClusterPolicy) -> Option<FreezeReason> {
        let kinds = [
            (MassTurn::Gone, self.gone),
            (MassTurn::Unknown, self.unknown),
            (MassTurn::Idle, self.idle),
        ];
        let (turned, changed) = kinds
            .into_iter()
            .find(|(_, changed)| policy.mass_change.is_exceeded(*changed, self.listed))?;
        Some(FreezeReason::MassChange { turned, changed, of: self.listed })
    }
}

fn count_group(
    snapshot: &Snapshot,
    policy: &ClusterPolicy,
    history: &History,
    name: &GroupName,
    group_policy: &GroupPolicy,
    view: &GroupView,
    turns: &mut Turns,
) -> GroupCensus {
    let at = snapshot.taken_at;
    let before = history.groups.get(name);
    let watched = before
        .and_then(|state| state.last_sample())
        .is_some_and(|last| at.since(last) <= policy.timing.max_gap());
    // A scheduler that did not answer for a while and then reports something different is the most
    // likely cause of a mass change. Therefore this comparison outlives the window.
    let remembered = before
        .and_then(|state| state.last_seen)
        .is_some_and(|last| at >= last && at.since(last) <= TURNS_REMEMBERED);
    let mut counts = Counts { floor: floors::floor(group_policy, at), ..Counts::default() };
    let mut members = BTreeMap::new();
    let mut departed = before.map_or(0, |state| state.departed);
    for node in &view.nodes {
        let member = before.and_then(|state| state.members.get(&node.id));
        // A node that was confirmed gone and is listed again may still be terminating.
        let gone = history.gone.iter().any(|gone| gone.node == node.id);
        let open = gone || history.actions.contains_key(&node.id);
        let class = classify(node, open, member, policy.evidence_source, group_policy).class;
        *match class {
            Class::Leaving => &mut counts.leaving,
            Class::Impaired => &mut counts.impaired,
            Class::Arriving => &mut counts.arriving,
            Class::Unknown => &mut counts.unknown,
            Class::Busy => &mut counts.busy,
            Class::Idle => &mut counts.idle,
        } += NodeCount(1);
        if let Some(member) = member {
            if member.class.is_working() && !class.is_working() {
                departed += 1;
            }
            let was_known = matches!(member.class, Class::Busy | Class::Idle);
            if remembered && member.class == Class::Busy && class == Class::Idle {
                turns.idle += NodeCount(1);
            }
            if remembered && was_known && class == Class::Unknown {
                turns.unknown += NodeCount(1);
            }
        }
        let idle_since = (class == Class::Idle).then_some(match member {
            Some(Member { idle_since: Some(since), .. }) if watched => *since,
            Some(_) | None => at,
        });
        let joined = member.is_some_and(|m| m.joined) || !matches!(node.scheduler, Reading::Absent);
        members.insert(node.id, Member { class, idle_since, joined });
    }
    if let Some(state) = before {
        for (id, member) in &state.members {
            let was_here = member.class.is_working() || member.class == Class::Unknown;
            if members.contains_key(id) || !was_here {
                continue;
            }
            departed += u64::from(member.class.is_working());
            let ours =
                history.actions.contains_key(id) || history.gone.iter().any(|g| g.node == *id);
            if remembered && !ours {
                turns.gone += NodeCount(1);
            }
        }
        if remembered {
            turns.listed += NodeCount::of(state.members.len());
        }
    }
    let largest =
        before.map_or(NodeCount::ZERO, |s| s.largest).max(NodeCount::of(view.nodes.len()));
    if let Some(queue) = Queue::of(view) {
        // Waiting jobs cannot take more nodes than the whole group has.
        let room = largest.max(group_policy.size).saturating_sub(counts.busy + counts.unknown);
        counts.queued = demand::queued(queue, group_policy, largest, at).min(room);
        // A look-ahead beyond T* is useless (docs/cost-rule.md, section 6).
        let lookahead = boot_cost(group_policy).map_or(Span::ZERO, |cost| cost.break_even);
        let lookahead = group_policy.queue_lookahead.min(lookahead);
        let upcoming = demand::upcoming(queue, group_policy, largest, at, lookahead);
        counts.upcoming = upcoming.min(room.saturating_sub(counts.queued));
    }
    GroupCensus { sample: Sample { at, counts, departed }, members }
}

/// Returns the class of one node: the first that matches (docs/cost-rule.md, section 1).
pub fn classify(
    node: &NodeView,
    open_action: bool,
    member: Option<&Member>,
    evidence_source: EvidenceSource,
    policy: &GroupPolicy,
) -> Classified {
    let of = |class, why| Classified { class, why: Some(why) };
    if open_action || node.status == InstanceStatus::ShuttingDown {
        return of(Class::Leaving, KeepReason::ShuttingDown);
    }
    if let Some(impairment) = impairment(node) {
        return of(Class::Impaired, KeepReason::Impaired(impairment));
    }
    let arriving = || of(Class::Arriving, KeepReason::Arriving(node.status.clone()));
    let unknown = |doubt| of(Class::Unknown, KeepReason::Unknown(doubt));
    match &node.status {
        InstanceStatus::Running => {}
        InstanceStatus::Unrecognised(status) => {
            return unknown(Doubt::StatusUnrecognised(Arc::clone(status)));
        }
        InstanceStatus::Pending
        | InstanceStatus::SystemUpdating
        | InstanceStatus::DeepHealthCheck
        | InstanceStatus::Failure
        | InstanceStatus::ShuttingDown => return arriving(),
    }
    match evidence_source {
        EvidenceSource::Scheduler => match &node.scheduler {
            Reading::Absent if member.is_some_and(|m| m.joined) => unknown(Doubt::SchedulerLost),
            Reading::Absent => arriving(),
            Reading::Stale { .. } => unknown(Doubt::SchedulerStale),
            Reading::Partial => match &node.join_doubt {
                Some(doubt) => unknown(Doubt::Name(doubt.clone())),
                None => unknown(Doubt::SchedulerPartial),
            },
            Reading::Fresh { value, .. } => match (value.condition, value.claims.first()) {
                (Condition::Joining, _) => arriving(),
                (Condition::Up | Condition::Down, Some(claim)) => {
                    of(Class::Busy, KeepReason::Busy(claim.clone()))
                }
                (Condition::Up | Condition::Down, None) => {
                    Classified { class: Class::Idle, why: None }
                }
            },
        },
        EvidenceSource::MetricsOnly => match (&policy.utilization, &node.activity) {
            (None, _) | (_, Reading::Absent) => unknown(Doubt::MetricsAbsent),
            (_, Reading::Stale { .. }) => unknown(Doubt::MetricsStale),
            (_, Reading::Partial) => unknown(Doubt::MetricsPartial),
            (Some(rule), Reading::Fresh { value, .. }) => match activity_objection(value, rule) {
                None => Classified { class: Class::Idle, why: None },
                Some(why @ KeepReason::Active(_)) => of(Class::Busy, why),
                Some(why) => of(Class::Unknown, why),
            },
        },
    }
}

fn impairment(node: &NodeView) -> Option<Impairment> {
    if node.status == InstanceStatus::Failure {
        return Some(Impairment::Failed);
    }
    let seen_node = node.scheduler.fresh()?;
    match &seen_node.cordon {
        CordonStatus::Recovery => return Some(Impairment::InRecovery),
        CordonStatus::Operator { reason } => return Some(Impairment::Drained(Arc::clone(reason))),
        CordonStatus::Foreign { .. } | CordonStatus::Ours { .. } => {
            return Some(Impairment::StrayCordon);
        }
        CordonStatus::Clear => {}
    }
    (seen_node.condition == Condition::Down).then_some(Impairment::Down)
}

/// Returns why these metrics do not show an idle node: they show work, or they cover less than the
/// metrics window. Returns `None` if they show an idle node.
pub fn activity_objection(activity: &Activity, rule: &UtilizationRule) -> Option<KeepReason> {
    if activity.utilization >= rule.idle_below || activity.memory >= rule.memory_below {
        return Some(KeepReason::Active(Usage {
            utilization: activity.utilization,
            memory: activity.memory,
            idle_below: rule.idle_below,
            memory_below: rule.memory_below,
        }));
    }
    let covers = activity.to.since(activity.from) + rule.period >= rule.window;
    (!covers).then_some(KeepReason::Unknown(Doubt::MetricsPartial))
}

impl History {
    /// Adds a census: advances the learners, adds one sample per group and replaces the state of
    /// the nodes.
    pub fn fold(&mut self, census: &Census, policy: &ClusterPolicy) {
        let max_gap = policy.timing.max_gap();
        let sampled = self.groups.iter_mut().filter(|(name, _)| census.groups.contains_key(*name));
        let mut learners: Vec<(&mut Learner, bool)> = sampled
            .filter_map(|(_, state)| {
                let is_watched = state.is_watched(census.at, max_gap);
                Some((state.learner.as_mut()?, is_watched))
            })
            .collect();
        learned::carry_on(&mut learners, census.at);
        for (name, counted) in &census.groups {
            let state = self.groups.entry(name.clone()).or_default();
            state.fold(counted.sample, max_gap);
            let counts = counted.sample.counts;
            let terms = policy.groups.get(name).and_then(|p| rule::terms(p, &policy.timing));
            match &mut state.learner {
                Some(learner) => learner.step(counts.levels(), terms),
                None => {
                    let up = counts.live() + counts.unknown;
                    let learner = Learner::starting(census.at, counts.levels(), up, terms);
                    state.learner = Some(learner);
                }
            }
            state.members = counted.members.clone();
            state.largest = state.largest.max(NodeCount::of(counted.members.len()));
        }
    }

    /// Ends the window of every group, because its samples are in doubt.
    pub fn end_windows(&mut self) {
        for state in self.groups.values_mut() {
            state.end_window();
        }
    }
}
