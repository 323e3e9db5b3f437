//! The learned timer of a group, what it is measured against, and what holds
//! it to a bound.
//!
//! Metered on the same demand are a fixed timer (what everybody else has),
//! break-even, and the learned one, by itself and with numbers of headroom. The
//! learned timer is the candidate that would have cost least on the gaps of the
//! last 28 days, and is fitted anew every 6 hours. It is in force while what it
//! has cost stays within a factor of what break-even would have cost:
//!
//! ```text
//! I <= (1 + eps) B + K        otherwise T*
//! ```
//!
//! In fallback both meters grow alike, so I - (1 + eps) B cannot grow; in
//! force it is at most K and the gaps that are open. With `B <= 2 OPT` for
//! every sequence of gaps (`algorithms.md` section 3),
//!
//! ```text
//! I <= 2 (1 + eps) OPT + K + N (p tau_max + beta) + (1 + eps) N p T*
//! ```
//!
//! for N levels, however long it goes on and whatever the demand, as long as
//! prices stay (each change of them adds as much as N levels can cost once),
//! jobs that are announced do come (nodes kept for others are paid for by
//! either meter), and no timer has to be longer than T* ([`Terms::shortest`],
//! in whose place B then is).

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use super::BootCost;
use super::gaps::{CANDIDATES, Gaps, Histogram, REFIT};
use super::headroom::Headroom;
use super::levels::{IdleGap, Levels};
use super::meter::{Meter, Spent};
use crate::units::{NodeCount, Span, Time, Usd};

/// The idle timer that most autoscalers are shipped with: Cluster Autoscaler's
/// `scale-down-unneeded-time`.
pub const OTHERS_TIMER: Span = Span::mins(10);

/// ε of the governor, in percent.
const GOVERNOR_PERCENT: i128 = 5;
/// K of the governor, in boots.
const GOVERNOR_BOOTS: u64 = 4;
/// So many gaps of the pooled kind are added to a group's own.
const PRIOR_GAPS: i128 = 30;

/// What was counted at one step of demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demand {
    /// Nodes in use, perhaps in use, or wanted by jobs that fit now.
    pub nodes: NodeCount,
    /// Nodes for jobs that become eligible soon (V).
    pub upcoming: NodeCount,
    /// The floor in force: its levels are never given up.
    pub floor: NodeCount,
}

impl Demand {
    /// Levels that may not be let go.
    pub fn needed(&self) -> NodeCount {
        self.nodes.max(self.floor)
    }

    /// Nodes that only the floor keeps.
    pub(super) fn kept_by_floor(&self) -> NodeCount {
        self.floor.saturating_sub(self.nodes)
    }

    /// Announced levels above those.
    fn beyond(&self) -> NodeCount {
        (self.nodes + self.upcoming).saturating_sub(self.needed())
    }
}

/// What timers go by besides demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimerTerms {
    /// What a node and a boot cost.
    pub cost: BootCost,
    /// The fixed timer that is metered beside the others.
    pub fixed: Span,
    /// No timer in force is shorter than this.
    pub shortest: Span,
}

/// Gaps of a demand that nothing is known of yet: as many in every doubling of
/// length, from 90 seconds to 17 days. Idle gaps of real clusters are spread
/// like that, most of them short and most idle time in the long ones
/// (`algorithms.md` section 5); 30 of them soon weigh little.
fn unseen() -> Histogram {
    let mut gaps = Histogram::default();
    for doubling in 0..15 {
        let length = Span::secs(90 << doubling);
        gaps.add(2, length, length);
    }
    gaps
}

/// Where a learned timer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fit {
    /// When it was fitted.
    pub at: Time,
    /// The candidate that would have cost least.
    pub timer: Span,
    /// Gaps of the group itself it rests on, open ones included.
    pub own_gaps: u64,
    /// Gaps of all groups that were learned from together.
    pub pooled_gaps: u64,
    /// Spare nodes that would have paid.
    pub headroom: NodeCount,
}

/// Which timer a group goes by, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimerInForce {
    /// The fitted one.
    Learned,
    /// It has cost too much so far: T* until it is within its bound again.
    Governed,
}

/// Meters that run while price and boot time are known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Metered {
    terms: TimerTerms,
    fixed: Meter,
    break_even: Meter,
    learned: Meter,
    /// The learned timer with and without headroom.
    headroom: Headroom,
    /// What somebody who knew the future would have spent on the gaps that
    /// have ended; on one in which prices changed, at the newer ones.
    clairvoyant: Spent,
    /// What was spent at prices that hold no more.
    earlier: Costs,
    /// When metering began.
    since: Time,
}

/// What the timers of a group have cost so far, side by side on the same demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SoFar {
    /// Since when they are metered.
    pub since: Time,
    /// The fixed timer among them.
    pub fixed: Span,
    /// What each has cost.
    pub costs: Costs,
}

