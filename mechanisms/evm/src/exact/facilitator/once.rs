//! Settling a payment once, however often it comes, and one authorization of a nonce.

use std::fmt;

use tracing::{Instrument, Span};
use x402_core::{
    facilitator::{FacilitatorError, FacilitatorErrorKind},
    failpoint::failpoint,
    payment::{Reason, Refusal, SettleFailure, SettleResponse},
};

use super::{
    ExactFacilitator,
    checks::{Asked, DryRun, Stop, refusal},
    diagnose::{Evidence, Made},
    disclosure::Caller,
    journal::{Entry, Step, Written},
    ledger::{Answer, Receiver, Sender, Turn},
    settle::{Next, dead, unacted},
};
use crate::{chain::Fault, exact::reasons};

/// How often what the journal says of a payment may change under our hands. Each time somebody else got further.
const ROUNDS: usize = 8;

impl ExactFacilitator {
    /// Settles a payment, or says what came of it, or joins whoever is settling it. The work is done in a task of
    /// its own: a caller that goes away does not stop it.
    pub(super) async fn settle_once(&self, asked: Asked, caller: Caller) -> Answer {
        if let Some(reason) = asked.mismatch() {
            let answer = match self.examine(&asked, DryRun::Call).await {
                Ok(_) => Ok(self.refused_of(&asked, refusal(reason))),
                Err(stop) => self.stopped(&asked, stop),
            };
            return self.if_nothing_was_sent(&asked, answer).await;
        }
        let outcome = self.outcome_for(&asked, &caller).await?;
        self.heard_by(&asked, &caller, outcome).await
    }

    /// What came of the payment, whoever may hear of it.
    async fn outcome_for(&self, asked: &Asked, caller: &Caller) -> Answer {
        loop {
            match self.shared.ledger.enter(asked) {
                Turn::Begin { tell, answer } => {
                    self.begin(asked.clone(), caller.clone(), tell);
                    return self.heard(answer).await;
                }
                Turn::Wait { answer, same_signature } => {
                    let answer = self.heard(answer).await;
                    if same_signature {
                        return answer;
                    }
                    // It may have failed for its own signature, which is none of ours.
                    if !matches!(answer, Err(_) | Ok(SettleResponse::Failed(_))) {
                        return self.if_signed(asked, answer).await;
                    }
                }
                Turn::Behind { answer } => {
                    if let Ok(SettleResponse::Pending(pending)) = self.heard(answer).await {
                        let error =
                            self.held_up(pending.transaction.map_or_else(String::new, |id| id.to_string()));
                        return self.if_nothing_was_sent(asked, Err(error)).await;
                    }
                }
            }
        }
    }

    /// Why a payment that looks good will not be settled: its answer, or its nonce's, is in the journal.
    pub(super) async fn ended(&self, asked: &Asked) -> Result<Option<Refusal>, FacilitatorError> {
        let found = self.journal.find(asked).await.map_err(|failure| {
            self.error(format_args!("whether it has been settled before could not be read: {failure}"))
        })?;
        Ok(match found {
            Some(Entry { step: Step::Done(SettleResponse::Settled(_)), .. }) => {
                Some(refusal(reasons::NONCE_ALREADY_USED))
            }
            Some(Entry { step: Step::Done(SettleResponse::Failed(failure)), asked: of, .. })
                if of.hash == asked.hash =>
            {
                let SettleFailure { reason, message, .. } = failure;
                Some(Refusal { reason, message, payer: None })
            }
            _ => None,
        })
    }

    /// Does it in a task of its own and tells everyone who waits.
    fn begin(&self, asked: Asked, caller: Caller, tell: Sender) {
        let this = self.clone();
        let work = async move {
            let answer = this.attempt(&asked, &caller).await;
            let answer = this.if_nothing_was_sent(&asked, answer).await;
            failpoint("settle-answered");
            this.shared.ledger.leave(&asked);
            this.report(&asked, &answer);
            tell.send_replace(Some(answer));
        };
        tokio::spawn(work.instrument(Span::current()));
    }

    /// That nothing was sent is said where the journal was read after that, and has nothing for the payment's nonce: an
    /// earlier attempt, or another facilitator's, would be there.
    async fn if_nothing_was_sent(&self, asked: &Asked, answer: Answer) -> Answer {
        let Err(error) = answer else { return answer };
        if error.kind() != FacilitatorErrorKind::NotActed {
            return Err(error);
        }
        Err(match self.journal.find(asked).await {
            Ok(None) => error,
            Ok(Some(_)) => error.of_kind(FacilitatorErrorKind::Internal),
            Err(failure) => error.of_kind(FacilitatorErrorKind::Internal).because(failure),
        })
    }

    /// What is in the journal about it, or else what comes of it now.
    async fn attempt(&self, asked: &Asked, caller: &Caller) -> Answer {
        self.after_leftovers(asked).await?;
        for _ in 0..ROUNDS {
            let found = self.journal.find(asked).await.map_err(|failure| self.unstored(&failure))?;
            let next = match found {
                None => self.pay(asked, caller, None).await?,
                Some(entry) if entry.asked.hash == asked.hash => self.go_on(asked, caller, entry).await?,
                Some(entry) => self.beside(asked, caller, entry).await?,
            };
            match next {
                Next::Answer(answer) => return Ok(answer),
                Next::LookAgain => {}
            }
        }
        Err(unacted(
            &self.error("others are settling with the payer's nonce: settle the payment again later"),
        ))
    }

