//! How the gate behaves: over real sockets, through the public API.
//!
//! A case asserts what a client or an operator would notice: status, headers, how often handlers ran and how often
//! the facilitator was asked.

#![allow(missing_docs, clippy::unwrap_used, unreachable_pub)] // the helpers of a test fail as the test does

mod availability;
mod config;
mod debts;
mod far;
mod fields;
mod hooks;
mod hostile;
mod mutations;
mod offers;
mod once;
mod options;
mod outcomes;
mod payments;
mod remote;
mod routing;
mod secrets;
mod settlement;
mod shop;
mod support;
mod tables;
mod timing;
mod tower;
