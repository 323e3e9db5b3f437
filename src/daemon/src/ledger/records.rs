//! Reading the ledger for people: what was done, and why (not).

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use rusqlite::{Connection, params};
use trimtab_core::action::{ActionState, Event};
use trimtab_core::history::{Freeze, OpenAction};
use trimtab_core::ids::{
    ClusterName, GroupName, InstanceId, LedgerId, NodeName, ParseIdError, RequestId, TickId,
};
use trimtab_core::plan::{GroupFigures, Verdict};
use trimtab_core::rule::SampleRun;
use trimtab_core::rule::learned::Learner;
use trimtab_core::units::{NodeCount, Time};

use super::fault::Fault;
use super::open::Database;
use super::recovery;
use super::stored::{self, Cells, StoredOutcome};
use crate::ports::{DeleteOutcome, LedgerError, Ring, Switch, SwitchEntry};

/// A ledger that can only be read, beside a running daemon or without one.
pub struct LedgerReader {
    db: Arc<Database>,
    id: LedgerId,
}

/// A node as an operator names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeQuery {
    /// By its instance id.
    Id(InstanceId),
    /// By the scheduler's name; the last instance that bore it when it was
    /// marked is meant.
    Name(NodeName),
}

impl FromStr for NodeQuery {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(id) => Ok(Self::Id(id)),
            Err(_) => text.parse().map(Self::Name),
        }
    }
}

/// One action with everything that happened to it.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryRow {
    /// The cluster.
    pub cluster: ClusterName,
    /// The action, in the state it is in now or ended in.
    pub action: OpenAction,
    /// What happened, oldest first.
    pub events: Vec<ActionEvent>,
    /// The request it was part of, if its deletion was asked for.
    pub request: Option<RequestRow>,
    /// When that was charged to the budgets.
    pub charged_at: Option<Time>,
    /// When it ended.
    pub ended_at: Option<Time>,
}

/// One step of an action.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionEvent {
    /// What happened, and when.
    pub event: Event,
    /// The state after it.
    pub state: ActionState,
}

/// One delete request.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestRow {
    /// Its id.
    pub request: RequestId,
    /// When it was written, just before it was sent.
    pub at: Time,
    /// All nodes it named; for a call for a whole group, all of its nodes.
    pub nodes: Vec<InstanceId>,
    /// How many of them it left, for a call for a whole group.
    pub count_after: Option<NodeCount>,
    /// When the look behind it began.
    pub look_begun_at: Time,
    /// From when on it might not have been sent any more.
    pub expires_at: Time,
    /// How it ended; `None` if that was never written.
    pub outcome: Option<DeleteOutcome>,
    /// When that was written.
    pub outcome_at: Option<Time>,
}

/// Everything about one node.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The node.
    pub node: InstanceId,
    /// Its cluster.
    pub cluster: ClusterName,
    /// Its group.
    pub group: GroupName,
    /// What was said of it, newest first.
    pub verdicts: Vec<VerdictSpan>,
    /// The newest numbers of its group.
    pub figures: Option<FiguresSpan>,
    /// Its actions, newest first.
    pub actions: Vec<HistoryRow>,
    /// Until when it is left alone after it was released; may lie in the past.
    pub cooldown: Option<Time>,
}

/// What was said of a node for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerdictSpan {
    /// The tick that said it first.
    pub tick: TickId,
    /// Since when.
    pub since: Time,
    /// Until when; `None` while it holds.
    pub until: Option<Time>,
    /// The word. Readings of a node at work are those of `since`.
    pub verdict: Verdict,
}

/// A group's numbers for a while.
#[derive(Debug, Clone, PartialEq)]
pub struct FiguresSpan {
    /// The tick that found them first.
    pub tick: TickId,
    /// Since when.
    pub since: Time,
    /// Until when; `None` while they hold.
    pub until: Option<Time>,
    /// The numbers.
    pub figures: GroupFigures,
}

/// One tick.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TickRow {
    /// Its id.
    pub id: TickId,
    /// The cluster.
    pub cluster: ClusterName,
    /// When its reads ended.
    pub at: Time,
    /// When its reads began.
    pub begun_at: Time,
    /// Why the loop woke up.
    pub ring: Ring,
    /// Why it was not a sample, if it was not.
    pub gap: Option<Arc<str>>,
}

/// One freeze.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreezeRow {
    /// The cluster.
    pub cluster: ClusterName,
    /// Since when and why.
    pub freeze: Freeze,
    /// Who ended it; `None` while it is in force.
    pub cleared: Option<Cleared>,
}

