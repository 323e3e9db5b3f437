//! Replays the learned timer over all groups together, as the daemon applies it.

use trimtab_core::rule::gaps::{Gaps, REFIT};
use trimtab_core::rule::learned::{Costs, Demand, Learner, TimerTerms, carry_on};
use trimtab_core::rule::meter::Spent;
use trimtab_core::units::{NodeCount, Span, Time};

use crate::demand::{Group, Moment, MomentKind};

/// Progress of one group through its moments.
struct Course<'a> {
    group: &'a Group,
    learner: Option<Learner>,
    left: std::slice::Iter<'a, Moment>,
    is_watched: bool,
    terms: TimerTerms,
    queue: bool,
    /// Result at the end of the group.
    end: Option<Learned>,
}

/// Costs of the learned timer on one group.
#[derive(Default)]
pub(crate) struct Learned {
    pub(crate) spent: Spent,
    /// Costs that the daemon's meters show.
    pub(crate) costs: Costs,
}

/// Follows all groups, which learn from one another. `queue` says whether waiting jobs are
/// visible. `shortest` is the shortest timer allowed.
pub(crate) fn follow(
    groups: &[Group],
    queue: bool,
    shortest: Span,
    mut done: impl FnMut(u64),
) -> Vec<Learned> {
    let mut courses: Vec<Course<'_>> =
        groups.iter().map(|group| Course::of(group, queue, shortest)).collect();
    let begins = groups.iter().map(|group| group.begins).min();
    let ends = groups.iter().map(|group| group.ends).max();
    let (Some(begins), Some(ends)) = (begins, ends) else { return vec![] };
    let mut span = Gaps::span_of(begins);
    loop {
        let stop = Time((span + 1) * REFIT.0);
        let is_last = stop > ends;
        let before = if is_last { ends + Span::millis(1) } else { stop };
        let moments = courses.iter_mut().map(|course| course.run_to(before)).sum();
        done(moments);
        if is_last {
            break;
        }
        let mut learners: Vec<(&mut Learner, bool)> = courses
            .iter_mut()
            .filter_map(|course| Some((course.learner.as_mut()?, course.is_watched)))
            .collect();
        carry_on(&mut learners, stop);
        span += 1;
    }
    courses.into_iter().map(|course| course.end.unwrap_or_default()).collect()
}

impl<'a> Course<'a> {
    fn of(group: &'a Group, queue: bool, shortest: Span) -> Self {
        let cost = group.costing.boot_cost();
        let terms = TimerTerms { cost, fixed: group.fixed, shortest };
        let left = group.moments.iter();
        Self { group, learner: None, left, is_watched: true, terms, queue, end: None }
    }

    /// Processes the moments before `stop` and returns their number.
    fn run_to(&mut self, stop: Time) -> u64 {
        let group = self.group;
        if group.begins >= stop || self.end.is_some() {
            return 0;
        }
        let first = seen(group.first, self.queue);
        let learner = self.learner.get_or_insert_with(|| {
            Learner::starting(group.begins, first, group.up, Some(self.terms))
        });
        let mut moments = 0;
        while let Some(moment) = self.left.as_slice().first().filter(|moment| moment.at < stop) {
            self.left.next();
            moments += 1;
            if self.is_watched {
                learner.advance(moment.at);
            } else {
                learner.resume(moment.at);
            }
            match moment.kind {
                MomentKind::Step(demand) => {
                    learner.step(seen(demand, self.queue), Some(self.terms));
                    self.is_watched = true;
                }
                MomentKind::Unwatched => self.is_watched = false,
            }
        }
        if group.ends < stop && self.end.is_none() {
            if self.is_watched {
                learner.advance(group.ends);
            }
            self.is_watched = false;
            let mut spent = learner.spent().unwrap_or_default();
            let gone =
                learner.idle_levels().saturating_sub(learner.kept().unwrap_or(NodeCount::ZERO));
            spent.add_idle(gone, group.costing.billed_after_delete);
            self.end = Some(Learned { spent, costs: learner.costs().unwrap_or_default() });
        }
        moments
    }
}

fn seen(demand: Demand, queue: bool) -> Demand {
    if queue { demand } else { Demand { upcoming: NodeCount::ZERO, ..demand } }
}
