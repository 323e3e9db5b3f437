//! Recorded demand of real clusters, in the CSV form that backtests read.
//!
//! There are two kinds of table, with times in seconds from the start of the trace: job tables
//! ([`JOB_HEADER`]) and node curves ([`CURVE_HEADER`]). A node curve is a step function, given by
//! its change points. [`demand_curve`] turns jobs into a curve.
//!
//! Limits: plain comma-separated text without quotes. The caller reads and decompresses files, and
//! knows the calendar date at which the trace starts. One invalid row rejects the whole trace,
//! because a backtest of the remaining rows would look as good as one of all rows.

use std::collections::BTreeMap;

use crate::ids::PartitionName;
use crate::packing::{JOB_NODES_MAX, Need, Packer};
use crate::text::start;
use crate::units::{MilliGpus, NodeCount, Span};

/// First line of a job table.
pub const JOB_HEADER: &str = "submit_s,start_s,end_s,nodes,gpus,partition";
/// First line of a node curve.
pub const CURVE_HEADER: &str = "time_s,partition,nodes_busy,nodes_total";

/// One recorded job. Times count from the start of the trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceJob {
    /// Time of submission; never after `start`.
    pub submit: Span,
    /// Time at which the job started to run.
    pub start: Span,
    /// Time at which the job ended; never before `start`. [`Span::FOREVER`] if it did not end.
    pub end: Span,
    /// Nodes of the job, 1 to [`JOB_NODES_MAX`].
    pub nodes: NodeCount,
    /// GPUs of the whole job. A fraction of one GPU is allowed.
    pub gpus: MilliGpus,
    /// Partition (queue) to which the job was submitted.
    pub partition: PartitionName,
}

impl TraceJob {
    /// Returns the nodes and GPUs that the job asks for.
    pub const fn need(&self) -> Need {
        Need { nodes: self.nodes, gpus: self.gpus }
    }
}

/// Busy nodes of one partition over time: a step function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeCurve {
    /// Partition of the nodes.
    pub partition: PartitionName,
    /// Change points, strictly ascending in time; never empty. The value before the first point is
    /// unknown.
    pub points: Vec<CurvePoint>,
}

/// Value of a curve from one time until its next point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CurvePoint {
    /// Start, counted from the start of the trace.
    pub at: Span,
    /// Nodes with a job; at most `total`.
    pub busy: NodeCount,
    /// All nodes of the partition.
    pub total: NodeCount,
}

/// Why a text is not a valid trace. Lines count from 1, with the header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// The first line is not the header of this kind of table.
    #[error("line 1 is `{found}`, expected the header `{expected}`")]
    Header {
        /// The line as given, cut to 80 characters.
        found: String,
        /// Header of this kind of table.
        expected: &'static str,
    },
    /// A row has too few or too many fields.
    #[error("line {line} has {found} fields, expected {expected}")]
    Fields {
        /// Line number.
        line: usize,
        /// Fields in the row.
        found: usize,
        /// Fields in the header.
        expected: usize,
    },
    /// A field has an invalid value.
    #[error("line {line}: invalid {column} `{value}`: expected {expected}")]
    Value {
        /// Line number.
        line: usize,
        /// Name of the column in the header.
        column: &'static str,
        /// The field as given, cut to 80 characters.
        value: String,
        /// Description of a valid value.
        expected: String,
    },
}

/// Parses a job table. Returns the jobs in order of submission; jobs of equal time stay in order
/// of their rows.
///
/// Times may have decimals and are rounded to the nearest millisecond; times above
/// [`Span::FOREVER`] are read as [`Span::FOREVER`]. A `submit_s` after `start_s` is read as
/// `start_s`.
///
/// # Errors
/// Returns the first invalid line: a wrong header, a wrong number of fields, a number that is
/// invalid, not finite, negative or too large for its column, an end before its start, or an
/// invalid partition name.
pub fn parse_jobs(text: &str) -> Result<Vec<TraceJob>, TraceError> {
    let mut names = Names::default();
    let mut jobs = Vec::new();
    for row in rows::<6>(text, JOB_HEADER)? {
        let row = row?;
        let [submit, start, end, nodes, gpus, partition] = row.fields;
        let start_text = start;
        let start = row.seconds("start_s", start)?;
        let ends = row.seconds("end_s", end)?;
        if ends < start {
            return Err(row.wrong("end_s", end, format!("start_s ({start_text}) or later")));
        }
        jobs.push(TraceJob {
            submit: row.seconds("submit_s", submit)?.min(start),
            start,
            end: ends,
            nodes: row.nodes("nodes", nodes, NodeCount(1))?,
            gpus: row.gpus("gpus", gpus)?,
            partition: names.name(&row, partition)?,
        });
    }
    jobs.sort_by_key(|job| job.submit);
    Ok(jobs)
}

