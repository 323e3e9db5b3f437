//! Inquiries: what is asked outside before a deletion, while ticks go on.
//!
//! ```text
//! settled, looked at clean ─► gate ─► on-node check ─► look ─► request
//! ```
//! Each question is about the nodes of one group that could go but for its answer.
//! A group has one question under way for each of the two, so groups do not wait
//! for each other. A yes is an action's: who has passed the gate is not asked
//! again, and new nodes are a new question. A question of which any node is no
//! longer on its way out is withdrawn, and the others are asked about anew: what a
//! program does on a node must not go on when that is released.
//!
//! The gate may take long, so it comes first and its yes holds for the action's
//! life. What the check saw may change at any time, so its yes holds only while a
//! reading is fresh ([`trimtab_core::policy::Timing::fresh_for`]).
//!
//! Nothing of this is in the ledger: a start releases what was being asked about.

use std::collections::BTreeMap;
use std::sync::Arc;

use trimtab_core::action::{ActionState, EventKind, ReleaseReason};
use trimtab_core::audit::{self, Offer};
use trimtab_core::history::{History, OpenAction};
use trimtab_core::ids::{ActionId, GroupName, InstanceId};
use trimtab_core::policy::NodeLocalData;
use trimtab_core::snapshot::Snapshot;
use trimtab_core::steps::NodeEvent;
use trimtab_core::units::{Span, Time};

use super::Driver;
use crate::ports::{Gate, Inquiry, InquiryState, Question, QuestionedNode};

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Whom {
    /// The gate, about nodes whose data it saves.
    Gate,
    /// The on-node check, about every node.
    OnNodeCheck,
}

impl Whom {
    /// In this order.
    const ALL: [Self; 2] = [Self::Gate, Self::OnNodeCheck];

    const fn name(self) -> &'static str {
        match self {
            Self::Gate => "gate",
            Self::OnNodeCheck => "on-node check",
        }
    }
}

/// Questions under way, and what was answered.
#[derive(Default)]
pub(super) struct Inquiries {
    open: BTreeMap<(Whom, GroupName), Open>,
    /// Between when and when an action's node was asked about and let through.
    passed: BTreeMap<(Whom, ActionId), Passed>,
    /// Why an action's node was not.
    vetoed: BTreeMap<ActionId, Arc<str>>,
}

/// A yes. It may have been said of a node at the beginning of a question and answered at its
/// end, so it is as old as the question, and counts from the answer on.
#[derive(Debug, Clone, Copy)]
struct Passed {
    asked_at: Time,
    answered_at: Time,
}

struct Open {
    asked_at: Time,
    inquiry: Box<dyn Inquiry>,
    nodes: BTreeMap<InstanceId, ActionId>,
    /// Later than the tick that asked.
    due: Time,
}

impl Inquiries {
    /// When to look again: when an answer is there at the latest, and after each
    /// yes.
    pub(super) fn deadlines(&self) -> impl Iterator<Item = Time> {
        self.open
            .values()
            .map(|open| open.due)
            .chain(self.passed.values().map(|passed| passed.answered_at))
    }

    /// Takes in what was answered.
    pub(super) fn collect(&mut self) {
        let Self { open, passed, vetoed } = self;
        open.retain(|(whom, _), Open { asked_at, inquiry, nodes, due: _ }| match inquiry.state() {
            InquiryState::Open => true,
            InquiryState::Answered { at, vetoes } => {
                for (node, action) in nodes {
                    match vetoes.get(node) {
                        None => {
                            let yes = Passed { asked_at: *asked_at, answered_at: at };
                            passed.insert((*whom, *action), yes);
                        }
                        Some(why) => {
                            vetoed.insert(*action, format!("{}: {why}", whom.name()).into());
                        }
                    }
                }
                false
            }
        });
    }

    /// Every no that was said of a node that is still on its way out.
    pub(super) fn vetoes(&self, history: &History) -> Vec<NodeEvent> {
        let veto = |(node, action): (&InstanceId, &OpenAction)| {
            let why = ReleaseReason::Vetoed(Arc::clone(self.vetoed.get(&action.id)?));
            Some((*node, EventKind::Veto(why)))
        };
        history.actions.iter().filter_map(veto).collect()
    }

    /// Withdraws the questions about nodes of which one is not on its way out any
    /// more.
    pub(super) fn withdraw_over(&mut self, history: &History) {
        self.open.retain(|(whom, group), open| {
            let is_settled = |(node, action): (&InstanceId, &ActionId)| {
                history.actions.get(node).is_some_and(|now| {
                    now.id == *action && matches!(now.state, ActionState::Settling { .. })
                })
            };
            let over = open.nodes.iter().find(|asked| !is_settled(*asked));
            if let Some((node, _)) = over {
                let (whom, nodes) = (whom.name(), open.nodes.len());
                tracing::info!(%group, %node, nodes, "{whom} inquiry withdrawn: node released");
            }
            over.is_none()
        });
    }

