//! What a payment scheme does, in each of the three roles.

use std::{fmt, sync::Arc};

use serde_json::Value;

use crate::{
    BoxFuture,
    address::Address,
    asset::Token,
    facilitator::{FacilitatorError, SettleRequest},
    network::{Network, NetworkPattern},
    payment::{Payment, PaymentRequirements, Reason, SettleResponse, SupportedKind, VerifyResponse, Version},
};

/// The client's role: sign.
pub trait ClientScheme: Send + Sync + 'static {
    /// The scheme's name, like `exact`.
    fn scheme(&self) -> &str;

    /// The networks it pays on.
    fn networks(&self) -> NetworkPattern;

    /// Whether it can pay these requirements; the error says what it lacks.
    ///
    /// # Errors
    /// When the requirements miss something, or ask for a transfer method it does not know.
    fn accepts(&self, requirements: &PaymentRequirements) -> Result<(), SchemeError>;

    /// Signs a payment: the scheme's payload.
    fn sign(
        &self,
        version: Version,
        requirements: &PaymentRequirements,
    ) -> impl Future<Output = Result<Value, SchemeError>> + Send;
}

/// The server's role: complete an offer, and read a payment without a chain.
pub trait ServerScheme: Send + Sync + 'static {
    /// The scheme's name, like `exact`.
    fn scheme(&self) -> &str;

    /// The networks it charges on.
    fn networks(&self) -> NetworkPattern;

    /// Whether payments of this token to this account can be charged at all: asked when a route is configured,
    /// before anything is known of the facilitator.
    ///
    /// # Errors
    /// When the token, the network or the account is none that the scheme can charge.
    fn check(&self, _requirements: &PaymentRequirements, _token: &Token) -> Result<(), SchemeError> {
        Ok(())
    }

    /// Completes requirements with what the scheme's clients must know. `kind` is what the facilitator says of
    /// payments of this kind.
    ///
    /// # Errors
    /// When this token cannot be charged in this scheme.
    fn enrich(
        &self,
        requirements: &mut PaymentRequirements,
        token: &Token,
        kind: &SupportedKind,
    ) -> Result<(), SchemeError>;

    /// Reads what was signed and holds it against the requirements, as far as that goes without a chain.
    ///
    /// # Errors
    /// When it is not of the scheme's shape.
    fn inspect(
        &self,
        version: Version,
        payload: &Value,
        requirements: &PaymentRequirements,
    ) -> Result<Inspection, MalformedPayload>;
}

/// The facilitator's role: verify and settle.
pub trait FacilitatorScheme: Send + Sync + 'static {
    /// The scheme's name, like `exact`.
    fn scheme(&self) -> &str;

    /// The networks it settles on.
    fn networks(&self) -> NetworkPattern;

    /// What `/supported` lists for it.
    fn kinds(&self) -> Vec<SupportedKind>;

    /// The accounts it settles from.
    fn signers(&self) -> Vec<Address>;

    /// Whether it can settle at all: asked each time somebody wants to know what is supported, so a scheme that found out
    /// once answers at once, and one that could not looks again. What it takes up after a restart begins here.
    ///
    /// # Errors
    /// Why it cannot, and what to do: its kinds are not offered meanwhile. Whoever runs the facilitator reads it, callers do
    /// not.
    fn ready(&self) -> impl Future<Output = Result<(), FacilitatorError>> + Send {
        async { Ok(()) }
    }

    /// Whether the payment would settle.
    fn verify(
        &self,
        payment: &Payment,
    ) -> impl Future<Output = Result<VerifyResponse, FacilitatorError>> + Send;

    /// Moves the money; see [`Facilitator::settle`](crate::facilitator::Facilitator::settle).
    fn settle(
        &self,
        request: SettleRequest<'_>,
    ) -> impl Future<Output = Result<SettleResponse, FacilitatorError>> + Send;

    /// Hands an outcome out; see [`Facilitator::deliver`](crate::facilitator::Facilitator::deliver).
    fn deliver(
        &self,
        _request: SettleRequest<'_>,
        outcome: SettleResponse,
    ) -> impl Future<Output = Result<SettleResponse, FacilitatorError>> + Send {
        async { Ok(outcome) }
    }

    /// Whether this payment's settlement was begun before. A scheme that keeps no journal cannot know; then a hook that aborts
    /// before a payment is settled is heeded each time, and must not change its mind about one.
    fn begun(&self, _payment: &Payment) -> impl Future<Output = Begun> + Send {
        async { Begun::Unknown }
    }
}

