//! Tree to tables: which keys there are, and what a single value may be.
//!
//! [`table!`] declares a table once; its fields, its reader, the check for
//! unknown keys and the list of known ones all come from that declaration.
//! Reading never stops at the first problem: a value that was refused is
//! [`Given::Refused`], so that nothing downstream calls it missing.

use std::fmt;

use super::document::{KeyValue, Node, Value};
use super::problem::{Note, Origin, Problem};
use super::suggest;

/// How the table at the root is called.
pub(super) const TOP: &str = "the top of the file";

/// Names in a path longer than this are replaced by their number.
const LABEL_CHARS: usize = 63;

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) problems: Vec<Problem>,
    pub(super) notes: Vec<Note>,
}

/// A key and its place, whether or not it has a value.
#[derive(Debug, Clone)]
pub(super) struct Spot {
    pub(super) origin: Origin,
    /// `cluster[research].group[workers].size`.
    pub(super) path: String,
    written: Option<String>,
}

impl Spot {
    pub(super) fn root(node: &Node) -> Self {
        Self { origin: node.origin.clone(), path: String::new(), written: None }
    }

    fn child(&self, key: &str, origin: &Origin, node: Option<&Node>) -> Self {
        let name = key_as_written(key);
        let path = if self.path.is_empty() { name } else { format!("{}.{name}", self.path) };
        let written = node.filter(|node| !matches!(node.value, Value::Table(_)));
        let written = written.map(|node| node.written.clone());
        Self { origin: origin.clone(), path, written }
    }

    fn item(&self, number: usize, node: &Node) -> Self {
        let path = format!("{}[{}]", self.path, label(number, node));
        let written = (!matches!(node.value, Value::Table(_))).then(|| node.written.clone());
        Self { origin: node.origin.clone(), path, written }
    }

    pub(super) fn problem(&self, what: impl Into<String>, instead: impl Into<String>) -> Problem {
        Problem {
            origin: self.origin.clone(),
            key: self.path.clone(),
            value: self.written.clone(),
            what: what.into(),
            instead: instead.into(),
        }
    }

    pub(super) fn note(&self, text: impl Into<String>) -> Note {
        Note { origin: self.origin.clone(), key: self.path.clone(), text: text.into() }
    }

    /// The line it is on, to point at from elsewhere: `line 12`.
    pub(super) fn line(&self) -> String {
        let line = self.origin.place.map(|place| format!("line {}", place.line));
        line.unwrap_or_else(|| "the default".to_owned())
    }
}

