//! Parses a text into a tree of values, each with its place.
//!
//! Later stages read one tree and do not depend on the number of files: [`super::merge`]
//! merges several trees into one, and the values keep their origins. Values are not converted
//! here: `7.9`, `true` and `"8"` stay as they are, so that the reader can refuse them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Location, Origin, Problem};

/// Longest part of a value that a report shows, in characters.
const SHOWN_CHARS: usize = 60;

/// A value and where it was written.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) origin: Origin,
    /// The value as written, cut to one line; for a table, its header.
    pub(crate) written: String,
    pub(crate) value: Value,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Text(String),
    Integer(i64),
    /// An integer of more than 64 bits.
    HugeInteger,
    /// May be infinite or not a number.
    Float(f64),
    Boolean(bool),
    Datetime,
    List(Vec<Node>),
    Table(BTreeMap<String, KeyValue>),
}

/// One entry of a table.
#[derive(Debug, Clone)]
pub(crate) struct KeyValue {
    /// Place of the key.
    pub(crate) key: Origin,
    pub(crate) node: Node,
}

impl Node {
    /// Returns the node of a text from a variable or an option.
    pub(crate) fn of_text(origin: Origin, text: String) -> Self {
        let written = cut(&toml::Value::String(text.clone()).to_string());
        Self { origin, written, value: Value::Text(text) }
    }

    /// Returns the node of a default value, parsed from TOML.
    ///
    /// # Panics
    /// Panics if `text` is not TOML. The first use of any default would show that.
    pub(crate) fn default_of(text: &str) -> Self {
        let root = read(&Origin::Default, &format!("default = {text}")).map(|root| root.value);
        match root {
            Ok(Value::Table(mut entries)) => entries.remove("default").map(|default| default.node),
            Ok(_) | Err(_) => None,
        }
        .expect("a default is TOML")
    }

    /// Returns a table of default values, or `None` if there are none.
    pub(crate) fn default_table(keys: Vec<(&str, Self)>) -> Option<Self> {
        let entries: BTreeMap<_, _> = keys
            .into_iter()
            .map(|(key, node)| (key.to_owned(), KeyValue { key: Origin::Default, node }))
            .collect();
        (!entries.is_empty()).then(|| Self {
            origin: Origin::Default,
            written: String::new(),
            value: Value::Table(entries),
        })
    }

    /// Returns the entries of a table, or `None` for any other value.
    pub(crate) fn entries(&self) -> Option<&BTreeMap<String, KeyValue>> {
        if let Value::Table(entries) = &self.value { Some(entries) } else { None }
    }

    /// Returns the same list or table without content.
    pub(crate) fn emptied(&self) -> Self {
        let is_list = matches!(self.value, Value::List(_));
        let value = if is_list { Value::List(vec![]) } else { Value::Table(BTreeMap::new()) };
        Self { value, origin: self.origin.clone(), written: self.written.clone() }
    }

    /// Returns the value as TOML, or `None` for a type that no key accepts.
    pub(crate) fn to_toml(&self) -> Option<toml::Value> {
        match &self.value {
            Value::Text(text) => Some(toml::Value::String(text.clone())),
            Value::Integer(number) => Some(toml::Value::Integer(*number)),
            Value::Float(number) => Some(toml::Value::Float(*number)),
            Value::Boolean(boolean) => Some(toml::Value::Boolean(*boolean)),
            Value::HugeInteger | Value::Datetime => None,
            Value::List(items) => {
                items.iter().map(Self::to_toml).collect::<Option<_>>().map(toml::Value::Array)
            }
            Value::Table(entries) => {
                let entry =
                    |(key, value): (&String, &KeyValue)| Some((key.clone(), value.node.to_toml()?));
                entries.iter().map(entry).collect::<Option<_>>().map(toml::Value::Table)
            }
        }
    }
}

