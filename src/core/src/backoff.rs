//! Back-off: after a refused request the whole cluster is left alone for a
//! while, longer with every refusal in a row.
//!
//! A refusal is about the cluster, the role or the moment, not about the nodes
//! that happened to be named, so nothing new is marked meanwhile either: a node
//! would be kept from its jobs for a request that will be refused again (F1,
//! F4). The delay depends on the cause. It is a function of what the ledger
//! has, so a restart knows it again.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::{ClusterName, RequestId};
use crate::units::{Span, Time};

/// Why a whole request was refused, as far as the answer proves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// Another operation runs in the cluster.
    Conflict,
    /// Too many requests.
    Throttled,
    /// The role may not do it.
    Denied,
    /// The credentials are no longer valid.
    ExpiredCredentials,
    /// There is no such cluster.
    NotFound,
    /// It was not sent: something did not hold any more.
    NotSent,
    /// The API refused it and does not say why in a way that proves anything; what it
    /// said is kept as it came.
    Unknown,
}

/// From the first delay to the longest.
struct Pace {
    first: Span,
    longest: Span,
}

impl Refusal {
    /// All of them.
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
            // Somebody's operation: scaling takes minutes, a software update an
            // hour. Our own next look shows whether it still runs.
            Self::Conflict => Pace { first: Span::mins(2), longest: Span::mins(30) },
            // Quotas of mutating calls are low and shared with everybody in the
            // account; they fill up again within minutes.
            Self::Throttled => Pace { first: Span::mins(2), longest: Span::mins(30) },
            // Only an operator can change these, and every try cordons nodes for
            // nothing.
            Self::Denied | Self::NotFound => {
                Pace { first: Span::mins(15), longest: Span::hours(6) }
            }
            // Most credentials are renewed by themselves, an operator's session is not.
            Self::ExpiredCredentials => Pace { first: Span::mins(5), longest: Span::hours(1) },
            // Nobody knows what would help, so rarely, and an operator is told.
            Self::Unknown => Pace { first: Span::mins(10), longest: Span::hours(6) },
            // Nothing reached the API. The nodes are released and cool down.
            Self::NotSent => return None,
        })
    }

    /// Whether only an operator can help, or has to find out.
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
            Self::Conflict => "another operation runs in the cluster",
            Self::Throttled => "too many requests",
            Self::Denied => "the role may not do it",
            Self::ExpiredCredentials => "the credentials are no longer valid",
            Self::NotFound => "there is no such cluster",
            Self::NotSent => "it was not sent",
            Self::Unknown => "for a reason that nothing proves",
        })
    }
}

/// A cluster that is left alone for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// Why the last request was refused.
    pub cause: Refusal,
    /// What the API said, shortened.
    pub why: Arc<str>,
    /// When it was refused.
    pub at: Time,
    /// No mark and no request before this.
    pub until: Time,
    /// How many requests in a row were refused, whatever for.
    pub refused: u32,
}

impl fmt::Display for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cause, why, at, until, refused } = self;
        write!(f, "left alone until {until}: a request was refused at {at}, {cause} ({why})")?;
        if *refused > 1 { write!(f, ", the last of {refused} in a row") } else { Ok(()) }
    }
}

/// One whole request that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The request.
    pub request: RequestId,
    /// When.
    pub at: Time,
    /// Why.
    pub cause: Refusal,
    /// What the API said.
    pub why: Arc<str>,
}

/// The spread is at most one part in so many of the delay.
const SPREAD: u64 = 4;

/// Longest text of an answer that a back-off repeats; the request's row has
/// more of it.
const WHY_LIMIT: usize = 160;

/// The back-off after one more refusal; unchanged by one that never reached
/// the API.
pub fn after(before: Option<Backoff>, refused: &Refused, cluster: &ClusterName) -> Option<Backoff> {
    let Some(Pace { first, longest }) = refused.cause.pace() else { return before };
    let in_a_row = before.map_or(0, |backoff| backoff.refused).saturating_add(1);
    // 2^20 times the shortest first delay is longer than any longest one.
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

/// At most so many bytes of a text, cut between characters.
pub fn shortened(text: &Arc<str>, limit: usize) -> Arc<str> {
    if text.len() <= limit {
        return Arc::clone(text);
    }
    let mut end = limit;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}… ({} bytes more)", &text[..end], text.len() - end).into()
}

/// A part of the delay that differs from cluster to cluster and from request to
/// request, so that many clusters of one account do not come back at once: a
/// hash (FNV-1a) instead of chance, so that a replay is the same.
fn spread(delay: Span, cluster: &ClusterName, request: RequestId) -> Span {
    let bytes = cluster.as_str().bytes().chain(request.0.to_be_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let widest = delay.0.unsigned_abs() / SPREAD;
    Span((hash % (widest + 1)) as i64)
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

    #[test]
    fn a_long_answer_is_cut_between_two_characters() {
        let long: Arc<str> = "é".repeat(200).into();
        let short = shortened(&long, 161);
        assert_eq!(&*short, format!("{}… (240 bytes more)", "é".repeat(80)));
        assert_eq!(shortened(&"short".into(), 161), "short".into());
    }
}
