//! Tree to tables: which keys there are, and what a single value may be.
//!
//! [`table!`] declares a table once; its fields, its reader, the check for
//! unknown keys and the list of known ones all come from that declaration.
//! Reading never stops at the first problem: a value that was refused is
//! [`Given::Refused`], so that nothing downstream calls it missing.

use std::fmt;

use serde_json::json;

use super::document::{KeyValue, Node, Value};
use super::problem::{Note, Origin, Problem};
use super::suggest;

/// How the table at the root is called.
pub(crate) const TOP: &str = "the top of the file";

/// Names in a path longer than this are replaced by their number.
const LABEL_CHARS: usize = 63;

/// What was found so far.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) problems: Vec<Problem>,
    pub(crate) notes: Vec<Note>,
    /// Values in force that nobody wrote and no layer has, since they depend on
    /// others: path and value.
    pub(crate) derived: Vec<(String, toml::Value)>,
}

/// A key and its place, whether or not it has a value.
#[derive(Debug, Clone)]
pub(crate) struct Spot {
    pub(crate) origin: Origin,
    /// `cluster[research].group[workers].size`.
    pub(crate) path: String,
    written: Option<String>,
}

impl Spot {
    pub(crate) fn root(node: &Node) -> Self {
        Self { origin: node.origin.clone(), path: String::new(), written: None }
    }

    pub(crate) fn child(&self, key: &str, origin: &Origin, node: Option<&Node>) -> Self {
        let name = key_as_written(key);
        let path = if self.path.is_empty() { name } else { format!("{}.{name}", self.path) };
        let written = node.filter(|node| !matches!(node.value, Value::Table(_)));
        let written = written.map(|node| node.written.clone());
        Self { origin: origin.clone(), path, written }
    }

    pub(crate) fn item(&self, number: usize, node: &Node) -> Self {
        let path = format!("{}[{}]", self.path, label(number, node));
        let written = (!matches!(node.value, Value::Table(_))).then(|| node.written.clone());
        Self { origin: node.origin.clone(), path, written }
    }

    pub(crate) fn problem(&self, what: impl Into<String>, instead: impl Into<String>) -> Problem {
        Problem {
            origin: self.origin.clone(),
            key: self.path.clone(),
            value: self.written.clone(),
            what: what.into(),
            instead: instead.into(),
        }
    }

    pub(crate) fn note(&self, text: impl Into<String>) -> Note {
        Note { origin: self.origin.clone(), key: self.path.clone(), text: text.into() }
    }

    /// The place, to point at from another one: `line 12`.
    pub(crate) fn seen_from(&self, from: &Self) -> String {
        self.origin.seen_from(&from.origin)
    }
}

/// A table in a list goes by its name where it has a plain one.
fn label(number: usize, node: &Node) -> String {
    if let Value::Table(entries) = &node.value
        && let Some(KeyValue { node: Node { value: Value::Text(name), .. }, .. }) =
            entries.get("name")
        && is_label(name)
    {
        return name.clone();
    }
    format!("#{}", number + 1)
}

