//! Observe: reads every port once, and makes one snapshot of the answers.
//!
//! The snapshot shows which reads failed. Missing values are not filled in.

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
    pub snapshot: Snapshot,
    /// How many metrics the tick read.
    pub metrics: MetricsUse,
}

/// Number of metrics that a tick read, as the source bills them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MetricsUse {
    /// Metrics requested.
    pub metrics: u64,
    /// Requests sent.
    pub calls: u64,
    /// Metrics that a read of every node in every group with a utilization rule would
    /// request.
    pub everything: u64,
}

/// Most nodes whose details are read for the first time in one tick. Each needs one
/// request, and the look must not get older than max_look_age: at 0.1 seconds per
/// request, these take 5 of its 30 seconds. 1000 idle nodes take 20 ticks.
const NEW_DETAILS_A_TICK: usize = 50;

/// Most single-node reads for open actions in one tick, for the same reason. A
/// whole-group request can leave hundreds of actions that need one.
const DESCRIPTIONS_A_TICK: usize = 50;

/// Details of single nodes, kept while the nodes are listed.
#[derive(Debug, Clone, Default)]
pub struct KnownDetails {
    known: BTreeMap<InstanceId, NodeDetails>,
    /// Nodes whose details could not be read. The next read takes others first.
    unanswered: BTreeSet<InstanceId>,
}

impl KnownDetails {
    /// Reads unknown details of at most [`NEW_DETAILS_A_TICK`] nodes: those that could be
    /// deleted if their details allow it, and those that only an address can match to a
    /// node of the scheduler.
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
        // Nodes that only their address can match to a node of the scheduler.
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
            // A node without details is kept.
            Err(why) => tracing::warn!(%cluster, %why, "reading node details failed"),
        }
    }

    /// Matches each listed node to its node in the scheduler, with the details known so far.
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

    /// Returns the address of a node, if it is known.
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

/// What a look reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadScope {
    /// Everything that a plan and a deletion need.
    Everything,
    /// Only what a release needs: cluster, node list, scheduler. The time for a shutdown is
    /// short, and the other sources may be slow.
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

/// Reads single nodes after a delete request, where the answer decides the next step of their
/// actions. Nodes that may be released come first; an accepted deletion that is overdue waits
/// for an operator anyway. Stops for this tick when the service does not answer, or is so slow
/// that the look would become too old for a deletion.
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
            // A failed read proves nothing, so the action continues to wait.
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

/// Returns the metrics queries of this tick. Metrics cost money, so trimtab asks only about
/// nodes that could be deleted if their metrics allow it. It always asks where metrics decide
/// which nodes are idle.
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

/// Number of GPUs per node, rounded up: a share of a GPU counts as one.
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
        // A node without metrics is kept.
        Err(why) => {
            tracing::warn!(%cluster, %why, "reading metrics failed; nodes are kept");
            (BTreeMap::new(), MetricsUse { everything, ..MetricsUse::default() })
        }
    }
}
