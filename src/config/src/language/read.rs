//! Reads the tree of values into tables, and checks keys and single values.
//!
//! [`table!`] declares a table once. Its fields, its reader, the check for unknown keys and
//! the list of known keys all come from that declaration. Reading does not stop at the first
//! problem.

use std::fmt;
use std::ops::RangeInclusive;

use serde_json::json;

use super::document::{KeyValue, Node, Value};
use super::entry::{Entry, Findings, Given, Item, List, Spot};
use super::problem::Problem;
use super::suggest;

/// Title of the table at the root.
pub(crate) const TOP: &str = "the top of the file";

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

    /// The refusal of a value of the wrong kind.
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

/// A type that is parsed from one value, without regard to other keys.
pub(crate) trait Scalar: Sized {
    fn parse(value: &Value) -> Result<Self, Refusal>;

    /// Returns its JSON Schema for editors, which must not be stricter than `parse`.
    fn schema() -> serde_json::Value;
}

/// Anything that can be the value of a key.
pub(crate) trait Read: Sized {
    /// Returns `None` after it has reported a problem.
    fn read(node: &Node, spot: Spot, findings: &mut Findings) -> Option<Self>;

    /// Returns the defaults of the keys inside; for a list of tables, those of each table.
    fn defaults() -> Option<Node> {
        None
    }

    /// Adds the keys inside to `into`. `at` is the path of the table.
    fn known_keys(_at: &str, _into: &mut Vec<KnownKey>) {}

    /// Returns its JSON Schema for editors.
    fn schema() -> serde_json::Value;
}

/// One key of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KnownKey {
    /// Header of its table.
    pub(crate) table: &'static str,
    pub(crate) key: &'static str,
    /// Path from the root, without list numbers: `cluster.group.size`.
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

    fn defaults() -> Option<Node> {
        T::defaults()
    }

    fn known_keys(at: &str, into: &mut Vec<KnownKey>) {
        T::known_keys(at, into);
    }

    fn schema() -> serde_json::Value {
        let items = T::schema();
        // Every empty list of tables is refused.
        let least = usize::from(items.get("properties").is_some());
        json!({ "type": "array", "items": items, "minItems": least })
    }
}

/// Returns the schema of a key with its description.
pub(crate) fn described<T: Read>(text: &str) -> serde_json::Value {
    let mut schema = T::schema();
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("description".to_owned(), json!(text.trim()));
    }
    schema
}

/// Returns the part of a description that names the allowed range.
pub(crate) fn limits<T: fmt::Display>(range: &RangeInclusive<T>) -> String {
    format!(" Allowed: {} to {}.", range.start(), range.end())
}

/// Reads one known key of a table.
pub(crate) fn entry<T: Read>(
    table: &Spot,
    key: &str,
    written: &KeyValue,
    findings: &mut Findings,
) -> Entry<T> {
    let is_default = written.key.is_default();
    // A problem of a default points at the table in which the key could be set.
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

/// An unknown key, and the known key that was probably meant.
pub(crate) struct Guess {
    /// A key of the same table.
    pub(crate) near: Option<&'static str>,
    pub(crate) problem: Problem,
}

/// Returns the problem of an unknown key, with the key that was probably meant.
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
    // The value may be a secret, so the report does not show it.
    let spot = table.child(key, &written.key, None);
    Guess { near, problem: spot.problem(format!("is not a key of {title}"), meant) }
}

/// Returns what to do instead of a key that other programs have, or that has another name here.
fn hint(key: &str) -> Option<&'static str> {
    let lower = key.to_lowercase();
    if ["access_key", "secret", "session_token", "password"].iter().any(|w| lower.contains(w)) {
        return Some(
            "credentials do not belong in this file: trimtab uses the default chain of AWS",
        );
    }
    match lower.as_str() {
        "overrides" => Some(
            "`overrides = true` belongs at the top of a file of conf.d; that file then replaces \
             values of the files before it",
        ),
        "tick" | "interval" | "poll_interval" => {
            Some("set `schedule` at the top of the file instead")
        }
        "dry_run" | "enforce" | "observe" | "enabled" => {
            Some("write `mode = \"observe\"` or `mode = \"enforce\"` at the top instead")
        }
        _ => None,
    }
}

/// Declares a table: a struct with an [`Entry`] for each key. One row declares one key
/// completely:
///
/// ```text
/// /// Description, which an editor shows.
/// settle: Span = "30s" where (Span::secs(5)..=Span::mins(10), "why these limits"),
/// ```
///
/// `= …` is the default, as TOML. `=> required` means that the key has no default and must be
/// written. A table `for` a struct with the same fields can build that struct.
macro_rules! table {
    ($(#[$doc:meta])* $name:ident for $target:ident, $title:literal {
        $($(#[doc = $key_doc:literal])+ $key:ident: $kind:ty
            $(=> $required:ident)? $(= $default:tt)? $(where ($range:expr, $why:literal))?,)+
    }) => {
        table! {
            $(#[$doc])* $name, $title {
                $($(#[doc = $key_doc])+ $key: $kind
                    $(=> $required)? $(= $default)? $(where ($range, $why))?,)+
            }
        }

        impl $name {
            /// Returns `base` with the values of this table, or `None` if one was refused.
            pub(crate) fn over(&self, base: $target) -> Option<$target> {
                Some($target { $($key: self.$key.value().copied()?,)+ ..base })
            }
        }
    };
    ($(#[$doc:meta])* $name:ident, $title:literal {
        $($(#[doc = $key_doc:literal])+ $key:ident: $kind:ty
            $(=> $required:ident)? $(= $default:tt)? $(where ($range:expr, $why:literal))?,)+
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub(crate) struct $name {
            /// Place of the table.
            pub(crate) spot: Spot,
            $($(#[doc = $key_doc])+ pub(crate) $key: Entry<$kind>,)+
        }

        impl $name {
            const KEYS: &'static [&'static str] = &[$(stringify!($key)),+];

            /// Returns the table without any key.
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
                            let entry: Entry<$kind> = entry(&table.spot, key, written, findings);
                            table.$key = entry$(.limited(&$range, $why, findings))?;
                        })+
                        _ => {
                            let here = ($title, Self::KEYS);
                            let guess = unknown(&table.spot, here, key, written, &surface());
                            findings.problems.push(guess.problem);
                            near.extend(guess.near);
                        }
                    }
                }
                // A misspelled key is one problem: the key that was meant is not reported as
                // missing too.
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

            fn defaults() -> Option<Node> {
                let mut keys = vec![];
                $(
                    let inside = <$kind as Read>::defaults();
                    $(let inside = inside.or(Some(Node::default_of(stringify!($default))));)?
                    keys.extend(inside.map(|inside| (stringify!($key), inside)));
                )+
                Node::default_table(keys)
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
                    let text = concat!($($key_doc),+).to_owned();
                    $(let text = text + &limits(&$range);)?
                    let property = described::<$kind>(&text);
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
