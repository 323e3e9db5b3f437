//! Writes of operators' commands: the switch, and the end of a freeze. Only the daemon
//! writes everything else.

use std::sync::Arc;

use rusqlite::params;
use trimtab_core::ids::{ClusterName, LedgerId};
use trimtab_core::units::Time;

use super::open::Database;
use super::records::LedgerReader;
use crate::ports::{LedgerError, Switch, SwitchEntry};

/// A ledger opened for an operator's writes, with or without a running daemon. Every write
/// is one short transaction. The daemon reads it at its next tick, and the switch also before
/// every request.
pub struct LedgerOperator {
    db: Arc<Database>,
    reader: LedgerReader,
}

impl LedgerOperator {
    pub(super) fn new(db: Arc<Database>, id: LedgerId) -> Self {
        Self { reader: LedgerReader::new(Arc::clone(&db), id), db }
    }

    /// Returns a reader of the same ledger.
    pub fn reader(&self) -> &LedgerReader {
        &self.reader
    }

    /// Sets the switch of one cluster, or the one of all clusters. They are separate: trimtab
    /// acts in a cluster only while both are on, so resuming all clusters does not resume a
    /// cluster that was paused by its own switch.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn set_switch(&self, entry: &SwitchEntry, by: &str) -> Result<(), LedgerError> {
        let why = match &entry.switch {
            Switch::On => None,
            Switch::Paused { why } => Some(&**why),
        };
        self.db.write("could not set the switch", |tx| {
            tx.prepare_cached(
                "INSERT INTO switch (at, cluster, paused, why, set_by)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                entry.at.0,
                entry.cluster.as_ref().map(ClusterName::as_str),
                why.is_some(),
                why,
                by,
            ])?;
            Ok(())
        })
    }

    /// Clears the freeze of a cluster. Returns `false` if there was none.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn clear_freeze(
        &self,
        cluster: &ClusterName,
        by: &str,
        at: Time,
    ) -> Result<bool, LedgerError> {
        self.db.write("could not clear a freeze", |tx| {
            let changed = tx
                .prepare_cached(
                    "UPDATE freeze SET cleared_at = ?1, cleared_by = ?2
                     WHERE cluster = ?3 AND cleared_at IS NULL",
                )?
                .execute(params![at.0, by, cluster.as_str()])?;
            Ok(changed > 0)
        })
    }
}
