//! Slurm behind the daemon's ports, through its own commands.
//!
//! [`Slurm`] asks four questions to observe a cluster (nodes, jobs that hold
//! nodes, jobs that wait, reservations) and reads the answers strictly: an
//! answer that is not as Slurm writes it is no answer. [`command`] runs one
//! command; [`nodes`], [`jobs`], [`reservations`] and [`hostlist`] read text. What
//! ran in the past is in [`history`], for traces; the daemon does not ask for it.
//!
//! Everything but a plain idle node is claimed: a state that this build does
//! not know is a claim, too. Text is all that is read, no JSON: in 22.05 the
//! commands answer `--json` with empty lists and exit 0 when slurmctld is down,
//! and each version writes another JSON.

pub mod backend;
pub mod command;
pub mod configuration;
pub mod fence;
pub mod files;
pub mod history;
pub mod hostlist;
pub mod jobs;
pub mod nodes;
pub mod reservations;

mod read;
mod text;
mod time;

pub use backend::Backend;
pub use command::Commands;
pub use files::Files;
pub use read::Slurm;
