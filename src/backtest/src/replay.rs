//! Replays policies over the groups of a trace and computes their costs in dollars.

use trimtab_core::rule::learned::Costs;
use trimtab_core::rule::meter::Spent;
use trimtab_core::units::{Span, Usd};

use crate::demand::Group;
use crate::policy::Policy;
use crate::{learned, levels, node_timer};

/// Groups to replay policies on, and settings of the replay.
#[derive(Debug, Clone)]
pub struct Replay {
    pub groups: Vec<Group>,
    /// Shortest learned timer; the daemon uses two ticks.
    pub shortest: Span,
    /// Random seed.
    pub seed: u64,
}

/// Result of one policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Idle node-time that was paid for.
    pub idle: Span,
    /// Cost of the idle node-time.
    pub idle_usd: Usd,
    /// Number of nodes that were brought back.
    pub boots: u64,
    /// Cost of these boots in the bill.
    pub boot_usd: Usd,
    /// Value of the jobs' waiting for these boots, including boot failures.
    pub delay_usd: Usd,
    /// Bill for all nodes that were up, used or idle, including boots.
    pub bill_usd: Usd,
}

impl Outcome {
    /// Returns the cost that depends on the policy: idle time, boots and waiting.
    pub fn cost(&self) -> Usd {
        self.idle_usd + self.boot_usd + self.delay_usd
    }

    /// Adds the result of one group.
    fn add(&mut self, group: &Group, spent: Spent, waits: bool) {
        let costing = &group.costing;
        let boot_usd = costing.boot_bill().times(spent.boots);
        let boot_cost_usd = costing.boot_cost().boot_cost.times(spent.boots);
        let idle = spent.idle + group.kept_by_floor();
        let idle_usd = costing.price.over(idle);
        self.idle += idle;
        self.idle_usd += idle_usd;
        self.boots += spent.boots;
        self.boot_usd += boot_usd;
        if waits {
            self.delay_usd += boot_cost_usd - boot_usd;
        }
        self.bill_usd += costing.price.over(group.used()) + idle_usd + boot_usd;
    }
}

impl Replay {
    /// Returns the number of changes of demand that one policy processes.
    pub fn moments(&self) -> u64 {
        self.groups.iter().map(|group| group.moments.len() as u64).sum()
    }

    /// Replays a policy. `done` receives the number of moments processed since its last call.
    pub fn run(&self, policy: Policy, mut done: impl FnMut(u64)) -> Outcome {
        let mut outcome = Outcome::default();
        if matches!(policy, Policy::Learned | Policy::LearnedQueue) {
            let queue = policy == Policy::LearnedQueue;
            let learned = learned::follow(&self.groups, queue, self.shortest, done);
            for (group, learned) in self.groups.iter().zip(learned) {
                outcome.add(group, learned.spent, true);
            }
            return outcome;
        }
        for (n, group) in (0_u64..).zip(&self.groups) {
            let seed = self.seed.wrapping_add(n);
            let waits = policy != Policy::OptimumPrewarmed;
            outcome.add(group, spent(policy, group, seed), waits);
            done(group.moments.len() as u64);
        }
        outcome
    }

    /// Replays count timers, all in one pass over each group.
    pub fn run_timers(&self, timers: &[Span]) -> Vec<Outcome> {
        let mut outcomes = vec![Outcome::default(); timers.len()];
        for group in &self.groups {
            let pass = levels::pass(group, timers, self.seed);
            for (outcome, spent) in outcomes.iter_mut().zip(pass.timers) {
                outcome.add(group, spent, true);
            }
        }
        outcomes
    }

    /// Returns the costs that the daemon's own meters would show at the end, by group.
    pub fn shadow(&self) -> Vec<Costs> {
        let learned = learned::follow(&self.groups, true, self.shortest, |_| {});
        learned.into_iter().map(|learned| learned.costs).collect()
    }
}

fn spent(policy: Policy, group: &Group, seed: u64) -> Spent {
    let one = |timer: Span| levels::pass(group, &[timer], seed).timers[0];
    let gaps = || levels::pass(group, &[], seed);
    match policy {
        Policy::Never => one(Span::FOREVER),
        Policy::Node(timer, placement) => node_timer::follow(group, timer, placement, seed),
        Policy::Count(timer) => one(timer),
        Policy::BreakEven => one(group.costing.boot_cost().break_even),
        Policy::Randomised => gaps().randomised,
        Policy::Optimum => gaps().optimum,
        Policy::OptimumPrewarmed => gaps().prewarmed,
        // These are replayed for all groups together.
        Policy::Learned | Policy::LearnedQueue => Spent::default(),
    }
}
