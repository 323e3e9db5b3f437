//! The oracle: it reads what truly happened in a simulated world, event by
//! event, and holds the daemon to the safety contract.
//!
//! It is fed with the world's own events in order ([`Oracle::see`], after every
//! tick) and at the end with the truth and the ledger ([`Oracle::finish`]). It
//! has its own model of nodes, cordons, jobs and faults (`model`), made of those
//! events alone, and shares no code with planner, audit or driver. What it can
//! tell at once is in `checks` and `cordons`, what needs the ledger in `books`,
//! what must happen in the end in `progress`. [`CHECKS`] lists the rules it
//! checks, each with what exactly is compared, and [`NOT_CHECKED`] those that it
//! cannot, and why. `worlds` makes worlds and policies from seeds and `play`
//! lives them.
//!
//! Its limits: a world with a scheduler; one process at a time; ports that take
//! no time, or the same time for each call.

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

/// A rule of the contract.
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

/// What is checked, and how.
pub const CHECKS: &[(Rule, &str)] = &[
    (
        Rule::S1,
        "a node leaving for the daemon has no job and is drained with our ledger's reason; the \
         scheduler's answer behind it is younger than cordon plus settle time; no job is on it when \
         it is gone, unless somebody else took our cordon away after the look",
    ),
    (
        Rule::S2,
        "no delete call in a tick whose describe, listing or scheduler read failed, was lost, \
         named no node, called all nodes unknown, or is older than the policy allows",
    ),
    (
        Rule::S3,
        "at a mark, every read of the idle timer's time showed that many idle nodes and the \
         headroom, and none of those reads failed",
    ),
    (Rule::S4, "at a mark, no read within the grace, nor this one, found a job on the node"),
    (
        Rule::S5,
        "at an accepted delete, the nodes that are up, joined and not drained by anybody are not \
         fewer than the highest floor of the look-ahead plus headroom, nor than the cluster's floor; \
         nodes whose end the listing could not show yet are added",
    ),
    (
        Rule::S6,
        "ids of a request are at most 99 and the request budget; asked ids of any 60 minutes and 24 \
         hours, and nodes cordoned by us or leaving, are within the group's budgets",
    ),
    (Rule::S7, "after the daemon told that it froze, no delete call until an operator clears it"),
    (Rule::S8, "every asked id is a worker of a group that the policy names"),
    (
        Rule::S8b,
        "when a group is set to a lower count for the daemon, every node of it that is up or on \
         its way in is cordoned by us, settled and without a job, and no fewer are left than asked \
         for; none of its nodes is released while a victim of the call is being terminated",
    ),
    (Rule::S9, "a node leaving for the daemon is the instance that bore the name at the cordon"),
    (Rule::S10, "no asked id bears the tag or is named in the policy as protected"),
    (
        Rule::S11,
        "every request was written before it was sent, with an action and a charge for each id",
    ),
    (Rule::S12, "no delete call while somebody else holds the lease"),
    (Rule::S13, "a delete call comes within max_look_age after the tick's first read began"),
    (Rule::S14, "no delete call while the pause file is there or an operator paused in the ledger"),
    (Rule::S15, "observe mode calls neither cordon nor release nor delete"),
    (
        Rule::S16,
        "no delete call while software is updated or a rival autoscaler is on; none while a \
         classic cluster runs an operation; none in a group with an arriving node",
    ),
    (
        Rule::S17,
        "the daemon resumes only its own cordons and cordons no drained node; it never resumes a \
         node that is being deleted for it, nor one that was asked without an answer within 15 \
         minutes; at the end every cordon of ours on a living node has an open action",
    ),
    (Rule::S19, "every node that was there through two whole ticks has a verdict in the ledger"),
    (
        Rule::S20,
        "nothing is deleted that was cordoned, nor marked on what was seen, before a tick at which \
         the clocks had parted by more than the tolerance since the tick or start before",
    ),
    (
        Rule::L1,
        "without faults, a group with an idle, unprotected, grown-up node above floor, headroom and \
         budgets, and no queue, marks one within the idle timer and a few ticks",
    ),
    (Rule::L2, "no living node bears our cordon for longer than three hours without leaving"),
    (Rule::L3, "a cordon that was there when the daemon was killed is gone two hours later"),
];

