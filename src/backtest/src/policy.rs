//! The policies that are compared, and their names.

use std::fmt;
use std::str::FromStr;

use trimtab_core::units::Span;

/// Which of several nodes comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// The one with the lowest number, as Slurm does unless told otherwise.
    Lowest,
    /// Any of them, at random.
    Random,
    /// The one that has been out of use longest, which spreads load over all
    /// nodes: what least-allocated scoring in Kubernetes and Slurm's LLN come
    /// to.
    Spread,
}

/// Which node the scheduler gives to the next job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeChoice {
    /// The first of the idle nodes; one that is gone only if none is idle.
    Up(Order),
    /// The first of all free nodes, whether it is up or has to be brought back:
    /// a scheduler that does not look at that.
    Blind(Order),
}

impl NodeChoice {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Up(Order::Lowest),
        Self::Up(Order::Random),
        Self::Up(Order::Spread),
        Self::Blind(Order::Lowest),
        Self::Blind(Order::Random),
        Self::Blind(Order::Spread),
    ];

    /// In lower-case words.
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

    /// Which node comes first.
    pub const fn order(self) -> Order {
        match self {
            Self::Up(order) | Self::Blind(order) => order,
        }
    }

    /// Whether nodes that are gone are as good as those that are up.
    pub const fn is_blind(self) -> bool {
        matches!(self, Self::Blind(_))
    }
}

/// What decides when nodes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Policy {
    /// Nothing ever goes.
    Never,
    /// A node goes once it has been idle for this long itself: Cluster
    /// Autoscaler, Karpenter's `consolidateAfter`, Slurm's `SuspendTime`.
    Node(Span, NodeChoice),
    /// As many nodes go as were idle throughout this long, whichever they are.
    Count(Span),
    /// The same with T*.
    BreakEven,
    /// The same with a timer drawn anew for each gap, which in expectation
    /// costs e/(e-1) of the optimum on every input.
    Randomised,
    /// The same with the learned timer, its headroom and its governor.
    Learned,
    /// The same, and no node goes that a job already waiting will take within
    /// T*.
    LearnedQueue,
    /// The least that could be spent by who knows the future but boots a node
    /// only when it is needed.
    Optimum,
    /// The least that could be spent by who also boots ahead, so that no job
    /// waits.
    OptimumPrewarmed,
}

impl Policy {
    /// The set that is compared unless others are named; node and count timers
    /// of 10 minutes (Cluster Autoscaler's) and of 30.
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

/// A timer in its largest whole unit: `10m`, `90s`, `2h`.
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

/// A text that names no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no policy: write never, node-10m-lowest (or -random, -spread, each with \
     -blind or without), count-10m, break-even, randomised, learned, learned-queue, optimum or optimum-prewarmed; timers are \
     whole seconds, minutes or hours, such as 90s, 10m or 2h"
)]
pub struct UnknownPolicy {
    text: String,
}

impl FromStr for Policy {
    type Err = UnknownPolicy;

    fn from_str(text: &str) -> Result<Self, UnknownPolicy> {
        let unknown = || UnknownPolicy { text: text.chars().take(80).collect() };
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
                refused.starts_with(&format!("`{text}` is no policy: write never")),
                "{refused}"
            );
        }
    }
}
