//! Waiting jobs: the nodes that they take now (q), the nodes that they take soon (V), and jobs that
//! reserve no node.

use super::check;

#[test]
fn waiting_job_holds_the_nodes_it_would_take() {
    check("queue_holds", "node n1..n4 idle\nat 0s\njob 17 nodes=3");
}

#[test]
fn jobs_that_share_a_node_are_packed() {
    check(
        "queue_packed",
        "
        node n1..n4 idle
        job 17 gpus=2
        job 18 gpus=6
        job 19 gpus=8
        ",
    );
}

#[test]
fn job_that_left_the_queue_was_demand_within_the_idle_timer() {
    check("queue_was_longer", "node n1..n4 idle\njob 17 nodes=3\nat -4m\njob 17 gone");
}

#[test]
fn held_job_holds_nothing() {
    check("job_held", "node n1..n2 idle\njob 17 nodes=2 eligible=held");
}

#[test]
fn job_that_could_never_run_here_holds_nothing() {
    check("job_too_large", "group workers size=4\nnode n1..n2 idle\njob 17 nodes=5");
}

#[test]
fn job_of_another_partition_holds_nothing() {
    check(
        "job_elsewhere",
        "
        group workers partitions=train
        node n1..n2 idle
        job 17 partition=infer
        job 18 partition=train
        ",
    );
}

#[test]
fn job_that_needs_what_no_node_here_has_holds_nothing() {
    check(
        "job_requires",
        "
        node n1 idle offers=a100,gres/gpu
        node n2 idle offers=a100,nvme,gres/gpu
        job 17 requires=h100
        job 18 requires=nvme,gres/gpu
        ",
    );
}

#[test]
fn job_that_needs_something_holds_what_is_not_known() {
    check("job_requires_unknown", "node n1..n2 idle\njob 17 requires=h100");
}

#[test]
fn largest_job_is_a_floor() {
    check(
        "largest_job",
        "group workers size=4 max_job=3\nnode n1..n4 idle\nscheduler refuses-large-jobs",
    );
}

#[test]
fn job_is_judged_at_the_declared_size_not_at_what_is_left() {
    check("job_at_declared_size", "group workers size=8\nnode n1..n2 idle\njob 17 nodes=8");
}

#[test]
fn job_is_judged_at_the_largest_size_ever_listed() {
    check(
        "job_at_largest_size",
        "
        group workers size=2
        node n1..n4 idle
        at -12m
        node n4 gone
        at 0s
        job 17 nodes=4
        ",
    );
}

#[test]
fn job_that_becomes_eligible_soon_holds_its_nodes() {
    check("job_soon", "node n1..n3 idle\njob 17 nodes=2 eligible=+10m");
}

#[test]
fn job_beyond_the_look_ahead_holds_nothing() {
    check("job_later", "node n1..n3 idle\njob 17 nodes=2 eligible=+11m");
}

#[test]
fn look_ahead_ends_with_the_break_even_time() {
    check(
        "look_ahead_ends",
        "
        group workers tau=4m queue_lookahead=30m
        node n1..n3 idle
        job 17 nodes=2 eligible=+21m
        ",
    );
}

#[test]
fn look_ahead_reaches_beyond_a_short_timer() {
    check(
        "look_ahead_beyond_timer",
        "
        group workers tau=4m queue_lookahead=30m
        node n1..n3 idle
        job 17 nodes=2 eligible=+19m
        ",
    );
}

#[test]
fn what_idles_within_the_timer_is_there_for_jobs_that_come_soon() {
    check(
        "soon_takes_what_is_kept",
        "
        group workers tau=10m
        node n1..n3 idle
        node n4 running 17
        at -5m
        node n4 idle
        at 0s
        job 18 nodes=1 eligible=+10m
        ",
    );
}

#[test]
fn gpu_job_asks_nothing_of_a_cpu_group() {
    check("gpu_job_on_cpus", "group workers gpus=0\nnode n1 idle\njob 17 gpus=1");
}
