//! The driver runs the ticks of one cluster.
//!
//! ```text
//! observe ─► count ─► follow ─► sweep ─► plan ─► audit ─► begin ─► finish
//! ```
//! No tick waits. The driver commits every step of an action to the ledger before
//! it runs the effect of the step, and changes its memory only after the commit.
//! A failed write therefore changes neither, and ends the tick.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use trimtab_core::action::{
    ActionState, Answer, Effect, End, EventKind, NodeSeen, Notice, OwnCordon, ReleaseReason, Terms,
};
use trimtab_core::audit::{self, ApprovedPlan, Violation};
use trimtab_core::census::{self, SampleGap};
use trimtab_core::cordon::CordonStatus;
use trimtab_core::group_call;
use trimtab_core::history::{Freeze, Gone, History, OpenAction, Stop};
use trimtab_core::ids::{ActionId, GroupName, InstanceId, LedgerId, TickId};
use trimtab_core::look::look;
use trimtab_core::plan::{Mark, Plan};
use trimtab_core::planner;
use trimtab_core::policy::{ClusterPolicy, EvidenceSource};
use trimtab_core::reads::InstanceStatus;
use trimtab_core::rule::learned::SoFar;
use trimtab_core::snapshot::Snapshot;
use trimtab_core::steps::{self, NodeEvent, Steps, take_steps, wants_cooldown};
use trimtab_core::sweep;
use trimtab_core::units::{NodeCount, Span, Time};

use self::inquiries::Inquiries;
use crate::executor::Sent;
use crate::observe::{KnownDetails, MetricsUse, Observed, ReadScope, observe};
use crate::ports::{
    CordonOrder, Decision, Ledger, LedgerError, Notification, Observation, Ports, Ring, Switch,
};

mod inquiries;
mod requests;

/// trimtab notifies operators when a group has been frozen for this long.
const GROUP_FREEZE_REPORTED_AFTER: Span = Span::hours(1);

/// Whether a tick may begin new actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// Plan, begin new actions, and follow open ones.
    Act,
    /// Only follow open actions (`run --once` after its first tick).
    FollowOnly,
}

/// What one tick saw, decided and did.
#[derive(Debug, Clone)]
pub struct TickReport {
    /// The id of the tick in the ledger.
    pub tick: TickId,
    /// Why the loop woke up.
    pub ring: Ring,
    pub snapshot: Snapshot,
    /// How many metrics the tick read.
    pub metrics: MetricsUse,
    pub plan: Plan,
    /// The cost of each group's timers so far, for comparison.
    pub so_far: BTreeMap<GroupName, SoFar>,
    /// Nodes for which an action began. Empty in observe mode and with
    /// [`Intent::FollowOnly`].
    pub begun: Vec<InstanceId>,
    /// Why the audit refused the plan. If there are any, nothing of it was done.
    pub violations: Vec<Violation>,
    /// Delete requests that were sent, with their outcomes.
    pub sent: Vec<Sent>,
    /// Actions that ended in this tick.
    pub ended: Vec<(InstanceId, End)>,
    /// Number of actions that are open after the tick.
    pub open: usize,
}

/// Runs the ticks of one cluster.
pub struct Driver {
    ports: Ports,
    ledger: Arc<dyn Ledger>,
    ledger_id: LedgerId,
    policy: ClusterPolicy,
    history: History,
    /// Wall clock and monotonic clock at the last tick.
    clocks: Option<(Time, Span)>,
    /// Both clocks at the start. The first tick may run long after it.
    clocks_at_start: (Time, Span),
    /// A step of the wall clock that is not yet applied to the open actions.
    clock_step: Option<Span>,
    frozen_since: BTreeMap<GroupName, Time>,
    notified: BTreeSet<(ActionId, Notice)>,
    foreign_notified: bool,
    /// Open inquiries and their answers.
    inquiries: Inquiries,
    /// When the first read of the newest snapshot began.
    last_look: Option<Time>,
    /// Since when the ledger cannot be written.
    unwritable_since: Option<Time>,
    /// Details of single nodes that were read before.
    details: KnownDetails,
}

