//! Reads one cluster through the SageMaker API.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use aws_sdk_sagemaker::types::{ClusterNodeDetails, ClusterSortBy, SortOrder};
use futures_util::StreamExt as _;
use trimtab_core::ids::{ClusterName, InstanceId};
use trimtab_core::reads::{ClusterDescription, InstanceStatus, NodeListing};
use trimtab_daemon::ports::{ClusterRead, NodeDetails, ReadError};

use crate::connection::Connection;
use crate::convert;
use crate::failure::{code, is_not_found, read_error};

/// Nodes per page: the API's maximum.
const PAGE: i32 = 100;
/// Limit on the pages of one listing: 100,000 nodes, fifteen times the largest group.
const MOST_PAGES: usize = 1000;
/// Single-node reads that run at the same time.
const NODES_AT_ONCE: usize = 4;
/// Limit on the nodes whose details are cached: a few times the largest cluster, including
/// replacements.
const DETAILS_KEPT: usize = 50_000;

/// One cluster, read and changed through the SageMaker API.
#[derive(Debug, Clone)]
pub struct Cluster {
    pub(crate) connection: Connection,
    /// Cached details, which do not change during the life of an instance.
    details: Arc<Mutex<BTreeMap<InstanceId, NodeDetails>>>,
}

impl Cluster {
    /// Returns the cluster behind this connection.
    pub fn new(connection: Connection) -> Self {
        Self { connection, details: Arc::default() }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<InstanceId, NodeDetails>> {
        self.details.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls DescribeClusterNode. Returns `None` if the node does not exist.
    async fn read_node(
        &self,
        cluster: &ClusterName,
        node: InstanceId,
    ) -> Result<Option<ClusterNodeDetails>, ReadError> {
        let request = self.connection.reads.describe_cluster_node();
        let request = request.cluster_name(cluster.as_str()).node_id(node.to_string());
        match request.send().await {
            Ok(output) => {
                let details = output.node_details;
                let details = details.ok_or_else(|| convert::unreadable("no NodeDetails"))?;
                if details.instance_id() != Some(node.to_string().as_str()) {
                    return Err(convert::unreadable(format!("the response is not for {node}")));
                }
                Ok(Some(details))
            }
            Err(error) if code(&error).is_some_and(is_not_found) => Ok(None),
            Err(error) => Err(read_error("DescribeClusterNode", &error)),
        }
    }
}

#[async_trait]
impl ClusterRead for Cluster {
    async fn describe(&self, cluster: &ClusterName) -> Result<ClusterDescription, ReadError> {
        let request = self.connection.reads.describe_cluster().cluster_name(cluster.as_str());
        let output = request.send().await.map_err(|e| read_error("DescribeCluster", &e))?;
        convert::description(&output, &self.connection.target)
    }

    /// Lists nodes in the order of creation, so that a node that appears or disappears between
    /// two pages does not move other nodes across a page boundary (F6). Each page needs the
    /// token of the previous one.
    async fn list_nodes(&self, cluster: &ClusterName) -> Result<NodeListing, ReadError> {
        let mut nodes = vec![];
        let mut tokens = BTreeSet::new();
        let mut token: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let request = self.connection.reads.list_cluster_nodes();
            let request = request
                .cluster_name(cluster.as_str())
                .sort_by(ClusterSortBy::CreationTime)
                .sort_order(SortOrder::Ascending)
                .max_results(PAGE)
                .set_next_token(token);
            let page = request.send().await.map_err(|e| read_error("ListClusterNodes", &e))?;
            for node in page.cluster_node_summaries() {
                nodes.push(convert::listed(node)?);
            }
            token = page.next_token;
            match &token {
                None => return Ok(NodeListing { complete: true, nodes }),
                // A repeated token would make the listing endless.
                Some(token) if !tokens.insert(token.clone()) => break,
                Some(_) => {}
            }
        }
        Ok(NodeListing { complete: false, nodes })
    }

    async fn describe_node(
        &self,
        cluster: &ClusterName,
        node: InstanceId,
    ) -> Result<Option<InstanceStatus>, ReadError> {
        let details = self.read_node(cluster, node).await?;
        Ok(details.map(|details| convert::instance_status(details.instance_status())))
    }

    async fn details(
        &self,
        cluster: &ClusterName,
        nodes: &[InstanceId],
    ) -> Result<BTreeMap<InstanceId, NodeDetails>, ReadError> {
        let mut read = BTreeMap::new();
        let mut unknown = vec![];
        {
            let known = self.known();
            for node in nodes {
                match known.get(node) {
                    Some(details) => drop(read.insert(*node, *details)),
                    None => unknown.push(*node),
                }
            }
        }
        let mut pending = vec![];
        for node in unknown {
            pending.push(async move { (node, self.read_node(cluster, node).await) });
        }
        let mut answers = futures_util::stream::iter(pending).buffered(NODES_AT_ONCE);
        let mut failed = None;
        while let Some((node, answer)) = answers.next().await {
            match answer {
                Ok(Some(details)) => {
                    let details = convert::details(&details);
                    let mut known = self.known();
                    if known.len() >= DETAILS_KEPT {
                        known.clear();
                    }
                    known.insert(node, details);
                    read.insert(node, details);
                }
                Ok(None) => {}
                // If the service does not answer, do not send the remaining requests in this
                // tick.
                Err(why @ (ReadError::NoAnswer(_) | ReadError::Throttled(_))) => {
                    failed = Some(why);
                    break;
                }
                Err(why) => failed = Some(why),
            }
        }
        match failed {
            Some(why) if read.is_empty() => Err(why),
            Some(_) | None => Ok(read),
        }
    }
}
