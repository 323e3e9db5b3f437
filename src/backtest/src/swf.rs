//! Parses the Standard Workload Format of the Parallel Workloads Archive (Feitelson): one line
//! per job with 18 numbers, -1 for an unknown value, `;` before comments.
//!
//! Processors are treated as GPUs: a job with fewer processors than a node shares the node with
//! others. Jobs that never ran are skipped. Any other invalid line is an error.

use std::collections::BTreeMap;

use trimtab_core::ids::PartitionName;
use trimtab_core::text::start;
use trimtab_core::trace::TraceJob;
use trimtab_core::units::{MilliGpus, NodeCount, Span};

/// Content of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Jobs, ordered by submit time; their GPUs are processors.
    pub jobs: Vec<TraceJob>,
    /// Processors per node, if the header gives the number of both.
    pub processors_per_node: Option<u32>,
    /// Number of jobs that were submitted and never ran.
    pub never_ran: usize,
}

/// Why a text is not a workload. Line numbers start at 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SwfError {
    /// A line has too few or too many numbers.
    #[error("line {line} has {found} fields, expected the 18 of the Standard Workload Format")]
    Fields { line: usize, found: usize },
    /// A field is not a valid number.
    #[error("line {line}, field {field} ({name}): `{value}` is not {expected}")]
    Value {
        line: usize,
        /// Number of the field, from 1.
        field: usize,
        /// Name of the field in the format.
        name: &'static str,
        /// The text, shortened.
        value: String,
        expected: &'static str,
    },
}

/// Numbers of the fields that are read, from 1.
const SUBMIT: usize = 2;
const WAIT: usize = 3;
const RUN: usize = 4;
const ALLOCATED: usize = 5;
const REQUESTED: usize = 8;
const PARTITION: usize = 16;
const FIELDS: usize = 18;

/// Limit on the processors of a job: as many as fit in thousandths into a `u32`.
const PROCESSORS_MAX: i64 = (u32::MAX / 1000) as i64;

/// Parses a workload.
///
/// # Errors
/// At the first line that is neither a job nor a comment.
pub fn parse(text: &str) -> Result<Workload, SwfError> {
    let mut head: BTreeMap<&str, u32> = BTreeMap::new();
    let mut names: BTreeMap<i64, PartitionName> = BTreeMap::new();
    let (mut jobs, mut never_ran) = (vec![], 0);
    // Some editors write a byte-order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (line, text) in (1..).zip(text.lines()) {
        let text = text.trim();
        if let Some(comment) = text.strip_prefix(';') {
            if let Some((key, value)) = comment.split_once(':')
                && let Some(Ok(number)) = value.split_whitespace().next().map(str::parse)
            {
                head.insert(key.trim(), number);
            }
            continue;
        }
        if text.is_empty() {
            continue;
        }
        let fields: Vec<&str> = text.split_whitespace().collect();
        if fields.len() != FIELDS {
            return Err(SwfError::Fields { line, found: fields.len() });
        }
        let job = Line { line, fields: &fields };
        let (wait, run) = (job.number(WAIT, "wait time")?, job.number(RUN, "run time")?);
        let mut named = (ALLOCATED, "allocated processors");
        let mut processors = job.number(named.0, named.1)?;
        if processors.is_none_or(|processors| processors == 0) {
            named = (REQUESTED, "requested processors");
            processors = job.number(named.0, named.1)?;
        }
        let submit = job.number(SUBMIT, "submit time")?;
        let (Some(submit), Some(run), Some(processors)) =
            (submit, run, processors.filter(|processors| *processors > 0))
        else {
            never_ran += 1;
            continue;
        };
        if processors > PROCESSORS_MAX {
            return Err(job.wrong(named.0, named.1, "at most 4294967"));
        }
        let start = Span::secs(submit + wait.unwrap_or(0));
        let partition = job.number(PARTITION, "partition")?.unwrap_or(0);
        let name = names.entry(partition).or_insert_with(|| {
            let name = format!("partition-{partition}");
            name.parse().expect("digits and a hyphen make a name")
        });
        jobs.push(TraceJob {
            submit: Span::secs(submit),
            start,
            end: start + Span::secs(run),
            nodes: NodeCount(1),
            gpus: MilliGpus::whole(u32::try_from(processors).unwrap_or(u32::MAX)),
            partition: name.clone(),
        });
    }
    jobs.sort_by_key(|job| job.submit);
    let processors_per_node = match (head.get("MaxProcs"), head.get("MaxNodes")) {
        (Some(processors), Some(nodes)) if *nodes > 0 => Some((processors / nodes).max(1)),
        (Some(_) | None, _) => None,
    };
    Ok(Workload { jobs, processors_per_node, never_ran })
}

