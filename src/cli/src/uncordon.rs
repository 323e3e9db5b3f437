//! `trimtab uncordon`: releases the nodes that a killed daemon left cordoned.
//!
//! It does the first step of the next daemon start: it releases nodes without a delete request
//! and does not change nodes whose delete request may have been sent. The service manager runs it
//! after every exit of the daemon, so it returns at once when there is nothing to do, and times
//! out when a scheduler does not answer.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use trimtab_config::Mode;
use trimtab_core::history::OpenAction;
use trimtab_core::ids::ClusterName;
use trimtab_daemon::driver::Driver;
use trimtab_daemon::ledger::{Durability, OpenError, SqliteLedger};
use trimtab_daemon::ports::Clock;

use crate::args::UncordonArgs;
use crate::clock::SystemClock;
use crate::exit::Exit;
use crate::output::{self, Format, line};
use crate::wiring::{Keep, Wired, layers};

/// Time between two tries: a scheduler shows a released node within seconds.
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// `trimtab uncordon`.
pub(crate) async fn uncordon(args: &UncordonArgs) -> anyhow::Result<Exit> {
    let limit = Duration::from_millis(args.within.0.unsigned_abs());
    let layers = layers(&args.target.config, args.target.state.as_deref());
    let settings = trimtab_config::load_layers(&layers)?.settings;
    let ledger = &settings.state_path;
    let outcome = match left_behind(ledger)? {
        Ledger::Held { holder } => Outcome::Alive { holder },
        Ledger::Free { open } => {
            let before = LeftBehind::of(&open);
            if before.unasked.is_empty() {
                Outcome::Done(Report::of(&before, before.clone(), None))
            } else if settings.mode == Mode::Observe {
                let why = "observe mode cannot uncordon nodes: set mode = \"enforce\" and run \
                           `trimtab uncordon` again, or resume the nodes in the scheduler";
                Outcome::Done(Report::of(&before, before.clone(), Some(why.to_owned())))
            } else {
                match take_all_back(args, limit).await {
                    Err(why) if is_held(&why) => Outcome::Alive { holder: why.to_string() },
                    tried => {
                        let why = tried.err().map(|why| format!("{why:#}"));
                        let now_open = SqliteLedger::open_reader(ledger)?.open_actions()?;
                        Outcome::Done(Report::of(&before, LeftBehind::of(&now_open), why))
                    }
                }
            }
        }
    };
    outcome.tell(args.output)?;
    Ok(outcome.exit())
}

/// State of the ledger, read before any connection is made.
enum Ledger {
    /// A daemon holds its lock.
    Held { holder: String },
    /// No daemon holds its lock.
    Free {
        /// Actions that have not ended.
        open: Vec<(ClusterName, OpenAction)>,
    },
}

/// Reads the ledger while holding its lock. A ledger that does not exist has no open actions.
fn left_behind(path: &Path) -> anyhow::Result<Ledger> {
    let there = path.try_exists();
    if !there.with_context(|| format!("cannot access the ledger {}", path.display()))? {
        return Ok(Ledger::Free { open: vec![] });
    }
    match SqliteLedger::open(path, SystemClock::start().now(), Durability::Full) {
        Ok(ledger) => Ok(Ledger::Free { open: ledger.reader().open_actions()? }),
        Err(OpenError::Held { holder, .. }) => Ok(Ledger::Held { holder }),
        Err(why) => Err(why.into()),
    }
}

fn is_held(why: &anyhow::Error) -> bool {
    matches!(why.downcast_ref::<OpenError>(), Some(OpenError::Held { .. }))
}

/// Connects to the clusters and releases the nodes, within the limit.
async fn take_all_back(args: &UncordonArgs, limit: Duration) -> anyhow::Result<()> {
    let tried = tokio::time::timeout(limit, async {
        let wired = Wired::new(&args.target).await?;
        let drivers = wired.drivers(Mode::Enforce, Keep::Ledger).await?;
        release(drivers, TRY_AGAIN).await;
        Ok(())
    });
    tried
        .await
        .unwrap_or_else(|_| Err(anyhow::anyhow!("timed out after {} (--within)", args.within)))
}

