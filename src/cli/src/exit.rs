//! Exit codes, and the errors that have their own exit code.

use std::process::ExitCode;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0: success; for `trimtab plan`, no changes.
    Ok,
    /// 1: an error without its own code.
    Failed,
    /// 2: `trimtab plan` has changes.
    Changes,
    /// 64: invalid command line.
    Usage,
    /// 69: a required service or program is not available.
    Unavailable,
    /// 77: access denied.
    Denied,
    /// 78: invalid configuration.
    Configuration,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Ok => 0,
            Exit::Failed => 1,
            Exit::Changes => 2,
            Exit::Usage => 64,
            Exit::Unavailable => 69,
            Exit::Denied => 77,
            Exit::Configuration => 78,
        })
    }
}

/// A required service or program is not available: exit code 69.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unavailable(pub(crate) String);

/// Access denied: exit code 77.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Denied(pub(crate) String);

/// A cluster or program does not match the configuration: exit code 78.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Misplaced(pub(crate) String);
