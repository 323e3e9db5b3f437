//! Converts the SDK's types. A missing or unknown value becomes a value that keeps nodes, never
//! one that allows a deletion.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_sdk_sagemaker::operation::describe_cluster::DescribeClusterOutput;
use aws_sdk_sagemaker::types::{
    ClusterAutoScalingConfigOutput, ClusterInstanceGroupDetails, ClusterInstanceStatusDetails,
    ClusterNodeDetails, ClusterNodeSummary, ClusterRestrictedInstanceGroupDetails,
    ClusterSlurmConfigDetails,
};
use aws_smithy_types::DateTime;
use trimtab_core::ids::{GroupName, NodeName};
use trimtab_core::reads::{
    Capacity, ClusterDescription, ClusterState, ClusterStatus, GroupDescription, InstanceStatus,
    Joined, ListedNode, NodeCapacity, Provisioning, Role,
};
use trimtab_core::units::{NodeCount, Time};
use trimtab_daemon::ports::{NodeDetails, ReadError};

use crate::connection::Target;

/// Health of every node. SageMaker reports health only through the status.
const HEALTHY: u8 = 100;

pub(crate) fn unreadable(what: impl Into<Arc<str>>) -> ReadError {
    ReadError::Unreadable(what.into())
}

/// Converts DescribeCluster, and fails if the cluster is not in the configured region and
/// account.
pub(crate) fn description(
    output: &DescribeClusterOutput,
    target: &Target,
) -> Result<ClusterDescription, ReadError> {
    check_place(output.cluster_arn().unwrap_or(""), target)?;
    let mut groups = BTreeMap::new();
    for group in output.instance_groups() {
        let (name, description) = group_description(group)?;
        groups.insert(name, description);
    }
    for group in output.restricted_instance_groups() {
        let (name, description) = restricted_description(group)?;
        groups.insert(name, description);
    }
    let status = output.cluster_status().map(|status| status.as_str());
    let created = output.creation_time().map(time).transpose()?;
    let state = ClusterState {
        created,
        status: cluster_status(status.ok_or_else(|| unreadable("no ClusterStatus"))?),
        // Any other value counts as the more restrictive mode.
        provisioning: match output.node_provisioning_mode().map(|mode| mode.as_str()) {
            Some("Continuous") => Provisioning::Continuous,
            Some(_) | None => Provisioning::Classic,
        },
        rival_autoscaler: output.auto_scaling().is_some_and(is_switched_on),
        software_update: output.instance_groups().iter().any(is_being_updated),
    };
    Ok(ClusterDescription { state, groups })
}

/// Compares `arn:aws:sagemaker:REGION:ACCOUNT:cluster/ID` with the configured region and
/// account, so that a copied configuration file does not reach the wrong cluster.
fn check_place(arn: &str, target: &Target) -> Result<(), ReadError> {
    let parts: Vec<&str> = arn.split(':').collect();
    let &["arn", _, "sagemaker", region, account, _] = parts.as_slice() else {
        return Err(unreadable(format!("`{arn}` is not the ARN of a cluster")));
    };
    if region != target.region || account != target.account.as_str() {
        return Err(ReadError::Elsewhere(
            format!(
                "the cluster is {arn}, but the configuration says region {} and account {}",
                target.region, target.account
            )
            .into(),
        ));
    }
    Ok(())
}

fn cluster_status(text: &str) -> ClusterStatus {
    match text {
        "InService" => ClusterStatus::InService,
        "Creating" => ClusterStatus::Creating,
        "Updating" => ClusterStatus::Updating,
        "SystemUpdating" => ClusterStatus::SystemUpdating,
        "RollingBack" => ClusterStatus::RollingBack,
        "Deleting" => ClusterStatus::Deleting,
        "Failed" => ClusterStatus::Failed,
        other => ClusterStatus::Unrecognised(other.into()),
    }
}

/// Whether another autoscaler is enabled: any mode except `Disable`.
fn is_switched_on(config: &ClusterAutoScalingConfigOutput) -> bool {
    config.mode().as_str() != "Disable"
}

/// Whether the group's software is being updated or rolled back. An unknown status counts as an
/// update.
fn is_being_updated(group: &ClusterInstanceGroupDetails) -> bool {
    match group.software_update_status().map(|status| status.as_str()) {
        None | Some("Succeeded" | "Failed" | "RollbackComplete") => false,
        Some(_) => true,
    }
}

fn group_description(
    group: &ClusterInstanceGroupDetails,
) -> Result<(GroupName, GroupDescription), ReadError> {
    let name = group_name(group.instance_group_name())?;
    let running = group.active_operations().into_iter().flatten();
    let is_calm = group.status().map(|status| status.as_str()) == Some("InService")
        && running.map(|(_, count)| *count).all(|count| count == 0)
        && !is_being_updated(group);
    let description = GroupDescription {
        role: role(group.slurm_config()),
        current: count(group.current_count(), "CurrentCount", &name)?,
        target: count(group.target_count(), "TargetCount", &name)?,
        calm: is_calm,
        capacity: capacity(group),
    };
    Ok((name, description))
}

