//! Sets a group's policy key by key, starting from safe defaults.

use trimtab_core::policy::{
    Amount, Factor, GroupCalls, GroupPolicy, NodeLocalData, Prefer, Regain, TimerChoice,
    UtilizationRule,
};
use trimtab_core::units::{MilliGpus, Usd, UsdPerHour};
use trimtab_core::windows::{KeepWindow, WindowSpec};
use trimtab_tests::worlds::name;

use super::values::{capacity, count, instances, share, span};

/// Sets one key; `none` means that the value is not set.
pub(super) fn set(policy: &mut GroupPolicy, key: &str, value: &str) {
    match (key, value) {
        ("size", nodes) => policy.size = count(nodes),
        ("min_nodes", value) => policy.min_nodes = amount(value),
        ("max_job", nodes) => policy.max_job_nodes = Some(count(nodes)),
        ("min_idle", nodes) => policy.min_idle_nodes = count(nodes),
        ("window", spec) => policy.keep_windows.push(window(spec)),
        ("lookahead", time) => policy.lookahead = span(time),
        ("per_request", nodes) => policy.budgets.per_request = count(nodes),
        ("per_hour", nodes) => policy.budgets.per_hour = count(nodes),
        ("per_day", nodes) => policy.budgets.per_day = count(nodes),
        ("leaving", part) => policy.budgets.leaving = share(part),
        ("capacity", kind) => policy.capacity = capacity(kind),
        ("regain", "scarce") => policy.regain = Regain::Scarce { accepted_risk: None },
        ("accept_risk", usd) => {
            policy.regain = Regain::Scarce { accepted_risk: Some(dollars(usd)) };
        }
        ("price", "none") => policy.price = None,
        ("price", usd) => policy.price = Some(UsdPerHour(dollars(usd).0)),
        ("boot", "none") => policy.boot = None,
        ("boot", time) => policy.boot = Some(span(time)),
        ("billed_after", time) => policy.billed_after_delete = span(time),
        ("delay_value", factor) => {
            let factor = factor.parse().ok().and_then(Factor::try_from_factor);
            policy.delay_value = factor.expect("a factor");
        }
        ("boot_failure", usd) => policy.boot_failure_cost = dollars(usd),
        ("tau", "break-even") => policy.timer = TimerChoice::BreakEven,
        ("tau", time) => policy.timer = TimerChoice::Fixed(span(time)),
        ("queue_lookahead", time) => policy.queue_lookahead = span(time),
        ("min_age", time) => policy.min_age = span(time),
        ("grace", time) => policy.post_job_grace = span(time),
        ("prefer", "newest") => policy.prefer = Prefer::Newest,
        ("prefer", "oldest") => policy.prefer = Prefer::Oldest,
        ("data", "none") => policy.node_local_data = None,
        ("data", "gate") => policy.node_local_data = Some(NodeLocalData::Gate),
        ("gpus", gpus) => policy.gpus_per_node = MilliGpus::whole(count(gpus).0),
        ("partitions", list) => policy.partitions = list.split(',').map(name).collect(),
        ("group_calls", "to-zero") => policy.group_calls = GroupCalls::ToZero,
        ("group_calls", "whole-group") => policy.group_calls = GroupCalls::WholeGroup,
        ("protect", node) => policy.protected.extend(instances(node)),
        ("metrics", rule) => policy.utilization = Some(utilization(rule)),
        _ => panic!("group: `{key}={value}` is not known"),
    }
}

fn amount(text: &str) -> Amount {
    if text.ends_with('%') { Amount::ShareOfSize(share(text)) } else { Amount::Nodes(count(text)) }
}

fn dollars(text: &str) -> Usd {
    Usd::from_dollars(text.parse().unwrap_or_else(|_| panic!("`{text}` is no amount")))
}

/// `mon-fri,08:00,19:00,America/New_York,4`.
fn window(text: &str) -> KeepWindow {
    let values: Vec<&str> = text.split(',').collect();
    let [days, from, to, zone, min_nodes] = values[..] else {
        panic!("window=`{text}` is not days,from,to,zone,nodes");
    };
    let spec = WindowSpec {
        days: days.to_owned(),
        from: from.to_owned(),
        to: to.to_owned(),
        zone: zone.to_owned(),
        min_nodes: amount(min_nodes),
    };
    KeepWindow::parse(&spec).unwrap_or_else(|e| panic!("window=`{text}`: {e}"))
}

/// `idle_below,window,period` as `5%,10m,1m`.
fn utilization(text: &str) -> UtilizationRule {
    let values: Vec<&str> = text.split(',').collect();
    let [idle_below, window, period] = values[..] else {
        panic!("metrics=`{text}` is not idle_below,window,period");
    };
    UtilizationRule {
        idle_below: share(idle_below),
        memory_below: share(idle_below),
        window: span(window),
        period: span(period),
    }
}
