//! Conversion of values to and from the tables. Stored values are not trusted: a cell
//! that cannot be read is a [`Fault::Row`].

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use rusqlite::types::{FromSql, ValueRef};
use rusqlite::{Connection, OptionalExtension, Params, Row};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use trimtab_core::ids::{ClusterName, GroupName, InstanceId};
use trimtab_core::rule::{Class, Counts, Member, SampleRun};
use trimtab_core::units::{NodeCount, Time};

use super::fault::Fault;
use crate::ports::{DeleteOutcome, Refusal, Ring};

/// One row of a query. By convention, the first column of every query identifies the
/// row.
pub(super) struct Cells<'a> {
    table: &'static str,
    row: &'a Row<'a>,
}

/// Reads all rows of a query of one table.
pub(super) fn rows<T>(
    conn: &Connection,
    table: &'static str,
    sql: &str,
    params: impl Params,
    read: impl Fn(&Cells<'_>) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut found = statement.query(params)?;
    let mut all = vec![];
    while let Some(row) = found.next()? {
        all.push(read(&Cells { table, row })?);
    }
    Ok(all)
}

/// Reads the first row of a query of one table.
pub(super) fn first_row<T>(
    conn: &Connection,
    table: &'static str,
    sql: &str,
    params: impl Params,
    read: impl Fn(&Cells<'_>) -> Result<T, Fault>,
) -> Result<Option<T>, Fault> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut found = statement.query(params)?;
    match found.next()? {
        Some(row) => read(&Cells { table, row }).map(Some),
        None => Ok(None),
    }
}

impl Cells<'_> {
    fn fault(&self, column: &'static str, why: impl Display) -> Fault {
        let row = match self.row.get_ref(0) {
            Ok(ValueRef::Integer(id)) => id.to_string(),
            Ok(ValueRef::Text(text)) => String::from_utf8_lossy(text).into_owned(),
            Ok(ValueRef::Null | ValueRef::Real(_) | ValueRef::Blob(_)) | Err(_) => "?".to_owned(),
        };
        Fault::Row { table: self.table, row, column, why: why.to_string() }
    }

    /// Reads a cell of a type that SQLite supports.
    pub(super) fn cell<T: FromSql>(&self, column: &'static str) -> Result<T, Fault> {
        self.row.get(column).map_err(|why| self.fault(column, why))
    }

    fn text(&self, column: &'static str) -> Result<&str, Fault> {
        let value = self.row.get_ref(column).map_err(|why| self.fault(column, why))?;
        value.as_str().map_err(|why| self.fault(column, why))
    }

    /// Reads an id or a name.
    pub(super) fn parsed<T>(&self, column: &'static str) -> Result<T, Fault>
    where
        T: FromStr,
        T::Err: Display,
    {
        self.text(column)?.parse().map_err(|why| self.fault(column, why))
    }

    /// Reads JSON.
    pub(super) fn json<T: DeserializeOwned>(&self, column: &'static str) -> Result<T, Fault> {
        serde_json::from_str(self.text(column)?).map_err(|why| self.fault(column, why))
    }

    /// Reads JSON or NULL.
    pub(super) fn maybe_json<T: DeserializeOwned>(
        &self,
        column: &'static str,
    ) -> Result<Option<T>, Fault> {
        match self.row.get_ref(column).map_err(|why| self.fault(column, why))? {
            ValueRef::Null => Ok(None),
            ValueRef::Integer(_) | ValueRef::Real(_) | ValueRef::Text(_) | ValueRef::Blob(_) => {
                self.json(column).map(Some)
            }
        }
    }

    /// Reads a time.
    pub(super) fn time(&self, column: &'static str) -> Result<Time, Fault> {
        self.cell(column).map(Time)
    }

    /// Reads a time or NULL.
    pub(super) fn maybe_time(&self, column: &'static str) -> Result<Option<Time>, Fault> {
        Ok(self.cell::<Option<i64>>(column)?.map(Time))
    }

    /// Reads a number of nodes.
    pub(super) fn count(&self, column: &'static str) -> Result<NodeCount, Fault> {
        self.cell(column).map(NodeCount)
    }

    /// Reads a number of nodes or NULL.
    pub(super) fn maybe_count(&self, column: &'static str) -> Result<Option<NodeCount>, Fault> {
        Ok(self.cell::<Option<u32>>(column)?.map(NodeCount))
    }

    /// Reads a number that must not be negative, such as an id.
    pub(super) fn whole(&self, column: &'static str) -> Result<u64, Fault> {
        let number: i64 = self.cell(column)?;
        u64::try_from(number).map_err(|why| self.fault(column, why))
    }

    /// Reads a number that must not be negative, or NULL.
    pub(super) fn maybe_whole(&self, column: &'static str) -> Result<Option<u64>, Fault> {
        let number: Option<i64> = self.cell(column)?;
        number.map(u64::try_from).transpose().map_err(|why| self.fault(column, why))
    }

    /// Reads a text or NULL.
    pub(super) fn maybe_text(&self, column: &'static str) -> Result<Option<Arc<str>>, Fault> {
        self.cell(column)
    }

    /// Reads why the loop woke up.
    pub(super) fn ring(&self, column: &'static str) -> Result<Ring, Fault> {
        let text = self.text(column)?;
        let ring = RINGS.into_iter().find(|ring| ring_name(*ring) == text);
        ring.ok_or_else(|| self.fault(column, format_args!("`{text}` is not a valid ring")))
    }

    /// Reads one node of a group's last sample.
    pub(super) fn member(&self) -> Result<(InstanceId, Member), Fault> {
        let text = self.text("class")?;
        let class = CLASSES.into_iter().find(|class| class.name() == text);
        let member = Member {
            class: class
                .ok_or_else(|| self.fault("class", format_args!("`{text}` is not a class")))?,
            idle_since: self.maybe_time("idle_since")?,
            joined: self.cell("joined")?,
        };
        Ok((self.parsed("node")?, member))
    }

    /// Reads a run of samples.
    pub(super) fn run(&self) -> Result<SampleRun, Fault> {
        Ok(SampleRun {
            from: self.time("since")?,
            to: self.time("until")?,
            counts: Counts {
                busy: self.count("busy")?,
                idle: self.count("idle")?,
                unknown: self.count("unknown")?,
                arriving: self.count("arriving")?,
                leaving: self.count("leaving")?,
                impaired: self.count("impaired")?,
                queued: self.count("queued")?,
                upcoming: self.count("upcoming")?,
                floor: self.count("floor")?,
            },
            departed: self.whole("departed")?,
        })
    }
}

/// Converts a value to JSON.
pub(super) fn json(value: &impl Serialize) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(|why| Fault::Refused(format!("cannot write JSON: {why}")))
}

