//! Wiring: turns a configuration and its clusters into drivers. Only this module decides whether
//! a driver has write ports.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use trimtab_config::{Layers, Loaded, LogLevel, Mode, Origin, Setting, Settings};
use trimtab_core::ids::ClusterName;
use trimtab_core::units::{Span, Time};
use trimtab_daemon::driver::Driver;
use trimtab_daemon::ledger::{Durability, OpenError, SqliteLedger};
use trimtab_daemon::ports::{Ledger, Notification, Notifier, Ports, ReadError, Switch, Switches};

use crate::args::Target;
use crate::events::Told;
use crate::hooks::Errands;
use crate::pause_file::PauseFile;
use crate::remote::{Remote, Shared};
use crate::simulated::{self, World};

/// A configuration and connections to its clusters.
pub(crate) struct Wired {
    pub(crate) settings: Settings,
    /// The log level; `None` if the configuration does not set it.
    pub(crate) log_level: Option<LogLevel>,
    pub(crate) place: Endpoint,
    /// Hooks that run concurrently with the loop.
    pub(crate) errands: Arc<Errands>,
}

/// Returns the layers of the configuration: the file, the environment of this process, and the
/// command line. Only the ledger path of the command line may be relative to the working directory.
pub(crate) fn layers(file: &Path, state: Option<&Path>) -> Layers {
    let whole = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    Layers {
        file: file.to_owned(),
        environment: std::env::vars_os().collect(),
        state: state.map(whole),
    }
}

/// Location of the clusters.
pub(crate) enum Endpoint {
    /// One simulated cluster in this process.
    World(World),
    /// Clusters behind a network connection.
    Remote(Remote),
}

impl Wired {
    /// Reads the configuration, then reads the world file or creates the clients.
    ///
    /// # Errors
    /// When the configuration or the world file is invalid, or as for [`Remote::connect`].
    pub(crate) async fn new(target: &Target) -> anyhow::Result<Self> {
        let layers = layers(&target.config, target.state.as_deref());
        let Loaded { settings, effective, .. } = trimtab_config::load_layers(&layers)?;
        let said = |one: &&Setting| one.key == "log.level" && one.origin != Origin::Default;
        let log_level = effective.iter().find(said).map(|_| settings.log_level.clone());
        let place = match &target.world {
            Some(path) => Endpoint::World(world_of(&settings, target, path)?),
            None => Endpoint::Remote(Remote::connect(&settings).await?),
        };
        Ok(Self { settings, log_level, place, errands: Errands::new() })
    }

    /// Creates a driver for each cluster. Only [`Mode::Enforce`] gives them write ports.
    ///
    /// # Errors
    /// When the ledger cannot be opened, or the program of a hook is not trusted.
    pub(crate) async fn drivers(&self, mode: Mode, keep: Keep) -> anyhow::Result<Vec<Driver>> {
        let now = self.now();
        let ledger = self.ledger(keep, now)?;
        let newest = ledger.reader().ticks(1, None)?;
        if let Some(tick) = newest.first().filter(|tick| tick.at > now) {
            tracing::warn!(
                ledger = %self.settings.state_path.display(),
                "the ledger has ticks until {}, but the time is {now}: its earlier deletions count \
                 against the budgets; use --state FILE to start a new ledger",
                tick.at
            );
        }
        let lease = Arc::new(ledger.lease());
        let ledger: Arc<dyn Ledger> = Arc::new(Told::new(Arc::new(ledger), mode));
        let file = PauseFile::new(self.settings.pause_file.clone());
        let ports = match &self.place {
            Endpoint::World(world) => {
                let ports = simulated::ports(world, mode);
                let switches = Arc::new(Either { world: Arc::clone(&ports.switches), file });
                let prices = Some(world.prices());
                vec![Ports { switches, lease, prices, notifier: Arc::new(Log), ..ports }]
            }
            Endpoint::Remote(remote) => {
                let switches = Arc::new(file);
                remote.ports(mode, &Shared { switches, lease, notifier: Arc::new(Log) })?
            }
        };
        let mut drivers = vec![];
        for (ports, cluster) in ports.into_iter().zip(&self.settings.clusters) {
            let ports = self.errands.wire(ports, cluster, mode)?;
            drivers.push(Driver::start(ports, Arc::clone(&ledger), cluster.policy.clone()).await?);
        }
        Ok(drivers)
    }

