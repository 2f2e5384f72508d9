//! Charges made ready: the look-up that decides whether a request is charged, and for what.

use std::{collections::HashMap, fmt, panic::AssertUnwindSafe, sync::Arc};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use futures_util::FutureExt;
use http::{Method, Response};

use super::{
    Charge, ConfigError, PaymentGate, RouteTable,
    admission::{Pass, admit},
    builder::GateInner,
    charge::{Cost, PayTo, PaymentOption, PriceSource},
    offer::{COMFORTABLE_HEADER, Standing, requirements, shortest_header, speaks_v1},
    refusal::Refusal,
    request::{RequestBody, RequestView},
    table::RouteKey,
};
use crate::{
    amount::Amount,
    asset,
    payment::{JsonMap, PaymentRequirements, SupportedKind, Version},
    scheme::SchemeError,
};

/// The longest header we make, in bytes: many servers and proxies take no more than
/// 8 KiB of headers.
pub(super) const HEADER_LIMIT: usize = 8 * 1024;

/// The longest description that every facilitator takes, in characters: a large public one refuses longer ones.
const LONGEST_DESCRIPTION: usize = 500;

/// What an adapter charges by: one price for everything, or a price by route.
#[derive(Clone)]
pub struct Toll {
    gate: Arc<GateInner>,
    routes: Routes,
}

#[derive(Clone)]
enum Routes {
    Single(Arc<Priced>),
    Table { by_pattern: Arc<ByPattern>, unrouted_is_free: bool },
}

/// What is listed and free has no price.
type ByPattern = HashMap<String, Vec<(RouteKey, Option<Arc<Priced>>)>>;

/// A charge checked against the gate, and the offer last made of it.
pub(super) struct Priced {
    pub(super) cost: Cost,
    pub(super) charge: Charge,
    pub(super) standing: ArcSwapOption<Standing>,
}

/// Whether a request is charged.
#[derive(Debug)]
#[must_use]
pub enum Passage {
    /// It is not.
    Free,
    /// It is: ask for admission.
    Charged(PricedRoute),
    /// It cannot be told; here is the answer.
    Refused(Response<Bytes>),
}

/// A route that is charged for.
pub struct PricedRoute {
    gate: Arc<GateInner>,
    priced: Arc<Priced>,
    is_preflight: bool,
}

impl Toll {
    pub(super) fn single(gate: &PaymentGate, charge: Charge) -> Result<Self, ConfigError> {
        let priced = Priced::check(&gate.inner, charge, None)?;
        priced.register(&gate.inner);
        Ok(Self { gate: gate.inner.clone(), routes: Routes::Single(Arc::new(priced)) })
    }

    pub(super) fn table(gate: &PaymentGate, table: RouteTable) -> Result<Self, ConfigError> {
        if table.routes.iter().all(|(_, charge)| charge.is_none()) {
            return Err(ConfigError::EmptyTable);
        }
        let mut by_pattern = ByPattern::new();
        for (key, charge) in table.routes {
            let route = key.to_string();
            let check = |charge| Priced::check(&gate.inner, charge, Some(&route)).map(Arc::new);
            let priced = charge
                .map(check)
                .transpose()
                .map_err(|why| ConfigError::Route { route: route.clone(), why: Box::new(why) })?;
            by_pattern.entry(key.pattern.clone()).or_default().push((key, priced));
        }
        for (_, priced) in by_pattern.values().flatten() {
            priced.iter().for_each(|priced| priced.register(&gate.inner));
        }
        let routes =
            Routes::Table { by_pattern: Arc::new(by_pattern), unrouted_is_free: table.unrouted_is_free };
        Ok(Self { gate: gate.inner.clone(), routes })
    }

    /// What becomes of a request whose route the framework does not tell clearly: a table cannot price it.
    pub fn unclear(&self, method: &Method, is_preflight: bool) -> Passage {
        match &self.routes {
            Routes::Single(priced) => self.charged(priced, is_preflight),
            Routes::Table { .. } => Passage::Refused(Refusal::misconfigured(UNCLEAR).encode_to(method)),
        }
    }

    /// The answer to every request, once it is known that a key is no route: what it should price is given away.
    pub fn no_such_route(&self, method: &Method, error: &ConfigError) -> Response<Bytes> {
        Refusal::misconfigured(error.to_string()).encode_to(method)
    }

    fn charged(&self, priced: &Arc<Priced>, is_preflight: bool) -> Passage {
        Passage::Charged(PricedRoute { gate: self.gate.clone(), priced: priced.clone(), is_preflight })
    }

