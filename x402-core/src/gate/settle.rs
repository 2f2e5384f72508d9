//! Settling: from a verified payment to money that moved.

use std::sync::Arc;

use tracing::Instrument;

use super::{builder::GateInner, claim::Claim, refusal::Refusal, verify::Verified};
use crate::{
    address::Address,
    facilitator::{Facilitator, FacilitatorError, FacilitatorErrorKind},
    hooks::{Failure, Proceed},
    payment::{Payment, Receipt, SettleFailure, SettleResponse},
};

/// A payment whose money moved.
pub(super) struct Settled {
    payment: Box<Payment>,
    payer: Address,
    receipt: Receipt,
}

impl Settled {
    /// Settles, in a task of its own: whoever waits here may go away, the settlement goes on.
    pub(super) async fn settle(gate: &Arc<GateInner>, verified: Verified) -> Result<Arc<Self>, Refusal> {
        let task = settle(gate.clone(), verified);
        match tokio::spawn(task.in_current_span()).await {
            Ok(outcome) => outcome,
            // A hook panicked, or the runtime is shutting down. The claim stays unresolved.
            Err(error) => Err(Refusal::interrupted(&error)),
        }
    }

    pub(super) fn payment(&self) -> &Payment {
        &self.payment
    }

    pub(super) fn payer(&self) -> &Address {
        &self.payer
    }

    pub(super) fn receipt(&self) -> &Receipt {
        &self.receipt
    }
}

async fn settle(gate: Arc<GateInner>, verified: Verified) -> Result<Arc<Settled>, Refusal> {
    let resumed = verified.is_unresolved();
    let (payment, payer, mut claim) = verified.into_parts();
    if !resumed {
        if let Proceed::Abort(reason) = gate.hooks.before_settle(&payment).await {
            let network = payment.requirements.network.clone();
            return Err(Refusal::not_settled(SettleResponse::failed(reason, network, Some(payer))));
        }
        claim.unresolved(None);
    }
    let receipt = match call(&gate, &payment).await {
        Ok(SettleResponse::Settled(receipt)) => receipt,
        Ok(answer) => recover(&gate, &payment, &mut claim, answer, resumed).await?,
        Err(error) => match gate.hooks.on_settle_failure(&payment, &Failure::Unavailable(&error)).await {
            Some(receipt) => receipt,
            None if resumed || error.may_have_acted() => return Err(unresolved(&claim, Some(&error))),
            None => {
                claim.released();
                return Err(Refusal::facilitator("settle", &error));
            }
        },
    };
    claim.spent();
    drop(claim);
    let requirements = &payment.requirements;
    tracing::info!(
        network = %requirements.network, asset = %requirements.asset, amount = %requirements.amount, %payer,
        pay_to = %requirements.pay_to, transaction = receipt.transaction.as_ref().map(tracing::field::display),
        "payment settled"
    );
    Ok(tell_hooks(gate, Settled { payment, payer, receipt }).await)
}

/// A hook that panics changes nothing about money that moved.
async fn tell_hooks(gate: Arc<GateInner>, settled: Settled) -> Arc<Settled> {
    let settled = Arc::new(settled);
    let told = settled.clone();
    let hooks = async move { gate.hooks.after_settle(&told.payment, &told.receipt).await };
    if let Err(error) = tokio::spawn(hooks.in_current_span()).await {
        tracing::error!(%error, "a hook failed after a payment was settled");
    }
    settled
}

/// An answer that is no success: pending, or failed.
async fn recover(
    gate: &GateInner,
    payment: &Payment,
    claim: &mut Claim,
    mut answer: SettleResponse,
    resumed: bool,
) -> Result<Receipt, Refusal> {
    if let SettleResponse::Pending(pending) = &answer {
        claim.unresolved(Some(pending.clone()));
        // Once more, the same: a facilitator looks its transaction up and waits again.
        if let Ok(again @ (SettleResponse::Settled(_) | SettleResponse::Pending(_))) =
            call(gate, payment).await
        {
            answer = again;
        }
    }
    if let SettleResponse::Settled(receipt) = answer {
        return Ok(receipt);
    }
    if let Some(receipt) = gate.hooks.on_settle_failure(payment, &Failure::Refused(&answer)).await {
        return Ok(receipt);
    }
    match &answer {
        SettleResponse::Settled(receipt) => Ok(receipt.clone()),
        SettleResponse::Pending(pending) => {
            claim.unresolved(Some(pending.clone()));
            Err(Refusal::pending(pending.clone()))
        }
        // We asked before, and now the payment is used up: most likely by our own first attempt. Where its time
        // ran out, nobody looked whether it was used.
        SettleResponse::Failed(SettleFailure { reason, .. })
            if resumed && (reason.says_used_up() || reason.says_run_out()) =>
        {
            Err(unresolved(claim, None))
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

/// Settles, and refuses an answer about another chain.
async fn call(gate: &GateInner, payment: &Payment) -> Result<SettleResponse, FacilitatorError> {
    let answer = gate.facilitator.settle(payment).await?;
    match &answer {
        SettleResponse::Settled(receipt) if receipt.network != payment.requirements.network => {
            let message = format!(
                "asked to settle on {}, the facilitator answers of {}",
                payment.requirements.network, receipt.network
            );
            Err(FacilitatorError::new(FacilitatorErrorKind::BadAnswer, message))
        }
        _ => Ok(answer),
    }
}
