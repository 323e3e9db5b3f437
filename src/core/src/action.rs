//! One node's way out, as a state machine.
//!
//! ```text
//!                veto, job landed, pause, timeout, demand
//!       ┌──────────────────────────────────────────────────┐
//!       ▼                                                  │
//! Kept ─► Marked ─► Cordoning ─► Settling ─► [gate] ─► look ─┤─► Asking ─► Asked ─► Gone
//!        (intent)  (drain)    (wait)             (read begun       (call)  (confirmed
//!                                                 after settle)            by listings)
//! ```
//!
//! [`step`] is pure and total: every event in every state has an answer, and
//! an event that means nothing there changes nothing. The driver commits the
//! new state first and runs the effects afterwards, so a crash between the two
//! loses an effect but never a state.
//!
//! Two rules carry the safety of the whole program:
//! - nothing leads to [`Effect::Delete`] but a [`Event::Cleared`] on a node
//!   whose settle time was over when the look behind it began;
//! - once the call may have been sent, a node goes back to the scheduler only
//!   on its own refusal and minutes of Running, or, without an answer, after it
//!   was Running in every complete listing for at least
//!   [`Terms::confirm_running`] and a single-node read says so too.
//!
//! A call for a whole group ([`Call::Group`]) names a count, not nodes, and
//! HyperPod picks who goes. Until it is over nobody knows of any one node
//! whether it is picked, so there what is seen of a single node hands nothing
//! back: only [`EventKind::GroupRequestOver`] does, which [`crate::group_call`] derives
//! from the counts of the whole group.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::RequestId;
use crate::policy::Timing;
use crate::reads::{Claim, InstanceStatus};
use crate::units::{NodeCount, Span, Time, Usd, UsdPerHour};

/// A node is gone once two complete listings at least this far apart, and all
/// between them, lack it: one look can be a lagging or a changing page (F6).
pub const ABSENT_TO_BE_GONE: Span = Span::mins(1);

/// A node whose deletion was refused has to be Running in every complete listing for this
/// long, and by a single-node read after it, before it is released. The same codes that
/// refuse a node (an invalid status, in use, not found) say that somebody else may be
/// terminating it, and SageMaker's views disagree for one to five minutes.
pub const RUNNING_AFTER_REFUSAL: Span = Span::mins(6);

/// Where an action stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ActionState {
    /// The intent is in the ledger; nothing was done yet.
    Marked {
        /// Since when.
        since: Time,
    },
    /// The cordon was asked for and has not shown yet.
    Cordoning {
        /// Since when.
        since: Time,
    },
    /// The cordon was seen; a look counts when it begins at `until` or later.
    Settling {
        /// When the settle time is over.
        until: Time,
    },
    /// The delete call is about to be sent or on its way.
    Asking {
        /// The request it is part of.
        request: RequestId,
        /// Since when.
        at: Time,
        /// What is asked for.
        #[serde(default)]
        scope: RequestScope,
    },
    /// The delete call was sent, or may have been.
    Asked {
        /// The request it was part of.
        request: RequestId,
        /// Since when.
        at: Time,
        /// What the API said of this node.
        answer: Answer,
        /// Since when every complete listing lacked it.
        absent_since: Option<Time>,
        /// Since when it was Running in every complete listing.
        running_since: Option<Time>,
        /// What was asked for.
        #[serde(default)]
        scope: RequestScope,
    },
    /// It is being released to the scheduler.
    Releasing {
        /// Why.
        why: ReleaseReason,
        /// Since when.
        since: Time,
    },
    /// Over.
    Ended {
        /// How.
        end: End,
        /// When.
        at: Time,
    },
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RequestScope {
    /// These very nodes, by their ids.
    #[default]
    Named,
    /// That so many nodes of the group stay, whichever.
    Group {
        /// How many.
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
    /// Somebody took our cordon away or put theirs over it: hands off.
    CordonLost,
    /// Another instance bears the node's name now.
    Replaced,
}

/// What the API said of a node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Answer {
    /// It is being deleted.
    Accepted,
    /// Its own entry in `Failed`, with the API's code.
    Failed {
        /// The code; unknown ones are failures too.
        code: Arc<str>,
    },
    /// The whole request was refused, for sure without having acted.
    Refused {
        /// What the API said.
        why: Arc<str>,
    },
    /// No answer came, or one that leaves open whether it acted.
    NoAnswer,
}

/// Why a node was released.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ReleaseReason {
    /// Something laid claim to it.
    Claimed(Claim),
    /// Its metrics showed work (where there is no scheduler).
    Active,
    /// It left Running before we asked for anything.
    StatusChanged(InstanceStatus),
    /// It left the listing before we asked for anything.
    Vanished,
    /// Waiting jobs need it.
    Demand,
    /// The floor needs it.
    Floor,
    /// A guard, a gate or an operator said no.
    Vetoed(Arc<str>),
    /// The daemon was paused.
    Paused,
    /// The daemon was started anew.
    Restarted,
    /// A step took too long.
    TimedOut,
    /// The API refused to delete it, and it still runs.
    RefusedByApi(Arc<str>),
    /// No answer came, and it went on running.
    NeverLeft,
    /// The call for its whole group is over, and it is one of those that stay.
    NotPicked,
}

