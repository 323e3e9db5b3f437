//! Every reason to keep a node, each in the smallest world that produces it.
//!
//! [`REASONS`] lists them. [`name_of`] has no wildcard arm, so a new reason does not compile until
//! its world is added here.

use std::collections::BTreeSet;
use std::fmt::Write;

use trimtab_core::eligibility::cluster_objection;
use trimtab_core::history::Stop;
use trimtab_core::ids::InstanceId;
use trimtab_core::plan::{Bound, Doubt, Impairment, KeepReason, Verdict};
use trimtab_core::reads::Role;
use trimtab_core::snapshot::{GroupFreeze, ListingFault, NameDoubt, WorkloadSource};

use super::{compare_text, report, script};

/// Each reason with its world, in the order in which the planner checks them.
const REASONS: [(&str, &str); 70] = [
    ("stopped, paused", "node n1 idle; stop paused for the upgrade"),
    ("stopped, switch", "node n1 idle; stop switch-unreadable permission denied"),
    ("stopped, lease", "node n1 idle; stop no-lease host-b holds it"),
    ("stopped, foreign cordons", "node n1 idle; stop foreign-cordons 0f3a-77"),
    ("backed off", "node n1 idle; refused denied -2m"),
    ("frozen", "node n1 idle; freeze 5 8"),
    ("cluster unread", "node n1 idle; cluster unread"),
    ("listing failed", "node n1 idle; listing failed throttled"),
    ("listing, pages missing", "node n1 idle; listing pages-missing"),
    ("listing, duplicate", "node n1 idle; listing twice n1"),
    ("listing empty", "node n1 idle; listing empty"),
    ("listing, group not described", "group gone vanished; node n1 idle; node n2 idle in=gone"),
    ("scheduler not asked", "node n1 idle; scheduler not-asked"),
    ("scheduler failed", "node n1 idle; scheduler failed connection refused"),
    ("scheduler empty", "node n1 idle; scheduler empty"),
    ("cluster not ready", "node n1 idle; cluster status=Updating"),
    ("software update", "node n1 idle; cluster software-update"),
    ("rival autoscaler", "node n1 idle; cluster rival-autoscaler"),
    ("recovery under way", "node n1 idle; node n2 drained=Action:Replace; cluster classic"),
    ("group not named", "group other unnamed; node n1 idle in=other; node n2 idle"),
    ("control role", "group workers role=controller; node n1 idle"),
    ("login role", "group workers role=login; node n1 idle"),
    ("control role", "node n1 idle; scheduler runs-on n1"),
    ("counts disagree", "group workers current=3; node n1 idle"),
    ("scaling", "group workers current=1 target=3; node n1 idle"),
    ("group not calm", "group workers not-calm; node n1 idle"),
    ("capacity contradicts", "group workers shows=spot; node n1 idle"),
    ("paid anyway", "group workers capacity=reserved; node n1 idle"),
    ("price unknown", "group workers price=none; node n1 idle"),
    ("boot unknown", "group workers boot=none; node n1 idle"),
    ("scarce capacity", "group workers regain=scarce; node n1 idle"),
    ("node-local data", "group workers data=none; node n1 idle"),
    ("largest job undeclared", "node n1 idle; scheduler refuses-large-jobs"),
    ("shutting down", "node n1 idle status=ShuttingDown"),
    ("failed", "node n1 status=Failure"),
    ("in recovery", "node n1 drained=Action:Reboot"),
    ("drained", "node n1 drained=bad-fan"),
    ("stray cordon", "node n1 drained=trimtab:test-ledger:5"),
    ("down", "node n1 down"),
    ("arriving", "node n1 status=DeepHealthCheck"),
    ("not joined", "node n1 joining"),
    ("status unrecognised", "node n1 status=Melting"),
    ("scheduler lost", "node n1..n2 idle; at -4m; node n1 told=0"),
    ("scheduler stale", "node n1 idle; scheduler old 6m"),
    ("scheduler partial", "node n1 idle told=2"),
    ("either name", "node n1 idle either=n7,n8"),
    ("shared name", "node n1 idle; node n2 idle named=n1 told=0"),
    ("busy", "node n1 running 17"),
    ("protected", "node n1 idle protected"),
    ("cooling down", "node n1 idle; cooldown n1 +10m"),
    ("too young", "group workers min_age=1h; node n1 idle launched=-30m"),
    ("recently busy", "group workers grace=30m; node n1 idle"),
    ("metrics absent", "group workers metrics=5%,10m,1m; node n1 idle metrics=absent"),
    ("metrics stale", "group workers metrics=5%,10m,1m; node n1 idle metrics=stale"),
    ("metrics partial", "group workers metrics=5%,10m,1m; node n1 idle metrics=partial"),
    ("details unread", "node n1 idle details=unread"),
    ("capacity contradicts", "node n1 idle shows=spot"),
    ("active", "group workers metrics=5%,10m,1m; node n1 idle metrics=80%,2%,1h,0s"),
    ("window open", "group workers tau=30m; node n1 idle"),
    ("enough, surplus", "node n1 running 17; at -6m; node n1 idle"),
    ("enough, floor", "group workers min_nodes=1; node n1 idle"),
    ("enough, cluster floor", "cluster min_nodes=1; node n1 idle"),
    ("enough, request budget", "group workers per_request=0; node n1 idle"),
    ("enough, hour budget", "group workers per_hour=0; node n1 idle"),
    ("enough, day budget", "group workers per_day=0; node n1 idle"),
    // A node joins while all other nodes wait for one request by count.
    ("enough, whole group", "node n1..n2 idle; at -4m; action n2 settling stay=1"),
    ("enough, leaving budget", "group workers leaving=0%; node n1 idle"),
    // The planner never creates a window that ends before the first sample.
    ("window open", "node n1 idle; watched 0s"),
    // In these two worlds two reasons apply; the reason that is checked first is reported.
    ("busy", "node n1 running 17 protected"),
    ("protected", "node n1 idle protected; cooldown n1 +10m"),
];

