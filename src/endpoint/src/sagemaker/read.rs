//! Operations that only read.

use serde_json::{Map, Value, json};
use trimtab_core::digest::fnv1a;
use trimtab_core::ids::InstanceId;
use trimtab_core::reads::Provisioning;
use trimtab_core::units::Time;
use trimtab_daemon::ports::ReadError;
use trimtab_simulator::spec::api::EventsAnswer;

use super::error::ApiError;
use super::page::page;
use super::{Call, Failure, Outcome, details, requests};
use crate::hosts::{Hosted, SeenEvent};
use crate::json::object;

/// Converts a read error of the world.
pub(super) fn failure(error: ReadError) -> Failure {
    match error {
        ReadError::Throttled(_) => ApiError::said("ThrottlingException").into(),
        ReadError::Refused(why) | ReadError::Denied(why) | ReadError::Elsewhere(why) => {
            ApiError::said(&why).into()
        }
        ReadError::Unreadable(why) => ApiError::new("InternalFailure", &*why).into(),
        ReadError::NoAnswer(_) => Failure::Silence,
    }
}

/// A sort key for a time, padded so that texts sort in the order of the times.
fn time_key(time: Time) -> String {
    format!("{:020}", time.0.max(0))
}

fn is_descending(call: &Call<'_>, by_default: bool) -> bool {
    call.text("SortOrder").map_or(by_default, |order| order == "Descending")
}

/// Whether a time lies between the values of these two members of the request.
fn is_between(call: &Call<'_>, time: Time, after: &str, before: &str) -> bool {
    let time = time.0 as f64;
    call.time(after).is_none_or(|after| time > after)
        && call.time(before).is_none_or(|before| time < before)
}

fn with_token(mut body: Map<String, Value>, next: Option<String>) -> Value {
    if let Some(next) = next {
        body.insert("NextToken".to_owned(), json!(next));
    }
    Value::Object(body)
}

pub(super) fn list_clusters(call: &Call<'_>) -> Outcome {
    super::check(&call.body, requests::LIST_CLUSTERS)?;
    let mut items = vec![];
    let mut silent = None;
    for (number, own) in call.hosts.visible(&call.scope).enumerate() {
        let plane = match own.world.control() {
            Ok(plane) => plane,
            Err(why) => {
                silent = Some(why);
                continue;
            }
        };
        let memory = own.memory();
        let plans: Vec<&str> = plane
            .groups
            .iter()
            .filter_map(|group| memory.groups.get(&plane.spec_of(group).name))
            .filter_map(|group| group.get("TrainingPlanArn")?.as_str())
            .collect();
        let created = plane.spec.api.created;
        let wanted = call.text("TrainingPlanArn").is_none_or(|plan| plans.contains(&plan))
            && call.text("NameContains").is_none_or(|part| own.name.as_str().contains(part))
            && is_between(call, created, "CreationTimeAfter", "CreationTimeBefore");
        if !wanted {
            continue;
        }
        let mut summary = object(json!({
            "ClusterArn": own.arn(),
            "ClusterName": own.name.as_str(),
            "CreationTime": details::seconds(created),
            "ClusterStatus": details::cluster_status(&plane.state.status),
        }));
        if !plans.is_empty() {
            summary.insert("TrainingPlanArns".to_owned(), json!(plans));
        }
        let by = match call.text("SortBy") {
            Some("NAME") => own.name.as_str().to_owned(),
            Some(_) | None => time_key(created),
        };
        items.push((by, number as u64, Value::Object(summary)));
    }
    // A fault affects one cluster. The other clusters are still listed.
    if let Some(why) = silent.filter(|_| items.is_empty()) {
        return Err(failure(why));
    }
    let page = page("ListClusters", &call.body, items, is_descending(call, true))?;
    Ok(with_token(object(json!({ "ClusterSummaries": page.items })), page.next))
}

pub(super) fn describe_cluster(call: &Call<'_>) -> Outcome {
    let own = call.cluster(requests::DESCRIBE_CLUSTER)?;
    let plane = own.world.control().map_err(failure)?;
    Ok(details::cluster(own, &plane, &own.memory()))
}

pub(super) fn list_nodes(call: &Call<'_>) -> Outcome {
    let own = call.cluster(requests::LIST_NODES)?;
    let plane = own.world.control().map_err(failure)?;
    let listed = own.world.control_nodes().map_err(failure)?;
    let with_logical_ids = call.flag("IncludeNodeLogicalIds") && is_continuous(own);
    let part = call.text("InstanceGroupNameContains").unwrap_or_default();
    let mut items = vec![];
    for node in &listed.nodes {
        let wanted = (node.has_instance || with_logical_ids)
            && node.group.as_str().contains(part)
            && is_between(call, node.launched, "CreationTimeAfter", "CreationTimeBefore");
        if !wanted {
            continue;
        }
        let by = match call.text("SortBy") {
            Some("NAME") => node.group.as_str().to_owned(),
            Some(_) | None => time_key(node.launched),
        };
        let summary = details::node_summary(&plane, node, with_logical_ids);
        items.push((by, u64::from(node.number), summary));
    }
    let page = page("ListClusterNodes", &call.body, items, is_descending(call, false))?;
    Ok(with_token(object(json!({ "ClusterNodeSummaries": page.items })), page.next))
}

