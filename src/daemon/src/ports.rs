//! Everything the daemon needs from outside, in our own words.
//!
//! An implementation talks to AWS, to Slurm, or to the simulated world; the
//! tick cannot tell which. Reads fail with [`ReadError`]. A call that changes
//! something ends in one of three ways (done, refused, no answer), and each is
//! a value: the third is never mistaken for one of the others.
//!
//! A world that only observes is wired without [`Writers`].

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use trimtab_core::action::{ActionState, Event, Notice};
use trimtab_core::audit::{Cleared, ClearedBatch, ClearedGroup};
use trimtab_core::backoff::Backoff;
pub use trimtab_core::backoff::Refusal;
use trimtab_core::history::{Charge, Freeze, FreezeReason, History, OpenAction};
use trimtab_core::ids::{
    ActionId, ClusterName, GroupName, InstanceId, LedgerId, NodeName, RequestId, TickId,
};
use trimtab_core::plan::{GroupFigures, NodeVerdict};
use trimtab_core::policy::{Capacity, UtilizationRule};
use trimtab_core::rule::GroupState;
use trimtab_core::snapshot::{
    Activity, ClusterDescription, InstanceStatus, NodeListing, Reading, Workload,
};
use trimtab_core::units::{NodeCount, Span, Time, UsdPerHour};

/// Why something could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The service asked us to slow down.
    #[error("throttled by {0}")]
    Throttled(Arc<str>),
    /// No answer in time.
    #[error("no answer from {0}")]
    NoAnswer(Arc<str>),
    /// The service said no.
    #[error("refused: {0}")]
    Refused(Arc<str>),
    /// The service says that we may not.
    #[error("denied: {0}")]
    Denied(Arc<str>),
    /// It is not where the configuration says it is.
    #[error("{0}")]
    Elsewhere(Arc<str>),
    /// The answer made no sense.
    #[error("unreadable answer: {0}")]
    Unreadable(Arc<str>),
}

/// Reads clusters, groups and nodes.
#[async_trait]
pub trait ClusterRead: Send + Sync {
    /// The cluster and its groups (DescribeCluster).
    async fn describe(&self, cluster: &ClusterName) -> Result<ClusterDescription, ReadError>;

    /// The same, asked right before a call for a whole group. It must be a call
    /// that begins now: an implementation that keeps answers for a while, or
    /// shares one that is under way, must not do so here.
    async fn recount(&self, cluster: &ClusterName) -> Result<ClusterDescription, ReadError> {
        self.describe(cluster).await
    }

    /// All nodes, all pages (ListClusterNodes).
    async fn list_nodes(&self, cluster: &ClusterName) -> Result<NodeListing, ReadError>;

    /// One node by its id (DescribeClusterNode); `None` if there is none.
    async fn describe_node(
        &self,
        cluster: &ClusterName,
        node: InstanceId,
    ) -> Result<Option<InstanceStatus>, ReadError>;

    /// What only each node's own description shows (DescribeClusterNode, one
    /// call a node). It never changes in an instance's life, so an
    /// implementation keeps what it was told for as long as it lives, and asking
    /// again for the same instance costs no call. A node that is missing in the
    /// answer could not be read this time.
    ///
    /// # Errors
    /// When none of them could be read.
    async fn details(
        &self,
        cluster: &ClusterName,
        nodes: &[InstanceId],
    ) -> Result<BTreeMap<InstanceId, NodeDetails>, ReadError>;
}

/// What only a node's own description shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeDetails {
    /// How it is paid for; `None` where the API shows none.
    pub capacity: Option<Capacity>,
    /// Its address in the customer's network.
    pub ip: Option<IpAddr>,
}

/// How a delete request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// HTTP 200: a word on every node. A node without one counts as unanswered.
    Answered {
        /// Nodes that are being deleted.
        accepted: Vec<InstanceId>,
        /// Nodes that are not, with the API's code.
        failed: Vec<(InstanceId, Arc<str>)>,
    },
    /// The whole request was refused, for sure without having acted.
    Refused {
        /// Which kind of refusal it is, as far as the answer proves it.
        cause: Refusal,
        /// What the API said.
        why: Arc<str>,
    },
    /// No answer, or one that leaves open whether it acted.
    NoAnswer {
        /// What happened instead.
        why: Arc<str>,
    },
}

