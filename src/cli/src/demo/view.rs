//! Output of the demo while it runs: a live picture on a terminal, one line per event in a pipe.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::path::Path;

use trimtab_core::action::End;
use trimtab_core::ids::{GroupName, InstanceId};
use trimtab_core::plan::Verdict;
use trimtab_core::policy::ClusterPolicy;
use trimtab_core::units::{NodeCount, Span, Time, Usd, UsdPerHour};
use trimtab_daemon::driver::TickReport;
use trimtab_daemon::ports::{DeleteOutcome, Ring};
use trimtab_simulator::World;

use super::Options;
use crate::output::{Style, Tone, line};

/// Number of decisions to show at a time.
const SHOWN: usize = 8;

/// The output of a running demo.
pub(crate) struct View {
    kind: Kind,
    style: Style,
    start: Time,
    end: Time,
    groups: BTreeMap<GroupName, GroupSize>,
    recent: VecDeque<String>,
    drawn: usize,
    last_day: i64,
}

/// Size and price of a group.
struct GroupSize {
    size: NodeCount,
    price: UsdPerHour,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Live,
    Plain,
    Silent,
}

impl View {
    /// Creates the view of a world.
    pub(crate) fn new(options: &Options, world: &World, policy: &ClusterPolicy) -> Self {
        let kind = if options.plain { Kind::Plain } else { Kind::Live };
        let groups = policy.groups.iter().map(|(name, group)| {
            let price = group.price.unwrap_or(UsdPerHour::ZERO);
            (name.clone(), GroupSize { size: group.size, price })
        });
        Self {
            kind,
            style: options.style,
            start: world.now(),
            end: world.end(),
            groups: groups.collect(),
            recent: VecDeque::new(),
            drawn: 0,
            last_day: 0,
        }
    }

    /// Creates a view that shows nothing.
    pub(crate) fn silent() -> Self {
        Self {
            kind: Kind::Silent,
            style: Style::of_stdout(),
            start: Time(0),
            end: Time(0),
            groups: BTreeMap::new(),
            recent: VecDeque::new(),
            drawn: 0,
            last_day: 0,
        }
    }

    /// Whether the view is a live picture on a terminal.
    pub(crate) fn is_live(&self) -> bool {
        self.kind == Kind::Live
    }

    /// Prints the introduction.
    pub(crate) fn opening(
        &self,
        differences: &[String],
        jobs: usize,
        state: &Path,
        in_process: bool,
    ) {
        let days = (self.end.since(self.start).as_hours() / 24.0).round();
        let nodes: NodeCount = self.groups.values().map(|group| group.size).sum();
        self.say(&self.style.paint(Tone::Strong, "trimtab demo"));
        self.say(&format!(
            "Replays {days} days of a real GPU cluster ({jobs} jobs of two virtual clusters in \
             Microsoft's Philly trace, from day {}) on a simulated HyperPod cluster with {nodes} \
             GPU nodes in two groups, a controller and a login node.",
            super::FROM_DAY
        ));
        self.say(&format!(
            "Runs the production daemon with all its safety checks. Ledger: {}",
            state.display()
        ));
        self.say(match in_process {
            true => "The daemon calls the simulated cluster directly (--in-process).",
            false => {
                "The daemon uses aws-sdk-sagemaker and aws-sdk-cloudwatch over HTTP, as in AWS, \
                 with an endpoint on this machine."
            }
        });
        self.say("Settings that differ from the shipped config/trimtab.toml:");
        for difference in differences {
            self.say(&self.style.paint(Tone::Faint, &format!("  {difference}")));
        }
        self.say("");
    }

    /// Shows the result of a tick.
    pub(crate) fn ticked(&mut self, world: &World, report: &TickReport) {
        if self.kind == Kind::Silent {
            return;
        }
        for event in events(report) {
            self.remember(report.snapshot.taken_at, event);
        }
        match self.kind {
            Kind::Live if report.ring == Ring::Schedule => self.draw(world, report),
            Kind::Plain => self.daily(world, report),
            Kind::Live | Kind::Silent => {}
        }
    }

