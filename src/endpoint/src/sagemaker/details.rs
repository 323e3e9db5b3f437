//! JSON bodies of DescribeCluster, ListClusterNodes and DescribeClusterNode.
//!
//! Counts and states come from the world, and configured members from
//! [`configured`](crate::configured). UpdateCluster can override single members.

use serde_json::{Map, Value, json};
use trimtab_core::reads::{ClusterStatus, InstanceStatus, Provisioning};
use trimtab_core::units::{NodeCount, Time};
use trimtab_simulator::control::{ControlGroup, ControlNode, ControlPlane};
use trimtab_simulator::spec::api::{NodeRecovery, Orchestrator};

use crate::configured::network;
use crate::hosts::{Hosted, Memory};
use crate::json::object;

/// Seconds since 1970, with a fraction.
pub(super) fn seconds(time: Time) -> Value {
    json!(time.0 as f64 / 1000.0)
}

/// The status of a cluster, in the API's spelling.
pub(super) fn cluster_status(status: &ClusterStatus) -> &str {
    match status {
        ClusterStatus::InService => "InService",
        ClusterStatus::Creating => "Creating",
        ClusterStatus::Updating => "Updating",
        ClusterStatus::SystemUpdating => "SystemUpdating",
        ClusterStatus::RollingBack => "RollingBack",
        ClusterStatus::Deleting => "Deleting",
        ClusterStatus::Failed => "Failed",
        ClusterStatus::Unrecognised(text) => text,
    }
}

/// The status of a node, in the API's spelling.
pub(super) fn instance_status(status: &InstanceStatus) -> &str {
    match status {
        InstanceStatus::Running => "Running",
        InstanceStatus::Pending => "Pending",
        InstanceStatus::Failure => "Failure",
        InstanceStatus::ShuttingDown => "ShuttingDown",
        InstanceStatus::SystemUpdating => "SystemUpdating",
        InstanceStatus::DeepHealthCheck => "DeepHealthCheckInProgress",
        InstanceStatus::Unrecognised(text) => text,
    }
}

/// The body of DescribeCluster.
pub(super) fn cluster(own: &Hosted, plane: &ControlPlane, memory: &Memory) -> Value {
    let api = &plane.spec.api;
    let groups: Vec<Value> = plane
        .groups
        .iter()
        .map(|group| Value::Object(group_details(plane, group, memory)))
        .collect();
    let mut body = object(json!({
        "ClusterArn": own.arn(),
        "ClusterName": own.name.as_str(),
        "ClusterStatus": cluster_status(&plane.state.status),
        "CreationTime": seconds(api.created),
        "InstanceGroups": groups,
        "VpcConfig": network(&plane.spec, ""),
        "NodeRecovery": match api.node_recovery {
            NodeRecovery::Automatic => "Automatic",
            NodeRecovery::None => "None",
        },
    }));
    match api.orchestrator {
        Orchestrator::Slurm => {
            body.insert("Orchestrator".to_owned(), json!({ "Slurm": {} }));
        }
        Orchestrator::SlurmLegacy => {}
        Orchestrator::Eks => {
            let arn = format!("arn:aws:eks:{}:{}:cluster/{}", api.region, api.account, own.name);
            body.insert("Orchestrator".to_owned(), json!({ "Eks": { "ClusterArn": arn } }));
        }
    }
    match plane.state.provisioning {
        Provisioning::Continuous => {
            body.insert("NodeProvisioningMode".to_owned(), json!("Continuous"));
        }
        Provisioning::Classic => {}
    }
    body.extend(memory.cluster.clone());
    if plane.state.rival_autoscaler {
        let karpenter =
            json!({ "Mode": "Enable", "AutoScalerType": "Karpenter", "Status": "InService" });
        body.insert("AutoScaling".to_owned(), karpenter);
    }
    Value::Object(body)
}

fn group_details(
    plane: &ControlPlane,
    group: &ControlGroup,
    memory: &Memory,
) -> Map<String, Value> {
    let spec = plane.spec_of(group);
    let desired = plane.coming_image.as_ref().unwrap_or(&plane.image);
    let mut members = object(json!({
        "InstanceGroupName": spec.name.as_str(),
        "CurrentCount": group.current.0,
        "TargetCount": group.target.0,
        "Status": group_status(plane, group),
        "CurrentImageReleaseVersion": &*plane.image,
        "DesiredImageReleaseVersion": &**desired,
        "ImageVersionStatus": "UpToDate",
        "TargetStateCount": group.current.0,
    }));
    if plane.state.software_update {
        members.insert("SoftwareUpdateStatus".to_owned(), json!("InProgress"));
    }
    let is_continuous = match plane.state.provisioning {
        Provisioning::Continuous => true,
        Provisioning::Classic => false,
    };
    if let Some(min) = group.min.filter(|_| is_continuous) {
        members.insert("MinCount".to_owned(), json!(min.0));
    }
    let shrinks = plane.spec.api.deletes_show_as_scaling && group.leaving > NodeCount::ZERO;
    if group.arriving > NodeCount::ZERO || shrinks {
        members.insert("ActiveOperations".to_owned(), json!({ "Scaling": 1 }));
    }
    members.extend(memory.groups.get(&spec.name).cloned().unwrap_or_default());
    members
}

