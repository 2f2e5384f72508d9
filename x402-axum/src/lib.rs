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
//! ([`GateExt::charge_routes`]) is held against the router's own routes, and a key that is none of them is an error.
//!
//! # Scripts of other origins
//!
//! A browser's preflight cannot pay. It is not charged, and reaches a CORS layer wherever that stands; of its answer nothing
//! but the head leaves. For the rest put the CORS layer outside of the gate, so that its headers are on the gate's own
//! answers as well. It has to allow the headers that carry payments and, where it is given headers to expose, to expose
//! those that answer them: it replaces what the gate exposes by itself.
//!
//! ```
//! use axum::Router;
//! use tower_http::cors::{Any, CorsLayer};
//! use x402_core::wire::{REQUEST_HEADERS, RESPONSE_HEADERS};
//!
//! fn for_scripts(charged: Router) -> Router {
//!     let cors = CorsLayer::new().allow_origin(Any).allow_headers(REQUEST_HEADERS).expose_headers(RESPONSE_HEADERS);
//!     charged.layer(cors)
//! }
//! ```

mod extract;
mod routes;

use std::iter;

use axum::{
    Router,
    body::Body,
    extract::{MatchedPath, NestedPath, OriginalUri},
    http::{Uri, request::Parts},
};
use x402_core::gate::{Charge, ConfigError, PaymentGate, RouteTable};
use x402_tower::{Routing, Unclear};

pub use extract::{Paid, Uncharged, Unpaid};
pub use x402_tower::PaymentLayer;

/// Charging in axum, straight from a gate.
pub trait GateExt {
    /// A layer that charges for every request that reaches what is layered: a handler, a method router, a router.
    ///
    /// # Errors
    /// When the charge cannot work.
    fn charge(&self, charge: Charge) -> Result<PaymentLayer, ConfigError>;

    /// Charges for the routes of a router by a table. The keys are the router's own patterns, such as
    /// `/weather/{city}`, with the prefix of what is nested in it. The router has its state, and all the routes that
    /// are to be charged; routes that are not listed, its fallback and routes added to the result are free.
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// use x402_axum::GateExt;
    /// use x402_core::{gate::{ConfigError, PaymentGate, RouteTable, exact}, network::BASE};
    ///
    /// fn app(gate: &PaymentGate) -> Result<Router, ConfigError> {
    ///     let app = Router::new().route("/weather/{city}", get(async || "sunny"));
    ///     let price = exact("$0.01").on(BASE).to("0x209693Bc6afc0C5328bA36FaF03C514EF312287C");
    ///     gate.charge_routes(app, RouteTable::new().route("GET /weather/{city}", price)?)
    /// }
    /// ```
    ///
    /// # Errors
    /// When a charge cannot work, the table is empty, a key is no route of the router's, or its route does not take its
    /// method. Methods of a charged route that are free are warned of, unless the table says that they are.
    fn charge_routes(&self, app: Router, table: RouteTable) -> Result<Router, ConfigError>;
}

impl GateExt for PaymentGate {
    fn charge(&self, charge: Charge) -> Result<PaymentLayer, ConfigError> {
        Ok(PaymentLayer::new(self.toll(charge)?, ROUTING).uploads(Body::from))
    }

    fn charge_routes(&self, app: Router, table: RouteTable) -> Result<Router, ConfigError> {
        routes::check(&app, &table)?;
        // Every key is a route that axum names; what it does not name, like a nested service, is none of them.
        let toll = self.toll_by_route(table.unrouted_is_free())?;
        Ok(app.route_layer(PaymentLayer::new(toll, ROUTING).uploads(Body::from)))
    }
}

const ROUTING: Routing = Routing {
    route: matched_path,
    whole: |parts| parts.extensions.get().map(MatchedPath::as_str),
    uri: original_uri,
};

/// The pattern as the layered router has it: without the prefix under which that router stands itself.
///
/// axum tells all the patterns on the way to a route as one, whoever matched them. The URI is what the layered router
/// matched, so its own pattern is what follows the prefix; or else the one end of the whole that fits the URI, where
/// what stands before it are patterns of the routers that handed the same URI on. Where there is no such end, or
/// several, nothing can be told.
fn matched_path(parts: &Parts) -> Result<Option<&str>, Unclear> {
    let Some(whole) = parts.extensions.get::<MatchedPath>().map(MatchedPath::as_str) else { return Ok(None) };
    let path = parts.uri.path();
    let prefix = parts.extensions.get::<NestedPath>().map_or("", NestedPath::as_str);
    if let Some(own) = whole.strip_prefix(prefix.trim_end_matches('/')) {
        let own = if own.is_empty() { "/" } else { own };
        // The root of a nested service has a slash on both sides.
        let root = own.strip_prefix('/').filter(|root| root.starts_with('/'));
        if let Some(own) = iter::once(own).chain(root).find(|own| fits(own, path)) {
            return Ok(Some(own));
        }
        if !prefix.is_empty() {
            return Err(Unclear);
        }
    }
    let mut ends = slashes(whole)
        .filter(|(before, end)| fits(end, path) && (!prefix.is_empty() || all_fit(before, path)))
        .map(|(_, end)| end);
    match (ends.next(), ends.next()) {
        (Some(end), None) => Ok(Some(end)),
        _ => Err(Unclear),
    }
}

/// What stands before a slash, and what follows from there: for each slash.
fn slashes(pattern: &str) -> impl Iterator<Item = (&str, &str)> {
    pattern.char_indices().filter(|(_, letter)| *letter == '/').map(|(at, _)| pattern.split_at(at))
}

/// Whether these are patterns in a row of which each fits.
fn all_fit(patterns: &str, path: &str) -> bool {
    patterns.is_empty() || slashes(patterns).any(|(before, last)| fits(last, path) && all_fit(before, path))
}

/// Whether a path matches a pattern, asked of the router that axum asks.
fn fits(pattern: &str, path: &str) -> bool {
    if !pattern.contains(['{', '}']) {
        return pattern == path;
    }
    let mut router = matchit::Router::new();
    router.insert(pattern, ()).is_ok() && router.at(path).is_ok()
}

/// Nesting strips the URI of its prefix; axum keeps the whole of it.
fn original_uri(parts: &Parts) -> &Uri {
    parts.extensions.get::<OriginalUri>().map_or(&parts.uri, |OriginalUri(uri)| uri)
}
