//! Hostlists: how Slurm writes several nodes as one text.
//!
//! ```text
//! ip-10-0-0-[1-3,7],login    gpu-[08-11]    rack[1-2]n[1-4]
//! ```
//! A text that comes from outside is expanded only as far as
//! [`NODES_MAX`], and anything that is not written as Slurm writes it is an
//! error: a hostlist that was half understood would leave nodes without their
//! jobs.

use trimtab_core::ids::NodeName;

/// The most nodes one hostlist may stand for: twice the largest HyperPod
/// cluster, and little enough to be expanded in a moment.
pub const NODES_MAX: usize = 20_000;

/// The longest text that is looked at.
pub const TEXT_MAX: usize = 1 << 20;

/// Digits of a number in a range; Slurm pads to no more than this.
const DIGITS_MAX: usize = 18;

/// Why a text is no hostlist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostlistError {
    /// It stands for too many nodes, or is too long to be looked at.
    #[error("stands for more than {NODES_MAX} nodes, or is longer than {TEXT_MAX} bytes")]
    TooMany,
    /// A bracket without its other half, or one within another.
    #[error("has a bracket without its other half at byte {at}")]
    Bracket {
        /// Where.
        at: usize,
    },
    /// Something between brackets that is no range.
    #[error("`{text}` is no range of numbers")]
    Range {
        /// The text as given, cut short.
        text: String,
    },
    /// An expanded name that is none.
    #[error("`{text}` is no node name")]
    Name {
        /// The text, cut short.
        text: String,
    },
}

/// The nodes that a hostlist stands for, in its order. An empty text, `(null)`
/// and `None assigned` stand for none.
///
/// # Errors
/// When it is not written as Slurm writes hostlists.
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

/// The parts between commas that are not in brackets.
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

/// One part: every combination of its ranges, the last one running fastest.
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

/// `1-3,07` as the texts of its numbers, with their zeros.
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

/// The start of a text, so that an error stays a line.
fn excerpt(text: &str) -> String {
    text.chars().take(80).collect()
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
            ("a[1-3", "has a bracket without its other half at byte 1"),
            ("a1]", "has a bracket without its other half at byte 2"),
            ("a[1[2]]", "has a bracket without its other half at byte 3"),
            ("a[3-1]", "`3-1` is no range of numbers"),
            ("a[]", "`` is no range of numbers"),
            ("a[1-x]", "`1-x` is no range of numbers"),
            ("a[-1]", "`-1` is no range of numbers"),
            ("a,,b", "`` is no node name"),
            ("a b", "`a b` is no node name"),
            ("a[0-99999999]", "stands for more than 20000 nodes, or is longer than 1048576 bytes"),
            (
                "a[1-9999]b[1-9999]",
                "stands for more than 20000 nodes, or is longer than 1048576 bytes",
            ),
        ] {
            assert_eq!(expand(text).expect_err(text).to_string(), said, "{text}");
        }
    }

    proptest! {
        /// Whatever the text, it ends soon and says something.
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