    /// Whether a request that matched this route is charged. Costs a look-up.
    ///
    /// A [preflight](super::is_preflight) of a charged route is let through to the service's own CORS layer, wherever that
    /// stands: without a body, with no [`Access`](super::Access), and of its answer nothing leaves but the status and what
    /// browsers look for. Request hooks are not asked. Where no CORS layer answers it, it comes to a handler that takes any
    /// method: let such handlers do nothing for OPTIONS. A key that names OPTIONS charges it as any other.
    pub fn passage(&self, method: &Method, is_preflight: bool, route: Option<&str>) -> Passage {
        match (&self.routes, route) {
            (Routes::Single(priced), _) => self.charged(priced, is_preflight),
            (Routes::Table { by_pattern, .. }, Some(route)) => {
                let entries = by_pattern.get(route).filter(|_| is_preflight);
                match preflighted(entries.into_iter().flatten()) {
                    Some(priced) => self.charged(priced, true),
                    None => {
                        self.listed(method, route).map_or(Passage::Free, |priced| self.charged(priced, false))
                    }
                }
            }
            (Routes::Table { unrouted_is_free: true, .. }, None) => Passage::Free,
            (Routes::Table { .. }, None) => {
                Passage::Refused(Refusal::misconfigured(UNROUTED).encode_to(method))
            }
        }
    }

    /// The same, for an adapter that asks before the framework has routed the request. `route` is the first pattern that
    /// matches the request's path, and `fits` says whether one of the table's does: where another pattern than the first
    /// may be taken, and it is charged, the request is refused. A path without route is not found. A preflight of whatever
    /// may be charged is let through as in [`passage`](Self::passage).
    pub fn passage_ahead(
        &self,
        method: &Method,
        is_preflight: bool,
        route: Option<&str>,
        fits: impl Fn(&str) -> bool,
    ) -> Passage {
        let Routes::Table { by_pattern, unrouted_is_free } = &self.routes else {
            return self.passage(method, is_preflight, route);
        };
        if is_preflight {
            let fitting =
                by_pattern.iter().filter(|(pattern, _)| Some(&***pattern) == route || fits(pattern));
            if let Some(priced) = preflighted(fitting.flat_map(|(_, entries)| entries)) {
                return self.charged(priced, true);
            }
        }
        // Where routes are told apart by exact methods, a free GET says nothing of HEAD.
        let exact = |key: &RouteKey, priced: &Option<_>| priced.is_some() || key.names(method);
        let first = route.and_then(|route| self.listed_as(method, route));
        if let Some((_, listed)) = first.filter(|(key, priced)| exact(key, priced)) {
            return listed.as_ref().map_or(Passage::Free, |priced| self.charged(priced, false));
        }
        let charged = |entries: &[(RouteKey, Option<Arc<Priced>>)]| {
            entries.iter().find(|(key, _)| key.takes(method)).is_some_and(|(_, priced)| priced.is_some())
        };
        let rival = by_pattern.iter().find(|(pattern, entries)| charged(entries) && fits(pattern));
        match (rival, route) {
            (Some((rival, _)), _) => {
                Passage::Refused(Refusal::misconfigured(ambiguous(route, rival)).encode_to(method))
            }
            (None, None) if !unrouted_is_free => Passage::Refused(Refusal::no_route().encode_to(method)),
            (None, _) => Passage::Free,
        }
    }

    /// Holds the route that a request reached, and by which method, against what was expected: the answer to give in place
    /// of the handler's, where it costs otherwise.
    pub fn contradicts(
        &self,
        (method, expected): (&Method, Option<&str>),
        (reached_by, reached): (&Method, Option<&str>),
    ) -> Option<Response<Bytes>> {
        let price = |method, route: Option<&str>| {
            route.and_then(|route| self.listed(method, route)).map(|priced| priced.cost)
        };
        if price(method, expected) == price(reached_by, reached) {
            return None;
        }
        let rival = reached.or(expected).unwrap_or_default();
        Some(Refusal::misconfigured(ambiguous(expected, rival)).encode_to(method))
    }

    /// What a table says of a route, if anything: the first of its keys that takes the method.
    fn listed_as(&self, method: &Method, route: &str) -> Option<&(RouteKey, Option<Arc<Priced>>)> {
        let Routes::Table { by_pattern, .. } = &self.routes else { return None };
        by_pattern.get(route)?.iter().find(|(key, _)| key.takes(method))
    }

    fn listed(&self, method: &Method, route: &str) -> Option<&Arc<Priced>> {
        self.listed_as(method, route)?.1.as_ref()
    }
}

/// What is charged by any method among these, where a preflight of it is let through: not where a key names OPTIONS.
fn preflighted<'a>(
    mut entries: impl Iterator<Item = &'a (RouteKey, Option<Arc<Priced>>)> + Clone,
) -> Option<&'a Arc<Priced>> {
    if entries.clone().any(|(key, _)| key.method() == Some(&Method::OPTIONS)) {
        return None;
    }
    entries.find_map(|(_, priced)| priced.as_ref())
}

fn ambiguous(route: Option<&str>, rival: &str) -> String {
    format!(
        "a request's path matches `{}`, and `{rival}`, which costs otherwise, as well: put the charge on the route itself, \
         or list both in the table, each with the methods it takes",
        route.unwrap_or("no route")
    )
}

const UNCLEAR: &str = "what the framework says of a request's route does not fit its path, so the route table cannot tell \
    what it costs: charge the routes of the outermost router, or put layers on the routes";

const UNROUTED: &str = "the route table saw a request that matched no route: put it behind what matches routes, or say \
    `unrouted_is_free` if what has no route may be free";

