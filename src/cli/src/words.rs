//! A group's rule and a node's verdict in sentences: what was counted, what it
//! is worth, when the next node goes, and what would have to change.

use trimtab_core::plan::{Bound, GroupFigures, KeepReason, Verdict};
use trimtab_core::rule::learned::{SoFar, TimerInForce};
use trimtab_core::units::{NodeCount, Span, Usd};

/// What the rule says of a group, a sentence each.
pub(crate) fn of_rule(figures: &GroupFigures, so_far: Option<&SoFar>) -> Vec<String> {
    let mut said = vec![];
    if let (Some(counts), Some(tau)) = (figures.counts, figures.tau) {
        let through = match (figures.surplus, figures.covered_since) {
            (Some(surplus), _) => format!("{surplus} of them throughout the last {tau}"),
            (None, Some(since)) => format!("watched since {since}, for less than {tau}"),
            (None, None) => "not watched yet".to_owned(),
        };
        let NodeCount(idle) = counts.idle;
        said.push(format!("{idle} idle, {through}"));
        said.push(timer(figures, tau));
    }
    if let Some(cost) = figures.cost.filter(|cost| !cost.break_even.is_forever()) {
        said.push(format!(
            "a node saves {} by going, and costs {} to bring back: as much as {} of idling (T*)",
            cost.price, cost.boot_cost, cost.break_even
        ));
    }
    said.push(next(figures));
    if figures.group_call_refused {
        said.push(
            "its nodes are deleted by their ids until trimtab restarts: the API refused a call \
             for the whole group"
                .to_owned(),
        );
    }
    said.extend(waiting(figures));
    said.extend(so_far.map(costs));
    said
}

/// Which jobs wait for nodes of the group.
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
            "the idle timer τ is {tau}; what the learned one ({}) has cost is more than 5 % above \
             break-even, which is in force until it is not",
            fit.timer
        ),
        Some(TimerInForce::Learned) => {
            format!("the idle timer τ is {tau}, which would have cost least")
        }
        None => format!("the idle timer τ is {tau}; what would have cost least is {}", fit.timer),
    };
    let headroom = match fit.headroom {
        NodeCount::ZERO => String::new(),
        headroom => format!(" with {headroom} surplus"),
    };
    format!(
        "{in_force}{headroom} on {} idle gaps of its own and {} of all groups of the cluster, in \
         the 28 days before {}",
        fit.own_gaps, fit.pooled_gaps, fit.at
    )
}

fn next(figures: &GroupFigures) -> String {
    if figures.marks > NodeCount::ZERO {
        return format!("{} go now", figures.marks);
    }
    match figures.next_at {
        None if figures.headroom > NodeCount::ZERO => {
            format!("no node would go before more than {} idle", figures.headroom)
        }
        None => "no node would go before one idles that no job waits for".to_owned(),
        Some(at) => format!(
            "the next node is surplus from {at} on, if no more are needed until then{}",
            bound(figures)
        ),
    }
}

fn bound(figures: &GroupFigures) -> String {
    match figures.bound {
        None | Some(Bound::Surplus) => String::new(),
        Some(bound) => format!("; now held by: {bound}"),
    }
}

fn costs(so_far: &SoFar) -> String {
    let SoFar { since, fixed, costs } = so_far;
    let of_optimum = |cost: Usd| {
        let optimum = costs.clairvoyant;
        if optimum > Usd::ZERO {
            format!("{cost} ({:.2} times that)", cost.as_dollars() / optimum.as_dollars())
        } else {
            cost.to_string()
        }
    };
    format!(
        "since {since} idle time, boots and waiting would have cost {} with foresight, {} with the \
         learned timer, {} with break-even, {} with a fixed {fixed}",
        costs.clairvoyant,
        of_optimum(costs.learned),
        of_optimum(costs.break_even),
        of_optimum(costs.fixed),
    )
}

/// What would have to change for a node to go (or to stay).
pub(crate) fn what_would_change(verdict: &Verdict, figures: Option<&GroupFigures>) -> String {
    match verdict {
        Verdict::Mark(_) => {
            "a job that lands on it, an operator's resume, a pause or a floor keeps it".to_owned()
        }
        Verdict::Leaving { .. } => {
            "until the delete call is sent, a job, an operator, a pause or a floor brings it back"
                .to_owned()
        }
        Verdict::Release(_) => "it may be chosen again after its cool-down".to_owned(),
        Verdict::Keep(why) => format!("it goes {}", unless(why, figures)),
    }
}

