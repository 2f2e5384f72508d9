//! Charge for poem routes over x402.
//!
//! ```
//! use poem::{EndpointExt, Route, get, handler};
//! use x402_core::{gate::{ConfigError, PaymentGate, exact}, network::BASE_SEPOLIA};
//! use x402_poem::{GateExt, Paid};
//!
//! fn app(gate: &PaymentGate) -> Result<Route, ConfigError> {
//!     let price = exact("$0.01").on(BASE_SEPOLIA).to("0x209693Bc6afc0C5328bA36FaF03C514EF312287C");
//!     Ok(Route::new().at("/weather", get(weather).with(gate.charge(price)?)))
//! }
//!
//! #[handler]
//! fn weather(Paid(payment): Paid) -> String {
//!     format!("sunny, {}", payment.payer())
//! }
//! ```
//!
//! The middleware looks at no path. What it charges for is what it stands on:
//!
//! | It stands on | and charges for |
//! |---|---|
//! | an endpoint of a method: `get(weather.with(…))` | that method, and HEAD with GET |
//! | an endpoint of a path: `get(weather).with(…)` | all methods, those that are not allowed included |
//! | a `Route`, nested or not | all requests that come to it, those that it does not find included |
//!
//! A table ([`GateExt::charge_routes`]) is bound to its routes where they are made, and a key that is none of them is
//! an error.
//!
//! A handler that fails with an error is charged as for the answer it becomes: not at all, as a rule, and then an
//! outer `catch_error` finds the error as it was. What else is not worth its price a handler wraps in [`Uncharged`]; to
//! an error it gives [`gate::Uncharged`](x402_core::gate::Uncharged) as [data](poem::Error::set_data).
//!
//! # Scripts of other origins
//!
//! A browser's preflight cannot pay. It is not charged, and reaches a CORS layer wherever that stands; of its answer nothing
//! but the head leaves. For the rest put the CORS layer outside of the gate, so that its headers are on the gate's own
//! answers as well. It has to allow the headers that carry payments and, where it is given headers to expose, to expose
//! those that answer them: it replaces what the gate exposes by itself.
//! With poem that is `Cors::new().allow_headers(REQUEST_HEADERS).expose_headers(RESPONSE_HEADERS)`, both from
//! [`x402_core::wire`].
//!
//! # Answers that break off
//!
//! Poem ends a streamed answer whose source fails as if it were whole, in HTTP/1. A paid one ends broken all the same: the
//! gate gives its connection up, by unwinding, which poem catches. That needs a build that unwinds (`panic = "unwind"`, the
//! default); a middleware outside of the gate that reads whole answers meets the unwinding instead of an error.

mod extract;
mod methods;
mod middleware;
mod routes;

use x402_core::gate::{Charge, ConfigError, PaymentGate, RouteTable};

pub use extract::{Paid, Uncharged, Unpaid};
pub use middleware::{PaymentEndpoint, PaymentMiddleware};
pub use routes::ChargedRoute;

/// Charging in poem, straight from a gate.
pub trait GateExt {
    /// A middleware that charges for every request that reaches what it stands on: an endpoint, a `RouteMethod`, a
    /// `Route`.
    ///
    /// # Errors
    /// When the charge cannot work.
    fn charge(&self, charge: Charge) -> Result<PaymentMiddleware, ConfigError>;

    /// Charges by a table for the routes of a [`Route`](poem::Route), which is made here.
    ///
    /// ```
    /// use poem::{Route, get, handler, post};
    /// use x402_core::{gate::{ConfigError, PaymentGate, RouteTable, exact}, network::BASE};
    /// use x402_poem::GateExt;
    ///
    /// fn app(gate: &PaymentGate) -> Result<Route, ConfigError> {
    ///     let price = exact("$0.01").on(BASE).to("0x209693Bc6afc0C5328bA36FaF03C514EF312287C");
    ///     let prices = RouteTable::new().route("GET /weather/:city", price.clone())?.route("/api/report", price)?;
    ///     gate.charge_routes(prices)?
    ///         .at("/weather/:city", get(weather))
    ///         .at("/free", get(weather))
    ///         .nest("/api", |api| api.at("/report", post(weather)))
    ///         .build()
    /// }
    ///
    /// #[handler]
    /// fn weather() -> &'static str {
    ///     "sunny"
    /// }
    /// ```
    ///
    /// What is not listed is free, and so is a path that the route does not find; `unrouted_is_free` says nothing here.
    ///
    /// # Errors
    /// When a charge cannot work, or the table is empty. That a key is none of the routes is told when they are
    /// [built](ChargedRoute::build).
    fn charge_routes(&self, table: RouteTable) -> Result<ChargedRoute, ConfigError>;
}

impl GateExt for PaymentGate {
    fn charge(&self, charge: Charge) -> Result<PaymentMiddleware, ConfigError> {
        Ok(PaymentMiddleware::everywhere(self.toll(charge)?))
    }

    fn charge_routes(&self, table: RouteTable) -> Result<ChargedRoute, ConfigError> {
        let toll = self.toll_by_route(table.clone())?;
        Ok(ChargedRoute::new(table, toll))
    }
}
