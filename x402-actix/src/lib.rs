//! Charge for actix-web routes over x402.
//!
//! ```
//! use actix_web::{App, HttpServer, web};
//! use x402_actix::{GateExt, Paid};
//! use x402_core::{gate::{PaymentGate, exact}, network::BASE_SEPOLIA};
//!
//! async fn serve(gate: &PaymentGate) -> Result<(), Box<dyn std::error::Error>> {
//!     let price = exact("$0.01").on(BASE_SEPOLIA).to("0x209693Bc6afc0C5328bA36FaF03C514EF312287C");
//!     let payment = gate.charge(price)?;
//!     let app = move || App::new().service(web::resource("/weather").wrap(payment.clone()).get(weather));
//!     HttpServer::new(app).bind("0.0.0.0:8080")?.run().await?;
//!     Ok(())
//! }
//!
//! async fn weather(Paid(payment): Paid) -> String {
//!     format!("sunny, {}", payment.payer())
//! }
//! ```
//!
//! Make the middleware once and clone it into the apps, as above: what cannot be charged is an error before the server
//! runs then.
//!
//! It looks at no path. What it charges for is what it is wrapped around:
//!
//! | `.wrap` on | charges for |
//! |---|---|
//! | a `Route` of a resource | what it takes, by its method and guards |
//! | a `Resource` | whatever the router sends there, methods that are not allowed included |
//! | a `Scope` | all requests below its prefix, those that it does not find included |
//! | an `App` | all requests, those without a route included |
//!
//! A table ([`GateExt::charge_routes`]) goes on an `App` or a `Scope`, and charges by route. An answer of 400 or above is
//! not charged, and an [`Error`](actix_web::Error) counts as the answer it becomes; what else is not worth its price a
//! handler wraps in [`Uncharged`].
//!
//! The `.wrap` that is written last is the outermost. What answers or changes a request before it can be paid for goes
//! outside of the gate, like `NormalizePath`.
//!
//! # Scripts of other origins
//!
//! A browser's preflight cannot pay. It is not charged, and reaches a CORS layer wherever that stands; of its answer nothing
//! but the head leaves. For the rest put the CORS layer outside of the gate, so that its headers are on the gate's own
//! answers as well. It has to allow the headers that carry payments and, where it is given headers to expose, to expose
//! those that answer them: it replaces what the gate exposes by itself.
//! With actix-cors these are the names in `REQUEST_HEADERS` and `RESPONSE_HEADERS` of [`x402_core::wire`], as text:
//! `.expose_headers(RESPONSE_HEADERS.iter().map(|name| name.as_str()))`.

mod bridge;
mod extract;
mod future;
mod middleware;
mod routes;

use x402_core::gate::{Charge, ConfigError, PaymentGate, RouteMethods, RouteTable};

use routes::Keys;

pub use extract::{Paid, Uncharged, Unpaid};
pub use future::PaymentFuture;
pub use middleware::{PaymentMiddleware, PaymentService};

/// Charging in actix-web, straight from a gate.
pub trait GateExt {
    /// A middleware that charges for every request that comes through: on a resource, a scope, an app.
    ///
    /// # Errors
    /// When the charge cannot work.
    fn charge(&self, charge: Charge) -> Result<PaymentMiddleware, ConfigError>;

    /// A middleware that charges by a table, for an app or a scope.
    ///
    /// ```
    /// use actix_web::{App, HttpServer, middleware::NormalizePath, web};
    /// use x402_actix::GateExt;
    /// use x402_core::{gate::{PaymentGate, RouteTable, exact}, network::BASE};
    ///
    /// async fn serve(gate: &PaymentGate) -> Result<(), Box<dyn std::error::Error>> {
    ///     let price = exact("$0.01").on(BASE).to("0x209693Bc6afc0C5328bA36FaF03C514EF312287C");
    ///     let prices = gate.charge_routes(RouteTable::new().route("GET /api/weather/{city}", price)?)?;
    ///     let app = move || {
    ///         App::new()
    ///             .service(web::scope("/api").route("/weather/{city}", web::get().to(async || "sunny")))
    ///             .wrap(prices.clone())
    ///             .wrap(NormalizePath::trim())
    ///     };
    ///     HttpServer::new(app).bind("0.0.0.0:8080")?.run().await?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// A key is what [`match_pattern`](actix_web::HttpRequest::match_pattern) tells of a route: with the prefixes of its
    /// scopes, parameters and regular expressions as they are written, and of a resource with several patterns the first.
    /// A path without a route is not found, unless the table says `unrouted_is_free`.
    ///
    /// An app does not tell its routes before it runs. The first request holds the keys against them, and if one is no
    /// route, every request through the middleware is refused and the log says which: send one before you go live.
    /// Where a scope's table lists a route of another scope, nobody notices, and that one is not charged. Nor does it tell
    /// which methods its routes take: where a table lists a route with methods only, a warning says that others are free,
    /// unless the table says so with [`free`](RouteTable::free), as with `.free("/weather/{city}")` behind
    /// `"GET /weather/{city}"`.
    ///
    /// On an app or a scope, a price is found before actix-web has routed the request, and only its router asks guards,
    /// such as the methods of `#[get]` and `#[post]`. The first route that matches the path gives the price. If it is not
    /// listed for the request's method, and one that is charged matches as well, the request is refused: beside
    /// `"/users/{id}"`, list `"/users/me"`, too, [`free`](RouteTable::free) with the methods it has, and charged like
    /// `"/users/{id}"` with the others, which go on to that. Or wrap the resource in its own charge, which leaves nothing to
    /// guess. Once the handler answered, the route it has is held against the price that was found: if it has another,
    /// nothing is settled, and nothing leaves.
    ///
    /// # Errors
    /// When a charge cannot work, the table is empty, a key is no pattern, or no path can be made up for its regular
    /// expression.
    fn charge_routes(&self, table: RouteTable) -> Result<PaymentMiddleware, ConfigError>;
}

impl GateExt for PaymentGate {
    fn charge(&self, charge: Charge) -> Result<PaymentMiddleware, ConfigError> {
        Ok(PaymentMiddleware::new(self.toll(charge)?, Keys::default()))
    }

    fn charge_routes(&self, table: RouteTable) -> Result<PaymentMiddleware, ConfigError> {
        let keys = Keys::of(&table)?;
        // Methods are guards, which nobody but the router asks.
        table.check_methods(|_| RouteMethods::Untold)?;
        Ok(PaymentMiddleware::new(self.toll_by_route(table)?, keys))
    }
}
