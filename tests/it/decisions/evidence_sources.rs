//! Absent, stale, partial and zero readings are four different things, for the scheduler and for
//! the metrics. Only a fresh reading can lead to a deletion.

use super::check;

#[test]
fn scheduler_that_is_stale_makes_every_node_unknown() {
    check("scheduler_stale", "node n1 idle\nnode n2 running 17\nat 0s\nscheduler old 6m");
}

#[test]
fn scheduler_at_the_edge_of_freshness_counts() {
    check("scheduler_just_fresh", "node n1 idle\nscheduler old 5m");
}

#[test]
fn scheduler_whose_clock_runs_ahead_is_stale() {
    check("scheduler_ahead", "node n1 idle\nat 0s\nscheduler old -31s");
}

#[test]
fn scheduler_that_failed_keeps_everything_and_ends_the_window() {
    check("scheduler_failed", "node n1 idle\nat 0s\nscheduler failed connection refused");
}

#[test]
fn scheduler_that_knows_no_node_is_not_believed() {
    check("scheduler_empty", "node n1 idle\nat 0s\nscheduler empty");
}

#[test]
fn one_failed_read_starts_the_watch_anew() {
    check(
        "one_failed_read",
        "
        node n1 idle
        at -6m
        scheduler failed timed out
        at -4m
        scheduler whole
        ",
    );
}

#[test]
fn node_told_twice_is_partial() {
    check("node_told_twice", "node n1 idle told=2\nnode n2 idle");
}

#[test]
fn metrics_absent_stale_partial_and_zero_differ() {
    check(
        "metrics_four_ways",
        "
        group workers metrics=5%,10m,1m
        node n1 idle metrics=absent
        node n2 idle metrics=stale
        node n3 idle metrics=partial
        node n4 idle metrics=0%,0%,10m,0s
        ",
    );
}

#[test]
fn metrics_veto_at_the_threshold_and_by_memory() {
    check(
        "metrics_threshold",
        "
        group workers metrics=5%,10m,1m
        node n1 idle metrics=5%,0%,10m,0s
        node n2 idle metrics=4.99%,0%,10m,0s
        node n3 idle metrics=0%,5%,10m,0s
        node n4 idle metrics=0%,4.99%,10m,0s
        ",
    );
}

#[test]
fn metrics_must_cover_their_window_to_one_period() {
    check(
        "metrics_window",
        "
        group workers metrics=5%,10m,1m
        node n1 idle metrics=0%,0%,9m,0s
        node n2 idle metrics=0%,0%,8m,0s
        ",
    );
}
