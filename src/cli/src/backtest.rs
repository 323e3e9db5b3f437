//! `trimtab backtest`: compares policies on recorded load.

use std::io::IsTerminal;
use std::path::Path;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use trimtab_backtest::demand::{self, Group, Selection};
use trimtab_backtest::load::{self, Trace};
use trimtab_backtest::{Outcome, Policy, Replay};
use trimtab_core::rule::{self, Costing};
use trimtab_core::units::{MilliGpus, NodeCount, Span, Usd};
use trimtab_daemon::ledger::SqliteLedger;

use crate::args::{BacktestArgs, GroupBy};
use crate::exit::Exit;
use crate::output::{self, Format, Style, Tone, line, plain, right, table};
use crate::wiring::layers;

/// Default number of GPUs per node.
const USUAL_GPUS: u32 = 8;

/// `trimtab backtest`.
pub(crate) fn backtest(args: &BacktestArgs) -> anyhow::Result<Exit> {
    let replays = match &args.config {
        Some(config) => from_ledger(config, args)?,
        None => from_traces(args)?,
    };
    let policies = if args.policy.is_empty() { Policy::usual() } else { args.policy.clone() };
    let mut comparisons = vec![];
    for (name, replay) in replays {
        let comparison = compare(name, &replay, &policies);
        if args.output == Format::Table {
            comparison.print(Style::of_stdout())?;
        }
        comparisons.push(comparison);
    }
    if args.output == Format::Json {
        output::json(&Document { traces: comparisons })?;
    }
    Ok(Exit::Ok)
}

fn from_traces(args: &BacktestArgs) -> anyhow::Result<Vec<(String, Replay)>> {
    let mut replays = vec![];
    for path in &args.trace {
        let trace = load::read(path)?;
        let processors = match &trace {
            Trace::Swf(workload) => workload.processors_per_node,
            Trace::Jobs(_) | Trace::Curves(_) => Some(USUAL_GPUS),
        };
        let per_node = args.gpus_per_node.or(processors).unwrap_or(1);
        let selection = Selection {
            days: args.days,
            min_jobs: args.min_jobs,
            one_group: args.group_by == GroupBy::All,
            gpus_per_node: MilliGpus::whole(per_node),
            size: args.size.map(NodeCount),
            costing: Costing {
                price: args.price,
                boot: args.boot,
                billed_after_delete: args.billed_after_delete,
                delay_value: args.delay_value,
                failure: Usd::ZERO,
            },
        };
        let groups = match &trace {
            Trace::Jobs(jobs) => demand::from_jobs(jobs, &selection),
            Trace::Swf(workload) => demand::from_jobs(&workload.jobs, &selection),
            Trace::Curves(curves) => demand::from_curves(curves, &selection),
        };
        let groups = groups.with_context(|| format!("cannot replay {}", path.display()))?;
        let replay = Replay { groups, shortest: args.shortest_timer, seed: args.seed };
        replays.push((path.display().to_string(), replay));
    }
    Ok(replays)
}

/// Returns one replay per cluster from the node counts in the ledger. The groups of a cluster
/// learn from each other, as in the daemon.
fn from_ledger(file: &Path, args: &BacktestArgs) -> anyhow::Result<Vec<(String, Replay)>> {
    let settings = trimtab_config::load_layers(&layers(file, args.state.as_deref()))?.settings;
    let reader = SqliteLedger::open_reader(&settings.state_path)?;
    let mut replays = vec![];
    for cluster in &settings.clusters {
        let policy = &cluster.policy;
        if args.cluster.as_ref().is_some_and(|name| name != policy.cluster.as_str()) {
            continue;
        }
        let mut groups = vec![];
        for (name, runs) in reader.runs(&policy.cluster)? {
            let Some(group) = policy.groups.get(&name) else { continue };
            // Only groups whose nodes have a price and whose deletion saves money.
            let terms = rule::terms(group, &policy.timing);
            let Some((terms, costing)) = terms.zip(Costing::of(group)) else { continue };
            groups.extend(demand::from_runs(name.to_string(), &runs, costing, terms.fixed));
        }
        if !groups.is_empty() {
            let shortest = policy.timing.tick.times(2);
            let replay = Replay { groups, shortest, seed: args.seed };
            replays.push((policy.cluster.to_string(), replay));
        }
    }
    anyhow::ensure!(
        !replays.is_empty(),
        "the ledger {} has no samples of a group with a price and a boot time",
        settings.state_path.display()
    );
    Ok(replays)
}

fn compare(trace: String, replay: &Replay, policies: &[Policy]) -> Comparison {
    let bar = progress(replay, policies);
    let run = |policy: Policy| {
        bar.set_message(policy.to_string());
        let outcome = replay.run(policy, |moments| bar.inc(moments));
        (policy, outcome)
    };
    // All policies are compared with these two, even if the table does not show them.
    let (_, optimum) = run(Policy::Optimum);
    let (_, never) = run(Policy::Never);
    let outcomes: Vec<(Policy, Outcome)> = policies.iter().map(|policy| run(*policy)).collect();
    bar.finish_and_clear();
    let rows = outcomes.iter().map(|(policy, outcome)| Row::of(*policy, outcome, &optimum, &never));
    Comparison {
        trace,
        groups: replay.groups.iter().map(GroupRow::of).collect(),
        policies: rows.collect(),
    }
}

