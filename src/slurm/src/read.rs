//! Four questions, and what they come to together.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use trimtab_core::ids::{ClusterName, NodeName};
use trimtab_core::snapshot::{Claim, SchedulerFacts, SchedulerNode, Workload};
use trimtab_core::units::{Span, Time};
use trimtab_daemon::ports::{Clock, ReadError, WorkloadRead};

use crate::backend::{Backend, Configuration, Hidden, Jobs};
use crate::files::Files;
use crate::jobs::ActiveJob;
use crate::nodes::Node;
use crate::reservations::Reservation;

/// A reservation claims its nodes so long before it begins: a deleted node may
/// take hours to come back.
const RESERVED_AHEAD: Span = Span::hours(24);

/// How long what Slurm says of itself is taken for true. It changes with a
/// reconfiguration, which is an operator's step.
const CONFIGURATION_FOR: Span = Span::hours(1);

/// One cluster's Slurm.
pub struct Slurm {
    pub(crate) backend: Arc<dyn Backend>,
    clock: Arc<dyn Clock>,
    files: Files,
    sees_all_jobs: bool,
    /// What it said of itself, and when.
    configuration: Mutex<Option<(Time, Configuration)>>,
}

impl Slurm {
    /// Asked this way; the clock says when.
    pub fn new(backend: Arc<dyn Backend>, clock: Arc<dyn Clock>) -> Self {
        let (files, configuration) = (Files::default(), Mutex::new(None));
        Self { backend, clock, files, sees_all_jobs: false, configuration }
    }

    /// With the operator's word that the jobs of everybody are shown.
    pub fn with_word_on_jobs(self, sees_all_jobs: bool) -> Self {
        Self { sees_all_jobs, ..self }
    }

    /// Whether every job is sure to be shown. A node whose only job is suspended is idle by
    /// all that Slurm says of the node itself, so jobs that may be missing stop everything.
    fn check_privacy(&self, configuration: &Configuration) -> Result<(), ReadError> {
        let why = match configuration.hidden {
            Hidden::Nothing | Hidden::NodesToo => return Ok(()),
            Hidden::JobsOnly | Hidden::Untold if self.sees_all_jobs => return Ok(()),
            Hidden::JobsOnly => {
                "PrivateData hides jobs or reservations from some users and shows them nodes, so \
                 nobody can tell whether jobs are missing: add `nodes` to PrivateData"
            }
            Hidden::Untold => {
                "slurmrestd does not say whether jobs are hidden from some users (PrivateData)"
            }
        };
        Err(ReadError::Refused(
            format!(
                "{why}, or grant trimtab the rights of docs/slurm.md and write \
                 scheduler.sees_all_jobs = true"
            )
            .into(),
        ))
    }

    /// With these files of the cluster beside it.
    pub fn with_files(self, files: Files) -> Self {
        Self { files, ..self }
    }

    /// What it says of itself, asked for once an hour, and before each cordon.
    async fn configuration(&self, now: Time) -> Result<Configuration, ReadError> {
        if let Some((at, known)) = &*self.known()
            && now.since(*at) < CONFIGURATION_FOR
            && *at <= now
        {
            return Ok(known.clone());
        }
        self.ask_configuration().await
    }

    /// What it says of itself now.
    pub(crate) async fn ask_configuration(&self) -> Result<Configuration, ReadError> {
        let now = self.clock.now();
        // What does not let us act is asked for again each time, so that it need not be
        // waited for once it is mended.
        *self.known() = None;
        let read = self.backend.configuration().await?;
        self.check_privacy(&read)?;
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
    use crate::backend::NewState;

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

    /// The time stands still.
    struct Stopped;

    impl Clock for Stopped {
        fn now(&self) -> Time {
            Time(0)
        }

        fn monotonic(&self) -> Span {
            Span::ZERO
        }
    }

    /// A Slurm without nodes or jobs that hides this.
    struct Hiding(Mutex<Hidden>);

    #[async_trait]
    impl Backend for Hiding {
        async fn nodes(&self) -> Result<Vec<Node>, ReadError> {
            Ok(vec![])
        }

        async fn reservations(&self) -> Result<Vec<Reservation>, ReadError> {
            Ok(vec![])
        }

        async fn jobs(&self) -> Result<Jobs, ReadError> {
            Ok(Jobs::default())
        }

        async fn configuration(&self) -> Result<Configuration, ReadError> {
            let hidden = *self.0.lock().expect("nobody panicked");
            Ok(Configuration { controllers: vec![], refuses_large_jobs: false, hidden })
        }

        async fn set(&self, _: &[NodeName], _: NewState<'_>) -> Result<(), ReadError> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn jobs_that_may_be_hidden_stop_everything_until_that_is_mended_and_no_longer() {
        let backend = Arc::new(Hiding(Mutex::new(Hidden::JobsOnly)));
        let slurm = Slurm::new(backend.clone(), Arc::new(Stopped));
        let cluster = "research".parse().expect("a name");
        let set = |hidden| *backend.0.lock().expect("nobody panicked") = hidden;
        let said = slurm.read(&cluster).await.expect_err("jobs may be missing").to_string();
        assert!(said.contains("add `nodes` to PrivateData"), "{said}");
        set(Hidden::NodesToo);
        assert!(slurm.read(&cluster).await.is_ok(), "at the next read, not in an hour");
        // What is asked before a cordon holds for the reads after it.
        set(Hidden::JobsOnly);
        assert!(slurm.ask_configuration().await.is_err());
        assert!(slurm.read(&cluster).await.is_err());
        let trusting = Slurm::new(backend.clone(), Arc::new(Stopped)).with_word_on_jobs(true);
        assert!(trusting.read(&cluster).await.is_ok(), "an operator gave their word");
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
