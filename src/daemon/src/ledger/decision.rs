//! Writes the decisions of a tick: changed verdicts and figures, intents, steps, and
//! requests with their charges.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use trimtab_core::action::{ActionState, Phase};
use trimtab_core::history::{Charge, OpenAction};
use trimtab_core::ids::{ClusterName, GroupName, InstanceId, NodeName, RequestId};
use trimtab_core::plan::{KeepReason, NodeVerdict, Verdict};
use trimtab_core::units::Time;

use super::fault::Fault;
use super::memory::{ClusterMemory, CurrentFigures, CurrentVerdict};
use super::observation::write_freeze;
use super::stored::{self, StoredOutcome, int};
use crate::ports::{Decision, DeleteOutcome, RequestRecord, Transition};

/// Changes that were written, for the memory after the commit.
pub(super) struct Decided {
    verdicts: Vec<(InstanceId, Option<CurrentVerdict>)>,
    figures: Vec<(GroupName, Option<CurrentFigures>)>,
}

/// Writes the verdicts and figures that differ from `known`, and all intents and steps.
pub(super) fn write(
    tx: &Transaction<'_>,
    known: &ClusterMemory,
    decision: &Decision<'_>,
) -> Result<Decided, Fault> {
    let gap: Option<bool> = tx
        .prepare_cached("SELECT gap IS NOT NULL FROM tick WHERE id = ?1 AND cluster = ?2")?
        .query_row(params![int(decision.tick.0)?, decision.cluster.as_str()], |row| row.get(0))
        .optional()?;
    let Some(gap) = gap else {
        let (tick, cluster) = (decision.tick, decision.cluster);
        return Err(Fault::Refused(format!("cluster {cluster} has no tick {tick}")));
    };
    let looked = if gap { Looked::NotEverywhere } else { Looked::Everywhere };
    let verdicts = write_verdicts(tx, known, decision, looked)?;
    let figures = write_figures(tx, known, decision, looked)?;
    if let Some(freeze) = decision.freeze {
        write_freeze(tx, decision.cluster, freeze)?;
    }
    for action in decision.opened {
        write_action(tx, decision.cluster, action)?;
    }
    write_transitions(tx, decision.transitions)?;
    Ok(Decided { verdicts, figures })
}

impl Decided {
    /// Applies the changes to the memory.
    pub(super) fn remember(self, known: &mut ClusterMemory) {
        for (node, current) in self.verdicts {
            match current {
                Some(current) => known.verdicts.insert(node, current),
                None => known.verdicts.remove(&node),
            };
        }
        for (group, current) in self.figures {
            match current {
                Some(current) => known.figures.insert(group, current),
                None => known.figures.remove(&group),
            };
        }
    }
}

/// Whether a node or group without a verdict or figures has disappeared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looked {
    /// It has: the tick was a sample.
    Everywhere,
    /// Unknown: the tick was no sample, so the last verdict or figures stay current.
    NotEverywhere,
}

fn write_verdicts(
    tx: &Transaction<'_>,
    known: &ClusterMemory,
    decision: &Decision<'_>,
    looked: Looked,
) -> Result<Vec<(InstanceId, Option<CurrentVerdict>)>, Fault> {
    let said: BTreeMap<InstanceId, &NodeVerdict> =
        decision.verdicts.iter().map(|verdict| (verdict.node, verdict)).collect();
    let mut changes = vec![];
    let mut rows = BTreeMap::new();
    for (node, said) in &said {
        let before = known.verdicts.get(node);
        if before.is_some_and(|before| {
            before.group == said.group && is_same_word(&before.verdict, &said.verdict)
        }) {
            continue;
        }
        if let Some(before) = before {
            close(tx, Spans::Verdicts, before.row, decision.at)?;
        }
        let group = match rows.get(&said.group) {
            Some(row) => *row,
            None => {
                let row = stored::group_row(tx, decision.cluster, &said.group)?;
                rows.insert(&said.group, row);
                row
            }
        };
        tx.prepare_cached(
            "INSERT INTO verdict_span (instance_group, node, name, tick, since, verdict)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            group,
            node.to_string(),
            said.name.as_ref().map(NodeName::as_str),
            int(decision.tick.0)?,
            decision.at.0,
            stored::json(&said.verdict)?,
        ])?;
        let current = CurrentVerdict {
            row: tx.last_insert_rowid(),
            group: said.group.clone(),
            verdict: said.verdict.clone(),
        };
        changes.push((*node, Some(current)));
    }
    if looked == Looked::Everywhere {
        for (node, before) in &known.verdicts {
            if !said.contains_key(node) {
                close(tx, Spans::Verdicts, before.row, decision.at)?;
                changes.push((*node, None));
            }
        }
    }
    Ok(changes)
}

