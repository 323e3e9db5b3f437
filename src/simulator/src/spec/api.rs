//! Behaviour of the API in front of the world, where it differs between HyperPod clusters or is not
//! known outside AWS.
//!
//! The default of each switch is the documented behaviour, or the more likely one. The other values
//! allow tests of a client against the alternatives.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use trimtab_core::units::{NodeCount, Span, Time};

use crate::text::{self, Between};

/// Release date of BatchDeleteClusterNodes: 2024-06-20 (00:00 UTC), by the release notes. Clusters
/// created earlier refuse it until UpdateClusterSoftware has run once.
pub const DELETES_SINCE: Time = Time::from_secs(1_718_841_600);
/// 2025-06-01T00:00:00Z: a date after [`DELETES_SINCE`].
const DEFAULT_CREATED: Time = Time::from_secs(1_748_736_000);

/// The API in front of a world.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiSpec {
    /// AWS account id, 12 digits.
    pub account: String,
    /// AWS Region.
    pub region: String,
    /// Creation time of the cluster.
    #[serde(with = "text::time")]
    pub created: Time,
    /// Whether UpdateClusterSoftware has run since the creation. Only used for clusters older than
    /// [`DELETES_SINCE`].
    pub patched: bool,
    /// Orchestrator, as DescribeCluster shows it.
    pub orchestrator: Orchestrator,
    /// Whether HyperPod replaces failed nodes, as DescribeCluster shows it.
    pub node_recovery: NodeRecovery,
    /// The account's quota for nodes of the cluster. Growing beyond it fails with
    /// ResourceLimitExceeded.
    pub max_nodes: NodeCount,
    /// In continuous clusters: time from a node's launch until it has an instance id. Until then it
    /// is listed only with IncludeNodeLogicalIds.
    #[serde(with = "text::span")]
    pub instance_delay: Span,
    /// Duration of UpdateClusterSoftware.
    pub software_update: Between,
    /// Tags of the cluster.
    pub tags: BTreeMap<String, String>,
    /// Answer to a delete request while the cluster is busy.
    pub busy: BusyAnswer,
    /// Answer to a delete request that fails forevery node.
    pub all_failed: AllFailedAnswer,
    /// Answer to a delete request for more than 99 nodes.
    pub over_limit: OverLimitAnswer,
    /// When an accepted delete lowers TargetCount.
    pub target_falls: TargetFalls,
    /// Answer to a delete request that takes a group below its MinCount.
    pub below_min: BelowMinAnswer,
    /// Answer to OverrideVpcConfig and CapacityRequirements sent unchanged with UpdateCluster.
    pub echo: EchoAnswer,
    /// Meaning of TrainingPlanArn, AutoPatchConfig and KubernetesConfig left out of a group that
    /// UpdateCluster lists.
    pub omission: Omission,
    /// Answer to ListClusterEvents.
    pub events: EventsAnswer,
    /// Whether nodes that are being deleted show as a Scaling operation of
    /// their group.
    pub deletes_show_as_scaling: bool,
}

impl Default for ApiSpec {
    fn default() -> Self {
        Self {
            account: "123456789012".to_owned(),
            region: "us-west-2".to_owned(),
            created: DEFAULT_CREATED,
            patched: false,
            orchestrator: Orchestrator::Slurm,
            node_recovery: NodeRecovery::Automatic,
            // The largest InstanceCount in the API model.
            max_nodes: NodeCount(6758),
            instance_delay: Span::ZERO,
            software_update: Between::secs(30 * 60, 60 * 60),
            tags: BTreeMap::new(),
            busy: BusyAnswer::Conflict,
            all_failed: AllFailedAnswer::Validation,
            over_limit: OverLimitAnswer::Validation,
            target_falls: TargetFalls::AtOnce,
            below_min: BelowMinAnswer::Accepted,
            echo: EchoAnswer::Accepted,
            omission: Omission::Keeps,
            events: EventsAnswer::Listed,
            deletes_show_as_scaling: false,
        }
    }
}

/// Orchestrator of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Orchestrator {
    /// Slurm, with each group's role in its SlurmConfig.
    Slurm,
    /// Slurm in an older cluster: the API shows no orchestrator and no roles.
    SlurmLegacy,
    /// Kubernetes.
    Eks,
}

/// Whether HyperPod replaces failed nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeRecovery {
    /// Failed nodes are replaced.
    Automatic,
    /// Failed nodes are not replaced.
    None,
}

/// Answer to a delete request while the cluster is busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BusyAnswer {
    /// ConflictException, which the API model does not list for this operation.
    Conflict,
    /// ValidationException.
    Validation,
}

/// HTTP 400 answer to a delete request that fails forevery node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AllFailedAnswer {
    /// ValidationException with the codes in its message.
    Validation,
    /// ValidationException, plus the lists of a partial failure.
    Lists,
    /// An exception named after the code of the first node.
    Code,
}

/// Answer to a delete request for more than 99 nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OverLimitAnswer {
    /// ValidationException.
    Validation,
    /// ResourceLimitExceeded.
    ResourceLimit,
    /// The request is carried out: the limit in the API model is 3000.
    Accepted,
}

/// When an accepted delete lowers TargetCount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TargetFalls {
    /// At once, with the answer.
    AtOnce,
    /// When the node is terminated.
    AtEnd,
}

/// Answer to a delete request that takes a group below its MinCount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BelowMinAnswer {
    /// The request is accepted: MinCount applies only to the group's first growth.
    Accepted,
    /// ValidationException.
    Refused,
}

/// Answer to members that cannot be changed and are sent unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EchoAnswer {
    /// The request is accepted; nothing changes.
    Accepted,
    /// ValidationException: updating these fields is not supported.
    Refused,
}

/// Meaning of members that are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Omission {
    /// They keep their values.
    Keeps,
    /// They are removed.
    Clears,
}

/// Answer to ListClusterEvents in continuous clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventsAnswer {
    /// The newest events.
    Listed,
    /// An empty list.
    Empty,
}
