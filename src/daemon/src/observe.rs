//! Observe: asks every port once, and makes one snapshot of the answers.
//!
//! What could not be read stays visible as such; nothing is filled in.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use trimtab_core::assemble::{Reads, assemble};
use trimtab_core::history::{History, OpenAction};
use trimtab_core::ids::{InstanceId, LedgerId};
use trimtab_core::join;
use trimtab_core::policy::{ClusterPolicy, EvidenceSource, GroupPolicy};
use trimtab_core::prefilter::{is_kept_by_capacity, ruled_out};
use trimtab_core::reads::{
    Activity, InstanceStatus, Joined, ListedNode, NodeCapacity, NodeListing, Reading, Workload,
};
use trimtab_core::snapshot::Snapshot;
use trimtab_core::units::{MilliGpus, Time};

use crate::ports::{MetricsAnswer, MetricsQuery, NodeDetails, Ports, ReadError};

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

/// Most nodes whose own description is read in one tick for the first time. It
/// takes a call each, and the looks must stay within max_look_age: at a tenth of a
/// second a call these take 5 of its 30 seconds. A cluster of a thousand idle
/// nodes is known after 20 ticks.
const NEW_DETAILS_A_TICK: usize = 50;

/// Most single-node reads in one tick that open actions ask for, likewise. A
/// call for a whole group can leave hundreds that want one.
const DESCRIPTIONS_A_TICK: usize = 50;

/// What nodes' own descriptions said, for as long as they are listed.
#[derive(Debug, Clone, Default)]
pub struct KnownDetails {
    known: BTreeMap<InstanceId, NodeDetails>,
    /// Could not be read: others come first the next time.
    unanswered: BTreeSet<InstanceId>,
}

impl KnownDetails {
    /// Reads what is not known yet, so many at most, of nodes that could go if
    /// it let them.
    async fn read(
        &mut self,
        ports: &Ports,
        policy: &ClusterPolicy,
        listing: &NodeListing,
        could_go: impl Fn(&ListedNode) -> bool,
    ) {
        let listed: BTreeSet<InstanceId> = listing.nodes.iter().map(|node| node.id).collect();
        if listing.complete {
            self.known.retain(|id, _| listed.contains(id));
            self.unanswered.retain(|id| listed.contains(id));
        }
        let is_metered = |node: &ListedNode| {
            policy.groups.get(&node.group).is_some_and(|group| group.capacity.is_metered())
        };
        // Of one that nothing else joins the address may.
        let is_unjoined = |node: &ListedNode| {
            policy.evidence_source == EvidenceSource::Scheduler
                && policy.groups.contains_key(&node.group)
                && node.status == InstanceStatus::Running
                && node.joined == Joined::ByDnsName
        };
        let wanted = listing.nodes.iter().filter(|node| {
            let could_go = is_metered(node) && could_go(node);
            !self.known.contains_key(&node.id) && (could_go || is_unjoined(node))
        });
        let wanted: BTreeSet<InstanceId> = wanted.map(|node| node.id).collect();
        let mut wanted: Vec<InstanceId> = wanted.into_iter().collect();
        wanted.sort_by_key(|id| self.unanswered.contains(id));
        wanted.truncate(NEW_DETAILS_A_TICK);
        if wanted.is_empty() {
            return;
        }
        let cluster = &policy.cluster;
        match ports.cluster.details(cluster, &wanted).await {
            Ok(read) => {
                for id in wanted {
                    match read.get(&id) {
                        Some(details) => {
                            self.unanswered.remove(&id);
                            self.known.insert(id, *details);
                        }
                        None => {
                            self.unanswered.insert(id);
                        }
                    }
                }
            }
            // What could not be read keeps its node.
            Err(why) => tracing::warn!(%cluster, %why, "reading node details failed"),
        }
    }

    /// Says of every node which of the scheduler's it is, by what is known of it.
    fn join(
        &self,
        policy: &ClusterPolicy,
        listing: &mut NodeListing,
        workload: Option<&Result<Workload, Arc<str>>>,
    ) {
        let Some(Ok(workload)) = workload else { return };
        for node in &mut listing.nodes {
            node.address = self.known.get(&node.id).and_then(|details| details.ip);
        }
        join::join(&mut listing.nodes, workload, policy.node_name.as_ref());
    }

