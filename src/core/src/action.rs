//! One node's way out, as a state machine.
//!
//! ```text
//!                veto, job landed, pause, timeout, demand
//!       ┌──────────────────────────────────────────────────┐
//!       ▼                                                  │
//! Kept ─► Marked ─► Fencing ─► Settling ─► [gate] ─► look ─┤─► Asking ─► Asked ─► Gone
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
//! back: only [`EventKind::CallOver`] does, which [`crate::group_call`] derives
//! from the counts of the whole group.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::BatchId;
use crate::policy::Timing;
use crate::snapshot::{Claim, InstanceStatus};
use crate::units::{NodeCount, Span, Time};

/// A node is gone once two complete listings at least this far apart, and all
/// between them, lack it: one look can be a lagging or a changing page (F6).
pub const ABSENT_TO_BE_GONE: Span = Span::mins(1);

/// A node whose deletion was refused has to be Running in every complete listing for this
/// long, and by a single-node read after it, before it is handed back. The same codes that
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
    /// The fence was asked for and has not shown yet.
    Fencing {
        /// Since when.
        since: Time,
    },
    /// The fence was seen; a look counts when it begins at `until` or later.
    Settling {
        /// When the settle time is over.
        until: Time,
    },
    /// The delete call is about to be sent or on its way.
    Asking {
        /// The request it is part of.
        batch: BatchId,
        /// Since when.
        at: Time,
        /// What is asked for.
        #[serde(default)]
        call: Call,
    },
    /// The delete call was sent, or may have been.
    Asked {
        /// The request it was part of.
        batch: BatchId,
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
        call: Call,
    },
    /// It is being handed back to the scheduler.
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
pub enum Call {
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
    /// The node was handed back.
    Released(ReleaseReason),
    /// Somebody took our fence away or put theirs over it: hands off.
    FenceLost,
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

/// Why a node was handed back.
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
    /// A guard, a gate or a person said no.
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
    Spared,
}

impl fmt::Display for ReleaseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claimed(claim) => write!(f, "in use: {claim}"),
            Self::Active => f.write_str("its metrics show work"),
            Self::StatusChanged(status) => write!(f, "its status became {status:?}"),
            Self::Vanished => f.write_str("it left the listing by itself"),
            Self::Demand => f.write_str("waiting jobs need it"),
            Self::Floor => f.write_str("the floor needs it"),
            Self::Vetoed(why) => write!(f, "vetoed: {why}"),
            Self::Paused => f.write_str("trimtab is paused"),
            Self::Restarted => f.write_str("trimtab was restarted"),
            Self::TimedOut => f.write_str("a step took too long"),
            Self::RefusedByApi(why) => write!(f, "the API refused: {why}"),
            Self::NeverLeft => f.write_str("no answer came and it went on running"),
            Self::Spared => f.write_str("the call for its whole group left it"),
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
        batch: BatchId,
        /// When the reads behind the clearance began.
        look_begun_at: Time,
        /// What it asks for.
        #[serde(default)]
        call: Call,
    },
    /// The delete call ended.
    Answered(Answer),
    /// The call for the whole group is over, by the group's own counts, and
    /// this node was not picked, or nothing was done.
    CallOver(ReleaseReason),
    /// The node has to be handed back if it still can be.
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
    pub sight: Sight,
}

/// What a tick's reads say of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sight {
    /// Nothing that counts: the listing was not whole.
    Unread,
    /// A complete listing lacks it.
    Absent {
        /// What the scheduler shows at its name.
        fence: FenceLook,
    },
    /// Another instance bears its name, or it is not the node it was.
    Replaced,
    /// A complete listing has it.
    Present {
        /// SageMaker's status.
        status: InstanceStatus,
        /// What the scheduler shows at its name.
        fence: FenceLook,
        /// Whether anything lays claim to it.
        work: Work,
        /// A single-node read, made on purpose, says Running.
        described_running: bool,
    },
}

/// What the scheduler shows of our fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FenceLook {
    /// It is there, for this very action.
    Ours,
    /// The node is not fenced.
    Clear,
    /// The node is fenced, but not by this action.
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
    Fence,
    /// Take our fence, and no other, off the node.
    Release,
    /// Send the request.
    Delete(BatchId),
    /// Tell a person.
    Notify(Notice),
}

/// What a person is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Notice {
    /// Somebody took our fence away.
    FenceLost,
    /// An accepted deletion has not finished in time (F23).
    DeletionOverdue,
    /// A node could not be handed back in time (L2).
    ReleaseOverdue,
}

