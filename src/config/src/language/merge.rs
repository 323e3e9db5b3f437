//! Several layers to one tree, merged by the `config` crate.
//!
//! That crate is good at laying one table over another and generous with values:
//! asked for a number it takes `"8"`, `true` and `7.9`; a TOML time of day becomes a
//! text; a variable `007` becomes 7. So no written value goes through it. What it
//! merges are the *numbers* of the values, and the tree that comes out is made of the
//! values themselves, each with the place it was written at. Its other habits, and
//! what is done about each:
//!
//! | habit | here |
//! |---|---|
//! | a list replaces a list | clusters and groups are merged by name, as tables; any other list is one value |
//! | a later file wins in silence | a key in two files is a problem, unless the later one says `overrides = true` |
//! | a quoted key `"state.path"` counts as a path | only at the top, so everything hangs under one root key |
//! | a table replaces a value, and a value a table | a problem, whoever overrides |
//! | names of variables are folded to lower case | only exact names of a short list get this far |
//! | tables forget where they come from | their places are kept here |

use std::collections::BTreeMap;

use super::document::{KeyValue, Node, Value};
use super::entry::{Findings, is_label};
use super::problem::{Note, Origin, Problem};
use crate::policy::file::VERSION;

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

/// Keys from the root on. An element of a list of clusters or groups goes by `=name`, or
/// by a `#` and a number of its own if it has no name or somebody had it before.
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
    /// The values that hold where nobody wrote any.
    pub(crate) defaults: &'a Node,
    /// The files in the order they were read; the first one's origin is the root's.
    pub(crate) files: &'a [Node],
    /// What variables say.
    pub(crate) environment: &'a [Overlay],
    /// What options of the command line say.
    pub(crate) flags: &'a [Overlay],
}

/// Merges the layers. Problems and notes of the merge itself are in `findings`.
pub(crate) fn merge(stack: &Stack<'_>, findings: &mut Findings) -> Option<Node> {
    let root = stack.files.first()?;
    let mut merge =
        Merge { values: vec![], written: BTreeMap::new(), tables: BTreeMap::new(), findings };
    let mut layers = vec![];
    for (number, file) in stack.files.iter().enumerate() {
        layers.push(merge.file(file, number));
    }
    let defaults = merge.defaults(stack.defaults);
    // A key whose file is wrong about what it is stays wrong: the problem is the file's.
    let fits = |overlay: &&Overlay| merge.could_hold(overlay.path);
    let environment: Vec<_> = stack.environment.iter().filter(fits).collect();
    let flags: Vec<_> = stack.flags.iter().filter(fits).collect();

    let mut builder = ::config::Config::builder().add_source(defaults);
    for layer in layers {
        builder = builder.add_source(layer);
    }
    let variables = environment.iter().map(|overlay| {
        let name = [&[ROOT], overlay.path].concat().join(SEPARATOR).to_uppercase();
        (name, overlay.text.clone())
    });
    let source = ::config::Environment::with_prefix(ROOT)
        .prefix_separator(SEPARATOR)
        .separator(SEPARATOR)
        .keep_prefix(true)
        .try_parsing(false)
        .source(Some(variables.collect()));
    builder = builder.add_source(source);
    let merged = flags
        .iter()
        .try_fold(builder, |builder, flag| {
            let key = [&[ROOT], flag.path].concat().join(".");
            builder.set_override(key, flag.text.as_str())
        })
        .and_then(|builder| builder.build());
    let tree = match merged {
        Ok(merged) => merge.tree(merged.cache, &[&flags[..], &environment[..]].concat()),
        Err(why) => {
            merge.findings.problems.push(Problem {
                origin: root.origin.clone(),
                key: String::new(),
                value: None,
                what: format!("cannot be merged with the other layers: {why}"),
                instead: String::new(),
            });
            return None;
        }
    };
    Some(Node { origin: root.origin.clone(), ..tree?.node })
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

/// A table, or a list of tables with names: where it was written first.
struct ValueOrigin {
    /// Key and table, without content.
    shell: KeyValue,
    /// How many tables were found before it.
    order: usize,
}

struct Merge<'f> {
    /// What the merged numbers stand for.
    values: Vec<KeyValue>,
    /// Which value a path has, of those that files wrote.
    written: BTreeMap<Path, usize>,
    tables: BTreeMap<Path, ValueOrigin>,
    findings: &'f mut Findings,
}

