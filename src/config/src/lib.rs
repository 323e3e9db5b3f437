//! The configuration, read from several layers. It is accepted only as a whole.
//!
//! ```text
//! defaults ─┐
//! file ─────┤   trees with places      one tree
//! conf.d/* ─┼──────────────────► merge ───────► ConfigFile ──► Settings
//! variables ┤     (layers, document)            (file, read,   (check, group,
//! options ──┘                                    values)        utilization, settings)
//! ```
//! [`load_layers`] reports all problems of all layers at once, each with its place, its key,
//! its value and what to write instead. Values are not converted. Unknown keys, and settings
//! that would have no effect, are refused. Every value of the tree has its own origin, so the
//! steps after the merge do not depend on the number of layers.

mod language;
mod policy;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::{Arc, LazyLock};

pub use language::effective::Setting;
pub use language::layers::Layers;
pub use language::problem::{Location, Note, Origin, Problem, Problems};
pub use policy::hooks::NODES_AT_ONCE;
pub use policy::rest_address::RestAddress;
pub use policy::schedule::Schedule;
pub use policy::settings::{
    AccountId, ClusterSettings, EndpointUrl, HookSettings, LogLevel, Mode, Region, RoleArn,
    SchedulerSettings, Settings, SlurmAccess, SlurmSettings, UtilizationSettings,
    UtilizationSource,
};
pub use policy::signals::{CloudwatchSignal, DimensionPattern, FullScale, Measure};

use language::document::Node;
use language::entry::Findings;
use language::merge::Stack;
use language::read::Read as _;
use language::{document, effective, layers, merge};
use policy::check;
use policy::file::{ConfigFile, NAMED_LISTS, VARIABLES, VERSION, surface};

/// A configuration, with the origin of each value.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    pub settings: Settings,
    /// Every key in force, as written, with its origin.
    pub effective: Vec<Setting>,
    /// Names of the files that were read, in order.
    pub files: Vec<String>,
}

/// Reads a configuration from one text. `file_name` is used in reports only.
///
/// # Errors
/// Returns all problems of the text.
pub fn parse(file_name: &str, text: &str) -> Result<Settings, Problems> {
    let whole = Origin::File { number: 0, file: Arc::from(file_name), place: None };
    let root = document::read(&whole, text).map_err(Problems::new)?;
    let files = layers::Read {
        names: vec![Arc::from(file_name)],
        files: vec![root],
        whole: true,
        environment: vec![],
        flags: vec![],
    };
    judge(&files, Findings::default()).map(|loaded| loaded.settings)
}

/// Reads a configuration from a file and from the `conf.d` folder beside it.
///
/// # Errors
/// Returns all problems of the files, also files that cannot be read.
pub fn load(path: &Path) -> Result<Settings, Problems> {
    load_layers(&Layers::of_file(path)).map(|loaded| loaded.settings)
}

/// Reads a configuration from all of its layers.
///
/// # Errors
/// Returns all problems of the layers, also files that cannot be read.
pub fn load_layers(layers: &Layers) -> Result<Loaded, Problems> {
    let mut findings = Findings::default();
    let read = layers::read(layers, &VARIABLES, &mut findings);
    judge(&read, findings)
}

/// Returns the JSON Schema of the file, for editors that complete and check keys.
pub fn schema() -> serde_json::Value {
    let description = "What trimtab may do, to which clusters, and when.";
    let mut schema = language::schema::schema::<ConfigFile>("trimtab.toml", description, &DEFAULTS);
    if let Some(version) = schema.pointer_mut("/properties/config_version") {
        version["const"] = serde_json::json!(VERSION);
    }
    schema
}

/// The built-in defaults. Those of a list of tables are under the key of the list.
static DEFAULTS: LazyLock<Node> =
    LazyLock::new(|| ConfigFile::defaults().expect("some keys have a default"));

fn judge(layers: &layers::Read, mut findings: Findings) -> Result<Loaded, Problems> {
    let merged = if layers.whole {
        merge_all(layers, &mut findings)
    } else {
        // A missing key may be in the file that cannot be read, so only single values of the
        // other files are checked.
        None
    };
    let settings = merged.as_ref().and_then(|root| {
        let file = ConfigFile::from_tree(root, &mut findings)?;
        check::settings(&file, &mut findings)
    });
    judge_alone(layers, &mut findings);
    let Findings { problems, mut notes, derived } = findings;
    match (settings, merged) {
        (Some(settings), Some(root)) if problems.is_empty() => {
            notes.sort();
            notes.dedup();
            Ok(Loaded {
                settings: Settings { notes, ..settings },
                effective: effective::settings(&root, &derived, surface()),
                files: layers.names.iter().map(ToString::to_string).collect(),
            })
        }
        (_, _) if problems.is_empty() => {
            let origin = layers.files.first().map_or(Origin::Default, |file| file.origin.clone());
            let what = "was refused without a reason; this is a bug in trimtab";
            Err(Problems::new(vec![layers::of_whole(&origin, what)]))
        }
        (_, _) => Err(Problems::new(problems)),
    }
}

fn merge_all(layers: &layers::Read, findings: &mut Findings) -> Option<Node> {
    let stack = Stack {
        defaults: &DEFAULTS,
        files: &layers.files,
        environment: &layers.environment,
        flags: &layers.flags,
        named_lists: &NAMED_LISTS,
        version: VERSION,
    };
    merge::merge(&stack, findings)
}

/// Checks the values of every file by itself, so that an invalid value is reported even if
/// another layer replaces it or the files were not merged.
fn judge_alone(layers: &layers::Read, findings: &mut Findings) {
    for (number, file) in layers.files.iter().enumerate() {
        let mut alone = Findings::default();
        // `overrides` and `config_version` of a conf.d file are not keys of the configuration.
        let file = if number > 0 { merge::without_own_keys(file) } else { file.clone() };
        ConfigFile::from_tree(&file, &mut alone);
        for problem in alone.problems {
            let is_known =
                |known: &Problem| known.origin == problem.origin && known.what == problem.what;
            if !findings.problems.iter().any(is_known) {
                findings.problems.push(problem);
            }
        }
    }
}
