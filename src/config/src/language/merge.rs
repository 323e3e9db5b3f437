//! Merges several layers into one tree, with the `config` crate.
//!
//! Each value passes through that crate with its place as the origin. The resulting tree is
//! built from the original values at the places that won. So the conversions of the crate
//! (`7.9` to 8, `true` to 1, a time of day to a text) have no effect. Its other behaviour, and
//! what this module does about it:
//!
//! | `config` crate | here |
//! |---|---|
//! | a list replaces a list | named lists are merged by name; any other list is one value |
//! | a later file wins silently | a key in two files is a problem, unless the later one overrides |
//! | a quoted key `"state.path"` is a path | only at the top, so all keys are under one root key |
//! | a table replaces a value, and a value a table | always a problem |
//! | names of variables become lower case | only exact names of a short list are passed on |
//! | tables lose their origins | the contents of the files are kept here, with their places |

use std::collections::BTreeMap;

use ::config::{Config, ConfigError, Environment, Map, Source, Value as Merged, ValueKind};

use super::document::{KeyValue, Node, Value};
use super::entry::{Findings, is_label, key_as_written};
use super::problem::{Note, Origin, Problem};

/// The root key of all keys; also the prefix of environment variables.
const ROOT: &str = "trimtab";

/// Separator in the names of variables: `TRIMTAB__STATE__PATH`.
const SEPARATOR: &str = "__";

/// Key of a `conf.d` file that replaces values of the files before it.
const OVERRIDES: &str = "overrides";

/// Key of the first file for the whole configuration. Other files may repeat it.
const CONFIG_VERSION: &str = "config_version";

/// Origin that the `config` crate gives to variables.
const CRATE_ENVIRONMENT: &str = "the environment";

/// Keys from the root. An element of a named list is `=name`, or `#` and a unique number if it
/// has no name or if an earlier element has the same name.
type Path = Vec<String>;

/// A text value of a single key, from a variable or an option.
#[derive(Debug, Clone)]
pub(crate) struct Overlay {
    /// Path of the key.
    pub(crate) path: &'static [&'static str],
    pub(crate) origin: Origin,
    pub(crate) text: String,
}

/// The layers to merge, lowest first.
pub(crate) struct Stack<'a> {
    /// The built-in defaults. Those of a named list are under the key of the list.
    pub(crate) defaults: &'a Node,
    /// The files in the order they were read. The root has the origin of the first one.
    pub(crate) files: &'a [Node],
    /// Values of variables.
    pub(crate) environment: &'a [Overlay],
    /// Values of command line options.
    pub(crate) flags: &'a [Overlay],
    /// Paths of the lists whose tables are identified by their `name`.
    pub(crate) named_lists: &'a [&'a [&'a str]],
    /// The `config_version` of this build.
    pub(crate) version: u32,
}

/// Merges the layers, and adds the problems and notes of the merge to `findings`.
pub(crate) fn merge(stack: &Stack<'_>, findings: &mut Findings) -> Option<Node> {
    let root = stack.files.first()?;
    let mut merge = Merge { stack, values: BTreeMap::new(), findings };
    let mut files = BTreeMap::new();
    let layers: Vec<Layer> = stack
        .files
        .iter()
        .enumerate()
        .map(|(number, file)| merge.file(file, number, &mut files))
        .collect();
    let defaults = Layer(merge.defaults(stack.defaults.entries()?, Some(&files), &mut vec![]));
    // If a file has a value where a table must be, an overlay does not hide that problem.
    let fits = |overlay: &&Overlay| could_hold(&files, overlay.path);
    let environment: Vec<_> = stack.environment.iter().filter(fits).collect();
    let flags: Vec<_> = stack.flags.iter().filter(fits).collect();

    let name = |path: &[&str], separator| [&[ROOT], path].concat().join(separator);
    let variables = environment.iter().map(|one| {
        let variable = name(one.path, SEPARATOR).to_uppercase();
        (variable, one.text.clone())
    });
    let builder = Config::builder().add_source(defaults);
    let builder = layers.into_iter().fold(builder, |builder, layer| builder.add_source(layer));
    let builder = builder.add_source(
        Environment::with_prefix(ROOT)
            .prefix_separator(SEPARATOR)
            .separator(SEPARATOR)
            .keep_prefix(true)
            .try_parsing(false)
            .source(Some(variables.collect())),
    );
    let merged = flags
        .iter()
        .try_fold(builder, |builder, flag| {
            builder.set_override(name(flag.path, "."), flag.text.as_str())
        })
        .and_then(|builder| builder.build());
    match merged {
        Ok(merged) => {
            let ValueKind::Table(mut merged) = merged.cache.kind else { return None };
            let ValueKind::Table(merged) = merged.remove(ROOT)?.kind else { return None };
            let overlays = (&environment[..], &flags[..]);
            let value = Value::Table(merge.table(merged, Some(&files), overlays, &mut vec![]));
            Some(Node { value, ..root.clone() })
        }
        Err(why) => {
            merge.findings.problems.push(Problem {
                origin: root.origin.clone(),
                key: String::new(),
                value: None,
                what: format!("cannot be merged with the other layers: {why}"),
                instead: String::new(),
            });
            None
        }
    }
}