/// The end of "it goes …".
fn unless(why: &KeepReason, figures: Option<&GroupFigures>) -> String {
    let text = match why {
        KeepReason::Stopped(_) => "once trimtab may act (`trimtab resume`)",
        KeepReason::Frozen(_) => {
            "once an operator ends the freeze (`trimtab resume --clear-freeze`)"
        }
        KeepReason::BackedOff(backoff) => {
            return format!("at {} at the earliest, when requests are tried again", backoff.until);
        }
        KeepReason::ClusterUnread | KeepReason::ListingLost(_) | KeepReason::WorkloadUnread(_) => {
            "once all of it can be read, and it was idle for τ since"
        }
        KeepReason::ClusterNotReady(_) | KeepReason::GroupNotCalm => "once that is in service",
        KeepReason::SoftwareUpdate => "once the update is over",
        KeepReason::RivalAutoscaler => "once the other autoscaler is off",
        KeepReason::RecoveryUnderWay => "once the recovery is over",
        KeepReason::GroupNotNamed => "if a [[cluster.group]] names its group",
        KeepReason::ControlRole(_) => "never: such nodes are not touched",
        KeepReason::GroupFrozen(_) => "once the counts agree again and nothing is scaling",
        KeepReason::PriceUnknown => "if price_usd_per_hour is written",
        KeepReason::BootUnknown => "if boot is written",
        KeepReason::PaidAnyway(_) => "never for money: deleting it saves nothing",
        KeepReason::CapacityContradicts { .. } => "if `capacity` says what the API shows",
        KeepReason::ScarceCapacity => "if accept_regain_risk_usd says what losing it may cost",
        KeepReason::NodeLocalDataUndeclared => "if node_local_data is declared",
        KeepReason::LargestJobUndeclared => "if max_job_nodes is declared",
        KeepReason::ShuttingDown => "by itself: it is on its way out",
        KeepReason::Impaired(_) => "once it is healthy, undrained and idle",
        KeepReason::Arriving(_) => "once it has joined and was idle for τ",
        KeepReason::Unknown(_) => "once every evidence source says that it is idle, for τ",
        KeepReason::Busy(_) | KeepReason::Active(_) => {
            "once its work is over and as many nodes idle for τ"
        }
        KeepReason::Protected => "if its protection is taken away",
        KeepReason::CoolingDown { until }
        | KeepReason::TooYoung { until }
        | KeepReason::RecentlyBusy { until } => {
            return format!("at {until} at the earliest, if it is surplus then");
        }
        KeepReason::WindowOpen { covered_since: Some(since), tau } if !tau.is_forever() => {
            return format!("at {} at the earliest, if it idles until then", *since + *tau);
        }
        KeepReason::WindowOpen { .. } => "once it was watched for as long as the idle timer",
        KeepReason::Enough(Bound::Surplus) => {
            let next = figures.and_then(|figures| figures.next_at);
            return match next {
                Some(at) => format!("at {at} or later, if no more nodes are needed until then"),
                None => "once more nodes idle than waiting jobs and headroom take".to_owned(),
            };
        }
        KeepReason::Enough(Bound::Floor) => "if min_nodes or a keep window asks for fewer nodes",
        KeepReason::Enough(Bound::ClusterFloor) => "if the cluster's min_nodes asks for fewer",
        KeepReason::Enough(Bound::RequestBudget) => "with a later request (max_delete_per_request)",
        KeepReason::Enough(Bound::HourBudget) => "later in the hour (max_delete_per_hour)",
        KeepReason::Enough(Bound::DayBudget) => "later in the day (max_delete_per_day)",
        KeepReason::Enough(Bound::LeavingBudget) => {
            "once those on their way out are gone (max_leaving_percent)"
        }
        KeepReason::Enough(Bound::Candidates) => "once it may be chosen",
        KeepReason::Enough(Bound::WholeGroup) => "with its whole group",
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use trimtab_core::plan::WaitingJob;
    use trimtab_core::rule::learned::Fit;
    use trimtab_core::units::Time;

    use super::*;

    /// What is said of a timer of 10 minutes where 20 would have cost least.
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
        let rests = " with 1 surplus on 7 idle gaps of its own and 9 of all groups of the \
                     cluster, in the 28 days before 1970-01-01T00:00:00Z";
        assert_eq!(
            said(None, 10),
            format!("the idle timer τ is 10m; what would have cost least is 20m{rests}")
        );
        assert_eq!(
            said(Some(TimerInForce::Learned), 20),
            format!("the idle timer τ is 20m, which would have cost least{rests}")
        );
        let governed = said(Some(TimerInForce::Governed), 30);
        assert!(
            governed.starts_with("the idle timer τ is 30m; what the learned one (20m) has cost"),
            "{governed}"
        );
    }
}
