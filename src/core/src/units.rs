//! Quantities with their units: time, durations, money, counts, shares.
//!
//! All of them are integers, so that two runs with one seed agree to the byte. Addition,
//! subtraction and multiplication saturate at the limits of the type.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};

use serde::{Deserialize, Serialize};

pub use duration::{ParseSpanError, SpanFault};

mod duration;

/// A point in time, in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(pub i64);

/// A length of time in milliseconds; negative if a clock was set back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span(pub i64);

impl Time {
    /// Returns the time `secs` seconds after the epoch.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs * 1000)
    }

    /// Returns the time from `earlier` to `self`; negative if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Span {
    /// Zero.
    pub const ZERO: Self = Self(0);
    /// Longer than any window or timer (about 73 million years). Means "never".
    pub const FOREVER: Self = Self(i64::MAX / 4);

    /// Returns a span of `millis` milliseconds.
    pub const fn millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Returns a span of `secs` seconds.
    pub const fn secs(secs: i64) -> Self {
        Self(secs * 1000)
    }

    /// Returns a span of `mins` minutes.
    pub const fn mins(mins: i64) -> Self {
        Self::secs(mins * 60)
    }

    /// Returns a span of `hours` hours.
    pub const fn hours(hours: i64) -> Self {
        Self::mins(hours * 60)
    }

    /// Returns the span in hours, for ratios and reports only.
    pub fn as_hours(self) -> f64 {
        self.0 as f64 / 3_600_000.0
    }

    /// Returns the span in whole seconds, rounded down.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Whether the span is [`Span::FOREVER`] or longer.
    pub const fn is_forever(self) -> bool {
        self.0 >= Self::FOREVER.0
    }

    /// Returns the span times `n`.
    pub const fn times(self, n: i64) -> Self {
        Self(self.0.saturating_mul(n))
    }
}

