//! Tests across crates.

mod backtest;
mod capacity;
mod crashes;
mod decisions;
mod gate;
mod metrics_asked;
mod oracle;
mod plan_properties;
mod refusals;
mod rule_on_ticks;
mod search;
mod tidy;
mod unwritable;
mod wording;
mod words;
