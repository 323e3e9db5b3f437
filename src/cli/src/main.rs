//! The program: reads the command line, wires, prints. It decides nothing.

mod args;
mod check_config;
mod clock;
mod demo;
mod document;
mod exit;
mod output;
mod pause_file;
mod records;
mod run;
mod wiring;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::OnceLock;

use clap::Parser;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};
use trimtab_daemon::config::{LogLevel, Problems};

use crate::args::{Cli, Command, DemoArgs};
use crate::exit::Exit;
use crate::output::{Format, Style};
use crate::wiring::Unavailable;

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
        Command::CheckConfig(args) => check_config::check_config(args),
        Command::Pause(args) => records::pause(args),
        Command::Resume(args) => records::resume(args),
    }
}

async fn demonstrate(args: &DemoArgs) -> anyhow::Result<Exit> {
    let json = args.output == Format::Json;
    let options = demo::Options {
        seed: args.seed,
        days: args.days,
        plain: args.plain || !std::io::stdout().is_terminal(),
        silent: json,
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

/// What the log shows, once it was started.
static LOG: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// The variable that says what the log shows, whatever the configuration says.
const LOG_VARIABLE: &str = "TRIMTAB_LOG";

/// Human lines on a terminal, JSON elsewhere.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_env(LOG_VARIABLE).unwrap_or_else(|_| EnvFilter::new("warn"));
    let (filter, handle) = reload::Layer::new(filter);
    let lines = fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    if std::io::stderr().is_terminal() {
        registry.with(lines.with_target(false)).init();
    } else {
        registry.with(lines.json()).init();
    }
    // Nobody else sets it, so it is always empty here.
    let _ = LOG.set(handle);
}

/// Shows what the configuration says, unless the variable says something.
fn log_at(level: &LogLevel) {
    if std::env::var_os(LOG_VARIABLE).is_some() {
        return;
    }
    let filter = EnvFilter::try_new(level.as_str());
    match (filter, LOG.get()) {
        (Ok(filter), Some(log)) => {
            if let Err(why) = log.reload(filter) {
                tracing::warn!(%why, "the log's level stays as it was");
            }
        }
        (Err(why), _) => tracing::warn!(%why, %level, "the log's level stays as it was"),
        (Ok(_), None) => {}
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
    } else if why.is::<Unavailable>() {
        Exit::Unavailable
    } else {
        Exit::Failed
    }
}