    /// Keeps the last picture on the screen.
    pub(crate) fn closing(&mut self) {
        self.drawn = 0;
    }

    fn say(&self, text: &str) {
        if self.kind != Kind::Silent {
            // A closed standard output must not stop the run.
            let _ = line(text);
        }
    }

    fn remember(&mut self, at: Time, (tone, text): (Tone, String)) {
        let stamped = format!("{}  {text}", self.clock(at));
        let painted = self.style.paint(tone, &stamped);
        if self.kind == Kind::Plain {
            self.say(&painted);
        }
        self.recent.push_back(painted);
        if self.recent.len() > SHOWN {
            self.recent.pop_front();
        }
    }

    /// Formats the time since the start: `day 3 14:05`.
    fn clock(&self, at: Time) -> String {
        let minutes = at.since(self.start).as_secs() / 60;
        let (day, hour, minute) = (minutes / 1440 + 1, minutes / 60 % 24, minutes % 60);
        format!("day {day} {hour:02}:{minute:02}")
    }

    /// In a pipe, prints the costs once a day.
    fn daily(&mut self, world: &World, report: &TickReport) {
        let day = report.snapshot.taken_at.since(self.start).0 / Span::hours(24).0;
        if day > self.last_day {
            self.last_day = day;
            let text = self.money(world, report);
            self.say(&format!("{}  {text}", self.clock(report.snapshot.taken_at)));
        }
    }

    /// Describes cost so far and savings compared with no deletions.
    fn money(&self, world: &World, report: &TickReport) -> String {
        let elapsed = report.snapshot.taken_at.since(self.start);
        let truth = world.truth();
        let named = truth.groups.iter().filter(|(name, _)| self.groups.contains_key(*name));
        let spent: Usd = named.map(|(_, group)| group.cost()).sum();
        let full = |group: &GroupSize| group.price.over(elapsed.times(i64::from(group.size.0)));
        let never: Usd = self.groups.values().map(full).sum();
        let share = 100.0 * (never - spent).as_dollars() / never.as_dollars().max(1e-9);
        format!(
            "spent {spent} of {never}, saved {} ({share:.0} %), {} nodes deleted, {} added back, \
             busy nodes deleted: {}",
            never - spent,
            truth.nodes_deleted(),
            truth.nodes_regrown(),
            truth.busy_nodes_deleted().count()
        )
    }

    fn draw(&mut self, world: &World, report: &TickReport) {
        let mut lines = vec![];
        let at = report.snapshot.taken_at;
        let done = at.since(self.start).0 * 40 / self.end.since(self.start).0.max(1);
        let bar: String = (0..40).map(|i| if i < done { '━' } else { '─' }).collect();
        let clock = self.style.paint(Tone::Strong, &self.clock(at));
        lines.push(format!("{clock}  {bar}"));
        lines.push(String::new());
        for (name, group) in &self.groups {
            lines.push(self.strip(name, group, report));
        }
        lines.push(format!(
            "{:12} {} busy  {} idle  {} leaving  {} arriving  · no node",
            "",
            self.style.paint(Tone::Good, "█"),
            self.style.paint(Tone::Faint, "░"),
            self.style.paint(Tone::Bad, "▼"),
            self.style.paint(Tone::Moving, "▲"),
        ));
        lines.push(String::new());
        lines.push(self.money(world, report));
        lines.push(String::new());
        lines.push(self.style.paint(Tone::Strong, "decisions"));
        lines.extend(self.recent.iter().cloned());
        lines.extend((self.recent.len()..SHOWN).map(|_| String::new()));
        let mut frame = String::new();
        if self.drawn > 0 {
            frame.push_str(&format!("\u{1b}[{}A", self.drawn));
        }
        for text in &lines {
            frame.push_str(&format!("\u{1b}[2K{text}\n"));
        }
        self.drawn = lines.len();
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(frame.as_bytes()).and_then(|()| out.flush());
    }

