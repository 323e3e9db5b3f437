//! Errors inside the ledger, and their texts for operators.

use std::fmt;

use rusqlite::ErrorCode;

use crate::ports::LedgerError;

/// An error inside the ledger, before it becomes a [`LedgerError`] or an `OpenError`.
#[derive(Debug)]
pub(super) enum Fault {
    /// SQLite returned an error.
    Sqlite(rusqlite::Error),
    /// This build cannot read a row.
    Row { table: &'static str, row: String, column: &'static str, why: String },
    /// A write contradicts the stored rows, which is a bug in trimtab.
    Refused(String),
}

/// Texts that say what an operator can do about an error of SQLite.
const ADVICE: [(ErrorCode, &str); 9] = [
    (
        ErrorCode::DiskFull,
        "the disk or the quota is full: free space on its file system; trimtab deletes nothing \
         meanwhile",
    ),
    (
        ErrorCode::ReadOnly,
        "it cannot be written: check whether its file system is mounted read-only, and who owns \
         the file",
    ),
    (
        ErrorCode::CannotOpen,
        "it cannot be opened: the file, its directory and its `-wal` and `-shm` files must be \
         readable and writable for the user that trimtab runs as",
    ),
    (ErrorCode::PermissionDenied, "this user may not open it: use the user that trimtab runs as"),
    (
        ErrorCode::DatabaseBusy,
        "another process keeps it locked: end any `sqlite3` shell or backup that uses it \
         (`fuser -v` on the file lists them)",
    ),
    (
        ErrorCode::DatabaseLocked,
        "another connection keeps it locked; trimtab retries at the next tick",
    ),
    (
        ErrorCode::DatabaseCorrupt,
        "the file is damaged: stop trimtab, make a copy, then restore a backup or recover it with \
         `sqlite3 FILE .recover`",
    ),
    (
        ErrorCode::NotADatabase,
        "the file is not a ledger: check `[state] path`, and move the file away if it is damaged",
    ),
    (ErrorCode::SystemIoFailure, "the disk is full or has failed: check `df`, then the kernel log"),
];

impl Fault {
    /// Converts to the error of the port; `what` says what failed.
    pub(super) fn at(self, path: &str, what: &'static str) -> LedgerError {
        LedgerError { path: path.to_owned(), what, source: self.into() }
    }

    /// Returns SQLite's error code, if the error came from SQLite.
    pub(super) fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Sqlite(why) => why.sqlite_error_code(),
            Self::Row { .. } | Self::Refused(_) => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(why) => {
                let code = why.sqlite_error_code();
                let advice = ADVICE.iter().find(|(known, _)| Some(*known) == code);
                match advice {
                    Some((_, advice)) => write!(f, "{why}; {advice}"),
                    None => why.fmt(f),
                }
            }
            Self::Row { table, row, column, why } => write!(
                f,
                "table {table}, row {row}, column {column}: {why}; the row is damaged, or \
                 another build wrote it: stop trimtab, make a copy, then repair the row with \
                 `sqlite3` or restore a backup"
            ),
            Self::Refused(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Sqlite(why) => Some(why),
            Self::Row { .. } | Self::Refused(_) => None,
        }
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(why: rusqlite::Error) -> Self {
        Self::Sqlite(why)
    }
}
