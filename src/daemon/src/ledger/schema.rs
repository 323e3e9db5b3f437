//! The tables of the ledger.
//!
//! Times are milliseconds since 1970, spans and money are integers, and structured
//! values (states, verdicts, evidence) are JSON, so that an operator can read
//! everything with the `sqlite3` shell.
//!
//! [`VERSION`] is the version of [`SCHEMA`]. A change of the tables after the first release is a
//! migration from one version to the next; nothing has been released yet, so an older file is
//! refused instead.

use rusqlite::{Connection, TransactionBehavior, params};
use trimtab_core::ids::LedgerId;
use trimtab_core::units::Time;

use super::fault::Fault;

/// Marks a SQLite file as a trimtab ledger ("trim" in ASCII), so that trimtab does not
/// create its tables in the database of another program.
pub(super) const APPLICATION_ID: i32 = 0x7472_696d;

/// The schema this build writes and reads. Early builds wrote versions 1 to 3.
pub(super) const VERSION: i32 = 4;

/// The tables, with their indexes and triggers.
const SCHEMA: &str = "
-- The ledger itself, one row. An id once reserved is never used again.
CREATE TABLE meta (
    one          INTEGER PRIMARY KEY CHECK (one = 1),
    ledger       TEXT    NOT NULL,
    made_at      INTEGER NOT NULL,
    next_action  INTEGER NOT NULL,
    next_request INTEGER NOT NULL
) STRICT;

CREATE TABLE instance_group (
    id      INTEGER PRIMARY KEY,
    cluster TEXT NOT NULL,
    name    TEXT NOT NULL,
    UNIQUE (cluster, name)
) STRICT;

-- One row per tick.
CREATE TABLE tick (
    id       INTEGER PRIMARY KEY,
    cluster  TEXT    NOT NULL,
    at       INTEGER NOT NULL,
    begun_at INTEGER NOT NULL,
    ring     TEXT    NOT NULL,
    gap      TEXT
) STRICT;

-- State of each group's count. watching = 0: its window has ended.
CREATE TABLE group_state (
    instance_group INTEGER PRIMARY KEY REFERENCES instance_group (id),
    window_no      INTEGER NOT NULL,
    watching       INTEGER NOT NULL CHECK (watching IN (0, 1)),
    largest        INTEGER NOT NULL,
    departed       INTEGER NOT NULL
) STRICT;

-- Consecutive samples with equal counts. A change of window_no is a gap.
CREATE TABLE sample_run (
    id             INTEGER PRIMARY KEY,
    instance_group INTEGER NOT NULL REFERENCES instance_group (id),
    window_no      INTEGER NOT NULL,
    since          INTEGER NOT NULL,
    until          INTEGER NOT NULL,
    busy           INTEGER NOT NULL,
    idle           INTEGER NOT NULL,
    unknown        INTEGER NOT NULL,
    arriving       INTEGER NOT NULL,
    leaving        INTEGER NOT NULL,
    impaired       INTEGER NOT NULL,
    queued         INTEGER NOT NULL,
    upcoming       INTEGER NOT NULL,
    floor          INTEGER NOT NULL,
    departed       INTEGER NOT NULL
) STRICT;
CREATE INDEX sample_run_window ON sample_run (instance_group, window_no, since);

-- State of each group's learner at its last fit. The state after that is computed from
-- the runs after `at`. window_no is the newest window at the time of the fit.
CREATE TABLE learner (
    instance_group INTEGER PRIMARY KEY REFERENCES instance_group (id),
    at             INTEGER NOT NULL,
    window_no      INTEGER NOT NULL,
    fits           INTEGER NOT NULL,
    state          TEXT    NOT NULL
) STRICT;

-- The nodes in each group's last sample.
CREATE TABLE member (
    instance_group INTEGER NOT NULL REFERENCES instance_group (id),
    node           TEXT    NOT NULL,
    class          TEXT    NOT NULL,
    idle_since     INTEGER,
    joined         INTEGER NOT NULL CHECK (joined IN (0, 1)),
    PRIMARY KEY (instance_group, node)
) STRICT, WITHOUT ROWID;

