//! What an operator may write beside a running daemon: the switch, and the end of
//! a freeze. Everything else is the daemon's alone.

use std::sync::Arc;

use rusqlite::params;
use trimtab_core::ids::{ClusterName, LedgerId};
use trimtab_core::units::Time;

use super::open::Database;
use super::records::LedgerReader;
use crate::ports::{LedgerError, Switch, SwitchEntry};

/// A ledger that an operator's command may write to, with or without a running
/// daemon. Every write is one short transaction; the daemon reads it before
/// its next step.
pub struct LedgerOperator {
    db: Arc<Database>,
    reader: LedgerReader,
}

impl LedgerOperator {
    pub(super) fn new(db: Arc<Database>, id: LedgerId) -> Self {
        Self { reader: LedgerReader::new(Arc::clone(&db), id), db }
    }

    /// The same ledger for reading.
    pub fn reader(&self) -> &LedgerReader {
        &self.reader
    }

    /// Sets the switch of one cluster, or the one of all clusters. The two are
    /// apart: a cluster acts only while neither of them says pause, so a resume
    /// of all does not undo the pause of one.
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

    /// Ends the freeze of a cluster; `false` if there was none.
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
