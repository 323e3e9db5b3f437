//! Builds a [`Snapshot`] from what the ports read, and decides which parts of it are reliable: it
//! detects missing pages, counts that disagree, and names that match no scheduler node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::cordon::{CordonStatus, SeenCordon};
use crate::history::History;
use crate::ids::{GroupName, InstanceId, LedgerId, NodeName};
use crate::policy::ClusterPolicy;
use crate::reads::{
    Activity, ClusterDescription, ControllerHost, GroupDescription, InstanceStatus, Joined,
    ListedNode, NodeListing, Reading, Role, SchedulerFacts, SchedulerNode, Workload,
};
use crate::snapshot::{
    GroupFreeze, GroupView, Listing, ListingFault, NameDoubt, NodeView, SchedulerStatus, Snapshot,
    WorkloadSource,
};
use crate::units::{NodeCount, Time};

/// Everything the ports read of one cluster in one tick.
#[derive(Debug, Clone, PartialEq)]
pub struct Reads {
    /// Time before the first read.
    pub begun_at: Time,
    /// Time after the last read.
    pub taken_at: Time,
    /// Answer of DescribeCluster, or the error.
    pub description: Result<ClusterDescription, Arc<str>>,
    /// All pages of ListClusterNodes, or the error.
    pub listing: Result<NodeListing, Arc<str>>,
    /// Answer of the scheduler, or the error; `None` if the policy names no scheduler.
    pub workload: Option<Result<Workload, Arc<str>>>,
    /// Metrics by node. A node without an entry has none.
    pub activity: BTreeMap<InstanceId, Reading<Activity>>,
    /// Statuses of the nodes for which DescribeClusterNode was called.
    pub described: BTreeMap<InstanceId, InstanceStatus>,
}

/// Builds the snapshot. Cordons with the id `ledger` are our own.
pub fn assemble(
    reads: Reads,
    policy: &ClusterPolicy,
    history: &History,
    ledger: &LedgerId,
) -> Snapshot {
    let Reads { begun_at, taken_at, description, listing, workload, activity, described } = reads;
    let (state, descriptions) = match description {
        Ok(ClusterDescription { state, groups }) => (Some(state), groups),
        Err(_) => (None, BTreeMap::new()),
    };
    let (listing, listed) = judge_listing(listing, &descriptions);
    let none = || (BTreeMap::new(), None, SchedulerFacts::default());
    let (source, (scheduler_nodes, pending, facts)) = match workload {
        None => (WorkloadSource::NotConfigured, none()),
        Some(Err(why)) => (WorkloadSource::Failed { why }, none()),
        Some(Ok(workload)) if workload.nodes.is_empty() && !listed.is_empty() => {
            (WorkloadSource::Empty, none())
        }
        Some(Ok(workload)) => {
            let fresh = begun_at.since(workload.at) <= policy.timing.fresh_for
                && workload.at.since(taken_at) <= policy.timing.clock_tolerance;
            let nodes = by_name(workload.nodes, fresh.then_some(workload.at), workload.at, ledger);
            (WorkloadSource::Complete, (nodes, Some(workload.pending), workload.facts))
        }
    };
    let owners = owners(&listed);
    let cordons = seen_cordons(&scheduler_nodes, &owners);
    let mut by_group: BTreeMap<GroupName, Vec<NodeView>> = BTreeMap::new();
    let mut offers: BTreeMap<GroupName, BTreeSet<Arc<str>>> = BTreeMap::new();
    let mut roles = facts.roles;
    for node in listed {
        if facts.controllers.iter().any(|host| runs_on(host, &node)) {
            roles.insert(node.group.clone(), Role::Controller);
        }
        let described_running = described.get(&node.id) == Some(&InstanceStatus::Running);
        let (name, join_doubt) = match (node.scheduler_name(), &node.joined) {
            (_, Joined::Doubtful(doubt)) => (None, Some(NameDoubt::Either(doubt.clone()))),
            (Some(name), _) if matches!(owners.get(name), Some(Owner::Several)) => {
                (Some(name.clone()), Some(NameDoubt::Shared { name: name.clone() }))
            }
            (name, _) => (name.cloned(), None),
        };
        let seen = name.as_ref().and_then(|name| scheduler_nodes.get(name));
        let scheduler = match (&join_doubt, seen) {
            (Some(_), _) => Reading::Partial,
            (None, None) => Reading::Absent,
            (None, Some(seen)) => {
                if let Some(has) = &seen.offers {
                    offers.entry(node.group.clone()).or_default().extend(has.iter().cloned());
                }
                seen.seen_node.clone()
            }
        };
        let activity = activity.get(&node.id).copied().unwrap_or(Reading::Absent);
        by_group.entry(node.group.clone()).or_default().push(NodeView {
            id: node.id,
            launched: node.launched,
            status: node.status,
            name,
            join_doubt,
            image: node.image,
            health: node.health,
            protected: node.protected,
            capacity: node.capacity,
            scheduler,
            activity,
            described_running,
        });
    }
    let groups = descriptions
        .into_iter()
        .map(|(name, mut description)| {
            description.role = description.role.max(roles.remove(&name).unwrap_or(Role::Worker));
            let mut nodes = by_group.remove(&name).unwrap_or_default();
            nodes.sort_by_key(|node| node.id);
            let freeze = group_freeze(&name, &description, &nodes, history);
            let (pending, offers) = (pending.clone(), offers.remove(&name));
            let view = GroupView { description, freeze, nodes, pending, offers };
            (name, view)
        })
        .collect();
    Snapshot {
        cluster: policy.cluster.clone(),
        begun_at,
        taken_at,
        state,
        listing,
        workload: source,
        groups,
        cordons,
        refuses_large_jobs: facts.refuses_large_jobs,
    }
}

