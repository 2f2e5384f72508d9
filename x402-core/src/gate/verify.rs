//! Verifying: from a claimed payment to one that will settle.

use super::{builder::GateInner, claim::Claim, refusal::Refusal};
use crate::{
    facilitator::{Facilitator, FacilitatorError, FacilitatorErrorKind},
    hooks::{Failure, Proceed},
    payment::{Payment, VerifyResponse},
};

/// A payment that the facilitator found valid.
pub(super) struct Verified {
    claim: Claim,
}

impl Verified {
    /// Asks the facilitator. A payment whose settlement was begun before has been verified then, and asking again
    /// would only find its nonce used.
    pub(super) async fn verify(gate: &GateInner, mut claim: Claim) -> Result<Self, Refusal> {
        if claim.is_held() {
            return Ok(Self { claim });
        }
        let payment = claim.payment();
        if let Proceed::Abort(reason) = gate.hooks.before_verify(payment).await {
            return Err(Refusal::rejected(reason));
        }
        let payer = match call(gate, &claim).await {
            Ok(VerifyResponse::Valid { .. }) => claim.payer().clone(),
            Ok(refused @ VerifyResponse::Invalid(_)) => {
                let recovered = gate.hooks.on_verify_failure(payment, &Failure::Refused(&refused)).await;
                match (recovered, refused) {
                    (Some(payer), _) => payer,
                    (None, VerifyResponse::Invalid(refusal)) => return Err(Refusal::invalid(refusal)),
                    (None, VerifyResponse::Valid { .. }) => claim.payer().clone(),
                }
            }
            Err(error) => match gate.hooks.on_verify_failure(payment, &Failure::Unavailable(&error)).await {
                Some(payer) => payer,
                None => return Err(Refusal::facilitator("verify", &error)),
            },
        };
        if let Proceed::Abort(reason) = gate.hooks.after_verify(payment).await {
            return Err(Refusal::rejected(reason));
        }
        claim.verified(payer);
        Ok(Self { claim })
    }

    /// Whether its settlement was begun before, and must be ended before anything is served for it.
    pub(super) fn is_held(&self) -> bool {
        self.claim.is_held()
    }

    pub(super) fn claim(&self) -> &Claim {
        &self.claim
    }

    pub(super) fn into_claim(self) -> Claim {
        self.claim
    }
}

/// Verifies, and refuses an answer about another payer.
async fn call(gate: &GateInner, claim: &Claim) -> Result<VerifyResponse, FacilitatorError> {
    let payment: &Payment = claim.payment();
    let answer = gate.facilitator.verify(payment).await?;
    match &answer {
        VerifyResponse::Valid { payer: Some(payer) } if payer != claim.payer() => Err(FacilitatorError::new(
            FacilitatorErrorKind::BadAnswer,
            format!("asked about a payment of {}, the facilitator answers of {payer}", claim.payer()),
        )),
        _ => Ok(answer),
    }
}
