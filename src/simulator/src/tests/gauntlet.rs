//! Kills and injections at every call.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use trimtab_core::cordon::cordon_reason;
use trimtab_core::ids::ActionId;
use trimtab_core::units::{NodeCount, Span, Time};
use trimtab_daemon::ledger::SqliteLedger;
use trimtab_daemon::ports::{
    CordonOrder, InquiryState, Ledger, LedgerDecorator, LedgerError, Question, QuestionedNode, Ring,
};

use super::{cluster, job, ledger, now, order, poll, scheduler_node, world};
use crate::faults::{FaultKind, Target};
use crate::gauntlet::{CrashingLedger, Injection, KillPoint, KillWhen};
use crate::ports::{PortOptions, SimulatedGate};

#[test]
fn a_kill_ends_every_port_until_the_daemon_is_started_anew() {
    for (when, acted) in [(KillWhen::Before, false), (KillWhen::AfterActed, true)] {
        let world = world("");
        let ports = world.ports(PortOptions::default());
        let cordon = ports.writers.as_ref().and_then(|w| w.cordon.clone()).expect("a cordon");
        let (first, second) = (order(&world, 0, 1), order(&world, 1, 2));
        world.kill_at(KillPoint { effect: 2, when });
        now(cordon.cordon(&cluster(), &ledger(), &[first])).expect("the first one goes");
        assert_eq!(poll(cordon.cordon(&cluster(), &ledger(), &[second])), None);
        assert_eq!(scheduler_node(&world, 1).drained.is_some(), acted);
        assert!(world.is_dead());
        assert_eq!(poll(ports.cluster.describe(&cluster())), None);
        assert!(ports.lease.hold().is_err() && ports.switches.read(&cluster()).is_err());
        assert_eq!(world.doorbell(Span::mins(1)).sleep(None), None);
        world.revive();
        assert!(poll(ports.cluster.describe(&cluster())).is_some());
        assert_eq!((world.effects(), world.is_dead()), (2, false));
    }
}

#[test]
fn an_injection_comes_right_before_its_call() {
    let world = world("");
    let ports = world.ports(PortOptions::default());
    let lands = FaultKind::JobLands { node: Target::Nth(1), length: Span::hours(1) };
    world.inject(Injection { call: 3, action: lands, lasts: Span::ZERO });
    let read =
        || now(ports.workload.as_ref().expect("a scheduler").read(&cluster())).expect("read");
    now(ports.cluster.list_nodes(&cluster())).expect("read");
    assert_eq!(read().nodes[1].claims, []);
    assert_eq!(read().nodes[1].claims.len(), 1);
    assert_eq!(world.calls(), 3);
}

#[test]
fn a_disabled_cordon_shows_and_keeps_nobody_off() {
    let world = world(&job("5m", "1h", "nodes = 4"));
    let ports = world.ports(PortOptions { cordon_disabled: true, ..PortOptions::default() });
    let cordon = ports.writers.as_ref().and_then(|w| w.cordon.clone()).expect("a cordon");
    let cordoned = order(&world, 0, 7);
    now(cordon.cordon(&cluster(), &ledger(), std::slice::from_ref(&cordoned))).expect("done");
    let reason = cordon_reason(&ledger(), ActionId(7));
    assert_eq!(scheduler_node(&world, 0).drained.as_deref(), Some(&*reason));
    assert_eq!(world.truth().cordons, [], "truth is not fooled");
    world.advance_by(Span::mins(6));
    assert_eq!(scheduler_node(&world, 0).claims.len(), 1);
    now(cordon.release(&cluster(), &ledger(), &[cordoned])).expect("done");
    assert_eq!(scheduler_node(&world, 0).drained, None);
}

#[test]
fn an_observer_has_no_writers_and_calls_can_take_time() {
    let world = world("");
    assert!(
        world.ports(PortOptions { observe_only: true, ..Default::default() }).writers.is_none()
    );
    let options = PortOptions { call_time: Span::secs(2), ..PortOptions::default() };
    let ports = world.ports(options);
    let before = world.now();
    now(ports.cluster.list_nodes(&cluster())).expect("read");
    assert_eq!(world.now(), before + Span::secs(2));
    assert!(ports.gate.is_none());
    let takes = Span::mins(3);
    let gate = Some(SimulatedGate { takes, answer: Err("disk not saved".into()) });
    let gate = world.ports(PortOptions { gate, ..PortOptions::default() }).gate.expect("a gate");
    let (at, id) = (world.now(), "i-00000001".parse().expect("valid"));
    let node = QuestionedNode { id, name: None, ip: None, action: ActionId(1) };
    let (group, nodes) = ("gpu".parse().expect("valid"), vec![node]);
    let inquiry = gate.ask(Question { cluster: cluster(), group, ledger: ledger(), at, nodes });
    assert_eq!((inquiry.state(), inquiry.deadline()), (InquiryState::Open, at + takes));
    world.advance_by(takes);
    let vetoes = [(id, "disk not saved".into())].into();
    assert_eq!(inquiry.state(), InquiryState::Answered { at: at + takes, vetoes });
}

