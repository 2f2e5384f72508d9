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