fn group_status(plane: &ControlPlane, group: &ControlGroup) -> &'static str {
    let moves = group.arriving + group.leaving > NodeCount::ZERO;
    let is_classic = match plane.state.provisioning {
        Provisioning::Continuous => false,
        Provisioning::Classic => true,
    };
    if group.deleting {
        "Deleting"
    } else if plane.state.software_update {
        "SystemUpdating"
    } else if group.lacks_minimum || (is_classic && moves) {
        "Updating"
    } else if group.failed > NodeCount::ZERO {
        "Degraded"
    } else {
        "InService"
    }
}

/// One entry of ListClusterNodes.
pub(super) fn node_summary(
    plane: &ControlPlane,
    node: &ControlNode,
    with_logical_id: bool,
) -> Value {
    let mut body = node_basics(plane, node);
    if with_logical_id {
        body.insert("NodeLogicalId".to_owned(), json!(node.logical_id));
    }
    Value::Object(body)
}

/// Members that ListClusterNodes and DescribeClusterNode share.
fn node_basics(plane: &ControlPlane, node: &ControlNode) -> Map<String, Value> {
    let spec = plane.spec.groups.iter().find(|group| group.name == node.group);
    let mut body = object(json!({
        "InstanceGroupName": node.group.as_str(),
        "InstanceId": if node.has_instance { node.id.to_string() } else { String::new() },
        "InstanceType": spec.map_or("", |spec| spec.instance_type.as_str()),
        "LaunchTime": seconds(node.launched),
        "LastSoftwareUpdateTime": seconds(node.software_updated.unwrap_or(node.launched)),
        "InstanceStatus": { "Status": instance_status(&node.status), "Message": "" },
        "CurrentImageReleaseVersion": &*plane.image,
        "ImageVersionStatus": "UpToDate",
    }));
    if node.has_instance {
        let host = format!("{}.{}.compute.internal", node.name, plane.spec.api.region);
        body.insert("PrivateDnsHostname".to_owned(), json!(host));
    }
    body
}

/// `NodeDetails` of DescribeClusterNode.
pub(super) fn node_details(plane: &ControlPlane, node: &ControlNode, memory: &Memory) -> Value {
    let mut body = node_basics(plane, node);
    let desired = plane.coming_image.as_ref().unwrap_or(&plane.image);
    body.insert("DesiredImageReleaseVersion".to_owned(), json!(&**desired));
    let is_continuous = match plane.state.provisioning {
        Provisioning::Continuous => true,
        Provisioning::Classic => false,
    };
    if is_continuous {
        body.insert("NodeLogicalId".to_owned(), json!(node.logical_id));
    }
    let group = memory.groups.get(&node.group);
    for name in [
        "LifeCycleConfig",
        "OverrideVpcConfig",
        "ThreadsPerCore",
        "InstanceStorageConfigs",
        "NetworkInterface",
        "KubernetesConfig",
    ] {
        if let Some(value) = group.and_then(|group| group.get(name)) {
            body.insert(name.to_owned(), value.clone());
        }
    }
    if node.has_instance {
        let region = &plane.spec.api.region;
        let ip = node.name.as_str().trim_start_matches("ip-").replace('-', ".");
        body.insert("PrivatePrimaryIp".to_owned(), json!(ip));
        body.insert(
            "Placement".to_owned(),
            json!({ "AvailabilityZone": zone(region), "AvailabilityZoneId": zone_id(region) }),
        );
        let is_spot = group.is_some_and(|group| {
            group.get("CapacityRequirements").is_some_and(|wants| wants.get("Spot").is_some())
        });
        body.insert("CapacityType".to_owned(), json!(if is_spot { "Spot" } else { "OnDemand" }));
    }
    Value::Object(body)
}

/// The Availability Zone of all nodes.
pub(super) fn zone(region: &str) -> String {
    format!("{region}a")
}

/// The zone id for a region: `us-west-2` → `usw2-az1`.
fn zone_id(region: &str) -> String {
    let mut parts = region.split('-');
    let country = parts.next().unwrap_or_default();
    let direction: String = parts.next().unwrap_or_default().chars().take(1).collect();
    let number = parts.next().unwrap_or_default();
    format!("{country}{direction}{number}-az1")
}
