//! Why a ledger could not be opened.

/// Why a ledger could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another daemon has it.
    #[error(
        "ledger {path} is in use: {holder}; stop that daemon first, or give this one a ledger of its own"
    )]
    Held {
        /// The ledger.
        path: String,
        /// Who holds it: pid, host, since.
        holder: String,
    },
    /// A newer build wrote it.
    #[error(
        "ledger {path} has schema {found}, and this build knows up to {known}: run the newer \
         trimtab, or restore a backup from before the update"
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
        "ledger {path} has schema {found}, and this command needs {known}: start the daemon of \
         this build once, which brings it up to date"
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
        "there is no ledger {path}: check `[state] path`; the daemon makes it at its first start"
    )]
    Missing {
        /// The ledger.
        path: String,
    },
    /// It is something else.
    #[error(
        "{path} is not a ledger of trimtab ({why}): check `[state] path`, or move the file aside"
    )]
    NotALedger {
        /// The file.
        path: String,
        /// What it is instead.
        why: String,
    },
    /// It is damaged.
    #[error(
        "ledger {path} is damaged ({why}): keep a copy, then restore a backup or recover it with \
         `sqlite3 {path} .recover`; without it trimtab does not know what it has asked for"
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
