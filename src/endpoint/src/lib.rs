//! Serves the simulated world over the wire protocols of SageMaker and CloudWatch.
//!
//! An [`Endpoint`] serves one or more worlds over HTTP/1.1 on a loopback address. It
//! acts as SageMaker (`sagemaker`, awsJson 1.1) and CloudWatch (`cloudwatch`) for the
//! AWS SDKs and the AWS CLI. Under `/_world` (`world_api`) it serves what AWS does not
//! show: the job scheduler of each cluster, its clock and its ground truth.
//! [`WorldClient`] is the client of `/_world` and implements ports of the daemon. With
//! it, the real daemon with the real SDKs runs against a simulated cluster.
//!
//! `GET /_calls` returns the number of requests per operation.
//!
//! The endpoint validates a request against the API's model before it processes it.
//! The world decides every result, including faults: for a time-out the endpoint closes
//! the connection without a response, and for a truncated listing it returns too few
//! pages. The endpoint has no access control and does not verify signatures, so it
//! listens on loopback addresses only.

mod client;
mod cloudwatch;
mod configured;
mod hosts;
mod json;
mod messages;
mod sagemaker;
mod server;
mod wire;
mod world_api;

#[cfg(test)]
mod tests;

pub use client::{ConnectError, WorldClient, WorldDoorbell};
pub use configured::BadDetail;
pub use hosts::{Change, NodeChange, Pace};
pub use server::{Endpoint, Error, Handle, Options};
