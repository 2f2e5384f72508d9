//! Moving the money, and finding out whether it moved.

use std::{fmt, time::Duration};

use alloy_primitives::{B256, U256};
use futures_util::future::join_all;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};
use x402_core::{
    amount::Amount,
    facilitator::{FacilitatorError, FacilitatorErrorKind},
    failpoint::failpoint,
    payment::{
        JsonMap, PendingSettlement, Reason, Receipt as Proof, Refusal, SettleFailure, SettleResponse,
        TransactionId,
    },
    store::{StoreError, StoreErrorKind},
};

use super::{
    ExactFacilitator,
    checks::{Asked, DryRun, Stop},
    diagnose::{Evidence, Made, among, moved},
    disclosure::{Caller, Disclosure},
    journal::{Entry, Step, Written},
    ledger::Answer,
    promises::Promise,
};
use crate::{
    address::to_core,
    chain::{Departure, Fault, Receipt, Rpc, Sent, Transaction, contracts::Eip3009},
    exact::reasons,
};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// An authorization has expired for good when the chain's newest block is so many seconds past its end: of the nodes
/// behind one URL, one may be that much behind the one that told the time.
const EXPIRY_MARGIN: u64 = 60;

impl ExactFacilitator {
    /// Settles it, in the place of what the journal says of it now: nothing, a transaction that can never be mined, or
    /// another authorization that failed.
    pub(super) async fn pay(
        &self,
        asked: &Asked,
        caller: &Caller,
        over: Option<Entry>,
    ) -> Result<Next, FacilitatorError> {
        let replaced = over.as_ref().and_then(|entry| entry.sent_for(asked)).cloned();
        if let Some(refusal) = self.refused_at_once(asked) {
            let stop = Stop::Refused(refusal);
            return self.stopped_before_sending(asked, caller, over, replaced, stop).await;
        }
        self.check_for_payment().await.map_err(|error| unacted(&error))?;
        let (ready, fees, head) =
            tokio::join!(self.examine(asked, DryRun::Estimate), self.rpc.fees(), self.rpc.block_number());
        let ready = match ready {
            Ok(ready) => ready,
            Err(stop) => return self.stopped_before_sending(asked, caller, over, replaced, stop).await,
        };
        let fees = fees.map_err(|fault| unacted(&self.trouble(&fault)))?;
        let promise = match self.promise(asked).await {
            Ok(promise) => promise,
            Err(stop) => return self.stopped_before_sending(asked, caller, over, replaced, stop).await,
        };
        // Only a hint where to look for what others do with the authorization.
        let head = head.ok();
        let transaction =
            Transaction { to: asked.terms.token, input: ready.input, gas: ready.gas, fees, head };
        let Some(entry) = self.send(asked, caller, over, &transaction).await? else {
            return Ok(Next::LookAgain);
        };
        let answer = self.outcome_of(&entry, Some(promise)).await?;
        match (replaced, entry.sent_for(asked)) {
            // Whoever watches the one before is told of this one first, or its failure would say nothing to them.
            (Some(_), Some(sent)) if matches!(answer, SettleResponse::Failed(_)) => {
                Ok(Next::Answer(self.pending(asked, sent)))
            }
            _ => Ok(Next::Answer(answer)),
        }
    }

