//! Every listed worker is counted in one class: the first that applies.

use super::check;

#[test]
fn first_class_that_fits_wins() {
    check(
        "class_precedence",
        "
        node n1 status=ShuttingDown drained=bad-fan
        node n2 status=Failure
        node n3 status=Pending drained=bad-fan
        node n4 status=Melting drained=bad-fan
        node n5 running 5 drained=bad-fan
        node n6 status=Pending told=2
        node n7 joining running 7
        node n8 running 8 told=2
        node n9 status=Melting running 9
        node n10 running 10
        node n11 idle
        action n2 asked since=-10m
        ",
    );
}

#[test]
fn whatever_is_not_purely_idle_is_busy() {
    check(
        "every_claim_is_busy",
        "
        node n1 running 11
        node n2 completing 12
        node n3 suspended 13
        node n4 configuring 14
        node n5 planned
        node n6 reserved
        node n7 called=maint
        node n8 idle
        ",
    );
}

#[test]
fn node_that_never_joined_arrives_and_one_that_did_is_lost() {
    check(
        "never_joined_or_lost",
        "
        node n1..n2 idle
        node n3 told=0
        at -4m
        node n2 told=0
        ",
    );
}

#[test]
fn name_borne_by_two_running_nodes_is_nobodys() {
    check(
        "one_name_two_nodes",
        "
        node n1 idle
        node n2 idle named=n1 told=0
        node n3 idle
        ",
    );
}

#[test]
fn replacement_takes_over_the_name_of_a_node_that_shuts_down() {
    check(
        "name_taken_over",
        "
        node n1 status=ShuttingDown told=0
        node n2 idle named=n1
        ",
    );
}

#[test]
fn node_without_a_name_never_joins() {
    check("node_without_a_name", "node n1 idle named=nothing\nnode n2 idle");
}

#[test]
fn protection_age_cost_and_metrics_do_not_change_the_class() {
    check(
        "class_is_not_eligibility",
        "
        group workers min_age=1h metrics=5%,10m,1m
        node n1 idle protected
        node n2 idle launched=-30m
        node n3 idle metrics=absent
        node n4 idle
        ",
    );
}

#[test]
fn node_that_is_down_with_a_job_is_impaired_not_busy() {
    check("down_with_a_job", "node n1 down running 17\nnode n2 idle");
}
