//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use trimtab_core::policy::Factor;
use trimtab_core::units::{Span, Time, UsdPerHour};

use crate::output::Format;

/// Deletes idle nodes of SageMaker HyperPod clusters when that saves money,
/// never a node that runs work, and explains every decision.
#[derive(Debug, Parser)]
#[command(name = "trimtab", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the whole daemon on a simulated cluster that replays a real trace
    Demo(DemoArgs),
    /// Run the daemon
    Run(RunArgs),
    /// Print the plan without changing anything; exits 2 if the plan has changes
    Plan(PlanArgs),
    /// Explain why a node is or is not deleted, from the ledger
    Explain(ExplainArgs),
    /// List past actions, from the ledger
    History(HistoryArgs),
    /// Compare the cost of policies on recorded load with the clairvoyant optimum
    Backtest(BacktestArgs),
    /// Export the jobs of a cluster as a trace
    Trace(TraceArgs),
    /// Check a configuration: print all problems, or every setting and where it comes from
    CheckConfig(CheckConfigArgs),
    /// Stop all deletions until `trimtab resume`
    Pause(PauseArgs),
    /// End a pause, or clear a freeze
    Resume(ResumeArgs),
    /// Serve simulated clusters through the SageMaker and CloudWatch APIs, on this machine only
    Simulate(SimulateArgs),
    /// Release nodes that a killed daemon left cordoned
    Uncordon(UncordonArgs),
}

/// Scheduler that runs the demo's jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum DemoScheduler {
    /// The scheduler of the simulated cluster
    Simulated,
    /// A real Slurm, started on this machine
    Slurm,
}

/// `trimtab demo`
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Random seed
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Scheduler that runs the jobs; `slurm` requires an installed Slurm
    #[arg(long, value_enum, default_value_t = DemoScheduler::Simulated)]
    pub(crate) scheduler: DemoScheduler,
    /// Number of days of the trace to replay
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=30))]
    pub(crate) days: u32,
    /// Print plain lines at full speed, as when the output is a pipe
    #[arg(long)]
    pub(crate) plain: bool,
    /// Call the simulated cluster directly, without HTTP and the AWS SDKs
    #[arg(long)]
    pub(crate) in_process: bool,
    /// Ledger file to create [default: a file in a new temporary directory]
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,
    /// Output format of the summary
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
}

/// Configuration, cluster and ledger that a command works on.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// World file: use a simulated cluster in this process instead of the configured clusters
    #[arg(long, value_name = "FILE")]
    pub(crate) world: Option<PathBuf>,
    /// Ledger file; overrides the configuration
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,
}

/// `trimtab run`
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Plan once, complete the actions, and exit
    #[arg(long)]
    pub(crate) once: bool,
    /// Observe for this long before acting [default: 2h with simulated time, otherwise one
    /// observation]
    #[arg(long, value_name = "DURATION")]
    pub(crate) warm_up: Option<Span>,
    /// With --world: run the simulated cluster in real time
    #[arg(long, conflicts_with = "once")]
    pub(crate) real_time: bool,
    /// Output format of the reports
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
}

impl RunArgs {
    /// Whether this run is a service: in real time, until it is stopped.
    pub(crate) fn is_service(&self) -> bool {
        !self.once && (self.real_time || self.target.world.is_none())
    }
}

/// `trimtab plan`
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Observe for this long before planning [default: 2h with simulated time; otherwise one
    /// observation, added to those in the daemon's ledger]
    #[arg(long, value_name = "DURATION")]
    pub(crate) warm_up: Option<Span>,
    /// List only the nodes that the plan deletes or releases, or that are being deleted
    #[arg(long)]
    pub(crate) brief: bool,
    /// Output format of the plan
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
}

/// The ledger that a command reads.
#[derive(Debug, Args)]
pub(crate) struct LedgerArgs {
    /// Ledger file
    #[arg(long, value_name = "FILE", default_value = "/var/lib/trimtab/trimtab.db")]
    pub(crate) state: PathBuf,
}

/// `trimtab explain`
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// Instance ID of the node, or its name in the scheduler
    pub(crate) node: String,
    #[command(flatten)]
    pub(crate) ledger: LedgerArgs,
    /// Maximum number of verdicts and of actions to print
    #[arg(long, default_value_t = 20)]
    pub(crate) limit: usize,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
}

