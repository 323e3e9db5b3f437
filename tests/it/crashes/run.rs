//! Runs of a scenario: one run with given kills, and all runs with one or two kills.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use trimtab_core::snapshot::{Listing, Snapshot, WorkloadSource};
use trimtab_core::units::Span;
use trimtab_daemon::driver::{TickError, TickReport};
use trimtab_daemon::ports::{Ledger, Ports};
use trimtab_simulator::World;
use trimtab_simulator::gauntlet::{CrashingLedger, KillPoint, KillWhen};
use trimtab_tests::life::{Fate, Life};
use trimtab_tests::scale;

use super::checks::{self, Finding, Lived, Seen};
use super::scenario::{self, Scenario, named};

/// Time until a daemon that could not start is started again, as with systemd.
const START_AGAIN: Span = Span::secs(10);

/// More starts than any run needs. A run that does not end is stopped.
const STARTS_MAX: u32 = 2_000;

/// Wrappers between the daemon and the world: none, or a planted bug.
pub(super) trait Wiring {
    /// Returns the ports of a start, counted from 0.
    fn ports(&self, start: u32, ports: Ports) -> Ports;
    /// Returns the ledger of a start.
    fn ledger(&self, start: u32, ledger: Arc<dyn Ledger>) -> Arc<dyn Ledger>;
}

/// The daemon without a planted bug.
pub(super) struct AsBuilt;

impl Wiring for AsBuilt {
    fn ports(&self, _: u32, ports: Ports) -> Ports {
        ports
    }

    fn ledger(&self, _: u32, ledger: Arc<dyn Ledger>) -> Arc<dyn Ledger> {
        ledger
    }
}

/// One run: a scenario and the effects at which the daemon is killed.
#[derive(Clone)]
pub(super) struct Case {
    pub(super) scenario: &'static Scenario,
    pub(super) kills: Vec<KillPoint>,
}

/// Result of a run.
pub(super) struct Outcome {
    /// Number of kills.
    pub(super) kills: u32,
    /// Number of effects.
    pub(super) effects: u64,
    pub(super) seen: Seen,
    /// Failed checks.
    pub(super) findings: Vec<Finding>,
    /// The world's log, if requested.
    pub(super) log: String,
}

impl Case {
    /// Runs the case. `unharmed` is the result of the run without a kill.
    pub(super) fn run(
        &self,
        wiring: &dyn Wiring,
        folder: &Path,
        unharmed: Option<&Seen>,
    ) -> Outcome {
        self.run_logged(wiring, folder, unharmed, false)
    }

    fn run_logged(
        &self,
        wiring: &dyn Wiring,
        folder: &Path,
        unharmed: Option<&Seen>,
        keep_log: bool,
    ) -> Outcome {
        let mut spec = self.scenario.spec();
        spec.keep_log = keep_log;
        let policy = self.scenario.policy(&spec);
        let world = match World::new(spec, vec![]) {
            Ok(world) => world,
            Err(why) => panic!("{why}"),
        };
        for kill in &self.kills {
            world.kill_at(*kill);
        }
        // Every run needs a new file, because the daemon would continue from an old one.
        let folder = match tempfile::tempdir_in(folder) {
            Ok(folder) => folder,
            Err(why) => panic!("no folder for a ledger: {why}"),
        };
        let mut life = Life::new(world.clone(), policy.clone(), folder.path(), 7);
        life.options = scenario::options(&policy);
        let lived = live(&life, self.scenario.away, wiring);
        let (seen, mut findings) = checks::look(&life, &policy, &lived);
        let kills = lived.kills;
        // The second of two kills may be planned after the end.
        if kills == 0 && !self.kills.is_empty() {
            let text = format!("none of {} kills came", self.kills.len());
            findings.push(Finding { check: "not killed", text });
        }
        if let Some(unharmed) = unharmed {
            findings.extend(checks::liveness(&seen, unharmed, self.scenario.fewer));
        }
        Outcome { kills, effects: world.effects(), seen, findings, log: world.log() }
    }
}

