//! Rules about the source that neither the compiler nor a manifest can enforce.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Returns the modules of this crate that a file imports.
fn imports(text: &str) -> Vec<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code: String = code.collect::<Vec<_>>().join(" ");
    let after = code.split("crate::").skip(1);
    let word = |rest: &str| {
        rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>()
    };
    after.map(word).collect()
}

#[test]
fn the_audit_imports_nothing_of_the_planner() {
    let text = read(&root().join("src/core/src/audit.rs"));
    let parts = rust_files(&root().join("src/core/src/audit"));
    let text = parts.iter().fold(text, |text, part| text + &read(part));
    let data = ["action", "history", "ids", "plan", "policy", "snapshot", "units"];
    let found = imports(&text);
    assert!(found.len() >= data.len(), "the test no longer sees the imports: {found:?}");
    for module in found {
        assert!(data.contains(&module.as_str()), "audit.rs uses crate::{module}");
    }
}

#[test]
fn every_file_opens_with_its_job() {
    for folder in ["src", "tests"] {
        for path in rust_files(&root().join(folder)) {
            let text = read(&path);
            let is_test_module = path.ends_with("tests.rs");
            let opens = text.starts_with("//!") || is_test_module;
            assert!(opens, "{} has no module comment", path.display());
        }
    }
}

#[test]
fn core_needs_only_small_dependencies() {
    let manifest = read(&root().join("src/core/Cargo.toml"));
    let (_, rest) = manifest.split_once("[dependencies]").expect("a table of dependencies");
    let (dependencies, _) = rest.split_once("[dev-dependencies]").unwrap_or((rest, ""));
    let names: Vec<&str> = dependencies
        .lines()
        .filter_map(|line| line.split_once('.').map(|(name, _)| name.trim()))
        .filter(|name| !name.is_empty())
        .collect();
    assert_eq!(names, ["jiff", "serde", "thiserror"]);
}
