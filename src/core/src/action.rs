//! Deletion lifecycle of one node.
//!
//! ```text
//!                veto, job landed, pause, timeout, demand
//!       ┌──────────────────────────────────────────────────┐
//!       ▼                                                  │
//! Kept ─► Marked ─► Cordoning ─► Settling ─► [gate] ─► look ─┤─► Asking ─► Asked ─► Gone
//!        (intent)  (drain)    (wait)             (read begun       (sent)  (confirmed
//!                                                 after settle)            by listings)
//! ```
//!
//! [`step`] is pure and total: it accepts every event in every state, and an event that does not
//! apply changes nothing. The driver commits the new state first and runs the effects afterwards,
//! so a crash between the two can lose an effect but never a state.
//!
//! The safety of trimtab depends on two rules:
//! - [`Effect::Delete`] follows only from [`EventKind::Cleared`], and only if the settle time of
//!   the node was over when the look that cleared it began.
//! - After the delete request may have been sent, a node is released only if it was Running in
//!   every complete listing and in a single-node read. The required time is a few minutes if the
//!   API refused the node ([`RUNNING_AFTER_REFUSAL`]), and [`Terms::confirm_running`] otherwise.
//!
//! A whole-group request ([`RequestScope::Group`]) has a count and no node ids, and HyperPod
//! selects which nodes it deletes. Until the request is over, any node may be the next one, so no
//! observation of a single node releases it. Only [`EventKind::GroupRequestOver`] does, which
//! [`crate::group_call`] derives from the counts of the whole group.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::RequestId;
use crate::policy::Timing;
use crate::reads::{Claim, InstanceStatus};
use crate::units::{NodeCount, Span, Time, Usd, UsdPerHour};

/// A node counts as deleted if two complete listings at least this far apart, and all listings in
/// between, do not contain it. A single listing may lag behind or change while it is read (F6).
pub const ABSENT_TO_BE_GONE: Span = Span::mins(1);

/// A node whose deletion was refused must be Running in every complete listing for this long, and
/// in a single-node read after that, before it is released. The error codes (invalid status, in
/// use, not found) can also mean that an operator is terminating the node, and the SageMaker APIs
/// may disagree for one to five minutes.
pub const RUNNING_AFTER_REFUSAL: Span = Span::mins(6);

/// State of an action.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ActionState {
    /// The intent is in the ledger. Nothing was done to the node yet.
    Marked {
        /// Time at which this state began.
        since: Time,
    },
    /// The cordon was requested and is not visible yet.
    Cordoning {
        /// Time at which this state began.
        since: Time,
    },
    /// The cordon is visible. Only a look that begins at `until` or later can clear the node.
    Settling {
        /// End of the settle time.
        until: Time,
    },
    /// The delete request is about to be sent, or is in flight.
    Asking {
        /// Id of the request.
        request: RequestId,
        /// Time at which this state began.
        at: Time,
        /// Scope of the request.
        #[serde(default)]
        scope: RequestScope,
    },
    /// The delete request was sent, or may have been sent.
    Asked {
        /// Id of the request.
        request: RequestId,
        /// Time at which the request was about to be sent.
        at: Time,
        /// Answer of the API for this node.
        answer: Answer,
        /// Time since which no complete listing contained the node.
        absent_since: Option<Time>,
        /// Time since which the node was Running in every complete listing.
        running_since: Option<Time>,
        /// Scope of the request.
        #[serde(default)]
        scope: RequestScope,
    },
    /// The node is being returned to the scheduler: its cordon is removed.
    Releasing {
        /// Reason for the release.
        why: ReleaseReason,
        /// Time at which this state began.
        since: Time,
    },
    /// The action is over.
    Ended {
        /// Outcome.
        end: End,
        /// Time of the end.
        at: Time,
    },
}

/// Phase of an action: what its state allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// No delete request was committed, so a veto still releases the node.
    Revocable,
    /// A delete request with this node was committed and may have been sent.
    Asked {
        /// Id of the request.
        request: RequestId,
        /// Scope of the request.
        scope: RequestScope,
    },
    /// The node is being released to the scheduler.
    Releasing,
    /// The action is over.
    Ended {
        /// Time of the end.
        at: Time,
    },
}