    fn ledger(&self, keep: Keep, now: Time) -> anyhow::Result<SqliteLedger> {
        match (keep, &self.place) {
            (Keep::Ledger, _) => open(&self.settings.state_path, now),
            (Keep::Nothing, Endpoint::World(_)) => Ok(SqliteLedger::in_memory(now)?),
            // A plan uses the daemon's observations and cordons, too.
            (Keep::Nothing, Endpoint::Remote(_)) => {
                match SqliteLedger::copy_of(&self.settings.state_path) {
                    Err(OpenError::Missing { .. }) => Ok(SqliteLedger::in_memory(now)?),
                    copied => Ok(copied?),
                }
            }
        }
    }

    /// Checks every remote cluster once, as [`Remote::check`] does.
    ///
    /// # Errors
    /// As for [`Remote::check`].
    pub(crate) async fn check(&self, all: bool) -> anyhow::Result<()> {
        match &self.place {
            Endpoint::World(_) => Ok(()),
            Endpoint::Remote(remote) => remote.check(all).await,
        }
    }

    /// Returns the time of the clusters.
    pub(crate) fn now(&self) -> Time {
        match &self.place {
            Endpoint::World(world) => world.now(),
            Endpoint::Remote(remote) => remote.now(),
        }
    }

    /// Returns the world of a test with a world file.
    #[cfg(all(test, feature = "simulator"))]
    pub(crate) fn world(&self) -> &World {
        match &self.place {
            Endpoint::World(world) => world,
            Endpoint::Remote(_) => panic!("the test has no world file"),
        }
    }

    /// The time between two scheduled ticks.
    pub(crate) fn tick(&self) -> Span {
        self.settings.schedule.interval()
    }
}

fn world_of(settings: &Settings, target: &Target, path: &Path) -> anyhow::Result<World> {
    let world = simulated::read_world(path)?;
    let named: Vec<&ClusterName> =
        settings.clusters.iter().map(|cluster| &cluster.policy.cluster).collect();
    let cluster = &world.spec().cluster;
    if named != [cluster] {
        let names: Vec<String> = named.iter().map(ToString::to_string).collect();
        bail!(
            "{} configures cluster {}, but the world {} is cluster {cluster}: use the same name",
            target.config.display(),
            names.join(", "),
            path.display()
        );
    }
    Ok(world)
}

/// Sends notifications to the log.
struct Log;

impl Notifier for Log {
    fn notify(&self, cluster: &ClusterName, at: Time, notification: &Notification) {
        tracing::warn!(%cluster, %at, "{notification}");
    }
}

/// Whether a run writes to the ledger file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// The run writes to the ledger file.
    Ledger,
    /// The run keeps everything in memory: a plan changes nothing, not even the ledger.
    Nothing,
}

/// The pause file of this machine, then the switches of the world.
struct Either {
    world: Arc<dyn Switches>,
    file: PauseFile,
}

impl Switches for Either {
    fn read(&self, cluster: &ClusterName) -> Result<Switch, ReadError> {
        match self.file.read(cluster)? {
            Switch::On => self.world.read(cluster),
            paused @ Switch::Paused { .. } => Ok(paused),
        }
    }
}

fn open(path: &Path, now: Time) -> anyhow::Result<SqliteLedger> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot create the ledger directory {}", folder.display()))?;
    }
    Ok(SqliteLedger::open(path, now, Durability::Full)?)
}
