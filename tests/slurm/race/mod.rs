//! Provokes the race between a look and a deletion at every possible point, with the
//! daemon's own driver and ledger on a real Slurm.
//!
//! The cluster is a list of instances with the names of Slurm's nodes ([`board`]). Time is
//! virtual, so a settle time passes immediately. In every round a job, an operator or a
//! fault interferes at one moment of a node's deletion ([`points`]). A deletion is real:
//! the node's slurmd, job steps and jobs are killed within half a second. A job counts as
//! lost if squeue reports it on a node at the moment when the node's deletion is requested,
//! or if Slurm or the job itself reports that it was restarted ([`judge`]).
//!
//! Environment variables: `TRIMTAB_RACE_ROUNDS` is the number of rounds (default: each point
//! once), `TRIMTAB_RACE_SEED` is the random seed, and `TRIMTAB_RACE_POINTS` selects points
//! (such as `EmptyOutput,TornOutput`; default: all).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use trimtab_core::policy::{Amount, Budgets, ClusterPolicy, GroupPolicy, TimerChoice, Timing};
use trimtab_core::reads::Role;
use trimtab_core::units::{NodeCount, Share, Span};
use trimtab_daemon::driver::{Driver, Intent};
use trimtab_daemon::ledger::SqliteLedger;
use trimtab_daemon::ports::{Clock, Ring};
use trimtab_tests::random::Random;
use trimtab_tests::slurm::SKIPPED;
use trimtab_tests::worlds::{cluster_policy, group_policy};

use board::{Race, TICK, WORKERS, others, workers};
use judge::Loss;
use points::Point;

mod board;
mod judge;
mod points;
mod scheduler;

/// Ticks of a round: enough to delete two nodes and confirm that they are gone.
const TICKS: usize = 10;

/// Additional ticks, a tenth of a second each, until the interference of a round has
/// happened: after a resume it takes seconds until a node is idle.
const TICKS_MORE: usize = 300;

/// Number of rounds between two printed tables.
const ROUNDS_TO_TELL: usize = 25;

/// Maximum number of ticks after a round until all open actions have ended. An action
/// without a response takes 15 minutes.
const TICKS_AFTER: usize = 40;

fn policy() -> ClusterPolicy {
    let group = |size: u32, least| GroupPolicy {
        size: NodeCount(size),
        min_nodes: Amount::Nodes(NodeCount(least)),
        lookahead: Span::ZERO,
        budgets: Budgets {
            per_request: NodeCount(2),
            per_hour: NodeCount(1_000),
            per_day: NodeCount(100_000),
            leaving: Share::ALL,
        },
        timer: TimerChoice::Fixed(TICK.times(2)),
        queue_lookahead: Span::ZERO,
        ..group_policy()
    };
    // Login and controller nodes must never be deleted, even if a policy allows it.
    let groups = BTreeMap::from([
        (workers(), group(WORKERS as u32, WORKERS as u32 - 2)),
        (others(Role::Login), group(1, 0)),
        (others(Role::Controller), group(1, 0)),
    ]);
    let mut policy = cluster_policy(groups);
    policy.timing = Timing { tick: TICK, cooldown: TICK, ..Timing::default() };
    policy
}

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| {
        text.parse().unwrap_or_else(|_| panic!("invalid {name} `{text}`: write a whole number"))
    })
}

/// Results of the rounds of one point.
#[derive(Debug, Default)]
struct Tally {
    rounds: u32,
    deleted: usize,
    jobs: usize,
    lost: usize,
    left_cordoned: usize,
    left_open: usize,
}

/// Results of a number of rounds.
struct Played {
    tallies: BTreeMap<Point, Tally>,
    lost: Vec<Loss>,
}

impl Played {
    fn sum(&self, of: impl Fn(&Tally) -> usize) -> usize {
        self.tallies.values().map(of).sum()
    }
}

/// The Markdown table of the documentation, with one row per point.
fn table(tallies: &BTreeMap<Point, Tally>) -> String {
    let mut lines = vec![
        "| point | rounds | jobs | nodes deleted | jobs lost | nodes left cordoned |".to_owned(),
        "|---|---|---|---|---|---|".to_owned(),
    ];
    let mut all = Tally::default();
    for (point, tally) in tallies {
        lines.push(tally.row(&format!("{point:?}")));
        all.rounds += tally.rounds;
        all.jobs += tally.jobs;
        all.deleted += tally.deleted;
        all.lost += tally.lost;
        all.left_cordoned += tally.left_cordoned;
    }
    lines.push(all.row("all"));
    lines.join("\n")
}

impl Tally {
    fn row(&self, name: &str) -> String {
        let Self { rounds, jobs, deleted, lost, left_cordoned, left_open: _ } = self;
        format!("| {name} | {rounds} | {jobs} | {deleted} | {lost} | {left_cordoned} |")
    }
}

