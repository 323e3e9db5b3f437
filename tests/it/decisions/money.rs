//! Whether a deletion saves money: price, boot time, capacity type, and whether capacity can be
//! regained.

use super::check;

#[test]
fn reserved_capacity_saves_nothing() {
    check("reserved", "group workers capacity=reserved\nnode n1 idle");
}

#[test]
fn training_plan_capacity_saves_nothing_whatever_the_timer() {
    check("training_plan", "group workers capacity=training-plan tau=1m\nnode n1 idle");
}

#[test]
fn spot_capacity_that_the_api_confirms_is_metered() {
    check("spot", "group workers capacity=spot shows=spot\nnode n1 idle");
}

#[test]
fn capacity_other_than_declared_stops_the_group() {
    check("contradiction", "group workers capacity=on-demand shows=training-plan\nnode n1 idle");
}

#[test]
fn scarce_capacity_without_an_accepted_risk_stays() {
    check("scarce", "group workers regain=scarce\nnode n1 idle");
}

#[test]
fn accepted_risk_lengthens_the_idle_timer() {
    check(
        "scarce_accepted",
        "
        watched 3h
        group alpha tau=break-even boot=10m price=2
        group beta tau=break-even boot=10m price=2 accept_risk=4
        group gamma tau=break-even boot=10m price=2 accept_risk=6
        node n1 idle in=alpha
        node n2 idle in=beta
        node n3 idle in=gamma
        ",
    );
}

#[test]
fn unknown_price_or_boot_is_a_reason_to_keep() {
    check(
        "price_or_boot_unknown",
        "
        group alpha price=none
        group beta boot=none
        node n1 idle in=alpha
        node n2 idle in=beta
        ",
    );
}

#[test]
fn price_of_nothing_is_never_worth_it() {
    check("price_of_nothing", "group workers price=0\nnode n1 idle");
}

#[test]
fn node_local_data_must_be_declared_and_a_gate_is_enough() {
    check(
        "node_local_data",
        "
        group alpha data=none
        group beta data=gate
        node n1 idle in=alpha
        node n2 idle in=beta
        ",
    );
}