/// Releases all nodes without a delete request. It handles the clusters in parallel, so that one
/// that does not answer does not delay the others, and returns when no such node is left.
async fn release(drivers: Vec<Driver>, try_again: Duration) {
    let each = drivers.into_iter().map(|driver| take_one_back(driver, try_again));
    futures_util::future::join_all(each).await;
}

async fn take_one_back(mut driver: Driver, try_again: Duration) {
    loop {
        // Retry a release that failed or that the scheduler does not show yet.
        if let Err(why) = driver.shut_down().await {
            tracing::warn!(cluster = %driver.policy().cluster, %why, "release failed; retrying");
        }
        if driver.history().actions.values().all(|action| action.state.is_asked()) {
            return;
        }
        tokio::time::sleep(try_again).await;
    }
}

/// Open actions, by whether they can be released.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct LeftBehind {
    /// Without a delete request: can be released.
    unasked: Vec<Left>,
    /// The delete request may have been sent: must not be released.
    asked: Vec<Left>,
}

/// One node of an open action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Left {
    action: u64,
    cluster: String,
    group: String,
    node: String,
    state: &'static str,
}

impl LeftBehind {
    fn of(open: &[(ClusterName, OpenAction)]) -> Self {
        let mut left = Self::default();
        for (cluster, action) in open {
            let one = Left {
                action: action.id.0,
                cluster: cluster.to_string(),
                group: action.group.to_string(),
                node: action.node.to_string(),
                state: action.state.name(),
            };
            let to = if action.state.is_asked() { &mut left.asked } else { &mut left.unasked };
            to.push(one);
        }
        left
    }
}

/// Result of the command.
enum Outcome {
    /// A running daemon holds the ledger and manages its cordons itself.
    Alive { holder: String },
    /// The command ran; the report lists what it released.
    Done(Report),
}

/// Nodes that were released and nodes that were not.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Report {
    /// Nodes that were released or no longer have a cordon of trimtab.
    released: Vec<Left>,
    /// Nodes that were not changed because their delete request may have been sent.
    left_alone: Vec<Left>,
    /// Nodes whose release failed.
    not_released: Vec<Left>,
    /// Why it failed.
    why: Option<String>,
}

impl Report {
    fn of(before: &LeftBehind, after: LeftBehind, why: Option<String>) -> Self {
        let is_left = |one: &&Left| after.unasked.iter().any(|left| left.action == one.action);
        let released = before.unasked.iter().filter(|one| !is_left(one)).cloned().collect();
        let why = if after.unasked.is_empty() { None } else { why };
        Self { released, left_alone: after.asked, not_released: after.unasked, why }
    }
}

impl Outcome {
    fn exit(&self) -> Exit {
        match self {
            Self::Alive { .. } => Exit::Ok,
            Self::Done(report) if report.not_released.is_empty() => Exit::Ok,
            Self::Done(_) => Exit::Failed,
        }
    }

    fn tell(&self, format: Format) -> anyhow::Result<()> {
        let report = match self {
            Self::Alive { holder } => {
                return match format {
                    Format::Json => output::json(&Alive { daemon: holder }),
                    Format::Table => {
                        line(&format!("trimtab is running ({holder}) and manages its cordons"))
                    }
                };
            }
            Self::Done(report) => report,
        };
        if format == Format::Json {
            return output::json(report);
        }
        let Report { released, left_alone, not_released, why } = report;
        let parts = [
            ("released", released),
            ("not changed, the delete request may have been sent", left_alone),
            ("NOT released", not_released),
        ];
        for (what, nodes) in parts {
            for Left { action, cluster, group, node, state } in nodes {
                line(&format!("{cluster} {group} {node} (action {action}, {state}): {what}"))?;
            }
        }
        match (not_released.len(), why) {
            (0, _) => line("no cordoned nodes to release"),
            (left, Some(why)) => line(&format!("{left} not released: {why}")),
            (left, None) => {
                line(&format!("{left} not released: the configuration lacks their cluster"))
            }
        }
    }
}

