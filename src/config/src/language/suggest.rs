//! Finds the known word that was probably meant.

/// Longest word compared, in bytes. Every known word is shorter, and the limit bounds the work
/// for hostile input.
const LONGEST_WORD: usize = 64;

/// Returns the nearest word of `known`, if at most a third of the letters are wrong.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase().replace('-', "_");
    if word.len() > LONGEST_WORD {
        return None;
    }
    let edits = |candidate: &str| strsim::osa_distance(&word, &candidate.replace('-', "_"));
    let scored = known.into_iter().map(|candidate| (edits(candidate), candidate));
    let (distance, candidate) = scored.min_by_key(|(distance, _)| *distance)?;
    (distance <= (word.len() / 3).max(1)).then_some(candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_its_word() {
        let known = ["min_nodes", "min_idle_nodes", "mode", "size"];
        for (word, meant) in [
            ("min_node", Some("min_nodes")),
            ("min-nodes", Some("min_nodes")),
            ("Mode", Some("mode")),
            ("moed", Some("mode")),
            ("minnodes", Some("min_nodes")),
            ("siez", Some("size")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), meant, "{word}");
        }
        assert_eq!(nearest(&"x".repeat(1_000_000), known), None);
    }
}
