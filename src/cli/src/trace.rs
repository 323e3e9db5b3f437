//! `trimtab trace export`: writes the jobs of a cluster as a trace for `trimtab backtest`.

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
                "cluster {name} uses slurmrestd, but the export reads jobs with sacct: set conf \
                 and bin_dir of its Slurm in a separate configuration for the export"
            ))),
        },
        SchedulerSettings::Simulated | SchedulerSettings::None => {
            bail!(Misplaced(format!(
                "cluster {name} has no job history: the export needs Slurm with slurmdbd. \
                 `trimtab backtest --config FILE` replays the node counts in the daemon's ledger \
                 instead"
            )));
        }
    };
    let now = SystemClock::start().now();
    let (from, to) = (args.from, args.to.unwrap_or(Time::from_secs(now.0.div_euclid(1000))));
    ensure!(from < to, "--from {from} is not before --to {to}");
    ensure!(to <= now, "--to {to} is in the future: the time is {now}");
    let history = history::read(&commands, from, to).await.map_err(|why| unread(name, &why))?;
    let extract = history.extract(from, to);
    ensure!(
        !extract.jobs.is_empty(),
        "no jobs ran on cluster {name} from {from} to {to}, or slurmdbd hides them: if \
         slurmdbd.conf sets PrivateData=jobs, run this as a Slurm operator"
    );
    if extract.jobs.iter().all(|job| job.gpus == MilliGpus(0)) {
        tracing::warn!(
            cluster = %name,
            "no job has GPUs, so every job counts as whole nodes; slurmdbd records GPUs only if \
             slurm.conf sets AccountingStorageTRES=gres/gpu"
        );
    }
    let table = write_jobs(&extract.jobs);
    let Some(file) = &args.file else {
        line(table.trim_end())?;
        return Ok(Exit::Ok);
    };
    std::fs::write(file, table).with_context(|| format!("cannot write {}", file.display()))?;
    let document = Document::of(name.as_str(), file, (from, to), &extract);
    match args.output {
        Format::Json => output::json(&document)?,
        Format::Table => document.print()?,
    }
    Ok(Exit::Ok)
}

/// Returns the cluster with this name, or the only cluster.
fn chosen<'a>(settings: &'a Settings, name: Option<&str>) -> anyhow::Result<&'a ClusterSettings> {
    let names: Vec<&str> =
        settings.clusters.iter().map(|one| one.policy.cluster.as_str()).collect();
    match (name, &settings.clusters[..]) {
        (None, [only]) => Ok(only),
        (None, _) => bail!("select a cluster with --cluster: {}", names.join(", ")),
        (Some(name), all) => {
            let named = all.iter().find(|one| one.policy.cluster.as_str() == name);
            named.with_context(|| {
                format!("unknown cluster {}: select {}", plain(name), names.join(" or "))
            })
        }
    }
}

/// Returns the error for a failed read of the history. Slurm's own message says whether slurmdbd
/// is not configured or does not answer.
fn unread(cluster: impl std::fmt::Display, why: &ReadError) -> anyhow::Error {
    let said = format!("cluster {cluster}: {why}");
    match why {
        ReadError::Denied(_) => Denied(said).into(),
        ReadError::Elsewhere(_) => Misplaced(said).into(),
        ReadError::Throttled(_) | ReadError::NoAnswer(_) => Unavailable(said).into(),
        ReadError::Refused(_) => Unavailable(format!(
            "{said} (the job history comes from slurmdbd: set \
             AccountingStorageType=accounting_storage/slurmdbd in slurm.conf and run slurmdbd)"
        ))
        .into(),
        ReadError::Unreadable(_) => anyhow::Error::msg(said),
    }
}

/// Summary of the trace.
#[derive(Serialize)]
struct Document {
    cluster: String,
    file: PathBuf,
    /// Start of the trace.
    from: String,
    to: String,
    /// Number of runs; a requeued job has several.
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
        line(&format!("{file}: {runs} job runs from {from} to {to} in {partitions}"))?;
        line(&format!(
            "{} runs cut at the start of the trace, {} at the end",
            self.ran_at_begin, self.ran_at_end
        ))?;
        line(&format!(
            "skipped: {} jobs that never started, {} runs shorter than one second",
            self.never_started, self.momentary
        ))?;
        line(&format!("next: trimtab backtest --trace {file}"))
    }
}
