//! Why a ledger could not be opened.

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another daemon uses it.
    #[error(
        "ledger {path} is in use by another daemon ({holder}): stop that daemon, or set a \
         different `[state] path` for this one"
    )]
    Held {
        path: String,
        /// Process id, host and start time of the daemon that uses it.
        holder: String,
    },
    /// A newer build wrote it.
    #[error(
        "ledger {path} has schema {found}, but this build supports schemas up to {known}: run \
         the newer trimtab, or restore a backup from before the update"
    )]
    NewerSchema {
        path: String,
        found: i32,
        /// The newest schema that this build supports.
        known: i32,
    },
    /// An early build wrote it, before the first release. Its schema is not migrated.
    #[error(
        "ledger {path} was written by an early build (schema {found}) that this one cannot read: \
         run that build until `history` shows no open action, resume the nodes that it left \
         drained, then move the file away; trimtab creates a new one, without the pause, the \
         freezes and the charges of the old one"
    )]
    OlderSchema { path: String, found: i32 },
    /// There is no such file.
    #[error(
        "there is no ledger {path}: check `[state] path`; the daemon creates it at its first start"
    )]
    Missing { path: String },
    /// The file is not a ledger.
    #[error("{path} is not a trimtab ledger ({why}): check `[state] path`, or move the file away")]
    NotALedger {
        path: String,
        /// What the file is instead.
        why: String,
    },
    /// The file is damaged.
    #[error(
        "ledger {path} is damaged ({why}): make a copy, then restore a backup or recover it with \
         `sqlite3 {path} .recover`; without it trimtab does not know which deletions it requested"
    )]
    Damaged {
        path: String,
        /// What SQLite found.
        why: String,
    },
    /// The file system or SQLite returned an error.
    #[error("ledger {path} cannot be used: {why}")]
    Unusable { path: String, why: String },
}
