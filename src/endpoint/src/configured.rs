//! Configured members of groups: roles, scripts, storage, networks. They are derived from
//! the spec, always with the same result, and the `details` of a group are applied to them.

use serde_json::{Map, Value, json};
use toml::value::Datetime;
use trimtab_core::reads::{Capacity, Provisioning, Role};
use trimtab_simulator::spec::api::Orchestrator;
use trimtab_simulator::spec::{GroupSpec, WorldSpec};

use crate::json::object;
use trimtab_core::digest::fnv1a;

/// A value in `details` that JSON cannot express.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BadDetail {
    /// Infinity or NaN.
    #[error("{0} is not a JSON number")]
    NotFinite(f64),
    /// A timestamp.
    #[error("{0}: write a timestamp as seconds since 1970")]
    Datetime(Datetime),
}

/// The configured members of a group, under DescribeCluster's names, with the spec's
/// `details` applied.
///
/// # Errors
/// If `details` contains a value that JSON cannot express.
pub(crate) fn configured(
    spec: &WorldSpec,
    group: &GroupSpec,
) -> Result<Map<String, Value>, BadDetail> {
    let (account, region) = (&spec.api.account, &spec.api.region);
    let mut members = object(json!({
        "InstanceType": group.instance_type,
        "ExecutionRole": format!("arn:aws:iam::{account}:role/HyperPodExecutionRole"),
        "LifeCycleConfig": {
            "SourceS3Uri": format!("s3://sagemaker-{region}-{account}/lifecycle"),
            "OnCreate": "on_create.sh",
        },
        "ThreadsPerCore": 1,
        "InstanceStorageConfigs": [{ "EbsVolumeConfig": { "VolumeSizeInGB": 500 } }],
        "OverrideVpcConfig": network(spec, group.name.as_str()),
    }));
    if let Some(slurm) = slurm_config(spec, group) {
        members.insert("SlurmConfig".to_owned(), slurm);
    }
    let is_continuous = match spec.provisioning {
        Provisioning::Continuous => true,
        Provisioning::Classic => false,
    };
    match group.capacity {
        Capacity::OnDemand if is_continuous => {
            members.insert("CapacityRequirements".to_owned(), json!({ "OnDemand": {} }));
        }
        Capacity::Spot => {
            members.insert("CapacityRequirements".to_owned(), json!({ "Spot": {} }));
        }
        Capacity::TrainingPlan => {
            let plan = format!("arn:aws:sagemaker:{region}:{account}:training-plan/{}", group.name);
            members.insert("TrainingPlanArn".to_owned(), json!(plan));
            members.insert("TrainingPlanStatus".to_owned(), json!("Active"));
        }
        // The API does not show capacity that the AWS account team reserved.
        Capacity::OnDemand | Capacity::Reserved => {}
    }
    for (name, value) in &group.details {
        members.insert(name.clone(), from_toml(value)?);
    }
    if group.details.contains_key("InstanceRequirements")
        && !group.details.contains_key("InstanceType")
    {
        members.remove("InstanceType");
    }
    Ok(members)
}

fn slurm_config(spec: &WorldSpec, group: &GroupSpec) -> Option<Value> {
    match spec.api.orchestrator {
        Orchestrator::Slurm => {}
        Orchestrator::SlurmLegacy | Orchestrator::Eks => return None,
    }
    Some(match group.role {
        Role::Controller => json!({ "NodeType": "Controller" }),
        Role::Login => json!({ "NodeType": "Login" }),
        Role::Worker => {
            let partition = group.partition();
            // The API allows fewer characters in a partition name than Slurm.
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
            let names: Vec<&str> =
                Some(partition.as_str()).filter(|n| n.bytes().all(plain)).into_iter().collect();
            json!({ "NodeType": "Compute", "PartitionNames": names })
        }
    })
}

/// A security group and a subnet for each group, derived from its name.
pub(crate) fn network(spec: &WorldSpec, whose: &str) -> Value {
    let number = fnv1a(format!("{}/{whose}", spec.cluster).as_bytes());
    json!({
        "SecurityGroupIds": [format!("sg-{:017x}", number)],
        "Subnets": [format!("subnet-{:017x}", number.rotate_left(7))],
    })
}

fn from_toml(value: &toml::Value) -> Result<Value, BadDetail> {
    Ok(match value {
        toml::Value::String(text) => json!(text),
        toml::Value::Integer(number) => json!(number),
        toml::Value::Float(number) if number.is_finite() => json!(number),
        toml::Value::Float(number) => return Err(BadDetail::NotFinite(*number)),
        toml::Value::Boolean(flag) => json!(flag),
        toml::Value::Datetime(at) => {
            return Err(BadDetail::Datetime(*at));
        }
        toml::Value::Array(items) => {
            Value::Array(items.iter().map(from_toml).collect::<Result<_, _>>()?)
        }
        toml::Value::Table(table) => {
            let members = table.iter().map(|(name, v)| Ok((name.clone(), from_toml(v)?)));
            Value::Object(members.collect::<Result<_, BadDetail>>()?)
        }
    })
}
