//! Clusters that are reached over the network: which ports a configuration gets.
//!
//! A cluster at an endpoint on this machine that `trimtab simulate` serves has that
//! world's scheduler, clock and prices; every other one has this machine's clock.

use std::sync::Arc;

use async_trait::async_trait;
use trimtab_aws::{Cluster, Connection, Metrics, Target};
use trimtab_core::ids::ClusterName;
use trimtab_core::snapshot::Workload;
use trimtab_core::units::{Span, Time};
use trimtab_daemon::config::{ClusterSettings, Mode, SchedulerSettings, Settings};
use trimtab_daemon::ports::{
    Clock, ClusterRead as _, Fence, Lease, Notifier, Ports, Prices, ReadError, Switches,
    Utilization, WorkloadRead, Writers,
};
use trimtab_simulator::doorbell::SimDoorbell;

use crate::clock::SystemClock;
use crate::wiring::{Denied, Misplaced, Unavailable};

/// The clusters of a configuration, connected to.
pub(crate) struct Remote {
    clusters: Vec<RemoteCluster>,
}

/// One of them.
struct RemoteCluster {
    settings: ClusterSettings,
    connection: Connection,
    cluster: Arc<Cluster>,
}

/// What all ports of a process share.
pub(crate) struct Shared {
    pub(crate) switches: Arc<dyn Switches>,
    pub(crate) lease: Arc<dyn Lease>,
    pub(crate) notifier: Arc<dyn Notifier>,
}

impl Remote {
    /// Makes the clients; nothing is asked yet.
    pub(crate) async fn connect(settings: &Settings) -> anyhow::Result<Self> {
        let mut clusters = vec![];
        for settings in &settings.clusters {
            let connection = Connection::new(Target::of(settings)).await;
            let cluster = Arc::new(Cluster::new(connection.clone()));
            clusters.push(RemoteCluster { settings: settings.clone(), connection, cluster });
        }
        Ok(Self { clusters })
    }

    /// The time where the clusters are.
    pub(crate) fn now(&self) -> Time {
        SystemClock::start().now()
    }

    /// Whether time moves only while somebody sleeps.
    pub(crate) fn is_lock_step(&self) -> bool {
        false
    }

    /// The worlds' own doorbell, if their time is not the wall's.
    pub(crate) fn doorbell(&self, _tick: Span) -> Option<SimDoorbell> {
        None
    }

    /// Asks for every cluster once. One that is elsewhere than the configuration says is
    /// a mistake of it; with `all` every one has to answer.
    ///
    /// # Errors
    /// [`Misplaced`], and with `all` [`Denied`] or [`Unavailable`].
    pub(crate) async fn check(&self, all: bool) -> anyhow::Result<()> {
        for one in &self.clusters {
            let name = &one.settings.policy.cluster;
            match one.cluster.describe(name).await {
                Ok(_) => {}
                Err(why @ ReadError::Elsewhere(_)) => {
                    return Err(Misplaced(format!("cluster {name}: {why}")).into());
                }
                Err(why) if !all => {
                    tracing::warn!(cluster = %name, %why, "not reached at the start; going on");
                }
                Err(why @ ReadError::Denied(_)) => {
                    return Err(Denied(format!("cluster {name}: {why}")).into());
                }
                Err(why) => return Err(Unavailable(format!("cluster {name}: {why}")).into()),
            }
        }
        Ok(())
    }

    /// The ports of every cluster, in the order of the configuration. Only enforcing has
    /// anything that could change the world.
    pub(crate) fn ports(&self, mode: Mode, shared: &Shared) -> Vec<Ports> {
        self.clusters.iter().map(|one| one.ports(mode, shared)).collect()
    }
}

impl RemoteCluster {
    fn ports(&self, mode: Mode, shared: &Shared) -> Ports {
        let workload: Option<Arc<dyn WorkloadRead>> = match &self.settings.scheduler {
            SchedulerSettings::None => None,
            SchedulerSettings::Simulated => None,
            SchedulerSettings::Slurm { .. } => Some(Arc::new(NotBuilt)),
        };
        let fence: Option<Arc<dyn Fence>> = None;
        let writers = match mode {
            Mode::Observe => None,
            Mode::Enforce => Some(Writers { cluster: self.cluster.clone(), fence }),
        };
        let signals = &self.settings.signals;
        let utilization: Option<Arc<dyn Utilization>> = match signals.is_empty() {
            true => None,
            false => Some(Arc::new(Metrics::new(self.connection.clone(), signals.clone()))),
        };
        let prices: Option<Arc<dyn Prices>> = None;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        Ports {
            cluster: self.cluster.clone(),
            workload,
            utilization,
            prices,
            clock,
            switches: Arc::clone(&shared.switches),
            lease: Arc::clone(&shared.lease),
            gate: None,
            notifier: Arc::clone(&shared.notifier),
            writers,
        }
    }
}

/// A scheduler that this build cannot ask: its nodes are kept, and `plan` says why.
struct NotBuilt;

#[async_trait]
impl WorkloadRead for NotBuilt {
    async fn read(&self, _cluster: &ClusterName) -> Result<Workload, ReadError> {
        Err(ReadError::Refused("this build cannot read Slurm yet, so every node is kept".into()))
    }
}
