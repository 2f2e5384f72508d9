//! Who verifies and settles payments.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use crate::{
    BoxFuture,
    payment::{Payment, SettleResponse, Supported, VerifyResponse},
};

/// Verifies payments and settles them on chain: over HTTP, or in this process.
///
/// A refusal is an answer, not an error: `Err` means that the facilitator did not do its work, and for
/// [`settle`](Self::settle) that it may or may not have; see [`FacilitatorError::may_have_acted`].
pub trait Facilitator: Send + Sync + 'static {
    /// What it can do.
    fn supported(&self) -> impl Future<Output = Result<Supported, FacilitatorError>> + Send;

    /// Whether the payment would settle. Moves nothing.
    fn verify(
        &self,
        payment: &Payment,
    ) -> impl Future<Output = Result<VerifyResponse, FacilitatorError>> + Send;

    /// Moves the money, once, however often it is asked: a caller that did not hear the answer asks again, with the same
    /// key. Once it says that a payment's transaction failed, it sends no other one for that payment.
    ///
    /// Success is told to one caller: to whoever shows the key that the settlement was begun with. Anybody else hears
    /// [`DUPLICATE_SETTLEMENT`](crate::payment::Reason::DUPLICATE_SETTLEMENT) with the transaction. Without a key, success is
    /// told until somebody [took it](Self::deliver).
    fn settle(
        &self,
        request: SettleRequest<'_>,
    ) -> impl Future<Output = Result<SettleResponse, FacilitatorError>> + Send;

    /// Hands the outcome of a settlement that was begun without a key to its caller: its success is handed out once.
    /// For those who serve callers, as the HTTP API does, and called while the caller is still connected: whoever hung up
    /// was not told. With a key there is nothing to hand out, since its holder may hear the outcome as often as it asks.
    ///
    /// Without an implementation, everyone is told. A facilitator over HTTP hands out at the other end.
    fn deliver(
        &self,
        _request: SettleRequest<'_>,
        outcome: SettleResponse,
    ) -> impl Future<Output = Result<SettleResponse, FacilitatorError>> + Send {
        async { Ok(outcome) }
    }
}

/// A payment to settle, and on whose behalf. `Debug` leaves the key out.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct SettleRequest<'a> {
    /// The payment, held against its requirements.
    pub payment: &'a Payment,
    /// Who may hear of the outcome: whoever shows the key that the settlement was begun with.
    pub key: Option<&'a SettlementKey>,
    /// Who asks, where the caller is authenticated: the outcome is told to no other caller.
    pub caller: Option<&'a str>,
}

impl<'a> SettleRequest<'a> {
    /// A request without a key, of a caller that is not authenticated.
    pub fn new(payment: &'a Payment) -> Self {
        Self { payment, key: None, caller: None }
    }

    /// With the secret of whoever may hear of the outcome.
    #[must_use]
    pub fn with_key(self, key: impl Into<Option<&'a SettlementKey>>) -> Self {
        Self { key: key.into(), ..self }
    }

    /// Of this authenticated caller.
    #[must_use]
    pub fn with_caller(self, caller: impl Into<Option<&'a str>>) -> Self {
        Self { caller: caller.into(), ..self }
    }
}

impl<'a> From<&'a Payment> for SettleRequest<'a> {
    fn from(payment: &'a Payment) -> Self {
        Self::new(payment)
    }
}

impl fmt::Debug for SettleRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { payment, key, caller } = self;
        f.debug_struct("SettleRequest")
            .field("requirements", &payment.requirements)
            .field("has_key", &key.is_some())
            .field("caller", caller)
            .finish()
    }
}

/// The secret that says who may hear of a settlement: 16 to 255 visible ASCII characters. Over HTTP it is the header
/// `Idempotency-Key`. `Debug` leaves it out.
#[derive(Clone, PartialEq, Eq)]
pub struct SettlementKey(String);

impl SettlementKey {
    /// A new one, of 128 random bits.
    ///
    /// # Errors
    /// When the system has no randomness.
    #[cfg(feature = "gate")]
    pub fn random() -> Result<Self, FacilitatorError> {
        let mut bits = [0; 16];
        getrandom::fill(&mut bits).map_err(|error| {
            let message = "the system has no randomness for a settlement's key: nothing was sent";
            FacilitatorError::new(FacilitatorErrorKind::Unreachable, message).because(error)
        })?;
        Ok(Self(format!("{:032x}", u128::from_be_bytes(bits))))
    }

    /// The key as it is sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SettlementKey {
    type Err = SettlementKeyError;

    fn from_str(text: &str) -> Result<Self, SettlementKeyError> {
        let fits = (16..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if fits { Ok(Self(text.to_owned())) } else { Err(SettlementKeyError) }
    }
}

impl fmt::Debug for SettlementKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SettlementKey")
    }
}

