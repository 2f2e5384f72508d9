//! What a route costs, as it is configured.

use std::{
    any::type_name,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    idempotency::Identifiers,
    paywall::Paywall,
    request::{RequestDecision, RequestHook, RequestInfo},
};
use crate::{
    BoxFuture,
    address::{Address, AddressError},
    amount::Amount,
    asset::Token,
    network::Network,
    payment::{PaymentRequired, SettleResponse},
    price::{Price, PriceError},
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A fixed price: the payer pays exactly this.
///
/// ```
/// use x402_core::{gate::exact, network::{BASE, BASE_SEPOLIA}};
///
/// let charge = exact("$0.01").on(BASE_SEPOLIA).to("0x209693Bc6afc0C5328bA36FaF03C514EF312287C")
///     .or(exact("0.01 USDC").on(BASE).to("0x209693Bc6afc0C5328bA36FaF03C514EF312287C"))
///     .describe("Weather forecast");
/// ```
pub fn exact(price: impl IntoPrice) -> Unplaced {
    Unplaced { scheme: "exact", price: PriceSource::Fixed(price.into_price()) }
}

/// A price computed for each request. An error is answered with 500, and the handler does not run.
///
/// A payment that is owed an answer is served for the same method, host and URI, where the price is no higher by now, or the
/// request has the headers of the first time: all but those of proxies, browsers and traces, so let a price depend on none
/// of these.
pub fn exact_with<F, Fut, P>(compute: F) -> Unplaced
where
    F: Fn(RequestInfo) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<P, BoxError>> + Send + 'static,
    P: IntoPrice,
{
    let compute = move |request| {
        let price = compute(request);
        Box::pin(async move { Ok(price.await?.into_price()?) }) as BoxFuture<'static, _>
    };
    Unplaced { scheme: "exact", price: PriceSource::Computed(Arc::new(compute), type_name::<F>()) }
}

/// A price still without a network; see [`exact`].
#[derive(Debug)]
#[must_use]
pub struct Unplaced {
    scheme: &'static str,
    price: PriceSource,
}

impl Unplaced {
    /// Charged on this network.
    pub fn on(self, network: Network) -> Unaddressed {
        Unaddressed { scheme: self.scheme, price: self.price, network }
    }
}

/// A price still without a payee; see [`exact`].
#[derive(Debug)]
#[must_use]
pub struct Unaddressed {
    scheme: &'static str,
    price: PriceSource,
    network: Network,
}

impl Unaddressed {
    /// Paid to this account.
    pub fn to(self, payee: impl ToString) -> Charge {
        let text = payee.to_string();
        let payee = text.parse().map_err(|error| (text, error));
        self.paid(PayTo::Fixed(payee))
    }

    /// Paid to an account computed for each request. An error is answered with 500, and the handler does not run.
    ///
    /// A payment whose settlement took longer is served for the same method, host and URI, as long as the same account
    /// is to be paid there.
    pub fn to_with<F, Fut>(self, compute: F) -> Charge
    where
        F: Fn(RequestInfo) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Address, BoxError>> + Send + 'static,
    {
        let compute = move |request| Box::pin(compute(request)) as BoxFuture<'static, _>;
        self.paid(PayTo::Computed(Arc::new(compute), type_name::<F>()))
    }

    fn paid(self, pay_to: PayTo) -> Charge {
        let option = PaymentOption {
            scheme: self.scheme,
            price: self.price,
            network: self.network,
            pay_to,
            max_timeout_seconds: None,
        };
        Charge {
            options: vec![option],
            description: None,
            mime_type: None,
            max_timeout_seconds: None,
            timing: None,
            identifiers: None,
            request_hooks: Vec::new(),
            hook_names: Vec::new(),
            paywall: None,
            unpaid_body: None,
            settlement_failed_body: None,
            contradiction: None,
        }
    }
}

/// What a route costs: one way to pay or several, and what is said about it.
#[derive(Clone)]
#[must_use]
pub struct Charge {
    pub(super) options: Vec<PaymentOption>,
    pub(super) description: Option<String>,
    pub(super) mime_type: Option<String>,
    /// For options that are added later and say nothing themselves.
    max_timeout_seconds: Option<u64>,
    timing: Option<SettleTiming>,
    identifiers: Option<Identifiers>,
    pub(super) request_hooks: Vec<RequestHook>,
    hook_names: Vec<&'static str>,
    /// `None`: what the gate has for people.
    pub(super) paywall: Option<PaywallOf>,
    pub(super) unpaid_body: Option<UnpaidBody>,
    pub(super) settlement_failed_body: Option<SettlementFailedBody>,
    /// The setting that charges joined by `or` contradict each other in.
    pub(super) contradiction: Option<&'static str>,
}

/// What people see who open it in a browser, where that is not what the gate has for them.
#[derive(Clone)]
pub(super) enum PaywallOf {
    Charge(Arc<dyn Paywall>),
    Nobody,
}

pub(super) type UnpaidBody = Arc<dyn Fn(&PaymentRequired) -> CustomBody + Send + Sync>;
pub(super) type SettlementFailedBody = Arc<dyn Fn(&SettleResponse) -> CustomBody + Send + Sync>;

impl Charge {
    /// Another way to pay. Options are offered in the order they are added.
    ///
    /// All but the [lifetime](Self::max_timeout_seconds) is about the route, not about one way to pay for it: what either
    /// charge says of description, timing, identifiers, hooks, page and bodies holds for both, and hooks of both are asked.
    /// Where the two contradict each other, the gate refuses the charge with
    /// [`ConfigError::Contradiction`](super::ConfigError::Contradiction).
    pub fn or(mut self, other: Charge) -> Self {
        let Charge {
            options,
            description,
            mime_type,
            max_timeout_seconds: _,
            timing,
            identifiers,
            request_hooks,
            hook_names,
            paywall,
            unpaid_body,
            settlement_failed_body,
            contradiction,
        } = other;
        let lifetime = self.max_timeout_seconds;
        self.options.extend(options.into_iter().map(|option| PaymentOption {
            max_timeout_seconds: option.max_timeout_seconds.or(lifetime),
            ..option
        }));
        for (hook, name) in request_hooks.into_iter().zip(hook_names) {
            if !self.request_hooks.iter().any(|known| Arc::ptr_eq(known, &hook)) {
                self.request_hooks.push(hook);
                self.hook_names.push(name);
            }
        }
        let agreed = [
            ("description", join(&mut self.description, description, PartialEq::eq)),
            ("mime_type", join(&mut self.mime_type, mime_type, PartialEq::eq)),
            ("settle_first", join(&mut self.timing, timing, PartialEq::eq)),
            ("identifiers", join(&mut self.identifiers, identifiers, PartialEq::eq)),
            ("paywall", join(&mut self.paywall, paywall, PaywallOf::is_same)),
            ("unpaid_body", join(&mut self.unpaid_body, unpaid_body, Arc::ptr_eq)),
            (
                "settlement_failed_body",
                join(&mut self.settlement_failed_body, settlement_failed_body, Arc::ptr_eq),
            ),
        ];
        let contradicted = agreed.into_iter().find(|(_, agree)| !agree).map(|(setting, _)| setting);
        self.contradiction = self.contradiction.or(contradiction).or(contradicted);
        self
    }

    /// What is sold, for people.
    pub fn describe(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// The media type of what is sold.
    pub fn mime_type(mut self, mime_type: impl Into<String>) -> Self {
        self.mime_type = Some(mime_type.into());
        self
    }

    /// For how many seconds clients are to sign a payment; 300 if nothing is said. It holds for every option of the charge,
    /// and for those that [`or`](Self::or) adds to it later, unless they say otherwise themselves. A payment that expires
    /// sooner is taken if it can be settled now: where a handler takes long, settle first.
    pub fn max_timeout_seconds(mut self, seconds: u64) -> Self {
        for option in &mut self.options {
            option.max_timeout_seconds = Some(seconds);
        }
        self.max_timeout_seconds = Some(seconds);
        self
    }

    /// Settle before the handler runs, not after: the handler has the receipt, and the payer is charged even when
    /// the handler fails.
    pub fn settle_first(mut self) -> Self {
        self.timing = Some(SettleTiming::BeforeHandler);
        self
    }

    /// A client may name what it pays for, with the extension `payment-identifier` of version 2, and ask for it again:
    ///
    /// | The same identifier, with | is answered |
    /// |---|---|
    /// | the same payment and the same request, in work | 409 with `Retry-After` |
    /// | the same payment and the same request, answered | as before, with `Idempotent-Replayed: true`; no handler runs |
    /// | the same, its answer not kept | 409 `payment_answer_not_kept` |
    /// | another payment, or another request | 409 `payment_identifier_conflict`; nobody is asked to settle |
    ///
    /// The request is our origin, the method, host, route, path, query and body. Its other headers do not count: where
    /// more decides what it gets than that, such as who is logged in, an identifier must not be guessed by others.
    /// What was not charged leaves the identifier as free as the payment.
    ///
    /// The body of a request that is so named is read whole before it is answered, once its payment was found good. An answer of known length is kept,
    /// without cookies and what is about the connection, for as long as the payment is known to be spent; see
    /// [`Idempotency`](super::Idempotency). gRPC calls cannot be named.
    ///
    /// ```
    /// use x402_core::{gate::exact, network::BASE};
    ///
    /// let charge = exact("$0.10").on(BASE).to("0x209693Bc6afc0C5328bA36FaF03C514EF312287C").idempotent();
    /// ```
    pub fn idempotent(mut self) -> Self {
        self.identifiers.get_or_insert(Identifiers::Optional);
        self
    }

    /// As [`idempotent`](Self::idempotent), and a payment without an identifier is answered 400. So are all of version 1:
    /// it has no words for them, and is not offered.
    pub fn require_identifier(mut self) -> Self {
        self.identifiers = Some(Identifiers::Required);
        self
    }

    /// A hook on every request to this route, after those of the gate: charge, let it pass free, or refuse. The first
    /// hook that does not say [`RequestDecision::Charge`] counts.
    pub fn on_request<F, Fut>(mut self, hook: F) -> Self
    where
        F: Fn(RequestInfo) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = RequestDecision> + Send + 'static,
    {
        self.request_hooks.push(Arc::new(move |request| Box::pin(hook(request))));
        self.hook_names.push(type_name::<F>());
        self
    }

    /// The page for people who open this in a browser, in place of the gate's, of which nothing is taken over; see
    /// [`Paywall`].
    pub fn paywall(mut self, paywall: impl Paywall) -> Self {
        self.paywall = Some(PaywallOf::Charge(Arc::new(paywall)));
        self
    }

    /// No page for people, whatever the gate has: they see what programs do.
    pub fn without_paywall(mut self) -> Self {
        self.paywall = Some(PaywallOf::Nobody);
        self
    }

    /// The body of the 402 when no payment came, in place of version 1's JSON. With it, only version 2 clients can
    /// pay, since version 1 reads its requirements from the body.
    pub fn unpaid_body(
        mut self,
        body: impl Fn(&PaymentRequired) -> CustomBody + Send + Sync + 'static,
    ) -> Self {
        self.unpaid_body = Some(Arc::new(body));
        self
    }

    /// The body of the 402 when the settlement failed.
    pub fn settlement_failed_body(
        mut self,
        body: impl Fn(&SettleResponse) -> CustomBody + Send + Sync + 'static,
    ) -> Self {
        self.settlement_failed_body = Some(Arc::new(body));
        self
    }
}

/// Takes what the other charge says where this one says nothing; whether they do not contradict each other.
fn join<T>(mine: &mut Option<T>, theirs: Option<T>, is_same: impl Fn(&T, &T) -> bool) -> bool {
    match (&*mine, theirs) {
        (Some(mine), Some(theirs)) => is_same(mine, &theirs),
        (None, theirs) => {
            *mine = theirs;
            true
        }
        (Some(_), None) => true,
    }
}

impl PaywallOf {
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Nobody, Self::Nobody) => true,
            (Self::Charge(one), Self::Charge(other)) => Arc::ptr_eq(one, other),
            (Self::Nobody, Self::Charge(_)) | (Self::Charge(_), Self::Nobody) => false,
        }
    }
}

