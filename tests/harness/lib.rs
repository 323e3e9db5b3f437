//! Shared parts of the cross-crate tests: generated worlds, and checks that hold in all of them.

pub mod altered;
pub mod life;
pub mod oracle;
pub mod properties;
pub mod random;
pub mod scale;
pub mod slurm;
pub mod worlds;