/// Runs the daemon to the world's end and starts it again after every kill. A kill at the end also
/// restarts it, so that open actions are settled.
fn live(life: &Life, away: Span, wiring: &dyn Wiring) -> Lived {
    let world = &life.world;
    let mut lived = Lived::default();
    for start in 0..STARTS_MAX {
        let ledger: Arc<dyn Ledger> = Arc::new(life.open_ledger());
        // The planted bug is part of the daemon, so it is inside the ledger that is killed.
        let ledger = CrashingLedger::new(world.clone(), wiring.ledger(start, ledger));
        let ports = wiring.ports(start, world.ports(life.options.clone()));
        let mut after = |tick: Result<&TickReport, &TickError>| {
            let is_blind = |seen: &Snapshot| {
                seen.listing != Listing::Complete
                    || matches!(seen.workload, WorkloadSource::Failed { .. })
                    || seen.workload == WorkloadSource::Empty
            };
            let what = match tick {
                Err(_) => "failed ticks",
                Ok(report) if is_blind(&report.snapshot) => "blind ticks",
                Ok(_) => return,
            };
            *lived.shown.entry(what).or_default() += 1;
        };
        match life.run_with(ports, Arc::new(ledger), &mut after) {
            Fate::Killed => {
                lived.kills += 1;
                world.advance_by(away);
                world.revive();
            }
            // The daemon could not start.
            Fate::Ended if world.now() < world.end() => world.advance_by(START_AGAIN),
            Fate::Ended => return lived,
        }
    }
    panic!("the daemon was started {STARTS_MAX} times and the world has not ended");
}

/// Summary of all runs of a scenario.
pub(super) struct Tally {
    pub(super) scenario: &'static str,
    /// Effects of the run without a kill.
    pub(super) effects: u64,
    /// Nodes deleted by the run without a kill.
    pub(super) deleted: u64,
    pub(super) runs: u64,
    pub(super) kills: u64,
    /// Lowest and highest number of deletions of the runs with kills.
    pub(super) deletions: (u64, u64),
    /// Latest end of an action in any run, counted from the world's start.
    pub(super) settled: Span,
    /// Events of all runs.
    pub(super) shown: BTreeMap<&'static str, u32>,
    /// Failed checks, each with the case to replay.
    pub(super) failures: Vec<(Case, Finding)>,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario, effects, deleted, runs, kills, deletions: (least, most), .. } = self;
        write!(
            f,
            "{scenario:<16} {effects:>3} effects {runs:>4} runs {kills:>4} kills, deletes \
             {deleted} without a kill, {least} to {most} with one, settled by {}, {} wrong; {:?}",
            self.settled,
            self.failures.len(),
            self.shown
        )
    }
}

