//! Implausibly large changes freeze the cluster. In a small group nothing freezes.

use super::check;

#[test]
fn half_the_cluster_turning_idle_at_once_is_not_believed() {
    check(
        "mass_idle",
        "
        cluster mass_change=100,40%
        node n1..n8 running 17
        node n9..n10 idle
        at 0s
        node n1..n5 idle
        ",
    );
}

#[test]
fn change_of_exactly_the_limit_is_believed() {
    check(
        "mass_at_limit",
        "
        cluster mass_change=100,50%
        node n1..n8 running 17
        node n9..n10 idle
        at 0s
        node n1..n5 idle
        ",
    );
}

#[test]
fn limit_in_nodes_holds_beside_the_share() {
    check(
        "mass_by_nodes",
        "
        cluster mass_change=4,100%
        node n1..n8 running 17
        node n9..n10 idle
        at 0s
        node n1..n5 idle
        ",
    );
}

#[test]
fn known_nodes_turning_unknown_at_once_freeze() {
    check(
        "mass_unknown",
        "
        cluster mass_change=100,40%
        node n1..n5 idle
        at 0s
        node n1..n4 told=2
        ",
    );
}

/// A stale source is faulty, so it freezes the cluster until the operator ends the freeze. A source
/// that fails completely only ends the idle windows.
#[test]
fn scheduler_that_turns_stale_freezes_a_larger_cluster() {
    check(
        "mass_stale",
        "
        cluster mass_change=100,40%
        node n1..n5 idle
        at -2m
        scheduler old 6m
        at 0s
        scheduler whole
        ",
    );
}

#[test]
fn scheduler_that_fails_freezes_nothing() {
    check(
        "mass_failed",
        "
        cluster mass_change=100,40%
        node n1..n5 idle
        at -2m
        scheduler failed timed out
        at 0s
        scheduler whole
        ",
    );
}

#[test]
fn nodes_that_leave_the_listing_at_once_freeze() {
    check(
        "mass_gone",
        "
        cluster mass_change=100,40%
        node n1..n5 idle
        at 0s
        node n1..n4 gone
        ",
    );
}

#[test]
fn nodes_that_left_by_our_own_hand_are_no_mass_change() {
    check(
        "mass_gone_by_us",
        "
        cluster mass_change=100,40%
        node n1..n6 idle
        at -8m
        action n1..n4 asked
        at -4m
        confirmed n1..n4
        node n1..n4 gone
        ",
    );
}

#[test]
fn plan_that_wants_too_much_marks_nothing_and_freezes() {
    check(
        "mass_marked",
        "
        cluster mass_change=100,40%
        group workers size=10
        node n1..n5 idle
        ",
    );
}

#[test]
fn plan_is_measured_against_the_declared_size() {
    check(
        "mass_marked_of_declared",
        "
        cluster mass_change=100,40%
        group workers size=20
        node n1..n5 idle
        ",
    );
}

#[test]
fn change_in_a_small_group_is_none() {
    check(
        "mass_small_group",
        "
        cluster mass_change=1,10%
        group workers size=3
        node n1..n3 running 17
        at -10m
        node n1..n3 idle
        ",
    );
}

#[test]
fn change_behind_a_short_gap_is_one_change() {
    check(
        "mass_behind_a_gap",
        "
        cluster mass_change=100,40%
        watched 1h
        unwatched -30m 0s
        node n1..n5 running 17
        at 0s
        node n1..n5 idle
        ",
    );
}

#[test]
fn change_behind_a_long_gap_is_none() {
    check(
        "mass_behind_a_long_gap",
        "
        cluster mass_change=100,40%
        watched 1h
        unwatched -32m 0s
        node n1..n5 running 17
        at 0s
        node n1..n5 idle
        ",
    );
}
