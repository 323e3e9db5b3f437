//! Statistics of the data points of one period.

/// Data points of one datum, as the client sent them.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Sent {
    /// Pairs of value and count.
    Values(Vec<(f64, f64)>),
    /// A statistic set.
    Set { count: f64, sum: f64, minimum: f64, maximum: f64 },
}

/// A supported statistic.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Statistic {
    SampleCount,
    Sum,
    Average,
    Minimum,
    Maximum,
    /// In percent, 0 to 100.
    Percentile(f64),
}

impl Statistic {
    /// Parses `Average`, `p99`, `p99.9` and so on. Other statistics of CloudWatch are not
    /// supported.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "SampleCount" => Some(Self::SampleCount),
            "Sum" => Some(Self::Sum),
            "Average" => Some(Self::Average),
            "Minimum" => Some(Self::Minimum),
            "Maximum" => Some(Self::Maximum),
            _ => {
                let percent = text.strip_prefix('p')?;
                let is_number = percent.bytes().all(|b| b.is_ascii_digit() || b == b'.');
                let percent: f64 = percent.parse().ok().filter(|_| is_number)?;
                (0.0..=100.0).contains(&percent).then_some(Self::Percentile(percent))
            }
        }
    }
}

/// Accumulates the data points of one period.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tally {
    count: f64,
    sum: f64,
    minimum: f64,
    maximum: f64,
    /// Pairs of value and count. `None` if the statistic does not need them, or once a
    /// statistic set was added whose values are unknown.
    values: Option<Vec<(f64, f64)>>,
}

impl Tally {
    /// An empty tally for this statistic.
    pub(super) fn of(statistic: Statistic) -> Self {
        let values = match statistic {
            Statistic::SampleCount
            | Statistic::Sum
            | Statistic::Average
            | Statistic::Minimum
            | Statistic::Maximum => None,
            Statistic::Percentile(_) => Some(vec![]),
        };
        let (minimum, maximum) = (f64::INFINITY, f64::NEG_INFINITY);
        Self { count: 0.0, sum: 0.0, minimum, maximum, values }
    }

    pub(super) fn add(&mut self, sent: &Sent) {
        match sent {
            Sent::Values(values) => {
                for (value, count) in values {
                    self.add_value(*value, *count);
                }
            }
            // All values of this set are equal, so they are known.
            Sent::Set { count, minimum, maximum, .. } if minimum == maximum => {
                self.add_value(*minimum, *count);
            }
            Sent::Set { count, sum, minimum, maximum } => {
                self.count += count;
                self.sum += sum;
                self.minimum = self.minimum.min(*minimum);
                self.maximum = self.maximum.max(*maximum);
                self.values = None;
            }
        }
    }

    pub(super) fn add_value(&mut self, value: f64, count: f64) {
        self.count += count;
        self.sum += value * count;
        self.minimum = self.minimum.min(value);
        self.maximum = self.maximum.max(value);
        if let Some(values) = &mut self.values {
            values.push((value, count));
        }
    }

    /// The statistic. `None` if there are no data points, or for a percentile if some values
    /// are unknown.
    pub(super) fn statistic(&self, statistic: Statistic) -> Option<f64> {
        let has_any = self.count > 0.0;
        has_any.then_some(())?;
        match statistic {
            Statistic::SampleCount => Some(self.count),
            Statistic::Sum => Some(self.sum),
            Statistic::Average => Some(self.sum / self.count),
            Statistic::Minimum => Some(self.minimum),
            Statistic::Maximum => Some(self.maximum),
            Statistic::Percentile(percent) => self.percentile(percent),
        }
    }

    /// The smallest value that at least `percent` percent of the values do not exceed.
    fn percentile(&self, percent: f64) -> Option<f64> {
        let mut values = self.values.clone()?;
        values.sort_by(|a, b| a.0.total_cmp(&b.0));
        let rank = self.count * percent / 100.0;
        let mut seen = 0.0;
        for (value, count) in &values {
            seen += count;
            if seen >= rank {
                return Some(*value);
            }
        }
        values.last().map(|(value, _)| *value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(sent: &[Sent]) -> impl Fn(&str) -> Option<f64> {
        move |name| {
            let statistic = Statistic::parse(name).expect("a statistic");
            let mut tally = Tally::of(statistic);
            sent.iter().for_each(|sent| tally.add(sent));
            tally.statistic(statistic)
        }
    }

    #[test]
    fn statistics_of_values_with_counts() {
        let sent = [Sent::Values(vec![(4.0, 1.0), (1.0, 2.0)]), Sent::Values(vec![(-2.0, 1.0)])];
        let of = tally(&sent);
        let expected = [
            ("SampleCount", 4.0),
            ("Sum", 4.0),
            ("Average", 1.0),
            ("Minimum", -2.0),
            ("Maximum", 4.0),
            ("p0", -2.0),
            ("p25", -2.0),
            ("p50", 1.0),
            ("p75", 1.0),
            ("p75.1", 4.0),
            ("p100", 4.0),
        ];
        for (name, value) in expected {
            assert_eq!(of(name), Some(value), "{name}");
        }
    }

    #[test]
    fn statistics_of_sets_have_no_percentiles_unless_all_values_are_equal() {
        let set = |count, sum, minimum, maximum| Sent::Set { count, sum, minimum, maximum };
        let sent = [set(3.0, 6.0, 1.0, 3.0), Sent::Values(vec![(10.0, 1.0)])];
        let of = tally(&sent);
        assert_eq!((of("Average"), of("Maximum"), of("p50")), (Some(4.0), Some(10.0), None));
        assert_eq!(tally(&[set(3.0, 6.0, 2.0, 2.0)])("p50"), Some(2.0));
        assert_eq!(tally(&[])("SampleCount"), None, "no data, no statistics");
    }

    #[test]
    fn only_known_statistics_are_read() {
        for wrong in ["average", "p", "p101", "p-1", "p1e1", "pNaN", "p1.2.3", "TM(10%:90%)", ""] {
            assert_eq!(Statistic::parse(wrong), None, "{wrong}");
        }
        assert_eq!(Statistic::parse("p99.9"), Some(Statistic::Percentile(99.9)));
    }
}
