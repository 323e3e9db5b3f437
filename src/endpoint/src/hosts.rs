//! The worlds of one endpoint: selection of the world for a request, the state that the
//! endpoint itself keeps for each world, and the passing of simulated time.
//!
//! All worlds of an endpoint share one time line: a request that advances one world
//! advances all of them. They begin at the same instant, so a daemon with many clusters
//! has one clock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde_json::{Map, Value};
use trimtab_core::digest::fnv1a;
use trimtab_core::ids::{ClusterName, GroupName, InstanceId, NodeName};
use trimtab_core::units::{Span, Time};
use trimtab_simulator::World;
use trimtab_simulator::log::{LogEntry, WorldEvent};

use crate::Error;
use crate::cloudwatch::MetricStore;
use crate::configured::configured;
use crate::wire::Request;

/// Number of events that ListClusterEvents returns at most, as users of the service
/// report.
const EVENTS_KEPT: usize = 500;
/// Number of node changes kept until [`Hosts::take_changes`]; the oldest are dropped.
const CHANGES_KEPT: usize = 10_000;

/// A clock of the caller that simulated time follows.
pub trait Pace: Send + Sync {
    /// Simulated time since the endpoint was bound. It never decreases.
    fn elapsed(&self) -> Span;

    /// Simulated seconds per real second.
    fn speed(&self) -> f64;
}

/// A node that was added or terminated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeChange {
    pub change: Change,
    pub cluster: ClusterName,
    pub group: GroupName,
    pub node: InstanceId,
    /// The node's name in the scheduler.
    pub name: NodeName,
    /// Simulated time, in milliseconds since 1970.
    pub at: Time,
}

/// The kind of a [`NodeChange`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// The node was launched, booted and registered with the scheduler.
    Added,
    /// The node was terminated.
    Gone,
}

/// One event of ListClusterEvents.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SeenEvent {
    pub(crate) number: u64,
    pub(crate) at: Time,
    pub(crate) group: Option<GroupName>,
    pub(crate) node: Option<InstanceId>,
    pub(crate) text: String,
    pub(crate) level: &'static str,
}

/// A ClientToken of an earlier BatchAddClusterNodes request.
#[derive(Debug, Clone)]
pub(crate) struct UsedToken {
    pub(crate) at: Time,
    /// The `NodesToAdd` of that request.
    pub(crate) asked: Value,
    /// Group, instance id and logical id of each node that the request added.
    pub(crate) added: Vec<(GroupName, InstanceId, String)>,
    pub(crate) failed: Vec<Value>,
}

/// State of one world that the endpoint keeps and the world does not.
#[derive(Default)]
pub(crate) struct Memory {
    /// Configured members of each group in DescribeCluster, without counts and states.
    pub(crate) groups: BTreeMap<GroupName, Map<String, Value>>,
    /// Top-level members of DescribeCluster that UpdateCluster changed.
    pub(crate) cluster: Map<String, Value>,
    pub(crate) tokens: BTreeMap<String, UsedToken>,
    pub(crate) events: VecDeque<SeenEvent>,
    seen: u64,
    known: BTreeMap<InstanceId, (GroupName, NodeName)>,
    /// The newest instance of each node name.
    bearers: BTreeMap<NodeName, InstanceId>,
    changes: VecDeque<NodeChange>,
}

/// One world with its account, region and cluster id.
pub(crate) struct Hosted {
    pub(crate) world: World,
    pub(crate) name: ClusterName,
    pub(crate) account: String,
    pub(crate) region: String,
    /// The cluster id: the last part of the ARN.
    pub(crate) id: String,
    pub(crate) metrics: Mutex<MetricStore>,
    memory: Mutex<Memory>,
    bound_at: Time,
}

impl Hosted {
    fn new(world: World) -> Result<Self, Error> {
        let spec = world.spec();
        let mut memory = Memory::default();
        for group in &spec.groups {
            let configured = configured(&spec, group)
                .map_err(|source| Error::Details { group: group.name.clone(), source })?;
            memory.groups.insert(group.name.clone(), configured);
        }
        if let Ok(listed) = world.control_nodes() {
            memory.known = listed.nodes.into_iter().map(|n| (n.id, (n.group, n.name))).collect();
        }
        world.watch();
        let account = spec.api.account.clone();
        let region = spec.api.region.clone();
        let id = cluster_id(&format!("{account}/{region}/{}", spec.cluster));
        let (name, bound_at) = (spec.cluster.clone(), world.now());
        Ok(Self {
            world,
            name,
            account,
            region,
            id,
            metrics: Mutex::default(),
            memory: Mutex::new(memory),
            bound_at,
        })
    }

