//! Regression tests for product bugs that the oracle, or work on it, found.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use trimtab_core::units::Span;
use trimtab_daemon::ports::{CordonOrder, Ledger, Ports};
use trimtab_simulator::World;
use trimtab_simulator::faults::{FaultKind, Target};
use trimtab_tests::altered::AlteredCluster;
use trimtab_tests::oracle::play::Tampering;
use trimtab_tests::oracle::worlds::plain;

use super::meddling::{AfterCordon, Forgetful, Unheard};
use super::planted::{idle, run};

/// Runs `meddle` right before each of the daemon's reads of the cluster.
fn before_reads(mut ports: Ports, meddle: impl Fn() + Send + Sync + 'static) -> Ports {
    ports.cluster = Arc::new(AlteredCluster::new(ports.cluster).before_describe(meddle));
    ports
}

/// The bug: the look before a delete was dated by its request, although the scheduler's answer was
/// from before the drain took effect.
#[test]
fn an_answer_from_before_the_settle_time_is_no_second_look() {
    let mut case = plain(3, 1);
    case.spec.cordon_lag = Span::secs(25);
    case.policy.timing.fresh_for = Span::mins(10);
    let fell_behind = Arc::new(AtomicBool::new(false));
    let ports = |world: &World, mut ports: Ports| {
        let (world, done) = (world.clone(), Arc::clone(&fell_behind));
        let meddle = move |orders: &[CordonOrder]| {
            if done.swap(true, Ordering::Relaxed) {
                return;
            }
            world.act(FaultKind::SchedulerStale, Span::mins(20));
            let node = Target::Name(orders[0].name.clone());
            world.act(FaultKind::JobLands { node, length: Span::hours(2) }, Span::ZERO);
        };
        if let Some(writers) = &mut ports.writers {
            let cordon = writers.cordon.take().expect("a world with a scheduler has a cordon");
            writers.cordon = Some(Arc::new(AfterCordon { cordon, meddle: Box::new(meddle) }));
        }
        ports
    };
    let played = run(&case, &Tampering { ports: &ports, ..Tampering::default() });
    assert!(fell_behind.load(Ordering::Relaxed), "nothing was cordoned");
    assert!(played.breaches.is_empty(), "{}", played.breaches[0]);
}

/// The bug: a forward step of the wall clock shortened the 15 minutes for which an unanswered node
/// must be seen Running before it is released.
#[test]
fn a_clock_set_forward_does_not_release_an_unanswered_node() {
    let mut case = idle(3, 6);
    // Its termination shows shortly before the 15 minutes are over.
    case.spec.listing_lag = Span::secs(14 * 60 + 40);
    case.spec.delete_delay.min = Span::mins(90);
    case.spec.delete_delay.max = Span::mins(90);
    case.policy.timing.fresh_for = Span::hours(2);
    let looks = Arc::new(Mutex::new(0u32));
    let ports = |world: &World, mut ports: Ports| {
        let (there, looks) = (world.clone(), Arc::clone(&looks));
        if let Some(writers) = &mut ports.writers {
            let cluster = Arc::clone(&writers.cluster);
            writers.cluster = Arc::new(Unheard { cluster, world: world.clone() });
        }
        before_reads(ports, move || {
            let mut looks = looks.lock().expect("the lock is not poisoned");
            *looks += u32::from(!there.truth().requests.is_empty());
            // After the first look that showed it Running.
            if *looks == 2 {
                there.act(FaultKind::ClockStep { by: Span::mins(20) }, Span::ZERO);
            }
        })
    };
    let played = run(&case, &Tampering { ports: &ports, ..Tampering::default() });
    assert!(*looks.lock().expect("the lock is not poisoned") > 3, "nothing was asked");
    assert!(played.breaches.is_empty(), "{}", played.breaches[0]);
}

/// The bug: a tick that saw a clock step but could not write the vetoes forgot the step.
#[test]
fn a_clock_step_is_remembered_until_its_vetoes_are_written() {
    let mut case = idle(3, 6);
    case.policy.timing.fresh_for = Span::hours(2);
    let fails = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicBool::new(false));
    let ports = |world: &World, ports: Ports| {
        let (there, fails, done) = (world.clone(), Arc::clone(&fails), Arc::clone(&done));
        before_reads(ports, move || {
            let truth = there.truth();
            if truth.cordons.is_empty() || done.swap(true, Ordering::Relaxed) {
                return;
            }
            there.act(FaultKind::ClockStep { by: Span::mins(2) }, Span::ZERO);
            fails.store(true, Ordering::Relaxed);
        })
    };
    let ledger = |ledger: Arc<dyn Ledger>| -> Arc<dyn Ledger> {
        Arc::new(Forgetful { ledger, omits: None, fails: Arc::clone(&fails) })
    };
    let played = run(&case, &Tampering { ports: &ports, ledger: &ledger, ..Tampering::default() });
    assert!(done.load(Ordering::Relaxed) && !fails.load(Ordering::Relaxed));
    assert!(played.breaches.is_empty(), "{}", played.breaches[0]);
}
