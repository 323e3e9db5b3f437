//! The file as written: every key, in the order of the shipped file.
//!
//! All keys are optional here, and unknown keys are refused. Single values are parsed here.
//! [`super::check`] checks values against each other. The names of the keys are part of the
//! interface, because tools write them. Editors show the comment of a key as its description.

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

/// Largest size of a group; no HyperPod cluster has more nodes.
pub(crate) const LARGEST_SIZE: NodeCount = NodeCount(100_000);

/// Version of the set of keys that this build supports.
pub(crate) const VERSION: u32 = 1;

/// Lists whose tables are identified by their `name`.
pub(crate) const NAMED_LISTS: [&[&str]; 2] = [&["cluster"], &["cluster", "group"]];

/// Variables, and the paths of the keys that they set: locations on this machine, the schedule
/// and the log level. All values are texts, so they need no conversion. None of them is a
/// floor, a budget or the mode: a start from another shell must not remove a protection.
pub(crate) const VARIABLES: [Variable; 4] = [
    ("TRIMTAB__SCHEDULE", &["schedule"]),
    ("TRIMTAB__PAUSE_FILE", &["pause_file"]),
    ("TRIMTAB__STATE__PATH", &["state", "path"]),
    ("TRIMTAB__LOG__LEVEL", &["log", "level"]),
];

table! {
    /// The whole file.
    ConfigFile, "the top of the file" {
        /// Version of the set of keys.
        config_version: u32 => required,
        /// Whether trimtab may change anything: "observe" plans and explains, "enforce" carries
        /// plans out.
        mode: Mode = "observe",
        /// When trimtab looks: six cron fields (second, minute, hour, day of the month, month, day
        /// of the week), in UTC.
        schedule: Schedule = "0 */2 * * * *",
        /// While this file exists, trimtab starts no deletion in any cluster.
        pause_file: AbsolutePath = "/etc/trimtab/PAUSE",
        /// The ledger.
        state: StateTable,
        /// What trimtab logs.
        log: LogTable,
        /// One table for each cluster. A name may appear only once.
        cluster: List<ClusterTable> => required,
    }
}

table! {
    /// The ledger.
    StateTable, "[state]" {
        /// Path of the ledger, an SQLite file.
        path: AbsolutePath = "/var/lib/trimtab/trimtab.db",
    }
}

table! {
    /// What trimtab logs.
    LogTable, "[log]" {
        /// Log level (error, warn, info, debug or trace), with optional levels of single modules:
        /// "info,trimtab_daemon=debug".
        level: LogLevel = "info",
    }
}

table! {
    /// One cluster.
    ClusterTable, "[[cluster]]" {
        /// Name of the cluster in SageMaker.
        name: ClusterName => required,
        /// Region of the cluster; compared with the answer of AWS at every start.
        region: Region => required,
        /// Account of the cluster, 12 digits; compared with the answer of AWS at every start.
        account_id: AccountId => required,
        /// A role of this account that trimtab assumes first.
        role_arn: RoleArn,
        /// Endpoint for the API requests, instead of that of AWS: scheme, host and port. Plain http
        /// is accepted only for this machine.
        endpoint_url: EndpointUrl,
        /// Scheduler of the cluster.
        scheduler: SchedulerTable => required,
        /// Evidence source: what decides whether a node is idle. With scheduler kind "none" it must
        /// be "metrics-only".
        evidence: EvidenceSource,
        /// Metrics that can veto a deletion. Required with scheduler kind "none".
        utilization: List<SourceTable>,
        /// Your program that runs before nodes are deleted, once for all nodes of an API request.
        /// It can save the data on their disks. For groups with node_local_data = "gate".
        gate: GateTable,
        /// Your program that checks one node. It runs last, for each node of an API request.
        on_node_check: OnNodeCheckTable,
        /// Fewest live nodes of all groups together.
        min_nodes: NodeCount = 0,
        /// Limits above which a change freezes the cluster.
        mass_change: MassChangeTable,
        /// Times and timeouts.
        timing: TimingTable,
        /// One table for each group that trimtab may touch. It touches no other group.
        group: List<GroupTable> => required,
    }
}