impl DeleteOutcome {
    /// Nothing left: the look behind the request is too old by now.
    pub fn too_late() -> Self {
        let why = "not sent: the look behind it had grown too old".into();
        Self::Refused { cause: Refusal::NotSent, why }
    }
}

/// Deletes nodes. The only way to end a node's life in this program.
#[async_trait]
pub trait ClusterWrite: Send + Sync {
    /// Sends the request (BatchDeleteClusterNodes) once, without retry. The look behind it
    /// is good for `within` from now: after that nothing may leave any more.
    async fn delete_nodes(&self, request: &ClearedBatch, within: Span) -> DeleteOutcome;

    /// Sets the group to the cleared count (UpdateCluster) once, without retry, `within` as for named nodes.
    /// Every other member of the group is sent as it is; where that cannot be
    /// done for sure, nothing is sent and the call is refused as
    /// [`Refusal::Unknown`], so that an operator is told.
    ///
    /// The API accepts a count and picks the nodes by itself, so an answer that
    /// accepts is `Answered` with every node of the group accepted, and none
    /// failed: each of them may go.
    async fn shrink_group(&self, cleared: &ClearedGroup, within: Span) -> DeleteOutcome;
}

/// Reads the scheduler: nodes, claims, cordons, queue.
#[async_trait]
pub trait WorkloadRead: Send + Sync {
    /// Everything about one cluster's scheduler.
    async fn read(&self, cluster: &ClusterName) -> Result<Workload, ReadError>;
}

/// A node to cordon or to release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CordonOrder {
    /// The scheduler's name for it.
    pub name: NodeName,
    /// The action it is for, part of the reason.
    pub action: ActionId,
}

/// Keeps new jobs off nodes, and takes that back. Running jobs go on.
#[async_trait]
pub trait Cordon: Send + Sync {
    /// Drains these nodes with our reason, several in one call. A node that
    /// somebody else has drained is left as it is.
    async fn cordon(
        &self,
        cluster: &ClusterName,
        ledger: &LedgerId,
        orders: &[CordonOrder],
    ) -> Result<(), ReadError>;

    /// Takes exactly these cordons off; a node whose reason is another one, or
    /// none, is left as it is.
    async fn release(
        &self,
        cluster: &ClusterName,
        ledger: &LedgerId,
        orders: &[CordonOrder],
    ) -> Result<(), ReadError>;
}

/// A node whose metrics are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsQuery {
    /// The node.
    pub node: InstanceId,
    /// Its group.
    pub group: GroupName,
    /// The scheduler's name for it.
    pub name: Option<NodeName>,
    /// Devices (GPUs, accelerators) it must show where a metric is of each device.
    pub devices: u32,
    /// The window and period that the group's rule wants.
    pub rule: UtilizationRule,
}

/// What metrics say, and what asking took.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MetricsAnswer {
    /// The highest utilization and memory in use of each node over its window, with the
    /// datapoints' own stamps. A node that is missing here has no metrics.
    pub activity: BTreeMap<InstanceId, Reading<Activity>>,
    /// Metrics requested, as CloudWatch bills them.
    pub metrics: u64,
    /// Calls made, of any kind.
    pub calls: u64,
}

/// Reads what nodes' metrics say.
#[async_trait]
pub trait Utilization: Send + Sync {
    /// Reads these nodes' metrics as they are at `now`, datapoints no older than
    /// `fresh_for`.
    async fn read(
        &self,
        cluster: &ClusterName,
        queries: &[MetricsQuery],
        now: Time,
        fresh_for: Span,
    ) -> Result<MetricsAnswer, ReadError>;

    /// Metrics that asking for one node of this group requests. 0 where asking costs
    /// nothing.
    fn metrics_per_node(&self, cluster: &ClusterName, group: &GroupName, devices: u32) -> u64;
}

/// What a node costs where the policy does not say.
pub trait Prices: Send + Sync {
    /// The price of a node of this group; `None` if it is not known.
    fn price(&self, cluster: &ClusterName, group: &GroupName) -> Option<UsdPerHour>;
}

