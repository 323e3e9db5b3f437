//! Starts and ends faults.

use std::sync::Arc;

use trimtab_core::reads::Workload;
use trimtab_core::units::{Span, Time};

use crate::faults::{FaultKind, Target};
use crate::fleet::{Phase, Serial};
use crate::gauntlet::KillPoint;
use crate::log::WorldEvent;
use crate::rng::Stream;
use crate::scheduler::{JobNo, Slot, SlotNo};
use crate::text::Between;
use crate::world::{Inner, Scheduled};

/// Duration of a random fault.
const RANDOM_LASTS: Between = Between::secs(30, 1_200);

/// A fault that holds for some time.
#[derive(Debug, Clone)]
struct Active {
    id: u64,
    kind: FaultKind,
    since: Time,
    until: Time,
    /// Node that the fault hides or disguises, or whose metrics it changes.
    node: Option<Serial>,
    /// Scheduler answer that is repeated while the fault holds.
    frozen: Option<Box<Workload>>,
    /// Drain that is removed when the fault ends.
    drained: Option<(SlotNo, Arc<str>)>,
    /// Scheduler entry that is reserved while the fault holds.
    reserved: Option<SlotNo>,
    /// Job that is suspended while the fault holds.
    suspended: Option<JobNo>,
}

/// The faults that hold now.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    active: Vec<Active>,
    begun: u64,
}

impl Faults {
    pub(crate) fn any(&self, is_it: impl Fn(&FaultKind) -> bool) -> bool {
        self.active.iter().any(|fault| is_it(&fault.kind))
    }

    fn first(&self, is_it: impl Fn(&FaultKind) -> bool) -> Option<&Active> {
        self.active.iter().find(|fault| is_it(&fault.kind))
    }

    pub(crate) fn node_of(&self, is_it: impl Fn(&FaultKind) -> bool) -> Option<Serial> {
        self.first(is_it)?.node
    }

    pub(crate) fn since(&self, is_it: impl Fn(&FaultKind) -> bool) -> Option<Time> {
        Some(self.first(is_it)?.since)
    }

    /// Returns the fault of a kind on this node, and its start.
    pub(crate) fn find_on_node(
        &self,
        node: Serial,
        is_it: impl Fn(&FaultKind) -> bool,
    ) -> Option<(&FaultKind, Time)> {
        let hits = |fault: &&Active| fault.node == Some(node) && is_it(&fault.kind);
        self.active.iter().find(hits).map(|fault| (&fault.kind, fault.since))
    }

    /// Whether a fault of a kind holds on this node.
    pub(crate) fn on_node(&self, node: Serial, is_it: impl Fn(&FaultKind) -> bool) -> bool {
        self.find_on_node(node, is_it).is_some()
    }

    /// Returns the end of the last fault of a kind.
    pub(crate) fn until(&self, is_it: impl Fn(&FaultKind) -> bool) -> Option<Time> {
        self.active.iter().filter(|fault| is_it(&fault.kind)).map(|fault| fault.until).max()
    }

    /// Returns the percentage of nodes for which delete requests fail.
    pub(crate) fn failing_percent(&self) -> Option<u64> {
        self.active.iter().find_map(|fault| {
            if let FaultKind::DeletePartialFailure { percent } = fault.kind {
                Some(u64::from(percent))
            } else {
                None
            }
        })
    }

    /// Returns the scheduler's old answer while a fault repeats it.
    pub(crate) fn frozen(&self) -> Option<&Workload> {
        self.active.iter().find_map(|fault| fault.frozen.as_deref())
    }
}

impl Inner {
    pub(crate) fn deletions_stuck_until(&self) -> Option<Time> {
        self.faults.until(|kind| *kind == FaultKind::DeletionStuck)
    }

    pub(crate) fn counts_lag_longer(&self) -> Span {
        let lags = self.faults.active.iter().map(|fault| {
            if let FaultKind::CountsLag { by } = fault.kind { by } else { Span::ZERO }
        });
        lags.max().unwrap_or(Span::ZERO)
    }

    pub(crate) fn metrics_later(&self) -> Span {
        let lags = self.faults.active.iter().map(|fault| {
            if let FaultKind::MetricsLate { by } = fault.kind { by } else { Span::ZERO }
        });
        lags.max().unwrap_or(Span::ZERO)
    }

    pub(crate) fn begin_scheduled_fault(&mut self, number: usize) {
        if let Some(fault) = self.spec.faults.get(number).cloned() {
            self.begin_fault(fault.kind, fault.lasts);
        }
    }

