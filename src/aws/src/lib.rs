//! SageMaker and CloudWatch behind the daemon's ports, through the AWS SDKs.
//!
//! The only crate that names an AWS SDK: they take minutes and gigabytes to compile, and
//! everything else builds and tests without them. A [`Connection`] reaches one cluster in
//! one account and region. [`Cluster`] reads it and is the only one that can change it,
//! [`Metrics`] reads its CloudWatch signals.
//!
//! Reads may use the SDK's retries, under a total timeout. A call that changes something
//! is sent once: the driver decides after looking. What the SDK does not know yet (an
//! enum's new value, a group's new member) is kept as it came or refused, never dropped.

mod cluster;
mod connection;
mod convert;
mod delete;
mod echo;
mod failure;
mod metrics;
mod raw;
mod series;
mod shrink;

pub use cluster::Cluster;
pub use connection::{Connection, Target};
pub use echo::{EchoError, specification};
pub use metrics::Metrics;
