//! Text for operators must not look like code. These tests render every variant of every status,
//! reason, answer and notice.

use trimtab_core::action::{Answer, End, Evidence, Notice, OwnCordon, ReleaseReason, Work};
use trimtab_core::audit::{Rule, Violation};
use trimtab_core::backoff::{Backoff, Refusal};
use trimtab_core::history::{Freeze, FreezeReason, MassTurn, Stop};
use trimtab_core::ids::{ActionId, InstanceId, JobId, LedgerId, NodeName, RequestId};
use trimtab_core::plan::{Bound, Doubt, Impairment, KeepReason, Usage, Verdict};
use trimtab_core::reads::{
    Capacity, Claim, ClusterStatus, InstanceStatus, JoinDoubt, JoinKey, Role,
};
use trimtab_core::snapshot::{GroupFreeze, ListingFault, NameDoubt, WorkloadSource};
use trimtab_core::units::{NodeCount, Share, Span, Time, Usd, UsdPerHour};
use trimtab_daemon::driver::TickError;
use trimtab_daemon::ports::{DeleteOutcome, LedgerError, Notification, ReadError, Ring};

/// Names from AWS and Slurm that operators know. They are written unchanged.
const NAMES: [&str; 6] =
    ["AutoScaling", "CurrentCount", "EnforcePartLimits", "HyperPod", "InService", "SageMaker"];

/// Prefixes of API operation names, which are written unchanged too.
const OPERATIONS: [&str; 4] =
    ["BatchDeleteCluster", "DescribeCluster", "ListCluster", "UpdateCluster"];

/// Returns why this text looks like code, if it does.
fn objection(text: &str) -> Option<&'static str> {
    if text.trim().is_empty() {
        return Some("is empty");
    }
    if text.contains(['{', '}']) || text.contains("::") || text.contains("Some(") {
        return Some("has brackets or paths of the code");
    }
    let is_hump = |pair: &[u8]| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase();
    let is_known = |word: &str| {
        NAMES.contains(&word) || OPERATIONS.iter().any(|begin| word.starts_with(begin))
    };
    let is_camel = |word: &&str| word.as_bytes().windows(2).any(is_hump) && !is_known(word);
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words.filter(|word| !word.is_empty()).find(is_camel).map(|_| "has the name of a variant")
}

/// Renders one value of each variant and fails if the text looks like code. If a variant is not
/// listed, the test does not compile.
macro_rules! every {
    ($type:ident, $render:expr; $($variant:ident
        $(($($field:expr),+))? $({ $($name:ident: $value:expr),+ $(,)? })?),+ $(,)?) => {{
        let is_listed = |value: &$type| match value { $($type::$variant { .. } => ()),+ };
        $(
            let value = $type::$variant $(($($field),+))? $({ $($name: $value),+ })?;
            is_listed(&value);
            let render: fn($type) -> String = $render;
            let text = render(value);
            let variant = stringify!($variant);
            let is_variant = text.split(' ').any(|word| word == variant);
            let objected = objection(&text).or(is_variant.then_some("names the variant"));
            assert_eq!(objected, None, "{}::{variant}: {text}", stringify!($type));
        )+
    }};
    ($type:ident; $($rest:tt)+) => { every!($type, |value| value.to_string(); $($rest)+) };
}

fn node() -> InstanceId {
    InstanceId::from_number(7)
}

fn name(text: &str) -> NodeName {
    text.parse().expect("a name")
}

fn job() -> JobId {
    "12".parse().expect("a job")
}

fn ledger() -> LedgerId {
    "00000000-0000-4000-8000-000000000001".parse().expect("a ledger")
}

fn join_doubt() -> JoinDoubt {
    JoinDoubt { one: (JoinKey::Record, name("a")), other: (JoinKey::Address, name("b")) }
}

fn backoff() -> Backoff {
    Backoff {
        cause: Refusal::Denied,
        why: "no".into(),
        at: Time(0),
        until: Time(60_000),
        refused: 2,
    }
}

fn lost_ledger() -> LedgerError {
    LedgerError { path: "/var/lib/ledger.db".into(), what: "cannot be read", source: "why".into() }
}

