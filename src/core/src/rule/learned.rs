//! The learned timer of a group, the meters that run beside it, and the governor that bounds its
//! cost.
//!
//! Four rules are metered on the same demand: a fixed timer, the break-even timer T*
//! (docs/cost-rule.md, section 5), the learned timer, and the learned timer with several amounts
//! of headroom. The learned timer is the candidate that would have cost least on the gaps of the
//! last 28 days. It is fitted every 6 hours. It is in force while its cost I stays within a factor
//! of the cost B of the break-even timer:
//!
//! ```text
//! I <= (1 + eps) B + K        otherwise T*        eps = 0.05, K = 4 beta
//! ```
//!
//! With T* in force both meters grow alike on every new gap, so I - (1 + eps) B cannot grow. With
//! `B <= 2 OPT` plus open gaps,
//!
//! ```text
//! I <= 2 (1 + eps) OPT + K + N (p tau_max + beta) + (1 + eps) N p T*
//! ```
//!
//! for N levels, for any demand and however long trimtab runs (docs/cost-rule.md, section 9).
//! Conditions: prices stay (each change adds at most what N levels can cost once), jobs that are
//! announced do start, and T* is at least [`TimerTerms::shortest`] (otherwise B is the meter of a
//! timer of that length).

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use super::BootCost;
use super::gaps::{CANDIDATES, Gaps, Histogram, REFIT};
use super::headroom::Headroom;
use super::levels::{IdleGap, Levels};
use super::meter::{Meter, Spent};
use crate::units::{NodeCount, Span, Time, Usd};

/// Default idle timer of Cluster Autoscaler (`scale-down-unneeded-time`): 10 minutes. It is
/// metered for comparison.
pub const OTHERS_TIMER: Span = Span::mins(10);

/// ε of the governor, in percent.
const GOVERNOR_PERCENT: i128 = 5;
/// K of the governor, in boots.
const GOVERNOR_BOOTS: u64 = 4;
/// Number of pooled gaps that are added to a group's own gaps in a fit.
const PRIOR_GAPS: i128 = 30;

/// Nodes that were counted at one step of demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demand {
    /// Demand: busy + unknown + q (docs/cost-rule.md, section 1).
    pub nodes: NodeCount,
    /// Nodes for jobs that become eligible soon and are not in q (V).
    pub upcoming: NodeCount,
    /// Floor in force. Levels up to the floor are never given up.
    pub floor: NodeCount,
}

impl Demand {
    /// Returns the levels that must stay: the higher of demand and floor.
    pub fn needed(&self) -> NodeCount {
        self.nodes.max(self.floor)
    }

    /// Returns the nodes that only the floor keeps.
    pub(super) fn kept_by_floor(&self) -> NodeCount {
        self.floor.saturating_sub(self.nodes)
    }

    /// Returns the announced levels above [`Demand::needed`].
    fn beyond(&self) -> NodeCount {
        (self.nodes + self.upcoming).saturating_sub(self.needed())
    }
}

/// Costs and limits of the timers of one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimerTerms {
    /// Price, boot cost and break-even.
    pub cost: BootCost,
    /// The fixed timer that is metered for comparison.
    pub fixed: Span,
    /// Shortest timer that may be in force.
    pub shortest: Span,
}

/// Gaps that represent a group without history: two in each of 15 doublings of the length, from 90
/// seconds to 17 days (docs/cost-rule.md, section 8). 30 gaps of the group's own weigh as much.
fn unseen() -> Histogram {
    let mut gaps = Histogram::default();
    for doubling in 0..15 {
        let length = Span::secs(90 << doubling);
        gaps.add(2, length, length);
    }
    gaps
}

/// Result of one fit of the learned timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fit {
    /// Time of the fit.
    pub at: Time,
    /// The candidate that would have cost least.
    pub timer: Span,
    /// Gaps of the group itself in the fit, open ones included.
    pub own_gaps: u64,
    /// Gaps of all groups in the fit, open ones included.
    pub pooled_gaps: u64,
    /// Learned headroom, in nodes.
    pub headroom: NodeCount,
}

/// Which timer is in force where the policy chooses the learned timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimerInForce {
    /// The fitted timer.
    Learned,
    /// T*, because the learned timer has cost too much. It returns when its cost is within the
    /// bound again.
    Governed,
}

/// The meters of one group. They run while price and boot time are known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Metered {
    terms: TimerTerms,
    fixed: Meter,
    break_even: Meter,
    learned: Meter,
    /// The learned timer with each amount of headroom.
    headroom: Headroom,
    /// Optimum on the gaps that have ended: the cost with knowledge of the future, but without
    /// booting ahead. A gap during which prices changed counts at the new prices.
    clairvoyant: Spent,
    /// Cost at earlier prices.
    earlier: Costs,
    /// Start of metering.
    since: Time,
}

