//! The program: reads the command line, wires, prints. It decides nothing.

mod args;
mod bells;
mod clock;
mod demo;
mod document;
mod exit;
mod metrics_cost;
mod output;
mod pause_file;
mod records;
mod remote;
mod run;
mod simulate;
mod wiring;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;
use trimtab_daemon::config::{self, Problems};

use crate::args::{CheckConfigArgs, Cli, Command, DemoArgs};
use crate::exit::Exit;
use crate::output::{Format, Style, line};
use crate::wiring::{Denied, Misplaced, Unavailable};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(why) => {
            // Help and version are asked for; everything else is misuse.
            let asked_for = !why.use_stderr();
            let _ = why.print();
            return if asked_for { Exit::Ok } else { Exit::Usage }.into();
        }
    };
    log_to_stderr();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(perform(&cli.command)),
        Err(why) => Err(why.into()),
    };
    match outcome {
        Ok(exit) => exit.into(),
        Err(why) => {
            complain(&why);
            exit_of(&why).into()
        }
    }
}

async fn perform(command: &Command) -> anyhow::Result<Exit> {
    match command {
        Command::Demo(args) => demonstrate(args).await,
        Command::Run(args) => run::run(args).await,
        Command::Plan(args) => run::plan(args).await,
        Command::Explain(args) => records::explain(args),
        Command::History(args) => records::history(args),
        Command::CheckConfig(args) => check_config(args),
        Command::Pause(args) => records::pause(args),
        Command::Resume(args) => records::resume(args),
        Command::Simulate(args) => simulate::simulate(args).await,
    }
}

async fn demonstrate(args: &DemoArgs) -> anyhow::Result<Exit> {
    let json = args.output == Format::Json;
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

fn check_config(args: &CheckConfigArgs) -> anyhow::Result<Exit> {
    let settings = config::load(&args.file)?;
    for note in &settings.notes {
        line(&note.to_string())?;
    }
    let clusters = settings.clusters.len();
    line(&format!("{}: no problems, {clusters} cluster(s)", args.file.display()))?;
    Ok(Exit::Ok)
}

/// Human lines on a terminal, JSON elsewhere; `TRIMTAB_LOG` sets the level.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("TRIMTAB_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        log.with_target(false).init();
    } else {
        log.json().init();
    }
}

/// One cause a line.
#[expect(clippy::print_stderr, reason = "this is where a person is told what went wrong")]
fn complain(why: &anyhow::Error) {
    eprintln!("trimtab: {why}");
    for cause in why.chain().skip(1) {
        eprintln!("  because {cause}");
    }
}

fn exit_of(why: &anyhow::Error) -> Exit {
    if why.is::<Problems>() {
        Exit::Configuration
    } else if why.is::<Misplaced>() {
        Exit::Configuration
    } else if why.is::<Denied>() {
        Exit::Denied
    } else if why.is::<Unavailable>() {
        Exit::Unavailable
    } else {
        Exit::Failed
    }
}
