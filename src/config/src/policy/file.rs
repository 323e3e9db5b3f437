//! The file as written: every key there is, in the order of the shipped file.
//!
//! All keys are optional here and unknown ones are refused. A value that stands
//! for itself is parsed already; what several values say together is judged in
//! [`super::check`]. The names are part of the surface: tools write them, and the
//! comment of a key is what an editor shows of it.

use trimtab_core::ids::{ClusterName, GroupName, InstanceId, PartitionName};
use trimtab_core::join::NodeNaming;
use trimtab_core::policy::{
    Amount, EvidenceSource, Factor, GroupCalls, NodeLocalData, Prefer, TimerChoice, Timing,
};
use trimtab_core::reads::Capacity;
use trimtab_core::units::{NodeCount, Share, Span, Usd, UsdPerHour};

use super::presets::Preset;
use super::rest_address::RestAddress;
use super::schedule::Schedule;
use super::settings::{AccountId, EndpointUrl, LogLevel, Mode, Region, RoleArn};
use super::signal_values::{DimensionName, Dimensions, FullScaleValue, MetricName, Namespace};
use super::signals::Measure;
use super::values::{AbsolutePath, InstanceType, RegainWord, SchedulerKind, SourceKind};
use crate::language::document::{Node, Value};
use crate::language::entry::{Entry, Findings, List, Spot};
use crate::language::layers::Variable;
use crate::language::read::{KnownKey, Read, Refusal, described, entry, limits, table, unknown};

const DAY: Span = Span::hours(24);

/// More nodes than any HyperPod cluster has.
pub(crate) const LARGEST_SIZE: NodeCount = NodeCount(100_000);

/// The set of keys this build knows.
pub(crate) const VERSION: u32 = 1;

/// Lists whose tables are told apart by their `name`.
pub(crate) const NAMED_LISTS: [&[&str]; 2] = [&["cluster"], &["cluster", "group"]];

/// What variables can set, and the path of each: where things are on this machine,
/// when to tick, and how much to log. All of them are texts, so no value of a variable
/// has to be converted. None of them is a floor, a budget or the mode: starting trimtab
/// from another shell must not remove a protection.
pub(crate) const VARIABLES: [Variable; 4] = [
    ("TRIMTAB__SCHEDULE", &["schedule"]),
    ("TRIMTAB__PAUSE_FILE", &["pause_file"]),
    ("TRIMTAB__STATE__PATH", &["state", "path"]),
    ("TRIMTAB__LOG__LEVEL", &["log", "level"]),
];

table! {
    /// The whole file.
    ConfigFile, "the top of the file" {
        /// Which set of keys this is.
        config_version: u32 => required,
        /// Whether anything may be changed: "observe" plans and explains, "enforce" carries
        /// plans out.
        mode: Mode = "observe",
        /// When to tick: six cron fields (second, minute, hour, day of the month, month, day
        /// of the week), in UTC.
        schedule: Schedule = "0 */2 * * * *",
        /// While this file exists, nothing is begun.
        pause_file: AbsolutePath = "/etc/trimtab/PAUSE",
        /// Where the ledger is.
        state: StateTable,
        /// What is logged.
        log: LogTable,
        /// One for each cluster; no name twice.
        cluster: List<ClusterTable> => required,
    }
}

table! {
    /// Where the ledger is.
    StateTable, "[state]" {
        /// The ledger, an SQLite file.
        path: AbsolutePath = "/var/lib/trimtab/trimtab.db",
    }
}

table! {
    /// What is logged.
    LogTable, "[log]" {
        /// A level (error, warn, info, debug, trace), or levels of single modules:
        /// "info,trimtab_daemon=debug".
        level: LogLevel = "info",
    }
}