/// What is being added.
#[derive(Debug, Clone, Copy)]
enum Layer {
    Defaults,
    /// A file, and how many were before it.
    File {
        number: usize,
        overrides: bool,
    },
}

/// A layer as the `config` crate takes it.
#[derive(Debug, Clone)]
struct Source(::config::Value);

impl ::config::Source for Source {
    fn clone_into_box(&self) -> Box<dyn ::config::Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<::config::Map<String, ::config::Value>, ::config::ConfigError> {
        Ok([(ROOT.to_owned(), self.0.clone())].into_iter().collect())
    }
}

/// A table of the `config` crate.
fn table(entries: Vec<(String, ::config::Value)>) -> ::config::Value {
    ::config::Value::new(None, ::config::ValueKind::Table(entries.into_iter().collect()))
}

impl Merge<'_> {
    fn file(&mut self, root: &Node, number: usize) -> Source {
        let Value::Table(entries) = &root.value else { return Source(table(vec![])) };
        let mut entries = entries.clone();
        let mut overrides = None;
        if number > 0 {
            // These two are about the file they stand in.
            overrides = entries.remove(OVERRIDES);
            if let Some(version) = entries.remove(CONFIG_VERSION) {
                self.refuse_other_version(&version);
            }
        }
        let notes = self.findings.notes.len();
        let says_so =
            overrides.as_ref().is_some_and(|o| matches!(o.node.value, Value::Boolean(true)));
        let layer = Layer::File { number, overrides: says_so };
        let source = Source(table(self.entries(&entries, &mut vec![], layer)));
        if let Some(overrides) = overrides {
            let wrong = if !says_so {
                Some(("is not `true`", "write overrides = true, or leave it out"))
            } else if self.findings.notes.len() == notes {
                let what = "does nothing: no key of this file stands in a file before it";
                Some((what, "leave it out"))
            } else {
                None
            };
            if let Some((what, instead)) = wrong {
                self.problem(&overrides, &[OVERRIDES.to_owned()], what, instead);
            }
        }
        source
    }

    fn refuse_other_version(&mut self, version: &KeyValue) {
        if !matches!(version.node.value, Value::Integer(n) if n == i64::from(VERSION)) {
            let what = "is not a version of the file that this build knows";
            self.problem(version, &[CONFIG_VERSION.to_owned()], what, "write 1");
        }
    }

    /// Lays `root` under every cluster and group that a file names.
    fn defaults(&mut self, root: &Node) -> Source {
        let split = |entries: &BTreeMap<String, KeyValue>, inner: &str| {
            let mut outer = entries.clone();
            let inner = match outer.remove(inner).map(|inner| inner.node.value) {
                Some(Value::Table(inner)) => inner,
                Some(_) | None => BTreeMap::new(),
            };
            (outer, inner)
        };
        let Value::Table(entries) = &root.value else { return Source(table(vec![])) };
        let (top, cluster) = split(entries, "cluster");
        let (cluster, group) = split(&cluster, "group");
        let named: Vec<Path> = self.tables.keys().cloned().collect();
        let mut layer = self.entries(&top, &mut vec![], Layer::Defaults);
        let mut clusters = vec![];
        for path in named.iter().filter(|path| path.len() == 2 && is_list_of_names(&path[..1])) {
            let mut below = self.entries(&cluster, &mut path.clone(), Layer::Defaults);
            let mut groups = vec![];
            for path in named.iter().filter(|inner| inner.len() == 4 && inner.starts_with(path)) {
                if is_list_of_names(&path[..3]) {
                    let key = path[3].clone();
                    let entries = self.entries(&group, &mut path.clone(), Layer::Defaults);
                    groups.push((key, table(entries)));
                }
            }
            if !groups.is_empty() {
                below.push(("group".to_owned(), table(groups)));
            }
            clusters.push((path[1].clone(), table(below)));
        }
        if !clusters.is_empty() {
            layer.push(("cluster".to_owned(), table(clusters)));
        }
        Source(table(layer))
    }

    /// The entries of the table at `at`, as numbers.
    fn entries(
        &mut self,
        entries: &BTreeMap<String, KeyValue>,
        at: &mut Path,
        layer: Layer,
    ) -> Vec<(String, ::config::Value)> {
        let mut made = vec![];
        for (key, written) in entries {
            at.push(key.clone());
            if let Some(value) = self.entry(written, at, layer) {
                made.push((key.clone(), value));
            }
            at.pop();
        }
        made
    }

    fn entry(
        &mut self,
        written: &KeyValue,
        at: &mut Path,
        layer: Layer,
    ) -> Option<::config::Value> {
        if let (Value::List(items), true) = (&written.node.value, is_list_of_names(at))
            && !items.is_empty()
            && items.iter().all(|item| matches!(item.value, Value::Table(_)))
        {
            self.claim_table(written, at, layer, Value::List(vec![])).then_some(())?;
            let mut made = vec![];
            for (number, item) in items.iter().enumerate() {
                let key = item_key(item, number, layer, made.iter().map(|(key, _)| key));
                at.push(key.clone());
                let shell = KeyValue { key: item.origin.clone(), node: item.clone() };
                if let Value::Table(entries) = &item.value
                    && self.claim_table(&shell, at, layer, Value::Table(BTreeMap::new()))
                {
                    made.push((key, table(self.entries(entries, at, layer))));
                }
                at.pop();
            }
            return Some(table(made));
        }
        if let Value::Table(entries) = &written.node.value
            && !is_list_of_names(at)
        {
            self.claim_table(written, at, layer, Value::Table(BTreeMap::new())).then_some(())?;
            return Some(table(self.entries(entries, at, layer)));
        }
        self.claim_value(written, at, layer).then_some(())?;
        let number = self.values.len();
        self.values.push(written.clone());
        if matches!(layer, Layer::File { .. }) {
            self.written.insert(at.clone(), number);
        }
        Some(::config::Value::new(None, number as u64))
    }

    /// Whether there may be a table at this path. Remembers the first one's place.
    fn claim_table(
        &mut self,
        written: &KeyValue,
        at: &[String],
        layer: Layer,
        empty: Value,
    ) -> bool {
        if let (Layer::File { .. }, Some(value)) = (layer, self.written.get(at)) {
            let other = self.values.get(*value).map(|value| value.key.clone());
            self.refuse_mixture(written, at, other);
            return false;
        }
        let order = self.tables.len();
        self.tables.entry(at.to_vec()).or_insert_with(|| ValueOrigin {
            shell: KeyValue {
                key: written.key.clone(),
                node: Node { value: empty, ..written.node.clone() },
            },
            order,
        });
        true
    }

    /// Whether there may be a value at this path.
    fn claim_value(&mut self, written: &KeyValue, at: &[String], layer: Layer) -> bool {
        let overrides = match layer {
            Layer::Defaults => return true,
            Layer::File { overrides, .. } => overrides,
        };
        if let Some(ValueOrigin { shell, .. }) = self.tables.get(at) {
            let other = shell.key.clone();
            self.refuse_mixture(written, at, Some(other));
            return false;
        }
        let Some(before) = self.written.get(at).and_then(|number| self.values.get(*number)) else {
            return true;
        };
        if is_name_of_item(at) {
            return false;
        }
        let place = before.key.seen_from(&written.key);
        if overrides {
            let text = format!("replaces {} ({place})", before.node.written);
            self.findings.notes.push(Note { origin: written.key.clone(), key: shown(at), text });
            return true;
        }
        let what = format!("is written already ({place}), and neither file says that it overrides");
        let instead = "write it in one of them, or write overrides = true at the top of the file \
                       of conf.d that is to replace it";
        self.problem(written, at, what, instead);
        false
    }

    fn refuse_mixture(&mut self, written: &KeyValue, at: &[String], other: Option<Origin>) {
        let place =
            other.map_or_else(String::new, |other| format!(" ({})", other.seen_from(&written.key)));
        let what = format!("is a table in one file and a value in another{place}");
        self.problem(written, at, what, "write it in one way");
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
            key: shown(at),
            value: None,
            what: what.into(),
            instead: instead.to_owned(),
        });
    }

    /// Whether a value may stand there: no file has a value where a table would have to
    /// be, and none has a table there.
    fn could_hold(&self, path: &[&str]) -> bool {
        let path: Path = path.iter().map(|key| (*key).to_owned()).collect();
        let above = (1..path.len()).any(|length| self.written.contains_key(&path[..length]));
        !above && !self.tables.contains_key(&path)
    }

    /// The tree that a merged value stands for.
    fn tree(&self, merged: ::config::Value, overlays: &[&Overlay]) -> Option<KeyValue> {
        let ::config::ValueKind::Table(root) = merged.kind else { return None };
        let (_, merged) = root.into_iter().find(|(key, _)| key == ROOT)?;
        self.subtree(merged, &mut vec![], overlays)
    }

    fn subtree(
        &self,
        merged: ::config::Value,
        at: &mut Path,
        overlays: &[&Overlay],
    ) -> Option<KeyValue> {
        let from_environment = merged.origin() == Some(CRATE_ENVIRONMENT);
        match merged.kind {
            ::config::ValueKind::U64(number) => {
                self.values.get(usize::try_from(number).ok()?).cloned()
            }
            ::config::ValueKind::String(text) => {
                let is_it = |overlay: &&&Overlay| {
                    let variable = matches!(overlay.origin, Origin::Environment { .. });
                    overlay.path.iter().eq(at.iter()) && variable == from_environment
                };
                let origin = overlays.iter().find(is_it)?.origin.clone();
                let node = Node::of_text(origin.clone(), text);
                Some(KeyValue { key: origin, node })
            }
            ::config::ValueKind::Table(entries) => {
                // Out of the order of a hash map at once.
                let entries: BTreeMap<_, _> = entries.into_iter().collect();
                let mut below = BTreeMap::new();
                for (key, value) in entries {
                    at.push(key.clone());
                    if let Some(value) = self.subtree(value, at, overlays) {
                        below.insert(key, value);
                    }
                    at.pop();
                }
                Some(self.filled(below, at))
            }
            // Only numbers and texts were put in.
            ::config::ValueKind::Nil
            | ::config::ValueKind::Boolean(_)
            | ::config::ValueKind::I64(_)
            | ::config::ValueKind::I128(_)
            | ::config::ValueKind::U128(_)
            | ::config::ValueKind::Float(_)
            | ::config::ValueKind::Array(_) => None,
        }
    }

    /// The table or list at this path with its content.
    fn filled(&self, below: BTreeMap<String, KeyValue>, at: &Path) -> KeyValue {
        let place = self.tables.get(at);
        let KeyValue { key, node } = place.map_or_else(
            || KeyValue {
                key: Origin::Default,
                node: Node {
                    origin: Origin::Default,
                    written: String::new(),
                    value: Value::Table(BTreeMap::new()),
                },
            },
            |place| place.shell.clone(),
        );
        let value = match node.value {
            Value::List(_) => {
                let mut items: Vec<_> = below.into_iter().collect();
                items.sort_by_key(|(key, _)| {
                    let path: Path = at.iter().chain([key]).cloned().collect();
                    self.tables.get(&path).map(|place| place.order)
                });
                Value::List(items.into_iter().map(|(_, item)| item.node).collect())
            }
            Value::Table(_)
            | Value::Text(_)
            | Value::Integer(_)
            | Value::HugeInteger
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime => Value::Table(below),
        };
        KeyValue { key, node: Node { value, ..node } }
    }
}