impl Add<Span> for Time {
    type Output = Self;
    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Sub<Span> for Time {
    type Output = Self;
    fn sub(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

impl Add for Span {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Span {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Span {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Time {
    /// Writes RFC 3339 in UTC, rounded down to the second.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.0.div_euclid(1000)) {
            Ok(at) => f.pad(&at.to_string()),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}+{:03}", self.0.rem_euclid(1000))
    }
}

impl fmt::Display for Span {
    /// Writes the two largest units: `1h 5m`, `20m`, `45s`; [`Span::FOREVER`] as `infinite`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_forever() {
            return f.pad("infinite");
        }
        let sign = if self.0 < 0 { "-" } else { "" };
        let ms = self.0.unsigned_abs();
        let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
        let first = units.iter().position(|(_, size)| ms >= *size);
        let text = match first {
            None => "0s".to_owned(),
            Some(i) => {
                let (unit, size) = units[i];
                let mut text = format!("{sign}{}{unit}", ms / size);
                if let Some((next_unit, next_size)) = units.get(i + 1) {
                    let rest = ms % size / next_size;
                    if rest > 0 {
                        text.push_str(&format!(" {rest}{next_unit}"));
                    }
                }
                text
            }
        };
        f.pad(&text)
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An amount of money in millionths of a US dollar; may be negative.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Usd(pub i64);

impl Usd {
    /// Zero.
    pub const ZERO: Self = Self(0);

    /// Converts dollars, rounded to the nearest millionth.
    pub fn from_dollars(dollars: f64) -> Self {
        Self((dollars * 1e6).round() as i64)
    }

    /// Returns the amount in dollars, for reports only.
    pub fn as_dollars(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// Returns the amount times `n`.
    pub fn times(self, n: u64) -> Self {
        Self(self.0.saturating_mul(i64::try_from(n).unwrap_or(i64::MAX)))
    }
}

impl Add for Usd {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Usd {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Usd {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Sum for Usd {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Usd {
    /// Writes dollars, rounded to the nearest cent, with thousands separators: `$12,345.67`,
    /// `-$0.31`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cents = (self.0.unsigned_abs() + 5_000) / 10_000;
        let sign = if self.0 < 0 && cents > 0 { "-" } else { "" };
        let whole = (cents / 100).to_string();
        let mut grouped = String::new();
        for (i, digit) in whole.chars().enumerate() {
            if i > 0 && (whole.len() - i).is_multiple_of(3) {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        f.pad(&format!("{sign}${grouped}.{:02}", cents % 100))
    }
}

impl fmt::Debug for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A price in millionths of a US dollar per hour, 0 to 10,000 dollars once parsed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UsdPerHour(pub i64);

impl UsdPerHour {
    /// Zero: the price of a node of prepaid capacity.
    pub const ZERO: Self = Self(0);

    /// Converts dollars per hour, rounded to the nearest millionth. Returns `None` unless the
    /// value is finite and 0 to 10,000.
    pub fn try_from_dollars(dollars: f64) -> Option<Self> {
        (0.0..=10_000.0).contains(&dollars).then(|| Self((dollars * 1e6).round() as i64))
    }

    /// Returns the cost of this price over a span, rounded to the nearest millionth of a dollar.
    pub fn over(self, span: Span) -> Usd {
        let exact = i128::from(self.0) * i128::from(span.0);
        let rounded = (exact + exact.signum() * 1_800_000) / 3_600_000;
        Usd(i64::try_from(rounded).unwrap_or(if exact < 0 { i64::MIN } else { i64::MAX }))
    }

    /// Returns the price in dollars per hour, for reports only.
    pub fn as_dollars(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl fmt::Display for UsdPerHour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/h", Usd(self.0)))
    }
}

impl fmt::Debug for UsdPerHour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A number of nodes. Subtraction saturates at zero, addition at [`NodeCount::UNBOUNDED`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeCount(pub u32);

impl NodeCount {
    /// Zero.
    pub const ZERO: Self = Self(0);
    /// More than any cluster has. Means that there is no bound.
    pub const UNBOUNDED: Self = Self(u32::MAX);

    /// Converts a number of items; at most [`NodeCount::UNBOUNDED`].
    pub fn of(len: usize) -> Self {
        Self(u32::try_from(len).unwrap_or(u32::MAX))
    }

    /// Returns the number as a `usize`, for lengths and indices.
    pub const fn get(self) -> usize {
        self.0 as usize
    }

    /// Saturating subtraction, as in std: at least zero.
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Add for NodeCount {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for NodeCount {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for NodeCount {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for NodeCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for NodeCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A share in hundredths of a percent, 0 to 10,000 (0 % to 100 %).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Share(u16);

impl Share {
    /// 100 %.
    pub const ALL: Self = Self(10_000);

    /// Converts percent, rounded to the nearest hundredth of a percent. Returns `None` unless the
    /// value is finite and 0 to 100.
    pub fn try_from_percent(percent: f64) -> Option<Self> {
        (0.0..=100.0).contains(&percent).then(|| Self((percent * 100.0).round() as u16))
    }

    /// Returns this share of `nodes`, rounded up. Floors round up.
    pub fn of_rounded_up(self, nodes: NodeCount) -> NodeCount {
        let exact = u64::from(self.0) * u64::from(nodes.0);
        NodeCount(u32::try_from(exact.div_ceil(10_000)).unwrap_or(u32::MAX))
    }

    /// Returns this share of `nodes`, rounded down. Budgets round down.
    pub fn of_rounded_down(self, nodes: NodeCount) -> NodeCount {
        let exact = u64::from(self.0) * u64::from(nodes.0);
        NodeCount(u32::try_from(exact / 10_000).unwrap_or(u32::MAX))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 100, self.0 % 100);
        if rest == 0 {
            f.pad(&format!("{whole} %"))
        } else {
            f.pad(&format!("{whole}.{rest:02} %"))
        }
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// GPUs in thousandths of one GPU, because schedulers can share a GPU among jobs.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct MilliGpus(pub u32);

impl MilliGpus {
    /// Converts whole GPUs; at most `u32::MAX` thousandths.
    pub const fn whole(gpus: u32) -> Self {
        Self(gpus.saturating_mul(1000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floors_round_up_and_budgets_round_down() {
        let third = Share::try_from_percent(33.0).expect("in range");
        assert_eq!(third.of_rounded_up(NodeCount(10)), NodeCount(4));
        assert_eq!(third.of_rounded_down(NodeCount(10)), NodeCount(3));
        assert_eq!(Share::try_from_percent(f64::NAN), None);
        assert_eq!(Share::try_from_percent(100.1), None);
    }

    #[test]
    fn prices_over_time_are_exact_to_the_millionth() {
        let price = UsdPerHour::try_from_dollars(3.06).expect("in range");
        assert_eq!(price.over(Span::mins(20)), Usd::from_dollars(1.02));
        assert_eq!(price.over(Span::mins(-20)), Usd::from_dollars(-1.02));
        assert_eq!(UsdPerHour::try_from_dollars(-1.0), None);
    }

    #[test]
    fn quantities_read_as_an_operator_writes_them() {
        assert_eq!(Span::mins(65).to_string(), "1h 5m");
        assert_eq!(Span::secs(45).to_string(), "45s");
        assert_eq!(Span::ZERO.to_string(), "0s");
        assert_eq!(Usd::from_dollars(12345.674).to_string(), "$12,345.67");
        assert_eq!(Usd::from_dollars(-0.31).to_string(), "-$0.31");
        assert_eq!(Time::from_secs(0).to_string(), "1970-01-01T00:00:00Z");
    }
}
