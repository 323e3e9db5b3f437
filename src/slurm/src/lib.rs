//! Implements the daemon's scheduler ports for Slurm, with its commands or with slurmrestd.
//!
//! [`Slurm`] reads a cluster's nodes, running jobs, waiting jobs and reservations through a
//! [`Backend`]. There are two backends. [`Commands`] runs Slurm's commands; [`nodes`],
//! [`jobs`], [`reservations`] and [`hostlist`] parse the text, which is the same in 22.05 and
//! 24.11. [`Rest`] calls slurmrestd at one version of its API. Both backends share the code
//! that interprets node states and waiting jobs. [`history`] reads past jobs for traces; the
//! daemon does not use it.
//!
//! Every node state except plain idle is a claim, including states that this build does not
//! know. An answer in an unexpected format is an error. The commands' `--json` output is not
//! used: in 22.05 it contains empty lists with exit code 0 when slurmctld is down, and its
//! format differs between versions.

pub mod backend;
pub mod command;
pub mod configuration;
pub mod cordon;
pub mod files;
pub mod history;
pub mod hostlist;
pub mod jobs;
pub mod nodes;
pub mod reservations;
pub mod rest;

mod malformed;
mod read;
mod tasks;
mod text;
mod time;

pub use backend::Backend;
pub use command::Commands;
pub use files::Files;
pub use malformed::Malformed;
pub use read::Slurm;
pub use rest::Rest;
