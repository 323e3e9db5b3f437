//! `trimtab simulate`: serves simulated clusters at an endpoint.
//!
//! This module moves the simulated time and runs programs when nodes join or are terminated, so
//! that a real scheduler can follow a simulated cluster.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::io::AsyncWriteExt;
use trimtab_core::units::Span;
use trimtab_endpoint::{Change, Endpoint, Handle, NodeChange, Options, Pace};
use trimtab_simulator::World;
use trimtab_simulator::spec::WorldSpec;

use crate::args::SimulateArgs;
use crate::clock::stop_on_signals;
use crate::exit::Exit;
use crate::output::line;
use crate::simulated::read_spec;

/// The world to use without --world.
const DEFAULT_WORLD: &str = include_str!("../../../config/simulated/world.toml");
/// Interval at which the worlds catch up with the clock without requests: the longest delay of a
/// notification about a node.
const CATCH_UP: Duration = Duration::from_millis(250);
/// Time limit for the program of --on-node-gone or --on-node-added.
const HOOK_LIMIT: Duration = Duration::from_secs(60);
/// Time limit for open requests at a stop.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// When a world is invalid or the address cannot be bound.
pub(crate) async fn simulate(args: &SimulateArgs) -> anyhow::Result<Exit> {
    let hooks = Hooks {
        gone: args.on_node_gone.as_deref().map(words).transpose().context("--on-node-gone")?,
        added: args.on_node_added.as_deref().map(words).transpose().context("--on-node-added")?,
    };
    let worlds = worlds(args)?;
    let pace: Option<Arc<dyn Pace>> = if args.speed > 0.0 {
        Some(Arc::new(Wall { began: Instant::now(), speed: args.speed }))
    } else {
        None
    };
    let clusters: Vec<String> = worlds.iter().map(|w| w.spec().cluster.to_string()).collect();
    let region = worlds.first().map(|w| w.spec().api.region.clone()).unwrap_or_default();
    let mut stop = stop_on_signals()?;
    let endpoint = Endpoint::bind(args.listen, worlds, Options { pace }).await?;
    let url = format!("http://{}", endpoint.local_addr());
    line(&format!("listening on {url}"))?;
    let time = if args.speed > 0.0 {
        format!("simulated time runs at {} times real time", args.speed)
    } else {
        "simulated time moves only by requests to /_world".to_owned()
    };
    line(&format!("clusters: {}; {time}", clusters.join(", ")))?;
    line(&format!(
        "try: AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x aws --region {region} \
         --endpoint-url {url} sagemaker list-clusters"
    ))?;
    let handle = endpoint.handle();
    let (tell_end, ended) = tokio::sync::oneshot::channel();
    let stopped = async move {
        // A closed channel counts as a stop.
        let _ = stop.wait_for(|stop| *stop).await;
        let _ = tell_end.send(());
    };
    let late = async {
        match ended.await {
            Ok(()) => tokio::time::sleep(STOP_LIMIT).await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = endpoint.serve(stopped) => {}
        () = late => tracing::warn!("open requests aborted: they exceeded the stop limit"),
        () = tell_of_nodes(&handle, &hooks, args.speed > 0.0) => {}
    }
    Ok(Exit::Ok)
}

fn worlds(args: &SimulateArgs) -> anyhow::Result<Vec<World>> {
    let mut specs = vec![];
    for path in &args.world {
        specs.push(read_spec(path)?);
    }
    if specs.is_empty() {
        specs.push((WorldSpec::parse(DEFAULT_WORLD, "config/simulated/world.toml")?, vec![]));
    }
    let mut worlds = vec![];
    for (number, (mut spec, jobs)) in (0..).zip(specs) {
        if let Some(seed) = args.seed {
            spec.seed = seed.wrapping_add(number);
        }
        // A server that runs for days must not keep the world logs in memory.
        spec.keep_log = false;
        worlds.push(World::new(spec, jobs)?);
    }
    Ok(worlds)
}

/// Real time multiplied by a speed.
struct Wall {
    began: Instant,
    speed: f64,
}

impl Pace for Wall {
    fn elapsed(&self) -> Span {
        Span((self.began.elapsed().as_secs_f64() * self.speed * 1000.0) as i64)
    }

    fn speed(&self) -> f64 {
        self.speed
    }
}

/// Programs of --on-node-gone and --on-node-added, each split into words.
struct Hooks {
    gone: Option<Vec<String>>,
    added: Option<Vec<String>>,
}

/// Runs the programs one at a time, in the order of the changes: two programs must not write the
/// configuration of a scheduler at the same time.
async fn tell_of_nodes(handle: &Handle, hooks: &Hooks, by_clock: bool) {
    let mut every = tokio::time::interval(CATCH_UP);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = handle.changed() => {}
            _ = every.tick(), if by_clock => handle.catch_up(),
        }
        for change in handle.take_changes() {
            let program = match change.change {
                Change::Gone => &hooks.gone,
                Change::Added => &hooks.added,
            };
            if let Some(program) = program
                && let Err(why) = tell(program, &change).await
            {
                tracing::warn!(node = %change.node, program = %program.join(" "), "node hook failed: {why:#}");
            }
        }
    }
}

async fn tell(program: &[String], change: &NodeChange) -> anyhow::Result<()> {
    let Some((name, arguments)) = program.split_first() else { bail!("no program") };
    let mut text = serde_json::to_vec(change)?;
    text.push(b'\n');
    let mut child = tokio::process::Command::new(name)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("cannot start the program")?;
    let run = async {
        if let Some(mut input) = child.stdin.take() {
            // The program may have exited without reading its input.
            let _ = input.write_all(&text).await;
        }
        child.wait().await
    };
    match tokio::time::timeout(HOOK_LIMIT, run).await {
        Ok(status) => {
            let status = status.context("waiting for the program failed")?;
            if status.success() { Ok(()) } else { bail!("the program returned {status}") }
        }
        Err(_) => bail!("the program was killed after {} s", HOOK_LIMIT.as_secs()),
    }
}

/// Splits a command at spaces, except inside quotes. No other character is special.
fn words(command: &str) -> anyhow::Result<Vec<String>> {
    let mut words: Vec<String> = vec![];
    let mut word: Option<String> = None;
    let mut quote = None;
    for letter in command.chars() {
        match quote {
            Some(open) if letter == open => quote = None,
            Some(_) => word.get_or_insert_default().push(letter),
            None if letter == '"' || letter == '\'' => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            None if letter.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(letter),
        }
    }
    if let Some(open) = quote {
        bail!("unmatched quote {open} in `{command}`");
    }
    words.extend(word);
    match words.first() {
        None => bail!("no program in `{command}`: write a path and its arguments"),
        Some(_) => Ok(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_split_at_spaces_and_quotes_keep_them() {
        let split = |text: &str| words(text).ok();
        let own =
            |all: &[&str]| Some(all.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(split("/bin/x a  b"), own(&["/bin/x", "a", "b"]));
        assert_eq!(split(r#"x "a b" '' c'"'d"#), own(&["x", "a b", "", "c\"d"]));
        assert_eq!(split("x $HOME;y"), own(&["x", "$HOME;y"]));
        for wrong in ["", "  ", "x 'a"] {
            assert_eq!(split(wrong), None, "{wrong:?}");
        }
    }
}