/// Returns a progress bar on stderr, hidden unless stderr is a terminal.
fn progress(replay: &Replay, policies: &[Policy]) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let passes = policies.len() as u64 + 2;
    let bar = ProgressBar::new(replay.moments() * passes);
    let style = ProgressStyle::with_template("{bar:40} {percent:>3} %  {msg}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}

/// The JSON document.
#[derive(Serialize)]
struct Document {
    traces: Vec<Comparison>,
}

/// The costs of the policies on one trace.
#[derive(Serialize)]
struct Comparison {
    trace: String,
    groups: Vec<GroupRow>,
    policies: Vec<Row>,
}

/// One group of nodes.
#[derive(Serialize)]
struct GroupRow {
    name: String,
    nodes: u32,
    days: f64,
    busy_node_hours: f64,
    price_usd_per_hour: f64,
    boot_seconds: i64,
    delay_value: f64,
    break_even_seconds: i64,
}

impl GroupRow {
    fn of(group: &Group) -> Self {
        let costing = &group.costing;
        Self {
            name: group.name.clone(),
            nodes: group.size.0,
            days: group.ends.since(group.begins).as_hours() / 24.0,
            busy_node_hours: group.used().as_hours(),
            price_usd_per_hour: costing.price.as_dollars(),
            boot_seconds: costing.boot.as_secs(),
            delay_value: costing.delay_value.as_factor(),
            break_even_seconds: costing.boot_cost().break_even.as_secs(),
        }
    }
}

/// The costs of one policy.
#[derive(Serialize)]
struct Row {
    policy: String,
    /// Cost divided by the cost of the optimum; absent if the optimum costs nothing.
    ratio_to_optimum: Option<f64>,
    cost_usd: f64,
    idle_node_hours: f64,
    idle_usd: f64,
    boots: u64,
    boot_usd: f64,
    delay_usd: f64,
    bill_usd: f64,
    bill_to_optimum: Option<f64>,
    saving_usd: f64,
}

impl Row {
    fn of(policy: Policy, outcome: &Outcome, optimum: &Outcome, never: &Outcome) -> Self {
        let over = |a: Usd, b: Usd| (b > Usd::ZERO).then(|| a.as_dollars() / b.as_dollars());
        Self {
            policy: policy.to_string(),
            ratio_to_optimum: over(outcome.cost(), optimum.cost()),
            cost_usd: outcome.cost().as_dollars(),
            idle_node_hours: outcome.idle.as_hours(),
            idle_usd: outcome.idle_usd.as_dollars(),
            boots: outcome.boots,
            boot_usd: outcome.boot_usd.as_dollars(),
            delay_usd: outcome.delay_usd.as_dollars(),
            bill_usd: outcome.bill_usd.as_dollars(),
            bill_to_optimum: over(outcome.bill_usd, optimum.bill_usd),
            saving_usd: (never.bill_usd - outcome.bill_usd).as_dollars(),
        }
    }
}

impl Comparison {
    fn print(&self, style: Style) -> anyhow::Result<()> {
        let nodes: u32 = self.groups.iter().map(|group| group.nodes).sum();
        let count = match self.groups.len() {
            1 => "1 group".to_owned(),
            n => format!("{n} groups"),
        };
        let days = self.groups.iter().map(|group| group.days).fold(0.0, f64::max);
        line(&style.paint(Tone::Strong, &plain(&self.trace)))?;
        line(&format!("{count}, {nodes} nodes, {days:.1} days{}", self.terms()))?;
        let head = [
            "policy",
            "cost/optimum",
            "cost",
            "idle node-h",
            "boots",
            "delay",
            "bill",
            "bill/optimum",
            "saving",
        ];
        let mut rows = table(&head);
        right(&mut rows, &[1, 2, 3, 4, 5, 6, 7, 8]);
        let usd = |dollars| Usd::from_dollars(dollars).to_string();
        let ratio = |ratio: Option<f64>| ratio.map_or("-".to_owned(), |r| format!("{r:.3}"));
        for row in &self.policies {
            rows.add_row([
                row.policy.clone(),
                ratio(row.ratio_to_optimum),
                usd(row.cost_usd),
                format!("{:.1}", row.idle_node_hours),
                row.boots.to_string(),
                usd(row.delay_usd),
                usd(row.bill_usd),
                ratio(row.bill_to_optimum),
                usd(row.saving_usd),
            ]);
        }
        line(&rows.to_string())?;
        line("")
    }

    /// Describes price and times if they are the same for all groups.
    fn terms(&self) -> String {
        let of = |group: &GroupRow| {
            let boot = Span::secs(group.boot_seconds);
            let break_even = Span::secs(group.break_even_seconds);
            let price = Usd::from_dollars(group.price_usd_per_hour);
            format!(
                "; a node costs {price}/h, boots in {boot}, delay value {:.1}: T* = {break_even}",
                group.delay_value
            )
        };
        let mut terms = self.groups.iter().map(of);
        let Some(first) = terms.next() else { return String::new() };
        if terms.all(|other| other == first) { first } else { "; prices vary by group".to_owned() }
    }
}
