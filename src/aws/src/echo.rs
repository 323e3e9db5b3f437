//! Converts a group from DescribeCluster into an UpdateCluster entry that changes nothing but
//! its count. Pure functions on the original JSON.
//!
//! The API does not document what UpdateCluster does with members that are left out of a listed
//! group. It is known to remove some (a training plan) and to change others (the image). Every
//! member is therefore sent, under its name in the request. A member that this build does not
//! know cannot be sent, so the request is not made.
//!
//! The lists follow the API model of 2026-10. The mapping follows the page "Update a SageMaker
//! HyperPod cluster" and the shapes ClusterInstanceGroupDetails and
//! ClusterInstanceGroupSpecification.

use serde_json::{Map, Value};

/// Why a group cannot be sent unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EchoError {
    /// A member that this build does not know. UpdateCluster might remove it.
    #[error("this version of trimtab does not know group member {0} and cannot send it unchanged")]
    Unknown(String),
    /// A required member is missing.
    #[error("{0} is missing")]
    Missing(String),
    /// A member has an unexpected type.
    #[error("{0} has an unexpected type")]
    Wrong(String),
    /// The image is being replaced, or cannot be named in the request.
    #[error("the group's image cannot be sent unchanged: {0}")]
    Image(String),
}

/// Allowed content of a member.
enum Shape {
    /// A string, number or boolean.
    Plain,
    /// Any names with plain values, such as labels.
    Map,
    /// A list of items of this shape.
    List(&'static Shape),
    /// An object with these members and no others.
    Struct(&'static [(&'static str, Shape)]),
}

use Shape::{List, Plain, Struct};

static CAPACITY_SIZE: [(&str, Shape); 2] = [("Type", Plain), ("Value", Plain)];
static ROLLING: [(&str, Shape); 2] = [
    ("MaximumBatchSize", Struct(&CAPACITY_SIZE)),
    ("RollbackMaximumBatchSize", Struct(&CAPACITY_SIZE)),
];
static ALARM: Shape = Struct(&[("AlarmName", Plain)]);
static DEPLOYMENT: [(&str, Shape); 3] = [
    ("RollingUpdatePolicy", Struct(&ROLLING)),
    ("WaitIntervalInSeconds", Plain),
    ("AutoRollbackConfiguration", List(&ALARM)),
];
static SCHEDULE: [(&str, Shape); 1] = [("NextPatchDate", Plain)];
static STORAGE: Shape = Struct(&[
    (
        "EbsVolumeConfig",
        Struct(&[("VolumeSizeInGB", Plain), ("VolumeKmsKeyId", Plain), ("RootVolume", Plain)]),
    ),
    ("FsxLustreConfig", Struct(&[("DnsName", Plain), ("MountName", Plain), ("MountPath", Plain)])),
    ("FsxOpenZfsConfig", Struct(&[("DnsName", Plain), ("MountPath", Plain)])),
]);
static TYPE_DETAIL: Shape =
    Struct(&[("InstanceType", Plain), ("CurrentCount", Plain), ("ThreadsPerCore", Plain)]);
static TAINT: Shape = Struct(&[("Key", Plain), ("Value", Plain), ("Effect", Plain)]);

/// How a member is sent.
enum Fate {
    /// Sent under the same name.
    Copy,
    /// Not sent; the request has no such member.
    ReadOnly,
    /// Sent in another form, by its own rule in [`specification`].
    Changed,
}

