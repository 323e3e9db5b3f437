//! The cost rule in the daemon equals the cost rule in the backtester. Whole ticks (ports, ledger,
//! audit) over one day of a recorded cluster are compared with a replay of the counts that they
//! recorded.

use std::collections::BTreeMap;
use std::path::Path;

use trimtab_backtest::Replay;
use trimtab_backtest::demand::{Group, from_runs};
use trimtab_backtest::load::{self, Trace};
use trimtab_core::ids::GroupName;
use trimtab_core::policy::{ClusterPolicy, TimerChoice};
use trimtab_core::rule::learned::{Costs, Learner, carry_on};
use trimtab_core::rule::{Costing, SampleRun, boot_cost, terms};
use trimtab_core::trace::TraceJob;
use trimtab_core::units::{MilliGpus, NodeCount, Span, Time};
use trimtab_daemon::driver::TickReport;
use trimtab_daemon::ledger::SqliteLedger;
use trimtab_simulator::World;
use trimtab_simulator::spec::WorldSpec;
use trimtab_tests::life::Life;
use trimtab_tests::worlds::{cluster_policy, group_policy, name};

/// A busy group from the Lisa trace and a calm group from the Philly trace. As the rule assumes,
/// nodes that are missing arrive at once and deleted nodes are gone at once.
const DAY: &str = r#"
duration = "30h"
cluster = "research"
delete_delay = { min = "1s", max = "1s" }
listing_lag = "0s"
count_lag = "0s"
prune_delay = { min = "1s", max = "1s" }
join_delay = { min = "0s", max = "0s" }
configuring = { min = "0s", max = "0s" }
completing = { min = "0s", max = "0s" }
metrics = false
keep_log = false
regrow = { every = "10s" }
[[group]]
name = "busy"
partition = "lisa"
count = 250
size = 300
price_usd_per_hour = 2.0
boot = { min = "1s", max = "1s" }
[[group]]
name = "calm"
partition = "6214e9"
count = 30
size = 60
gpus_per_node = 8
price_usd_per_hour = 2.0
boot = { min = "1s", max = "1s" }
"#;
/// First day of the traces to run.
const FROM_DAY: i64 = 40;

/// A completed run with the reports of its ticks.
struct Past {
    life: Life,
    reports: Vec<TickReport>,
    _folder: tempfile::TempDir,
}

fn policy(timer: TimerChoice) -> ClusterPolicy {
    let group = |partition, size, gpus, boot| {
        let mut group = group_policy();
        group.size = NodeCount(size);
        group.timer = timer;
        group.boot = Some(Span::mins(boot));
        group.gpus_per_node = MilliGpus::whole(gpus);
        group.partitions = vec![name(partition)];
        // Only the rule is tested, so the budgets must not limit it.
        group.budgets.per_hour = NodeCount(10_000);
        group.budgets.per_day = NodeCount(100_000);
        group
    };
    let groups = [("busy", group("lisa", 300, 0, 15)), ("calm", group("6214e9", 60, 8, 90))];
    let mut policy =
        cluster_policy(groups.map(|(group, policy)| (name(group), policy)).into_iter().collect());
    policy.cluster = name("research");
    policy.timing.cooldown = Span::ZERO;
    policy
}

/// Jobs that ran in one partition on that day, with times counted from the start of the day.
fn jobs_of(file: &str, partition: &str) -> Vec<TraceJob> {
    let traces = Path::new(env!("CARGO_MANIFEST_DIR")).join("../traces");
    let trace = load::read(&traces.join(file)).expect("a trace of the repository");
    let Trace::Jobs(jobs) = trace else { panic!("{file} is a job table") };
    let from = Span::hours(24).times(FROM_DAY);
    let to = from + Span::hours(31);
    jobs.into_iter()
        .filter(|job| job.partition.as_str() == partition && job.start < job.end)
        .filter(|job| job.end > from && job.start < to)
        .map(|mut job| {
            job.start = (job.start - from).max(Span::ZERO);
            job.submit = job.start;
            job.end = job.end - from;
            job
        })
        .collect()
}