/// Whether a path shows this name of a table in a list.
pub(crate) fn is_label(name: &str) -> bool {
    is_plain(name) && name.len() <= LABEL_CHARS
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// Quoted and escaped unless it is a bare key, as TOML has it.
pub(crate) fn key_as_written(key: &str) -> String {
    if is_plain(key) { key.to_owned() } else { format!("{key:?}") }
}

/// What is known of one key.
#[derive(Debug, Clone)]
pub(crate) struct Entry<T> {
    pub(crate) spot: Spot,
    pub(crate) given: Given<T>,
    /// Whether its value is one that nobody wrote.
    is_default: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum Given<T> {
    Absent,
    /// Written, but of no use; the problem is reported already.
    Refused,
    Value(T),
}

impl<T> Entry<T> {
    pub(crate) fn absent(table: &Spot, key: &str) -> Self {
        let spot = table.child(key, &table.origin, None);
        Self { spot, given: Given::Absent, is_default: false }
    }

    pub(crate) fn value(&self) -> Option<&T> {
        match &self.given {
            Given::Value(value) => Some(value),
            Given::Absent | Given::Refused => None,
        }
    }

    /// Whether somebody wrote it, whatever it says.
    pub(crate) fn is_written(&self) -> bool {
        match self.given {
            Given::Value(_) | Given::Refused => !self.is_default,
            Given::Absent => false,
        }
    }

    /// Notes the value in force of a key that is not written.
    pub(crate) fn derive(&self, value: impl Into<toml::Value>, findings: &mut Findings) {
        if !self.is_written() {
            findings.derived.push((self.spot.path.clone(), value.into()));
        }
    }

    /// Forgets its value: what was meant for this key is a problem already.
    pub(crate) fn refuse(&mut self) {
        self.given = Given::Refused;
        self.is_default = false;
    }

    /// Says that it is missing, if it is.
    pub(crate) fn required(&self, instead: &str, findings: &mut Findings) -> Option<&T> {
        if matches!(self.given, Given::Absent) {
            findings.problems.push(self.spot.problem("is missing, and has no default", instead));
        }
        self.value()
    }
}

impl<T: Clone> Entry<T> {
    /// The value, or this default; none if it was refused.
    pub(crate) fn or(&self, default: T) -> Option<T> {
        match &self.given {
            Given::Value(value) => Some(value.clone()),
            Given::Absent => Some(default),
            Given::Refused => None,
        }
    }
}

impl<T: PartialOrd + Copy + fmt::Display> Entry<T> {
    /// The value, if it lies in the range; says so if not.
    pub(crate) fn within(
        &self,
        (least, most): (T, T),
        why: &str,
        findings: &mut Findings,
    ) -> Option<T> {
        let value = *self.value()?;
        let wrong = if value < least {
            format!("is less than {least}: {why}")
        } else if value > most {
            format!("is more than {most}: {why}")
        } else {
            return Some(value);
        };
        findings.problems.push(self.spot.problem(wrong, format!("write {least} to {most}")));
        None
    }
}

/// A list's readable items.
#[derive(Debug, Clone)]
pub(crate) struct List<T> {
    pub(crate) items: Vec<Item<T>>,
    /// Whether all of its items were readable.
    pub(crate) whole: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Item<T> {
    pub(crate) spot: Spot,
    pub(crate) value: T,
}

impl<T> Entry<List<T>> {
    /// The items; none if the key is absent.
    pub(crate) fn items(&self) -> &[Item<T>] {
        self.value().map_or(&[], |list| &list.items)
    }
}

/// Why a value was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) what: String,
    pub(crate) instead: String,
}

impl Refusal {
    pub(crate) fn new(what: impl Into<String>, instead: impl Into<String>) -> Self {
        Self { what: what.into(), instead: instead.into() }
    }

    /// For a value of the wrong kind.
    pub(crate) fn kind(value: &Value, wanted: &str, instead: impl Into<String>) -> Self {
        Self::new(format!("is {}, not {wanted}", kind(value)), instead)
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Text(_) => "a text",
        Value::Integer(_) | Value::HugeInteger => "a number",
        Value::Float(_) => "a decimal number",
        Value::Boolean(true) => "`true`",
        Value::Boolean(false) => "`false`",
        Value::Datetime => "a date or time",
        Value::List(_) => "a list",
        Value::Table(_) => "a table",
    }
}

/// A value that stands for itself.
pub(crate) trait Scalar: Sized {
    fn parse(value: &Value) -> Result<Self, Refusal>;

    /// What an editor may be told of it, as JSON Schema: never stricter than `parse`.
    fn schema() -> serde_json::Value;
}

/// Anything that can stand behind a key.
pub(crate) trait Read: Sized {
    /// `None` once the problems are reported.
    fn read(node: &Node, spot: Spot, findings: &mut Findings) -> Option<Self>;

    /// The keys inside, for whoever lists them all.
    fn known_keys(_at: &str, _into: &mut Vec<KnownKey>) {}

    /// What an editor may be told of it, as JSON Schema.
    fn schema() -> serde_json::Value;
}

/// One key of the whole surface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KnownKey {
    /// The table it belongs in, as a header.
    pub(crate) table: &'static str,
    pub(crate) key: &'static str,
    /// From the root, without list numbers: `cluster.group.size`.
    pub(crate) path: String,
}

impl<T: Scalar> Read for T {
    fn read(node: &Node, spot: Spot, findings: &mut Findings) -> Option<Self> {
        match T::parse(&node.value) {
            Ok(value) => Some(value),
            Err(Refusal { what, instead }) => {
                findings.problems.push(spot.problem(what, instead));
                None
            }
        }
    }

    fn schema() -> serde_json::Value {
        <T as Scalar>::schema()
    }
}

impl<T: Read> Read for List<T> {
    fn read(node: &Node, spot: Spot, findings: &mut Findings) -> Option<Self> {
        let Value::List(nodes) = &node.value else {
            let key = spot.path.rsplit('.').next().unwrap_or_default();
            let instead = match node.value {
                Value::Table(_) => format!("write `[[…{key}]]` for each, or {key} = [{{ … }}]"),
                Value::Text(_)
                | Value::Integer(_)
                | Value::HugeInteger
                | Value::Float(_)
                | Value::Boolean(_)
                | Value::Datetime
                | Value::List(_) => "put it in square brackets".to_owned(),
            };
            let Refusal { what, instead } = Refusal::kind(&node.value, "a list", instead);
            findings.problems.push(spot.problem(what, instead));
            return None;
        };
        let items: Vec<_> = nodes
            .iter()
            .enumerate()
            .filter_map(|(number, item)| {
                let spot = spot.item(number, item);
                let value = T::read(item, spot.clone(), findings)?;
                Some(Item { spot, value })
            })
            .collect();
        let whole = items.len() == nodes.len();
        Some(Self { items, whole })
    }

    fn known_keys(at: &str, into: &mut Vec<KnownKey>) {
        T::known_keys(at, into);
    }

    fn schema() -> serde_json::Value {
        let items = T::schema();
        // A list of tables without any is refused wherever there is one.
        let least = usize::from(items.get("properties").is_some());
        json!({ "type": "array", "items": items, "minItems": least })
    }
}

/// A schema with its key's description.
pub(crate) fn described<T: Read>(text: &str) -> serde_json::Value {
    let mut schema = T::schema();
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("description".to_owned(), json!(text.trim()));
    }
    schema
}

