//! The daemon's ports, with the world behind them.
//!
//! Every future is ready at once, so that a harness can poll the daemon by
//! hand; after a kill it is pending for ever. Time stands still during a call
//! unless [`PortOptions::call_time`] says otherwise.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use trimtab_core::audit::ClearedBatch;
use trimtab_core::ids::{ClusterName, GroupName, InstanceId, LedgerId};
use trimtab_core::snapshot::{
    Activity, ClusterDescription, InstanceStatus, NodeListing, Witness, Workload, fence_reason,
};
use trimtab_core::units::{NodeCount, Span, Time, UsdPerHour};
use trimtab_daemon::ports::{
    Clock, ClusterRead, ClusterWrite, DeleteOutcome, Doorbell, Fence, FenceOrder, Gate, Lease,
    Notification, Notifier, Ports, Prices, ReadError, Ring, Switch, Switches, Utilization,
    WorkloadRead, Writers,
};

use crate::faults::FaultKind;
use crate::gauntlet::Life;
use crate::log::{Call, WorldEvent};
use crate::truth::Caller;
use crate::world::{Inner, World};

/// The shortest sleep: a deadline that is over does not stop time.
const SHORTEST_SLEEP: Span = Span::secs(1);
/// The lease's generation.
const LEASE_GENERATION: u64 = 1;

/// How the ports are wired.
#[derive(Debug, Clone, Default)]
pub struct PortOptions {
    /// Without anything that could change the world.
    pub observe_only: bool,
    /// The negative control: a fence shows, and jobs are placed all the same.
    pub fence_disabled: bool,
    /// How long a read or write takes: the world moves meanwhile.
    pub call_time: Span,
    /// A gate that gives this answer, if there is one.
    pub gate: Option<Result<(), Arc<str>>>,
}

/// One wiring of all ports to a world.
#[derive(Clone)]
struct Front {
    world: World,
    options: Arc<PortOptions>,
}

impl World {
    /// The daemon's ports.
    pub fn ports(&self, options: PortOptions) -> Ports {
        let spec = self.spec();
        let front = Arc::new(Front { world: self.clone(), options: Arc::new(options) });
        let fence: Option<Arc<dyn Fence>> = match spec.scheduler {
            true => Some(front.clone()),
            false => None,
        };
        let workload: Option<Arc<dyn WorkloadRead>> = match spec.scheduler {
            true => Some(front.clone()),
            false => None,
        };
        let utilization: Option<Arc<dyn Utilization>> = match spec.metrics {
            true => Some(front.clone()),
            false => None,
        };
        let gate: Option<Arc<dyn Gate>> = match front.options.gate {
            Some(_) => Some(front.clone()),
            None => None,
        };
        let writers = Writers { cluster: front.clone(), fence };
        Ports {
            cluster: front.clone(),
            workload,
            utilization,
            clock: front.clone(),
            switches: front.clone(),
            lease: front.clone(),
            gate,
            notifier: front.clone(),
            writers: (!front.options.observe_only).then_some(writers),
        }
    }

    /// The prices that the spec gives its groups.
    pub fn prices(&self) -> Arc<dyn Prices> {
        Arc::new(Front { world: self.clone(), options: Arc::default() })
    }

    /// A doorbell that rings every so often, counted from the world's start,
    /// and stops at its end.
    pub fn doorbell(&self, every: Span) -> SimDoorbell {
        SimDoorbell { world: self.clone(), every: every.max(SHORTEST_SLEEP) }
    }

    /// Puts the pause file there, or takes it away.
    pub fn set_pause(&self, why: Option<Arc<str>>) {
        self.lock().daemon.paused = why;
    }
}

/// The answer, unless nobody is left to hear it.
async fn alive<T>(answer: Option<T>) -> T {
    match answer {
        Some(answer) => answer,
        None => std::future::pending().await,
    }
}

impl Front {
    fn begin(&self, inner: &mut Inner, call: Call) -> bool {
        if !inner.begin_call(call) {
            return false;
        }
        let to = inner.now + self.options.call_time;
        inner.advance_to(to);
        true
    }