/// What is the same for an action's whole life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Whether a fence exists. Without one the second look, by the datapoints'
    /// own stamps, takes its place.
    pub fenced: bool,
    /// From the fence seen (or, without one, from the mark) until a look counts.
    pub settle: Span,
    /// How long a fence may take to show.
    pub fencing_timeout: Span,
    /// How long after `until` a settled node may wait.
    pub settling_timeout: Span,
    /// How long an unanswered node must be Running before it is handed back.
    pub confirm_running: Span,
    /// After how long an unfinished deletion or release is reported.
    pub overdue: Span,
}

impl Terms {
    /// Terms under these timings. Without a fence, `settle` must be at least
    /// one period of the metrics.
    pub fn new(timing: &Timing, fenced: bool, settle: Span) -> Self {
        Self {
            fenced,
            settle,
            fencing_timeout: timing.fencing_timeout,
            settling_timeout: timing.settling_timeout,
            confirm_running: timing.confirm_running.max(Span::mins(15)),
            overdue: timing.deletion_overdue,
        }
    }

    /// How long a node with this answer must be Running in every complete listing before
    /// it may be handed back.
    pub fn running_to_hand_back(&self, answer: &Answer) -> Span {
        match answer {
            Answer::Failed { .. } | Answer::Refused { .. } => {
                self.confirm_running.min(RUNNING_AFTER_REFUSAL)
            }
            Answer::NoAnswer | Answer::Accepted => self.confirm_running,
        }
    }
}

impl ActionState {
    /// Whether the action is over.
    pub const fn is_ended(&self) -> bool {
        match self {
            Self::Ended { .. } => true,
            Self::Marked { .. }
            | Self::Fencing { .. }
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
            | Self::Fencing { .. }
            | Self::Settling { .. }
            | Self::Releasing { .. }
            | Self::Ended { .. } => false,
        }
    }

    /// Whether a call for its whole group may have been sent and is not over.
    pub const fn is_in_group_call(&self) -> bool {
        match self {
            Self::Asking { call: Call::Group { .. }, .. }
            | Self::Asked { call: Call::Group { .. }, .. } => true,
            Self::Asking { call: Call::Named, .. }
            | Self::Asked { call: Call::Named, .. }
            | Self::Marked { .. }
            | Self::Fencing { .. }
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
            | Self::Fencing { .. }
            | Self::Settling { .. }
            | Self::Asking { .. }
            | Self::Releasing { .. }
            | Self::Ended { .. } => false,
        }
    }

    /// Whether it can still be taken back by a veto.
    pub const fn is_revocable(&self) -> bool {
        match self {
            Self::Marked { .. } | Self::Fencing { .. } | Self::Settling { .. } => true,
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
            Self::Fencing { since } => Some(*since + terms.fencing_timeout),
            Self::Settling { until } => Some(*until),
            Self::Asking { .. } | Self::Ended { .. } => None,
            Self::Asked { absent_since: Some(since), .. } => Some(*since + ABSENT_TO_BE_GONE),
            Self::Asked { running_since: Some(since), answer, .. } => {
                Some(*since + terms.running_to_hand_back(answer))
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
                now.since(*since) >= terms.running_to_hand_back(answer)
            }
            Self::Asked { .. }
            | Self::Marked { .. }
            | Self::Fencing { .. }
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
            Self::Fencing { .. } => "fencing",
            Self::Settling { .. } => "settling",
            Self::Asking { .. } => "asking",
            Self::Asked { .. } => "asked",
            Self::Releasing { .. } => "releasing",
            Self::Ended { end: End::Gone, .. } => "gone",
            Self::Ended { end: End::Released(_), .. } => "released",
            Self::Ended { end: End::FenceLost, .. } => "fence lost",
            Self::Ended { end: End::Replaced, .. } => "replaced",
        }
    }
}

/// One step: the next state and what to do once it is durable.
pub fn step(terms: &Terms, state: ActionState, event: &Event) -> (ActionState, Vec<Effect>) {
    match state {
        ActionState::Marked { since } => marked(terms, since, event),
        ActionState::Fencing { since } => fencing(terms, since, event),
        ActionState::Settling { until } => settling(terms, until, event),
        ActionState::Asking { batch, at: asked_at, call } => asking(batch, asked_at, call, event),
        ActionState::Asked { batch, at: asked_at, answer, absent_since, running_since, call } => {
            let asked = Asked { batch, at: asked_at, answer, absent_since, running_since, call };
            asked.step(terms, event)
        }
        ActionState::Releasing { why, since } => releasing(terms, why, since, event),
        ActionState::Ended { end, at } => (ActionState::Ended { end, at }, vec![]),
    }
}