/// Which nodes a request may delete.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RequestScope {
    /// The nodes that it names by their ids.
    #[default]
    Named,
    /// Any nodes of the group, until only the requested number is left.
    Group {
        /// Number of nodes that stay.
        after: NodeCount,
    },
}

/// How an action ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum End {
    /// The node was deleted.
    Gone,
    /// The node was released.
    Released(ReleaseReason),
    /// An operator removed or replaced our cordon, so trimtab does not change the node any more.
    CordonLost,
    /// Another instance has the name of the node now.
    Replaced,
}

/// Answer of the API to a delete request, for one node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Answer {
    /// The API accepted the deletion.
    Accepted,
    /// The node has an entry in `Failed`.
    Failed {
        /// Error code of that entry. An unknown code is a failure too.
        code: Arc<str>,
    },
    /// The API refused the whole request, and certainly deleted nothing.
    Refused {
        /// Error message of the API.
        why: Arc<str>,
    },
    /// The API did not answer, or its answer does not show whether it deleted anything.
    NoAnswer,
}

/// Why a node was released.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ReleaseReason {
    /// The scheduler shows that the node is in use.
    Claimed(Claim),
    /// The metrics of the node show work.
    Active,
    /// The node left the status Running before its deletion was requested.
    StatusChanged(InstanceStatus),
    /// The node left the listing before its deletion was requested.
    Vanished,
    /// Waiting jobs need the node.
    Demand,
    /// The floor of the group or of the cluster needs the node.
    Floor,
    /// A gate, an operator or trimtab itself stopped the deletion, for this reason.
    Vetoed(Arc<str>),
    /// The daemon was paused.
    Paused,
    /// The daemon was restarted.
    Restarted,
    /// The action was in one state for longer than its timeout.
    TimedOut,
    /// The API refused to delete the node, and it still runs.
    RefusedByApi(Arc<str>),
    /// The API did not answer, or accepted the deletion of a node without a cordon, and the node
    /// kept running.
    NeverLeft,
    /// The whole-group request is over, and the node is one of those that stay.
    NotPicked,
}

impl fmt::Display for ReleaseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claimed(claim) => write!(f, "in use: {claim}"),
            Self::Active => f.write_str("its metrics show work"),
            Self::StatusChanged(status) => write!(f, "its status changed to {status}"),
            Self::Vanished => f.write_str("it disappeared from the listing before the request"),
            Self::Demand => f.write_str("waiting jobs need it"),
            Self::Floor => f.write_str("the floor needs it"),
            Self::Vetoed(why) => write!(f, "vetoed: {why}"),
            Self::Paused => f.write_str("trimtab is paused"),
            Self::Restarted => f.write_str("trimtab was restarted"),
            Self::TimedOut => f.write_str("a step timed out"),
            Self::RefusedByApi(why) => write!(f, "SageMaker refused the deletion: {why}"),
            Self::NeverLeft => f.write_str("it kept running after the delete request"),
            Self::NotPicked => f.write_str("the whole-group request did not select it"),
        }
    }
}

/// An event of one action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Time of the event.
    pub at: Time,
    /// Kind of the event, with its data.
    pub kind: EventKind,
}

/// Kind of an event, with its data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    /// A tick observed the node.
    Look(Look),
    /// The audit cleared the node for a delete request.
    Cleared {
        /// Id of the request.
        request: RequestId,
        /// Time at which the reads of the clearance began.
        look_begun_at: Time,
        /// Scope of the request.
        #[serde(default)]
        scope: RequestScope,
    },
    /// The delete request ended with this answer.
    Answered(Answer),
    /// The counts of the group show that the whole-group request is over and that this node stays.
    GroupRequestOver(ReleaseReason),
    /// The node must be released if its deletion was not requested yet.
    Veto(ReleaseReason),
    /// The time of [`ActionState::deadline`] has passed.
    Deadline,
    /// The daemon was paused.
    Paused,
    /// The daemon was started and found this action open.
    Started,
    /// The wall clock jumped by this much between two ticks, so waiting times measured with it are
    /// void.
    ClockStepped(Span),
}