static MEMBERS: [(&str, Fate, Shape); 31] = [
    ("InstanceGroupName", Fate::Copy, Plain),
    ("InstanceType", Fate::Copy, Plain),
    (
        "LifeCycleConfig",
        Fate::Copy,
        Struct(&[("SourceS3Uri", Plain), ("OnCreate", Plain), ("OnInitComplete", Plain)]),
    ),
    ("ExecutionRole", Fate::Copy, Plain),
    ("ThreadsPerCore", Fate::Copy, Plain),
    ("InstanceStorageConfigs", Fate::Copy, List(&STORAGE)),
    ("OnStartDeepHealthChecks", Fate::Copy, List(&Plain)),
    ("TrainingPlanArn", Fate::Copy, Plain),
    (
        "OverrideVpcConfig",
        Fate::Copy,
        Struct(&[("SecurityGroupIds", List(&Plain)), ("Subnets", List(&Plain))]),
    ),
    (
        "ScheduledUpdateConfig",
        Fate::Copy,
        Struct(&[("ScheduleExpression", Plain), ("DeploymentConfig", Struct(&DEPLOYMENT))]),
    ),
    (
        "CapacityRequirements",
        Fate::Copy,
        Struct(&[("Spot", Struct(&[])), ("OnDemand", Struct(&[]))]),
    ),
    ("SlurmConfig", Fate::Copy, Struct(&[("NodeType", Plain), ("PartitionNames", List(&Plain))])),
    ("NetworkInterface", Fate::Copy, Struct(&[("InterfaceType", Plain)])),
    ("TargetCount", Fate::Changed, Plain),
    ("MinCount", Fate::Changed, Plain),
    (
        "InstanceRequirements",
        Fate::Changed,
        Struct(&[("CurrentInstanceTypes", List(&Plain)), ("DesiredInstanceTypes", List(&Plain))]),
    ),
    (
        "AutoPatchConfig",
        Fate::Changed,
        Struct(&[
            ("PatchingStrategy", Plain),
            ("CurrentPatchSchedule", Struct(&SCHEDULE)),
            ("DesiredPatchSchedule", Struct(&SCHEDULE)),
            ("DeploymentConfig", Struct(&DEPLOYMENT)),
            ("IdleWaitWindowInSeconds", Plain),
            ("DrainPolicy", Struct(&[("DrainTimeoutInSeconds", Plain), ("OnDrainTimeout", Plain)])),
        ]),
    ),
    (
        "KubernetesConfig",
        Fate::Changed,
        Struct(&[
            ("CurrentLabels", Shape::Map),
            ("DesiredLabels", Shape::Map),
            ("CurrentTaints", List(&TAINT)),
            ("DesiredTaints", List(&TAINT)),
        ]),
    ),
    ("CurrentImageId", Fate::Changed, Plain),
    ("DesiredImageId", Fate::Changed, Plain),
    ("CurrentImageReleaseVersion", Fate::Changed, Plain),
    ("DesiredImageReleaseVersion", Fate::Changed, Plain),
    ("CurrentCount", Fate::ReadOnly, Plain),
    ("InstanceTypeDetails", Fate::ReadOnly, List(&TYPE_DETAIL)),
    ("Status", Fate::ReadOnly, Plain),
    ("TrainingPlanStatus", Fate::ReadOnly, Plain),
    ("ImageVersionStatus", Fate::ReadOnly, Plain),
    ("ActiveOperations", Fate::ReadOnly, Shape::Map),
    ("TargetStateCount", Fate::ReadOnly, Plain),
    ("SoftwareUpdateStatus", Fate::ReadOnly, Plain),
    ("ActiveSoftwareUpdateConfig", Fate::ReadOnly, Struct(&DEPLOYMENT)),
];

/// Returns the group's entry for UpdateCluster, with this count and everything else unchanged.
///
/// # Errors
/// When a member cannot be sent unchanged.
pub fn specification(group: &Value, count: u32) -> Result<Value, EchoError> {
    let group = group.as_object().ok_or_else(|| EchoError::Wrong("the group".to_owned()))?;
    let mut sent = Map::new();
    for (name, value) in group.iter().filter(|(_, value)| !value.is_null()) {
        let Some((_, fate, shape)) = MEMBERS.iter().find(|(known, ..)| known == name) else {
            return Err(EchoError::Unknown(name.clone()));
        };
        check(name, value, shape)?;
        match fate {
            Fate::Copy => {
                sent.insert(name.clone(), value.clone());
            }
            Fate::ReadOnly | Fate::Changed => {}
        }
    }
    for required in ["InstanceGroupName", "ExecutionRole"] {
        if !sent.contains_key(required) {
            return Err(EchoError::Missing(required.to_owned()));
        }
    }
    let target = number(group, "TargetCount")?;
    if target.is_none() {
        return Err(EchoError::Missing("TargetCount".to_owned()));
    }
    sent.insert("InstanceCount".to_owned(), count.into());
    if let Some(least) = number(group, "MinCount")? {
        sent.insert("MinInstanceCount".to_owned(), least.min(u64::from(count)).into());
    }
    if let Some(requirements) = member(group, "InstanceRequirements") {
        let types = desired(requirements, "DesiredInstanceTypes", "CurrentInstanceTypes")
            .ok_or_else(|| {
                EchoError::Missing("InstanceRequirements.DesiredInstanceTypes".into())
            })?;
        let renamed = Map::from_iter([("InstanceTypes".to_owned(), types.clone())]);
        sent.insert("InstanceRequirements".to_owned(), renamed.into());
    }
    if let Some(patching) = member(group, "AutoPatchConfig") {
        sent.insert("AutoPatchConfig".to_owned(), auto_patch(patching)?);
    }
    if let Some(kubernetes) = member(group, "KubernetesConfig") {
        sent.insert("KubernetesConfig".to_owned(), labels_and_taints(kubernetes));
    }
    sent.extend(image(group)?);
    Ok(sent.into())
}

