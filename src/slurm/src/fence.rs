//! Drains, and takes exactly its own drains back.
//!
//! Two words leave this program as a node's new state, and no other can:
//! `DRAIN`, which lets running jobs go on, and `UNDRAIN`, which takes nothing
//! but a drain away. A drain overwrites the reason that somebody else gave, so
//! state and reason are read right before, and whoever has drained a node by then
//! is left alone. Nodes that are drained together share one reason, which names the
//! span of their actions. Slurm has no call that drains only a node without a reason: a
//! person who drains between that read and our drain, some milliseconds, is
//! overwritten, and nothing later can tell. One who drains after ours overwrites
//! ours, and the look finds that.

use std::collections::BTreeMap;

use async_trait::async_trait;
use trimtab_core::ids::{ClusterName, LedgerId, NodeName};
use trimtab_core::snapshot::{ActionSpan, Condition, FenceSight, fence_reason};
use trimtab_daemon::ports::{Fence, FenceOrder, ReadError};

use crate::backend::NewState;
use crate::nodes::Node;
use crate::read::Slurm;

impl Slurm {
    /// The nodes of these orders that are as `is_right` wants them right now. One that
    /// Slurm does not know is passed over.
    async fn choose<'a>(
        &self,
        orders: &'a [FenceOrder],
        is_right: impl Fn(&FenceOrder, &Node) -> bool,
    ) -> Result<Vec<&'a FenceOrder>, ReadError> {
        let found = self.backend.nodes().await?;
        let mut now: BTreeMap<&NodeName, Vec<&Node>> = BTreeMap::new();
        for node in &found {
            now.entry(&node.name).or_default().push(node);
        }
        let is_right = |order: &&FenceOrder| match now.get(&order.name).map(Vec::as_slice) {
            Some([node]) => is_right(order, node),
            // What is told twice of one node is told by nobody.
            Some(_) | None => false,
        };
        Ok(orders.iter().filter(is_right).collect())
    }

    /// All in one order. Slurm may refuse it for the sake of one node that is gone
    /// meanwhile, or carry out a part of it: then each node gets an order of its own, so
    /// that one does not keep the others from theirs.
    async fn set(&self, nodes: &[NodeName], state: NewState<'_>) -> Result<(), ReadError> {
        if nodes.is_empty() {
            return Ok(());
        }
        let all = self.backend.set(nodes, state).await;
        if nodes.len() == 1 || !matches!(all, Err(ReadError::Refused(_))) {
            return all;
        }
        let mut failed = None;
        for node in nodes {
            failed = self.backend.set(std::slice::from_ref(node), state).await.err().or(failed);
        }
        failed.map_or(Ok(()), Err)
    }
}

fn names(orders: &[&FenceOrder]) -> Vec<NodeName> {
    orders.iter().map(|order| order.name.clone()).collect()
}

#[async_trait]
impl Fence for Slurm {
    async fn fence(
        &self,
        _cluster: &ClusterName,
        ledger: &LedgerId,
        orders: &[FenceOrder],
    ) -> Result<(), ReadError> {
        // Rights and privacy may have changed since they were looked at last.
        self.ask_configuration().await?;
        // Whoever drained it, or put it down, is not overwritten.
        let is_free =
            |_: &FenceOrder, node: &Node| node.drained.is_none() && node.condition == Condition::Up;
        let free = self.choose(orders, is_free).await?;
        let Some(span) = ActionSpan::of(free.iter().map(|order| order.action)) else {
            return Ok(());
        };
        let reason = fence_reason(ledger, span);
        self.set(&names(&free), NewState::Drain { reason: &reason }).await
    }

    async fn release(
        &self,
        _cluster: &ClusterName,
        ledger: &LedgerId,
        orders: &[FenceOrder],
    ) -> Result<(), ReadError> {
        let is_ours = |order: &FenceOrder, node: &Node| {
            let reason = node.drained.as_deref();
            reason.is_some_and(|reason| FenceSight::of_reason(reason, ledger).is_for(order.action))
        };
        let ours = self.choose(orders, is_ours).await?;
        self.set(&names(&ours), NewState::Undrain).await
    }
}
