//! One key: its place, and its value or the reason why it has none.
//!
//! A value that was refused is [`Given::Refused`], so that no later check reports it as
//! missing.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use super::document::{KeyValue, Node, Value};
use super::problem::{Note, Origin, Problem};

/// Longest name that a path shows, in characters. A longer one is replaced by its number.
const LABEL_CHARS: usize = 63;

/// Problems, notes and derived values found so far.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) problems: Vec<Problem>,
    pub(crate) notes: Vec<Note>,
    /// Defaults that depend on other values and so are not in any layer: path and value.
    pub(crate) derived: Vec<(String, toml::Value)>,
}

/// A key and its place, whether or not it has a value.
#[derive(Debug, Clone)]
pub(crate) struct Spot {
    pub(crate) origin: Origin,
    /// Such as `cluster[research].group[workers].size`.
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

    /// Returns the text for this place in a report about `from`, such as `line 12`.
    pub(crate) fn seen_from(&self, from: &Self) -> String {
        self.origin.seen_from(&from.origin)
    }
}

/// Returns how a path shows a table in a list: by its name if that is plain, otherwise by its
/// number.
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

/// Whether a path can show this name of a table in a list.
pub(crate) fn is_label(name: &str) -> bool {
    is_plain(name) && name.len() <= LABEL_CHARS
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// Returns the key as TOML writes it: quoted and escaped unless it is a bare key.
pub(crate) fn key_as_written(key: &str) -> String {
    if is_plain(key) { key.to_owned() } else { format!("{key:?}") }
}

/// One key, its place and its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry<T> {
    pub(crate) spot: Spot,
    pub(crate) given: Given<T>,
    /// Whether the value is a built-in default.
    pub(crate) is_default: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum Given<T> {
    Absent,
    /// Written, but not usable; the problem is already reported.
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

    /// Whether the key is in a layer other than the defaults, with a valid value or not.
    pub(crate) fn is_written(&self) -> bool {
        match self.given {
            Given::Value(_) | Given::Refused => !self.is_default,
            Given::Absent => false,
        }
    }

    /// Records the value in force of a key that is not written.
    pub(crate) fn derive(&self, value: impl Into<toml::Value>, findings: &mut Findings) {
        if !self.is_written() {
            findings.derived.push((self.spot.path.clone(), value.into()));
        }
    }

    /// Discards the value, because a problem of this key is already reported.
    pub(crate) fn refuse(&mut self) {
        self.given = Given::Refused;
        self.is_default = false;
    }

    /// Returns the value, and reports the key if it is missing.
    pub(crate) fn required(&self, instead: &str, findings: &mut Findings) -> Option<&T> {
        if matches!(self.given, Given::Absent) {
            findings.problems.push(self.spot.problem("is missing, and has no default", instead));
        }
        self.value()
    }
}

impl<T: Clone> Entry<T> {
    /// Returns `Some(None)` if the key is absent, and `None` if its value was refused.
    pub(crate) fn optional(&self) -> Option<Option<T>> {
        match &self.given {
            Given::Value(value) => Some(Some(value.clone())),
            Given::Absent => Some(None),
            Given::Refused => None,
        }
    }

    /// Returns the value, or `default` if the key is absent, or `None` if its value was refused.
    pub(crate) fn or(&self, default: T) -> Option<T> {
        match &self.given {
            Given::Value(value) => Some(value.clone()),
            Given::Absent => Some(default),
            Given::Refused => None,
        }
    }
}

impl<T: PartialOrd + Copy + fmt::Display> Entry<T> {
    /// Refuses a value outside the range and reports it.
    pub(crate) fn limited(
        mut self,
        range: &RangeInclusive<T>,
        why: &str,
        findings: &mut Findings,
    ) -> Self {
        let range = (*range.start(), *range.end());
        if self.value().is_some() && self.within(range, why, findings).is_none() {
            self.refuse();
        }
        self
    }

    /// Returns the value if it is in the range, otherwise reports it.
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

/// The readable items of a list.
#[derive(Debug, Clone)]
pub(crate) struct List<T> {
    pub(crate) items: Vec<Item<T>>,
    /// Whether all items were readable.
    pub(crate) whole: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Item<T> {
    pub(crate) spot: Spot,
    pub(crate) value: T,
}

impl<T> Entry<List<T>> {
    /// Reports a list that was written and is empty.
    pub(crate) fn refuse_empty(&self, instead: &str, findings: &mut Findings) {
        if let Some(List { items, whole: true }) = self.value()
            && items.is_empty()
        {
            findings.problems.push(self.spot.problem("is empty, so it has no effect", instead));
        }
    }

    /// Returns the items; an empty slice if the key is absent.
    pub(crate) fn items(&self) -> &[Item<T>] {
        self.value().map_or(&[], |list| &list.items)
    }
}

impl<T: Clone> Entry<List<T>> {
    /// Returns all values, no values if the key is absent, or `None` if the list was refused.
    pub(crate) fn values(&self) -> Option<Vec<T>> {
        let list = self.optional()?;
        Some(list.map_or_else(Vec::new, |l| l.items.into_iter().map(|item| item.value).collect()))
    }
}

impl<T: Ord> Entry<List<T>> {
    /// Reports a value that appears twice in the list.
    pub(crate) fn refuse_repeats(&self, findings: &mut Findings) {
        let items = self.items();
        for (number, Item { spot, value }) in items.iter().enumerate() {
            if let Some(first) = items.iter().take(number).find(|item| item.value == *value) {
                let what = format!("appears twice, first on {}", first.spot.seen_from(spot));
                findings.problems.push(spot.problem(what, "write it once"));
            }
        }
    }
}

/// Reports a name that another table of the list has too.
pub(crate) fn refuse_duplicates<'a, T: Ord + 'a>(
    names: impl Iterator<Item = &'a Entry<T>>,
    whose: &str,
    findings: &mut Findings,
) {
    let mut first: BTreeMap<&T, &Spot> = BTreeMap::new();
    for entry in names {
        let Some(name) = entry.value() else { continue };
        match first.get(name) {
            Some(other) => {
                let what = format!("is the name of {whose} ({})", other.seen_from(&entry.spot));
                let instead = "use each name once; put the keys of both into one table";
                findings.problems.push(entry.spot.problem(what, instead));
            }
            None => {
                first.insert(name, &entry.spot);
            }
        }
    }
}