    /// Writes the transaction down and sends it. `None`: somebody else is settling the payment.
    async fn send(
        &self,
        asked: &Asked,
        caller: &Caller,
        before: Option<Entry>,
        transaction: &Transaction,
    ) -> Result<Option<Entry>, FacilitatorError> {
        let account = &self.shared.account;
        let mut over = before.clone();
        let unsent = |why: &dyn fmt::Display| {
            unacted(&self.error(format_args!("nothing was sent from {}: {why}", account.address)))
        };
        let mut turn =
            account.turn(&self.rpc, self.settings.receipt_timeout).await.map_err(|why| unsent(&why))?;
        let mut again = true;
        loop {
            let sent = turn.sign(transaction).await.map_err(|why| unsent(&why))?;
            failpoint("settle-signed");
            let step = Step::Sent(sent.clone());
            let disclosure = Entry::disclosure_of(over.as_ref(), asked, caller);
            let written = self.journal.write(asked, over.as_ref(), step, disclosure, self.clock.now()).await;
            let unwritten = |failure: StoreError| match failure.kind() {
                // It may be there all the same, or come there yet, and is sent then by whoever finds it.
                StoreErrorKind::Unavailable => {
                    self.unstored(&failure).of_kind(FacilitatorErrorKind::Internal)
                }
                _ => self.unstored(&failure),
            };
            let entry = match written.map_err(unwritten)? {
                Written::Done(entry) => entry,
                Written::Lost(_) => return Ok(None),
            };
            failpoint("settle-journaled");
            match turn.send(&sent).await {
                Departure::Left => return Ok(Some(entry)),
                Departure::Taken(_) if again => {
                    again = false;
                    over = Some(entry);
                }
                Departure::Taken(fault) | Departure::Refused(fault) => {
                    return match self.journal.take_away(&entry, before.as_ref(), self.clock.now()).await {
                        // Somebody else has found the transaction there, and may have sent it.
                        Ok(false) => Ok(None),
                        Ok(true) => Err(unsent(&fault)),
                        Err(failure) => {
                            warn!(%failure, tx = %sent.hash, "what was not sent stays in the store for now");
                            Err(unsent(&fault))
                        }
                    };
                }
            }
        }
    }

    /// A payment that is used or out of time may have been made: by a third party, or by us, long ago.
    async fn stopped_before_sending(
        &self,
        asked: &Asked,
        caller: &Caller,
        over: Option<Entry>,
        replaced: Option<Sent>,
        stop: Stop,
    ) -> Result<Next, FacilitatorError> {
        let mut refusal = match stop {
            Stop::Refused(refusal) => refusal,
            Stop::Fault(error) => return Err(unacted(&error)),
        };
        let mut is_dead = false;
        if [reasons::NONCE_ALREADY_USED, reasons::VALID_BEFORE].contains(&refusal.reason) {
            let made = self.made_within_budget(asked, Evidence::Words, &refusal.reason).await;
            let made = made.map_err(|fault| match self.trouble(&fault) {
                // What was seen unused here was used since, and may have been paid.
                error if fault.was_not_searched() && over.is_none() && self.is_stranger(asked) => {
                    unacted(&error)
                }
                error => error,
            })?;
            match made {
                Made::By(hash) if replaced.is_some() => {
                    let answer = self.settled(asked, hash);
                    return Ok(Next::Answer(self.conclude(asked, over.as_ref(), answer).await));
                }
                Made::By(hash) => return self.by_third_party(asked, caller, over.as_ref(), hash).await,
                Made::Cancelled => is_dead = true,
                // One that is used by something else is not out of time.
                Made::No if refusal.reason == reasons::VALID_BEFORE => {
                    is_dead = self.has_expired(asked).await;
                    // By what, no log tells yet: whoever saw it unused is not to take it for over.
                    if !is_dead && self.is_used(asked).await {
                        refusal.reason = reasons::NONCE_ALREADY_USED;
                    }
                }
                Made::No => {}
            }
        }
        // Only what was sent for this very payment: anybody may come with another authorization of the nonce, or with a
        // signature that is none, and the record says who may hear of the payment.
        let is_it = |entry: &&Entry| replaced.is_some() && entry.asked.signature == asked.signature;
        if let Some(dead) = over.as_ref().filter(is_it) {
            match self.journal.take_away(dead, None, self.clock.now()).await {
                Ok(true) => {}
                // Somebody else got further with it: what was found here may come of that.
                Ok(false) => return Ok(Next::LookAgain),
                Err(failure) => {
                    debug!(%failure, "a settlement that came to nothing stays in the store for now");
                }
            }
        }
        let answer = match replaced {
            // Whoever watches it is told that it came to nothing.
            Some(sent) => self.failed(asked, refusal.reason, Some(sent.hash)),
            None => self.refused_of(asked, refusal),
        };
        Ok(Next::Answer(if is_dead { dead(answer) } else { answer }))
    }

