//! Observe: asks every port once, and makes one snapshot of the answers.
//!
//! What could not be read stays visible as such; nothing is filled in.

use std::collections::BTreeMap;
use std::sync::Arc;

use trimtab_core::assemble::{Reads, assemble};
use trimtab_core::history::History;
use trimtab_core::ids::{InstanceId, LedgerId};
use trimtab_core::policy::{ClusterPolicy, WitnessKind};
use trimtab_core::snapshot::{
    Activity, ListedNode, NodeListing, SchedulerNode, Snapshot, Witness, Workload,
};
use trimtab_core::units::Span;

use crate::ports::{Ports, ReadError};

/// Reads one cluster.
pub async fn observe(
    ports: &Ports,
    policy: &ClusterPolicy,
    history: &History,
    ledger: &LedgerId,
) -> Snapshot {
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
    let activity = read_activity(ports, policy, &listing, workload.as_ref()).await;
    let mut described = BTreeMap::new();
    let asked = history.actions.values();
    for action in asked.filter(|a| a.state.wants_description(&a.terms, begun_at)) {
        // A read that fails says nothing, and the action waits on.
        if let Ok(Some(status)) = ports.cluster.describe_node(cluster, action.node).await {
            described.insert(action.node, status);
        }
    }
    let taken_at = ports.clock.now();
    let reads = Reads { begun_at, taken_at, description, listing, workload, activity, described };
    assemble(reads, policy, history, ledger)
}

fn said(error: ReadError) -> Arc<str> {
    error.to_string().into()
}

/// Metric calls cost money: only nodes of groups with a rule are asked for,
/// and of those only the ones that the scheduler has not ruled out already.
async fn read_activity(
    ports: &Ports,
    policy: &ClusterPolicy,
    listing: &Result<NodeListing, Arc<str>>,
    workload: Option<&Result<Workload, Arc<str>>>,
) -> BTreeMap<InstanceId, Witness<Activity>> {
    let (Some(utilization), Ok(listing)) = (&ports.utilization, listing) else {
        return BTreeMap::new();
    };
    let busy: BTreeMap<_, bool> = match (policy.witness, workload) {
        (WitnessKind::Scheduler, Some(Ok(workload))) => {
            let is_busy = |node: &SchedulerNode| (node.name.clone(), !node.claims.is_empty());
            workload.nodes.iter().map(is_busy).collect()
        }
        (WitnessKind::Scheduler, Some(Err(_)) | None) => return BTreeMap::new(),
        (WitnessKind::MetricsOnly, _) => BTreeMap::new(),
    };
    let ruled_out =
        |node: &ListedNode| node.name.as_ref().and_then(|n| busy.get(n)).copied().unwrap_or(false);
    let mut by_window: BTreeMap<Span, Vec<InstanceId>> = BTreeMap::new();
    for node in &listing.nodes {
        let rule = policy.groups.get(&node.group).and_then(|group| group.utilization);
        if let Some(rule) = rule
            && !ruled_out(node)
        {
            by_window.entry(rule.window).or_default().push(node.id);
        }
    }
    let mut activity = BTreeMap::new();
    for (window, nodes) in by_window {
        // A source that fails leaves its nodes without metrics, which keeps them.
        if let Ok(read) = utilization.read(&policy.cluster, &nodes, window).await {
            activity.extend(read);
        }
    }
    activity
}