    pub(crate) fn arn(&self) -> String {
        format!("arn:aws:sagemaker:{}:{}:cluster/{}", self.region, self.account, self.id)
    }

    pub(crate) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Processes the world's events since the last call. Returns whether a node was added
    /// or terminated.
    fn take_note(&self) -> bool {
        let fresh = self.world.take_events();
        if fresh.is_empty() {
            return false;
        }
        let mut memory = self.memory();
        let before = memory.changes.len();
        for entry in fresh {
            memory.note(&self.name, entry);
        }
        memory.changes.len() != before
    }
}

impl Memory {
    fn note(&mut self, cluster: &ClusterName, LogEntry { at, event }: LogEntry) {
        if let WorldEvent::NodeLaunched { node, name, group } = &event {
            self.known.insert(*node, (group.clone(), name.clone()));
            self.bearers.insert(name.clone(), *node);
        }
        let change = if let WorldEvent::NodeJoined(name) = &event {
            // A replacement instance takes over the name of the old one.
            self.bearers.get(name).map(|id| (Change::Added, *id))
        } else if let WorldEvent::NodeGone { node, .. } = &event {
            Some((Change::Gone, *node))
        } else {
            None
        };
        if let Some((change, node)) = change
            && let Some((group, name)) = self.known.get(&node).cloned()
        {
            let cluster = cluster.clone();
            self.changes.push_back(NodeChange { change, cluster, group, node, name, at });
            if self.changes.len() > CHANGES_KEPT {
                self.changes.pop_front();
            }
        }
        self.remember_event(at, &event);
        if let WorldEvent::NodeGone { node, .. } = &event
            && let Some((_, name)) = self.known.remove(node)
            && self.bearers.get(&name) == Some(node)
        {
            self.bearers.remove(&name);
        }
    }

    fn remember_event(&mut self, at: Time, event: &WorldEvent) {
        let (group, node, text, level) = if let WorldEvent::Grown { group, by } = event {
            (Some(group.clone()), None, format!("Scaling of the group by {by} began"), "Info")
        } else if let WorldEvent::NodeLaunched { node, .. } = event {
            (None, Some(*node), "The instance was launched".to_owned(), "Info")
        } else if let WorldEvent::NodeUp { node, .. } = event {
            (None, Some(*node), "The instance is Running".to_owned(), "Info")
        } else if let WorldEvent::NodeFailed(node) = event {
            (None, Some(*node), "The instance failed".to_owned(), "Error")
        } else if let WorldEvent::NodeReplaced { old, new } = event {
            (None, Some(*old), format!("The instance is replaced by {new}"), "Warn")
        } else if let WorldEvent::NodeLeaving { node, .. } = event {
            (None, Some(*node), format!("Termination of instance {node} in progress"), "Info")
        } else if let WorldEvent::NodeGone { node, .. } = event {
            (None, Some(*node), format!("Instance {node} was terminated"), "Info")
        } else {
            return;
        };
        let group = group.or_else(|| Some(self.known.get(&node?)?.0.clone()));
        self.seen += 1;
        self.events.push_back(SeenEvent { number: self.seen, at, group, node, text, level });
        if self.events.len() > EVENTS_KEPT {
            self.events.pop_front();
        }
    }
}

/// Region and access key that a request is signed with. The signature is not verified.
pub(crate) struct Scope {
    region: Option<String>,
    access_key: String,
}

impl Scope {
    /// Reads `Authorization: AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/…`.
    pub(crate) fn of(request: &Request) -> Self {
        let header = request.header("authorization").unwrap_or_default();
        let credential = header.split("Credential=").nth(1).unwrap_or_default();
        let mut parts = credential.split('/');
        let access_key = parts.next().unwrap_or_default().to_owned();
        Self { region: parts.nth(1).map(ToOwned::to_owned), access_key }
    }
}

/// All worlds of an endpoint.
pub(crate) struct Hosts {
    hosted: Vec<Hosted>,
    pace: Option<Arc<dyn Pace>>,
}

impl Hosts {
    pub(crate) fn new(worlds: Vec<World>, pace: Option<Arc<dyn Pace>>) -> Result<Self, Error> {
        let hosted = worlds.into_iter().map(Hosted::new).collect::<Result<Vec<_>, _>>()?;
        let first = hosted.first().ok_or(Error::NoWorld)?;
        let (mut arns, mut seeds) = (BTreeSet::new(), BTreeMap::new());
        for own in &hosted {
            if own.bound_at != first.bound_at {
                return Err(Error::Times { one: first.name.clone(), other: own.name.clone() });
            }
            if !arns.insert(own.arn()) {
                return Err(Error::Twice { cluster: own.name.clone(), arn: own.arn() });
            }
            if let Some(one) = seeds.insert(own.world.spec().seed, own.name.clone()) {
                return Err(Error::Seeds { one, other: own.name.clone() });
            }
        }
        Ok(Self { hosted, pace })
    }

