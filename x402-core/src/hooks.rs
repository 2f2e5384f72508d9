//! The six points of a payment's life where an application may step in.
//!
//! The gate and an embedded facilitator have the same six; each calls its own hooks.

use std::sync::Arc;

use crate::{
    BoxFuture,
    address::Address,
    payment::{Payment, Reason, Receipt, SettleResponse, VerifyResponse},
};

/// Whether to go on.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub enum Proceed {
    /// Go on.
    Continue,
    /// Stop, and refuse the payment for this reason.
    Abort(Reason),
}

/// Hooks around verifying and settling. Every method has a default that changes nothing.
///
/// A hook runs on the request's way: a slow hook is a slow answer.
pub trait PaymentHooks: Send + Sync + 'static {
    /// Before a payment is verified.
    fn before_verify(&self, _payment: &Payment) -> impl Future<Output = Proceed> + Send {
        async { Proceed::Continue }
    }

    /// After a payment was found valid. Its abort refuses it all the same.
    fn after_verify(&self, _payment: &Payment) -> impl Future<Output = Proceed> + Send {
        async { Proceed::Continue }
    }

    /// When a payment is refused, or could not be verified (`why` says so in words). `Some` takes it as valid and
    /// names the payer.
    fn on_verify_failure(
        &self,
        _payment: &Payment,
        _why: &Failure<'_, VerifyResponse>,
    ) -> impl Future<Output = Option<Address>> + Send {
        async { None }
    }

    /// Before a payment is settled. Its abort leaves the money where it is and refuses the request. What was begun before goes
    /// on: whoever was told that a payment is on its way would take a refusal for its end.
    fn before_settle(&self, _payment: &Payment) -> impl Future<Output = Proceed> + Send {
        async { Proceed::Continue }
    }

    /// After a payment was settled. It cannot undo it.
    fn after_settle(&self, _payment: &Payment, _receipt: &Receipt) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// When a settlement failed, is pending, or its fate is unknown. `Some` takes it as settled. An embedded facilitator does
    /// not ask about payments that were made and are not for this caller to hear of, or were made by somebody else.
    fn on_settle_failure(
        &self,
        _payment: &Payment,
        _why: &Failure<'_, SettleResponse>,
    ) -> impl Future<Output = Option<Receipt>> + Send {
        async { None }
    }
}

/// What a failure hook is told.
#[derive(Debug)]
pub enum Failure<'a, Response> {
    /// The facilitator said no.
    Refused(&'a Response),
    /// The facilitator did not do its work.
    Unavailable(&'a crate::facilitator::FacilitatorError),
}

/// Several [`PaymentHooks`], called in the order they were added: the first abort or recovery counts.
#[derive(Clone, Default)]
pub struct HookList(Vec<Arc<dyn ErasedHooks>>);

impl HookList {
    /// Adds hooks behind those already there.
    pub fn push(&mut self, hooks: impl PaymentHooks) {
        self.0.push(Arc::new(hooks));
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Runs [`PaymentHooks::before_verify`].
    pub async fn before_verify(&self, payment: &Payment) -> Proceed {
        for hooks in &self.0 {
            if let abort @ Proceed::Abort(_) = hooks.before_verify(payment).await {
                return abort;
            }
        }
        Proceed::Continue
    }

    /// Runs [`PaymentHooks::after_verify`].
    pub async fn after_verify(&self, payment: &Payment) -> Proceed {
        for hooks in &self.0 {
            if let abort @ Proceed::Abort(_) = hooks.after_verify(payment).await {
                return abort;
            }
        }
        Proceed::Continue
    }

    /// Runs [`PaymentHooks::on_verify_failure`].
    pub async fn on_verify_failure(
        &self,
        payment: &Payment,
        why: &Failure<'_, VerifyResponse>,
    ) -> Option<Address> {
        for hooks in &self.0 {
            if let recovered @ Some(_) = hooks.on_verify_failure(payment, why).await {
                return recovered;
            }
        }
        None
    }

    /// Runs [`PaymentHooks::before_settle`].
    pub async fn before_settle(&self, payment: &Payment) -> Proceed {
        for hooks in &self.0 {
            if let abort @ Proceed::Abort(_) = hooks.before_settle(payment).await {
                return abort;
            }
        }
        Proceed::Continue
    }

    /// Runs [`PaymentHooks::after_settle`].
    pub async fn after_settle(&self, payment: &Payment, receipt: &Receipt) {
        for hooks in &self.0 {
            hooks.after_settle(payment, receipt).await;
        }
    }

    /// Runs [`PaymentHooks::on_settle_failure`].
    pub async fn on_settle_failure(
        &self,
        payment: &Payment,
        why: &Failure<'_, SettleResponse>,
    ) -> Option<Receipt> {
        for hooks in &self.0 {
            if let recovered @ Some(_) = hooks.on_settle_failure(payment, why).await {
                return recovered;
            }
        }
        None
    }
}

impl std::fmt::Debug for HookList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} hooks", self.0.len())
    }
}

trait ErasedHooks: Send + Sync {
    fn before_verify<'a>(&'a self, payment: &'a Payment) -> BoxFuture<'a, Proceed>;
    fn after_verify<'a>(&'a self, payment: &'a Payment) -> BoxFuture<'a, Proceed>;
    fn on_verify_failure<'a>(
        &'a self,
        payment: &'a Payment,
        why: &'a Failure<'a, VerifyResponse>,
    ) -> BoxFuture<'a, Option<Address>>;
    fn before_settle<'a>(&'a self, payment: &'a Payment) -> BoxFuture<'a, Proceed>;
    fn after_settle<'a>(&'a self, payment: &'a Payment, receipt: &'a Receipt) -> BoxFuture<'a, ()>;
    fn on_settle_failure<'a>(
        &'a self,
        payment: &'a Payment,
        why: &'a Failure<'a, SettleResponse>,
    ) -> BoxFuture<'a, Option<Receipt>>;
}

impl<H: PaymentHooks> ErasedHooks for H {
    fn before_verify<'a>(&'a self, payment: &'a Payment) -> BoxFuture<'a, Proceed> {
        Box::pin(PaymentHooks::before_verify(self, payment))
    }

    fn after_verify<'a>(&'a self, payment: &'a Payment) -> BoxFuture<'a, Proceed> {
        Box::pin(PaymentHooks::after_verify(self, payment))
    }

    fn on_verify_failure<'a>(
        &'a self,
        payment: &'a Payment,
        why: &'a Failure<'a, VerifyResponse>,
    ) -> BoxFuture<'a, Option<Address>> {
        Box::pin(PaymentHooks::on_verify_failure(self, payment, why))
    }

    fn before_settle<'a>(&'a self, payment: &'a Payment) -> BoxFuture<'a, Proceed> {
        Box::pin(PaymentHooks::before_settle(self, payment))
    }

    fn after_settle<'a>(&'a self, payment: &'a Payment, receipt: &'a Receipt) -> BoxFuture<'a, ()> {
        Box::pin(PaymentHooks::after_settle(self, payment, receipt))
    }

    fn on_settle_failure<'a>(
        &'a self,
        payment: &'a Payment,
        why: &'a Failure<'a, SettleResponse>,
    ) -> BoxFuture<'a, Option<Receipt>> {
        Box::pin(PaymentHooks::on_settle_failure(self, payment, why))
    }
}