-- The verdict on a node, from one tick to another; until is NULL while it is
-- current.
CREATE TABLE verdict_span (
    id             INTEGER PRIMARY KEY,
    instance_group INTEGER NOT NULL REFERENCES instance_group (id),
    node           TEXT    NOT NULL,
    name           TEXT,
    tick           INTEGER NOT NULL REFERENCES tick (id),
    since          INTEGER NOT NULL,
    until          INTEGER,
    verdict        TEXT    NOT NULL
) STRICT;
CREATE INDEX verdict_span_node ON verdict_span (node);
CREATE INDEX verdict_span_name ON verdict_span (name);
CREATE UNIQUE INDEX verdict_span_current
    ON verdict_span (instance_group, node) WHERE until IS NULL;

-- The figures behind a group's verdicts; until is NULL while they are current.
CREATE TABLE figures_span (
    id             INTEGER PRIMARY KEY,
    instance_group INTEGER NOT NULL REFERENCES instance_group (id),
    tick           INTEGER NOT NULL REFERENCES tick (id),
    since          INTEGER NOT NULL,
    until          INTEGER,
    figures        TEXT    NOT NULL
) STRICT;
CREATE INDEX figures_span_group ON figures_span (instance_group);
CREATE UNIQUE INDEX figures_span_current
    ON figures_span (instance_group) WHERE until IS NULL;

-- Deletion of one node. The row is the intent; state is the current state.
CREATE TABLE action (
    id             INTEGER PRIMARY KEY,
    instance_group INTEGER NOT NULL REFERENCES instance_group (id),
    node           TEXT    NOT NULL,
    name           TEXT,
    identity       TEXT    NOT NULL,
    evidence       TEXT    NOT NULL,
    terms          TEXT    NOT NULL,
    policy         TEXT    NOT NULL,
    marked_at      INTEGER NOT NULL,
    state          TEXT    NOT NULL,
    ended_at       INTEGER,
    ended_how      TEXT
) STRICT;
CREATE INDEX action_node ON action (node);
CREATE INDEX action_name ON action (name) WHERE name IS NOT NULL;
CREATE INDEX action_ended ON action (ended_at) WHERE ended_at IS NOT NULL;
CREATE UNIQUE INDEX action_open ON action (node) WHERE ended_at IS NULL;
CREATE TRIGGER action_ended_is_final BEFORE UPDATE ON action WHEN OLD.ended_at IS NOT NULL
    BEGIN SELECT RAISE(ABORT, 'an action that has ended is not changed'); END;
CREATE TRIGGER action_is_kept BEFORE DELETE ON action
    BEGIN SELECT RAISE(ABORT, 'actions are not deleted'); END;

CREATE TABLE action_event (
    seq    INTEGER PRIMARY KEY,
    action INTEGER NOT NULL REFERENCES action (id),
    at     INTEGER NOT NULL,
    event  TEXT    NOT NULL,
    state  TEXT    NOT NULL
) STRICT;
CREATE INDEX action_event_action ON action_event (action);
CREATE TRIGGER action_event_is_final BEFORE UPDATE ON action_event
    BEGIN SELECT RAISE(ABORT, 'action_event is append-only'); END;
CREATE TRIGGER action_event_is_kept BEFORE DELETE ON action_event
    BEGIN SELECT RAISE(ABORT, 'action_event is append-only'); END;