/// Hands the node back. With a fence, that takes a listing which shows the node
/// there and not shutting down, and then a call: a node that somebody is
/// terminating meanwhile must not be given to a job.
fn release(terms: &Terms, why: ReleaseReason, at: Time) -> (ActionState, Vec<Effect>) {
    if terms.fenced {
        (ActionState::Releasing { why, since: at }, vec![])
    } else {
        (ActionState::Ended { end: End::Released(why), at }, vec![])
    }
}

fn lose_fence(at: Time) -> (ActionState, Vec<Effect>) {
    (ActionState::Ended { end: End::FenceLost, at }, vec![Effect::Notify(Notice::FenceLost)])
}

/// The fence may sit on the new instance by now: the driver's sweep takes it off.
fn replaced(at: Time) -> (ActionState, Vec<Effect>) {
    (ActionState::Ended { end: End::Replaced, at }, vec![])
}

/// What a look says while the node can still be taken back: a reason to hand
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

fn marked(terms: &Terms, since: Time, event: &Event) -> (ActionState, Vec<Effect>) {
    let at = event.at;
    match &event.kind {
        EventKind::Look(look) => match &look.sight {
            Sight::Unread => (ActionState::Marked { since }, vec![]),
            Sight::Absent { .. } => {
                (ActionState::Ended { end: End::Released(ReleaseReason::Vanished), at }, vec![])
            }
            Sight::Replaced => (ActionState::Ended { end: End::Replaced, at }, vec![]),
            Sight::Present { status, fence, work, described_running: _ } => {
                if let Some(why) = objection(status, work) {
                    return (ActionState::Ended { end: End::Released(why), at }, vec![]);
                }
                if !terms.fenced {
                    return (ActionState::Settling { until: since + terms.settle }, vec![]);
                }
                match fence {
                    FenceLook::Clear => (ActionState::Fencing { since: at }, vec![Effect::Fence]),
                    FenceLook::Ours => (ActionState::Settling { until: at + terms.settle }, vec![]),
                    FenceLook::NotOurs => (ActionState::Ended { end: End::FenceLost, at }, vec![]),
                    FenceLook::Unread => (ActionState::Marked { since }, vec![]),
                }
            }
        },
        EventKind::Veto(why) => {
            (ActionState::Ended { end: End::Released(why.clone()), at }, vec![])
        }
        EventKind::Paused => {
            (ActionState::Ended { end: End::Released(ReleaseReason::Paused), at }, vec![])
        }
        EventKind::Started => release(terms, ReleaseReason::Restarted, at),
        EventKind::Deadline if at.since(since) >= terms.fencing_timeout => {
            (ActionState::Ended { end: End::Released(ReleaseReason::TimedOut), at }, vec![])
        }
        EventKind::Deadline
        | EventKind::Cleared { .. }
        | EventKind::CallOver(_)
        | EventKind::Answered(_)
        | EventKind::ClockStepped(_) => (ActionState::Marked { since }, vec![]),
    }
}

fn fencing(terms: &Terms, since: Time, event: &Event) -> (ActionState, Vec<Effect>) {
    let at = event.at;
    match &event.kind {
        EventKind::Look(look) => match &look.sight {
            Sight::Unread => (ActionState::Fencing { since }, vec![]),
            Sight::Absent { .. } => release(terms, ReleaseReason::Vanished, at),
            Sight::Replaced => replaced(at),
            Sight::Present { status, fence, work, described_running: _ } => match fence {
                // Somebody fenced it in the same moment. What the scheduler
                // shows is theirs, and ours was never seen.
                FenceLook::NotOurs => lose_fence(at),
                FenceLook::Ours | FenceLook::Clear | FenceLook::Unread => {
                    if let Some(why) = objection(status, work) {
                        return release(terms, why, at);
                    }
                    match fence {
                        FenceLook::Ours => {
                            (ActionState::Settling { until: at + terms.settle }, vec![])
                        }
                        FenceLook::Clear | FenceLook::Unread | FenceLook::NotOurs => {
                            (ActionState::Fencing { since }, vec![])
                        }
                    }
                }
            },
        },
        EventKind::Veto(why) => release(terms, why.clone(), at),
        EventKind::Paused => release(terms, ReleaseReason::Paused, at),
        EventKind::Started => release(terms, ReleaseReason::Restarted, at),
        EventKind::Deadline if at.since(since) >= terms.fencing_timeout => {
            release(terms, ReleaseReason::TimedOut, at)
        }
        EventKind::Deadline
        | EventKind::Cleared { .. }
        | EventKind::CallOver(_)
        | EventKind::Answered(_)
        | EventKind::ClockStepped(_) => (ActionState::Fencing { since }, vec![]),
    }
}

