//! The flow: from a request's head to admission, and from the handler's answer to the client.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use super::{
    builder::GateInner,
    charge::SettleTiming,
    claim::Claimed,
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
    payment::{JsonMap, Payment, Receipt, SettleResponse, Version},
    wire::{self, DecodeError},
};

/// A header by which a handler may correct what is settled; it is for the gate and never leaves.
const SETTLEMENT_OVERRIDES: HeaderName = HeaderName::from_static("settlement-overrides");

/// What becomes of a request to a charged route.
#[derive(Debug)]
#[must_use]
pub enum Admission {
    /// A hook lets it pass without payment.
    Free,
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

impl PaymentInfo {
    fn new(payment: &Payment, payer: &Address, receipt: Option<&Receipt>) -> Self {
        Self(Arc::new(Details {
            version: payment.payload.version,
            payer: payer.clone(),
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
/// goes away, a payment not yet settled is released.
#[must_use = "a ticket that is not finished settles nothing"]
pub struct Ticket {
    gate: Arc<GateInner>,
    priced: Arc<Priced>,
    version: Version,
    state: Paid,
}

enum Paid {
    Verified(Verified),
    Settled(Arc<Settled>),
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
            RequestDecision::Free => return Admission::Free,
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
                Ok(candidates) => pay(gate, priced, candidates).await,
                Err(refusal) => Err(refusal),
            }
        }
        Err(error) => Err(Refusal::unknown_version(&error)),
    };
    match outcome {
        Ok(state) => {
            let (gate, priced) = (gate.clone(), priced.clone());
            Admission::Paid(Ticket { gate, priced, version: asked.version, state })
        }
        Err(refusal) => Admission::Refused(refusal.encode(Some(&asked))),
    }
}

/// The first option that the payment is valid for.
async fn pay(gate: &Arc<GateInner>, priced: &Priced, candidates: Vec<Matched>) -> Result<Paid, Refusal> {
    let mut refused = None;
    for candidate in candidates {
        let claimed = Claimed::take(&gate.claims, candidate)?;
        match Verified::verify(gate, claimed).await {
            Ok(verified) => {
                let first = priced.charge.timing == SettleTiming::BeforeHandler || verified.is_unresolved();
                return Ok(match first {
                    true => Paid::Settled(Settled::settle(gate, verified).await?),
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
        match &self.state {
            Paid::Verified(verified) => PaymentInfo::new(verified.payment(), verified.payer(), None),
            Paid::Settled(settled) => {
                PaymentInfo::new(settled.payment(), settled.payer(), Some(settled.receipt()))
            }
        }
    }

    /// Settles what is not settled yet, before the first byte of the handler's answer leaves, and completes the
    /// answer's head with the receipt. An answer of 400 or above is not charged.
    ///
    /// # Errors
    /// The answer to give in place of the handler's, which must be dropped: the settlement failed.
    pub async fn finish(self, status: StatusCode, headers: &mut HeaderMap) -> Result<(), Response<Bytes>> {
        headers.remove(&SETTLEMENT_OVERRIDES);
        let settled = match self.state {
            Paid::Settled(settled) => settled,
            Paid::Verified(_) if status.is_client_error() || status.is_server_error() => return Ok(()),
            Paid::Verified(verified) => Settled::settle(&self.gate, verified).await.map_err(|refusal| {
                let asked = Asked { charge: &self.priced.charge, offer: None, version: self.version };
                refusal.encode(Some(&asked))
            })?,
        };
        let (name, value) = receipt_header(self.version, settled.receipt().clone());
        headers.insert(name, value);
        keep_private(headers);
        expose(headers);
        Ok(())
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