pub(super) fn is_continuous(own: &Hosted) -> bool {
    match own.world.spec().provisioning {
        Provisioning::Continuous => true,
        Provisioning::Classic => false,
    }
}

pub(super) fn describe_node(call: &Call<'_>) -> Outcome {
    let own = call.cluster(requests::DESCRIBE_NODE)?;
    let plane = own.world.control().map_err(failure)?;
    let (said, id): (&str, Option<InstanceId>) =
        match (call.text("NodeId"), call.text("NodeLogicalId")) {
            (Some(id), None) => (id, id.parse().ok()),
            (None, Some(id)) => (id, own.world.instance_of(id).filter(|_| is_continuous(own))),
            (None, None) | (Some(_), Some(_)) => {
                let why = "You must specify either NodeId or NodeLogicalId, but not both";
                return Err(ApiError::validation(why).into());
            }
        };
    let by_logical_id = call.text("NodeLogicalId").is_some();
    let found = id.map(|id| own.world.control_node(id)).transpose().map_err(failure)?.flatten();
    match found.filter(|node| node.has_instance || by_logical_id) {
        Some(node) => Ok(json!({
            "NodeDetails": details::node_details(&plane, &node, &own.memory())
        })),
        None => {
            let why = format!("Node {said} could not be found in cluster {}", own.name);
            Err(ApiError::new("ResourceNotFound", why).into())
        }
    }
}

pub(super) fn list_events(call: &Call<'_>) -> Outcome {
    let own = call.cluster(requests::LIST_EVENTS)?;
    // This read reports denial and throttling.
    let plane = own.world.control().map_err(failure)?;
    if !is_continuous(own) {
        let why = "Events are only available for clusters with NodeProvisioningMode Continuous";
        return Err(ApiError::validation(why).into());
    }
    let kept: Vec<SeenEvent> = match plane.spec.api.events {
        EventsAnswer::Listed => own.memory().events.iter().cloned().collect(),
        EventsAnswer::Empty => vec![],
    };
    let mut items = vec![];
    for event in &kept {
        let kind = if event.node.is_some() { "Instance" } else { "InstanceGroup" };
        let node = event.node.map(|node| node.to_string());
        let group = event.group.as_ref().map(|group| group.as_str());
        let wanted = call.text("InstanceGroupName").is_none_or(|wanted| group == Some(wanted))
            && call.text("NodeId").is_none_or(|wanted| node.as_deref() == Some(wanted))
            && call.text("ResourceType").is_none_or(|wanted| wanted == kind)
            // Events of the world have no operation id.
            && call.text("OperationId").is_none()
            && is_between(call, event.at, "EventTimeAfter", "EventTimeBefore");
        if wanted {
            let event_body = event_summary(own, event, kind);
            items.push((time_key(event.at), event.number, event_body));
        }
    }
    let page = page("ListClusterEvents", &call.body, items, is_descending(call, true))?;
    Ok(with_token(object(json!({ "Events": page.items })), page.next))
}

fn event_summary(own: &Hosted, event: &SeenEvent, kind: &str) -> Value {
    let mut body = object(json!({
        "EventId": event_id(own, event.number),
        "ClusterArn": own.arn(),
        "ClusterName": own.name.as_str(),
        "ResourceType": kind,
        "EventTime": details::seconds(event.at),
        "Description": event.text,
        "EventLevel": event.level,
    }));
    if let Some(group) = &event.group {
        body.insert("InstanceGroupName".to_owned(), json!(group.as_str()));
    }
    if let Some(node) = event.node {
        body.insert("InstanceId".to_owned(), json!(node.to_string()));
    }
    Value::Object(body)
}

fn event_id(own: &Hosted, number: u64) -> String {
    let (high, low) = (fnv1a(own.arn().as_bytes()), fnv1a(&number.to_le_bytes()));
    let text = format!("{high:016x}{low:016x}");
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

pub(super) fn list_tags(call: &Call<'_>) -> Outcome {
    super::check(&call.body, requests::LIST_TAGS)?;
    let arn = call.text("ResourceArn").unwrap_or_default();
    let own = call.hosts.visible(&call.scope).find(|own| own.arn() == arn);
    let Some(own) = own else {
        return Err(ApiError::validation(format!("Resource {arn} could not be found")).into());
    };
    let plane = own.world.control().map_err(failure)?;
    let tags = plane.spec.api.tags.iter();
    let tags: Vec<Value> = tags.map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
    Ok(json!({ "Tags": tags }))
}
