//! Parses hostlists, Slurm's notation for several nodes in one text.
//!
//! ```text
//! ip-10-0-0-[1-3,7],login    gpu-[08-11]    rack[1-2]n[1-4]
//! ```
//! A hostlist is expanded to at most [`NODES_MAX`] nodes. Text that is not in Slurm's notation
//! is an error: with a partly parsed hostlist, nodes would appear without their jobs.

use trimtab_core::ids::NodeName;
use trimtab_core::text::start;

/// Limit on the nodes of one hostlist: twice the largest HyperPod cluster, and fast to expand.
pub const NODES_MAX: usize = 20_000;

/// Limit on the length of a hostlist, in bytes.
pub const TEXT_MAX: usize = 1 << 20;

/// Limit on the digits of a number in a range. Slurm pads numbers to at most this width.
const DIGITS_MAX: usize = 18;

/// Why a text is not a valid hostlist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostlistError {
    /// The hostlist has too many nodes, or the text is too long.
    #[error("hostlist has more than {NODES_MAX} nodes or {TEXT_MAX} bytes")]
    TooMany,
    /// An unmatched or nested bracket.
    #[error("hostlist has an unmatched bracket at byte {at}")]
    Bracket {
        /// Offset of the bracket, in bytes.
        at: usize,
    },
    /// A text between brackets that is not a range.
    #[error("`{text}` is not a range of numbers")]
    Range {
        /// The text, shortened.
        text: String,
    },
    /// An expanded name that is not a valid node name.
    #[error("`{text}` is not a node name")]
    Name {
        /// The text, shortened.
        text: String,
    },
}

/// Returns the nodes of a hostlist, in its order. An empty text, `(null)` and `None assigned`
/// mean no nodes.
///
/// # Errors
/// When the text is not in Slurm's notation.
pub fn expand(text: &str) -> Result<Vec<NodeName>, HostlistError> {
    let text = text.trim();
    if text.is_empty() || text == "(null)" || text == "None assigned" {
        return Ok(vec![]);
    }
    if text.len() > TEXT_MAX {
        return Err(HostlistError::TooMany);
    }
    let mut nodes = vec![];
    for item in items(text)? {
        expand_item(item, &mut nodes)?;
    }
    Ok(nodes)
}

/// Splits at the commas outside brackets.
fn items(text: &str) -> Result<Vec<&str>, HostlistError> {
    let (mut items, mut begins, mut open) = (vec![], 0, None);
    for (at, byte) in text.bytes().enumerate() {
        match (byte, open) {
            (b'[', None) => open = Some(at),
            (b']', Some(_)) => open = None,
            (b'[', Some(_)) | (b']', None) => return Err(HostlistError::Bracket { at }),
            (b',', None) => {
                items.push(&text[begins..at]);
                begins = at + 1;
            }
            _ => {}
        }
    }
    if let Some(at) = open {
        return Err(HostlistError::Bracket { at });
    }
    items.push(&text[begins..]);
    Ok(items)
}

/// Expands one part to every combination of its ranges; the last range varies fastest.
fn expand_item(item: &str, nodes: &mut Vec<NodeName>) -> Result<(), HostlistError> {
    let mut names = vec![String::new()];
    let mut rest = item;
    while let Some((before, after)) = rest.split_once('[') {
        let Some((ranges, after)) = after.split_once(']') else {
            return Err(HostlistError::Bracket { at: item.len() });
        };
        let numbers = numbers(ranges)?;
        if names.len().saturating_mul(numbers.len()) + nodes.len() > NODES_MAX {
            return Err(HostlistError::TooMany);
        }
        names = names
            .iter()
            .flat_map(|name| numbers.iter().map(move |number| format!("{name}{before}{number}")))
            .collect();
        rest = after;
    }
    if names.len() + nodes.len() > NODES_MAX {
        return Err(HostlistError::TooMany);
    }
    for name in names {
        let name = format!("{name}{rest}");
        let parsed = name.parse();
        nodes.push(parsed.map_err(|_| HostlistError::Name { text: excerpt(&name) })?);
    }
    Ok(())
}

