//! Runs of a scenario: one with the kills it is told, and all of them in turn.

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

/// A daemon that could not start tries again after so long, as systemd does.
const START_AGAIN: Span = Span::secs(10);

/// More starts than any run needs: one that does not end is stopped.
const STARTS_MAX: u32 = 2_000;

/// What is wired between the daemon and the world: nothing, or a planted bug.
pub(super) trait Wiring {
    /// The ports of the how many-th start, from 0.
    fn ports(&self, start: u32, ports: Ports) -> Ports;
    /// Its ledger.
    fn ledger(&self, start: u32, ledger: Arc<dyn Ledger>) -> Arc<dyn Ledger>;
}

/// The daemon as it is.
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

/// What one run came to.
pub(super) struct Outcome {
    /// How often the daemon was killed.
    pub(super) kills: u32,
    /// Effects in all.
    pub(super) effects: u64,
    /// What is known of it at the end.
    pub(super) seen: Seen,
    /// What is wrong with it.
    pub(super) findings: Vec<Finding>,
    /// The world's log, if it was asked for.
    pub(super) log: String,
}

impl Case {
    /// Runs it. `unharmed` is what the run without a kill comes to.
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
        // The file is new in every run: an old one would be taken up.
        let folder = match tempfile::tempdir_in(folder) {
            Ok(folder) => folder,
            Err(why) => panic!("no folder for a ledger: {why}"),
        };
        let mut life = Life::new(world.clone(), policy.clone(), folder.path(), 7);
        life.options = scenario::options(&policy);
        let lived = live(&life, self.scenario.away, wiring);
        let (seen, mut findings) = checks::look(&life, &policy, &lived);
        let kills = lived.kills;
        // The second of two may come too late.
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

/// Runs the daemon to the world's end, and starts it anew after every kill;
/// after the end, too, so that what was begun is settled.
fn live(life: &Life, away: Span, wiring: &dyn Wiring) -> Lived {
    let world = &life.world;
    let mut lived = Lived::default();
    for start in 0..STARTS_MAX {
        let ledger: Arc<dyn Ledger> = Arc::new(life.open_ledger());
        // The planted bug is the daemon's own: it is killed around it.
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
            // It could not even start.
            Fate::Ended if world.now() < world.end() => world.advance_by(START_AGAIN),
            Fate::Ended => return lived,
        }
    }
    panic!("the daemon was started {STARTS_MAX} times and the world has not ended");
}

/// What all runs of a scenario came to.
pub(super) struct Tally {
    pub(super) scenario: &'static str,
    /// Effects of the run without a kill.
    pub(super) effects: u64,
    /// Nodes it deletes.
    pub(super) deleted: u64,
    pub(super) runs: u64,
    pub(super) kills: u64,
    /// Fewest and most deletions of a run with a kill.
    pub(super) deletions: (u64, u64),
    /// When the last action of them all had ended, from the world's start.
    pub(super) settled: Span,
    /// What happened in all runs.
    pub(super) shown: BTreeMap<&'static str, u32>,
    /// What was wrong, each with its replay.
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
    /// The failures, a line each with how to see it again; at most so many.
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

/// The run without a kill.
pub(super) fn unharmed(scenario: &'static Scenario) -> Outcome {
    let case = Case { scenario, kills: vec![] };
    case.run(&AsBuilt, folder().path(), None)
}

/// Every effect in turn is the last before a kill, on either side of it.
pub(super) fn once_everywhere(scenario: &'static Scenario, wiring: &dyn Wiring) -> Tally {
    enumerate(scenario, wiring, |effects| points(effects).map(|point| vec![point]).collect())
}

/// Killed again at one of the first five effects after the restart: at the
/// first, third and fifth, or the second and fourth. The sides alternate so
/// that all pairs of them come up at each distance.
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

/// For each of these checks the first kill at which it notices a planted bug.
///
/// # Errors
/// One of them never does, or it takes no kill.
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

/// Both sides of every effect.
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

/// A case as text: the scenario and its kills, `plain:17:after` or
/// `plain:17:before:19:after`.
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

/// The case that `TRIMTAB_CRASH` names, run with its log; `None` if it names none.
pub(super) fn replay() -> Option<Outcome> {
    let case: Case = match std::env::var("TRIMTAB_CRASH").ok()?.parse() {
        Ok(case) => case,
        Err(why) => panic!("{why}"),
    };
    let folder = folder();
    let unharmed = unharmed(case.scenario).seen;
    Some(case.run_logged(&AsBuilt, folder.path(), Some(&unharmed), true))
}
