//! Log events for ticks and actions, with the IDs of the ledger, so that an event can be looked
//! up in the ledger and the other way round.
//!
//! Action events come from a decorator of the ledger: it logs a change after the ledger has
//! written it, so the log contains nothing that the ledger does not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trimtab_config::Mode;
use trimtab_core::action::{ActionState, End};
use trimtab_core::history::{History, OpenAction};
use trimtab_core::ids::{
    ActionId, ClusterName, GroupName, InstanceId, PolicyHash, RequestId, TickId,
};
use trimtab_core::plan::Verdict;
use trimtab_core::units::{Span, Time};
use trimtab_daemon::driver::TickReport;
use trimtab_daemon::ports::{
    Decision, DeleteOutcome, Ledger, LedgerDecorator, LedgerError, Observation, RequestRecord,
    Transition,
};

/// Log target of events about one node.
const ACTION: &str = "trimtab::action";

/// Log target of events about a tick.
const TICK: &str = "trimtab::tick";

/// Returns the mode as written in a configuration.
pub(crate) fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Observe => "observe",
        Mode::Enforce => "enforce",
    }
}

/// Logs a completed tick.
pub(crate) fn tick(report: &TickReport, mode: Mode) {
    let plan = &report.plan;
    let freeze = plan.freeze.as_ref().map(ToString::to_string);
    tracing::info!(
        target: TICK,
        tick = report.tick.0,
        cluster = %plan.cluster,
        at = %report.snapshot.taken_at,
        ring = %report.ring,
        mode = mode_name(mode),
        policy = %plan.policy,
        nodes = plan.verdicts.len(),
        marks = plan.marks.len(),
        begun = report.begun.len(),
        releases = plan.releases.len(),
        requests = report.sent.len(),
        ended = report.ended.len(),
        open = report.open,
        metrics = report.metrics.metrics,
        violations = report.violations.len(),
        freeze,
        "tick"
    );
}

/// A ledger that logs what was written to it.
pub(crate) struct Told {
    ledger: Arc<dyn Ledger>,
    mode: Mode,
    known: Mutex<Known>,
}

/// Data that later events need but do not carry.
#[derive(Default)]
struct Known {
    ticks: BTreeMap<ClusterName, TickId>,
    actions: BTreeMap<ActionId, About>,
}

/// An open action.
#[derive(Clone)]
struct About {
    cluster: ClusterName,
    group: GroupName,
    policy: PolicyHash,
    said: Option<Said>,
}

/// The newest event of an action. A step with the same content is not logged again.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    decision: &'static str,
    reason: Option<String>,
    request: Option<RequestId>,
}

