//! Reads the ledger for operators: what trimtab did or did not do, and why.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use rusqlite::{Connection, params};
use trimtab_core::action::{ActionState, Event, Phase};
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

/// A ledger opened for reading, with or without a running daemon.
pub struct LedgerReader {
    db: Arc<Database>,
    id: LedgerId,
}

/// A node as an operator names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeQuery {
    /// By its instance id.
    Id(InstanceId),
    /// By its name in the scheduler: the last instance that had a verdict under this name.
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

/// One action with its events and its request.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryRow {
    pub cluster: ClusterName,
    /// The action in its current or last state.
    pub action: OpenAction,
    /// Its events, oldest first.
    pub events: Vec<ActionEvent>,
    /// The delete request with its node, if any.
    pub request: Option<RequestRow>,
    /// When the deletion was charged to the budgets.
    pub charged_at: Option<Time>,
    pub ended_at: Option<Time>,
}

/// One step of an action.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionEvent {
    pub event: Event,
    /// The state after it.
    pub state: ActionState,
}

/// One delete request.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestRow {
    pub request: RequestId,
    /// When it was written, just before it was sent.
    pub at: Time,
    /// The nodes that it named; for a whole-group request, all nodes of the group.
    pub nodes: Vec<InstanceId>,
    /// How many nodes stay, for a whole-group request.
    pub count_after: Option<NodeCount>,
    /// When the look behind it began.
    pub look_begun_at: Time,
    /// When it expired: it was not sent after this time.
    pub expires_at: Time,
    /// The outcome; `None` if it was never written.
    pub outcome: Option<DeleteOutcome>,
    /// When the outcome was written.
    pub outcome_at: Option<Time>,
}

/// Everything about one node.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    pub node: InstanceId,
    pub cluster: ClusterName,
    pub group: GroupName,
    /// Verdicts on the node, newest first.
    pub verdicts: Vec<VerdictSpan>,
    /// The newest figures of its group.
    pub figures: Option<FiguresSpan>,
    /// Actions on the node, newest first.
    pub actions: Vec<HistoryRow>,
    /// End of the cool-down after its release; may be in the past.
    pub cooldown: Option<Time>,
}

/// A verdict on a node, and how long it was current.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerdictSpan {
    /// The first tick with this verdict.
    pub tick: TickId,
    pub since: Time,
    /// `None` while it is current.
    pub until: Option<Time>,
    /// The verdict. It contains the readings of a busy node at `since`.
    pub verdict: Verdict,
}

/// The figures of a group, and how long they were current.
#[derive(Debug, Clone, PartialEq)]
pub struct FiguresSpan {
    /// The first tick with these figures.
    pub tick: TickId,
    pub since: Time,
    /// `None` while they are current.
    pub until: Option<Time>,
    pub figures: GroupFigures,
}

/// One tick.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TickRow {
    pub id: TickId,
    pub cluster: ClusterName,
    /// When its reads ended.
    pub at: Time,
    /// When its reads began.
    pub begun_at: Time,
    /// Why the loop woke up.
    pub ring: Ring,
    /// Why the tick was no sample; `None` if it was one.
    pub gap: Option<Arc<str>>,
}

/// One freeze.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreezeRow {
    pub cluster: ClusterName,
    /// Its start and its reason.
    pub freeze: Freeze,
    /// Who cleared it, and when; `None` while it is in force.
    pub cleared: Option<Cleared>,
}

/// Who cleared a freeze, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleared {
    pub at: Time,
    pub by: Arc<str>,
}

/// One setting of the operator's switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchRow {
    pub entry: SwitchEntry,
    /// Who set it.
    pub by: Arc<str>,
}

impl LedgerReader {
    pub(super) fn new(db: Arc<Database>, id: LedgerId) -> Self {
        Self { db, id }
    }

    /// Returns the id of the ledger.
    pub fn id(&self) -> LedgerId {
        self.id.clone()
    }

    /// Returns at most `limit` actions, newest first, of one cluster or of all.
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

    /// Returns the samples of each group of a cluster: runs of equal samples, oldest
    /// first, with the number of their window.
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
                 WHERE g.cluster = ?1 ORDER BY r.id",
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

    /// Returns the learner of each group of a cluster, up to its last sample.
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

    /// Returns the open actions with their clusters, oldest first.
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

    /// Returns everything about one node, with at most `limit` of its newest verdicts, or
    /// `None` if the ledger does not know the node.
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

    /// Returns at most `limit` ticks, newest first, of one cluster or of all.
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

    /// Returns the freezes, newest first, of one cluster or of all.
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

    /// Returns at most `limit` settings of the operator's switch, newest first.
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

/// Returns the settings in force for a cluster: the newest one for all clusters, and the
/// newest one for this cluster.
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

/// Reads an action without its events and its request.
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
    // A node of a whole-group request may have no charge of its own.
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

/// Returns the request of an action in this state.
fn request_of(state: &ActionState) -> Option<RequestId> {
    match state.phase() {
        Phase::Asked { request, .. } => Some(request),
        Phase::Revocable | Phase::Releasing | Phase::Ended { .. } => None,
    }
}

fn sql_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