/// What the reads of one tick show of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// Time before the first of these reads.
    pub begun_at: Time,
    /// What they show.
    pub seen_node: NodeSeen,
}

/// The node in the reads of one tick.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeSeen {
    /// Unknown, because the listing was not complete.
    Unread,
    /// A complete listing does not contain the node.
    Absent {
        /// The cordon of the scheduler node with its name.
        cordon: OwnCordon,
    },
    /// Another instance has its name, or its launch time or name changed.
    Replaced,
    /// A complete listing contains the node.
    Present {
        /// Status in SageMaker.
        status: InstanceStatus,
        /// The cordon of the scheduler node with its name.
        cordon: OwnCordon,
        /// Whether the node has work.
        work: Work,
        /// Whether DescribeClusterNode was called for it in this tick and reported Running.
        described_running: bool,
    },
}

/// The cordon of an action as the scheduler shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OwnCordon {
    /// The node is cordoned by this action.
    Ours,
    /// The node is not cordoned.
    Clear,
    /// The node is cordoned, but not by this action.
    NotOurs,
    /// The scheduler could not be read, or does not know the node.
    Unread,
}

/// Whether a node has work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    /// All evidence sources show that it has none.
    None,
    /// The scheduler shows this use of it.
    Claimed(Claim),
    /// Its metrics show work.
    Active,
    /// Unknown, because data of an evidence source is missing or old.
    Unread,
}

/// What the driver must do after the new state is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Effect {
    /// Keep new jobs off the node.
    Cordon,
    /// Uncordon the node, but only if the cordon is our own.
    Release,
    /// Send this delete request.
    Delete(RequestId),
    /// Notify an operator.
    Notify(Notice),
}

/// A notification about one action for an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Notice {
    /// An operator removed or replaced our cordon.
    CordonLost,
    /// A requested deletion has not finished in time (F23).
    DeletionOverdue,
    /// A node could not be released in time (L2).
    ReleaseOverdue,
}

/// Settings of one action. They do not change while it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Whether the node is cordoned. If it cannot be, newer datapoints in the second look take the
    /// place of the cordon.
    pub cordoned: bool,
    /// Time from the first look with the cordon (without a cordon: from the mark) until a look can
    /// clear the node.
    pub settle: Span,
    /// Longest time until a cordon is visible.
    pub cordon_timeout: Span,
    /// Longest time that a node may wait after its settle time.
    pub settling_timeout: Span,
    /// Time that a node must be Running after a request without an answer before it is released.
    pub confirm_running: Span,
    /// Time after which an unfinished deletion or release is reported.
    pub overdue: Span,
}

impl Terms {
    /// Returns the settings for these timings. `confirm_running` is at least 15 minutes. Without a
    /// cordon, `settle` must be at least one period of the metrics.
    pub fn new(timing: &Timing, cordoned: bool, settle: Span) -> Self {
        Self {
            cordoned,
            settle,
            cordon_timeout: timing.cordon_timeout,
            settling_timeout: timing.settling_timeout,
            confirm_running: timing.confirm_running.max(Span::mins(15)),
            overdue: timing.deletion_overdue,
        }
    }

    /// Returns how long a node with this answer must be Running in every complete listing before
    /// it may be released.
    pub fn running_to_release(&self, answer: &Answer) -> Span {
        match answer {
            Answer::Failed { .. } | Answer::Refused { .. } => {
                self.confirm_running.min(RUNNING_AFTER_REFUSAL)
            }
            Answer::NoAnswer | Answer::Accepted => self.confirm_running,
        }
    }
}