    async fn read<T>(&self, call: Call, read: impl FnOnce(&Inner) -> T) -> T {
        let answer = {
            let mut inner = self.world.lock();
            self.begin(&mut inner, call).then(|| read(&inner))
        };
        alive(answer).await
    }

    async fn act<T>(&self, call: Call, act: impl FnOnce(&mut Inner) -> T) -> T {
        let answer = {
            let mut inner = self.world.lock();
            let life = if self.begin(&mut inner, call) { inner.begin_effect() } else { Life::IsOver };
            match life {
                Life::IsOver => None,
                Life::Goes | Life::EndsAfterwards => {
                    let answer = act(&mut inner);
                    inner.end_effect(life).then_some(answer)
                }
            }
        };
        alive(answer).await
    }
}

#[async_trait]
impl ClusterRead for Front {
    async fn describe(&self, cluster: &ClusterName) -> Result<ClusterDescription, ReadError> {
        self.read(Call::Describe, |inner| inner.describe(cluster)).await
    }

    async fn list_nodes(&self, cluster: &ClusterName) -> Result<NodeListing, ReadError> {
        self.read(Call::List, |inner| inner.list_nodes(cluster)).await
    }

    async fn describe_node(
        &self,
        cluster: &ClusterName,
        node: InstanceId,
    ) -> Result<Option<InstanceStatus>, ReadError> {
        self.read(Call::DescribeNode, |inner| inner.describe_node(cluster, node)).await
    }
}

#[async_trait]
impl ClusterWrite for Front {
    async fn delete_nodes(&self, batch: &ClearedBatch) -> DeleteOutcome {
        self.act(Call::Delete, |inner| {
            if *batch.cluster() == inner.spec.cluster {
                inner.delete_nodes(batch.nodes(), Caller::Daemon)
            } else {
                DeleteOutcome::Refused { why: "ResourceNotFound: no such cluster".into() }
            }
        })
        .await
    }
}

#[async_trait]
impl WorkloadRead for Front {
    async fn read(&self, cluster: &ClusterName) -> Result<Workload, ReadError> {
        Front::read(self, Call::Workload, |inner| inner.workload(cluster)).await
    }
}

#[async_trait]
impl Fence for Front {
    async fn fence(
        &self,
        cluster: &ClusterName,
        ledger: &LedgerId,
        orders: &[FenceOrder],
    ) -> Result<(), ReadError> {
        let pretend = self.options.fence_disabled;
        self.act(Call::Fence, |inner| inner.fence(cluster, ledger, orders, pretend)).await
    }

    async fn release(
        &self,
        cluster: &ClusterName,
        ledger: &LedgerId,
        orders: &[FenceOrder],
    ) -> Result<(), ReadError> {
        self.act(Call::Release, |inner| inner.release(cluster, ledger, orders)).await
    }
}

#[async_trait]
impl Utilization for Front {
    async fn read(
        &self,
        cluster: &ClusterName,
        nodes: &[InstanceId],
        window: Span,
    ) -> Result<BTreeMap<InstanceId, Witness<Activity>>, ReadError> {
        let read = |inner: &Inner| inner.utilization(cluster, nodes, window);
        Front::read(self, Call::Utilization, read).await
    }
}

impl Prices for Front {
    fn price(&self, cluster: &ClusterName, group: &GroupName) -> Option<UsdPerHour> {
        let spec = self.world.spec();
        let named = spec.groups.iter().find(|named| named.name == *group)?;
        (spec.cluster == *cluster).then_some(named.price)
    }
}

impl Clock for Front {
    fn now(&self) -> Time {
        let inner = self.world.lock();
        inner.now + inner.daemon.clock_offset
    }

    /// Stands still while the machine is suspended, as Linux's does.
    fn monotonic(&self) -> Span {
        let inner = self.world.lock();
        let asleep = inner.faults.since(|kind| *kind == FaultKind::Suspended);
        asleep.unwrap_or(inner.now).since(inner.spec.start) - inner.daemon.suspended
    }
}

