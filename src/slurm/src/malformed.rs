//! Output that is not in the format of Slurm.

/// Output that is not in the format of Slurm. The daemon treats it as no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(String);

impl From<String> for Malformed {
    fn from(what: String) -> Self {
        Self(what)
    }
}

impl From<&str> for Malformed {
    fn from(what: &str) -> Self {
        Self(what.to_owned())
    }
}
