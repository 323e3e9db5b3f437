//! Defines the policies that are compared, and their names.

use std::fmt;
use std::str::FromStr;

use trimtab_core::text::start;
use trimtab_core::units::Span;

/// Order in which the scheduler prefers nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// The node with the lowest number, as Slurm does by default.
    Lowest,
    /// A random node.
    Random,
    /// The node that has been out of use longest, which spreads load over all nodes.
    /// Least-allocated scoring in Kubernetes and Slurm's LLN have this effect.
    Spread,
}

/// Node that the scheduler gives to the next job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeChoice {
    /// The first idle node in this order; a deleted node only if none is idle.
    Up(Order),
    /// The first free node in this order, whether it is up or deleted: the scheduler ignores
    /// which nodes are up.
    Blind(Order),
}

impl NodeChoice {
    pub const ALL: [Self; 6] = [
        Self::Up(Order::Lowest),
        Self::Up(Order::Random),
        Self::Up(Order::Spread),
        Self::Blind(Order::Lowest),
        Self::Blind(Order::Random),
        Self::Blind(Order::Spread),
    ];

    /// Returns the name, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up(Order::Lowest) => "lowest",
            Self::Up(Order::Random) => "random",
            Self::Up(Order::Spread) => "spread",
            Self::Blind(Order::Lowest) => "lowest-blind",
            Self::Blind(Order::Random) => "random-blind",
            Self::Blind(Order::Spread) => "spread-blind",
        }
    }

    /// Returns the order of nodes.
    pub const fn order(self) -> Order {
        match self {
            Self::Up(order) | Self::Blind(order) => order,
        }
    }

    /// Whether the scheduler ignores which nodes are up.
    pub const fn is_blind(self) -> bool {
        matches!(self, Self::Blind(_))
    }
}

/// Policy that decides when nodes are deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Policy {
    /// Deletes nothing.
    Never,
    /// Deletes a node when it has been idle for this time: Cluster Autoscaler, Karpenter's
    /// `consolidateAfter`, Slurm's `SuspendTime`.
    Node(Span, NodeChoice),
    /// Deletes as many nodes as were idle throughout this time, whichever they are.
    Count(Span),
    /// Like `Count`, with T*.
    BreakEven,
    /// Like `Count`, with a timer drawn again for each gap. Its expected cost is e/(e-1) of the
    /// optimum on every input.
    Randomised,
    /// Like `Count`, with the learned timer, its headroom and its governor.
    Learned,
    /// Like `Learned`, but keeps nodes that waiting jobs will take within T*.
    LearnedQueue,
    /// The lowest possible cost with knowledge of the future, if nodes boot only when they are
    /// needed.
    Optimum,
    /// The lowest possible cost with knowledge of the future, if nodes boot ahead and no job
    /// waits.
    OptimumPrewarmed,
}

impl Policy {
    /// Returns the policies that are compared by default, with node and count timers of 10
    /// minutes (Cluster Autoscaler's default) and 30 minutes.
    pub fn usual() -> Vec<Self> {
        let timers = [Span::mins(10), Span::mins(30)];
        let mut policies = vec![Self::Never];
        policies.extend(NodeChoice::ALL.map(|placement| Self::Node(timers[0], placement)));
        let up = NodeChoice::ALL.into_iter().filter(|placement| !placement.is_blind());
        policies.extend(up.map(|placement| Self::Node(timers[1], placement)));
        policies.extend(timers.map(Self::Count));
        policies.extend([
            Self::BreakEven,
            Self::Randomised,
            Self::Learned,
            Self::LearnedQueue,
            Self::Optimum,
            Self::OptimumPrewarmed,
        ]);
        policies
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Never => "never",
            Self::Node(timer, placement) => {
                return f.pad(&format!("node-{}-{}", written(*timer), placement.name()));
            }
            Self::Count(timer) => return f.pad(&format!("count-{}", written(*timer))),
            Self::BreakEven => "break-even",
            Self::Randomised => "randomised",
            Self::Learned => "learned",
            Self::LearnedQueue => "learned-queue",
            Self::Optimum => "optimum",
            Self::OptimumPrewarmed => "optimum-prewarmed",
        };
        f.pad(name)
    }
}

/// Formats a timer in its largest whole unit: `10m`, `90s`, `2h`.
fn written(timer: Span) -> String {
    let secs = timer.as_secs();
    if secs > 0 && secs % 3600 == 0 {
        format!("{}h", secs / 3600)
    } else if secs % 60 == 0 {
        format!("{}m", secs / 60)
    } else {
        format!("{secs}s")
    }
}

/// A text that is not the name of a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid policy `{text}`: write never, node-10m-lowest (or -random, -spread, each with or \
     without -blind), count-10m, break-even, randomised, learned, learned-queue, optimum or \
     optimum-prewarmed; timers are whole seconds, minutes or hours, such as 90s, 10m or 2h"
)]
pub struct UnknownPolicy {
    text: String,
}

impl FromStr for Policy {
    type Err = UnknownPolicy;

    fn from_str(text: &str) -> Result<Self, UnknownPolicy> {
        let unknown = || UnknownPolicy { text: start(text, 80) };
        let named = [
            Self::Never,
            Self::BreakEven,
            Self::Randomised,
            Self::Learned,
            Self::LearnedQueue,
            Self::Optimum,
            Self::OptimumPrewarmed,
        ];
        if let Some(policy) = named.into_iter().find(|policy| policy.to_string() == text) {
            return Ok(policy);
        }
        if let Some(timer) = text.strip_prefix("count-") {
            return timer_of(timer).map(Self::Count).ok_or_else(unknown);
        }
        let node = text.strip_prefix("node-").and_then(|rest| rest.split_once('-'));
        let (timer, word) = node.ok_or_else(unknown)?;
        let placement = NodeChoice::ALL.into_iter().find(|placement| placement.name() == word);
        match (timer_of(timer), placement) {
            (Some(timer), Some(placement)) => Ok(Self::Node(timer, placement)),
            (Some(_) | None, _) => Err(unknown()),
        }
    }
}

fn timer_of(text: &str) -> Option<Span> {
    let unit = text.chars().last()?;
    let number: u32 = text.strip_suffix(unit)?.parse().ok()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        _ => return None,
    };
    let timer = Span::secs(i64::from(number) * seconds);
    (timer <= Span::hours(24 * 365)).then_some(timer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_is_read_as_it_is_written() {
        let odd = [
            Policy::Count(Span::secs(90)),
            Policy::Node(Span::ZERO, NodeChoice::Up(Order::Spread)),
        ];
        for policy in Policy::usual().into_iter().chain(odd) {
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
    }

    #[test]
    fn what_is_no_policy_is_named_with_what_would_be() {
        for text in
            ["", "count-", "count-10", "node-10m", "node-10m-best", "count-9999999h", "Learned"]
        {
            let refused = text.parse::<Policy>().expect_err(text).to_string();
            assert!(
                refused.starts_with(&format!("invalid policy `{text}`: write never")),
                "{refused}"
            );
        }
    }
}
