//! Text forms of values in a world file.

use std::fmt;

use serde::de::{Error, MapAccess, Unexpected, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use trimtab_core::policy::Capacity;
use trimtab_core::snapshot::{Provisioning, Role};
use trimtab_core::units::Span;

/// A random duration between `min` and `max`, both included. In a file: `{ min = "10m", max = "20m"
/// }`, or one duration for both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Between {
    #[serde(with = "span")]
    pub min: Span,
    #[serde(with = "span")]
    pub max: Span,
}

impl Between {
    /// A fixed duration.
    pub const fn exactly(span: Span) -> Self {
        Self { min: span, max: span }
    }

    /// A duration between `min` and `max` seconds.
    pub const fn secs(min: i64, max: i64) -> Self {
        Self { min: Span::secs(min), max: Span::secs(max) }
    }
}

impl<'de> Deserialize<'de> for Between {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Either;

        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Both {
            #[serde(with = "span")]
            min: Span,
            #[serde(with = "span")]
            max: Span,
        }

        impl<'de> Visitor<'de> for Either {
            type Value = Between;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration, or { min, max } with durations")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Between, E> {
                let wrong = || E::invalid_value(Unexpected::Str(text), &span::WANTED);
                parse_span(text).map(Between::exactly).ok_or_else(wrong)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Between, A::Error> {
                let Both { min, max } = Both::deserialize(MapAccessDeserializer::new(map))?;
                if min > max {
                    return Err(A::Error::custom(format!("min {min} must be at most max {max}")));
                }
                Ok(Between { min, max })
            }
        }

        d.deserialize_any(Either)
    }
}

const UNITS: [(&str, i64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Parses a duration such as `90s`, `1h 30m` or `-5m`: whole numbers, each with its unit.
pub(crate) fn parse_span(text: &str) -> Option<Span> {
    let (sign, mut rest) = match text.trim().strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.trim()),
    };
    if rest.is_empty() {
        return None;
    }
    let mut millis: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: i64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].find(|c: char| !c.is_ascii_alphabetic());
        let end = unit.map_or(rest.len(), |unit| digits + unit);
        let size = UNITS.iter().find(|(name, _)| *name == &rest[digits..end])?.1;
        millis = millis.checked_add(number.checked_mul(size)?)?;
        rest = rest[end..].trim_start();
    }
    Some(Span(sign * millis)).filter(|span| span.0.abs() < Span::FOREVER.0)
}

/// Formats a duration so that [`parse_span`] returns the same value.
pub(crate) fn write_span(span: Span) -> String {
    let sign = if span.0 < 0 { "-" } else { "" };
    let millis = span.0.unsigned_abs();
    let fits =
        UNITS.iter().rev().find(|(_, size)| millis.is_multiple_of(*size as u64) && millis > 0);
    let (unit, size) = fits.unwrap_or(&UNITS[1]);
    format!("{sign}{}{unit}", millis / *size as u64)
}

/// Durations with units.
pub(crate) mod span {
    use super::{
        Deserialize, Deserializer, Error, Serializer, Span, Unexpected, parse_span, write_span,
    };

    pub(crate) const WANTED: &str = "a duration with units (`90s`, `15m`, `1h 30m`, `2d`)";

    pub(crate) fn serialize<S: Serializer>(span: &Span, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&write_span(*span))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Span, D::Error> {
        let text = String::deserialize(d)?;
        let wrong = || D::Error::invalid_value(Unexpected::Str(&text), &WANTED);
        parse_span(&text).ok_or_else(wrong)
    }
}

/// Points in time as RFC 3339.
pub(crate) mod time {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use trimtab_core::units::Time;

    pub(crate) fn serialize<S: Serializer>(time: &Time, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(time)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Time, D::Error> {
        let text = String::deserialize(d)?;
        let at: jiff::Timestamp = text
            .parse()
            .map_err(|e| D::Error::custom(format!("`{text}` is no RFC 3339 time: {e}")))?;
        Ok(Time(at.as_millisecond()))
    }
}

/// Prices in dollars an hour.
pub(crate) mod price {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use trimtab_core::units::UsdPerHour;

    pub(crate) fn serialize<S: Serializer>(price: &UsdPerHour, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_f64(price.as_dollars())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<UsdPerHour, D::Error> {
        let dollars = f64::deserialize(d)?;
        let wrong =
            || D::Error::custom(format!("invalid price {dollars}: use 0 to 10000 dollars an hour"));
        UsdPerHour::try_from_dollars(dollars).ok_or_else(wrong)
    }
}

/// [`Provisioning`] in a file.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Provisioning", rename_all = "kebab-case")]
pub(crate) enum ProvisioningText {
    Classic,
    Continuous,
}

/// [`Role`] in a file.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Role", rename_all = "kebab-case")]
pub(crate) enum RoleText {
    Worker,
    Controller,
    Login,
}

/// [`Capacity`] in a file.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Capacity", rename_all = "kebab-case")]
pub(crate) enum CapacityText {
    OnDemand,
    Spot,
    TrainingPlan,
    Reserved,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_with_their_units() {
        for (text, secs) in
            [("90s", 90), ("1h 30m", 5400), ("2d", 172_800), ("-5m", -300), ("0s", 0)]
        {
            let span = parse_span(text).expect(text);
            assert_eq!(span, Span::secs(secs), "{text}");
            assert_eq!(parse_span(&write_span(span)), Some(span), "{text}");
        }
        assert_eq!(parse_span("1h30m"), Some(Span::mins(90)));
        assert_eq!(parse_span("250ms"), Some(Span(250)));
        for text in ["", "-", "5", "m", "5x", "5 m", "1.5h", "99999999999999d"] {
            assert_eq!(parse_span(text), None, "{text}");
        }
    }
}
