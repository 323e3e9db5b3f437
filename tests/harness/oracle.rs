//! The oracle reads the events of a simulated world and checks the daemon against the safety
//! contract (docs/safety.md).
//!
//! Tests pass it the world's events in order ([`Oracle::see`], after every tick), and at the end
//! the true record and the ledger ([`Oracle::finish`]). The oracle has its own model of nodes,
//! cordons, jobs and faults (`model`), built from these events alone. It shares no code with
//! planner, audit or driver. `checks` and `cordons` hold the checks at each event, `books` the
//! checks that need the ledger, and `progress` the liveness checks. [`CHECKS`] lists the checked
//! rules and what is compared for each. [`NOT_CHECKED`] lists the rules that are not checked, with
//! reasons. `worlds` generates worlds and policies from seeds, and `play` runs them.
//!
//! Limits: the world has a scheduler, one daemon runs at a time, and all port calls take the same
//! time, or none.

mod books;
mod checks;
mod cordons;
mod model;
pub mod play;
mod progress;
pub mod worlds;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use trimtab_core::ids::{ActionId, GroupName, InstanceId, LedgerId};
use trimtab_core::policy::{ClusterPolicy, GroupPolicy};
use trimtab_core::units::{Span, Time};
use trimtab_simulator::World;
use trimtab_simulator::log::LogEntry;

use self::checks::Reads;
use self::model::Model;
use self::progress::Progress;

/// A rule of the safety contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    S1,
    S2,
    S3,
    S4,
    S5,
    S6,
    S7,
    S8,
    S8b,
    S9,
    S10,
    S11,
    S12,
    S13,
    S14,
    S15,
    S16,
    S17,
    S19,
    S20,
    L1,
    L2,
    L3,
}

/// The checked rules, and what is compared for each.
pub const CHECKS: &[(Rule, &str)] = &[
    (
        Rule::S1,
        "a node that leaves for the daemon has no job and has a drain with our ledger's reason; \
         the scheduler's answer before the request is newer than cordon plus settle time; the \
         node has no job when it is terminated, unless someone else removed our cordon after the \
         look",
    ),
    (
        Rule::S2,
        "no delete request in a tick whose describe, listing or scheduler read failed, was lost, \
         had no nodes, reported every node as unknown, or is older than the policy allows",
    ),
    (
        Rule::S3,
        "at a mark, every read during the idle timer showed at least as many idle nodes as the \
         marks plus the headroom, and none of those reads failed",
    ),
    (
        Rule::S4,
        "at a mark, neither this read nor any read within post_job_grace found a job on the node",
    ),
    (
        Rule::S5,
        "at an accepted delete, the nodes that are up, joined and not drained are at least the \
         highest floor within the look-ahead plus the headroom, and at least the cluster's floor; \
         nodes that left so recently that the listing cannot show it yet are added",
    ),
    (
        Rule::S6,
        "a request names at most 99 nodes and at most max_delete_per_request; the nodes requested \
         in any 60 minutes and in any 24 hours, and the nodes cordoned by us or leaving, are \
         within the group's budgets",
    ),
    (
        Rule::S7,
        "after the daemon reports a freeze, no delete request until the operator ends the freeze",
    ),
    (Rule::S8, "every requested node is a worker of a group that the policy names"),
    (
        Rule::S8b,
        "when a group is set to a lower count for the daemon, every node of the group that is up \
         or arriving is cordoned by us, settled and without a job, and the group has more nodes \
         than the new count; no node of the group is released while a node of that request is \
         being terminated",
    ),
    (Rule::S9, "a node that leaves for the daemon is the instance that had the name at the cordon"),
    (Rule::S10, "no requested node has the protection tag or is protected by the policy"),
    (
        Rule::S11,
        "every request was in the ledger before it was sent, with an action and a charge for each \
         node",
    ),
    (Rule::S12, "no delete request while another process holds the lease"),
    (
        Rule::S13,
        "a delete request is sent within max_look_age of the start of the tick's first read",
    ),
    (
        Rule::S14,
        "no delete request while the pause file exists or the operator has paused in the ledger",
    ),
    (Rule::S15, "in observe mode, no cordon, no release and no delete request"),
    (
        Rule::S16,
        "no delete request during a software update or while another autoscaler is on; none while \
         a classic cluster runs an operation; none in a group with an arriving node",
    ),
    (
        Rule::S17,
        "the daemon resumes only nodes with its own cordons and cordons no drained node; it never \
         resumes a node that is being deleted for it, or one whose request got no answer within \
         the last 15 minutes; at the end every cordon of ours on a living node has an open action",
    ),
    (Rule::S19, "every node that existed during two complete ticks has a verdict in the ledger"),
    (
        Rule::S20,
        "if the wall clock and the monotonic clock differ by more than the tolerance since the \
         previous tick or start, no node is deleted that was cordoned before, or marked on \
         samples from before",
    ),
    (
        Rule::L1,
        "without faults and without waiting jobs, a group that is above floor and headroom, \
         within its budgets, and has an idle, unprotected node older than min_age marks a node \
         within the idle timer and a few ticks",
    ),
    (Rule::L2, "no living node has our cordon for longer than three hours without leaving"),
    (Rule::L3, "a cordon that existed when the daemon was killed is gone two hours later"),
];

