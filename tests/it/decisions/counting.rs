//! The count rule: how many nodes were surplus during the whole idle timer.

use super::check;

#[test]
fn idle_nodes_go_once_samples_cover_the_idle_timer() {
    check("idle_goes", "node n1..n2 idle\nnode n3 running 17\nwatched 10m");
}

#[test]
fn nothing_goes_before_samples_cover_the_idle_timer() {
    check("window_open", "node n1..n2 idle\nwatched 8m");
}

#[test]
fn surplus_is_the_least_that_was_spare_at_any_time() {
    check(
        "surplus_is_the_least",
        "
        node n1..n4 idle
        at -8m
        node n2..n4 running 17
        at -6m
        node n2..n4 idle
        ",
    );
}

#[test]
fn use_before_the_idle_timer_began_is_forgotten() {
    check(
        "use_long_ago",
        "
        node n1..n4 running 17
        at -10m
        node n1..n4 idle
        ",
    );
}

#[test]
fn count_is_watched_not_the_node() {
    check(
        "jobs_move_around",
        "
        node n1 idle
        node n2 running 17
        at -4m
        node n1 running 18
        node n2 idle
        ",
    );
}

#[test]
fn own_marks_are_not_counted_as_spare_again() {
    check(
        "no_double_delete",
        "
        node n1..n4 idle
        node n5 running 17
        at -6m
        action n1..n2 settling
        at -4m
        node n3 running 18
        ",
    );
}

#[test]
fn own_marks_leave_the_other_spare_nodes_spare() {
    check("marks_leave_the_rest", "node n1..n4 idle\nat -4m\naction n1..n2 settling");
}

#[test]
fn busy_node_that_fails_makes_the_rule_careful() {
    check(
        "busy_node_fails",
        "
        node n1..n2 idle
        node n3 running 17
        at -4m
        node n3 status=Failure
        ",
    );
}

#[test]
fn node_that_turns_unknown_and_back_spares_nobody_else() {
    check(
        "unknown_and_back",
        "
        node n1..n3 idle
        at -6m
        node n3 told=2
        at -4m
        node n3 told=1
        ",
    );
}

#[test]
fn three_missed_ticks_leave_no_gap() {
    check("three_missed_ticks", "node n1 idle\nunwatched -12m -6m");
}

#[test]
fn longer_gap_starts_the_watch_anew() {
    check("four_missed_ticks", "node n1 idle\nunwatched -14m -6m");
}

#[test]
fn headroom_stays_idle_on_top_of_the_floor() {
    check(
        "headroom",
        "
        group workers min_nodes=1 min_idle=1
        node n1..n3 idle
        node n4 running 17
        ",
    );
}

#[test]
fn headroom_is_not_met_by_busy_nodes() {
    check("headroom_is_idle", "group workers min_idle=2\nnode n1..n2 idle\nnode n3..n6 running 17");
}

#[test]
fn break_even_timer_is_what_a_boot_costs() {
    check(
        "break_even",
        "
        group workers tau=break-even price=2 boot=5m billed_after=1m delay_value=1 boot_failure=0.1
        node n1 idle
        ",
    );
}
