//! The layers of a configuration: built-in defaults, the file, the files of `conf.d` beside it
//! in the order of their names, variables, options.
//!
//! Files may set every key, but only once: the same key in two files is a problem that names
//! both places, unless the later file starts with `overrides = true`. Variables can set only
//! the keys that the caller names.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::document::{self, Node};
use super::entry::Findings;
use super::merge::Overlay;
use super::problem::{Note, Origin, Problem};
use super::suggest;

/// Largest file, in bytes. One hundred groups with every key take a tenth of it.
const LARGEST_FILE: u64 = 1 << 20;

/// Most files of `conf.d`. An operator does not write more than this.
const MOST_FILES: usize = 100;

/// Folder beside the file with further files.
const FOLDER: &str = "conf.d";

/// Prefix of the variables that set keys.
const PREFIX: &str = "TRIMTAB__";

/// The variable with the log level of every command. It is read before any file.
const LOG: &str = "TRIMTAB_LOG";

/// A variable that sets a key, and the path of that key.
pub(crate) type Variable = (&'static str, &'static [&'static str]);

/// The layers to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layers {
    /// The file. The files of `conf.d` beside it are read after it, in the order of their names.
    pub file: PathBuf,
    /// Variables of the process. Those that do not start with `TRIMTAB_` are ignored.
    pub environment: Vec<(OsString, OsString)>,
    /// Path of the ledger from the option `--state`.
    pub state: Option<PathBuf>,
}

impl Layers {
    /// Returns the layers of a file and its `conf.d`, without variables and options.
    pub fn of_file(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), ..Self::default() }
    }
}

/// The layers after reading.
pub(crate) struct Read {
    /// Name of each file, for reports.
    pub(crate) names: Vec<Arc<str>>,
    /// The files that are valid TOML, in order.
    pub(crate) files: Vec<Node>,
    /// Whether `files` has every file.
    pub(crate) whole: bool,
    pub(crate) environment: Vec<Overlay>,
    pub(crate) flags: Vec<Overlay>,
}

/// Reads every layer and adds its problems to `findings`.
pub(crate) fn read(layers: &Layers, variables: &[Variable], findings: &mut Findings) -> Read {
    let mut read = Read {
        names: vec![],
        files: vec![],
        whole: true,
        environment: environment(&layers.environment, variables, findings),
        flags: vec![],
    };
    let mut paths = vec![layers.file.clone()];
    paths.extend(folder(&layers.file, findings));
    for path in paths {
        let name: Arc<str> = path.display().to_string().into();
        let number = u32::try_from(read.names.len()).unwrap_or(u32::MAX);
        let whole = Origin::File { number, file: Arc::clone(&name), place: None };
        read.names.push(name);
        let text = text(&path).map_err(|what| vec![of_whole(&whole, &what)]);
        match text.and_then(|text| document::read(&whole, &text)) {
            Ok(root) => read.files.push(root),
            Err(problems) => {
                read.whole = false;
                findings.problems.extend(problems);
            }
        }
    }
    if let Some(state) = &layers.state {
        let origin = Origin::Flag { flag: "--state".into() };
        match state.to_str() {
            Some(text) => {
                read.flags.push(Overlay { path: &["state", "path"], origin, text: text.to_owned() })
            }
            None => findings.problems.push(of_whole(&origin, "is not UTF-8 text")),
        }
    }
    read
}

/// Returns a problem of a layer as a whole.
pub(crate) fn of_whole(origin: &Origin, what: &str) -> Problem {
    Problem {
        origin: origin.clone(),
        key: String::new(),
        value: None,
        what: what.to_owned(),
        instead: String::new(),
    }
}