/// Reasons that no plan can produce, and why.
const NEVER: [(&str, &str); 2] = [
    ("enough, candidates", "where this bound is met first, every candidate is marked"),
    ("scheduler complete", "a scheduler that was read whole is no reason"),
];

fn name_of(why: &KeepReason) -> &'static str {
    match why {
        KeepReason::Stopped(stop) => match stop {
            Stop::Paused { .. } => "stopped, paused",
            Stop::SwitchUnreadable { .. } => "stopped, switch",
            Stop::NoLease { .. } => "stopped, lease",
            Stop::ForeignCordons { .. } => "stopped, foreign cordons",
        },
        KeepReason::Frozen(_) => "frozen",
        KeepReason::BackedOff(_) => "backed off",
        KeepReason::ClusterUnread => "cluster unread",
        KeepReason::ListingLost(fault) => match fault {
            ListingFault::Failed { .. } => "listing failed",
            ListingFault::PagesMissing => "listing, pages missing",
            ListingFault::Duplicate { .. } => "listing, duplicate",
            ListingFault::GroupNotDescribed { .. } => "listing, group not described",
            ListingFault::Empty { .. } => "listing empty",
        },
        KeepReason::WorkloadUnread(source) => match source {
            WorkloadSource::NotConfigured => "scheduler not asked",
            WorkloadSource::Complete => "scheduler complete",
            WorkloadSource::Failed { .. } => "scheduler failed",
            WorkloadSource::Empty => "scheduler empty",
        },
        KeepReason::ClusterNotReady(_) => "cluster not ready",
        KeepReason::SoftwareUpdate => "software update",
        KeepReason::RivalAutoscaler => "rival autoscaler",
        KeepReason::RecoveryUnderWay => "recovery under way",
        KeepReason::GroupNotNamed => "group not named",
        KeepReason::ControlRole(Role::Login) => "login role",
        KeepReason::ControlRole(Role::Controller | Role::Worker) => "control role",
        KeepReason::GroupFrozen(GroupFreeze::CountsDisagree { .. }) => "counts disagree",
        KeepReason::GroupFrozen(GroupFreeze::Scaling { .. }) => "scaling",
        KeepReason::GroupNotCalm => "group not calm",
        KeepReason::PriceUnknown => "price unknown",
        KeepReason::BootUnknown => "boot unknown",
        KeepReason::PaidAnyway(_) => "paid anyway",
        KeepReason::CapacityContradicts { .. } => "capacity contradicts",
        KeepReason::ScarceCapacity => "scarce capacity",
        KeepReason::NodeLocalDataUndeclared => "node-local data",
        KeepReason::LargestJobUndeclared => "largest job undeclared",
        KeepReason::ShuttingDown => "shutting down",
        KeepReason::Impaired(impairment) => match impairment {
            Impairment::Failed => "failed",
            Impairment::Down => "down",
            Impairment::InRecovery => "in recovery",
            Impairment::Drained(_) => "drained",
            Impairment::StrayCordon => "stray cordon",
        },
        KeepReason::Arriving(trimtab_core::reads::InstanceStatus::Running) => "not joined",
        KeepReason::Arriving(_) => "arriving",
        KeepReason::Unknown(doubt) => match doubt {
            Doubt::SchedulerLost => "scheduler lost",
            Doubt::SchedulerStale => "scheduler stale",
            Doubt::SchedulerPartial => "scheduler partial",
            Doubt::Name(NameDoubt::Either(_)) => "either name",
            Doubt::Name(NameDoubt::Shared { .. }) => "shared name",
            Doubt::MetricsAbsent => "metrics absent",
            Doubt::MetricsStale => "metrics stale",
            Doubt::MetricsPartial => "metrics partial",
            Doubt::DetailsUnread => "details unread",
            Doubt::StatusUnrecognised(_) => "status unrecognised",
        },
        KeepReason::Busy(_) => "busy",
        KeepReason::Active(_) => "active",
        KeepReason::Protected => "protected",
        KeepReason::CoolingDown { .. } => "cooling down",
        KeepReason::TooYoung { .. } => "too young",
        KeepReason::RecentlyBusy { .. } => "recently busy",
        KeepReason::WindowOpen { .. } => "window open",
        KeepReason::Enough(bound) => match bound {
            Bound::Surplus => "enough, surplus",
            Bound::Floor => "enough, floor",
            Bound::ClusterFloor => "enough, cluster floor",
            Bound::RequestBudget => "enough, request budget",
            Bound::HourBudget => "enough, hour budget",
            Bound::DayBudget => "enough, day budget",
            Bound::LeavingBudget => "enough, leaving budget",
            Bound::Candidates => "enough, candidates",
            Bound::WholeGroup => "enough, whole group",
        },
    }
}

