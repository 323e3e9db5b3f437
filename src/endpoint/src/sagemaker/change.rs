//! Operations that delete or add nodes or update their software.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};
use trimtab_core::ids::{GroupName, InstanceId};
use trimtab_core::units::{NodeCount, Span};
use trimtab_daemon::ports::DeleteOutcome;
use trimtab_simulator::control::{ChangeOutcome, ControlPlane};
use trimtab_simulator::spec::api::AllFailedAnswer;
use trimtab_simulator::truth::Caller;

use super::error::ApiError;
use super::read::{failure, is_continuous};
use super::{Call, Failure, Outcome, details, requests};
use crate::hosts::{Hosted, UsedToken};

/// Maximum number of ids in a delete request that has at least one logical id.
const MOST_WITH_LOGICAL_IDS: usize = 50;
/// Maximum number of nodes that one BatchAddClusterNodes request may add.
const MOST_ADDED: u64 = 50;
/// How long a ClientToken is valid.
const TOKEN_LASTS: Span = Span::hours(8);

/// Failed ids of a delete request with their error codes, for the two lists of the response.
struct Failed {
    nodes: Vec<(String, Arc<str>)>,
    logical: Vec<(String, Arc<str>)>,
}

impl Failed {
    fn lists(&self) -> Map<String, Value> {
        let entries = |key: &str, failed: &[(String, Arc<str>)]| -> Vec<Value> {
            let entry = |(id, code): &(String, Arc<str>)| json!({ "Code": &**code, "Message": message(code), key: id });
            failed.iter().map(entry).collect()
        };
        let mut lists = Map::new();
        if !self.nodes.is_empty() {
            lists.insert("Failed".to_owned(), json!(entries("NodeId", &self.nodes)));
        }
        if !self.logical.is_empty() {
            let entries = entries("NodeLogicalId", &self.logical);
            lists.insert("FailedNodeLogicalIds".to_owned(), json!(entries));
        }
        lists
    }

    /// The error response to a request that fails for every id.
    fn into_error(self, answer: AllFailedAnswer) -> ApiError {
        let all = self.nodes.iter().chain(&self.logical);
        let said: Vec<String> = all.map(|(id, code)| format!("{code}: {id}")).collect();
        let message = format!("Failed to delete all of the requested nodes: {}", said.join(", "));
        let first = self.nodes.first().or(self.logical.first());
        let first = first.map_or("InvalidNodeStatus", |(_, code)| code).to_owned();
        let mut error = ApiError::validation(message);
        match answer {
            AllFailedAnswer::Validation => {}
            AllFailedAnswer::Lists => error.more = self.lists(),
            AllFailedAnswer::Code => error.code = first,
        }
        error
    }
}

fn message(code: &str) -> &'static str {
    match code {
        "NodeIdNotFound" => "The specified node could not be found in the cluster",
        "InvalidNodeStatus" => "The node is in a status that does not allow deletion",
        "NodeIdInUse" => "The node is in use by another operation",
        _ => "The node could not be deleted",
    }
}

