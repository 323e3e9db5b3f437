//! The simulated world behind the wire protocols of SageMaker and CloudWatch.
//!
//! An [`Endpoint`] serves one or more worlds over HTTP/1.1 on a loopback address: to
//! the AWS SDKs and command line it is SageMaker (awsJson 1.1) and CloudWatch
//! (`cloudwatch`); under `/_world` (`door`) it is what no cloud shows, the clusters'
//! job scheduler, their clock and their ground truth. [`WorldClient`] is the other
//! end of `/_world`, as ports of the daemon: so the real daemon with the real SDKs
//! runs against a simulated cluster.
//!
//! `GET /_calls` says how often each operation was asked for.
//!
//! A request is checked against what the API's model says before its meaning is
//! looked at. What is true comes from the world, faults included: a time-out is a
//! connection that closes without a word, a truncated listing is one that ends
//! early. Nothing here is protected, so nothing but loopback is served, and nobody's
//! signature is verified.

mod client;
mod cloudwatch;
mod hosts;
mod messages;
mod sagemaker;
mod server;
mod wire;
mod world_api;

#[cfg(test)]
mod tests;

pub use client::{ConnectError, WorldClient, WorldDoorbell};
pub use hosts::{Change, NodeChange, Pace};
pub use server::{Endpoint, Error, Handle, Options};
