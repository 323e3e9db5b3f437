//! Restores the history after a restart.
//!
//! The states of groups are computed again from the stored runs, so that a window
//! without a gap continues as if there had been no restart. All samples of a run have
//! the same counts, so its first and last one are enough.

use std::sync::Arc;

use rusqlite::Connection;
use rusqlite::params;
use trimtab_core::backoff::{self, Backoff, Refused};
use trimtab_core::history::{Charge, Freeze, GONE_EXPLAINS, Gone, History, OpenAction};
use trimtab_core::ids::{ActionId, ClusterName, RequestId};
use trimtab_core::rule::learned::Learner;
use trimtab_core::rule::{GroupState, Sample};
use trimtab_core::units::{Span, Time};

use super::fault::Fault;
use super::memory::{ClusterMemory, GroupMemory};
use super::stored::{self, Cells, StoredOutcome};
use crate::ports::DeleteOutcome;

/// How long a charge counts: the longest budget is per day.
const CHARGES_COUNT: Span = Span::hours(24);

/// Reads the history of a cluster, as of `now`.
pub(super) fn load(
    conn: &Connection,
    known: &ClusterMemory,
    cluster: &ClusterName,
    now: Time,
    max_gap: Span,
) -> Result<History, Fault> {
    let mut history = History::default();
    for (name, group) in &known.groups {
        let mut state = group_state(conn, group)?;
        let last = state.last_sample();
        // If the clock was set back, the length of the gap is unknown.
        if last.is_some_and(|last| now.since(last) > max_gap || now < last) {
            state.end_window();
        }
        history.groups.insert(name.clone(), state);
    }
    for action in open_actions(conn, cluster)? {
        history.actions.insert(action.node, action);
    }
    history.charges = charges(conn, cluster, now)?;
    (history.backoff, history.has_accepted) = refusals(conn, cluster)?;
    history.cooldowns = stored::rows(
        conn,
        "cooldown",
        "SELECT node, until FROM cooldown WHERE cluster = ?1 AND until > ?2",
        params![cluster.as_str(), now.0],
        |cells| Ok((cells.parsed("node")?, cells.time("until")?)),
    )?
    .into_iter()
    .collect();
    history.freeze = stored::first_row(
        conn,
        "freeze",
        "SELECT id, at, why FROM freeze WHERE cluster = ?1 AND cleared_at IS NULL
         ORDER BY at LIMIT 1",
        [cluster.as_str()],
        |cells| Ok(Freeze { at: cells.time("at")?, why: cells.json("why")? }),
    )?;
    history.gone = gone(conn, cluster, now)?;
    // The samples from before an operator cleared a freeze caused it, so they must not
    // count.
    let cleared: Option<i64> = conn.query_row(
        "SELECT max(cleared_at) FROM freeze WHERE cluster = ?1",
        [cluster.as_str()],
        |row| row.get(0),
    )?;
    for state in history.groups.values_mut() {
        if cleared.is_some_and(|at| state.last_sample().is_some_and(|last| last < Time(at))) {
            state.end_window();
        }
    }
    Ok(history)
}

/// Restores the state of a group as of its last written sample.
fn group_state(conn: &Connection, group: &GroupMemory) -> Result<GroupState, Fault> {
    let mut state = GroupState::default();
    if let Some((_, newest)) = &group.newest {
        let oldest = newest.to - GroupState::HORIZON;
        // All runs that end within the horizon: those that begin in it, and the one
        // before, which may extend into it.
        let runs = stored::rows(
            conn,
            "sample_run",
            "SELECT * FROM sample_run
             WHERE instance_group = ?1 AND window_no = ?2 AND since >= coalesce(
                 (SELECT max(since) FROM sample_run
                  WHERE instance_group = ?1 AND window_no = ?2 AND since <= ?3), ?3)
             ORDER BY id",
            params![group.row, group.window, oldest.0],
            |cells| cells.run(),
        )?;
        for run in runs.iter().filter(|run| run.to >= oldest) {
            for at in [run.from, run.to] {
                let sample = Sample { at, counts: run.counts, departed: run.departed };
                // Do not check for gaps: the runs of a window were written without one,
                // under the policy of that time.
                state.fold(sample, Span::FOREVER);
            }
        }
    }
    state.learner = learner(conn, group.row)?;
    state.members = group.members.clone();
    state.largest = group.largest;
    state.departed = group.departed;
    Ok(state)
}