/// The daemon that holds the ledger.
#[derive(Serialize)]
struct Alive<'a> {
    daemon: &'a str,
}

#[cfg(all(test, feature = "simulator"))]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use trimtab_core::cordon::CordonStatus;
    use trimtab_core::ids::{ActionId, NodeName};
    use trimtab_daemon::driver::Intent;
    use trimtab_daemon::ports::{Doorbell, Ring};
    use trimtab_simulator::World;
    use trimtab_simulator::gauntlet::{KillPoint, KillWhen};
    use trimtab_simulator::ports::PortOptions;

    use super::*;
    use crate::args::Target;

    /// A simulated world that outlives the daemons that work on it.
    struct Scenery {
        wired: Wired,
        target: Target,
        state: PathBuf,
        _folder: tempfile::TempDir,
    }

    impl Scenery {
        async fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
            let text = std::fs::read_to_string(root.join("config/simulated/trimtab.toml"));
            let own = folder.path().to_str().expect("a plain path");
            let text = text.expect("the example").replace("/tmp/trimtab-simulated", own);
            let config = folder.path().join("trimtab.toml");
            std::fs::write(&config, text).expect("written");
            let world = Some(root.join("config/simulated/world.toml"));
            let target = Target { config, world, state: None };
            let wired = Wired::new(&target).await.expect("the example is good");
            let state = folder.path().join("trimtab.db");
            Self { wired, target, state, _folder: folder }
        }

        fn world(&self) -> &World {
            self.wired.world()
        }

        async fn daemon(&self) -> Driver {
            let drivers = self.wired.drivers(Mode::Enforce, Keep::Ledger).await;
            drivers.expect("a daemon").pop().expect("one cluster")
        }

        /// Runs a daemon until this is true for an open action, then kills it.
        async fn run_until(&self, holds: impl Fn(&OpenAction) -> bool) {
            let mut daemon = self.daemon().await;
            let mut doorbell = self.world().doorbell(self.wired.tick());
            while !daemon.history().actions.values().any(&holds) {
                let ring = doorbell.next(daemon.deadline()).await;
                assert_ne!(ring, Ring::Stop, "the simulation ended before the state was reached");
                daemon.tick(ring, Intent::Act).await.expect("a tick");
            }
            // Dropping the daemon has the effect of SIGKILL: it does nothing more.
        }

        fn open(&self) -> Vec<(ClusterName, OpenAction)> {
            let reader = SqliteLedger::open_reader(&self.state).expect("a ledger");
            reader.open_actions().expect("readable")
        }

        /// The cordons of this ledger that the scheduler shows.
        async fn cordons(&self) -> BTreeMap<NodeName, ActionId> {
            let id = SqliteLedger::open_reader(&self.state).expect("a ledger").id();
            let ports = self.world().ports(PortOptions::default());
            let cluster = &self.wired.settings.clusters[0].policy.cluster;
            let workload = ports.workload.expect("a scheduler").read(cluster).await;
            let drained = workload.expect("an answer").nodes.into_iter();
            drained
                .filter_map(|node| match CordonStatus::of_reason(&node.drained?, &id) {
                    CordonStatus::Ours { actions } => Some((node.name, actions.first())),
                    CordonStatus::Clear
                    | CordonStatus::Foreign { .. }
                    | CordonStatus::Recovery
                    | CordonStatus::Operator { .. } => None,
                })
                .collect()
        }

        fn uncordon(&self, within: &str) -> UncordonArgs {
            let Target { config, world, state } = &self.target;
            let target =
                Target { config: config.clone(), world: world.clone(), state: state.clone() };
            UncordonArgs {
                target,
                within: within.parse().expect("a duration"),
                output: Format::Table,
            }
        }
    }

    fn is_settling(action: &OpenAction) -> bool {
        action.state.name() == "settling"
    }

    #[tokio::test]
    async fn what_a_killed_daemon_cordoned_is_released_and_a_second_time_changes_nothing() {
        let place = Scenery::new().await;
        place.run_until(is_settling).await;
        let cordoned = place.cordons().await;
        assert!(!cordoned.is_empty());
        for _ in 0..2 {
            release(vec![place.daemon().await], Duration::ZERO).await;
            assert_eq!(place.cordons().await, BTreeMap::new());
            assert_eq!(place.open(), vec![]);
        }
        let nodes = place.world().truth();
        assert_eq!(nodes.nodes_deleted(), 0);
    }

    #[tokio::test]
    async fn what_may_have_been_asked_for_is_never_released() {
        let place = Scenery::new().await;
        place.run_until(|action| action.state.is_asked()).await;
        let asked: Vec<ActionId> =
            LeftBehind::of(&place.open()).asked.iter().map(|left| ActionId(left.action)).collect();
        let cordoned = place.cordons().await;
        let cordoned_before: Vec<ActionId> =
            asked.iter().filter(|id| cordoned.values().any(|of| of == *id)).copied().collect();
        assert!(!cordoned_before.is_empty(), "{cordoned:?}");
        release(vec![place.daemon().await], Duration::ZERO).await;
        let cordoned = place.cordons().await;
        let mut left: Vec<ActionId> = cordoned.values().copied().collect();
        left.sort_unstable();
        assert_eq!(left, cordoned_before);
        let after = LeftBehind::of(&place.open());
        assert!(after.unasked.is_empty());
        assert_eq!(after.asked.len(), asked.len());
    }

    #[tokio::test]
    async fn a_scheduler_that_does_not_answer_is_given_up_in_time_and_the_node_is_named() {
        let place = Scenery::new().await;
        place.run_until(is_settling).await;
        let driver = place.daemon().await;
        // From the first release on, no port answers.
        let effect = place.world().effects() + 1;
        place.world().kill_at(KillPoint { effect, when: KillWhen::Before });
        let limit = Duration::from_millis(50);
        let tried = tokio::time::timeout(limit, release(vec![driver], Duration::ZERO)).await;
        assert!(tried.is_err(), "it waited no longer");
        let left = LeftBehind::of(&place.open());
        assert!(!left.unasked.is_empty());
        let why = Some("timed out after 1m (--within)".to_owned());
        let outcome = Outcome::Done(Report::of(&left, left.clone(), why));
        assert_eq!(outcome.exit(), Exit::Failed);
        // The next try succeeds.
        place.world().revive();
        release(vec![place.daemon().await], Duration::ZERO).await;
        assert_eq!(place.cordons().await, BTreeMap::new());
    }

    #[tokio::test]
    async fn observe_mode_names_what_it_cannot_release() {
        let place = Scenery::new().await;
        place.run_until(is_settling).await;
        let text = std::fs::read_to_string(&place.target.config).expect("a file");
        let text = text.replace("\"enforce\"", "\"observe\"");
        std::fs::write(&place.target.config, text).expect("written");
        let before = place.open();
        let exit = uncordon(&place.uncordon("60s")).await.expect("it runs");
        assert_eq!(exit, Exit::Failed);
        assert_eq!(place.open(), before);
    }

    #[tokio::test]
    async fn the_command_ends_every_open_action_that_was_not_asked_for() {
        let place = Scenery::new().await;
        place.run_until(is_settling).await;
        // The command creates its own world, in which nothing is cordoned.
        let exit = uncordon(&place.uncordon("60s")).await.expect("it runs");
        assert_eq!(exit, Exit::Ok);
        assert_eq!(place.open(), vec![]);
        let again = uncordon(&place.uncordon("60s")).await.expect("it runs");
        assert_eq!(again, Exit::Ok);
    }

    #[tokio::test]
    async fn a_living_daemon_keeps_its_cordons() {
        let place = Scenery::new().await;
        place.run_until(is_settling).await;
        let daemon = place.daemon().await;
        let before = place.open();
        let exit = uncordon(&place.uncordon("60s")).await.expect("it runs");
        assert_eq!(exit, Exit::Ok);
        assert_eq!(place.open(), before);
        drop(daemon);
    }
}
