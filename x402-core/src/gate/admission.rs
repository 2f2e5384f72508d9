//! The flow: from a request's head to admission, and from the handler's answer to the client.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use super::{
    builder::GateInner,
    charge::SettleTiming,
    claim::{Claim, Place},
    offer::{Matched, Offer},
    refusal::{Asked, Refusal, expose},
    request::{RequestDecision, RequestView},
    settle::Settled,
    toll::{HEADER_LIMIT, Priced},
    verify::Verified,
};
use crate::{
    address::Address,
    amount::Amount,
    network::Network,
    payment::{JsonMap, Receipt, SettleResponse, Version},
    wire::{self, DecodeError},
};

/// A header by which a handler may correct what is settled; it is for the gate and never leaves.
const SETTLEMENT_OVERRIDES: HeaderName = HeaderName::from_static("settlement-overrides");

/// What becomes of a request to a charged route.
#[derive(Debug)]
#[must_use]
pub enum Admission {
    /// A hook lets it pass without payment: call the handler, then [`FreePass::finish`].
    Free(FreePass),
    /// It is paid for: call the handler, then [`Ticket::finish`].
    Paid(Ticket),
    /// It is not; here is the answer.
    Refused(Response<Bytes>),
}

/// What a handler can learn of its request's payment: adapters put it into the request's extensions.
#[derive(Debug, Clone, PartialEq)]
pub enum Access {
    /// It was paid for.
    Paid(PaymentInfo),
    /// A hook let it pass without payment.
    Free,
}

/// A payment, as a handler sees it. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub struct PaymentInfo(Arc<Details>);

#[derive(Debug, PartialEq)]
struct Details {
    version: Version,
    payer: Address,
    network: Network,
    asset: Address,
    amount: Amount,
    receipt: Option<Receipt>,
}

/// A request to a charged route that passes without payment.
#[derive(Debug)]
#[must_use = "what is given away to one must not be cached for all"]
pub struct FreePass(());

impl FreePass {
    /// Completes the head of the handler's answer: no shared cache may keep what is charged to others.
    pub fn finish(self, headers: &mut HeaderMap) {
        headers.remove(&SETTLEMENT_OVERRIDES);
        keep_private(headers);
    }
}

impl PaymentInfo {
    fn new(claim: &Claim, receipt: Option<&Receipt>) -> Self {
        let payment = claim.payment();
        Self(Arc::new(Details {
            version: payment.payload.version,
            payer: claim.payer().clone(),
            network: payment.requirements.network.clone(),
            asset: payment.requirements.asset.clone(),
            amount: payment.requirements.amount,
            receipt: receipt.cloned(),
        }))
    }

    /// The protocol's version that was spoken.
    pub fn version(&self) -> Version {
        self.0.version
    }

    /// Who pays.
    pub fn payer(&self) -> &Address {
        &self.0.payer
    }

    /// The chain.
    pub fn network(&self) -> &Network {
        &self.0.network
    }

    /// The token.
    pub fn asset(&self) -> &Address {
        &self.0.asset
    }

    /// How much, in the token's smallest unit.
    pub fn amount(&self) -> Amount {
        self.0.amount
    }

    /// The settlement, where it came before the handler; `None` where it follows.
    pub fn receipt(&self) -> Option<&Receipt> {
        self.0.receipt.as_ref()
    }
}

/// A request that is paid for. Dropped without [`finish`](Self::finish), as when the handler panics or the client
/// goes away, a payment not yet settled is released. One that was settled before the handler can be presented again
/// after a panic, and is spent when the client went away.
#[must_use = "a ticket that is not finished settles nothing"]
pub struct Ticket {
    gate: Arc<GateInner>,
    priced: Arc<Priced>,
    version: Version,
    state: Box<Paid>,
}

enum Paid {
    Verified(Verified),
    Settled(Settled),
}

/// Takes the payment of a request.
pub(super) async fn admit(
    gate: &Arc<GateInner>,
    priced: &Arc<Priced>,
    request: RequestView<'_>,
) -> Admission {
    for hook in &gate.request_hooks {
        match hook(request.to_info()).await {
            RequestDecision::Charge => {}
            RequestDecision::Free => return Admission::Free(FreePass(())),
            RequestDecision::Refuse(reason) => {
                return Admission::Refused(Refusal::forbidden(reason).encode(None));
            }
        }
    }
    let mut asked = Asked { charge: &priced.charge, offer: None, version: Version::V2 };
    let presented = match wire::read_payment(request.headers, &gate.aliases) {
        Err(error) if !matches!(error, DecodeError::UnknownVersion(_)) => {
            return Admission::Refused(Refusal::malformed(error.to_string()).encode(Some(&asked)));
        }
        presented => presented,
    };
    let offer = match Offer::make(gate, priced, request).await {
        Ok(offer) => offer,
        Err(refusal) => return Admission::Refused(refusal.encode(Some(&asked))),
    };
    asked.offer = Some(&offer);
    let outcome = match presented {
        Ok(None) => Err(Refusal::unpaid()),
        Ok(Some(presented)) => {
            asked.version = presented.version();
            match Matched::find(gate, &offer, &presented) {
                Ok(candidates) => pay(gate, priced, &Place::new(priced.id, request), candidates).await,
                Err(refusal) => Err(refusal),
            }
        }
        Err(error) => Err(Refusal::unknown_version(&error)),
    };
    match outcome {
        Ok(state) => {
            let (gate, priced) = (gate.clone(), priced.clone());
            Admission::Paid(Ticket { gate, priced, version: asked.version, state: Box::new(state) })
        }
        Err(refusal) => Admission::Refused(refusal.encode(Some(&asked))),
    }
}

