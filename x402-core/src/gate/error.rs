//! What is wrong with a configuration, found when it is written.

use crate::{address::AddressError, network::Network, price::PriceError, scheme::SchemeError};

/// A gate, a charge or a route table that cannot work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The origin is not an http(s) URL.
    #[error("the origin `{0}` is not an address clients can use: write it like `https://api.example.com`")]
    Origin(String),
    /// There is no facilitator.
    #[error("a gate needs a facilitator: call `.facilitator(…)` on the builder")]
    NoFacilitator,
    /// There is no scheme.
    #[error(
        "a gate needs a payment scheme: call `.scheme(…)` on the builder, for example with `x402_evm::exact::server()`"
    )]
    NoScheme,
    /// Payees that are paid through one store alone, and no store.
    #[error(
        "`exclusive_payee` needs a store that remembers what was spent: give the gate one with `.store(…)` on the builder"
    )]
    ExclusiveWithoutStore,
    /// Built outside of a Tokio runtime.
    #[error(
        "build the gate inside a Tokio runtime: it asks its facilitator what it supports in the background"
    )]
    NoRuntime,
    /// A charge in a scheme, or on a network, that no registered scheme covers.
    #[error(
        "no registered scheme charges `{scheme}` on {network}: add it with `.scheme(…)` on the gate's builder"
    )]
    UnknownScheme {
        /// The scheme.
        scheme: String,
        /// The network.
        network: Network,
    },
    /// A price that cannot be charged.
    #[error(transparent)]
    Price(#[from] PriceError),
    /// A payee that is no address.
    #[error("`{text}` cannot be paid: {why}")]
    PayTo {
        /// What was written.
        text: String,
        /// Why not.
        why: AddressError,
    },
    /// A token or payee that the scheme cannot charge with.
    #[error("cannot charge `{scheme}` on {network}: {why}")]
    Scheme {
        /// The scheme.
        scheme: String,
        /// The network.
        network: Network,
        /// What it lacks.
        why: SchemeError,
    },
    /// Charges joined by `or` say two things about one route.
    #[error(
        "two charges joined by `or` contradict each other in `{setting}`, which is about the route and not about one way to \
         pay: set it on one of them, or on what `or` returns"
    )]
    Contradiction {
        /// The setting.
        setting: &'static str,
    },
    /// A payment must be given at least a second.
    #[error("a payment must stay valid for at least a second")]
    Timeout,
    /// The 402 would not fit into a header.
    #[error("the offer takes {bytes} bytes of header, and {limit} is the limit: offer fewer options")]
    OfferTooLarge {
        /// What it takes.
        bytes: usize,
        /// What there is.
        limit: usize,
    },
    /// A route key that is none.
    #[error("`{0}` is not a route: write \"GET /weather/{{city}}\" or \"/weather/{{city}}\"")]
    RouteKey(String),
    /// A route that an earlier one covers.
    #[error("the route `{route}` can never match: `{earlier}` stands before it")]
    Unreachable {
        /// The route.
        route: String,
        /// The one before it.
        earlier: String,
    },
    /// A route of the table that the router does not have.
    #[error("the router has no route `{route}`{}", advice(.nearest.as_deref()))]
    NoSuchRoute {
        /// The route.
        route: String,
        /// The router's own pattern for the same paths, if it has one.
        nearest: Option<String>,
    },
    /// A route of the table that the router has, with a method that it does not take.
    #[error(
        "`{route}` would charge nothing: the route takes {methods}, which would be free. Write the method that it takes, or \
         none, which charges all"
    )]
    NoSuchMethod {
        /// The route.
        route: String,
        /// The methods that it takes.
        methods: String,
    },
    /// A route of the table that cannot be looked for in the router.
    #[error(
        "it cannot be told whether the router has a route `{route}`: no path could be made up for its regular expression; \
         put the charge on the route itself"
    )]
    Unchecked {
        /// The route.
        route: String,
    },
    /// A table without routes.
    #[error("the route table is empty: it would let every request pass")]
    EmptyTable,
    /// Something wrong in a table's route.
    #[error("route `{route}`: {why}")]
    Route {
        /// The route.
        route: String,
        /// What is wrong.
        why: Box<ConfigError>,
    },
}

fn advice(pattern: Option<&str>) -> String {
    match pattern {
        Some(pattern) => format!(": what it has for such paths is `{pattern}`; write that, letter for letter"),
        None => ": what is charged must be written as the router has it, so that nothing is given away by a typo; what \
                 is nested and keeps its routes to itself is charged on its own"
            .to_owned(),
    }
}
