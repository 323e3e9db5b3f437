//! The schedule of ticks: six cron fields, in UTC.
//!
//! The syntax is a strict subset of the cron library, so that a text has the same meaning in
//! both: numbers, names, ranges, lists and steps. It has no `?`, `L`, `W`, `#`, `@daily` or
//! year. A day of the month and a day of the week cannot be combined, because cron dialects
//! combine them in different ways.

use std::fmt;

use trimtab_core::units::Span;

/// Years searched for the days on which a schedule fires. Two of them are leap years.
const YEARS: std::ops::Range<u32> = 2024..2032;

/// Weekday of 1 January 2024, counted from Sunday.
const FIRST_WEEKDAY: u32 = 1;

const DAY_SECS: i64 = 86_400;

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// A valid schedule, which fires again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    text: String,
    interval: Span,
}

impl Schedule {
    /// Returns the six fields as written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the shortest time between two firings: one tick.
    pub fn interval(&self) -> Span {
        self.interval
    }

    /// Parses six fields: second, minute, hour, day of the month, month, day of
    /// the week.
    ///
    /// # Errors
    /// Returns what is wrong, as a predicate of the key.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split_whitespace().collect();
        let &[second, minute, hour, day, month, weekday] = parts.as_slice() else {
            return Err(format!(
                "has {} fields instead of six: second, minute, hour, day of the month, month, day \
                 of the week",
                parts.len()
            ));
        };
        if day != "*" && weekday != "*" {
            return Err("sets both the day of the month and the day of the week".to_owned());
        }
        let times = Times {
            seconds: SECOND.parse(second)?,
            minutes: MINUTE.parse(minute)?,
            hours: HOUR.parse(hour)?,
        };
        let days = Days {
            days: DAY.parse(day)?,
            months: MONTH.parse(month)?,
            // 7 is Sunday, too.
            weekdays: WEEKDAY.parse(weekday).map(|set| Set((set.0 | set.0 >> 7) & 0x7f))?,
        };
        let apart = days.least_apart().ok_or("never fires: no month has that day")?;
        Ok(Self { text: parts.join(" "), interval: Span::secs(times.least_gap(apart)) })
    }
}

impl Default for Schedule {
    /// Every two minutes: the sample rate for which the idle timer was studied, at the cost of a
    /// few API requests a minute.
    fn default() -> Self {
        Self { text: "0 */2 * * * *".to_owned(), interval: Span::mins(2) }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A set of numbers below 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Set(u64);

impl Set {
    fn has(self, number: u32) -> bool {
        self.0.checked_shr(number).is_some_and(|rest| rest & 1 == 1)
    }

    fn numbers(self) -> impl Iterator<Item = u32> {
        (0..64).filter(move |number| self.has(*number))
    }
}

/// Limits and names of one field.
struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    names: &'static [&'static str],
}

const SECOND: Field = Field { name: "second", least: 0, most: 59, names: &[] };
const MINUTE: Field = Field { name: "minute", least: 0, most: 59, names: &[] };
const HOUR: Field = Field { name: "hour", least: 0, most: 23, names: &[] };
const DAY: Field = Field { name: "day of the month", least: 1, most: 31, names: &[] };
const MONTH: Field = Field { name: "month", least: 1, most: 12, names: &MONTHS };
const WEEKDAY: Field = Field { name: "day of the week", least: 0, most: 7, names: &WEEKDAYS };

impl Field {
    fn parse(&self, text: &str) -> Result<Set, String> {
        let mut bits = 0;
        for item in text.split(',') {
            let (range, step) = match item.split_once('/') {
                Some((range, step)) => (range, Some(self.step(item, step)?)),
                None => (item, None),
            };
            let (first, last) = match (range, range.split_once('-'), step) {
                ("*", _, _) => (self.least, self.most),
                (_, Some((first, last)), _) => (self.number(first)?, self.range_end(last)?),
                (_, None, None) => (self.number(range)?, self.number(range)?),
                (_, None, Some(_)) => {
                    return Err(format!(
                        "has the step `{item}` as its {}, which has no end",
                        self.name
                    ));
                }
            };
            if first > last {
                return Err(format!(
                    "has the range `{range}` as its {}, which ends before it begins",
                    self.name
                ));
            }
            for number in (first..=last).step_by(step.unwrap_or(1) as usize) {
                bits |= 1_u64 << number;
            }
        }
        Ok(Set(bits))
    }

    fn number(&self, text: &str) -> Result<u32, String> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let named = named.and_then(|at| u32::try_from(at).ok()).map(|at| at + self.names_from());
        named
            .or_else(|| digits(text))
            .filter(|number| (self.least..=self.most).contains(number))
            .ok_or_else(|| {
                let Self { name, least, most, .. } = self;
                format!("has `{text}` as its {name}, which is not a number from {least} to {most}")
            })
    }

    /// Parses the end of a range. A Sunday there is the one after Saturday, number 7.
    fn range_end(&self, text: &str) -> Result<u32, String> {
        if self.most == 7 && text.eq_ignore_ascii_case("sun") { Ok(7) } else { self.number(text) }
    }

    /// Returns the number of the first name.
    const fn names_from(&self) -> u32 {
        self.least
    }

    fn step(&self, item: &str, text: &str) -> Result<u32, String> {
        digits(text).filter(|step| (1..=self.most).contains(step)).ok_or_else(|| {
            let Self { name, most, .. } = self;
            format!("has `{item}` as its {name}, whose step is not a number from 1 to {most}")
        })
    }
}