/// A text that is no settlement key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a settlement key is 16 to 255 visible ASCII characters, and hard to guess")]
pub struct SettlementKeyError;

/// What went wrong with a facilitator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FacilitatorErrorKind {
    /// It was not reached: the request was not sent.
    Unreachable,
    /// It was reached, and did nothing: it has read its journal, and for this settlement nothing was ever sent, by nobody
    /// who writes there. A journal that cannot be read says no such thing.
    NotActed,
    /// It did not answer in time, or the connection broke.
    NoAnswer,
    /// Its answer is not one of the protocol.
    BadAnswer,
    /// It, or a gateway in front of it, would not take the request: credentials, limits, unsupported kinds. Of a settlement
    /// that says nothing: the one who says so need not be the one who settles.
    Rejected,
    /// It failed within: its chain endpoint, its signer.
    Internal,
}

/// A facilitator that did not do its work. `{error:#}` tells the causes, too.
#[derive(Clone)]
pub struct FacilitatorError {
    kind: FacilitatorErrorKind,
    message: String,
    retry_after: Option<Duration>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl FacilitatorError {
    /// An error that says what happened and what to do.
    pub fn new(kind: FacilitatorErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_after: None, source: None }
    }

    /// With the error beneath it.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(Arc::from(source.into()));
        self
    }

    /// With the time after which it may be asked again.
    #[must_use]
    pub fn retry_after(mut self, pause: Option<Duration>) -> Self {
        self.retry_after = pause;
        self
    }

    /// The same trouble, of another kind.
    #[must_use]
    pub fn of_kind(mut self, kind: FacilitatorErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> FacilitatorErrorKind {
        self.kind
    }

    /// After which time it may be asked again, where it says so.
    pub fn pause(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether a settlement asked for may have happened all the same. Of one that was asked for before, without an answer,
    /// a later `false` says nothing.
    pub fn may_have_acted(&self) -> bool {
        match self.kind {
            FacilitatorErrorKind::Unreachable | FacilitatorErrorKind::NotActed => false,
            FacilitatorErrorKind::NoAnswer
            | FacilitatorErrorKind::BadAnswer
            | FacilitatorErrorKind::Rejected
            | FacilitatorErrorKind::Internal => true,
        }
    }
}

impl fmt::Display for FacilitatorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut cause = self.source.as_deref().map(|source| source as &dyn std::error::Error);
        while let Some(error) = cause.filter(|_| f.alternate()) {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for FacilitatorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FacilitatorError")
            .field("kind", &self.kind)
            .field("message", &self.message)
            .field("source", &self.source)
            .finish()
    }
}

impl std::error::Error for FacilitatorError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// A [`Facilitator`] with its type erased.
#[derive(Clone)]
pub struct AnyFacilitator(Arc<dyn Erased>);

impl AnyFacilitator {
    /// Erases the type.
    pub fn new(facilitator: impl Facilitator) -> Self {
        Self(Arc::new(facilitator))
    }
}

impl Facilitator for AnyFacilitator {
    async fn supported(&self) -> Result<Supported, FacilitatorError> {
        self.0.supported().await
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
}

impl<F: Facilitator> Facilitator for Arc<F> {
    async fn supported(&self) -> Result<Supported, FacilitatorError> {
        (**self).supported().await
    }

    async fn verify(&self, payment: &Payment) -> Result<VerifyResponse, FacilitatorError> {
        (**self).verify(payment).await
    }

    async fn settle(&self, request: SettleRequest<'_>) -> Result<SettleResponse, FacilitatorError> {
        (**self).settle(request).await
    }

    async fn deliver(
        &self,
        request: SettleRequest<'_>,
        outcome: SettleResponse,
    ) -> Result<SettleResponse, FacilitatorError> {
        (**self).deliver(request, outcome).await
    }
}

impl fmt::Debug for AnyFacilitator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyFacilitator")
    }
}

trait Erased: Send + Sync {
    fn supported(&self) -> BoxFuture<'_, Result<Supported, FacilitatorError>>;
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
}

impl<F: Facilitator> Erased for F {
    fn supported(&self) -> BoxFuture<'_, Result<Supported, FacilitatorError>> {
        Box::pin(Facilitator::supported(self))
    }

    fn verify<'a>(&'a self, payment: &'a Payment) -> BoxFuture<'a, Result<VerifyResponse, FacilitatorError>> {
        Box::pin(Facilitator::verify(self, payment))
    }

    fn settle<'a>(
        &'a self,
        request: SettleRequest<'a>,
    ) -> BoxFuture<'a, Result<SettleResponse, FacilitatorError>> {
        Box::pin(Facilitator::settle(self, request))
    }

    fn deliver<'a>(
        &'a self,
        request: SettleRequest<'a>,
        outcome: SettleResponse,
    ) -> BoxFuture<'a, Result<SettleResponse, FacilitatorError>> {
        Box::pin(Facilitator::deliver(self, request, outcome))
    }
}
