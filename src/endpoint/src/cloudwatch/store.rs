//! Stores the data of PutMetricData.

use std::collections::BTreeMap;

use trimtab_core::units::{Span, Time};
use trimtab_simulator::metrics::METRICS_KEPT;

use super::failure::{Failure, FailureKind};
use super::statistic::Sent;

/// Standard resolution: a datum's time is rounded down to the minute.
const MINUTE: Span = Span::mins(1);
/// High resolution: a datum's time is rounded down to the second.
const SECOND: Span = Span::secs(1);
/// Maximum number of stored data (about 100 bytes each). It limits memory; the real
/// CloudWatch has no such limit.
const DATA_MAX: usize = 2_000_000;

/// Identifies a series.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SeriesKey {
    pub(super) namespace: String,
    pub(super) metric: String,
    /// Names and values, sorted by name.
    pub(super) dimensions: Vec<(String, String)>,
}

/// Storage resolution of a datum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resolution {
    Standard,
    High,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Datum {
    pub(super) key: SeriesKey,
    pub(super) at: Time,
    pub(super) resolution: Resolution,
    pub(super) unit: String,
    pub(super) sent: Sent,
}

/// Data of a series, by timestamp.
#[derive(Debug, Default)]
struct Kept {
    /// Position in listings.
    number: usize,
    data: BTreeMap<Time, Vec<(String, Sent)>>,
}

/// The data that clients sent to CloudWatch. A datum can be read immediately.
#[derive(Debug, Default)]
pub(crate) struct MetricStore {
    series: BTreeMap<SeriesKey, Kept>,
    /// All series, in the order in which they were first sent.
    order: Vec<SeriesKey>,
    size: usize,
    requests: u64,
}

impl MetricStore {
    /// Id of the next request: a UUID derived from the number of earlier requests.
    pub(super) fn next_request_id(&mut self) -> String {
        self.requests += 1;
        let n = self.requests;
        format!("00000000-0000-4000-8000-{n:012x}")
    }

    /// Stores all of these data.
    ///
    /// # Errors
    /// If the store would exceed [`DATA_MAX`]; then nothing is stored.
    pub(super) fn put(&mut self, data: Vec<Datum>, now: Time) -> Result<(), Failure> {
        if self.size.saturating_add(data.len()) > DATA_MAX {
            self.forget_before(now - METRICS_KEPT);
        }
        if self.size.saturating_add(data.len()) > DATA_MAX {
            let what = format!("This endpoint stores at most {DATA_MAX} data.");
            return Err(FailureKind::Throttling.because(what));
        }
        self.size += data.len();
        for Datum { key, at, resolution, unit, sent } in data {
            let width = match resolution {
                Resolution::Standard => MINUTE,
                Resolution::High => SECOND,
            };
            let at = Time(at.0.div_euclid(width.0) * width.0);
            let order = &mut self.order;
            let kept = self.series.entry(key).or_insert_with_key(|key| {
                order.push(key.clone());
                Kept { number: order.len() - 1, data: BTreeMap::new() }
            });
            kept.data.entry(at).or_default().push((unit, sent));
        }
        Ok(())
    }

    fn forget_before(&mut self, time: Time) {
        for kept in self.series.values_mut() {
            let newer = kept.data.split_off(&time);
            let older = std::mem::replace(&mut kept.data, newer);
            self.size -= older.values().map(Vec::len).sum::<usize>();
        }
    }

    /// Data of a series with timestamps within `[from, to)`, with their units.
    pub(super) fn read(
        &self,
        key: &SeriesKey,
        from: Time,
        to: Time,
    ) -> impl Iterator<Item = (Time, &str, &Sent)> {
        let kept = self.series.get(key).filter(|_| from < to);
        let range = kept.into_iter().flat_map(move |kept| kept.data.range(from..to));
        range.flat_map(|(at, data)| data.iter().map(|(unit, sent)| (*at, unit.as_str(), sent)))
    }

    /// All series after position `after`, each with its position and newest timestamp.
    pub(super) fn list(
        &self,
        after: Option<usize>,
    ) -> impl Iterator<Item = (usize, &SeriesKey, Time)> {
        let first = after.map_or(0, |after| after.saturating_add(1));
        self.order.iter().skip(first).filter_map(|key| {
            let kept = self.series.get(key)?;
            let (newest, _) = kept.data.last_key_value()?;
            Some((kept.number, key, *newest))
        })
    }
}
