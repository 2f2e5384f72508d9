//! A tower layer that charges for requests over x402.
//!
//! [`PaymentLayer`] wraps any HTTP service: hyper, axum (see `x402-axum`), tonic. It reads the payment before the
//! handler runs, leaves the request's body unread until then (but see [`PaymentLayer::uploads`]), and holds the handler's response, its body not
//! polled, until the payment is settled.
//!
//! ```
//! use tower_layer::Layer;
//! use x402_core::gate::{ConfigError, PaymentGate, exact};
//! use x402_core::network::BASE_SEPOLIA;
//! use x402_tower::{GateExt, PaymentService};
//!
//! fn paid<S>(gate: &PaymentGate, service: S) -> Result<PaymentService<S>, ConfigError> {
//!     let charge = exact("$0.01").on(BASE_SEPOLIA).to("0x209693Bc6afc0C5328bA36FaF03C514EF312287C");
//!     Ok(gate.charge(charge)?.layer(service))
//! }
//! ```
//!
//! # Scripts of other origins
//!
//! A browser's preflight cannot pay. It is not charged, and reaches a CORS layer wherever that stands; of its answer nothing
//! but the head leaves. For the rest put the CORS layer outside of the gate, so that its headers are on the gate's own
//! answers as well. It has to allow the headers that carry payments and, where it is given headers to expose, to expose
//! those that answer them: it replaces what the gate exposes by itself.
//! With tower-http that is `CorsLayer::new().allow_headers(REQUEST_HEADERS).expose_headers(RESPONSE_HEADERS)`, both from
//! [`x402_core::wire`]. In HTTP/2, where headers do not tell whether a request has a body, preflights pass only a layer that
//! knows the type of request bodies ([`PaymentLayer::uploads`]).

mod answer;
mod body;
mod future;
mod layer;
mod service;
mod upload;

pub use body::GateBody;
pub use future::GateFuture;
pub use layer::{GateExt, PaymentLayer, Routing, Unclear};
pub use service::PaymentService;

#[doc(no_inline)]
pub use x402_core::gate::{Access, NotPaid, PaymentInfo, Uncharged};
