//! A simulated HyperPod cluster behind the daemon's ports, with its own record of what happened.
//!
//! A [`World`] is built from a [`spec::WorldSpec`] and runs in virtual time. Time moves while the
//! daemon sleeps on the [`doorbell`]. A world has HyperPod groups and nodes with realistic delays
//! and lagging API views (`fleet`, `api`), a job scheduler (`scheduler`, `placement`, `workload`),
//! [`metrics`], an operator who grows groups when jobs wait (`actors`), and [`faults`] that start
//! and end (`nemesis`). The daemon sees the world only through its [`ports`]. A test can disturb or
//! kill the daemon at every port call ([`gauntlet`]). The daemon cannot read the true record of
//! events ([`truth`]). [`baseline`] runs other scale-in policies on the same world. Jobs come from
//! the spec, from a random generator or from a recorded load ([`demand`]).
//!
//! The same seed and the same calls produce the same log, byte for byte. All random numbers come
//! from `rng`; the crate uses no threads, no wall clock and no hash order. The random numbers of a
//! node or job do not depend on what the daemon does.

pub mod baseline;
pub mod control;
pub mod demand;
pub mod doorbell;
pub mod faults;
pub mod gauntlet;
pub mod log;
pub mod metrics;
pub mod ports;
pub mod spec;
pub mod truth;

mod actors;
mod answers;
mod api;
mod fleet;
mod layout;
mod nemesis;
mod placement;
mod record;
mod rng;
mod scheduler;
mod text;
mod update;
mod workload;
mod world;

#[cfg(test)]
mod tests;

pub use world::World;