/// What each rule has cost so far, beyond the nodes in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Costs {
    /// The fixed timer.
    pub fixed: Usd,
    /// T*.
    pub break_even: Usd,
    /// The learned timer, governor included.
    pub learned: Usd,
    /// Somebody who knows when demand returns, but cannot order ahead.
    pub clairvoyant: Usd,
}

/// Everything that is learned of one group's demand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learner {
    /// The last step or advance.
    at: Time,
    /// Time watched up to then.
    watched: Span,
    levels: Levels,
    gaps: Gaps,
    /// The newest 6-hour span that was fitted in.
    fitted: i64,
    fit: Option<Fit>,
    standing: TimerInForce,
    metered: Option<Metered>,
    /// Fits so far: whoever keeps this state keeps it anew when this has grown.
    fits: u64,
}

/// Carries learners on to `at`, and fits all of them together whenever a 6-hour
/// span begins on the way. `watched` says of each whether its demand was watched
/// up to `at`; where it was not, its gaps keep the age they have.
pub fn carry_on(learners: &mut [(&mut Learner, bool)], at: Time) {
    while let Some(next) = learners.iter().map(|(learner, _)| learner.next_refit()).min()
        && next <= at
    {
        let mut pooled = Histogram::default();
        for (learner, is_watched) in learners.iter_mut() {
            // One that was away while the others were fitted comes after them.
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
    /// From the first count of a group: `up` nodes are there.
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

    /// The idle timer in force.
    pub fn timer(&self) -> Option<Span> {
        self.metered.as_ref().map(|metered| metered.learned.timer())
    }

    /// Why that one.
    pub const fn standing(&self) -> TimerInForce {
        self.standing
    }

    /// The newest fit, if there was one.
    pub const fn fit(&self) -> Option<&Fit> {
        self.fit.as_ref()
    }

    /// When it was last stepped or advanced.
    pub const fn at(&self) -> Time {
        self.at
    }

    /// How often it was fitted: between two fits its state follows from the
    /// samples alone.
    pub const fn fits(&self) -> u64 {
        self.fits
    }

    /// Spare nodes in force beyond what the timer keeps.
    pub fn headroom(&self) -> NodeCount {
        self.metered.as_ref().map_or(NodeCount::ZERO, |metered| metered.learned.headroom())
    }

    /// What each rule has cost since metering began.
    pub fn costs(&self) -> Option<Costs> {
        let metered = self.metered.as_ref()?;
        Some(metered.costs())
    }

    /// The same, with what it is about.
    pub fn so_far(&self) -> Option<SoFar> {
        let metered = self.metered.as_ref()?;
        let (since, fixed) = (metered.since, metered.terms.fixed);
        Some(SoFar { since, fixed, costs: metered.costs() })
    }

    /// What the learned timer has spent at the present price.
    pub fn spent(&self) -> Option<Spent> {
        self.metered.as_ref().map(|metered| metered.learned.spent())
    }

    /// Levels that have been in use and are not now.
    pub fn idle_levels(&self) -> NodeCount {
        self.levels.idle().iter().map(|idle| idle.levels).sum()
    }

    /// Nodes the learned timer keeps beyond those needed.
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

    /// The same demand up to `at`, which does not lie behind.
    pub fn advance(&mut self, at: Time) {
        self.watched += at.since(self.at).max(Span::ZERO);
        self.at = at;
        if let Some(metered) = &mut self.metered {
            metered.each(|meter| meter.advance(self.watched, &self.levels));
        }
    }

    /// Nobody watched up to `at`, which may lie behind where the clock was set
    /// back: gaps keep the age they have.
    pub fn resume(&mut self, at: Time) {
        if at < self.at {
            self.fitted = self.fitted.min(Gaps::span_of(at));
            self.gaps.set_back(at);
        }
        self.at = at;
    }

    /// Demand at `at`, after [`Learner::advance`] or [`Learner::resume`] to it.
    /// Without terms nothing is metered any more.
    pub fn step(&mut self, demand: Demand, terms: Option<TimerTerms>) {
        self.agree(terms);
        self.step_on(demand);
    }

    /// The same on the terms that are in force.
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

    /// What a fit would rest on.
    fn open_and_ended(&self) -> Histogram {
        self.gaps.with_open(self.watched, &self.levels)
    }

    /// Fits the timer to the group's own gaps and to those of all groups
    /// together, at the beginning of a 6-hour span.
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

    /// When the next 6-hour span begins.
    const fn next_refit(&self) -> Time {
        Time((self.fitted + 1) * REFIT.0)
    }

    /// Goes by the terms in force from now on.
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
        // What was fitted at other prices, or without any, is fitted anew; the
        // other groups come in at the next regular fit.
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

    /// Sets the timer in force.
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

/// The candidate that would have cost least on a group's own gaps and 30 of the
/// pooled ones, the longest of equal ones. Where T* is longer than all of them
/// they say nothing of the gaps that matter, and it is T*.
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

    /// What was spent so far was spent at the old price.
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
