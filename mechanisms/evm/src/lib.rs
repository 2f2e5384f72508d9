//! x402 payment schemes on EVM chains.
//!
//! [`exact`] moves exactly the asked amount of a token with EIP-3009 (every USDC): the payer signs a transfer, the
//! facilitator sends it and pays the gas. Each role is a feature:
//!
//! - `client`: `exact::client` signs payments with any alloy signer;
//! - `server`: `exact::server` completes offers and reads payments, without alloy, a chain or cryptography;
//! - `facilitator`: `exact::ExactFacilitator` verifies and settles on one network.

// A role uses a part of what the three share: what no one uses shows when all are on.
#![cfg_attr(not(all(feature = "client", feature = "server", feature = "facilitator")), allow(dead_code))]

mod address;
#[cfg(feature = "facilitator")]
mod chain;
#[cfg(any(feature = "client", feature = "facilitator"))]
mod clock;
mod eip3009;
#[cfg(feature = "facilitator")]
mod error;
pub mod exact;

#[cfg(feature = "facilitator")]
pub use error::{Error, ErrorKind};
