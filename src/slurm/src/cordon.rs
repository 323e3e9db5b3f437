//! Drains, and takes exactly its own drains back.
//!
//! Two words leave this program as a node's new state, and no other can:
//! `DRAIN`, which lets running jobs go on, and `UNDRAIN`, which takes nothing
//! but a drain away. A drain overwrites the reason that somebody else gave, so
//! state and reason are read right before, and whoever has drained a node by then
//! is left alone. Nodes that are drained together share one reason, which names the
//! span of their actions. Slurm has no call that drains only a node without a reason: an
//! operator who drains between that read and our drain, some milliseconds, is
//! overwritten, and nothing later can tell. One who drains after ours overwrites
//! ours, and the look finds that.

use std::collections::BTreeMap;

use async_trait::async_trait;
use trimtab_core::ids::{ClusterName, LedgerId, NodeName};
use trimtab_core::snapshot::{ActionSpan, Condition, CordonStatus, cordon_reason};
use trimtab_daemon::ports::{Cordon, CordonOrder, ReadError};

use crate::backend::NewState;
use crate::nodes::Node;
use crate::read::Slurm;

impl Slurm {
    /// The nodes of these orders that are as `is_right` wants them right now. One that
    /// Slurm does not know is passed over.
    async fn choose<'a>(
        &self,
        orders: &'a [CordonOrder],
        is_right: impl Fn(&CordonOrder, &Node) -> bool,
    ) -> Result<Vec<&'a CordonOrder>, ReadError> {
        let found = self.backend.nodes().await?;
        let mut now: BTreeMap<&NodeName, Vec<&Node>> = BTreeMap::new();
        for node in &found {
            now.entry(&node.name).or_default().push(node);
        }
        let is_right = |order: &&CordonOrder| match now.get(&order.name).map(Vec::as_slice) {
            Some([node]) => is_right(order, node),
            // What is told twice of one node is told by nobody.
            Some(_) | None => false,
        };
        Ok(orders.iter().filter(is_right).collect())
    }

    /// All in one order. Slurm may refuse it for the sake of one node that is gone
    /// meanwhile, or carry out a part of it: then each node gets an order of its own, so
    /// that one does not keep the others from theirs. Each is looked at right before that,
    /// which also ends it when Slurm does not answer.
    async fn set(
        &self,
        orders: &[&CordonOrder],
        state: NewState<'_>,
        is_right: impl Fn(&CordonOrder, &Node) -> bool,
    ) -> Result<(), ReadError> {
        if orders.is_empty() {
            return Ok(());
        }
        let all = self.backend.set(&names(orders), state).await;
        if orders.len() == 1 || !matches!(all, Err(ReadError::Refused(_))) {
            return all;
        }
        let mut failed = None;
        for order in orders {
            let again = self.choose(std::slice::from_ref(*order), &is_right).await?;
            if !again.is_empty() {
                failed = self.backend.set(&names(&again), state).await.err().or(failed);
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

fn names(orders: &[&CordonOrder]) -> Vec<NodeName> {
    orders.iter().map(|order| order.name.clone()).collect()
}

#[async_trait]
impl Cordon for Slurm {
    async fn cordon(
        &self,
        _cluster: &ClusterName,
        ledger: &LedgerId,
        orders: &[CordonOrder],
    ) -> Result<(), ReadError> {
        // Rights and privacy may have changed since they were looked at last.
        self.ask_configuration().await?;
        // Whoever drained it, or put it down, is not overwritten.
        let is_free = |_: &CordonOrder, node: &Node| {
            node.drained.is_none() && node.condition == Condition::Up
        };
        let free = self.choose(orders, &is_free).await?;
        let Some(span) = ActionSpan::of(free.iter().map(|order| order.action)) else {
            return Ok(());
        };
        let reason = cordon_reason(ledger, span);
        self.set(&free, NewState::Drain { reason: &reason }, is_free).await
    }

    async fn release(
        &self,
        _cluster: &ClusterName,
        ledger: &LedgerId,
        orders: &[CordonOrder],
    ) -> Result<(), ReadError> {
        let is_ours = |order: &CordonOrder, node: &Node| {
            let reason = node.drained.as_deref();
            reason
                .is_some_and(|reason| CordonStatus::of_reason(reason, ledger).is_for(order.action))
        };
        let ours = self.choose(orders, &is_ours).await?;
        self.set(&ours, NewState::Undrain, is_ours).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use trimtab_core::ids::ActionId;
    use trimtab_core::units::{Span, Time};
    use trimtab_daemon::ports::Clock;

    use super::*;
    use crate::backend::{Backend, Configuration, Hidden, Jobs};
    use crate::reservations::Reservation;

    struct Stopped;

    impl Clock for Stopped {
        fn now(&self) -> Time {
            Time(0)
        }

        fn monotonic(&self) -> Span {
            Span::ZERO
        }
    }

    /// A Slurm that refuses every order for more than one node. Between that order and the
    /// next, an operator drains `b`; with `goes_away` it answers nothing any more.
    #[derive(Default)]
    struct Strict {
        goes_away: bool,
        reasons: Mutex<BTreeMap<NodeName, String>>,
        orders: Mutex<Vec<String>>,
    }

    #[async_trait]
    impl Backend for Strict {
        async fn nodes(&self) -> Result<Vec<Node>, ReadError> {
            let begun = !self.orders.lock().expect("nobody panicked").is_empty();
            if self.goes_away && begun {
                return Err(ReadError::Refused("Unable to contact slurm controller".into()));
            }
            let reasons = self.reasons.lock().expect("nobody panicked");
            let node = |name: &str| {
                let name: NodeName = name.parse().expect("a name");
                Node {
                    condition: Condition::Up,
                    claims: vec![],
                    is_allocated: false,
                    drained: reasons.get(&name).map(|reason| reason.as_str().into()),
                    hostname: None,
                    address: None,
                    offers: None,
                    name,
                }
            };
            Ok(["a", "b", "c"].map(node).to_vec())
        }

        async fn reservations(&self) -> Result<Vec<Reservation>, ReadError> {
            Ok(vec![])
        }

        async fn jobs(&self) -> Result<Jobs, ReadError> {
            Ok(Jobs::default())
        }

        async fn configuration(&self) -> Result<Configuration, ReadError> {
            let hidden = Hidden::Nothing;
            Ok(Configuration { controllers: vec![], refuses_large_jobs: false, hidden })
        }

        async fn set(&self, nodes: &[NodeName], state: NewState<'_>) -> Result<(), ReadError> {
            let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
            self.orders.lock().expect("nobody panicked").push(names.join(","));
            let mut reasons = self.reasons.lock().expect("nobody panicked");
            if let [node] = nodes {
                match state {
                    NewState::Drain { reason } => reasons.insert(node.clone(), reason.to_owned()),
                    NewState::Undrain => reasons.remove(node),
                };
                return Ok(());
            }
            reasons.insert("b".parse().expect("a name"), "bad fan".to_owned());
            Err(ReadError::Refused("Invalid node name specified".into()))
        }
    }

    async fn cordoned(slurm: Strict) -> (Result<(), ReadError>, Vec<String>, Vec<String>) {
        let slurm = Arc::new(slurm);
        let order = |(name, action): (&str, u64)| CordonOrder {
            name: name.parse().expect("a name"),
            action: ActionId(action),
        };
        let orders = [("a", 7), ("b", 8), ("c", 9)].map(order);
        let (cluster, ledger) = ("research".parse().expect("a name"), "ab-1".parse());
        let port = Slurm::new(slurm.clone(), Arc::new(Stopped));
        let done = port.cordon(&cluster, &ledger.expect("an id"), &orders).await;
        let given = slurm.orders.lock().expect("nobody panicked").clone();
        let reasons = slurm.reasons.lock().expect("nobody panicked");
        (done, given, reasons.values().cloned().collect())
    }

    #[tokio::test]
    async fn an_order_that_is_refused_for_all_is_given_to_each_that_is_still_free() {
        let (done, orders, reasons) = cordoned(Strict::default()).await;
        assert_eq!(done, Ok(()));
        assert_eq!(orders, ["a,b,c", "a", "c"]);
        assert_eq!(
            reasons,
            ["trimtab:ab-1:7-9", "bad fan", "trimtab:ab-1:7-9"],
            "b is an operator's"
        );
    }

    #[tokio::test]
    async fn a_slurm_that_does_not_answer_any_more_is_not_asked_for_each_node() {
        let (done, orders, _) = cordoned(Strict { goes_away: true, ..Strict::default() }).await;
        assert!(done.is_err());
        assert_eq!(orders, ["a,b,c"]);
    }
}
