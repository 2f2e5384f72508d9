//! Settling a payment once, however often it comes, and one authorization of a nonce.

use std::fmt;

use tracing::{Instrument, Span};
use x402_core::{facilitator::FacilitatorError, payment::SettleResponse};

use super::{
    ExactFacilitator,
    checks::{Asked, DryRun, Stop, refusal},
    ledger::{Answer, Receiver, Sender, Turn},
    settle::unacted,
};
use crate::{chain::Sent, exact::reasons};

impl ExactFacilitator {
    /// Settles a payment, or says what came of it, or joins whoever is settling it. The work is done in a task of
    /// its own: a caller that goes away does not stop it.
    pub(super) async fn settle_once(&self, asked: Asked) -> Answer {
        self.check_for_payment().await.map_err(|error| unacted(&error))?;
        if let Some(reason) = asked.mismatch() {
            return match self.examine(&asked, DryRun::Call).await {
                Ok(_) => Ok(self.refused_of(&asked, refusal(reason))),
                Err(stop) => self.stopped(&asked, stop),
            };
        }
        let mut cleared = false;
        loop {
            match self.shared.ledger.enter(&asked, self.clock.now()) {
                Turn::Done { answer, same_signature } => {
                    return if same_signature {
                        Ok(answer)
                    } else {
                        self.if_signed(&asked, Ok(answer)).await
                    };
                }
                Turn::Wait { answer, same_signature } => {
                    let answer = self.heard(answer).await;
                    if same_signature {
                        return answer;
                    }
                    // It may have failed for its own signature, which is none of ours.
                    if !matches!(answer, Err(_) | Ok(SettleResponse::Failed(_))) {
                        return self.if_signed(&asked, answer).await;
                    }
                }
                Turn::Begin { tell, answer, sent, same_signature } => {
                    let (this, ours) = (self.clone(), asked.clone());
                    self.begin(asked.clone(), tell, async move { this.attempt(&ours, sent).await });
                    let answer = self.heard(answer).await;
                    // What an earlier attempt sent was another's signature: the answer is not for everyone.
                    return if same_signature { answer } else { self.if_signed(&asked, answer).await };
                }
                Turn::Taken => {
                    return Ok(self.refused_of(&asked, refusal(reasons::NONCE_ALREADY_USED)));
                }
                Turn::Behind { answer } => {
                    if let Ok(SettleResponse::Pending(pending)) = self.heard(answer).await {
                        return Err(self.held_up(pending.transaction));
                    }
                }
                Turn::Clear { sent, .. } if cleared => return Err(self.held_up(sent.hash)),
                Turn::Clear { holder, sent, tell, answer } => {
                    cleared = true;
                    let (this, theirs) = (self.clone(), holder.clone());
                    self.begin(*holder, tell, async move { this.clear(&theirs, &sent).await });
                    if let Ok(SettleResponse::Pending(pending)) = self.heard(answer).await {
                        return Err(self.held_up(pending.transaction));
                    }
                }
            }
        }
    }

    /// Does it in a task of its own and tells everyone who waits.
    fn begin(&self, asked: Asked, tell: Sender, work: impl Future<Output = Answer> + Send + 'static) {
        let this = self.clone();
        let work = async move {
            let answer = work.await;
            this.shared.ledger.finish(&asked, &answer);
            this.report(&asked, &answer);
            tell.send_replace(Some(answer));
        };
        tokio::spawn(work.instrument(Span::current()));
    }

    /// Finds out, for another authorization with its nonce, what became of this one. Sends nothing new: whoever asked
    /// for it may have given it up.
    async fn clear(&self, asked: &Asked, sent: &Sent) -> Answer {
        if let Some(answer) = self.resume(asked, sent).await? {
            return Ok(answer);
        }
        self.shared.ledger.not_sent(asked);
        let error = self.error("the transaction can never be mined: settle the payment again");
        Err(unacted(&error))
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
