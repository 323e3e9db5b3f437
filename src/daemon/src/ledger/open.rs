//! Opening: what a file must be before anything is done with it.
//!
//! A file is looked at before anything is changed in it: one of a newer build,
//! of another program or a damaged one is refused as it is.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};
use trimtab_core::ids::LedgerId;
use trimtab_core::random::SplitMix64;
use trimtab_core::units::Time;

use super::error::OpenError;
use super::fault::Fault;
use super::lock::DaemonLock;
use super::schema;
use crate::ports::LedgerError;

/// How long another process may keep the file locked. Operators' writes take
/// milliseconds, and a tick may wait this long without missing its schedule.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Room for every statement of this module, so that none is compiled twice.
const STATEMENTS: usize = 128;

/// What SQLite's backup takes for "all that is left", in one step.
const ALL_PAGES: i32 = -1;

/// The write-ahead log is cut back to this size after a checkpoint.
const WAL_BYTES_KEPT: i64 = 8 << 20;

/// What a committed write survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Power loss: every commit waits for the disk. What the product uses.
    Full,
    /// The death of the process, but not of the machine. For simulations only:
    /// a write whose intent is lost with the machine could be done twice.
    ProcessCrash,
}

/// Where a new ledger's id comes from.
#[derive(Debug, Clone, Copy)]
pub(super) enum IdSource {
    /// The operating system's randomness.
    Random,
    /// This number: one seed gives one ledger.
    Seed(u64),
}

/// One connection, shared by whoever reads and writes through it.
pub(super) struct Database {
    conn: Mutex<Connection>,
    path: String,
    /// Dropped after the connection.
    lock: Option<DaemonLock>,
}

impl Database {
    /// For a daemon: takes the lock, makes or updates the file.
    pub(super) fn open(
        path: &Path,
        now: Time,
        durability: Durability,
        id: IdSource,
    ) -> Result<Self, OpenError> {
        let path = absolute(path);
        let shown = path.display().to_string();
        let lock = DaemonLock::take(&path, now)?;
        let fail = |fault: Fault| refuse(&shown, fault);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut conn = Connection::open_with_flags(&path, flags).map_err(|why| fail(why.into()))?;
        set_up(&conn).map_err(fail)?;
        match examine(&conn, &shown)? {
            Found::Nothing => {}
            Found::Schema(_) => check_whole(&conn, &shown)?,
        }
        let mode: String = conn
            .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
            .map_err(|why| fail(why.into()))?;
        if mode != "wal" {
            return Err(OpenError::Unusable {
                path: shown,
                why: "its file system does not support the shared memory of the write-ahead log: \
                      move the ledger to a local disk"
                    .to_owned(),
            });
        }
        make_durable(&conn, durability).map_err(fail)?;
        schema::migrate(&mut conn, now, |conn| make_id(conn, id)).map_err(fail)?;
        Ok(Self { conn: Mutex::new(conn), path: shown, lock: Some(lock) })
    }

    /// In memory only.
    pub(super) fn in_memory(now: Time, id: IdSource) -> Result<Self, OpenError> {
        let path = "(in memory)".to_owned();
        let make = || {
            let mut conn = Connection::open_in_memory()?;
            set_up(&conn)?;
            schema::migrate(&mut conn, now, |conn| make_id(conn, id))?;
            Ok(conn)
        };
        let conn = make().map_err(|fault| refuse(&path, fault))?;
        Ok(Self { conn: Mutex::new(conn), path, lock: None })
    }