/// The two clocks of a machine.
pub trait Clock: Send + Sync {
    /// The wall clock: for windows, stamps and the ledger.
    fn now(&self) -> Time;

    /// A clock that never steps: for durations only.
    fn monotonic(&self) -> Span;
}

/// Why the loop woke up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ring {
    /// The schedule says so.
    Schedule,
    /// An open action's deadline has come.
    Deadline,
    /// Neither rang for too long.
    Backstop,
    /// The program is to stop.
    Stop,
}

/// What the loop sleeps on.
#[async_trait]
pub trait Doorbell: Send {
    /// Sleeps until the schedule, this deadline or a stop.
    async fn next(&mut self, deadline: Option<Time>) -> Ring;
}

#[async_trait]
impl<D: Doorbell + ?Sized> Doorbell for Box<D> {
    async fn next(&mut self, deadline: Option<Time>) -> Ring {
        (**self).next(deadline).await
    }
}

/// Whether an operator lets us act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Switch {
    /// Nobody says no.
    On,
    /// Somebody does.
    Paused {
        /// By what and why.
        why: Arc<str>,
    },
}

/// Reads the pause file. The ledger's own switch is read beside it.
pub trait Switches: Send + Sync {
    /// Whether we may act in this cluster.
    ///
    /// # Errors
    /// When it cannot be told; that stops, too.
    fn read(&self, cluster: &ClusterName) -> Result<Switch, ReadError>;
}

/// Holding of the right to be the one that acts.
pub trait Lease: Send + Sync {
    /// Whether we hold it now with enough time left, and its generation.
    ///
    /// # Errors
    /// Why not.
    fn hold(&self) -> Result<u64, ReadError>;
}

/// Nodes of one group that somebody outside is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Whose nodes they are.
    pub cluster: ClusterName,
    /// Their group.
    pub group: GroupName,
    /// Our ledger, in which the actions are.
    pub ledger: LedgerId,
    /// When it is asked.
    pub at: Time,
    /// The nodes: settled, and looked at clean.
    pub nodes: Vec<QuestionedNode>,
}

/// A node that somebody outside is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuestionedNode {
    /// The node.
    pub id: InstanceId,
    /// The scheduler's name for it.
    pub name: Option<NodeName>,
    /// Its address in the customer's network, if it was read.
    pub ip: Option<IpAddr>,
    /// The action that is to delete it.
    pub action: ActionId,
}

/// How a question stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InquiryState {
    /// There is no answer yet.
    Open,
    /// It is answered. A node that no veto names may go.
    Answered {
        /// When the answer was there.
        at: Time,
        /// The nodes that may not go, and why not.
        vetoes: BTreeMap<InstanceId, Arc<str>>,
    },
}

/// Somebody outside who is asked before nodes are deleted, after they settled: a
/// program that saves what is on their disks, or one that looks for people on them.
///
/// Nothing here waits: an answer may take many ticks.
pub trait Gate: Send + Sync {
    /// Begins to ask whether these nodes may go. What goes wrong, at the start or
    /// later, is an answer, too: a veto.
    fn ask(&self, question: Question) -> Box<dyn Inquiry>;
}

/// A question under way. To drop it is to withdraw it: what was begun for it is
/// ended.
pub trait Inquiry: Send + Sync {
    /// How it stands now. Once answered, always the same.
    fn state(&self) -> InquiryState;

    /// When it will be answered at the latest: no answer by then is a veto.
    fn deadline(&self) -> Time;
}

