//! The scheme `exact`, with EIP-3009: the payer signs a transfer of exactly the asked amount.

#[cfg(feature = "client")]
mod client;
#[cfg(feature = "facilitator")]
mod facilitator;
pub mod reasons;
#[cfg(feature = "server")]
mod server;
mod terms;

#[cfg(feature = "client")]
pub use client::{ExactClient, client};
#[cfg(feature = "facilitator")]
pub use facilitator::{ExactFacilitator, facilitator};
#[cfg(feature = "server")]
pub use server::{ExactServer, server};
