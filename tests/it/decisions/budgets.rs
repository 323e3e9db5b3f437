//! Budgets: how many nodes may be deleted in a period. The lowest budget counts.

use super::{check, report, script};

#[test]
fn request_budget_bounds_one_request() {
    check("request_budget", "group workers per_request=2\nnode n1..n4 idle");
}

#[test]
fn hour_budget_counts_what_was_charged_within_the_hour() {
    check(
        "hour_budget",
        "
        group workers per_hour=4
        node n1..n4 idle
        charge 2 -59m
        charge 5 -61m
        ",
    );
}

#[test]
fn charge_of_exactly_an_hour_ago_still_counts() {
    check("hour_budget_edge", "group workers per_hour=3\nnode n1..n3 idle\ncharge 1 -1h");
}

#[test]
fn day_budget_counts_what_was_charged_within_the_day() {
    check("day_budget", "group workers per_day=10\nnode n1..n4 idle\ncharge 8 -23h");
}

#[test]
fn charges_of_another_group_do_not_count() {
    check(
        "other_groups_charges",
        "
        group alpha per_hour=1
        node n1 idle in=alpha
        node n2 idle in=beta
        charge 1 -10m beta
        ",
    );
}

#[test]
fn open_actions_that_are_not_charged_yet_count_as_spent() {
    check(
        "uncharged_count",
        "
        group workers per_hour=3
        node n1..n5 idle
        at -2m
        action n1 marked
        action n2 settling
        ",
    );
}

#[test]
fn open_actions_that_are_charged_are_not_counted_twice() {
    check(
        "charged_count_once",
        "
        group workers per_hour=3
        node n1..n5 idle
        charge 2 -2m
        at -2m
        action n1..n2 asked
        ",
    );
}

#[test]
fn leaving_share_rounds_down_and_counts_every_open_action() {
    check(
        "leaving_share",
        "
        group workers size=10 leaving=35%
        node n1..n6 idle
        at -2m
        action n1 asked
        action n2 releasing
        ",
    );
}

#[test]
fn leaving_share_below_one_node_is_one_node() {
    check("leaving_share_of_one", "group workers size=4 leaving=10%\nnode n1..n4 idle");
}

#[test]
fn tightest_budget_is_named() {
    check(
        "tightest_budget",
        "
        group workers per_request=3 per_hour=2 per_day=4 leaving=50%
        node n1..n6 idle
        ",
    );
}

/// No golden file: a hundred verdicts are too many to review.
#[test]
fn no_request_names_more_nodes_than_the_api_takes() {
    let world = script::run("group workers size=101 per_request=200\nnode n1..n101 idle");
    let text = report::of_plan(&world);
    assert!(text.contains("goes    99 of 101 candidates; bound: max_delete_per_request"), "{text}");
}
