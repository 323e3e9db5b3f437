//! Hooks (programs of the operator): checks their files and runs them concurrently with the loop.
//! The end of a program rings the doorbell.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{Notify, watch};
use trimtab_config::{ClusterSettings, HookSettings, Loaded, Mode, Note, Origin, Problem, Setting};
use trimtab_core::units::Time;
use trimtab_daemon::ports::{Doorbell, Gate, Ports, Ring};
use trimtab_hooks::{GateProgram, NodeProgram, Start};
use trimtab_program::{Untrusted, trusted};

use crate::exit::Misplaced;

/// Returns the hooks of a cluster with their configuration keys.
fn hooks(cluster: &ClusterSettings) -> impl Iterator<Item = (&'static str, &HookSettings)> {
    let both = [("gate", &cluster.gate), ("on_node_check", &cluster.on_node_check)];
    both.into_iter().filter_map(|(key, hook)| Some((key, hook.as_ref()?)))
}

fn program(hook: &HookSettings) -> &Path {
    Path::new(hook.command.first().map_or("", String::as_str))
}

/// Checks the programs of a configuration. A missing program is only a note, because a
/// configuration may be checked on another machine.
pub(crate) fn check(loaded: &Loaded) -> (Vec<Problem>, Vec<Note>) {
    let (mut problems, mut notes) = (vec![], vec![]);
    for cluster in &loaded.settings.clusters {
        for (key, hook) in hooks(cluster) {
            let key = format!("cluster[{}].{key}.command", cluster.policy.cluster);
            let is_it = |setting: &&Setting| setting.key == key;
            let setting = loaded.effective.iter().find(is_it);
            let origin = setting.map_or(Origin::Default, |setting| setting.origin.clone());
            match trusted(program(hook)) {
                Ok(_) => {}
                Err(Untrusted::Unseen { path, why }) if why.kind() == ErrorKind::NotFound => {
                    let text = format!(
                        "{} is not on this machine; where it is missing, `trimtab run` does not \
                         start in enforce mode",
                        path.display()
                    );
                    notes.push(Note { origin, key, text });
                }
                Err(why) => {
                    let value = Some(program(hook).display().to_string());
                    let (what, instead) = (why.to_string(), String::new());
                    problems.push(Problem { origin, key, value, what, instead });
                }
            }
        }
    }
    (problems, notes)
}

/// Counts the programs that are running.
pub(crate) struct Errands {
    under_way: watch::Sender<usize>,
    ended: Notify,
}

/// One running program. Dropping it decrements the count, even when its task is cancelled.
struct Errand(Arc<Errands>);

impl Drop for Errand {
    fn drop(&mut self) {
        self.0.under_way.send_modify(|count| *count -= 1);
        self.0.ended.notify_one();
    }
}

