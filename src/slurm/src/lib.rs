//! Slurm behind the daemon's ports, through its own commands or through slurmrestd.
//!
//! [`Slurm`] asks a few questions to observe a cluster (nodes, jobs that hold
//! nodes, jobs that wait, reservations) and reads the answers strictly: an
//! answer that is not as Slurm writes it is no answer. It stands on a [`Backend`],
//! of which there are two. [`Commands`] run one command at a time, whose text
//! [`nodes`], [`jobs`], [`reservations`] and [`hostlist`] read: of 22.05 and 24.11,
//! which write what is asked for alike. [`Rest`] asks slurmrestd at one version of its
//! API. What a state or a waiting job comes to is the same code for both. What ran in the
//! past is in [`history`], for traces; the daemon does not ask for it.
//!
//! Everything but a plain idle node is claimed: a state that this build does
//! not know is a claim, too. Of the commands text is all that is read, no JSON: in 22.05
//! they answer `--json` with empty lists and exit 0 when slurmctld is down,
//! and each version writes another JSON.

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

mod read;
mod tasks;
mod text;
mod time;

pub use backend::Backend;
pub use command::Commands;
pub use files::Files;
pub use read::Slurm;
pub use rest::Rest;
