//! Back-off: after a refused request trimtab leaves the whole cluster alone for a while, longer
//! after each refusal in a row.
//!
//! The cause of a refusal is the cluster, the role or the moment, not the nodes in the request. So
//! nothing new is marked meanwhile, either: a node would be kept from its jobs for a request that
//! will be refused again. The delay depends on the cause. It follows from the content of the
//! ledger, so a restart computes the same delay.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::ids::{ClusterName, RequestId};
use crate::text::shortened;
use crate::units::{Span, Time};

/// Why SageMaker refused a whole request, as far as the answer proves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// Another operation is running in the cluster.
    Conflict,
    /// Too many requests.
    Throttled,
    /// The IAM role does not allow the request.
    Denied,
    /// The credentials are no longer valid.
    ExpiredCredentials,
    /// The cluster does not exist.
    NotFound,
    /// The request was not sent, because a condition no longer held.
    NotSent,
    /// The answer does not prove any of the causes. Its text is kept.
    Unknown,
}

/// First and longest delay of one cause, without the spread.
struct Pace {
    first: Span,
    longest: Span,
}

impl Refusal {
    /// All causes.
    pub const ALL: [Self; 7] = [
        Self::Conflict,
        Self::Throttled,
        Self::Denied,
        Self::ExpiredCredentials,
        Self::NotFound,
        Self::NotSent,
        Self::Unknown,
    ];

    const fn pace(self) -> Option<Pace> {
        Some(match self {
            // An operation of another actor: scaling takes minutes, a software update about an
            // hour. The next read shows whether it still runs.
            Self::Conflict => Pace { first: Span::mins(2), longest: Span::mins(30) },
            // The quotas of mutating API requests are low and shared in the account. They refill
            // within minutes.
            Self::Throttled => Pace { first: Span::mins(2), longest: Span::mins(30) },
            // Only an operator can change these, and every attempt cordons nodes for nothing.
            Self::Denied | Self::NotFound => {
                Pace { first: Span::mins(15), longest: Span::hours(6) }
            }
            // Most credentials are renewed automatically; the session of an operator is not.
            Self::ExpiredCredentials => Pace { first: Span::mins(5), longest: Span::hours(1) },
            // The cause is unknown, so trimtab retries rarely and asks for an operator.
            Self::Unknown => Pace { first: Span::mins(10), longest: Span::hours(6) },
            // Nothing reached the API. The nodes are released and have their cool-down.
            Self::NotSent => return None,
        })
    }

    /// Whether an operator has to act or to find the cause.
    pub const fn wants_an_operator(self) -> bool {
        match self {
            Self::Denied | Self::ExpiredCredentials | Self::NotFound | Self::Unknown => true,
            Self::Conflict | Self::Throttled | Self::NotSent => false,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Conflict => "another operation is running in the cluster",
            Self::Throttled => "too many requests",
            Self::Denied => "the IAM role does not allow it",
            Self::ExpiredCredentials => "the credentials are no longer valid",
            Self::NotFound => "the cluster does not exist",
            Self::NotSent => "it was not sent",
            Self::Unknown => "unknown cause",
        })
    }
}

/// Back-off of one cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// Cause of the last refusal.
    pub cause: Refusal,
    /// Text of the API's answer, shortened.
    pub why: Arc<str>,
    /// Time of the last refusal.
    pub at: Time,
    /// Time before which there is no mark and no request.
    pub until: Time,
    /// Number of refused requests in a row, for any cause.
    pub refused: u32,
}

impl fmt::Display for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cause, why, at, until, refused } = self;
        write!(f, "no request until {until}: a request was refused at {at}: {cause} ({why})")?;
        if *refused > 1 { write!(f, "; {refused} refusals in a row") } else { Ok(()) }
    }
}

/// One whole request that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Id of the request.
    pub request: RequestId,
    /// Time of the refusal.
    pub at: Time,
    /// Cause of the refusal.
    pub cause: Refusal,
    /// Text of the API's answer.
    pub why: Arc<str>,
}

/// The spread is at most this part of the delay: one quarter.
const SPREAD: u64 = 4;

/// Longest text of an answer in a back-off, in bytes. The row of the request in the ledger has
/// more of it.
const WHY_LIMIT: usize = 160;

/// Returns the back-off after one more refusal. A request that was not sent leaves it unchanged.
/// The delay doubles with each refusal in a row, up to the longest delay of the cause.
pub fn after(before: Option<Backoff>, refused: &Refused, cluster: &ClusterName) -> Option<Backoff> {
    let Some(Pace { first, longest }) = refused.cause.pace() else { return before };
    let in_a_row = before.map_or(0, |backoff| backoff.refused).saturating_add(1);
    // 2^20 times the shortest first delay exceeds every longest delay.
    let doubled = first.times(1 << (in_a_row - 1).min(20));
    let delay = doubled.min(longest);
    Some(Backoff {
        cause: refused.cause,
        why: shortened(&refused.why, WHY_LIMIT),
        at: refused.at,
        until: refused.at + delay + spread(delay, cluster, refused.request),
        refused: in_a_row,
    })
}

/// Returns an addition of up to one quarter of the delay, which differs by cluster and request, so
/// that the clusters of one account do not retry at the same time. It is a hash (FNV-1a) and not
/// random, so that a replay computes the same value.
fn spread(delay: Span, cluster: &ClusterName, request: RequestId) -> Span {
    let digest = Digest::EMPTY.with(cluster.as_str().as_bytes()).with(&request.0.to_be_bytes());
    let widest = delay.0.unsigned_abs() / SPREAD;
    Span((digest.number() % (widest + 1)) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(request: u64, at: Time, cause: Refusal) -> Refused {
        Refused { request: RequestId(request), at, cause, why: "no".into() }
    }

    fn cluster() -> ClusterName {
        "research".parse().unwrap()
    }

    #[test]
    fn each_refusal_in_a_row_doubles_the_delay_up_to_the_longest() {
        for cause in Refusal::ALL {
            let mut backoff = None;
            let mut delays = vec![];
            let mut at = Time(0);
            for request in 1..30 {
                backoff = after(backoff, &refused(request, at, cause), &cluster());
                let Some(backoff) = &backoff else { break };
                delays.push(backoff.until.since(at));
                at = backoff.until;
            }
            let Some(Pace { first, longest }) = cause.pace() else {
                assert_eq!((cause, delays.len()), (Refusal::NotSent, 0));
                continue;
            };
            for (n, delay) in delays.iter().enumerate() {
                let least = first.times(1 << n.min(20)).min(longest);
                assert!(
                    *delay >= least && delay.0 <= least.0 + least.0 / 4,
                    "{cause:?} {delays:?}"
                );
            }
            assert_eq!(delays.len(), 29);
        }
    }

    #[test]
    fn a_request_that_was_never_sent_changes_nothing() {
        let before = after(None, &refused(1, Time(0), Refusal::Denied), &cluster());
        let unsent = refused(2, Time(9), Refusal::NotSent);
        assert_eq!(after(before.clone(), &unsent, &cluster()), before);
    }

    #[test]
    fn clusters_that_are_refused_together_do_not_come_back_together() {
        let until = |name: &str| {
            let one = refused(1, Time(0), Refusal::Throttled);
            after(None, &one, &name.parse().unwrap()).unwrap().until
        };
        let times: std::collections::BTreeSet<Time> =
            (0..20).map(|n| until(&format!("cluster-{n}"))).collect();
        assert!(times.len() > 15, "{times:?}");
        assert_eq!(until("cluster-7"), until("cluster-7"));
    }
}
