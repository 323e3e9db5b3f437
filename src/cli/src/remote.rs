//! Clusters behind a network connection, and the ports to reach them.
//!
//! A cluster served by `trimtab simulate` uses the scheduler, clock and prices of its simulated
//! world. Every other cluster uses the clock of this machine.

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

/// Connections to the clusters of a configuration.
pub(crate) struct Remote {
    clusters: Vec<RemoteCluster>,
    /// The simulated world of all clusters; `None` for real clusters.
    world: Option<WorldClient>,
}

/// Connection to one cluster.
struct RemoteCluster {
    settings: ClusterSettings,
    connection: Connection,
    cluster: Arc<Cluster>,
    /// The simulated world of the cluster; `None` for a real cluster.
    world: Option<WorldClient>,
}

/// Ports that all clusters of a process share.
pub(crate) struct Shared {
    pub(crate) switches: Arc<dyn Switches>,
    pub(crate) lease: Arc<dyn Lease>,
    pub(crate) notifier: Arc<dyn Notifier>,
}

impl Remote {
    /// Creates the clients. Sends no request to AWS or a scheduler.
    ///
    /// # Errors
    /// [`Misplaced`] when simulated and real clusters are mixed, or simulated clusters have
    /// several endpoints; [`Unavailable`] when a simulated cluster is not reachable.
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
            let why = "simulated clusters have their own clock: use one endpoint_url for all \
                       simulated clusters, and a separate configuration for real clusters";
            return Err(Misplaced(why.to_owned()).into());
        }
        Ok(Self { clusters, world: worlds.into_values().next() })
    }

    /// Returns the time of the simulated world, or of this machine for real clusters.
    pub(crate) fn now(&self) -> Time {
        match self.world() {
            Some(world) => world.now(),
            None => SystemClock::start().now(),
        }
    }

    /// Whether time moves only while the loop sleeps.
    pub(crate) fn is_lock_step(&self) -> bool {
        self.world().is_some_and(WorldClient::is_in_lock_step)
    }

    /// The simulated world of all clusters; `None` for real clusters.
    pub(crate) fn world(&self) -> Option<&WorldClient> {
        self.world.as_ref()
    }

    /// Describes every cluster once and rejects a cluster in another account or region than the
    /// configuration says. With `all`, every cluster must answer.
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
                    tracing::warn!(cluster = %name, %why, "cluster not reachable; retrying");
                }
                Err(why @ ReadError::Denied(_)) => {
                    return Err(Denied(format!("cluster {name}: {why}")).into());
                }
                Err(why) => return Err(Unavailable(format!("cluster {name}: {why}")).into()),
            }
        }
        Ok(())
    }

    /// Returns the ports of every cluster, in the order of the configuration. Only enforce mode
    /// has write ports.
    ///
    /// # Errors
    /// [`Misplaced`] in enforce mode when a cluster is not simulated. A loopback endpoint proves
    /// nothing: it may be the local end of a tunnel.
    pub(crate) fn ports(&self, mode: Mode, shared: &Shared) -> anyhow::Result<Vec<Ports>> {
        if mode == Mode::Enforce
            && let Some(real) = self.clusters.iter().find(|one| one.world.is_none())
        {
            let name = &real.settings.policy.cluster;
            let why = if IS_PRESENT {
                format!(
                    "the endpoint of cluster {name} is not `trimtab simulate`, and this build \
                     changes only simulated clusters"
                )
            } else {
                format!("cluster {name} must be simulated, but {}", simulated::Absent)
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

/// Connects to the simulated world of a cluster. Returns `None` for a loopback endpoint that does
/// not serve a world, such as a tunnel, unless the cluster has a simulated scheduler.
async fn world_of(
    settings: &ClusterSettings,
    worlds: &mut BTreeMap<String, WorldClient>,
) -> anyhow::Result<Option<WorldClient>> {
    let is_simulated = settings.scheduler == SchedulerSettings::Simulated;
    let name = &settings.policy.cluster;
    let Some(endpoint) = settings.endpoint_url.as_ref().filter(|url| url.is_loopback()) else {
        if is_simulated {
            let why = format!(
                "cluster {name} has a simulated scheduler but no endpoint_url: start \
                 `trimtab simulate` and set endpoint_url to its address, or use --world FILE"
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