/// Why a node was marked, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Start of the time in which every sample showed the node idle.
    pub idle_since: Time,
    /// Nodes of the group that were surplus throughout τ.
    pub surplus: NodeCount,
    /// Idle timer τ in force.
    pub tau: Span,
    /// Price of one node-hour, which the deletion saves.
    pub price: UsdPerHour,
    /// Boot cost β: what it costs to bring one node back, in dollars.
    pub boot_cost: Usd,
    /// Number of nodes that a whole-group request keeps. All nodes of the group are marked for it,
    /// because HyperPod selects which ones go. `None` for a node that is deleted by its id or
    /// together with its whole group.
    #[serde(default)]
    pub remainder: Option<NodeCount>,
}

impl ActionState {
    /// Returns the phase of the action. The predicates over states rest on it, so a new state
    /// needs one decision: the phase it belongs to.
    pub const fn phase(&self) -> Phase {
        match self {
            Self::Marked { .. } | Self::Cordoning { .. } | Self::Settling { .. } => {
                Phase::Revocable
            }
            Self::Asking { request, scope, .. } | Self::Asked { request, scope, .. } => {
                Phase::Asked { request: *request, scope: *scope }
            }
            Self::Releasing { .. } => Phase::Releasing,
            Self::Ended { at, .. } => Phase::Ended { at: *at },
        }
    }

    /// Whether the action is over.
    pub const fn is_ended(&self) -> bool {
        matches!(self.phase(), Phase::Ended { .. })
    }

    /// Whether the delete request may have been sent.
    pub const fn is_asked(&self) -> bool {
        matches!(self.phase(), Phase::Asked { .. })
    }

    /// Whether a whole-group request for the node may have been sent and is not over.
    pub const fn is_in_group_call(&self) -> bool {
        matches!(self.phase(), Phase::Asked { scope: RequestScope::Group { .. }, .. })
    }

    /// Whether the API accepted the deletion.
    pub const fn is_accepted(&self) -> bool {
        matches!(self, Self::Asked { answer: Answer::Accepted, .. })
    }

    /// Whether a veto can still release the node.
    pub const fn is_revocable(&self) -> bool {
        matches!(self.phase(), Phase::Revocable)
    }

    /// Whether the node is being released.
    pub const fn is_releasing(&self) -> bool {
        matches!(self.phase(), Phase::Releasing)
    }

    /// Returns the time at which the driver must process the action, even if no scheduled tick is
    /// due. `None` if it has no deadline.
    pub fn deadline(&self, terms: &Terms) -> Option<Time> {
        match self {
            Self::Marked { since } => Some(*since),
            Self::Cordoning { since } => Some(*since + terms.cordon_timeout),
            Self::Settling { until } => Some(*until),
            Self::Asking { .. } | Self::Ended { .. } => None,
            Self::Asked { absent_since: Some(since), .. } => Some(*since + ABSENT_TO_BE_GONE),
            Self::Asked { running_since: Some(since), answer, .. } => {
                Some(*since + terms.running_to_release(answer))
            }
            Self::Asked { at, .. } => Some(*at + terms.overdue),
            Self::Releasing { since, .. } => Some(*since + terms.overdue),
        }
    }

    /// Whether the next tick must call DescribeClusterNode for the node: after the request it was
    /// Running in the listings for long enough to be released.
    pub fn wants_description(&self, terms: &Terms, now: Time) -> bool {
        let Self::Asked { answer, running_since: Some(since), .. } = self else { return false };
        now.since(*since) >= terms.running_to_release(answer)
    }

    /// Returns the name of the state for tables and logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Marked { .. } => "marked",
            Self::Cordoning { .. } => "cordoning",
            Self::Settling { .. } => "settling",
            Self::Asking { .. } => "asking",
            Self::Asked { .. } => "asked",
            Self::Releasing { .. } => "releasing",
            Self::Ended { end: End::Gone, .. } => "gone",
            Self::Ended { end: End::Released(_), .. } => "released",
            Self::Ended { end: End::CordonLost, .. } => "cordon lost",
            Self::Ended { end: End::Replaced, .. } => "replaced",
        }
    }
}