/// Plays these rounds, and regularly passes the table of results so far to `tell`.
async fn play(race: &Arc<Race>, points: &[Point], tell: impl Fn(usize, &str)) -> Played {
    let ledger = Arc::new(SqliteLedger::in_memory(race.dial.now()).expect("a ledger"));
    let mut driver =
        Driver::start(race.ports(), ledger, policy()).await.expect("the driver starts");
    let mut tallies: BTreeMap<Point, Tally> = BTreeMap::new();
    for (round, point) in points.iter().enumerate() {
        if round > 0 && round % ROUNDS_TO_TELL == 0 {
            tell(round, &table(&tallies));
        }
        let (deleted, lost) = {
            let board = race.board();
            (board.deleted, board.lost.len())
        };
        race.begin(*point);
        for tick in 0..TICKS + TICKS_MORE {
            if tick >= TICKS {
                if race.board().has_come {
                    break;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            race.pass();
            let ticked = driver.tick(Ring::Schedule, Intent::Act).await;
            ticked.expect("the ledger is written");
            race.mend_in_time();
        }
        assert!(race.board().has_come, "{point:?} did not happen");
        let tally = tallies.entry(*point).or_default();
        tally.rounds += 1;
        tally.jobs += race.board().jobs.len();
        race.clean_up();
        let mut cordoned = race.cordoned_nodes().await;
        for _ in 0..TICKS_AFTER {
            let is_pretended = !race.board().pretended.is_empty();
            if cordoned.is_empty() && !is_pretended && driver.history().actions.is_empty() {
                break;
            }
            // Idle nodes would be deleted again. Follow-only mode starts no new deletions, so
            // all cordons and actions must end.
            race.pass();
            let followed = driver.tick(Ring::Schedule, Intent::FollowOnly).await;
            followed.expect("the ledger is written");
            race.clean_up();
            cordoned = race.cordoned_nodes().await;
        }
        tally.left_cordoned += cordoned.len();
        tally.left_open += driver.history().actions.len();
        let board = race.board();
        tally.deleted += board.deleted - deleted;
        let lost: BTreeSet<&str> = board.lost[lost..].iter().map(|loss| &*loss.what).collect();
        tally.lost += lost.len();
    }
    let lost = race.board().lost.clone();
    Played { tallies, lost }
}

#[tokio::test(flavor = "current_thread")]
async fn no_job_is_lost_at_any_point_and_no_node_is_left_cordoned() {
    let seed = setting("TRIMTAB_RACE_SEED", 1);
    let Some(race) = Race::start(true, seed) else { return println!("{SKIPPED}") };
    let rounds = setting("TRIMTAB_RACE_ROUNDS", 0);
    let only = std::env::var("TRIMTAB_RACE_POINTS").unwrap_or_default();
    let is_asked_for = |point: &Point| {
        only.is_empty() || only.split(',').any(|name| *name == format!("{point:?}"))
    };
    let all: Vec<Point> = Point::ALL.into_iter().filter(is_asked_for).collect();
    // Every point once, then random points.
    let mut random = Random::new(seed);
    let by_chance = |_| *random.pick(&all);
    let more: Vec<Point> = (all.len() as u64..rounds).map(by_chance).collect();
    let points = [all, more].concat();
    let tell = |round, table: &str| println!("race, {round} rounds so far:\n{table}");
    let played = play(&race, &points, tell).await;
    println!("race, seed {seed}:\n{}", table(&played.tallies));
    assert!(played.lost.is_empty(), "{:?}", played.lost);
    assert_eq!(played.sum(|tally| tally.left_cordoned), 0);
    assert_eq!(played.sum(|tally| tally.left_open), 0);
    let orders: Vec<String> = race.orders().into_iter().collect();
    let drain = "scontrol update NodeName= State=DRAIN Reason=trimtab:";
    assert_eq!(
        orders,
        [drain, "scontrol update NodeName= State=UNDRAIN"],
        "no other order is sent"
    );
    let deleted = played.sum(|tally| tally.deleted);
    assert!(deleted >= points.len() / 2, "only {deleted} nodes were deleted");
}

#[tokio::test(flavor = "current_thread")]
async fn with_the_cordon_switched_off_the_same_race_loses_jobs() {
    let Some(race) = Race::start(false, 1) else { return println!("{SKIPPED}") };
    for point in [Point::AfterCordon, Point::BeforeDelete, Point::DuringDelete] {
        // On a busy machine a job may start before the look, and the look then sees it.
        let mut by_slurm = vec![];
        for _ in 0..3 {
            let played = play(&race, &[point], |_, _| ()).await;
            println!("race without the cordon:\n{}", table(&played.tallies));
            by_slurm = played.lost;
            by_slurm.retain(|loss| loss.point == point && loss.how.starts_with("was hurt"));
            if !by_slurm.is_empty() {
                break;
            }
        }
        assert!(
            !by_slurm.is_empty(),
            "{point:?}: no job is lost without the cordon, so the race proves nothing"
        );
    }
}
