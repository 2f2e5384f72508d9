//! How long others may take while a request waits: facilitators, hooks, and closures that compute prices.

use std::{sync::Arc, time::Duration};

use tokio::sync::Notify;

use super::refusal::Refusal;
use crate::{
    facilitator::{AnyFacilitator, Facilitator, FacilitatorError, FacilitatorErrorKind, SettleRequest},
    guard::{Failure, within},
    payment::{Payment, SettleResponse, Supported, VerifyResponse},
};

/// How long the gate waits for code that is not its own. What takes longer is given up on, and what panics has failed:
/// neither lets a request through, nor keeps a payment claimed.
///
/// ```
/// use std::time::Duration;
/// use x402_core::gate::{GateBuilder, TimeLimits};
///
/// fn impatient(gate: GateBuilder) -> GateBuilder {
///     gate.time_limits(TimeLimits::default().hooks(Duration::from_secs(2)))
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct TimeLimits {
    pub(super) hooks: Duration,
    pub(super) verify: Duration,
    pub(super) settle: Duration,
    pub(super) ready: Duration,
}

impl Default for TimeLimits {
    /// 10 seconds for hooks and computed prices, 30 to verify, 120 to settle, 30 to become ready.
    fn default() -> Self {
        Self {
            hooks: Duration::from_secs(10),
            verify: Duration::from_secs(30),
            settle: Duration::from_secs(120),
            ready: Duration::from_secs(30),
        }
    }
}

impl TimeLimits {
    /// For the hooks at one point of a request, all together, and for each computed price and payee. A request whose hook
    /// takes longer is answered 500, and nothing is charged; after a settlement the answer leaves without waiting further.
    pub fn hooks(self, limit: Duration) -> Self {
        Self { hooks: limit, ..self }
    }

    /// For the facilitator to verify. A request is answered 502 after it, and nothing is charged.
    pub fn verify(self, limit: Duration) -> Self {
        Self { verify: limit, ..self }
    }

    /// For the facilitator to settle. After it, whether the payment was settled is not known, and the payment stays held
    /// until its client asks again: let it be longer than the facilitator waits for its chain.
    pub fn settle(self, limit: Duration) -> Self {
        Self { settle: limit, ..self }
    }

    /// For [`PaymentGate::ready`](super::PaymentGate::ready) to wait.
    pub fn ready(self, limit: Duration) -> Self {
        Self { ready: limit, ..self }
    }
}

/// A hook's, or a closure's, word within its time. Without one, nothing is charged and nothing let pass.
pub(super) async fn heard<T>(
    limits: TimeLimits,
    what: &str,
    work: impl Future<Output = T>,
) -> Result<T, Refusal> {
    within(limits.hooks, work).await.map_err(|failure| {
        tracing::error!(hook = what, %failure, "the service's own code failed; the request is answered 500");
        Refusal::hook_failed()
    })
}

/// A facilitator that is given up on after some time, and may panic.
pub(super) struct Bounded {
    facilitator: AnyFacilitator,
    limits: TimeLimits,
    /// Told when it does not answer.
    doubt: Arc<Notify>,
}

impl Bounded {
    pub(super) fn new(facilitator: AnyFacilitator, limits: TimeLimits, doubt: Arc<Notify>) -> Self {
        Self { facilitator, limits, doubt }
    }

    fn heard<T>(&self, answer: Result<T, FacilitatorError>) -> Result<T, FacilitatorError> {
        let is_silent = |error: &FacilitatorError| {
            matches!(error.kind(), FacilitatorErrorKind::Unreachable | FacilitatorErrorKind::NoAnswer)
        };
        answer.inspect_err(|error| {
            if is_silent(error) {
                self.doubt.notify_one();
            }
        })
    }
}

fn failed(call: &str, failure: Failure) -> FacilitatorError {
    let kind = match failure {
        Failure::Panicked => FacilitatorErrorKind::Internal,
        Failure::TooSlow(_) => FacilitatorErrorKind::NoAnswer,
    };
    FacilitatorError::new(kind, format!("the facilitator was asked to {call}, and {failure}"))
}

impl Facilitator for Bounded {
    // Its caller has limits of its own.
    async fn supported(&self) -> Result<Supported, FacilitatorError> {
        self.facilitator.supported().await
    }

    async fn verify(&self, payment: &Payment) -> Result<VerifyResponse, FacilitatorError> {
        let answer = within(self.limits.verify, self.facilitator.verify(payment)).await;
        self.heard(answer.unwrap_or_else(|failure| Err(failed("verify", failure))))
    }

    async fn settle(&self, request: SettleRequest<'_>) -> Result<SettleResponse, FacilitatorError> {
        let answer = within(self.limits.settle, self.facilitator.settle(request)).await;
        self.heard(answer.unwrap_or_else(|failure| Err(failed("settle", failure))))
    }

    async fn deliver(
        &self,
        request: SettleRequest<'_>,
        outcome: SettleResponse,
    ) -> Result<SettleResponse, FacilitatorError> {
        self.facilitator.deliver(request, outcome).await
    }
}