fn live(timer: TimerChoice, faults: &str) -> Past {
    let spec = WorldSpec::parse(&format!("{DAY}{faults}"), "day").expect("a world");
    let mut jobs = jobs_of("surf_lisa_2022.jobs.csv.gz", "lisa");
    jobs.extend(jobs_of("philly_vc.jobs.csv.gz", "6214e9"));
    let world = World::new(spec, jobs).expect("a world");
    let folder = tempfile::tempdir().expect("a folder");
    let life = Life::new(world, policy(timer), folder.path(), 1);
    let mut reports = vec![];
    life.run_on(&mut |report| reports.extend(report.ok().cloned()));
    assert_eq!(life.world.truth().lost_jobs().count(), 0);
    Past { life, reports, _folder: folder }
}

impl Past {
    fn runs(&self) -> BTreeMap<GroupName, Vec<(i64, SampleRun)>> {
        let reader = SqliteLedger::open_reader(self.life.ledger_path()).expect("a ledger");
        reader.runs(&self.life.policy.cluster).expect("samples")
    }

    fn learners(&self) -> BTreeMap<GroupName, Learner> {
        let reader = SqliteLedger::open_reader(self.life.ledger_path()).expect("a ledger");
        reader.learners(&self.life.policy.cluster).expect("learners")
    }

    /// Replays the ledger with the backtester.
    fn replay(&self) -> Replay {
        let groups: Vec<Group> = self
            .runs()
            .iter()
            .filter_map(|(group, runs)| {
                let policy = &self.life.policy.groups[group];
                let fixed = terms(policy, &self.life.policy.timing).expect("a price").fixed;
                let costing = Costing::of(policy).expect("a price");
                from_runs(group.to_string(), runs, costing, fixed)
            })
            .collect();
        Replay { groups, shortest: self.life.policy.timing.tick.times(2), seed: 1 }
    }
}

/// Returns the surplus by its definition, from the reports of the ticks: the lowest free + R over
/// the window, minus R now, and at most the nodes that are free after the jobs that start soon.
fn surplus_by_definition(past: &[&TickReport], group: &GroupName, tau: Span) -> Option<u32> {
    let now = past.last()?;
    let at = now.snapshot.taken_at;
    let figures = |report: &TickReport| report.plan.figures[group].counts;
    let free =
        |report: &TickReport| figures(report).map(|c| i64::from(c.idle.0) - i64::from(c.queued.0));
    let start = at - tau;
    let first = past.iter().rposition(|report| report.snapshot.taken_at <= start)?;
    // Only marked nodes leave here.
    let mut gone = 0;
    let mut least = i64::MAX;
    for report in past[first..].iter().rev() {
        least = least.min(free(report)?.max(0) - gone);
        let before = report;
        let left = past[first..]
            .iter()
            .take_while(|earlier| earlier.snapshot.taken_at < before.snapshot.taken_at)
            .last()
            .map_or(0, |earlier| marked(earlier, group));
        gone += left;
    }
    let soon = figures(now)?.upcoming;
    let surplus_count = least.min(free(now)? - i64::from(soon.0)).max(0);
    u32::try_from(surplus_count).ok()
}

fn marked(report: &TickReport, group: &GroupName) -> i64 {
    let marks = report.plan.marks.iter().filter(|mark| mark.group == *group);
    marks.filter(|mark| report.begun.contains(&mark.node)).count() as i64
}