/// Something an operator should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notification {
    /// About one action.
    Action {
        /// The action.
        action: ActionId,
        /// Its node.
        node: InstanceId,
        /// What.
        notice: Notice,
    },
    /// The cluster froze until an operator clears it.
    Frozen {
        /// Why.
        why: FreezeReason,
    },
    /// A group has been frozen by its counts or a scaling for too long.
    GroupFrozenLong {
        /// The group.
        group: GroupName,
        /// For how long.
        for_how_long: Span,
    },
    /// The audit refused a plan: a bug of ours.
    PlanRefused {
        /// What it found.
        violations: Vec<String>,
    },
    /// Cordons of another trimtab are here.
    ForeignCordons {
        /// Its ledger.
        ledger: LedgerId,
    },
    /// A request was refused for something that only an operator can change, or
    /// that nobody understands.
    Refused {
        /// The request.
        request: RequestId,
        /// Why, how often, and until when the cluster is left alone.
        backoff: Backoff,
    },
    /// Every id of a request was refused in an old cluster in which none was
    /// ever accepted: by the API's documentation it has to be patched once.
    ProbablyNeverPatched {
        /// The request.
        request: RequestId,
        /// When the cluster was created.
        created: Time,
    },
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Action { action, node, notice } => {
                let what = match notice {
                    Notice::CordonLost => "somebody took our cordon away; it is left alone",
                    Notice::DeletionOverdue => "its deletion was accepted and has not finished",
                    Notice::ReleaseOverdue => "it could not be released to the scheduler",
                };
                write!(f, "action {action}, node {node}: {what}")
            }
            Self::Frozen { why } => {
                write!(f, "frozen until `trimtab resume --clear-freeze`: {why}")
            }
            Self::GroupFrozenLong { group, for_how_long } => {
                write!(f, "group {group} has been frozen by its counts for {for_how_long}")
            }
            Self::PlanRefused { violations } => {
                write!(f, "the audit refused the plan, nothing was done: {}", violations.join("; "))
            }
            Self::ForeignCordons { ledger } => {
                write!(f, "nodes bear cordons of another trimtab, ledger {ledger}; nothing is done")
            }
            Self::Refused { request, backoff } => write!(f, "request {request}: {backoff}"),
            Self::ProbablyNeverPatched { request, created } => write!(
                f,
                "request {request} was refused for every node. The cluster was created at {created}, \
                 and one from before 2024-06-20 deletes nodes by id only once its software was \
                 updated, so it was probably never patched. UpdateClusterSoftware is an operator's \
                 step, never trimtab's: it takes 30 to 60 minutes or more and interrupts jobs"
            ),
        }
    }
}

/// Tells an operator. Never on the critical path: it may not fail.
pub trait Notifier: Send + Sync {
    /// Passes a notification on.
    fn notify(&self, cluster: &ClusterName, at: Time, notification: &Notification);
}

/// The ports that change something. Observe mode has none.
pub struct Writers {
    /// Deletes nodes.
    pub cluster: Arc<dyn ClusterWrite>,
    /// Cordons nodes; `None` where there is no scheduler.
    pub cordon: Option<Arc<dyn Cordon>>,
}

/// All ports of one daemon.
pub struct Ports {
    /// Reads clusters.
    pub cluster: Arc<dyn ClusterRead>,
    /// Reads the scheduler; `None` where there is none.
    pub workload: Option<Arc<dyn WorkloadRead>>,
    /// Reads metrics; `None` where the policy asks for none.
    pub utilization: Option<Arc<dyn Utilization>>,
    /// Prices of groups whose policy names none; `None` where nobody knows.
    pub prices: Option<Arc<dyn Prices>>,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// The pause file.
    pub switches: Arc<dyn Switches>,
    /// The lease.
    pub lease: Arc<dyn Lease>,
    /// Who is asked about nodes of groups whose `node_local_data` says so. Without
    /// one, nothing of these groups is deleted.
    pub gate: Option<Arc<dyn Gate>>,
    /// Who is asked about every node, last of all, if anybody is.
    pub on_node_check: Option<Arc<dyn Gate>>,
    /// Tells people.
    pub notifier: Arc<dyn Notifier>,
    /// Changes things; `None` in observe mode.
    pub writers: Option<Writers>,
}

/// Why the ledger could not do something. Nothing may change in the world
/// when an intent could not be written.
#[derive(Debug, thiserror::Error)]
#[error("ledger {path}: {what}: {why}")]
pub struct LedgerError {
    /// The ledger's file.
    pub path: String,
    /// What was being done.
    pub what: &'static str,
    /// What went wrong.
    pub why: String,
}

