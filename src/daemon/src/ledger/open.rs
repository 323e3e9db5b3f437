//! Opens the file of a ledger.
//!
//! A file is examined before it is changed. A file of a newer or an early build or of another
//! program, and a damaged file, is rejected without a change.

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

/// How long to wait while another process locks the file. Operators' writes take
/// milliseconds, and a tick can wait this long without missing its schedule.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Size of the statement cache: more than the ledger's statements, so that none is
/// compiled twice.
const STATEMENTS: usize = 128;

/// Value for SQLite's backup to copy all pages in one step.
const ALL_PAGES: i32 = -1;

/// Size to which SQLite truncates the write-ahead log after a checkpoint, in bytes.
const WAL_BYTES_KEPT: i64 = 8 << 20;

/// Which failures a committed write survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// A power loss: every commit waits for the disk. The daemon uses this.
    Full,
    /// A crash of the process, but not of the machine. For simulations only: if the
    /// machine crashed and lost an intent, trimtab could send its request twice.
    ProcessCrash,
}

/// Where a new ledger's id comes from.
#[derive(Debug, Clone, Copy)]
pub(super) enum IdSource {
    /// Random bytes from SQLite.
    Random,
    /// A seed. The same seed gives the same id.
    Seed(u64),
}

/// One connection, shared by all its readers and writers.
pub(super) struct Database {
    conn: Mutex<Connection>,
    path: String,
    /// Dropped after the connection. `None` without a daemon.
    lock: Option<DaemonLock>,
}

impl Database {
    /// Opens the file for a daemon: takes the lock, then creates the file if it is missing.
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
            Found::Ledger => check_whole(&conn, &shown)?,
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
        schema::create(&mut conn, now, |conn| make_id(conn, id)).map_err(fail)?;
        Ok(Self { conn: Mutex::new(conn), path: shown, lock: Some(lock) })
    }

    /// Creates a database in memory.
    pub(super) fn in_memory(now: Time, id: IdSource) -> Result<Self, OpenError> {
        let path = "(in memory)".to_owned();
        let make = || {
            let mut conn = Connection::open_in_memory()?;
            set_up(&conn)?;
            schema::create(&mut conn, now, |conn| make_id(conn, id))?;
            Ok(conn)
        };
        let conn = make().map_err(|fault| refuse(&path, fault))?;
        Ok(Self { conn: Mutex::new(conn), path, lock: None })
    }

    /// Copies an existing file into memory, with or without a running daemon.
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

    /// Opens an existing file of exactly this schema, with or without a running daemon.
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
            Found::Ledger => {
                make_durable(&conn, Durability::Full).map_err(fail)?;
                Ok(Self { conn: Mutex::new(conn), path: shown, lock: None })
            }
            // A daemon has created the file but not its tables yet.
            Found::Nothing => Err(OpenError::Missing { path: shown }),
        }
    }

    /// Whether the lock is still in place, so this is the only daemon of the ledger.
    /// Always true without a lock file.
    pub(super) fn is_held(&self) -> std::io::Result<bool> {
        self.lock.as_ref().map_or(Ok(true), DaemonLock::is_in_place)
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic cannot leave a transaction open: the drop rolls it back.
        self.conn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs reads in one transaction, so that all see the same state.
    pub(super) fn read<T>(
        &self,
        what: &'static str,
        body: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, LedgerError> {
        self.transact(what, TransactionBehavior::Deferred, |tx| body(tx))
    }

    /// Runs writes in one transaction: all or nothing, and durable when it returns.
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

    /// Reads the id of the ledger.
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

    /// Returns the connection, for tests that damage the file.
    #[cfg(test)]
    pub(super) fn raw(&self) -> MutexGuard<'_, Connection> {
        self.lock()
    }
}

enum Found {
    /// An empty file.
    Nothing,
    /// A ledger of this very schema.
    Ledger,
}

/// Checks what kind of file it is, without changing it.
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
    if version < schema::VERSION {
        return Err(OpenError::OlderSchema { path: path.to_owned(), found: version });
    }
    Ok(Found::Ledger)
}

/// Checks the file for damage, to find a damaged page before a deletion begins.
fn check_whole(conn: &Connection, path: &str) -> Result<(), OpenError> {
    let said: String = conn
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|why| refuse(path, why.into()))?;
    if said == "ok" { Ok(()) } else { Err(OpenError::Damaged { path: path.to_owned(), why: said }) }
}

fn set_up(conn: &Connection) -> Result<(), Fault> {
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    // The file must not run code or read anything outside it.
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

/// Returns the absolute path, so that two paths to one file share one lock, and no path
/// means a database in memory (`:memory:`).
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

/// Makes an id in the format of a version 4 UUID.
fn make_id(conn: &Connection, source: IdSource) -> Result<LedgerId, Fault> {
    let bits: u128 = match source {
        IdSource::Random => {
            let bytes: [u8; 16] = conn.query_row("SELECT randomblob(16)", [], |row| row.get(0))?;
            u128::from_be_bytes(bytes)
        }
        IdSource::Seed(seed) => {
            // Spread the bits, so that similar seeds give different ids.
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