/// What is not checked, and why.
pub const NOT_CHECKED: &[(&str, &str)] = &[
    (
        "S1'",
        "worlds without a scheduler are not generated: jobs lost there are counted, not denied",
    ),
    ("S12", "beyond the lease: the world has one daemon at a time, and no frozen process thaws"),
    ("S17", "whose release orders the port ignored: the world's log has effects, not orders"),
    ("S18", "a policy cannot be reloaded while a driver lives"),
    ("S19", "that `explain` can be reproduced: only that there is a verdict"),
    ("L4", "the watchdog is the binary's"),
];

/// A rule was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// Which.
    pub rule: Rule,
    /// When, by the world's time.
    pub at: Time,
    /// What happened, with ids and numbers.
    pub what: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {}: {}", self.rule, self.at, self.what)
    }
}

/// What an operator did, which the world's log does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// Ended a freeze.
    Thaws,
    /// Paused in the ledger.
    Pauses,
    /// Resumed in the ledger.
    Resumes,
}

/// Whether the daemon may act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It may.
    Enforce,
    /// It may not.
    Observe,
}

/// A cordon of ours, by its action.
#[derive(Debug, Clone)]
struct Cordoned {
    /// The instance that bore the name then.
    node: Option<InstanceId>,
    /// The tick in which it was put on.
    at: Time,
}

/// Lines of the log that are kept for the first breach.
const TAIL: usize = 160;
/// More breaches than this tell nothing new.
const BREACHES: usize = 100;

/// Holds a daemon to the contract.
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
    /// A read that has begun, and when it looks.
    pending: Option<(trimtab_simulator::log::Call, Time)>,
    /// The call that is acting now, and when.
    acting: Option<(trimtab_simulator::log::Call, Time)>,
    /// When a fault last began or ended.
    fault_at: Option<Time>,
    frozen: bool,
    paused: bool,
    cordoned: BTreeMap<ActionId, Cordoned>,
    /// A group that is being set to a lower count now, and how many stay.
    shrinking: Option<(GroupName, u32)>,
    /// Groups that were set to a lower count, and those who go for it.
    shrunk: BTreeMap<GroupName, BTreeSet<InstanceId>>,
    /// Idle nodes of each group at each read.
    idle: BTreeMap<GroupName, VecDeque<(Time, u32)>>,
    marks: BTreeMap<GroupName, u32>,
    last_bad_read: Option<Time>,
    /// Wall less monotonic clock at the tick before.
    skew: Option<Span>,
    /// Cordons from before this are void.
    void_before: Option<Time>,
    progress: Progress,
    floors: BTreeMap<(GroupName, i64), u32>,
    /// Wall clock less true time, from each instant on.
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
    /// For a world that has not begun to move. `call_time` is what each port
    /// call takes.
    ///
    /// # Panics
    /// When the world does not list its nodes.
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

    /// Takes in what happened since the last time, up to the end of a tick.
    pub fn see(&mut self, entries: &[LogEntry]) {
        for entry in entries {
            self.look_at(entry);
        }
        self.end_read();
    }

    /// An operator did something that the world's log does not say.
    pub fn operator(&mut self, did: Operator) {
        match did {
            Operator::Thaws => self.frozen = false,
            Operator::Pauses => self.paused = true,
            Operator::Resumes => self.paused = false,
        }
    }

    /// Whether the daemon told that it froze, and nobody has cleared it.
    pub fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// What was found so far.
    pub fn breaches(&self) -> &[Breach] {
        &self.breaches
    }

    /// The log before the first breach.
    pub fn tail(&self) -> &[String] {
        self.first_tail.as_deref().unwrap_or(&[])
    }

    /// How often each fault happened.
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

    /// What the daemon's wall clock shows at a time of the world.
    fn wall(&self, at: Time) -> Time {
        let after = self.offsets.partition_point(|(since, _)| *since <= at);
        let offset = after.checked_sub(1).map_or(Span::ZERO, |i| self.offsets[i].1);
        at + offset
    }
}