    pub(crate) fn plan_random_fault(&mut self, n: u64) {
        if self.spec.random_faults_per_day > 0.0 {
            let mut rng = self.rng(Stream::Faults, n << 1);
            let at = self.now + rng.until_next(self.spec.random_faults_per_day);
            self.plan(at, Scheduled::RandomFault(n));
        }
    }

    pub(crate) fn begin_random_fault(&mut self, n: u64) {
        let mut rng = self.rng(Stream::Faults, n << 1 | 1);
        let named = &self.spec.random_fault_kinds;
        let survivable = if named.is_empty() { FaultKind::survivable() } else { vec![] };
        let kinds = if named.is_empty() { &survivable } else { named };
        let kind = kinds.get(rng.index(kinds.len())).cloned();
        let lasts = rng.span(RANDOM_LASTS);
        if let Some(kind) = kind {
            self.begin_fault(kind, lasts);
        }
        self.plan_random_fault(n + 1);
    }

    /// Starts a fault that holds for `lasts`, or lets it happen at once.
    pub(crate) fn begin_fault(&mut self, kind: FaultKind, lasts: Span) {
        self.write(WorldEvent::FaultBegan(kind.name()));
        let active = match &kind {
            FaultKind::ThrottledReads
            | FaultKind::ThrottledWrites
            | FaultKind::WriteTimesOutAfterActing
            | FaultKind::WriteTimesOutBeforeActing
            | FaultKind::DeletePartialFailure { .. }
            | FaultKind::DeleteTotalFailure
            | FaultKind::AccessDenied
            | FaultKind::ListingEmpty
            | FaultKind::ListingTruncated
            | FaultKind::ListingDuplicate
            | FaultKind::CountsLag { .. }
            | FaultKind::ClusterUpdating
            | FaultKind::RivalAutoscaler
            | FaultKind::DeletionStuck
            | FaultKind::SchedulerSilent
            | FaultKind::SchedulerEmpty
            | FaultKind::SchedulerUnknown
            | FaultKind::MassIdle
            | FaultKind::MetricsMissing
            | FaultKind::MetricsZero
            | FaultKind::MetricsStale
            | FaultKind::MetricsThrottled
            | FaultKind::MetricsDenied
            | FaultKind::MetricsLate { .. }
            | FaultKind::MetricsGaps { .. }
            | FaultKind::Suspended
            | FaultKind::Paused
            | FaultKind::LeaseLost
            | FaultKind::LedgerFails => Some(self.hold(&kind, lasts)),
            FaultKind::SchedulerStale => {
                let frozen = Some(Box::new(self.workload_now()));
                Some(Active { frozen, ..self.hold(&kind, lasts) })
            }
            FaultKind::ListingMissesNode | FaultKind::ListingOddStatus => {
                let target = self.aim(&Target::Any, kind.name());
                target.map(|(node, _)| Active { node: Some(node), ..self.hold(&kind, lasts) })
            }
            FaultKind::MetricsDeviceMissing { node }
            | FaultKind::MetricsOutOfRange { node, .. }
            | FaultKind::MetricsStatus { node, .. } => {
                let target = self.aim(node, kind.name());
                target.map(|(node, _)| Active { node: Some(node), ..self.hold(&kind, lasts) })
            }
            FaultKind::OperatorDrains { node, reason } => {
                let target = self.aim(node, kind.name());
                target.map(|(_, slot)| {
                    self.drain(slot, reason);
                    // A drain without an end lasts forever.
                    let lasts = if lasts > Span::ZERO { lasts } else { Span::FOREVER };
                    let drained = Some((slot, reason.as_str().into()));
                    Active { drained, ..self.hold(&kind, lasts) }
                })
            }
            FaultKind::NodeReserved { node } => {
                let target = self.aim(node, kind.name());
                target.map(|(_, slot)| {
                    self.reserve(slot);
                    Active { reserved: Some(slot), ..self.hold(&kind, lasts) }
                })
            }
            FaultKind::JobSuspended { node } => {
                let target = self.aim(node, kind.name());
                let suspended = target.and_then(|(_, slot)| self.suspend_job(slot, lasts));
                suspended.map(|_| Active { suspended, ..self.hold(&kind, lasts) })
            }
            FaultKind::NodeReplaced { node }
            | FaultKind::NodeFailure { node }
            | FaultKind::OperatorResumes { node }
            | FaultKind::OperatorDeletes { node }
            | FaultKind::JobLands { node, .. } => {
                if let Some((serial, slot)) = self.aim(node, kind.name()) {
                    self.strike(&kind, serial, slot);
                }
                None
            }
            FaultKind::GrowToSize => {
                let spec = Arc::clone(&self.spec);
                for group in &spec.groups {
                    // A busy cluster refuses this; the next `terraform apply` succeeds.
                    let _ = self.set_count(&group.name, group.size());
                }
                None
            }
            FaultKind::ClockStep { by } => {
                self.daemon.clock_offset += *by;
                self.write(WorldEvent::ClockStepped(*by));
                None
            }
            FaultKind::DaemonKill { after, when } => {
                let effect = self.gauntlet.effects() + after + 1;
                self.gauntlet.kill_at(KillPoint { effect, when: *when });
                None
            }
        };
        if let Some(active) = active {
            self.plan(active.until, Scheduled::FaultEnds(active.id));
            self.faults.active.push(active);
        }
    }