/// What a scheme knows of earlier attempts to settle a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// It has read its journal, and nothing was ever sent by anybody who writes there.
    Never,
    /// The settlement was begun: whoever asks for it goes on with it, or hears what came of it.
    Already,
    /// Something may have been sent: the journal cannot be read, or has another payment that excludes this one, or a
    /// settlement is at work and has written nothing yet.
    Perhaps,
    /// It cannot know: it keeps no journal, or settles no such payments.
    Unknown,
}

/// What a scheme read in a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Which payment it is, on the network and in the token of the requirements.
    pub identity: PaymentIdentity,
    /// Why it is plainly another payment than the one asked for, if it is.
    pub mismatch: Option<Reason>,
}

/// What makes two presentations the same payment, whatever bytes they came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentIdentity {
    /// Canonical: for EIP-3009 the chain, the token, the payer and the nonce, as numbers. It can be read off the
    /// chain by anyone.
    pub key: String,
    /// Canonical: all that was signed, and the signature. Who presents the same holds the payment itself.
    pub fingerprint: String,
    /// Who pays.
    pub payer: Address,
    /// When the payment can no longer be settled, in seconds since 1970.
    pub expires_at: u64,
}

/// A payload that is not of its scheme's shape: what was expected, and nothing of what came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed payload: {0}")]
pub struct MalformedPayload(pub String);

/// Why a scheme cannot do what it was asked.
#[derive(Debug)]
pub struct SchemeError {
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl SchemeError {
    /// An error that says what is missing and what to do.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), source: None }
    }

    /// With the error beneath it.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for SchemeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SchemeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// A [`ClientScheme`] with its type erased.
#[derive(Clone)]
pub struct AnyClientScheme(Arc<dyn ErasedClient>);

impl AnyClientScheme {
    /// Erases the type.
    pub fn new(scheme: impl ClientScheme) -> Self {
        Self(Arc::new(scheme))
    }

    /// Whether it is for payments of this scheme on this network.
    pub fn covers(&self, scheme: &str, network: &Network) -> bool {
        self.0.scheme() == scheme && self.0.networks().matches(network)
    }
}

impl ClientScheme for AnyClientScheme {
    fn scheme(&self) -> &str {
        self.0.scheme()
    }

    fn networks(&self) -> NetworkPattern {
        self.0.networks()
    }

    fn accepts(&self, requirements: &PaymentRequirements) -> Result<(), SchemeError> {
        self.0.accepts(requirements)
    }

    async fn sign(&self, version: Version, requirements: &PaymentRequirements) -> Result<Value, SchemeError> {
        self.0.sign(version, requirements).await
    }
}

impl fmt::Debug for AnyClientScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.0.scheme(), self.0.networks())
    }
}

trait ErasedClient: Send + Sync {
    fn scheme(&self) -> &str;
    fn networks(&self) -> NetworkPattern;
    fn accepts(&self, requirements: &PaymentRequirements) -> Result<(), SchemeError>;
    fn sign<'a>(
        &'a self,
        version: Version,
        requirements: &'a PaymentRequirements,
    ) -> BoxFuture<'a, Result<Value, SchemeError>>;
}

impl<S: ClientScheme> ErasedClient for S {
    fn scheme(&self) -> &str {
        ClientScheme::scheme(self)
    }

    fn networks(&self) -> NetworkPattern {
        ClientScheme::networks(self)
    }

    fn accepts(&self, requirements: &PaymentRequirements) -> Result<(), SchemeError> {
        ClientScheme::accepts(self, requirements)
    }

    fn sign<'a>(
        &'a self,
        version: Version,
        requirements: &'a PaymentRequirements,
    ) -> BoxFuture<'a, Result<Value, SchemeError>> {
        Box::pin(ClientScheme::sign(self, version, requirements))
    }
}

