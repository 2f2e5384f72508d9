//! Moving the money, and finding out whether it moved.

use std::time::Duration;

use alloy_primitives::B256;
use tokio::time::Instant;
use tracing::{debug, info, warn};
use x402_core::{
    amount::Amount,
    facilitator::{FacilitatorError, FacilitatorErrorKind},
    payment::{
        JsonMap, PendingSettlement, Reason, Receipt as Proof, Refusal, SettleFailure, SettleResponse,
        TransactionId,
    },
};

use super::{
    ExactFacilitator,
    checks::{Asked, DryRun, Stop},
    diagnose::moved,
    ledger::Answer,
};
use crate::{
    address::to_core,
    chain::{Fault, Receipt, Sent, Transaction},
    exact::reasons,
};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A chain's clock may be behind ours: an authorization is past use only this long after it expired.
const CLOCK_MARGIN: u64 = 60;

impl ExactFacilitator {
    pub(super) async fn attempt(&self, asked: &Asked, sent: Option<Sent>) -> Answer {
        if let Some(sent) = sent
            && let Some(answer) = self.resume(asked, &sent).await?
        {
            return Ok(answer);
        }
        let (ready, fees) = tokio::join!(self.examine(asked, DryRun::Estimate), self.rpc.fees());
        let ready = match ready {
            Ok(ready) => ready,
            Err(stop) => return self.stopped_before_sending(asked, stop).await,
        };
        let fees = fees.map_err(|fault| unacted(&self.trouble(&fault)))?;
        let transaction = Transaction { to: asked.terms.token, input: ready.input, gas: ready.gas, fees };
        let ledger = &self.shared.ledger;
        let sent =
            self.shared.account.send(&self.rpc, &transaction, |sent| ledger.sending(asked, sent)).await;
        match sent {
            Ok(sent) => self.outcome(asked, &sent).await,
            Err(unsent) => {
                ledger.not_sent(asked);
                let account = self.shared.account.address;
                Err(unacted(&self.error(format_args!("nothing was sent from {account}: {unsent}"))))
            }
        }
    }

    /// A payment that is used or out of time may have been made: by a third party, or by us before a restart.
    async fn stopped_before_sending(&self, asked: &Asked, stop: Stop) -> Answer {
        if let Stop::Refused(refusal) = &stop
            && [reasons::NONCE_ALREADY_USED, reasons::VALID_BEFORE].contains(&refusal.reason)
        {
            let paid = self.paid_by_another(asked, None).await.map_err(|fault| self.trouble(&fault))?;
            if let Some(hash) = paid {
                return Ok(self.settled(asked, hash));
            }
        }
        self.stopped(asked, stop)
    }

    /// What became of an earlier attempt's transaction; `None` if it can never be mined, so that nothing stands in
    /// the way of another one.
    pub(super) async fn resume(
        &self,
        asked: &Asked,
        sent: &Sent,
    ) -> Result<Option<SettleResponse>, FacilitatorError> {
        match self.fate(asked, sent).await {
            Ok(Fate::Open) => self.outcome(asked, sent).await.map(Some),
            Ok(Fate::Paid(hash)) => Ok(Some(self.settled(asked, hash))),
            Ok(Fate::Expired) => Ok(Some(self.failed(asked, reasons::VALID_BEFORE, Some(sent.hash)))),
            Ok(Fate::Replaced) => Ok(None),
            Err(fault) => {
                debug!(%fault, "the fate of the transaction is still unknown");
                Ok(Some(self.pending(asked, sent)))
            }
        }
    }

    async fn fate(&self, asked: &Asked, sent: &Sent) -> Result<Fate, Fault> {
        let account = &self.shared.account;
        let (known, nonce) = tokio::join!(self.rpc.knows(sent.hash), self.rpc.mined_nonce(account.address));
        let (known, nonce) = (known?, nonce?);
        // Asked last: a transaction that was mined meanwhile has its receipt by now.
        if known || self.rpc.receipt(sent.hash).await?.is_some() {
            return Ok(Fate::Open);
        }
        if let Some(hash) = self.paid_by_another(asked, None).await? {
            return Ok(Fate::Paid(hash));
        }
        if nonce > sent.nonce {
            return Ok(Fate::Replaced);
        }
        let expired: u64 = asked.authorization.valid_before.saturating_to();
        if self.clock.now() > expired.saturating_add(CLOCK_MARGIN) {
            return Ok(Fate::Expired);
        }
        account.send_again(&self.rpc, sent).await;
        Ok(Fate::Open)
    }