/// Fails if the value contains anything that this build does not know.
fn check(path: &str, value: &Value, shape: &Shape) -> Result<(), EchoError> {
    let wrong = || EchoError::Wrong(path.to_owned());
    match shape {
        Plain => match value {
            Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
            Value::Null | Value::Array(_) | Value::Object(_) => Err(wrong()),
        },
        Shape::Map => {
            let map = value.as_object().ok_or_else(wrong)?;
            map.iter().try_for_each(|(name, value)| check(&format!("{path}.{name}"), value, &Plain))
        }
        List(of) => {
            let list = value.as_array().ok_or_else(wrong)?;
            list.iter().try_for_each(|value| check(path, value, of))
        }
        Struct(members) => {
            let value = value.as_object().ok_or_else(wrong)?;
            value.iter().filter(|(_, value)| !value.is_null()).try_for_each(|(name, value)| {
                let path = format!("{path}.{name}");
                match members.iter().find(|(known, _)| known == name) {
                    Some((_, shape)) => check(&path, value, shape),
                    None => Err(EchoError::Unknown(path)),
                }
            })
        }
    }
}

fn member<'a>(group: &'a Map<String, Value>, name: &str) -> Option<&'a Map<String, Value>> {
    group.get(name).and_then(Value::as_object)
}

fn number(group: &Map<String, Value>, name: &str) -> Result<Option<u64>, EchoError> {
    match group.get(name).filter(|value| !value.is_null()) {
        None => Ok(None),
        Some(value) => value.as_u64().map(Some).ok_or_else(|| EchoError::Wrong(name.to_owned())),
    }
}

fn text<'a>(group: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    group.get(name).and_then(Value::as_str)
}

/// Returns the desired value. If only the current value is reported, it is also the desired
/// one.
fn desired<'a>(config: &'a Map<String, Value>, wanted: &str, now: &str) -> Option<&'a Value> {
    let shown = |name: &str| config.get(name).filter(|value| !value.is_null());
    shown(wanted).or_else(|| shown(now))
}

fn auto_patch(config: &Map<String, Value>) -> Result<Value, EchoError> {
    let mut sent = Map::new();
    for name in ["PatchingStrategy", "DeploymentConfig", "IdleWaitWindowInSeconds", "DrainPolicy"] {
        if let Some(value) = config.get(name).filter(|value| !value.is_null()) {
            sent.insert(name.to_owned(), value.clone());
        }
    }
    if !sent.contains_key("PatchingStrategy") {
        return Err(EchoError::Missing("AutoPatchConfig.PatchingStrategy".to_owned()));
    }
    if let Some(schedule) = desired(config, "DesiredPatchSchedule", "CurrentPatchSchedule") {
        sent.insert("PatchSchedule".to_owned(), schedule.clone());
    }
    Ok(sent.into())
}

fn labels_and_taints(config: &Map<String, Value>) -> Value {
    let mut sent = Map::new();
    if let Some(labels) = desired(config, "DesiredLabels", "CurrentLabels") {
        sent.insert("Labels".to_owned(), labels.clone());
    }
    if let Some(taints) = desired(config, "DesiredTaints", "CurrentTaints") {
        sent.insert("Taints".to_owned(), taints.clone());
    }
    sent.into()
}

/// Returns the image and release. UpdateCluster installs the newest release if none is given,
/// so a group that reports a release must name it. A group whose image is being replaced is not
/// changed.
fn image(group: &Map<String, Value>) -> Result<Map<String, Value>, EchoError> {
    let mut sent = Map::new();
    let (current, desired) = (text(group, "CurrentImageId"), text(group, "DesiredImageId"));
    if let (Some(current), Some(desired)) = (current, desired)
        && current != desired
    {
        return Err(EchoError::Image(format!("{current} is being replaced by {desired}")));
    }
    let release =
        (text(group, "CurrentImageReleaseVersion"), text(group, "DesiredImageReleaseVersion"));
    match release {
        (None, None) => {}
        (Some(current), Some(desired)) if current != desired => {
            let what = format!("release {current} is being replaced by {desired}");
            return Err(EchoError::Image(what));
        }
        (_, Some(desired)) => {
            sent.insert("ImageReleaseVersion".to_owned(), desired.into());
        }
        (Some(current), None) => {
            let what = format!("release {current} is reported without the desired release");
            return Err(EchoError::Image(what));
        }
    }
    // Only images from AWS have releases, and the release identifies the image. A custom image
    // is identified by its id.
    if sent.is_empty()
        && let Some(image) = desired.or(current)
    {
        sent.insert("ImageId".to_owned(), image.into());
    }
    Ok(sent)
}
