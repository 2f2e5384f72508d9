//! A chain as a facilitator uses it: its endpoints, the account that pays the gas, the contracts.

mod account;
mod budget;
pub(crate) mod contracts;
mod endpoints;
mod fault;
mod rpc;
#[cfg(test)]
pub(crate) mod scripted;
mod transport;
mod words;

pub(crate) use account::{Account, Departure, Sent, Transaction};
pub(crate) use budget::LogBudget;
pub(crate) use fault::Fault;
pub(crate) use rpc::{Fees, Log, Receipt, Rpc};