    /// The node's address, if it was read.
    pub(crate) fn ip(&self, node: InstanceId) -> Option<IpAddr> {
        self.known.get(&node)?.ip
    }

    fn capacity(&self, node: InstanceId) -> NodeCapacity {
        match self.known.get(&node).map(|details| details.capacity) {
            None => NodeCapacity::Unread,
            Some(None) => NodeCapacity::NotShown,
            Some(Some(capacity)) => NodeCapacity::Shown(capacity),
        }
    }
}

/// How much is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadScope {
    /// All that a plan and a deletion rest on.
    Everything,
    /// What it takes to release nodes: cluster, listing, scheduler. The time to stop in
    /// is for cordons, and every other source may be slow.
    ToRelease,
}

/// Reads one cluster.
pub async fn observe(
    ports: &Ports,
    policy: &ClusterPolicy,
    history: &History,
    ledger: &LedgerId,
    details: &mut KnownDetails,
    reading: ReadScope,
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
    let (description, mut listing) = (description.map_err(said), listing.map_err(said));
    let all = reading == ReadScope::Everything;
    if let Ok(listing) = &mut listing {
        details.join(policy, listing, workload.as_ref());
        if let Some(ruled_out) = ruled_out(policy, history, workload.as_ref(), begun_at)
            && all
        {
            details.read(ports, policy, listing, |node| !ruled_out(node)).await;
            details.join(policy, listing, workload.as_ref());
        }
        for node in &mut listing.nodes {
            node.capacity = details.capacity(node.id);
        }
    }
    let (metrics, described) = match reading {
        ReadScope::ToRelease => (Default::default(), BTreeMap::new()),
        ReadScope::Everything => {
            let queries =
                metrics_queries(ports, policy, history, &listing, workload.as_ref(), begun_at);
            let metrics = read_metrics(ports, policy, &listing, &queries).await;
            (metrics, describe_asked(ports, policy, history, begun_at).await)
        }
    };
    let taken_at = ports.clock.now();
    let (activity, metrics) = metrics;
    let reads = Reads { begun_at, taken_at, description, listing, workload, activity, described };
    Observed { snapshot: assemble(reads, policy, history, ledger), metrics }
}

/// Reads nodes that were asked for one by one, where that decides what becomes of them.
/// Those that may be released come first: an accepted one waits for an operator anyway.
/// A service that does not answer is not asked again in this tick, and neither is one that
/// is so slow that the look behind a deletion would grow too old.
async fn describe_asked(
    ports: &Ports,
    policy: &ClusterPolicy,
    history: &History,
    begun_at: Time,
) -> BTreeMap<InstanceId, InstanceStatus> {
    let asked = history.actions.values();
    let mut asked: Vec<&OpenAction> =
        asked.filter(|a| a.state.wants_description(&a.terms, begun_at)).collect();
    asked.sort_by_key(|action| action.state.is_accepted());
    let mut described = BTreeMap::new();
    for (number, action) in asked.into_iter().take(DESCRIPTIONS_A_TICK).enumerate() {
        let took = ports.clock.now().since(begun_at);
        if number > 0 && took.times(2) > policy.timing.max_look_age {
            break;
        }
        match ports.cluster.describe_node(&policy.cluster, action.node).await {
            Ok(Some(status)) => drop(described.insert(action.node, status)),
            Ok(None) => {}
            // A read that fails says nothing, and the action waits on.
            Err(ReadError::NoAnswer(_) | ReadError::Throttled(_)) => break,
            Err(
                ReadError::Refused(_)
                | ReadError::Denied(_)
                | ReadError::Elsewhere(_)
                | ReadError::Unreadable(_),
            ) => {}
        }
    }
    described
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
    let Some(ruled_out) = ruled_out(policy, history, workload, now) else { return vec![] };
    let query = |node: &ListedNode| {
        let group = policy.groups.get(&node.group)?;
        let rule = group.utilization?;
        (!ruled_out(node) && !is_kept_by_capacity(node, policy, group)).then(|| MetricsQuery {
            node: node.id,
            group: node.group.clone(),
            name: node.scheduler_name().or(node.name.as_ref()).cloned(),
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
) -> (BTreeMap<InstanceId, Reading<Activity>>, MetricsUse) {
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
            tracing::warn!(%cluster, %why, "reading metrics failed; nodes are kept");
            (BTreeMap::new(), MetricsUse { everything, ..MetricsUse::default() })
        }
    }
}