table! {
    /// One cluster.
    ClusterTable, "[[cluster]]" {
        /// Its name in SageMaker.
        name: ClusterName => required,
        /// The region it is in.
        region: Region => required,
        /// The account it is in, 12 digits; compared with AWS's answer at every start.
        account_id: AccountId => required,
        /// A role of that account to assume first.
        role_arn: RoleArn,
        /// Where to send requests instead of to AWS: scheme, host and port; plain http on
        /// this machine only.
        endpoint_url: EndpointUrl,
        /// Who runs the cluster's jobs.
        scheduler: SchedulerTable => required,
        /// Whose word it is that a node is idle; with scheduler kind "none" it must be
        /// "metrics-only".
        evidence: EvidenceSource,
        /// Metrics that can veto a deletion; with scheduler kind "none" they are required.
        utilization: List<SourceTable>,
        /// A program that saves what is on the disks of nodes before they are deleted; for
        /// groups with node_local_data = "gate".
        gate: GateTable,
        /// A program that looks at each node itself, last of all before it is deleted.
        on_node_check: OnNodeCheckTable,
        /// Fewest live nodes of all groups together.
        min_nodes: NodeCount = 0,
        /// When a change is too large to be believed.
        mass_change: MassChangeTable,
        /// How long things may take.
        timing: TimingTable,
        /// One for each group that may be touched; no other ever is.
        group: List<GroupTable> => required,
    }
}

table! {
    /// Who runs the cluster's jobs.
    SchedulerTable, "scheduler = { … }" {
        /// "slurm", "simulated" (the world behind `trimtab simulate`), or "none".
        kind: SchedulerKind => required,
        /// Slurm's configuration file, for its commands.
        conf: AbsolutePath,
        /// Where Slurm's commands are.
        bin_dir: AbsolutePath,
        /// Where slurmrestd is, instead of the commands: unix:/PATH, https://HOST:PORT, or
        /// http://127.0.0.1:PORT on this machine.
        rest_url: RestAddress,
        /// The file with the token (JWT) for slurmrestd, which nobody but its owner may use;
        /// by a socket there may be none.
        token_file: AbsolutePath,
        /// Whether it is certain that trimtab is shown the jobs of everybody, where Slurm
        /// hides jobs from some users, or does not say whether it does.
        sees_all_jobs: bool,
        /// How instances are called in Slurm: a text with {dns}, {ip}, {instance_id} or
        /// {group} in it. Their DNS names and addresses say it without.
        node_name: NodeNaming,
        /// HyperPod's resource_config.json, which knows instances by name and address.
        resource_config: AbsolutePath,
        /// HyperPod's provisioning_parameters.json, which says what groups are for.
        provisioning_parameters: AbsolutePath,
    }
}

table! {
    /// A source of utilization metrics, and what counts as idle.
    SourceTable, "utilization = [{ … }]" {
        /// Where the metrics come from.
        kind: SourceKind => required,
        /// Metrics of a known layout.
        preset: Preset,
        /// CloudWatch's namespace; with a preset, another one than its own.
        namespace: Namespace,
        /// The metric's name.
        metric: MetricName,
        /// What the metric says of a node.
        measure: Measure,
        /// The dimensions a series must have to be of a node: a text with {instance_id},
        /// {node}, {cluster} or {group} in it, or "*" for anything.
        dimensions: Dimensions,
        /// The dimension that tells one device of a node from another; its text is "*".
        device: DimensionName,
        /// The metric's value at full use.
        full_scale: FullScaleValue,
        /// The metric whose value is full use, with the same namespace and dimensions.
        full_scale_metric: MetricName,
        /// The groups it is for; all of them without it.
        groups: List<GroupName>,
        /// A node is idle below this utilization, in percent.
        idle_below_percent: Share,
        /// A node is idle below this share of memory in use, in percent; idle_below_percent
        /// without it.
        memory_below_percent: Share,
        /// How long both must have been low.
        window: Span,
        /// The time between two datapoints; "60s" without it.
        period: Span,
    }
}

table! {
    /// A program that is asked about all nodes of a request.
    GateTable, "gate = { … }" {
        /// Its whole path and its arguments; no shell reads them. The nodes come as JSON on
        /// its standard input.
        command: List<String> => required,
        /// How long it may take; "20m" without it.
        time_limit: Span where (
            Span::secs(1)..=Span::hours(12), "nodes stay cordoned while the program runs"
        ),
    }
}