    /// The payment was made in a transaction that is none of ours, and the journal has not seen it unused: it may have bought
    /// something elsewhere. Whoever asks first with a key is told so as often as they ask, since they may know better; and
    /// nobody else.
    async fn by_third_party(
        &self,
        asked: &Asked,
        caller: &Caller,
        over: Option<&Entry>,
        hash: B256,
    ) -> Result<Next, FacilitatorError> {
        let answer = self.failed(asked, Reason::PAID_BY_THIRD_PARTY, Some(hash));
        if !caller.has_key() {
            // Another facilitator that writes here may have made it meanwhile.
            let found =
                self.journal.find(asked).await.map_err(|failure| self.unwritten_made(hash, &failure))?;
            let is_ours = found.is_some_and(|entry| entry.asked.hash == asked.hash);
            return Ok(if is_ours { Next::LookAgain } else { Next::Answer(answer) });
        }
        let (step, disclosure) = (Step::Done(answer.clone()), Disclosure::to(caller));
        let written = self.journal.write(asked, over, step, disclosure, self.clock.now()).await;
        match written.map_err(|failure| self.unwritten_made(hash, &failure))? {
            Written::Done(_) => Ok(Next::Answer(answer)),
            Written::Lost(_) => Ok(Next::LookAgain),
        }
    }

    /// The money has moved, and the store does not take it: it is not for whoever asks to let the payment go.
    pub(super) fn unwritten_made(&self, hash: B256, failure: &StoreError) -> FacilitatorError {
        self.error(format_args!(
            "transaction {hash} made the payment, which could not be written down: settle it again later: {failure}"
        ))
    }

    /// Whether the authorization has run out for good: by every endpoint's own chain it was not used by then.
    async fn has_expired(&self, asked: &Asked) -> bool {
        let Ok(each) = self.rpc.each().await else { return false };
        let expired = join_all(each.iter().map(|one| self.has_expired_at(one, asked))).await;
        !expired.is_empty() && expired.into_iter().all(|expired| matches!(expired, Ok(true)))
    }

    /// Whether any endpoint has seen the authorization used.
    async fn is_used(&self, asked: &Asked) -> bool {
        let Ok(each) = self.rpc.each().await else { return false };
        let (authorizer, nonce) = (asked.authorization.from, asked.authorization.nonce);
        let state = Eip3009::authorizationStateCall { authorizer, nonce };
        let used = join_all(each.iter().map(|one| one.view(asked.terms.token, &state))).await;
        used.into_iter().any(|used| matches!(used, Ok(Some(true))))
    }

    async fn has_expired_at(&self, endpoint: &Rpc, asked: &Asked) -> Result<bool, Fault> {
        let head = endpoint.head().await?;
        let end = asked.authorization.valid_before.saturating_add(U256::from(EXPIRY_MARGIN));
        if U256::from(head.timestamp) < end {
            return Ok(false);
        }
        let (authorizer, nonce) = (asked.authorization.from, asked.authorization.nonce);
        let state = Eip3009::authorizationStateCall { authorizer, nonce };
        // Asked after the head: it is the state of that block, or of a later one.
        Ok(endpoint.view(asked.terms.token, &state).await? == Some(false))
    }

    /// What became of an earlier attempt's transaction, whoever sent it; `None` if it can never be mined, or the journal
    /// does not name it any more, so that it does not stand in the way of another one.
    pub(super) async fn resume(
        &self,
        entry: &Entry,
        sent: &Sent,
    ) -> Result<Option<SettleResponse>, FacilitatorError> {
        let asked = &entry.asked;
        let answer = match self.fate(asked, sent).await {
            Ok(Fate::Known) => return self.outcome(entry).await.map(Some),
            Ok(Fate::Unheard) => {
                // Once it is ours, whoever wrote it does not take it away as unsent.
                let step = Step::Sent(sent.clone());
                let disclosure = entry.disclosure.clone();
                let written =
                    self.journal.write(asked, Some(entry), step, disclosure, self.clock.now()).await;
                match written.map_err(|failure| self.unstored_pending(sent, &failure))? {
                    Written::Done(ours) => {
                        self.shared.account.send_again(&self.rpc, sent).await;
                        return self.outcome(&ours).await.map(Some);
                    }
                    Written::Lost(Some(theirs)) if theirs.asked.hash == asked.hash => match theirs.step {
                        Step::Done(answer) => return Ok(Some(answer)),
                        Step::Sent(ref same) if same.hash == sent.hash => {
                            return self.outcome(&theirs).await.map(Some);
                        }
                        Step::Sent(_) => return Ok(None),
                    },
                    // What is there now is for whoever tries to put another one in its place.
                    Written::Lost(_) => return Ok(None),
                }
            }
            Ok(Fate::Expiring) => return Ok(Some(self.pending(asked, sent))),
            Ok(Fate::Paid(hash)) => self.settled(asked, hash),
            Ok(Fate::Expired) => dead(self.failed(asked, reasons::VALID_BEFORE, Some(sent.hash))),
            Ok(Fate::Replaced) => return Ok(None),
            Err(fault) => {
                debug!(%fault, "the fate of the transaction is still unknown");
                return Ok(Some(self.pending(asked, sent)));
            }
        };
        Ok(Some(self.conclude(asked, Some(entry), answer).await))
    }

