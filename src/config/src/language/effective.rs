//! All keys in force, with their values and origins, for `trimtab check-config`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::document::{Node, Value};
use super::entry::Spot;
use super::problem::Origin;
use super::read::KnownKey;

/// One key that is in force.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Setting {
    /// Path of the key, such as `cluster[research].group[workers].size`.
    pub key: String,
    /// Value in the form of the file.
    pub value: toml::Value,
    pub origin: Origin,
}

/// Returns all settings in the order of `keys`. Tables of a list keep the order of the files.
pub(crate) fn settings(
    root: &Node,
    derived: &[(String, toml::Value)],
    keys: Vec<KnownKey>,
) -> Vec<Setting> {
    let mut list = Listing {
        ranks: keys.into_iter().enumerate().map(|(rank, key)| (key.path, rank)).collect(),
        elements: BTreeMap::new(),
        settings: vec![],
    };
    list.table(root, &Spot::root(root), "");
    for (key, value) in derived {
        list.settings.push(Setting {
            key: key.clone(),
            value: value.clone(),
            origin: Origin::Default,
        });
    }
    let Listing { ranks, elements, mut settings } = list;
    settings.sort_by_cached_key(|setting| rank(&setting.key, &ranks, &elements));
    settings
}

struct Listing {
    /// Position of each key, by its path without list elements.
    ranks: BTreeMap<String, usize>,
    /// Position of each element in its list, by its path.
    elements: BTreeMap<String, usize>,
    settings: Vec<Setting>,
}

impl Listing {
    /// Adds the keys of a table. `plain` is its path without list elements.
    fn table(&mut self, table: &Node, spot: &Spot, plain: &str) {
        let Value::Table(entries) = &table.value else { return };
        for (key, written) in entries {
            let spot = spot.child(key, &written.key, Some(&written.node));
            let plain = if plain.is_empty() { key.clone() } else { format!("{plain}.{key}") };
            let inside = format!("{plain}.");
            let has_keys = self.ranks.keys().any(|known| known.starts_with(&inside));
            match &written.node.value {
                Value::Table(_) if has_keys => self.table(&written.node, &spot, &plain),
                Value::List(items) if has_keys => {
                    for (number, item) in items.iter().enumerate() {
                        let spot = spot.item(number, item);
                        self.elements.insert(spot.path.clone(), number);
                        self.table(item, &spot, &plain);
                    }
                }
                Value::Text(_)
                | Value::Integer(_)
                | Value::HugeInteger
                | Value::Float(_)
                | Value::Boolean(_)
                | Value::Datetime
                | Value::List(_)
                | Value::Table(_) => {
                    let origin = written.node.origin.clone();
                    let value = written.node.to_toml();
                    self.settings.extend(value.map(|value| Setting {
                        key: spot.path,
                        value,
                        origin,
                    }));
                }
            }
        }
    }
}

/// Returns the sort key of a path: for each step the position of the key, then of the element.
fn rank(
    path: &str,
    ranks: &BTreeMap<String, usize>,
    elements: &BTreeMap<String, usize>,
) -> Vec<usize> {
    let mut rank = vec![];
    let (mut plain, mut whole) = (String::new(), String::new());
    for step in path.split('.') {
        let (key, element) = step.split_once('[').map_or((step, None), |(k, e)| (k, Some(e)));
        for (path, part) in [(&mut plain, key), (&mut whole, step)] {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(part);
        }
        // A key inside a table that is one value has no position of its own.
        rank.push(ranks.get(&plain).copied().unwrap_or(usize::MAX));
        if element.is_some() {
            rank.push(elements.get(&whole).copied().unwrap_or(usize::MAX));
        }
    }
    rank
}
