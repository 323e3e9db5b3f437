//! Keep windows: times of the week with a higher floor.
//!
//! A window is a rule of local wall time ("mon-fri, 08:00 to 19:00, New York"). On each of its
//! days it is open once: from the first to the last instant at which a local clock shows a time
//! inside it. If clocks jump over the start or the end, the window opens or closes at the jump. If
//! clocks go back, it stays open through both passes of the repeated hour.
//!
//! Limits: weekdays only, no dates or holidays; whole minutes. Zone rules come from the built-in
//! time zone database, not from the host, so that two hosts and a replay agree. A newer rule for a
//! zone needs a new build.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Serialize};

use crate::units::{NodeCount, Share, Time};

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

/// Earlier and later times (before year 68, after year 9987) are read as these. The calendar ends
/// at year 9999, and no number may cause a failure.
const EARLIEST: Time = Time::from_secs(-60_000_000_000);
const LATEST: Time = Time::from_secs(253_000_000_000);

/// Most days between the local day of an instant and the day on which a window that contains it
/// begins: one for a window that runs over midnight, one for a crossing of the date line.
const DAYS_AROUND: i64 = 2;

/// A window that does not change within this time never changes. The longest wait is two weeks
/// (one day a week, and clocks jump over it once), plus a margin.
const DAYS_TO_CHANGE: i64 = 22;

const DAY_NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Number of nodes to keep: absolute, or a share of the group's declared size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Amount {
    /// An absolute number of nodes.
    Nodes(NodeCount),
    /// A share of the declared size, rounded up. It is never a share of the current count, which
    /// would fall with every deletion.
    ShareOfSize(Share),
}

impl Amount {
    /// Returns the number of nodes in a group of this declared size. A share is rounded up.
    pub fn of(&self, size: NodeCount) -> NodeCount {
        match self {
            Self::Nodes(nodes) => *nodes,
            Self::ShareOfSize(share) => share.of_rounded_up(size),
        }
    }
}

/// A keep window as the operator writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowSpec {
    /// Weekdays on which the window begins: `mon-fri`, `sat,sun`, `fri-mon` or `daily`.
    pub days: String,
    /// Local time at which the window opens: `HH:MM`, `00:00` to `23:59`.
    pub from: String,
    /// Local time at which the window closes: `HH:MM`, `00:00` to `24:00`. A time before `from` is
    /// on the next day.
    pub to: String,
    /// IANA name of the time zone, such as `Europe/Amsterdam` or `UTC`.
    pub zone: String,
    /// Floor while the window is open.
    pub min_nodes: Amount,
}

/// Why a [`WindowSpec`] is invalid: the key, its value, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// A value cannot be parsed.
    #[error("{key} = \"{value}\" is not {expected}")]
    Value {
        /// Key in the spec.
        key: &'static str,
        /// Value as given.
        value: String,
        /// Description of a valid value.
        expected: &'static str,
    },
    /// The window would close when it opens.
    #[error(
        "from and to are both \"{value}\", so the window would never be open; for a whole \
         day write from = \"00:00\", to = \"24:00\""
    )]
    NeverOpen {
        /// The time that both keys have.
        value: String,
    },
    /// The window would keep no node.
    #[error("min_nodes is 0, so the window would keep nothing; write 1 or more, or remove it")]
    KeepsNothing,
}

/// A set of weekdays; bit 0 is Monday.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Weekdays(u8);

impl Weekdays {
    /// Returns `None` unless the text names at least one day and nothing else.
    fn parse(text: &str) -> Option<Self> {
        let number = |name: &str| {
            let mut days = DAY_NAMES.iter();
            days.position(|day| day.eq_ignore_ascii_case(name.trim()))
        };
        if text.trim().eq_ignore_ascii_case("daily") {
            return Some(Self(0b111_1111));
        }
        let mut bits = 0;
        for item in text.split(',') {
            let (first, last) = item.split_once('-').unwrap_or((item, item));
            let (mut day, last) = (number(first)?, number(last)?);
            bits |= 1 << day;
            while day != last {
                day = (day + 1) % 7;
                bits |= 1 << day;
            }
        }
        Some(Self(bits))
    }

