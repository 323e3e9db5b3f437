//! UpdateCluster: adds, changes and deletes groups.
//!
//! A group that is not listed stays unchanged, a new name adds a group, and only
//! InstanceGroupsToDelete deletes one. Members that cannot be updated are compared with the
//! current configuration; the others are stored under DescribeCluster's names.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use trimtab_core::ids::GroupName;
use trimtab_core::reads::{Capacity, Role};
use trimtab_core::units::NodeCount;
use trimtab_daemon::ports::DeleteOutcome;
use trimtab_simulator::control::{ControlPlane, GroupChange, has_acted};
use trimtab_simulator::spec::GroupSpec;
use trimtab_simulator::spec::api::{EchoAnswer, Omission, Orchestrator};
use trimtab_simulator::truth::Caller;

use super::error::ApiError;
use super::read::{failure, is_continuous};
use super::{Call, Failure, Outcome, requests};
use crate::configured::configured;
use crate::hosts::Hosted;

/// Members that may be sent only with their current value.
const FIXED: [&str; 3] = ["InstanceType", "ExecutionRole", "ThreadsPerCore"];
/// Members that cannot be updated. The world's `echo` decides whether a request may contain
/// their current value.
const NOT_UPDATABLE: [&str; 2] = ["OverrideVpcConfig", "CapacityRequirements"];
/// Members that are removed if a request omits them and the world's `omission` is `clears`.
const CLEARED_BY_OMISSION: [&str; 3] = ["TrainingPlanArn", "AutoPatchConfig", "KubernetesConfig"];
/// Members that are stored unchanged.
const COPIED: [&str; 8] = [
    "LifeCycleConfig",
    "InstanceStorageConfigs",
    "OnStartDeepHealthChecks",
    "TrainingPlanArn",
    "ScheduledUpdateConfig",
    "SlurmConfig",
    "NetworkInterface",
    "ThreadsPerCore",
];

/// The changes of an accepted request.
#[derive(Default)]
struct Changes {
    groups: Vec<GroupChange>,
    /// New configured members of the groups that change.
    configured: Vec<(GroupName, Map<String, Value>)>,
    cluster: Map<String, Value>,
}

pub(super) fn update_cluster(call: &Call<'_>) -> Outcome {
    let own = call.cluster(requests::UPDATE_CLUSTER)?;
    if let Some(why) = own.world.refuses_changes() {
        return Err(ApiError::said(&why).into());
    }
    let plane = own.world.control().map_err(failure)?;
    let mut changes =
        Changes { cluster: cluster_members(call, own, &plane)?, ..Changes::default() };
    let mut listed = BTreeSet::new();
    for item in call.list("InstanceGroups") {
        let name = text(item, "InstanceGroupName");
        if !listed.insert(name.to_owned()) {
            return Err(refused(name, "is listed twice").into());
        }
        update_group(own, &plane, item, name, &mut changes)?;
    }
    delete_groups(call, &plane, &listed, &mut changes)?;
    let outcome = own.world.update_cluster(&changes.groups, Caller::Daemon);
    if has_acted(&outcome) {
        let mut memory = own.memory();
        memory.groups.extend(changes.configured);
        memory.cluster.extend(changes.cluster);
    }
    match outcome {
        DeleteOutcome::Answered { .. } => Ok(json!({ "ClusterArn": own.arn() })),
        DeleteOutcome::Refused { why, .. } => Err(ApiError::said(&why).into()),
        DeleteOutcome::NoAnswer { .. } => Err(Failure::Silence),
    }
}

fn text<'a>(item: &'a Value, name: &str) -> &'a str {
    item.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn refused(group: &str, what: &str) -> ApiError {
    ApiError::validation(format!("Instance group {group} {what}"))
}

fn count(item: &Value, name: &str) -> Option<NodeCount> {
    let count = item.get(name)?.as_u64()?;
    u32::try_from(count).ok().map(NodeCount)
}