/// Result of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The new state. It is unchanged if the event does not apply.
    pub state: ActionState,
    /// Effects to run after the state is durable, in order.
    pub effects: Vec<Effect>,
}

impl Step {
    fn to(state: ActionState) -> Self {
        Self { state, effects: vec![] }
    }

    fn with(mut self, effect: Effect) -> Self {
        self.effects.push(effect);
        self
    }
}

/// Returns the new state and the effects of an event in this state.
pub fn step(terms: &Terms, state: ActionState, event: &Event) -> Step {
    match state {
        ActionState::Marked { .. }
        | ActionState::Cordoning { .. }
        | ActionState::Settling { .. } => unasked(terms, state, event),
        ActionState::Asking { request, at: asked_at, scope } => {
            asking(request, asked_at, scope, event)
        }
        ActionState::Asked {
            request,
            at: asked_at,
            answer,
            absent_since,
            running_since,
            scope,
        } => {
            let asked = Asked { request, at: asked_at, answer, absent_since, running_since, scope };
            asked.step(terms, event)
        }
        ActionState::Releasing { why, since } => releasing(terms, why, since, event),
        ActionState::Ended { .. } => Step::to(state),
    }
}

/// Releases the node. A cordon is removed only after a listing shows that the node exists and is
/// not shutting down, because no job may start on a node that is being terminated.
fn release(terms: &Terms, why: ReleaseReason, at: Time) -> Step {
    if terms.cordoned {
        Step::to(ActionState::Releasing { why, since: at })
    } else {
        released(why, at)
    }
}

fn released(why: ReleaseReason, at: Time) -> Step {
    Step::to(ActionState::Ended { end: End::Released(why), at })
}

fn lose_cordon(at: Time) -> Step {
    Step::to(ActionState::Ended { end: End::CordonLost, at })
        .with(Effect::Notify(Notice::CordonLost))
}

/// The new instance may have inherited the cordon. The sweep of the driver removes it.
fn replaced(at: Time) -> Step {
    Step::to(ActionState::Ended { end: End::Replaced, at })
}

/// Returns a reason to release the node at once, if the look shows one. It applies before the
/// delete request.
fn objection(status: &InstanceStatus, work: &Work) -> Option<ReleaseReason> {
    match status {
        InstanceStatus::Running => {}
        InstanceStatus::Pending
        | InstanceStatus::Failure
        | InstanceStatus::ShuttingDown
        | InstanceStatus::SystemUpdating
        | InstanceStatus::DeepHealthCheck
        | InstanceStatus::Unrecognised(_) => {
            return Some(ReleaseReason::StatusChanged(status.clone()));
        }
    }
    match work {
        Work::None | Work::Unread => None,
        Work::Claimed(claim) => Some(ReleaseReason::Claimed(claim.clone())),
        Work::Active => Some(ReleaseReason::Active),
    }
}

/// Releases a node before its delete request, after a veto, a pause, a start or a timeout. Returns
/// `None` for every other event.
///
/// A marked node has no cordon to remove, so its action ends at once. After a start this is not
/// certain: the daemon may have crashed between the cordon and its record.
fn interrupted(terms: &Terms, state: &ActionState, event: &Event) -> Option<Step> {
    let at = event.at;
    let (since, limit, may_be_cordoned) = match state {
        ActionState::Marked { since } => (*since, terms.cordon_timeout, false),
        ActionState::Cordoning { since } => (*since, terms.cordon_timeout, true),
        ActionState::Settling { until } => (*until, terms.settling_timeout, true),
        ActionState::Asking { .. }
        | ActionState::Asked { .. }
        | ActionState::Releasing { .. }
        | ActionState::Ended { .. } => return None,
    };
    let why = match &event.kind {
        EventKind::Veto(why) => why.clone(),
        EventKind::Paused => ReleaseReason::Paused,
        EventKind::Started => return Some(release(terms, ReleaseReason::Restarted, at)),
        EventKind::Deadline if at.since(since) >= limit => ReleaseReason::TimedOut,
        EventKind::Deadline
        | EventKind::Look(_)
        | EventKind::Cleared { .. }
        | EventKind::GroupRequestOver(_)
        | EventKind::Answered(_)
        | EventKind::ClockStepped(_) => return None,
    };
    Some(if may_be_cordoned { release(terms, why, at) } else { released(why, at) })
}

