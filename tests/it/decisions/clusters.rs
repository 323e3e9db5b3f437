//! Reasons that keep every node of a cluster: stops, freezes, failed reads, statuses, and actions
//! of others.

use super::check;

#[test]
fn cluster_that_was_not_read_has_no_node_to_speak_of() {
    check("cluster_unread", "node n1 idle\nat 0s\ncluster unread");
}

#[test]
fn listing_with_a_lost_page_keeps_what_it_shows() {
    check("listing_pages_missing", "node n1..n2 idle\nat 0s\nlisting pages-missing");
}

#[test]
fn listing_with_a_node_twice_is_of_no_use() {
    check("listing_duplicate", "node n1..n2 idle\nat 0s\nlisting twice n1");
}

#[test]
fn listing_that_failed_says_nothing() {
    check("listing_failed", "node n1 idle\nat 0s\nlisting failed throttled");
}

#[test]
fn empty_listing_of_a_cluster_with_nodes_is_not_believed() {
    check("listing_empty", "node n1 idle\nat 0s\nlisting empty");
}

#[test]
fn empty_listing_of_an_empty_cluster_is_believed() {
    check("cluster_empty", "group workers\nlisting empty\nscheduler empty");
}

#[test]
fn cluster_of_an_unknown_status_is_left_alone() {
    check("cluster_status_unknown", "cluster status=Paused\nnode n1 idle");
}

#[test]
fn cluster_that_rolls_back_is_left_alone() {
    check("cluster_rolls_back", "cluster status=RollingBack\nnode n1 idle");
}

#[test]
fn first_objection_is_named() {
    check(
        "first_objection",
        "
        cluster status=Failed software-update rival-autoscaler
        node n1 idle
        freeze 5 8
        stop paused by an operator
        ",
    );
}

#[test]
fn frozen_cluster_says_since_when_and_why() {
    check("cluster_frozen", "node n1 idle\nat -4m\nfreeze 5 8");
}

#[test]
fn classic_cluster_that_recovers_a_node_is_left_alone() {
    check("classic_recovery", "cluster classic\nnode n1 idle\nnode n2 drained=Action:Replace");
}

#[test]
fn continuous_cluster_recovers_one_node_and_loses_another() {
    check("continuous_recovery", "node n1 idle\nnode n2 drained=Action:Replace");
}

#[test]
fn classic_cluster_with_a_lost_node_may_be_recovering_it() {
    check("classic_lost_node", "cluster classic\nnode n1..n2 idle\nat -4m\nnode n2 told=0");
}

#[test]
fn classic_cluster_with_a_node_that_never_joined_goes_on() {
    check("classic_new_node", "cluster classic\nnode n1 idle\nnode n2 told=0");
}

/// A deletion by trimtab removes the node from the scheduler before the listing. Until then it
/// looks like a node recovery.
#[test]
fn classic_cluster_waits_for_our_own_deletion_to_finish() {
    check(
        "classic_own_deletion",
        "
        cluster classic
        node n1..n2 idle
        at -4m
        action n2 asked
        at -2m
        node n2 told=0 status=ShuttingDown
        ",
    );
}

#[test]
fn another_trimtabs_cordon_is_not_ours_to_judge() {
    check("foreign_cordon", "node n1 drained=trimtab:0f3a-77:4\nnode n2 idle");
}

#[test]
fn foreign_cordons_stop_everything_but_what_is_under_way_is_shown() {
    check(
        "foreign_cordons_stop",
        "
        node n1 drained=trimtab:0f3a-77:4
        node n2..n3 idle
        at -4m
        action n2 settling
        at 0s
        stop foreign-cordons 0f3a-77
        ",
    );
}

#[test]
fn group_that_is_not_named_is_never_touched() {
    check("group_not_named", "group other unnamed\nnode n1 idle in=other\nnode n2 idle");
}

#[test]
fn controllers_and_login_nodes_are_never_touched() {
    check(
        "control_groups",
        "
        group head role=controller
        group door role=login
        node n1 idle in=head
        node n2 idle in=door
        node n3 idle
        ",
    );
}

#[test]
fn group_in_trouble_does_not_hold_up_another() {
    check("other_group_not_calm", "group bad not-calm\nnode n1 idle in=bad\nnode n2 idle");
}

#[test]
fn group_that_vanished_does_not_carry_the_clusters_floor() {
    check(
        "group_vanished",
        "
        cluster min_nodes=2
        group alpha
        group beta
        node n1..n2 idle in=alpha
        node n3..n4 idle in=beta
        at -2m
        group beta vanished
        node n3..n4 gone
        ",
    );
}