fn update_group(
    own: &Hosted,
    plane: &ControlPlane,
    item: &Value,
    name: &str,
    changes: &mut Changes,
) -> Result<(), ApiError> {
    let group: GroupName = name.parse().map_err(|_| refused(name, "has an invalid name"))?;
    let wanted = count(item, "InstanceCount").unwrap_or_default();
    let min = count(item, "MinInstanceCount");
    match (item.get("InstanceType"), item.get("InstanceRequirements")) {
        (Some(_), None) | (None, Some(_)) => {}
        (Some(_), Some(_)) | (None, None) => {
            let what = "must have either InstanceType or InstanceRequirements";
            return Err(refused(name, what));
        }
    }
    if min.is_some() && !is_continuous(own) {
        return Err(refused(name, "has MinInstanceCount, which requires Continuous provisioning"));
    }
    if let Some(min) = min.filter(|min| *min > wanted) {
        let what = format!("has MinInstanceCount {min} above InstanceCount {wanted}");
        return Err(refused(name, &what));
    }
    if let Some(existing) = plane.group(name) {
        let memory = own.memory();
        let configured = memory.groups.get(&group).cloned().unwrap_or_default();
        drop(memory);
        check_fixed(plane, item, name, &configured)?;
        if min.is_none()
            && let Some(current) = existing.min.filter(|min| *min > wanted)
        {
            let what = format!("has MinCount {current}: lower MinInstanceCount as well");
            return Err(refused(name, &what));
        }
        let configured = merge(plane, item, configured);
        changes.configured.push((group.clone(), configured));
        changes.groups.push(GroupChange::Set { group, count: wanted, min });
        return Ok(());
    }
    let spec = new_group(own, plane, item, group.clone(), wanted, min)?;
    let base =
        configured(&plane.spec, &spec).map_err(|why| ApiError::validation(why.to_string()))?;
    // A new group has only the defaults that every group needs.
    let keep = ["InstanceType", "ExecutionRole", "ThreadsPerCore"];
    let base = base.into_iter().filter(|(name, _)| keep.contains(&name.as_str())).collect();
    let mut configured = merge(plane, item, base);
    for name in FIXED.iter().chain(&NOT_UPDATABLE) {
        if let Some(value) = item.get(*name) {
            configured.insert((*name).to_owned(), value.clone());
        }
    }
    if item.get("InstanceRequirements").is_some() {
        configured.remove("InstanceType");
    }
    changes.configured.push((group, configured));
    changes.groups.push(GroupChange::Add(Box::new(spec)));
    Ok(())
}

fn check_fixed(
    plane: &ControlPlane,
    item: &Value,
    name: &str,
    configured: &Map<String, Value>,
) -> Result<(), ApiError> {
    for member in FIXED {
        if let Some(value) = item.get(member)
            && configured.get(member).is_some_and(|own| own != value)
        {
            let what = format!("has a different {member}, which cannot be changed");
            return Err(refused(name, &what));
        }
    }
    let is_flexible = configured.contains_key("InstanceRequirements");
    if item.get("InstanceRequirements").is_some() != is_flexible {
        return Err(refused(name, "cannot change between InstanceType and InstanceRequirements"));
    }
    for member in NOT_UPDATABLE {
        let Some(value) = item.get(member) else { continue };
        let is_echo = configured.get(member) == Some(value);
        let passes = match plane.spec.api.echo {
            EchoAnswer::Accepted => is_echo,
            EchoAnswer::Refused => false,
        };
        if !passes {
            let why = format!("Updating fields {member} on an InstanceGroup not supported");
            return Err(ApiError::validation(why));
        }
    }
    let role = |config: Option<&Value>| config.map(|config| text(config, "NodeType").to_owned());
    let (new, old) = (role(item.get("SlurmConfig")), role(configured.get("SlurmConfig")));
    if new.is_some() && old.is_some() && new != old {
        return Err(refused(name, "cannot change its SlurmConfig.NodeType"));
    }
    Ok(())
}