/// Why a tick failed.
#[derive(Debug, thiserror::Error)]
pub enum TickError {
    /// The ledger could not be read or written. Nothing was done without a commit.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Another process may be acting, so the tick read, wrote and did nothing.
    #[error("nothing was done: trimtab does not hold the lease: {why}")]
    NoLease {
        /// Why trimtab does not hold the lease.
        why: Arc<str>,
    },
}

impl Driver {
    /// Continues from the ledger. Releases the nodes of all actions that have not
    /// reached their delete request, and follows those that may have been sent.
    ///
    /// # Errors
    /// When the ledger cannot be read or written.
    pub async fn start(
        ports: Ports,
        ledger: Arc<dyn Ledger>,
        policy: ClusterPolicy,
    ) -> Result<Self, LedgerError> {
        let now = ports.clock.now();
        let clocks_at_start = (now, ports.clock.monotonic());
        let policy = priced(policy, &ports);
        let history = ledger.load(&policy.cluster, now, policy.timing.max_gap())?;
        let ledger_id = ledger.id();
        let mut driver = Self {
            ports,
            ledger,
            ledger_id,
            policy,
            history,
            clocks: None,
            clocks_at_start,
            clock_step: None,
            frozen_since: BTreeMap::new(),
            notified: BTreeSet::new(),
            foreign_notified: false,
            inquiries: Inquiries::default(),
            last_look: None,
            unwritable_since: None,
            details: KnownDetails::default(),
        };
        if let Some(freeze) = &driver.history.freeze {
            // A process that died right after the freeze has not sent this notification.
            driver.notify(now, &Notification::Frozen { why: freeze.why.clone() });
        }
        if driver.ports.writers.is_none() && !driver.history.actions.is_empty() {
            // Observe mode has no writers, so it cannot uncordon their nodes.
            let open = driver.history.actions.len();
            tracing::warn!(open, "an enforce run left open actions; observe mode keeps them");
        }
        if driver.ports.writers.is_some() {
            let open = driver.history.actions.keys();
            let started = open.map(|node| (*node, EventKind::Started)).collect();
            driver.advance(started, now).await?;
        }
        Ok(driver)
    }

    /// Returns what the driver remembers of earlier ticks.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Returns the policy in force.
    pub fn policy(&self) -> &ClusterPolicy {
        &self.policy
    }

    /// Returns the earliest future deadline of an open action or inquiry.
    pub fn deadline(&self) -> Option<Time> {
        let last = self.last_look;
        let deadlines = self.history.actions.values().filter_map(|a| a.state.deadline(&a.terms));
        let deadlines = deadlines.chain(self.inquiries.deadlines());
        deadlines.filter(|at| last.is_none_or(|last| *at > last)).min()
    }

