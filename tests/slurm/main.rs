//! The Slurm adapter and the daemon on a real Slurm. Without one installed these
//! say that they were skipped.

mod adapter;
mod race;
mod rest;
mod rights;
