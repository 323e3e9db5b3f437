//! Errors of reads, of cordons and of the lease.

use std::io;
use std::sync::Arc;

/// Why a read failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The service asked trimtab to slow down.
    #[error("throttled by {0}")]
    Throttled(Arc<str>),
    /// No answer in time.
    #[error("no answer from {0}")]
    NoAnswer(Arc<str>),
    /// The service refused the read.
    #[error("refused: {0}")]
    Refused(Arc<str>),
    /// trimtab has no permission.
    #[error("denied: {0}")]
    Denied(Arc<str>),
    /// The cluster is not in the configured account or region.
    #[error("{0}")]
    Elsewhere(Arc<str>),
    /// The answer is incomplete or malformed.
    #[error("unreadable answer: {0}")]
    Unreadable(Arc<str>),
}

/// Why a node could not be cordoned or uncordoned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The read that comes before the write failed, so the write was not sent.
    #[error(transparent)]
    NotSent(#[from] ReadError),
    /// The service asked trimtab to slow down. A later write may succeed.
    #[error("throttled by {0}")]
    Throttled(Arc<str>),
    /// The service refused the write. It may have changed some of several nodes.
    #[error("refused: {0}")]
    Refused(Arc<str>),
    /// trimtab has no permission. Only an operator can change that.
    #[error("denied: {0}")]
    Denied(Arc<str>),
    /// No answer in time. The write may have been carried out.
    #[error("no answer from {0}")]
    NoAnswer(Arc<str>),
    /// The answer is incomplete or malformed. The write may have been carried out.
    #[error("unreadable answer: {0}")]
    Unreadable(Arc<str>),
}

impl WriteError {
    /// Returns the error of a write that was sent and failed, for adapters that send reads
    /// and writes the same way.
    pub fn of_sent(failure: ReadError) -> Self {
        match failure {
            ReadError::Throttled(by) => Self::Throttled(by),
            ReadError::Refused(why) | ReadError::Elsewhere(why) => Self::Refused(why),
            ReadError::Denied(why) => Self::Denied(why),
            ReadError::NoAnswer(by) => Self::NoAnswer(by),
            ReadError::Unreadable(why) => Self::Unreadable(why),
        }
    }
}

/// Why trimtab does not hold the lease.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Another process may hold it.
    #[error("refused: {0}")]
    Lost(Arc<str>),
    /// The lease could not be read.
    #[error("unreadable answer: {what}: {source}")]
    Unreadable {
        /// What was read.
        what: &'static str,
        /// Why it could not be read.
        source: io::Error,
    },
}