impl fmt::Display for ReleaseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claimed(claim) => write!(f, "in use: {claim}"),
            Self::Active => f.write_str("its metrics show work"),
            Self::StatusChanged(status) => write!(f, "its status became {status}"),
            Self::Vanished => f.write_str("it left the listing by itself"),
            Self::Demand => f.write_str("waiting jobs need it"),
            Self::Floor => f.write_str("the floor needs it"),
            Self::Vetoed(why) => write!(f, "vetoed: {why}"),
            Self::Paused => f.write_str("trimtab is paused"),
            Self::Restarted => f.write_str("trimtab was restarted"),
            Self::TimedOut => f.write_str("a step took too long"),
            Self::RefusedByApi(why) => write!(f, "the API refused: {why}"),
            Self::NeverLeft => f.write_str("no answer came and it went on running"),
            Self::NotPicked => f.write_str("the call for its whole group left it"),
        }
    }
}

/// What happened. Every event carries when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: Time,
    /// What.
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    /// The node was looked at.
    Look(Look),
    /// The audit cleared the node for this request, from a look that began
    /// at `look_begun_at`.
    Cleared {
        /// The request.
        request: RequestId,
        /// When the reads behind the clearance began.
        look_begun_at: Time,
        /// What it asks for.
        #[serde(default)]
        scope: RequestScope,
    },
    /// The delete call ended.
    Answered(Answer),
    /// The call for the whole group is over, by the group's own counts, and
    /// this node was not picked, or nothing was done.
    GroupRequestOver(ReleaseReason),
    /// The node has to be released if it still can be.
    Veto(ReleaseReason),
    /// A deadline named by [`ActionState::deadline`] has passed.
    Deadline,
    /// The daemon was paused.
    Paused,
    /// The daemon was started and found this action open.
    Started,
    /// The wall clock stepped by so much between two ticks: what was waited out
    /// on it is void.
    ClockStepped(Span),
}

/// What a tick's reads say of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// Before the first of these reads began.
    pub begun_at: Time,
    /// What they say.
    pub seen_node: NodeSeen,
}

/// What a tick's reads say of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeSeen {
    /// Nothing that counts: the listing was not whole.
    Unread,
    /// A complete listing lacks it.
    Absent {
        /// What the scheduler shows at its name.
        cordon: OwnCordon,
    },
    /// Another instance bears its name, or it is not the node it was.
    Replaced,
    /// A complete listing has it.
    Present {
        /// SageMaker's status.
        status: InstanceStatus,
        /// What the scheduler shows at its name.
        cordon: OwnCordon,
        /// Whether anything lays claim to it.
        work: Work,
        /// A single-node read, made on purpose, says Running.
        described_running: bool,
    },
}

/// What the scheduler shows of our cordon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OwnCordon {
    /// It is there, for this very action.
    Ours,
    /// The node is not cordoned.
    Clear,
    /// The node is cordoned, but not by this action.
    NotOurs,
    /// The scheduler could not be read, or does not know the node.
    Unread,
}

/// Whether anything lays claim to a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    /// Positive evidence of none.
    None,
    /// Something does.
    Claimed(Claim),
    /// Its metrics show work.
    Active,
    /// Not known.
    Unread,
}

/// What a transition asks the driver to do, after the new state is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Effect {
    /// Keep new jobs off the node.
    Cordon,
    /// Take our cordon, and no other, off the node.
    Release,
    /// Send the request.
    Delete(RequestId),
    /// Tell an operator.
    Notify(Notice),
}

/// What an operator is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Notice {
    /// Somebody took our cordon away.
    CordonLost,
    /// An accepted deletion has not finished in time (F23).
    DeletionOverdue,
    /// A node could not be released in time (L2).
    ReleaseOverdue,
}

/// What is the same for an action's whole life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Whether a cordon exists. Without one the second look, by the datapoints'
    /// own stamps, takes its place.
    pub cordoned: bool,
    /// From the cordon seen (or, without one, from the mark) until a look counts.
    pub settle: Span,
    /// How long a cordon may take to show.
    pub cordon_timeout: Span,
    /// How long after `until` a settled node may wait.
    pub settling_timeout: Span,
    /// How long an unanswered node must be Running before it is released.
    pub confirm_running: Span,
    /// After how long an unfinished deletion or release is reported.
    pub overdue: Span,
}

impl Terms {
    /// Terms under these timings. Without a cordon, `settle` must be at least
    /// one period of the metrics.
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

    /// How long a node with this answer must be Running in every complete listing before
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
    /// Whether the action is over.
    pub const fn is_ended(&self) -> bool {
        match self {
            Self::Ended { .. } => true,
            Self::Marked { .. }
            | Self::Cordoning { .. }
            | Self::Settling { .. }
            | Self::Asking { .. }
            | Self::Asked { .. }
            | Self::Releasing { .. } => false,
        }
    }

