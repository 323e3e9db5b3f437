//! Clusters without a scheduler. The evidence source is the metric history of each node.

use super::check;

#[test]
fn node_whose_metrics_are_quiet_all_through_goes() {
    check(
        "metrics_only",
        "
        cluster evidence=metrics
        group workers metrics=5%,10m,1m
        node n1 metrics=0%,1%,1h,0s
        node n2 metrics=90%,40%,1h,0s
        ",
    );
}

#[test]
fn metrics_that_are_missing_are_unknown_never_idle() {
    check(
        "metrics_only_doubts",
        "
        cluster evidence=metrics
        group workers metrics=5%,10m,1m
        node n1 metrics=absent
        node n2 metrics=stale
        node n3 metrics=partial
        node n4 metrics=0%,0%,8m,0s
        node n5 metrics=0%,0%,9m,0s
        ",
    );
}

#[test]
fn memory_in_use_is_use_and_the_threshold_itself_is_not_below() {
    check(
        "metrics_only_memory",
        "
        cluster evidence=metrics
        group workers metrics=5%,10m,1m
        node n1 metrics=0%,30%,1h,0s
        node n2 metrics=5%,0%,1h,0s
        node n3 metrics=4.99%,4.99%,1h,0s
        ",
    );
}

#[test]
fn node_that_was_active_within_the_idle_timer_is_no_surplus() {
    check(
        "metrics_only_surplus",
        "
        cluster evidence=metrics
        group workers metrics=5%,10m,1m
        node n1..n2 metrics=0%,0%,1h,0s
        at -8m
        node n2 metrics=90%,0%,1h,0s
        at -6m
        node n2 metrics=0%,0%,1h,0s
        ",
    );
}

#[test]
fn group_without_a_metrics_rule_is_unknown() {
    check("metrics_only_no_rule", "cluster evidence=metrics\nnode n1 idle");
}

#[test]
fn failed_node_is_impaired_without_a_scheduler_too() {
    check(
        "metrics_only_failure",
        "
        cluster evidence=metrics classic
        group workers metrics=5%,10m,1m
        node n1 status=Failure
        node n2 status=Pending
        node n3 metrics=0%,0%,1h,0s
        ",
    );
}
