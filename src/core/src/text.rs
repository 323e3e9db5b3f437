//! Makes text from outside trimtab safe for one line of a log, an error message or a terminal.

use std::sync::Arc;

/// Returns the text without control characters, so that it cannot move the cursor or start a new
/// line.
pub fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// Returns at most `limit` characters of the text, without control characters.
pub fn start(text: &str, limit: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(limit).collect()
}

/// Returns at most `limit` bytes of the text, cut between characters, followed by a note with the
/// number of missing bytes.
pub fn shortened(text: &Arc<str>, limit: usize) -> Arc<str> {
    if text.len() <= limit {
        return Arc::clone(text);
    }
    let end = text.floor_char_boundary(limit);
    format!("{}… ({} bytes more)", &text[..end], text.len() - end).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_left_out_and_not_counted() {
        assert_eq!(plain("a\u{1b}[2J\nb\u{7f}é"), "a[2Jbé");
        assert_eq!(start("\n\na\u{7}éc", 2), "aé");
        assert_eq!((start("", 3), start("ab", 0)), (String::new(), String::new()));
    }

    #[test]
    fn a_long_answer_is_cut_between_two_characters() {
        let long: Arc<str> = "é".repeat(200).into();
        let short = shortened(&long, 161);
        assert_eq!(&*short, format!("{}… (240 bytes more)", "é".repeat(80)));
        assert_eq!(shortened(&"short".into(), 161), "short".into());
    }
}
