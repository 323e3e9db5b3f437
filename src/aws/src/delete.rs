//! Sends requests that change a cluster: BatchDeleteClusterNodes for named nodes, once, with a
//! result per node; and UpdateCluster for a whole group, see [`crate::shrink`].

use std::sync::Arc;

use async_trait::async_trait;
use trimtab_core::audit::{ClearedBatch, ClearedGroup};
use trimtab_core::ids::InstanceId;
use trimtab_core::units::{NodeCount, Span};
use trimtab_daemon::ports::{ClusterWrite, DeleteOutcome};

use crate::cluster::Cluster;
use crate::connection::write_limit;
use crate::failure::write_outcome;
use crate::shrink::{Ended, Shrink};

#[async_trait]
impl ClusterWrite for Cluster {
    async fn delete_nodes(&self, batch: &ClearedBatch, within: Span) -> DeleteOutcome {
        let Some(limit) = write_limit(within) else { return DeleteOutcome::too_late() };
        let ids = batch.nodes().iter().map(ToString::to_string).collect();
        let request = self.connection.writes.batch_delete_cluster_nodes();
        let request = request.cluster_name(batch.cluster().as_str()).set_node_ids(Some(ids));
        let request = request.customize().config_override(limit);
        let output = match request.send().await {
            Ok(output) => output,
            Err(error) => return write_outcome(&error),
        };
        // The executor treats nodes without a result as unanswered. Results for nodes that were
        // not in the request are ignored.
        let asked = |text: &str| {
            let id = text.parse::<InstanceId>().ok().filter(|id| batch.nodes().contains(id));
            if id.is_none() {
                tracing::warn!(
                    group = %batch.group(),
                    node = text,
                    "ignored a result for a node that is not in the request"
                );
            }
            id
        };
        let accepted = output.successful().iter().filter_map(|id| asked(id)).collect();
        let failed = output.failed().iter().filter_map(|failure| {
            // A failure without a code still counts as a failure.
            let code = failure.code().map_or("no code", |code| code.as_str());
            Some((asked(failure.node_id()?)?, Arc::from(code)))
        });
        DeleteOutcome::Answered { accepted, failed: failed.collect() }
    }

    async fn shrink_group(&self, cleared: &ClearedGroup, within: Span) -> DeleteOutcome {
        let shrink = Shrink {
            cluster: cleared.cluster(),
            group: cleared.group(),
            before: NodeCount::of(cleared.nodes().len()),
            after: cleared.count_after(),
        };
        match self.shrink(shrink, within).await {
            Ended::Taken => {
                DeleteOutcome::Answered { accepted: cleared.nodes().to_vec(), failed: vec![] }
            }
            Ended::Not(outcome) => outcome,
        }
    }
}
