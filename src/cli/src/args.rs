//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::output::Format;

/// Trims SageMaker HyperPod clusters: deletes nodes that nobody needs, never
/// one that runs work, and can tell why.
#[derive(Debug, Parser)]
#[command(name = "trimtab", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the whole daemon on a simulated cluster that replays a real trace
    Demo(DemoArgs),
    /// Run the daemon
    Run(RunArgs),
    /// Observe and plan, change nothing; exits 2 when there is something to do
    Plan(PlanArgs),
    /// Why a node is (not) deleted, from the ledger
    Explain(ExplainArgs),
    /// What was done, from the ledger
    History(HistoryArgs),
    /// Report every problem of a configuration at once, or what is in force and why
    CheckConfig(CheckConfigArgs),
    /// Stop deleting, now and until `resume`
    Pause(PauseArgs),
    /// Take a pause back, or clear a freeze
    Resume(ResumeArgs),
}

/// `trimtab demo`
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// What chance starts from
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// How many days of the trace are replayed
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=30))]
    pub(crate) days: u32,
    /// Lines only and as fast as it goes, as in a pipe
    #[arg(long)]
    pub(crate) plain: bool,
    /// Where to keep the ledger [default: a new folder for temporary files]
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,
    /// How the summary is printed
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
}

/// Where the daemon works.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// A world file: the simulated cluster to work on
    #[arg(long, value_name = "FILE")]
    pub(crate) world: Option<PathBuf>,
    /// The ledger, instead of the one that the configuration names
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,
}

/// `trimtab run`
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Plan once, follow the actions to their end, and exit
    #[arg(long)]
    pub(crate) once: bool,
    /// With a world: watch it for so long before the plan counts
    #[arg(long, value_name = "DURATION", default_value = "2h")]
    pub(crate) warm_up: String,
    /// With a world: let it move with the clock on the wall instead of at once
    #[arg(long, conflicts_with = "once")]
    pub(crate) real_time: bool,
    /// How reports are printed
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
}

/// `trimtab plan`
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) target: Target,
    /// With a world: watch it for so long before the plan
    #[arg(long, value_name = "DURATION", default_value = "2h")]
    pub(crate) warm_up: String,
    /// Only groups and nodes about which there is something to do
    #[arg(long)]
    pub(crate) brief: bool,
    /// How the plan is printed
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
}

/// Which ledger to read.
#[derive(Debug, Args)]
pub(crate) struct LedgerArgs {
    /// The ledger
    #[arg(long, value_name = "FILE", default_value = "/var/lib/trimtab/trimtab.db")]
    pub(crate) state: PathBuf,
}

/// `trimtab explain`
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// An instance id, or the scheduler's name of a node
    pub(crate) node: String,
    #[command(flatten)]
    pub(crate) ledger: LedgerArgs,
    /// Most entries of each kind
    #[arg(long, default_value_t = 20)]
    pub(crate) limit: usize,
    /// How it is printed
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
}

/// `trimtab history`
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    #[command(flatten)]
    pub(crate) ledger: LedgerArgs,
    /// Most actions, newest first
    #[arg(long, default_value_t = 20)]
    pub(crate) limit: usize,
    /// One cluster only
    #[arg(long)]
    pub(crate) cluster: Option<String>,
    /// How it is printed
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
}

/// `trimtab check-config`
#[derive(Debug, Args)]
pub(crate) struct CheckConfigArgs {
    /// The configuration file; the files of `conf.d` beside it belong to it
    pub(crate) file: PathBuf,
    /// The ledger, as it would be given to `run`
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,
    /// How it is printed
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
}

/// `trimtab pause`
#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    #[command(flatten)]
    pub(crate) ledger: LedgerArgs,
    /// One cluster only
    #[arg(long)]
    pub(crate) cluster: Option<String>,
    /// Why
    #[arg(long, default_value = "no reason given")]
    pub(crate) reason: String,
}

/// `trimtab resume`
#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    pub(crate) ledger: LedgerArgs,
    /// One cluster only
    #[arg(long)]
    pub(crate) cluster: Option<String>,
    /// Clear this cluster's freeze instead: you have looked at what caused it
    #[arg(long, value_name = "CLUSTER", conflicts_with = "cluster")]
    pub(crate) clear_freeze: Option<String>,
}
