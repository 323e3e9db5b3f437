//! Tests across crates.

mod crashes;
mod oracle;
mod gate;
mod plan_properties;
mod search;
mod tidy;
