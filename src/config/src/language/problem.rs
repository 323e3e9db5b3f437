//! What is wrong with a configuration, and where.
//!
//! A problem stops the daemon from starting; a note does not. Both name the
//! place, the key, and what to write instead, because whoever reads them has
//! the file open in the other window.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

/// Where a value comes from. Ordered as the layers are: what is later here wins
/// over what is earlier, and reports follow the files.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Origin {
    /// Nobody wrote it.
    Default,
    /// It stands in a file.
    File {
        /// How many files were read before this one.
        #[serde(skip)]
        number: u32,
        /// The file's name, as it was given or found.
        file: Arc<str>,
        /// The place in it; `None` where the file as a whole is meant.
        #[serde(flatten)]
        place: Option<Location>,
    },
    /// It is the value of an environment variable.
    Environment {
        /// The variable's name.
        variable: Arc<str>,
    },
    /// It was given on the command line.
    Flag {
        /// The option's name, with its dashes.
        flag: Arc<str>,
    },
}

impl Origin {
    /// Whether it is a value that nobody wrote.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::Default
    }

    /// How this place is called in a report about `from`: without the file's
    /// name where it is the same.
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

/// A place in a text, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Location {
    /// The line.
    pub line: u32,
    /// The character in the line.
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

/// One thing that is wrong. Ordered by its place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// Where it was written.
    pub origin: Origin,
    /// The key's path, `cluster[research].group[workers].size`; empty where no
    /// key is concerned.
    pub key: String,
    /// The value as written, cut to one line; `None` for a missing key, and for
    /// an unknown one, whose value may be a secret.
    pub value: Option<String>,
    /// What is wrong with it.
    pub what: String,
    /// What to write instead; empty where `what` says it.
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

/// Everything that is wrong, in the order of the files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// These, of which there is at least one, in their order and each once.
    pub fn new(mut problems: Vec<Problem>) -> Self {
        // What one key says to several clusters is one problem.
        problems.sort();
        problems.dedup();
        Self(problems)
    }

    /// Each problem.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }

    /// How many there are; never none.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for Problems {
    /// One block for each, then how many there are.
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

/// Something that is allowed and that an operator should know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Note {
    /// What it is about.
    pub origin: Origin,
    /// The key's path; empty where no key is concerned.
    pub key: String,
    /// What to know.
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
