//! Durations on the command line.

use trimtab_core::units::Span;

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no duration; write one like `90s`, `20m` or `1h 30m`")]
pub(crate) struct BadDuration(String);

/// Reads a duration such as `90s`, `20m`, `2h` or `1h 30m`.
///
/// # Errors
/// When the text is not one.
pub(crate) fn span(text: &str) -> Result<Span, BadDuration> {
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
    let mut sum = 0;
    for word in text.split_whitespace() {
        let unit = units.iter().find_map(|(unit, size)| Some((word.strip_suffix(unit)?, size)));
        let parsed =
            unit.and_then(|(number, size)| Some(number.parse::<u32>().ok()? as i64 * size));
        match parsed {
            Some(millis) => sum += millis,
            None => return Err(BadDuration(text.to_owned())),
        }
    }
    Ok(Span(sum))
}
