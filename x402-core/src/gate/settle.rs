//! Settling: from a verified payment to money that moved.

use std::{pin::pin, sync::Arc, time::Duration};

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
    facilitator::{Facilitator, FacilitatorError, FacilitatorErrorKind, SettleRequest},
    failpoint::failpoint,
    hooks::{Failure, Proceed},
    payment::{self, JsonMap, PendingSettlement, Reason, Receipt, SettleFailure, SettleResponse},
};

/// How often a facilitator is asked to settle whose answer may be somebody else's.
const ATTEMPTS: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// How long the pauses between may be together.
const ASKING_AGAIN: Duration = Duration::from_secs(5);

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
    let mut before =
        Before { asked: claim.is_held(), failed: claim.has_failed().cloned(), acted_since: false };
    if let Some(failed) = &before.failed {
        // Whoever is asked once more may send another transaction.
        claim.settling_again(failed.clone()).await?;
    }
    if !before.asked {
        if let Proceed::Abort(reason) = gate.hooks.before_settle(claim.payment()).await? {
            let network = claim.payment().requirements.network.clone();
            let payer = Some(claim.payer().clone());
            return Err(Refusal::not_settled(SettleResponse::failed(reason, network, payer)));
        }
        claim.settling().await?;
    }
    let receipt = match ask(gate, claim, &mut before).await {
        Ok(SettleResponse::Settled(receipt)) => receipt,
        Ok(answer) => recover(gate, claim, answer, before).await?,
        Err(error) => {
            match gate.hooks.on_settle_failure(claim.payment(), &Failure::Unavailable(&error)).await {
                Some(receipt) => by_hook(receipt),
                None => return Err(unanswered(claim, before, &error)),
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
    gate.hooks.after_settle(claim.payment(), &receipt).await;
    Ok(receipt)
}

/// What was asked about the settlement before.
struct Before {
    /// Whether the facilitator may have been asked, and the answer not heard: then no later answer but success, the failure
    /// of the watched transaction, and that the authorization is dead says what became of it.
    asked: bool,
    /// The transaction that was made then, if it is known to have failed.
    failed: Option<PendingSettlement>,
    /// Whether a call that was made since, in this request, may have done something.
    acted_since: bool,
}

/// Asks to settle; and once more, with the same key, where it may have been a gateway that answered in the facilitator's
/// place, or a moment's trouble.
async fn ask(
    gate: &GateInner,
    claim: &Claim,
    before: &mut Before,
) -> Result<SettleResponse, FacilitatorError> {
    let mut patience = ASKING_AGAIN;
    for attempt in 1.. {
        let error = match call(gate, claim).await {
            Err(error) if is_no_answer_of_its_own(error.kind()) => error,
            answer => return answer,
        };
        (before.asked, before.acted_since) = (true, true);
        let pause = error.pause().unwrap_or(FIRST_PAUSE * attempt);
        if attempt == ATTEMPTS || pause > patience {
            return Err(error);
        }
        tracing::warn!(%error, ?pause, "the facilitator is asked to settle once more");
        patience -= pause;
        tokio::time::sleep(pause).await;
    }
    unreachable!("the last attempt returns")
}

/// Whether somebody else may have answered, who cannot know what became of the settlement.
fn is_no_answer_of_its_own(kind: FacilitatorErrorKind) -> bool {
    matches!(kind, FacilitatorErrorKind::Rejected | FacilitatorErrorKind::Internal)
}

/// The facilitator did not do its work.
fn unanswered(claim: &mut Claim, before: Before, error: &FacilitatorError) -> Refusal {
    if before.acted_since || error.may_have_acted() {
        return unresolved(claim, Some(error));
    }
    // Nothing happened now, so the payment stands as it did.
    match before.failed {
        Some(failed) => claim.failed(failed),
        None if before.asked => return unresolved(claim, Some(error)),
        None => claim.released(),
    }
    Refusal::facilitator("settle", error)
}

/// A hook takes it as settled.
fn by_hook(receipt: Receipt) -> Receipt {
    event::allowed_by_failure();
    receipt
}

/// An answer that is no success: pending, or failed.
async fn recover(
    gate: &GateInner,
    claim: &mut Claim,
    mut answer: SettleResponse,
    before: Before,
) -> Result<Receipt, Refusal> {
    let watched = claim.pending().and_then(|pending| pending.transaction.clone());
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
    let failure = match answer {
        SettleResponse::Settled(receipt) => return Ok(receipt),
        SettleResponse::Pending(pending) => {
            claim.sent(pending.clone()).await;
            return Err(Refusal::pending(pending));
        }
        SettleResponse::Failed(failure) => failure,
    };
    if failure.reason == Reason::PAID_BY_THIRD_PARTY {
        return paid_by_third_party(gate, claim, &before, failure);
    }
    // It says who has the outcome, and nothing of the transaction: that may be mined, or fail.
    if failure.reason == Reason::DUPLICATE_SETTLEMENT {
        if before.asked {
            return Err(unresolved(claim, None));
        }
        claim.sent(watched_in(&failure)).await;
        return Err(Refusal::settled_for_another());
    }
    let SettleFailure { reason, message, payer, transaction, network, is_dead } = failure.clone();
    let not_settled = Refusal::not_settled(SettleResponse::Failed(failure));
    if is_dead {
        claim.released();
        return Err(not_settled);
    }
    // It had failed already, and comes to nothing once more; unless a call without an answer has sent another one.
    if let Some(failed) = before.failed.filter(|_| !before.acted_since) {
        claim.failed(failed);
        return Err(if reason.says_used() {
            Refusal::invalid(payment::Refusal { reason, message, payer })
        } else {
            not_settled
        });
    }
    // We asked before, and our first attempt may be what stands in the way of this one. Only the failure of the very
    // transaction we watch proves that the money did not move.
    let is_unproven = before.asked && (watched.is_none() || transaction != watched);
    // Somebody has used it since it was seen unused here, and whether for this is known once the log is found.
    if is_unproven || (reason.says_used() && claim.was_seen_unused()) {
        return Err(unresolved(claim, None));
    }
    match transaction {
        Some(_) => claim.failed(PendingSettlement { transaction, network, payer }),
        None => claim.released(),
    }
    Err(not_settled)
}

/// The money moved, in a transaction that the facilitator did not send. What its payer has bought with it is known where
/// the payment was seen unused before, since it was claimed here by then, and where nobody else sells for the payee.
fn paid_by_third_party(
    gate: &GateInner,
    claim: &mut Claim,
    before: &Before,
    failure: SettleFailure,
) -> Result<Receipt, Refusal> {
    let pending = watched_in(&failure);
    let SettleFailure { reason, message, payer, network, .. } = failure;
    let ours = claim.was_seen_unused() || gate.is_paid_here_alone(claim);
    match pending.transaction.filter(|id| id.fits(&network)) {
        Some(transaction) if ours => {
            tracing::info!(%transaction, "a payment was made in a transaction of somebody else's");
            let (transaction, extensions) = (Some(transaction), JsonMap::new());
            Ok(Receipt { transaction, network, payer, amount: None, extensions })
        }
        // It is not known yet by which transaction, or what we sent may be what has used it.
        _ if ours || before.asked => Err(unresolved(claim, None)),
        _ => {
            claim.released();
            Err(Refusal::invalid(payment::Refusal { reason, message, payer }))
        }
    }
}

fn watched_in(failure: &SettleFailure) -> PendingSettlement {
    let SettleFailure { transaction, network, payer, .. } = failure.clone();
    PendingSettlement { transaction, network, payer }
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
    let request = SettleRequest::new(claim.payment()).with_key(claim.key());
    let requirements = &claim.payment().requirements;
    let receipt = match gate.facilitator.settle(request).await? {
        SettleResponse::Settled(receipt) => receipt,
        SettleResponse::Pending(pending) => {
            let transaction = pending.transaction.filter(|id| id.fits(&requirements.network));
            return Ok(SettleResponse::Pending(PendingSettlement { transaction, ..pending }));
        }
        failed @ SettleResponse::Failed(_) => return Ok(failed),
    };
    let amount: Option<Amount> = receipt.amount;
    let wrong = if receipt.network != requirements.network {
        format!("asked to settle on {}, it answers of {}", requirements.network, receipt.network)
    } else if !receipt.transaction.as_ref().is_some_and(|id| id.fits(&requirements.network)) {
        format!("it says that the payment is settled, and names no transaction of {}", requirements.network)
    } else if let Some(amount) = amount.filter(|amount| *amount != requirements.amount) {
        format!("asked to settle {}, it answers of {amount}", requirements.amount)
    } else if let Some(payer) = receipt.payer.as_ref().filter(|payer| *payer != claim.payer()) {
        format!("asked to settle a payment of {}, it answers of {payer}", claim.payer())
    } else {
        return Ok(SettleResponse::Settled(receipt));
    };
    Err(FacilitatorError::new(FacilitatorErrorKind::BadAnswer, wrong))
}
