//! The request members of each operation, with the model's constraints.

use super::shape::{Member, Shape, Text, may, must};

/// Maximum node count in the model.
pub(super) const MOST_NODES: i64 = 6758;

const fn text(min: usize, max: usize, pattern: &'static str, fits: fn(&str) -> bool) -> Shape {
    Shape::Text(Text { min, max, pattern: Some((pattern, fits)) })
}

const fn any_text(max: usize) -> Shape {
    Shape::Text(Text { min: 0, max, pattern: None })
}

/// `[a-zA-Z0-9](-*[a-zA-Z0-9])*`
fn is_name(said: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    !said.is_empty() && said.bytes().all(plain) && !said.starts_with('-') && !said.ends_with('-')
}

fn is_name_or_arn(said: &str) -> bool {
    is_cluster_arn(said) || (said.len() <= 63 && is_name(said))
}

fn is_cluster_arn(said: &str) -> bool {
    let Some(id) = arn_resource(said, "sagemaker", "cluster/") else { return false };
    id.len() == 12 && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

/// The resource name in an ARN of this service and kind; `None` for any other text.
fn arn_resource<'a>(said: &'a str, service: &str, kind: &str) -> Option<&'a str> {
    let parts: Vec<&str> = said.splitn(6, ':').collect();
    let [arn, partition, its_service, region, account, resource] = parts[..] else { return None };
    let slug = |text: &str| {
        text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let fits = arn == "arn"
        && partition.starts_with("aws")
        && its_service == service
        && slug(region)
        && account.len() == 12
        && account.bytes().all(|b| b.is_ascii_digit());
    resource.strip_prefix(kind).filter(|_| fits)
}

fn is_node_id(said: &str) -> bool {
    said.parse::<trimtab_core::ids::InstanceId>().is_ok()
}

fn is_logical_id(said: &str) -> bool {
    said.len() >= 2 && is_name(said)
}

fn is_role_arn(said: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b"_+=,.@-/".contains(&b);
    let role = arn_resource(said, "iam", "role/").or_else(|| arn_resource(said, "iam", "role"));
    role.is_some_and(|role| !role.is_empty() && role.bytes().all(word))
}

fn is_plan_arn(said: &str) -> bool {
    arn_resource(said, "sagemaker", "training-plan/").is_some()
}

fn is_sagemaker_arn(said: &str) -> bool {
    arn_resource(said, "sagemaker", "").is_some_and(|resource| !resource.is_empty())
}

