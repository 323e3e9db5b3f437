//! The file as written: every key there is, in the order of the shipped file.
//!
//! All keys are optional here and unknown ones are refused. A value that stands
//! for itself is parsed already; what several values say together is judged in
//! [`super::check`]. The names are part of the surface: tools write them, and the
//! comment of a key is what an editor shows of it.

use trimtab_core::ids::{ClusterName, GroupName, InstanceId, PartitionName};
use trimtab_core::join::NodeNaming;
use trimtab_core::policy::{
    Amount, Capacity, EvidenceSource, Factor, GroupCalls, NodeLocalData, Prefer, TimerChoice,
};
use trimtab_core::units::{NodeCount, Share, Span, Usd, UsdPerHour};

use super::presets::Preset;
use super::rest_address::RestAddress;
use super::schedule::Schedule;
use super::settings::{AccountId, EndpointUrl, LogLevel, Mode, Region, RoleArn};
use super::signal_values::{DimensionName, Dimensions, FullScaleValue, MetricName, Namespace};
use super::signals::Measure;
use super::values::{AbsolutePath, InstanceType, RegainWord, SchedulerKind, SourceKind};
use crate::language::document::{Node, Value};
use crate::language::read::{
    Entry, Findings, KnownKey, List, Read, Refusal, Spot, described, entry, table, unknown,
};

table! {
    /// The whole file.
    ConfigFile, "the top of the file" {
        /// Which set of keys this is.
        config_version: u32 = required,
        /// Whether anything may be changed: "observe" plans and explains, "enforce" carries
        /// plans out.
        mode: Mode,
        /// When to look: six cron fields (second, minute, hour, day of the month, month, day
        /// of the week), in UTC.
        schedule: Schedule,
        /// While this file exists, nothing is begun.
        pause_file: AbsolutePath,
        /// Where the ledger is.
        state: StateTable,
        /// What is logged.
        log: LogTable,
        /// One for each cluster; no name twice.
        cluster: List<ClusterTable> = required,
    }
}

table! {
    /// Where the ledger is.
    StateTable, "[state]" {
        /// The ledger, an SQLite file.
        path: AbsolutePath,
    }
}

table! {
    /// What is logged.
    LogTable, "[log]" {
        /// A level (error, warn, info, debug, trace), or levels of single modules:
        /// "info,trimtab_daemon=debug".
        level: LogLevel,
    }
}

table! {
    /// One cluster.
    ClusterTable, "[[cluster]]" {
        /// Its name in SageMaker.
        name: ClusterName = required,
        /// The region it is in.
        region: Region = required,
        /// The account it is in, 12 digits; compared with AWS's answer at every start.
        account_id: AccountId = required,
        /// A role of that account to assume first.
        role_arn: RoleArn,
        /// Where to send requests instead of to AWS: scheme, host and port; plain http on
        /// this machine only.
        endpoint_url: EndpointUrl,
        /// Who runs the cluster's jobs.
        scheduler: SchedulerTable = required,
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
        min_nodes: NodeCount,
        /// When a change is too large to be believed.
        mass_change: MassChangeTable,
        /// How long things may take.
        timing: TimingTable,
        /// One for each group that may be touched; no other ever is.
        group: List<GroupTable> = required,
    }
}

table! {
    /// Who runs the cluster's jobs.
    SchedulerTable, "scheduler = { … }" {
        /// "slurm", "simulated" (the world behind `trimtab simulate`), or "none".
        kind: SchedulerKind = required,
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
        kind: SourceKind = required,
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
        command: List<String> = required,
        /// How long it may take, 1s to 12h; "20m" without it.
        time_limit: Span,
    }
}

table! {
    /// A program that is asked about each node.
    OnNodeCheckTable, "on_node_check = { … }" {
        /// Its whole path and its arguments; no shell reads them. {node}, {ip} and
        /// {instance_id} are replaced in the arguments.
        command: List<String> = required,
        /// How long it may take for one node, 1s to 5m; "20s" without it.
        time_limit: Span,
    }
}

table! {
    /// When a change is too large to be believed.
    MassChangeTable, "mass_change = { … }" {
        /// More nodes than this that change at once freeze the cluster.
        nodes: NodeCount,
        /// A larger share of the listed nodes than this, in percent, freezes it, too.
        percent: Share,
    }
}