/// Cost of the timers of a group so far, on the same demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SoFar {
    /// Start of metering.
    pub since: Time,
    /// The fixed timer.
    pub fixed: Span,
    /// Cost of each rule.
    pub costs: Costs,
}

/// Cost of each rule so far beyond the nodes in use, in dollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Costs {
    /// The fixed timer.
    pub fixed: Usd,
    /// The break-even timer T*.
    pub break_even: Usd,
    /// The learned timer, governor included.
    pub learned: Usd,
    /// Optimum on the gaps that have ended: it knows when demand returns, but does not boot ahead.
    pub clairvoyant: Usd,
}

/// State of the learned timer and of the meters of one group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learner {
    /// Time of the last step or advance.
    at: Time,
    /// Watched time up to then.
    watched: Span,
    levels: Levels,
    gaps: Gaps,
    /// Newest 6-hour span that has had its fit.
    fitted: i64,
    fit: Option<Fit>,
    standing: TimerInForce,
    metered: Option<Metered>,
    /// Number of fits so far. The daemon stores the state whenever this has grown.
    fits: u64,
}

/// Advances the learners to `at`. Fits all of them together at the start of each 6-hour span on
/// the way. The bool of each learner says whether its demand was watched up to `at`; if not, the
/// gaps of this learner do not age.
pub fn carry_on(learners: &mut [(&mut Learner, bool)], at: Time) {
    while let Some(next) = learners.iter().map(|(learner, _)| learner.next_refit()).min()
        && next <= at
    {
        let mut pooled = Histogram::default();
        for (learner, is_watched) in learners.iter_mut() {
            // A learner that was away while the others were fitted catches up after them.
            if learner.next_refit() <= next {
                learner.carry(next, *is_watched);
            }
            pooled.join(&learner.open_and_ended());
        }
        for (learner, _) in learners.iter_mut() {
            if learner.next_refit() <= next {
                learner.refit(next, &pooled);
            }
        }
    }
    for (learner, is_watched) in learners {
        learner.carry(at, *is_watched);
    }
}

impl Learner {
    /// Starts a learner at the first sample of a group: `up` nodes are up. Without `terms` it
    /// records gaps and meters nothing.
    pub fn starting(at: Time, demand: Demand, up: NodeCount, terms: Option<TimerTerms>) -> Self {
        let mut levels = Levels::starting(Span::ZERO, demand.needed(), up);
        levels.step(Span::ZERO, demand.needed(), demand.beyond(), |_| {});
        levels.keep_by_floor(demand.kept_by_floor());
        let mut learner = Self {
            at,
            watched: Span::ZERO,
            levels,
            gaps: Gaps::default(),
            fitted: Gaps::span_of(at),
            fit: None,
            standing: TimerInForce::Learned,
            metered: None,
            fits: 0,
        };
        learner.agree(terms);
        learner
    }

    /// Returns the idle timer in force, or `None` without price or boot time.
    pub fn timer(&self) -> Option<Span> {
        self.metered.as_ref().map(|metered| metered.learned.timer())
    }

    /// Returns which timer is in force: the learned one or T*.
    pub const fn standing(&self) -> TimerInForce {
        self.standing
    }

    /// Returns the newest fit, if any.
    pub const fn fit(&self) -> Option<&Fit> {
        self.fit.as_ref()
    }

    /// Returns the time of the last step or advance.
    pub const fn at(&self) -> Time {
        self.at
    }

    /// Returns the number of fits so far. Between two fits the state follows from the samples
    /// alone.
    pub const fn fits(&self) -> u64 {
        self.fits
    }

    /// Returns the learned headroom in force, in nodes; 0 while the governor holds T*.
    pub fn headroom(&self) -> NodeCount {
        self.metered.as_ref().map_or(NodeCount::ZERO, |metered| metered.learned.headroom())
    }

    /// Returns the cost of each rule since metering began, or `None` without price or boot time.
    pub fn costs(&self) -> Option<Costs> {
        let metered = self.metered.as_ref()?;
        Some(metered.costs())
    }

    /// Returns the cost of each rule with the start of metering and the fixed timer.
    pub fn so_far(&self) -> Option<SoFar> {
        let metered = self.metered.as_ref()?;
        let (since, fixed) = (metered.since, metered.terms.fixed);
        Some(SoFar { since, fixed, costs: metered.costs() })
    }

    /// Returns what the learned timer has spent at the present price.
    pub fn spent(&self) -> Option<Spent> {
        self.metered.as_ref().map(|metered| metered.learned.spent())
    }

