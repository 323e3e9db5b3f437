//! Tests of the schema for editors: an independent validator checks which files it accepts and
//! refuses.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use super::*;

const SCHEMA: &str = "config/trimtab.schema.json";

#[test]
fn the_shipped_schema_is_the_one_of_this_build() {
    let path = repository(SCHEMA);
    let schema = schema();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let text = serde_json::to_string_pretty(&schema).unwrap();
        std::fs::write(&path, text + "\n").unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let shipped: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    assert_eq!(shipped, schema, "update it: UPDATE_GOLDEN=1 cargo test -p trimtab-config");
}

#[test]
fn every_key_is_described_and_what_has_no_default_is_required() {
    let schema = schema();
    for key in surface() {
        let mut at = &schema;
        let mut required = false;
        for step in key.path.split('.') {
            let table = at.get("items").unwrap_or(at);
            required = table["required"].as_array().unwrap().iter().any(|key| key == step);
            at = &table["properties"][step];
        }
        let described = at["description"].as_str().is_some_and(|text| text.len() > 10);
        assert!(described, "{} has no description", key.path);
        assert!(!(required && at.get("default").is_some()), "{} has a default", key.path);
    }
    let group = "/properties/cluster/items/properties/group/items";
    let pointer = |rest: &str| schema.pointer(&format!("{group}/{rest}"));
    assert_eq!(
        pointer("required"),
        Some(&serde_json::json!(["name", "size", "min_nodes", "max_delete_per_hour", "capacity"]))
    );
    assert_eq!(pointer("properties/lookahead/default"), Some(&serde_json::json!("24h")));
    assert_eq!(pointer("properties/group_calls/enum/1"), Some(&serde_json::json!("to-zero")));
}

/// Returns the errors that Python's `jsonschema` reports for each text, or `None` if it is not
/// installed.
fn judged(texts: &BTreeMap<String, String>) -> Option<BTreeMap<String, Vec<String>>> {
    let python = repository("target/components/venv/bin/python");
    let script = repository("src/config/src/tests/validate.py");
    let input = serde_json::json!({ "schema": repository(SCHEMA), "texts": texts });
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("input.json");
    std::fs::write(&path, input.to_string()).unwrap();
    let ready = Command::new(&python)
        .args(["-c", "import jsonschema, tomllib"])
        .stderr(Stdio::null())
        .status();
    if !ready.is_ok_and(|status| status.success()) {
        println!("SKIPPED: {} with jsonschema is missing", python.display());
        return None;
    }
    let output = Command::new(&python).arg(script).arg(path).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn an_independent_validator_accepts_what_trimtab_accepts() {
    let mut texts = BTreeMap::new();
    let mut add = |name: &str, text: &str| {
        good(text);
        texts.insert(name.to_owned(), text.to_owned());
    };
    add("small", SMALL);
    add("enforced", ENFORCED);
    add("notes", include_str!("notes.toml"));
    add("percent", &SMALL.replace("min_nodes = 2", "min_nodes = \"12.5%\""));
    add(
        "level",
        &format!("[log]\nlevel = \"warn,a::b=trace\"\n{SMALL}")
            .replacen("config_version = 1\n", "", 1)
            .replacen("[log]", "config_version = 1\n[log]", 1),
    );
    for span in ["45m", "1h 30m", "1h30m", "90s", "1d", "23h 59m 1s"] {
        add(span, &format!("{SMALL}boot = \"{span}\"\n"));
    }
    for file in ["config/trimtab.toml", "config/simulated/trimtab.toml", "src/cli/demo/policy.toml"]
    {
        let text = std::fs::read_to_string(repository(file)).unwrap();
        add(&format!("{file}, all keys"), &uncommented(&text, true));
        add(file, &text);
    }
    for example in std::fs::read_dir(repository("config/examples")).unwrap() {
        let path = example.unwrap().path();
        add(&path.display().to_string(), &std::fs::read_to_string(&path).unwrap());
    }
    let Some(judged) = judged(&texts) else { return };
    assert_eq!(judged.len(), texts.len());
    for (name, errors) in judged {
        assert_eq!(errors, Vec::<String>::new(), "{name}");
    }
}

#[test]
fn an_independent_validator_refuses_what_an_editor_should_mark() {
    let mut texts = BTreeMap::new();
    let mut add = |name: String, text: String| {
        bad(&text);
        texts.insert(name, text);
    };
    for (key, values) in [
        ("size", &["7.9", "true", "\"8\"", "-1", "nan", "[8]"][..]),
        ("min_nodes", &["\"25\"", "\"-5%\"", "7.9", "\"half\""]),
        ("mode", &["\"enforced\"", "false", "\"off\""]),
        ("boot", &["20", "\"20\"", "\"20 m\"", "\"PT20M\"", "\"30m 1h\""]),
        ("max_leaving_percent", &["\"25%\"", "101", "-1"]),
        ("capacity", &["\"ondemand\""]),
        ("scheduler", &["\"slurm\"", "{}", "{ kind = \"kubernetes\" }", "{ kind = \"Slurm\" }"]),
        ("account_id", &["123456789012", "\"1234\""]),
        ("region", &["\"us-west\""]),
        ("role_arn", &["\"arn:aws:iam::1:role/a\""]),
        ("schedule", &["\"*/2 * * * *\"", "120"]),
        ("path", &["\"trimtab.db\""]),
        ("protected", &["[\"*\"]", "\"i-0123456789abcdef0\""]),
        ("config_version", &["2", "\"1\""]),
        ("keep_windows", &["[]", "[{ days = \"daily\" }]"]),
        ("idle_timer", &["\"breakeven\"", "30"]),
        ("utilization", &["[]", "[{}]", "[{ kind = \"cloudwatch\", preset = \"cwagent\" }]"]),
    ] {
        for value in values {
            add(format!("{key} = {value}"), with(ENFORCED, key, value));
        }
    }
    for key in ["config_version", "name", "region", "account_id", "size", "min_nodes", "capacity"] {
        add(format!("no {key}"), without(SMALL, key));
    }
    for line in
        ["max_delete_per_hours = 3", "group_calls = \"always\"", "utilization = { windw = \"1h\" }"]
    {
        add(line.to_owned(), format!("{SMALL}{line}\n"));
    }
    add("top".to_owned(), format!("dry_run = true\n{SMALL}"));
    let Some(judged) = judged(&texts) else { return };
    assert_eq!(judged.len(), texts.len());
    let accepted: Vec<_> = judged.iter().filter(|(_, errors)| errors.is_empty()).collect();
    assert!(accepted.is_empty(), "accepted: {accepted:?}");
}
