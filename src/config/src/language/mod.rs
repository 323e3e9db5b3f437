//! Reads several layers of TOML into one tree of values. Each value has its place, and each
//! problem names a file, a line, a column and what to write instead.
//!
//! These modules know nothing about clusters. [`crate::policy`] declares the keys and checks
//! their values.

pub(crate) mod document;
pub(crate) mod effective;
pub(crate) mod entry;
pub(crate) mod layers;
pub(crate) mod merge;
pub(crate) mod problem;
pub(crate) mod read;
pub(crate) mod schema;
pub(crate) mod suggest;
