//! Clusters that are reached over the network: which ports a configuration gets.
//!
//! A cluster at an endpoint on this machine that `trimtab simulate` serves has that
//! world's scheduler, clock and prices; every other one has this machine's clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use trimtab_aws::{Cluster, Connection, Metrics, Target};
use trimtab_config::{
    ClusterSettings, Mode, SchedulerSettings, Settings, SlurmAccess, SlurmSettings,
};
use trimtab_core::units::Time;
use trimtab_daemon::ports::{
    Clock, ClusterRead as _, Cordon, Lease, Notifier, Ports, ReadError, Switches, Utilization,
    WorkloadRead, Writers,
};
use trimtab_slurm::{Backend, Commands, Files, Rest, Slurm};

use crate::clock::SystemClock;
use crate::exit::{Denied, Misplaced, Unavailable};
use crate::simulated::{self, IS_PRESENT, WorldClient};

/// The clusters of a configuration, connected to.
pub(crate) struct Remote {
    clusters: Vec<RemoteCluster>,
    /// The simulated world that all of them are in, if they are in one.
    world: Option<WorldClient>,
}

/// One of them.
struct RemoteCluster {
    settings: ClusterSettings,
    connection: Connection,
    cluster: Arc<Cluster>,
    /// The simulated world that it is in, if it is in one.
    world: Option<WorldClient>,
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
        simulated::check(settings)?;
        let mut clusters: Vec<RemoteCluster> = vec![];
        let mut worlds = BTreeMap::new();
        for settings in &settings.clusters {
            let world = world_of(settings, &mut worlds).await?;
            let connection = Connection::new(Target::of(settings)).await;
            let cluster = Arc::new(Cluster::new(connection.clone()));
            clusters.push(RemoteCluster { settings: settings.clone(), connection, cluster, world });
        }
        let simulated = clusters.iter().filter(|one| one.world.is_some()).count();
        if worlds.len() > 1 || (simulated > 0 && simulated < clusters.len()) {
            let why = "simulated clusters have a time of their own: give all of them one \
                       endpoint, and real clusters a configuration of theirs";
            return Err(Misplaced(why.to_owned()).into());
        }
        Ok(Self { clusters, world: worlds.into_values().next() })
    }

    /// The time where the clusters are.
    pub(crate) fn now(&self) -> Time {
        match self.world() {
            Some(world) => world.now(),
            None => SystemClock::start().now(),
        }
    }

    /// Whether time moves only while somebody sleeps.
    pub(crate) fn is_lock_step(&self) -> bool {
        self.world().is_some_and(WorldClient::is_in_lock_step)
    }

    /// The simulated world that all clusters are in, if they are in one.
    pub(crate) fn world(&self) -> Option<&WorldClient> {
        self.world.as_ref()
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
    ///
    /// # Errors
    /// [`Misplaced`] where enforcing would reach anything but a simulated world: an endpoint
    /// on this machine may be the near end of a tunnel.
    pub(crate) fn ports(&self, mode: Mode, shared: &Shared) -> anyhow::Result<Vec<Ports>> {
        if mode == Mode::Enforce
            && let Some(real) = self.clusters.iter().find(|one| one.world.is_none())
        {
            let name = &real.settings.policy.cluster;
            let why = if IS_PRESENT {
                format!(
                    "what answers for cluster {name} is not `trimtab simulate`, and this build \
                     changes simulated clusters only"
                )
            } else {
                format!("cluster {name} must be a simulated one, and {}", simulated::Absent)
            };
            return Err(Misplaced(format!("mode = \"enforce\": {why}")).into());
        }
        Ok(self.clusters.iter().map(|one| one.ports(mode, shared)).collect())
    }
}

impl RemoteCluster {
    fn ports(&self, mode: Mode, shared: &Shared) -> Ports {
        let workload: Option<Arc<dyn WorkloadRead>> = match &self.settings.scheduler {
            SchedulerSettings::None => None,
            SchedulerSettings::Simulated => self.world.as_ref().map(simulated::workload),
            SchedulerSettings::Slurm(slurm) => Some(self.slurm(slurm)),
        };
        let cordon: Option<Arc<dyn Cordon>> = match &self.settings.scheduler {
            SchedulerSettings::None => None,
            SchedulerSettings::Slurm(slurm) => Some(self.slurm(slurm)),
            SchedulerSettings::Simulated => self.world.as_ref().map(simulated::cordon),
        };
        let writers = match mode {
            Mode::Observe => None,
            Mode::Enforce => Some(Writers { cluster: self.cluster.clone(), cordon }),
        };
        let signals = &self.settings.signals;
        let utilization: Option<Arc<dyn Utilization>> = match &self.settings.utilization {
            None => None,
            Some(_) if signals.is_empty() => self.world.as_ref().map(simulated::utilization),
            Some(_) => Some(Arc::new(Metrics::new(self.connection.clone(), signals.clone()))),
        };
        let prices = self.world.as_ref().map(simulated::prices);
        Ports {
            cluster: self.cluster.clone(),
            workload,
            utilization,
            prices,
            clock: self.clock(),
            switches: Arc::clone(&shared.switches),
            lease: Arc::clone(&shared.lease),
            gate: None,
            on_node_check: None,
            notifier: Arc::clone(&shared.notifier),
            writers,
        }
    }
}

impl RemoteCluster {
    fn clock(&self) -> Arc<dyn Clock> {
        match &self.world {
            Some(world) => simulated::clock(world),
            None => Arc::new(SystemClock::start()),
        }
    }

    fn slurm(&self, settings: &SlurmSettings) -> Arc<Slurm> {
        let backend: Arc<dyn Backend> = match &settings.access {
            SlurmAccess::Commands { conf, bin_dir } => {
                Arc::new(Commands::new(bin_dir.clone(), conf.clone()))
            }
            SlurmAccess::Rest { address, token_file } => {
                Arc::new(Rest::new(address.clone(), token_file.clone()))
            }
        };
        let files = Files {
            resource_config: settings.resource_config.clone(),
            provisioning_parameters: settings.provisioning_parameters.clone(),
        };
        let slurm = Slurm::new(backend, self.clock()).with_files(files);
        Arc::new(slurm.with_word_on_jobs(settings.sees_all_jobs))
    }
}

/// The simulated world that a cluster is in. An endpoint on this machine that is none is
/// taken for a tunnel, unless the cluster's scheduler can only be a simulated one.
async fn world_of(
    settings: &ClusterSettings,
    worlds: &mut BTreeMap<String, WorldClient>,
) -> anyhow::Result<Option<WorldClient>> {
    let is_simulated = settings.scheduler == SchedulerSettings::Simulated;
    let name = &settings.policy.cluster;
    let Some(endpoint) = settings.endpoint_url.as_ref().filter(|url| url.is_loopback()) else {
        if is_simulated {
            let why = format!(
                "cluster {name} has a simulated scheduler and no endpoint_url: start one with \
                 `trimtab simulate` and name its address, or name a world with --world FILE"
            );
            return Err(Unavailable(why).into());
        }
        return Ok(None);
    };
    let url = endpoint.as_str().trim_end_matches('/');
    if let Some(world) = worlds.get(url) {
        return Ok(Some(world.clone()));
    }
    match WorldClient::connect(url).await {
        Ok(world) => {
            worlds.insert(url.to_owned(), world.clone());
            Ok(Some(world))
        }
        Err(why) if is_simulated => Err(Unavailable(format!("cluster {name}: {why}")).into()),
        Err(_) => Ok(None),
    }
}