/// `trimtab backtest`
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["trace", "config"]))]
pub(crate) struct BacktestArgs {
    /// Trace files: job tables, node curves or Standard Workload Format, optionally
    /// compressed with gzip; each file is replayed separately
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) trace: Vec<PathBuf>,
    /// Replay the node counts that a daemon recorded in its ledger, with the prices and boot
    /// times of this configuration
    #[arg(long, value_name = "FILE", conflicts_with_all = ["trace", "days", "min_jobs", "group_by",
        "gpus_per_node", "size", "price", "boot", "billed_after_delete", "delay_value"])]
    pub(crate) config: Option<PathBuf>,
    /// With --config: ledger file; overrides the configuration
    #[arg(long, value_name = "FILE", requires = "config")]
    pub(crate) state: Option<PathBuf>,
    /// With --config: replay only this cluster
    #[arg(long, value_name = "NAME", requires = "config")]
    pub(crate) cluster: Option<String>,
    /// Policies to compare [default: never, per-node and count timers, break-even,
    /// randomised, learned, learned-queue, optimum, optimum-prewarmed]
    #[arg(long, value_name = "POLICY", num_args = 1.., value_delimiter = ',')]
    pub(crate) policy: Vec<trimtab_backtest::Policy>,
    /// Boot time: from the request for a node until the node accepts jobs
    #[arg(long, value_name = "DURATION", default_value = "15m")]
    pub(crate) boot: Span,
    /// How long a node is billed after the delete request
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    pub(crate) billed_after_delete: Span,
    /// Cost of one node-hour of job waiting time, as a multiple of the node price: 0 to 100
    #[arg(long, value_name = "FACTOR", default_value = "1.0", value_parser = factor)]
    pub(crate) delay_value: Factor,
    /// Price of one node, in US dollars per hour
    #[arg(long, value_name = "DOLLARS", default_value = "1.00", value_parser = price)]
    pub(crate) price: UsdPerHour,
    /// Nodes per group [default: as given in the trace, otherwise the highest demand]
    #[arg(long, value_name = "NODES", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) size: Option<u32>,
    /// GPUs per node, or processors per node for Standard Workload Format [default: 8, or as
    /// given in the file]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) gpus_per_node: Option<u32>,
    /// Jobs that share a group of nodes
    #[arg(long, value_enum, default_value_t = GroupBy::Partition)]
    pub(crate) group_by: GroupBy,
    /// Skip groups with fewer jobs
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) min_jobs: usize,
    /// Days of the trace to replay: first day, and the day after the last, such as 21-107
    #[arg(long, value_name = "FROM-TO", value_parser = days)]
    pub(crate) days: Option<(u32, u32)>,
    /// Shortest learned timer; --config uses two ticks, as the daemon does
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    pub(crate) shortest_timer: Span,
    /// Random seed for job placement and randomised timers
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
}

/// Jobs that share a group of nodes in a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum GroupBy {
    /// The jobs of one partition
    Partition,
    /// All jobs
    All,
}

fn factor(text: &str) -> Result<Factor, String> {
    let factor = text.parse().ok().and_then(Factor::try_from_factor);
    factor.ok_or_else(|| "write a number from 0 to 100, such as 1.0".to_owned())
}

fn price(text: &str) -> Result<UsdPerHour, String> {
    let price = text.parse().ok().and_then(UsdPerHour::try_from_dollars);
    let price = price.filter(|price| *price > UsdPerHour::ZERO);
    price.ok_or_else(|| {
        "write US dollars per hour, above 0 and up to 10000, such as 3.06; with a price of 0 a \
         deletion saves nothing"
            .to_owned()
    })
}

fn days(text: &str) -> Result<(u32, u32), String> {
    let ends = text
        .split_once('-')
        .and_then(|(from, to)| Some((from.trim().parse().ok()?, to.trim().parse().ok()?)));
    let ends = ends.filter(|(from, to)| from < to);
    ends.ok_or_else(|| "write two days, the first before the second, such as 21-107".to_owned())
}

/// `trimtab trace`
#[derive(Debug, Args)]
pub(crate) struct TraceArgs {
    #[command(subcommand)]
    pub(crate) command: TraceCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TraceCommand {
    /// Write the jobs recorded by slurmdbd as a job table for `trimtab backtest`; job names and
    /// user names are not read
    Export(TraceExportArgs),
}

/// `trimtab trace export`
#[derive(Debug, Args)]
pub(crate) struct TraceExportArgs {
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Cluster to export; required if the configuration has several
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: Option<String>,
    /// Start of the trace: a day in UTC such as 2026-11-01, or a time such as
    /// 2026-11-01T09:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = instant)]
    pub(crate) from: Time,
    /// End of the trace; running jobs are cut there [default: now]
    #[arg(long, value_name = "WHEN", value_parser = instant)]
    pub(crate) to: Option<Time>,
    /// File to write; an existing file is overwritten [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// With --file: output format of the summary
    #[arg(long, value_enum, default_value_t = Format::Table, requires_if("json", "file"))]
    pub(crate) output: Format,
}

/// Parses a day (its start, in UTC) or a time with a zone. Times before 1970 are rejected.
fn instant(text: &str) -> Result<Time, String> {
    let day = || {
        // jiff parses a civil date from longer texts, too.
        let date = (text.len() == 10).then(|| text.parse::<jiff::civil::Date>().ok()).flatten()?;
        jiff::tz::TimeZone::UTC.to_timestamp(date.to_datetime(jiff::civil::Time::midnight())).ok()
    };
    let at = text.parse::<jiff::Timestamp>().ok().or_else(day);
    let at = at.map(|at| Time::from_secs(at.as_second())).filter(|at| at.0 >= 0);
    at.ok_or_else(|| {
        "write a day such as 2026-11-01, or a time such as 2026-11-01T09:00:00Z".to_owned()
    })
}

/// `trimtab history`
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    #[command(flatten)]
    pub(crate) ledger: LedgerArgs,
    /// Maximum number of actions to print, newest first
    #[arg(long, default_value_t = 20)]
    pub(crate) limit: usize,
    /// Print only the actions of this cluster
    #[arg(long)]
    pub(crate) cluster: Option<String>,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
}

