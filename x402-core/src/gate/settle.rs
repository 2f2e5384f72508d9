//! Settling: from a verified payment to money that moved.

use std::{pin::pin, sync::Arc};

use futures_util::future::poll_immediate;
use tokio::sync::watch;
use tracing::Instrument;

use super::{
    builder::GateInner,
    claim::{Claim, KeptAnswer},
    event,
    refusal::Refusal,
    verify::Verified,
};
use crate::{
    amount::Amount,
    facilitator::{Facilitator, FacilitatorError, FacilitatorErrorKind},
    failpoint::failpoint,
    hooks::{Failure, Proceed},
    payment::{self, PendingSettlement, Receipt, SettleFailure, SettleResponse},
};

/// A payment whose money moved.
pub(super) struct Settled {
    claim: Claim,
    receipt: Receipt,
}

impl Settled {
    /// Settles, in a task of its own: whoever waits here may go away, the settlement goes on.
    pub(super) async fn settle(gate: &Arc<GateInner>, verified: Verified) -> Result<Self, Refusal> {
        let running = Running::begin(&gate.settling);
        let work = settle(gate.clone(), verified.into_claim());
        let task = async move {
            let outcome = work.await;
            drop(running);
            outcome
        };
        match gate.runtime.spawn(task.in_current_span()).await {
            Ok(outcome) => outcome,
            // A hook panicked, or the runtime is shutting down.
            Err(error) => Err(Refusal::interrupted(&error)),
        }
    }

    /// The handler is still to run: until [`served`](Self::served), a handler that fails leaves the payment with a
    /// claim to an answer.
    pub(super) async fn serving(mut self) -> Result<Self, Refusal> {
        match self.claim.serving(self.receipt.clone()).await {
            Ok(()) => Ok(self),
            Err(refusal) => {
                self.claim.end().await;
                Err(refusal.charged(self.receipt))
            }
        }
    }

    /// Reads what is kept of the answer. If that takes a while, it is written before that the money moved.
    pub(super) async fn keep<T>(&self, reading: impl Future<Output = T>) -> T {
        let mut reading = pin!(reading);
        if let Some(read) = poll_immediate(&mut reading).await {
            return read;
        }
        self.claim.answering(self.receipt.clone()).await;
        reading.await
    }

    /// The answer is on its way; what is kept of it is given to who asks for it again.
    pub(super) async fn served(self, answer: Option<KeptAnswer>) -> Result<(), Refusal> {
        self.claim.spend_on(answer).await
    }

    /// There is no answer worth its price.
    pub(super) async fn unserved(mut self) {
        self.claim.owed(self.receipt);
        self.claim.end().await;
    }

    /// There is no answer at all.
    pub(super) fn failed(mut self) {
        self.claim.owed(self.receipt);
    }

    pub(super) fn claim(&self) -> &Claim {
        &self.claim
    }

    pub(super) fn receipt(&self) -> &Receipt {
        &self.receipt
    }
}

/// Counts the settlements under way.
pub(super) struct Running(watch::Sender<usize>);

impl Running {
    pub(super) fn begin(counter: &watch::Sender<usize>) -> Self {
        counter.send_modify(|running| *running += 1);
        Self(counter.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running -= 1);
    }
}

/// Settles, and must not be stopped: see [`Settled::settle`].
pub(super) async fn settle(gate: Arc<GateInner>, mut claim: Claim) -> Result<Settled, Refusal> {
    match receipt(&gate, &mut claim).await {
        Ok(receipt) => Ok(Settled { claim, receipt }),
        Err(refusal) => Err(claim.refused(refusal).await),
    }
}

async fn receipt(gate: &Arc<GateInner>, claim: &mut Claim) -> Result<Receipt, Refusal> {
    if let Some(receipt) = claim.unserved() {
        return Ok(receipt.clone());
    }
    let (resumed, failed) = (claim.is_held(), claim.has_failed().cloned());
    if let Some(failed) = &failed {
        // Whoever is asked once more may send another transaction.
        claim.settling_again(failed.clone()).await?;
    }
    if !resumed {
        if let Proceed::Abort(reason) = gate.hooks.before_settle(claim.payment()).await {
            let network = claim.payment().requirements.network.clone();
            let payer = Some(claim.payer().clone());
            return Err(Refusal::not_settled(SettleResponse::failed(reason, network, payer)));
        }
        claim.settling().await?;
    }
    let receipt = match call(gate, claim).await {
        Ok(SettleResponse::Settled(receipt)) => receipt,
        Ok(answer) => recover(gate, claim, answer, (resumed, failed)).await?,
        Err(error) => {
            match gate.hooks.on_settle_failure(claim.payment(), &Failure::Unavailable(&error)).await {
                Some(receipt) => by_hook(receipt),
                None if resumed || error.may_have_acted() => return Err(unresolved(claim, Some(&error))),
                None => {
                    claim.released();
                    return Err(Refusal::facilitator("settle", &error));
                }
            }
        }
    };
    failpoint("gate-settled");
    // Whoever waited for this may have gone away meanwhile: until it is served, it is owed.
    claim.settled(receipt.clone());
    let requirements = &claim.payment().requirements;
    tracing::info!(
        network = %requirements.network, asset = %requirements.asset, amount = %requirements.amount,
        payer = %claim.payer(), pay_to = %requirements.pay_to,
        transaction = receipt.transaction.as_ref().map(tracing::field::display),
        "payment settled"
    );
    tell_hooks(gate.clone(), claim, &receipt).await;
    Ok(receipt)
}

