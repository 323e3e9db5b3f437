//! trimtab asks for metrics last and for as few nodes as possible. This must not change any
//! decision.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use trimtab_core::ids::{ClusterName, GroupName, InstanceId};
use trimtab_core::policy::{Amount, UtilizationRule};
use trimtab_core::units::{NodeCount, Span, Time};
use trimtab_daemon::ports::{MetricsAnswer, MetricsQuery, Ports, ReadError, Utilization};
use trimtab_simulator::World;
use trimtab_simulator::ports::PortOptions;
use trimtab_simulator::spec::WorldSpec;
use trimtab_tests::life::Life;
use trimtab_tests::worlds::{cluster_policy, group_policy, name, percent};

/// Four of five nodes are busy nearly all the time, some with jobs that use part of a node.
const WORLD: &str = r#"
seed = 11
duration = "1d"
placement = "spreading"
[regrow]
every = "2m"
delay = "2m"
[[group]]
name = "workers"
count = 40
gpus_per_node = 8
price_usd_per_hour = 20.0
partition = "gpu"
boot = "10m"
[[generate]]
per_day = 850
length_median = "40m"
length_spread = 0.6
mix = [{ weight = 3, gpus = 8 }, { weight = 1, gpus = 4 }]
"#;

/// Answers for the requested nodes or for all nodes, and counts both.
struct Counting {
    world: World,
    inner: Arc<dyn Utilization>,
    answers_for_everything: bool,
    asked: Mutex<(usize, usize)>,
}

#[async_trait]
impl Utilization for Counting {
    async fn read(
        &self,
        cluster: &ClusterName,
        queries: &[MetricsQuery],
        now: Time,
        fresh_for: Span,
    ) -> Result<MetricsAnswer, ReadError> {
        let mut answer = self.inner.read(cluster, queries, now, fresh_for).await?;
        let listing = self.world.list_nodes(cluster)?;
        let all: Vec<InstanceId> = listing.nodes.iter().map(|node| node.id).collect();
        let mut asked = self.asked.lock().expect("the lock is not poisoned");
        asked.0 += queries.len();
        asked.1 += all.len();
        if let Some(query) = queries.first().filter(|_| self.answers_for_everything) {
            let every = self.world.utilization(cluster, &all, query.rule.window)?;
            for (node, evidence_source) in every {
                answer.activity.entry(node).or_insert(evidence_source);
            }
        }
        Ok(answer)
    }

    fn metrics_per_node(&self, _: &ClusterName, _: &GroupName, devices: u32) -> u64 {
        2 * u64::from(devices)
    }
}

/// Marked nodes of each tick.
type Marks = Vec<(Time, Vec<InstanceId>)>;

/// Runs one day and returns the marks, the number of nodes asked for, and the number of nodes that
/// existed.
fn run(answers_for_everything: bool) -> (Marks, (usize, usize), f64) {
    let spec = WorldSpec::parse(WORLD, "metrics").expect("a valid world");
    let world = World::new(spec, vec![]).expect("a valid world");
    let mut policy = cluster_policy([(name("workers"), group_policy())].into_iter().collect());
    policy.cluster = world.spec().cluster.clone();
    for group in policy.groups.values_mut() {
        group.size = NodeCount(40);
        group.min_nodes = Amount::Nodes(NodeCount(30));
        group.partitions = vec![name("gpu")];
        group.utilization = Some(UtilizationRule {
            idle_below: percent(5),
            memory_below: percent(5),
            window: Span::mins(5),
            period: Span::mins(1),
        });
    }
    let folder = tempfile::tempdir().expect("a folder");
    let life = Life::new(world.clone(), policy, folder.path(), 1);
    let ports = world.ports(PortOptions::default());
    let inner = ports.utilization.clone().expect("the world has metrics");
    let asked = Mutex::default();
    let counting = Counting { world: world.clone(), inner, answers_for_everything, asked };
    let counting = Arc::new(counting);
    let ports = Ports { utilization: Some(counting.clone()), ..ports };
    let mut marks = vec![];
    let (mut busy, mut known) = (0.0, 0.0);
    life.run_with(ports, Arc::new(life.open_ledger()), &mut |report| {
        let report = report.expect("the ledger can be written");
        let nodes: Vec<InstanceId> = report.plan.marks.iter().map(|mark| mark.node).collect();
        if !nodes.is_empty() {
            marks.push((report.snapshot.taken_at, nodes));
        }
        for counts in report.plan.figures.values().filter_map(|figures| figures.counts) {
            busy += f64::from(counts.busy.0);
            known += f64::from((counts.busy + counts.idle).0);
        }
    });
    let asked = *counting.asked.lock().expect("the lock is not poisoned");
    (marks, asked, busy / known)
}

#[test]
fn a_cluster_that_is_four_fifths_busy_asks_for_a_third_and_decides_the_same() {
    let (marks, (asked, there), busy) = run(false);
    assert!((0.75..0.85).contains(&busy), "{busy} of the nodes were busy");
    assert!(marks.len() > 10, "{marks:?}");
    let share = asked as f64 / there as f64;
    println!("{asked} of {there} nodes asked for ({share:.3}), {busy:.3} busy");
    assert!(share <= 0.35, "{share}");
    let (with_everything, _, _) = run(true);
    assert_eq!(marks, with_everything);
}