#[test]
fn whole_ticks_over_a_day_of_a_trace_mark_what_the_rule_says() {
    for timer in [TimerChoice::Learned, TimerChoice::BreakEven, TimerChoice::Fixed(Span::mins(10))]
    {
        let past = live(timer, "");
        let mut learners: BTreeMap<GroupName, Learner> = BTreeMap::new();
        let (mut compared, mut marks, mut timers) = (0, 0, vec![]);
        for (n, report) in past.reports.iter().enumerate() {
            let at = report.snapshot.taken_at;
            step_all(&mut learners, report, &past.life.policy);
            for (group, figures) in &report.plan.figures {
                let learner = &learners[group];
                let expected = match timer {
                    TimerChoice::Learned => learner.timer().expect("a price"),
                    TimerChoice::BreakEven => {
                        let cost = boot_cost(&past.life.policy.groups[group]);
                        cost.expect("a price").break_even
                    }
                    TimerChoice::Fixed(fixed) => fixed,
                };
                assert_eq!(figures.tau, Some(expected), "{group} at {at}");
                timers.push(expected);
                let seen: Vec<&TickReport> = past.reports[..=n].iter().collect();
                let Some(surplus_count) = surplus_by_definition(&seen, group, expected) else {
                    assert_eq!(
                        marked(report, group),
                        0,
                        "{group} at {at}: not watched long enough"
                    );
                    continue;
                };
                let headroom = if timer == TimerChoice::Learned { learner.headroom().0 } else { 0 };
                let wanted = surplus_count.saturating_sub(headroom);
                assert_eq!(
                    marked(report, group),
                    i64::from(wanted),
                    "{group} at {at}: {figures:?}"
                );
                compared += 1;
                marks += wanted;
            }
        }
        timers.sort();
        timers.dedup();
        assert!(compared > 1_000 && marks > 50, "{timer:?}: {compared} compared, {marks} marks");
        assert!(
            timer != TimerChoice::Learned || timers.len() > 1,
            "it learned nothing: {timers:?}"
        );
    }
}

/// Folds the counts of the ticks with the rule itself.
fn step_all(
    learners: &mut BTreeMap<GroupName, Learner>,
    report: &TickReport,
    policy: &ClusterPolicy,
) {
    let at = report.snapshot.taken_at;
    let mut known: Vec<(&mut Learner, bool)> =
        learners.values_mut().map(|learner| (learner, true)).collect();
    carry_on(&mut known, at);
    for (group, figures) in &report.plan.figures {
        let counts = figures.counts.expect("every tick is a sample");
        let terms = terms(&policy.groups[group], &policy.timing);
        match learners.get_mut(group) {
            Some(learner) => learner.step(counts.levels(), terms),
            None => {
                let up = counts.live() + counts.unknown;
                let learner = Learner::starting(at, counts.levels(), up, terms);
                learners.insert(group.clone(), learner);
            }
        }
    }
}

#[test]
fn a_ledger_replayed_agrees_with_the_daemons_meters_to_the_cent() {
    // The daemon is killed, cannot read for some time, and is killed again. It must keep what it
    // learned.
    let faults = r#"
[[fault]]
at = "7h"
kind = { daemon-kill = { after = 1, when = "before" } }
[[fault]]
at = "11h"
for = "40m"
kind = "scheduler-silent"
[[fault]]
at = "19h"
kind = { daemon-kill = { after = 1, when = "after-acted" } }
"#;
    for (timer, faults) in [
        (TimerChoice::Learned, ""),
        (TimerChoice::Learned, faults),
        (TimerChoice::Fixed(Span::mins(20)), faults),
    ] {
        let past = live(timer, faults);
        let learners = past.learners();
        let meters: Vec<Costs> =
            learners.values().map(|learner| learner.costs().expect("a price")).collect();
        let replay = past.replay();
        assert_eq!(replay.shadow(), meters, "{timer:?}");
        assert!(meters.iter().all(|costs| costs.learned > costs.clairvoyant), "{meters:?}");
        let windows: usize =
            past.runs().values().map(|runs| runs.chunk_by(|a, b| a.0 == b.0).count()).sum();
        assert_eq!(windows > 2, !faults.is_empty(), "a blind stretch ends the windows");
        let last: Vec<Time> = learners.values().map(Learner::at).collect();
        assert!(last.iter().all(|at| *at + Span::mins(5) > past.life.end()), "{last:?}");
    }
}
