//! `trimtab run` and `trimtab plan`.

use tokio::sync::watch;
use trimtab_config::Mode;
use trimtab_core::action::End;
use trimtab_core::ids::InstanceId;
use trimtab_core::plan::{GroupFigures, Plan, Verdict};
use trimtab_core::units::Span;
use trimtab_daemon::driver::{Driver, Intent, TickError, TickReport};
use trimtab_daemon::ports::{Doorbell, Ring};
use trimtab_daemon::run::{self, Audience};

use crate::args::{PlanArgs, RunArgs};
use crate::clock::stop_on_signals;
use crate::document::{PlanDocument, PlansDocument};
use crate::events;
use crate::exit::Exit;
use crate::log::Log;
use crate::metrics_cost::MetricsDocument;
use crate::output::{self, Format, Style, Tone, line, plain, right, table};
use crate::service::Service;
use crate::wiring::{Keep, Wired};
use crate::words;

/// Default warm-up on simulated time: longer than any idle timer of the example configurations.
const SIMULATED_WARM_UP: Span = Span::hours(2);

/// `trimtab plan`: observes the clusters through read-only ports and prints the plan.
pub(crate) async fn plan(args: &PlanArgs) -> anyhow::Result<Exit> {
    let wired = Wired::new(&args.target).await?;
    wired.check(true).await?;
    let mut drivers = wired.drivers(Mode::Observe, Keep::Nothing).await?;
    // No orderly stop is needed: a plan cordons nothing, so there is nothing to release.
    let (_running, stop) = watch::channel(false);
    let reports = warm_up(&wired, &mut drivers, args.warm_up, stop).await?;
    let tick = wired.tick();
    match args.output {
        Format::Json => {
            let clusters = reports.iter().map(|report| PlanDocument::of(report, tick)).collect();
            output::json(&PlansDocument { clusters })?;
        }
        Format::Table => {
            for report in &reports {
                print_plan(report, tick, args.brief, Style::of_stdout())?;
            }
        }
    }
    let nothing =
        |report: &TickReport| report.plan.marks.is_empty() && report.plan.releases.is_empty();
    Ok(if reports.iter().all(nothing) { Exit::Ok } else { Exit::Changes })
}