table! {
    /// The scheduler of a cluster.
    SchedulerTable, "scheduler = { … }" {
        /// "slurm", "simulated" (the cluster behind `trimtab simulate`), or "none".
        kind: SchedulerKind => required,
        /// Path of slurm.conf, for Slurm's commands.
        conf: AbsolutePath,
        /// Folder of Slurm's commands.
        bin_dir: AbsolutePath,
        /// Address of slurmrestd, instead of the commands: unix:/PATH, https://HOST:PORT, or
        /// http://127.0.0.1:PORT on this machine.
        rest_url: RestAddress,
        /// File with the token (JWT) for slurmrestd. Only its owner may read or write it. Optional
        /// for a socket.
        token_file: AbsolutePath,
        /// Confirms that trimtab may see the jobs of all users. Required where Slurm hides jobs
        /// from some users, or does not report whether it does.
        sees_all_jobs: bool,
        /// How instances are named in Slurm, if their DNS names and addresses are not sufficient: a
        /// text with {dns}, {ip}, {instance_id} or {group}.
        node_name: NodeNaming,
        /// HyperPod's resource_config.json, its list of names and addresses.
        resource_config: AbsolutePath,
        /// HyperPod's provisioning_parameters.json, which names the controller and login groups.
        provisioning_parameters: AbsolutePath,
    }
}

table! {
    /// A source of utilization metrics, and the limits below which a node is idle.
    SourceTable, "utilization = [{ … }]" {
        /// Source of the metrics.
        kind: SourceKind => required,
        /// A known layout of metrics.
        preset: Preset,
        /// Namespace in CloudWatch; beside a preset, the namespace of your agent if it is not the
        /// default one.
        namespace: Namespace,
        /// Name of the metric.
        metric: MetricName,
        /// What the metric measures.
        measure: Measure,
        /// Dimensions that identify a series of the node: a text with {instance_id}, {node},
        /// {cluster} or {group}, or "*" for anything.
        dimensions: Dimensions,
        /// The dimension that distinguishes the devices of a node; its text is "*".
        device: DimensionName,
        /// Value of the metric at full use; default 100.
        full_scale: FullScaleValue,
        /// The metric whose value is full use, with the same namespace and dimensions.
        full_scale_metric: MetricName,
        /// Groups that the entry applies to; default: all groups.
        groups: List<GroupName>,
        /// A node is idle below this utilization, in percent.
        idle_below_percent: Share,
        /// A node is idle below this share of memory in use, in percent; default:
        /// idle_below_percent.
        memory_below_percent: Share,
        /// How long both must have been below their limits.
        window: Span,
        /// Time between two datapoints; default "60s".
        period: Span,
    }
}

table! {
    /// A program that runs once for all nodes of an API request.
    GateTable, "gate = { … }" {
        /// Absolute path of the program and its arguments; no shell interprets them. The program
        /// reads the nodes as JSON on its standard input.
        command: List<String> => required,
        /// Longest run time; default "20m".
        time_limit: Span where (
            Span::secs(1)..=Span::hours(12), "nodes stay cordoned while the program runs"
        ),
    }
}

table! {
    /// A program that runs once for each node of an API request.
    OnNodeCheckTable, "on_node_check = { … }" {
        /// Absolute path of the program and its arguments; no shell interprets them. {node}, {ip}
        /// and {instance_id} are replaced in the arguments.
        command: List<String> => required,
        /// Longest run time for one node; default "20s".
        time_limit: Span where (
            Span::secs(1)..=Span::mins(5), "nodes stay cordoned while the program runs"
        ),
    }
}

table! {
    /// Limits above which a change freezes the cluster.
    MassChangeTable, "mass_change = { … }" {
        /// If more nodes than this change at once, the cluster freezes.
        nodes: NodeCount = 50,
        /// If a larger share of the listed nodes than this changes at once, in percent, the cluster
        /// freezes.
        percent: Share = 50,
    }
}

