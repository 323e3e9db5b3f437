//! Exit codes: a documented enum, and the errors that have a code of their own.

use std::process::ExitCode;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All went well; for `plan`, there is nothing to do.
    Ok,
    /// Something failed.
    Failed,
    /// `plan`: there is something to do.
    Changes,
    /// The command line makes no sense.
    Usage,
    /// Something that is needed is not there.
    Unavailable,
    /// We are not allowed to.
    Denied,
    /// The configuration makes no sense.
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

/// Something that is needed and is not there: exit code 69.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unavailable(pub(crate) String);

/// Something that we may not do: exit code 77.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Denied(pub(crate) String);

/// A cluster that is not where the configuration says it is, or a program that is not
/// what it should be: exit code 78.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Misplaced(pub(crate) String);