/// The rules that are not checked, and why.
pub const NOT_CHECKED: &[(&str, &str)] = &[
    (
        "S1'",
        "worlds without a scheduler are not generated: jobs lost there are counted, not forbidden",
    ),
    (
        "S12",
        "only the lease is checked: a world has one daemon at a time, and no suspended process \
         resumes",
    ),
    ("S17", "a release that the scheduler ignored: the world's log shows effects, not orders"),
    ("S18", "the policy cannot be reloaded while a driver runs"),
    ("S19", "that `explain` can be reproduced: only that a verdict exists"),
    ("L4", "the watchdog is part of the binary"),
];

/// A breach of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    pub rule: Rule,
    /// Time in the world.
    pub at: Time,
    /// Description with ids and numbers.
    pub what: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {}: {}", self.rule, self.at, self.what)
    }
}

/// An action of the operator that the world's log does not show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// Ends a freeze.
    Thaws,
    /// Pauses in the ledger.
    Pauses,
    /// Resumes in the ledger.
    Resumes,
}

/// Mode of the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The daemon may delete nodes.
    Enforce,
    /// The daemon must not change anything.
    Observe,
}

/// A trimtab cordon.
#[derive(Debug, Clone)]
struct Cordoned {
    /// The instance that had the name when the cordon was set.
    node: Option<InstanceId>,
    /// Tick in which it was set.
    at: Time,
}

/// Number of log lines kept for the first breach.
const TAIL: usize = 160;
/// Maximum number of breaches that are kept.
const BREACHES: usize = 100;

/// Checks a daemon against the safety contract.
pub struct Oracle {
    policy: ClusterPolicy,
    mode: Mode,
    ledger: LedgerId,
    listing_lag: Span,
    count_lag: Span,
    call_time: Span,
    fault_free: bool,
    model: Model,
    /// The reads of this tick.
    reads: Reads,
    /// A read that has started, and the time at which it sees the world.
    pending: Option<(trimtab_simulator::log::Call, Time)>,
    /// A call that is acting now, and its time.
    acting: Option<(trimtab_simulator::log::Call, Time)>,
    /// Last time at which a fault started or ended.
    fault_at: Option<Time>,
    frozen: bool,
    paused: bool,
    cordoned: BTreeMap<ActionId, Cordoned>,
    /// A group that is being set to a lower count now, and the number of nodes that stay.
    shrinking: Option<(GroupName, u32)>,
    /// Groups that were set to a lower count, and the nodes that are deleted for it.
    shrunk: BTreeMap<GroupName, BTreeSet<InstanceId>>,
    /// Idle nodes of each group at each read.
    idle: BTreeMap<GroupName, VecDeque<(Time, u32)>>,
    marks: BTreeMap<GroupName, u32>,
    last_bad_read: Option<Time>,
    /// Wall clock minus monotonic clock at the previous tick.
    skew: Option<Span>,
    /// Cordons set before this time are void.
    void_before: Option<Time>,
    progress: Progress,
    floors: BTreeMap<(GroupName, i64), u32>,
    /// Wall clock minus true time, with the start of each value.
    offsets: Vec<(Time, Span)>,
    revived: Vec<Time>,
    resumed: Vec<(Time, InstanceId)>,
    calls: Vec<Time>,
    calm_ticks: Vec<Time>,
    tail: VecDeque<String>,
    first_tail: Option<Vec<String>>,
    breaches: Vec<Breach>,
}

