//! Verifying: from a claimed payment to one that will settle.

use super::{
    builder::GateInner,
    claim::{Claim, Claimed},
    refusal::Refusal,
};
use crate::{
    address::Address,
    facilitator::Facilitator,
    hooks::{Failure, Proceed},
    payment::{Payment, VerifyResponse},
};

/// A payment that the facilitator found valid.
pub(super) struct Verified {
    payment: Box<Payment>,
    payer: Address,
    claim: Claim,
}

impl Verified {
    /// Asks the facilitator. A payment whose settlement was begun before has been verified then, and asking again
    /// would only find its nonce used.
    pub(super) async fn verify(gate: &GateInner, claimed: Claimed) -> Result<Self, Refusal> {
        let Claimed { payment, payer, claim } = claimed;
        if claim.is_unresolved() {
            return Ok(Self { payment, payer, claim });
        }
        if let Proceed::Abort(reason) = gate.hooks.before_verify(&payment).await {
            return Err(Refusal::rejected(reason));
        }
        let payer = match gate.facilitator.verify(&payment).await {
            Ok(VerifyResponse::Valid { .. }) => payer,
            Ok(refused @ VerifyResponse::Invalid(_)) => {
                let recovered = gate.hooks.on_verify_failure(&payment, &Failure::Refused(&refused)).await;
                match (recovered, refused) {
                    (Some(payer), _) => payer,
                    (None, VerifyResponse::Invalid(refusal)) => return Err(Refusal::invalid(refusal)),
                    (None, VerifyResponse::Valid { .. }) => payer,
                }
            }
            Err(error) => match gate.hooks.on_verify_failure(&payment, &Failure::Unavailable(&error)).await {
                Some(payer) => payer,
                None => return Err(Refusal::facilitator("verify", &error)),
            },
        };
        if let Proceed::Abort(reason) = gate.hooks.after_verify(&payment).await {
            return Err(Refusal::rejected(reason));
        }
        Ok(Self { payment, payer, claim })
    }

    /// Whether its settlement was begun before, and must be ended before anything is served for it.
    pub(super) fn is_unresolved(&self) -> bool {
        self.claim.is_unresolved()
    }

    pub(super) fn payment(&self) -> &Payment {
        &self.payment
    }

    pub(super) fn payer(&self) -> &Address {
        &self.payer
    }

    pub(super) fn into_parts(self) -> (Box<Payment>, Address, Claim) {
        (self.payment, self.payer, self.claim)
    }
}