#[test]
fn the_doorbell_rings_on_the_schedule_for_deadlines_and_to_stop() {
    let world = world("");
    let start = world.now();
    let mut bell = world.doorbell(Span::mins(5));
    assert_eq!((bell.sleep(None), world.now()), (Some(Ring::Schedule), start + Span::mins(5)));
    let soon = Some(start + Span::mins(7));
    assert_eq!((bell.sleep(soon), world.now()), (Some(Ring::Deadline), start + Span::mins(7)));
    let late = Some(start + Span::mins(30));
    assert_eq!((bell.sleep(late), world.now()), (Some(Ring::Schedule), start + Span::mins(10)));
    assert_eq!(bell.sleep(Some(start)), Some(Ring::Deadline));
    assert!(world.now() > start + Span::mins(10), "a deadline that is over does not stop time");
    world.advance_to(world.end() - Span::mins(1));
    assert_eq!((bell.sleep(None), world.now()), (Some(Ring::Stop), world.end()));
}

#[test]
fn a_fork_goes_its_own_way() {
    let world = world(&job("10m", "1h", ""));
    world.watch();
    world.advance_by(Span::mins(5));
    let other = world.fork();
    other.advance_by(Span::mins(10));
    assert_eq!((world.truth().jobs.len(), other.truth().jobs.len()), (0, 1));
    world.advance_by(Span::mins(10));
    assert_eq!(world.log(), other.log());
    assert_eq!(world.take_events().len(), other.take_events().len());
    let unknown = CordonOrder { name: "nobody".parse().expect("valid"), action: ActionId(1) };
    other.cordon(&cluster(), &ledger(), &[unknown]).expect("left alone");
    assert_ne!(world.log_digest(), other.log_digest());
    assert_eq!(other.truth().groups.values().map(|g| g.live).sum::<NodeCount>(), NodeCount(4));
}

/// A ledger that counts its writes.
struct Tally {
    ledger: SqliteLedger,
    writes: AtomicU64,
}

impl Tally {
    fn new() -> Arc<Self> {
        let ledger = SqliteLedger::in_memory(Time(0)).expect("a ledger in memory");
        Arc::new(Self { ledger, writes: AtomicU64::new(0) })
    }

    fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }
}

impl LedgerDecorator for Tally {
    type Inner = SqliteLedger;

    fn inner(&self) -> &SqliteLedger {
        &self.ledger
    }

    fn writing<T>(
        &self,
        _what: &'static str,
        write: impl FnOnce(&SqliteLedger) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        write(&self.ledger)
    }
}

#[test]
fn every_commit_is_an_effect_and_a_dead_ledger_writes_nothing() {
    for (when, written) in [(KillWhen::Before, 1), (KillWhen::AfterActed, 2)] {
        let world = world("");
        // Killed at the second effect from now.
        world.act(FaultKind::DaemonKill { after: 1, when }, Span::ZERO);
        let tally = Tally::new();
        let ledger: &dyn Ledger = &CrashingLedger::new(world.clone(), Arc::clone(&tally));
        assert!(
            ledger.reserve_actions(NodeCount(2)).is_ok() && ledger.read_switch(&cluster()).is_ok()
        );
        assert!(ledger.reserve_request().is_err());
        assert_eq!(tally.writes(), written, "{when:?}");
        assert!(ledger.reserve_request().is_err() && ledger.read_switch(&cluster()).is_err());
        assert!(ledger.load(&cluster(), world.now(), Span::ZERO).is_err());
        assert_eq!((tally.writes(), world.effects()), (written, 2));
        world.revive();
        assert!(ledger.reserve_request().is_ok());
        world.act(FaultKind::LedgerFails, Span::mins(1));
        assert!(ledger.reserve_request().is_err() && !world.is_dead());
        assert_eq!(tally.writes(), written + 1);
    }
}
