//! Problems and notes of a configuration, with their places.
//!
//! A problem stops the daemon from starting; a note does not. A problem names the place,
//! the key and what to write instead, so that an operator can correct the file at once.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

/// Where a value comes from. The order is that of the layers: a later variant overrides an
/// earlier one. Reports are sorted by it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Origin {
    /// A built-in default.
    Default,
    /// A file.
    File {
        /// Number of files read before this one.
        #[serde(skip)]
        number: u32,
        /// Name of the file, as it was given or found.
        file: Arc<str>,
        /// Place in the file; `None` for the file as a whole.
        #[serde(flatten)]
        place: Option<Location>,
    },
    /// An environment variable.
    Environment { variable: Arc<str> },
    /// An option of the command line.
    Flag {
        /// Name of the option, with its dashes.
        flag: Arc<str>,
    },
}

impl Origin {
    /// Whether the value is a built-in default.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::Default
    }

    /// Returns the text for this place in a report about `from`. The name of the file is left
    /// out if it is the same.
    pub(crate) fn seen_from(&self, from: &Self) -> String {
        match (self, from) {
            (
                Self::File { file, place: Some(Location { line, .. }), .. },
                Self::File { file: from, .. },
            ) => {
                if file == from {
                    format!("line {line}")
                } else {
                    format!("{file}:{line}")
                }
            }
            (Self::Default, _) => "the default".to_owned(),
            (Self::File { .. } | Self::Environment { .. } | Self::Flag { .. }, _) => {
                self.to_string()
            }
        }
    }
}

/// A place in a text. Both numbers start at 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Location {
    pub line: u32,
    /// Number of the character in the line.
    pub column: u32,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { file, place: Some(Location { line, column }), .. } => {
                write!(f, "{file}:{line}:{column}")
            }
            Self::File { file, place: None, .. } => f.write_str(file),
            Self::Environment { variable } => write!(f, "environment {variable}"),
            Self::Flag { flag } => f.write_str(flag),
        }
    }
}

/// One problem. The order is that of the places.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    pub origin: Origin,
    /// Path of the key, such as `cluster[research].group[workers].size`; empty if the problem
    /// is not about a key.
    pub key: String,
    /// The value as written, cut to one line; `None` for a missing key, and for an unknown
    /// one, because its value may be a secret.
    pub value: Option<String>,
    /// What is wrong: a predicate of the key.
    pub what: String,
    /// What to write instead; empty if `what` contains it.
    pub instead: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.origin)?;
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        write!(f, "\n    {}", self.what)?;
        if !self.instead.is_empty() {
            write!(f, "\n    {}", self.instead)?;
        }
        Ok(())
    }
}

/// All problems, in the order of the files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Sorts the problems and removes duplicates. The list must not be empty.
    pub fn new(mut problems: Vec<Problem>) -> Self {
        // One key can be a problem for several clusters. It is reported once.
        problems.sort();
        problems.dedup();
        Self(problems)
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }

    /// Number of problems; at least 1.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for Problems {
    /// Writes one block for each problem, then their number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            writeln!(f, "{problem}\n")?;
        }
        match self.0.len() {
            1 => write!(f, "1 problem in the configuration"),
            count => write!(f, "{count} problems in the configuration"),
        }
    }
}

impl std::error::Error for Problems {}

/// A setting that is allowed and that an operator should know about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Note {
    pub origin: Origin,
    /// Path of the key; empty if the note is not about a key.
    pub key: String,
    /// A predicate of the key, or a sentence about a table.
    pub text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.origin)?;
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, "\n    note: {}", self.text)
    }
}