/// Restores the learner of a group as of the last written sample: reads its state at the
/// last fit, and applies the runs after it.
pub(super) fn learner(conn: &Connection, group: i64) -> Result<Option<Learner>, Fault> {
    let kept = stored::first_row(
        conn,
        "learner",
        "SELECT instance_group AS id, at, window_no, state FROM learner WHERE instance_group = ?1",
        [group],
        |cells| {
            // If another build wrote it in a different format, learning starts again.
            let learner: Option<Learner> = cells.json("state").ok();
            Ok((learner, cells.time("at")?, cells.cell::<i64>("window_no")?))
        },
    )?;
    let Some((Some(mut learner), at, mut window)) = kept else { return Ok(None) };
    let runs = stored::rows(
        conn,
        "sample_run",
        "SELECT * FROM sample_run
         WHERE instance_group = ?1 AND window_no >= ?2 AND (window_no > ?2 OR until > ?3)
         ORDER BY id",
        params![group, window, at.0],
        |cells| Ok((cells.cell::<i64>("window_no")?, cells.run()?)),
    )?;
    for (of, run) in runs {
        // There are no samples between two windows. Every fit is stored, so no fit lies
        // within these runs.
        if of == window {
            learner.advance(run.from.max(learner.at()));
        } else {
            learner.resume(run.from);
        }
        window = of;
        for at in [run.from.max(learner.at()), run.to] {
            learner.advance(at);
            learner.step_on(run.counts.levels());
        }
    }
    Ok(Some(learner))
}

fn open_actions(conn: &Connection, cluster: &ClusterName) -> Result<Vec<OpenAction>, Fault> {
    stored::rows(
        conn,
        "action",
        "SELECT a.*, g.name AS group_name
         FROM action a JOIN instance_group g ON g.id = a.instance_group
         WHERE g.cluster = ?1 AND a.ended_at IS NULL
         ORDER BY a.id",
        [cluster.as_str()],
        action,
    )
}

/// Reads an action; the query joins its group's name as `group_name`.
pub(super) fn action(cells: &Cells<'_>) -> Result<OpenAction, Fault> {
    Ok(OpenAction {
        id: ActionId(cells.whole("id")?),
        group: cells.parsed("group_name")?,
        node: cells.parsed("node")?,
        identity: cells.json("identity")?,
        marked_at: cells.time("marked_at")?,
        state: cells.json("state")?,
        terms: cells.json("terms")?,
        evidence: cells.json("evidence")?,
        policy: cells.parsed("policy")?,
    })
}

fn charges(conn: &Connection, cluster: &ClusterName, now: Time) -> Result<Vec<Charge>, Fault> {
    stored::rows(
        conn,
        "charge",
        "SELECT c.action, c.at, g.name
         FROM charge c JOIN instance_group g ON g.id = c.instance_group
         WHERE g.cluster = ?1 AND c.at >= ?2
         ORDER BY c.at, c.action",
        params![cluster.as_str(), (now - CHARGES_COUNT).0],
        |cells| {
            Ok(Charge {
                at: cells.time("at")?,
                group: cells.parsed("name")?,
                action: ActionId(cells.whole("action")?),
            })
        },
    )
}

/// Number of newest outcomes that are read: more than the refusals that lead to the longest
/// delay of any cause.
const REFUSALS_COUNT: u32 = 64;

/// Restores the back-off from the newest outcomes, and returns whether one of them accepted
/// a deletion. Requests without an outcome or an answer do not change the back-off.
fn refusals(conn: &Connection, cluster: &ClusterName) -> Result<(Option<Backoff>, bool), Fault> {
    let newest_first = stored::rows(
        conn,
        "request",
        "SELECT r.request, r.outcome, r.outcome_at
         FROM request r JOIN instance_group g ON g.id = r.instance_group
         WHERE g.cluster = ?1 AND r.outcome IS NOT NULL
         ORDER BY r.request DESC LIMIT ?2",
        params![cluster.as_str(), REFUSALS_COUNT],
        |cells| {
            let StoredOutcome(outcome) = cells.json("outcome")?;
            Ok((RequestId(cells.whole("request")?), outcome, cells.time("outcome_at")?))
        },
    )?;
    let accepted = |outcome: &DeleteOutcome| match outcome {
        DeleteOutcome::Answered { accepted, .. } => !accepted.is_empty(),
        DeleteOutcome::Refused { .. } | DeleteOutcome::NoAnswer { .. } => false,
    };
    let since = newest_first.iter().position(|(_, outcome, _)| accepted(outcome));
    let in_a_row = &newest_first[..since.unwrap_or(newest_first.len())];
    let mut backoff = None;
    for (request, outcome, at) in in_a_row.iter().rev() {
        if let DeleteOutcome::Refused { cause, why } = outcome {
            let (request, at, cause, why) = (*request, *at, *cause, Arc::clone(why));
            backoff = backoff::after(backoff, &Refused { request, at, cause, why }, cluster);
        }
    }
    Ok((backoff, since.is_some()))
}

fn gone(conn: &Connection, cluster: &ClusterName, now: Time) -> Result<Vec<Gone>, Fault> {
    stored::rows(
        conn,
        "action",
        "SELECT a.id, a.node, a.ended_at, g.name
         FROM action a JOIN instance_group g ON g.id = a.instance_group
         WHERE g.cluster = ?1 AND a.ended_how = 'gone' AND a.ended_at >= ?2
         ORDER BY a.ended_at, a.id",
        params![cluster.as_str(), (now - GONE_EXPLAINS).0],
        |cells| {
            Ok(Gone {
                node: cells.parsed("node")?,
                group: cells.parsed("name")?,
                at: cells.time("ended_at")?,
            })
        },
    )
}
