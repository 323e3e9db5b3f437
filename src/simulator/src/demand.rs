//! Jobs of a world: single jobs, random streams and recorded loads.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

use trimtab_core::ids::PartitionName;
use trimtab_core::trace::{TraceError, TraceJob, parse_jobs};
use trimtab_core::units::{MilliGpus, NodeCount, Span, Time};

use crate::rng::{Rng, Stream, exp};
use crate::spec::{GenerateSpec, SpecError, TraceSpec, WorldSpec};

/// Maximum number of random jobs in one stream. It keeps a typing error from filling the memory.
const GENERATED_MAX: usize = 5_000_000;

/// A job, as it will be submitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) submit: Time,
    /// Earliest start time that the job asks for.
    pub(crate) begin: Time,
    /// Time until which the job is held.
    pub(crate) held_until: Time,
    pub(crate) length: Span,
    pub(crate) nodes: NodeCount,
    pub(crate) gpus: MilliGpus,
    pub(crate) partition: PartitionName,
}

/// Error while reading a recorded load.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("{path}: {why}")]
    File { path: String, why: std::io::Error },
    /// The text is not a valid job table.
    #[error("{path}: {why}")]
    Trace { path: String, why: TraceError },
}

/// Reads a job table from a `.csv` or `.csv.gz` file.
///
/// # Errors
/// If the file cannot be read or is not a valid job table.
pub fn read_trace(path: &Path) -> Result<Vec<TraceJob>, LoadError> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|why| LoadError::File { path: name.clone(), why })?;
    parse_trace(&name, &bytes)
}

/// Parses a job table; a `name` that ends in `.gz` means compressed bytes.
///
/// # Errors
/// If the bytes are not a valid job table.
pub fn parse_trace(name: &str, bytes: &[u8]) -> Result<Vec<TraceJob>, LoadError> {
    let file = |why| LoadError::File { path: name.to_owned(), why };
    let mut text = String::new();
    let mut plain = bytes;
    let read = if name.ends_with(".gz") {
        flate2::read::GzDecoder::new(bytes).read_to_string(&mut text)
    } else {
        plain.read_to_string(&mut text)
    };
    read.map_err(file)?;
    parse_jobs(&text).map_err(|why| LoadError::Trace { path: name.to_owned(), why })
}

/// Selects the part of a recorded load that a world replays. Times are counted from the start of
/// the first day. A job that began earlier and ends later is submitted at the start with its
/// remaining length.
pub fn choose_jobs(jobs: &[TraceJob], trace: &TraceSpec, seed: u64) -> Vec<TraceJob> {
    let from = Span::hours(24).times(i64::from(trace.from_day));
    let to = from + Span::hours(24).times(i64::from(trace.days));
    let wanted = |job: &&TraceJob| {
        (trace.partitions.is_empty() || trace.partitions.contains(&job.partition))
            && job.submit < to
            && job.end > from
            && job.start < job.end
    };
    let mut chosen = vec![];
    for (n, job) in (0u64..).zip(jobs.iter().filter(wanted)) {
        let mut rng = Rng::new(seed, Stream::Trace, n);
        let whole = trace.scale.floor();
        let copies = whole as u64 + u64::from(rng.unit() < trace.scale - whole);
        for copy in 0..copies {
            // Copies are shifted by up to one hour, so that they do not all arrive together.
            let shift = if copy == 0 { Span::ZERO } else { Span(rng.below(3_600_000) as i64) };
            let left = job.end - job.start.max(from);
            let submit = (job.submit - from).max(Span::ZERO) + shift;
            let partition = trace.into.clone().unwrap_or_else(|| job.partition.clone());
            chosen.push(TraceJob {
                submit,
                start: submit,
                end: if job.end.is_forever() { Span::FOREVER } else { submit + left },
                nodes: job.nodes,
                gpus: job.gpus,
                partition,
            });
        }
    }
    chosen.sort_by_key(|job| job.submit);
    chosen
}