/// Reads one known key of a table.
pub(crate) fn entry<T: Read>(
    table: &Spot,
    key: &str,
    written: &KeyValue,
    findings: &mut Findings,
) -> Entry<T> {
    let is_default = written.key.is_default();
    // What is said about a default is said where it could have been written.
    let spot = if is_default {
        table.child(key, &table.origin, None)
    } else {
        table.child(key, &written.key, Some(&written.node))
    };
    let given = match T::read(&written.node, spot.clone(), findings) {
        Some(value) => Given::Value(value),
        None => Given::Refused,
    };
    Entry { spot, given, is_default }
}

/// What may have been meant by an unknown key.
pub(crate) struct Guess {
    /// A key of the same table.
    pub(crate) near: Option<&'static str>,
    pub(crate) problem: Problem,
}

/// A key that no version of the file had, with what was probably meant.
pub(crate) fn unknown(
    table: &Spot,
    (title, keys): (&str, &[&'static str]),
    key: &str,
    written: &KeyValue,
    surface: &[KnownKey],
) -> Guess {
    let near = suggest::nearest(key, keys.iter().copied());
    let meant = match (hint(key), near) {
        (Some(hint), _) => hint.to_owned(),
        (None, Some(near)) => format!("did you mean `{near}`?"),
        (None, None) => match surface.iter().find(|known| known.key == key) {
            Some(KnownKey { table: TOP, .. }) => {
                format!("`{key}` belongs at the top of the file, before the first [table]")
            }
            Some(KnownKey { table, .. }) => format!("`{key}` belongs in {table}"),
            None => format!("its keys are: {}", keys.join(", ")),
        },
    };
    // Its value is not shown: it may be a secret.
    let spot = table.child(key, &written.key, None);
    Guess { near, problem: spot.problem(format!("is not a key of {title}"), meant) }
}

/// Keys that other programs have, and what goes by another name here.
fn hint(key: &str) -> Option<&'static str> {
    let lower = key.to_lowercase();
    if ["access_key", "secret", "session_token", "password"].iter().any(|w| lower.contains(w)) {
        return Some("credentials do not belong in this file: the AWS default chain finds them");
    }
    match lower.as_str() {
        "overrides" => Some(
            "`overrides = true` belongs at the top of a file of conf.d, which then replaces \
                  what files before it say",
        ),
        "tick" | "interval" | "poll_interval" => {
            Some("`schedule` at the top says how often to tick")
        }
        "dry_run" | "enforce" | "observe" | "enabled" => {
            Some("`mode = \"observe\"` or `mode = \"enforce\"` at the top says it")
        }
        _ => None,
    }
}

/// Declares a table: a struct with an [`Entry`] for each key. The comment of a key is
/// its description in the schema; `= required` says there that it has no default.
macro_rules! table {
    ($(#[$doc:meta])* $name:ident, $title:literal {
        $($(#[doc = $key_doc:literal])+ $key:ident: $kind:ty $(= $required:ident)?,)+
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub(crate) struct $name {
            /// The table itself.
            pub(crate) spot: Spot,
            $($(#[doc = $key_doc])+ pub(crate) $key: Entry<$kind>,)+
        }

        impl $name {
            const KEYS: &'static [&'static str] = &[$(stringify!($key)),+];

            /// The table without any key.
            pub(crate) fn absent(spot: &Spot) -> Self {
                Self {
                    $($key: Entry::absent(spot, stringify!($key)),)+
                    spot: spot.clone(),
                }
            }
        }

        impl Read for $name {
            fn read(node: &Node, spot: Spot, findings: &mut Findings) -> Option<Self> {
                let Value::Table(entries) = &node.value else {
                    let instead = concat!("write ", $title);
                    let Refusal { what, instead } = Refusal::kind(&node.value, "a table", instead);
                    findings.problems.push(spot.problem(what, instead));
                    return None;
                };
                let mut table = Self::absent(&spot);
                let mut near = vec![];
                for (key, written) in entries {
                    match key.as_str() {
                        $(stringify!($key) => {
                            table.$key = entry(&table.spot, key, written, findings);
                        })+
                        _ => {
                            let here = ($title, Self::KEYS);
                            let guess = unknown(&table.spot, here, key, written, &surface());
                            findings.problems.push(guess.problem);
                            near.extend(guess.near);
                        }
                    }
                }
                // A misspelt key is not missing as well.
                for key in near {
                    match key {
                        $(stringify!($key) if !table.$key.is_written() => {
                            table.$key.refuse();
                        })+
                        _ => {}
                    }
                }
                Some(table)
            }

            fn known_keys(at: &str, into: &mut Vec<KnownKey>) {
                $({
                    let path = if at.is_empty() {
                        stringify!($key).to_owned()
                    } else {
                        format!("{at}.{}", stringify!($key))
                    };
                    into.push(KnownKey {
                        table: $title,
                        key: stringify!($key),
                        path: path.clone(),
                    });
                    <$kind as Read>::known_keys(&path, into);
                })+
            }

            fn schema() -> serde_json::Value {
                let mut properties = serde_json::Map::new();
                let required: &[&str] = &[
                    $($({ let $required = stringify!($key); $required },)?)+
                ];
                $(
                    let property = described::<$kind>(concat!($($key_doc),+));
                    properties.insert(stringify!($key).to_owned(), property);
                )+
                serde_json::json!({
                    "type": "object",
                    "properties": properties,
                    "required": required,
                    "additionalProperties": false,
                })
            }
        }
    };
}
pub(crate) use table;
