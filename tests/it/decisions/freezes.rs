//! A group is frozen while its counts disagree or it is scaling, unless trimtab's own deletions
//! explain the difference node by node.

use super::check;

#[test]
fn counts_that_disagree_freeze_their_group_only() {
    check(
        "counts_disagree",
        "
        group alpha current=3
        node n1..n2 idle in=alpha
        node n3 idle in=beta
        ",
    );
}

#[test]
fn node_we_asked_for_may_be_listed_and_not_counted() {
    check(
        "asked_still_listed",
        "
        node n1..n3 idle
        at -4m
        action n3 asked
        group workers current=2
        ",
    );
}

#[test]
fn node_we_deleted_may_be_counted_and_not_listed() {
    check(
        "gone_still_counted",
        "
        group workers current=3
        node n1..n3 idle
        at -10m
        action n3 asked
        at -4m
        node n3 gone
        confirmed n3
        ",
    );
}

#[test]
fn one_deletion_does_not_explain_two_missing_nodes() {
    check(
        "one_too_many_missing",
        "
        group workers current=4
        node n1..n4 idle
        at -10m
        action n4 asked
        at -4m
        node n3..n4 gone
        confirmed n4
        ",
    );
}

#[test]
fn action_short_of_the_call_explains_nothing() {
    check(
        "settling_explains_nothing",
        "
        node n1..n3 idle
        at -4m
        action n3 settling
        group workers current=2
        ",
    );
}

#[test]
fn deletion_in_one_group_does_not_explain_another() {
    check(
        "other_groups_deletion",
        "
        node n1..n2 idle in=alpha
        node n3 idle in=beta
        at -4m
        action n3 asked
        group alpha current=1
        ",
    );
}

#[test]
fn node_deleted_by_somebody_else_freezes_until_counts_agree() {
    check(
        "somebody_deletes",
        "
        node n1..n3 idle
        at 0s
        group workers current=2
        ",
    );
}

#[test]
fn group_that_is_scaled_up_is_frozen() {
    check("scaled_up", "node n1..n2 idle\nat -4m\ngroup workers current=2 target=4");
}

#[test]
fn group_that_is_scaled_down_by_somebody_is_frozen() {
    check("scaled_down", "node n1..n3 idle\nat -4m\ngroup workers current=3 target=1");
}

#[test]
fn target_that_our_own_deletion_lowered_is_no_scaling() {
    check(
        "target_lowered_by_us",
        "
        node n1..n3 idle
        at -4m
        action n3 asked
        group workers current=3 target=2
        ",
    );
}

#[test]
fn growing_group_lists_nodes_before_it_counts_them() {
    check(
        "growth",
        "
        node n1..n2 idle
        at -4m
        group workers current=2 target=4
        node n3..n4 status=Pending told=0
        ",
    );
}

/// Its listing lags, so it still counts as leaving.
#[test]
fn node_we_deleted_that_shows_again_is_leaving() {
    check(
        "gone_shows_again",
        "
        node n1..n3 idle
        at -10m
        action n1 asked
        at -8m
        confirmed n1
        node n1 gone
        at -2m
        node n1 listed told=0
        ",
    );
}

#[test]
fn node_we_deleted_that_joins_again_is_leaving() {
    check(
        "gone_joins_again",
        "
        node n1..n3 idle
        at -10m
        action n1 asked
        at -8m
        confirmed n1
        node n1 gone
        at -2m
        node n1 listed undrained
        ",
    );
}
