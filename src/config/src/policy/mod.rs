//! The keys and their meaning: which keys exist, which values each one accepts, and which
//! values contradict each other.

pub(crate) mod check;
mod cloudwatch;
mod context;
mod digest;
pub(crate) mod file;
mod floors;
mod group;
pub(crate) mod hooks;
mod idle;
mod presets;
pub(crate) mod rest_address;
pub(crate) mod schedule;
mod scheduler;
pub(crate) mod settings;
mod signal_values;
pub(crate) mod signals;
mod timing;
mod utilization;
mod values;