/// Converts a number to SQLite's signed 64-bit integer.
pub(super) fn int(number: u64) -> Result<i64, Fault> {
    i64::try_from(number).map_err(|_| Fault::Refused(format!("{number} is too large for SQLite")))
}

/// Returns the row of a group, and creates it if there is none.
pub(super) fn group_row(
    conn: &Connection,
    cluster: &ClusterName,
    group: &GroupName,
) -> Result<i64, Fault> {
    let names = [cluster.as_str(), group.as_str()];
    let known = conn
        .prepare_cached("SELECT id FROM instance_group WHERE cluster = ?1 AND name = ?2")?
        .query_row(names, |row| row.get(0))
        .optional()?;
    if let Some(id) = known {
        return Ok(id);
    }
    conn.prepare_cached("INSERT INTO instance_group (cluster, name) VALUES (?1, ?2)")?
        .execute(names)?;
    Ok(conn.last_insert_rowid())
}

const CLASSES: [Class; 6] =
    [Class::Leaving, Class::Impaired, Class::Arriving, Class::Unknown, Class::Busy, Class::Idle];

const RINGS: [Ring; 4] = [Ring::Schedule, Ring::Deadline, Ring::Backstop, Ring::Stop];

/// Returns the stored word for a ring.
pub(super) const fn ring_name(ring: Ring) -> &'static str {
    match ring {
        Ring::Schedule => "schedule",
        Ring::Deadline => "deadline",
        Ring::Backstop => "backstop",
        Ring::Stop => "stop",
    }
}

/// The outcome of a request as JSON. The port's type does not depend on the storage.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredOutcome(#[serde(with = "OutcomeShape")] pub(super) DeleteOutcome);

#[derive(Serialize, Deserialize)]
#[serde(remote = "DeleteOutcome")]
enum OutcomeShape {
    Answered { accepted: Vec<InstanceId>, failed: Vec<(InstanceId, Arc<str>)> },
    Refused { cause: Refusal, why: Arc<str> },
    NoAnswer { why: Arc<str> },
}