impl Tally {
    /// Returns one line for each failure with its replay command, at most `at_most` lines.
    pub(super) fn complaint(&self, at_most: usize) -> String {
        let lines = self.failures.iter().take(at_most).map(|(case, finding)| {
            format!("TRIMTAB_CRASH={case} cargo test -p trimtab-tests crashes   # {finding}")
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

fn folder() -> tempfile::TempDir {
    match tempfile::tempdir() {
        Ok(folder) => folder,
        Err(why) => panic!("no folder for ledgers: {why}"),
    }
}

/// Runs the scenario without a kill.
pub(super) fn unharmed(scenario: &'static Scenario) -> Outcome {
    let case = Case { scenario, kills: vec![] };
    case.run(&AsBuilt, folder().path(), None)
}

/// Runs the scenario with a kill at every effect, before it and after it.
pub(super) fn once_everywhere(scenario: &'static Scenario, wiring: &dyn Wiring) -> Tally {
    enumerate(scenario, wiring, |effects| points(effects).map(|point| vec![point]).collect())
}

/// Runs the scenario with a second kill within the first five effects after the restart: at the
/// first, third and fifth, or at the second and fourth. The sides alternate so that all pairs of
/// sides occur at each distance.
pub(super) fn twice_everywhere(scenario: &'static Scenario, wiring: &dyn Wiring) -> Tally {
    enumerate(scenario, wiring, |effects| {
        let side =
            |n: u64| if n.is_multiple_of(2) { KillWhen::Before } else { KillWhen::AfterActed };
        let pairs = (1..=effects).flat_map(|effect| {
            (1..=5).filter(move |later| (effect + later).is_multiple_of(2)).map(move |later| {
                let first = KillPoint { effect, when: side(effect / 4 + later / 2) };
                let second = KillPoint { effect: effect + later, when: side(effect / 2) };
                vec![first, second]
            })
        });
        pairs.collect()
    })
}

/// Returns, for each of these checks, the first kill at which it notices a planted bug.
///
/// # Errors
/// If a check never notices the bug, or notices it without a kill.
pub(super) fn noticed(
    scenario: &'static Scenario,
    plant: &dyn Wiring,
    checks: &[&'static str],
) -> Result<Vec<(&'static str, Case)>, String> {
    let folder = folder();
    let whole = Case { scenario, kills: vec![] };
    let unharmed = whole.run(plant, folder.path(), None);
    if let Some(finding) = unharmed.findings.first() {
        return Err(format!("noticed without a kill: {finding}"));
    }
    let mut left: Vec<&'static str> = checks.to_vec();
    let mut found = vec![];
    for kill in points(unharmed.effects) {
        let case = Case { scenario, kills: vec![kill] };
        let findings = case.run(plant, folder.path(), None).findings;
        let (seen, unseen): (Vec<_>, Vec<_>) =
            left.into_iter().partition(|check| findings.iter().any(|f| f.check == *check));
        found.extend(seen.into_iter().map(|check| (check, case.clone())));
        left = unseen;
        if left.is_empty() {
            return Ok(found);
        }
    }
    Err(format!("never noticed in {}: {left:?}", scenario.name))
}

/// Returns both sides of every effect.
fn points(effects: u64) -> impl Iterator<Item = KillPoint> {
    (1..=effects).flat_map(|effect| {
        [KillWhen::Before, KillWhen::AfterActed].map(|when| KillPoint { effect, when })
    })
}

fn enumerate(
    scenario: &'static Scenario,
    wiring: &dyn Wiring,
    plan: impl Fn(u64) -> Vec<Vec<KillPoint>>,
) -> Tally {
    let folder = folder();
    let whole = Case { scenario, kills: vec![] };
    let unharmed = whole.run(&AsBuilt, folder.path(), None);
    let seen = unharmed.seen;
    let mut tally = Tally {
        scenario: scenario.name,
        effects: unharmed.effects,
        deleted: seen.deleted,
        runs: 1,
        kills: 0,
        deletions: (u64::MAX, 0),
        settled: seen.settled,
        shown: seen.shown.clone(),
        failures: unharmed.findings.into_iter().map(|finding| (whole.clone(), finding)).collect(),
    };
    for kills in scale::thinned(plan(unharmed.effects)) {
        let case = Case { scenario, kills };
        let outcome = case.run(wiring, folder.path(), Some(&seen));
        let (least, most) = &mut tally.deletions;
        *least = (*least).min(outcome.seen.deleted);
        *most = (*most).max(outcome.seen.deleted);
        tally.settled = tally.settled.max(outcome.seen.settled);
        for (what, count) in outcome.seen.shown {
            *tally.shown.entry(what).or_default() += count;
        }
        tally.runs += 1;
        tally.kills += u64::from(outcome.kills);
        let found = outcome.findings.into_iter().map(|finding| (case.clone(), finding));
        tally.failures.extend(found);
    }
    tally
}

/// Formats a case as the scenario and its kills, `plain:17:after` or `plain:17:before:19:after`.
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.scenario.name)?;
        for KillPoint { effect, when } in &self.kills {
            let when = match when {
                KillWhen::Before => "before",
                KillWhen::AfterActed => "after",
            };
            write!(f, ":{effect}:{when}")?;
        }
        Ok(())
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("TRIMTAB_CRASH is scenario:effect:before|after…, not `{text}`");
        let mut words = text.split(':');
        let scenario = named(words.next().ok_or_else(wrong)?);
        let mut kills = vec![];
        while let Some(effect) = words.next() {
            let effect = effect.parse().map_err(|_| wrong())?;
            let when = match words.next() {
                Some("before") => KillWhen::Before,
                Some("after") => KillWhen::AfterActed,
                Some(_) | None => return Err(wrong()),
            };
            kills.push(KillPoint { effect, when });
        }
        Ok(Self { scenario, kills })
    }
}

/// Runs the case in `TRIMTAB_CRASH` with its log; `None` if the variable is not set.
pub(super) fn replay() -> Option<Outcome> {
    let case: Case = match std::env::var("TRIMTAB_CRASH").ok()?.parse() {
        Ok(case) => case,
        Err(why) => panic!("{why}"),
    };
    let folder = folder();
    let unharmed = unharmed(case.scenario).seen;
    Some(case.run_logged(&AsBuilt, folder.path(), Some(&unharmed), true))
}