/// Returns the job table of these jobs, in the given order. [`parse_jobs`] reads it back.
pub fn write_jobs<'a>(jobs: impl IntoIterator<Item = &'a TraceJob>) -> String {
    let mut text = format!("{JOB_HEADER}\n");
    for job in jobs {
        let TraceJob { submit, start, end, nodes, gpus, partition } = job;
        let fields = [
            seconds(*submit),
            seconds(*start),
            seconds(*end),
            nodes.to_string(),
            decimal(i64::from(gpus.0)),
            partition.to_string(),
        ];
        text.push_str(&fields.join(","));
        text.push('\n');
    }
    text
}

fn seconds(span: Span) -> String {
    // Reads back as [`Span::FOREVER`], whatever its value is.
    if span.is_forever() { "1e300".to_owned() } else { decimal(span.0.max(0)) }
}

/// Formats thousandths as a decimal number; without decimals if there are none.
fn decimal(thousandths: i64) -> String {
    match (thousandths / 1000, thousandths % 1000) {
        (whole, 0) => whole.to_string(),
        (whole, rest) => format!("{whole}.{rest:03}"),
    }
}

/// Parses a table of node curves. Returns one curve per partition, in order of the partition
/// names. Rows may be in any order. Of several rows of one time the last one counts; rows that
/// change nothing are left out.
///
/// # Errors
/// The errors of [`parse_jobs`], and a row with more busy nodes than nodes.
pub fn parse_curves(text: &str) -> Result<Vec<NodeCurve>, TraceError> {
    let mut names = Names::default();
    let mut curves: BTreeMap<PartitionName, Vec<CurvePoint>> = BTreeMap::new();
    for row in rows::<4>(text, CURVE_HEADER)? {
        let row = row?;
        let [at, partition, busy, total] = row.fields;
        let point = CurvePoint {
            at: row.seconds("time_s", at)?,
            busy: row.nodes("nodes_busy", busy, NodeCount::ZERO)?,
            total: row.nodes("nodes_total", total, NodeCount::ZERO)?,
        };
        if point.busy > point.total {
            return Err(row.wrong("nodes_busy", busy, format!("at most nodes_total ({total})")));
        }
        curves.entry(names.name(&row, partition)?).or_default().push(point);
    }
    let curve = |(partition, mut rows): (_, Vec<CurvePoint>)| {
        rows.sort_by_key(|point| point.at);
        let mut points: Vec<CurvePoint> = Vec::with_capacity(rows.len());
        for (i, point) in rows.iter().enumerate() {
            let holds = rows.get(i + 1).is_none_or(|next| next.at > point.at);
            let changes =
                points.last().is_none_or(|p| (p.busy, p.total) != (point.busy, point.total));
            if holds && changes {
                points.push(*point);
            }
        }
        NodeCurve { partition, points }
    };
    Ok(curves.into_iter().map(curve).collect())
}

/// End or start of a job. Ends sort first, so that a job can start on a node that another job
/// leaves at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    End,
    Start,
}