    /// Withdraws all questions.
    pub(super) fn withdraw_all(&mut self) {
        self.open.clear();
    }

    /// Forgets an action that is over.
    pub(super) fn forget(&mut self, action: ActionId) {
        self.passed.retain(|(_, of), _| *of != action);
        self.vetoed.remove(&action);
    }

    /// Whether an action's node was let through before `by`, by a question no older than
    /// `since`.
    fn has_passed(&self, whom: Whom, action: ActionId, by: Time, since: Time) -> bool {
        let passed = self.passed.get(&(whom, action));
        passed.is_some_and(|passed| passed.asked_at >= since && passed.answered_at <= by)
    }
}

impl Driver {
    /// Whether everybody who has a say let it through before the reads of this look
    /// began.
    pub(super) fn has_passed(&self, action: &OpenAction, snapshot: &Snapshot) -> bool {
        Whom::ALL.iter().all(|whom| self.has_passed_one(*whom, action, snapshot))
    }

    fn has_passed_one(&self, whom: Whom, action: &OpenAction, snapshot: &Snapshot) -> bool {
        let by = snapshot.begun_at;
        let since = match whom {
            Whom::Gate => action.marked_at,
            Whom::OnNodeCheck => by - self.policy.timing.fresh_for,
        };
        !self.is_wanted(whom, &action.group)
            || self.inquiries.has_passed(whom, action.id, by, since)
    }

    /// Whether nodes of this group need somebody's word. Where a policy asks for a
    /// gate, its absence is a no.
    fn is_wanted(&self, whom: Whom, group: &GroupName) -> bool {
        match whom {
            Whom::Gate => {
                let data = self.policy.groups.get(group).and_then(|group| group.node_local_data);
                data != Some(NodeLocalData::Disposable)
            }
            Whom::OnNodeCheck => self.ports.on_node_check.is_some(),
        }
    }

    /// Asks about everything that could go but for somebody's word, and returns at
    /// once. A yes counts for a look that begins after it.
    pub(super) fn inquire(&mut self, group: &GroupName, snapshot: &Snapshot) {
        for whom in Whom::ALL {
            let is_open = self.inquiries.open.contains_key(&(whom, group.clone()));
            if is_open || !self.is_wanted(whom, group) {
                continue;
            }
            let nodes = self.unasked(whom, group, snapshot);
            if !nodes.is_empty() {
                self.ask(whom, group, nodes);
            }
        }
    }

    /// What could go but for this one's word.
    fn unasked(&self, whom: Whom, group: &GroupName, snapshot: &Snapshot) -> Vec<QuestionedNode> {
        let is_next = |action: &OpenAction| {
            let mut before = Whom::ALL.iter().filter(|earlier| **earlier < whom);
            !self.has_passed_one(whom, action, snapshot)
                && !self.inquiries.vetoed.contains_key(&action.id)
                && before.all(|earlier| self.has_passed_one(*earlier, action, snapshot))
        };
        let (policy, history, now) = (&self.policy, &self.history, self.ports.clock.now());
        let offer = Offer { group, gated: &is_next, snapshot, policy, history, now };
        let nodes = match audit::group_trial(&offer) {
            // Whoever is picked of a whole group: it is asked about all of it.
            Ok((nodes, _)) => nodes,
            Err(_) => match audit::clear(offer).request {
                Some(trial) => trial.nodes().to_vec(),
                None => vec![],
            },
        };
        let question = |node: InstanceId| {
            let action = history.actions.get(&node)?;
            let (name, ip) = (action.identity.name.clone(), self.details.ip(node));
            Some(QuestionedNode { id: node, name, ip, action: action.id })
        };
        nodes.into_iter().filter_map(question).collect()
    }

    fn ask(&mut self, whom: Whom, group: &GroupName, nodes: Vec<QuestionedNode>) {
        let port: Option<&Arc<dyn Gate>> = match whom {
            Whom::Gate => self.ports.gate.as_ref(),
            Whom::OnNodeCheck => self.ports.on_node_check.as_ref(),
        };
        let asked: BTreeMap<InstanceId, ActionId> =
            nodes.iter().map(|node| (node.id, node.action)).collect();
        let Some(port) = port else {
            let why: Arc<str> = "gate: node_local_data requires one, but none is set".into();
            let vetoes = asked.into_values().map(|action| (action, Arc::clone(&why)));
            self.inquiries.vetoed.extend(vetoes);
            return;
        };
        let at = self.ports.clock.now();
        let (cluster, ledger) = (self.policy.cluster.clone(), self.ledger_id.clone());
        tracing::info!(%cluster, %group, nodes = nodes.len(), "{} inquiry started", whom.name());
        let inquiry = port.ask(Question { cluster, group: group.clone(), ledger, at, nodes });
        let due = inquiry.deadline().max(at + Span::millis(1));
        let open = Open { asked_at: at, inquiry, nodes: asked, due };
        self.inquiries.open.insert((whom, group.clone()), open);
    }
}