/// Whether two verdicts count as equal. The readings of a busy node differ at every look, so
/// they are not compared. Otherwise every tick would write a row for every busy node without
/// a scheduler.
fn is_same_word(before: &Verdict, now: &Verdict) -> bool {
    match (before, now) {
        (Verdict::Keep(KeepReason::Active(_)), Verdict::Keep(KeepReason::Active(_))) => true,
        (before, now) => before == now,
    }
}

fn write_figures(
    tx: &Transaction<'_>,
    known: &ClusterMemory,
    decision: &Decision<'_>,
    looked: Looked,
) -> Result<Vec<(GroupName, Option<CurrentFigures>)>, Fault> {
    let mut changes = vec![];
    for (name, figures) in decision.figures {
        let before = known.figures.get(name);
        if before.is_some_and(|before| before.figures == *figures) {
            continue;
        }
        if let Some(before) = before {
            close(tx, Spans::Figures, before.row, decision.at)?;
        }
        let group = stored::group_row(tx, decision.cluster, name)?;
        tx.prepare_cached(
            "INSERT INTO figures_span (instance_group, tick, since, figures)
             VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![
            group,
            int(decision.tick.0)?,
            decision.at.0,
            stored::json(figures)?,
        ])?;
        let current = CurrentFigures { row: tx.last_insert_rowid(), figures: figures.clone() };
        changes.push((name.clone(), Some(current)));
    }
    if looked == Looked::Everywhere {
        for (name, before) in &known.figures {
            if !decision.figures.contains_key(name) {
                close(tx, Spans::Figures, before.row, decision.at)?;
                changes.push((name.clone(), None));
            }
        }
    }
    Ok(changes)
}

/// The two tables of spans.
#[derive(Debug, Clone, Copy)]
enum Spans {
    Verdicts,
    Figures,
}

fn close(tx: &Transaction<'_>, spans: Spans, row: i64, at: Time) -> Result<(), Fault> {
    let sql = match spans {
        Spans::Verdicts => "UPDATE verdict_span SET until = ?1 WHERE id = ?2",
        Spans::Figures => "UPDATE figures_span SET until = ?1 WHERE id = ?2",
    };
    tx.prepare_cached(sql)?.execute([at.0, row])?;
    Ok(())
}

fn write_action(
    tx: &Transaction<'_>,
    cluster: &ClusterName,
    action: &OpenAction,
) -> Result<(), Fault> {
    let group = stored::group_row(tx, cluster, &action.group)?;
    tx.prepare_cached(
        "INSERT INTO action (id, instance_group, node, name, identity, evidence, terms, policy,
             marked_at, state, ended_at, ended_how)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?
    .execute(params![
        int(action.id.0)?,
        group,
        action.node.to_string(),
        action.identity.name.as_ref().map(|name| name.as_str()),
        stored::json(&action.identity)?,
        stored::json(&action.evidence)?,
        stored::json(&action.terms)?,
        action.policy.as_str(),
        action.marked_at.0,
        stored::json(&action.state)?,
        ended_at(&action.state).map(|at| at.0),
        ended_at(&action.state).map(|_| action.state.name()),
    ])?;
    Ok(())
}

/// Writes steps: the new state of each action, and the event that led to it.
pub(super) fn write_transitions(
    tx: &Transaction<'_>,
    transitions: &[Transition],
) -> Result<(), Fault> {
    for step in transitions {
        let state = stored::json(&step.state)?;
        let ended_at = ended_at(&step.state);
        let changed = tx
            .prepare_cached(
                "UPDATE action SET state = ?1, ended_at = ?2, ended_how = ?3
                 WHERE id = ?4 AND node = ?5 AND ended_at IS NULL",
            )?
            .execute(params![
                state,
                ended_at.map(|at| at.0),
                ended_at.map(|_| step.state.name()),
                int(step.action.0)?,
                step.node.to_string(),
            ])?;
        if changed != 1 {
            let (action, node) = (step.action, step.node);
            return Err(Fault::Refused(format!("action {action} of node {node} is not open")));
        }
        tx.prepare_cached(
            "INSERT INTO action_event (action, at, event, state) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![
            int(step.action.0)?,
            step.event.at.0,
            stored::json(&step.event)?,
            state,
        ])?;
    }
    Ok(())
}

