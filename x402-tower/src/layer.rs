//! The layer, and how it reads a request's route.

use bytes::Bytes;
use http::{Method, Uri, request::Parts};
use http_body::Body;
use tower_layer::Layer;
use x402_core::gate::{Charge, ConfigError, PaymentGate, RouteMethods, RouteTable, Toll};

use crate::{service::PaymentService, upload::Uploads};

/// Charges for every request, or by route.
#[derive(Debug, Clone)]
pub struct PaymentLayer {
    toll: Toll,
    routing: Routing,
    uploads: Uploads,
}

impl PaymentLayer {
    /// Charges by this toll; `routing` reads what the framework left in the request.
    pub fn new(toll: Toll, routing: Routing) -> Self {
        Self { toll, routing, uploads: Uploads::default() }
    }

    /// The bodies of requests are of this type, and `rebuild` makes one of bytes that were read. A charge that is
    /// [`idempotent`](Charge::idempotent) needs to know, since what a client names is a request with its body; without
    /// it, and for requests of another type, such a charge answers 500.
    ///
    /// hyper's `Incoming` cannot be made: box it before.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http_body_util::Full;
    /// use x402_core::gate::{ConfigError, PaymentGate, exact};
    /// use x402_core::network::BASE;
    /// use x402_tower::{GateExt, PaymentLayer};
    ///
    /// fn layer(gate: &PaymentGate) -> Result<PaymentLayer, ConfigError> {
    ///     let charge = exact("$0.01").on(BASE).to("0x209693Bc6afc0C5328bA36FaF03C514EF312287C");
    ///     Ok(gate.charge(charge.idempotent())?.uploads(Full::<Bytes>::new))
    /// }
    /// ```
    pub fn uploads<B>(self, rebuild: fn(Bytes) -> B) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
    {
        Self { uploads: Uploads::of(rebuild), ..self }
    }
}

impl<S> Layer<S> for PaymentLayer {
    type Service = PaymentService<S>;

    fn layer(&self, inner: S) -> PaymentService<S> {
        PaymentService::new(inner, self.toll.clone(), self.routing, self.uploads.clone())
    }
}

/// Where a framework keeps the matched route and the original URI. Plain tower has neither.
#[derive(Debug, Clone, Copy)]
pub struct Routing {
    /// The pattern of the matched route, as a table has it; `Ok(None)` where the framework knows of none.
    pub route: fn(&Parts) -> Result<Option<&str>, Unclear>,
    /// The pattern of the matched route, as clients and hooks may know it: with all that it is nested in. `None` where
    /// it is the same.
    pub whole: fn(&Parts) -> Option<&str>,
    /// The URI as the client sent it.
    pub uri: fn(&Parts) -> &Uri,
}

impl Routing {
    /// No matched route; the request's own URI.
    pub const NONE: Self = Self { route: |_| Ok(None), whole: |_| None, uri: |parts| &parts.uri };
}

/// What the framework says of the route does not fit the request: a table cannot tell what it costs, and refuses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unclear;

/// Layers, straight from a gate.
pub trait GateExt {
    /// Charges for every request that comes through.
    ///
    /// # Errors
    /// When the charge cannot work.
    fn charge(&self, charge: Charge) -> Result<PaymentLayer, ConfigError>;

    /// Charges by the route that `routing` reads, one of these `routes`: patterns, each with the method it takes, like
    /// `"GET /weather/{city}"`, or without one where it is not known which it takes. One that takes several is there once
    /// for each. Methods of a charged route that are free are warned of, unless the table says that they are, and so are
    /// those that are not known.
    ///
    /// # Errors
    /// When a charge cannot work, the table is empty, a key is none of the routes, or all routes of its pattern are there
    /// with methods and its own is none of them.
    fn charge_routes<'a>(
        &self,
        table: RouteTable,
        routes: impl IntoIterator<Item = &'a str>,
        routing: Routing,
    ) -> Result<PaymentLayer, ConfigError>;
}

impl GateExt for PaymentGate {
    fn charge(&self, charge: Charge) -> Result<PaymentLayer, ConfigError> {
        Ok(PaymentLayer::new(self.toll(charge)?, Routing::NONE))
    }

    fn charge_routes<'a>(
        &self,
        table: RouteTable,
        routes: impl IntoIterator<Item = &'a str>,
        routing: Routing,
    ) -> Result<PaymentLayer, ConfigError> {
        let routes: Vec<_> = routes.into_iter().map(taken_apart).collect();
        table.check_among(routes.iter().map(|(_, pattern)| *pattern))?;
        table.check_methods(|pattern| {
            let same = routes.iter().filter(|(_, other)| *other == pattern);
            same.map(|(methods, _)| methods.clone()).reduce(RouteMethods::and).unwrap_or(RouteMethods::Untold)
        })?;
        Ok(PaymentLayer::new(self.toll_by_route(table)?, routing))
    }
}

/// The method of a route, if it is told, and its pattern.
fn taken_apart(route: &str) -> (RouteMethods, &str) {
    let told = route.split_once(' ').filter(|_| !route.starts_with('/'));
    match told.and_then(|(method, pattern)| Some((method.parse::<Method>().ok()?, pattern.trim_start()))) {
        Some((method, pattern)) => (RouteMethods::These(vec![method]), pattern),
        None => (RouteMethods::Untold, route),
    }
}
