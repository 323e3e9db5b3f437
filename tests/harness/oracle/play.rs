//! Runs a world under the oracle: starts the daemon, starts it again after every kill, and plays
//! the operator, who ends freezes and sometimes pauses the daemon.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use trimtab_core::policy::ClusterPolicy;
use trimtab_core::units::{Span, Time};
use trimtab_daemon::ledger::{LedgerReader, SqliteLedger};
use trimtab_daemon::ports::{Ledger, Ports, Switch, SwitchEntry};
use trimtab_simulator::World;
use trimtab_simulator::gauntlet::CrashingLedger;
use trimtab_simulator::ports::PortOptions;
use trimtab_simulator::truth::Caller;

use super::worlds::Case;
use super::{Breach, Mode, Operator, Oracle};
use crate::life::{Fate, Life};
use crate::random::Random;

/// Changes to a run that test whether the oracle notices them.
pub struct Tampering<'a> {
    /// The daemon's policy, if it differs from the policy that the oracle checks.
    pub policy: Option<ClusterPolicy>,
    /// Options of the ports.
    pub options: PortOptions,
    /// Changes its ports.
    pub ports: &'a dyn Fn(&World, Ports) -> Ports,
    /// Changes its ledger.
    pub ledger: &'a dyn Fn(Arc<dyn Ledger>) -> Arc<dyn Ledger>,
    /// Mode that the oracle assumes.
    pub mode: Mode,
}

impl Default for Tampering<'_> {
    fn default() -> Self {
        Self {
            policy: None,
            options: PortOptions::default(),
            ports: &|_, ports| ports,
            ledger: &|ledger| ledger,
            mode: Mode::Enforce,
        }
    }
}

/// Result of a run.
pub struct Played {
    /// Breaches that the oracle found.
    pub breaches: Vec<Breach>,
    /// Log lines before the first breach.
    pub tail: Vec<String>,
    /// Number of times each fault happened.
    pub faults: BTreeMap<&'static str, u32>,
    /// Nodes deleted by the daemon.
    pub deletions: u64,
    /// Accepted requests of the daemon that set a group to a lower count.
    pub group_calls: u64,
    /// Number of submitted jobs.
    pub jobs: usize,
    /// Number of completed ticks.
    pub ticks: u64,
    /// Number of kills.
    pub kills: u32,
    /// Number of freezes that the operator ended.
    pub thaws: u32,
    /// Digest of the world's log.
    pub digest: u64,
    /// Log of the world; empty unless the spec keeps it.
    pub log: String,
    /// All readable rows of the ledger, as text.
    pub rows: String,
}

/// Runs a case with its ledger in this folder.
pub fn play(case: &Case, folder: &Path) -> Played {
    play_with(case, folder, &Tampering::default())
}

/// As [`play`], with changes.
///
/// # Panics
/// If the world or the ledger cannot be created.
pub fn play_with(case: &Case, folder: &Path, tampering: &Tampering<'_>) -> Played {
    let world = World::new(case.spec.clone(), vec![]).expect("a world");
    world.watch();
    let obeyed = tampering.policy.clone().unwrap_or_else(|| case.policy.clone());
    let mut life = Life::new(world.clone(), obeyed, folder, case.seed);
    life.options = tampering.options.clone();
    let id = life.open_ledger().id();
    let call_time = life.options.call_time;
    let mut oracle = Oracle::new(case.policy.clone(), tampering.mode, id, &world, call_time);
    let mut somebody = OnCall::new(case.seed, case.spec.random_faults_per_day > 0.0);
    let (mut ticks, mut kills) = (0, 0);
    loop {
        let ledger: Arc<dyn Ledger> = Arc::new(life.open_ledger());
        let ledger = (tampering.ledger)(ledger);
        let ledger = Arc::new(CrashingLedger::new(world.clone(), ledger));
        let ports = (tampering.ports)(&world, world.ports(life.options.clone()));
        let fate = life.run_with(ports, ledger, &mut |_| {
            ticks += 1;
            oracle.see(&world.take_events());
            somebody.acts(&mut oracle, &life);
        });
        oracle.see(&world.take_events());
        if world.now() >= world.end() {
            break;
        }
        match fate {
            Fate::Killed => {
                kills += 1;
                world.revive();
                somebody.looks(&life);
            }
            // The ledger could not be written at the start; systemd would restart the daemon.
            Fate::Ended => world.advance_by(Span::mins(1)),
        }
    }
    let ledger = life.open_ledger();
    let truth = world.truth();
    oracle.finish(&truth, &ledger.reader());
    Played {
        breaches: oracle.breaches().to_vec(),
        tail: oracle.tail().to_vec(),
        faults: oracle.faults().clone(),
        deletions: truth.nodes_deleted(),
        group_calls: truth
            .requests
            .iter()
            .filter(|r| r.by == Caller::Daemon && r.count.is_some() && r.refused.is_none())
            .count() as u64,
        jobs: truth.jobs.len(),
        ticks,
        kills,
        thaws: somebody.thaws,
        digest: world.log_digest(),
        log: world.log(),
        rows: rows(&ledger.reader()),
    }
}

