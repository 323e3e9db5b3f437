//! Scenarios of the pure core: a small world as text, run through the real assemble, census, fold,
//! plan and audit, and the resulting report.
//!
//! A scenario is a few lines (see [`script`]). Its golden file in `tests/scenarios/decisions` shows
//! the world and the report together, so that a reviewer needs no Rust. `UPDATE_GOLDEN=1 cargo test
//! -p trimtab-tests decisions` rewrites the files; review them like code.

use std::fs;
use std::path::{Path, PathBuf};

mod report;
mod script;
mod transitions;
mod world;

mod budgets;
mod choosing;
mod classes;
mod clearing;
mod clusters;
mod counting;
mod evidence_sources;
mod floors;
mod freezes;
mod group_calls;
mod keep_reasons;
mod mass_changes;
mod metrics;
mod money;
mod queue;
mod releases;

/// Plans the world at its last tick and compares the report with the golden file of that name. The
/// audit must accept every plan.
fn check(name: &str, scenario: &str) {
    let world = script::run(scenario);
    let report = report::of_plan(&world);
    compare(name, scenario, &report);
    let refused = report.contains("the audit refuses");
    assert!(!refused, "{name}: the audit refuses what the planner wants\n{report}");
}

/// Clears the settled actions of the group `workers` for one request, and compares the result with
/// the golden file of that name.
fn check_clearing(name: &str, scenario: &str) {
    let report = report::of_clearing(&script::run(scenario));
    compare(name, scenario, &report);
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("scenarios/decisions/{name}.txt"))
}

fn compare(name: &str, scenario: &str, report: &str) {
    let lines: Vec<&str> =
        scenario.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    compare_text(name, &format!("{}\n\n=>\n\n{report}", lines.join("\n")));
}

fn compare_text(name: &str, text: &str) {
    let path = golden(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        return;
    }
    let expected = fs::read_to_string(&path)
        .unwrap_or_else(|e| panic!("{}: {e}; make it with UPDATE_GOLDEN=1", path.display()));
    assert!(
        text == expected,
        "{name} differs from {}\n--- expected\n{expected}\n--- now\n{text}",
        path.display()
    );
}

/// Golden files without a test prove nothing and become outdated.
#[test]
fn every_golden_file_belongs_to_a_scenario() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("it/decisions");
    let mut code = String::new();
    for entry in fs::read_dir(here).expect("the folder of this module") {
        let path = entry.expect("a readable entry").path();
        if path.is_file() {
            code += &fs::read_to_string(&path).expect("a text");
        }
    }
    let folder = golden("any");
    let files = fs::read_dir(folder.parent().expect("a folder")).expect("a readable folder");
    for file in files {
        let path = file.expect("a readable entry").path();
        let name = path.file_stem().and_then(|stem| stem.to_str()).expect("a plain name");
        assert!(code.contains(&format!("\"{name}\"")), "no scenario is called {name}");
    }
}