fn text(path: &Path) -> Result<String, String> {
    let mut bytes = vec![];
    File::open(path)
        .and_then(|file| file.take(LARGEST_FILE + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(format!("is larger than {LARGEST_FILE} bytes"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes().iter().take(valid).filter(|byte| **byte == b'\n').count() + 1;
        format!("is not UTF-8 text, from line {line} on")
    })
}

/// Returns the files of the folder in the order of their names. Files that are not read are
/// noted, except hidden ones, which belong to editors and package managers.
fn folder(file: &Path, findings: &mut Findings) -> Vec<PathBuf> {
    let folder = file.parent().unwrap_or(Path::new("")).join(FOLDER);
    let origin = |path: &Path| Origin::File {
        number: u32::MAX,
        file: path.display().to_string().into(),
        place: None,
    };
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(why) if why.kind() == ErrorKind::NotFound => return vec![],
        Err(why) => {
            let what = format!("cannot be read: {why}");
            findings.problems.push(of_whole(&origin(&folder), &what));
            return vec![];
        }
    };
    let mut names = vec![];
    for entry in entries {
        match entry {
            Ok(entry) => names.push(entry.file_name()),
            Err(why) => {
                let what = format!("cannot be listed: {why}");
                findings.problems.push(of_whole(&origin(&folder), &what));
            }
        }
    }
    names.sort();
    let mut files = vec![];
    for name in names {
        let path = folder.join(&name);
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if path.extension() == Some(OsStr::new("toml")) && !path.is_dir() {
            files.push(path);
            continue;
        }
        findings.notes.push(Note {
            origin: origin(&path),
            key: String::new(),
            text: "is not read: only files whose names end in .toml are read".to_owned(),
        });
    }
    if files.len() > MOST_FILES {
        let what = format!("has {} files, and at most {MOST_FILES} are read", files.len());
        findings.problems.push(of_whole(&origin(&folder), &what));
        files.truncate(MOST_FILES);
    }
    files
}

/// Returns the variables that set keys. Only exact names are accepted: the merge ignores case,
/// so either of two spellings could win.
fn environment(
    given: &[(OsString, OsString)],
    variables: &[Variable],
    findings: &mut Findings,
) -> Vec<Overlay> {
    let known: Vec<&str> = variables.iter().map(|(name, _)| *name).collect();
    let lower: Vec<String> = known.iter().map(|name| name.to_lowercase()).collect();
    let mut overlays = vec![];
    let mut given: Vec<_> = given.iter().collect();
    given.sort();
    for (name, value) in given {
        let name = name.to_string_lossy();
        let origin = Origin::Environment { variable: name.as_ref().into() };
        if let Some((_, path)) = variables.iter().find(|(known, _)| *known == name) {
            match value.to_str() {
                Some(text) => {
                    let text = text.to_owned();
                    overlays.push(Overlay { path, origin, text });
                }
                None => findings.problems.push(of_whole(&origin, "is not UTF-8 text")),
            }
            continue;
        }
        if name == LOG {
            let text = "is set and overrides log.level".to_owned();
            findings.notes.push(Note { origin, key: String::new(), text });
            continue;
        }
        let upper = name.to_uppercase();
        let meant = suggest::nearest(&name, lower.iter().map(String::as_str));
        let meant = meant.map(str::to_uppercase);
        if upper.starts_with(PREFIX) {
            let instead = match meant {
                Some(meant) => format!("did you mean {meant}?"),
                None => format!("set it in a file; the only variables are {}", known.join(", ")),
            };
            findings.problems.push(Problem {
                origin,
                key: String::new(),
                value: None,
                what: "cannot be set by a variable: a start from another shell must not change a \
                       floor, a budget or the mode"
                    .to_owned(),
                instead,
            });
        } else if upper.starts_with("TRIMTAB_")
            && let Some(meant) = known.iter().find(|known| is_same_word(known, &upper))
        {
            let text = format!("is not read; did you mean {meant}, with two underscores?");
            findings.notes.push(Note { origin, key: String::new(), text });
        }
    }
    overlays
}

/// Whether two names differ only in their underscores.
fn is_same_word(a: &str, b: &str) -> bool {
    let letters = |word: &str| word.chars().filter(|c| *c != '_').collect::<String>();
    letters(a) == letters(b)
}
