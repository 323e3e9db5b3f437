//! Tests across crates.

mod crashes;
mod oracle;
mod plan_properties;
mod search;
mod tidy;
