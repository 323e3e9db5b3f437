//! Exit codes: a documented enum.

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
