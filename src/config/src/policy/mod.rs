//! What the keys mean: which keys there are, what each value may be, and what values say
//! together.

pub(crate) mod check;
mod digest;
pub(crate) mod file;
mod group;
pub(crate) mod hooks;
mod idle;
mod presets;
pub(crate) mod rest_address;
pub(crate) mod schedule;
pub(crate) mod settings;
mod signal_values;
pub(crate) mod signals;
mod utilization;
mod values;