/// Whether the scheduler runs on this instance.
fn runs_on(host: &ControllerHost, node: &ListedNode) -> bool {
    let is_name = |name: &NodeName| *name.as_str() == *host.hostname;
    node.name.as_ref().is_some_and(is_name)
        || node.scheduler_name().is_some_and(is_name)
        || (host.address.is_some() && host.address == node.address)
}

fn judge_listing(
    listing: Result<NodeListing, Arc<str>>,
    descriptions: &BTreeMap<GroupName, GroupDescription>,
) -> (Listing, Vec<ListedNode>) {
    let listing = match listing {
        Err(why) => return (Listing::Lost(ListingFault::Failed { why }), vec![]),
        Ok(listing) => listing,
    };
    let mut seen = BTreeSet::new();
    let twice = listing.nodes.iter().find(|node| !seen.insert(node.id)).map(|node| node.id);
    let counted: NodeCount = descriptions.values().map(|d| d.current).sum();
    let stray = listing.nodes.iter().find(|node| !descriptions.contains_key(&node.group));
    let verdict = if let Some(id) = twice {
        Listing::Lost(ListingFault::Duplicate { id })
    } else if let Some(node) = stray.filter(|_| !descriptions.is_empty()) {
        Listing::Lost(ListingFault::GroupNotDescribed { group: node.group.clone() })
    } else if !listing.complete {
        Listing::Lost(ListingFault::PagesMissing)
    } else if listing.nodes.is_empty() && counted > NodeCount::ZERO {
        Listing::Lost(ListingFault::Empty { counted })
    } else {
        Listing::Complete
    };
    let nodes = if twice.is_some() { vec![] } else { listing.nodes };
    (verdict, nodes)
}

/// One scheduler node, by its name.
struct Seen {
    seen_node: Reading<SchedulerStatus>,
    cordon: CordonStatus,
    offers: Option<BTreeSet<Arc<str>>>,
}

/// Returns the scheduler nodes by name. A name that occurs twice becomes [`Reading::Partial`].
fn by_name(
    nodes: Vec<SchedulerNode>,
    fresh: Option<Time>,
    at: Time,
    ledger: &LedgerId,
) -> BTreeMap<NodeName, Seen> {
    let mut seen: BTreeMap<NodeName, Seen> = BTreeMap::new();
    for node in nodes {
        let cordon = match &node.drained {
            None => CordonStatus::Clear,
            Some(reason) => CordonStatus::of_reason(reason, ledger),
        };
        let seen_node = match fresh {
            None => Reading::Stale { at },
            Some(at) => Reading::Fresh {
                at,
                value: SchedulerStatus {
                    condition: node.condition,
                    claims: node.claims,
                    cordon: cordon.clone(),
                },
            },
        };
        seen.entry(node.name)
            .and_modify(|first| first.seen_node = Reading::Partial)
            .or_insert(Seen { seen_node, cordon, offers: node.offers });
    }
    seen
}

