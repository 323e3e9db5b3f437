//! Drains, and takes exactly its own drains back.
//!
//! Two words leave this program as a node's new state, and no other can:
//! `DRAIN`, which lets running jobs go on, and `UNDRAIN`, which takes nothing
//! but a drain away. A drain overwrites the reason that somebody else gave, so
//! state and reason are read before; a person who drains in between is found by
//! the look that follows, whose reason then is not ours.

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
    /// The nodes of these orders as they are now; one that Slurm does not know
    /// is not among them.
    async fn now(&self, orders: &[FenceOrder]) -> Result<BTreeMap<NodeName, Node>, ReadError> {
        let text = self.commands.run(Program::Scontrol, &nodes::ARGUMENTS).await?;
        let found = nodes::parse(&text)
            .map_err(|why| ReadError::Unreadable(format!("scontrol: {why}").into()))?;
        let wanted = found.into_iter().filter(|node| orders.iter().any(|o| o.name == node.name));
        Ok(wanted.map(|node| (node.name.clone(), node)).collect())
    }

    async fn set(
        &self,
        node: &NodeName,
        state: NewState,
        reason: Option<&str>,
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
        let now = self.now(orders).await?;
        let mut failed = None;
        for order in orders {
            // Whoever drained it, or put it down, is not overwritten.
            let is_free = now
                .get(&order.name)
                .is_some_and(|node| node.drained.is_none() && node.condition == Condition::Up);
            if is_free {
                let reason = fence_reason(ledger, order.action);
                // One that fails does not keep the others from theirs.
                let set = self.set(&order.name, NewState::Drain, Some(&reason)).await;
                failed = set.err().or(failed);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn release(
        &self,
        _cluster: &ClusterName,
        ledger: &LedgerId,
        orders: &[FenceOrder],
    ) -> Result<(), ReadError> {
        let now = self.now(orders).await?;
        let mut failed = None;
        for order in orders {
            let reason = fence_reason(ledger, order.action);
            let is_ours = now
                .get(&order.name)
                .is_some_and(|node| node.drained.as_deref() == Some(reason.as_str()));
            if is_ours {
                failed = self.set(&order.name, NewState::Undrain, None).await.err().or(failed);
            }
        }
        failed.map_or(Ok(()), Err)
    }
}