/// Whether tables in a list at this path are told apart by their names.
fn is_list_of_names(at: &[String]) -> bool {
    match at {
        [cluster] => cluster == "cluster",
        [cluster, _, group] => cluster == "cluster" && group == "group",
        _ => false,
    }
}

/// Whether this is the name by which an element of such a list was found.
fn is_name_of_item(at: &[String]) -> bool {
    match at {
        [list @ .., item, name] => {
            name == "name" && item.starts_with('=') && is_list_of_names(list)
        }
        _ => false,
    }
}

/// The key of an element in such a list.
fn item_key<'a>(
    item: &Node,
    number: usize,
    layer: Layer,
    mut taken: impl Iterator<Item = &'a String>,
) -> String {
    let layer = match layer {
        Layer::Defaults => 0,
        Layer::File { number, .. } => number,
    };
    if let Value::Table(entries) = &item.value
        && let Some(KeyValue { node: Node { value: Value::Text(name), .. }, .. }) =
            entries.get("name")
    {
        let key = format!("={name}");
        if taken.all(|taken| *taken != key) {
            return key;
        }
    }
    format!("#{layer}.{}", number + 1)
}

/// The path as reports have it: `cluster[research].group[workers].size`.
fn shown(at: &[String]) -> String {
    let mut text = String::new();
    for (depth, key) in at.iter().enumerate() {
        if is_list_of_names(&at[..depth]) {
            let name = key.strip_prefix('=').filter(|name| is_label(name)).unwrap_or("…");
            text.push_str(&format!("[{name}]"));
        } else {
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(&super::entry::key_as_written(key));
        }
    }
    text
}
