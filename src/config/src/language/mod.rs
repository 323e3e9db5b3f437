//! Layers of TOML to one table of values: each value has its place, and each problem
//! names a file, a line, a column and what to write instead.
//!
//! Nothing here knows a cluster. [`crate::policy`] declares the keys and judges them.

pub(crate) mod document;
pub(crate) mod effective;
pub(crate) mod entry;
pub(crate) mod layers;
pub(crate) mod merge;
pub(crate) mod problem;
pub(crate) mod read;
pub(crate) mod schema;
pub(crate) mod suggest;
