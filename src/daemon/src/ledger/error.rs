//! Why a ledger could not be opened.

/// Why a ledger could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another daemon has it.
    #[error(
        "ledger {path} is in use by another daemon ({holder}): stop that daemon, or set a \
         different `[state] path` for this one"
    )]
    Held {
        /// The ledger.
        path: String,
        /// Who holds it: pid, host, since.
        holder: String,
    },
    /// A newer build wrote it.
    #[error(
        "ledger {path} has schema {found}, but this build supports schemas up to {known}: run \
         the newer trimtab, or restore a backup from before the update"
    )]
    NewerSchema {
        /// The ledger.
        path: String,
        /// Its schema.
        found: i32,
        /// The newest one this build knows.
        known: i32,
    },
    /// An older build wrote it, and this opening may not change it.
    #[error(
        "ledger {path} has schema {found}, but this command needs schema {known}: start the \
         daemon of this build once, so that it updates the ledger"
    )]
    OlderSchema {
        /// The ledger.
        path: String,
        /// Its schema.
        found: i32,
        /// The one this build needs.
        known: i32,
    },
    /// There is no such file.
    #[error(
        "there is no ledger {path}: check `[state] path`; the daemon creates it at its first start"
    )]
    Missing {
        /// The ledger.
        path: String,
    },
    /// It is something else.
    #[error("{path} is not a trimtab ledger ({why}): check `[state] path`, or move the file away")]
    NotALedger {
        /// The file.
        path: String,
        /// What it is instead.
        why: String,
    },
    /// It is damaged.
    #[error(
        "ledger {path} is damaged ({why}): make a copy, then restore a backup or recover it with \
         `sqlite3 {path} .recover`; without it trimtab does not know which deletions it requested"
    )]
    Damaged {
        /// The ledger.
        path: String,
        /// What was found.
        why: String,
    },
    /// The file system or SQLite said no.
    #[error("ledger {path} cannot be used: {why}")]
    Unusable {
        /// The ledger.
        path: String,
        /// What went wrong.
        why: String,
    },
}
