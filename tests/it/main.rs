//! Tests across crates.

mod plan_properties;
mod search;
mod tidy;
