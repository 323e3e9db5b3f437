//! Scenarios: a small world in `tests/scenarios`, its policy, and how long the daemon stays down
//! after a kill.

use std::collections::BTreeMap;

use trimtab_core::policy::{
    Amount, Budgets, ClusterPolicy, EvidenceSource, GroupCalls, GroupPolicy, NodeLocalData,
    TimerChoice, Timing, UtilizationRule,
};
use trimtab_core::reads::Role;
use trimtab_core::units::{NodeCount, Share, Span};
use trimtab_simulator::ports::{PortOptions, SimulatedGate};
use trimtab_simulator::spec::WorldSpec;
use trimtab_tests::worlds;

/// A world that runs with a kill at every effect.
pub(super) struct Scenario {
    /// Name, as in the file name.
    pub(super) name: &'static str,
    pub(super) world: &'static str,
    /// Time for which the world runs without the daemon after a kill. More than [`Timing::max_gap`]
    /// ends the idle windows.
    pub(super) away: Span,
    /// How many fewer nodes a run with kills may delete. A kill can waste a charge on a request
    /// that was never sent, and a race at a fixed minute may then hit a different node.
    pub(super) fewer: u64,
    /// Events that the run without a kill must show ([`super::checks::Seen::shown`]), because a
    /// race that never happens proves nothing.
    pub(super) shows: &'static [&'static str],
    /// Changes to the shared policy.
    pub(super) tune: fn(&mut ClusterPolicy),
}

/// Time between two ticks, unless a scenario sets another.
const TICK: Span = Span::mins(2);

/// Number of nodes of each group that stay.
const FLOOR: NodeCount = NodeCount(2);

impl Scenario {
    /// The world's spec.
    pub(super) fn spec(&self) -> WorldSpec {
        match WorldSpec::parse(self.world, self.name) {
            Ok(spec) => spec,
            Err(why) => panic!("{why}"),
        }
    }

    /// A short timer, two nodes in a request, and a floor of two nodes in each group.
    pub(super) fn policy(&self, spec: &WorldSpec) -> ClusterPolicy {
        let workers = spec.groups.iter().filter(|group| group.role == Role::Worker);
        let groups: BTreeMap<_, _> = workers
            .map(|group| {
                let policy = GroupPolicy {
                    size: group.size(),
                    min_nodes: Amount::Nodes(FLOOR),
                    budgets: Budgets {
                        per_request: NodeCount(2),
                        per_hour: NodeCount(24),
                        per_day: NodeCount(48),
                        leaving: Share::ALL,
                    },
                    timer: TimerChoice::Fixed(Span::mins(5)),
                    queue_lookahead: Span::mins(2),
                    partitions: vec![group.partition()],
                    ..worlds::group_policy()
                };
                (group.name.clone(), policy)
            })
            .collect();
        let mut policy = worlds::cluster_policy(groups);
        policy.cluster = spec.cluster.clone();
        policy.timing = Timing { tick: TICK, cooldown: Span::mins(4), ..Timing::default() };
        (self.tune)(&mut policy);
        policy
    }
}

/// Returns the gate and the on-node check, if a group uses them.
pub(super) fn options(policy: &ClusterPolicy) -> PortOptions {
    let wants_gate = |group: &GroupPolicy| group.node_local_data == Some(NodeLocalData::Gate);
    if !policy.groups.values().any(wants_gate) {
        return PortOptions::default();
    }
    let gate = |takes| Some(SimulatedGate { takes, answer: Ok(()) });
    PortOptions {
        gate: gate(Span::mins(5)),
        on_node_check: gate(Span::secs(10)),
        ..PortOptions::default()
    }
}

fn as_it_is(_: &mut ClusterPolicy) {}

fn little_an_hour(policy: &mut ClusterPolicy) {
    policy.timing.tick = Span::mins(5);
    for group in policy.groups.values_mut() {
        group.budgets.per_hour = NodeCount(2);
        group.budgets.per_day = NodeCount(5);
    }
}

fn to_zero(policy: &mut ClusterPolicy) {
    for group in policy.groups.values_mut() {
        group.group_calls = GroupCalls::ToZero;
        group.min_nodes = Amount::Nodes(NodeCount::ZERO);
        group.budgets.per_request = NodeCount(50);
    }
}

