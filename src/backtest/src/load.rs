//! Reads trace files: job tables, node curves and the Standard Workload Format, with or without
//! gzip. The format is recognised from the content.

use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;
use trimtab_core::text::start;
use trimtab_core::trace::{
    CURVE_HEADER, JOB_HEADER, NodeCurve, TraceError, TraceJob, parse_curves, parse_jobs,
};

use crate::swf::{self, SwfError, Workload};

/// Limit on the text of one file, unpacked, in bytes. The largest public workloads have a tenth
/// of that.
const TEXT_MAX: u64 = 4 << 30;

/// Content of a trace file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trace {
    /// Jobs that use GPUs.
    Jobs(Vec<TraceJob>),
    /// Nodes in use, by partition.
    Curves(Vec<NodeCurve>),
    /// Jobs that use processors.
    Swf(Workload),
}

/// Why a file cannot be read as a trace.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read or unpacked.
    #[error("{path}: {why}")]
    File { path: String, why: std::io::Error },
    /// The unpacked text exceeds the limit.
    #[error("{path} unpacks to more than 4 GiB")]
    TooLong { path: String },
    /// The format is not recognised.
    #[error(
        "{path} is not a trace: its first line is `{found}`; expected `{JOB_HEADER}`, \
         `{CURVE_HEADER}`, or the Standard Workload Format, which begins with `;` or a job of 18 \
         numbers"
    )]
    NoTrace {
        path: String,
        /// First line, shortened.
        found: String,
    },
    /// A line of a table is invalid.
    #[error("{path}: {why}")]
    Table { path: String, why: TraceError },
    /// A line in the Standard Workload Format is invalid.
    #[error("{path}: {why}")]
    Swf { path: String, why: SwfError },
}

/// Reads a trace file.
///
/// # Errors
/// When the file cannot be read or is not a trace.
pub fn read(path: &Path) -> Result<Trace, LoadError> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|why| LoadError::File { path: name.clone(), why })?;
    parse(&name, &bytes)
}

/// Parses the content of a trace file. `name` appears in errors.
///
/// # Errors
/// When the bytes are not a trace.
pub fn parse(name: &str, bytes: &[u8]) -> Result<Trace, LoadError> {
    const GZIP: [u8; 2] = [0x1f, 0x8b];
    let path = || name.to_owned();
    let mut text = String::new();
    let read = if bytes.starts_with(&GZIP) {
        MultiGzDecoder::new(bytes).take(TEXT_MAX).read_to_string(&mut text)
    } else {
        bytes.take(TEXT_MAX).read_to_string(&mut text)
    };
    let length = read.map_err(|why| LoadError::File { path: path(), why })?;
    if length as u64 >= TEXT_MAX {
        return Err(LoadError::TooLong { path: path() });
    }
    let first = text.strip_prefix('\u{feff}').unwrap_or(&text).lines().next();
    let first = first.unwrap_or_default().trim();
    let table = |why| LoadError::Table { path: path(), why };
    if first == JOB_HEADER {
        parse_jobs(&text).map(Trace::Jobs).map_err(table)
    } else if first == CURVE_HEADER {
        parse_curves(&text).map(Trace::Curves).map_err(table)
    } else if first.starts_with(';') || first.split_whitespace().count() == 18 {
        let swf = |why| LoadError::Swf { path: path(), why };
        swf::parse(&text).map(Trace::Swf).map_err(swf)
    } else {
        Err(LoadError::NoTrace { path: path(), found: start(first, 80) })
    }
}
