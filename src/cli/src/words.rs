//! Sentences about a group and a node: node counts, costs, the next deletion, and the condition
//! that would change a verdict.

use trimtab_core::plan::{Bound, GroupFigures, KeepReason, Verdict};
use trimtab_core::rule::learned::{SoFar, TimerInForce};
use trimtab_core::units::{NodeCount, Span, Usd};

/// Explains the rule's figures for a group, one sentence per item.
pub(crate) fn of_rule(figures: &GroupFigures, so_far: Option<&SoFar>) -> Vec<String> {
    let mut said = vec![];
    if let (Some(counts), Some(tau)) = (figures.counts, figures.tau) {
        let through = match (figures.surplus, figures.covered_since) {
            (Some(surplus), _) => format!("{surplus} of them for all of the last {tau}"),
            (None, Some(since)) => format!("observed since {since}, for less than {tau}"),
            (None, None) => "not observed yet".to_owned(),
        };
        let NodeCount(idle) = counts.idle;
        said.push(format!("{idle} idle, {through}"));
        said.push(timer(figures, tau));
    }
    if let Some(cost) = figures.cost.filter(|cost| !cost.break_even.is_forever()) {
        said.push(format!(
            "deleting a node saves {}, bringing it back costs {}: break-even after {} idle (T*)",
            cost.price, cost.boot_cost, cost.break_even
        ));
    }
    said.push(next(figures));
    if figures.group_call_refused {
        said.push(
            "the API refused a request for the whole group: trimtab deletes its nodes by ID until \
             it restarts"
                .to_owned(),
        );
    }
    said.extend(waiting(figures));
    said.extend(so_far.map(costs));
    said
}

/// Names the jobs that wait for nodes of the group; `None` if no job waits.
fn waiting(figures: &GroupFigures) -> Option<String> {
    let jobs: Vec<String> = figures.waiting.iter().map(ToString::to_string).collect();
    let more = figures.waiting_jobs.saturating_sub(jobs.len());
    let (jobs, verb) =
        (jobs.join(", "), if figures.waiting_jobs == 1 { "job waits" } else { "jobs wait" });
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!jobs.is_empty())
        .then(|| format!("{} {verb} for its nodes: {jobs}{more}", figures.waiting_jobs))
}

fn timer(figures: &GroupFigures, tau: Span) -> String {
    let Some(fit) = &figures.fit else { return format!("the idle timer τ is {tau}") };
    let in_force = match figures.standing {
        Some(TimerInForce::Governed) => format!(
            "the idle timer τ is {tau} (break-even): the learned timer ({}) has cost over 5 % \
             more than break-even so far",
            fit.timer
        ),
        Some(TimerInForce::Learned) => {
            format!("the idle timer τ is {tau} (learned: the cheapest timer)")
        }
        None => format!("the idle timer τ is {tau} (configured); the cheapest is {}", fit.timer),
    };
    let headroom = match fit.headroom {
        NodeCount::ZERO => String::new(),
        headroom => format!(" with headroom {headroom}"),
    };
    format!(
        "{in_force}{headroom}, from {} idle gaps of this group and {} of all groups of the \
         cluster, in the 28 days before {}",
        fit.own_gaps, fit.pooled_gaps, fit.at
    )
}

fn next(figures: &GroupFigures) -> String {
    if figures.marks > NodeCount::ZERO {
        return format!("{} to delete now", figures.marks);
    }
    match figures.next_at {
        None if figures.headroom > NodeCount::ZERO => {
            format!("no node is surplus while at most {} are idle (headroom)", figures.headroom)
        }
        None => "no node is surplus: none is idle, or waiting jobs need all idle nodes".to_owned(),
        Some(at) => format!(
            "the next node is surplus at {at} if demand does not rise until then{}",
            bound(figures)
        ),
    }
}

fn bound(figures: &GroupFigures) -> String {
    match figures.bound {
        None | Some(Bound::Surplus) => String::new(),
        Some(bound) => format!("; now limited by {bound}"),
    }
}

