//! What trimtab decides. Pure: no clock, no I/O, no async, no logging; time
//! comes in as a value, and the same input gives the same output to the byte.
//!
//! The story of one tick, in the order of the modules:
//! [`assemble`] turns what was read into a [`snapshot`]; [`census`] counts it
//! and [`rule`] folds the count; [`planner`] says how many nodes of each group
//! may go and which, with a reason for every node ([`plan`]); [`audit`]
//! re-derives every bound from the data alone and is the only one who can
//! approve a plan or clear a delete; [`action`] is one node's way out, step by
//! step.
//!
//! [`digest`], [`random`] and [`text`] know nothing of nodes: everything may use them.
//! [`trace`] and [`packing`] are the form in which recorded load is replayed,
//! and how GPUs become nodes.

#![warn(missing_docs)]

pub mod digest;
pub mod random;
pub mod text;

pub mod ids;
pub mod join;
pub mod units;

pub mod windows;

pub mod policy;
pub mod snapshot;

pub mod action;
pub mod backoff;
pub mod history;
pub mod plan;
pub mod rule;

pub mod assemble;
pub mod budgets;
pub mod census;
pub mod demand;
pub mod eligibility;
pub mod floors;
pub mod group_call;
pub mod ranking;

pub mod planner;

pub mod audit;

mod display;

pub mod packing;
pub mod trace;

#[cfg(test)]
mod fixture;
