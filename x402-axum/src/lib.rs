//! Charge for axum routes over x402.
//!
//! ```
//! use axum::{Router, routing::get};
//! use x402_axum::{GateExt, Paid};
//! use x402_core::{gate::{ConfigError, PaymentGate, exact}, network::BASE_SEPOLIA};
//!
//! fn app(gate: &PaymentGate) -> Result<Router, ConfigError> {
//!     let price = exact("$0.01").on(BASE_SEPOLIA).to("0x209693Bc6afc0C5328bA36FaF03C514EF312287C");
//!     Ok(Router::new().route("/weather", get(weather).layer(gate.charge(price)?)))
//! }
//!
//! async fn weather(Paid(payment): Paid) -> String {
//!     format!("sunny, {}", payment.payer())
//! }
//! ```
//!
//! A layer on a route looks at no path: whatever the router sends there is charged. A table
//! ([`GateExt::charge_routes`]) goes onto the router with [`Router::route_layer`](axum::Router::route_layer) and
//! looks prices up by [`MatchedPath`]. Put a CORS layer outside of the gate, so that a browser's preflight, which
//! cannot pay, is answered before it.

mod extract;

use axum::{
    extract::{MatchedPath, OriginalUri},
    http::{Uri, request::Parts},
};
use x402_core::gate::{Charge, ConfigError, PaymentGate, RouteTable};
use x402_tower::Routing;

pub use extract::{NotPaid, Paid};
pub use x402_tower::PaymentLayer;

/// Layers for axum, straight from a gate.
pub trait GateExt {
    /// Charges for every request that reaches what is layered: a handler, a method router, a router.
    ///
    /// # Errors
    /// When the charge cannot work.
    fn charge(&self, charge: Charge) -> Result<PaymentLayer, ConfigError>;

    /// Charges by route: the table's patterns are the router's own, such as `/weather/{city}`, with the prefix
    /// they are nested under. Routes that are not listed are free.
    ///
    /// # Errors
    /// When a charge cannot work, or the table is empty.
    fn charge_routes(&self, table: RouteTable) -> Result<PaymentLayer, ConfigError>;
}

impl GateExt for PaymentGate {
    fn charge(&self, charge: Charge) -> Result<PaymentLayer, ConfigError> {
        Ok(PaymentLayer::new(self.toll(charge)?, ROUTING))
    }

    fn charge_routes(&self, table: RouteTable) -> Result<PaymentLayer, ConfigError> {
        Ok(PaymentLayer::new(self.toll_by_route(table)?, ROUTING))
    }
}

const ROUTING: Routing = Routing { route: matched_path, uri: original_uri };

fn matched_path(parts: &Parts) -> Option<&str> {
    parts.extensions.get::<MatchedPath>().map(MatchedPath::as_str)
}

/// Nesting strips the URI of its prefix; axum keeps the whole of it.
fn original_uri(parts: &Parts) -> &Uri {
    parts.extensions.get::<OriginalUri>().map_or(&parts.uri, |OriginalUri(uri)| uri)
}
