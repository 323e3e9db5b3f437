//! Why the world could not be read.

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
