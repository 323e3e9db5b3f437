//! Crashes. In each of several small worlds, the daemon is killed at every effect in turn (a
//! cordon, a release, a delete, a commit), before or after the effect acts. The world runs on for
//! some time, then the daemon is started again and runs to the end. No job, charge, cordon or
//! intent may be lost (F11, S11, S17, L3).
//!
//! A failed case prints the command that replays it with its log: `TRIMTAB_CRASH=plain:17:after
//! cargo test -p trimtab-tests crashes`.

mod checks;
mod planted;
mod run;
mod scenario;

use planted::Plant;
use run::{AsBuilt, Tally};
use scenario::{ALL, named};

/// Lowest total number of kill points in all scenarios. Fewer would mean that the worlds no longer
/// cause deletions.
const KILL_POINTS_MIN: u64 = 500;

/// Maximum number of failures printed for one scenario.
const FAILURES_SHOWN: usize = 12;

/// Whether only one case is to run; `one_case_is_seen_again` runs it.
fn is_replay() -> bool {
    std::env::var_os("TRIMTAB_CRASH").is_some()
}

#[expect(clippy::print_stdout, reason = "shown with --nocapture, or when the test fails")]
fn demand_clean(tally: &Tally) {
    println!("{tally}");
    assert!(tally.failures.is_empty(), "{tally}\n{}", tally.complaint(FAILURES_SHOWN));
    assert!(tally.deleted > 0, "{tally}");
    assert!(tally.kills >= tally.runs - 1, "{tally}");
}

fn once(scenario: &str) {
    if !is_replay() {
        demand_clean(&run::once_everywhere(named(scenario), &AsBuilt));
    }
}

fn twice(scenario: &str) {
    if !is_replay() {
        demand_clean(&run::twice_everywhere(named(scenario), &AsBuilt));
    }
}

#[test]
fn one_case_is_seen_again() {
    let Some(outcome) = run::replay() else { return };
    println!("{}", outcome.log);
    println!("{} effects, {} kills, {:?}", outcome.effects, outcome.kills, outcome.seen);
    let findings: Vec<String> = outcome.findings.iter().map(ToString::to_string).collect();
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

#[test]
fn every_world_shows_what_it_is_for_and_there_are_enough_points_to_be_killed_at() {
    let mut points = 0;
    for scenario in &ALL {
        let outcome = run::unharmed(scenario);
        let shown = &outcome.seen.shown;
        println!("{:<16} {} deleted; {shown:?}", scenario.name, outcome.seen.deleted);
        for what in scenario.shows {
            assert!(shown.contains_key(what), "{} never shows `{what}`: {shown:?}", scenario.name);
        }
        points += 2 * outcome.effects;
    }
    println!("{points} points to be killed at in {} scenarios", ALL.len());
    assert!(points > KILL_POINTS_MIN, "{points}");
}

#[test]
fn idle_nodes_are_trimmed_whenever_the_daemon_dies() {
    once("plain");
}

#[test]
fn nodes_pass_the_gate_anew_whenever_the_daemon_dies() {
    once("gate");
}

#[test]
fn a_classic_cluster_is_trimmed_whenever_the_daemon_dies() {
    once("classic");
}

#[test]
fn two_groups_are_trimmed_whenever_the_daemon_dies() {
    once("two-groups");
}

#[test]
fn a_job_that_lands_on_a_cordoned_node_is_safe_whenever_the_daemon_dies() {
    once("job-lands");
}

#[test]
fn an_operators_resume_is_respected_whenever_the_daemon_dies() {
    once("operator-resumes");
}

#[test]
fn an_operators_drain_is_respected_whenever_the_daemon_dies() {
    once("operator-drains");
}

#[test]
fn refused_nodes_are_released_whenever_the_daemon_dies() {
    once("partial-failure");
}

#[test]
fn refused_requests_are_released_whenever_the_daemon_dies() {
    once("refused");
}

#[test]
fn a_lost_answer_hands_no_dying_node_back_whenever_the_daemon_dies() {
    once("answer-lost");
}

#[test]
fn a_lost_request_is_found_out_whenever_the_daemon_dies() {
    once("request-lost");
}

#[test]
fn a_replaced_node_is_let_go_whenever_the_daemon_dies() {
    once("replaced");
}

#[test]
fn waiting_jobs_get_their_nodes_whenever_the_daemon_dies() {
    once("demand");
}

#[test]
fn budgets_hold_whenever_the_daemon_dies() {
    once("budget");
}

#[test]
fn a_pause_holds_whenever_the_daemon_dies() {
    once("paused");
}

#[test]
fn nodes_without_a_cordon_are_trimmed_whenever_the_daemon_dies() {
    once("metrics-only");
}

#[test]
fn blind_spells_are_sat_out_whenever_the_daemon_dies() {
    once("blind");
}

#[test]
fn a_full_disk_stops_everything_whenever_the_daemon_dies() {
    once("disk-full");
}

#[test]
fn a_whole_group_goes_to_nothing_whenever_the_daemon_dies() {
    once("to-zero");
}

#[test]
fn those_that_a_group_call_leaves_come_back_whenever_the_daemon_dies() {
    once("whole-group");
}

#[test]
fn a_group_call_without_an_answer_hands_no_dying_node_back_whenever_the_daemon_dies() {
    once("whole-lost");
}

#[test]
fn a_group_call_that_never_arrived_is_found_out_whenever_the_daemon_dies() {
    once("whole-unsent");
}

#[test]
fn a_second_kill_during_the_recovery_changes_nothing() {
    twice("plain");
}

#[test]
fn a_second_kill_during_the_recovery_of_a_lost_answer_changes_nothing() {
    twice("answer-lost");
}

#[test]
fn a_second_kill_while_jobs_wait_changes_nothing() {
    twice("demand");
}

#[expect(clippy::print_stdout, reason = "shown with --nocapture, or when the test fails")]
fn notice(plant: Plant, scenario: &str, checks: &[&'static str]) {
    if is_replay() {
        return;
    }
    match run::noticed(named(scenario), &plant, checks) {
        Err(why) => panic!("{plant:?}: {why}"),
        Ok(found) => {
            for (check, case) in found {
                println!("{plant:?}: {check} at {case}");
            }
        }
    }
}

#[test]
fn a_ledger_that_forgets_charges_is_noticed() {
    notice(Plant::ForgetsCharges, "budget", &["over the budget", "charged over the budget"]);
}

#[test]
fn a_ledger_that_forgets_actions_is_noticed() {
    notice(Plant::ForgetsActions, "answer-lost", &["left open", "job lost", "busy node deleted"]);
}

#[test]
fn a_ledger_that_writes_requests_late_is_noticed() {
    notice(Plant::WritesBehind, "answer-lost", &["uncharged", "job lost", "busy node deleted"]);
}

#[test]
fn a_daemon_that_takes_no_cordon_off_after_a_restart_is_noticed() {
    notice(Plant::NeverReleases, "plain", &["cordon left", "left open"]);
}

#[test]
fn a_release_that_is_lost_at_the_start_is_asked_for_again() {
    if !is_replay() {
        demand_clean(&run::once_everywhere(named("plain"), &Plant::LosesFirstRelease));
    }
}