/// A table in a list goes by its name where it has a plain one.
fn label(number: usize, node: &Node) -> String {
    if let Value::Table(entries) = &node.value
        && let Some(KeyValue { node: Node { value: Value::Text(name), .. }, .. }) =
            entries.get("name")
        && is_plain(name)
        && name.len() <= LABEL_CHARS
    {
        return name.clone();
    }
    format!("#{}", number + 1)
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// Quoted and escaped unless it is a bare key, as TOML has it.
fn key_as_written(key: &str) -> String {
    if is_plain(key) { key.to_owned() } else { format!("{key:?}") }
}

/// What is known of one key.
#[derive(Debug, Clone)]
pub(super) struct Entry<T> {
    pub(super) spot: Spot,
    pub(super) given: Given<T>,
}

#[derive(Debug, Clone)]
pub(super) enum Given<T> {
    Absent,
    /// Written, but of no use; the problem is reported already.
    Refused,
    Value(T),
}

impl<T> Entry<T> {
    pub(super) fn absent(table: &Spot, key: &str) -> Self {
        Self { spot: table.child(key, &table.origin, None), given: Given::Absent }
    }

    pub(super) fn value(&self) -> Option<&T> {
        match &self.given {
            Given::Value(value) => Some(value),
            Given::Absent | Given::Refused => None,
        }
    }

    /// Whether it was written, whatever it says.
    pub(super) fn is_written(&self) -> bool {
        match self.given {
            Given::Value(_) | Given::Refused => true,
            Given::Absent => false,
        }
    }

    /// Says that it is missing, if it is.
    pub(super) fn required(&self, instead: &str, findings: &mut Findings) -> Option<&T> {
        if !self.is_written() {
            findings.problems.push(self.spot.problem("is missing, and has no default", instead));
        }
        self.value()
    }
}

impl<T: Clone> Entry<T> {
    /// The value, or this default; none if it was refused.
    pub(super) fn or(&self, default: T) -> Option<T> {
        match &self.given {
            Given::Value(value) => Some(value.clone()),
            Given::Absent => Some(default),
            Given::Refused => None,
        }
    }
}

impl<T: PartialOrd + Copy + fmt::Display> Entry<T> {
    /// The value or this default, if it lies in the range; says so if not.
    pub(super) fn within(
        &self,
        default: T,
        (least, most): (T, T),
        why: &str,
        findings: &mut Findings,
    ) -> Option<T> {
        let value = self.or(default)?;
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
pub(super) struct List<T> {
    pub(super) items: Vec<Item<T>>,
    /// Whether all of its items were readable.
    pub(super) whole: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Item<T> {
    pub(super) spot: Spot,
    pub(super) value: T,
}

impl<T> Entry<List<T>> {
    /// The items; none if the key is absent.
    pub(super) fn items(&self) -> &[Item<T>] {
        self.value().map_or(&[], |list| &list.items)
    }
}

/// Why a value was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) what: String,
    pub(super) instead: String,
}

impl Refusal {
    pub(super) fn new(what: impl Into<String>, instead: impl Into<String>) -> Self {
        Self { what: what.into(), instead: instead.into() }
    }

    /// For a value of the wrong kind.
    pub(super) fn kind(value: &Value, wanted: &str, instead: impl Into<String>) -> Self {
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
pub(super) trait Scalar: Sized {
    fn parse(value: &Value) -> Result<Self, Refusal>;
}

/// Anything that can stand behind a key.
pub(super) trait Read: Sized {
    /// `None` once the problems are reported.
    fn read(node: &Node, spot: Spot, findings: &mut Findings) -> Option<Self>;

    /// The keys inside, for whoever lists them all.
    fn known_keys(_at: &str, _into: &mut Vec<KnownKey>) {}
}

/// One key of the whole surface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KnownKey {
    /// The table it belongs in, as a header.
    pub(super) table: &'static str,
    pub(super) key: &'static str,
    /// From the root, without list numbers: `cluster.group.size`.
    pub(super) path: String,
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
}

/// Reads one known key of a table.
pub(super) fn entry<T: Read>(
    table: &Spot,
    key: &str,
    written: &KeyValue,
    findings: &mut Findings,
) -> Entry<T> {
    let spot = table.child(key, &written.key, Some(&written.node));
    let given = match T::read(&written.node, spot.clone(), findings) {
        Some(value) => Given::Value(value),
        None => Given::Refused,
    };
    Entry { spot, given }
}

/// What may have been meant by an unknown key.
pub(super) struct Guess {
    /// A key of the same table.
    pub(super) near: Option<&'static str>,
    pub(super) problem: Problem,
}

/// A key that no version of the file had, with what was probably meant.
pub(super) fn unknown(
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
        "tick" | "interval" | "poll_interval" => {
            Some("`schedule` at the top says how often to tick")
        }
        "dry_run" | "enforce" | "observe" | "enabled" => {
            Some("`mode = \"observe\"` or `mode = \"enforce\"` at the top says it")
        }
        _ => None,
    }
}

/// Declares a table: a struct with an [`Entry`] for each key.
macro_rules! table {
    ($(#[$doc:meta])* $name:ident, $title:literal {
        $($(#[$key_doc:meta])* $key:ident: $kind:ty,)+
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub(super) struct $name {
            /// The table itself.
            pub(super) spot: Spot,
            $($(#[$key_doc])* pub(super) $key: Entry<$kind>,)+
        }

        impl $name {
            const KEYS: &'static [&'static str] = &[$(stringify!($key)),+];

            /// The table without any key.
            pub(super) fn absent(spot: &Spot) -> Self {
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
                            table.$key.given = Given::Refused;
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
        }
    };
}
pub(super) use table;