/// How a freeze ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleared {
    /// When.
    pub at: Time,
    /// By whom.
    pub by: Arc<str>,
}

/// One setting of the operator's switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchRow {
    /// What was set.
    pub entry: SwitchEntry,
    /// By whom.
    pub by: Arc<str>,
}

impl LedgerReader {
    pub(super) fn new(db: Arc<Database>, id: LedgerId) -> Self {
        Self { db, id }
    }

    /// The ledger's id.
    pub fn id(&self) -> LedgerId {
        self.id.clone()
    }

    /// Actions, newest first, at most `limit`; of all clusters unless one is named.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn history(
        &self,
        limit: usize,
        cluster: Option<&ClusterName>,
    ) -> Result<Vec<HistoryRow>, LedgerError> {
        self.db.read("could not read actions", |conn| {
            let rows = stored::rows(
                conn,
                "action",
                "SELECT a.*, g.name AS group_name, g.cluster
                 FROM action a JOIN instance_group g ON g.id = a.instance_group
                 WHERE ?1 IS NULL OR g.cluster = ?1
                 ORDER BY a.id DESC LIMIT ?2",
                params![cluster.map(ClusterName::as_str), sql_limit(limit)],
                history_row,
            )?;
            rows.into_iter().map(|row| complete(conn, row)).collect()
        })
    }

    /// What was counted in each group of a cluster: runs of equal samples,
    /// oldest first, with the number of the unbroken window they belong to. Runs
    /// of builds that did not write the floor are left out.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn runs(
        &self,
        cluster: &ClusterName,
    ) -> Result<BTreeMap<GroupName, Vec<(i64, SampleRun)>>, LedgerError> {
        self.db.read("could not read samples", |conn| {
            let rows = stored::rows(
                conn,
                "sample_run",
                "SELECT r.*, g.name FROM instance_group g
                 JOIN sample_run r ON r.instance_group = g.id
                 WHERE g.cluster = ?1 AND r.floor IS NOT NULL ORDER BY r.id",
                [cluster.as_str()],
                |cells| {
                    let group: GroupName = cells.parsed("name")?;
                    Ok((group, (cells.cell("window_no")?, cells.run()?)))
                },
            )?;
            let mut groups: BTreeMap<GroupName, Vec<(i64, SampleRun)>> = BTreeMap::new();
            for (group, run) in rows {
                groups.entry(group).or_default().push(run);
            }
            Ok(groups)
        })
    }

    /// What was learned of each group of a cluster, up to its last sample.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn learners(
        &self,
        cluster: &ClusterName,
    ) -> Result<BTreeMap<GroupName, Learner>, LedgerError> {
        self.db.read("could not read learned timers", |conn| {
            let groups = stored::rows(
                conn,
                "instance_group",
                "SELECT id, name FROM instance_group WHERE cluster = ?1",
                [cluster.as_str()],
                |cells| Ok((cells.cell("id")?, cells.parsed("name")?)),
            )?;
            let mut learners = BTreeMap::new();
            for (row, name) in groups {
                if let Some(learner) = recovery::learner(conn, row)? {
                    learners.insert(name, learner);
                }
            }
            Ok(learners)
        })
    }

    /// Actions that are not over, oldest first, with their clusters.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn open_actions(&self) -> Result<Vec<(ClusterName, OpenAction)>, LedgerError> {
        self.db.read("could not read open actions", |conn| {
            stored::rows(
                conn,
                "action",
                "SELECT a.*, g.name AS group_name, g.cluster
                 FROM action a JOIN instance_group g ON g.id = a.instance_group
                 WHERE a.ended_at IS NULL ORDER BY a.id",
                [],
                |cells| Ok((cells.parsed("cluster")?, recovery::action(cells)?)),
            )
        })
    }

    /// Everything about one node, with at most `limit` of its newest verdicts;
    /// `None` if it was never seen.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn explain(
        &self,
        node: &NodeQuery,
        limit: usize,
    ) -> Result<Option<Explanation>, LedgerError> {
        self.db.read("could not read the records of a node", |conn| explain(conn, node, limit))
    }

    /// Ticks, newest first, at most `limit`; of all clusters unless one is named.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn ticks(
        &self,
        limit: usize,
        cluster: Option<&ClusterName>,
    ) -> Result<Vec<TickRow>, LedgerError> {
        self.db.read("could not read ticks", |conn| {
            stored::rows(
                conn,
                "tick",
                "SELECT * FROM tick WHERE ?1 IS NULL OR cluster = ?1 ORDER BY id DESC LIMIT ?2",
                params![cluster.map(ClusterName::as_str), sql_limit(limit)],
                |cells| {
                    Ok(TickRow {
                        id: TickId(cells.whole("id")?),
                        cluster: cells.parsed("cluster")?,
                        at: cells.time("at")?,
                        begun_at: cells.time("begun_at")?,
                        ring: cells.ring("ring")?,
                        gap: cells.maybe_text("gap")?,
                    })
                },
            )
        })
    }

    /// Freezes, newest first; of all clusters unless one is named.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn freezes(&self, cluster: Option<&ClusterName>) -> Result<Vec<FreezeRow>, LedgerError> {
        self.db.read("could not read freezes", |conn| {
            stored::rows(
                conn,
                "freeze",
                "SELECT * FROM freeze WHERE ?1 IS NULL OR cluster = ?1 ORDER BY id DESC",
                [cluster.map(ClusterName::as_str)],
                |cells| {
                    let (at, by) =
                        (cells.maybe_time("cleared_at")?, cells.maybe_text("cleared_by")?);
                    Ok(FreezeRow {
                        cluster: cells.parsed("cluster")?,
                        freeze: Freeze { at: cells.time("at")?, why: cells.json("why")? },
                        cleared: at.zip(by).map(|(at, by)| Cleared { at, by }),
                    })
                },
            )
        })
    }

    /// Settings of the operator's switch, newest first, at most `limit`.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn switches(&self, limit: usize) -> Result<Vec<SwitchRow>, LedgerError> {
        self.db.read("could not read the switch", |conn| {
            stored::rows(
                conn,
                "switch",
                "SELECT * FROM switch ORDER BY seq DESC LIMIT ?1",
                [sql_limit(limit)],
                switch_row,
            )
        })
    }
}