impl PricedRoute {
    /// Takes the payment of a request. Its body is read only where the payment says what it is called.
    ///
    /// # Errors
    /// The answer to give: it was given before, nobody paid, or not as it should be, or the payment cannot be taken now.
    pub async fn admit(
        &self,
        request: RequestView<'_>,
        body: &mut impl RequestBody,
    ) -> Result<Pass, Response<Bytes>> {
        if self.is_preflight && body.discard() {
            return Ok(Pass::preflight());
        }
        // A scheme or a store of the service's own may panic: that is an answer, not a connection that breaks.
        let admitted = AssertUnwindSafe(admit(&self.gate, &self.priced, request, body)).catch_unwind().await;
        match admitted {
            Ok(admitted) => admitted,
            Err(_) => Err(Refusal::panicked().encode_to(request.method)),
        }
    }
}

impl Priced {
    /// Says in which ways it is paid to whoever watches what the facilitator settles.
    fn register(&self, gate: &GateInner) {
        for PaymentOption { scheme, network, .. } in &self.charge.options {
            gate.capabilities.need(scheme, network, speaks_v1(gate, &self.charge, network));
        }
    }

    /// Everything about a charge that can be found wrong before the first request.
    fn check(gate: &GateInner, charge: Charge, route: Option<&str>) -> Result<Self, ConfigError> {
        if let Some(setting) = charge.contradiction {
            return Err(ConfigError::Contradiction { setting });
        }
        let mut fixed = Vec::with_capacity(charge.options.len());
        for option in &charge.options {
            fixed.extend(check_option(gate, option)?);
        }
        let bytes = shortest_header(gate, &charge, fixed);
        if bytes > HEADER_LIMIT {
            return Err(ConfigError::OfferTooLarge { bytes, limit: HEADER_LIMIT });
        }
        if bytes > COMFORTABLE_HEADER {
            tracing::warn!(
                route,
                bytes,
                "the PAYMENT-REQUIRED header of this offer is longer than {COMFORTABLE_HEADER} bytes: nginx, as it is \
                 delivered, answers 502 in place of a 402 with more than 4 KiB of headers; offer fewer options, or set \
                 proxy_buffer_size 16k"
            );
        }
        let described = charge.description.as_deref().map_or(0, |text| text.chars().count());
        if described > LONGEST_DESCRIPTION {
            tracing::warn!(
                route,
                characters = described,
                "this description is longer than {LONGEST_DESCRIPTION} characters: some facilitators refuse payments for it"
            );
        }
        Ok(Self { cost: charge.cost(), charge, standing: ArcSwapOption::empty() })
    }
}

/// The requirements of an option, as far as they can be known before the first request. What is computed for each
/// request is stood in for, so that all the rest is checked.
fn check_option(
    gate: &GateInner,
    option: &PaymentOption,
) -> Result<Option<PaymentRequirements>, ConfigError> {
    let PaymentOption { scheme, network, .. } = option;
    if option.lifetime() == 0 {
        return Err(ConfigError::Timeout);
    }
    let server = gate.scheme(scheme, network).ok_or_else(|| ConfigError::UnknownScheme {
        scheme: (*scheme).to_owned(),
        network: network.clone(),
    })?;
    let payee = match &option.pay_to {
        PayTo::Fixed(Ok(payee)) => Some(payee.clone()),
        PayTo::Fixed(Err((text, why))) => return Err(ConfigError::PayTo { text: text.clone(), why: *why }),
        PayTo::Computed(..) => None,
    };
    let (token, amount) = match &option.price {
        PriceSource::Fixed(price) => price.clone()?.resolve(network)?,
        PriceSource::Computed(..) => match asset::default_token(network) {
            Some(token) => (token, Amount::from(1)),
            None => return Ok(None),
        },
    };
    if payee.as_ref().is_some_and(|payee| payee.as_str().eq_ignore_ascii_case(token.address.as_str())) {
        return Err(ConfigError::Scheme {
            scheme: (*scheme).to_owned(),
            network: network.clone(),
            why: SchemeError::new(format!(
                "the payee {} is the token itself: name the account that is to be paid",
                token.address
            )),
        });
    }
    let payee = payee.unwrap_or_else(|| token.address.clone());
    let mut requirements = requirements(option, &token, amount, payee, JsonMap::new());
    server.check(&requirements, &token).map_err(|why| ConfigError::Scheme {
        scheme: (*scheme).to_owned(),
        network: network.clone(),
        why,
    })?;
    let (version, extra) = (Version::V2, JsonMap::new());
    let kind = SupportedKind { version, scheme: (*scheme).to_owned(), network: network.clone(), extra };
    // Only to see how long it gets: what the facilitator adds is not known yet, and may be what is missing.
    let _ = server.enrich(&mut requirements, &token, &kind);
    Ok(Some(requirements))
}

impl fmt::Debug for Toll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.routes {
            Routes::Single(priced) => f.debug_tuple("Toll").field(&priced.charge).finish(),
            Routes::Table { by_pattern, .. } => f.debug_tuple("Toll").field(&by_pattern.keys()).finish(),
        }
    }
}

impl fmt::Debug for PricedRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PricedRoute").field(&self.priced.charge).finish()
    }
}
