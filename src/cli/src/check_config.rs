//! `trimtab check-config`: prints all problems of a configuration, or every setting with its
//! origin.

use serde::Serialize;
use trimtab_config::{Loaded, Note, Origin, Problem, Problems, Setting};

use crate::args::CheckConfigArgs;
use crate::exit::Exit;
use crate::hooks;
use crate::output::{self, Format, Style, Tone, line, plain, table};
use crate::simulated;
use crate::wiring::layers;

/// Reads all layers as `trimtab run` does and checks the files of the hooks. Makes no connection
/// and changes nothing.
pub(crate) fn check_config(args: &CheckConfigArgs) -> anyhow::Result<Exit> {
    let loaded = trimtab_config::load_layers(&layers(&args.file, args.state.as_deref()));
    let loaded = loaded.and_then(with_files);
    match (args.output, loaded) {
        (Format::Table, loaded) => {
            let loaded = loaded?;
            simulated::check(&loaded.settings)?;
            print(&loaded, Style::of_stdout())?;
            Ok(Exit::Ok)
        }
        (Format::Json, Ok(loaded)) => {
            simulated::check(&loaded.settings)?;
            output::json(&Document::of(&loaded))?;
            Ok(Exit::Ok)
        }
        (Format::Json, Err(problems)) => {
            output::json(&Document::of_problems(&problems))?;
            Ok(Exit::Configuration)
        }
    }
}

/// Adds the problems and notes of the hook files on this machine.
fn with_files(mut loaded: Loaded) -> Result<Loaded, Problems> {
    let (problems, notes) = hooks::check(&loaded);
    loaded.settings.notes.extend(notes);
    if problems.is_empty() { Ok(loaded) } else { Err(Problems::new(problems)) }
}

fn print(loaded: &Loaded, style: Style) -> anyhow::Result<()> {
    let Loaded { settings, effective, files } = loaded;
    let mut rest = effective.as_slice();
    while let Some(first) = rest.first() {
        let (section, _) = split(&first.key);
        let is_here = |setting: &&Setting| split(&setting.key).0 == section;
        let (here, after) = rest.split_at(rest.iter().take_while(is_here).count());
        if !section.is_empty() {
            line(&format!("\n{}", style.paint(Tone::Strong, &plain(section))))?;
        }
        let mut rows = table(&["setting", "value", "from"]);
        for Setting { key, value, origin } in here {
            let (_, key) = split(key);
            rows.add_row([plain(key), plain(&value.to_string()), plain(&from(origin))]);
        }
        line(&rows.to_string())?;
        rest = after;
    }
    for note in &settings.notes {
        line(&format!("\n{}", style.paint(Tone::Moving, &plain_lines(&note.to_string()))))?;
    }
    let (files, clusters) = (files.join(", "), settings.clusters.len());
    let text = format!("\n{}: no problems, {clusters} cluster(s)", plain(&files));
    line(&style.paint(Tone::Good, &text))
}

/// Splits a path into its section, such as `cluster[research].group[workers]`, and its key.
fn split(path: &str) -> (&str, &str) {
    let group = path.find("].group[").map(|at| at + "].group[".len());
    let cluster = path.strip_prefix("cluster[").map(|_| 0);
    let end = group.or(cluster).and_then(|from| path.get(from..)?.find("].").map(|at| from + at));
    match end {
        Some(end) => (&path[..=end], path.get(end + 2..).unwrap_or("")),
        None => ("", path),
    }
}

/// Describes an origin; for a file, without the column, which only problems need.
fn from(origin: &Origin) -> String {
    match origin {
        Origin::File { file, place: Some(place), .. } => format!("{file}:{}", place.line),
        Origin::File { place: None, .. }
        | Origin::Default
        | Origin::Environment { .. }
        | Origin::Flag { .. } => origin.to_string(),
    }
}

/// Removes control characters except line ends.
fn plain_lines(text: &str) -> String {
    text.lines().map(plain).collect::<Vec<_>>().join("\n")
}

/// The JSON document.
#[derive(Serialize)]
struct Document<'a> {
    /// Whether the daemon would start with it.
    valid: bool,
    /// Files that were read; later files override earlier ones.
    files: &'a [String],
    settings: &'a [Setting],
    notes: &'a [Note],
    problems: Vec<&'a Problem>,
}

impl<'a> Document<'a> {
    fn of(loaded: &'a Loaded) -> Self {
        let Loaded { settings, effective, files } = loaded;
        Self { valid: true, files, settings: effective, notes: &settings.notes, problems: vec![] }
    }

    fn of_problems(problems: &'a Problems) -> Self {
        let problems = problems.iter().collect();
        Self { valid: false, files: &[], settings: &[], notes: &[], problems }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_split_behind_its_cluster_and_group() {
        for (path, section, key) in [
            ("state.path", "", "state.path"),
            ("cluster[a].name", "cluster[a]", "name"),
            ("cluster[a].utilization[#1].kind", "cluster[a]", "utilization[#1].kind"),
            ("cluster[a].group[b].size", "cluster[a].group[b]", "size"),
            (
                "cluster[a].group[b].keep_windows[#1].to",
                "cluster[a].group[b]",
                "keep_windows[#1].to",
            ),
        ] {
            assert_eq!(split(path), (section, key));
        }
    }
}