    pub(crate) fn all(&self) -> &[Hosted] {
        &self.hosted
    }

    /// The first world; [`Hosts::new`] rejects an empty list.
    pub(crate) fn first(&self) -> &Hosted {
        &self.hosted[0]
    }

    pub(crate) fn pace(&self) -> Option<&dyn Pace> {
        self.pace.as_deref()
    }

    /// The worlds that a caller sees: those in the region that the request is signed for.
    /// If the access key id contains the account id of a world, only worlds of that
    /// account.
    pub(crate) fn visible(&self, scope: &Scope) -> impl Iterator<Item = &Hosted> {
        let by_account = self.hosted.iter().any(|own| scope.access_key.contains(&own.account));
        let region = scope.region.clone();
        let access_key = scope.access_key.clone();
        self.hosted.iter().filter(move |own| {
            region.as_ref().is_none_or(|region| *region == own.region)
                && (!by_account || access_key.contains(&own.account))
        })
    }

    /// The visible cluster with this name or ARN.
    pub(crate) fn find(&self, scope: &Scope, name_or_arn: &str) -> Option<&Hosted> {
        self.visible(scope).find(|own| own.name.as_str() == name_or_arn || own.arn() == name_or_arn)
    }

    /// The cluster with this name or id in a path of `/_world`.
    ///
    /// # Errors
    /// If no cluster or several clusters match; the message lists the names or ids.
    pub(crate) fn by_path(&self, name_or_id: &str) -> Result<&Hosted, NotOne> {
        let named = |own: &&Hosted| own.name.as_str() == name_or_id || own.id == name_or_id;
        let found: Vec<&Hosted> = self.hosted.iter().filter(named).collect();
        match found[..] {
            [one] => Ok(one),
            [] => {
                let all: Vec<&str> = self.hosted.iter().map(|own| own.name.as_str()).collect();
                Err(NotOne::Unknown { asked: name_or_id.to_owned(), known: all.join(", ") })
            }
            _ => {
                let ids: Vec<&str> = found.iter().map(|own| own.id.as_str()).collect();
                Err(NotOne::Several { asked: name_or_id.to_owned(), ids: ids.join(", ") })
            }
        }
    }

    /// The worlds whose metrics a CloudWatch request sees, and the store for PutMetricData:
    /// the visible worlds, or all worlds if none is visible.
    pub(crate) fn of_metrics(&self, scope: &Scope) -> (Vec<World>, &Mutex<MetricStore>) {
        let seen: Vec<&Hosted> = self.visible(scope).collect();
        let store = &seen.first().copied().unwrap_or_else(|| self.first()).metrics;
        let seen = if seen.is_empty() { self.hosted.iter().collect() } else { seen };
        (seen.into_iter().map(|own| own.world.clone()).collect(), store)
    }

    /// Advances the worlds to the caller's clock; in lock-step it does nothing.
    pub(crate) fn catch_up(&self) {
        if let Some(pace) = &self.pace {
            let elapsed = pace.elapsed();
            for own in &self.hosted {
                own.world.advance_to(own.bound_at + elapsed);
            }
        }
    }

    /// Advances all worlds to this time.
    pub(crate) fn advance_to(&self, to: Time) {
        for own in &self.hosted {
            own.world.advance_to(to);
        }
    }

    /// Processes new events of all worlds. Returns whether a node was added or terminated.
    pub(crate) fn take_note(&self) -> bool {
        let mut any = false;
        for own in &self.hosted {
            any |= own.take_note();
        }
        any
    }

    /// Returns and removes the node changes since the last call.
    pub(crate) fn take_changes(&self) -> Vec<NodeChange> {
        let mut all = vec![];
        for own in &self.hosted {
            all.extend(own.memory().changes.drain(..));
        }
        all
    }
}

/// A name or id in a path of `/_world` that does not select one cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotOne {
    /// No cluster has this name or id.
    #[error("no cluster `{asked}` here: use one of {known}")]
    Unknown { asked: String, known: String },
    /// Several clusters have this name.
    #[error("several clusters `{asked}`: use an id, {ids}")]
    Several { asked: String, ids: String },
}

/// A cluster id of twelve lower-case letters and digits, derived from `text`.
fn cluster_id(text: &str) -> String {
    let mut number = fnv1a(text.as_bytes());
    let mut id = String::new();
    for _ in 0..12 {
        let digit = u32::try_from(number % 36).unwrap_or(0);
        id.extend(char::from_digit(digit, 36));
        number = (number / 36) ^ (number % 36).rotate_right(13);
    }
    id
}
