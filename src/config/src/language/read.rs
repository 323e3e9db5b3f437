//! Tree to tables: which keys there are, and what a single value may be.
//!
//! [`table!`] declares a table once; its fields, its reader, the check for
//! unknown keys and the list of known ones all come from that declaration.
//! Reading never stops at the first problem.

use std::fmt;
use std::ops::RangeInclusive;

use serde_json::json;

use super::document::{KeyValue, Node, Value};
use super::entry::{Entry, Findings, Given, Item, List, Spot};
use super::problem::Problem;
use super::suggest;

/// How the table at the root is called.
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

    /// The default values of the keys inside; of a list of tables, those of each table.
    fn defaults() -> Option<Node> {
        None
    }

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

    fn defaults() -> Option<Node> {
        T::defaults()
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

/// What a description says of the values that are allowed.
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

/// Declares a table: a struct with an [`Entry`] for each key. One row is all there is to
/// say of a key:
///
/// ```text
/// /// What it is; an editor shows this.
/// settle: Span = "30s" where (Span::secs(5)..=Span::mins(10), "why these limits"),
/// ```
///
/// `= …` is the default, as TOML. `=> required` says that there is none and that the key
/// must be written. A table `for` a struct of the same fields makes one of its values.
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
            /// The values over those of `base`, if none was refused.
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