    /// Whether the set contains this local day, counted from 1970-01-01 (a Thursday).
    const fn has(self, day: i64) -> bool {
        self.0 & (1 << (day + 3).rem_euclid(7)) != 0
    }
}

/// Parses `HH:MM`, up to `24:00`, into milliseconds after local midnight. Returns `None` for any
/// other text.
fn time_of_day(text: &str) -> Option<i64> {
    let digits = |at: std::ops::Range<usize>| {
        let part = text.get(at).filter(|part| part.bytes().all(|b| b.is_ascii_digit()))?;
        part.parse::<i64>().ok()
    };
    let (hours, minutes) = (digits(0..2)?, digits(3..5)?);
    let in_form = text.len() == 5 && text.get(2..3) == Some(":") && minutes < 60;
    let ms = (hours * 60 + minutes) * MINUTE_MS;
    (in_form && ms <= DAY_MS).then_some(ms)
}

/// Time on a local clock, in milliseconds since it showed 1970-01-01 00:00.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Wall(i64);

impl Wall {
    const fn day(self) -> i64 {
        self.0.div_euclid(DAY_MS)
    }

    fn civil(self) -> DateTime {
        Offset::UTC.to_datetime(timestamp(Time(self.0)))
    }

    /// Returns the instant at which a clock with this offset from UTC shows this time.
    const fn at(self, offset: Offset) -> Time {
        Time(self.0 - offset.seconds() as i64 * 1000)
    }
}

/// One time during which a window is open: from `opens` until just before `closes`.
#[derive(Clone, Copy)]
struct Opening {
    opens: Time,
    closes: Time,
}

/// A weekly window of local time with a higher floor. Only [`KeepWindow::parse`] creates one; its
/// serialized form is a [`WindowSpec`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WindowSpec", into = "WindowSpec")]
pub struct KeepWindow {
    /// Floor while the window is open.
    pub min_nodes: Amount,
    days: Weekdays,
    /// Start and end in milliseconds of wall time after midnight of the day on which the window
    /// begins. The end is above 24 hours if the window runs over midnight.
    starts: i64,
    ends: i64,
    zone: TimeZone,
    /// The spec as written, for reports.
    spec: WindowSpec,
}

impl KeepWindow {
    /// Parses a spec.
    ///
    /// # Errors
    /// A value cannot be parsed, or the window would do nothing: it would never be open or would
    /// keep no node.
    pub fn parse(spec: &WindowSpec) -> Result<Self, WindowError> {
        let wrong = |key, value: &str, expected| WindowError::Value {
            key,
            value: value.to_owned(),
            expected,
        };
        let days = Weekdays::parse(&spec.days).ok_or_else(|| {
            let expected = "a list of weekdays; write `mon-fri`, `sat,sun` or `daily`";
            wrong("days", &spec.days, expected)
        })?;
        let starts = time_of_day(&spec.from)
            .filter(|starts| *starts < DAY_MS)
            .ok_or_else(|| wrong("from", &spec.from, "a time of day, `00:00` to `23:59`"))?;
        let ends = time_of_day(&spec.to)
            .ok_or_else(|| wrong("to", &spec.to, "a time of day, `00:00` to `24:00`"))?;
        if starts == ends {
            return Err(WindowError::NeverOpen { value: spec.from.clone() });
        }
        let ends = if ends < starts { ends + DAY_MS } else { ends };
        let zone = TimeZoneDatabase::bundled().get(&spec.zone).ok();
        let zone = zone.filter(|zone| !zone.is_unknown()).ok_or_else(|| {
            let expected =
                "a known time zone; write its IANA name, such as `Europe/Amsterdam`, or `UTC`";
            wrong("zone", &spec.zone, expected)
        })?;
        if spec.min_nodes.of(NodeCount::UNBOUNDED) == NodeCount::ZERO {
            return Err(WindowError::KeepsNothing);
        }
        Ok(Self { min_nodes: spec.min_nodes, days, starts, ends, zone, spec: spec.clone() })
    }