impl WorldSpec {
    /// Loads and selects the recorded load of this world from `dir`. Returns no jobs if the spec
    /// has no trace.
    ///
    /// # Errors
    /// If the file cannot be read or is not a valid job table.
    pub fn load_trace(&self, dir: &Path) -> Result<Vec<TraceJob>, LoadError> {
        let Some(trace) = &self.trace else { return Ok(vec![]) };
        let into = trace.into.clone().or_else(|| self.first_partition());
        let trace = TraceSpec { into, ..trace.clone() };
        Ok(choose_jobs(&read_trace(&dir.join(&trace.path))?, &trace, self.seed))
    }
}

/// Returns all jobs of a world in submission order.
pub(crate) fn orders(spec: &WorldSpec, recorded: &[TraceJob]) -> Result<Vec<Order>, SpecError> {
    let first = spec.first_partition();
    let partition = |named: &Option<PartitionName>| {
        let none = || SpecError::one("no worker group can run the jobs: add one".to_owned());
        named.clone().or_else(|| first.clone()).ok_or_else(none)
    };
    let mut orders = vec![];
    for job in &spec.jobs {
        let submit = spec.start + job.at;
        orders.push(Order {
            submit,
            begin: submit + job.begin_after,
            held_until: submit + job.held_for,
            length: job.length,
            nodes: job.nodes.max(NodeCount(1)),
            gpus: milli_gpus(job.gpus),
            partition: partition(&job.partition)?,
        });
    }
    for job in recorded {
        let submit = spec.start + job.submit;
        orders.push(Order {
            submit,
            begin: submit,
            held_until: submit,
            length: if job.end.is_forever() { Span::FOREVER } else { job.end - job.start },
            nodes: job.nodes,
            gpus: job.gpus,
            partition: job.partition.clone(),
        });
    }
    for (n, stream) in (0u64..).zip(&spec.generators) {
        let partition = partition(&stream.partition)?;
        generate(spec, stream, &partition, &mut Rng::new(spec.seed, Stream::Jobs, n), &mut orders);
    }
    orders.sort_by_key(|order| order.submit);
    let partitions: BTreeSet<PartitionName> = spec.partitions().collect();
    match orders.iter().find(|order| !partitions.contains(&order.partition)) {
        None => Ok(orders),
        Some(Order { partition, .. }) => {
            Err(SpecError::one(format!("job partition `{partition}` has no worker group")))
        }
    }
}

fn generate(
    spec: &WorldSpec,
    stream: &GenerateSpec,
    partition: &PartitionName,
    rng: &mut Rng,
    orders: &mut Vec<Order>,
) {
    let peak = stream.busy_hours.map_or(1.0, |hours| hours.factor);
    let mean = stream.busy_hours.map_or(1.0, |hours| {
        let busy = f64::from(hours.to - hours.from) / 24.0;
        busy * hours.factor + 1.0 - busy
    });
    let arrivals = stream.per_day / f64::from(stream.burst);
    if arrivals <= 0.0 {
        return;
    }
    let weights: u64 = stream.mix.iter().map(|kind| u64::from(kind.weight)).sum();
    let mut at = spec.start;
    for _ in 0..GENERATED_MAX {
        // Arrivals are drawn at the peak rate; outside the busy hours some are skipped.
        at = at + rng.until_next(arrivals * peak / mean);
        if at >= spec.end() {
            return;
        }
        let hour = at.0.div_euclid(3_600_000).rem_euclid(24);
        let is_busy = stream
            .busy_hours
            .is_none_or(|hours| (i64::from(hours.from)..i64::from(hours.to)).contains(&hour));
        if !is_busy && rng.unit() >= 1.0 / peak {
            continue;
        }
        for _ in 0..stream.burst {
            let factor = exp(stream.length_spread * rng.normal());
            let length = Span((stream.length_median.0 as f64 * factor).min(1e15) as i64);
            let mut left = rng.below(weights);
            let kind = stream.mix.iter().find(|kind| {
                let hit = left < u64::from(kind.weight);
                left = left.saturating_sub(u64::from(kind.weight));
                hit
            });
            orders.push(Order {
                submit: at,
                begin: at,
                held_until: at,
                length: length.max(stream.length_min).min(stream.length_max),
                nodes: kind.map_or(NodeCount(1), |kind| kind.nodes.max(NodeCount(1))),
                gpus: kind.map_or(MilliGpus(0), |kind| milli_gpus(kind.gpus)),
                partition: partition.clone(),
            });
        }
    }
}

