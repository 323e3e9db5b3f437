//! Computes what policies would have cost on recorded demand, compared with the optimum, which
//! knows the future.
//!
//! [`load`] reads a trace, and [`demand`] converts it into [`Group`]s, whose demand is a step
//! function of nodes. [`replay`] follows one policy over the groups and returns what it cost
//! ([`Outcome`]). [`policy`] defines the policies.
//!
//! Costs follow docs/cost-rule.md, sections 3 and 4: idle node-time at the price, p(b + e) for
//! every node that is brought back, and the waiting of the jobs that need it. Every policy
//! starts with the whole group up or, on a daemon's own history, with the nodes that were up.

pub mod demand;
pub mod load;
pub mod policy;
pub mod replay;
pub mod swf;

mod learned;
mod levels;
mod node_timer;
mod random;

pub use demand::{Group, Moment, MomentKind};
pub use policy::{NodeChoice, Order, Policy};
pub use replay::{Outcome, Replay};

#[cfg(test)]
mod tests;