    /// Draws one sign per node of a group, including the deleted nodes.
    fn strip(&self, name: &GroupName, group: &GroupSize, report: &TickReport) -> String {
        let figures = report.plan.figures.get(name);
        let counts = figures.and_then(|figures| figures.counts);
        let mut strip = String::new();
        let mut shown = 0;
        if let Some(counts) = counts {
            let signs = [
                (counts.busy, "█", Tone::Good),
                (counts.idle + counts.unknown, "░", Tone::Faint),
                (counts.leaving + counts.impaired, "▼", Tone::Bad),
                (counts.arriving, "▲", Tone::Moving),
            ];
            for (count, sign, tone) in signs {
                shown += count.get();
                strip.push_str(&self.style.paint(tone, &sign.repeat(count.get())));
            }
        }
        strip.push_str(&"·".repeat(group.size.get().saturating_sub(shown)));
        let tau = figures.and_then(|f| f.tau).map_or(String::new(), |tau| format!("τ {tau}"));
        let queued = counts.map_or(NodeCount::ZERO, |counts| counts.queued);
        let floor = figures.map_or(NodeCount::ZERO, |figures| figures.floor);
        format!("{name:12} {strip}  queue {queued} nodes, floor {floor}, {tau}, {}", group.price)
    }
}

/// Returns the events of a tick to show.
fn events(report: &TickReport) -> Vec<(Tone, String)> {
    let mut events = vec![];
    for (group, figures) in &report.plan.figures {
        if figures.marks > NodeCount::ZERO {
            let (tau, boot_cost) = (figures.tau, figures.cost.map(|cost| cost.boot_cost));
            if let (Some(tau), Some(boot_cost), Some(surplus)) = (tau, boot_cost, figures.surplus) {
                let text = format!(
                    "{group}: {} marked; {surplus} surplus for {tau}, boot cost {boot_cost} each",
                    figures.marks
                );
                events.push((Tone::Moving, text));
            }
        }
    }
    let released: Vec<_> = report
        .plan
        .verdicts
        .iter()
        .filter_map(|v| match &v.verdict {
            Verdict::Release(why) => Some((v.node, why)),
            Verdict::Keep(_) | Verdict::Mark(_) | Verdict::Leaving { .. } => None,
        })
        .collect();
    for (node, why) in released {
        events.push((Tone::Good, format!("{node} released: {why}")));
    }
    for sent in &report.sent {
        let ids = nodes(sent.request.cleared().nodes());
        let group = sent.request.cleared().group();
        events.push(match &sent.outcome {
            DeleteOutcome::Answered { accepted, failed } if failed.is_empty() => {
                (Tone::Bad, format!("{group}: {} deleted: {ids}", accepted.len()))
            }
            DeleteOutcome::Answered { accepted, failed } => (
                Tone::Bad,
                format!("{group}: {} deleted, {} refused", accepted.len(), failed.len()),
            ),
            DeleteOutcome::Refused { why, .. } => (Tone::Faint, format!("{group}: refused: {why}")),
            DeleteOutcome::NoAnswer { why } => (Tone::Faint, format!("{group}: no answer: {why}")),
        });
    }
    for (node, end) in &report.ended {
        match end {
            End::Gone => {}
            End::Released(why) => events.push((Tone::Good, format!("{node} kept: {why}"))),
            End::CordonLost => events.push((Tone::Good, format!("{node} kept: cordon removed"))),
            End::Replaced => events.push((Tone::Faint, format!("{node} was replaced"))),
        }
    }
    if let Some(why) = &report.plan.freeze {
        events.push((Tone::Bad, format!("frozen: {why}")));
    }
    events
}

/// Formats at most two IDs and the number of the others.
fn nodes(ids: &[InstanceId]) -> String {
    let few: Vec<String> = ids.iter().take(2).map(ToString::to_string).collect();
    match ids.len().saturating_sub(few.len()) {
        0 => few.join(", "),
        more => format!("{} and {more} more", few.join(", ")),
    }
}