    /// Whether the window is open at `at`. Costs one look-up of the zone's offset while it is
    /// open, two while it is closed.
    pub fn is_open(&self, at: Time) -> bool {
        let at = within_calendar(at);
        let wall = self.wall(at);
        let day = wall.day();
        if self.shows_open(day, wall) || self.shows_open(day - 1, wall) {
            return true;
        }
        // The clock shows a time outside the window. The instant can still be between two passes
        // through the inside, but only if the clock shows this time twice.
        match self.zone.to_ambiguous_timestamp(wall.civil()).offset() {
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Gap { .. } => false,
            AmbiguousOffset::Fold { .. } => self.opens_within(at, at),
        }
    }

    /// Whether the window is open at any instant from `from` to `until`, both included. If `until`
    /// is before `from`: whether it is open at `from`.
    pub fn opens_within(&self, from: Time, until: Time) -> bool {
        let from = within_calendar(from);
        let until = within_calendar(until).max(from);
        let (first, last) = (self.wall(from).day(), self.wall(until).day());
        self.openings(first - DAYS_AROUND, last + DAYS_AROUND)
            .any(|opening| opening.opens <= until && opening.closes > from)
    }

    /// Returns the next instant after `at` at which the window opens or closes, or `None` if it is
    /// always open.
    pub fn next_change(&self, at: Time) -> Option<Time> {
        let at = within_calendar(at);
        let today = self.wall(at).day();
        let mut openings = self.openings(today - DAYS_AROUND, today + DAYS_TO_CHANGE);
        if !self.is_open(at) {
            return openings.map(|opening| opening.opens).find(|opens| *opens > at);
        }
        // The opening of one day may touch or overlap the opening of the next day.
        let mut closes = at;
        openings.find_map(|opening| {
            if opening.opens > closes {
                return Some(closes);
            }
            closes = closes.max(opening.closes);
            None
        })
    }

    fn wall(&self, at: Time) -> Wall {
        Wall(at.0 + i64::from(self.zone.to_offset(timestamp(at)).seconds()) * 1000)
    }

    /// Whether the clock shows a time inside the window that begins on `day`.
    fn shows_open(&self, day: i64, wall: Wall) -> bool {
        let since_midnight = wall.0 - day * DAY_MS;
        self.days.has(day) && (self.starts..self.ends).contains(&since_midnight)
    }

    /// Returns the openings that begin on these local days, in order of time.
    fn openings(&self, first_day: i64, last_day: i64) -> impl Iterator<Item = Opening> + '_ {
        (first_day..=last_day)
            .filter(|day| self.days.has(*day))
            .map(|day| self.opening(day))
            // An opening is empty if clocks jump over the whole window.
            .filter(|opening| opening.opens < opening.closes)
    }

    fn opening(&self, day: i64) -> Opening {
        let start = Wall(day * DAY_MS + self.starts);
        let end = Wall(day * DAY_MS + self.ends);
        let opens = match self.zone.to_ambiguous_timestamp(start.civil()).offset() {
            AmbiguousOffset::Unambiguous { offset } => start.at(offset),
            AmbiguousOffset::Gap { before, after } => self.jump(start, before, after),
            AmbiguousOffset::Fold { before, after: _ } => start.at(before),
        };
        // The last instant inside decides the pass, not the first one outside: an end of 01:00 is
        // not repeated if clocks go back to 01:00.
        let inside = Wall(end.0 - 1);
        let closes = match self.zone.to_ambiguous_timestamp(inside.civil()).offset() {
            AmbiguousOffset::Unambiguous { offset } => end.at(offset),
            AmbiguousOffset::Gap { before, after } => self.jump(inside, before, after),
            AmbiguousOffset::Fold { before: _, after } => end.at(after),
        };
        Opening { opens, closes }
    }

    /// Returns the instant at which clocks jump over `skipped`.
    fn jump(&self, skipped: Wall, before: Offset, after: Offset) -> Time {
        self.zone
            .following(timestamp(skipped.at(after)))
            .find(|transition| transition.offset() == after)
            .map_or(skipped.at(before), |transition| Time(transition.timestamp().as_millisecond()))
    }
}