/// Returns all rows of a ledger as text.
fn rows(reader: &LedgerReader) -> String {
    let mut text = String::new();
    let all = usize::MAX;
    let read = "the ledger can be read";
    // Writing to a string cannot fail.
    for row in reader.history(all, None).expect(read) {
        let _ = writeln!(text, "{row:?}");
    }
    for row in reader.ticks(all, None).expect(read) {
        let _ = writeln!(text, "{row:?}");
    }
    for row in reader.freezes(None).expect(read) {
        let _ = writeln!(text, "{row:?}");
    }
    for row in reader.switches(all).expect(read) {
        let _ = writeln!(text, "{row:?}");
    }
    text
}

/// The operator on call.
struct OnCall {
    random: Random,
    frozen_since: Option<Time>,
    patience: Span,
    /// Time of the operator's next pause or resume.
    next: Option<Time>,
    paused: bool,
    pauses: bool,
    thaws: u32,
}

impl OnCall {
    fn new(seed: u64, pauses: bool) -> Self {
        let random = Random::new(seed ^ 0x7065_7273_6f6e);
        Self {
            random,
            frozen_since: None,
            patience: Span::ZERO,
            next: None,
            paused: false,
            pauses,
            thaws: 0,
        }
    }

    /// Checks for freezes. The operator also checks after every restart, because a daemon that was
    /// killed while it froze may not have sent the notification.
    fn looks(&mut self, life: &Life) {
        let reader = SqliteLedger::open_reader(life.ledger_path()).expect("a ledger");
        let freezes = reader.freezes(None).expect("the ledger can be read");
        if freezes.iter().any(|freeze| freeze.cleared.is_none()) {
            self.frozen_since.get_or_insert(life.world.now());
        }
    }

    fn acts(&mut self, oracle: &mut Oracle, life: &Life) {
        let now = life.world.now();
        if oracle.is_frozen() && self.frozen_since.is_none() {
            self.frozen_since = Some(now);
            self.patience = Span::mins(self.random.between(60, 300) as i64);
        }
        if self.frozen_since.is_some_and(|since| now.since(since) > self.patience) {
            self.frozen_since = None;
            self.thaws += 1;
            let operator = SqliteLedger::open_operator(life.ledger_path()).expect("a ledger");
            let cluster = &life.policy.cluster;
            let cleared = operator.clear_freeze(cluster, "somebody", now);
            cleared.expect("the freeze can be ended");
            oracle.operator(Operator::Thaws);
        }
        if !self.pauses {
            return;
        }
        let next = *self
            .next
            .get_or_insert_with(|| now + Span::mins(self.random.between(600, 10_000) as i64));
        if now < next {
            return;
        }
        self.paused = !self.paused;
        let switch = match self.paused {
            true => Switch::Paused { why: "a big run".into() },
            false => Switch::On,
        };
        let operator = SqliteLedger::open_operator(life.ledger_path()).expect("a ledger");
        let entry = SwitchEntry { at: now, cluster: None, switch };
        operator.set_switch(&entry, "somebody").expect("the switch can be set");
        oracle.operator(if self.paused { Operator::Pauses } else { Operator::Resumes });
        let minutes = if self.paused { (20, 180) } else { (2_000, 12_000) };
        self.next = Some(now + Span::mins(self.random.between(minutes.0, minutes.1) as i64));
    }
}
