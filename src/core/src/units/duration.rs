//! Durations in a text: the one parser for the configuration, the command line and
//! simulated worlds.

use std::fmt;
use std::str::FromStr;

use super::Span;

/// Units of a duration in a text, largest first, and the milliseconds of each.
const SPAN_UNITS: [(&str, i64); 4] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid duration {text:?}: {fault}")]
pub struct ParseSpanError {
    /// The text as given.
    pub text: String,
    /// What is wrong with it.
    pub fault: SpanFault,
}

/// What is wrong with the text of a duration. `Display` says what to write instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanFault {
    /// There is no text.
    Empty,
    /// A number without a unit.
    NoUnit,
    /// A unit that repeats or follows a smaller one.
    UnitOrder,
    /// Anything else that is not whole numbers with units.
    Malformed,
    /// [`Span::FOREVER`] or more.
    TooLong,
}

impl fmt::Display for SpanFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty | Self::NoUnit => "write a number with a unit, such as \"90s\" or \"45m\"",
            Self::UnitOrder => {
                "write the largest unit first and each unit once, such as \"1h 30m\""
            }
            Self::Malformed => {
                "write whole numbers with the units d, h, m and s, such as \"45m\" or \"1h 30m\""
            }
            Self::TooLong => "write a shorter duration",
        })
    }
}

impl FromStr for Span {
    type Err = ParseSpanError;

    /// Parses whole numbers with the units d, h, m and s: `90s`, `45m`, `1h 30m`, `1h30m`.
    /// The largest unit comes first, each unit at most once.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |fault| ParseSpanError { text: text.to_owned(), fault };
        parse_span(text, &SPAN_UNITS).map_err(wrong)
    }
}

impl Span {
    /// Parses what [`Span::from_str`] accepts and, for simulated worlds, milliseconds
    /// (`250ms`) and a negative sign (`-5m`).
    ///
    /// # Errors
    /// What to write instead.
    pub fn parse_simulated(text: &str) -> Result<Self, ParseSpanError> {
        let [days, hours, mins, secs] = SPAN_UNITS;
        let units = [days, hours, mins, secs, ("ms", 1)];
        let (sign, rest) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
        let wrong = |fault| ParseSpanError { text: text.to_owned(), fault };
        parse_span(rest, &units).map(|span| span.times(sign)).map_err(wrong)
    }
}

fn parse_span(text: &str, units: &[(&str, i64)]) -> Result<Span, SpanFault> {
    if text.is_empty() {
        return Err(SpanFault::Empty);
    }
    let mut rest = text;
    let mut unused = units;
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, next) = after.split_at(letters);
        if number.is_empty() || (unit.is_empty() && !after.is_empty()) {
            return Err(SpanFault::Malformed);
        }
        let Some(at) = unused.iter().position(|(name, _)| *name == unit) else {
            return Err(match unit {
                "" => SpanFault::NoUnit,
                known if units.iter().any(|(name, _)| *name == known) => SpanFault::UnitOrder,
                _ => SpanFault::Malformed,
            });
        };
        let (_, millis) = unused[at];
        let number: i64 = number.parse().map_err(|_| SpanFault::TooLong)?;
        total = number
            .checked_mul(millis)
            .and_then(|part| total.checked_add(part))
            .filter(|total| *total < Span::FOREVER.0)
            .ok_or(SpanFault::TooLong)?;
        unused = &unused[at + 1..];
        // One space between two parts, and none at the end.
        rest = match next.strip_prefix(' ') {
            Some(next) if next.starts_with(|c: char| c.is_ascii_digit()) => next,
            Some(_) => return Err(SpanFault::Malformed),
            None => next,
        };
    }
    Ok(Span(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_the_largest_comes_first() {
        for (text, span) in [
            ("45m", Span::mins(45)),
            ("1h 30m", Span::mins(90)),
            ("1h30m", Span::mins(90)),
            ("90s", Span::secs(90)),
            ("0s", Span::ZERO),
            ("7d", Span::hours(168)),
            ("1d 2h 3m 4s", Span::secs(93_784)),
        ] {
            assert_eq!(text.parse(), Ok(span), "{text}");
            assert_eq!(Span::parse_simulated(text), Ok(span), "{text}");
        }
        for (text, fault) in [
            ("", SpanFault::Empty),
            ("45", SpanFault::NoUnit),
            ("1h 30", SpanFault::NoUnit),
            ("3s 5m", SpanFault::UnitOrder),
            ("5m 5m", SpanFault::UnitOrder),
            (" ", SpanFault::Malformed),
            ("m", SpanFault::Malformed),
            ("1.5h", SpanFault::Malformed),
            ("-5m", SpanFault::Malformed),
            ("+5m", SpanFault::Malformed),
            ("5 m", SpanFault::Malformed),
            ("5m ", SpanFault::Malformed),
            (" 5m", SpanFault::Malformed),
            ("5m  3s", SpanFault::Malformed),
            ("5w", SpanFault::Malformed),
            ("250ms", SpanFault::Malformed),
            ("5M", SpanFault::Malformed),
            ("½h", SpanFault::Malformed),
            ("٣m", SpanFault::Malformed),
            ("99999999999999d", SpanFault::TooLong),
            ("99999999999999999999d", SpanFault::TooLong),
        ] {
            let error = text.parse::<Span>().expect_err(text);
            assert_eq!(error, ParseSpanError { text: text.to_owned(), fault }, "{text}");
        }
        let error = "90".parse::<Span>().expect_err("no unit");
        let says =
            "invalid duration \"90\": write a number with a unit, such as \"90s\" or \"45m\"";
        assert_eq!(error.to_string(), says);
    }

    #[test]
    fn a_simulated_world_has_milliseconds_and_negative_durations() {
        for (text, span) in [("250ms", Span(250)), ("-5m", Span::mins(-5)), ("1s 5ms", Span(1005))]
        {
            assert_eq!(Span::parse_simulated(text), Ok(span), "{text}");
        }
        for text in ["", "-", "--5m", "5", "5ms 1s", "5x"] {
            assert!(Span::parse_simulated(text).is_err(), "{text}");
        }
    }
}
