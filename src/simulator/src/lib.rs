//! A seeded HyperPod world behind the daemon's ports, with its own ground truth.
//!
//! A [`World`] is made from a [`spec::WorldSpec`] and lives in virtual time,
//! which only moves while the daemon sleeps on the [`doorbell`]. Inside it are
//! HyperPod's groups and nodes with their delays and lagging views (`fleet`,
//! `api`), a job scheduler (`scheduler`, `placement`, `workload`), [`metrics`], somebody who grows groups back when jobs wait (`actors`), and
//! [`faults`] that begin and end (`nemesis`). The daemon sees all of it through
//! its [`ports`] only, and can be disturbed or killed at every call
//! ([`gauntlet`]). What truly happened is kept apart ([`truth`]); [`baseline`]
//! runs the policies that others use on the same world. The jobs come from
//! the spec, from chance or from a recorded load ([`demand`]).
//!
//! One seed gives one log, to the byte: chance comes from `rng`, there is
//! no thread, clock or hash order, and a node's or job's own chance does not
//! depend on what the daemon does.

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
mod nemesis;
mod placement;
mod record;
mod rng;
mod scheduler;
mod update;
mod workload;
mod world;

#[cfg(test)]
mod tests;

pub use world::World;