/// What a charge costs, as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cost {
    /// The same wherever it is configured alike. What is computed or hooked is the same where the code is: closures of
    /// one function are, whatever they hold.
    pub(super) anywhere: u64,
    /// In this process, what is computed or hooked is the same for clones alone.
    here: u64,
    /// Whether a price or a payee is computed for each request.
    #[serde(default)]
    pub(super) is_computed: bool,
}

impl Charge {
    /// When the money moves.
    pub(super) fn timing(&self) -> SettleTiming {
        self.timing.unwrap_or(SettleTiming::AfterHandler)
    }

    /// Whether clients may name what they pay for.
    pub(super) fn identifiers(&self) -> Identifiers {
        self.identifiers.unwrap_or(Identifiers::Unknown)
    }

    /// What it costs.
    pub(super) fn cost(&self) -> Cost {
        let mut hasher = DefaultHasher::new();
        format!("{self:?}").hash(&mut hasher);
        self.hook_names.hash(&mut hasher);
        let anywhere = hasher.finish();
        for PaymentOption { price, pay_to, .. } in &self.options {
            if let PriceSource::Computed(compute, _) = price {
                Arc::as_ptr(compute).addr().hash(&mut hasher);
            }
            if let PayTo::Computed(compute, _) = pay_to {
                Arc::as_ptr(compute).addr().hash(&mut hasher);
            }
        }
        for hook in &self.request_hooks {
            Arc::as_ptr(hook).addr().hash(&mut hasher);
        }
        let is_computed = self.options.iter().any(|option| {
            matches!(option.price, PriceSource::Computed(..)) || matches!(option.pay_to, PayTo::Computed(..))
        });
        Cost { anywhere, here: hasher.finish(), is_computed }
    }
}