    /// The same at one glance, without sending anything or waiting.
    pub(super) async fn look(&self, asked: &Asked, sent: &Sent) -> Result<Look, FacilitatorError> {
        let fate = match self.fate(asked, sent).await {
            Err(fault) if fault.is_lost_log() => return Ok(Look::Used(fault)),
            fate => fate.map_err(|fault| self.trouble(&fault))?,
        };
        Ok(match fate {
            Fate::Known => {
                match self.mined(sent.hash, &mut None).await.map_err(|fault| self.trouble(&fault))? {
                    Some(receipt) => Look::Came(self.judge(asked, sent, &receipt).await?),
                    None => Look::Waits,
                }
            }
            Fate::Expiring => Look::Waits,
            Fate::Unheard => Look::Nowhere,
            Fate::Paid(hash) => Look::Came(self.settled(asked, hash)),
            Fate::Expired => Look::Came(dead(self.failed(asked, reasons::VALID_BEFORE, Some(sent.hash)))),
            Fate::Replaced => Look::Dead,
        })
    }

    /// What can be said of a transaction that has no answer yet.
    ///
    /// That it was mined, or that the payment was made, is believed of any endpoint. That it will never be is believed
    /// when all that can be asked say so, each from its own chain alone: whoever has not heard of a transaction may be
    /// behind the one that took it. Where they differ, the transaction may live, and only its own bytes may be sent.
    async fn fate(&self, asked: &Asked, sent: &Sent) -> Result<Fate, Fault> {
        let each = self.rpc.each().await?;
        let fates = join_all(each.iter().map(|one| self.fate_at(one, asked, sent))).await;
        let told = |wanted: fn(&Fate) -> bool| fates.iter().flatten().copied().find(wanted);
        if let Some(fate) = told(|fate| matches!(fate, Fate::Known | Fate::Paid(_))) {
            return Ok(fate);
        }
        if let Some(fault) = fates.iter().find_map(|fate| fate.as_ref().err()) {
            return Err(fault.clone());
        }
        Ok(told(|fate| matches!(fate, Fate::Expiring))
            .or_else(|| told(|fate| matches!(fate, Fate::Unheard)))
            .or_else(|| told(|fate| matches!(fate, Fate::Expired)))
            .unwrap_or(Fate::Replaced))
    }

    async fn fate_at(&self, endpoint: &Rpc, asked: &Asked, sent: &Sent) -> Result<Fate, Fault> {
        // Asked first: all that happened up to then is in the answers that follow.
        let (head, nonce) = tokio::try_join!(endpoint.head(), endpoint.mined_nonce(sent.account))?;
        let (known, receipt) = tokio::try_join!(endpoint.knows(sent.hash), endpoint.receipt(sent.hash))?;
        if known || receipt.is_some() {
            return Ok(Fate::Known);
        }
        let evidence = Evidence::Logs { near: sent.head };
        if let Made::By(hash) = self.made_at(endpoint, asked, None, evidence).await? {
            return Ok(Fate::Paid(hash));
        }
        // By the chain's own clock, which is the token's: an endpoint that has stopped does not get there.
        let now = U256::from(head.timestamp);
        if now >= asked.authorization.valid_before.saturating_add(U256::from(EXPIRY_MARGIN)) {
            return Ok(Fate::Expired);
        }
        if nonce > sent.nonce {
            return Ok(Fate::Replaced);
        }
        if now >= asked.authorization.valid_before {
            return Ok(Fate::Expiring);
        }
        Ok(Fate::Unheard)
    }

