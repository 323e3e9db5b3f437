//! `trimtab trace export`: what ran on a cluster, in the form that `backtest` reads.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::Serialize;
use trimtab_config::{ClusterSettings, SchedulerSettings, Settings, SlurmAccess};
use trimtab_core::trace::write_jobs;
use trimtab_core::units::{MilliGpus, Time};
use trimtab_daemon::ports::{Clock, ReadError};
use trimtab_slurm::Commands;
use trimtab_slurm::history::{self, Extract};

use crate::args::{TraceArgs, TraceCommand, TraceExportArgs};
use crate::clock::SystemClock;
use crate::exit::Exit;
use crate::exit::{Denied, Misplaced, Unavailable};
use crate::output::{self, Format, line, plain};
use crate::wiring::layers;

/// `trimtab trace`.
pub(crate) async fn trace(args: &TraceArgs) -> anyhow::Result<Exit> {
    match &args.command {
        TraceCommand::Export(args) => export(args).await,
    }
}

async fn export(args: &TraceExportArgs) -> anyhow::Result<Exit> {
    let settings = trimtab_config::load_layers(&layers(&args.config, None))?.settings;
    let cluster = chosen(&settings, args.cluster.as_deref())?;
    let name = &cluster.policy.cluster;
    let commands = match &cluster.scheduler {
        SchedulerSettings::Slurm(slurm) => match &slurm.access {
            SlurmAccess::Commands { conf, bin_dir } => Commands::new(bin_dir.clone(), conf.clone()),
            SlurmAccess::Rest { .. } => bail!(Misplaced(format!(
                "cluster {name} is asked through slurmrestd, but what jobs ran is read by sacct: \
                 name conf and bin_dir of its Slurm in a configuration for the export"
            ))),
        },
        SchedulerSettings::Simulated | SchedulerSettings::None => {
            bail!(Misplaced(format!(
                "cluster {name} has no scheduler that remembers jobs: only \"slurm\" does, where \
                 it has a slurmdbd; `trimtab backtest --config FILE` replays what the daemon has \
                 counted itself"
            )));
        }
    };
    let now = SystemClock::start().now();
    let (from, to) = (args.from, args.to.unwrap_or(Time::from_secs(now.0.div_euclid(1000))));
    ensure!(from < to, "--from {from} is not before --to {to}");
    ensure!(to <= now, "--to {to} has not been yet: it is {now}");
    let history = history::read(&commands, from, to).await.map_err(|why| unread(name, &why))?;
    let extract = history.extract(from, to);
    ensure!(
        !extract.jobs.is_empty(),
        "nothing ran on cluster {name} from {from} to {to}, or slurmdbd does not tell: where its \
         slurmdbd.conf makes jobs private, only its operators see those of others"
    );
    if extract.jobs.iter().all(|job| job.gpus == MilliGpus(0)) {
        tracing::warn!(
            cluster = %name,
            "no job has a GPU, so each counts as whole nodes: slurmdbd remembers GPUs only where \
             slurm.conf says AccountingStorageTRES=gres/gpu"
        );
    }
    let table = write_jobs(&extract.jobs);
    let Some(file) = &args.file else {
        line(table.trim_end())?;
        return Ok(Exit::Ok);
    };
    std::fs::write(file, table).with_context(|| format!("writing {}", file.display()))?;
    let document = Document::of(name.as_str(), file, (from, to), &extract);
    match args.output {
        Format::Json => output::json(&document)?,
        Format::Table => document.print()?,
    }
    Ok(Exit::Ok)
}

/// The cluster that is meant.
fn chosen<'a>(settings: &'a Settings, name: Option<&str>) -> anyhow::Result<&'a ClusterSettings> {
    let names: Vec<&str> =
        settings.clusters.iter().map(|one| one.policy.cluster.as_str()).collect();
    match (name, &settings.clusters[..]) {
        (None, [only]) => Ok(only),
        (None, _) => bail!("say which cluster with --cluster: {}", names.join(", ")),
        (Some(name), all) => {
            let named = all.iter().find(|one| one.policy.cluster.as_str() == name);
            named.with_context(|| {
                format!("no cluster is called {}: {}", plain(name), names.join(", "))
            })
        }
    }
}

/// Why there is no history. Slurm's own words tell whether there is no slurmdbd at all,
/// or one that does not answer.
fn unread(cluster: impl std::fmt::Display, why: &ReadError) -> anyhow::Error {
    let said = format!("cluster {cluster}: {why}");
    match why {
        ReadError::Denied(_) => Denied(said).into(),
        ReadError::Elsewhere(_) => Misplaced(said).into(),
        ReadError::Throttled(_) | ReadError::NoAnswer(_) => Unavailable(said).into(),
        ReadError::Refused(_) => Unavailable(format!(
            "{said} (jobs that are over are slurmdbd's to tell: slurm.conf needs \
             AccountingStorageType=accounting_storage/slurmdbd, and slurmdbd has to run)"
        ))
        .into(),
        ReadError::Unreadable(_) => anyhow::Error::msg(said),
    }
}

/// What the trace holds.
#[derive(Serialize)]
struct Document {
    cluster: String,
    file: PathBuf,
    /// The trace's zero.
    from: String,
    to: String,
    /// Times that jobs ran; one that was requeued ran several times.
    runs: usize,
    partitions: BTreeSet<String>,
    ran_at_begin: usize,
    ran_at_end: usize,
    never_started: usize,
    momentary: usize,
}

impl Document {
    fn of(cluster: &str, file: &Path, (from, to): (Time, Time), extract: &Extract) -> Self {
        Self {
            cluster: cluster.to_owned(),
            file: file.to_owned(),
            from: from.to_string(),
            to: to.to_string(),
            runs: extract.jobs.len(),
            partitions: extract.jobs.iter().map(|job| job.partition.to_string()).collect(),
            ran_at_begin: extract.cut_at_begin,
            ran_at_end: extract.cut_at_end,
            never_started: extract.never_started,
            momentary: extract.momentary,
        }
    }

    fn print(&self) -> anyhow::Result<()> {
        let Self { file, from, to, runs, .. } = self;
        let file = plain(&file.display().to_string());
        let partitions = self.partitions.iter().cloned().collect::<Vec<_>>().join(", ");
        line(&format!("{file}: {runs} runs of jobs from {from} to {to}, in {partitions}"))?;
        line(&format!(
            "{} of them ran already at the beginning, {} still at the end: cut there",
            self.ran_at_begin, self.ran_at_end
        ))?;
        line(&format!(
            "left out: {} jobs that never began, {} runs that ended within a second",
            self.never_started, self.momentary
        ))?;
        line(&format!("now: trimtab backtest --trace {file}"))
    }
}