fn costs(so_far: &SoFar) -> String {
    let SoFar { since, fixed, costs } = so_far;
    let of_optimum = |cost: Usd| {
        let optimum = costs.clairvoyant;
        if optimum > Usd::ZERO {
            format!("{cost} ({:.2} times)", cost.as_dollars() / optimum.as_dollars())
        } else {
            cost.to_string()
        }
    };
    format!(
        "cost of idle time, boots and waiting since {since}: {} at the optimum, {} with the \
         learned timer, {} with break-even, {} with a fixed timer of {fixed}",
        costs.clairvoyant,
        of_optimum(costs.learned),
        of_optimum(costs.break_even),
        of_optimum(costs.fixed),
    )
}

/// Returns the condition under which the verdict on a node would change.
pub(crate) fn what_would_change(verdict: &Verdict, figures: Option<&GroupFigures>) -> String {
    match verdict {
        Verdict::Mark(_) => {
            "kept if a job starts on it, an operator resumes it, trimtab is paused, or a floor \
             needs it"
                .to_owned()
        }
        Verdict::Leaving { .. } => {
            "released if, before the delete request, a job or a floor needs it, an operator \
             resumes it, or trimtab is paused"
                .to_owned()
        }
        Verdict::Release(_) => "it can be selected again after its cooldown".to_owned(),
        Verdict::Keep(why) => format!("deletion: {}", unless(why, figures)),
    }
}

