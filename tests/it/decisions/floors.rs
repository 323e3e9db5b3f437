//! Nodes that must stay: a group's floor within the look-ahead, and the cluster's floor.

use super::check;

#[test]
fn floor_of_nodes_counts_busy_and_idle_ones() {
    check("floor", "group workers min_nodes=3\nnode n1..n3 idle\nnode n4 running 17");
}

#[test]
fn floor_in_percent_is_of_the_declared_size_and_rounds_up() {
    check("floor_percent", "group workers size=10 min_nodes=25%\nnode n1..n5 idle");
}

#[test]
fn nodes_that_cannot_be_counted_on_do_not_carry_the_floor() {
    check(
        "floor_counts_live_only",
        "
        group workers min_nodes=2
        node n1..n3 idle
        node n4 drained=bad-fan
        node n5 status=Pending
        node n6 told=2
        ",
    );
}

#[test]
fn keep_window_that_is_open_raises_the_floor() {
    check(
        "window_is_open",
        "
        group workers lookahead=0s window=mon-fri,08:00,19:00,UTC,2
        node n1..n3 idle
        ",
    );
}

#[test]
fn keep_window_that_opens_within_the_look_ahead_holds_already() {
    check(
        "window_opens_soon",
        "
        group workers lookahead=2h window=daily,14:00,19:00,UTC,2
        node n1..n3 idle
        ",
    );
}

#[test]
fn keep_window_that_opens_after_the_look_ahead_holds_not_yet() {
    check(
        "window_opens_later",
        "
        group workers lookahead=2h window=daily,14:01,19:00,UTC,2
        node n1..n3 idle
        ",
    );
}

#[test]
fn friday_evening_looks_ahead_to_a_weekend_without_a_floor() {
    check(
        "weekend",
        "
        now fri 19:00
        group workers lookahead=24h window=mon-fri,08:00,19:00,UTC,2
        node n1..n3 idle
        ",
    );
}

#[test]
fn sunday_noon_looks_ahead_to_mondays_floor() {
    check(
        "monday_is_near",
        "
        now sun 12:00
        group workers lookahead=24h window=mon-fri,08:00,19:00,UTC,2
        node n1..n3 idle
        ",
    );
}

#[test]
fn keep_window_goes_by_the_clocks_of_its_zone() {
    check(
        "window_zone",
        "
        group alpha lookahead=0s window=daily,08:00,19:00,America/New_York,1
        group beta lookahead=0s window=daily,08:00,19:00,Asia/Tokyo,1
        node n1 idle in=alpha
        node n2 idle in=beta
        ",
    );
}

#[test]
fn cluster_floor_is_spent_on_the_dearest_group_first() {
    check(
        "cluster_floor",
        "
        cluster min_nodes=3
        group cheap price=1
        group dear price=40
        node n1..n2 idle in=cheap
        node n3..n5 idle in=dear
        ",
    );
}

#[test]
fn cluster_floor_is_shared_where_one_group_cannot_use_it() {
    check(
        "cluster_floor_shared",
        "
        cluster min_nodes=3
        group cheap price=1
        group dear price=40 min_nodes=2
        node n1..n2 idle in=cheap
        node n3..n5 idle in=dear
        ",
    );
}