/// A hook takes it as settled.
fn by_hook(receipt: Receipt) -> Receipt {
    event::allowed_by_failure();
    receipt
}

/// A hook that panics changes nothing about money that moved.
async fn tell_hooks(gate: Arc<GateInner>, claim: &Claim, receipt: &Receipt) {
    if gate.hooks.is_empty() {
        return;
    }
    let (payment, receipt) = (claim.payment().clone(), receipt.clone());
    let hooks = async move { gate.hooks.after_settle(&payment, &receipt).await };
    if let Err(error) = tokio::spawn(hooks.in_current_span()).await {
        tracing::error!(%error, "a hook failed after a payment was settled");
    }
}

/// An answer that is no success: pending, or failed.
async fn recover(
    gate: &GateInner,
    claim: &mut Claim,
    mut answer: SettleResponse,
    (resumed, failed): (bool, Option<PendingSettlement>),
) -> Result<Receipt, Refusal> {
    let watched = claim.pending().map(|pending| pending.transaction.clone());
    if let SettleResponse::Pending(pending) = &answer {
        claim.sent(pending.clone()).await;
        // Once more, the same: a facilitator looks its transaction up and waits again.
        if let Ok(again @ (SettleResponse::Settled(_) | SettleResponse::Pending(_))) = call(gate, claim).await
        {
            answer = again;
        }
    }
    if let SettleResponse::Settled(receipt) = answer {
        return Ok(receipt);
    }
    if let Some(receipt) = gate.hooks.on_settle_failure(claim.payment(), &Failure::Refused(&answer)).await {
        return Ok(by_hook(receipt));
    }
    match answer.clone() {
        SettleResponse::Settled(receipt) => Ok(receipt),
        SettleResponse::Pending(pending) => {
            claim.sent(pending.clone()).await;
            Err(Refusal::pending(pending))
        }
        // It had failed already, and comes to nothing once more.
        SettleResponse::Failed(SettleFailure { reason, message, payer, .. }) if let Some(failed) = failed => {
            claim.failed(failed);
            if reason.says_used() {
                return Err(Refusal::invalid(payment::Refusal { reason, message, payer }));
            }
            Err(Refusal::not_settled(answer))
        }
        // We asked before, and our first attempt may be what stands in the way of this one. Only the failure of the
        // very transaction we watch proves that the money did not move.
        SettleResponse::Failed(SettleFailure { transaction, .. })
            if resumed && (watched.is_none() || transaction != watched) =>
        {
            Err(unresolved(claim, None))
        }
        SettleResponse::Failed(SettleFailure { transaction: Some(transaction), network, payer, .. }) => {
            claim.failed(PendingSettlement { transaction, network, payer });
            Err(Refusal::not_settled(answer))
        }
        SettleResponse::Failed(_) => {
            claim.released();
            Err(Refusal::not_settled(answer))
        }
    }
}

/// The money may have moved, and the payment stays claimed until that is known.
fn unresolved(claim: &Claim, error: Option<&FacilitatorError>) -> Refusal {
    match claim.pending() {
        Some(pending) => Refusal::pending(pending.clone()),
        None => Refusal::unknown(error),
    }
}

/// Settles, and refuses a success that is not about this payment, or proves nothing.
async fn call(gate: &GateInner, claim: &Claim) -> Result<SettleResponse, FacilitatorError> {
    let answer = gate.facilitator.settle(claim.payment()).await?;
    let SettleResponse::Settled(receipt) = &answer else { return Ok(answer) };
    let requirements = &claim.payment().requirements;
    let amount: Option<Amount> = receipt.amount;
    let wrong = if receipt.network != requirements.network {
        format!("asked to settle on {}, it answers of {}", requirements.network, receipt.network)
    } else if receipt.transaction.is_none() {
        "it says that the payment is settled, and names no transaction".to_owned()
    } else if let Some(amount) = amount.filter(|amount| *amount != requirements.amount) {
        format!("asked to settle {}, it answers of {amount}", requirements.amount)
    } else if let Some(payer) = receipt.payer.as_ref().filter(|payer| *payer != claim.payer()) {
        format!("asked to settle a payment of {}, it answers of {payer}", claim.payer())
    } else {
        return Ok(answer);
    };
    Err(FacilitatorError::new(FacilitatorErrorKind::BadAnswer, wrong))
}