fn freeze_reason() -> FreezeReason {
    FreezeReason::MassChange { turned: MassTurn::Idle, changed: NodeCount(5), of: NodeCount(8) }
}

fn evidence() -> Evidence {
    Evidence {
        idle_since: Time(0),
        surplus: NodeCount(2),
        tau: Span::mins(20),
        price: UsdPerHour(3_000_000),
        boot_cost: Usd::from_dollars(2.0),
        remainder: Some(NodeCount(1)),
    }
}

#[test]
fn the_test_knows_debug_output_when_it_sees_it() {
    for wrong in ["", " ", "OnDemand capacity", "Refused { why }", "Some(3)", "it is Span::ZERO"] {
        assert!(objection(wrong).is_some(), "{wrong}");
    }
    for right in ["on-demand capacity", "HyperPod is recovering it", "i-00000000000000007: gone"] {
        assert_eq!(objection(right), None, "{right}");
    }
}

#[test]
fn statuses_are_words() {
    every!(ClusterStatus; InService, Creating, Updating, SystemUpdating, RollingBack, Deleting,
        Failed, Unrecognised("odd".into()));
    every!(InstanceStatus; Running, Pending, Failure, ShuttingDown, SystemUpdating,
        DeepHealthCheck, Unrecognised("odd".into()));
    every!(Role; Worker, Login, Controller);
    every!(Capacity; OnDemand, Spot, TrainingPlan, Reserved);
    every!(OwnCordon; Ours, Clear, NotOurs, Unread);
    every!(Work; None, Claimed(Claim::Planned), Active, Unread);
    every!(Ring; Schedule, Deadline, Backstop, Stop);
    every!(JoinKey; Rule, Record, DnsName, Address);
}

#[test]
fn ends_and_answers_are_words() {
    every!(Answer; Accepted, Failed { code: "code".into() }, Refused { why: "why".into() },
        NoAnswer);
    every!(End; Gone, Released(ReleaseReason::Floor), CordonLost, Replaced);
    every!(ReleaseReason; Claimed(Claim::Reserved), Active,
        StatusChanged(InstanceStatus::ShuttingDown), Vanished, Demand, Floor,
        Vetoed("why".into()), Paused, Restarted, TimedOut, RefusedByApi("why".into()), NeverLeft,
        NotPicked);
    every!(DeleteOutcome;
        Answered { accepted: vec![node()], failed: vec![(node(), "code".into())] },
        Refused { cause: Refusal::NotSent, why: "why".into() },
        NoAnswer { why: "why".into() });
    every!(Refusal; Conflict, Throttled, Denied, ExpiredCredentials, NotFound, NotSent, Unknown);
    every!(ReadError; Throttled("aws".into()), NoAnswer("aws".into()), Refused("why".into()),
        Denied("why".into()), Elsewhere("why".into()), Unreadable("why".into()));
    every!(TickError; Ledger(lost_ledger()), NoLease { why: "why".into() });
}

