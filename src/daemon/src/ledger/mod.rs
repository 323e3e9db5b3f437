//! The durable memory, in one SQLite file: intents before requests, outcomes after
//! them, and everything that `explain`, `history` and a restart need.
//!
//! ```text
//! tick: record_observation ─► record_decision ─► (effects)
//! step: record_transitions [+ request + charges] ─► (API request) ─► record_outcome
//! ```
//! Every method is one transaction, and durable when it returns. A tick writes one
//! small row, and what changed since the last tick: equal samples, verdicts and
//! figures are stored as spans with a start and an end.
//!
//! Only one daemon can use a ledger at a time: [`SqliteLedger::open`] takes a lock
//! that ends with the process. Meanwhile, operators' commands can read the ledger
//! with [`LedgerReader`], and pause, resume and clear freezes with [`LedgerOperator`].
//!
//! Rows are never cleaned up. Apart from the one row per tick, the ledger grows only
//! with changes.

mod decision;
mod error;
mod fault;
mod lock;
mod memory;
mod observation;
mod open;
mod operator;
mod records;
mod recovery;
mod schema;
mod stored;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{OpenFlags, OptionalExtension, params};
use trimtab_core::history::History;
use trimtab_core::ids::{ActionId, ClusterName, InstanceId, LedgerId, RequestId, TickId};
use trimtab_core::units::{NodeCount, Span, Time};

pub use self::error::OpenError;
pub use self::open::Durability;
pub use self::operator::LedgerOperator;
pub use self::records::{
    ActionEvent, Cleared, Explanation, FiguresSpan, FreezeRow, HistoryRow, LedgerReader, NodeQuery,
    RequestRow, SwitchRow, TickRow, VerdictSpan,
};

use self::decision::{Counter, Written};
use self::memory::Memory;
use self::open::{Database, IdSource};
use crate::ports::{
    Decision, DeleteOutcome, Lease, LeaseError, Ledger, LedgerError, Observation, RequestRecord,
    Switch, Transition,
};

/// The lease on one machine: the process that holds the ledger's lock may act.
pub struct OneMachineLease {
    db: Arc<Database>,
}

impl Lease for OneMachineLease {
    fn hold(&self) -> Result<u64, LeaseError> {
        match self.db.is_held() {
            // A process takes the lock once, so there is only one generation.
            Ok(true) => Ok(1),
            Ok(false) => Err(LeaseError::Lost("the ledger's lock file was replaced".into())),
            Err(source) => Err(LeaseError::Unreadable { what: "the ledger's lock file", source }),
        }
    }
}

/// The ledger of one daemon.
pub struct SqliteLedger {
    db: Arc<Database>,
    id: LedgerId,
    memory: Mutex<Memory>,
}

impl SqliteLedger {
    /// Opens the ledger for a daemon: creates the file if it is missing, and locks out other
    /// daemons until it is dropped or the process ends.
    ///
    /// # Errors
    /// When another daemon holds the lock, or this build cannot use the file.
    pub fn open(path: &Path, now: Time, durability: Durability) -> Result<Self, OpenError> {
        Self::of(Database::open(path, now, durability, IdSource::Random)?)
    }

    /// Like [`SqliteLedger::open`], but the id of a new file comes from this seed, so that
    /// the same seed of a simulation gives the same log.
    ///
    /// # Errors
    /// As [`SqliteLedger::open`].
    pub fn open_seeded(
        path: &Path,
        now: Time,
        durability: Durability,
        seed: u64,
    ) -> Result<Self, OpenError> {
        Self::of(Database::open(path, now, durability, IdSource::Seed(seed))?)
    }

    /// Opens a ledger that exists only in memory. Its id depends on `now`.
    ///
    /// # Errors
    /// When the database cannot be created.
    pub fn in_memory(now: Time) -> Result<Self, OpenError> {
        let seed = now.0.unsigned_abs();
        Self::of(Database::in_memory(now, IdSource::Seed(seed))?)
    }

    /// Copies an existing ledger into memory. Writes to the copy do not change the file.
    ///
    /// # Errors
    /// As [`SqliteLedger::open_reader`].
    pub fn copy_of(path: &Path) -> Result<Self, OpenError> {
        Self::of(Database::copy_of(path)?)
    }