    /// Whether the delete call may have been sent.
    pub const fn is_asked(&self) -> bool {
        match self {
            Self::Asking { .. } | Self::Asked { .. } => true,
            Self::Marked { .. }
            | Self::Cordoning { .. }
            | Self::Settling { .. }
            | Self::Releasing { .. }
            | Self::Ended { .. } => false,
        }
    }

    /// Whether a call for its whole group may have been sent and is not over.
    pub const fn is_in_group_call(&self) -> bool {
        match self {
            Self::Asking { scope: RequestScope::Group { .. }, .. }
            | Self::Asked { scope: RequestScope::Group { .. }, .. } => true,
            Self::Asking { scope: RequestScope::Named, .. }
            | Self::Asked { scope: RequestScope::Named, .. }
            | Self::Marked { .. }
            | Self::Cordoning { .. }
            | Self::Settling { .. }
            | Self::Releasing { .. }
            | Self::Ended { .. } => false,
        }
    }

    /// Whether the API has said yes to its deletion.
    pub const fn is_accepted(&self) -> bool {
        match self {
            Self::Asked { answer: Answer::Accepted, .. } => true,
            Self::Asked { .. }
            | Self::Marked { .. }
            | Self::Cordoning { .. }
            | Self::Settling { .. }
            | Self::Asking { .. }
            | Self::Releasing { .. }
            | Self::Ended { .. } => false,
        }
    }

    /// Whether it can still be released by a veto.
    pub const fn is_revocable(&self) -> bool {
        match self {
            Self::Marked { .. } | Self::Cordoning { .. } | Self::Settling { .. } => true,
            Self::Asking { .. }
            | Self::Asked { .. }
            | Self::Releasing { .. }
            | Self::Ended { .. } => false,
        }
    }

    /// When the driver has to come back to it even if the schedule does not ring.
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

    /// Whether a single-node read is needed before the next step: the API said no
    /// to this node, or it has been Running for long enough after the call.
    pub fn wants_description(&self, terms: &Terms, now: Time) -> bool {
        match self {
            Self::Asked { answer, running_since: Some(since), .. } => {
                now.since(*since) >= terms.running_to_release(answer)
            }
            Self::Asked { .. }
            | Self::Marked { .. }
            | Self::Cordoning { .. }
            | Self::Settling { .. }
            | Self::Asking { .. }
            | Self::Releasing { .. }
            | Self::Ended { .. } => false,
        }
    }

    /// The state's name, for tables and logs.
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

/// What an event does to an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The next state; the same one where the event means nothing to it.
    pub state: ActionState,
    /// What to do once that state is durable, in order.
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

/// Returns what an event does to an action in this state.
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

/// Hands the node back. With a cordon, that takes a listing which shows the node
/// there and not shutting down, and then a call: a node that somebody is
/// terminating meanwhile must not be given to a job.
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

/// The cordon may sit on the new instance by now: the driver's sweep takes it off.
fn replaced(at: Time) -> Step {
    Step::to(ActionState::Ended { end: End::Replaced, at })
}

/// What a look says while the node can still be released: a reason to hand
/// it back at once, if there is one.
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

/// What a veto, a pause, a start and a passed time limit do to a node that was not asked
/// for yet: they release it. `None` for every other event.
///
/// A marked node has no cordon to take off, so it is released at once. Only a start cannot
/// know that: a crash may have hidden that the cordon was asked for.
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
            // Somebody cordoned it in the same moment. What the scheduler
            // shows is theirs, and ours was never seen.
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
                // The cordon was seen before, so somebody took it away or
                // put theirs in its place: hands off.
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

/// A state from which the node was not asked for yet.
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
            // An answer that the ledger has is an answer: an accepted deletion
            // must not become one that may be taken for lost.
            EventKind::Started => {
                self.running_since = None;
                self.absent_since = None;
                self.stay()
            }
            EventKind::ClockStepped(by) => {
                // The call was sent by now, whatever the clock said then.
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
                // A refused call has a way back of its own, by a single-node read.
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
        // A read that began before the call was sent says nothing about it.
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
        // A listing alone may lag; the single-node read has to agree.
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
            // The API said yes, so we never release it. But where an operator has
            // taken our cordon away, or there is none, nothing of ours is left.
            (_, Answer::Accepted) if long && terms.cordoned && lost => lose_cordon(at),
            (RequestScope::Named, Answer::Accepted) if long && !terms.cordoned => {
                release(terms, ReleaseReason::NeverLeft, at)
            }
            // Of a group call, this one may still be the next to go.
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
            // Nothing can run there. A name that gets an instance again with
            // our cordon still on it is swept.
            NodeSeen::Absent { .. } if fresh(look) => released(why, at),
            NodeSeen::Absent { .. }
            | NodeSeen::Present { status: InstanceStatus::ShuttingDown, .. } => stay(why),
            NodeSeen::Present { cordon, .. } => match cordon {
                // The release takes off our own cordon and nothing else, so it may
                // be asked for while the scheduler's word is missing or old.
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
