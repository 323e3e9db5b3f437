//! `trimtab explain` and `history` read the ledger; `trimtab pause` and `resume` write the
//! operator's switches to it.

use anyhow::Context;
use serde::Serialize;
use trimtab_core::action::{EventKind, NodeSeen};
use trimtab_core::ids::ClusterName;
use trimtab_core::rule::learned::{Learner, SoFar};
use trimtab_daemon::ledger::{ActionEvent, Explanation, HistoryRow, NodeQuery, SqliteLedger};
use trimtab_daemon::ports::{Clock, Switch, SwitchEntry};

use crate::args::{ExplainArgs, HistoryArgs, PauseArgs, ResumeArgs};
use crate::clock::SystemClock;
use crate::document::{GroupDocument, decision};
use crate::exit::Exit;
use crate::output::{self, Format, Style, Tone, line, plain, table};
use crate::words;

/// `trimtab history`.
pub(crate) fn history(args: &HistoryArgs) -> anyhow::Result<Exit> {
    let reader = SqliteLedger::open_reader(&args.ledger.state)?;
    let cluster = args.cluster.as_deref().map(str::parse::<ClusterName>).transpose()?;
    let rows = reader.history(args.limit, cluster.as_ref())?;
    match args.output {
        Format::Json => output::json(&Actions { actions: rows.iter().map(Action::of).collect() })?,
        Format::Table => {
            let mut lines = table(&["action", "group", "node", "marked", "state", "why", "ended"]);
            for row in &rows {
                let evidence = &row.action.evidence;
                lines.add_row([
                    row.action.id.to_string(),
                    row.action.group.to_string(),
                    row.action.node.to_string(),
                    row.action.marked_at.to_string(),
                    row.action.state.name().to_owned(),
                    format!("{} surplus for {}", evidence.surplus, evidence.tau),
                    row.ended_at.map_or("open".to_owned(), |at| at.to_string()),
                ]);
            }
            line(&lines.to_string())?;
            for freeze in reader.freezes(cluster.as_ref())? {
                let cleared = match freeze.cleared {
                    Some(cleared) => format!("cleared {} by {}", cleared.at, plain(&cleared.by)),
                    None => "active; clear it with `trimtab resume --clear-freeze`".to_owned(),
                };
                let (at, why) = (freeze.freeze.at, freeze.freeze.why);
                line(&format!("{} frozen {at}: {why}; {cleared}", freeze.cluster))?;
            }
        }
    }
    Ok(Exit::Ok)
}

/// `trimtab explain`.
pub(crate) fn explain(args: &ExplainArgs) -> anyhow::Result<Exit> {
    let reader = SqliteLedger::open_reader(&args.ledger.state)?;
    let query: NodeQuery = args.node.parse().context("invalid node name")?;
    let Some(found) = reader.explain(&query, args.limit)? else {
        anyhow::bail!(
            "the ledger {} has no node {}: write an instance ID (i-…) or the node's name in the \
             scheduler; trimtab must have seen the node in the node listing",
            args.ledger.state.display(),
            plain(&args.node)
        );
    };
    let learners = reader.learners(&found.cluster)?;
    let so_far = learners.get(&found.group).and_then(Learner::so_far);
    match args.output {
        Format::Json => output::json(&Words::of(&found, so_far.as_ref()))?,
        Format::Table => print_explanation(&found, so_far.as_ref(), Style::of_stdout())?,
    }
    Ok(Exit::Ok)
}

fn print_explanation(
    found: &Explanation,
    so_far: Option<&SoFar>,
    style: Style,
) -> anyhow::Result<()> {
    let title = format!("{} in group {} of cluster {}", found.node, found.group, found.cluster);
    line(&style.paint(Tone::Strong, &title))?;
    if let Some(until) = found.cooldown {
        line(&format!("in cooldown until {until}"))?;
    }
    if let Some(span) = &found.figures {
        let figures = &span.figures;
        let since = span.since;
        if let Some(counts) = figures.counts {
            line(&format!(
                "group since {since}: {} busy, {} idle, {} needed by waiting jobs; floor {}",
                counts.busy, counts.idle, counts.queued, figures.floor
            ))?;
        }
        for sentence in words::of_rule(figures, so_far) {
            line(&sentence)?;
        }
    }
    if let Some(newest) = found.verdicts.iter().find(|span| span.until.is_none()) {
        let figures = found.figures.as_ref().map(|span| &span.figures);
        let change = words::what_would_change(&newest.verdict, figures);
        line(&plain(&format!("{}; {change}", newest.verdict)))?;
    }
    let mut verdicts = table(&["from", "until", "verdict"]);
    for span in &found.verdicts {
        verdicts.add_row([
            span.since.to_string(),
            span.until.map_or("now".to_owned(), |at| at.to_string()),
            plain(&span.verdict.to_string()),
        ]);
    }
    line(&verdicts.to_string())?;
    for row in &found.actions {
        let text = format!("action {}: {}", row.action.id, row.action.state.name());
        line(&style.paint(Tone::Strong, &text))?;
        for event in &row.events {
            line(&format!("  {}", describe(event)))?;
        }
    }
    Ok(())
}

