//! Why a port could not read, write or say whether trimtab may act.

use std::io;
use std::sync::Arc;

/// Why something could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The service asked us to slow down.
    #[error("throttled by {0}")]
    Throttled(Arc<str>),
    /// No answer in time.
    #[error("no answer from {0}")]
    NoAnswer(Arc<str>),
    /// The service said no.
    #[error("refused: {0}")]
    Refused(Arc<str>),
    /// The service says that we may not.
    #[error("denied: {0}")]
    Denied(Arc<str>),
    /// It is not where the configuration says it is.
    #[error("{0}")]
    Elsewhere(Arc<str>),
    /// The answer made no sense.
    #[error("unreadable answer: {0}")]
    Unreadable(Arc<str>),
}

/// Why a cordon could not be put on or taken off.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The read that comes before the write failed, so the write was not sent.
    #[error(transparent)]
    NotSent(#[from] ReadError),
    /// The service asked us to slow down. A later try may succeed.
    #[error("throttled by {0}")]
    Throttled(Arc<str>),
    /// The service refused the write. Of a write for several nodes, it may have carried out
    /// a part.
    #[error("refused: {0}")]
    Refused(Arc<str>),
    /// This account may not write. Only an operator can change that.
    #[error("denied: {0}")]
    Denied(Arc<str>),
    /// No answer in time. The write may have been carried out.
    #[error("no answer from {0}")]
    NoAnswer(Arc<str>),
    /// The answer made no sense. The write may have been carried out.
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

/// Why the lease is not ours, as far as is known.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Another process may hold it.
    #[error("refused: {0}")]
    Lost(Arc<str>),
    /// Whether it is ours could not be read.
    #[error("unreadable answer: {what}: {source}")]
    Unreadable {
        /// What was read.
        what: &'static str,
        /// Why it could not be read.
        source: io::Error,
    },
}