/// Writes a request and its charges. An action is charged at most once.
pub(super) fn write_request(
    tx: &Transaction<'_>,
    transitions: &[Transition],
    record: &RequestRecord<'_>,
) -> Result<(), Fault> {
    let request = record.request.cleared();
    let group = stored::group_row(tx, request.cluster(), request.group())?;
    let id = int(record.request.id().0)?;
    let charged = record.charges.iter().map(|charge| charge.at);
    let stepped = transitions.iter().map(|step| step.event.at);
    let at = charged.chain(stepped).max().unwrap_or(request.look_begun_at());
    tx.prepare_cached(
        "INSERT INTO request (request, instance_group, at, nodes, look_begun_at, expires_at,
             count_after)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        id,
        group,
        at.0,
        stored::json(&request.nodes())?,
        request.look_begun_at().0,
        request.expires_at().0,
        request.count_after().map(|count| count.0),
    ])?;
    for Charge { at, group, action } in record.charges {
        let group = stored::group_row(tx, request.cluster(), group)?;
        tx.prepare_cached(
            "INSERT INTO charge (action, instance_group, at, request) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (action) DO NOTHING",
        )?
        .execute(params![int(action.0)?, group, at.0, id])?;
    }
    Ok(())
}

/// Writes the outcome of a request once. The same outcome again changes nothing, so a
/// caller may repeat the write. A different outcome is an error.
pub(super) fn write_outcome(
    tx: &Transaction<'_>,
    request: RequestId,
    at: Time,
    outcome: &DeleteOutcome,
) -> Result<Written, Fault> {
    let id = int(request.0)?;
    let outcome = stored::json(&StoredOutcome(outcome.clone()))?;
    let changed = tx
        .prepare_cached(
            "UPDATE request SET outcome = ?1, outcome_at = ?2
             WHERE request = ?3 AND outcome IS NULL",
        )?
        .execute(params![outcome, at.0, id])?;
    if changed == 1 {
        return Ok(Written::Now);
    }
    let before: Option<String> = tx
        .prepare_cached("SELECT outcome FROM request WHERE request = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()?;
    match before {
        None => Err(Fault::Refused(format!("there is no request {request}"))),
        Some(before) if before == outcome => Ok(Written::Before),
        Some(before) => {
            Err(Fault::Refused(format!("request {request} already has the outcome {before}")))
        }
    }
}

/// Whether a write changed the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// It did.
    Now,
    /// The file already contained the value.
    Before,
}

/// Returns when an action ended, if it has.
fn ended_at(state: &ActionState) -> Option<Time> {
    match state.phase() {
        Phase::Ended { at } => Some(at),
        Phase::Revocable | Phase::Asked { .. } | Phase::Releasing => None,
    }
}

/// Reserves ids from a counter of the table `meta`, and returns the first. Reserved ids
/// are never used again.
pub(super) fn reserve(conn: &Connection, counter: Counter, count: u32) -> Result<u64, Fault> {
    let sql = match counter {
        Counter::Actions => {
            "UPDATE meta SET next_action = next_action + ?1 RETURNING next_action - ?1"
        }
        Counter::Requests => {
            "UPDATE meta SET next_request = next_request + ?1 RETURNING next_request - ?1"
        }
    };
    let first: i64 = conn.prepare_cached(sql)?.query_row([count], |row| row.get(0))?;
    u64::try_from(first).map_err(|_| Fault::Row {
        table: "meta",
        row: "1".to_owned(),
        column: match counter {
            Counter::Actions => "next_action",
            Counter::Requests => "next_request",
        },
        why: format!("{first} is not a valid id"),
    })
}

/// The counters of the table `meta`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Counter {
    Actions,
    /// Request ids.
    Requests,
}