/// The settings in force for a cluster: the newest one for all clusters, and
/// the newest one for this cluster.
pub(super) fn switches_in_force(
    conn: &Connection,
    cluster: &ClusterName,
) -> Result<Vec<SwitchRow>, Fault> {
    stored::rows(
        conn,
        "switch",
        "SELECT * FROM switch WHERE seq IN (
             SELECT max(seq) FROM switch WHERE cluster IS NULL
             UNION ALL SELECT max(seq) FROM switch WHERE cluster = ?1)
         ORDER BY cluster IS NOT NULL",
        [cluster.as_str()],
        switch_row,
    )
}

fn switch_row(cells: &Cells<'_>) -> Result<SwitchRow, Fault> {
    let paused: bool = cells.cell("paused")?;
    let switch = if paused {
        let why = cells.maybe_text("why")?;
        Switch::Paused { why: why.unwrap_or_else(|| "no reason given".into()) }
    } else {
        Switch::On
    };
    let cluster: Option<Arc<str>> = cells.maybe_text("cluster")?;
    let cluster = match cluster {
        Some(_) => Some(cells.parsed("cluster")?),
        None => None,
    };
    Ok(SwitchRow {
        entry: SwitchEntry { at: cells.time("at")?, cluster, switch },
        by: cells.cell("set_by")?,
    })
}

