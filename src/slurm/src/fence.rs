//! Drains, and takes exactly its own drains back.
//!
//! Two words leave this program as a node's new state, and no other can:
//! `DRAIN`, which lets running jobs go on, and `UNDRAIN`, which takes nothing
//! but a drain away. A drain overwrites the reason that somebody else gave, so
//! state and reason are read right before, and whoever has drained a node by then
//! is left alone. Slurm has no call that drains only a node without a reason: a
//! person who drains between that read and our drain, some milliseconds, is
//! overwritten, and nothing later can tell. One who drains after ours overwrites
//! ours, and the look finds that.

use std::collections::BTreeMap;

use async_trait::async_trait;
use trimtab_core::ids::{ClusterName, LedgerId, NodeName};
use trimtab_core::snapshot::{Condition, fence_reason};
use trimtab_daemon::ports::{Fence, FenceOrder, ReadError};

use crate::command::Program;
use crate::nodes::{self, Node};
use crate::read::Slurm;

/// What a node's state may be set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NewState {
    Drain,
    Undrain,
}

impl NewState {
    const fn argument(self) -> &'static str {
        match self {
            Self::Drain => "State=DRAIN",
            Self::Undrain => "State=UNDRAIN",
        }
    }
}

impl Slurm {
    /// Sets each node that `choose` gives a new state, going by what it is right
    /// before. One that fails does not keep the others from theirs; one that Slurm
    /// does not know is passed over.
    async fn set_each(
        &self,
        orders: &[FenceOrder],
        choose: impl Fn(&FenceOrder, &Node) -> Option<(NewState, Option<String>)>,
    ) -> Result<(), ReadError> {
        let text = self.commands.run(Program::Scontrol, &nodes::ARGUMENTS).await?;
        let found = nodes::parse(&text)
            .map_err(|why| ReadError::Unreadable(format!("scontrol: {why}").into()))?;
        let now: BTreeMap<&NodeName, &Node> = found.iter().map(|node| (&node.name, node)).collect();
        let mut failed = None;
        for order in orders {
            let chosen = now.get(&order.name).and_then(|node| choose(order, node));
            if let Some((state, reason)) = chosen {
                failed = self.set(&order.name, state, reason).await.err().or(failed);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn set(
        &self,
        node: &NodeName,
        state: NewState,
        reason: Option<String>,
    ) -> Result<(), ReadError> {
        let name = format!("NodeName={node}");
        let reason = reason.map(|reason| format!("Reason={reason}"));
        let mut args = vec!["update", name.as_str(), state.argument()];
        args.extend(reason.as_deref());
        self.commands.run(Program::Scontrol, &args).await.map(drop)
    }
}

#[async_trait]
impl Fence for Slurm {
    async fn fence(
        &self,
        _cluster: &ClusterName,
        ledger: &LedgerId,
        orders: &[FenceOrder],
    ) -> Result<(), ReadError> {
        self.set_each(orders, |order, node| {
            // Whoever drained it, or put it down, is not overwritten.
            let is_free = node.drained.is_none() && node.condition == Condition::Up;
            is_free.then(|| (NewState::Drain, Some(fence_reason(ledger, order.action))))
        })
        .await
    }

    async fn release(
        &self,
        _cluster: &ClusterName,
        ledger: &LedgerId,
        orders: &[FenceOrder],
    ) -> Result<(), ReadError> {
        self.set_each(orders, |order, node| {
            let ours = fence_reason(ledger, order.action);
            (node.drained.as_deref() == Some(ours.as_str())).then_some((NewState::Undrain, None))
        })
        .await
    }
}