    /// A copy in memory of an existing file, beside a daemon or without one.
    pub(super) fn copy_of(path: &Path) -> Result<Self, OpenError> {
        let file = Self::attach(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let copy = || {
            let mut conn = Connection::open_in_memory()?;
            let pages = Backup::new(&file.lock(), &mut conn)?.step(ALL_PAGES)?;
            if pages != StepResult::Done {
                return Err(Fault::Refused("it changed during the copy: try again".to_owned()));
            }
            set_up(&conn)?;
            Ok(conn)
        };
        let conn = copy().map_err(|fault| refuse(&file.path, fault))?;
        Ok(Self { conn: Mutex::new(conn), path: format!("{} (a copy)", file.path), lock: None })
    }

    /// Beside a daemon, or without one: an existing file of this very schema.
    pub(super) fn attach(path: &Path, access: OpenFlags) -> Result<Self, OpenError> {
        let path = absolute(path);
        let shown = path.display().to_string();
        if !path.exists() {
            return Err(OpenError::Missing { path: shown });
        }
        let fail = |fault: Fault| refuse(&shown, fault);
        let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(&path, flags).map_err(|why| fail(why.into()))?;
        set_up(&conn).map_err(fail)?;
        match examine(&conn, &shown)? {
            Found::Schema(found) if found < schema::VERSION => {
                Err(OpenError::OlderSchema { path: shown, found, known: schema::VERSION })
            }
            Found::Schema(_) => {
                make_durable(&conn, Durability::Full).map_err(fail)?;
                Ok(Self { conn: Mutex::new(conn), path: shown, lock: None })
            }
            // Made by a daemon that has not come far enough yet.
            Found::Nothing => Err(OpenError::Missing { path: shown }),
        }
    }

    /// Whether this is the one daemon of the ledger: its lock is still in place.
    /// A ledger in memory has nobody to share it with.
    pub(super) fn is_held(&self) -> std::io::Result<bool> {
        self.lock.as_ref().map_or(Ok(true), DaemonLock::is_in_place)
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic cannot leave a transaction behind: dropping one rolls it back.
        self.conn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads, all from one state of the file.
    pub(super) fn read<T>(
        &self,
        what: &'static str,
        body: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, LedgerError> {
        self.transact(what, TransactionBehavior::Deferred, |tx| body(tx))
    }

    /// Writes all of it or nothing; durable when it returns.
    pub(super) fn write<T>(
        &self,
        what: &'static str,
        body: impl FnOnce(&Transaction<'_>) -> Result<T, Fault>,
    ) -> Result<T, LedgerError> {
        self.transact(what, TransactionBehavior::Immediate, body)
    }

    fn transact<T>(
        &self,
        what: &'static str,
        behavior: TransactionBehavior,
        body: impl FnOnce(&Transaction<'_>) -> Result<T, Fault>,
    ) -> Result<T, LedgerError> {
        let mut conn = self.lock();
        let run = || {
            let tx = conn.transaction_with_behavior(behavior)?;
            let value = body(&tx)?;
            tx.commit()?;
            Ok(value)
        };
        run().map_err(|fault: Fault| fault.at(&self.path, what))
    }

    /// The ledger's id.
    pub(super) fn id(&self) -> Result<LedgerId, OpenError> {
        let read = super::stored::first_row(
            &self.lock(),
            "meta",
            "SELECT one, ledger FROM meta",
            [],
            |cells| cells.parsed("ledger"),
        );
        let found = read.map_err(|fault| refuse(&self.path, fault))?;
        found.ok_or_else(|| OpenError::Damaged {
            path: self.path.clone(),
            why: "table meta has no row".to_owned(),
        })
    }

    /// The connection, for tests that break things.
    #[cfg(test)]
    pub(super) fn raw(&self) -> MutexGuard<'_, Connection> {
        self.lock()
    }
}

enum Found {
    Nothing,
    Schema(i32),
}

/// Looks at a file without changing it.
fn examine(conn: &Connection, path: &str) -> Result<Found, OpenError> {
    let look = || {
        let application: i32 = conn.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let version: i32 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let tables: i64 =
            conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        Ok((application, version, tables))
    };
    let (application, version, tables) = look().map_err(|fault| refuse(path, fault))?;
    if tables == 0 && version == 0 {
        return Ok(Found::Nothing);
    }
    if application != schema::APPLICATION_ID {
        return Err(OpenError::NotALedger {
            path: path.to_owned(),
            why: "it is a SQLite database of another program".to_owned(),
        });
    }
    if version > schema::VERSION {
        return Err(OpenError::NewerSchema {
            path: path.to_owned(),
            found: version,
            known: schema::VERSION,
        });
    }
    Ok(Found::Schema(version))
}

/// A damaged page is better found now than in the middle of a deletion.
fn check_whole(conn: &Connection, path: &str) -> Result<(), OpenError> {
    let said: String = conn
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|why| refuse(path, why.into()))?;
    if said == "ok" { Ok(()) } else { Err(OpenError::Damaged { path: path.to_owned(), why: said }) }
}

fn set_up(conn: &Connection) -> Result<(), Fault> {
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    // Nothing in the file may run code or reach outside it.
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.pragma_update(None, "cell_size_check", true)?;
    conn.pragma_update(None, "foreign_keys", true)?;
    Ok(())
}

fn make_durable(conn: &Connection, durability: Durability) -> Result<(), Fault> {
    let synchronous = match durability {
        Durability::Full => "FULL",
        Durability::ProcessCrash => "OFF",
    };
    conn.pragma_update(None, "synchronous", synchronous)?;
    conn.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT)?;
    Ok(())
}

/// Two names of one file must lead to one lock, and no name to a database in
/// memory (`:memory:`).
fn absolute(path: &Path) -> PathBuf {
    let real = path.canonicalize().or_else(|_| std::path::absolute(path));
    real.unwrap_or_else(|_| path.to_owned())
}

fn refuse(path: &str, fault: Fault) -> OpenError {
    let path = path.to_owned();
    match fault.code() {
        Some(ErrorCode::NotADatabase) => {
            OpenError::NotALedger { path, why: "it is not a SQLite database".to_owned() }
        }
        Some(ErrorCode::DatabaseCorrupt) => OpenError::Damaged { path, why: fault.to_string() },
        Some(_) | None => OpenError::Unusable { path, why: fault.to_string() },
    }
}

/// An id that looks like a UUID of version 4.
fn make_id(conn: &Connection, source: IdSource) -> Result<LedgerId, Fault> {
    let bits: u128 = match source {
        IdSource::Random => {
            let bytes: [u8; 16] = conn.query_row("SELECT randomblob(16)", [], |row| row.get(0))?;
            u128::from_be_bytes(bytes)
        }
        IdSource::Seed(seed) => {
            // Neighbouring seeds are spread over all bits.
            let spread = |seed| SplitMix64::new(seed).draw();
            let (high, low) = (spread(seed), spread(spread(seed)));
            (u128::from(high) << 64) | u128::from(low)
        }
    };
    let bits = bits & !(0xf << 76) | (0x4 << 76);
    let bits = bits & !(0x3 << 62) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| &hex[range]);
    parts.join("-").parse().map_err(|why| Fault::Refused(format!("{why}")))
}
