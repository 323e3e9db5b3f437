//! Several layers to one tree, merged by the `config` crate.
//!
//! Each value goes through that crate as it is, with its place as the origin, and the tree
//! that comes out is made of the values that were written at the places that won. So the
//! crate's conversions (`7.9` to 8, `true` to 1, a time of day to a text) reach nothing. Its
//! other habits, and what is done about each:
//!
//! | habit | here |
//! |---|---|
//! | a list replaces a list | lists of tables with names are merged by name, as tables; any other list is one value |
//! | a later file wins in silence | a key in two files is a problem, unless the later one says `overrides = true` |
//! | a quoted key `"state.path"` counts as a path | only at the top, so everything hangs under one root key |
//! | a table replaces a value, and a value a table | a problem, whoever overrides |
//! | names of variables are folded to lower case | only exact names of a short list get this far |
//! | tables forget where they come from | what the files say is kept here, with its places |

use std::collections::BTreeMap;

use ::config::{Config, ConfigError, Environment, Map, Source, Value as Merged, ValueKind};

use super::document::{KeyValue, Node, Value};
use super::entry::{Findings, is_label, key_as_written};
use super::problem::{Note, Origin, Problem};

/// The key that everything hangs under; also the prefix of environment variables.
const ROOT: &str = "trimtab";

/// What stands between the names of a variable: `TRIMTAB__STATE__PATH`.
const SEPARATOR: &str = "__";

/// Written by a file of `conf.d` to replace what files before it say.
const OVERRIDES: &str = "overrides";

/// Of the whole, it stands in the first file; another file may say it again.
const CONFIG_VERSION: &str = "config_version";

/// What the `config` crate calls the origin of a variable.
const CRATE_ENVIRONMENT: &str = "the environment";

/// Keys from the root on. An element of a named list goes by `=name`, or by a `#` and a
/// number of its own if it has no name or an earlier element has the same one.
type Path = Vec<String>;

/// A text value of a single key, from a variable or an option.
#[derive(Debug, Clone)]
pub(crate) struct Overlay {
    /// The key's path.
    pub(crate) path: &'static [&'static str],
    /// Where it was given.
    pub(crate) origin: Origin,
    /// What was given.
    pub(crate) text: String,
}

/// Everything that is laid over each other, lowest first.
pub(crate) struct Stack<'a> {
    /// The values that hold where nobody wrote any. Those of the tables of a named list
    /// are under the list's key.
    pub(crate) defaults: &'a Node,
    /// The files in the order they were read; the first one's origin is the root's.
    pub(crate) files: &'a [Node],
    /// What variables say.
    pub(crate) environment: &'a [Overlay],
    /// What options of the command line say.
    pub(crate) flags: &'a [Overlay],
    /// Paths of the lists whose tables are told apart by their `name`.
    pub(crate) named_lists: &'a [&'a [&'a str]],
    /// The `config_version` of this build.
    pub(crate) version: u32,
}

/// Merges the layers. Problems and notes of the merge itself are in `findings`.
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
    // A key whose file is wrong about what it is stays wrong: the problem is the file's.
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

/// A file of `conf.d` without the keys that are about itself.
pub(crate) fn without_own_keys(root: &Node) -> Node {
    let mut root = root.clone();
    if let Value::Table(entries) = &mut root.value {
        entries.remove(OVERRIDES);
        entries.remove(CONFIG_VERSION);
    }
    root
}

/// What the files read so far say at one path.
#[derive(Debug, Clone)]
enum Part {
    /// A value, or a list that is one.
    Value(KeyValue),
    /// A table, or a named list as a table of its elements; and the key and the node
    /// without content, as they were written first.
    Table(KeyValue, Parts),
}

type Parts = BTreeMap<String, Part>;

/// Whether a value may stand there: no file has a value where a table would have to be,
/// and none has a table there.
fn could_hold(parts: &Parts, path: &[&str]) -> bool {
    let Some((key, rest)) = path.split_first() else { return false };
    match parts.get(*key) {
        None => true,
        Some(Part::Value(_)) => rest.is_empty(),
        Some(Part::Table(_, parts)) => could_hold(parts, rest),
    }
}

/// A layer as the `config` crate takes it.
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

/// The value for the `config` crate; what it has no kind for goes by its text.
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
    /// The values that went into the merge, by their origins.
    values: BTreeMap<String, KeyValue>,
    findings: &'f mut Findings,
}

impl Merge<'_, '_> {
    /// Adds a file to what the files before it say; the layer has what is not refused.
    fn file(&mut self, root: &Node, number: usize, files: &mut Parts) -> Layer {
        let Some(entries) = root.entries() else { return Layer(Map::new()) };
        let mut entries = entries.clone();
        let mut overrides = None;
        if number > 0 {
            // These two are about the file they stand in.
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

    /// The entries of the table at `at`, for the `config` crate, and added to `known`.
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

    /// What is in a table or in a named list; none for a value.
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

    /// The defaults, under every table of a named list that a file has.
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

    /// Whether a file may write a value that a file before it has.
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
            // The name by which the element was found.
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

    /// A problem of a key; its value is not shown, since it may be a secret.
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

    /// The table that the `config` crate made, of the values that were written.
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

    /// Whether tables in a list at this path are told apart by their names.
    fn is_named_list(&self, at: &[String]) -> bool {
        let keys = || at.iter().step_by(2);
        at.len() % 2 == 1 && self.stack.named_lists.iter().any(|list| list.iter().eq(keys()))
    }

    /// The path as reports have it: `cluster[research].group[workers].size`.
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

/// A table or a named list with its content, as it was written first.
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