    /// Runs one tick.
    ///
    /// # Errors
    /// When the ledger cannot be read or written, or trimtab does not hold the lease.
    pub async fn tick(&mut self, ring: Ring, intent: Intent) -> Result<TickReport, TickError> {
        self.read_controls()?;
        if let Some(Stop::NoLease { why }) = &self.history.stop {
            return Err(TickError::NoLease { why: Arc::clone(why) });
        }
        let Observed { snapshot, metrics } = self.observe(ReadScope::Everything).await;
        let now = snapshot.taken_at;
        self.last_look = Some(snapshot.begun_at);
        self.check_clocks(&snapshot);
        self.history.forget(now);
        let tick = match self.count(&snapshot, ring) {
            Ok(tick) => tick,
            Err(why) => {
                self.give_up_cordons(&snapshot).await;
                return Err(why.into());
            }
        };
        self.unwritable_since = None;
        self.check_foreign_cordons(&snapshot);
        self.report_long_freezes(&snapshot);

        let mut ended = vec![];
        if self.ports.writers.is_some() {
            ended = self.follow(&snapshot).await?;
            self.sweep(&snapshot).await;
        }
        let plan = planner::plan(&snapshot, &self.policy, &self.history, now);
        let approved = audit::approve(plan.clone(), &snapshot, &self.policy, &self.history, now);
        let (approved, violations) = match approved {
            Ok(approved) => (Some(approved), vec![]),
            Err(violations) => (None, violations),
        };
        if !violations.is_empty() {
            let violations = violations.iter().map(ToString::to_string).collect();
            self.notify(now, &Notification::PlanRefused { violations });
        }
        // Follow-only mode begins no actions. It still releases nodes that the floor
        // or waiting jobs need. A refused plan is a bug in trimtab, so this tick does
        // nothing of the plan and sends no delete request for earlier marks either.
        let approved = approved.filter(|_| self.ports.writers.is_some()).map(|plan| match intent {
            Intent::Act => plan,
            Intent::FollowOnly => plan.without_marks(),
        });
        let begun = self.begin(tick, &plan, approved, &snapshot).await?;
        let sent = match self.ports.writers {
            Some(_) if violations.is_empty() => self.finish(&snapshot).await?,
            Some(_) | None => vec![],
        };
        let open = self.history.actions.len();
        let learners = self.history.groups.iter();
        let so_far = learners
            .filter_map(|(name, state)| Some((name.clone(), state.learner.as_ref()?.so_far()?)))
            .collect();
        Ok(TickReport {
            tick,
            ring,
            snapshot,
            metrics,
            plan,
            so_far,
            begun,
            violations,
            sent,
            ended,
            open,
        })
    }