fn look_at_marked(terms: &Terms, since: Time, at: Time, look: &Look) -> Step {
    let stay = Step::to(ActionState::Marked { since });
    match &look.seen_node {
        NodeSeen::Unread => stay,
        NodeSeen::Absent { .. } => released(ReleaseReason::Vanished, at),
        NodeSeen::Replaced => replaced(at),
        NodeSeen::Present { status, cordon, work, described_running: _ } => {
            if let Some(why) = objection(status, work) {
                return released(why, at);
            }
            if !terms.cordoned {
                return Step::to(ActionState::Settling { until: since + terms.settle });
            }
            match cordon {
                OwnCordon::Clear => {
                    Step::to(ActionState::Cordoning { since: at }).with(Effect::Cordon)
                }
                OwnCordon::Ours => Step::to(ActionState::Settling { until: at + terms.settle }),
                OwnCordon::NotOurs => Step::to(ActionState::Ended { end: End::CordonLost, at }),
                OwnCordon::Unread => stay,
            }
        }
    }
}

fn look_at_cordoning(terms: &Terms, since: Time, at: Time, look: &Look) -> Step {
    match &look.seen_node {
        NodeSeen::Unread => Step::to(ActionState::Cordoning { since }),
        NodeSeen::Absent { .. } => release(terms, ReleaseReason::Vanished, at),
        NodeSeen::Replaced => replaced(at),
        NodeSeen::Present { status, cordon, work, described_running: _ } => match cordon {
            // An operator cordoned it at the same time. The scheduler shows that cordon, and ours
            // was never visible.
            OwnCordon::NotOurs => lose_cordon(at),
            OwnCordon::Ours | OwnCordon::Clear | OwnCordon::Unread => {
                if let Some(why) = objection(status, work) {
                    return release(terms, why, at);
                }
                Step::to(match cordon {
                    OwnCordon::Ours => ActionState::Settling { until: at + terms.settle },
                    OwnCordon::Clear | OwnCordon::Unread | OwnCordon::NotOurs => {
                        ActionState::Cordoning { since }
                    }
                })
            }
        },
    }
}

fn look_at_settling(terms: &Terms, until: Time, at: Time, look: &Look) -> Step {
    match &look.seen_node {
        NodeSeen::Unread => Step::to(ActionState::Settling { until }),
        NodeSeen::Absent { .. } => release(terms, ReleaseReason::Vanished, at),
        NodeSeen::Replaced => replaced(at),
        NodeSeen::Present { status, cordon, work, described_running: _ } => {
            match cordon {
                // The cordon was visible before, so an operator removed or replaced it. trimtab
                // does not change the node any more.
                OwnCordon::Clear | OwnCordon::NotOurs if terms.cordoned => {
                    return lose_cordon(at);
                }
                OwnCordon::Clear | OwnCordon::NotOurs | OwnCordon::Ours | OwnCordon::Unread => {}
            }
            match objection(status, work) {
                Some(why) => release(terms, why, at),
                None => Step::to(ActionState::Settling { until }),
            }
        }
    }
}