fn explain(
    conn: &Connection,
    node: &NodeQuery,
    limit: usize,
) -> Result<Option<Explanation>, Fault> {
    let node = match node {
        NodeQuery::Id(id) => Some(*id),
        NodeQuery::Name(name) => stored::first_row(
            conn,
            "verdict_span",
            "SELECT id, node FROM verdict_span WHERE name = ?1 ORDER BY id DESC LIMIT 1",
            [name.as_str()],
            |cells| cells.parsed("node"),
        )?,
    };
    let Some(node) = node else { return Ok(None) };
    let actions = stored::rows(
        conn,
        "action",
        "SELECT a.*, g.name AS group_name, g.cluster
         FROM action a JOIN instance_group g ON g.id = a.instance_group
         WHERE a.node = ?1 ORDER BY a.id DESC",
        [node.to_string()],
        history_row,
    )?;
    let actions: Vec<HistoryRow> =
        actions.into_iter().map(|row| complete(conn, row)).collect::<Result<_, _>>()?;
    let verdicts = stored::rows(
        conn,
        "verdict_span",
        "SELECT v.*, g.cluster, g.name AS group_name
         FROM verdict_span v JOIN instance_group g ON g.id = v.instance_group
         WHERE v.node = ?1 ORDER BY v.id DESC LIMIT ?2",
        params![node.to_string(), sql_limit(limit.max(1))],
        |cells| {
            let span = VerdictSpan {
                tick: TickId(cells.whole("tick")?),
                since: cells.time("since")?,
                until: cells.maybe_time("until")?,
                verdict: cells.json("verdict")?,
            };
            Ok((cells.parsed("cluster")?, cells.parsed("group_name")?, span))
        },
    )?;
    let place = match (verdicts.first(), actions.first()) {
        (Some((cluster, group, _)), _) => (ClusterName::clone(cluster), GroupName::clone(group)),
        (None, Some(row)) => (row.cluster.clone(), row.action.group.clone()),
        (None, None) => return Ok(None),
    };
    let (cluster, group) = place;
    let figures = stored::first_row(
        conn,
        "figures_span",
        "SELECT f.* FROM figures_span f JOIN instance_group g ON g.id = f.instance_group
         WHERE g.cluster = ?1 AND g.name = ?2 ORDER BY f.id DESC LIMIT 1",
        [cluster.as_str(), group.as_str()],
        |cells| {
            Ok(FiguresSpan {
                tick: TickId(cells.whole("tick")?),
                since: cells.time("since")?,
                until: cells.maybe_time("until")?,
                figures: cells.json("figures")?,
            })
        },
    )?;
    let cooldown = stored::first_row(
        conn,
        "cooldown",
        "SELECT node, until FROM cooldown WHERE cluster = ?1 AND node = ?2",
        params![cluster.as_str(), node.to_string()],
        |cells| cells.time("until"),
    )?;
    let verdicts = verdicts.into_iter().map(|(_, _, span)| span).take(limit).collect();
    Ok(Some(Explanation { node, cluster, group, verdicts, figures, actions, cooldown }))
}

/// An action without its events and its request.
fn history_row(cells: &Cells<'_>) -> Result<HistoryRow, Fault> {
    Ok(HistoryRow {
        cluster: cells.parsed("cluster")?,
        action: recovery::action(cells)?,
        events: vec![],
        request: None,
        charged_at: None,
        ended_at: cells.maybe_time("ended_at")?,
    })
}

/// Adds an action's events and its request.
fn complete(conn: &Connection, mut row: HistoryRow) -> Result<HistoryRow, Fault> {
    let action = stored::int(row.action.id.0)?;
    row.events = stored::rows(
        conn,
        "action_event",
        "SELECT seq, event, state FROM action_event WHERE action = ?1 ORDER BY seq",
        [action],
        |cells| Ok(ActionEvent { event: cells.json("event")?, state: cells.json("state")? }),
    )?;
    let charge = stored::first_row(
        conn,
        "charge",
        "SELECT action, at, request FROM charge WHERE action = ?1",
        [action],
        |cells| Ok((cells.time("at")?, cells.cell::<i64>("request")?)),
    )?;
    row.charged_at = charge.map(|(charged_at, _)| charged_at);
    // A node of a call for a whole group need not be charged itself.
    let asked = || row.events.iter().rev().find_map(|event| request_of(&event.state));
    let request = match charge {
        Some((_, request)) => request,
        None => match asked() {
            Some(request) => stored::int(request.0)?,
            None => return Ok(row),
        },
    };
    row.request = stored::first_row(
        conn,
        "request",
        "SELECT * FROM request WHERE request = ?1",
        [request],
        |cells| {
            let outcome: Option<StoredOutcome> = cells.maybe_json("outcome")?;
            Ok(RequestRow {
                request: RequestId(cells.whole("request")?),
                at: cells.time("at")?,
                nodes: cells.json("nodes")?,
                count_after: cells.maybe_count("count_after")?,
                look_begun_at: cells.time("look_begun_at")?,
                expires_at: cells.time("expires_at")?,
                outcome: outcome.map(|StoredOutcome(outcome)| outcome),
                outcome_at: cells.maybe_time("outcome_at")?,
            })
        },
    )?;
    Ok(row)
}

/// The request that an action in this state is, or was, part of.
fn request_of(state: &ActionState) -> Option<RequestId> {
    match state {
        ActionState::Asking { request, .. } | ActionState::Asked { request, .. } => Some(*request),
        ActionState::Marked { .. }
        | ActionState::Cordoning { .. }
        | ActionState::Settling { .. }
        | ActionState::Releasing { .. }
        | ActionState::Ended { .. } => None,
    }
}

fn sql_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
