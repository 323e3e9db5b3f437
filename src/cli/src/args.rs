//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use trimtab_core::policy::Factor;
use trimtab_core::units::{Span, Time, UsdPerHour};

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
    /// What policies would have cost on recorded load, beside the clairvoyant optimum
    Backtest(BacktestArgs),
    /// What ran on a cluster, as a trace
    Trace(TraceArgs),
    /// Report every problem of a configuration at once, or what is in force and why
    CheckConfig(CheckConfigArgs),
    /// Stop deleting, now and until `resume`
    Pause(PauseArgs),
    /// Take a pause back, or clear a freeze
    Resume(ResumeArgs),
    /// Serve simulated clusters as SageMaker and CloudWatch, on this machine only
    Simulate(SimulateArgs),
    /// Release cordoned nodes that a daemon left behind when it was killed
    Uncordon(UncordonArgs),
}

/// Whose scheduler the demo's jobs run under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum DemoScheduler {
    /// The simulated cluster's own.
    Simulated,
    /// A real Slurm.
    Slurm,
}

/// `trimtab demo`
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// What chance starts from
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Whose scheduler: the simulated cluster's own, or a real Slurm that is started on this
    /// machine, where it is installed
    #[arg(long, value_enum, default_value_t = DemoScheduler::Simulated)]
    pub(crate) scheduler: DemoScheduler,
    /// How many days of the trace are replayed
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=30))]
    pub(crate) days: u32,
    /// Lines only and as fast as it goes, as in a pipe
    #[arg(long)]
    pub(crate) plain: bool,
    /// Without HTTP and the AWS SDKs: the daemon calls the simulated cluster directly
    #[arg(long)]
    pub(crate) in_process: bool,
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
    /// A world file: a simulated cluster in this process, instead of the configured ones
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
    /// Watch for so long before the plan counts [default: 2h where time is simulated, one
    /// look elsewhere]
    #[arg(long, value_name = "DURATION")]
    pub(crate) warm_up: Option<Span>,
    /// With a world: let it move with the clock on the wall instead of at once
    #[arg(long, conflicts_with = "once")]
    pub(crate) real_time: bool,
    /// How reports are printed
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
}

impl RunArgs {
    /// Whether this run goes on with the clock on the wall until it is stopped.
    pub(crate) fn is_service(&self) -> bool {
        !self.once && (self.real_time || self.target.world.is_none())
    }
}

/// `trimtab plan`
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Watch for so long before the plan [default: 2h where time is simulated; elsewhere one
    /// look, on top of what the daemon's ledger knows]
    #[arg(long, value_name = "DURATION")]
    pub(crate) warm_up: Option<Span>,
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

/// `trimtab backtest`
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["trace", "config"]))]
pub(crate) struct BacktestArgs {
    /// Trace files: job tables, node curves or Standard Workload Format, gzip or not;
    /// each is replayed on its own
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) trace: Vec<PathBuf>,
    /// Replay what a daemon with this configuration has counted itself, from its ledger,
    /// at the prices and boot times that the configuration declares
    #[arg(long, value_name = "FILE", conflicts_with_all = ["trace", "days", "min_jobs", "group_by",
        "gpus_per_node", "size", "price", "boot", "billed_after_delete", "delay_value"])]
    pub(crate) config: Option<PathBuf>,
    /// With --config: the ledger, instead of the one that it names
    #[arg(long, value_name = "FILE", requires = "config")]
    pub(crate) state: Option<PathBuf>,
    /// With --config: this cluster only
    #[arg(long, value_name = "NAME", requires = "config")]
    pub(crate) cluster: Option<String>,
    /// Compare these policies [default: never, timers on nodes and on the count, break-even,
    /// randomised, learned, learned-queue, optimum, optimum-prewarmed]
    #[arg(long, value_name = "POLICY", num_args = 1.., value_delimiter = ',')]
    pub(crate) policy: Vec<trimtab_backtest::Policy>,
    /// From the request for a node to a node that takes jobs
    #[arg(long, value_name = "DURATION", default_value = "15m")]
    pub(crate) boot: Span,
    /// How long a node is billed after the delete call
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    pub(crate) billed_after_delete: Span,
    /// Value of one node-hour of waiting jobs, in node-hours of price: 0 to 100
    #[arg(long, value_name = "FACTOR", default_value = "1.0", value_parser = factor)]
    pub(crate) delay_value: Factor,
    /// Price of one node in dollars an hour
    #[arg(long, value_name = "DOLLARS", default_value = "1.00", value_parser = price)]
    pub(crate) price: UsdPerHour,
    /// Nodes of each group [default: its highest demand, or what the trace says]
    #[arg(long, value_name = "NODES", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) size: Option<u32>,
    /// GPUs of a node, or processors for Standard Workload Format [default: 8, or what the
    /// file says]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) gpus_per_node: Option<u32>,
    /// Whether each partition has nodes of its own
    #[arg(long, value_enum, default_value_t = GroupBy::Partition)]
    pub(crate) group_by: GroupBy,
    /// Leave groups with fewer jobs out
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) min_jobs: usize,
    /// From the beginning of one day of the trace to the beginning of another, such as 21-107
    #[arg(long, value_name = "FROM-TO", value_parser = days)]
    pub(crate) days: Option<(u32, u32)>,
    /// The shortest learned timer; the daemon's is two ticks, which --config implies
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    pub(crate) shortest_timer: Span,
    /// What chance starts from, for random placement and randomised timers
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// How it is printed
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
}

