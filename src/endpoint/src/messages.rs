//! Requests and responses of `/_world`, shared by the server and the client.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use trimtab_core::ids::{ActionId, GroupName, InstanceId, LedgerId, NodeName};
use trimtab_core::reads::{Activity, Reading};
use trimtab_core::units::{Span, Time, UsdPerHour};
use trimtab_daemon::ports::{CordonOrder, Ring};

/// Header of every response: the wall clock of the simulated daemon host, in milliseconds
/// since 1970.
pub(crate) const NOW_HEADER: &str = "x-trimtab-world-now";
/// Header of every response: the monotonic clock of the simulated daemon host, in
/// milliseconds.
pub(crate) const MONOTONIC_HEADER: &str = "x-trimtab-world-monotonic";

/// A world's clocks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ClockReading {
    /// The wall clock of the simulated daemon host, including clock faults.
    pub(crate) now: Time,
    /// The monotonic clock of the simulated daemon host.
    pub(crate) monotonic: Span,
    /// The true simulated time.
    pub(crate) true_now: Time,
    /// Simulated seconds per real second; 0 in lock-step.
    pub(crate) speed: f64,
    /// Time at which the simulation ends.
    pub(crate) end: Time,
}

/// Advances the worlds to a time or by a span. Lock-step only.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
pub(crate) enum Advance {
    To(Time),
    By(Span),
}

/// Advances the worlds until the doorbell rings. Lock-step only.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sleep {
    /// Time at which the sleep ends at the latest.
    #[serde(default)]
    pub(crate) deadline: Option<Time>,
    /// Period of the schedule, counted from the start of the world.
    #[serde(default = "two_minutes")]
    pub(crate) every: Span,
}

fn two_minutes() -> Span {
    Span::mins(2)
}

/// Response to [`Sleep`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Slept {
    pub(crate) now: Time,
    pub(crate) monotonic: Span,
    pub(crate) ring: Rung,
}

/// The wire format of [`Ring`].
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
    /// Negative control: the nodes are reported as drained, but the simulated scheduler still
    /// starts jobs on them.
    #[serde(default)]
    pub(crate) pretend: bool,
}

/// The wire format of [`CordonOrder`].
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

/// Requests the metrics of nodes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MetricsOf {
    pub(crate) nodes: Vec<InstanceId>,
    pub(crate) window: Span,
}

/// Metrics per node.
pub(crate) type Metrics = BTreeMap<InstanceId, Reading<Activity>>;

/// Price of one node per group.
pub(crate) type PriceList = BTreeMap<GroupName, UsdPerHour>;

/// Body of a failed request to `/_world`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Problem {
    pub(crate) kind: ProblemKind,
    pub(crate) why: String,
}

/// The kind of a [`Problem`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ProblemKind {
    /// The request is invalid, or its target does not exist.
    Refused,
    /// The simulated service throttles the request.
    Throttled,
    /// The simulated service returned an invalid response.
    Unreadable,
}