fn is_s3_uri(said: &str) -> bool {
    let rest = said.strip_prefix("s3://").or_else(|| said.strip_prefix("https://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
}

fn is_visible(said: &str) -> bool {
    !said.is_empty() && said.bytes().all(|b| (0x21..=0x7e).contains(&b))
}

fn is_id_word(said: &str) -> bool {
    !said.is_empty() && said.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn is_release(said: &str) -> bool {
    let parts: Vec<&str> = said.split('.').collect();
    parts.len() == 3
        && parts.iter().all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
}

fn is_image(said: &str) -> bool {
    let hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
    said == "default"
        || said.strip_prefix("ami-").is_some_and(|id| (8..=17).contains(&id.len()) && hex(id))
}

fn is_instance_type(said: &str) -> bool {
    // The model lists more than 200 types; only the form is checked here.
    let rest = said.strip_prefix("ml.").unwrap_or_default();
    rest.split_once('.').is_some_and(|(family, size)| !family.is_empty() && !size.is_empty())
        && rest.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b))
}

fn is_zone(said: &str) -> bool {
    let last = said.as_bytes().last().copied().unwrap_or_default();
    said.split('-').count() >= 3 && last.is_ascii_lowercase() && is_name(said)
}

fn is_operation(said: &str) -> bool {
    let parts: Vec<usize> = said.split('-').map(str::len).collect();
    parts == [8, 4, 4, 4, 12] && said.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}

const CLUSTER: Shape = text(
    0,
    256,
    "((arn:aws[a-z\\-]*:sagemaker:[a-z0-9\\-]*:[0-9]{12}:cluster/[a-z0-9]{12})|\
     ([a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}))",
    is_name_or_arn,
);
const GROUP: Shape = text(1, 63, "[a-zA-Z0-9](-*[a-zA-Z0-9])*", is_name);
const NODE_ID: Shape = text(1, 256, "i-[a-f0-9]{8}(?:[a-f0-9]{9})?", is_node_id);
const LOGICAL_ID: Shape = text(1, 128, "[a-zA-Z0-9][a-zA-Z0-9\\-]*[a-zA-Z0-9]", is_logical_id);
const ROLE: Shape =
    text(20, 2048, "arn:aws[a-z\\-]*:iam::\\d{12}:role/?[a-zA-Z_0-9+=,.@\\-_/]+", is_role_arn);
const PLAN: Shape = text(
    50,
    2048,
    "arn:aws[a-z\\-]*:sagemaker:[a-z0-9\\-]*:[0-9]{12}:training-plan/.*",
    is_plan_arn,
);
const TOKEN: Shape = any_text(8192);
const S3: Shape = text(0, 1024, "(https|s3)://([^/]+)/?(.*)", is_s3_uri);
const FILE: Shape = Shape::Text(Text { min: 1, max: 128, pattern: None });
const INSTANCE_TYPE: Shape = text(1, 64, "ml.<family>.<size>", is_instance_type);
const RELEASE: Shape = text(0, 64, "[0-9]+\\.[0-9]+\\.[0-9]+", is_release);
const IMAGE: Shape = text(7, 21, "(ami-[0-9a-fA-F]{8,17}|default)", is_image);
const ZONE: Shape = text(1, 64, "[a-z]{2}-[a-z]+-\\d[a-z]", is_zone);
const ID_WORD: Shape = text(0, 32, "[-0-9a-zA-Z]+", is_id_word);
const PAGE: Shape = Shape::Whole { min: 1, max: 100 };
const COUNT: Shape = Shape::Whole { min: 0, max: MOST_NODES };
const ORDER: Shape = Shape::Word(&["Ascending", "Descending"]);
const SORT: Shape = Shape::Word(&["CREATION_TIME", "NAME"]);
const TIME: Shape = Shape::Timestamp;
const FLAG: Shape = Shape::Flag;
const OPEN: Shape = Shape::Map;

pub(super) const LIST_CLUSTERS: &[Member] = &[
    may("CreationTimeAfter", &TIME),
    may("CreationTimeBefore", &TIME),
    may("MaxResults", &PAGE),
    may("NameContains", &NAME_PART),
    may("NextToken", &TOKEN),
    may("SortBy", &SORT),
    may("SortOrder", &ORDER),
    may("TrainingPlanArn", &PLAN),
];
const NAME_PART: Shape = text(0, 63, "[a-zA-Z0-9\\-]+", is_id_word);

pub(super) const DESCRIBE_CLUSTER: &[Member] = &[must("ClusterName", &CLUSTER)];

pub(super) const LIST_NODES: &[Member] = &[
    must("ClusterName", &CLUSTER),
    may("CreationTimeAfter", &TIME),
    may("CreationTimeBefore", &TIME),
    may("InstanceGroupNameContains", &GROUP),
    may("MaxResults", &PAGE),
    may("NextToken", &TOKEN),
    may("SortBy", &SORT),
    may("SortOrder", &ORDER),
    may("IncludeNodeLogicalIds", &FLAG),
];

pub(super) const DESCRIBE_NODE: &[Member] =
    &[must("ClusterName", &CLUSTER), may("NodeId", &NODE_ID), may("NodeLogicalId", &LOGICAL_ID)];

/// Limits of the model. The operation itself checks the lower limits of the service.
pub(super) const BATCH_DELETE: &[Member] = &[
    must("ClusterName", &CLUSTER),
    may("NodeIds", &Shape::List { min: 1, max: 3000, of: &NODE_ID }),
    may("NodeLogicalIds", &Shape::List { min: 1, max: 99, of: &LOGICAL_ID }),
];

pub(super) const BATCH_ADD: &[Member] = &[
    must("ClusterName", &CLUSTER),
    may("ClientToken", &text(0, 64, "[\\x21-\\x7E]+", is_visible)),
    must("NodesToAdd", &Shape::List { min: 1, max: 5, of: &Shape::Structure(NODES_TO_ADD) }),
];
const NODES_TO_ADD: &[Member] = &[
    must("InstanceGroupName", &GROUP),
    must("IncrementTargetCountBy", &Shape::Whole { min: 1, max: 50 }),
    may("AvailabilityZones", &Shape::List { min: 1, max: 10, of: &ZONE }),
    may("InstanceTypes", &Shape::List { min: 1, max: 20, of: &INSTANCE_TYPE }),
];

pub(super) const UPDATE_SOFTWARE: &[Member] = &[
    must("ClusterName", &CLUSTER),
    may("InstanceGroups", &Shape::List { min: 1, max: 100, of: &Shape::Structure(SOFTWARE_GROUP) }),
    may("DeploymentConfig", &OPEN),
    may("ImageId", &IMAGE),
];
const SOFTWARE_GROUP: &[Member] =
    &[must("InstanceGroupName", &GROUP), may("ImageReleaseVersion", &RELEASE)];

pub(super) const LIST_EVENTS: &[Member] = &[
    must("ClusterName", &CLUSTER),
    may("InstanceGroupName", &GROUP),
    may("NodeId", &NODE_ID),
    may("EventTimeAfter", &TIME),
    may("EventTimeBefore", &TIME),
    may("SortBy", &Shape::Word(&["EventTime"])),
    may("SortOrder", &ORDER),
    may("ResourceType", &Shape::Word(&["Cluster", "InstanceGroup", "Instance"])),
    may("OperationId", &OPERATION),
    may("MaxResults", &PAGE),
    may("NextToken", &TOKEN),
];
const OPERATION: Shape =
    text(0, 36, "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", is_operation);

pub(super) const LIST_TAGS: &[Member] = &[
    must(
        "ResourceArn",
        &text(0, 256, "arn:aws[a-z-]*:sagemaker:[a-z0-9-]*:[0-9]{12}:.+", is_sagemaker_arn),
    ),
    may("NextToken", &TOKEN),
    may("MaxResults", &Shape::Whole { min: 50, max: i32::MAX as i64 }),
];

pub(super) const UPDATE_CLUSTER: &[Member] = &[
    must("ClusterName", &CLUSTER),
    may("InstanceGroups", &Shape::List { min: 1, max: 100, of: &Shape::Structure(UPDATE_GROUP) }),
    may("RestrictedInstanceGroups", &Shape::List { min: 1, max: 100, of: &OPEN }),
    may("RestrictedInstanceGroupsConfig", &OPEN),
    may("TieredStorageConfig", &Shape::Structure(TIERED)),
    may("NodeRecovery", &Shape::Word(&["Automatic", "None"])),
    may("InstanceGroupsToDelete", &Shape::List { min: 0, max: 100, of: &GROUP }),
    may("NodeProvisioningMode", &Shape::Word(&["Continuous"])),
    may("ClusterRole", &ROLE),
    may("AutoScaling", &Shape::Structure(AUTO_SCALING)),
    may("Orchestrator", &OPEN),
];
const MODE: Shape = Shape::Word(&["Enable", "Disable"]);
const TIERED: &[Member] = &[
    must("Mode", &MODE),
    may("InstanceMemoryAllocationPercentage", &Shape::Whole { min: 0, max: 100 }),
];
const AUTO_SCALING: &[Member] =
    &[must("Mode", &MODE), may("AutoScalerType", &Shape::Word(&["Karpenter"]))];
const UPDATE_GROUP: &[Member] = &[
    must("InstanceCount", &COUNT),
    must("InstanceGroupName", &GROUP),
    may("InstanceType", &INSTANCE_TYPE),
    may("InstanceRequirements", &Shape::Structure(REQUIREMENTS)),
    may("MinInstanceCount", &COUNT),
    may("LifeCycleConfig", &Shape::Structure(LIFE_CYCLE)),
    must("ExecutionRole", &ROLE),
    may("ThreadsPerCore", &Shape::Whole { min: 1, max: 2 }),
    may("InstanceStorageConfigs", &Shape::List { min: 0, max: 4, of: &Shape::Structure(STORAGE) }),
    may("OnStartDeepHealthChecks", &Shape::List { min: 1, max: 3, of: &HEALTH_CHECK }),
    may("TrainingPlanArn", &PLAN),
    may("OverrideVpcConfig", &Shape::Structure(VPC)),
    may("ScheduledUpdateConfig", &Shape::Structure(SCHEDULED)),
    may("ImageId", &IMAGE),
    may("AutoPatchConfig", &Shape::Structure(AUTO_PATCH)),
    may("ImageReleaseVersion", &RELEASE),
    may("KubernetesConfig", &Shape::Structure(KUBERNETES)),
    may("SlurmConfig", &Shape::Structure(SLURM)),
    may("CapacityRequirements", &Shape::Structure(CAPACITY)),
    may("NetworkInterface", &Shape::Structure(NETWORK)),
];
const REQUIREMENTS: &[Member] =
    &[must("InstanceTypes", &Shape::List { min: 1, max: 20, of: &INSTANCE_TYPE })];
const LIFE_CYCLE: &[Member] =
    &[may("SourceS3Uri", &S3), may("OnCreate", &FILE), may("OnInitComplete", &FILE)];
const STORAGE: &[Member] =
    &[may("EbsVolumeConfig", &Shape::Structure(EBS)), may("FsxLustreConfig", &OPEN)];
const EBS: &[Member] =
    &[may("VolumeSizeInGB", &Shape::Whole { min: 1, max: 16384 }), may("RootVolume", &FLAG)];
const HEALTH_CHECK: Shape =
    Shape::Word(&["InstanceStress", "InstanceConnectivity", "MultiNodeTrainingValidation"]);
const VPC: &[Member] = &[
    must("SecurityGroupIds", &Shape::List { min: 1, max: 5, of: &ID_WORD }),
    must("Subnets", &Shape::List { min: 1, max: 16, of: &ID_WORD }),
];
const SCHEDULED: &[Member] = &[
    must("ScheduleExpression", &Shape::Text(Text { min: 1, max: 256, pattern: None })),
    may("DeploymentConfig", &OPEN),
];
const AUTO_PATCH: &[Member] = &[
    must("PatchingStrategy", &Shape::Word(&["WhenIdle", "WhenAllIdle", "DrainFirst"])),
    may("PatchSchedule", &Shape::Structure(&[may("NextPatchDate", &TIME)])),
    may("DeploymentConfig", &OPEN),
    may("IdleWaitWindowInSeconds", &Shape::Whole { min: 3600, max: 2_160_000 }),
    may("DrainPolicy", &OPEN),
];
const KUBERNETES: &[Member] = &[may("Labels", &OPEN), may("Taints", &TAINTS)];
const TAINTS: Shape = Shape::List { min: 0, max: 50, of: &OPEN };
const SLURM: &[Member] = &[
    must("NodeType", &Shape::Word(&["Controller", "Login", "Compute"])),
    may("PartitionNames", &Shape::List { min: 0, max: 1, of: &any_text(1024) }),
];
const CAPACITY: &[Member] = &[may("Spot", &OPEN), may("OnDemand", &OPEN)];
const NETWORK: &[Member] = &[may("InterfaceType", &Shape::Word(&["efa", "efa-only"]))];