fn settling(terms: &Terms, until: Time, event: &Event) -> (ActionState, Vec<Effect>) {
    let at = event.at;
    match &event.kind {
        EventKind::Look(look) => match &look.sight {
            Sight::Unread => (ActionState::Settling { until }, vec![]),
            Sight::Absent { .. } => release(terms, ReleaseReason::Vanished, at),
            Sight::Replaced => replaced(at),
            Sight::Present { status, fence, work, described_running: _ } => {
                match fence {
                    // The fence was seen before, so somebody took it away or
                    // put theirs in its place: hands off.
                    FenceLook::Clear | FenceLook::NotOurs if terms.fenced => return lose_fence(at),
                    FenceLook::Clear | FenceLook::NotOurs | FenceLook::Ours | FenceLook::Unread => {
                    }
                }
                match objection(status, work) {
                    Some(why) => release(terms, why, at),
                    None => (ActionState::Settling { until }, vec![]),
                }
            }
        },
        EventKind::Cleared { batch, look_begun_at, call } if *look_begun_at >= until => {
            let asking = ActionState::Asking { batch: *batch, at, call: *call };
            (asking, vec![Effect::Delete(*batch)])
        }
        EventKind::Veto(why) => release(terms, why.clone(), at),
        EventKind::Paused => release(terms, ReleaseReason::Paused, at),
        EventKind::Started => release(terms, ReleaseReason::Restarted, at),
        EventKind::Deadline if at.since(until) >= terms.settling_timeout => {
            release(terms, ReleaseReason::TimedOut, at)
        }
        EventKind::Deadline
        | EventKind::Cleared { .. }
        | EventKind::CallOver(_)
        | EventKind::Answered(_)
        | EventKind::ClockStepped(_) => (ActionState::Settling { until }, vec![]),
    }
}

fn asking(batch: BatchId, asked_at: Time, call: Call, event: &Event) -> (ActionState, Vec<Effect>) {
    let asked = |answer| ActionState::Asked {
        batch,
        at: asked_at,
        answer,
        absent_since: None,
        running_since: None,
        call,
    };
    match &event.kind {
        EventKind::Answered(answer) => (asked(answer.clone()), vec![]),
        EventKind::Started => (asked(Answer::NoAnswer), vec![]),
        EventKind::ClockStepped(by) => {
            (ActionState::Asking { batch, at: (asked_at + *by).min(event.at), call }, vec![])
        }
        EventKind::Look(_)
        | EventKind::Cleared { .. }
        | EventKind::CallOver(_)
        | EventKind::Veto(_)
        | EventKind::Deadline
        | EventKind::Paused => (ActionState::Asking { batch, at: asked_at, call }, vec![]),
    }
}

struct Asked {
    batch: BatchId,
    at: Time,
    answer: Answer,
    absent_since: Option<Time>,
    running_since: Option<Time>,
    call: Call,
}

impl Asked {
    fn stay(self) -> (ActionState, Vec<Effect>) {
        let Self { batch, at, answer, absent_since, running_since, call } = self;
        (ActionState::Asked { batch, at, answer, absent_since, running_since, call }, vec![])
    }