/// A [`FacilitatorScheme`] with its type erased.
#[derive(Clone)]
pub struct AnyFacilitatorScheme(Arc<dyn ErasedFacilitatorScheme>);

impl AnyFacilitatorScheme {
    /// Erases the type.
    pub fn new(scheme: impl FacilitatorScheme) -> Self {
        Self(Arc::new(scheme))
    }
}

impl FacilitatorScheme for AnyFacilitatorScheme {
    fn scheme(&self) -> &str {
        self.0.scheme()
    }

    fn networks(&self) -> NetworkPattern {
        self.0.networks()
    }

    fn kinds(&self) -> Vec<SupportedKind> {
        self.0.kinds()
    }

    fn signers(&self) -> Vec<Address> {
        self.0.signers()
    }

    async fn ready(&self) -> Result<(), FacilitatorError> {
        self.0.ready().await
    }

    async fn verify(&self, payment: &Payment) -> Result<VerifyResponse, FacilitatorError> {
        self.0.verify(payment).await
    }

    async fn settle(&self, request: SettleRequest<'_>) -> Result<SettleResponse, FacilitatorError> {
        self.0.settle(request).await
    }

    async fn deliver(
        &self,
        request: SettleRequest<'_>,
        outcome: SettleResponse,
    ) -> Result<SettleResponse, FacilitatorError> {
        self.0.deliver(request, outcome).await
    }

    async fn begun(&self, payment: &Payment) -> Begun {
        self.0.begun(payment).await
    }
}

trait ErasedFacilitatorScheme: Send + Sync {
    fn scheme(&self) -> &str;
    fn networks(&self) -> NetworkPattern;
    fn kinds(&self) -> Vec<SupportedKind>;
    fn signers(&self) -> Vec<Address>;
    fn ready(&self) -> BoxFuture<'_, Result<(), FacilitatorError>>;
    fn verify<'a>(&'a self, payment: &'a Payment) -> BoxFuture<'a, Result<VerifyResponse, FacilitatorError>>;
    fn settle<'a>(
        &'a self,
        request: SettleRequest<'a>,
    ) -> BoxFuture<'a, Result<SettleResponse, FacilitatorError>>;
    fn deliver<'a>(
        &'a self,
        request: SettleRequest<'a>,
        outcome: SettleResponse,
    ) -> BoxFuture<'a, Result<SettleResponse, FacilitatorError>>;
    fn begun<'a>(&'a self, payment: &'a Payment) -> BoxFuture<'a, Begun>;
}

impl<S: FacilitatorScheme> ErasedFacilitatorScheme for S {
    fn scheme(&self) -> &str {
        FacilitatorScheme::scheme(self)
    }

    fn networks(&self) -> NetworkPattern {
        FacilitatorScheme::networks(self)
    }

    fn kinds(&self) -> Vec<SupportedKind> {
        FacilitatorScheme::kinds(self)
    }

    fn signers(&self) -> Vec<Address> {
        FacilitatorScheme::signers(self)
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), FacilitatorError>> {
        Box::pin(FacilitatorScheme::ready(self))
    }

    fn verify<'a>(&'a self, payment: &'a Payment) -> BoxFuture<'a, Result<VerifyResponse, FacilitatorError>> {
        Box::pin(FacilitatorScheme::verify(self, payment))
    }

    fn settle<'a>(
        &'a self,
        request: SettleRequest<'a>,
    ) -> BoxFuture<'a, Result<SettleResponse, FacilitatorError>> {
        Box::pin(FacilitatorScheme::settle(self, request))
    }

    fn deliver<'a>(
        &'a self,
        request: SettleRequest<'a>,
        outcome: SettleResponse,
    ) -> BoxFuture<'a, Result<SettleResponse, FacilitatorError>> {
        Box::pin(FacilitatorScheme::deliver(self, request, outcome))
    }

    fn begun<'a>(&'a self, payment: &'a Payment) -> BoxFuture<'a, Begun> {
        Box::pin(FacilitatorScheme::begun(self, payment))
    }
}
