//! The `trimtab` program: parses the command line, runs the command, and prints errors.

mod args;
mod backtest;
mod bells;
mod check_config;
mod clock;
#[cfg(feature = "simulator")]
mod demo;
mod document;
mod events;
mod exit;
mod hooks;
mod log;
mod metrics_cost;
mod output;
mod pause_file;
mod records;
mod remote;
mod run;
mod service;
#[cfg(feature = "simulator")]
mod simulate;
mod simulated;
mod trace;
mod uncordon;
mod wiring;
mod words;

#[cfg(feature = "simulator")]
use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use trimtab_config::Problems;

use crate::args::{Cli, Command};
#[cfg(feature = "simulator")]
use crate::args::{DemoArgs, DemoScheduler};
use crate::exit::{Denied, Exit, Misplaced, Unavailable};
use crate::log::{BadLevel, Log};
use crate::output::lines;
#[cfg(feature = "simulator")]
use crate::output::{Format, Style};
use crate::simulated::{Absent, AbsentScheduler};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(why) => {
            // Help and version are not errors; everything else is invalid usage.
            let asked_for = !why.use_stderr();
            let _ = why.print();
            return if asked_for { Exit::Ok } else { Exit::Usage }.into();
        }
    };
    match perform_all(&cli.command) {
        Ok(exit) => exit.into(),
        Err(why) => {
            complain(&why);
            exit_of(&why).into()
        }
    }
}

fn perform_all(command: &Command) -> anyhow::Result<Exit> {
    let log = Log::start(level(command))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(perform(command, &log))
}

/// Returns the default log level of a command. A service logs every tick and action; an
/// interactive command logs only warnings and errors.
fn level(command: &Command) -> &'static str {
    match command {
        Command::Run(args) if args.is_service() => "info",
        Command::Simulate(_) | Command::Uncordon(_) => "info",
        Command::Backtest(_)
        | Command::Trace(_)
        | Command::Demo(_)
        | Command::Run(_)
        | Command::Plan(_)
        | Command::Explain(_)
        | Command::History(_)
        | Command::CheckConfig(_)
        | Command::Pause(_)
        | Command::Resume(_) => "warn",
    }
}

async fn perform(command: &Command, log: &Log) -> anyhow::Result<Exit> {
    match command {
        #[cfg(feature = "simulator")]
        Command::Demo(args) => demonstrate(args).await,
        Command::Run(args) => run::run(args, log).await,
        Command::Plan(args) => run::plan(args).await,
        Command::Explain(args) => records::explain(args),
        Command::History(args) => records::history(args),
        Command::Backtest(args) => backtest::backtest(args),
        Command::Trace(args) => trace::trace(args).await,
        Command::CheckConfig(args) => check_config::check_config(args),
        Command::Pause(args) => records::pause(args),
        Command::Resume(args) => records::resume(args),
        #[cfg(feature = "simulator")]
        Command::Simulate(args) => simulate::simulate(args).await,
        #[cfg(not(feature = "simulator"))]
        Command::Demo(_) | Command::Simulate(_) => Err(simulated::Absent.into()),
        Command::Uncordon(args) => uncordon::uncordon(args).await,
    }
}

#[cfg(feature = "simulator")]
async fn demonstrate(args: &DemoArgs) -> anyhow::Result<Exit> {
    let json = args.output == Format::Json;
    if args.scheduler == DemoScheduler::Slurm {
        let style = Style::of_stdout();
        let report = demo::slurm::run(args.seed, json, style).await?;
        if json {
            output::json(&report)?;
        } else {
            report.print(style)?;
        }
        return Ok(if report.holds() { Exit::Ok } else { Exit::Failed });
    }
    let options = demo::Options {
        seed: args.seed,
        days: args.days,
        plain: args.plain || !std::io::stdout().is_terminal(),
        silent: json,
        in_process: args.in_process,
        state: args.state.clone(),
        style: Style::of_stdout(),
    };
    let report = demo::run(&options).await?.report();
    if json {
        output::json(&report)?;
    } else {
        report.print(options.style)?;
    }
    Ok(if report.holds() { Exit::Ok } else { Exit::Failed })
}

/// Prints an error and its causes to stderr, one per line.
#[expect(clippy::print_stderr, reason = "errors go to the operator on stderr")]
fn complain(why: &anyhow::Error) {
    let mut said = why.to_string();
    eprintln!("trimtab: {}", lines(&said));
    for cause in why.chain().skip(1) {
        let cause = cause.to_string();
        // Some error texts already contain their causes.
        if !said.contains(&cause) {
            eprintln!("  caused by: {}", lines(&cause));
            said = cause;
        }
    }
}

fn exit_of(why: &anyhow::Error) -> Exit {
    if why.is::<Problems>()
        || why.is::<BadLevel>()
        || why.is::<Misplaced>()
        || why.is::<AbsentScheduler>()
    {
        Exit::Configuration
    } else if why.is::<Absent>() {
        Exit::Usage
    } else if why.is::<Denied>() {
        Exit::Denied
    } else if why.is::<Unavailable>() {
        Exit::Unavailable
    } else {
        Exit::Failed
    }
}