/// Parses one or two digits, without sign or spaces.
fn digits(text: &str) -> Option<u32> {
    let plain = matches!(text.len(), 1 | 2) && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// The times of day at which a schedule fires.
struct Times {
    seconds: Set,
    minutes: Set,
    hours: Set,
}

impl Times {
    /// Returns the least time between two firings, in seconds. `days_apart` is the least number
    /// of days between two days on which the schedule fires.
    fn least_gap(&self, days_apart: i64) -> i64 {
        let mut least = i64::MAX;
        let (mut first, mut last) = (None, None);
        for hour in self.hours.numbers() {
            for minute in self.minutes.numbers() {
                for second in self.seconds.numbers() {
                    let time = i64::from(hour * 3600 + minute * 60 + second);
                    if let Some(before) = last {
                        least = least.min(time - before);
                    }
                    first = first.or(Some(time));
                    last = Some(time);
                }
            }
        }
        let overnight = first.unwrap_or(0) - last.unwrap_or(0);
        least.min(days_apart.saturating_mul(DAY_SECS).saturating_add(overnight))
    }
}

/// The days on which a schedule fires.
struct Days {
    days: Set,
    months: Set,
    weekdays: Set,
}

impl Days {
    /// Returns the least number of days between two days on which the schedule fires, or `None`
    /// if it does not fire twice.
    fn least_apart(&self) -> Option<i64> {
        let mut fires: Vec<i64> = vec![];
        let mut number = 0;
        for year in YEARS {
            for month in 1..=12 {
                for day in 1..=days_of(year, month) {
                    let weekday = (number + FIRST_WEEKDAY) % 7;
                    if self.months.has(month) && self.days.has(day) && self.weekdays.has(weekday) {
                        fires.push(i64::from(number));
                    }
                    number += 1;
                }
            }
        }
        let gaps = fires.iter().zip(fires.iter().skip(1)).map(|(a, b)| b - a);
        gaps.min()
    }
}

const fn days_of(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_time_between_firings_is_found() {
        for (text, secs) in [
            ("0 */2 * * * *", 120),
            ("*/7 * * * * *", 4),
            ("0 0,10,50 * * * *", 600),
            ("30 59 23 * * *", DAY_SECS),
            ("0 0 0,23 * * *", 3600),
            ("0 0 6 * * mon,tue", DAY_SECS),
            ("0 0 6 * * mon", 7 * DAY_SECS),
            ("0 0 0,23 * * mon,fri", 23 * 3600),
            ("0 0 0 29 feb *", (3 * 365 + 366) * DAY_SECS),
            ("0 */5 8-18 * * mon-fri", 300),
            ("0 0 0 * * fri-sun", DAY_SECS),
            ("0 0 0 * * 0,7", 7 * DAY_SECS),
            ("0 0-30/10 * * * *", 600),
        ] {
            let schedule = Schedule::parse(text).expect(text);
            assert_eq!(schedule.interval(), Span::secs(secs), "{text}");
            assert_eq!(schedule.text(), text);
        }
    }

    #[test]
    fn the_default_is_what_its_text_says() {
        let default = Schedule::default();
        assert_eq!(Schedule::parse(default.text()), Ok(default));
    }

    #[test]
    fn what_is_no_plain_cron_is_refused() {
        for (text, why) in [
            ("", "has 0 fields"),
            ("*/2 * * * *", "has 5 fields"),
            ("0 */2 * * * * 2030", "has 7 fields"),
            ("@daily", "has 1 fields"),
            ("60 * * * * *", "not a number from 0 to 59"),
            ("0 0 24 * * *", "not a number from 0 to 23"),
            ("0 0 0 0 * *", "not a number from 1 to 31"),
            ("0 */0 * * * *", "step is not a number from 1 to 59"),
            ("0 */90 * * * *", "step is not a number from 1 to 59"),
            ("0 5/10 * * * *", "has no end"),
            ("0 30-10 * * * *", "ends before it begins"),
            ("0 , * * * *", "not a number"),
            ("0 -1 * * * *", "not a number"),
            ("0 0 0 L * *", "not a number"),
            ("0 0 0 ? * *", "not a number"),
            ("0 0 0 1 * mon", "both the day of the month and the day of the week"),
            ("0 0 0 30 feb *", "never fires"),
            ("0 ½ * * * *", "not a number"),
        ] {
            let refusal = Schedule::parse(text).expect_err(text);
            assert!(refusal.contains(why), "{text}: {refusal}");
        }
    }
}
