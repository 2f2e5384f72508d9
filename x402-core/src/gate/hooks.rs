//! The hooks of a gate, within their time.

use std::sync::Arc;

use tracing::Instrument;

use super::{
    limits::{TimeLimits, heard},
    refusal::Refusal,
};
use crate::{
    address::Address,
    guard::within,
    hooks::{Failure, HookList, Proceed},
    payment::{Payment, Receipt, SettleResponse, VerifyResponse},
};

/// Hooks that are given up on when they hang, and may panic.
#[derive(Default)]
pub(super) struct Hooks {
    list: Arc<HookList>,
    limits: TimeLimits,
}

impl Hooks {
    pub(super) fn new(list: HookList, limits: TimeLimits) -> Self {
        Self { list: Arc::new(list), limits }
    }

    pub(super) async fn before_verify(&self, payment: &Payment) -> Result<Proceed, Refusal> {
        self.ask("before_verify", self.list.before_verify(payment)).await
    }

    pub(super) async fn after_verify(&self, payment: &Payment) -> Result<Proceed, Refusal> {
        self.ask("after_verify", self.list.after_verify(payment)).await
    }

    pub(super) async fn before_settle(&self, payment: &Payment) -> Result<Proceed, Refusal> {
        self.ask("before_settle", self.list.before_settle(payment)).await
    }

    pub(super) async fn on_verify_failure(
        &self,
        payment: &Payment,
        why: &Failure<'_, VerifyResponse>,
    ) -> Option<Address> {
        self.recover("on_verify_failure", self.list.on_verify_failure(payment, why)).await
    }

    pub(super) async fn on_settle_failure(
        &self,
        payment: &Payment,
        why: &Failure<'_, SettleResponse>,
    ) -> Option<Receipt> {
        self.recover("on_settle_failure", self.list.on_settle_failure(payment, why)).await
    }

    /// Changes nothing about money that moved, and is not cut short: the answer leaves without waiting for it for longer
    /// than its time.
    pub(super) async fn after_settle(&self, payment: &Payment, receipt: &Receipt) {
        if self.list.is_empty() {
            return;
        }
        let (list, payment, receipt) = (self.list.clone(), payment.clone(), receipt.clone());
        let work = async move { list.after_settle(&payment, &receipt).await };
        match within(self.limits.hooks, tokio::spawn(work.in_current_span())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "a hook failed after a payment was settled"),
            Err(failure) => tracing::error!(%failure, "a hook after a settlement is not waited for any more"),
        }
    }

    async fn ask(&self, hook: &str, work: impl Future<Output = Proceed>) -> Result<Proceed, Refusal> {
        if self.list.is_empty() {
            return Ok(Proceed::Continue);
        }
        heard(self.limits, hook, work).await
    }

    /// Without the word of a hook, a no stays a no.
    async fn recover<T>(&self, hook: &str, work: impl Future<Output = Option<T>>) -> Option<T> {
        if self.list.is_empty() {
            return None;
        }
        within(self.limits.hooks, work).await.unwrap_or_else(|failure| {
            tracing::error!(hook, %failure, "the service's own code failed; it recovers nothing");
            None
        })
    }
}