    /// Waits for the transaction.
    async fn outcome(&self, asked: &Asked, sent: &Sent) -> Answer {
        let deadline = Instant::now() + self.settings.receipt_timeout;
        let mut pause = FIRST_PAUSE;
        loop {
            match self.mined(sent.hash).await {
                Ok(Some(receipt)) => return self.judge(asked, sent, &receipt).await,
                Ok(None) => {}
                Err(fault) => debug!(%fault, tx = %sent.hash, "no receipt for now"),
            }
            if Instant::now() + pause > deadline {
                break;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(LONGEST_PAUSE);
        }
        self.shared.account.doubt().await;
        Ok(self.pending(asked, sent))
    }

    /// The receipt, once there are enough blocks on it.
    async fn mined(&self, hash: B256) -> Result<Option<Receipt>, Fault> {
        let Some(receipt) = self.rpc.receipt(hash).await? else { return Ok(None) };
        let blocks = self.settings.confirmations;
        if blocks > 1 && self.rpc.block_number().await? < receipt.block_number.to::<u64>() + blocks - 1 {
            return Ok(None);
        }
        Ok(Some(receipt))
    }

    /// A transaction that went through is not yet a payment: the token has to say that the money moved.
    async fn judge(&self, asked: &Asked, sent: &Sent, receipt: &Receipt) -> Answer {
        if receipt.succeeded() {
            return Ok(if moved(receipt, asked) {
                self.settled(asked, sent.hash)
            } else {
                self.failed(asked, reasons::TRANSFER_EVENT_MISMATCH, Some(sent.hash))
            });
        }
        let block = receipt.block_number.to::<u64>();
        match self.paid_by_another(asked, Some(block)).await {
            Ok(Some(hash)) => Ok(self.settled(asked, hash)),
            Ok(None) => Ok(self.failed(asked, reasons::TRANSACTION_FAILED, Some(sent.hash))),
            Err(fault) => Err(self.error(format_args!(
                "transaction {} reverted, and whether another one made the payment could not be found out: {fault}",
                sent.hash
            ))),
        }
    }

    pub(super) fn stopped(&self, asked: &Asked, stop: Stop) -> Answer {
        match stop {
            Stop::Refused(refusal) => Ok(self.refused_of(asked, refusal)),
            Stop::Fault(error) => Err(unacted(&error)),
        }
    }

    fn settled(&self, asked: &Asked, hash: B256) -> SettleResponse {
        SettleResponse::Settled(Proof {
            transaction: Some(id(hash)),
            network: self.network.clone(),
            payer: Some(to_core(asked.authorization.from)),
            amount: Some(Amount::new(asked.amount)),
            extensions: JsonMap::new(),
        })
    }

    fn pending(&self, asked: &Asked, sent: &Sent) -> SettleResponse {
        SettleResponse::Pending(PendingSettlement {
            transaction: id(sent.hash),
            network: self.network.clone(),
            payer: Some(to_core(asked.authorization.from)),
        })
    }

    fn failed(&self, asked: &Asked, reason: Reason, hash: Option<B256>) -> SettleResponse {
        SettleResponse::Failed(SettleFailure {
            reason,
            message: None,
            payer: Some(to_core(asked.authorization.from)),
            transaction: hash.map(id),
            network: self.network.clone(),
        })
    }

    pub(super) fn refused_of(&self, asked: &Asked, refusal: Refusal) -> SettleResponse {
        self.refused(Refusal { payer: Some(to_core(asked.authorization.from)), ..refusal })
    }

    /// A settlement that was refused before anything was sent.
    pub(super) fn refused(&self, Refusal { reason, message, payer }: Refusal) -> SettleResponse {
        let network = self.network.clone();
        SettleResponse::Failed(SettleFailure { reason, message, payer, transaction: None, network })
    }

    pub(super) fn report(&self, asked: &Asked, answer: &Answer) {
        let payer = asked.authorization.from;
        match answer {
            Ok(SettleResponse::Settled(proof)) => {
                info!(%payer, tx = proof.transaction.as_ref().map(tracing::field::display), "settled");
            }
            Ok(SettleResponse::Pending(pending)) => {
                warn!(%payer, tx = %pending.transaction, "not mined in time: the settlement is pending");
            }
            Ok(SettleResponse::Failed(failure)) => {
                let tx = failure.transaction.as_ref().map(tracing::field::display);
                warn!(%payer, tx, reason = %failure.reason, "not settled");
            }
            Err(error) => warn!(%payer, %error, "the settlement did not come to an end"),
        }
    }
}

/// What became of a transaction that has no answer yet.
enum Fate {
    /// It is mined, or may yet be.
    Open,
    /// The payment was made by this transaction.
    Paid(B256),
    /// Another transaction of ours took its place in the account's order.
    Replaced,
    /// It is nowhere, and the token would not take it any more.
    Expired,
}

/// A failure before anything was sent: the caller may try again, here or elsewhere.
pub(super) fn unacted(error: &FacilitatorError) -> FacilitatorError {
    FacilitatorError::new(FacilitatorErrorKind::Unreachable, error.to_string())
}

fn id(hash: B256) -> TransactionId {
    hash.to_string().parse().expect("a hash in hex is visible ASCII")
}
