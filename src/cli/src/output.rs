//! Output to stdout: colours on a terminal, tables, and JSON documents.

use std::io::{IsTerminal, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

pub(crate) use trimtab_core::text::plain;

/// Schema version of every document that `--output json` prints.
pub(crate) const SCHEMA_VERSION: u32 = 1;

/// Output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Text and tables
    Table,
    /// JSON documents with a `schema_version`
    Json,
}

/// Whether output has colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    colours: bool,
}

/// Meaning of a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Success, or a node that stays.
    Good,
    /// An error, or a node that is being deleted.
    Bad,
    /// A change in progress, or a warning.
    Moving,
    /// Less important.
    Faint,
    /// More important.
    Strong,
}

impl Style {
    /// Colours on a terminal, unless `NO_COLOR` is set and not empty.
    pub(crate) fn of_stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colours: !refused && std::io::stdout().is_terminal() }
    }

    /// Returns the text in the colour of this tone.
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        if !self.colours {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Good => "32",
            Tone::Bad => "31;1",
            Tone::Moving => "33",
            Tone::Faint => "2",
            Tone::Strong => "1",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// Returns an empty table with this header and without borders, to fit a terminal.
pub(crate) fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(head.iter().copied());
    table
}

/// Aligns these columns to the right.
pub(crate) fn right(table: &mut Table, columns: &[usize]) {
    for column in columns {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// A document with a schema version.
#[derive(Serialize)]
struct Document<'a, T: Serialize> {
    schema_version: u32,
    #[serde(flatten)]
    body: &'a T,
}

/// Prints a document as JSON.
///
/// # Errors
/// When the output cannot be written. A closed pipe is not an error.
pub(crate) fn json<T: Serialize>(body: &T) -> anyhow::Result<()> {
    let document = Document { schema_version: SCHEMA_VERSION, body };
    line(&serde_json::to_string_pretty(&document)?)
}

/// Prints a line.
///
/// # Errors
/// When the output cannot be written. A closed pipe is not an error.
pub(crate) fn line(text: &str) -> anyhow::Result<()> {
    let written = writeln!(std::io::stdout().lock(), "{text}");
    match written {
        Err(why) if why.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Removes control characters except line ends.
pub(crate) fn lines(text: &str) -> String {
    text.split('\n').map(plain).collect::<Vec<_>>().join("\n")
}
