//! Rules about the source that neither the compiler nor a manifest can enforce.

use std::fs;
use std::path::{Path, PathBuf};

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

pub(crate) fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.expect("the entry is readable").path();
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
    let data =
        ["action", "cordon", "history", "ids", "plan", "policy", "reads", "snapshot", "units"];
    let found = imports(&text);
    assert!(found.len() >= data.len(), "the test no longer sees the imports: {found:?}");
    for module in found {
        assert!(data.contains(&module.as_str()), "the audit must not import crate::{module}");
    }
}

/// Returns the text of a module of core and its submodules, without tests.
fn module_text(name: &str) -> String {
    let folder = root().join("src/core/src");
    let mut files = vec![folder.join(format!("{name}.rs"))];
    if folder.join(name).is_dir() {
        files.extend(rust_files(&folder.join(name)));
    }
    files.retain(|path| {
        !path.ends_with("tests.rs") && !path.components().any(|c| c.as_os_str() == "tests")
    });
    let code = |path: &PathBuf| {
        let text = read(path);
        text.split("#[cfg(test)]").next().unwrap_or_default().to_owned()
    };
    files.iter().map(code).collect()
}

#[test]
fn core_modules_import_only_modules_above_them() {
    let lib = read(&root().join("src/core/src/lib.rs"));
    let (list, _) = lib.split_once("#[cfg(test)]").expect("the test modules come last");
    let mut above: Vec<&str> = vec![];
    for block in list.split("\n\n") {
        let modules: Vec<&str> = block
            .lines()
            .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
            .collect();
        for name in &modules {
            for import in imports(&module_text(name)) {
                let is_above = above.contains(&import.as_str()) || import == *name;
                assert!(is_above, "core::{name} uses core::{import}, which lib.rs lists below it");
            }
        }
        above.extend(modules);
    }
    assert!(above.len() > 20, "the test no longer sees the modules: {above:?}");
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
    let (_, rest) = manifest.split_once("[dependencies]").expect("the manifest has dependencies");
    let (dependencies, _) = rest.split_once("[dev-dependencies]").unwrap_or((rest, ""));
    let names: Vec<&str> = dependencies
        .lines()
        .filter_map(|line| line.split_once('.').map(|(name, _)| name.trim()))
        .filter(|name| !name.is_empty())
        .collect();
    assert_eq!(names, ["jiff", "serde", "thiserror"]);
}

#[test]
fn the_simulator_is_a_default_feature_that_can_be_left_out() {
    let manifest = read(&root().join("src/cli/Cargo.toml"));
    for line in [
        "default = [\"simulator\"]",
        "simulator = [\"dep:trimtab-endpoint\", \"dep:trimtab-simulator\"]",
    ] {
        assert!(manifest.lines().any(|written| written == line), "src/cli/Cargo.toml: {line}");
    }
}

/// Crates that produce text for operators.
const SPEAKING: [&str; 8] = ["cli", "core", "daemon", "aws", "slurm", "hooks", "config", "program"];

/// Lines that may format with `Debug`: the file, the line and the reason.
const DEBUGGED: [(&str, &str, &str); 3] = [
    ("log.rs", r#"write!(Escaped(writer), "{value:?}")"#, "tracing passes every field with Debug"),
    (
        "duration.rs",
        "invalid duration {text:?}",
        "Debug quotes the text, control characters escaped",
    ),
    ("entry.rs", r#"format!("{key:?}")"#, "Debug quotes a key as TOML does"),
];

/// Returns the lines of a file without comments and without code for tests.
fn program_lines(text: &str) -> impl Iterator<Item = &str> {
    let (program, _) = text.split_once("#[cfg(test)]\nmod tests {").unwrap_or((text, ""));
    program.lines().map(str::trim).filter(|line| !line.starts_with("//"))
}

/// Whether a line formats a value or a log field with `Debug`.
fn has_debug_output(line: &str) -> bool {
    let is_field = |(at, _): (usize, &str)| {
        line[at..].trim_start_matches(['=', ',', '(', ' ']).starts_with('?')
            && line[at..]
                .trim_start_matches(['=', ',', '(', ' ', '?'])
                .starts_with(char::is_alphabetic)
    };
    [":?}", ":#?}", "debug("].iter().any(|form| line.contains(form))
        || ["= ?", ", ?", "(?"].iter().any(|form| line.match_indices(form).any(is_field))
        || line.starts_with('?') && line[1..].starts_with(char::is_alphabetic)
}

#[test]
fn debug_output_never_reaches_an_operator() {
    assert!(has_debug_output(r#"write!(f, "{status:?}")"#) && has_debug_output("why = ?why,"));
    assert!(has_debug_output("tracing::info!(?why);") && has_debug_output("?why,"));
    assert!(!has_debug_output("SELECT a FROM b WHERE c = ?1") && !has_debug_output("f(x)?"));
    let (mut found, mut allowed) = (vec![], 0);
    for name in SPEAKING {
        let folder = root().join("src").join(name).join("src");
        for path in if folder.exists() { rust_files(&folder) } else { vec![] } {
            let is_test = path.iter().any(|part| part == "tests" || part == "tests.rs");
            for line in program_lines(&read(&path)).filter(|line| has_debug_output(line)) {
                if DEBUGGED
                    .iter()
                    .any(|(file, text, _)| path.ends_with(file) && line.contains(text))
                {
                    allowed += 1;
                } else if !is_test {
                    found.push(format!("{}: {line}", path.display()));
                }
            }
        }
    }
    assert_eq!(found, Vec::<String>::new(), "give the type a Display");
    assert_eq!(allowed, DEBUGGED.len(), "an exception in DEBUGGED is not needed any more");
}
