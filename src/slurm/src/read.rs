//! Reads nodes, reservations, jobs and configuration, and joins them into one workload.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use trimtab_core::ids::{ClusterName, NodeName};
use trimtab_core::reads::{Claim, SchedulerFacts, SchedulerNode, Workload};
use trimtab_core::units::{Span, Time};
use trimtab_daemon::ports::{Clock, ReadError, WorkloadRead};

use crate::backend::{Backend, Configuration, Hidden, Jobs};
use crate::files::Files;
use crate::jobs::ActiveJob;
use crate::nodes::Node;
use crate::reservations::Reservation;

/// How long before its start a reservation claims its nodes. A deleted node may take hours to
/// come back.
const RESERVED_AHEAD: Span = Span::hours(24);

/// How long the configuration of Slurm is cached. It changes only when an operator reconfigures
/// Slurm.
const CONFIGURATION_FOR: Span = Span::hours(1);

/// Slurm of one cluster.
pub struct Slurm {
    pub(crate) backend: Arc<dyn Backend>,
    clock: Arc<dyn Clock>,
    files: Files,
    sees_all_jobs: bool,
    /// The cached configuration, and when it was read.
    configuration: Mutex<Option<(Time, Configuration)>>,
}

impl Slurm {
    /// Returns an adapter that uses this backend and clock.
    pub fn new(backend: Arc<dyn Backend>, clock: Arc<dyn Clock>) -> Self {
        let (files, configuration) = (Files::default(), Mutex::new(None));
        Self { backend, clock, files, sees_all_jobs: false, configuration }
    }

    /// Sets `scheduler.sees_all_jobs`, the operator's confirmation that Slurm shows trimtab the
    /// jobs of all users.
    pub fn with_word_on_jobs(self, sees_all_jobs: bool) -> Self {
        Self { sees_all_jobs, ..self }
    }

    /// Fails unless Slurm certainly shows every job. A node whose only job is suspended looks
    /// idle in its own state, so trimtab does not plan when jobs may be hidden.
    fn check_privacy(&self, configuration: &Configuration) -> Result<(), ReadError> {
        let why = match configuration.hidden {
            Hidden::Nothing | Hidden::NodesToo => return Ok(()),
            Hidden::JobsOnly | Hidden::Untold if self.sees_all_jobs => return Ok(()),
            Hidden::JobsOnly => {
                "PrivateData hides jobs or reservations from some users but shows them nodes, so \
                 jobs may be missing: add `nodes` to PrivateData"
            }
            Hidden::Untold => {
                "slurmrestd does not report whether PrivateData hides jobs from some users"
            }
        };
        Err(ReadError::Refused(
            format!(
                "{why}, or grant trimtab the rights in docs/slurm.md and set \
                 scheduler.sees_all_jobs = true"
            )
            .into(),
        ))
    }

    /// Sets the HyperPod files to read in addition.
    pub fn with_files(self, files: Files) -> Self {
        Self { files, ..self }
    }

    /// Returns the configuration, read again when the cached one is an hour old.
    async fn configuration(&self, now: Time) -> Result<Configuration, ReadError> {
        if let Some((at, known)) = &*self.known()
            && now.since(*at) < CONFIGURATION_FOR
            && *at <= now
        {
            return Ok(known.clone());
        }
        self.ask_configuration().await
    }

    /// Reads the configuration now.
    pub(crate) async fn ask_configuration(&self) -> Result<Configuration, ReadError> {
        let now = self.clock.now();
        // A configuration that blocks trimtab is not cached, so that a correction takes effect
        // at the next read.
        *self.known() = None;
        let read = self.backend.configuration().await?;
        self.check_privacy(&read)?;
        *self.known() = Some((now, read.clone()));
        Ok(read)
    }

    fn known(&self) -> MutexGuard<'_, Option<(Time, Configuration)>> {
        // The value is replaced as a whole, so it is valid even if the lock is poisoned.
        self.configuration.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl WorkloadRead for Slurm {
    async fn read(&self, _cluster: &ClusterName) -> Result<Workload, ReadError> {
        let at = self.clock.now();
        let configuration = self.configuration(at).await?;
        // Nodes are read before jobs, so that a job that starts in between appears among the
        // jobs.
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

/// Returns every node with all its claims.
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
            // A job started or ended between the two reads.
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
    use trimtab_core::reads::Condition;
    use trimtab_daemon::ports::WriteError;

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

    /// A clock that stands still.
    struct Stopped;

    impl Clock for Stopped {
        fn now(&self) -> Time {
            Time(0)
        }

        fn monotonic(&self) -> Span {
            Span::ZERO
        }
    }

    /// A Slurm without nodes or jobs, with this privacy setting.
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
            let hidden = *self.0.lock().expect("the lock is not poisoned");
            Ok(Configuration { controllers: vec![], refuses_large_jobs: false, hidden })
        }

        async fn set(&self, _: &[NodeName], _: NewState<'_>) -> Result<(), WriteError> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn jobs_that_may_be_hidden_stop_everything_until_that_is_mended_and_no_longer() {
        let backend = Arc::new(Hiding(Mutex::new(Hidden::JobsOnly)));
        let slurm = Slurm::new(backend.clone(), Arc::new(Stopped));
        let cluster = "research".parse().expect("a name");
        let set = |hidden| *backend.0.lock().expect("the lock is not poisoned") = hidden;
        let said = slurm.read(&cluster).await.expect_err("jobs may be missing").to_string();
        assert!(said.contains("add `nodes` to PrivateData"), "{said}");
        set(Hidden::NodesToo);
        assert!(slurm.read(&cluster).await.is_ok(), "at the next read, not in an hour");
        // The reads after a cordon use the configuration that was read before it.
        set(Hidden::JobsOnly);
        assert!(slurm.ask_configuration().await.is_err());
        assert!(slurm.read(&cluster).await.is_err());
        let trusting = Slurm::new(backend.clone(), Arc::new(Stopped)).with_word_on_jobs(true);
        assert!(trusting.read(&cluster).await.is_ok(), "the operator set sees_all_jobs");
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
            [
                "runs job 7",
                "a reservation covers it",
                "",
                "",
                "unknown scheduler state `ALLOCATED`"
            ]
        );
    }
}
