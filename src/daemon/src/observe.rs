//! Observe: asks every port once, and makes one snapshot of the answers.
//!
//! What could not be read stays visible as such; nothing is filled in.

use std::collections::BTreeMap;
use std::sync::Arc;

use trimtab_core::assemble::{Reads, assemble};
use trimtab_core::history::History;
use trimtab_core::ids::{InstanceId, LedgerId, NodeName};
use trimtab_core::policy::{ClusterPolicy, GroupPolicy, WitnessKind};
use trimtab_core::snapshot::{
    Activity, InstanceStatus, ListedNode, NodeListing, SchedulerNode, Snapshot, Witness, Workload,
};
use trimtab_core::units::{MilliGpus, Time};

use crate::ports::{MetricsAnswer, MetricsQuery, Ports, ReadError};

/// What one tick read.
#[derive(Debug, Clone)]
pub struct Observed {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// What its metrics took.
    pub metrics: MetricsUse,
}

/// What a tick's metrics took, as the source bills them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MetricsUse {
    /// Metrics requested.
    pub metrics: u64,
    /// Calls made.
    pub calls: u64,
    /// Metrics that asking for every node of every group with a rule would request.
    pub everything: u64,
}

/// Reads one cluster.
pub async fn observe(
    ports: &Ports,
    policy: &ClusterPolicy,
    history: &History,
    ledger: &LedgerId,
) -> Observed {
    let begun_at = ports.clock.now();
    let cluster = &policy.cluster;
    let workload = async {
        match &ports.workload {
            Some(workload) => Some(workload.read(cluster).await.map_err(said)),
            None => None,
        }
    };
    let (description, listing, workload) =
        tokio::join!(ports.cluster.describe(cluster), ports.cluster.list_nodes(cluster), workload,);
    let (description, listing) = (description.map_err(said), listing.map_err(said));
    let queries = metrics_queries(ports, policy, history, &listing, workload.as_ref(), begun_at);
    let metrics = read_metrics(ports, policy, &listing, &queries).await;
    let mut described = BTreeMap::new();
    let asked = history.actions.values();
    for action in asked.filter(|a| a.state.wants_description(&a.terms, begun_at)) {
        // A read that fails says nothing, and the action waits on.
        if let Ok(Some(status)) = ports.cluster.describe_node(cluster, action.node).await {
            described.insert(action.node, status);
        }
    }
    let taken_at = ports.clock.now();
    let (activity, metrics) = metrics;
    let reads = Reads { begun_at, taken_at, description, listing, workload, activity, described };
    Observed { snapshot: assemble(reads, policy, history, ledger), metrics }
}

fn said(error: ReadError) -> Arc<str> {
    error.to_string().into()
}

/// Metric calls cost money, so they come last and are as few as they can be: only nodes
/// that could go if their metrics let them. What the count rests on is always asked for.
fn metrics_queries(
    ports: &Ports,
    policy: &ClusterPolicy,
    history: &History,
    listing: &Result<NodeListing, Arc<str>>,
    workload: Option<&Result<Workload, Arc<str>>>,
    now: Time,
) -> Vec<MetricsQuery> {
    let (Some(_), Ok(listing)) = (&ports.utilization, listing) else { return vec![] };
    let claimed: BTreeMap<&NodeName, bool> = match (policy.witness, workload) {
        (WitnessKind::Scheduler, Some(Ok(workload))) => {
            let is_claimed = |node: &SchedulerNode| !node.claims.is_empty();
            workload.nodes.iter().map(|node| (&node.name, is_claimed(node))).collect()
        }
        (WitnessKind::Scheduler, Some(Err(_)) | None) => return vec![],
        (WitnessKind::MetricsOnly, _) => BTreeMap::new(),
    };
    let ruled_out = |node: &ListedNode| match policy.witness {
        WitnessKind::MetricsOnly => false,
        WitnessKind::Scheduler => {
            let known = node.name.as_ref().and_then(|name| claimed.get(name));
            known.copied().unwrap_or(true)
                || node.status != InstanceStatus::Running
                || node.protected
                || history.cooldowns.get(&node.id).is_some_and(|until| *until > now)
                || history.actions.get(&node.id).is_some_and(|action| action.state.is_asked())
        }
    };
    let query = |node: &ListedNode| {
        let group = policy.groups.get(&node.group)?;
        let rule = group.utilization?;
        (!ruled_out(node)).then(|| MetricsQuery {
            node: node.id,
            group: node.group.clone(),
            name: node.name.clone(),
            devices: devices(group),
            rule,
        })
    };
    listing.nodes.iter().filter_map(query).collect()
}

/// A share of a GPU counts as one.
fn devices(group: &GroupPolicy) -> u32 {
    group.gpus_per_node.0.div_ceil(MilliGpus::whole(1).0)
}

async fn read_metrics(
    ports: &Ports,
    policy: &ClusterPolicy,
    listing: &Result<NodeListing, Arc<str>>,
    queries: &[MetricsQuery],
) -> (BTreeMap<InstanceId, Witness<Activity>>, MetricsUse) {
    let (Some(port), Ok(listing)) = (&ports.utilization, listing) else {
        return (BTreeMap::new(), MetricsUse::default());
    };
    let cluster = &policy.cluster;
    let of_node = |node: &ListedNode| {
        let group = policy.groups.get(&node.group).filter(|group| group.utilization.is_some());
        group.map_or(0, |group| port.metrics_per_node(cluster, &node.group, devices(group)))
    };
    let everything = listing.nodes.iter().map(of_node).sum();
    if queries.is_empty() {
        return (BTreeMap::new(), MetricsUse { everything, ..MetricsUse::default() });
    }
    let now = ports.clock.now();
    match port.read(cluster, queries, now, policy.timing.fresh_for).await {
        Ok(MetricsAnswer { activity, metrics, calls }) => {
            (activity, MetricsUse { metrics, calls, everything })
        }
        // A source that fails leaves its nodes without metrics, which keeps them.
        Err(why) => {
            tracing::warn!(%cluster, %why, "metrics could not be read");
            (BTreeMap::new(), MetricsUse { everything, ..MetricsUse::default() })
        }
    }
}
