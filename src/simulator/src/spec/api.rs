//! How the API in front of the world looks and answers, where users of HyperPod
//! have it in one way or another, or where nobody outside AWS knows.
//!
//! The defaults are what the documentation says, or the likelier answer; each
//! switch has the other one, so that a client can be tried on both.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use trimtab_core::units::{NodeCount, Span, Time};

use super::text::{self, Between};

/// Clusters created before 2024-06-20 (00:00 UTC) refuse BatchDeleteClusterNodes until
/// UpdateClusterSoftware has run once: the day that the release notes name.
pub const DELETES_SINCE: Time = Time::from_secs(1_718_841_600);
/// 2025-06-01T00:00:00Z: any day after [`DELETES_SINCE`].
const DEFAULT_CREATED: Time = Time::from_secs(1_748_736_000);

/// The API in front of a world.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiSpec {
    /// The account, 12 digits.
    pub account: String,
    /// The region.
    pub region: String,
    /// When the cluster was created.
    #[serde(with = "text::time")]
    pub created: Time,
    /// Whether UpdateClusterSoftware has run since; only asked of clusters
    /// older than [`DELETES_SINCE`].
    pub patched: bool,
    /// Who schedules jobs, as DescribeCluster shows it.
    pub orchestrator: Orchestrator,
    /// Whether broken nodes are replaced, as DescribeCluster shows it.
    pub node_recovery: NodeRecovery,
    /// Most nodes that the account's quota lets the cluster have; growing
    /// beyond is ResourceLimitExceeded.
    pub max_nodes: NodeCount,
    /// In continuous clusters: from a node's launch to its instance id. Until
    /// then it is listed only with IncludeNodeLogicalIds.
    #[serde(with = "text::span")]
    pub instance_delay: Span,
    /// How long UpdateClusterSoftware takes.
    pub software_update: Between,
    /// The cluster's tags.
    pub tags: BTreeMap<String, String>,
    /// A delete request while the cluster is busy.
    pub busy: BusyAnswer,
    /// A delete request that fails for every node.
    pub all_failed: AllFailedAnswer,
    /// A delete request for more than 99 nodes.
    pub over_limit: OverLimitAnswer,
    /// When an accepted delete lowers TargetCount.
    pub target_falls: TargetFalls,
    /// A delete that takes a group below its MinCount.
    pub below_min: BelowMinAnswer,
    /// OverrideVpcConfig and CapacityRequirements sent unchanged with
    /// UpdateCluster.
    pub echo: EchoAnswer,
    /// TrainingPlanArn, AutoPatchConfig and KubernetesConfig left out of a group
    /// that UpdateCluster lists.
    pub omission: Omission,
    /// ListClusterEvents.
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
            // The largest InstanceCount that the API's model takes.
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

/// Who schedules jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Orchestrator {
    /// Slurm, each group's role in its SlurmConfig.
    Slurm,
    /// Slurm of an older cluster: the API shows no orchestrator and no role.
    SlurmLegacy,
    /// Kubernetes.
    Eks,
}

/// Whether broken nodes are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeRecovery {
    /// They are.
    Automatic,
    /// They are not.
    None,
}

/// What a delete request gets while the cluster is busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BusyAnswer {
    /// ConflictException, which the operation's model does not list.
    Conflict,
    /// ValidationException.
    Validation,
}

/// The HTTP 400 of a delete request that fails for every node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AllFailedAnswer {
    /// ValidationException with the codes in its message.
    Validation,
    /// The same, and the lists of a partial failure beside it.
    Lists,
    /// The first node's code as the exception's name.
    Code,
}

/// What a delete request for more than 99 nodes gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OverLimitAnswer {
    /// ValidationException.
    Validation,
    /// ResourceLimitExceeded.
    ResourceLimit,
    /// It is carried out: the model's own limit is 3000.
    Accepted,
}

/// When an accepted delete lowers TargetCount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TargetFalls {
    /// With the answer.
    AtOnce,
    /// When the node has ended.
    AtEnd,
}

/// What a delete that takes a group below its MinCount gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BelowMinAnswer {
    /// MinCount only gates the group's first growth.
    Accepted,
    /// ValidationException.
    Refused,
}

/// What members get that may not change and are sent unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EchoAnswer {
    /// Nothing changes.
    Accepted,
    /// ValidationException: updating these fields is not supported.
    Refused,
}

/// What becomes of members that are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Omission {
    /// They stay.
    Keeps,
    /// They are gone.
    Clears,
}

/// What ListClusterEvents gives in continuous clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventsAnswer {
    /// The newest events.
    Listed,
    /// None at all.
    Empty,
}
