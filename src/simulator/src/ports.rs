//! The daemon's ports, served by the world.
//!
//! Every future is ready at once, so a harness can poll the daemon by hand. After a kill, futures
//! stay pending forever. Time stands still during a call unless [`PortOptions::call_time`] is set.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use trimtab_core::audit::{ClearedBatch, ClearedGroup};
use trimtab_core::ids::{ClusterName, GroupName, InstanceId, LedgerId};
use trimtab_core::reads::{ClusterDescription, InstanceStatus, NodeListing, Workload};
use trimtab_core::units::{Span, Time, UsdPerHour};
use trimtab_daemon::ports::{
    Clock, ClusterRead, ClusterWrite, Cordon, CordonOrder, DeleteOutcome, Gate, Inquiry,
    InquiryState, Lease, LeaseError, MetricsAnswer, MetricsQuery, NodeDetails, Notification,
    Notifier, Ports, Prices, Question, ReadError, Refusal, Switch, Switches, Utilization,
    WorkloadRead, WriteError, Writers,
};

use crate::faults::FaultKind;
use crate::gauntlet::Life;
use crate::log::{Call, WorldEvent};
use crate::truth::Caller;
use crate::world::{Inner, World};

/// Generation of the lease.
const LEASE_GENERATION: u64 = 1;

/// Options of the ports.
#[derive(Debug, Clone, Default)]
pub struct PortOptions {
    /// Leaves out all ports that can change the world.
    pub observe_only: bool,
    /// Negative control: cordons show, but the scheduler still starts jobs on the nodes.
    pub cordon_disabled: bool,
    /// Duration of a read or a write; the world moves on during it.
    pub call_time: Span,
    /// Gate to ask before a deletion.
    pub gate: Option<SimulatedGate>,
    /// On-node check to ask before a deletion.
    pub on_node_check: Option<SimulatedGate>,
}

/// An external gate that answers after a fixed time, with the same answer forevery node.
#[derive(Debug, Clone)]
pub struct SimulatedGate {
    /// Time until the answer.
    pub takes: Span,
    /// Approval, or the reason of the veto.
    pub answer: Result<(), Arc<str>>,
}

/// All ports of a world.
#[derive(Clone)]
struct SimulatedPorts {
    world: World,
    options: Arc<PortOptions>,
}

impl World {
    /// Returns the daemon's ports.
    pub fn ports(&self, options: PortOptions) -> Ports {
        let spec = self.spec();
        let front = Arc::new(SimulatedPorts { world: self.clone(), options: Arc::new(options) });
        let cordon: Option<Arc<dyn Cordon>> = match spec.scheduler {
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
        let gate = |gate: &Option<SimulatedGate>| {
            let gate = GateFront { world: self.clone(), gate: gate.clone()? };
            Some(Arc::new(gate) as Arc<dyn Gate>)
        };
        let (gate, on_node_check) = (gate(&front.options.gate), gate(&front.options.on_node_check));
        let writers = Writers { cluster: front.clone(), cordon };
        Ports {
            cluster: front.clone(),
            workload,
            utilization,
            // A world's policy sets its prices; `World::prices` is for policies without prices.
            prices: None,
            clock: front.clone(),
            switches: front.clone(),
            lease: front.clone(),
            gate,
            on_node_check,
            notifier: front.clone(),
            writers: (!front.options.observe_only).then_some(writers),
        }
    }

    /// Returns the prices of the groups in the spec.
    pub fn prices(&self) -> Arc<dyn Prices> {
        Arc::new(SimulatedPorts { world: self.clone(), options: Arc::default() })
    }

    /// Creates the pause file with this text, or removes it.
    pub fn set_pause(&self, why: Option<Arc<str>>) {
        self.lock().daemon.paused = why;
    }
}

/// Returns the answer, or stays pending forever if the daemon was killed.
pub(crate) async fn alive<T>(answer: Option<T>) -> T {
    match answer {
        Some(answer) => answer,
        None => std::future::pending().await,
    }
}

impl SimulatedPorts {
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
            let life =
                if self.begin(&mut inner, call) { inner.begin_effect() } else { Life::IsOver };
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
impl ClusterRead for SimulatedPorts {
    async fn describe(&self, cluster: &ClusterName) -> Result<ClusterDescription, ReadError> {
        self.read(Call::Describe, |inner| inner.describe(cluster)).await
    }

    async fn recount(&self, cluster: &ClusterName) -> Result<ClusterDescription, ReadError> {
        self.read(Call::Recount, |inner| inner.describe(cluster)).await
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

    async fn details(
        &self,
        cluster: &ClusterName,
        nodes: &[InstanceId],
    ) -> Result<BTreeMap<InstanceId, NodeDetails>, ReadError> {
        self.read(Call::Details, |inner| inner.details(cluster, nodes)).await
    }
}

#[async_trait]
impl ClusterWrite for SimulatedPorts {
    async fn delete_nodes(&self, request: &ClearedBatch, _within: Span) -> DeleteOutcome {
        self.act(Call::Delete, |inner| {
            if *request.cluster() == inner.spec.cluster {
                inner.delete_nodes(request.nodes(), Caller::Daemon)
            } else {
                let why = "ResourceNotFound: no such cluster".into();
                DeleteOutcome::Refused { cause: Refusal::NotFound, why }
            }
        })
        .await
    }