    /// Returns the levels that have been in use and are idle now.
    pub fn idle_levels(&self) -> NodeCount {
        self.levels.idle().iter().map(|idle| idle.levels).sum()
    }

    /// Returns the nodes that the learned timer keeps beyond the needed ones.
    pub fn kept(&self) -> Option<NodeCount> {
        self.metered.as_ref().map(|metered| metered.learned.kept())
    }

    fn carry(&mut self, at: Time, is_watched: bool) {
        if is_watched && at >= self.at {
            self.advance(at);
        } else {
            self.resume(at);
        }
    }

    /// Advances watched time to `at` with unchanged demand. `at` must not be earlier than the last
    /// step.
    pub fn advance(&mut self, at: Time) {
        self.watched += at.since(self.at).max(Span::ZERO);
        self.at = at;
        if let Some(metered) = &mut self.metered {
            metered.each(|meter| meter.advance(self.watched, &self.levels));
        }
    }

    /// Moves to `at` without watched time: gaps do not age. `at` may be earlier than the last step
    /// if the clock was set back.
    pub fn resume(&mut self, at: Time) {
        if at < self.at {
            self.fitted = self.fitted.min(Gaps::span_of(at));
            self.gaps.set_back(at);
        }
        self.at = at;
    }

    /// Steps demand at the present time. Call [`Learner::advance`] or [`Learner::resume`] first.
    /// Without `terms` the meters stop.
    pub fn step(&mut self, demand: Demand, terms: Option<TimerTerms>) {
        self.agree(terms);
        self.step_on(demand);
    }

    /// Steps demand with the terms in force.
    pub fn step_on(&mut self, demand: Demand) {
        let is_same = demand.needed() == self.levels.needed()
            && demand.beyond() == self.levels.upcoming()
            && demand.kept_by_floor() == self.levels.kept_by_floor();
        if is_same {
            self.settle();
            return;
        }
        let (at, watched) = (self.at, self.watched);
        self.levels.keep_by_floor(demand.kept_by_floor());
        let fall = self.levels.needed().saturating_sub(demand.needed());
        let Self { levels, gaps, metered, .. } = self;
        if let Some(metered) = metered {
            metered.each(|meter| meter.fell(fall));
        }
        let beyond = levels.step(watched, demand.needed(), demand.beyond(), |gap| {
            let count = u64::from(gap.levels.0);
            gaps.add(at, count, gap.length, gap.until_announced());
            if let Some(metered) = metered {
                metered.ended(&gap);
            }
        });
        if let Some(metered) = metered {
            metered.clairvoyant.boots += u64::from(beyond.0);
            metered.each(|meter| {
                meter.rose_beyond(beyond);
                meter.stepped(levels);
            });
        }
        self.settle();
        self.govern();
    }

    fn settle(&mut self) {
        let (watched, levels) = (self.watched, &self.levels);
        if let Some(metered) = &mut self.metered {
            metered.each(|meter| meter.settle(watched, levels));
        }
    }

    /// Returns the gaps on which a fit rests: the ended ones and the open ones.
    fn open_and_ended(&self) -> Histogram {
        self.gaps.with_open(self.watched, &self.levels)
    }

    /// Fits the timer to the group's own gaps and to the gaps of all groups, at the start of a
    /// 6-hour span.
    fn refit(&mut self, at: Time, pooled: &Histogram) {
        self.fitted = Gaps::span_of(at);
        self.fits += 1;
        self.gaps.forget(at);
        let own = self.open_and_ended();
        let Some(metered) = &mut self.metered else { return };
        let headroom = metered.headroom.choose(at, &metered.terms.cost);
        self.fit = Some(Fit {
            at,
            timer: fit(&own, pooled, &metered.terms),
            own_gaps: own.gaps(),
            pooled_gaps: pooled.gaps(),
            headroom,
        });
        self.govern();
    }

    /// Returns the start of the next 6-hour span.
    const fn next_refit(&self) -> Time {
        Time((self.fitted + 1) * REFIT.0)
    }

    /// Applies the terms from now on.
    fn agree(&mut self, terms: Option<TimerTerms>) {
        let Some(terms) = terms else {
            if self.metered.take().is_some() {
                self.fit = None;
                self.fits += 1;
            }
            return;
        };
        match &mut self.metered {
            Some(metered) if metered.terms == terms => return,
            Some(metered) => metered.agree(terms, self.watched, &self.levels),
            None => {
                let metered = Metered::starting(terms, self.at, self.watched, &self.levels);
                self.metered = Some(metered);
            }
        }
        // A fit at other prices, or without prices, is not valid any more: fit again with the
        // group's own gaps. The other groups join at the next regular fit.
        let own = self.open_and_ended();
        self.fits += 1;
        self.fit = Some(Fit {
            at: self.at,
            timer: fit(&own, &own, &terms),
            own_gaps: own.gaps(),
            pooled_gaps: own.gaps(),
            headroom: self.fit.map_or(NodeCount::ZERO, |fit| fit.headroom),
        });
        self.govern();
    }