impl fmt::Debug for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Charge")
            .field("options", &self.options)
            .field("timing", &self.timing())
            .field("identifiers", &self.identifiers())
            .finish_non_exhaustive()
    }
}

/// When the money moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettleTiming {
    /// Once the handler answered, before the first byte of its answer leaves.
    AfterHandler,
    /// Before the handler runs.
    BeforeHandler,
}

/// A body in place of the gate's own.
#[derive(Debug, Clone)]
pub struct CustomBody {
    /// Its media type, like `text/html`. What is no header value is replaced by `application/octet-stream`.
    pub content_type: String,
    /// Its bytes.
    pub body: Bytes,
}

/// An amount of a token that is named in full: for tokens that are not in the table of stablecoins.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenAmount {
    /// The token. Its network must be the one the charge is on.
    pub token: Token,
    /// How much, in the token's smallest unit.
    pub amount: Amount,
}

/// A price in words, or an amount of a named token.
#[derive(Debug, Clone, PartialEq)]
pub enum PriceSpec {
    /// In words.
    Price(Price),
    /// Named in full.
    Token(TokenAmount),
}

impl PriceSpec {
    pub(super) fn resolve(self, network: &Network) -> Result<(Token, Amount), PriceError> {
        match self {
            Self::Price(price) => price.resolve(network),
            Self::Token(TokenAmount { amount, .. }) if amount.is_zero() => Err(PriceError::Zero),
            Self::Token(TokenAmount { token, .. }) if token.network != *network => {
                Err(PriceError::UnknownToken { symbol: token.symbol.into_owned(), network: network.clone() })
            }
            Self::Token(TokenAmount { token, amount }) => Ok((token, amount)),
        }
    }
}