/// The first option that the payment is valid for.
async fn pay(
    gate: &Arc<GateInner>,
    priced: &Priced,
    place: &Place,
    candidates: Vec<Matched>,
) -> Result<Paid, Refusal> {
    let mut refused = None;
    for candidate in candidates {
        let claim = gate.claims.take(candidate, place.clone())?;
        match Verified::verify(gate, claim).await {
            Ok(verified) => {
                let first = priced.charge.timing == SettleTiming::BeforeHandler || verified.is_held();
                return Ok(match first {
                    true => Paid::Settled(Settled::settle(gate, verified).await?.serving()),
                    false => Paid::Verified(verified),
                });
            }
            Err(refusal) if refusal.is_final() => return Err(refusal),
            Err(refusal) => refused = Some(refusal),
        }
    }
    Err(refused.unwrap_or_else(Refusal::unpaid))
}

impl Ticket {
    /// What the handler may know of the payment.
    pub fn payment(&self) -> PaymentInfo {
        match &*self.state {
            Paid::Verified(verified) => PaymentInfo::new(verified.claim(), None),
            Paid::Settled(settled) => PaymentInfo::new(settled.claim(), Some(settled.receipt())),
        }
    }

    /// Settles what is not settled yet, before the first byte of the handler's answer leaves, and completes the
    /// answer's head with the receipt. An answer of 400 or above is not charged.
    ///
    /// # Errors
    /// The answer to give in place of the handler's, which must be dropped: the settlement failed.
    pub async fn finish(self, status: StatusCode, headers: &mut HeaderMap) -> Result<(), Response<Bytes>> {
        headers.remove(&SETTLEMENT_OVERRIDES);
        let settled = match *self.state {
            Paid::Settled(settled) => settled,
            Paid::Verified(_) if status.is_client_error() || status.is_server_error() => return Ok(()),
            Paid::Verified(verified) => Settled::settle(&self.gate, verified).await.map_err(|refusal| {
                let asked = Asked { charge: &self.priced.charge, offer: None, version: self.version };
                refusal.encode(Some(&asked))
            })?,
        };
        // A failure of ours is not what was paid for: the payment keeps its claim to an answer.
        let receipt = if status.is_server_error() { settled.unserved() } else { settled.served() };
        let (name, value) = receipt_header(self.version, receipt);
        headers.insert(name, value);
        keep_private(headers);
        expose(headers);
        Ok(())
    }

    /// There is no answer to finish: the handler failed. A payment settled before it keeps its claim to an answer.
    pub fn fail(self) {
        if let Paid::Settled(settled) = *self.state {
            let _ = settled.unserved();
        }
    }
}

/// The receipt; without its extensions, where a header cannot hold them.
fn receipt_header(version: Version, receipt: Receipt) -> (HeaderName, HeaderValue) {
    let plain = Receipt { extensions: JsonMap::new(), ..receipt.clone() };
    let (name, value) = wire::settle_response_header(version, &SettleResponse::Settled(receipt));
    if value.len() <= HEADER_LIMIT {
        return (name, value);
    }
    wire::settle_response_header(version, &SettleResponse::Settled(plain))
}

/// A paid answer is for its payer: no shared cache may keep it.
fn keep_private(headers: &mut HeaderMap) {
    let mut directives = vec!["private".to_owned()];
    for value in headers.get_all(header::CACHE_CONTROL) {
        for directive in value.to_str().unwrap_or("no-store").split(',').map(str::trim) {
            let name = directive.split('=').next().unwrap_or(directive).to_ascii_lowercase();
            if !matches!(name.as_str(), "" | "public" | "private" | "s-maxage") {
                directives.push(directive.to_owned());
            }
        }
    }
    let joined = HeaderValue::try_from(directives.join(", "));
    headers.insert(header::CACHE_CONTROL, joined.unwrap_or(HeaderValue::from_static("private, no-store")));
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ticket").field(&self.payment()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paid_answer_is_private() {
        for (given, expected) in [
            (&[][..], "private"),
            (&["public, max-age=60"], "private, max-age=60"),
            (&["PUBLIC", "s-maxage=9, no-transform"], "private, no-transform"),
            (&["private, no-store"], "private, no-store"),
        ] {
            let mut headers = HeaderMap::new();
            for value in given {
                headers.append(header::CACHE_CONTROL, HeaderValue::from_static(value));
            }
            keep_private(&mut headers);
            assert_eq!(headers.get_all(header::CACHE_CONTROL).iter().collect::<Vec<_>>(), [expected]);
        }
    }
}
