//! Words that an operator must not have to read: one idea has one word, and a sentence
//! names its actor.
//!
//! Checked in the string literals of the program's source and in the documents and
//! configuration files that operators read. CONTRIBUTING.md says how to write instead.

use std::fs;
use std::path::{Path, PathBuf};

use crate::tidy::{read, root, rust_files};

/// Phrases that are not used, each with what to write instead.
const PHRASES: &[(&str, &str)] = &[
    ("nobody", "name the actor, or say what does not happen"),
    ("somebody", "name the actor: the operator, Slurm, another program"),
    ("whoever", "name the actor"),
    ("a person", "an operator"),
    ("hand back", "release"),
    ("hands back", "releases"),
    ("handed back", "released"),
    ("is told", "is notified, or: the API reports"),
    ("are told", "are notified, or: the API reports"),
    ("tells", "reports, shows, says"),
    ("bears", "has"),
    ("is had", "is available"),
    ("has a word on", "reports"),
    ("taken for", "treated as"),
    ("lets go", "releases, deletes"),
    ("gladly", "leave it out"),
    ("anew", "again"),
    ("fence", "cordon; a lease fences, a node is cordoned"),
    ("fenced", "cordoned"),
    ("fences", "cordons"),
    ("unfence", "uncordon"),
    ("wake cost", "boot cost"),
    ("witness", "evidence source"),
    ("spares", "headroom"),
];

/// Crates whose string literals an operator may read.
const CRATES: &[&str] = &[
    "aws", "backtest", "cli", "config", "core", "daemon", "endpoint", "hooks", "program", "slurm",
];

/// Documents and files that an operator reads.
const DOCUMENTS: &[&str] = &["README.md", "docs", "config", "iam", "systemd"];

/// Lines that may hold a phrase, because they quote or define it.
const ALLOWED: &[&str] = &["docs/glossary.md"];

/// The string literals of a Rust source, each with its line; tests at the end left out.
fn literals(text: &str) -> Vec<(usize, String)> {
    let text = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    let bytes = text.as_bytes();
    let at = |i: usize| bytes.get(i).copied();
    let (mut found, mut i) = (vec![], 0);
    while i < bytes.len() {
        match bytes[i] {
            b'/' if at(i + 1) == Some(b'/') => {
                i = text[i..].find('\n').map_or(bytes.len(), |length| i + length);
            }
            b'r' if matches!(at(i + 1), Some(b'"' | b'#')) && !is_in_word(bytes, i) => {
                let hashes = bytes[i + 1..].iter().take_while(|byte| **byte == b'#').count();
                let start = i + 2 + hashes;
                let end = format!("\"{}", "#".repeat(hashes));
                // `r#name` is an identifier.
                let Some(length) = (at(start - 1) == Some(b'"'))
                    .then(|| text.get(start..).and_then(|rest| rest.find(&end)))
                    .flatten()
                else {
                    i += 1;
                    continue;
                };
                found.push((line_of(text, i), text[start..start + length].to_owned()));
                i = start + length + end.len();
            }
            b'"' => {
                let start = i + 1;
                i = start;
                while i < bytes.len() && bytes[i] != b'"' {
                    i += if bytes[i] == b'\\' { 2 } else { 1 };
                }
                found.push((line_of(text, start), text[start..i.min(text.len())].to_owned()));
                i += 1;
            }
            // A character literal; a lifetime has no closing quote.
            b'\'' if at(i + 1) == Some(b'\\') => {
                i += 2;
                i = text[i + 1..].find('\'').map_or(bytes.len(), |length| i + 1 + length + 1);
            }
            b'\'' if at(i + 2) == Some(b'\'') => i += 3,
            _ => i += 1,
        }
    }
    found
}

fn is_in_word(bytes: &[u8], i: usize) -> bool {
    i > 0 && (bytes[i - 1].is_ascii_alphanumeric() || bytes[i - 1] == b'_')
}

fn line_of(text: &str, i: usize) -> usize {
    text[..i].matches('\n').count() + 1
}

/// Whether a phrase stands in a text as whole words, whatever its case. A line break in a
/// literal counts as a space.
fn has_phrase(text: &str, phrase: &str) -> bool {
    let words: Vec<String> = text
        .to_lowercase()
        .replace("\\\n", " ")
        .split(|c: char| !c.is_alphanumeric() && c != '_' && c != '-')
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    let wanted: Vec<&str> = phrase.split(' ').collect();
    words.windows(wanted.len()).any(|run| run.iter().zip(&wanted).all(|(a, b)| a == b))
}

fn documents() -> Vec<PathBuf> {
    fn collect(path: &Path, found: &mut Vec<PathBuf>) {
        if path.is_dir() {
            for entry in fs::read_dir(path).expect("a readable folder") {
                collect(&entry.expect("a readable entry").path(), found);
            }
        } else {
            found.push(path.to_owned());
        }
    }
    let mut found = vec![];
    for name in DOCUMENTS {
        collect(&root().join(name), &mut found);
    }
    found.sort();
    found
}

#[test]
fn operators_read_one_word_for_one_idea() {
    let mut problems = vec![];
    let mut read_strings = 0;
    for name in CRATES {
        let folder = root().join("src").join(name);
        for path in rust_files(&folder.join("src")) {
            let inside = path.strip_prefix(&folder).expect("a file of the folder");
            if path.ends_with("tests.rs") || inside.components().any(|c| c.as_os_str() == "tests") {
                continue;
            }
            for (line, literal) in literals(&read(&path)) {
                read_strings += 1;
                for (phrase, instead) in PHRASES {
                    if has_phrase(&literal, phrase) {
                        problems.push(format!(
                            "{}:{line}: `{phrase}` in \"{literal}\": write {instead}",
                            path.display()
                        ));
                    }
                }
            }
        }
    }
    assert!(read_strings > 2_000, "only {read_strings} literals were found");
    for path in documents() {
        if ALLOWED.iter().any(|allowed| path.ends_with(allowed)) {
            continue;
        }
        for (number, line) in read(&path).lines().enumerate() {
            for (phrase, instead) in PHRASES {
                if has_phrase(line, phrase) {
                    problems.push(format!(
                        "{}:{}: `{phrase}`: write {instead}",
                        path.display(),
                        number + 1
                    ));
                }
            }
        }
    }
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn literals_are_found_and_comments_are_not() {
    let source = "// \"no\"\nlet a = \"one\"; let b = r#\"two \"2\"\"#; let c = '\"'; let d = \"th\\\"ree\";";
    let found: Vec<String> = literals(source).into_iter().map(|(_, text)| text).collect();
    assert_eq!(found, ["one", "two \"2\"", "th\\\"ree"]);
}

#[test]
fn phrases_are_found_as_words() {
    assert!(has_phrase("the node is \\\n    Handed back", "handed back"));
    assert!(!has_phrase("defence", "fence") && !has_phrase("fencing_timeout", "fence"));
}
