//! The x402 payment protocol, and the gate that charges for HTTP requests with it.
//!
//! A server answers `402` with what it wants, the client signs a payment and sends the request again, a
//! facilitator verifies the payment and settles it on chain.
//!
//! ```text
//! request ─▶ decode ─▶ match ─▶ claim ─▶ verify ─▶ handler ─▶ settle ─▶ encode ─▶ response
//!             └──────────────── any step may end in a Refusal, which encodes itself ───────┘
//! ```
//!
//! - Money: [`Amount`](amount::Amount), [`Price`](price::Price), [`Token`](asset::Token),
//!   [`Network`](network::Network), [`Address`](address::Address).
//! - The protocol: the model in [`payment`], its JSON and headers in [`wire`].
//! - What is agreed on beside it: [`extension`].
//! - What others implement: the schemes' roles in [`scheme`], [`Facilitator`](facilitator::Facilitator),
//!   [`PaymentHooks`](hooks::PaymentHooks), [`ClaimStore`](store::ClaimStore).
//! - The gate, with the feature `gate`: the flow above, for any framework.

pub mod address;
pub mod amount;
pub mod asset;
pub mod extension;
pub mod facilitator;
#[doc(hidden)]
pub mod failpoint;
#[cfg(feature = "gate")]
pub mod gate;
#[cfg(feature = "guard")]
#[doc(hidden)]
pub mod guard;
pub mod hooks;
pub mod network;
pub mod payment;
pub mod price;
pub mod scheme;
pub mod store;
pub mod wire;

use std::pin::Pin;

pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