/// Describes an event and the state that it led to.
fn describe(event: &ActionEvent) -> String {
    let what = match &event.event.kind {
        EventKind::Look(look) => match &look.seen_node {
            NodeSeen::Unread => "look: the node could not be read".to_owned(),
            NodeSeen::Absent { .. } => "look: not listed".to_owned(),
            NodeSeen::Replaced => "look: another instance has its name".to_owned(),
            NodeSeen::Present { status, cordon, work, .. } => {
                format!("look: {status}, {cordon}, {work}")
            }
        },
        EventKind::Cleared { request, .. } => format!("cleared for request {request}"),
        EventKind::Answered(answer) => format!("the API answered: {answer}"),
        EventKind::GroupRequestOver(why) => format!("the request for its group ended: {why}"),
        EventKind::Veto(why) => format!("veto: {why}"),
        EventKind::Deadline => "a time limit passed".to_owned(),
        EventKind::Paused => "trimtab was paused".to_owned(),
        EventKind::Started => "trimtab was started".to_owned(),
        EventKind::ClockStepped(by) => format!("the wall clock stepped by {by}"),
    };
    plain(&format!("{}  {what} → {}", event.event.at, event.state.name()))
}

/// `trimtab pause`.
pub(crate) fn pause(args: &PauseArgs) -> anyhow::Result<Exit> {
    let why = format!("{} ({})", args.reason, user());
    switch(args.cluster.as_deref(), Switch::Paused { why: why.into() }, &args.ledger.state)?;
    line(
        "paused: trimtab deletes no node until `trimtab resume`; cordoned nodes without a delete",
    )?;
    line("request are released at the next tick")?;
    Ok(Exit::Ok)
}

/// `trimtab resume`.
pub(crate) fn resume(args: &ResumeArgs) -> anyhow::Result<Exit> {
    if let Some(cluster) = &args.clear_freeze {
        let cluster: ClusterName = cluster.parse()?;
        let ledger = SqliteLedger::open_operator(&args.ledger.state)?;
        if !ledger.clear_freeze(&cluster, &user(), SystemClock::start().now())? {
            anyhow::bail!("cannot clear the freeze: cluster {cluster} is not frozen");
        }
        line(&format!("freeze of cluster {cluster} cleared; its idle timers start at zero"))?;
        return Ok(Exit::Ok);
    }
    switch(args.cluster.as_deref(), Switch::On, &args.ledger.state)?;
    match &args.cluster {
        Some(cluster) => line(&format!("cluster {cluster} resumed"))?,
        None => line("resumed; clusters paused with --cluster stay paused")?,
    }
    Ok(Exit::Ok)
}

fn switch(cluster: Option<&str>, switch: Switch, state: &std::path::Path) -> anyhow::Result<()> {
    let cluster = cluster.map(str::parse::<ClusterName>).transpose()?;
    let ledger = SqliteLedger::open_operator(state)?;
    let entry = SwitchEntry { at: SystemClock::start().now(), cluster, switch };
    Ok(ledger.set_switch(&entry, &user())?)
}

fn user() -> String {
    std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")).unwrap_or("unknown".to_owned())
}

#[derive(Serialize)]
struct Actions {
    actions: Vec<Action>,
}

/// An action, as printed by `--output json`.
#[derive(Serialize)]
struct Action {
    id: u64,
    cluster: String,
    group: String,
    node: String,
    marked_at: String,
    state: &'static str,
    ended_at: Option<String>,
    surplus: u32,
    idle_since: String,
    tau_seconds: i64,
    price_usd_per_hour: f64,
    boot_cost_usd: f64,
    request: Option<u64>,
    charged_at: Option<String>,
    events: Vec<String>,
}

impl Action {
    fn of(row: &HistoryRow) -> Self {
        let evidence = &row.action.evidence;
        Self {
            id: row.action.id.0,
            cluster: row.cluster.to_string(),
            group: row.action.group.to_string(),
            node: row.action.node.to_string(),
            marked_at: row.action.marked_at.to_string(),
            state: row.action.state.name(),
            ended_at: row.ended_at.map(|at| at.to_string()),
            surplus: evidence.surplus.0,
            idle_since: evidence.idle_since.to_string(),
            tau_seconds: evidence.tau.as_secs(),
            price_usd_per_hour: evidence.price.as_dollars(),
            boot_cost_usd: evidence.boot_cost.as_dollars(),
            request: row.request.as_ref().map(|request| request.request.0),
            charged_at: row.charged_at.map(|at| at.to_string()),
            events: row.events.iter().map(describe).collect(),
        }
    }
}

/// An explanation, as printed by `--output json`.
#[derive(Serialize)]
struct Words {
    node: String,
    cluster: String,
    group: String,
    left_alone_until: Option<String>,
    figures: Option<GroupDocument>,
    /// Condition under which the verdict would change.
    change: Option<String>,
    verdicts: Vec<Word>,
    actions: Vec<Action>,
}

/// A verdict and the time for which it applied.
#[derive(Serialize)]
struct Word {
    from: String,
    until: Option<String>,
    decision: &'static str,
    reason: String,
}

impl Words {
    fn of(found: &Explanation, so_far: Option<&SoFar>) -> Self {
        let figures = found.figures.as_ref().map(|span| &span.figures);
        let newest = found.verdicts.iter().find(|span| span.until.is_none());
        Self {
            change: newest.map(|span| words::what_would_change(&span.verdict, figures)),
            node: found.node.to_string(),
            cluster: found.cluster.to_string(),
            group: found.group.to_string(),
            left_alone_until: found.cooldown.map(|at| at.to_string()),
            figures: figures.map(|figures| GroupDocument::of(figures, so_far)),
            verdicts: found
                .verdicts
                .iter()
                .map(|span| Word {
                    from: span.since.to_string(),
                    until: span.until.map(|at| at.to_string()),
                    decision: decision(&span.verdict),
                    reason: span.verdict.to_string(),
                })
                .collect(),
            actions: found.actions.iter().map(Action::of).collect(),
        }
    }
}
