//! `trimtab run` and `trimtab plan`.

use trimtab_core::action::End;
use trimtab_core::ids::InstanceId;
use trimtab_core::plan::{GroupFigures, Plan, Verdict};
use trimtab_core::units::{Span, Time};
use trimtab_daemon::config::Mode;
use trimtab_daemon::driver::{Driver, Intent, TickError, TickReport};
use trimtab_daemon::ports::{Doorbell, Ring};
use trimtab_daemon::run::{self, Audience};

use crate::args::{PlanArgs, RunArgs};
use crate::clock::{CronDoorbell, SystemClock, stop_on_signals};
use crate::document::PlanDocument;
use crate::exit::Exit;
use crate::output::{self, Format, Style, Tone, line, plain, right, table};
use crate::wiring::{Keep, Wired, span};

/// How many ticks may be missed before the backstop rings.
const BACKSTOP_TICKS: i64 = 3;

/// `trimtab plan`: watches the world for the warm-up without being able to
/// change it, then prints the plan.
pub(crate) async fn plan(args: &PlanArgs) -> anyhow::Result<Exit> {
    let wired = Wired::new(&args.target)?;
    let mut driver = wired.driver(Mode::Observe, Keep::Nothing).await?;
    let report = warm_up(&wired, &mut driver, span(&args.warm_up)?).await?;
    match args.output {
        Format::Json => output::json(&PlanDocument::of(&report))?,
        Format::Table => print_plan(&report, args.brief, Style::of_stdout())?,
    }
    let nothing = report.plan.marks.is_empty() && report.plan.releases.is_empty();
    Ok(if nothing { Exit::Ok } else { Exit::Changes })
}

/// Ticks until so much time of the world is over, and returns the last report.
async fn warm_up(wired: &Wired, driver: &mut Driver, long: Span) -> anyhow::Result<TickReport> {
    let until = wired.world.now() + long;
    let mut doorbell = wired.world.doorbell(wired.tick());
    let mut report = driver.tick(Ring::Schedule, Intent::FollowOnly).await?;
    while wired.world.now() < until {
        if doorbell.next(driver.deadline()).await == Ring::Stop {
            break;
        }
        report = driver.tick(Ring::Schedule, Intent::FollowOnly).await?;
    }
    Ok(report)
}

/// `trimtab run`.
pub(crate) async fn run(args: &RunArgs) -> anyhow::Result<Exit> {
    let wired = Wired::new(&args.target)?;
    crate::log_at(&wired.settings.log_level);
    let mut driver = wired.driver(wired.settings.mode, Keep::Ledger).await?;
    let style = Style::of_stdout();
    let mut reporter = Reporter { output: args.output, style, failed: false, deleted: 0 };
    if wired.settings.mode == Mode::Observe {
        tracing::info!("mode = \"observe\": nothing will be changed");
    }
    if args.once {
        warm_up(&wired, &mut driver, span(&args.warm_up)?).await?;
        let mut doorbell = wired.world.doorbell(wired.tick());
        run::run_once(std::slice::from_mut(&mut driver), &mut doorbell, &mut reporter).await?;
        if args.output == Format::Table {
            line(&format!("done: {} nodes deleted, no action open", reporter.deleted))?;
        }
    } else if args.real_time {
        let stop = stop_on_signals()?;
        let schedule = wired.settings.schedule.text();
        let backstop = wired.tick().times(BACKSTOP_TICKS);
        let cron = CronDoorbell::start(schedule, backstop, stop).await?;
        let began = (wired.world.now(), SystemClock::start());
        let mut doorbell = RealTime { world: wired.world.clone(), cron, began };
        run::run(std::slice::from_mut(&mut driver), &mut doorbell, &mut reporter).await?;
    } else {
        let stop = stop_on_signals()?;
        let world = wired.world.doorbell(wired.tick());
        let mut doorbell = Stoppable { world, stop };
        run::run(std::slice::from_mut(&mut driver), &mut doorbell, &mut reporter).await?;
    }
    Ok(if reporter.failed { Exit::Failed } else { Exit::Ok })
}

/// A world's doorbell that also hears SIGTERM.
struct Stoppable<D> {
    world: D,
    stop: tokio::sync::watch::Receiver<bool>,
}

#[async_trait::async_trait]
impl<D: Doorbell> Doorbell for Stoppable<D> {
    async fn next(&mut self, deadline: Option<Time>) -> Ring {
        // The world's sleep takes no time; a signal is heard between two.
        tokio::task::yield_now().await;
        if *self.stop.borrow() { Ring::Stop } else { self.world.next(deadline).await }
    }
}

/// A world that moves with the clock on the wall.
struct RealTime {
    world: trimtab_simulator::World,
    cron: CronDoorbell,
    began: (Time, SystemClock),
}

#[async_trait::async_trait]
impl Doorbell for RealTime {
    async fn next(&mut self, deadline: Option<Time>) -> Ring {
        use trimtab_daemon::ports::Clock;
        let (start, clock) = &self.began;
        let wall = |at: Time| clock.now() + at.since(*start + clock.monotonic());
        let ring = self.cron.next(deadline.map(wall)).await;
        self.world.advance_to(*start + clock.monotonic());
        if self.world.now() >= self.world.end() { Ring::Stop } else { ring }
    }
}

/// Tells what each tick did.
struct Reporter {
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
                tracing::error!(%why, "the tick was not carried through; the next one tries again");
            }
            Ok(report) => {
                self.failed = false;
                self.deleted += report.ended.iter().filter(|(_, end)| *end == End::Gone).count();
                tracing::info!(
                    tick = report.tick.0,
                    at = %report.snapshot.taken_at,
                    marks = report.plan.marks.len(),
                    releases = report.plan.releases.len(),
                    requests = report.sent.len(),
                    open = report.open,
                    "tick"
                );
                // A reader that has gone away need not stop the daemon.
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
            Format::Json => output::json(&PlanDocument::of(report)),
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
        line(&style.paint(tone, &text))?;
    }
    for sent in &report.sent {
        let (group, ids) = (sent.batch.group(), ids(sent.batch.nodes()));
        line(&format!(
            "{at} {group} delete request {}: {ids}: {:?}",
            sent.batch.id(),
            sent.outcome
        ))?;
    }
    for (node, end) in &report.ended {
        line(&format!("{at} {node}: {end:?}"))?;
    }
    Ok(())
}

fn ids(nodes: &[InstanceId]) -> String {
    nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn print_plan(report: &TickReport, brief: bool, style: Style) -> anyhow::Result<()> {
    let plan = &report.plan;
    line(&style.paint(Tone::Strong, &format!("cluster {} at {}", plan.cluster, plan.made_at)))?;
    print_groups(plan)?;
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
    let text = format!("{marks} to delete, {releases} to hand back");
    line(&style.paint(Tone::Strong, &text))?;
    for violation in &report.violations {
        let text = format!("refused by the audit, nothing would be done: {violation}");
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
        "spare for τ",
        "τ",
        "floor",
        "price",
        "wake",
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

/// A group's figures as cells of the table that `plan` and `explain` print.
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
        or_dash(figures.cost.map(|cost| cost.wake.to_string())),
        figures.marks.to_string(),
        or_dash(figures.bound.map(|bound| bound.to_string())),
    ]
}
