//! What trimtab does: reads the world, lets [`trimtab_core`] decide, writes the
//! intent down, acts, writes the outcome down.
//!
//! [`ports`] says what is needed from outside. [`driver`] is one cluster's
//! daemon and its tick; [`observe`] makes the snapshot, and [`executor`] carries a
//! delete request from clearance to recorded answer. [`run`] is the loop around
//! it, [`ledger`] the durable memory.
//!
//! Nothing here spawns, reads a clock or sleeps by itself: that is what the
//! ports are for, so one seed of a simulated world gives one log.

pub mod driver;
pub mod executor;
pub mod ledger;
pub mod observe;
pub mod ports;
pub mod run;

mod display;
