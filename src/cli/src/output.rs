//! How things are printed: colours where an operator reads, tables, and the JSON
//! envelope that tools read.

use std::io::{IsTerminal, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

pub(crate) use trimtab_core::text::plain;

/// The version of everything that `--output json` prints.
pub(crate) const SCHEMA_VERSION: u32 = 1;

/// What is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For tools: one JSON document with a `schema_version`.
    Json,
}

/// Whether to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    colours: bool,
}

/// A colour by its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Good news.
    Good,
    /// Bad news.
    Bad,
    /// On its way.
    Moving,
    /// Less important.
    Faint,
    /// More important.
    Strong,
}

impl Style {
    /// Colours on a terminal, unless `NO_COLOR` is set to anything.
    pub(crate) fn of_stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colours: !refused && std::io::stdout().is_terminal() }
    }

    /// The text in this tone.
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

/// An empty table with this head, without lines: it has to fit a terminal.
pub(crate) fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(head.iter().copied());
    table
}

/// Aligns these columns to the right, for numbers.
pub(crate) fn right(table: &mut Table, columns: &[usize]) {
    for column in columns {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// A document with its schema version.
#[derive(Serialize)]
struct Document<'a, T: Serialize> {
    schema_version: u32,
    #[serde(flatten)]
    body: &'a T,
}

/// Prints a document as JSON.
///
/// # Errors
/// When it cannot be written; a reader that has gone away is no error.
pub(crate) fn json<T: Serialize>(body: &T) -> anyhow::Result<()> {
    let document = Document { schema_version: SCHEMA_VERSION, body };
    line(&serde_json::to_string_pretty(&document)?)
}

/// Prints a line.
///
/// # Errors
/// When it cannot be written; a reader that has gone away is no error.
pub(crate) fn line(text: &str) -> anyhow::Result<()> {
    let written = writeln!(std::io::stdout().lock(), "{text}");
    match written {
        Err(why) if why.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// A text of several lines that came from outside, without other control characters.
pub(crate) fn lines(text: &str) -> String {
    text.split('\n').map(plain).collect::<Vec<_>>().join("\n")
}