table! {
    /// How long things may take.
    TimingTable, "[cluster.timing]" {
        /// From the moment our cordon is seen until a look may count: 5s to 10m.
        settle: Span,
        /// How long a cordon may take to show: longer than a tick, at most 1d.
        cordon_timeout: Span,
        /// How long a cordoned node may wait for a clean look: at most 1d.
        settling_timeout: Span,
        /// How old a look may be when the delete call is sent on it: 5s to 5m.
        max_look_age: Span,
        /// How long a node whose deletion got no answer must be Running before it may be
        /// released: 15m to 1d.
        confirm_running: Span,
        /// A deletion that takes longer is reported: 5m to 7d.
        deletion_overdue: Span,
        /// How long a node that was released is left alone: 1m to 7d.
        cooldown: Span,
        /// A longer gap between two looks starts the idle windows anew: 1 to 10 ticks.
        max_missed_ticks: u32,
        /// How old a reading may be: 10s to 1h.
        fresh_for: Span,
        /// A wall clock that steps by more voids what was watched: 1s to 10m.
        clock_tolerance: Span,
    }
}

table! {
    /// One instance group.
    GroupTable, "[[cluster.group]]" {
        /// Its name in SageMaker.
        name: GroupName = required,
        /// Its instance type; it chooses the default of `regain`.
        instance_type: InstanceType,
        /// The nodes of the whole group: what 100 % means.
        size: NodeCount = required,
        /// Fewest live nodes at any time: a number, or a share of `size` ("25%").
        min_nodes: Amount = required,
        /// Idle headroom kept on top of that.
        min_idle_nodes: NodeCount,
        /// Times of the week with a higher floor.
        keep_windows: List<WindowTable>,
        /// How far ahead a floor holds already.
        lookahead: Span,
        /// Most nodes in one request, at most 99; the hour's budget without it, but 10 at
        /// most.
        max_delete_per_request: NodeCount,
        /// Most nodes in any 60 minutes.
        max_delete_per_hour: NodeCount = required,
        /// Most nodes in any 24 hours; four times the hour's without it.
        max_delete_per_day: NodeCount,
        /// Most nodes on their way out at the same time, in percent of `size`.
        max_leaving_percent: Share,
        /// How the nodes are paid for.
        capacity: Capacity = required,
        /// Whether a deleted node can be had again.
        regain: RegainWord,
        /// For scarce nodes: what it costs, in dollars a deletion, that one may not come back.
        accept_regain_risk_usd: Usd,
        /// Price of one node in dollars an hour.
        price_usd_per_hour: UsdPerHour,
        /// From the request for a node to a node that takes jobs.
        boot: Span,
        /// How long a node is billed after the delete call.
        billed_after_delete: Span,
        /// Value of one node-hour of waiting jobs, in node-hours of price: 0 to 100.
        delay_value: Factor,
        /// Expected cost of a boot that fails, in dollars.
        boot_failure_cost_usd: Usd,
        /// How long nodes must be surplus before they go: "learned", "break-even" or a duration.
        idle_timer: TimerChoice,
        /// Nodes are kept for jobs that become eligible within this time.
        queue_lookahead: Span,
        /// A younger node is kept.
        min_age: Span,
        /// A node that was busy less than this ago is kept.
        post_job_grace: Span,
        /// Which of two equal nodes goes first.
        prefer: Prefer,
        /// What is on the nodes' own disks.
        node_local_data: NodeLocalData,
        /// GPUs, or other devices that metrics tell apart, of one node; 0 for a CPU group.
        gpus_per_node: u32,
        /// The scheduler's partitions whose waiting jobs this group serves; empty for all.
        partitions: List<PartitionName>,
        /// Nodes of the largest job the group is to run, which stay; required where Slurm
        /// refuses jobs that are larger than a partition is now (EnforcePartLimits).
        max_job_nodes: NodeCount,
        /// Nodes that are never touched, by instance id.
        protected: List<InstanceId>,
        /// Whether the group may be shrunk by count, once all of its nodes are cordoned and
        /// looked at clean.
        group_calls: GroupCalls,
        /// Where the group's utilization rule differs from the cluster's.
        utilization: RuleTable,
    }
}

table! {
    /// A time of the week with a higher floor.
    WindowTable, "keep_windows = [{ … }]" {
        /// "mon-fri", "sat,sun" or "daily".
        days: String = required,
        /// Local time it opens, "08:00".
        from: String = required,
        /// Local time it closes, up to "24:00"; at or before `from` it is the next day's.
        to: String = required,
        /// The IANA name of its time zone, "America/New_York".
        zone: String = required,
        /// What is kept in it: a number of nodes, or a share of `size`.
        min_nodes: Amount = required,
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
