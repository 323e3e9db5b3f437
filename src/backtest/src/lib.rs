//! What policies would have cost on recorded demand, beside somebody who knew
//! the future.
//!
//! [`load`] reads a trace and [`demand`] makes it into [`Group`]s, each a step
//! function of the nodes it needs. [`replay`] follows one policy over them and
//! says what it spent ([`Outcome`]); [`policy`] names the policies.
//!
//! Costs are those of the level accounting (`algorithms.md` sections 1 and 2):
//! idle node-time at the price, p(b + e) for every node brought back, and the
//! waiting of the jobs that found it gone. Every policy starts with the whole
//! group up, as a cluster does; on a daemon's own history, with what was up.

pub mod demand;
pub mod load;
pub mod policy;
pub mod replay;
pub mod swf;

mod learned;
mod levels;
mod node_timer;

pub use demand::{Group, Moment, MomentKind};
pub use policy::{NodeChoice, Order, Policy};
pub use replay::{Outcome, Replay};

#[cfg(test)]
mod tests;
