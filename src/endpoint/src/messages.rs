//! What goes over `/_world`, between the server's side of it and the client's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use trimtab_core::ids::{ActionId, GroupName, InstanceId, LedgerId, NodeName};
use trimtab_core::snapshot::{Activity, Reading};
use trimtab_core::units::{Span, Time, UsdPerHour};
use trimtab_daemon::ports::{CordonOrder, Ring};

/// On every reply: the wall clock of the daemon's machine in the world, in
/// milliseconds since 1970.
pub(crate) const NOW_HEADER: &str = "x-trimtab-world-now";
/// On every reply: its monotonic clock, in milliseconds.
pub(crate) const MONOTONIC_HEADER: &str = "x-trimtab-world-monotonic";

/// A world's clocks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ClockReading {
    /// The wall clock of the daemon's machine, faults included.
    pub(crate) now: Time,
    /// Its monotonic clock.
    pub(crate) monotonic: Span,
    /// The world's true time.
    pub(crate) true_now: Time,
    /// Seconds of the world in one on the wall; 0 in lock-step.
    pub(crate) speed: f64,
    /// When the world ends.
    pub(crate) end: Time,
}

/// Moves the worlds, in lock-step: to a time, or by so long.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
pub(crate) enum Advance {
    To(Time),
    By(Span),
}

/// Sleeps, in lock-step.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sleep {
    /// The earliest deadline of the sleeper.
    #[serde(default)]
    pub(crate) deadline: Option<Time>,
    /// How often its schedule rings, counted from the world's start.
    #[serde(default = "two_minutes")]
    pub(crate) every: Span,
}

fn two_minutes() -> Span {
    Span::mins(2)
}

/// A sleep is over.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Slept {
    pub(crate) now: Time,
    pub(crate) monotonic: Span,
    pub(crate) ring: Rung,
}

/// [`Ring`] on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Rung {
    Schedule,
    Deadline,
    Backstop,
    Stop,
}

impl From<Ring> for Rung {
    fn from(ring: Ring) -> Self {
        match ring {
            Ring::Schedule => Self::Schedule,
            Ring::Deadline => Self::Deadline,
            Ring::Backstop => Self::Backstop,
            Ring::Stop => Self::Stop,
        }
    }
}

impl From<Rung> for Ring {
    fn from(rung: Rung) -> Self {
        match rung {
            Rung::Schedule => Self::Schedule,
            Rung::Deadline => Self::Deadline,
            Rung::Backstop => Self::Backstop,
            Rung::Stop => Self::Stop,
        }
    }
}

/// Cordons or releases nodes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Orders {
    pub(crate) ledger: LedgerId,
    pub(crate) orders: Vec<Order>,
    /// The negative control: the cordon shows, and jobs are placed all the same.
    #[serde(default)]
    pub(crate) pretend: bool,
}

/// A [`CordonOrder`] on the wire.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Order {
    pub(crate) name: NodeName,
    pub(crate) action: ActionId,
}

impl From<&CordonOrder> for Order {
    fn from(order: &CordonOrder) -> Self {
        Self { name: order.name.clone(), action: order.action }
    }
}

impl From<Order> for CordonOrder {
    fn from(order: Order) -> Self {
        Self { name: order.name, action: order.action }
    }
}

/// Asks for nodes' metrics.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MetricsOf {
    pub(crate) nodes: Vec<InstanceId>,
    pub(crate) window: Span,
}

/// What nodes' metrics say.
pub(crate) type Metrics = BTreeMap<InstanceId, Reading<Activity>>;

/// What a node of each group costs.
pub(crate) type PriceList = BTreeMap<GroupName, UsdPerHour>;

/// Why a request of `/_world` failed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Problem {
    pub(crate) kind: ProblemKind,
    pub(crate) why: String,
}

/// Which kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ProblemKind {
    /// The request makes no sense, or there is no such thing.
    Refused,
    /// Asked to slow down.
    Throttled,
    /// The answer inside the world made no sense.
    Unreadable,
}