pub(super) fn delete_nodes(call: &Call<'_>) -> Outcome {
    let own = call.cluster(requests::BATCH_DELETE)?;
    let (named, logical) = (call.texts("NodeIds"), call.texts("NodeLogicalIds"));
    if named.is_empty() && logical.is_empty() {
        let why = "You must specify either NodeIds or NodeLogicalIds, or both";
        return Err(ApiError::validation(why).into());
    }
    if !logical.is_empty() {
        if !is_continuous(own) {
            let why = "NodeLogicalIds can only be used with NodeProvisioningMode Continuous";
            return Err(ApiError::validation(why).into());
        }
        let n = named.len() + logical.len();
        if n > MOST_WITH_LOGICAL_IDS {
            let why = format!(
                "NodeIds and NodeLogicalIds have {n} identifiers in total; the limit is \
                 {MOST_WITH_LOGICAL_IDS}"
            );
            return Err(ApiError::validation(why).into());
        }
    }
    // The shape check made sure that all of them are instance ids.
    let mut ids: Vec<InstanceId> = named.iter().filter_map(|id| id.parse().ok()).collect();
    let mut logical_of: BTreeMap<InstanceId, &str> = BTreeMap::new();
    let mut failed = Failed { nodes: vec![], logical: vec![] };
    for id in &logical {
        match own.world.instance_of(id) {
            Some(node) => {
                ids.push(node);
                logical_of.insert(node, id);
            }
            None => failed.logical.push(((*id).to_owned(), "NodeIdNotFound".into())),
        }
    }
    let all_failed = own.world.spec().api.all_failed;
    if ids.is_empty() {
        if let Some(why) = own.world.refuses_changes() {
            return Err(ApiError::said(&why).into());
        }
        return Err(failed.into_error(all_failed).into());
    }
    let by_logical_id: BTreeSet<InstanceId> = logical_of.keys().copied().collect();
    let report = own.world.delete(&ids, &by_logical_id, Caller::Daemon);
    let whole = report.all_failed();
    let mut failures = report.failures;
    if whole && failures.is_empty() {
        failures = ids.iter().map(|id| (*id, "InvalidNodeStatus".into())).collect();
    }
    for (id, code) in failures {
        match logical_of.get(&id) {
            Some(logical) => failed.logical.push(((*logical).to_owned(), code)),
            None => failed.nodes.push((id.to_string(), code)),
        }
    }
    match report.outcome {
        DeleteOutcome::NoAnswer { .. } => Err(Failure::Silence),
        DeleteOutcome::Refused { .. } if whole => Err(failed.into_error(all_failed).into()),
        DeleteOutcome::Refused { why, .. } => Err(ApiError::said(&why).into()),
        DeleteOutcome::Answered { accepted, .. } => {
            let mut body = failed.lists();
            let (by_logical, by_id): (Vec<InstanceId>, Vec<InstanceId>) =
                accepted.into_iter().partition(|id| logical_of.contains_key(id));
            if !by_id.is_empty() {
                let ids: Vec<String> = by_id.iter().map(ToString::to_string).collect();
                body.insert("Successful".to_owned(), json!(ids));
            }
            if !by_logical.is_empty() {
                let ids: Vec<&str> =
                    by_logical.iter().filter_map(|id| logical_of.get(id).copied()).collect();
                body.insert("SuccessfulNodeLogicalIds".to_owned(), json!(ids));
            }
            Ok(Value::Object(body))
        }
    }
}

pub(super) fn add_nodes(call: &Call<'_>) -> Outcome {
    let own = call.cluster(requests::BATCH_ADD)?;
    if let Some(why) = own.world.refuses_changes() {
        return Err(ApiError::said(&why).into());
    }
    if !is_continuous(own) {
        let why = "BatchAddClusterNodes requires NodeProvisioningMode Continuous";
        return Err(ApiError::validation(why).into());
    }
    let wanted = call.list("NodesToAdd");
    let increment = |item: &Value| item.get("IncrementTargetCountBy").and_then(Value::as_u64);
    let sum: u64 = wanted.iter().filter_map(increment).sum();
    if sum > MOST_ADDED {
        let why = format!("The request adds {sum} nodes; the limit is {MOST_ADDED}");
        return Err(ApiError::validation(why).into());
    }
    let plane = own.world.control().map_err(failure)?;
    let now = own.world.now();
    let asked = json!(wanted);
    let token = call.text("ClientToken").map(ToOwned::to_owned);
    if let Some(token) = &token {
        let mut memory = own.memory();
        memory.tokens.retain(|_, used| now.since(used.at) < TOKEN_LASTS);
        if let Some(used) = memory.tokens.get(token) {
            if used.asked != asked {
                let why = "The ClientToken was used before with other parameters";
                return Err(ApiError::validation(why).into());
            }
            return Ok(additions(own, &plane, &used.clone()));
        }
    }
    let members: u64 = plane.groups.iter().map(|group| u64::from(group.target.0)).sum();
    let limit = plane.spec.api.max_nodes;
    if members + sum > u64::from(limit.0) {
        let why = format!("The cluster would have {} nodes; its quota is {limit}", members + sum);
        return Err(ApiError::new("ResourceLimitExceeded", why).into());
    }
    let mut used = UsedToken { at: now, asked, added: vec![], failed: vec![] };
    let mut silent = false;
    for item in wanted {
        let count = increment(item).unwrap_or(0);
        let name = item.get("InstanceGroupName").and_then(Value::as_str).unwrap_or_default();
        match cannot_add(&plane, item, name) {
            Some((code, why)) => used.failed.push(json!({
                "InstanceGroupName": name, "ErrorCode": code, "FailedCount": count, "Message": why,
            })),
            None => {
                let Ok(group) = name.parse::<GroupName>() else { continue };
                let by = NodeCount(u32::try_from(count).unwrap_or(u32::MAX));
                let before = own.world.control().map_or(NodeCount::ZERO, |plane| {
                    plane.group(name).map_or(NodeCount::ZERO, |group| group.target)
                });
                match own.world.add_nodes(&group, by) {
                    ChangeOutcome::Done(nodes) => used.note(own, &group, &nodes),
                    ChangeOutcome::Refused(why) => return Err(ApiError::said(&why).into()),
                    ChangeOutcome::NoAnswer => {
                        silent = true;
                        // The request may have taken effect. A retry with the same token must
                        // not add nodes again.
                        let plane = own.world.control().map_err(failure)?;
                        let after = plane.group(name).map_or(before, |group| group.target);
                        if after > before {
                            let nodes = newest(own, &group, by);
                            used.note(own, &group, &nodes);
                        }
                    }
                }
            }
        }
    }
    let has_acted = !used.added.is_empty() || !silent;
    if let Some(token) = token.filter(|_| has_acted) {
        own.memory().tokens.insert(token, used.clone());
    }
    if silent {
        return Err(Failure::Silence);
    }
    Ok(additions(own, &plane, &used))
}