    fn hold(&mut self, kind: &FaultKind, lasts: Span) -> Active {
        self.faults.begun += 1;
        Active {
            id: self.faults.begun,
            kind: kind.clone(),
            since: self.now,
            until: self.now + lasts,
            node: None,
            frozen: None,
            drained: None,
            reserved: None,
            suspended: None,
        }
    }

    /// Applies a fault that happens to one node at once.
    fn strike(&mut self, kind: &FaultKind, node: Serial, slot: SlotNo) {
        if let FaultKind::NodeReplaced { .. } = kind {
            self.replace(node);
        } else if let FaultKind::NodeFailure { .. } = kind {
            self.fail(node);
        } else if let FaultKind::OperatorResumes { .. } = kind {
            self.resume(slot);
        } else if let FaultKind::OperatorDeletes { .. } = kind {
            self.delete_as_operator(node);
        } else if let FaultKind::JobLands { length, .. } = kind {
            self.land_job(slot, *length);
        }
    }

    pub(crate) fn end_fault(&mut self, id: u64) {
        let Some(at) = self.faults.active.iter().position(|fault| fault.id == id) else { return };
        let fault = self.faults.active.remove(at);
        if fault.kind == FaultKind::Suspended {
            self.daemon.suspended += self.now.since(fault.since);
        }
        self.write(WorldEvent::FaultEnded(fault.kind.name()));
        if let Some(slot) = fault.reserved {
            self.end_reservation(slot);
        }
        if let Some(job) = fault.suspended {
            self.scheduler.job_mut(job).suspended = false;
        }
        if let Some((slot, reason)) = fault.drained {
            let entry = self.scheduler.slots.get(&slot);
            let drain = entry.and_then(|entry| entry.drain.as_ref());
            if drain.is_some_and(|drain| drain.reason == reason) {
                self.resume(slot);
            }
        }
    }

    /// Returns the node that the target selects now, if there is one.
    fn aim(&mut self, target: &Target, what: &'static str) -> Option<(Serial, SlotNo)> {
        let up = |(number, slot): (&SlotNo, &Slot)| {
            let node = slot.node?;
            let is_up = self.fleet.nodes.get(&node).is_some_and(|node| node.phase == Phase::Up);
            is_up.then_some((node, *number))
        };
        let is_cordoned = |slot: &Slot| {
            let reason = slot.drain.as_ref().map(|drain| &drain.reason).or(slot.pretended.as_ref());
            reason.is_some_and(|reason| reason.starts_with("trimtab:"))
        };
        let fits = |slot: &Slot| match target {
            Target::Any | Target::Nth(_) | Target::Instance(_) => true,
            Target::AnyIdle => slot.accepts_jobs() && slot.jobs.is_empty(),
            Target::AnyBusy => !slot.jobs.is_empty(),
            Target::AnyCordoned => is_cordoned(slot),
            Target::Name(name) => slot.name == *name,
        };
        let mut candidates: Vec<(Serial, SlotNo)> =
            self.scheduler.slots.iter().filter(|(_, slot)| fits(slot)).filter_map(up).collect();
        let chosen = match target {
            Target::Any | Target::AnyIdle | Target::AnyBusy | Target::AnyCordoned => {
                self.faults.begun += 1;
                let mut rng = self.rng(Stream::Targets, self.faults.begun);
                candidates.get(rng.index(candidates.len())).copied()
            }
            Target::Nth(n) => candidates.get(*n).copied(),
            Target::Name(_) => candidates.pop(),
            Target::Instance(id) => {
                let serial = self.fleet.find(*id).map(|(serial, _)| serial);
                candidates.into_iter().find(|(node, _)| Some(*node) == serial)
            }
        };
        if chosen.is_none() {
            self.write(WorldEvent::NoTarget(what));
        }
        chosen
    }
}