    /// What became of the authorization without us: that another one made the payment is believed of any endpoint, that its
    /// payer has withdrawn it of all.
    async fn made(&self, asked: &Asked, block: Option<u64>, evidence: Evidence) -> Result<Made, Fault> {
        let each = self.rpc.each().await?;
        among(join_all(each.iter().map(|one| self.made_at(one, asked, block, evidence))).await)
    }

    async fn outcome(&self, entry: &Entry) -> Answer {
        self.outcome_of(entry, None).await
    }

    /// Waits for the transaction, and writes down what came of it. What was promised is kept as soon as it is in a block.
    async fn outcome_of(&self, entry: &Entry, mut promise: Option<Promise>) -> Answer {
        let Entry { asked, step: Step::Sent(sent), .. } = entry else {
            unreachable!("only what was sent is waited for");
        };
        let deadline = Instant::now() + self.settings.receipt_timeout;
        let mut pause = FIRST_PAUSE;
        failpoint("settle-sent");
        loop {
            match self.mined(sent.hash, &mut promise).await {
                Ok(Some(receipt)) => {
                    let answer = self.judge(asked, sent, &receipt).await?;
                    failpoint("settle-mined");
                    return Ok(self.conclude(asked, Some(entry), answer).await);
                }
                Ok(None) => {}
                Err(fault) => debug!(%fault, tx = %sent.hash, "no receipt for now"),
            }
            if Instant::now() + pause > deadline {
                break;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(LONGEST_PAUSE);
        }
        if sent.account == self.shared.account.address {
            self.shared.account.doubt().await;
        }
        Ok(self.pending(asked, sent))
    }

    /// Writes the answer down before anyone hears it, and returns the one to tell: another facilitator may have come to
    /// one first. A store that does not take it leaves the transaction there, from which the same is found out again.
    pub(super) async fn conclude(
        &self,
        asked: &Asked,
        seen: Option<&Entry>,
        answer: SettleResponse,
    ) -> SettleResponse {
        let step = Step::Done(answer.clone());
        let mut disclosure = seen.map(|entry| entry.disclosure.clone()).unwrap_or_default();
        let mut written =
            self.journal.write(asked, seen, step.clone(), disclosure.clone(), self.clock.now()).await;
        for _ in 0..3 {
            let found = match written {
                Ok(Written::Done(_)) => return answer,
                Ok(Written::Lost(found)) => found,
                Err(failure) => {
                    error!(%failure, "the answer of a settlement was not written down; it is found out again later");
                    if let Some(entry) = seen {
                        self.look_up_later(entry.clone());
                    }
                    return answer;
                }
            };
            let same = found.as_ref().is_none_or(|found| found.asked.hash == asked.hash);
            match found.as_ref().map(|found| &found.step) {
                Some(Step::Done(theirs)) => return if same { theirs.clone() } else { answer },
                // A payment that was made ends whatever else is tried with its nonce; one that failed does not.
                Some(Step::Sent(_)) if !same && !matches!(answer, SettleResponse::Settled(_)) => {
                    return answer;
                }
                Some(Step::Sent(_)) | None => {}
            }
            if let Some(found) = found.as_ref().filter(|_| same) {
                disclosure = found.disclosure.clone();
            }
            let (step, disclosure) = (step.clone(), disclosure.clone());
            written = self.journal.write(asked, found.as_ref(), step, disclosure, self.clock.now()).await;
        }
        answer
    }

    /// The receipt, once there are enough blocks on it.
    async fn mined(&self, hash: B256, promise: &mut Option<Promise>) -> Result<Option<Receipt>, Fault> {
        let Some(receipt) = self.rpc.receipt(hash).await? else { return Ok(None) };
        // The balance is without it by now.
        *promise = None;
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
        let failed = self.failed(asked, reasons::TRANSACTION_FAILED, Some(sent.hash));
        match self.made(asked, Some(block), Evidence::Logs { near: Some(block) }).await {
            Ok(Made::By(hash)) => Ok(self.settled(asked, hash)),
            Ok(Made::Cancelled) => Ok(dead(failed)),
            Ok(Made::No) => Ok(failed),
            Err(fault) => Err(self.error(format_args!(
                "transaction {} reverted, and whether another one made the payment could not be found out: {fault}",
                sent.hash
            ))),
        }
    }

    /// The store does not do its work: nothing was done.
    pub(super) fn unstored(&self, failure: &StoreError) -> FacilitatorError {
        unacted(&self.error(format_args!("nothing was sent, since it could not be written down: {failure}")))
    }

    /// The same after something had been sent.
    fn unstored_pending(&self, sent: &Sent, failure: &StoreError) -> FacilitatorError {
        self.error(format_args!("what became of transaction {} is not known yet: {failure}", sent.hash))
    }

    pub(super) fn stopped(&self, asked: &Asked, stop: Stop) -> Answer {
        match stop {
            Stop::Refused(refusal) => Ok(self.refused_of(asked, refusal)),
            Stop::Fault(error) => Err(unacted(&error)),
        }
    }

    pub(super) fn settled(&self, asked: &Asked, hash: B256) -> SettleResponse {
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
            transaction: Some(id(sent.hash)),
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
            is_dead: false,
        })
    }

    pub(super) fn refused_of(&self, asked: &Asked, refusal: Refusal) -> SettleResponse {
        self.refused(Refusal { payer: Some(to_core(asked.authorization.from)), ..refusal })
    }

    /// A settlement that was refused before anything was sent.
    pub(super) fn refused(&self, Refusal { reason, message, payer }: Refusal) -> SettleResponse {
        let network = self.network.clone();
        SettleResponse::Failed(SettleFailure {
            reason,
            message,
            payer,
            transaction: None,
            network,
            is_dead: false,
        })
    }

    pub(super) fn report(&self, asked: &Asked, answer: &Answer) {
        let payer = asked.authorization.from;
        match answer {
            Ok(SettleResponse::Settled(proof)) => {
                info!(%payer, tx = proof.transaction.as_ref().map(tracing::field::display), "settled");
            }
            Ok(SettleResponse::Pending(pending)) => {
                let tx = pending.transaction.as_ref().map(tracing::field::display);
                warn!(%payer, tx, "not mined in time: the settlement is pending");
            }
            Ok(SettleResponse::Failed(failure)) => {
                let tx = failure.transaction.as_ref().map(tracing::field::display);
                warn!(%payer, tx, reason = %failure.reason, "not settled");
            }
            Err(error) => warn!(%payer, %error, "the settlement did not come to an end"),
        }
    }
}