#[test]
fn every_reason_to_keep_a_node_has_its_world_and_its_sentence() {
    let mut text = String::new();
    for (wanted, scenario) in REASONS {
        let world = script::run(&scenario.replace("; ", "\n"));
        let (plan, snapshot) = report::plan_of(&world);
        let n1 = InstanceId::from_number(1);
        let of_n1 = plan.verdicts.iter().find(|verdict| verdict.node == n1);
        // A cluster without a listing has no nodes, so no node has a verdict.
        let why = match of_n1.map(|word| word.verdict.clone()) {
            Some(Verdict::Keep(why)) => why,
            None => cluster_objection(&snapshot, &world.policy, &world.history, world.now)
                .expect("a reason for the whole cluster"),
            Some(other @ (Verdict::Mark(_) | Verdict::Leaving { .. } | Verdict::Release(_))) => {
                panic!("{wanted}: {scenario}: {other}")
            }
        };
        assert_eq!(name_of(&why), wanted, "{scenario}");
        let whose = if of_n1.is_some() { "n1" } else { "no node is known" };
        writeln!(text, "{scenario}\n  {whose}: keep: {why}").expect("a string takes everything");
    }
    let text = text.replace("2026-09-30T", "").replace(":00Z", "");
    compare_text("every_reason_to_keep", &text);
}

#[test]
fn no_reason_to_keep_is_listed_as_seen_and_as_impossible() {
    let seen: BTreeSet<&str> = REASONS.iter().map(|(reason, _)| *reason).collect();
    assert!(NEVER.iter().all(|(reason, why)| !seen.contains(reason) && !why.is_empty()));
    // As many as `name_of` has names. A new reason needs a world.
    assert_eq!(seen.len() + NEVER.len(), 67);
}