table! {
    /// Times and timeouts of a cluster.
    TimingTable for Timing, "[cluster.timing]" {
        /// Time from the first sight of our cordon until a look counts.
        settle: Span = "30s" where (
            Span::secs(5)..=Span::mins(10),
            "this is the time that the scheduler needs to apply a drain"
        ),
        /// Longest time until a cordon must be visible. Longer than one tick.
        cordon_timeout: Span = "10m" where (
            Span::mins(1)..=DAY, "this is the longest time until a cordon must be visible"
        ),
        /// Longest time that a cordoned node waits for a clean look.
        settling_timeout: Span = "30m" where (
            Span::mins(1)..=DAY, "this is the longest time that a cordoned node waits for a clean \
                                  look"
        ),
        /// Highest age of the look when the delete request that rests on it is sent.
        max_look_age: Span = "30s" where (
            Span::secs(5)..=Span::mins(5), "this is the highest age of the look when the delete \
                                            request is sent"
        ),
        /// How long a node whose delete request got no answer must be Running before it may be
        /// released.
        confirm_running: Span = "15m" where (
            Span::mins(15)..=DAY, "a deletion that got no answer may still be under way"
        ),
        /// Deletions that take longer are reported.
        deletion_overdue: Span = "1h" where (
            Span::mins(5)..=Span::hours(7 * 24), "deletions that take longer than this are reported"
        ),
        /// How long a released node is left alone.
        cooldown: Span = "30m" where (
            Span::mins(1)..=Span::hours(7 * 24),
            "this is how long a released node is left alone"
        ),
        /// A gap of more ticks than this between two looks restarts the idle windows.
        max_missed_ticks: u32 = 3 where (
            1..=10, "time without looks does not count as idle"
        ),
        /// Highest age of a reading of the scheduler, or of a datapoint.
        fresh_for: Span = "5m" where (
            Span::secs(10)..=Span::hours(1), "this is the highest age of a reading"
        ),
        /// If the wall clock steps by more than this, trimtab discards the idle windows.
        clock_tolerance: Span = "10s" where (
            Span::secs(1)..=Span::mins(10), "this is the largest step of the wall clock that is \
                                             tolerated"
        ),
    }
}

