//! The daemon: it reads a cluster, lets [`trimtab_core`] decide, records the
//! intent, acts, and records the outcome.
//!
//! [`ports`] declares what the daemon needs from outside. [`driver`] runs the
//! ticks of one cluster: [`observe`] makes the snapshot, and [`executor`] takes a
//! delete request from its clearance to its recorded answer. [`run`] is the loop
//! around the drivers, and [`ledger`] is the durable memory.
//!
//! This crate starts no tasks, reads no clock and does not sleep. It uses ports
//! for all of these, so the same seed of a simulated world gives the same log.

pub mod driver;
pub mod executor;
pub mod ledger;
pub mod observe;
pub mod ports;
pub mod run;

mod display;
