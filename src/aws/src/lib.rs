//! Implements the daemon's ports for SageMaker and CloudWatch, with the AWS SDKs.
//!
//! This is the only crate that depends on an AWS SDK, because the SDKs take minutes and
//! gigabytes to compile. A [`Connection`] reaches one cluster in one account and region.
//! [`Cluster`] reads and changes the cluster. [`Metrics`] reads its CloudWatch metrics.
//!
//! The SDK may retry reads within a total time limit. A request that changes something is sent
//! once; the driver decides about the next one after it has looked again. Values that the SDK
//! does not know (a new value of an enum, a new member of a group) are kept unchanged or lead
//! to an error. They are never dropped.

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