/// `trimtab check-config`
#[derive(Debug, Args)]
pub(crate) struct CheckConfigArgs {
    /// Configuration file; the files in `conf.d` in the same directory are read, too
    pub(crate) file: PathBuf,
    /// Ledger file, as passed to `trimtab run`
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
}

/// `trimtab pause`
#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    #[command(flatten)]
    pub(crate) ledger: LedgerArgs,
    /// Pause only this cluster
    #[arg(long)]
    pub(crate) cluster: Option<String>,
    /// Reason for the pause, shown in logs and verdicts
    #[arg(long, default_value = "no reason given")]
    pub(crate) reason: String,
}

/// `trimtab resume`
#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    pub(crate) ledger: LedgerArgs,
    /// Resume only this cluster
    #[arg(long)]
    pub(crate) cluster: Option<String>,
    /// Clear the freeze of this cluster instead; find the cause of the freeze first
    #[arg(long, value_name = "CLUSTER", conflicts_with = "cluster")]
    pub(crate) clear_freeze: Option<String>,
}

/// `trimtab simulate`
#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    /// Loopback address and port to listen on; port 0 selects a free port
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4010")]
    pub(crate) listen: SocketAddr,
    /// World file; repeat the option for several clusters [default: one cluster of 12 GPU nodes]
    #[arg(long, value_name = "FILE")]
    pub(crate) world: Vec<PathBuf>,
    /// Speed of the simulated time, as a multiple of real time; at 0 only requests to /_world
    /// move it
    #[arg(long, value_name = "N", default_value_t = 1.0, value_parser = speed)]
    pub(crate) speed: f64,
    /// Random seed; overrides the seeds of the world files. The second world uses the next
    /// number, and so on
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Program to run, with arguments, after a node is terminated; it receives one line of
    /// JSON on standard input. No shell is used; quote arguments that contain spaces
    #[arg(long, value_name = "CMD")]
    pub(crate) on_node_gone: Option<String>,
    /// Program to run after a node joins; it is not run for the initial nodes
    #[arg(long, value_name = "CMD")]
    pub(crate) on_node_added: Option<String>,
}

/// Parses a speed from 0 to 1,000,000.
fn speed(text: &str) -> Result<f64, String> {
    let wrong = || format!("invalid speed `{text}`: write a number from 0 to 1000000");
    let speed: f64 = text.parse().map_err(|_| wrong())?;
    if (0.0..=1e6).contains(&speed) { Ok(speed) } else { Err(wrong()) }
}

/// `trimtab uncordon`
#[derive(Debug, Args)]
pub(crate) struct UncordonArgs {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Time limit; must be less than TimeoutStopSec= of the unit
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    pub(crate) within: Span,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warm_up_is_written_as_durations_of_the_configuration_are() {
        let warm_up = |text: &str| {
            let args = ["trimtab", "plan", "--config", "t.toml", "--warm-up", text];
            match Cli::try_parse_from(args).map(|cli| cli.command) {
                Ok(Command::Plan(plan)) => Ok(plan.warm_up),
                Ok(other) => panic!("{other:?}"),
                Err(why) => Err(why.to_string()),
            }
        };
        for text in ["1h30m", "1h 30m"] {
            assert_eq!(warm_up(text), Ok(Some(Span::mins(90))), "{text}");
        }
        let why = warm_up("").expect_err("an empty text");
        assert!(why.contains("write a number with a unit, such as \"90s\""), "{why}");
    }

    #[test]
    fn an_instant_is_a_day_or_says_its_zone() {
        let day = instant("2026-11-01").expect("a day");
        assert_eq!(day.to_string(), "2026-11-01T00:00:00Z");
        assert_eq!(instant("2026-11-01T01:00:00+01:00"), Ok(day));
        for wrong in ["2026-11", "2026-11-01T00:00:00", "yesterday", "1969-12-31", "2026-11-31"] {
            assert!(instant(wrong).is_err(), "{wrong}");
        }
    }
}
