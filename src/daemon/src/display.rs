//! Texts for operators: outcomes of delete requests, and rings.

use std::fmt;

use crate::ports::{DeleteOutcome, Ring};

impl fmt::Display for DeleteOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered { accepted, failed } => {
                write!(f, "{} accepted, {} failed", accepted.len(), failed.len())?;
                for (at, (node, code)) in failed.iter().enumerate() {
                    write!(f, "{} {node} ({code})", if at == 0 { ":" } else { "," })?;
                }
                Ok(())
            }
            Self::Refused { cause, why } => write!(f, "refused, {cause}: {why}"),
            Self::NoAnswer { why } => write!(f, "no answer: {why}"),
        }
    }
}

impl fmt::Display for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Schedule => "schedule",
            Self::Deadline => "deadline",
            Self::Backstop => "backstop",
            Self::Stop => "stop",
        })
    }
}