/// What one tick saw, committed before anything is planned from it.
#[derive(Debug, Clone, Copy)]
pub struct Observation<'a> {
    /// The cluster.
    pub cluster: &'a ClusterName,
    /// When the snapshot was taken.
    pub at: Time,
    /// When its first read began.
    pub begun_at: Time,
    /// Why the loop woke up.
    pub ring: Ring,
    /// Why this was not a sample, if it was not.
    pub gap: Option<&'a str>,
    /// The groups' states with this tick folded in.
    pub groups: &'a BTreeMap<GroupName, GroupState>,
    /// A freeze that begins now.
    pub freeze: Option<&'a Freeze>,
}

/// What one tick decided, committed before anything is done about it.
#[derive(Debug, Clone, Copy)]
pub struct Decision<'a> {
    /// The tick it belongs to.
    pub tick: TickId,
    /// The cluster.
    pub cluster: &'a ClusterName,
    /// When.
    pub at: Time,
    /// A word on every node.
    pub verdicts: &'a [NodeVerdict],
    /// The numbers behind them.
    pub figures: &'a BTreeMap<GroupName, GroupFigures>,
    /// A freeze that begins now.
    pub freeze: Option<&'a Freeze>,
    /// Intents: actions that begin now, in the state they begin in.
    pub opened: &'a [OpenAction],
    /// Steps of open actions, these new ones included.
    pub transitions: &'a [Transition],
}

/// One step of one action.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// The action.
    pub action: ActionId,
    /// Its node.
    pub node: InstanceId,
    /// What happened.
    pub event: Event,
    /// The state after it.
    pub state: ActionState,
}

/// A delete request about to be sent.
#[derive(Debug, Clone, Copy)]
pub struct RequestRecord<'a> {
    /// The request.
    pub request: &'a Cleared,
    /// One charge for each node that goes. Nobody knows which these are in a
    /// call for a whole group, so there the first so many of its nodes stand for
    /// them.
    pub charges: &'a [Charge],
}

/// What an operator's switch in the ledger says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchEntry {
    /// When it was set.
    pub at: Time,
    /// `None` for every cluster.
    pub cluster: Option<ClusterName>,
    /// On or paused.
    pub switch: Switch,
}

/// The durable memory: intents before acts, outcomes after, and everything
/// that `explain`, `history` and a restart need. Every method is one
/// transaction, durable when it returns, and synchronous.
pub trait Ledger: Send + Sync {
    /// The ledger's id, part of every cordon's reason.
    fn id(&self) -> LedgerId;

    /// What is known of a cluster from before `now`: folded samples and
    /// members, open actions, charges, cool-downs, a freeze. A window whose
    /// last sample lies more than `max_gap` before `now` is ended.
    fn load(&self, cluster: &ClusterName, now: Time, max_gap: Span)
    -> Result<History, LedgerError>;

    /// Ids for so many new actions: the first of a row that is never used again.
    fn reserve_actions(&self, count: NodeCount) -> Result<ActionId, LedgerError>;

    /// An id for a new request.
    fn reserve_request(&self) -> Result<RequestId, LedgerError>;

    /// Writes what was seen, and makes the tick's row.
    fn record_observation(&self, observation: &Observation<'_>) -> Result<TickId, LedgerError>;

    /// Writes what was decided.
    fn record_decision(&self, decision: &Decision<'_>) -> Result<(), LedgerError>;

    /// Writes steps of open actions; with `request`, the request and its
    /// charges in the same transaction.
    fn record_transitions(
        &self,
        cluster: &ClusterName,
        transitions: &[Transition],
        request: Option<RequestRecord<'_>>,
    ) -> Result<(), LedgerError>;

    /// Writes how a request ended.
    fn record_outcome(
        &self,
        request: RequestId,
        at: Time,
        outcome: &DeleteOutcome,
        transitions: &[Transition],
    ) -> Result<(), LedgerError>;

    /// Leaves a node alone until then.
    fn record_cooldown(
        &self,
        cluster: &ClusterName,
        node: InstanceId,
        until: Time,
    ) -> Result<(), LedgerError>;

    /// The operator's switch for a cluster, as it stands now.
    fn read_switch(&self, cluster: &ClusterName) -> Result<Switch, LedgerError>;

    /// Whether the freeze with this start was cleared by an operator meanwhile.
    fn freeze_cleared(&self, cluster: &ClusterName, since: Time) -> Result<bool, LedgerError>;
}