    /// Releases the nodes of all actions that have not reached their delete request.
    /// Called at SIGTERM.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn shut_down(&mut self) -> Result<(), LedgerError> {
        self.inquiries.withdraw_all();
        if self.ports.writers.is_none() || self.history.actions.is_empty() {
            return Ok(());
        }
        let why = ReleaseReason::Vetoed("trimtab is stopping".into());
        let open = self.history.actions.keys();
        let vetoes = open.map(|node| (*node, EventKind::Veto(why.clone()))).collect();
        self.advance(vetoes, self.ports.clock.now()).await?;
        // The first look uncordons the nodes, the second one confirms it.
        for _ in 0..2 {
            let seen = self.observe(ReadScope::ToRelease).await;
            self.look_at_all(&seen.snapshot).await?;
        }
        Ok(())
    }

    async fn observe(&mut self, reading: ReadScope) -> Observed {
        let Self { ports, policy, history, ledger_id, details, .. } = self;
        observe(ports, policy, history, ledger_id, details, reading).await
    }

    /// Reads the switches and the lease, and whether an operator cleared the freeze.
    fn read_controls(&mut self) -> Result<(), LedgerError> {
        self.history.stop = self.stop();
        if let Some(freeze) = &self.history.freeze
            && self.ledger.freeze_cleared(&self.policy.cluster, freeze.at)?
        {
            self.history.freeze = None;
            // The samples from before the freeze caused it, so they must not count.
            self.history.end_windows();
        }
        Ok(())
    }

    /// Returns why trimtab must not act now, if so. Called before every request.
    fn stop(&self) -> Option<Stop> {
        if let Err(why) = self.ports.lease.hold() {
            return Some(Stop::NoLease { why: why.to_string().into() });
        }
        let cluster = &self.policy.cluster;
        match self.ports.switches.read(cluster) {
            Ok(Switch::On) => {}
            Ok(Switch::Paused { why }) => return Some(Stop::Paused { why }),
            Err(why) => return Some(Stop::SwitchUnreadable { why: why.to_string().into() }),
        }
        match self.ledger.read_switch(cluster) {
            Ok(Switch::On) => None,
            Ok(Switch::Paused { why }) => Some(Stop::Paused { why }),
            Err(why) => Some(Stop::SwitchUnreadable { why: why.to_string().into() }),
        }
    }

    /// Detects a step of the wall clock (S20). A step ends all windows, and shifts
    /// charges and the back-off so that they last as long as before.
    fn check_clocks(&mut self, snapshot: &Snapshot) {
        let (now, monotonic) = (snapshot.taken_at, self.ports.clock.monotonic());
        let (wall_before, monotonic_before) = self.clocks.unwrap_or(self.clocks_at_start);
        let step = now.since(wall_before) - (monotonic - monotonic_before);
        if step.0.abs() > self.policy.timing.clock_tolerance.0 {
            self.history.end_windows();
            for charge in &mut self.history.charges {
                // A charge cannot lie in the future.
                charge.at = (charge.at + step).min(now);
            }
            if let Some(backoff) = &mut self.history.backoff {
                (backoff.at, backoff.until) = (backoff.at + step, backoff.until + step);
            }
            let before = self.clock_step.unwrap_or(Span::ZERO);
            self.clock_step = Some(before + step);
        }
        self.clocks = Some((now, monotonic));
    }

    /// Counts the nodes, adds the sample to the windows, and commits them. An
    /// incomplete snapshot is no sample and ends the windows.
    fn count(&mut self, snapshot: &Snapshot, ring: Ring) -> Result<TickId, LedgerError> {
        let mut counted = self.history.clone_groups();
        let (mut gap, mut freeze) = (None, None);
        match census::take(snapshot, &self.policy, &self.history) {
            Ok(census) => {
                if census.mass_change.is_some() || self.history.freeze.is_some() {
                    // A doubtful sample opens no window, and the timer learns nothing from it.
                    counted.end_windows();
                }
                counted.fold(&census, &self.policy);
                if let Some(why) = census.mass_change.filter(|_| self.history.freeze.is_none()) {
                    freeze = Some(Freeze { at: snapshot.taken_at, why });
                }
            }
            Err(why) => {
                counted.end_windows();
                gap = Some(match why {
                    SampleGap::Nodes => "the cluster or its node list could not be read completely",
                    SampleGap::Workload(_) => "the scheduler could not be read completely",
                });
            }
        }
        let tick = self.ledger.record_observation(&Observation {
            cluster: &self.policy.cluster,
            at: snapshot.taken_at,
            begun_at: snapshot.begun_at,
            ring,
            gap,
            groups: &counted.groups,
            freeze: freeze.as_ref(),
        })?;
        self.history.groups = counted.groups;
        if let Some(freeze) = freeze {
            self.notify(snapshot.taken_at, &Notification::Frozen { why: freeze.why.clone() });
            self.history.freeze = Some(freeze);
        }
        Ok(tick)
    }

    /// Uncordons all nodes without a delete request when the ledger has not been
    /// writable for `settling_timeout`, so that jobs can use them. This is not recorded.
    /// When the ledger is writable again, the looks find the cordons gone and end the
    /// actions, as if an operator had removed the cordons.
    async fn give_up_cordons(&mut self, snapshot: &Snapshot) {
        let now = snapshot.taken_at;
        let since = *self.unwritable_since.get_or_insert(now);
        if now.since(since) < self.policy.timing.settling_timeout {
            return;
        }
        self.inquiries.withdraw_all();
        let unasked = self.history.actions.values().filter(|action| !action.state.is_asked());
        let ours = unasked.filter(|action| match look(action, snapshot, &self.policy).seen_node {
            NodeSeen::Present { status, cordon: OwnCordon::Ours, .. } => {
                status != InstanceStatus::ShuttingDown
            }
            NodeSeen::Present { .. }
            | NodeSeen::Absent { .. }
            | NodeSeen::Replaced
            | NodeSeen::Unread => false,
        });
        let order = |action: &OpenAction| {
            Some(CordonOrder { name: action.identity.name.clone()?, action: action.id })
        };
        let orders: Vec<CordonOrder> = ours.filter_map(order).collect();
        self.release_cordons(&orders).await;
    }

    /// Stops all actions in this cluster while another trimtab has cordoned nodes in it.
    fn check_foreign_cordons(&mut self, snapshot: &Snapshot) {
        let foreign = snapshot.cordons.iter().find_map(|seen| match &seen.cordon {
            CordonStatus::Foreign { ledger } => Some(ledger.clone()),
            CordonStatus::Clear
            | CordonStatus::Ours { .. }
            | CordonStatus::Recovery
            | CordonStatus::Operator { .. } => None,
        });
        let Some(ledger) = foreign else { return };
        if !self.foreign_notified {
            self.foreign_notified = true;
            let notification = Notification::ForeignCordons { ledger: ledger.clone() };
            self.notify(snapshot.taken_at, &notification);
        }
        if self.history.stop.is_none() {
            self.history.stop = Some(Stop::ForeignCordons { ledger });
        }
    }

    fn report_long_freezes(&mut self, snapshot: &Snapshot) {
        let now = snapshot.taken_at;
        for (name, view) in &snapshot.groups {
            if view.freeze.is_none() || !self.policy.groups.contains_key(name) {
                self.frozen_since.remove(name);
                continue;
            }
            let since = *self.frozen_since.entry(name.clone()).or_insert(now);
            let for_how_long = now.since(since);
            // Notify once after the first hour, and then every hour.
            let hours = |span: Span| span.0.max(0) / GROUP_FREEZE_REPORTED_AFTER.0;
            if hours(for_how_long) > hours(for_how_long - self.policy.timing.tick) {
                self.ports.notifier.notify(
                    &self.policy.cluster,
                    now,
                    &Notification::GroupFrozenLong { group: name.clone(), for_how_long },
                );
            }
        }
    }

    /// Moves every open action forward as far as this tick's reads allow.
    async fn follow(&mut self, snapshot: &Snapshot) -> Result<Vec<(InstanceId, End)>, LedgerError> {
        self.inquiries.collect();
        let mut vetoes = self.inquiries.vetoes(&self.history);
        for (node, action) in &self.history.actions {
            // The outcome of its request was not written, so it is unknown.
            if let ActionState::Asking { .. } = action.state {
                vetoes.push((*node, EventKind::Answered(Answer::NoAnswer)));
            }
            if self.history.stop.is_some() {
                vetoes.push((*node, EventKind::Paused));
            }
            if self.history.freeze.is_some() {
                let why = ReleaseReason::Vetoed("the cluster is frozen".into());
                vetoes.push((*node, EventKind::Veto(why)));
            }
            // trimtab sends no request during the back-off, so jobs should use the
            // node meanwhile.
            if let Some(backoff) = self.history.backed_off(snapshot.taken_at) {
                let why = format!("no request until {}, after a refusal", backoff.until);
                vetoes.push((*node, EventKind::Veto(ReleaseReason::Vetoed(why.into()))));
            }
            if let Some(step) = self.clock_step {
                let why = format!("the wall clock stepped by {step}");
                vetoes.push((*node, EventKind::Veto(ReleaseReason::Vetoed(why.into()))));
                vetoes.push((*node, EventKind::ClockStepped(step)));
            }
        }
        let mut ended = self.advance(vetoes, snapshot.taken_at).await?;
        // Clear it only after the commit: if the write fails, the next tick vetoes again.
        self.clock_step = None;
        ended.extend(self.look_at_all(snapshot).await?);
        Ok(ended)
    }

    async fn look_at_all(
        &mut self,
        snapshot: &Snapshot,
    ) -> Result<Vec<(InstanceId, End)>, LedgerError> {
        let mut happenings = vec![];
        for (node, action) in &self.history.actions {
            let look = look(action, snapshot, &self.policy);
            happenings.push((*node, EventKind::Look(look)));
            happenings.push((*node, EventKind::Deadline));
        }
        let mut ended = self.advance(happenings, snapshot.taken_at).await?;
        // After the looks, because whole-group requests are judged by the actions
        // that the looks ended.
        let over = group_call::over(snapshot, &self.history);
        let over: Vec<NodeEvent> =
            over.into_iter().map(|(node, why)| (node, EventKind::GroupRequestOver(why))).collect();
        // This ends actions without a cordon. The others are uncordoned by their next
        // look, so look again now instead of at the next tick.
        let nodes: Vec<InstanceId> = over.iter().map(|(node, _)| *node).collect();
        ended.extend(self.advance(over, snapshot.taken_at).await?);
        let mut looks = vec![];
        for node in nodes {
            if let Some(action) = self.history.actions.get(&node) {
                looks.push((node, EventKind::Look(look(action, snapshot, &self.policy))));
            }
        }
        ended.extend(self.advance(looks, snapshot.taken_at).await?);
        Ok(ended)
    }

    /// Removes cordons of this trimtab that belong to no open action (S17).
    async fn sweep(&self, snapshot: &Snapshot) {
        self.release_cordons(&sweep::stray_cordons(snapshot, &self.history)).await;
    }

    /// Commits the decision, then cordons the marked nodes and uncordons the
    /// released ones. Returns the nodes for which an action began.
    async fn begin(
        &mut self,
        tick: TickId,
        plan: &Plan,
        approved: Option<ApprovedPlan>,
        snapshot: &Snapshot,
    ) -> Result<Vec<InstanceId>, LedgerError> {
        let at = snapshot.taken_at;
        let (marks, releases) = match &approved {
            Some(approved) => (approved.marks(), approved.releases()),
            None => (&[][..], &[][..]),
        };
        let mut opened = vec![];
        if !marks.is_empty() {
            let first = self.ledger.reserve_actions(NodeCount::of(marks.len()))?;
            let ids = (first.0..).map(ActionId);
            opened = marks.iter().zip(ids).map(|(mark, id)| self.open(mark, id, at)).collect();
        }
        let mut happenings: Vec<NodeEvent> = vec![];
        for release in releases {
            happenings.push((release.node, EventKind::Veto(release.why.clone())));
            if let Some(action) = self.history.actions.get(&release.node) {
                let look = look(action, snapshot, &self.policy);
                happenings.push((release.node, EventKind::Look(look)));
            }
        }
        for action in &opened {
            happenings.push((action.node, EventKind::Look(look(action, snapshot, &self.policy))));
        }
        let freeze = plan.freeze.clone().map(|why| Freeze { at, why });
        let freeze = freeze.filter(|_| self.history.freeze.is_none());

        let mut actions = self.history.actions.clone();
        actions.extend(opened.iter().map(|action| (action.node, action.clone())));
        let steps = take_steps(&actions, happenings, at);
        self.record_cooldowns(&steps, at)?;
        self.ledger.record_decision(&Decision {
            tick,
            cluster: &self.policy.cluster,
            at,
            verdicts: &plan.verdicts,
            figures: &plan.figures,
            freeze: freeze.as_ref(),
            opened: &opened,
            transitions: &steps.transitions,
        })?;
        self.history.actions = actions;
        if let Some(freeze) = freeze {
            self.notify(at, &Notification::Frozen { why: freeze.why.clone() });
            self.history.freeze = Some(freeze);
        }
        self.settle(steps, at).await?;
        Ok(opened.iter().map(|action| action.node).collect())
    }

    fn open(&self, mark: &Mark, id: ActionId, at: Time) -> OpenAction {
        let cordoned = self.policy.evidence_source == EvidenceSource::Scheduler;
        let period = self.policy.groups.get(&mark.group).and_then(|group| group.utilization);
        let timing = &self.policy.timing;
        // Without a cordon, the second look must use data points that are at least one
        // period newer than the mark.
        let settle = match period {
            Some(rule) if !cordoned => timing.settle.max(rule.period),
            Some(_) | None => timing.settle,
        };
        OpenAction {
            id,
            group: mark.group.clone(),
            node: mark.node,
            identity: mark.identity.clone(),
            marked_at: at,
            state: ActionState::Marked { since: at },
            terms: Terms::new(timing, cordoned, settle),
            evidence: mark.evidence,
            policy: self.policy.hash.clone(),
        }
    }

    /// Applies events to the open actions, commits the steps, then runs their effects.
    /// Returns the actions that ended.
    async fn advance(
        &mut self,
        happenings: Vec<NodeEvent>,
        at: Time,
    ) -> Result<Vec<(InstanceId, End)>, LedgerError> {
        let steps = take_steps(&self.history.actions, happenings, at);
        if !steps.transitions.is_empty() {
            self.record_cooldowns(&steps, at)?;
            self.ledger.record_transitions(&self.policy.cluster, &steps.transitions, None)?;
        }
        self.settle(steps, at).await
    }

    /// Applies committed steps to the memory and runs their effects.
    async fn settle(
        &mut self,
        steps: Steps,
        at: Time,
    ) -> Result<Vec<(InstanceId, End)>, LedgerError> {
        let (mut cordon, mut release) = (vec![], vec![]);
        for (node, effect) in &steps.effects {
            let Some(action) = self.history.actions.get(node) else { continue };
            let order = || {
                let name = action.identity.name.clone()?;
                Some(CordonOrder { name, action: action.id })
            };
            match effect {
                Effect::Cordon => cordon.extend(order()),
                Effect::Release => release.extend(order()),
                Effect::Notify(notice) => {
                    let (id, notice) = (action.id, *notice);
                    if self.notified.insert((id, notice)) {
                        let about = Notification::Action { action: id, node: *node, notice };
                        self.ports.notifier.notify(&self.policy.cluster, at, &about);
                    }
                }
                // Only `finish_group` clears requests, and it sends them itself.
                Effect::Delete(_) => {}
            }
        }
        let ended = self.put(&steps, at);
        // Before the uncordon: no gate or check may still run on a node that takes jobs.
        self.inquiries.withdraw_over(&self.history);
        self.release_cordons(&release).await;
        if let Some(port) = self.cordon_port()
            && !cordon.is_empty()
        {
            // If a cordon fails, the looks do not find it, and the action times out.
            let asked = port.cordon(&self.policy.cluster, &self.ledger_id, &cordon).await;
            if let Err(why) = asked {
                tracing::warn!(cluster = %self.policy.cluster, %why, "cordon failed");
            }
        }
        Ok(ended)
    }

    /// Commits the cool-downs of actions that are about to end. This comes before the
    /// commit of their ends, so a crash in between cannot lose a cool-down.
    fn record_cooldowns(&self, steps: &Steps, at: Time) -> Result<(), LedgerError> {
        for step in &steps.transitions {
            if let ActionState::Ended { end, .. } = &step.state
                && wants_cooldown(end)
            {
                let until = at + self.policy.timing.cooldown;
                self.ledger.record_cooldown(&self.policy.cluster, step.node, until)?;
            }
        }
        Ok(())
    }

    fn put(&mut self, steps: &Steps, at: Time) -> Vec<(InstanceId, End)> {
        let mut ended = vec![];
        for step in &steps.transitions {
            let Some(over) = steps::put(&mut self.history, step) else { continue };
            let ActionState::Ended { end, .. } = &over.state else { continue };
            ended.push((step.node, end.clone()));
            self.notified.retain(|(action, _)| *action != over.id);
            self.inquiries.forget(over.id);
            if *end == End::Gone {
                self.history.gone.push(Gone { node: step.node, group: over.group, at });
            } else if wants_cooldown(end) {
                let until = at + self.policy.timing.cooldown;
                self.history.cooldowns.insert(step.node, until);
            }
        }
        ended
    }

    fn cordon_port(&self) -> Option<&dyn crate::ports::Cordon> {
        self.ports.writers.as_ref()?.cordon.as_deref()
    }

    async fn release_cordons(&self, orders: &[CordonOrder]) {
        let Some(port) = self.cordon_port().filter(|_| !orders.is_empty()) else { return };
        // If an uncordon fails, the next look requests it again.
        if let Err(why) = port.release(&self.policy.cluster, &self.ledger_id, orders).await {
            tracing::warn!(cluster = %self.policy.cluster, %why, "uncordon failed; retrying");
        }
    }

    fn notify(&self, at: Time, notification: &Notification) {
        self.ports.notifier.notify(&self.policy.cluster, at, notification);
    }
}

/// Returns the policy with prices from the price source where it declares none.
fn priced(mut policy: ClusterPolicy, ports: &Ports) -> ClusterPolicy {
    let Some(prices) = &ports.prices else { return policy };
    for (name, group) in &mut policy.groups {
        group.price = group.price.or_else(|| prices.price(&policy.cluster, name));
    }
    policy
}
