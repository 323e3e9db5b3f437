//! Releases of cordoned nodes that the floor or the queue needs.

use super::check;

#[test]
fn demand_releases_the_newest_cordon_first() {
    check(
        "release_for_demand",
        "
        node n1..n3 idle
        at -8m
        action n1 settling
        at -6m
        action n2 settling
        at -4m
        action n3 settling
        at 0s
        job 17 nodes=2
        ",
    );
}

#[test]
fn floor_releases_what_it_misses() {
    check(
        "release_for_floor",
        "
        group workers min_nodes=3
        node n1..n4 idle
        at -4m
        action n1 settling
        at -2m
        node n4 status=Failure
        ",
    );
}

#[test]
fn nothing_is_released_once_the_call_may_have_been_sent() {
    check(
        "no_release_after_asking",
        "
        node n1..n4 idle
        at -4m
        action n1 asked
        action n2 asking
        action n3 cordoning
        action n4 marked
        at 0s
        job 17 nodes=4
        ",
    );
}

#[test]
fn node_that_is_coming_back_already_counts() {
    check(
        "release_counts_coming",
        "
        node n1..n3 idle
        at -4m
        action n1 releasing
        action n2..n3 settling
        at 0s
        job 17 nodes=2
        ",
    );
}

#[test]
fn idle_nodes_serve_the_queue_before_anything_is_released() {
    check(
        "idle_serves_first",
        "
        node n1..n3 idle
        at -4m
        action n1 settling
        at 0s
        job 17 nodes=2
        ",
    );
}

#[test]
fn job_that_becomes_eligible_soon_releases_too() {
    check(
        "release_for_soon",
        "
        node n1..n2 idle
        at -4m
        action n1..n2 settling
        at 0s
        job 17 nodes=1 eligible=+10m
        ",
    );
}

#[test]
fn larger_of_floor_and_demand_is_wanted_not_their_sum() {
    check(
        "release_larger_of_two",
        "
        group workers min_nodes=1
        node n1..n4 idle
        at -4m
        action n1..n4 settling
        at 0s
        job 17 nodes=3
        ",
    );
}

#[test]
fn paused_daemon_still_says_what_it_would_release() {
    check(
        "release_while_paused",
        "
        node n1..n2 idle
        at -4m
        action n1..n2 settling
        at 0s
        job 17 nodes=1
        stop paused by an operator
        ",
    );
}

#[test]
fn nothing_is_released_on_a_sample_of_before() {
    check(
        "no_release_without_sample",
        "
        group workers min_nodes=2
        node n1..n2 idle
        at -4m
        action n1..n2 settling
        at 0s
        scheduler failed timed out
        ",
    );
}

#[test]
fn frozen_group_still_releases() {
    check(
        "release_in_frozen_group",
        "
        node n1..n2 idle
        at -4m
        action n1..n2 settling
        at 0s
        group workers current=5
        job 17 nodes=1
        ",
    );
}
