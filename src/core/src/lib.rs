//! What trimtab decides. Pure: no clock, no I/O, no async, no logging; time
//! comes in as a value, and the same input gives the same output to the byte.
//!
//! The modules stand in the order of their imports: each imports only modules of
//! the blocks above its own. The story of one tick: [`assemble`] turns what was
//! read ([`reads`]) into a [`snapshot`]; [`census`] counts it and [`rule`] folds
//! the count; [`look`] says what it shows of a node on its way out, and [`steps`]
//! takes the node's action on by that; [`planner`] says how many nodes of each group
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
pub mod units;

pub mod cordon;
pub mod reads;
pub mod windows;

pub mod join;
pub mod snapshot;

pub mod policy;

pub mod action;
pub mod backoff;
pub mod rule;

pub mod history;

pub mod plan;

pub mod assemble;
pub mod budgets;
pub mod floors;
pub mod group_call;
pub mod packing;
pub mod prefilter;
pub mod ranking;
pub mod steps;
pub mod sweep;

pub mod demand;

pub mod census;

pub mod eligibility;
pub mod look;

pub mod planner;

pub mod audit;

mod display;

pub mod trace;

#[cfg(test)]
mod fixture;
