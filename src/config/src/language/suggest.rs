//! The known word that was probably meant.

/// No word of ours is longer; it bounds the work spent on a hostile one.
const LONGEST_WORD: usize = 64;

/// The nearest of `known`, if near enough: a third of the letters may be wrong.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.to_lowercase().replace('-', "_").chars().collect();
    if word.len() > LONGEST_WORD {
        return None;
    }
    let scored = known.into_iter().map(|candidate| {
        let letters: Vec<char> = candidate.replace('-', "_").chars().collect();
        (edits(&word, &letters), candidate)
    });
    let (distance, candidate) = scored.min_by_key(|(distance, _)| *distance)?;
    (distance <= (word.len() / 3).max(1)).then_some(candidate)
}

/// Edits between two words: a letter more, less or another one, or two
/// neighbours that changed places.
fn edits(a: &[char], b: &[char]) -> usize {
    // Three rows of the table are enough: the one before the last is where a
    // change of places comes from.
    let mut before_last: Vec<usize> = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, other) in b.iter().enumerate() {
            let mut best = (last[j] + usize::from(letter != other)).min(last[j + 1] + 1);
            best = best.min(row[j] + 1);
            if i > 0 && j > 0 && *letter == b[j - 1] && a[i - 1] == *other {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
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