/// Converts GPUs to thousandths. A positive number becomes at least one thousandth.
fn milli_gpus(gpus: f64) -> MilliGpus {
    let millis = (gpus * 1000.0).round() as u32;
    MilliGpus(if gpus > 0.0 { millis.max(1) } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> WorldSpec {
        let group = "[[group]]\nname = \"gpu\"\ncount = 4\ngpus_per_node = 8\n";
        WorldSpec::parse(&format!("{text}\n{group}"), "w.toml").expect("a world")
    }

    #[test]
    fn random_jobs_come_as_often_and_run_as_long_as_asked() {
        let spec = spec(
            "duration = \"100d\"\n[[generate]]\nper_day = 50\nlength_median = \"30m\"\n\
             busy_hours = { from = 8, to = 20, factor = 3 }\n\
             mix = [{ weight = 3, gpus = 1 }, { weight = 1, nodes = 2, gpus = 16 }]",
        );
        let orders = orders(&spec, &[]).expect("jobs");
        assert!((4_500..5_500).contains(&orders.len()), "{}", orders.len());
        let mut lengths: Vec<i64> = orders.iter().map(|order| order.length.as_secs()).collect();
        lengths.sort_unstable();
        let median = lengths[lengths.len() / 2];
        assert!((1_600..2_000).contains(&median), "{median}");
        assert!(lengths[lengths.len() * 95 / 100] > 10 * median, "a heavy tail");
        let wide = orders.iter().filter(|order| order.nodes == NodeCount(2)).count();
        assert!((wide * 100 / orders.len()).abs_diff(25) < 4, "{wide}");
        let day = |order: &&Order| (8..20).contains(&(order.submit.0 / 3_600_000 % 24));
        let by_day = orders.iter().filter(day).count() * 100 / orders.len();
        assert!(by_day.abs_diff(75) < 4, "{by_day}");
    }

    #[test]
    fn a_recorded_load_is_cut_to_its_days_and_scaled() {
        let day = 86_400;
        let text = format!(
            "submit_s,start_s,end_s,nodes,gpus,partition\n0,0,{long},1,1,a\n{at},{at},{end},1,1,a\n\
             {at},{at},{end},1,1,b\n0,0,5,1,1,a\n{late},{late},{late2},1,1,a\n",
            long = 3 * day,
            at = day + 60,
            end = day + 120,
            late = 2 * day,
            late2 = 2 * day + 9,
        );
        let jobs = parse_jobs(&text).expect("a table");
        let mut trace = TraceSpec {
            path: String::new(),
            partitions: vec!["a".parse().expect("valid")],
            from_day: 1,
            days: 1,
            scale: 1.0,
            into: Some("gpu".parse().expect("valid")),
        };
        let chosen = choose_jobs(&jobs, &trace, 1);
        let times: Vec<_> = chosen.iter().map(|j| (j.submit.as_secs(), j.end.as_secs())).collect();
        assert_eq!(times, [(0, 2 * day), (60, 120)]);
        assert!(chosen.iter().all(|job| job.partition.as_str() == "gpu"));
        trace.scale = 2.0;
        assert_eq!(choose_jobs(&jobs, &trace, 1).len(), 4);
        trace.scale = 0.0;
        assert_eq!(choose_jobs(&jobs, &trace, 1), []);
    }
}
