//! Four questions, and what they come to together.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use trimtab_core::ids::{ClusterName, NodeName};
use trimtab_core::snapshot::{Claim, SchedulerFacts, SchedulerNode, Workload};
use trimtab_core::units::{Span, Time};
use trimtab_daemon::ports::{Clock, ReadError, WorkloadRead};

use crate::backend::{Backend, Configuration, Jobs};
use crate::files::Files;
use crate::jobs::ActiveJob;
use crate::nodes::Node;
use crate::reservations::Reservation;

/// A reservation claims its nodes so long before it begins: a deleted node may
/// take hours to come back.
const RESERVED_AHEAD: Span = Span::hours(24);

/// How long what Slurm says of itself is taken for true. It changes with a
/// reconfiguration, which is a person's step.
const CONFIGURATION_FOR: Span = Span::hours(1);

/// One cluster's Slurm.
pub struct Slurm {
    pub(crate) backend: Arc<dyn Backend>,
    clock: Arc<dyn Clock>,
    files: Files,
    /// What it said of itself, and when.
    configuration: Mutex<Option<(Time, Configuration)>>,
}

impl Slurm {
    /// Asked this way; the clock says when.
    pub fn new(backend: Arc<dyn Backend>, clock: Arc<dyn Clock>) -> Self {
        Self { backend, clock, files: Files::default(), configuration: Mutex::new(None) }
    }

    /// With these files of the cluster beside it.
    pub fn with_files(self, files: Files) -> Self {
        Self { files, ..self }
    }

    /// What it says of itself, asked for once an hour.
    async fn configuration(&self, now: Time) -> Result<Configuration, ReadError> {
        if let Some((at, known)) = &*self.known()
            && now.since(*at) < CONFIGURATION_FOR
            && *at <= now
        {
            return Ok(known.clone());
        }
        let read = self.backend.configuration().await?;
        *self.known() = Some((now, read.clone()));
        Ok(read)
    }

    fn known(&self) -> MutexGuard<'_, Option<(Time, Configuration)>> {
        // Nothing is half written in it.
        self.configuration.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl WorkloadRead for Slurm {
    async fn read(&self, _cluster: &ClusterName) -> Result<Workload, ReadError> {
        let at = self.clock.now();
        let configuration = self.configuration(at).await?;
        // Nodes before jobs: a job that lands in between is seen by the second.
        let found = self.backend.nodes().await?;
        let reserved = self.backend.reservations().await?;
        let Jobs { active, pending } = self.backend.jobs().await?;
        let facts = SchedulerFacts {
            controllers: configuration.controllers,
            refuses_large_jobs: configuration.refuses_large_jobs,
            may_hide_jobs: configuration.hides_jobs,
            roles: self.files.roles()?,
            recorded: self.files.instances()?,
        };
        Ok(Workload { at, nodes: join(found, &active, &reserved, at), pending, facts })
    }
}

/// Every node with all that lays claim to it.
pub(crate) fn join(
    nodes: Vec<Node>,
    active: &[ActiveJob],
    reserved: &[Reservation],
    now: Time,
) -> Vec<SchedulerNode> {
    let mut claims: BTreeMap<&NodeName, Vec<Claim>> = BTreeMap::new();
    for job in active {
        for node in &job.nodes {
            claims.entry(node).or_default().push(job.claim.clone());
        }
    }
    let soon = |reservation: &&Reservation| {
        reservation.from <= now + RESERVED_AHEAD && reservation.to > now
    };
    for reservation in reserved.iter().filter(soon) {
        for node in &reservation.nodes {
            claims.entry(node).or_default().push(Claim::Reserved);
        }
    }
    let all = nodes.into_iter().map(|node| {
        let mut on_it = claims.get(&node.name).cloned().unwrap_or_default();
        on_it.extend(node.claims);
        if node.is_allocated && on_it.is_empty() {
            // A job that ended, or began, between two questions.
            on_it.push(Claim::Unrecognised("ALLOCATED".into()));
        }
        SchedulerNode {
            name: node.name,
            condition: node.condition,
            claims: on_it,
            drained: node.drained,
            hostname: node.hostname,
            address: node.address,
            offers: node.offers,
        }
    });
    all.collect()
}

#[cfg(test)]
mod tests {
    use trimtab_core::snapshot::Condition;

    use super::*;

    fn node(name: &str, is_allocated: bool) -> Node {
        Node {
            name: name.parse().expect("a name"),
            condition: Condition::Up,
            claims: vec![],
            is_allocated,
            drained: None,
            hostname: None,
            address: None,
            offers: None,
        }
    }

    #[test]
    fn every_question_can_claim_a_node() {
        let name = |text: &str| text.parse::<NodeName>().expect("a name");
        let active = [ActiveJob {
            id: "7".parse().expect("an id"),
            claim: Claim::Running("7".parse().expect("an id")),
            nodes: vec![name("a"), name("elsewhere")],
        }];
        let at = |hours| Time(0) + Span::hours(hours);
        let reserved = |nodes: &[&str], from, to| Reservation {
            from: at(from),
            to: at(to),
            nodes: nodes.iter().map(|node| name(node)).collect(),
        };
        let reservations =
            [reserved(&["b"], 20, 30), reserved(&["c"], 25, 30), reserved(&["d"], -9, 0)];
        let nodes = ["a", "b", "c", "d"].map(|name| node(name, false)).into_iter();
        let nodes = nodes.chain([node("e", true)]).collect();
        let joined = join(nodes, &active, &reservations, at(0));
        let claims: Vec<String> = joined
            .iter()
            .map(|node| node.claims.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
            .collect();
        assert_eq!(
            claims,
            ["runs job 7", "a reservation covers it", "", "", "the scheduler calls it `ALLOCATED`"]
        );
    }
}