/// Parses a text. `whole` is the origin of the text as a whole.
///
/// # Errors
/// Returns one problem for each line that is not valid TOML.
pub(crate) fn read(whole: &Origin, text: &str) -> Result<Node, Vec<Problem>> {
    let lines = Lines::new(whole, text);
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        let value = lines.table(table.get_ref());
        return Ok(Node { origin: whole.clone(), written: String::new(), value });
    }
    // Later errors in the same line are mostly consequences of the first one.
    let mut by_line = BTreeMap::new();
    let mut errors: Vec<_> =
        errors.iter().map(|e| (e.span().map_or(0, |span| span.start), e.message())).collect();
    errors.sort_unstable();
    for (start, message) in errors {
        let origin = lines.origin(start);
        let (line, _) = lines.line(start);
        by_line.entry(line).or_insert_with(|| Problem {
            origin,
            key: String::new(),
            value: None,
            what: format!("is not valid TOML: {message}"),
            instead: format!("the line reads: {}", cut(lines.line_at(start).trim())),
        });
    }
    Err(by_line.into_values().collect())
}

/// Finds the line and the column of an offset.
struct Lines<'a> {
    whole: &'a Origin,
    text: &'a str,
    /// Offset of the first byte of each line.
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(whole: &'a Origin, text: &'a str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let starts = [0].into_iter().chain(breaks.map(|(at, _)| at + 1)).collect();
        Self { whole, text, starts }
    }

    /// Returns the number of the line, from 0, and the offset of its first byte.
    fn line(&self, offset: usize) -> (usize, usize) {
        let number = self.starts.partition_point(|start| *start <= offset).saturating_sub(1);
        (number, self.starts.get(number).copied().unwrap_or(0))
    }

    fn line_at(&self, offset: usize) -> &'a str {
        let (_, start) = self.line(offset);
        self.text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or("")
    }

    fn origin(&self, offset: usize) -> Origin {
        let (number, start) = self.line(offset);
        let before = self.text.get(start..offset).unwrap_or("");
        let count = |n: usize| u32::try_from(n + 1).unwrap_or(u32::MAX);
        let place = Location { line: count(number), column: count(before.chars().count()) };
        match self.whole {
            Origin::File { number, file, place: _ } => {
                Origin::File { number: *number, file: Arc::clone(file), place: Some(place) }
            }
            // Other origins are not files that the operator could open.
            Origin::Default | Origin::Environment { .. } | Origin::Flag { .. } => {
                self.whole.clone()
            }
        }
    }

    fn written(&self, span: Range<usize>) -> String {
        cut(self.text.get(span).unwrap_or(""))
    }

    fn node(&self, value: &Spanned<DeValue<'_>>) -> Node {
        Node {
            origin: self.origin(value.span().start),
            written: self.written(value.span()),
            value: self.value(value.get_ref()),
        }
    }

    fn value(&self, value: &DeValue<'_>) -> Value {
        match value {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(integer) => {
                match i64::from_str_radix(integer.as_str(), integer.radix()) {
                    Ok(number) => Value::Integer(number),
                    Err(_) => Value::HugeInteger,
                }
            }
            // Rust parses every TOML float except `+nan`. Every reader refuses NaN.
            DeValue::Float(float) => Value::Float(float.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(boolean) => Value::Boolean(*boolean),
            DeValue::Datetime(_) => Value::Datetime,
            DeValue::Array(array) => {
                Value::List(array.iter().map(|item| self.node(item)).collect())
            }
            DeValue::Table(table) => self.table(table),
        }
    }

    fn table(&self, table: &DeTable<'_>) -> Value {
        let entry = |(key, value): (&Spanned<_>, &Spanned<_>)| {
            let key: &Spanned<std::borrow::Cow<'_, str>> = key;
            let at = self.origin(key.span().start);
            (key.get_ref().to_string(), KeyValue { key: at, node: self.node(value) })
        };
        Value::Table(table.iter().map(entry).collect())
    }
}

/// Returns the first line, shortened and without control characters.
fn cut(text: &str) -> String {
    let line = text.lines().next().unwrap_or("");
    let shown: String = line.chars().take(SHOWN_CHARS).collect();
    let ends_there = shown.len() == text.trim_end().len();
    let plain = shown.replace(|c: char| c.is_control(), "\u{fffd}");
    if ends_there { plain } else { plain + "…" }
}