/// Handles an event before the delete request.
fn unasked(terms: &Terms, state: ActionState, event: &Event) -> Step {
    if let Some(step) = interrupted(terms, &state, event) {
        return step;
    }
    let at = event.at;
    match &event.kind {
        EventKind::Look(look) => match state {
            ActionState::Marked { since } => look_at_marked(terms, since, at, look),
            ActionState::Cordoning { since } => look_at_cordoning(terms, since, at, look),
            ActionState::Settling { until } => look_at_settling(terms, until, at, look),
            ActionState::Asking { .. }
            | ActionState::Asked { .. }
            | ActionState::Releasing { .. }
            | ActionState::Ended { .. } => Step::to(state),
        },
        EventKind::Cleared { request, look_begun_at, scope } => match state {
            ActionState::Settling { until } if *look_begun_at >= until => {
                Step::to(ActionState::Asking { request: *request, at, scope: *scope })
                    .with(Effect::Delete(*request))
            }
            ActionState::Settling { .. }
            | ActionState::Marked { .. }
            | ActionState::Cordoning { .. }
            | ActionState::Asking { .. }
            | ActionState::Asked { .. }
            | ActionState::Releasing { .. }
            | ActionState::Ended { .. } => Step::to(state),
        },
        EventKind::Veto(_)
        | EventKind::Paused
        | EventKind::Started
        | EventKind::Deadline
        | EventKind::GroupRequestOver(_)
        | EventKind::Answered(_)
        | EventKind::ClockStepped(_) => Step::to(state),
    }
}

fn asking(request: RequestId, asked_at: Time, scope: RequestScope, event: &Event) -> Step {
    let asked = |answer| ActionState::Asked {
        request,
        at: asked_at,
        answer,
        absent_since: None,
        running_since: None,
        scope,
    };
    match &event.kind {
        EventKind::Answered(answer) => Step::to(asked(answer.clone())),
        EventKind::Started => Step::to(asked(Answer::NoAnswer)),
        EventKind::ClockStepped(by) => {
            Step::to(ActionState::Asking { request, at: (asked_at + *by).min(event.at), scope })
        }
        EventKind::Look(_)
        | EventKind::Cleared { .. }
        | EventKind::GroupRequestOver(_)
        | EventKind::Veto(_)
        | EventKind::Deadline
        | EventKind::Paused => Step::to(ActionState::Asking { request, at: asked_at, scope }),
    }
}

struct Asked {
    request: RequestId,
    at: Time,
    answer: Answer,
    absent_since: Option<Time>,
    running_since: Option<Time>,
    scope: RequestScope,
}

impl Asked {
    fn stay(self) -> Step {
        let Self { request, at, answer, absent_since, running_since, scope } = self;
        Step::to(ActionState::Asked { request, at, answer, absent_since, running_since, scope })
    }

    fn step(mut self, terms: &Terms, event: &Event) -> Step {
        match &event.kind {
            EventKind::Look(look) => self.look(terms, event.at, look),
            // The answer is in the ledger and stays valid: an accepted deletion must not become
            // one without an answer.
            EventKind::Started => {
                self.running_since = None;
                self.absent_since = None;
                self.stay()
            }
            EventKind::ClockStepped(by) => {
                // The request was sent before now, whatever the clock showed then.
                self.at = (self.at + *by).min(event.at);
                self.running_since = None;
                self.absent_since = None;
                self.stay()
            }
            EventKind::Deadline if event.at.since(self.at) >= terms.overdue => {
                self.stay().with(Effect::Notify(Notice::DeletionOverdue))
            }
            EventKind::GroupRequestOver(why) => match (self.scope, &self.answer) {
                (RequestScope::Group { .. }, Answer::Accepted | Answer::NoAnswer) => {
                    release(terms, why.clone(), event.at)
                }
                // After a refused request, a single-node read releases the node instead.
                (RequestScope::Group { .. }, Answer::Failed { .. } | Answer::Refused { .. })
                | (RequestScope::Named, _) => self.stay(),
            },
            EventKind::Deadline
            | EventKind::Cleared { .. }
            | EventKind::Answered(_)
            | EventKind::Veto(_)
            | EventKind::Paused => self.stay(),
        }
    }