impl Oracle {
    /// Creates an oracle for a world that has not started to move. `call_time` is the duration of
    /// each port call.
    ///
    /// # Panics
    /// If the world does not list its nodes.
    pub fn new(
        policy: ClusterPolicy,
        mode: Mode,
        ledger: LedgerId,
        world: &World,
        call_time: Span,
    ) -> Self {
        let spec = world.spec();
        Self {
            mode,
            ledger,
            listing_lag: spec.listing_lag,
            count_lag: spec.count_lag,
            call_time,
            fault_free: spec.random_faults_per_day <= 0.0 && spec.faults.is_empty(),
            model: Model::new(world),
            reads: Reads::default(),
            pending: None,
            acting: None,
            fault_at: None,
            frozen: false,
            paused: false,
            cordoned: BTreeMap::new(),
            shrinking: None,
            shrunk: BTreeMap::new(),
            idle: BTreeMap::new(),
            marks: BTreeMap::new(),
            last_bad_read: None,
            skew: None,
            void_before: None,
            progress: Progress::default(),
            floors: BTreeMap::new(),
            offsets: vec![(spec.start, Span::ZERO)],
            revived: vec![],
            resumed: vec![],
            calls: vec![],
            calm_ticks: vec![],
            tail: VecDeque::new(),
            first_tail: None,
            breaches: vec![],
            policy,
        }
    }

    /// Checks the events since the last call, up to the end of a tick.
    pub fn see(&mut self, entries: &[LogEntry]) {
        for entry in entries {
            self.look_at(entry);
        }
        self.end_read();
    }

    /// Notes an action of the operator that the world's log does not show.
    pub fn operator(&mut self, did: Operator) {
        match did {
            Operator::Thaws => self.frozen = false,
            Operator::Pauses => self.paused = true,
            Operator::Resumes => self.paused = false,
        }
    }

    /// Whether the daemon reported a freeze that the operator has not ended.
    pub fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// Returns the breaches found so far.
    pub fn breaches(&self) -> &[Breach] {
        &self.breaches
    }

    /// Returns the log lines before the first breach.
    pub fn tail(&self) -> &[String] {
        self.first_tail.as_deref().unwrap_or(&[])
    }

    /// Returns how often each fault happened.
    pub fn faults(&self) -> &BTreeMap<&'static str, u32> {
        &self.model.happened
    }

    fn breach(&mut self, rule: Rule, at: Time, what: String) {
        if self.first_tail.is_none() {
            self.first_tail = Some(self.tail.iter().cloned().collect());
        }
        if self.breaches.len() < BREACHES {
            self.breaches.push(Breach { rule, at, what });
        }
    }

    fn group_policy(&self, group: &GroupName) -> Option<&GroupPolicy> {
        self.policy.groups.get(group)
    }

    /// Returns the time that the daemon's wall clock shows at a time of the world.
    fn wall(&self, at: Time) -> Time {
        let after = self.offsets.partition_point(|(since, _)| *since <= at);
        let offset = after.checked_sub(1).map_or(Span::ZERO, |i| self.offsets[i].1);
        at + offset
    }
}