    /// The same authorization was settled, or begun.
    async fn go_on(&self, asked: &Asked, caller: &Caller, entry: Entry) -> Result<Next, FacilitatorError> {
        let answer = match &entry.step {
            Step::Done(SettleResponse::Failed(failure)) => match self.reconsider(&entry, failure).await? {
                Some(answer) => answer,
                None => return Ok(Next::LookAgain),
            },
            Step::Done(answer) => answer.clone(),
            Step::Sent(sent) => match self.resume(&entry, sent).await? {
                Some(answer) => answer,
                None => return self.pay(asked, caller, Some(entry)).await,
            },
        };
        // What was begun with another signature is not everyone's to hear of.
        let same_signature = entry.asked.signature == asked.signature;
        let answer = if same_signature { answer } else { self.if_signed(asked, Ok(answer)).await? };
        Ok(Next::Answer(answer))
    }

    /// Our transaction came to nothing, and nothing more is sent for it. The authorization may live all the same, and
    /// anyone may have used it since. `None`: the journal says something else by now.
    async fn reconsider(
        &self,
        entry: &Entry,
        failure: &SettleFailure,
    ) -> Result<Option<SettleResponse>, FacilitatorError> {
        let failed = SettleResponse::Failed(failure.clone());
        // Then ours has used it, or the one that is named has, or nothing ever will.
        let is_final =
            [reasons::TRANSFER_EVENT_MISMATCH, Reason::PAID_BY_THIRD_PARTY].contains(&failure.reason);
        if is_final || failure.is_dead {
            return Ok(Some(failed));
        }
        let made = async {
            let hash = failure.transaction.as_ref().and_then(|id| id.as_str().parse().ok());
            let receipt = match hash {
                Some(hash) => self.rpc.receipt(hash).await?,
                None => None,
            };
            let near = receipt.map(|receipt| receipt.block_number.to());
            self.made_within_budget(&entry.asked, Evidence::Logs { near }, &failure.reason).await
        };
        let made = made.await.map_err(|fault: Fault| {
            self.error(format_args!(
                "the transaction failed, and whether another one made the payment since could not be found out: {fault}"
            ))
        })?;
        let hash = match made {
            Made::By(hash) => hash,
            Made::Cancelled => return Ok(Some(dead(failed))),
            Made::No => return Ok(Some(failed)),
        };
        let settled = self.settled(&entry.asked, hash);
        // Only in this place: one of the authorizations with this nonce is paid by what was found.
        let step = Step::Done(settled.clone());
        let disclosure = entry.disclosure.clone();
        let written = self.journal.write(&entry.asked, Some(entry), step, disclosure, self.clock.now()).await;
        match written {
            Ok(Written::Done(_)) => Ok(Some(settled)),
            Ok(Written::Lost(_)) => Ok(None),
            Err(failure) => Err(self.unwritten_made(hash, &failure)),
        }
    }

    /// Another authorization with the same nonce was settled, or begun. Sends nothing new for that one: whoever asked
    /// for it may have given it up.
    async fn beside(&self, asked: &Asked, caller: &Caller, entry: Entry) -> Result<Next, FacilitatorError> {
        let answer = match &entry.step {
            Step::Done(answer) => answer.clone(),
            Step::Sent(sent) => match self.resume(&entry, sent).await {
                Ok(Some(SettleResponse::Failed(_))) => return Ok(Next::LookAgain),
                Ok(Some(answer)) => answer,
                Ok(None) => return self.pay(asked, caller, Some(entry)).await,
                Err(_) => return Err(self.held_up(sent.hash)),
            },
        };
        match answer {
            SettleResponse::Settled(_) => {
                Ok(Next::Answer(dead(self.refused_of(asked, refusal(reasons::NONCE_ALREADY_USED)))))
            }
            SettleResponse::Pending(pending) => {
                Err(self.held_up(pending.transaction.map_or_else(String::new, |id| id.to_string())))
            }
            SettleResponse::Failed(_) => self.pay(asked, caller, Some(entry)).await,
        }
    }

    async fn heard(&self, mut answer: Receiver) -> Answer {
        match answer.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone().unwrap_or_else(|| Err(self.error("no answer"))),
            Err(_) => Err(self.error("the settlement ended without an answer: settle the payment again")),
        }
    }

    async fn if_signed(&self, asked: &Asked, answer: Answer) -> Answer {
        match self.signed(asked).await {
            Ok(_) => answer,
            Err(Stop::Refused(refusal)) => Ok(self.refused_of(asked, refusal)),
            Err(Stop::Fault(error)) => Err(error),
        }
    }

    /// Nothing was done about this authorization: another one with its nonce may yet be settled.
    fn held_up(&self, transaction: impl fmt::Display) -> FacilitatorError {
        unacted(&self.error(format_args!(
            "another authorization of the payer with the same nonce was sent in transaction {transaction}, which is \
             not mined yet: settle the payment again later"
        )))
    }
}
