//! Text forms of values in a world file.

use std::fmt;

use serde::de::{Error, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use trimtab_core::reads::{Capacity, Provisioning, Role};
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
                Span::parse_simulated(text).map(Between::exactly).map_err(E::custom)
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

/// Formats a duration so that [`Span::parse_simulated`] returns the same value.
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
    use super::{Deserialize, Deserializer, Error, Serializer, Span, write_span};

    pub(crate) fn serialize<S: Serializer>(span: &Span, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&write_span(*span))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Span, D::Error> {
        let text = String::deserialize(d)?;
        Span::parse_simulated(&text).map_err(D::Error::custom)
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
            let span = Span::parse_simulated(text).expect(text);
            assert_eq!(span, Span::secs(secs), "{text}");
            assert_eq!(Span::parse_simulated(&write_span(span)), Ok(span), "{text}");
        }
        assert_eq!(Span::parse_simulated("250ms"), Ok(Span(250)));
    }
}
