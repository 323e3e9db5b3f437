//! The configuration: one TOML file, read whole or not at all.
//!
//! ```text
//! text ──► tree with places ──► ConfigFile ──► Settings
//!          (document)           (file, read,   (check, group, settings)
//!                                values)
//! ```
//! [`parse`] reports everything that is wrong at once, each thing with its
//! place, its key, its value and what to write instead. Nothing is coerced,
//! nothing unknown is skipped, and what would do nothing is refused.
//!
//! Layers (defaults, more files, the environment) belong between text and
//! tree: each value of the tree carries its own origin, and what follows does
//! not ask how many texts there were.

mod check;
mod digest;
mod document;
mod file;
mod group;
mod problem;
mod read;
mod schedule;
mod settings;
mod signals;
mod suggest;
#[cfg(test)]
mod tests;
mod values;

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

pub use problem::{Note, Origin, Place, Problem, Problems};
pub use schedule::Schedule;
pub use settings::{
    AccountId, ClusterSettings, EndpointUrl, Mode, Preset, Region, RoleArn, SchedulerSettings,
    Settings, UtilizationSettings, UtilizationSource,
};
pub use signals::{CloudwatchSignal, DimensionPattern, FullScale, Measure};

use file::ConfigFile;
use read::Findings;

/// A file of more bytes is not a configuration: a hundred groups with every
/// key take a tenth of it.
const LARGEST_FILE: u64 = 1 << 20;

/// Reads a configuration from its text; `file_name` is only for reports.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(file_name: &str, text: &str) -> Result<Settings, Problems> {
    let source = Arc::from(file_name);
    let root = document::read(&source, text).map_err(Problems::new)?;
    let mut findings = Findings::default();
    let file = ConfigFile::from_tree(&root, &mut findings);
    let settings = file.and_then(|file| check::settings(&file, &mut findings));
    let Findings { mut problems, mut notes } = findings;
    match settings {
        Some(settings) if problems.is_empty() => {
            notes.sort();
            Ok(Settings { notes, ..settings })
        }
        Some(_) | None => {
            if problems.is_empty() {
                problems
                    .push(whole_file(&source, "was refused without a reason, a bug of trimtab"));
            }
            Err(Problems::new(problems))
        }
    }
}

/// Reads a configuration from a file.
///
/// # Errors
/// Everything that is wrong with it, or why it cannot be read.
pub fn load(path: &Path) -> Result<Settings, Problems> {
    let name = path.display().to_string();
    let source = Arc::from(name.as_str());
    let unreadable = |what: String| Problems::new(vec![whole_file(&source, &what)]);
    let mut bytes = vec![];
    File::open(path)
        .and_then(|file| file.take(LARGEST_FILE + 1).read_to_end(&mut bytes))
        .map_err(|error| unreadable(format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(unreadable(format!("is larger than {LARGEST_FILE} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes().iter().take(valid).filter(|byte| **byte == b'\n').count() + 1;
        unreadable(format!("is not UTF-8 text, from line {line} on"))
    })?;
    parse(&name, &text)
}

fn whole_file(source: &Arc<str>, what: &str) -> Problem {
    Problem {
        origin: Origin { source: Arc::clone(source), place: None },
        key: String::new(),
        value: None,
        what: what.to_owned(),
        instead: String::new(),
    }
}