/// The listed instances that have one name.
enum Owner {
    One(InstanceId),
    Several,
}

fn owners(listed: &[ListedNode]) -> BTreeMap<NodeName, Owner> {
    let mut owners = BTreeMap::new();
    // An instance that is shutting down may still have the name that its replacement has taken
    // over.
    for node in listed.iter().filter(|n| n.status != InstanceStatus::ShuttingDown) {
        if let Some(name) = node.scheduler_name() {
            owners
                .entry(name.clone())
                .and_modify(|owner| *owner = Owner::Several)
                .or_insert(Owner::One(node.id));
        }
    }
    for node in listed.iter().filter(|n| n.status == InstanceStatus::ShuttingDown) {
        if let Some(name) = node.scheduler_name() {
            owners.entry(name.clone()).or_insert(Owner::One(node.id));
        }
    }
    owners
}

fn seen_cordons(
    nodes: &BTreeMap<NodeName, Seen>,
    owners: &BTreeMap<NodeName, Owner>,
) -> Vec<SeenCordon> {
    let trimtabs = nodes.iter().filter(|(_, seen)| match seen.cordon {
        CordonStatus::Ours { .. } | CordonStatus::Foreign { .. } => true,
        CordonStatus::Clear | CordonStatus::Recovery | CordonStatus::Operator { .. } => false,
    });
    trimtabs
        .map(|(name, seen)| SeenCordon {
            name: name.clone(),
            instance: match owners.get(name) {
                Some(Owner::One(id)) => Some(*id),
                Some(Owner::Several) | None => None,
            },
            cordon: seen.cordon.clone(),
        })
        .collect()
}

/// Freezes a group whose counts disagree or that is being scaled, unless our own deletions explain
/// the difference: a node whose deletion was requested may or may not be listed, and may or may
/// not be counted.
fn group_freeze(
    name: &GroupName,
    description: &GroupDescription,
    nodes: &[NodeView],
    history: &History,
) -> Option<GroupFreeze> {
    let listed = NodeCount::of(nodes.len());
    let is_listed = |id: &InstanceId| nodes.binary_search_by_key(id, |n| n.id).is_ok();
    let (mut still_listed, mut unlisted) = (NodeCount::ZERO, NodeCount::ZERO);
    let asked = history.actions.values().filter(|a| a.group == *name && a.state.is_asked());
    let gone = history.gone.iter().filter(|g| g.group == *name).map(|g| g.node);
    for id in asked.map(|a| a.node).chain(gone) {
        *if is_listed(&id) { &mut still_listed } else { &mut unlisted } += NodeCount(1);
    }
    let explained = listed.saturating_sub(still_listed)..=listed + unlisted;
    let GroupDescription { current, target, .. } = *description;
    if current != target && !explained.contains(&target) {
        return Some(GroupFreeze::Scaling { current, target });
    }
    if !explained.contains(&current) {
        // While a group grows, its new nodes are listed before `CurrentCount` includes them.
        return Some(if current == target {
            GroupFreeze::CountsDisagree { listed, current }
        } else {
            GroupFreeze::Scaling { current, target }
        });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reads::NodeCapacity;

    fn listed(number: u128, group: &str) -> ListedNode {
        ListedNode {
            id: InstanceId::from_number(number),
            group: group.parse().expect("valid"),
            launched: Time(0),
            status: InstanceStatus::Running,
            name: None,
            joined: Joined::ByDnsName,
            address: None,
            image: None,
            health: 100,
            protected: false,
            capacity: NodeCapacity::NotShown,
        }
    }

    #[test]
    fn a_listing_that_names_a_group_nobody_described_is_lost() {
        let description = GroupDescription {
            role: Role::Worker,
            current: NodeCount(1),
            target: NodeCount(1),
            calm: true,
            capacity: None,
        };
        let described = [("workers".parse().expect("valid"), description)].into_iter().collect();
        let judge = |nodes| judge_listing(Ok(NodeListing { complete: true, nodes }), &described).0;
        assert_eq!(judge(vec![listed(1, "workers")]), Listing::Complete);
        let group = "others".parse().expect("valid");
        assert_eq!(
            judge(vec![listed(1, "workers"), listed(2, "others")]),
            Listing::Lost(ListingFault::GroupNotDescribed { group })
        );
    }
}
