//! Verifying: from a claimed payment to one that will settle.

use std::time::Duration;

use super::{
    builder::GateInner,
    claim::{Claim, Identifier},
    event,
    refusal::Refusal,
};
use crate::{
    address::Address,
    facilitator::{Facilitator, FacilitatorError, FacilitatorErrorKind},
    failpoint::failpoint,
    hooks::{Failure, Proceed},
    payment::{Payment, VerifyResponse},
};

/// A payment that the facilitator found valid.
pub(super) struct Verified {
    claim: Claim,
    found: Found,
}

/// What is known of whether the authorization was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// The facilitator says that it would settle.
    Unused,
    /// It was used, in a transaction of somebody's, and its payee is paid here alone.
    Used,
    /// A hook takes it as valid, or its settlement was begun before.
    Unknown,
}

impl Verified {
    /// Asks the facilitator. A payment whose settlement was begun before has been verified then, and asking again
    /// would only find its nonce used.
    pub(super) async fn verify(gate: &GateInner, mut claim: Claim) -> Result<Self, Refusal> {
        if claim.is_held() {
            return Ok(Self { claim, found: Found::Unknown });
        }
        match payer(gate, &claim).await {
            Ok((payer, found)) => {
                failpoint("gate-verified");
                claim.verified(payer, found == Found::Unused);
                Ok(Self { claim, found })
            }
            Err(refusal) => Err(claim.refused(refusal).await),
        }
    }

    /// Whether its money may have moved already, by a settlement that was begun before or by somebody else: that must be
    /// known before anything is served for it.
    pub(super) fn may_be_made(&self) -> bool {
        self.claim.is_held() || self.found == Found::Used
    }

    /// The same, once it is known what its client calls what it is for.
    pub(super) async fn name(self, identifier: Identifier, keep_for: Duration) -> Result<Self, Refusal> {
        let Self { claim, found } = self;
        Ok(Self { claim: claim.name(identifier, keep_for).await?, found })
    }

    pub(super) fn claim(&self) -> &Claim {
        &self.claim
    }

    pub(super) fn into_claim(self) -> Claim {
        self.claim
    }
}

/// Who pays, if the facilitator finds the payment valid, or a hook says so.
async fn payer(gate: &GateInner, claim: &Claim) -> Result<(Address, Found), Refusal> {
    let payment = claim.payment();
    if let Proceed::Abort(reason) = gate.hooks.before_verify(payment).await? {
        return Err(Refusal::rejected(reason));
    }
    let mut found = Found::Unused;
    let (recovered, refusal) = match call(gate, claim).await {
        Ok(VerifyResponse::Valid { .. }) => (None, None),
        Ok(VerifyResponse::Invalid(refused))
            if refused.reason.says_used() && gate.is_paid_here_alone(claim) =>
        {
            found = Found::Used;
            (None, None)
        }
        Ok(VerifyResponse::Invalid(refused)) => {
            let answer = VerifyResponse::Invalid(refused.clone());
            let recovered = gate.hooks.on_verify_failure(payment, &Failure::Refused(&answer)).await;
            (recovered, Some(Refusal::invalid(refused)))
        }
        Err(error) => {
            let recovered = gate.hooks.on_verify_failure(payment, &Failure::Unavailable(&error)).await;
            (recovered, Some(Refusal::facilitator("verify", &error)))
        }
    };
    let payer = match (recovered, refusal) {
        (Some(payer), _) => {
            event::allowed_by_failure();
            found = Found::Unknown;
            payer
        }
        (None, None) => claim.payer().clone(),
        (None, Some(refusal)) => return Err(refusal),
    };
    match gate.hooks.after_verify(payment).await? {
        Proceed::Continue => Ok((payer, found)),
        Proceed::Abort(reason) => Err(Refusal::rejected(reason)),
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