/// Who shares nodes in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum GroupBy {
    /// Jobs of one partition
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
        "write dollars an hour, above 0 and up to 10000, such as 3.06; a node that is paid for \
         anyway saves nothing by going"
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

/// What to do with traces.
#[derive(Debug, Subcommand)]
pub(crate) enum TraceCommand {
    /// Write the jobs that slurmdbd remembers as a job table, which `backtest` reads; names of
    /// jobs and users are not asked for
    Export(TraceExportArgs),
}

/// `trimtab trace export`
#[derive(Debug, Args)]
pub(crate) struct TraceExportArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Which of its clusters [default: the only one]
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: Option<String>,
    /// The trace's zero, in UTC: a day such as 2026-11-01, or 2026-11-01T09:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = instant)]
    pub(crate) from: Time,
    /// Its end; jobs that still ran end there [default: now]
    #[arg(long, value_name = "WHEN", value_parser = instant)]
    pub(crate) to: Option<Time>,
    /// Where the table goes, in the place of what was there [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// With --file: how what the trace holds is told
    #[arg(long, value_enum, default_value_t = Format::Table, requires_if("json", "file"))]
    pub(crate) output: Format,
}

/// A day's beginning, or an instant; in UTC unless it says another zone.
fn instant(text: &str) -> Result<Time, String> {
    let day = || {
        // A civil date is read out of longer texts, too.
        let date = (text.len() == 10).then(|| text.parse::<jiff::civil::Date>().ok()).flatten()?;
        jiff::tz::TimeZone::UTC.to_timestamp(date.to_datetime(jiff::civil::Time::midnight())).ok()
    };
    let at = text.parse::<jiff::Timestamp>().ok().or_else(day);
    let at = at.map(|at| Time::from_secs(at.as_second())).filter(|at| at.0 >= 0);
    at.ok_or_else(|| {
        "write a day such as 2026-11-01, or an instant such as 2026-11-01T09:00:00Z".to_owned()
    })
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

/// `trimtab simulate`
#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    /// A loopback address and a port; port 0 is any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4010")]
    pub(crate) listen: SocketAddr,
    /// A world file, one a cluster [default: one cluster of 12 GPU nodes]
    #[arg(long, value_name = "FILE")]
    pub(crate) world: Vec<PathBuf>,
    /// How many times as fast as on the wall time goes; 0: it stands until a client
    /// moves it by /_world
    #[arg(long, value_name = "N", default_value_t = 1.0, value_parser = speed)]
    pub(crate) speed: f64,
    /// What chance starts from, instead of the worlds' own seeds; the second world gets
    /// the next number, and so on
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// A program, with arguments, to run when a node has ended: it gets one line of JSON
    /// on its input. No shell reads it; quotes keep spaces together
    #[arg(long, value_name = "CMD")]
    pub(crate) on_node_gone: Option<String>,
    /// The same when a node has joined; nodes of the start are not told of
    #[arg(long, value_name = "CMD")]
    pub(crate) on_node_added: Option<String>,
}

/// A speed from 0 to a million.
fn speed(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is no speed: write a number from 0 to 1000000");
    let speed: f64 = text.parse().map_err(|_| wrong())?;
    if (0.0..=1e6).contains(&speed) { Ok(speed) } else { Err(wrong()) }
}

/// `trimtab uncordon`
#[derive(Debug, Args)]
pub(crate) struct UncordonArgs {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Give up after so long; less than the unit's TimeoutStopSec=
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    pub(crate) within: Span,
    /// How the outcome is printed
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