/// Returns the nodes that these jobs keep busy, packed by a [`Packer`]: change points only, zero
/// before the first one. Jobs that start at the same time are placed in the given order. Jobs of
/// length zero do not count; jobs that never end stay.
///
/// Partitions are ignored: pass the jobs of one group of nodes.
pub fn demand_curve<'a>(
    jobs: impl IntoIterator<Item = &'a TraceJob>,
    gpus_per_node: MilliGpus,
) -> Vec<(Span, NodeCount)> {
    let mut steps = Vec::new();
    for (key, job) in (0u64..).zip(jobs) {
        if job.start < job.end {
            steps.push((job.start, Step::Start, key, job.need()));
            if !job.end.is_forever() {
                steps.push((job.end, Step::End, key, job.need()));
            }
        }
    }
    steps.sort_unstable();
    let mut packer = Packer::new(gpus_per_node);
    let mut curve: Vec<(Span, NodeCount)> = Vec::new();
    for instant in steps.chunk_by(|a, b| a.0 == b.0) {
        for (_, step, key, need) in instant {
            match step {
                Step::End => packer.free(*key),
                Step::Start => {
                    packer.place(*key, *need);
                }
            }
        }
        let before = curve.last().map_or(NodeCount::ZERO, |(_, busy)| *busy);
        if packer.busy() != before {
            curve.extend(instant.first().map(|(at, ..)| (*at, packer.busy())));
        }
    }
    curve
}

/// One row with as many fields as its header.
struct Row<'t, const N: usize> {
    line: usize,
    fields: [&'t str; N],
}

/// Returns the rows after the header. Blank lines are skipped.
fn rows<'t, const N: usize>(
    text: &'t str,
    expected: &'static str,
) -> Result<impl Iterator<Item = Result<Row<'t, N>, TraceError>>, TraceError> {
    // Some spreadsheets write a byte-order mark first.
    let mut lines = text.strip_prefix('\u{feff}').unwrap_or(text).lines();
    let header = lines.next().unwrap_or_default().trim();
    if header != expected {
        return Err(TraceError::Header { found: excerpt(header), expected });
    }
    let numbered = (2..).zip(lines).filter(|(_, text)| !text.trim().is_empty());
    Ok(numbered.map(|(line, text)| {
        let mut fields = [""; N];
        let mut found = 0;
        for field in text.split(',') {
            if let Some(place) = fields.get_mut(found) {
                *place = field.trim();
            }
            found += 1;
        }
        if found == N {
            Ok(Row { line, fields })
        } else {
            Err(TraceError::Fields { line, found, expected: N })
        }
    }))
}

impl<const N: usize> Row<'_, N> {
    fn wrong(&self, column: &'static str, value: &str, expected: String) -> TraceError {
        TraceError::Value { line: self.line, column, value: excerpt(value), expected }
    }

    /// Parses a number and returns it in thousandths, rounded to the nearest.
    fn thousandths(&self, column: &'static str, text: &str) -> Result<f64, TraceError> {
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() && number >= 0.0 => Ok((number * 1000.0).round()),
            Ok(_) | Err(_) => Err(self.wrong(column, text, "a number, 0 or more".to_owned())),
        }
    }

    fn seconds(&self, column: &'static str, text: &str) -> Result<Span, TraceError> {
        let millis = match text.parse::<u32>() {
            Ok(secs) => i64::from(secs) * 1000,
            // `as` saturates at the largest number, which is above [`Span::FOREVER`].
            Err(_) => self.thousandths(column, text)? as i64,
        };
        Ok(Span::millis(millis).min(Span::FOREVER))
    }

    fn nodes(
        &self,
        column: &'static str,
        text: &str,
        least: NodeCount,
    ) -> Result<NodeCount, TraceError> {
        let range = least..=JOB_NODES_MAX;
        match text.parse().map(NodeCount) {
            Ok(nodes) if range.contains(&nodes) => Ok(nodes),
            Ok(_) | Err(_) => {
                let expected = format!("a whole number, {least} to {JOB_NODES_MAX}");
                Err(self.wrong(column, text, expected))
            }
        }
    }

    /// A part below one thousandth counts as one thousandth: 0 would mean whole nodes.
    fn gpus(&self, column: &'static str, text: &str) -> Result<MilliGpus, TraceError> {
        let millis = self.thousandths(column, text)?;
        if millis > f64::from(u32::MAX) {
            return Err(self.wrong(column, text, format!("at most {} GPUs", u32::MAX / 1000)));
        }
        let names_some = text.bytes().any(|b| matches!(b, b'1'..=b'9'));
        Ok(MilliGpus((millis as u32).max(u32::from(names_some))))
    }
}

/// Partition names seen so far. A trace has few, so each is stored once.
#[derive(Default)]
struct Names<'t>(BTreeMap<&'t str, PartitionName>);

