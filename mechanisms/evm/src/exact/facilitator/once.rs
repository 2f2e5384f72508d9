//! Settling a payment once, however often it comes, and one authorization of a nonce.

use tracing::{Instrument, Span};
use x402_core::payment::SettleResponse;

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
                Turn::Clear { holder, sent, .. } if cleared => return Err(self.held_up(sent.hash_of(&holder))),
                Turn::Clear { holder, sent, tell, answer } => {
                    cleared = true;
                    let (this, theirs) = (self.clone(), (*holder).clone());
                    self.begin(*holder, tell, async move { this.clear(&theirs, &sent).await });
                    if let Ok(SettleResponse::Pending(pending)) = self.heard(answer).await {
                        return Err(self.held_up(pending.transaction));
                    }
                }
            }
        }
    }
}
