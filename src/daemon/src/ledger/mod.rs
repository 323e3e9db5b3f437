//! The durable memory: intents before acts, outcomes after, and everything
//! that `explain`, `history` and a restart need, in one SQLite file.
//!
//! ```text
//! tick: record_observation ─► record_decision ─► (effects)
//! step: record_transitions [+ request + charges] ─► (the call) ─► record_outcome
//! ```
//! Every method is one transaction and durable when it returns. A tick writes
//! one small row and whatever changed since the last one: samples that count
//! the same, verdicts and figures are spans with a beginning and an end.
//!
//! One daemon has a ledger at a time ([`SqliteLedger::open`] takes a lock that
//! goes with the process). Beside it, people read it with [`LedgerReader`] and
//! pause, resume and end freezes with [`LedgerOperator`].
//!
//! Nothing is ever cleaned up here: what grows is measured by what happened,
//! not by how long nothing did, save for one row a tick.

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

/// The lease of a machine on which the ledger's lock decides who acts.
pub struct OneMachineLease {
    db: Arc<Database>,
}

impl Lease for OneMachineLease {
    fn hold(&self) -> Result<u64, LeaseError> {
        match self.db.is_held() {
            // The lock is taken once in a process's life: there is one generation.
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
    /// Opens the daemon's ledger: makes the file if there is none, brings an
    /// older one up to date, and keeps every other daemon out until it is
    /// dropped or the process dies.
    ///
    /// # Errors
    /// Another daemon has it, or the file is not one this build can work with.
    pub fn open(path: &Path, now: Time, durability: Durability) -> Result<Self, OpenError> {
        Self::of(Database::open(path, now, durability, IdSource::Random)?)
    }

    /// The same, but a new file gets its id from this seed: one seed of a
    /// simulation gives one log.
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

    /// A ledger that ends with the process; its id follows from `now`.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn in_memory(now: Time) -> Result<Self, OpenError> {
        let seed = now.0.unsigned_abs();
        Self::of(Database::in_memory(now, IdSource::Seed(seed))?)
    }

    /// A copy of an existing ledger that ends with the process: what is known is known
    /// here, too, and nothing that is written reaches the file.
    ///
    /// # Errors
    /// As [`SqliteLedger::open_reader`].
    pub fn copy_of(path: &Path) -> Result<Self, OpenError> {
        Self::of(Database::copy_of(path)?)
    }

    /// Opens an existing ledger for reading, beside a daemon or without one.
    ///
    /// # Errors
    /// When there is none, or not one this build can read.
    pub fn open_reader(path: &Path) -> Result<LedgerReader, OpenError> {
        let db = Database::attach(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let id = db.id()?;
        Ok(LedgerReader::new(Arc::new(db), id))
    }

    /// Opens an existing ledger for an operator's writes, beside a daemon or
    /// without one.
    ///
    /// # Errors
    /// As [`SqliteLedger::open_reader`].
    pub fn open_operator(path: &Path) -> Result<LedgerOperator, OpenError> {
        let db = Database::attach(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let id = db.id()?;
        Ok(LedgerOperator::new(Arc::new(db), id))
    }

    /// This ledger for reading, on the same connection.
    pub fn reader(&self) -> LedgerReader {
        LedgerReader::new(Arc::clone(&self.db), self.id.clone())
    }

    /// The lease of a machine with one daemon a ledger: it is held while the
    /// ledger's lock is in place.
    pub fn lease(&self) -> OneMachineLease {
        OneMachineLease { db: Arc::clone(&self.db) }
    }

    /// This ledger for an operator's writes, on the same connection.
    pub fn operator(&self) -> LedgerOperator {
        LedgerOperator::new(Arc::clone(&self.db), self.id.clone())
    }

    fn of(db: Database) -> Result<Self, OpenError> {
        let id = db.id()?;
        Ok(Self { db: Arc::new(db), id, memory: Mutex::default() })
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // It is only changed after a commit, and in one go.
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
        let reserve = |conn: &_| decision::reserve(conn, Counter::Batches, 1);
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
            // One that is not there was never cleared.
            Ok(cleared.unwrap_or(false))
        })
    }
}

#[cfg(test)]
mod tests;