    /// Opens an existing ledger for reading, with or without a running daemon.
    ///
    /// # Errors
    /// When the file is missing, or this build cannot read it.
    pub fn open_reader(path: &Path) -> Result<LedgerReader, OpenError> {
        let db = Database::attach(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let id = db.id()?;
        Ok(LedgerReader::new(Arc::new(db), id))
    }

    /// Opens an existing ledger for an operator's writes, with or without a running
    /// daemon.
    ///
    /// # Errors
    /// As [`SqliteLedger::open_reader`].
    pub fn open_operator(path: &Path) -> Result<LedgerOperator, OpenError> {
        let db = Database::attach(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let id = db.id()?;
        Ok(LedgerOperator::new(Arc::new(db), id))
    }

    /// Returns a reader of this ledger that uses the same connection.
    pub fn reader(&self) -> LedgerReader {
        LedgerReader::new(Arc::clone(&self.db), self.id.clone())
    }

    /// Returns the lease of this ledger. It is held while the ledger's lock is in place.
    pub fn lease(&self) -> OneMachineLease {
        OneMachineLease { db: Arc::clone(&self.db) }
    }

    /// Returns a handle for an operator's writes that uses the same connection.
    pub fn operator(&self) -> LedgerOperator {
        LedgerOperator::new(Arc::clone(&self.db), self.id.clone())
    }

    fn of(db: Database) -> Result<Self, OpenError> {
        let id = db.id()?;
        Ok(Self { db: Arc::new(db), id, memory: Mutex::default() })
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // A panic cannot leave it half changed: it changes only after a commit, at once.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger for SqliteLedger {
    fn id(&self) -> LedgerId {
        self.id.clone()
    }

    fn load(
        &self,
        cluster: &ClusterName,
        now: Time,
        max_gap: Span,
    ) -> Result<History, LedgerError> {
        let mut memory = self.memory();
        memory.forget(cluster);
        self.db.read("could not read the stored state", |conn| {
            let known = memory.of(conn, cluster)?;
            recovery::load(conn, known, cluster, now, max_gap)
        })
    }

    fn reserve_actions(&self, count: NodeCount) -> Result<ActionId, LedgerError> {
        let reserve = |conn: &_| decision::reserve(conn, Counter::Actions, count.0);
        self.db.write("could not reserve action ids", |tx| reserve(tx)).map(ActionId)
    }

    fn reserve_request(&self) -> Result<RequestId, LedgerError> {
        let reserve = |conn: &_| decision::reserve(conn, Counter::Requests, 1);
        self.db.write("could not reserve a request id", |tx| reserve(tx)).map(RequestId)
    }

    fn record_observation(&self, observation: &Observation<'_>) -> Result<TickId, LedgerError> {
        let cluster = observation.cluster;
        let mut memory = self.memory();
        let written = self.db.write("could not write the observation", |tx| {
            observation::write(tx, memory.of(tx, cluster)?, observation)
        });
        let seen = written.inspect_err(|_| memory.forget(cluster))?;
        let tick = seen.tick;
        if let Some(known) = memory.known(cluster) {
            seen.remember(known);
        }
        Ok(tick)
    }

    fn record_decision(&self, decision: &Decision<'_>) -> Result<(), LedgerError> {
        let cluster = decision.cluster;
        let mut memory = self.memory();
        let written = self.db.write("could not write the decision", |tx| {
            decision::write(tx, memory.of(tx, cluster)?, decision)
        });
        let decided = written.inspect_err(|_| memory.forget(cluster))?;
        if let Some(known) = memory.known(cluster) {
            decided.remember(known);
        }
        Ok(())
    }

    fn record_transitions(
        &self,
        _cluster: &ClusterName,
        transitions: &[Transition],
        record: Option<RequestRecord<'_>>,
    ) -> Result<(), LedgerError> {
        self.db.write("could not write the steps of actions", |tx| {
            decision::write_transitions(tx, transitions)?;
            match &record {
                Some(record) => decision::write_request(tx, transitions, record),
                None => Ok(()),
            }
        })
    }

    fn record_outcome(
        &self,
        request: RequestId,
        at: Time,
        outcome: &DeleteOutcome,
        transitions: &[Transition],
    ) -> Result<(), LedgerError> {
        self.db.write("could not write the outcome of a request", |tx| {
            match decision::write_outcome(tx, request, at, outcome)? {
                Written::Now => decision::write_transitions(tx, transitions),
                Written::Before => Ok(()),
            }
        })
    }

    fn record_cooldown(
        &self,
        cluster: &ClusterName,
        node: InstanceId,
        until: Time,
    ) -> Result<(), LedgerError> {
        self.db.write("could not write a cool-down", |tx| {
            tx.prepare_cached(
                "INSERT INTO cooldown (cluster, node, until) VALUES (?1, ?2, ?3)
                 ON CONFLICT (cluster, node) DO UPDATE SET until = max(until, excluded.until)",
            )?
            .execute(params![cluster.as_str(), node.to_string(), until.0])?;
            Ok(())
        })
    }

    fn read_switch(&self, cluster: &ClusterName) -> Result<Switch, LedgerError> {
        let rows = self
            .db
            .read("could not read the switch", |conn| records::switches_in_force(conn, cluster))?;
        let paused = rows.iter().find_map(|row| match &row.entry.switch {
            Switch::On => None,
            Switch::Paused { why } => {
                let which =
                    if row.entry.cluster.is_some() { "this cluster" } else { "all clusters" };
                let why = format!("{why} ({which}, by {} at {})", row.by, row.entry.at);
                Some(Switch::Paused { why: why.into() })
            }
        });
        Ok(paused.unwrap_or(Switch::On))
    }

    fn freeze_cleared(&self, cluster: &ClusterName, since: Time) -> Result<bool, LedgerError> {
        self.db.read("could not read whether a freeze was cleared", |conn| {
            let cleared = conn
                .prepare_cached(
                    "SELECT cleared_at IS NOT NULL FROM freeze WHERE cluster = ?1 AND at = ?2",
                )?
                .query_row(params![cluster.as_str(), since.0], |row| row.get(0))
                .optional()?;
            // A freeze that is not in the ledger was never cleared.
            Ok(cleared.unwrap_or(false))
        })
    }
}

#[cfg(test)]
mod tests;