table! {
    /// A program that is asked about each node.
    OnNodeCheckTable, "on_node_check = { … }" {
        /// Its whole path and its arguments; no shell reads them. {node}, {ip} and
        /// {instance_id} are replaced in the arguments.
        command: List<String> => required,
        /// How long it may take for one node; "20s" without it.
        time_limit: Span where (
            Span::secs(1)..=Span::mins(5), "nodes stay cordoned while the program runs"
        ),
    }
}

table! {
    /// When a change is too large to be believed.
    MassChangeTable, "mass_change = { … }" {
        /// More nodes than this that change at once freeze the cluster.
        nodes: NodeCount = 50,
        /// A larger share of the listed nodes than this, in percent, freezes it, too.
        percent: Share = 50,
    }
}

table! {
    /// How long things may take.
    TimingTable for Timing, "[cluster.timing]" {
        /// From the moment our cordon is seen until a look may count.
        settle: Span = "30s" where (
            Span::secs(5)..=Span::mins(10),
            "this is the time that the scheduler needs to apply a drain"
        ),
        /// How long a cordon may take to show; longer than a tick.
        cordon_timeout: Span = "10m" where (
            Span::mins(1)..=DAY, "this is the longest time until a cordon must be visible"
        ),
        /// How long a cordoned node may wait for a clean look.
        settling_timeout: Span = "30m" where (
            Span::mins(1)..=DAY, "this is the longest time that a cordoned node waits for a clean \
                                  look"
        ),
        /// How old a look may be when the delete request is sent on it.
        max_look_age: Span = "30s" where (
            Span::secs(5)..=Span::mins(5), "this is the highest age of the look when the delete \
                                            request is sent"
        ),
        /// How long a node whose deletion got no answer must be Running before it may be
        /// released.
        confirm_running: Span = "15m" where (
            Span::mins(15)..=DAY, "a deletion that got no answer may still be under way"
        ),
        /// A deletion that takes longer is reported.
        deletion_overdue: Span = "1h" where (
            Span::mins(5)..=Span::hours(7 * 24), "deletions that take longer than this are reported"
        ),
        /// How long a node that was released is left alone.
        cooldown: Span = "30m" where (
            Span::mins(1)..=Span::hours(7 * 24),
            "this is how long a released node is left alone"
        ),
        /// A longer gap between two looks, in ticks, starts the idle windows anew.
        max_missed_ticks: u32 = 3 where (
            1..=10, "time without looks does not count as idle"
        ),
        /// How old a reading may be.
        fresh_for: Span = "5m" where (
            Span::secs(10)..=Span::hours(1), "this is the highest age of a reading"
        ),
        /// A wall clock that steps by more voids what was watched.
        clock_tolerance: Span = "10s" where (
            Span::secs(1)..=Span::mins(10), "this is the largest step of the wall clock that is \
                                             tolerated"
        ),
    }
}