    fn look(mut self, terms: &Terms, at: Time, look: &Look) -> Step {
        // A read that began before the request was sent cannot show its effect.
        if look.begun_at < self.at {
            return self.stay();
        }
        match &look.seen_node {
            NodeSeen::Unread => self.stay(),
            NodeSeen::Absent { .. } | NodeSeen::Replaced => {
                self.running_since = None;
                let since = *self.absent_since.get_or_insert(at);
                if at.since(since) < ABSENT_TO_BE_GONE {
                    return self.stay();
                }
                Step::to(ActionState::Ended { end: End::Gone, at })
            }
            NodeSeen::Present { status, cordon, described_running, work: _ } => {
                self.absent_since = None;
                match status {
                    InstanceStatus::Running => {
                        self.still_running(terms, at, *cordon, *described_running)
                    }
                    InstanceStatus::Pending
                    | InstanceStatus::Failure
                    | InstanceStatus::ShuttingDown
                    | InstanceStatus::SystemUpdating
                    | InstanceStatus::DeepHealthCheck
                    | InstanceStatus::Unrecognised(_) => {
                        self.running_since = None;
                        self.stay()
                    }
                }
            }
        }
    }

    fn still_running(
        mut self,
        terms: &Terms,
        at: Time,
        cordon: OwnCordon,
        described_running: bool,
    ) -> Step {
        let since = *self.running_since.get_or_insert(at);
        // The listing may lag behind, so the single-node read must agree.
        if !described_running {
            return self.stay();
        }
        let long = at.since(since) >= terms.running_to_release(&self.answer);
        let lost = match cordon {
            OwnCordon::Clear | OwnCordon::NotOurs => true,
            OwnCordon::Ours | OwnCordon::Unread => false,
        };
        match (self.scope, &self.answer) {
            (_, Answer::Failed { code: why } | Answer::Refused { why }) if long => {
                release(terms, ReleaseReason::RefusedByApi(why.clone()), at)
            }
            (_, Answer::Failed { .. } | Answer::Refused { .. }) => self.stay(),
            (RequestScope::Named, Answer::NoAnswer) if long => {
                release(terms, ReleaseReason::NeverLeft, at)
            }
            // The API accepted the deletion, so trimtab does not release the node. If an operator
            // removed our cordon, or there was none, the action ends.
            (_, Answer::Accepted) if long && terms.cordoned && lost => lose_cordon(at),
            (RequestScope::Named, Answer::Accepted) if long && !terms.cordoned => {
                release(terms, ReleaseReason::NeverLeft, at)
            }
            // The whole-group request may still delete this node.
            (
                RequestScope::Named | RequestScope::Group { .. },
                Answer::NoAnswer | Answer::Accepted,
            ) => self.stay(),
        }
    }
}

fn releasing(terms: &Terms, why: ReleaseReason, since: Time, event: &Event) -> Step {
    let at = event.at;
    let stay = |why| Step::to(ActionState::Releasing { why, since });
    let fresh = |look: &Look| look.begun_at >= since;
    match &event.kind {
        EventKind::Look(look) => match &look.seen_node {
            NodeSeen::Unread => stay(why),
            NodeSeen::Replaced => replaced(at),
            // No job can run there. If a new instance gets this name and our cordon is still on
            // it, the sweep removes the cordon.
            NodeSeen::Absent { .. } if fresh(look) => released(why, at),
            NodeSeen::Absent { .. }
            | NodeSeen::Present { status: InstanceStatus::ShuttingDown, .. } => stay(why),
            NodeSeen::Present { cordon, .. } => match cordon {
                // The release removes only our own cordon, so it is safe to request it when the
                // scheduler's data is missing or old.
                OwnCordon::Ours | OwnCordon::Unread => stay(why).with(Effect::Release),
                OwnCordon::Clear | OwnCordon::NotOurs if fresh(look) => released(why, at),
                OwnCordon::Clear | OwnCordon::NotOurs => stay(why),
            },
        },
        EventKind::Deadline if at.since(since) >= terms.overdue => {
            stay(why).with(Effect::Notify(Notice::ReleaseOverdue))
        }
        EventKind::ClockStepped(by) => {
            Step::to(ActionState::Releasing { why, since: (since + *by).min(at) })
        }
        EventKind::Started
        | EventKind::Deadline
        | EventKind::Cleared { .. }
        | EventKind::GroupRequestOver(_)
        | EventKind::Answered(_)
        | EventKind::Veto(_)
        | EventKind::Paused => stay(why),
    }
}

#[cfg(test)]
mod tests;
