//! Drains nodes, and undrains only the nodes that trimtab drained.
//!
//! trimtab sets only two node states: `DRAIN`, which lets running jobs finish, and `UNDRAIN`,
//! which removes only a drain. A drain replaces an earlier drain reason. trimtab therefore
//! reads state and reason right before, and leaves a node alone that an operator has drained by
//! then. Nodes that are drained in one request share one reason, which contains the range of
//! their action numbers.
//!
//! Slurm has no request that drains a node only if it has no reason. If an operator drains a
//! node in the milliseconds between that read and trimtab's drain, the operator's reason is
//! lost and trimtab cannot detect it. If the operator drains the node after trimtab, trimtab's
//! reason is lost, and the second look detects it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use trimtab_core::cordon::{ActionSpan, CordonStatus, cordon_reason};
use trimtab_core::ids::{ClusterName, LedgerId, NodeName};
use trimtab_core::reads::Condition;
use trimtab_daemon::ports::{Cordon, CordonOrder, ReadError, WriteError};

use crate::backend::NewState;
use crate::nodes::Node;
use crate::read::Slurm;

impl Slurm {
    /// Returns the orders whose node satisfies `is_right` now. Nodes that Slurm does not know
    /// are skipped.
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
            // Two entries for one name: neither can be trusted.
            Some(_) | None => false,
        };
        Ok(orders.iter().filter(is_right).collect())
    }

    /// Sets the state of all nodes in one request. Slurm may refuse the whole request because
    /// one node no longer exists, or apply only a part of it. Then each node gets its own
    /// request, so that one node does not block the others. Each node is read again right
    /// before; this also stops the loop when Slurm does not answer.
    async fn set(
        &self,
        orders: &[&CordonOrder],
        state: NewState<'_>,
        is_right: impl Fn(&CordonOrder, &Node) -> bool,
    ) -> Result<(), WriteError> {
        if orders.is_empty() {
            return Ok(());
        }
        let all = self.backend.set(&names(orders), state).await;
        if orders.len() == 1 || !matches!(all, Err(WriteError::Refused(_))) {
            return all;
        }
        let mut failed = None;
        for order in orders {
            // The request for all nodes was sent, so a failed read must not end as "not sent".
            let again = match self.choose(std::slice::from_ref(*order), &is_right).await {
                Ok(again) => again,
                Err(why) => return Err(failed.unwrap_or_else(|| WriteError::of_sent(why))),
            };
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
    ) -> Result<(), WriteError> {
        // Rights and `PrivateData` may have changed since they were last read.
        self.ask_configuration().await?;
        // A node that is already drained or down keeps its reason.
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
    ) -> Result<(), WriteError> {
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

    /// A Slurm that refuses every request for more than one node. After such a request, an
    /// operator drains `b`; with `goes_away`, Slurm stops answering.
    #[derive(Default)]
    struct Strict {
        goes_away: bool,
        reasons: Mutex<BTreeMap<NodeName, String>>,
        orders: Mutex<Vec<String>>,
    }

    #[async_trait]
    impl Backend for Strict {
        async fn nodes(&self) -> Result<Vec<Node>, ReadError> {
            let begun = !self.orders.lock().expect("the lock is not poisoned").is_empty();
            if self.goes_away && begun {
                return Err(ReadError::Refused("Unable to contact slurm controller".into()));
            }
            let reasons = self.reasons.lock().expect("the lock is not poisoned");
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

        async fn set(&self, nodes: &[NodeName], state: NewState<'_>) -> Result<(), WriteError> {
            let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
            self.orders.lock().expect("the lock is not poisoned").push(names.join(","));
            let mut reasons = self.reasons.lock().expect("the lock is not poisoned");
            if let [node] = nodes {
                match state {
                    NewState::Drain { reason } => reasons.insert(node.clone(), reason.to_owned()),
                    NewState::Undrain => reasons.remove(node),
                };
                return Ok(());
            }
            reasons.insert("b".parse().expect("a name"), "bad fan".to_owned());
            Err(WriteError::Refused("Invalid node name specified".into()))
        }
    }

    async fn cordoned(slurm: Strict) -> (Result<(), WriteError>, Vec<String>, Vec<String>) {
        let slurm = Arc::new(slurm);
        let order = |(name, action): (&str, u64)| CordonOrder {
            name: name.parse().expect("a name"),
            action: ActionId(action),
        };
        let orders = [("a", 7), ("b", 8), ("c", 9)].map(order);
        let (cluster, ledger) = ("research".parse().expect("a name"), "ab-1".parse());
        let port = Slurm::new(slurm.clone(), Arc::new(Stopped));
        let done = port.cordon(&cluster, &ledger.expect("an id"), &orders).await;
        let given = slurm.orders.lock().expect("the lock is not poisoned").clone();
        let reasons = slurm.reasons.lock().expect("the lock is not poisoned");
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
        // The first request was sent and may have drained some of the nodes.
        assert_eq!(done, Err(WriteError::Refused("Unable to contact slurm controller".into())));
        assert_eq!(orders, ["a,b,c"]);
    }
}