/// Returns the end of "deletion: …".
fn unless(why: &KeepReason, figures: Option<&GroupFigures>) -> String {
    let text = match why {
        KeepReason::Stopped(_) => "possible after `trimtab resume`, or when trimtab may act again",
        KeepReason::Frozen(_) => {
            "possible after an operator clears the freeze (`trimtab resume --clear-freeze`)"
        }
        KeepReason::BackedOff(backoff) => {
            return format!("not before {}, when requests are retried", backoff.until);
        }
        KeepReason::ClusterUnread | KeepReason::ListingLost(_) | KeepReason::WorkloadUnread(_) => {
            "possible after trimtab can read all of it and the node is idle for τ"
        }
        KeepReason::ClusterNotReady(_) | KeepReason::GroupNotCalm => "possible when in service",
        KeepReason::SoftwareUpdate => "possible after the update",
        KeepReason::RivalAutoscaler => "possible after the other autoscaler is disabled",
        KeepReason::RecoveryUnderWay => "possible after the recovery",
        KeepReason::GroupNotNamed => "possible if a [[cluster.group]] names its group",
        KeepReason::ControlRole(_) => "never; trimtab does not delete nodes of this role",
        KeepReason::GroupFrozen(_) => "possible after the counts agree and no group is scaling",
        KeepReason::PriceUnknown => "possible if price_usd_per_hour is set",
        KeepReason::BootUnknown => "possible if boot is set",
        KeepReason::PaidAnyway(_) => "never; deleting it saves nothing",
        KeepReason::CapacityContradicts { .. } => "possible if `capacity` matches the API",
        KeepReason::ScarceCapacity => "possible if accept_regain_risk_usd is set",
        KeepReason::NodeLocalDataUndeclared => "possible if node_local_data is set",
        KeepReason::LargestJobUndeclared => "possible if max_job_nodes is set",
        KeepReason::ShuttingDown => "already in progress",
        KeepReason::Impaired(_) => "possible when it is healthy, not drained and idle",
        KeepReason::Arriving(_) => "possible after it joins and is idle for τ",
        KeepReason::Unknown(_) => "possible after every evidence source reports it idle for τ",
        KeepReason::Busy(_) | KeepReason::Active(_) => {
            "possible after its work ends and this many nodes are idle for τ"
        }
        KeepReason::Protected => "possible if its protection is removed",
        KeepReason::CoolingDown { until }
        | KeepReason::TooYoung { until }
        | KeepReason::RecentlyBusy { until } => {
            return format!("not before {until}, and only if it is surplus then");
        }
        KeepReason::WindowOpen { covered_since: Some(since), tau } if !tau.is_forever() => {
            return format!("not before {}, and only if it is idle until then", *since + *tau);
        }
        KeepReason::WindowOpen { .. } => "possible after observations cover the idle timer τ",
        KeepReason::Enough(Bound::Surplus) => {
            let next = figures.and_then(|figures| figures.next_at);
            return match next {
                Some(at) => format!("not before {at}, and only if demand does not rise"),
                None => "possible when more nodes are idle than waiting jobs and headroom need"
                    .to_owned(),
            };
        }
        KeepReason::Enough(Bound::Floor) => "possible if min_nodes or the keep window is lower",
        KeepReason::Enough(Bound::ClusterFloor) => "possible if the cluster's min_nodes is lower",
        KeepReason::Enough(Bound::RequestBudget) => "possible later (max_delete_per_request)",
        KeepReason::Enough(Bound::HourBudget) => "possible later (max_delete_per_hour)",
        KeepReason::Enough(Bound::DayBudget) => "possible later (max_delete_per_day)",
        KeepReason::Enough(Bound::LeavingBudget) => {
            "possible after the leaving nodes are gone (max_leaving_percent)"
        }
        KeepReason::Enough(Bound::Candidates) => "possible when it becomes a candidate",
        KeepReason::Enough(Bound::WholeGroup) => "possible only together with its whole group",
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use trimtab_core::plan::WaitingJob;
    use trimtab_core::rule::learned::Fit;
    use trimtab_core::units::Time;

    use super::*;

    /// The sentence about a timer where the cheapest timer is 20 minutes.
    fn said(standing: Option<TimerInForce>, in_force: i64) -> String {
        let fit = Fit {
            at: Time(0),
            timer: Span::mins(20),
            own_gaps: 7,
            pooled_gaps: 9,
            headroom: NodeCount(1),
        };
        timer(&figures(Some(fit), standing), Span::mins(in_force))
    }

    fn figures(fit: Option<Fit>, standing: Option<TimerInForce>) -> GroupFigures {
        GroupFigures {
            counts: None,
            covered_since: None,
            tau: None,
            cost: None,
            surplus: None,
            upcoming: NodeCount::ZERO,
            waiting: vec![],
            waiting_jobs: 0,
            headroom: NodeCount::ZERO,
            floor: NodeCount::ZERO,
            candidates: NodeCount::ZERO,
            marks: NodeCount::ZERO,
            bound: None,
            wanted_back: NodeCount::ZERO,
            next_at: None,
            fit,
            standing,
            group_call_refused: false,
        }
    }

    #[test]
    fn waiting_jobs_are_named_with_what_they_wait_for() {
        let job = |id: &str, nodes, reason: &str| WaitingJob {
            job: id.parse().expect("an id"),
            nodes: NodeCount(nodes),
            reason: reason.into(),
        };
        let mut figures = figures(None, None);
        assert_eq!(waiting(&figures), None);
        figures.waiting = vec![job("12_3", 4, "Resources"), job("9", 1, "\u{1b}[2JPriority")];
        figures.waiting_jobs = 5;
        assert_eq!(
            waiting(&figures).expect("a sentence"),
            "5 jobs wait for its nodes: 12_3 (4 nodes, Resources), 9 (1 node, [2JPriority) and 3 more"
        );
        figures.waiting = vec![job("7", 1, "")];
        figures.waiting_jobs = 1;
        let said = waiting(&figures).expect("a sentence");
        assert_eq!(said, "1 job waits for its nodes: 7 (1 node)");
    }

    #[test]
    fn a_timer_is_called_learned_only_where_it_is() {
        let rests = " with headroom 1, from 7 idle gaps of this group and 9 of all groups of the \
                     cluster, in the 28 days before 1970-01-01T00:00:00Z";
        assert_eq!(
            said(None, 10),
            format!("the idle timer τ is 10m (configured); the cheapest is 20m{rests}")
        );
        assert_eq!(
            said(Some(TimerInForce::Learned), 20),
            format!("the idle timer τ is 20m (learned: the cheapest timer){rests}")
        );
        let governed = said(Some(TimerInForce::Governed), 30);
        assert!(
            governed.starts_with("the idle timer τ is 30m (break-even): the learned timer (20m)"),
            "{governed}"
        );
    }
}
