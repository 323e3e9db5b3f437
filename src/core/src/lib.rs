//! The decisions of trimtab. This crate has no clock, no I/O, no async code and no logging. Time
//! is an argument, and the same input gives exactly the same output.
//!
//! The modules are listed in the order of their imports: each module imports only modules of the
//! blocks above its own. One tick uses them as follows:
//!
//! 1. [`assemble`] builds a [`snapshot`] from the [`reads`] of the ports.
//! 2. [`census`] counts the nodes, and [`rule`] adds the counts to the history of each group.
//! 3. [`look`] derives what the snapshot shows of each node with an open [`action`], and [`steps`]
//!    computes the next state of that action.
//! 4. [`planner`] decides how many nodes of each group may be deleted and which ones. Its [`plan`]
//!    has a reason for every node.
//! 5. [`audit`] derives every limit again from the data. Only the audit can approve a plan or
//!    clear a delete request.
//!
//! [`digest`], [`random`] and [`text`] are independent of nodes, and every module may use them.
//! [`trace`] is the format of recorded load for replays, and [`packing`] computes how many nodes
//! the GPUs of jobs need.

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
