//! The demo's policy, and how it differs from the shipped one.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, anyhow};
use trimtab_config::Settings;
use trimtab_core::policy::ClusterPolicy;

const POLICY: &str = include_str!("../../demo/policy.toml");
/// The endpoint that the policy names; the demo starts its own.
const ENDPOINT: &str = "http://127.0.0.1:4010";
const SHIPPED: &str = include_str!("../../../../config/trimtab.toml");

/// Returns the demo's policy.
pub(super) fn policy() -> anyhow::Result<ClusterPolicy> {
    let settings = trimtab_config::parse("demo/policy.toml", POLICY)?;
    let cluster = settings.clusters.into_iter().next();
    Ok(cluster.context("the demo's policy has no cluster")?.policy)
}

/// Returns the demo's configuration for a cluster at this endpoint.
pub(super) fn at(endpoint: &str) -> anyhow::Result<Settings> {
    let text = POLICY.replacen(ENDPOINT, endpoint, 1);
    Ok(trimtab_config::parse("demo/policy.toml", &text)?)
}

/// Returns the settings of the demo that differ from the shipped configuration, one per line.
pub(super) fn differences() -> anyhow::Result<Vec<String>> {
    let (ours, shipped) = (flatten(POLICY)?, flatten(SHIPPED)?);
    let mut lines = vec![];
    for (key, values) in &ours {
        let same = shipped.get(key) == Some(values);
        // The name and address of the demo's cluster always differ.
        let is_place = key.ends_with("name") || key.ends_with("endpoint_url");
        if !same && !is_place {
            let join = |values: &BTreeSet<String>| {
                values.iter().cloned().collect::<Vec<_>>().join(" and ")
            };
            let instead = shipped.get(key).map_or("its default".to_owned(), join);
            lines.push(format!("{key} = {} (shipped: {instead})", join(values)));
        }
    }
    Ok(lines)
}

/// Returns every key with its values; the tables of an array share their keys.
fn flatten(text: &str) -> anyhow::Result<BTreeMap<String, BTreeSet<String>>> {
    let table: toml::Table = text.parse().map_err(|why| anyhow!("{why}"))?;
    let mut flat = BTreeMap::new();
    walk("", &toml::Value::Table(table), &mut flat);
    Ok(flat)
}

fn walk(key: &str, value: &toml::Value, flat: &mut BTreeMap<String, BTreeSet<String>>) {
    let tables = |values: &[toml::Value]| values.iter().all(toml::Value::is_table);
    match value {
        toml::Value::Table(table) => {
            for (name, value) in table {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                walk(&key, value, flat);
            }
        }
        toml::Value::Array(values) if tables(values) => {
            values.iter().for_each(|value| walk(key, value, flat));
        }
        toml::Value::Array(_)
        | toml::Value::String(_)
        | toml::Value::Integer(_)
        | toml::Value::Float(_)
        | toml::Value::Boolean(_)
        | toml::Value::Datetime(_) => {
            flat.entry(key.to_owned()).or_default().insert(value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_tells_what_it_sets_otherwise_and_keeps_every_guard() {
        let lines = differences().expect("both files parse");
        assert!(lines.iter().any(|line| line.starts_with("mode = \"enforce\"")), "{lines:?}");
        for guard in ["timing", "mass_change", "cooldown", "settle"] {
            assert!(!lines.iter().any(|line| line.contains(guard)), "{guard} is relaxed");
        }
        let policy = policy().expect("the policy parses");
        assert_eq!(policy.groups.len(), 2);
    }
}
