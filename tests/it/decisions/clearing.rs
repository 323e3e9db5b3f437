//! Clearance of settled nodes for one delete request: which nodes are requested, and which wait
//! because of which rule.

use super::check_clearing;

#[test]
fn settled_and_clean_nodes_are_cleared_in_one_request() {
    check_clearing("clear", "node n1..n3 idle\nat -4m\naction n1..n2 settling");
}

#[test]
fn nothing_but_settled_actions_is_cleared() {
    check_clearing(
        "clear_settled_only",
        "
        node n1..n4 idle
        at -4m
        action n1 marked
        action n2 cordoning
        action n3 releasing
        action n4 settling
        ",
    );
}

#[test]
fn look_must_begin_after_the_settle_time() {
    check_clearing(
        "clear_settling",
        "
        node n1..n2 idle
        at 0s
        action n1 settling since=-29s
        action n2 settling since=-30s
        ",
    );
}

#[test]
fn look_that_took_too_long_clears_nothing() {
    check_clearing("clear_old_look", "reads-took 31s\nnode n1 idle\nat -4m\naction n1 settling");
}

#[test]
fn look_just_within_max_look_age_clears() {
    check_clearing(
        "clear_max_look_age",
        "reads-took 30s\nnode n1 idle\nat -4m\naction n1 settling",
    );
}

#[test]
fn scheduler_that_repeats_an_old_answer_is_no_second_look() {
    check_clearing(
        "clear_old_answer",
        "
        node n1 idle
        at -2m
        action n1 settling
        at 0s
        scheduler old 3m
        ",
    );
}

#[test]
fn scheduler_whose_answer_is_older_than_max_look_age_is_no_look() {
    check_clearing(
        "clear_stale_answer",
        "node n1 idle\nat -10m\naction n1 settling\nat 0s\nscheduler old 31s",
    );
}

#[test]
fn job_that_waits_now_keeps_settled_nodes_from_going() {
    check_clearing(
        "clear_demand",
        "node n1..n2 idle\nat -4m\naction n1 settling\nat 0s\njob 17 nodes=2",
    );
}

#[test]
fn action_of_another_policy_waits() {
    check_clearing(
        "clear_other_policy",
        "node n1..n2 idle\nat -4m\naction n1 settling policy=before\naction n2 settling",
    );
}

#[test]
fn stopped_or_frozen_cluster_clears_nothing() {
    check_clearing(
        "clear_paused",
        "node n1 idle\nat -4m\naction n1 settling\nat 0s\nstop paused by an operator",
    );
    check_clearing("clear_frozen", "node n1 idle\nat -4m\naction n1 settling\nat 0s\nfreeze 5 8");
}

#[test]
fn classic_cluster_takes_one_request_at_a_time() {
    check_clearing(
        "clear_classic_turn",
        "
        cluster classic
        node n1 idle
        node n2 idle in=other
        at -4m
        action n1 settling
        action n2 asked
        ",
    );
}

#[test]
fn continuous_cluster_takes_one_request_a_group() {
    check_clearing(
        "clear_continuous_other_group",
        "
        node n1 idle
        node n2 idle in=other
        at -4m
        action n1 settling
        action n2 asking
        ",
    );
    check_clearing(
        "clear_continuous_turn",
        "node n1..n2 idle\nat -4m\naction n1 settling\naction n2 asking",
    );
}

#[test]
fn continuous_cluster_waits_for_the_last_request_to_end() {
    check_clearing(
        "clear_continuous_asked",
        "node n1..n2 idle\nat -4m\naction n1 settling\naction n2 asked",
    );
}

#[test]
fn group_that_is_frozen_or_not_calm_waits() {
    check_clearing(
        "clear_group_frozen",
        "node n1..n2 idle\nat -4m\naction n1 settling\ngroup workers current=4",
    );
    check_clearing(
        "clear_group_not_calm",
        "node n1..n2 idle\nat -4m\naction n1 settling\ngroup workers not-calm",
    );
}

#[test]
fn capacity_that_contradicts_at_the_last_moment_waits() {
    check_clearing(
        "clear_contradiction",
        "node n1..n2 idle\nat -4m\naction n1 settling\nat 0s\ngroup workers shows=reserved",
    );
}

#[test]
fn floor_holds_at_the_delete_again() {
    check_clearing(
        "clear_floor",
        "
        group workers min_nodes=2
        node n1..n3 idle
        at -4m
        action n1 settling
        at 0s
        node n3 down
        ",
    );
    check_clearing(
        "clear_cluster_floor",
        "
        cluster min_nodes=2
        node n1 idle
        node n2 idle in=other
        at -4m
        action n1 settling
        ",
    );
}

#[test]
fn node_we_deleted_that_joins_again_does_not_carry_the_floor() {
    check_clearing(
        "clear_floor_gone_again",
        "
        group workers min_nodes=2
        node n1..n3 idle
        at -10m
        action n1 asked
        at -8m
        confirmed n1
        node n1 gone
        at -4m
        action n3 settling
        at -2m
        node n1 listed undrained
        ",
    );
}

#[test]
fn node_that_is_not_the_same_any_more_waits() {
    check_clearing(
        "clear_not_the_same",
        "
        node n1..n4 idle
        at -4m
        action n1..n4 settling
        at 0s
        node n1 launched=-1m
        node n2 status=SystemUpdating
        node n3 gone
        ",
    );
}

#[test]
fn node_that_is_claimed_or_not_cordoned_by_us_waits() {
    check_clearing(
        "clear_evidence",
        "
        node n1..n5 idle
        at -4m
        action n1..n4 settling
        action n5 settling uncordoned
        at 0s
        node n1 running 17
        node n2 drained=bad-fan
        node n3 drained=trimtab:test-ledger:99
        ",
    );
}

#[test]
fn node_that_was_protected_meanwhile_waits() {
    check_clearing(
        "clear_protected",
        "node n1..n2 idle\nat -4m\naction n1..n2 settling\nat 0s\nnode n1 protected",
    );
}

#[test]
fn budgets_hold_at_the_delete_again() {
    check_clearing(
        "clear_budget",
        "
        group workers per_hour=3
        node n1..n4 idle
        charge 1 -30m
        at -4m
        action n1..n4 settling
        ",
    );
}

#[test]
fn node_that_a_gate_has_not_let_through_waits() {
    check_clearing(
        "clear_gate",
        "
        group workers data=gate
        node n1..n2 idle
        gate-holds n1
        at -4m
        action n1..n2 settling
        ",
    );
}

#[test]
fn without_a_scheduler_the_newest_datapoint_must_be_younger_than_the_settle_time() {
    check_clearing(
        "clear_metrics",
        "
        cluster evidence=metrics
        group workers metrics=5%,10m,1m
        node n1..n3 idle
        at -2m
        action n1..n3 settling
        at 0s
        node n1 metrics=0%,0%,1h,2m
        node n2 metrics=0%,0%,1h,1m
        node n3 metrics=9%,0%,1h,0s
        ",
    );
}
