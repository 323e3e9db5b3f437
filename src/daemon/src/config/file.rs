//! The file as written: every key there is, in the order of the shipped file.
//!
//! All keys are optional here and unknown ones are refused. A value that stands
//! for itself is parsed already; what several values say together is judged in
//! [`super::settings`]. The names are part of the surface: tools write them.

use trimtab_core::ids::{ClusterName, GroupName, InstanceId, PartitionName};
use trimtab_core::policy::{
    Amount, Capacity, Factor, NodeLocalData, Prefer, TimerChoice, WitnessKind,
};
use trimtab_core::units::{NodeCount, Share, Span, Usd, UsdPerHour};

use super::document::{Node, Value};
use super::read::{
    Entry, Findings, Given, KnownKey, List, Read, Refusal, Spot, entry, table, unknown,
};
use super::schedule::Schedule;
use super::settings::{AccountId, EndpointUrl, Mode, Preset, Region, RoleArn};
use super::values::{AbsolutePath, InstanceType, RegainWord, SchedulerKind, SourceKind};

table! {
    /// The whole file.
    ConfigFile, "the top of the file" {
        /// Which set of keys this is.
        config_version: u32,
        mode: Mode,
        schedule: Schedule,
        pause_file: AbsolutePath,
        state: StateTable,
        cluster: List<ClusterTable>,
    }
}

table! {
    /// Where the ledger is.
    StateTable, "[state]" {
        path: AbsolutePath,
    }
}

table! {
    /// One cluster.
    ClusterTable, "[[cluster]]" {
        name: ClusterName,
        region: Region,
        account_id: AccountId,
        role_arn: RoleArn,
        endpoint_url: EndpointUrl,
        scheduler: SchedulerTable,
        evidence: WitnessKind,
        utilization: List<SourceTable>,
        min_nodes: NodeCount,
        mass_change: MassChangeTable,
        timing: TimingTable,
        group: List<GroupTable>,
    }
}

table! {
    /// Who runs the cluster's jobs.
    SchedulerTable, "scheduler = { … }" {
        kind: SchedulerKind,
        conf: AbsolutePath,
    }
}

table! {
    /// A source of utilization metrics, and what counts as idle.
    SourceTable, "utilization = [{ … }]" {
        kind: SourceKind,
        preset: Preset,
        idle_below_percent: Share,
        window: Span,
        period: Span,
    }
}

table! {
    /// When a change is too large to be believed.
    MassChangeTable, "mass_change = { … }" {
        nodes: NodeCount,
        percent: Share,
    }
}

table! {
    /// How long things may take.
    TimingTable, "[cluster.timing]" {
        settle: Span,
        fencing_timeout: Span,
        settling_timeout: Span,
        guard: Span,
        confirm_running: Span,
        deletion_overdue: Span,
        cooldown: Span,
        max_missed_ticks: u32,
        fresh_for: Span,
        clock_tolerance: Span,
    }
}

table! {
    /// One instance group.
    GroupTable, "[[cluster.group]]" {
        name: GroupName,
        instance_type: InstanceType,
        size: NodeCount,
        min_nodes: Amount,
        min_idle_nodes: NodeCount,
        keep_windows: List<WindowTable>,
        lookahead: Span,
        max_delete_per_batch: NodeCount,
        max_delete_per_hour: NodeCount,
        max_delete_per_day: NodeCount,
        max_leaving_percent: Share,
        capacity: Capacity,
        regain: RegainWord,
        accept_regain_risk_usd: Usd,
        price_usd_per_hour: UsdPerHour,
        boot: Span,
        billed_after_delete: Span,
        delay_value: Factor,
        wake_failure_cost_usd: Usd,
        idle_timer: TimerChoice,
        queue_lookahead: Span,
        min_age: Span,
        post_job_grace: Span,
        prefer: Prefer,
        node_local_data: NodeLocalData,
        gpus_per_node: u32,
        partitions: List<PartitionName>,
        protected: List<InstanceId>,
        utilization: RuleTable,
    }
}

table! {
    /// A time of the week with a higher floor.
    WindowTable, "keep_windows = [{ … }]" {
        days: String,
        from: String,
        to: String,
        zone: String,
        min_nodes: Amount,
    }
}

table! {
    /// What counts as idle in one group, where it differs from the cluster.
    RuleTable, "the group's utilization = { … }" {
        idle_below_percent: Share,
        window: Span,
        period: Span,
    }
}

/// Every key of the file.
pub(super) fn surface() -> Vec<KnownKey> {
    let mut keys = vec![];
    ConfigFile::known_keys("", &mut keys);
    keys
}

impl ConfigFile {
    /// Reads what can be read; the problems are in `findings`.
    pub(super) fn from_tree(root: &Node, findings: &mut Findings) -> Option<Self> {
        Self::read(root, Spot::root(root), findings)
    }
}