/// Returns the numbers of `1-3,07` as texts, with leading zeros.
fn numbers(ranges: &str) -> Result<Vec<String>, HostlistError> {
    let mut numbers = vec![];
    for range in ranges.split(',') {
        let wrong = || HostlistError::Range { text: excerpt(range) };
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let is_number = |text: &str| {
            !text.is_empty() && text.len() <= DIGITS_MAX && text.bytes().all(|b| b.is_ascii_digit())
        };
        if !is_number(first) || !is_number(last) {
            return Err(wrong());
        }
        let ends: (u64, u64) =
            (first.parse().map_err(|_| wrong())?, last.parse().map_err(|_| wrong())?);
        if ends.0 > ends.1 {
            return Err(wrong());
        }
        if ends.1 - ends.0 >= NODES_MAX as u64 || numbers.len() > NODES_MAX {
            return Err(HostlistError::TooMany);
        }
        let width = first.len();
        numbers.extend((ends.0..=ends.1).map(|number| format!("{number:0width$}")));
    }
    Ok(numbers)
}

/// Returns the start of a text, so that an error message fits on a line.
fn excerpt(text: &str) -> String {
    start(text, 80)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(text: &str) -> Vec<String> {
        expand(text).expect(text).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn hostlists_expand_as_scontrol_show_hostnames_does() {
        assert_eq!(
            names("ip-10-0-0-[1-3,7],login"),
            ["ip-10-0-0-1", "ip-10-0-0-2", "ip-10-0-0-3", "ip-10-0-0-7", "login"]
        );
        assert_eq!(names("gpu-[08-11]"), ["gpu-08", "gpu-09", "gpu-10", "gpu-11"]);
        assert_eq!(names("r[1-2]n[3-4]"), ["r1n3", "r1n4", "r2n3", "r2n4"]);
        assert_eq!(names("a[1]b,c"), ["a1b", "c"]);
        for nothing in ["", " ", "(null)", "None assigned"] {
            assert!(names(nothing).is_empty());
        }
    }

    #[test]
    fn what_is_not_written_like_that_is_an_error() {
        for (text, said) in [
            ("a[1-3", "hostlist has an unmatched bracket at byte 1"),
            ("a1]", "hostlist has an unmatched bracket at byte 2"),
            ("a[1[2]]", "hostlist has an unmatched bracket at byte 3"),
            ("a[3-1]", "`3-1` is not a range of numbers"),
            ("a[]", "`` is not a range of numbers"),
            ("a[1-x]", "`1-x` is not a range of numbers"),
            ("a[-1]", "`-1` is not a range of numbers"),
            ("a,,b", "`` is not a node name"),
            ("a b", "`a b` is not a node name"),
            ("a[0-99999999]", "hostlist has more than 20000 nodes or 1048576 bytes"),
            ("a[1-9999]b[1-9999]", "hostlist has more than 20000 nodes or 1048576 bytes"),
        ] {
            assert_eq!(expand(text).expect_err(text).to_string(), said, "{text}");
        }
    }

    proptest! {
        /// Parsing any text ends and stays within the limit.
        #[test]
        fn no_text_is_too_much(text in "[a-c0-9\\[\\],\\-]{0,60}") {
            if let Ok(nodes) = expand(&text) {
                prop_assert!(nodes.len() <= NODES_MAX);
            }
        }

        #[test]
        fn what_was_folded_comes_back(numbers in prop::collection::vec((0_u32..3_000, 1_u32..9), 1..20)) {
            let ranges: Vec<String> =
                numbers.iter().map(|(from, length)| format!("{from}-{}", from + length)).collect();
            let expected: Vec<String> = numbers
                .iter()
                .flat_map(|(from, length)| (*from..=from + length).map(|n| format!("n{n}")))
                .collect();
            prop_assert_eq!(names(&format!("n[{}]", ranges.join(","))), expected);
        }
    }
}
