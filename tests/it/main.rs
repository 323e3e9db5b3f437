//! Tests across crates.

mod crashes;
mod decisions;
mod gate;
mod oracle;
mod plan_properties;
mod search;
mod tidy;
mod unwritable;
