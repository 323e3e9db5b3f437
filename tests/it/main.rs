//! Tests across crates.

mod crashes;
mod plan_properties;
mod search;
mod tidy;
