//! Names and ids. They are parsed once, where they enter, and not checked again.
//!
//! Instance ids are stored as numbers, not as text: a cluster can have 100,000 of them, and they
//! are the keys of every map in the planner.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A text that is not a valid id or name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {wanted}")]
pub struct ParseIdError {
    /// The text as given.
    pub text: String,
    /// Description of a valid value.
    pub wanted: &'static str,
}

/// EC2 instance id: `i-` and 8 or 17 lower-case hex digits (SageMaker's pattern `ClusterNodeId`).
/// Sorts like its text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId {
    long: bool,
    digits: u128,
}

impl InstanceId {
    /// Creates the 17-digit id with this number. Bits above the lowest 68 are dropped.
    pub const fn from_number(number: u128) -> Self {
        Self { long: true, digits: number & ((1 << 68) - 1) }
    }
}

impl FromStr for InstanceId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseIdError {
            text: text.to_owned(),
            wanted: "an instance id (`i-` and 8 or 17 hex digits, lower case)",
        };
        let hex = text.strip_prefix("i-").ok_or_else(wrong)?;
        let lower = hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !lower || !matches!(hex.len(), 8 | 17) {
            return Err(wrong());
        }
        let digits = u128::from_str_radix(hex, 16).map_err(|_| wrong())?;
        Ok(Self { long: hex.len() == 17, digits })
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = if self.long { 17 } else { 8 };
        let text = format!("i-{:0width$x}", self.digits);
        f.pad(&text)
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for InstanceId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for InstanceId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $wanted:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// Returns the name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(ParseIdError { text: text.to_owned(), wanted: $wanted })
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

/// Whether the text matches SageMaker's pattern for cluster and group names: 1 to 63 letters,
/// digits and inner hyphens.
fn is_api_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
        && bytes[0] != b'-'
        && bytes[bytes.len() - 1] != b'-'
}

/// Whether the text is 1 to 256 ASCII letters, digits, `.`, `_` or `-`, so that it is safe in an
/// argument, a log line and a web page.
fn is_scheduler_word(text: &str) -> bool {
    (1..=256).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

fn is_job_id(text: &str) -> bool {
    !text.starts_with('+') && is_scheduler_word(&text.replace('+', "_"))
}

name!(
    /// Name of a HyperPod cluster: 1 to 63 letters, digits and inner hyphens.
    ClusterName, "a cluster name (1 to 63 letters, digits, inner hyphens)", is_api_name
);
name!(
    /// Name of a HyperPod instance group: 1 to 63 letters, digits and inner hyphens.
    GroupName, "an instance group's name (1 to 63 letters, digits, inner hyphens)", is_api_name
);
name!(
    /// Name of a node in the scheduler: 1 to 256 letters, digits, `.`, `_` or `-`.
    NodeName, "a node name (letters, digits, `.`, `_`, `-`)", is_scheduler_word
);
name!(
    /// Name of a partition (queue) of the scheduler.
    PartitionName, "a partition name (letters, digits, `.`, `_`, `-`)", is_scheduler_word
);
name!(
    /// Job id of the scheduler, with the index in its array (`1234_5`) or the component of a
    /// heterogeneous job (`1234+1`).
    JobId, "a job id (letters, digits, `.`, `_`, `-`, `+`)", is_job_id
);
name!(
    /// Id of one ledger, created with its file. It is part of the reason of every cordon, so that
    /// two daemons never touch each other's cordons.
    LedgerId, "a ledger id (letters, digits, `-`)", is_scheduler_word
);
name!(
    /// Digest of a policy. A plan is valid only under the policy with its digest.
    PolicyHash, "a policy hash (letters, digits)", is_scheduler_word
);

macro_rules! number {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $type(pub u64);

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// Id of one action in the ledger: the deletion of one node.
    ActionId
);
number!(
    /// Id of one delete request in the ledger.
    RequestId
);
number!(
    /// Id of one tick in the ledger.
    TickId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instance_ids_keep_their_text_and_order() {
        for text in ["i-0123456789abcdef0", "i-0a1b2c3d", "i-fffffffffffffffff"] {
            let id: InstanceId = text.parse().expect("valid");
            assert_eq!(id.to_string(), text);
        }
        let (a, b) = ("i-00000000000000001", "i-0000000000000000f");
        assert!(a.parse::<InstanceId>().expect("valid") < b.parse().expect("valid"));
    }

    #[test]
    fn texts_that_are_no_instance_id_are_refused() {
        for text in ["", "i-", "i-111112222233333", "i-0123456789ABCDEF0", "node-1", "i-+1234567"] {
            assert!(text.parse::<InstanceId>().is_err(), "{text}");
        }
    }

    #[test]
    fn names_with_shell_signs_or_spaces_are_refused() {
        for text in ["", "a b", "a;b", "a\u{1b}", "$(x)", "a'"] {
            assert!(text.parse::<NodeName>().is_err(), "{text:?}");
        }
        assert!("-a".parse::<GroupName>().is_err());
        assert!("workers-g5".parse::<GroupName>().is_ok());
    }
}