impl Switches for Front {
    fn read(&self, _cluster: &ClusterName) -> Result<Switch, ReadError> {
        let mut inner = self.world.lock();
        if !inner.begin_call(Call::Switches) {
            return Err(ReadError::NoAnswer("a process that was killed".into()));
        }
        let by_fault = inner.faults.any(|kind| *kind == FaultKind::Paused);
        let why = inner.daemon.paused.clone().or_else(|| by_fault.then(|| "a person said so".into()));
        Ok(why.map_or(Switch::On, |why| Switch::Paused { why }))
    }
}

impl Lease for Front {
    fn hold(&self) -> Result<u64, ReadError> {
        let mut inner = self.world.lock();
        if !inner.begin_call(Call::Lease) {
            return Err(ReadError::NoAnswer("a process that was killed".into()));
        }
        if inner.faults.any(|kind| *kind == FaultKind::LeaseLost) {
            return Err(ReadError::Refused("somebody else holds it".into()));
        }
        Ok(LEASE_GENERATION)
    }
}

#[async_trait]
impl Gate for Front {
    async fn ask(
        &self,
        _cluster: &ClusterName,
        _group: &GroupName,
        _nodes: &[InstanceId],
    ) -> Result<(), Arc<str>> {
        let answer = self.options.gate.clone().unwrap_or(Ok(()));
        Front::read(self, Call::Gate, |_| answer).await
    }
}

impl Notifier for Front {
    fn notify(&self, _cluster: &ClusterName, at: Time, notification: &Notification) {
        let mut inner = self.world.lock();
        if !inner.gauntlet.is_dead() {
            inner.daemon.notifications.push((at, notification.clone()));
            inner.write(WorldEvent::Notified(Box::new(notification.clone())));
        }
    }
}

impl Inner {
    /// Whether a call to the scheduler gets there.
    fn admit_order(&self, cluster: &ClusterName) -> Result<(), ReadError> {
        if *cluster != self.spec.cluster {
            return Err(ReadError::Refused(format!("no cluster {cluster}").into()));
        }
        let lost = |kind: &FaultKind| {
            *kind == FaultKind::SchedulerSilent || *kind == FaultKind::WriteTimesOutBeforeActing
        };
        if self.faults.any(lost) {
            return Err(ReadError::NoAnswer("the scheduler".into()));
        }
        Ok(())
    }

    /// Whether its answer comes back.
    fn answer_order(&self) -> Result<(), ReadError> {
        match self.faults.any(|kind| *kind == FaultKind::WriteTimesOutAfterActing) {
            true => Err(ReadError::NoAnswer("the scheduler, after it acted".into())),
            false => Ok(()),
        }
    }

