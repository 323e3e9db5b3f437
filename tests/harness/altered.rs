//! Ports whose answers are changed on their way to the daemon.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use trimtab_core::ids::{ClusterName, InstanceId, LedgerId};
use trimtab_core::reads::{ClusterDescription, InstanceStatus, NodeListing};
use trimtab_daemon::ports::{ClusterRead, Cordon, CordonOrder, NodeDetails, ReadError, WriteError};

type Details = BTreeMap<InstanceId, NodeDetails>;

/// Changes the details that were read of these nodes.
type DetailsChange = Box<dyn Fn(&[InstanceId], Details) -> Details + Send + Sync>;

/// A cluster of which some answers are changed.
pub struct AlteredCluster {
    inner: Arc<dyn ClusterRead>,
    before_describe: Box<dyn Fn() + Send + Sync>,
    describe: Box<dyn Fn(&mut ClusterDescription) + Send + Sync>,
    details: DetailsChange,
}

impl AlteredCluster {
    /// Changes nothing yet.
    pub fn new(inner: Arc<dyn ClusterRead>) -> Self {
        Self {
            inner,
            before_describe: Box::new(|| {}),
            describe: Box::new(|_| {}),
            details: Box::new(|_, read| read),
        }
    }

    /// Calls this before every DescribeCluster.
    pub fn before_describe(self, run: impl Fn() + Send + Sync + 'static) -> Self {
        Self { before_describe: Box::new(run), ..self }
    }

    /// Changes the answers of DescribeCluster.
    pub fn describing(
        self,
        change: impl Fn(&mut ClusterDescription) + Send + Sync + 'static,
    ) -> Self {
        Self { describe: Box::new(change), ..self }
    }

    /// Changes what the descriptions of these nodes say.
    pub fn detailing(
        self,
        change: impl Fn(&[InstanceId], Details) -> Details + Send + Sync + 'static,
    ) -> Self {
        Self { details: Box::new(change), ..self }
    }
}

#[async_trait]
impl ClusterRead for AlteredCluster {
    async fn describe(&self, cluster: &ClusterName) -> Result<ClusterDescription, ReadError> {
        (self.before_describe)();
        let mut read = self.inner.describe(cluster).await?;
        (self.describe)(&mut read);
        Ok(read)
    }

    async fn list_nodes(&self, cluster: &ClusterName) -> Result<NodeListing, ReadError> {
        self.inner.list_nodes(cluster).await
    }

    async fn describe_node(
        &self,
        cluster: &ClusterName,
        node: InstanceId,
    ) -> Result<Option<InstanceStatus>, ReadError> {
        self.inner.describe_node(cluster, node).await
    }

    async fn details(
        &self,
        cluster: &ClusterName,
        nodes: &[InstanceId],
    ) -> Result<Details, ReadError> {
        Ok((self.details)(nodes, self.inner.details(cluster, nodes).await?))
    }
}

/// Which releases are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drops {
    /// Every release.
    All,
    /// Only the first one.
    First,
}

/// A cordon port that loses releases and reports them as done.
pub struct Unreleasing {
    cordon: Arc<dyn Cordon>,
    drops: Drops,
    dropped: AtomicBool,
}

impl Unreleasing {
    /// In front of this port.
    pub fn new(cordon: Arc<dyn Cordon>, drops: Drops) -> Self {
        Self { cordon, drops, dropped: AtomicBool::new(false) }
    }
}

#[async_trait]
impl Cordon for Unreleasing {
    async fn cordon(
        &self,
        cluster: &ClusterName,
        ledger: &LedgerId,
        orders: &[CordonOrder],
    ) -> Result<(), WriteError> {
        self.cordon.cordon(cluster, ledger, orders).await
    }

    async fn release(
        &self,
        cluster: &ClusterName,
        ledger: &LedgerId,
        orders: &[CordonOrder],
    ) -> Result<(), WriteError> {
        let was_dropped = self.dropped.swap(true, Ordering::Relaxed);
        if self.drops == Drops::All || !was_dropped {
            return Ok(());
        }
        self.cordon.release(cluster, ledger, orders).await
    }
}