/// Observes for the warm-up without changing anything and returns the last report of each
/// cluster. Without a warm-up: 2 hours of simulated time, which take no real time; otherwise one
/// observation, added to those in the daemon's ledger.
async fn warm_up(
    wired: &Wired,
    drivers: &mut [Driver],
    long: Option<Span>,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<Vec<TickReport>> {
    let long = match (long, wired.is_lock_step()) {
        (Some(long), _) => long,
        (None, true) => SIMULATED_WARM_UP,
        (None, false) => Span::ZERO,
    };
    let until = wired.now() + long;
    let mut doorbell = wired.doorbell(stop).await?;
    let mut reports = run::tick_all(drivers, Ring::Schedule, Intent::FollowOnly).await;
    while wired.now() < until {
        if doorbell.next(run::earliest(drivers)).await == Ring::Stop {
            break;
        }
        reports = run::tick_all(drivers, Ring::Schedule, Intent::FollowOnly).await;
    }
    Ok(reports.into_iter().collect::<Result<_, _>>()?)
}

/// `trimtab run`.
pub(crate) async fn run(args: &RunArgs, log: &Log) -> anyhow::Result<Exit> {
    let wired = Wired::new(&args.target).await?;
    // Without a configured level, the level that `main` chose stays.
    if let Some(level) = &wired.log_level {
        log.configure(level);
    }
    wired.check(args.once).await?;
    let mode = wired.settings.mode;
    let mut drivers = wired.drivers(mode, Keep::Ledger).await?;
    let style = Style::of_stdout();
    let mut reporter = Reporter {
        mode,
        tick: wired.tick(),
        output: args.output,
        style,
        failed: false,
        deleted: 0,
    };
    if mode == Mode::Observe {
        tracing::info!("observe mode: trimtab changes nothing");
    }
    let stop = stop_on_signals()?;
    if args.once {
        warm_up(&wired, &mut drivers, args.warm_up, stop.clone()).await?;
        let mut doorbell = wired.doorbell(stop).await?;
        run::run_once(&mut drivers, &mut *doorbell, &mut reporter).await?;
        if args.output == Format::Table {
            line(&format!("done: {} nodes deleted, no open actions", reporter.deleted))?;
        }
    } else if wired.is_lock_step() && !args.real_time {
        let mut doorbell = wired.doorbell(stop).await?;
        run::run(&mut drivers, &mut *doorbell, &mut reporter).await?;
    } else {
        let clusters = wired.settings.clusters.iter().map(|one| one.policy.cluster.clone());
        let service = Service::new(clusters, wired.backstop());
        service.follow_stop(stop.clone());
        service.follow_signals(log.clone())?;
        let mut doorbell = service.attend(wired.real_time_doorbell(stop).await?);
        let mut audience = service.hear(&mut reporter);
        run::run(&mut drivers, &mut doorbell, &mut audience).await?;
    }
    Ok(if reporter.failed { Exit::Failed } else { Exit::Ok })
}

/// Prints and logs the result of each tick.
struct Reporter {
    tick: Span,
    mode: Mode,
    output: Format,
    style: Style,
    failed: bool,
    deleted: usize,
}

impl Audience for Reporter {
    fn ticked(&mut self, report: Result<&TickReport, &TickError>) {
        match report {
            Err(why) => {
                self.failed = true;
                tracing::error!(%why, "tick failed; retrying at the next tick");
            }
            Ok(report) => {
                self.failed = false;
                self.deleted += report.ended.iter().filter(|(_, end)| *end == End::Gone).count();
                events::tick(report, self.mode);
                // A closed standard output must not stop the daemon.
                let _ = self.tell(report);
            }
        }
    }
}

impl Reporter {
    fn tell(&self, report: &TickReport) -> anyhow::Result<()> {
        let quiet = report.begun.is_empty()
            && report.plan.releases.is_empty()
            && report.sent.is_empty()
            && report.ended.is_empty();
        if quiet {
            return Ok(());
        }
        match self.output {
            Format::Json => output::json(&PlanDocument::of(report, self.tick)),
            Format::Table => print_doings(report, self.style),
        }
    }
}

fn print_doings(report: &TickReport, style: Style) -> anyhow::Result<()> {
    let at = report.snapshot.taken_at;
    for verdict in &report.plan.verdicts {
        let tone = match verdict.verdict {
            Verdict::Mark(_) if report.begun.contains(&verdict.node) => Tone::Moving,
            Verdict::Release(_) => Tone::Good,
            Verdict::Mark(_) | Verdict::Keep(_) | Verdict::Leaving { .. } => continue,
        };
        let text = format!("{at} {} {}: {}", verdict.group, verdict.node, verdict.verdict);
        line(&style.paint(tone, &plain(&text)))?;
    }
    for sent in &report.sent {
        let (group, ids) = (sent.request.cleared().group(), ids(sent.request.cleared().nodes()));
        let (request, outcome) = (sent.request.id(), &sent.outcome);
        line(&plain(&format!("{at} {group} delete request {request}: {ids}: {outcome}")))?;
    }
    for (node, end) in &report.ended {
        line(&plain(&format!("{at} {node}: {end}")))?;
    }
    Ok(())
}

fn ids(nodes: &[InstanceId]) -> String {
    nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn print_plan(report: &TickReport, tick: Span, brief: bool, style: Style) -> anyhow::Result<()> {
    let plan = &report.plan;
    line(&style.paint(Tone::Strong, &format!("cluster {} at {}", plan.cluster, plan.made_at)))?;
    print_groups(plan)?;
    print_timers(report)?;
    let mut rows = table(&["group", "node", "name", "verdict"]);
    for verdict in &plan.verdicts {
        let (tone, to_do) = match &verdict.verdict {
            Verdict::Mark(_) => (Tone::Moving, true),
            Verdict::Release(_) => (Tone::Good, true),
            Verdict::Leaving { .. } => (Tone::Bad, true),
            Verdict::Keep(_) => (Tone::Faint, false),
        };
        if brief && !to_do {
            continue;
        }
        let name = verdict.name.as_ref().map_or("", |name| name.as_str());
        rows.add_row([
            verdict.group.to_string(),
            verdict.node.to_string(),
            name.to_owned(),
            style.paint(tone, &plain(&verdict.verdict.to_string())),
        ]);
    }
    line(&rows.to_string())?;
    let (marks, releases) = (plan.marks.len(), plan.releases.len());
    let text = format!("{marks} to delete, {releases} to release");
    line(&style.paint(Tone::Strong, &text))?;
    if let Some(cost) = MetricsDocument::of(report.metrics, tick) {
        line(&cost.sentence())?;
    }
    for violation in &report.violations {
        let text = format!("plan rejected by the audit, nothing would be deleted: {violation}");
        line(&style.paint(Tone::Bad, &text))?;
    }
    Ok(())
}

fn print_groups(plan: &Plan) -> anyhow::Result<()> {
    let head = [
        "group",
        "busy",
        "idle",
        "unknown",
        "arriving",
        "leaving",
        "impaired",
        "queue",
        "soon",
        "surplus for τ",
        "τ",
        "floor",
        "price",
        "boot",
        "delete",
        "bound",
    ];
    let mut groups = table(&head);
    for (name, figures) in &plan.figures {
        groups.add_row(figures_row(name.as_str(), figures));
    }
    right(&mut groups, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
    line(&groups.to_string())
}

/// Prints the source of each group's idle timer and the cost of the timers so far.
fn print_timers(report: &TickReport) -> anyhow::Result<()> {
    for (name, figures) in &report.plan.figures {
        for text in words::of_rule(figures, report.so_far.get(name)) {
            line(&format!("{name}: {text}"))?;
        }
    }
    Ok(())
}

/// Returns a group's figures as cells of the table that `trimtab plan` prints.
fn figures_row(name: &str, figures: &GroupFigures) -> Vec<String> {
    let count = |of: fn(&trimtab_core::rule::Counts) -> trimtab_core::units::NodeCount| {
        figures.counts.as_ref().map_or("-".to_owned(), |counts| of(counts).to_string())
    };
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    vec![
        name.to_owned(),
        count(|c| c.busy),
        count(|c| c.idle),
        count(|c| c.unknown),
        count(|c| c.arriving),
        count(|c| c.leaving),
        count(|c| c.impaired),
        count(|c| c.queued),
        figures.upcoming.to_string(),
        or_dash(figures.surplus.map(|n| n.to_string())),
        or_dash(figures.tau.map(|tau| tau.to_string())),
        figures.floor.to_string(),
        or_dash(figures.cost.map(|cost| cost.price.to_string())),
        or_dash(figures.cost.map(|cost| cost.boot_cost.to_string())),
        figures.marks.to_string(),
        or_dash(figures.bound.map(|bound| bound.to_string())),
    ]
}