/// Deletes down to four nodes with one request for more nodes than ids could name. A kill can waste
/// the charges of a request that was never sent, so the budgets allow several.
fn to_four(policy: &mut ClusterPolicy) {
    for group in policy.groups.values_mut() {
        group.group_calls = GroupCalls::WholeGroup;
        group.min_nodes = Amount::Nodes(NodeCount(4));
        group.budgets = Budgets {
            per_request: NodeCount(200),
            per_hour: NodeCount(500),
            per_day: NodeCount(900),
            leaving: Share::ALL,
        };
    }
}

fn with_data(policy: &mut ClusterPolicy) {
    for group in policy.groups.values_mut() {
        group.node_local_data = Some(NodeLocalData::Gate);
    }
}

fn by_metrics(policy: &mut ClusterPolicy) {
    policy.evidence_source = EvidenceSource::MetricsOnly;
    for group in policy.groups.values_mut() {
        group.utilization = Some(UtilizationRule {
            idle_below: worlds::percent(5),
            memory_below: worlds::percent(5),
            window: Span::mins(5),
            period: Span::mins(1),
        });
    }
}

macro_rules! scenario {
    ($name:literal, $away:expr, fewer: $fewer:literal, shows: $shows:expr, $tune:expr) => {
        Scenario {
            name: $name,
            world: include_str!(concat!("../../scenarios/crash-", $name, ".toml")),
            away: $away,
            fewer: $fewer,
            shows: &$shows,
            tune: $tune,
        }
    };
}

/// All scenarios.
pub(super) const ALL: [Scenario; 22] = [
    scenario!("plain", Span::mins(1), fewer: 0, shows: [], as_it_is),
    scenario!("classic", Span::mins(3), fewer: 0, shows: [], as_it_is),
    scenario!("two-groups", Span::secs(90), fewer: 0, shows: [], as_it_is),
    scenario!("job-lands", Span::secs(30), fewer: 0, shows: ["claimed"], as_it_is),
    scenario!("operator-resumes", Span::mins(1), fewer: 0, shows: ["cordon lost", "timed out"], as_it_is),
    scenario!("operator-drains", Span::mins(2), fewer: 0, shows: ["cordon lost"], as_it_is),
    scenario!("partial-failure", Span::mins(4), fewer: 0, shows: ["refused"], as_it_is),
    scenario!("refused", Span::mins(9), fewer: 0, shows: ["refused"], as_it_is),
    scenario!("answer-lost", Span::mins(1), fewer: 0, shows: ["unanswered"], as_it_is),
    scenario!("request-lost", Span::mins(2), fewer: 0, shows: ["unanswered", "never left"], as_it_is),
    scenario!("replaced", Span::secs(45), fewer: 0, shows: ["replaced"], as_it_is),
    scenario!("demand", Span::secs(20), fewer: 0, shows: ["demand"], as_it_is),
    scenario!("budget", Span::mins(17), fewer: 2, shows: [], little_an_hour),
    scenario!("paused", Span::mins(1), fewer: 0, shows: ["paused"], as_it_is),
    scenario!("metrics-only", Span::mins(2), fewer: 0, shows: [], by_metrics),
    scenario!("blind", Span::mins(1), fewer: 0, shows: ["blind ticks"], as_it_is),
    scenario!("disk-full", Span::secs(5), fewer: 0, shows: ["failed ticks"], as_it_is),
    scenario!("gate", Span::mins(1), fewer: 0, shows: [], with_data),
    scenario!("to-zero", Span::mins(2), fewer: 0, shows: ["group calls"], to_zero),
    scenario!("whole-group", Span::mins(1), fewer: 0, shows: ["group calls", "spared"], to_four),
    scenario!("whole-lost", Span::mins(2), fewer: 0, shows: ["unanswered", "spared"], to_four),
    scenario!("whole-unsent", Span::mins(1), fewer: 0, shows: ["unanswered", "never left"], to_four),
];

/// Returns the scenario with this name.
pub(super) fn named(name: &str) -> &'static Scenario {
    match ALL.iter().find(|scenario| scenario.name == name) {
        Some(scenario) => scenario,
        None => panic!("there is no scenario `{name}`"),
    }
}