/// What can be a price: `"$0.01"`, a [`Price`], or a [`TokenAmount`].
pub trait IntoPrice {
    /// The price.
    ///
    /// # Errors
    /// When a text is no price.
    fn into_price(self) -> Result<PriceSpec, PriceError>;
}

impl IntoPrice for &str {
    fn into_price(self) -> Result<PriceSpec, PriceError> {
        self.parse().map(PriceSpec::Price)
    }
}

impl IntoPrice for String {
    fn into_price(self) -> Result<PriceSpec, PriceError> {
        self.as_str().into_price()
    }
}

impl IntoPrice for Price {
    fn into_price(self) -> Result<PriceSpec, PriceError> {
        Ok(PriceSpec::Price(self))
    }
}

impl IntoPrice for TokenAmount {
    fn into_price(self) -> Result<PriceSpec, PriceError> {
        Ok(PriceSpec::Token(self))
    }
}

/// One way to pay, as configured.
#[derive(Debug, Clone)]
pub(super) struct PaymentOption {
    pub(super) scheme: &'static str,
    pub(super) price: PriceSource,
    pub(super) network: Network,
    pub(super) pay_to: PayTo,
    max_timeout_seconds: Option<u64>,
}

impl PaymentOption {
    /// For how many seconds clients are to sign a payment.
    pub(super) fn lifetime(&self) -> u64 {
        self.max_timeout_seconds.unwrap_or(300)
    }
}

type Compute<T> = Arc<dyn Fn(RequestInfo) -> BoxFuture<'static, Result<T, BoxError>> + Send + Sync>;

#[derive(Clone)]
pub(super) enum PriceSource {
    Fixed(Result<PriceSpec, PriceError>),
    /// And the name of its code.
    Computed(Compute<PriceSpec>, &'static str),
}

impl fmt::Debug for PriceSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(price) => price.fmt(f),
            Self::Computed(_, name) => write!(f, "computed by {name}"),
        }
    }
}

#[derive(Clone)]
pub(super) enum PayTo {
    Fixed(Result<Address, (String, AddressError)>),
    /// And the name of its code.
    Computed(Compute<Address>, &'static str),
}

impl fmt::Debug for PayTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(address) => address.fmt(f),
            Self::Computed(_, name) => write!(f, "computed by {name}"),
        }
    }
}