    pub(crate) fn fence(
        &mut self,
        cluster: &ClusterName,
        ledger: &LedgerId,
        orders: &[FenceOrder],
        pretend: bool,
    ) -> Result<(), ReadError> {
        self.admit_order(cluster)?;
        for order in orders {
            let found = self.scheduler.find(&order.name);
            let entry = found.and_then(|slot| Some((slot, self.scheduler.slots.get_mut(&slot)?)));
            match entry {
                Some((_, entry)) if entry.drain.is_none() && pretend => {
                    entry.pretended = Some(fence_reason(ledger, order.action).into());
                }
                Some((slot, entry)) if entry.drain.is_none() => {
                    self.drain(slot, &fence_reason(ledger, order.action));
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
        orders: &[FenceOrder],
    ) -> Result<(), ReadError> {
        self.admit_order(cluster)?;
        for order in orders {
            let reason = fence_reason(ledger, order.action);
            let found = self.scheduler.find(&order.name);
            let entry = found.and_then(|slot| Some((slot, self.scheduler.slots.get_mut(&slot)?)));
            match entry {
                Some((slot, entry)) if entry.drain.as_ref().is_some_and(|d| *d.reason == *reason) => {
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

/// What the daemon sleeps on: while it does, the world moves.
pub struct SimDoorbell {
    world: World,
    every: Span,
}

#[async_trait]
impl Doorbell for SimDoorbell {
    async fn next(&mut self, deadline: Option<Time>) -> Ring {
        let ring = self.sleep(deadline);
        alive(ring).await
    }
}

impl SimDoorbell {
    /// The same without a future: `None` once the daemon was killed.
    pub fn sleep(&mut self, deadline: Option<Time>) -> Option<Ring> {
        let mut inner = self.world.lock();
        if inner.gauntlet.is_dead() {
            return None;
        }
        let end = inner.spec.end();
        let slept = inner.now.since(inner.spec.start).0.div_euclid(self.every.0);
        let schedule = inner.spec.start + self.every.times(slept + 1);
        // The deadline is a time of the daemon's own clock.
        let deadline = deadline.map(|at| {
            let true_time = at - inner.daemon.clock_offset;
            true_time.max(inner.now + SHORTEST_SLEEP)
        });
        let (to, ring) = match deadline {
            Some(at) if at < schedule => (at, Ring::Deadline),
            Some(_) | None => (schedule, Ring::Schedule),
        };
        inner.advance_to(to.min(end));
        // A suspended machine sleeps on.
        while let Some(until) = inner.faults.until(|kind| *kind == FaultKind::Suspended) {
            let until = until.min(end).max(inner.now);
            inner.advance_to(until);
            if inner.now >= end {
                break;
            }
        }
        Some(if inner.now >= end { Ring::Stop } else { ring })
    }
}

/// What other fronts of the world need: the same answers, without the
/// gauntlet. Faults hold here too.
impl World {
    /// DescribeCluster.
    ///
    /// # Errors
    /// By fault, or for another cluster's name.
    pub fn describe(&self, cluster: &ClusterName) -> Result<ClusterDescription, ReadError> {
        self.lock().describe(cluster)
    }

    /// ListClusterNodes, all pages.
    ///
    /// # Errors
    /// By fault, or for another cluster's name.
    pub fn list_nodes(&self, cluster: &ClusterName) -> Result<NodeListing, ReadError> {
        self.lock().list_nodes(cluster)
    }

    /// DescribeClusterNode.
    ///
    /// # Errors
    /// By fault, or for another cluster's name.
    pub fn describe_node(
        &self,
        cluster: &ClusterName,
        node: InstanceId,
    ) -> Result<Option<InstanceStatus>, ReadError> {
        self.lock().describe_node(cluster, node)
    }

    /// BatchDeleteClusterNodes.
    pub fn delete_nodes(&self, nodes: &[InstanceId], by: Caller) -> DeleteOutcome {
        self.lock().delete_nodes(nodes, by)
    }

    /// UpdateCluster to a higher count; a lower one changes nothing.
    ///
    /// # Errors
    /// What the API said.
    pub fn grow(&self, group: &GroupName, count: NodeCount) -> Result<(), Arc<str>> {
        self.lock().set_count(group, count)
    }

    /// The scheduler's whole answer.
    ///
    /// # Errors
    /// By fault, or for another cluster's name.
    pub fn workload(&self, cluster: &ClusterName) -> Result<Workload, ReadError> {
        self.lock().workload(cluster)
    }

    /// Drains nodes, as [`Fence::fence`].
    ///
    /// # Errors
    /// By fault, or for another cluster's name.
    pub fn fence(
        &self,
        cluster: &ClusterName,
        ledger: &LedgerId,
        orders: &[FenceOrder],
    ) -> Result<(), ReadError> {
        self.lock().fence(cluster, ledger, orders, false)
    }

    /// Takes exactly these fences off, as [`Fence::release`].
    ///
    /// # Errors
    /// By fault, or for another cluster's name.
    pub fn release(
        &self,
        cluster: &ClusterName,
        ledger: &LedgerId,
        orders: &[FenceOrder],
    ) -> Result<(), ReadError> {
        self.lock().release(cluster, ledger, orders)
    }

    /// What nodes' metrics say, as [`Utilization::read`].
    ///
    /// # Errors
    /// For another cluster's name.
    pub fn utilization(
        &self,
        cluster: &ClusterName,
        nodes: &[InstanceId],
        window: Span,
    ) -> Result<BTreeMap<InstanceId, Witness<Activity>>, ReadError> {
        self.lock().utilization(cluster, nodes, window)
    }
}
