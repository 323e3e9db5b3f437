//! The cluster: its groups and nodes, and the two requests that end a node's life.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use trimtab_core::audit::{ClearedBatch, ClearedGroup};
pub use trimtab_core::backoff::Refusal;
use trimtab_core::ids::{ClusterName, InstanceId};
use trimtab_core::reads::{Capacity, ClusterDescription, InstanceStatus, NodeListing};
use trimtab_core::units::Span;

use super::ReadError;

/// Reads clusters, groups and nodes.
#[async_trait]
pub trait ClusterRead: Send + Sync {
    /// Returns the cluster and its groups (DescribeCluster).
    async fn describe(&self, cluster: &ClusterName) -> Result<ClusterDescription, ReadError>;

    /// Returns the cluster and its groups right before a request for a whole group. The
    /// implementation must send a new request: it must not return a kept answer, or wait for
    /// a request that is already under way.
    async fn recount(&self, cluster: &ClusterName) -> Result<ClusterDescription, ReadError> {
        self.describe(cluster).await
    }

    /// Returns all nodes, from all pages (ListClusterNodes).
    async fn list_nodes(&self, cluster: &ClusterName) -> Result<NodeListing, ReadError>;

    /// Returns the status of one node (DescribeClusterNode), or `None` if there is no such node.
    async fn describe_node(
        &self,
        cluster: &ClusterName,
        node: InstanceId,
    ) -> Result<Option<InstanceStatus>, ReadError>;

    /// Returns what only the description of each node shows (DescribeClusterNode, one request
    /// per node). Details never change during the life of an instance, so an implementation
    /// keeps them, and a second call for the same instance sends no request. A node whose
    /// details could not be read is missing in the answer.
    ///
    /// # Errors
    /// When the details of no node could be read.
    async fn details(
        &self,
        cluster: &ClusterName,
        nodes: &[InstanceId],
    ) -> Result<BTreeMap<InstanceId, NodeDetails>, ReadError>;
}

/// What only the description of a node shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeDetails {
    /// Capacity type; `None` where the API shows none.
    pub capacity: Option<Capacity>,
    /// Address in the customer's network.
    pub ip: Option<IpAddr>,
}

/// How a delete request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// HTTP 200 with a result for each node. A node without a result counts as unanswered.
    Answered {
        /// Nodes that are being deleted.
        accepted: Vec<InstanceId>,
        /// Nodes that are not, with the API's code.
        failed: Vec<(InstanceId, Arc<str>)>,
    },
    /// The API refused the whole request and certainly deleted nothing.
    Refused {
        /// Kind of refusal, as far as the answer proves it.
        cause: Refusal,
        /// Message of the API.
        why: Arc<str>,
    },
    /// No answer, or an answer that does not prove that nothing was deleted.
    NoAnswer {
        /// What happened instead of an answer.
        why: Arc<str>,
    },
}

impl DeleteOutcome {
    /// The outcome of a request that was not sent, because its look is older than allowed.
    pub fn too_late() -> Self {
        let why = "not sent: the look behind it had grown too old".into();
        Self::Refused { cause: Refusal::NotSent, why }
    }
}

/// Deletes nodes. No other port can.
#[async_trait]
pub trait ClusterWrite: Send + Sync {
    /// Sends the request (BatchDeleteClusterNodes) once, without retry. The request must leave
    /// within `within` from now; after that its look is too old and nothing may be sent.
    async fn delete_nodes(&self, request: &ClearedBatch, within: Span) -> DeleteOutcome;

    /// Sets the group to the cleared count (UpdateCluster) once, without retry. `within` is as
    /// for [`delete_nodes`](Self::delete_nodes). Every other member of the group is sent
    /// unchanged. If that is not certain, nothing is sent and the outcome is
    /// [`Refusal::Unknown`], which notifies the operator.
    ///
    /// The API accepts a count and chooses the nodes by itself. So an accepted request is
    /// `Answered` with every node of the group accepted: each of them may be deleted.
    async fn shrink_group(&self, cleared: &ClearedGroup, within: Span) -> DeleteOutcome;
}