/// How a payment goes on.
pub(super) enum Next {
    /// With this, for the one who asked.
    Answer(SettleResponse),
    /// With what the journal says by now.
    LookAgain,
}

/// What is seen of a transaction at one glance.
pub(super) enum Look {
    /// This came of it.
    Came(SettleResponse),
    /// It waits to be mined.
    Waits,
    /// Its nonce is used, and no log shows by what.
    Used(Fault),
    /// It is nowhere, and may yet be sent again.
    Nowhere,
    /// It can never be mined.
    Dead,
}

/// What became of a transaction that has no answer yet.
#[derive(Clone, Copy)]
enum Fate {
    /// It is mined, or waits to be.
    Known,
    /// It is nowhere, and may yet be mined.
    Unheard,
    /// The payment was made by this transaction.
    Paid(B256),
    /// Another transaction of ours took its place in the account's order.
    Replaced,
    /// It is nowhere, and the token would not take it any more; it may have been mined where this endpoint is not yet.
    Expiring,
    /// The same, and long enough for that to be known.
    Expired,
}

/// A failure before anything was sent now. Whether anything was sent before, [the journal says](ExactFacilitator).
pub(super) fn unacted(error: &FacilitatorError) -> FacilitatorError {
    FacilitatorError::new(FacilitatorErrorKind::NotActed, error.to_string())
}

/// The failure of what can never move money any more.
pub(super) fn dead(mut answer: SettleResponse) -> SettleResponse {
    if let SettleResponse::Failed(failure) = &mut answer {
        failure.is_dead = true;
    }
    answer
}

fn id(hash: B256) -> TransactionId {
    hash.to_string().parse().expect("a hash in hex is visible ASCII")
}