/// The configured members of a group after the update.
fn merge(plane: &ControlPlane, item: &Value, configured: Map<String, Value>) -> Map<String, Value> {
    let mut merged = configured;
    match plane.spec.api.omission {
        Omission::Keeps => {}
        Omission::Clears => {
            for member in CLEARED_BY_OMISSION {
                if item.get(member).is_none() {
                    merged.remove(member);
                }
            }
            if item.get("TrainingPlanArn").is_none() {
                merged.remove("TrainingPlanStatus");
            }
        }
    }
    for member in COPIED {
        if let Some(value) = item.get(member) {
            merged.insert(member.to_owned(), value.clone());
        }
    }
    if item.get("TrainingPlanArn").is_some() && !merged.contains_key("TrainingPlanStatus") {
        merged.insert("TrainingPlanStatus".to_owned(), json!("Active"));
    }
    if let Some(types) = item.get("InstanceRequirements").and_then(|r| r.get("InstanceTypes")) {
        let both = json!({ "CurrentInstanceTypes": types, "DesiredInstanceTypes": types });
        merged.insert("InstanceRequirements".to_owned(), both);
    }
    if let Some(Value::Object(patch)) = item.get("AutoPatchConfig") {
        let mut patch = patch.clone();
        if let Some(schedule) = patch.remove("PatchSchedule") {
            patch.insert("CurrentPatchSchedule".to_owned(), schedule.clone());
            patch.insert("DesiredPatchSchedule".to_owned(), schedule);
        }
        merged.insert("AutoPatchConfig".to_owned(), Value::Object(patch));
    }
    if let Some(config) = item.get("KubernetesConfig") {
        let mut both = Map::new();
        for plain in ["Labels", "Taints"] {
            if let Some(value) = config.get(plain) {
                both.insert(format!("Current{plain}"), value.clone());
                both.insert(format!("Desired{plain}"), value.clone());
            }
        }
        merged.insert("KubernetesConfig".to_owned(), Value::Object(both));
    }
    for (sent, shown) in
        [("ImageId", "DesiredImageId"), ("ImageReleaseVersion", "DesiredImageReleaseVersion")]
    {
        if let Some(value) = item.get(sent) {
            merged.insert(shown.to_owned(), value.clone());
        }
    }
    merged
}

fn new_group(
    own: &Hosted,
    plane: &ControlPlane,
    item: &Value,
    name: GroupName,
    wanted: NodeCount,
    min: Option<NodeCount>,
) -> Result<GroupSpec, ApiError> {
    let mut spec = GroupSpec::new(name.clone(), wanted);
    spec.min_count = min;
    let first_type = item
        .get("InstanceRequirements")
        .and_then(|wants| wants.get("InstanceTypes"))
        .and_then(|types| types.get(0));
    let kind = item.get("InstanceType").or(first_type).and_then(Value::as_str);
    if let Some(kind) = kind {
        spec.instance_type = kind.to_owned();
        // Copy price, GPUs and boot time from a group with the same instance type.
        if let Some(like) = plane.spec.groups.iter().find(|group| group.instance_type == kind) {
            spec.price = like.price;
            spec.gpus_per_node = like.gpus_per_node;
            spec.boot = like.boot;
        }
    }
    if item.get("CapacityRequirements").is_some_and(|wants| wants.get("Spot").is_some()) {
        if !is_continuous(own) {
            return Err(refused(name.as_str(), "is Spot, which requires Continuous provisioning"));
        }
        spec.capacity = Capacity::Spot;
    }
    if item.get("TrainingPlanArn").is_some() {
        spec.capacity = Capacity::TrainingPlan;
    }
    if let Some(config) = item.get("SlurmConfig") {
        match plane.spec.api.orchestrator {
            Orchestrator::Slurm => {}
            Orchestrator::SlurmLegacy | Orchestrator::Eks => {
                return Err(refused(name.as_str(), "has a SlurmConfig but the cluster has none"));
            }
        }
        spec.role = match text(config, "NodeType") {
            "Controller" => {
                let why = "cannot be added: a cluster has exactly one Controller group";
                return Err(refused(name.as_str(), why));
            }
            "Login" => Role::Login,
            _ => Role::Worker,
        };
        let partition = config.get("PartitionNames").and_then(|names| names.get(0));
        spec.partition = partition.and_then(Value::as_str).and_then(|name| name.parse().ok());
    }
    Ok(spec)
}