/// Returns a `conf.d` file without the keys that apply to the file itself.
pub(crate) fn without_own_keys(root: &Node) -> Node {
    let mut root = root.clone();
    if let Value::Table(entries) = &mut root.value {
        entries.remove(OVERRIDES);
        entries.remove(CONFIG_VERSION);
    }
    root
}

/// The content of the files read so far at one path.
#[derive(Debug, Clone)]
enum Part {
    /// A value, or a list that is one value.
    Value(KeyValue),
    /// A table, or a named list as a table of its elements. The first field is the key and the
    /// node without content, from the first file that has it.
    Table(KeyValue, Parts),
}

type Parts = BTreeMap<String, Part>;

/// Whether a value can be set at `path`: no file has a value where a table is needed, and no
/// file has a table at `path`.
fn could_hold(parts: &Parts, path: &[&str]) -> bool {
    let Some((key, rest)) = path.split_first() else { return false };
    match parts.get(*key) {
        None => true,
        Some(Part::Value(_)) => rest.is_empty(),
        Some(Part::Table(_, parts)) => could_hold(parts, rest),
    }
}

/// A layer in the form of the `config` crate.
#[derive(Debug, Clone)]
struct Layer(Map<String, Merged>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Merged>, ConfigError> {
        Ok([(ROOT.to_owned(), Merged::new(None, self.0.clone()))].into_iter().collect())
    }
}