-- Delete requests. The row is written before the request is sent, its outcome once
-- after it. count_after is the number of nodes that stay after a whole-group request, and
-- NULL for a request by ids.
CREATE TABLE request (
    request        INTEGER PRIMARY KEY,
    instance_group INTEGER NOT NULL REFERENCES instance_group (id),
    at             INTEGER NOT NULL,
    nodes          TEXT    NOT NULL,
    count_after    INTEGER,
    look_begun_at  INTEGER NOT NULL,
    expires_at     INTEGER NOT NULL,
    outcome        TEXT,
    outcome_at     INTEGER
) STRICT;
CREATE TRIGGER request_outcome_is_final BEFORE UPDATE ON request WHEN OLD.outcome IS NOT NULL
    BEGIN SELECT RAISE(ABORT, 'the outcome of a request is not changed'); END;
CREATE TRIGGER request_is_kept BEFORE DELETE ON request
    BEGIN SELECT RAISE(ABORT, 'requests are not deleted'); END;

-- What counts against the budgets: an action at most once, ever.
CREATE TABLE charge (
    action         INTEGER PRIMARY KEY REFERENCES action (id),
    instance_group INTEGER NOT NULL REFERENCES instance_group (id),
    at             INTEGER NOT NULL,
    request        INTEGER NOT NULL REFERENCES request (request)
) STRICT;
CREATE INDEX charge_at ON charge (at);
CREATE TRIGGER charge_is_final BEFORE UPDATE ON charge
    BEGIN SELECT RAISE(ABORT, 'charge is append-only'); END;
CREATE TRIGGER charge_is_kept BEFORE DELETE ON charge
    BEGIN SELECT RAISE(ABORT, 'charge is append-only'); END;

CREATE TABLE cooldown (
    cluster TEXT    NOT NULL,
    node    TEXT    NOT NULL,
    until   INTEGER NOT NULL,
    PRIMARY KEY (cluster, node)
) STRICT, WITHOUT ROWID;

-- Freezes, which only an operator can clear.
CREATE TABLE freeze (
    id         INTEGER PRIMARY KEY,
    cluster    TEXT    NOT NULL,
    at         INTEGER NOT NULL,
    why        TEXT    NOT NULL,
    cleared_at INTEGER,
    cleared_by TEXT,
    UNIQUE (cluster, at)
) STRICT;
CREATE TRIGGER freeze_cleared_is_final BEFORE UPDATE ON freeze WHEN OLD.cleared_at IS NOT NULL
    BEGIN SELECT RAISE(ABORT, 'a freeze that was cleared is not changed'); END;
CREATE TRIGGER freeze_is_kept BEFORE DELETE ON freeze
    BEGIN SELECT RAISE(ABORT, 'freezes are not deleted'); END;

-- The operator's switch; cluster is NULL for the switch of all clusters. The newest
-- row of each counts.
CREATE TABLE switch (
    seq     INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL,
    cluster TEXT,
    paused  INTEGER NOT NULL CHECK (paused IN (0, 1)),
    why     TEXT,
    set_by  TEXT    NOT NULL
) STRICT;
CREATE INDEX switch_cluster ON switch (cluster);
CREATE TRIGGER switch_is_final BEFORE UPDATE ON switch
    BEGIN SELECT RAISE(ABORT, 'switch is append-only'); END;
CREATE TRIGGER switch_is_kept BEFORE DELETE ON switch
    BEGIN SELECT RAISE(ABORT, 'switch is append-only'); END;
";

/// Creates the tables in a file without any, in one transaction. The ledger gets its id from
/// `id`. A file that has them already is not changed.
///
/// # Errors
/// Fails if SQLite does, for example because the tables have another version.
pub(super) fn create(
    conn: &mut Connection,
    now: Time,
    id: impl FnOnce(&Connection) -> Result<LedgerId, Fault>,
) -> Result<(), Fault> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: i32 = tx.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found == VERSION {
        return Ok(());
    }
    tx.execute_batch(SCHEMA)?;
    let id = id(&tx)?;
    tx.execute(
        "INSERT INTO meta (one, ledger, made_at, next_action, next_request)
         VALUES (1, ?1, ?2, 1, 1)",
        params![id.as_str(), now.0],
    )?;
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.pragma_update(None, "user_version", VERSION)?;
    tx.commit()?;
    Ok(())
}