impl TryFrom<WindowSpec> for KeepWindow {
    type Error = WindowError;

    fn try_from(spec: WindowSpec) -> Result<Self, Self::Error> {
        Self::parse(&spec)
    }
}

impl From<KeepWindow> for WindowSpec {
    fn from(window: KeepWindow) -> Self {
        Self { min_nodes: window.min_nodes, ..window.spec }
    }
}

impl fmt::Display for KeepWindow {
    /// Writes days, times and zone: `mon-fri 08:00 to 19:00 America/New_York`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WindowSpec { days, from, to, zone, min_nodes: _ } = &self.spec;
        f.pad(&format!("{days} {from} to {to} {zone}"))
    }
}

fn within_calendar(at: Time) -> Time {
    at.clamp(EARLIEST, LATEST)
}

fn timestamp(at: Time) -> Timestamp {
    let beyond = if at < Time(0) { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_millisecond(at.0).unwrap_or(beyond)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Parses the `Display` text of a window: `mon-fri 08:00 to 19:00 UTC`.
    fn spec(text: &str) -> WindowSpec {
        let mut words = text.split(' ').map(str::to_owned);
        let mut word = || words.next().unwrap_or_default();
        let (days, from, _, to, zone) = (word(), word(), word(), word(), word());
        let min_nodes = Amount::Nodes(NodeCount(16));
        WindowSpec { days, from, to, zone, min_nodes }
    }

    fn window(text: &str) -> KeepWindow {
        KeepWindow::parse(&spec(text)).expect("a window")
    }

    fn at(text: &str) -> Time {
        Time(text.parse::<Timestamp>().expect("RFC 3339").as_millisecond())
    }

    /// Checks that `openings` (`from/to` each) are all openings between the first and the last, to
    /// the millisecond, for `is_open`, `next_change` and `opens_within`.
    #[track_caller]
    fn check(text: &str, openings: &[&str]) {
        let window = window(text);
        let edges: Vec<Time> = openings.iter().flat_map(|o| o.split('/').map(at)).collect();
        let before = |time: Time| Time(time.0 - 1);
        for pair in edges.chunks_exact(2) {
            let middle = Time((pair[0].0 + pair[1].0) / 2);
            assert!(!window.is_open(before(pair[0])), "opens before {}", pair[0]);
            assert!(window.is_open(pair[0]), "not open at {}", pair[0]);
            assert!(window.is_open(middle), "not open at {middle}");
            assert!(window.is_open(before(pair[1])), "closes before {}", pair[1]);
            assert!(!window.is_open(pair[1]), "open at {}", pair[1]);
        }
        for pair in edges.windows(2) {
            assert_eq!(window.next_change(pair[0]), Some(pair[1]));
            assert_eq!(window.next_change(before(pair[1])), Some(pair[1]));
            assert!(window.opens_within(before(pair[1]), pair[1]));
        }
        for closed in edges[1..].chunks_exact(2) {
            assert!(!window.opens_within(closed[0], before(closed[1])));
        }
    }

    #[test]
    fn weekdays_and_nights_go_by_the_clock_of_the_place() {
        let office_hours = [
            "2026-07-09T12:00Z/2026-07-09T23:00Z",
            "2026-07-10T12:00Z/2026-07-10T23:00Z",
            "2026-07-13T12:00Z/2026-07-13T23:00Z",
        ];
        check("mon-fri 08:00 to 19:00 America/New_York", &office_hours);
        let whole_days =
            ["2026-07-11T00:00Z/2026-07-12T00:00Z", "2026-07-13T00:00Z/2026-07-14T00:00Z"];
        check("Sat,mon 00:00 to 24:00 UTC", &whole_days);
        // A night belongs to the day on which it begins.
        let nights = [
            "2026-07-11T20:00Z/2026-07-12T04:00Z",
            "2026-07-12T20:00Z/2026-07-13T04:00Z",
            "2026-07-17T20:00Z/2026-07-18T04:00Z",
        ];
        check("fri-sun 22:00 to 06:00 Europe/Amsterdam", &nights);
    }

    #[test]
    fn clocks_that_jump_over_an_edge_put_it_on_the_jump() {
        let over_the_start =
            ["2026-03-01T07:30Z/2026-03-01T10:00Z", "2026-03-08T07:00Z/2026-03-08T09:00Z"];
        check("sun 02:30 to 05:00 America/New_York", &over_the_start);
        let over_the_end = ["2026-03-29T00:00Z/2026-03-29T01:00Z"];
        check("sun 01:00 to 02:30 Europe/Amsterdam", &over_the_end);
        let closed_on_the_29th =
            ["2026-03-22T01:10Z/2026-03-22T01:50Z", "2026-04-05T00:10Z/2026-04-05T00:50Z"];
        check("sun 02:10 to 02:50 Europe/Amsterdam", &closed_on_the_29th);
    }

    #[test]
    fn clocks_that_go_back_keep_it_open_through_both_passes() {
        for (text, opening) in [
            ("sun 00:00 to 01:30 America/New_York", "2026-11-01T04:00Z/2026-11-01T06:30Z"),
            ("sun 01:30 to 05:00 America/New_York", "2026-11-01T05:30Z/2026-11-01T10:00Z"),
            ("sat 20:00 to 01:00 America/New_York", "2026-11-01T00:00Z/2026-11-01T05:00Z"),
            ("sun 02:15 to 02:45 Europe/Amsterdam", "2026-10-25T00:15Z/2026-10-25T01:45Z"),
        ] {
            check(text, &[opening]);
        }
    }

    #[test]
    fn a_window_without_end_never_changes() {
        let always = window("daily 00:00 to 24:00 America/New_York");
        assert_eq!(always.next_change(at("2026-03-08T00:00:00Z")), None);
        for time in [Time(i64::MIN), Time(0), Time(i64::MAX)] {
            assert!(always.is_open(time) && always.opens_within(time, Time(i64::MIN)));
            window("mon 10:00 to 11:00 America/New_York").next_change(time);
        }
    }

    #[test]
    fn specs_that_are_wrong_or_do_nothing_are_refused() {
        for case in [
            " 08:00 to 19:00 UTC => days = \"\" is not a list of weekdays; write `mon-fri`",
            "mon- 08:00 to 19:00 UTC => days = \"mon-\" is not",
            "mon 8:00 to 19:00 UTC => from = \"8:00\" is not a time of day, `00:00` to `23:59`",
            "mon 24:00 to 19:00 UTC => from = \"24:00\" is not",
            "mon 08:00 to 24:01 UTC => to = \"24:01\" is not a time of day, `00:00` to `24:00`",
            "mon 08:00 to +9:30 UTC => to = \"+9:30\" is not",
            "mon 08:00 to 1\u{e9}:00 UTC => to = \"1\u{e9}:00\" is not",
            "mon 08:00 to 19:60 UTC => to = \"19:60\" is not",
            "mon 08:00 to 08:00 UTC => from and to are both \"08:00\", so the window would never",
            "mon 08:00 to 19:00 Mars/Base => zone = \"Mars/Base\" is not a known time zone",
            "mon 08:00 to 19:00 Etc/Unknown => zone = \"Etc/Unknown\" is not",
        ] {
            let (refused, want) = case.split_once(" => ").expect("two parts");
            let error = KeepWindow::parse(&spec(refused)).expect_err(want).to_string();
            assert!(error.starts_with(want), "{error}");
        }
        for none in [Amount::Nodes(NodeCount(0)), Amount::ShareOfSize(Share::default())] {
            let nothing = WindowSpec { min_nodes: none, ..spec("mon 08:00 to 19:00 UTC") };
            assert_eq!(KeepWindow::parse(&nothing), Err(WindowError::KeepsNothing));
        }
    }

    #[test]
    fn windows_are_stored_as_written_and_checked_when_read() {
        let window = window("mon-fri 08:00 to 19:00 America/New_York");
        assert_eq!(window.to_string(), "mon-fri 08:00 to 19:00 America/New_York");
        let text = serde_json::to_string(&window).expect("plain data");
        assert!(text.contains(r#""zone":"America/New_York","min_nodes":{"nodes":16}"#), "{text}");
        assert_eq!(serde_json::from_str::<KeepWindow>(&text).expect("as written"), window);
        assert!(serde_json::from_str::<KeepWindow>(&text.replace("19:00", "08:00")).is_err());
    }

    #[test]
    fn shares_are_of_the_size_and_rounded_up() {
        let third = Amount::ShareOfSize(Share::try_from_percent(33.0).expect("in range"));
        assert_eq!(third.of(NodeCount(10)), NodeCount(4));
        assert_eq!(Amount::Nodes(NodeCount(7)).of(NodeCount(3)), NodeCount(7));
    }

    /// Zones, and instants at which their clocks are changed.
    const ODD_CLOCKS: [(&str, &str); 9] = [
        ("America/New_York", "2026-03-08T07:00:00Z"),
        ("America/New_York", "2026-11-01T06:00:00Z"),
        ("Europe/Amsterdam", "2026-03-29T01:00:00Z"),
        ("Europe/Amsterdam", "2026-10-25T01:00:00Z"),
        ("Australia/Lord_Howe", "2026-04-04T15:00:00Z"), // back by half an hour
        ("America/St_Johns", "2009-11-01T02:31:00Z"),    // from 00:01 to the day before
        ("America/Havana", "2026-11-01T05:00:00Z"),      // back to midnight
        ("Pacific/Apia", "2011-12-30T10:00:00Z"),        // over a whole day
        ("Asia/Kathmandu", "2026-01-01T00:00:00Z"),
    ];

    proptest! {
        /// Compares the window with a clock that is read every minute: on each day the window is
        /// open from the first to the last minute that shows a time inside it.
        #[test]
        fn all_questions_agree_with_a_clock_read_each_minute(
            odd in 0usize..ODD_CLOCKS.len(),
            days in 1u8..128,
            from in prop_oneof![0u16..1440, 0u16..200],
            to in prop_oneof![1u16..=1440, 1u16..200],
            start in -3000i64..3000,
            length in 0i64..2000,
        ) {
            prop_assume!(from != to);
            let (zone, jump) = ODD_CLOCKS[odd];
            let names = (0..7).filter(|day| days & (1 << day) != 0).map(|day| DAY_NAMES[day]);
            let clock = |minutes: u16| format!("{:02}:{:02}", minutes / 60, minutes % 60);
            let names = names.collect::<Vec<_>>().join(",");
            let window = window(&format!("{names} {} to {} {zone}", clock(from), clock(to)));
            let minute = |number: i64| at(jump) + crate::units::Span::mins(number);

            let mut seen: BTreeMap<_, (i64, i64)> = BTreeMap::new();
            for number in -10_000..10_000 {
                let shows = window.zone.to_datetime(timestamp(minute(number)));
                let time = (shows.hour() as u16) * 60 + shows.minute() as u16;
                let begins = match from < to {
                    true => (from..to).contains(&time).then(|| shows.date()),
                    false if time >= from => Some(shows.date()),
                    false => (time < to).then(|| shows.date().yesterday().expect("in range")),
                };
                let day = |date: jiff::civil::Date| date.weekday().to_monday_zero_offset();
                if let Some(date) = begins.filter(|date| days & (1 << day(*date)) != 0) {
                    seen.entry(date).or_insert((number, number)).1 = number;
                }
            }
            let open = |number: i64| seen.values().any(|(a, b)| (*a..=*b).contains(&number));
            let until = start + length;
            for number in [start, until, 0, from.into(), -i64::from(to)] {
                prop_assert_eq!(window.is_open(minute(number)), open(number), "{}", number);
            }
            let stepped = (start..=until).any(|number| window.is_open(minute(number)));
            prop_assert_eq!(window.opens_within(minute(start), minute(until)), stepped);
            prop_assert_eq!(stepped, (start..=until).any(open));
            let change = (start + 1..10_000).find(|number| open(*number) != open(start));
            if let Some(change) = change {
                prop_assert_eq!(window.next_change(minute(start)), Some(minute(change)));
            }
        }
    }
}
