//! The cluster: its groups and nodes, and the two requests that end a node's life.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use trimtab_core::audit::{ClearedBatch, ClearedGroup};
pub use trimtab_core::backoff::Refusal;
use trimtab_core::ids::{ClusterName, InstanceId};
use trimtab_core::policy::Capacity;
use trimtab_core::snapshot::{ClusterDescription, InstanceStatus, NodeListing};
use trimtab_core::units::Span;

use super::ReadError;

/// Reads clusters, groups and nodes.
#[async_trait]
pub trait ClusterRead: Send + Sync {
    /// The cluster and its groups (DescribeCluster).
    async fn describe(&self, cluster: &ClusterName) -> Result<ClusterDescription, ReadError>;

    /// The same, asked right before a call for a whole group. It must be a call
    /// that begins now: an implementation that keeps answers for a while, or
    /// shares one that is under way, must not do so here.
    async fn recount(&self, cluster: &ClusterName) -> Result<ClusterDescription, ReadError> {
        self.describe(cluster).await
    }

    /// All nodes, all pages (ListClusterNodes).
    async fn list_nodes(&self, cluster: &ClusterName) -> Result<NodeListing, ReadError>;

    /// One node by its id (DescribeClusterNode); `None` if there is none.
    async fn describe_node(
        &self,
        cluster: &ClusterName,
        node: InstanceId,
    ) -> Result<Option<InstanceStatus>, ReadError>;

    /// What only each node's own description shows (DescribeClusterNode, one
    /// call a node). It never changes in an instance's life, so an
    /// implementation keeps what it was told for as long as it lives, and asking
    /// again for the same instance costs no call. A node that is missing in the
    /// answer could not be read this time.
    ///
    /// # Errors
    /// When none of them could be read.
    async fn details(
        &self,
        cluster: &ClusterName,
        nodes: &[InstanceId],
    ) -> Result<BTreeMap<InstanceId, NodeDetails>, ReadError>;
}

/// What only a node's own description shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeDetails {
    /// How it is paid for; `None` where the API shows none.
    pub capacity: Option<Capacity>,
    /// Its address in the customer's network.
    pub ip: Option<IpAddr>,
}

/// How a delete request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// HTTP 200: a word on every node. A node without one counts as unanswered.
    Answered {
        /// Nodes that are being deleted.
        accepted: Vec<InstanceId>,
        /// Nodes that are not, with the API's code.
        failed: Vec<(InstanceId, Arc<str>)>,
    },
    /// The whole request was refused, for sure without having acted.
    Refused {
        /// Which kind of refusal it is, as far as the answer proves it.
        cause: Refusal,
        /// What the API said.
        why: Arc<str>,
    },
    /// No answer, or one that leaves open whether it acted.
    NoAnswer {
        /// What happened instead.
        why: Arc<str>,
    },
}

impl DeleteOutcome {
    /// Nothing left: the look behind the request is too old by now.
    pub fn too_late() -> Self {
        let why = "not sent: the look behind it had grown too old".into();
        Self::Refused { cause: Refusal::NotSent, why }
    }
}

/// Deletes nodes. The only way to end a node's life in this program.
#[async_trait]
pub trait ClusterWrite: Send + Sync {
    /// Sends the request (BatchDeleteClusterNodes) once, without retry. The look behind it
    /// is good for `within` from now: after that nothing may leave any more.
    async fn delete_nodes(&self, request: &ClearedBatch, within: Span) -> DeleteOutcome;

    /// Sets the group to the cleared count (UpdateCluster) once, without retry, `within` as for named nodes.
    /// Every other member of the group is sent as it is; where that cannot be
    /// done for sure, nothing is sent and the call is refused as
    /// [`Refusal::Unknown`], so that an operator is told.
    ///
    /// The API accepts a count and picks the nodes by itself, so an answer that
    /// accepts is `Answered` with every node of the group accepted, and none
    /// failed: each of them may go.
    async fn shrink_group(&self, cleared: &ClearedGroup, within: Span) -> DeleteOutcome;
}