table! {
    /// One instance group.
    GroupTable, "[[cluster.group]]" {
        /// Name of the group in SageMaker.
        name: GroupName => required,
        /// Instance type. It is used only for the default of `regain`.
        instance_type: InstanceType,
        /// Number of nodes of the whole group: what 100 % means.
        size: NodeCount => required where (
            NodeCount(1)..=LARGEST_SIZE, "this is the number of nodes of the whole group"
        ),
        /// Fewest live nodes at any time: a number, or a share of `size` ("25%").
        min_nodes: Amount => required,
        /// Headroom: idle nodes that are kept in addition to the floor.
        min_idle_nodes: NodeCount = 0,
        /// Times of the week with a higher floor.
        keep_windows: List<WindowTable>,
        /// How far ahead a floor applies. trimtab cannot add nodes when a window begins.
        lookahead: Span = "24h" where (
            Span::ZERO..=Span::hours(14 * 24), "this is how far ahead a floor applies"
        ),
        /// Most nodes in one API request, at most 99. Default: max_delete_per_hour, but at most 10.
        max_delete_per_request: NodeCount,
        /// Most nodes in any 60 minutes.
        max_delete_per_hour: NodeCount => required,
        /// Most nodes in any 24 hours. Default: four times max_delete_per_hour.
        max_delete_per_day: NodeCount,
        /// Share of `size` that may be leaving at the same time, in percent.
        max_leaving_percent: Share = 25,
        /// How the group is paid for.
        capacity: Capacity => required,
        /// Whether a deleted node can be obtained again. Default: "scarce" for ml.p4*, ml.p5*,
        /// ml.p6* and ml.trn*, otherwise "plentiful".
        regain: RegainWord,
        /// For scarce nodes only: expected cost of a node that cannot be obtained again, in dollars
        /// for each deletion.
        accept_regain_risk_usd: Usd,
        /// Price of one node in dollars an hour.
        price_usd_per_hour: UsdPerHour,
        /// Time from the request for a node until the node takes jobs.
        boot: Span where (Span::secs(1)..=DAY, "this is the time until a new node takes jobs"),
        /// How long a node is still billed after the delete request.
        billed_after_delete: Span = "0s" where (
            Span::ZERO..=DAY, "this is how long a deleted node is still billed"
        ),
        /// Value of one node-hour of waiting jobs, in node-hours of price: 0 to 100.
        delay_value: Factor = 1.0,
        /// Expected cost of failed boots, in dollars for each boot.
        boot_failure_cost_usd: Usd = 0,
        /// Idle timer, how long nodes must be surplus before they are deleted: "learned",
        /// "break-even" or a duration.
        idle_timer: TimerChoice = "learned",
        /// Nodes are kept for jobs that become eligible within this time.
        queue_lookahead: Span = "30m" where (
            Span::ZERO..=DAY, "trimtab does not read the queue further ahead"
        ),
        /// A younger node is kept.
        min_age: Span = "10m" where (
            Span::ZERO..=Span::hours(30 * 24), "almost no node would be old enough"
        ),
        /// A node is kept for this time after it was busy.
        post_job_grace: Span = "2m" where (
            Span::ZERO..=DAY, "a job that restarts returns sooner"
        ),
        /// Which of two equal nodes is deleted first.
        prefer: Prefer = "oldest",
        /// Data on the nodes' own disks.
        node_local_data: NodeLocalData,
        /// GPUs, or other devices with metrics of their own, of one node; 0 for a CPU group. The
        /// default, 1, computes too many nodes for waiting jobs rather than too few.
        gpus_per_node: u32 = 1 where (0..=64, "no node has more devices"),
        /// Partitions of the scheduler whose waiting jobs this group serves. Empty: all.
        partitions: List<PartitionName> = [],
        /// Nodes of the largest job that the group must be able to run; that many nodes always
        /// stay. Required where Slurm refuses jobs that are larger than their partition at that
        /// moment (EnforcePartLimits).
        max_job_nodes: NodeCount,
        /// Instance ids of nodes that are never deleted.
        protected: List<InstanceId> = [],
        /// Whether the group may be shrunk by its count, once every node is cordoned and was found
        /// clean by a later look.
        group_calls: GroupCalls = "never",
        /// Values of this group that differ from the utilization rule of the cluster.
        utilization: RuleTable,
    }
}

table! {
    /// A time of the week with a higher floor.
    WindowTable, "keep_windows = [{ … }]" {
        /// "mon-fri", "sat,sun" or "daily".
        days: String => required,
        /// Local time at which the window opens, "08:00".
        from: String => required,
        /// Local time at which the window closes, up to "24:00"; if it is not later than `from`, it
        /// is on the next day.
        to: String => required,
        /// IANA name of the time zone, "America/New_York".
        zone: String => required,
        /// Fewest live nodes during the window: a number, or a share of `size`.
        min_nodes: Amount => required,
    }
}

table! {
    /// Values of one group that differ from the utilization rule of the cluster.
    RuleTable, "the group's utilization = { … }" {
        /// A node is idle below this utilization, in percent.
        idle_below_percent: Share,
        /// A node is idle below this share of memory in use, in percent.
        memory_below_percent: Share,
        /// How long both must have been below their limits.
        window: Span,
        /// Time between two datapoints.
        period: Span,
    }
}

/// Returns every key of the file.
pub(crate) fn surface() -> Vec<KnownKey> {
    let mut keys = vec![];
    ConfigFile::known_keys("", &mut keys);
    keys
}

impl ConfigFile {
    /// Reads the tables of the file and adds the problems to `findings`.
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