fn delete_groups(
    call: &Call<'_>,
    plane: &ControlPlane,
    listed: &BTreeSet<String>,
    changes: &mut Changes,
) -> Result<(), ApiError> {
    let gone: BTreeSet<&str> = call.texts("InstanceGroupsToDelete").into_iter().collect();
    for name in &gone {
        if listed.contains(*name) {
            return Err(refused(name, "is in InstanceGroups and InstanceGroupsToDelete"));
        }
        let group = plane.group(name).map(|group| plane.spec_of(group).name.clone());
        let group = group.ok_or_else(|| refused(name, "could not be found in the cluster"))?;
        changes.groups.push(GroupChange::Delete(group));
    }
    let stays = |name: &str| !gone.contains(name);
    let left = plane.groups.iter().filter(|group| !group.deleting);
    let left = left.filter(|group| stays(plane.spec_of(group).name.as_str())).count();
    let added = listed.iter().filter(|name| plane.group(name).is_none()).count();
    if left + added == 0 {
        return Err(ApiError::validation("A cluster must keep at least one instance group"));
    }
    Ok(())
}

/// Changes to members of the cluster itself.
fn cluster_members(
    call: &Call<'_>,
    own: &Hosted,
    plane: &ControlPlane,
) -> Result<Map<String, Value>, ApiError> {
    let mut members = Map::new();
    let memory = own.memory();
    let shown = memory.cluster.get("AutoScaling").map(|own| text(own, "Mode").to_owned());
    drop(memory);
    let scales = plane.state.rival_autoscaler || shown.as_deref() == Some("Enable");
    let asked = call.body.get("AutoScaling").map(|wanted| text(wanted, "Mode"));
    if call.body.contains_key("ClusterRole") && scales && asked != Some("Disable") {
        let why = "ClusterRole cannot be updated while autoscaling is enabled";
        return Err(ApiError::validation(why));
    }
    if call.body.contains_key("NodeProvisioningMode") && !is_continuous(own) {
        let why = "NodeProvisioningMode of an existing cluster cannot be changed";
        return Err(ApiError::validation(why));
    }
    let strategy = call.body.get("Orchestrator").and_then(|wanted| wanted.get("Slurm"));
    if strategy.is_some_and(|slurm| slurm.get("SlurmConfigStrategy").is_some())
        && is_continuous(own)
    {
        let why = "SlurmConfigStrategy cannot be sent for a cluster with Continuous provisioning";
        return Err(ApiError::validation(why));
    }
    if call.body.contains_key("RestrictedInstanceGroups") {
        let why = "The cluster has no restricted instance groups";
        return Err(ApiError::validation(why));
    }
    match asked {
        Some("Enable") => {
            match plane.spec.api.orchestrator {
                Orchestrator::Eks if is_continuous(own) => {}
                Orchestrator::Eks | Orchestrator::Slurm | Orchestrator::SlurmLegacy => {
                    let why = "AutoScaling requires EKS and Continuous provisioning";
                    return Err(ApiError::validation(why));
                }
            }
            let on =
                json!({ "Mode": "Enable", "AutoScalerType": "Karpenter", "Status": "InService" });
            members.insert("AutoScaling".to_owned(), on);
        }
        Some(_) => {
            let off = json!({ "Mode": "Disable", "Status": "InService" });
            members.insert("AutoScaling".to_owned(), off);
        }
        None => {}
    }
    for name in ["NodeRecovery", "ClusterRole", "TieredStorageConfig"] {
        if let Some(value) = call.body.get(name) {
            members.insert(name.to_owned(), value.clone());
        }
    }
    Ok(members)
}