    fn step(mut self, terms: &Terms, event: &Event) -> (ActionState, Vec<Effect>) {
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
                let (state, mut effects) = self.stay();
                effects.push(Effect::Notify(Notice::DeletionOverdue));
                (state, effects)
            }
            EventKind::CallOver(why) => match (self.call, &self.answer) {
                (Call::Group { .. }, Answer::Accepted | Answer::NoAnswer) => {
                    release(terms, why.clone(), event.at)
                }
                // A refused call has a way back of its own, by a single-node read.
                (Call::Group { .. }, Answer::Failed { .. } | Answer::Refused { .. })
                | (Call::Named, _) => self.stay(),
            },
            EventKind::Deadline
            | EventKind::Cleared { .. }
            | EventKind::Answered(_)
            | EventKind::Veto(_)
            | EventKind::Paused => self.stay(),
        }
    }

    fn look(mut self, terms: &Terms, at: Time, look: &Look) -> (ActionState, Vec<Effect>) {
        // A read that began before the call was sent says nothing about it.
        if look.begun_at < self.at {
            return self.stay();
        }
        match &look.sight {
            Sight::Unread => self.stay(),
            Sight::Absent { .. } | Sight::Replaced => {
                self.running_since = None;
                let since = *self.absent_since.get_or_insert(at);
                if at.since(since) < ABSENT_TO_BE_GONE {
                    return self.stay();
                }
                (ActionState::Ended { end: End::Gone, at }, vec![])
            }
            Sight::Present { status, fence, described_running, work: _ } => {
                self.absent_since = None;
                match status {
                    InstanceStatus::Running => {
                        self.still_running(terms, at, *fence, *described_running)
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
        fence: FenceLook,
        described_running: bool,
    ) -> (ActionState, Vec<Effect>) {
        let since = *self.running_since.get_or_insert(at);
        // A listing alone may lag; the single-node read has to agree.
        if !described_running {
            return self.stay();
        }
        let long = at.since(since) >= terms.running_to_hand_back(&self.answer);
        let lost = match fence {
            FenceLook::Clear | FenceLook::NotOurs => true,
            FenceLook::Ours | FenceLook::Unread => false,
        };
        match (self.call, &self.answer) {
            (_, Answer::Failed { code: why } | Answer::Refused { why }) if long => {
                release(terms, ReleaseReason::RefusedByApi(why.clone()), at)
            }
            (_, Answer::Failed { .. } | Answer::Refused { .. }) => self.stay(),
            (Call::Named, Answer::NoAnswer) if long => release(terms, ReleaseReason::NeverLeft, at),
            // The API said yes, so we never hand it back. But where a person has
            // taken our fence away, or there is none, nothing of ours is left.
            (_, Answer::Accepted) if long && terms.fenced && lost => lose_fence(at),
            (Call::Named, Answer::Accepted) if long && !terms.fenced => {
                release(terms, ReleaseReason::NeverLeft, at)
            }
            // Of a group call, this one may still be the next to go.
            (Call::Named | Call::Group { .. }, Answer::NoAnswer | Answer::Accepted) => self.stay(),
        }
    }
}

fn releasing(
    terms: &Terms,
    why: ReleaseReason,
    since: Time,
    event: &Event,
) -> (ActionState, Vec<Effect>) {
    let at = event.at;
    let stay = |why| ActionState::Releasing { why, since };
    let fresh = |look: &Look| look.begun_at >= since;
    let ended = |why| ActionState::Ended { end: End::Released(why), at };
    match &event.kind {
        EventKind::Look(look) => match &look.sight {
            Sight::Unread => (stay(why), vec![]),
            Sight::Replaced => replaced(at),
            // Nothing can run there. A name that gets an instance again with
            // our fence still on it is swept.
            Sight::Absent { .. } if fresh(look) => (ended(why), vec![]),
            Sight::Absent { .. } | Sight::Present { status: InstanceStatus::ShuttingDown, .. } => {
                (stay(why), vec![])
            }
            Sight::Present { fence, .. } => match fence {
                // The release takes off our own fence and nothing else, so it may
                // be asked for while the scheduler's word is missing or old.
                FenceLook::Ours | FenceLook::Unread => (stay(why), vec![Effect::Release]),
                FenceLook::Clear | FenceLook::NotOurs if fresh(look) => (ended(why), vec![]),
                FenceLook::Clear | FenceLook::NotOurs => (stay(why), vec![]),
            },
        },
        EventKind::Deadline if at.since(since) >= terms.overdue => {
            (stay(why), vec![Effect::Notify(Notice::ReleaseOverdue)])
        }
        EventKind::ClockStepped(by) => {
            (ActionState::Releasing { why, since: (since + *by).min(at) }, vec![])
        }
        EventKind::Started
        | EventKind::Deadline
        | EventKind::Cleared { .. }
        | EventKind::CallOver(_)
        | EventKind::Answered(_)
        | EventKind::Veto(_)
        | EventKind::Paused => (stay(why), vec![]),
    }
}

#[cfg(test)]
mod tests;