/// Returns the value for the `config` crate. Types that it does not have are passed as text.
fn kind(node: &Node) -> ValueKind {
    match &node.value {
        Value::Text(text) => text.as_str().into(),
        Value::Integer(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Boolean(boolean) => (*boolean).into(),
        Value::List(items) => items.iter().map(kind).collect::<Vec<_>>().into(),
        Value::HugeInteger | Value::Datetime | Value::Table(_) => node.written.as_str().into(),
    }
}

struct Merge<'s, 'f> {
    stack: &'s Stack<'s>,
    /// The values passed to the merge, by their origins.
    values: BTreeMap<String, KeyValue>,
    findings: &'f mut Findings,
}

impl Merge<'_, '_> {
    /// Adds a file to `files`. The returned layer contains the values that were not refused.
    fn file(&mut self, root: &Node, number: usize, files: &mut Parts) -> Layer {
        let Some(entries) = root.entries() else { return Layer(Map::new()) };
        let mut entries = entries.clone();
        let mut overrides = None;
        if number > 0 {
            // These two keys apply to the file itself.
            overrides = entries.remove(OVERRIDES);
            if let Some(version) = entries.remove(CONFIG_VERSION)
                && !matches!(version.node.value, Value::Integer(n) if n == i64::from(self.stack.version))
            {
                let what = "is not supported by this version of trimtab";
                let instead = format!("write {}", self.stack.version);
                self.problem(&version, &[CONFIG_VERSION.to_owned()], what, &instead);
            }
        }
        let notes = self.findings.notes.len();
        let says_so =
            overrides.as_ref().is_some_and(|o| matches!(o.node.value, Value::Boolean(true)));
        let layer = Layer(self.entries(&entries, files, &mut vec![], (number, says_so)));
        if let Some(overrides) = overrides {
            let wrong = if !says_so {
                Some(("is not `true`", "write overrides = true, or remove it"))
            } else if self.findings.notes.len() == notes {
                let what = "has no effect: no file before this one sets any of its keys";
                Some((what, "remove it"))
            } else {
                None
            };
            if let Some((what, instead)) = wrong {
                self.problem(&overrides, &[OVERRIDES.to_owned()], what, instead);
            }
        }
        layer
    }

    /// Returns the entries of the table at `at` for the `config` crate, and adds them to `known`.
    fn entries(
        &mut self,
        entries: &BTreeMap<String, KeyValue>,
        known: &mut Parts,
        at: &mut Path,
        file: (usize, bool),
    ) -> Map<String, Merged> {
        let mut made = Map::new();
        for (key, written) in entries {
            at.push(key.clone());
            let below = self.below(written, at, file.0);
            match (below, known.get_mut(key)) {
                (Some(_), Some(Part::Value(other))) => {
                    let other = other.key.clone();
                    self.refuse_mixture(written, at, &other);
                }
                (None, Some(Part::Table(other, _))) => {
                    let other = other.key.clone();
                    self.refuse_mixture(written, at, &other);
                }
                (Some(below), _) => {
                    let shell = KeyValue { key: written.key.clone(), node: written.node.emptied() };
                    let part = known
                        .entry(key.clone())
                        .or_insert_with(|| Part::Table(shell, BTreeMap::new()));
                    if let Part::Table(_, known) = part {
                        let inner = self.entries(&below, known, at, file);
                        made.insert(key.clone(), Merged::new(None, inner));
                    }
                }
                (None, before) => {
                    let may = match before {
                        Some(Part::Value(before)) => {
                            let before = before.clone();
                            self.may_replace(&before, written, at, file.1)
                        }
                        Some(Part::Table(..)) | None => true,
                    };
                    if may {
                        known.insert(key.clone(), Part::Value(written.clone()));
                        let origin = written.node.origin.to_string();
                        made.insert(key.clone(), self.value(written, origin));
                    }
                }
            }
            at.pop();
        }
        made
    }

    /// Returns the content of a table or of a named list, or `None` for a value.
    fn below(
        &self,
        written: &KeyValue,
        at: &[String],
        file: usize,
    ) -> Option<BTreeMap<String, KeyValue>> {
        if !self.is_named_list(at) {
            return written.node.entries().cloned();
        }
        let Value::List(items) = &written.node.value else { return None };
        let mut below = BTreeMap::new();
        for (number, item) in items.iter().enumerate() {
            let mut key = format!("#{file}.{}", number + 1);
            if let Some(KeyValue { node: Node { value: Value::Text(name), .. }, .. }) =
                item.entries()?.get("name")
                && !below.contains_key(&format!("={name}"))
            {
                key = format!("={name}");
            }
            below.insert(key, KeyValue { key: item.origin.clone(), node: item.clone() });
        }
        (!below.is_empty()).then_some(below)
    }

    fn value(&mut self, written: &KeyValue, origin: String) -> Merged {
        let value = Merged::new(Some(&origin), kind(&written.node));
        self.values.insert(origin, written.clone());
        value
    }

    /// Returns the defaults, repeated for every table of a named list in the files.
    fn defaults(
        &mut self,
        entries: &BTreeMap<String, KeyValue>,
        beside: Option<&Parts>,
        at: &mut Path,
    ) -> Map<String, Merged> {
        let mut made = Map::new();
        for (key, default) in entries {
            at.push(key.clone());
            let parts = match beside.and_then(|beside| beside.get(key)) {
                Some(Part::Table(_, parts)) => Some(parts),
                Some(Part::Value(_)) | None => None,
            };
            match default.node.entries() {
                Some(inner) if self.is_named_list(at) => {
                    let mut items = Map::new();
                    for (item, part) in parts.into_iter().flatten() {
                        if let Part::Table(_, parts) = part {
                            at.push(item.clone());
                            let inner = self.defaults(inner, Some(parts), at);
                            items.insert(item.clone(), Merged::new(None, inner));
                            at.pop();
                        }
                    }
                    if !items.is_empty() {
                        made.insert(key.clone(), Merged::new(None, items));
                    }
                }
                Some(inner) => {
                    let inner = self.defaults(inner, parts, at);
                    made.insert(key.clone(), Merged::new(None, inner));
                }
                None => {
                    let origin = format!("default {}", at.join("\0"));
                    made.insert(key.clone(), self.value(default, origin));
                }
            }
            at.pop();
        }
        made
    }

    /// Whether a file may set a key that an earlier file sets.
    fn may_replace(
        &mut self,
        before: &KeyValue,
        written: &KeyValue,
        at: &[String],
        overrides: bool,
    ) -> bool {
        if let [list @ .., item, key] = at
            && (key == "name" && item.starts_with('=') && self.is_named_list(list))
        {
            // The name that identifies the element.
            return false;
        }
        let place = before.key.seen_from(&written.key);
        if overrides {
            let text = format!("replaces {} ({place})", before.node.written);
            let key = self.shown(at);
            self.findings.notes.push(Note { origin: written.key.clone(), key, text });
            return true;
        }
        let what = format!("is already set ({place}), and this file does not set overrides = true");
        let instead = "set it in one file only, or write overrides = true at the top of the file \
                       of conf.d that replaces it";
        self.problem(written, at, what, instead);
        false
    }

    fn refuse_mixture(&mut self, written: &KeyValue, at: &[String], other: &Origin) {
        let place = other.seen_from(&written.key);
        let what = format!("is a table in one file and a value in another ({place})");
        self.problem(written, at, what, "use the same form in both files");
    }

    /// Reports a problem of a key. The value may be a secret, so it is not shown.
    fn problem(
        &mut self,
        written: &KeyValue,
        at: &[String],
        what: impl Into<String>,
        instead: &str,
    ) {
        self.findings.problems.push(Problem {
            origin: written.key.clone(),
            key: self.shown(at),
            value: None,
            what: what.into(),
            instead: instead.to_owned(),
        });
    }

    /// Rebuilds the table that the `config` crate returned from the original values.
    fn table(
        &self,
        merged: Map<String, Merged>,
        known: Option<&Parts>,
        overlays: (&[&Overlay], &[&Overlay]),
        at: &mut Path,
    ) -> BTreeMap<String, KeyValue> {
        let mut made = BTreeMap::new();
        for (key, value) in merged {
            at.push(key.clone());
            let origin = value.origin().map(str::to_owned);
            let (shell, parts) = match known.and_then(|known| known.get(&key)) {
                Some(Part::Table(shell, parts)) => (Some(shell), Some(parts)),
                Some(Part::Value(_)) | None => (None, None),
            };
            let entry = match (origin.as_deref().and_then(|o| self.values.get(o)), value.kind) {
                (Some(written), _) => Some(written.clone()),
                (None, ValueKind::Table(inner)) => {
                    Some(filled(shell, self.table(inner, parts, overlays, at)))
                }
                (None, kind) => {
                    let from_environment = origin.as_deref() == Some(CRATE_ENVIRONMENT);
                    let overlays = if from_environment { overlays.0 } else { overlays.1 };
                    let overlay = overlays.iter().find(|one| one.path.iter().eq(at.iter()));
                    overlay.map(|Overlay { origin, .. }| KeyValue {
                        key: origin.clone(),
                        node: Node::of_text(origin.clone(), kind.to_string()),
                    })
                }
            };
            made.extend(entry.map(|entry| (key, entry)));
            at.pop();
        }
        made
    }

    /// Whether the tables of a list at this path are identified by their names.
    fn is_named_list(&self, at: &[String]) -> bool {
        let keys = || at.iter().step_by(2);
        at.len() % 2 == 1 && self.stack.named_lists.iter().any(|list| list.iter().eq(keys()))
    }

    /// Returns the path as reports show it: `cluster[research].group[workers].size`.
    fn shown(&self, at: &[String]) -> String {
        let mut text = String::new();
        for (depth, key) in at.iter().enumerate() {
            if self.is_named_list(&at[..depth]) {
                let name = key.strip_prefix('=').filter(|name| is_label(name)).unwrap_or("…");
                text.push_str(&format!("[{name}]"));
            } else {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(&key_as_written(key));
            }
        }
        text
    }
}

/// Returns a table or a named list with its content, at the place where it was written first.
fn filled(shell: Option<&KeyValue>, below: BTreeMap<String, KeyValue>) -> KeyValue {
    let Some(KeyValue { key, node }) = shell else {
        let node =
            Node { origin: Origin::Default, written: String::new(), value: Value::Table(below) };
        return KeyValue { key: Origin::Default, node };
    };
    let value = if matches!(node.value, Value::List(_)) {
        let mut items: Vec<_> = below.into_values().map(|item| item.node).collect();
        // Origins are in the order of the files.
        items.sort_by(|a, b| a.origin.cmp(&b.origin));
        Value::List(items)
    } else {
        Value::Table(below)
    };
    KeyValue { key: key.clone(), node: Node { value, ..node.clone() } }
}
