//! Reads of the scheduler, and the orders that it carries out, faults included.

use std::collections::BTreeSet;
use std::sync::Arc;

use trimtab_core::cordon::cordon_reason;
use trimtab_core::ids::{ClusterName, LedgerId};
use trimtab_core::reads::{Claim, Eligible, PendingJob, SchedulerFacts, SchedulerNode, Workload};
use trimtab_core::units::Time;
use trimtab_daemon::ports::{CordonOrder, ReadError, WriteError};

use crate::faults::FaultKind;
use crate::log::WorldEvent;
use crate::scheduler::{JobNo, JobState, Slot};
use crate::world::Inner;

impl Inner {
    /// Returns the scheduler's nodes and pending jobs.
    pub(crate) fn workload(&self, cluster: &ClusterName) -> Result<Workload, ReadError> {
        if *cluster != self.spec.cluster {
            return Err(ReadError::Refused(format!("no cluster {cluster}").into()));
        }
        if self.faults.any(|kind| *kind == FaultKind::SchedulerSilent) {
            return Err(ReadError::NoAnswer("the scheduler".into()));
        }
        if self.faults.any(|kind| *kind == FaultKind::SchedulerEmpty) {
            return Ok(Workload { nodes: vec![], pending: vec![], ..self.workload_now() });
        }
        if let Some(old) = self.faults.frozen() {
            return Ok(old.clone());
        }
        Ok(self.workload_now())
    }

    /// Returns the scheduler's state without the faults that keep it from answering.
    pub(crate) fn workload_now(&self) -> Workload {
        let unknown = self.faults.any(|kind| *kind == FaultKind::SchedulerUnknown);
        let lies = self.faults.any(|kind| *kind == FaultKind::MassIdle);
        let planned = if self.spec.show_planned { self.planned_slots() } else { BTreeSet::new() };
        let nodes = self.scheduler.slots.iter().map(|(number, slot)| SchedulerNode {
            name: slot.name.clone(),
            condition: slot.condition,
            claims: match (unknown, lies) {
                (true, _) => vec![Claim::Unrecognised("UNKNOWN".into())],
                (false, true) => vec![],
                (false, false) => self.claims(slot, planned.contains(number)),
            },
            drained: slot
                .drain
                .as_ref()
                .map(|d| Arc::clone(&d.reason))
                .or_else(|| slot.pretended.clone()),
            hostname: None,
            address: None,
            offers: None,
        });
        Workload {
            at: self.now,
            nodes: nodes.collect(),
            pending: self.pending(),
            facts: SchedulerFacts::default(),
        }
    }

    fn claims(&self, slot: &Slot, planned: bool) -> Vec<Claim> {
        let claim = |job: &JobNo| {
            let job = self.scheduler.job(*job);
            match job.state {
                JobState::Placed { runs, .. } if self.now < runs => {
                    Claim::Configuring(job.id.clone())
                }
                JobState::Placed { ends, .. } if self.now >= ends => {
                    Claim::Completing(job.id.clone())
                }
                JobState::Placed { .. } if job.suspended => Claim::Suspended(job.id.clone()),
                JobState::Placed { .. } => Claim::Running(job.id.clone()),
                JobState::Unknown | JobState::Waiting | JobState::Done => {
                    Claim::Unrecognised("a job that is not there".into())
                }
            }
        };
        let reserved = (slot.reservations > 0).then_some(Claim::Reserved);
        let planned = (planned && slot.jobs.is_empty()).then_some(Claim::Planned);
        slot.jobs.iter().map(claim).chain(reserved).chain(planned).collect()
    }

    fn pending(&self) -> Vec<PendingJob> {
        let mut pending = vec![];
        for partition in &self.scheduler.partitions {
            for (_, number) in &partition.waiting {
                let job = self.scheduler.job(*number);
                pending.push(PendingJob {
                    id: job.id.clone(),
                    partitions: vec![partition.name.clone()],
                    nodes: job.order.nodes,
                    gpus: job.order.gpus,
                    eligible: self.eligible(job.order.held_until, job.order.begin),
                    requires: BTreeSet::new(),
                    reason: "".into(),
                });
            }
        }
        pending
    }

    fn eligible(&self, held_until: Time, begin: Time) -> Eligible {
        if held_until > self.now {
            Eligible::Held
        } else if begin > self.now {
            Eligible::At(begin)
        } else {
            Eligible::Now
        }
    }

    /// Checks whether a request reaches the scheduler.
    fn admit_order(&self, cluster: &ClusterName) -> Result<(), WriteError> {
        if *cluster != self.spec.cluster {
            return Err(WriteError::Refused(format!("no cluster {cluster}").into()));
        }
        let lost = |kind: &FaultKind| {
            *kind == FaultKind::SchedulerSilent || *kind == FaultKind::WriteTimesOutBeforeActing
        };
        if self.faults.any(lost) {
            return Err(WriteError::NoAnswer("the scheduler".into()));
        }
        Ok(())
    }

    /// Checks whether the scheduler's answer reaches the daemon.
    fn answer_order(&self) -> Result<(), WriteError> {
        match self.faults.any(|kind| *kind == FaultKind::WriteTimesOutAfterActing) {
            true => Err(WriteError::NoAnswer("the scheduler, after it acted".into())),
            false => Ok(()),
        }
    }

    pub(crate) fn cordon(
        &mut self,
        cluster: &ClusterName,
        ledger: &LedgerId,
        orders: &[CordonOrder],
        pretend: bool,
    ) -> Result<(), WriteError> {
        self.admit_order(cluster)?;
        for order in orders {
            let found = self.scheduler.find(&order.name);
            let entry = found.and_then(|slot| Some((slot, self.scheduler.slots.get_mut(&slot)?)));
            match entry {
                Some((_, entry)) if entry.drain.is_none() && pretend => {
                    entry.pretended = Some(cordon_reason(ledger, order.action).into());
                }
                Some((slot, entry)) if entry.drain.is_none() => {
                    self.drain(slot, &cordon_reason(ledger, order.action));
                }
                Some(_) | None => self.write(WorldEvent::LeftAlone(order.name.clone())),
            }
        }
        self.answer_order()
    }

    pub(crate) fn release(
        &mut self,
        cluster: &ClusterName,
        ledger: &LedgerId,
        orders: &[CordonOrder],
    ) -> Result<(), WriteError> {
        self.admit_order(cluster)?;
        for order in orders {
            let reason = cordon_reason(ledger, order.action);
            let found = self.scheduler.find(&order.name);
            let entry = found.and_then(|slot| Some((slot, self.scheduler.slots.get_mut(&slot)?)));
            match entry {
                Some((slot, entry))
                    if entry.drain.as_ref().is_some_and(|d| *d.reason == *reason) =>
                {
                    self.resume(slot);
                }
                Some((_, entry)) if entry.pretended.as_deref() == Some(&*reason) => {
                    entry.pretended = None;
                }
                Some(_) | None => self.write(WorldEvent::LeftAlone(order.name.clone())),
            }
        }
        self.answer_order()
    }
}
