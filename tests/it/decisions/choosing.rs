//! Which nodes are chosen: which may be chosen, and in what order.

use super::check;

#[test]
fn worst_health_goes_first() {
    check(
        "by_health",
        "
        group workers min_nodes=2
        node n1 idle health=100
        node n2 idle health=60
        node n3 idle health=80
        ",
    );
}

#[test]
fn oldest_image_goes_first_and_an_unknown_one_before_it() {
    check(
        "by_image",
        "
        node n1 idle image=2026-03
        node n2 idle image=2025-11
        node n3 idle
        ",
    );
}

#[test]
fn health_matters_more_than_image_and_age() {
    check(
        "health_before_image",
        "
        node n1 idle health=100 image=2025-11 launched=-900h
        node n2 idle health=60 image=2026-03 launched=-1h
        ",
    );
}

#[test]
fn oldest_goes_first_unless_the_policy_prefers_the_newest() {
    check(
        "by_age",
        "
        group alpha prefer=oldest
        group beta prefer=newest
        node n1 idle in=alpha launched=-10h
        node n2 idle in=alpha launched=-20h
        node n3 idle in=beta launched=-20h
        node n4 idle in=beta launched=-10h
        ",
    );
}

#[test]
fn ties_are_broken_by_id() {
    check("by_id", "group workers min_nodes=2\nnode n3 idle\nnode n1 idle\nnode n2 idle");
}

#[test]
fn protected_node_stays_and_another_goes_in_its_place() {
    check(
        "protected",
        "
        group workers min_nodes=1 protect=n2
        node n1 idle protected
        node n2..n4 idle
        ",
    );
}

#[test]
fn node_that_was_released_is_left_alone_until_its_cooldown_ends() {
    check("cooldown", "node n1..n2 idle\ncooldown n1 +1m\ncooldown n2 0s");
}

#[test]
fn node_below_the_minimum_age_stays() {
    check(
        "min_age",
        "group workers min_age=1h\nnode n1 idle launched=-59m\nnode n2 idle launched=-1h",
    );
}

#[test]
fn work_between_two_attempts_is_work() {
    check(
        "grace",
        "
        group workers grace=6m tau=2m
        node n1..n2 running 17
        at -6m
        node n1 idle
        at -4m
        node n2 idle
        ",
    );
}

#[test]
fn node_that_is_idle_for_a_short_time_may_go_in_place_of_another() {
    check(
        "short_idle_goes",
        "
        group workers prefer=newest
        node n1 idle
        node n2 running 17 launched=-1h
        at -2m
        node n2 idle
        ",
    );
}

#[test]
fn impaired_and_arriving_nodes_are_not_ours_to_delete() {
    check(
        "not_ours_to_delete",
        "
        node n1 status=Failure
        node n2 status=Pending
        node n3 drained=bad-fan
        node n4 idle
        ",
    );
}