    /// Applies the governor: sets the timer and the headroom in force.
    fn govern(&mut self) {
        let (Some(metered), Some(fit)) = (&mut self.metered, &self.fit) else { return };
        let terms = metered.terms;
        let (standing, timer, headroom) = if metered.is_within_bound() {
            (TimerInForce::Learned, fit.timer, fit.headroom)
        } else {
            (TimerInForce::Governed, terms.cost.break_even, NodeCount::ZERO)
        };
        self.standing = standing;
        let timer = timer.max(terms.shortest);
        metered.learned.set_timer(self.watched, timer, &self.levels);
        metered.learned.set_headroom(headroom);
        metered.learned.settle(self.watched, &self.levels);
        let fitted = fit.timer.max(terms.shortest);
        for meter in metered.headroom.meters() {
            meter.set_timer(self.watched, fitted, &self.levels);
            meter.settle(self.watched, &self.levels);
        }
    }
}

/// Returns the candidate that would have cost least on the group's own gaps plus 30 pooled ones;
/// of equal candidates the longest. If T* is longer than every candidate, the bins say nothing
/// about the gaps that matter, and the result is T*.
fn fit(own: &Histogram, pooled: &Histogram, terms: &TimerTerms) -> Span {
    let TimerTerms { cost, shortest, .. } = terms;
    if CANDIDATES.iter().all(|candidate| *candidate < cost.break_even) {
        return cost.break_even;
    }
    let mut pooled = *pooled;
    pooled.join(&unseen());
    let gaps = i128::from(pooled.gaps());
    let (own, pooled) = (own.costs(cost), pooled.costs(cost));
    let scored = CANDIDATES.iter().zip(own.iter().zip(&pooled));
    let scored = scored.filter(|(timer, _)| *timer >= shortest);
    let scored = scored.map(|(timer, (own, pooled))| (own * gaps + PRIOR_GAPS * pooled, timer));
    let best = scored.min_by_key(|(score, timer)| (*score, Reverse(*timer)));
    best.map_or(*shortest, |(_, timer)| *timer)
}

impl Metered {
    fn starting(terms: TimerTerms, since: Time, at: Span, levels: &Levels) -> Self {
        let break_even = terms.cost.break_even.max(terms.shortest);
        Self {
            terms,
            fixed: Meter::starting(at, terms.fixed, levels),
            break_even: Meter::starting(at, break_even, levels),
            learned: Meter::starting(at, break_even, levels),
            headroom: Headroom::starting(at, break_even, levels),
            clairvoyant: Spent::default(),
            earlier: Costs::default(),
            since,
        }
    }

    fn each(&mut self, mut does: impl FnMut(&mut Meter)) {
        does(&mut self.fixed);
        does(&mut self.break_even);
        does(&mut self.learned);
        self.headroom.meters().for_each(does);
    }

    fn ended(&mut self, gap: &IdleGap) {
        self.each(|meter| meter.returned(gap));
        if gap.length <= self.terms.cost.break_even {
            self.clairvoyant.add_idle(gap.levels, gap.length);
        } else {
            self.clairvoyant.boots += u64::from(gap.levels.0);
        }
    }

    fn costs(&self) -> Costs {
        let cost = &self.terms.cost;
        Costs {
            fixed: self.earlier.fixed + self.fixed.spent().cost(cost),
            break_even: self.earlier.break_even + self.break_even.spent().cost(cost),
            learned: self.earlier.learned + self.learned.spent().cost(cost),
            clairvoyant: self.earlier.clairvoyant + self.clairvoyant.cost(cost),
        }
    }

    /// Applies new terms. What was spent so far counts at the old prices.
    fn agree(&mut self, terms: TimerTerms, at: Span, levels: &Levels) {
        self.earlier = self.costs();
        for meter in [&mut self.fixed, &mut self.break_even, &mut self.learned] {
            meter.take_spent();
        }
        self.clairvoyant = Spent::default();
        self.terms = terms;
        self.fixed.set_timer(at, terms.fixed, levels);
        let break_even = terms.cost.break_even.max(terms.shortest);
        self.break_even.set_timer(at, break_even, levels);
    }

    fn is_within_bound(&self) -> bool {
        let costs = self.costs();
        let slack = self.terms.cost.boot_cost.times(GOVERNOR_BOOTS);
        let bound = i128::from(costs.break_even.0) * (100 + GOVERNOR_PERCENT) / 100;
        i128::from(costs.learned.0) <= bound + i128::from(slack.0)
    }
}