/// The line of one job.
struct Line<'a> {
    line: usize,
    fields: &'a [&'a str],
}

impl Line<'_> {
    /// Returns the number in a field, rounded down; `None` for -1, which means unknown.
    fn number(&self, field: usize, name: &'static str) -> Result<Option<i64>, SwfError> {
        const MOST: f64 = 1e11;
        let text = self.fields.get(field - 1).copied().unwrap_or_default();
        match text.parse::<f64>() {
            Ok(number) if (0.0..=MOST).contains(&number) => Ok(Some(number as i64)),
            Ok(number) if (-1.0..0.0).contains(&number) => Ok(None),
            Ok(_) | Err(_) => Err(self.wrong(field, name, "a number of 0 or more, or -1")),
        }
    }

    fn wrong(&self, field: usize, name: &'static str, expected: &'static str) -> SwfError {
        let text = self.fields.get(field - 1).copied().unwrap_or_default();
        let value = start(text, 80);
        SwfError::Value { line: self.line, field, name, value, expected }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "; Version: 2.2\n;  MaxNodes: 128 (two of them broken)\n; MaxProcs: 512\n";

    #[test]
    fn jobs_wait_run_and_take_processors() {
        let text = format!(
            "{HEAD}\n  1  10  5 100  4 -1 -1  8 -1 -1 1 1 1 1 1 2 -1 -1\n             2 3 -1 60.9 -1 -1 -1 16 -1 -1 1 1 1 1 1 -1 -1 -1\n"
        );
        let workload = parse(&text).expect("a workload");
        assert_eq!((workload.processors_per_node, workload.never_ran), (Some(4), 0));
        let jobs: Vec<_> = workload
            .jobs
            .iter()
            .map(|job| {
                let times = [job.submit, job.start, job.end].map(Span::as_secs);
                (times, job.gpus.0, job.partition.to_string())
            })
            .collect();
        assert_eq!(
            jobs,
            [
                ([3, 3, 63], 16_000, "partition-0".to_owned()),
                ([10, 15, 115], 4_000, "partition-2".to_owned())
            ]
        );
    }

    #[test]
    fn a_job_that_never_ran_is_counted_and_passed_over() {
        let text = "1 10 5 -1 4 -1 -1 8 -1 -1 5 1 1 1 1 1 -1 -1\n                    2 10 5 60 -1 -1 -1 -1 -1 -1 0 1 1 1 1 1 -1 -1\n";
        let workload = parse(text).expect("a workload");
        assert_eq!((workload.jobs.len(), workload.never_ran), (0, 2));
    }

    #[test]
    fn a_wrong_line_is_named() {
        for (row, said) in [
            ("1 2 3", "line 4 has 3 fields, expected the 18 of the Standard Workload Format"),
            (
                "1 x 5 100 4 -1 -1 8 -1 -1 1 1 1 1 1 2 -1 -1",
                "line 4, field 2 (submit time): `x` is not a number of 0 or more, or -1",
            ),
            (
                "1 0 5 100 9999999 -1 -1 8 -1 -1 1 1 1 1 1 2 -1 -1",
                "line 4, field 5 (allocated processors): `9999999` is not at most 4294967",
            ),
            (
                "1 0 5 1e300 4 -1 -1 8 -1 -1 1 1 1 1 1 2 -1 -1",
                "line 4, field 4 (run time): `1e300` is not a number of 0 or more, or -1",
            ),
        ] {
            let refused = parse(&format!("{HEAD}{row}")).expect_err(row).to_string();
            assert_eq!(refused, said);
        }
    }
}
