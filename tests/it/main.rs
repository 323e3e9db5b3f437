//! Tests across crates.

mod capacity;
mod crashes;
mod decisions;
mod gate;
mod metrics_asked;
mod oracle;
mod plan_properties;
mod refusals;
mod search;
mod tidy;
mod unwritable;