impl<'t> Names<'t> {
    fn name<const N: usize>(
        &mut self,
        row: &Row<'t, N>,
        text: &'t str,
    ) -> Result<PartitionName, TraceError> {
        if let Some(name) = self.0.get(text) {
            return Ok(name.clone());
        }
        let wrong = |e: crate::ids::ParseIdError| row.wrong("partition", text, e.wanted.to_owned());
        let name: PartitionName = text.parse().map_err(wrong)?;
        self.0.insert(text, name.clone());
        Ok(name)
    }
}

/// Returns the first 80 characters, so that an error stays short.
fn excerpt(text: &str) -> String {
    start(text, 80)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn jobs(rows: &str) -> Result<Vec<TraceJob>, TraceError> {
        parse_jobs(&format!("{JOB_HEADER}\n{rows}"))
    }

    fn curves(rows: &str) -> Result<Vec<NodeCurve>, TraceError> {
        parse_curves(&format!("{CURVE_HEADER}\n{rows}"))
    }

    /// A curve as text: `0:1 5:2` means one node from second 0 and two from second 5.
    fn demand(rows: &str, gpus_per_node: u32) -> String {
        let jobs = jobs(rows).expect("a table");
        let curve = demand_curve(&jobs, MilliGpus::whole(gpus_per_node));
        let points: Vec<String> =
            curve.iter().map(|(at, busy)| format!("{}:{busy}", at.as_secs())).collect();
        points.join(" ")
    }

    #[test]
    fn jobs_come_by_submit_and_row() {
        let jobs = jobs("9,9,12,2,16,b\r\n\n 3 , 4.5, 1e300,1,0.46,a\n9,7,7,1,0.0001,a\n");
        let jobs = jobs.expect("a table");
        let times: Vec<_> = jobs.iter().map(|j| (j.submit.0, j.start.0, j.end)).collect();
        assert_eq!(
            times,
            [
                (3_000, 4_500, Span::FOREVER),
                (7_000, 7_000, Span::secs(7)),
                (9_000, 9_000, Span::secs(12)),
            ]
        );
        let gpus: Vec<_> = jobs.iter().map(|job| job.gpus.0).collect();
        assert_eq!(gpus, [460, 1, 16_000]);
        assert_eq!((jobs[2].nodes, jobs[2].partition.as_str()), (NodeCount(2), "b"));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let table = format!(
            "{JOB_HEADER}\n0,0,12,2,16,b\n3,4.500,1e300,1,0.460,a\n3,7,7.001,100000,0.001,c-d\n"
        );
        let read = parse_jobs(&table).expect("a table");
        assert_eq!(write_jobs(&read), table);
        assert_eq!(write_jobs([]), format!("{JOB_HEADER}\n"));
    }

    #[test]
    fn errors_name_line_column_value_and_what_was_expected() {
        for case in [
            "0,0,1,1,8 => line 2 has 5 fields, expected 6",
            "\n0,0,1,1,8,a,b => line 3 has 7 fields, expected 6",
            "x,0,1,1,8,a => line 2: invalid submit_s `x`: expected a number, 0 or more",
            "0,NaN,1,1,8,a => line 2: invalid start_s `NaN`: expected a number, 0 or more",
            "0,0,,1,8,a => line 2: invalid end_s ``: expected a number, 0 or more",
            "0,0,inf,1,8,a => line 2: invalid end_s `inf`: expected a number, 0 or more",
            "1,1,1,1,8,a\n-1,0,1,1,8,a => line 3: invalid submit_s `-1`: expected a number",
            "0,5,4,1,8,a => line 2: invalid end_s `4`: expected start_s (5) or later",
            "0,0,1,0,8,a => line 2: invalid nodes `0`: expected a whole number, 1 to 100000",
            "0,0,1,1.5,8,a => line 2: invalid nodes `1.5`: expected a whole number, 1 to 100000",
            "0,0,1,999999,8,a => line 2: invalid nodes `999999`: expected a whole number, 1 to",
            "0,0,1,1,-8,a => line 2: invalid gpus `-8`: expected a number, 0 or more",
            "0,0,1,1,1e9,a => line 2: invalid gpus `1e9`: expected at most 4294967 GPUs",
            "0,0,1,1,8,a b => line 2: invalid partition `a b`: expected a partition name",
        ] {
            let (rows, want) = case.split_once(" => ").expect("two parts");
            let error = jobs(rows).expect_err(rows).to_string();
            assert!(error.starts_with(want), "{error}");
        }
        let e = parse_jobs(CURVE_HEADER).expect_err("another kind").to_string();
        assert_eq!(e, format!("line 1 is `{CURVE_HEADER}`, expected the header `{JOB_HEADER}`"));
        assert!(parse_curves("").is_err());
        let e = curves("0,a,3,2").expect_err("more than all").to_string();
        assert_eq!(e, "line 2: invalid nodes_busy `3`: expected at most nodes_total (2)");
    }

    #[test]
    fn curves_keep_their_change_points_by_partition() {
        let curves = curves("60,b,1,4\n0,b,1,4\n0,a,0,2\n90,b,3,4\n90,b,2,4").expect("a table");
        let points = |i: usize| {
            let points = curves[i].points.iter();
            points.map(|p| (p.at.as_secs(), p.busy.0, p.total.0)).collect::<Vec<_>>()
        };
        assert_eq!(points(0), [(0, 0, 2)]);
        assert_eq!(points(1), [(0, 1, 4), (90, 2, 4)]);
        assert_eq!((curves.len(), curves[1].partition.as_str()), (2, "b"));
        assert_eq!(super::parse_curves(CURVE_HEADER), Ok(Vec::new()));
    }

    #[test]
    fn demand_is_packed_and_ends_come_before_starts() {
        assert_eq!(demand("0,5,9,1,4,a\n1,5,20,1,4,a\n2,6,9,1,4,a", 8), "5:1 6:2 9:1 20:0");
        assert_eq!(demand("0,0,10,2,16,a\n0,10,20,2,16,a", 8), "0:2 20:0", "no gap, no peak");
        assert_eq!(demand("0,0,10,1,20,a\n0,3,3,1,8,a\n0,4,1e300,1,0.5,a", 8), "0:3 4:4 10:1");
        assert_eq!(demand("0,0,10,1,0,a\n0,2,10,3,0,a", 0), "0:1 2:4 10:0");
        assert_eq!(demand("", 8), "");
    }

    proptest! {
        /// CPU nodes are not shared, so demand is a plain sum. With GPUs, demand is at most that
        /// sum and at least what the GPUs in use fill.
        #[test]
        fn demand_lies_between_the_gpus_in_use_and_the_jobs_alone(
            table in prop::collection::vec((0u32..60, 0u32..30, 1u32..4, 0u32..24_000), 0..40),
        ) {
            let row = |(start, length, nodes, gpus): &(u32, u32, u32, u32)| {
                let gpus = f64::from(*gpus) / 1000.0;
                format!("{start},{start},{},{nodes},{gpus},p\n", start + length)
            };
            let jobs = jobs(&table.iter().map(row).collect::<String>()).expect("a table");
            let (cpu, gpu) =
                (demand_curve(&jobs, MilliGpus(0)), demand_curve(&jobs, MilliGpus::whole(8)));
            for curve in [&cpu, &gpu] {
                prop_assert!(curve.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 != w[1].1));
                prop_assert_eq!(curve.last().map_or(NodeCount::ZERO, |last| last.1), NodeCount(0));
            }
            for now in (0..100).map(Span::secs) {
                let at = |curve: &[(Span, NodeCount)]| {
                    let known = curve.iter().rev().find(|(at, _)| *at <= now);
                    known.map_or(0, |(_, busy)| busy.0)
                };
                let running = jobs.iter().filter(|job| job.start <= now && now < job.end);
                let nodes: u32 = running.clone().map(|job| job.nodes.0).sum();
                let gpus: u32 = running.clone().map(|job| job.gpus.0).sum();
                let alone = running.map(|job| job.nodes.0.max(job.gpus.0.div_ceil(8_000))).sum();
                prop_assert_eq!(at(&cpu), nodes);
                prop_assert!(at(&gpu) >= gpus.div_ceil(8_000) && at(&gpu) <= alone);
            }
        }
    }
}