table! {
    /// One instance group.
    GroupTable, "[[cluster.group]]" {
        /// Its name in SageMaker.
        name: GroupName => required,
        /// Its instance type; it chooses the default of `regain`.
        instance_type: InstanceType,
        /// The nodes of the whole group: what 100 % means.
        size: NodeCount => required where (
            NodeCount(1)..=LARGEST_SIZE, "this is the number of nodes of the whole group"
        ),
        /// Fewest live nodes at any time: a number, or a share of `size` ("25%").
        min_nodes: Amount => required,
        /// Idle headroom kept on top of that.
        min_idle_nodes: NodeCount = 0,
        /// Times of the week with a higher floor.
        keep_windows: List<WindowTable>,
        /// How far ahead a floor holds already: trimtab cannot add nodes when it begins.
        lookahead: Span = "24h" where (
            Span::ZERO..=Span::hours(14 * 24), "this is how far ahead a floor applies"
        ),
        /// Most nodes in one request, at most 99; the hour's budget without it, but 10 at
        /// most.
        max_delete_per_request: NodeCount,
        /// Most nodes in any 60 minutes.
        max_delete_per_hour: NodeCount => required,
        /// Most nodes in any 24 hours; four times the hour's without it.
        max_delete_per_day: NodeCount,
        /// Most nodes on their way out at the same time, in percent of `size`.
        max_leaving_percent: Share = 25,
        /// How the nodes are paid for.
        capacity: Capacity => required,
        /// Whether a deleted node can be had again.
        regain: RegainWord,
        /// For scarce nodes: what it costs, in dollars a deletion, that one may not come back.
        accept_regain_risk_usd: Usd,
        /// Price of one node in dollars an hour.
        price_usd_per_hour: UsdPerHour,
        /// From the request for a node to a node that takes jobs.
        boot: Span where (Span::secs(1)..=DAY, "this is the time until a new node takes jobs"),
        /// How long a node is billed after the delete call.
        billed_after_delete: Span = "0s" where (
            Span::ZERO..=DAY, "this is how long a deleted node is still billed"
        ),
        /// Value of one node-hour of waiting jobs, in node-hours of price: 0 to 100.
        delay_value: Factor = 1.0,
        /// Expected cost of a boot that fails, in dollars.
        boot_failure_cost_usd: Usd = 0,
        /// How long nodes must be surplus before they go: "learned", "break-even" or a duration.
        idle_timer: TimerChoice = "learned",
        /// Nodes are kept for jobs that become eligible within this time.
        queue_lookahead: Span = "30m" where (
            Span::ZERO..=DAY, "trimtab does not read the queue further ahead"
        ),
        /// A younger node is kept.
        min_age: Span = "10m" where (
            Span::ZERO..=Span::hours(30 * 24), "almost no node would be old enough"
        ),
        /// A node that was busy less than this ago is kept.
        post_job_grace: Span = "2m" where (
            Span::ZERO..=DAY, "a job that restarts returns sooner"
        ),
        /// Which of two equal nodes goes first.
        prefer: Prefer = "oldest",
        /// What is on the nodes' own disks.
        node_local_data: NodeLocalData,
        /// GPUs, or other devices that metrics tell apart, of one node; 0 for a CPU group. The
        /// default, 1, counts a waiting job on too many nodes rather than on none.
        gpus_per_node: u32 = 1 where (0..=64, "no node has more devices"),
        /// The scheduler's partitions whose waiting jobs this group serves; empty for all.
        partitions: List<PartitionName> = [],
        /// Nodes of the largest job the group is to run, which stay; required where Slurm
        /// refuses jobs that are larger than a partition is now (EnforcePartLimits).
        max_job_nodes: NodeCount,
        /// Nodes that are never touched, by instance id.
        protected: List<InstanceId> = [],
        /// Whether the group may be shrunk by count, once all of its nodes are cordoned and
        /// looked at clean.
        group_calls: GroupCalls = "never",
        /// Where the group's utilization rule differs from the cluster's.
        utilization: RuleTable,
    }
}

table! {
    /// A time of the week with a higher floor.
    WindowTable, "keep_windows = [{ … }]" {
        /// "mon-fri", "sat,sun" or "daily".
        days: String => required,
        /// Local time it opens, "08:00".
        from: String => required,
        /// Local time it closes, up to "24:00"; at or before `from` it is the next day's.
        to: String => required,
        /// The IANA name of its time zone, "America/New_York".
        zone: String => required,
        /// What is kept in it: a number of nodes, or a share of `size`.
        min_nodes: Amount => required,
    }
}

table! {
    /// What counts as idle in one group, where it differs from the cluster.
    RuleTable, "the group's utilization = { … }" {
        /// A node is idle below this utilization, in percent.
        idle_below_percent: Share,
        /// A node is idle below this share of memory in use, in percent.
        memory_below_percent: Share,
        /// How long both must have been low.
        window: Span,
        /// The time between two datapoints.
        period: Span,
    }
}

/// Every key of the file.
pub(crate) fn surface() -> Vec<KnownKey> {
    let mut keys = vec![];
    ConfigFile::known_keys("", &mut keys);
    keys
}

impl ConfigFile {
    /// Reads what can be read; the problems are in `findings`.
    pub(crate) fn from_tree(root: &Node, findings: &mut Findings) -> Option<Self> {
        Self::read(root, Spot::root(root), findings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_sets_a_key_there_is_and_is_named_after_it() {
        let keys = surface();
        for (name, path) in VARIABLES {
            assert!(keys.iter().any(|key| key.path == path.join(".")), "{name}");
            assert_eq!(name, format!("TRIMTAB__{}", path.join("__").to_uppercase()));
        }
    }
}