    async fn shrink_group(&self, cleared: &ClearedGroup, _within: Span) -> DeleteOutcome {
        self.act(Call::Shrink, |inner| {
            if *cleared.cluster() == inner.spec.cluster {
                inner.update_count(cleared.group(), cleared.count_after(), Caller::Daemon)
            } else {
                let why = "ResourceNotFound: no such cluster".into();
                DeleteOutcome::Refused { cause: Refusal::NotFound, why }
            }
        })
        .await
    }
}

#[async_trait]
impl WorkloadRead for SimulatedPorts {
    async fn read(&self, cluster: &ClusterName) -> Result<Workload, ReadError> {
        SimulatedPorts::read(self, Call::Workload, |inner| inner.workload(cluster)).await
    }
}

#[async_trait]
impl Cordon for SimulatedPorts {
    async fn cordon(
        &self,
        cluster: &ClusterName,
        ledger: &LedgerId,
        orders: &[CordonOrder],
    ) -> Result<(), WriteError> {
        let pretend = self.options.cordon_disabled;
        self.act(Call::Cordon, |inner| inner.cordon(cluster, ledger, orders, pretend)).await
    }

    async fn release(
        &self,
        cluster: &ClusterName,
        ledger: &LedgerId,
        orders: &[CordonOrder],
    ) -> Result<(), WriteError> {
        self.act(Call::Release, |inner| inner.release(cluster, ledger, orders)).await
    }
}

#[async_trait]
impl Utilization for SimulatedPorts {
    async fn read(
        &self,
        cluster: &ClusterName,
        queries: &[MetricsQuery],
        _now: Time,
        _fresh_for: Span,
    ) -> Result<MetricsAnswer, ReadError> {
        let read = |inner: &Inner| {
            let mut activity = BTreeMap::new();
            for query in queries {
                activity.extend(inner.utilization(cluster, &[query.node], query.rule.window)?);
            }
            Ok(MetricsAnswer { activity, metrics: 0, calls: 1 })
        };
        SimulatedPorts::read(self, Call::Utilization, read).await
    }

    fn metrics_per_node(&self, _cluster: &ClusterName, _group: &GroupName, _devices: u32) -> u64 {
        0
    }
}

impl Prices for SimulatedPorts {
    fn price(&self, cluster: &ClusterName, group: &GroupName) -> Option<UsdPerHour> {
        let spec = self.world.spec();
        let named = spec.groups.iter().find(|named| named.name == *group)?;
        (spec.cluster == *cluster).then_some(named.price)
    }
}

impl Clock for SimulatedPorts {
    fn now(&self) -> Time {
        let inner = self.world.lock();
        inner.now + inner.daemon.clock_offset
    }

    /// Stops while the machine is suspended, like CLOCK_MONOTONIC on Linux.
    fn monotonic(&self) -> Span {
        let inner = self.world.lock();
        let asleep = inner.faults.since(|kind| *kind == FaultKind::Suspended);
        asleep.unwrap_or(inner.now).since(inner.spec.start) - inner.daemon.suspended
    }
}

impl Switches for SimulatedPorts {
    fn read(&self, _cluster: &ClusterName) -> Result<Switch, ReadError> {
        let mut inner = self.world.lock();
        if !inner.begin_call(Call::Switches) {
            return Err(ReadError::NoAnswer("a process that was killed".into()));
        }
        let by_fault = inner.faults.any(|kind| *kind == FaultKind::Paused);
        let why =
            inner.daemon.paused.clone().or_else(|| by_fault.then(|| "an operator said so".into()));
        Ok(why.map_or(Switch::On, |why| Switch::Paused { why }))
    }
}

impl Lease for SimulatedPorts {
    fn hold(&self) -> Result<u64, LeaseError> {
        let mut inner = self.world.lock();
        if !inner.begin_call(Call::Lease) {
            return Err(LeaseError::Lost("the process was killed".into()));
        }
        if inner.faults.any(|kind| *kind == FaultKind::LeaseLost) {
            return Err(LeaseError::Lost("another process holds it".into()));
        }
        Ok(LEASE_GENERATION)
    }
}

/// A gate of a simulated world.
struct GateFront {
    world: World,
    gate: SimulatedGate,
}

impl Gate for GateFront {
    fn ask(&self, question: Question) -> Box<dyn Inquiry> {
        let mut inner = self.world.lock();
        // A daemon that is killed here gets no answer.
        let until = inner.begin_call(Call::Gate).then(|| inner.now + self.gate.takes);
        let nodes = question.nodes.into_iter().map(|node| node.id);
        let vetoes = match &self.gate.answer {
            Ok(()) => BTreeMap::new(),
            Err(why) => nodes.map(|node| (node, Arc::clone(why))).collect(),
        };
        Box::new(Asked { world: self.world.clone(), until, vetoes })
    }
}

/// A question to a simulated gate.
struct Asked {
    world: World,
    until: Option<Time>,
    vetoes: BTreeMap<InstanceId, Arc<str>>,
}

impl Inquiry for Asked {
    fn state(&self) -> InquiryState {
        match self.until.filter(|at| *at <= self.world.now()) {
            Some(at) => InquiryState::Answered { at, vetoes: self.vetoes.clone() },
            None => InquiryState::Open,
        }
    }

    fn deadline(&self) -> Time {
        self.until.unwrap_or(self.world.end())
    }
}

impl Notifier for SimulatedPorts {
    fn notify(&self, _cluster: &ClusterName, at: Time, notification: &Notification) {
        let mut inner = self.world.lock();
        if !inner.gauntlet.is_dead() {
            inner.daemon.notifications.push((at, notification.clone()));
            inner.write(WorldEvent::Notified(Box::new(notification.clone())));
        }
    }
}
