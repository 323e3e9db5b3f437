//! Tests of the Slurm adapter and the daemon on a real Slurm. If Slurm is not installed,
//! they print that they are skipped.

mod adapter;
mod race;
mod rest;
mod rights;
