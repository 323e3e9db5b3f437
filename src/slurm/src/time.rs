//! Parses and prints times in Slurm's format with `TZ=UTC`: `2026-11-25T06:58:27`.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use trimtab_core::units::Time;

/// Returns the time, or `None` if Slurm prints that there is none.
///
/// # Errors
/// When the text is neither.
pub(crate) fn parse(text: &str) -> Result<Option<Time>, String> {
    if matches!(text, "N/A" | "NONE" | "None" | "Unknown" | "(null)") {
        return Ok(None);
    }
    let civil: DateTime = text.parse().map_err(|_| format!("`{text}` is not a time"))?;
    let at = TimeZone::UTC.to_timestamp(civil).map_err(|why| format!("`{text}`: {why}"))?;
    Ok(Some(Time::from_secs(at.as_second())))
}

/// Returns the time in the format that Slurm's commands accept, cut to whole seconds.
pub(crate) fn print(at: Time) -> String {
    at.to_string().trim_end_matches('Z').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_back() {
        let at = Time::from_secs(1_795_597_460);
        assert_eq!(print(at), "2026-11-25T09:04:20");
        assert_eq!(parse(&print(at)), Ok(Some(at)));
    }

    #[test]
    fn times_are_utc_or_none_or_wrong() {
        assert_eq!(parse("1970-01-02T00:00:01"), Ok(Some(Time::from_secs(86_401))));
        assert_eq!(parse("N/A"), Ok(None));
        assert_eq!(parse("tomorrow"), Err("`tomorrow` is not a time".to_owned()));
    }
}
