//! Inquiries: the gate and the on-node check can veto a deletion. They run while
//! ticks continue.
//!
//! ```text
//! settled, looked at clean ─► gate ─► on-node check ─► look ─► request
//! ```
//! An inquiry is about all nodes of one group that need only its answer to be
//! deleted. Each group has at most one open inquiry of each kind, so groups do not
//! wait for each other. An approval belongs to the action of a node: a node that
//! passed the gate is not asked about again. When one node of an inquiry is no
//! longer to be deleted, trimtab withdraws the inquiry, because its program must not
//! continue on a released node. The next inquiry covers the other nodes.
//!
//! The gate may take long, so it comes first, and its approval holds for the life of
//! the action. The result of the check may change at any time, so its approval holds
//! only for [`trimtab_core::policy::Timing::fresh_for`].
//!
//! The ledger does not contain inquiries. After a restart, trimtab releases the nodes
//! of open inquiries.

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

/// The kind of an inquiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Whom {
    /// The gate, for nodes with data on their disks.
    Gate,
    /// The on-node check, for every node.
    OnNodeCheck,
}

impl Whom {
    /// In the order in which a node must pass them.
    const ALL: [Self; 2] = [Self::Gate, Self::OnNodeCheck];

    const fn name(self) -> &'static str {
        match self {
            Self::Gate => "gate",
            Self::OnNodeCheck => "on-node check",
        }
    }
}

/// Open inquiries and the answers of earlier ones.
#[derive(Default)]
pub(super) struct Inquiries {
    open: BTreeMap<(Whom, GroupName), Open>,
    /// Approvals.
    passed: BTreeMap<(Whom, ActionId), Passed>,
    /// Vetoes, with their reasons.
    vetoed: BTreeMap<ActionId, Arc<str>>,
}

/// An approval. It is as old as its inquiry, because the program may have looked at the node
/// right at the start. It takes effect when the answer arrives.
#[derive(Debug, Clone, Copy)]
struct Passed {
    asked_at: Time,
    answered_at: Time,
}

struct Open {
    asked_at: Time,
    inquiry: Box<dyn Inquiry>,
    nodes: BTreeMap<InstanceId, ActionId>,
    /// When an answer is expected at the latest; after the tick that asked.
    due: Time,
}

impl Inquiries {
    /// Returns when to look again: when an answer is due, and after each approval.
    pub(super) fn deadlines(&self) -> impl Iterator<Item = Time> {
        self.open
            .values()
            .map(|open| open.due)
            .chain(self.passed.values().map(|passed| passed.answered_at))
    }

    /// Collects the answers that arrived, and closes their inquiries.
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

    /// Returns the vetoes against open actions, as events.
    pub(super) fn vetoes(&self, history: &History) -> Vec<NodeEvent> {
        let veto = |(node, action): (&InstanceId, &OpenAction)| {
            let why = ReleaseReason::Vetoed(Arc::clone(self.vetoed.get(&action.id)?));
            Some((*node, EventKind::Veto(why)))
        };
        history.actions.iter().filter_map(veto).collect()
    }

    /// Withdraws inquiries with a node whose action is no longer settling.
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

    /// Withdraws all inquiries.
    pub(super) fn withdraw_all(&mut self) {
        self.open.clear();
    }

    /// Drops the answers about an action that ended.
    pub(super) fn forget(&mut self, action: ActionId) {
        self.passed.retain(|(_, of), _| *of != action);
        self.vetoed.remove(&action);
    }

    /// Whether an action was approved until `by`, in an inquiry that began at `since` or
    /// later.
    fn has_passed(&self, whom: Whom, action: ActionId, by: Time, since: Time) -> bool {
        let passed = self.passed.get(&(whom, action));
        passed.is_some_and(|passed| passed.asked_at >= since && passed.answered_at <= by)
    }
}

impl Driver {
    /// Whether an action passed every kind of inquiry before the reads of this snapshot
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

    /// Whether nodes of this group need this kind of inquiry. If the group needs a gate
    /// but none is configured, [`Self::ask`] vetoes.
    fn is_wanted(&self, whom: Whom, group: &GroupName) -> bool {
        match whom {
            Whom::Gate => {
                let data = self.policy.groups.get(group).and_then(|group| group.node_local_data);
                data != Some(NodeLocalData::Disposable)
            }
            Whom::OnNodeCheck => self.ports.on_node_check.is_some(),
        }
    }

    /// Starts inquiries about all nodes of a group that need only an answer to be deleted.
    /// Does not wait. An approval counts for looks that begin after it.
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

    /// Returns the nodes that need only this kind of inquiry to be deleted.
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
            // HyperPod picks the nodes of a whole-group request, so ask about all of them.
            Ok((nodes, _)) => nodes,
            Err(_) => audit::trial(offer),
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
