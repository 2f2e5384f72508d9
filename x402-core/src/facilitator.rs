//! Who verifies and settles payments.

use std::{fmt, sync::Arc};

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

    /// Moves the money, once, however often it is asked: a caller that did not hear the answer asks again. Once it says that
    /// a payment's transaction failed, it sends no other one for that payment.
    fn settle(
        &self,
        payment: &Payment,
    ) -> impl Future<Output = Result<SettleResponse, FacilitatorError>> + Send;
}

/// What went wrong with a facilitator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FacilitatorErrorKind {
    /// It was not reached: the request was not sent.
    Unreachable,
    /// It did not answer in time, or the connection broke.
    NoAnswer,
    /// Its answer is not one of the protocol.
    BadAnswer,
    /// It would not take the request: credentials, limits, unsupported kinds.
    Rejected,
    /// It failed within: its chain endpoint, its signer.
    Internal,
}

/// A facilitator that did not do its work.
#[derive(Clone)]
pub struct FacilitatorError {
    kind: FacilitatorErrorKind,
    message: String,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl FacilitatorError {
    /// An error that says what happened and what to do.
    pub fn new(kind: FacilitatorErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// With the error beneath it.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(Arc::from(source.into()));
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> FacilitatorErrorKind {
        self.kind
    }

    /// Whether a settlement asked for may have happened all the same.
    pub fn may_have_acted(&self) -> bool {
        match self.kind {
            FacilitatorErrorKind::Unreachable | FacilitatorErrorKind::Rejected => false,
            FacilitatorErrorKind::NoAnswer
            | FacilitatorErrorKind::BadAnswer
            | FacilitatorErrorKind::Internal => true,
        }
    }
}

impl fmt::Display for FacilitatorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
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

    async fn settle(&self, payment: &Payment) -> Result<SettleResponse, FacilitatorError> {
        self.0.settle(payment).await
    }
}

impl<F: Facilitator> Facilitator for Arc<F> {
    async fn supported(&self) -> Result<Supported, FacilitatorError> {
        (**self).supported().await
    }

    async fn verify(&self, payment: &Payment) -> Result<VerifyResponse, FacilitatorError> {
        (**self).verify(payment).await
    }

    async fn settle(&self, payment: &Payment) -> Result<SettleResponse, FacilitatorError> {
        (**self).settle(payment).await
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
    fn settle<'a>(&'a self, payment: &'a Payment) -> BoxFuture<'a, Result<SettleResponse, FacilitatorError>>;
}

impl<F: Facilitator> Erased for F {
    fn supported(&self) -> BoxFuture<'_, Result<Supported, FacilitatorError>> {
        Box::pin(Facilitator::supported(self))
    }

    fn verify<'a>(&'a self, payment: &'a Payment) -> BoxFuture<'a, Result<VerifyResponse, FacilitatorError>> {
        Box::pin(Facilitator::verify(self, payment))
    }

    fn settle<'a>(&'a self, payment: &'a Payment) -> BoxFuture<'a, Result<SettleResponse, FacilitatorError>> {
        Box::pin(Facilitator::settle(self, payment))
    }
}