#[test]
fn reasons_are_words() {
    every!(KeepReason;
        Stopped(Stop::Paused { why: "why".into() }),
        Frozen(Freeze { at: Time(0), why: freeze_reason() }),
        BackedOff(backoff()),
        ClusterUnread,
        ListingLost(ListingFault::PagesMissing),
        WorkloadUnread(WorkloadSource::Empty),
        ClusterNotReady(ClusterStatus::RollingBack),
        SoftwareUpdate,
        RivalAutoscaler,
        RecoveryUnderWay,
        GroupNotNamed,
        ControlRole(Role::Login),
        GroupFrozen(GroupFreeze::Scaling { current: NodeCount(2), target: NodeCount(3) }),
        GroupNotCalm,
        PriceUnknown,
        BootUnknown,
        PaidAnyway(Capacity::TrainingPlan),
        CapacityContradicts { declared: Capacity::OnDemand, seen: Capacity::TrainingPlan },
        ScarceCapacity,
        NodeLocalDataUndeclared,
        LargestJobUndeclared,
        ShuttingDown,
        Impaired(Impairment::Failed),
        Arriving(InstanceStatus::DeepHealthCheck),
        Unknown(Doubt::SchedulerLost),
        Busy(Claim::Planned),
        Active(Usage {
            utilization: Share::ALL,
            memory: Share::ALL,
            idle_below: Share::ALL,
            memory_below: Share::ALL
        }),
        Protected,
        CoolingDown { until: Time(0) },
        TooYoung { until: Time(0) },
        RecentlyBusy { until: Time(0) },
        WindowOpen { covered_since: None, tau: Span::mins(5) },
        Enough(Bound::Surplus));
    every!(Verdict; Keep(KeepReason::Protected), Mark(evidence()),
        Leaving { state: "asked".into() }, Release(ReleaseReason::Demand));
    every!(Bound; Surplus, Floor, ClusterFloor, RequestBudget, HourBudget, DayBudget,
        LeavingBudget, Candidates, WholeGroup);
    every!(Stop; Paused { why: "why".into() }, SwitchUnreadable { why: "why".into() },
        NoLease { why: "why".into() }, ForeignCordons { ledger: ledger() });
    every!(Rule; Current, ClusterCalm, GroupCalm, WorthIt, SameNode, Evidence, LeftAlone, Surplus,
        Floor, Budget, MassChange, Demand, Revocable, Gate, BackedOff, WholeGroup, Counts);
    let violation = Violation { subject: node().to_string(), rule: Rule::SameNode };
    assert_eq!(objection(&violation.to_string()), None);
}

#[test]
fn parts_of_reasons_are_words() {
    every!(Claim; Running(job()), Completing(job()), Suspended(job()), Configuring(job()),
        Planned, Reserved, Unrecognised("odd".into()));
    every!(ListingFault; Failed { why: "why".into() }, PagesMissing, Duplicate { id: node() },
        GroupNotDescribed { group: "gpu".parse().expect("a group") },
        Empty { counted: NodeCount(3) });
    every!(NameDoubt; Either(join_doubt()), Shared { name: name("a") });
    every!(Impairment, |value| KeepReason::Impaired(value).to_string();
        Failed, Down, InRecovery, Drained("why".into()), StrayCordon);
    every!(Doubt, |value| KeepReason::Unknown(value).to_string();
        SchedulerLost, SchedulerStale, SchedulerPartial, Name(NameDoubt::Either(join_doubt())),
        MetricsAbsent, MetricsStale, MetricsPartial, StatusUnrecognised("odd".into()),
        DetailsUnread);
    every!(InstanceStatus, |value| KeepReason::Arriving(value).to_string();
        Running, Pending, Failure, ShuttingDown, SystemUpdating, DeepHealthCheck,
        Unrecognised("odd".into()));
    every!(WorkloadSource, |value| KeepReason::WorkloadUnread(value).to_string();
        NotConfigured, Complete, Failed { why: "why".into() }, Empty);
    every!(GroupFreeze, |value| KeepReason::GroupFrozen(value).to_string();
        CountsDisagree { listed: NodeCount(1), current: NodeCount(2) },
        Scaling { current: NodeCount(1), target: NodeCount(2) });
    every!(FreezeReason;
        MassChange { turned: MassTurn::Idle, changed: NodeCount(5), of: NodeCount(8) });
    every!(MassTurn,
        |turned| FreezeReason::MassChange {
            turned,
            changed: NodeCount(5),
            of: NodeCount(8),
        }.to_string();
        Idle, Unknown, Gone, Marked);
}

#[test]
fn notices_are_words() {
    every!(Notification;
        Action { action: ActionId(1), node: node(), notice: Notice::CordonLost },
        Frozen { why: freeze_reason() },
        GroupFrozenLong {
            group: "gpu".parse().expect("a group"),
            for_how_long: Span::hours(1),
        },
        PlanRefused { violations: vec!["why".to_owned()] },
        ForeignCordons { ledger: ledger() },
        Refused { request: RequestId(1), backoff: backoff() },
        ProbablyNeverPatched { request: RequestId(1), created: Time(0) });
    every!(Notice,
        |notice| Notification::Action { action: ActionId(1), node: node(), notice }.to_string();
        CordonLost, DeletionOverdue, ReleaseOverdue);
}