impl Told {
    pub(crate) fn new(ledger: Arc<dyn Ledger>, mode: Mode) -> Self {
        Self { ledger, mode, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Every change is one insertion or removal.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_transitions(&self, transitions: &[Transition]) {
        let mut known = self.known();
        for step in transitions {
            let Some(about) = known.actions.get(&step.action).cloned() else { continue };
            let said = Said::of(&step.state);
            if about.said.as_ref() != Some(&said) {
                let tick = known.ticks.get(&about.cluster).copied();
                let at = step.event.at;
                self.tell(&Line { tick, action: step.action, node: step.node, at }, &about, &said);
            }
            if step.state.is_ended() {
                known.actions.remove(&step.action);
            } else {
                known.actions.insert(step.action, About { said: Some(said), ..about });
            }
        }
    }

    fn tell(&self, line: &Line, about: &About, said: &Said) {
        // Settling is a detail (debug); every other step is info.
        macro_rules! say {
            ($level:expr) => {
                tracing::event!(
                    target: ACTION,
                    $level,
                    tick = line.tick.map(|tick| tick.0),
                    action = line.action.0,
                    request = said.request.map(|request| request.0),
                    cluster = %about.cluster,
                    group = %about.group,
                    node = %line.node,
                    at = %line.at,
                    mode = mode_name(self.mode),
                    policy = %about.policy,
                    decision = said.decision,
                    reason = said.reason.as_deref(),
                    "action"
                )
            };
        }
        if said.decision == SETTLE {
            say!(tracing::Level::DEBUG);
        } else {
            say!(tracing::Level::INFO);
        }
    }

    fn learn(&self, cluster: &ClusterName, action: &OpenAction, said: Option<Said>) {
        let about = About {
            cluster: cluster.clone(),
            group: action.group.clone(),
            policy: action.policy.clone(),
            said,
        };
        self.known().actions.insert(action.id, about);
    }

    fn tell_decision(&self, decision: &Decision<'_>) {
        for word in decision.verdicts {
            let (what, why) = match &word.verdict {
                Verdict::Keep(why) => ("keep", why.to_string()),
                Verdict::Leaving { state } => ("leaving", state.to_string()),
                // In enforce mode these become steps of actions, which are logged as such.
                // Observe mode has no actions.
                Verdict::Mark(_) | Verdict::Release(_) => match self.mode {
                    Mode::Observe => ("would act", word.verdict.to_string()),
                    Mode::Enforce => continue,
                },
            };
            tracing::debug!(
                target: ACTION,
                tick = decision.tick.0,
                cluster = %decision.cluster,
                group = %word.group,
                node = %word.node,
                name = word.name.as_ref().map(|name| name.as_str()),
                at = %decision.at,
                mode = mode_name(self.mode),
                decision = what,
                reason = %why,
                "verdict"
            );
        }
        for action in decision.opened {
            let reason = decision.verdicts.iter().find(|word| word.node == action.node);
            let reason = reason.map(|word| word.verdict.to_string());
            let said = Said { decision: "mark", reason, request: None };
            self.learn(decision.cluster, action, Some(said.clone()));
            let line = Line {
                tick: Some(decision.tick),
                action: action.id,
                node: action.node,
                at: decision.at,
            };
            if let Some(about) = self.known().actions.get(&action.id) {
                self.tell(&line, about, &said);
            }
        }
        self.tell_transitions(decision.transitions);
    }
}

/// Fields of every event about an action.
struct Line {
    tick: Option<TickId>,
    action: ActionId,
    node: InstanceId,
    at: Time,
}

const SETTLE: &str = "settle";

impl Said {
    /// Returns the event for an action that entered this state.
    fn of(state: &ActionState) -> Self {
        let (decision, reason, request) = match state {
            ActionState::Marked { .. } => ("mark", None, None),
            ActionState::Cordoning { .. } => ("cordon", None, None),
            ActionState::Settling { .. } => (SETTLE, None, None),
            ActionState::Asking { request, .. } => ("delete", None, Some(*request)),
            ActionState::Asked { request, answer, .. } => {
                ("outcome", Some(answer.to_string()), Some(*request))
            }
            ActionState::Releasing { why, .. } => ("release", Some(why.to_string()), None),
            ActionState::Ended { end, .. } => {
                let reason = match end {
                    End::Released(why) => format!("released: {why}"),
                    End::Gone | End::CordonLost | End::Replaced => state.name().to_owned(),
                };
                ("end", Some(reason), None)
            }
        };
        Self { decision, reason, request }
    }
}

impl LedgerDecorator for Told {
    type Inner = dyn Ledger;

    fn inner(&self) -> &Self::Inner {
        &*self.ledger
    }

    fn load(
        &self,
        cluster: &ClusterName,
        now: Time,
        max_gap: Span,
    ) -> Result<History, LedgerError> {
        let history = self.ledger.load(cluster, now, max_gap)?;
        for action in history.actions.values() {
            self.learn(cluster, action, None);
        }
        Ok(history)
    }

    fn record_observation(&self, observation: &Observation<'_>) -> Result<TickId, LedgerError> {
        let tick = self.ledger.record_observation(observation)?;
        self.known().ticks.insert(observation.cluster.clone(), tick);
        Ok(tick)
    }

    fn record_decision(&self, decision: &Decision<'_>) -> Result<(), LedgerError> {
        self.ledger.record_decision(decision)?;
        self.tell_decision(decision);
        Ok(())
    }

    fn record_transitions(
        &self,
        cluster: &ClusterName,
        transitions: &[Transition],
        request: Option<RequestRecord<'_>>,
    ) -> Result<(), LedgerError> {
        self.ledger.record_transitions(cluster, transitions, request)?;
        self.tell_transitions(transitions);
        Ok(())
    }

    fn record_outcome(
        &self,
        request: RequestId,
        at: Time,
        outcome: &DeleteOutcome,
        transitions: &[Transition],
    ) -> Result<(), LedgerError> {
        self.ledger.record_outcome(request, at, outcome, transitions)?;
        self.tell_transitions(transitions);
        Ok(())
    }
}