/// Converts a restricted group. It is included so that the totals are right, but never calm, so
/// that trimtab never changes it.
fn restricted_description(
    group: &ClusterRestrictedInstanceGroupDetails,
) -> Result<(GroupName, GroupDescription), ReadError> {
    let name = group_name(group.instance_group_name())?;
    let description = GroupDescription {
        role: Role::Worker,
        current: count(group.current_count(), "CurrentCount", &name)?,
        target: count(group.target_count(), "TargetCount", &name)?,
        calm: false,
        capacity: None,
    };
    Ok((name, description))
}

fn group_name(name: Option<&str>) -> Result<GroupName, ReadError> {
    let name = name.ok_or_else(|| unreadable("a group has no name"))?;
    name.parse().map_err(|why| unreadable(format!("invalid group name: {why}")))
}

fn count(value: Option<i32>, member: &str, group: &GroupName) -> Result<NodeCount, ReadError> {
    let Some(value) = value else {
        return Err(unreadable(format!("group {group}: {member} is missing")));
    };
    let count = u32::try_from(value).map(NodeCount);
    count.map_err(|_| unreadable(format!("group {group}: {member} is {value}")))
}

/// Converts a role. An unknown role counts as a controller, which trimtab does not touch. Older
/// clusters report no role; there only the groups listed in the configuration are touched.
fn role(config: Option<&ClusterSlurmConfigDetails>) -> Role {
    match config.map(|config| config.node_type().as_str()) {
        None | Some("Compute") => Role::Worker,
        Some("Login") => Role::Login,
        Some(_) => Role::Controller,
    }
}

/// Returns the capacity of a group if the API reports it. Reserved capacity is reported as
/// on-demand.
fn capacity(group: &ClusterInstanceGroupDetails) -> Option<Capacity> {
    if group.training_plan_arn().is_some() {
        return Some(Capacity::TrainingPlan);
    }
    let requirements = group.capacity_requirements()?;
    if requirements.spot().is_some() {
        return Some(Capacity::Spot);
    }
    requirements.on_demand().map(|_| Capacity::OnDemand)
}

/// Converts one node of a listing.
pub(crate) fn listed(node: &ClusterNodeSummary) -> Result<ListedNode, ReadError> {
    let id = node.instance_id().ok_or_else(|| unreadable("a node has no id"))?;
    let launched = node.launch_time().ok_or_else(|| unreadable(format!("{id}: no LaunchTime")))?;
    Ok(ListedNode {
        id: id.parse().map_err(|why| unreadable(format!("invalid node id: {why}")))?,
        group: group_name(node.instance_group_name())?,
        launched: time(launched)?,
        status: instance_status(node.instance_status()),
        name: node.private_dns_hostname().and_then(first_label),
        joined: Joined::ByDnsName,
        address: None,
        image: node.current_image_release_version().map(Arc::from),
        health: HEALTHY,
        protected: false,
        capacity: NodeCapacity::Unread,
    })
}

/// Converts the details that only DescribeClusterNode returns.
pub(crate) fn details(node: &ClusterNodeDetails) -> NodeDetails {
    let capacity = match node.capacity_type().map(|capacity| capacity.as_str()) {
        Some("Spot") => Some(Capacity::Spot),
        Some("OnDemand") => Some(Capacity::OnDemand),
        // An unknown capacity type counts as reserved, which is never deleted to save money.
        Some(_) => Some(Capacity::Reserved),
        None => None,
    };
    NodeDetails { capacity, ip: node.private_primary_ip().and_then(|ip| ip.parse().ok()) }
}

pub(crate) fn time(time: &DateTime) -> Result<Time, ReadError> {
    time.to_millis().map(Time).map_err(|why| unreadable(format!("invalid time: {why}")))
}

/// Returns the first label: `ip-10-1-57-141` for `ip-10-1-57-141.us-west-2.compute.internal`.
fn first_label(host: &str) -> Option<NodeName> {
    host.split('.').next().and_then(|label| label.parse().ok())
}

/// Converts a node's status. A missing status counts as unrecognised.
pub(crate) fn instance_status(details: Option<&ClusterInstanceStatusDetails>) -> InstanceStatus {
    match details.and_then(|details| details.status()).map(|status| status.as_str()) {
        Some("Running") => InstanceStatus::Running,
        Some("Pending") => InstanceStatus::Pending,
        Some("Failure") => InstanceStatus::Failure,
        Some("ShuttingDown") => InstanceStatus::ShuttingDown,
        Some("SystemUpdating") => InstanceStatus::SystemUpdating,
        Some("DeepHealthCheckInProgress") => InstanceStatus::DeepHealthCheck,
        other => InstanceStatus::Unrecognised(other.unwrap_or("no status").into()),
    }
}