impl Errands {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { under_way: watch::Sender::new(0), ended: Notify::new() })
    }

    /// Returns a function that starts a program as a counted task.
    fn start(self: &Arc<Self>) -> Start {
        let errands = Arc::clone(self);
        Arc::new(move |work| {
            errands.under_way.send_modify(|count| *count += 1);
            let errand = Errand(Arc::clone(&errands));
            tokio::spawn(async move {
                let _errand = errand;
                work.await;
            });
        })
    }

    /// Adds this cluster's hooks to the ports. Observe mode runs no hooks.
    ///
    /// # Errors
    /// [`Misplaced`] when a program is missing or not trusted.
    pub(crate) fn wire(
        self: &Arc<Self>,
        ports: Ports,
        cluster: &ClusterSettings,
        mode: Mode,
    ) -> anyhow::Result<Ports> {
        if mode == Mode::Observe {
            return Ok(ports);
        }
        for (key, hook) in hooks(cluster) {
            if let Err(why) = trusted(program(hook)) {
                let cluster = &cluster.policy.cluster;
                return Err(Misplaced(format!("cluster {cluster}: {key}: {why}")).into());
            }
        }
        let (clock, start) = (&ports.clock, self.start());
        let gate = cluster.gate.clone().map(|hook| {
            let (region, account) = (cluster.region.as_str(), cluster.account_id.as_str());
            let (clock, start) = (Arc::clone(clock), Arc::clone(&start));
            Arc::new(GateProgram::new(hook, region, account, clock, start)) as Arc<dyn Gate>
        });
        let on_node_check = cluster.on_node_check.clone().map(|hook| {
            Arc::new(NodeProgram::new(hook, Arc::clone(clock), start)) as Arc<dyn Gate>
        });
        Ok(Ports {
            gate: gate.or(ports.gate),
            on_node_check: on_node_check.or(ports.on_node_check),
            ..ports
        })
    }

    /// Waits until no program is running.
    async fn are_over(&self) {
        // `self` holds the sender, so the channel is open.
        let _ = self.under_way.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// A doorbell that also rings when an errand ends.
pub(crate) struct Hearing {
    pub(crate) bell: Box<dyn Doorbell>,
    pub(crate) errands: Arc<Errands>,
    /// Becomes true when a stop is requested.
    pub(crate) stop: watch::Receiver<bool>,
    /// Whether to wait for the programs before the doorbell sleeps: in lock-step, simulated time
    /// moves only during the sleep, but programs run in real time.
    pub(crate) holds_time: bool,
}

#[async_trait]
impl Doorbell for Hearing {
    async fn next(&mut self, deadline: Option<Time>) -> Ring {
        let Self { bell, errands, stop, holds_time } = self;
        if *holds_time {
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => {}
                () = errands.are_over() => {}
            }
            return bell.next(deadline).await;
        }
        tokio::select! {
            biased;
            () = errands.ended.notified() => {}
            ring = bell.next(deadline) => return ring,
        }
        // A deadline in the past: a world that follows the wall clock catches up.
        bell.next(Some(Time(0))).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use trimtab_core::units::Span;

    use super::*;
    use crate::clock::{CronDoorbell, SystemClock};

    async fn doorbell(errands: &Arc<Errands>, holds_time: bool) -> (watch::Sender<bool>, Hearing) {
        let (send_stop, stop) = watch::channel(false);
        let (clock, long) = (Arc::new(SystemClock::start()), Span::hours(1));
        let never = "0 0 0 1 1 *";
        let bell = CronDoorbell::start(never, long, stop.clone(), clock).await.expect("valid");
        let errands = Arc::clone(errands);
        (send_stop, Hearing { bell: Box::new(bell), errands, stop, holds_time })
    }

    #[tokio::test]
    async fn the_end_of_an_errand_rings_also_while_nobody_listens() {
        let errands = Errands::new();
        let (send_stop, mut bell) = doorbell(&errands, false).await;
        let start = errands.start();
        start(Box::pin(tokio::time::sleep(Duration::from_millis(50))));
        assert_eq!(bell.next(None).await, Ring::Deadline);
        start(Box::pin(async {}));
        errands.are_over().await;
        assert_eq!(bell.next(None).await, Ring::Deadline);
        send_stop.send(true).expect("it listens");
        assert_eq!(bell.next(None).await, Ring::Stop);
    }

    #[tokio::test]
    async fn a_world_in_lock_step_waits_for_errands_and_hears_a_stop() {
        let errands = Errands::new();
        let (send_stop, mut bell) = doorbell(&errands, true).await;
        let start = errands.start();
        let (_withdraw, withdrawn) = tokio::sync::oneshot::channel::<()>();
        start(Box::pin(async move {
            let _ = withdrawn.await;
        }));
        let over = Some(Time(0));
        let early = tokio::time::timeout(Duration::from_millis(100), bell.next(over)).await;
        assert!(early.is_err(), "time moved while a program was running");
        send_stop.send(true).expect("it listens");
        assert_eq!(bell.next(over).await, Ring::Stop);
    }
}
