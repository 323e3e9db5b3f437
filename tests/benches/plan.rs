//! How long plan and audit take, from 1,000 to 100,000 nodes on one core.
//!
//! `cargo bench -p trimtab-tests --bench plan` prints the table that the docs
//! quote. Not a test: nothing fails when a machine is slow.

#![expect(clippy::print_stdout, reason = "a benchmark's output is its table")]

use std::collections::BTreeMap;
use std::time::Instant;

use trimtab_core::assemble::assemble;
use trimtab_core::audit;
use trimtab_core::history::History;
use trimtab_core::ids::{GroupName, InstanceId};
use trimtab_core::planner;
use trimtab_core::policy::{Budgets, GroupPolicy};
use trimtab_core::reads::{Claim, Condition, InstanceStatus, Provisioning, Reading};
use trimtab_core::units::{NodeCount, Share, Span};
use trimtab_core::windows::{KeepWindow, WindowSpec};
use trimtab_tests::worlds::{
    START, STEP, World, WorldNode, cluster_policy, fold, group_policy, ledger, name,
};

const RUNS: usize = 11;
const NODES_PER_GROUP: u64 = 200;

fn main() {
    println!("nodes   groups  marks   plan ms  audit ms  plan + audit ms  us/node");
    for nodes in [1_000, 3_000, 10_000, 30_000, 100_000] {
        row(nodes);
    }
}

fn row(nodes: u64) {
    let world = world(nodes);
    let mut history = world.past.clone();
    let snapshot = assemble(world.reads(), &world.policy, &history, &ledger());
    fold(&mut history, &snapshot, &world.policy);
    let (mut plans, mut audits, mut both) = (vec![], vec![], vec![]);
    let mut marks = 0;
    for _ in 0..RUNS {
        let start = Instant::now();
        let plan = planner::plan(&snapshot, &world.policy, &history, world.now);
        let planned = start.elapsed();
        marks = plan.marks.len();
        let approved = audit::approve(plan, &snapshot, &world.policy, &history, world.now);
        let total = start.elapsed();
        assert!(approved.is_ok(), "the audit refused the plan");
        plans.push(planned);
        audits.push(total - planned);
        both.push(total);
    }
    let median = |mut times: Vec<std::time::Duration>| {
        times.sort();
        times[times.len() / 2].as_secs_f64() * 1e3
    };
    let groups = nodes / NODES_PER_GROUP;
    let (plan, audit, both) = (median(plans), median(audits), median(both));
    let each = both * 1e3 / nodes as f64;
    println!("{nodes:<7} {groups:<7} {marks:<7} {plan:<8.2} {audit:<9.2} {both:<16.2} {each:.3}");
}

/// Groups of 200 nodes, two thirds busy, with floors, windows and budgets.
fn world(nodes: u64) -> World {
    let mut groups: BTreeMap<GroupName, GroupPolicy> = BTreeMap::new();
    let mut all = vec![];
    for g in 0..nodes / NODES_PER_GROUP {
        let group: GroupName = name(&format!("workers-{g:03}"));
        let spec = WindowSpec {
            days: "mon-fri".to_owned(),
            from: "08:00".to_owned(),
            to: "19:00".to_owned(),
            zone: "America/New_York".to_owned(),
            min_nodes: trimtab_core::policy::Amount::Nodes(NodeCount(20)),
        };
        let policy = GroupPolicy {
            size: NodeCount(NODES_PER_GROUP as u32),
            keep_windows: KeepWindow::parse(&spec).into_iter().collect(),
            budgets: Budgets {
                per_request: NodeCount(20),
                per_hour: NodeCount(40),
                per_day: NodeCount(200),
                leaving: Share::ALL,
            },
            ..group_policy()
        };
        groups.insert(group.clone(), policy);
        for n in 0..NODES_PER_GROUP {
            let number = (g * NODES_PER_GROUP + n) * 7919 % 1_000_003;
            let busy = !number.is_multiple_of(3);
            all.push(WorldNode {
                id: InstanceId::from_number(u128::from(number) << 40),
                group: group.clone(),
                launched: START - Span::hours(number as i64 % 400),
                status: InstanceStatus::Running,
                claims: if busy { vec![Claim::Running(name("1"))] } else { vec![] },
                condition: Condition::Up,
                drained: None,
                protected: false,
                known: true,
                activity: Reading::Absent,
                health: 100,
                capacity: trimtab_core::reads::NodeCapacity::NotShown,
            });
        }
    }
    let mut world = World {
        policy: cluster_policy(groups),
        nodes: all,
        pending: vec![],
        complete: true,
        provisioning: Provisioning::Continuous,
        now: START,
        past: History::default(),
    };
    for _ in 0..8 {
        world.past = world.history();
        world.now = world.now + STEP;
    }
    world
}