/// The `count` newest nodes of a group, sorted by id.
fn newest(own: &Hosted, group: &GroupName, count: NodeCount) -> Vec<InstanceId> {
    let mut nodes = own.world.newest_nodes(group, count);
    nodes.sort();
    nodes
}

impl UsedToken {
    fn note(&mut self, own: &Hosted, group: &GroupName, nodes: &[InstanceId]) {
        for node in nodes {
            if let Some(logical_id) = own.world.logical_id_of(*node) {
                self.added.push((group.clone(), *node, logical_id));
            }
        }
    }
}

/// Error code and message if nodes cannot be added to the group.
fn cannot_add(
    plane: &ControlPlane,
    item: &Value,
    name: &str,
) -> Option<(&'static str, &'static str)> {
    let Some(group) = plane.group(name) else {
        return Some(("InstanceGroupNotFound", "The instance group does not exist"));
    };
    if group.deleting || group.lacks_minimum || plane.state.software_update {
        return Some(("InvalidInstanceGroupStatus", "The instance group cannot add nodes now"));
    }
    let lacks = |member: &str, wanted: &str| {
        let named = item.get(member).and_then(Value::as_array);
        named.is_some_and(|named| !named.iter().any(|own| own.as_str() == Some(wanted)))
    };
    if lacks("AvailabilityZones", &details::zone(&plane.spec.api.region)) {
        return Some(("IncompatibleAvailabilityZones", "The group has no subnet in these zones"));
    }
    if lacks("InstanceTypes", &plane.spec_of(group).instance_type) {
        return Some(("IncompatibleInstanceTypes", "The group has none of these instance types"));
    }
    None
}

/// The response body: the added nodes with their current status, and the failures.
fn additions(own: &Hosted, plane: &ControlPlane, used: &UsedToken) -> Value {
    let added = used.added.iter().map(|(group, node, logical_id)| {
        let found = own.world.control_node(*node).ok().flatten();
        let exists = own.world.has_node(*node);
        let status = match &found {
            Some(node) => details::instance_status(&node.status).to_owned(),
            // The instance exists, but listings do not show it yet, or no longer.
            None if exists => "Pending".to_owned(),
            None => "NotFound".to_owned(),
        };
        json!({
            "NodeLogicalId": logical_id,
            "InstanceGroupName": group.as_str(),
            "Status": status,
            "AvailabilityZones": [details::zone(&plane.spec.api.region)],
        })
    });
    json!({ "Successful": added.collect::<Vec<Value>>(), "Failed": used.failed })
}

pub(super) fn update_software(call: &Call<'_>) -> Outcome {
    let own = call.cluster(requests::UPDATE_SOFTWARE)?;
    let plane = own.world.control().map_err(failure)?;
    let mut image = None;
    for item in call.list("InstanceGroups") {
        let name = item.get("InstanceGroupName").and_then(Value::as_str).unwrap_or_default();
        if plane.group(name).is_none() {
            let why = format!("Instance group {name} could not be found in the cluster");
            return Err(ApiError::validation(why).into());
        }
        image = image.or(item.get("ImageReleaseVersion").and_then(Value::as_str));
    }
    match own.world.update_software(image.map(Into::into)) {
        ChangeOutcome::Done(_) => Ok(json!({ "ClusterArn": own.arn() })),
        ChangeOutcome::Refused(why) => Err(ApiError::said(&why).into()),
        ChangeOutcome::NoAnswer => Err(Failure::Silence),
    }
}
