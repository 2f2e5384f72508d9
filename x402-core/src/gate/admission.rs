//! The flow: from a request's head to admission, and from the handler's answer to the client.

use std::{fmt, panic::AssertUnwindSafe, sync::Arc};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use tokio::{sync::OwnedSemaphorePermit, time::timeout};

use super::{
    access::{Access, PaymentInfo},
    builder::GateInner,
    charge::{Charge, PaywallOf, SettleTiming},
    claim::{Identifier, KeptAnswer, Naming, Place, Taking},
    event, grpc,
    idempotency::{Idempotency, Identifiers},
    limits::heard,
    offer::{Matched, Offer},
    preflight::head_only,
    refusal::{Asked, Refusal, Speech, expose, receipt_header},
    request::{RequestBody, RequestDecision, RequestView, Unread},
    response::{HandlerResponse, Head},
    settle::Settled,
    toll::Priced,
    verify::Verified,
};
use crate::{
    extension::payment_identifier::{self, PaymentId},
    payment::Version,
    wire::{self, DecodeError, Presented},
};

/// A header by which a handler may correct what is settled; it is for the gate and never leaves.
const SETTLEMENT_OVERRIDES: HeaderName = HeaderName::from_static("settlement-overrides");

const CHARGED_TWICE: &str = "a request was charged for by one gate and came to another: a payment buys one answer, so put \
    one charge on a route, and none around it";

const UNREADABLE: &str = "a charge takes payment identifiers, and its layer cannot read the bodies of requests: give \
    it the type of them with `uploads`";

/// A request that may reach its handler: paid for, or let pass by a hook.
///
/// Dropped without [`finish`](Self::finish), as when the handler panics or the client goes away, a payment not yet
/// settled is released. One that was settled before the handler can be presented again after a panic, and is spent when
/// the client went away.
#[must_use = "a pass that is not finished settles nothing"]
pub struct Pass(Passing);

enum Passing {
    /// A hook asked for no payment.
    Free,
    /// A preflight: nobody pays, and nothing but the head of its answer leaves.
    Preflight,
    Paid(Box<Ticket>),
}

struct Ticket {
    gate: Arc<GateInner>,
    priced: Arc<Priced>,
    version: Version,
    speech: Speech,
    state: Paid,
    /// What the request's body takes of the room for all of them, until it is answered.
    _room: Option<OwnedSemaphorePermit>,
}

/// What a payment gets its request.
enum Admitted {
    ToHandler(Paid),
    /// The answer that it bought before.
    ToAnswer(Box<KeptAnswer>),
}

enum Paid {
    Verified(Verified),
    Settled(Settled),
}

/// Takes the payment of a request, or says why not.
pub(super) async fn admit(
    gate: &Arc<GateInner>,
    priced: &Arc<Priced>,
    request: RequestView<'_>,
    body: &mut impl RequestBody,
) -> Result<Pass, Response<Bytes>> {
    let speech = Speech::of(request);
    let paywall = match &priced.charge.paywall {
        None => gate.paywall.as_ref(),
        Some(PaywallOf::Charge(paywall)) => Some(paywall),
        Some(PaywallOf::Nobody) => None,
    };
    let paywall = paywall.map(|paywall| (&**paywall, request));
    let mut asked = Asked { charge: &priced.charge, offer: None, paywall, version: Version::V2, speech };
    if let Some(Access::Paid(_)) = request.access {
        return Err(Refusal::misconfigured(CHARGED_TWICE).encode(Some(&asked)));
    }
    if priced.charge.identifiers().are_taken() && !body.is_readable() {
        return Err(Refusal::misconfigured(UNREADABLE).encode(Some(&asked)));
    }
    for hook in gate.request_hooks.iter().chain(&priced.charge.request_hooks) {
        let decision = match heard(gate.limits, "on_request", async { hook(request.to_info()).await }).await {
            Ok(decision) => decision,
            Err(refusal) => return Err(refusal.encode(Some(&asked))),
        };
        match decision {
            RequestDecision::Charge => {}
            RequestDecision::Free => return Ok(Pass(Passing::Free)),
            RequestDecision::Refuse(reason) => {
                return Err(Refusal::forbidden(reason).encode(Some(&asked)));
            }
        }
    }
    let presented = match wire::read_payment(request.headers, &gate.aliases) {
        Err(error) if !matches!(error, DecodeError::UnknownVersion(_)) => {
            return Err(Refusal::malformed(error.to_string()).encode(Some(&asked)));
        }
        presented => presented,
    };
    if !matches!(presented, Ok(None)) {
        // Who pays is told what became of it.
        asked.paywall = None;
    }
    let offer = match Offer::make(gate, priced, request).await {
        Ok(offer) => offer,
        Err(refusal) => return Err(refusal.encode(Some(&asked))),
    };
    asked.offer = Some(&offer);
    let outcome = match presented {
        Ok(None) => Err(Refusal::unpaid()),
        Ok(Some(presented)) => {
            asked.version = presented.version();
            present(gate, priced, (request, speech), body, &offer, &presented).await
        }
        Err(error) => Err(Refusal::unknown_version(&error)),
    };
    match outcome {
        Ok((Admitted::ToHandler(state), room)) => {
            let (gate, priced) = (gate.clone(), priced.clone());
            let ticket = Ticket { gate, priced, version: asked.version, speech, state, _room: room };
            Ok(Pass(Passing::Paid(Box::new(ticket))))
        }
        Ok((Admitted::ToAnswer(answer), _)) => {
            event::replayed();
            Err(answer.again().unwrap_or_else(|| Refusal::not_kept().encode(Some(&asked))))
        }
        Err(refusal) => Err(refusal.encode(Some(&asked))),
    }
}

/// Holds a payment against the offer, and takes it.
async fn present(
    gate: &Arc<GateInner>,
    priced: &Priced,
    (request, speech): (RequestView<'_>, Speech),
    body: &mut impl RequestBody,
    offer: &Offer,
    presented: &Presented,
) -> Result<(Admitted, Option<OwnedSemaphorePermit>), Refusal> {
    let id = identifier(&priced.charge, speech, presented)?;
    let name = id.as_ref().map(|id| Identifier::id(&gate.origin, id));
    let candidates = Matched::find(gate, offer, presented, name.as_deref()).await?;
    let options = offer.requirements().cloned().collect();
    let place = Place::new(&gate.origin, priced.cost, request, options);
    let mut named =
        Named { gate, id, place: &place, body, length: declared(request), room: None, request: None };
    if named.length.is_some_and(|length| gate.idempotency.longest_request < length) && named.id.is_some() {
        return Err(Refusal::unread(Unread::TooLong, gate.idempotency));
    }
    let state = pay(gate, priced, &mut named, candidates).await?;
    Ok((state, named.room))
}

/// How long the body of a request is, by its own word.
fn declared(request: RequestView<'_>) -> Option<usize> {
    request.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok())
}

/// What a client calls its request, and the request as far as it was read. Its body is read once, when its payment was
/// found good: a stranger's garbage must not fill the memory.
struct Named<'a, B> {
    gate: &'a GateInner,
    id: Option<PaymentId>,
    place: &'a Place,
    body: &'a mut B,
    length: Option<usize>,
    /// What its body takes of the room for all of them.
    room: Option<OwnedSemaphorePermit>,
    /// A digest of the request, once it was read.
    request: Option<String>,
}

impl<B: RequestBody> Named<'_, B> {
    /// What is known of the name so far.
    fn naming(&self) -> Naming {
        match (&self.id, &self.request) {
            (None, _) => Naming::None,
            (Some(id), None) if self.body.is_empty() => {
                let request = self.place.digest(&[]);
                Naming::Known(Identifier::new(&self.gate.origin, id, request), self.gate.idempotency.keep_for)
            }
            (Some(id), None) => Naming::Unread(Identifier::id(&self.gate.origin, id)),
            (Some(id), Some(request)) => {
                let identifier = Identifier::new(&self.gate.origin, id, request.clone());
                Naming::Known(identifier, self.gate.idempotency.keep_for)
            }
        }
    }

    /// Reads the request, where it was not read yet.
    async fn read(&mut self) -> Result<(), Refusal> {
        let Idempotency { longest_request: limit, read_within, .. } = self.gate.idempotency;
        let refused = |why| Refusal::unread(why, self.gate.idempotency);
        if self.request.is_none() {
            let room = self.gate.uploads.take(self.length.map_or(limit, |length| length.min(limit)));
            self.room = Some(timeout(read_within, room).await.map_err(|_| Refusal::no_room())?);
            let read = timeout(read_within, self.body.read(limit)).await.unwrap_or(Err(Unread::TooSlow));
            self.request = Some(self.place.digest(&read.map_err(refused)?));
        }
        Ok(())
    }
}

/// What the client calls what it pays for.
fn identifier(charge: &Charge, speech: Speech, presented: &Presented) -> Result<Option<PaymentId>, Refusal> {
    let id = match presented {
        _ if !charge.identifiers().are_taken() => return Ok(None),
        Presented::V1 { .. } => None,
        Presented::V2(payment) => payment_identifier::identifier(&payment.extensions)
            .map_err(|expected| Refusal::no_identifier(expected.to_string()))?,
    };
    let required = charge.identifiers() == Identifiers::Required;
    match (id, presented) {
        (Some(_), _) if matches!(speech, Speech::Grpc) => {
            Err(Refusal::no_identifier("gRPC calls cannot be identified: leave the payment identifier out"))
        }
        (None, Presented::V1 { .. }) if required => Err(Refusal::unidentified(
            "this needs a payment identifier, which version 1 has no words for: use version 2",
        )),
        (None, Presented::V2(_)) if required => Err(Refusal::unidentified(
            "this needs a payment identifier: send extensions[\"payment-identifier\"].info.id with the payment",
        )),
        (id, _) => Ok(id),
    }
}

/// The first option that the payment is valid for.
async fn pay(
    gate: &Arc<GateInner>,
    priced: &Priced,
    named: &mut Named<'_, impl RequestBody>,
    candidates: Vec<Matched>,
) -> Result<Admitted, Refusal> {
    let mut refused = None;
    for candidate in candidates {
        let mut taking = gate.claims.take(candidate, named.place.clone(), named.naming()).await?;
        if let Taking::Unread(matched) = taking {
            named.read().await?;
            taking = gate.claims.take(*matched, named.place.clone(), named.naming()).await?;
        }
        let claim = match taking {
            Taking::Claimed(claim) => claim,
            Taking::Answered(answer) => return Ok(Admitted::ToAnswer(answer)),
            Taking::Unread(_) => return Err(Refusal::in_progress()),
        };
        match Verified::verify(gate, claim).await {
            Ok(verified) => {
                let verified = name(named, verified).await?;
                return Ok(Admitted::ToHandler(match priced.charge.timing() {
                    SettleTiming::BeforeHandler => {
                        Paid::Settled(Settled::settle(gate, verified).await?.serving().await?)
                    }
                    // Late: as long as nothing is served for it, it is owed an answer.
                    SettleTiming::AfterHandler if verified.may_be_made() => {
                        Paid::Settled(Settled::settle(gate, verified).await?)
                    }
                    SettleTiming::AfterHandler => Paid::Verified(verified),
                }));
            }
            Err(refusal) if refusal.is_final() => return Err(refusal),
            // What was used stays so, whatever else it may mean.
            Err(refusal) if !refused.as_ref().is_some_and(Refusal::is_used) => refused = Some(refusal),
            Err(_) => {}
        }
    }
    Err(refused.unwrap_or_else(Refusal::unpaid))
}

/// Reads what the payment's client calls what it is for, if that was not done yet, and binds it.
async fn name(named: &mut Named<'_, impl RequestBody>, verified: Verified) -> Result<Verified, Refusal> {
    if verified.claim().is_identified() || named.id.is_none() {
        return Ok(verified);
    }
    if let Err(refusal) = named.read().await {
        return Err(verified.into_claim().refused(refusal).await);
    }
    match named.naming() {
        Naming::Known(identifier, keep_for) => verified.name(identifier, keep_for).await,
        Naming::None | Naming::Unread(_) => Ok(verified),
    }
}

impl Pass {
    pub(super) fn preflight() -> Self {
        Self(Passing::Preflight)
    }

    /// What the handler may know: adapters put it into the request's extensions. A preflight is given none.
    pub fn access(&self) -> Option<Access> {
        let ticket = match &self.0 {
            Passing::Free => return Some(Access::Free),
            Passing::Preflight => return None,
            Passing::Paid(ticket) => ticket,
        };
        Some(Access::Paid(match &ticket.state {
            Paid::Verified(verified) => PaymentInfo::new(verified.claim(), None),
            Paid::Settled(settled) => PaymentInfo::new(settled.claim(), Some(settled.receipt())),
        }))
    }

    /// Whether an answer of this status would stay as it is: it is not charged, nor given away.
    pub fn spares(&self, status: StatusCode) -> bool {
        let unsettled = matches!(&self.0, Passing::Paid(ticket) if matches!(ticket.state, Paid::Verified(_)));
        unsettled && is_failure(status)
    }

    /// The handler's answer, to be sent. What is not settled yet is settled first, before a byte of the answer leaves;
    /// an answer of 400 or above, or one that is [`Uncharged`](super::Uncharged), is not charged. Where the settlement
    /// fails, the gate's own answer takes the place of the handler's.
    pub async fn finish<R: HandlerResponse>(self, mut response: R) -> R {
        let mut head = response.take_head();
        head.headers.remove(&SETTLEMENT_OVERRIDES);
        let settled = match self.0 {
            Passing::Paid(ticket) => {
                let speech = ticket.speech;
                let finished = AssertUnwindSafe(ticket.finish(&mut head, &mut response)).catch_unwind().await;
                match finished {
                    Ok(finished) => finished,
                    Err(_) => Err(Refusal::panicked().encode_for(speech)),
                }
            }
            Passing::Preflight => Err(head_only(head.status, std::mem::take(&mut head.headers))),
            Passing::Free => {
                // What is given away to one must not be cached for all.
                keep_private(&mut head.headers);
                Ok(())
            }
        };
        match settled {
            Ok(()) => response.with_headers(head.headers),
            Err(answer) => response.replaced_by(answer),
        }
    }

    /// There is no answer to finish: the handler failed. A payment settled before it keeps its claim to an answer.
    pub fn fail(self) {
        if let Passing::Paid(ticket) = self.0
            && let Paid::Settled(settled) = ticket.state
        {
            settled.failed();
        }
    }
}

impl Ticket {
    /// Settles what is to be settled, and completes the head with the receipt.
    async fn finish<R: HandlerResponse>(
        self,
        head: &mut Head,
        response: &mut R,
    ) -> Result<(), Response<Bytes>> {
        let Head { status: said, headers, uncharged } = head;
        let status = match self.speech {
            Speech::Grpc => grpc::failure(headers).unwrap_or(*said),
            Speech::Plain | Speech::Bare => *said,
        };
        let first = self.priced.charge.timing() == SettleTiming::BeforeHandler;
        // What is charged for nothing worth its price is owed an answer: a failure of ours, and, where the charge was to
        // follow, whatever would not have been charged then.
        let owed = is_ours(status) || (!first && (is_failure(status) || *uncharged));
        let (version, speech, charge) = (self.version, self.speech, &self.priced.charge);
        let encode = |refusal: Refusal| {
            refusal.encode(Some(&Asked { charge, offer: None, paywall: None, version, speech }))
        };
        let settled = match self.state {
            Paid::Settled(settled) => {
                if first && *uncharged {
                    tracing::warn!("an answer is `Uncharged`, but its charge settles first: it was charged");
                }
                settled
            }
            Paid::Verified(verified) if is_failure(status) => {
                verified.into_claim().end().await;
                return Ok(());
            }
            Paid::Verified(verified) if *uncharged => {
                verified.into_claim().end().await;
                keep_private(headers);
                return Ok(());
            }
            Paid::Verified(verified) => Settled::settle(&self.gate, verified).await.map_err(encode)?,
        };
        let receipt = settled.receipt().clone();
        let (name, value) = receipt_header(self.version, receipt.clone());
        headers.insert(name, value);
        keep_private(headers);
        expose(headers);
        if owed {
            settled.unserved().await;
            return Ok(());
        }
        if !settled.claim().is_identified() {
            return settled.served(None).await.map_err(|refusal| encode(refusal.charged(receipt)));
        }
        let (bare, limit) = (matches!(speech, Speech::Bare), self.gate.idempotency.longest_answer);
        match settled.keep(KeptAnswer::of(response, (*said, headers), bare, limit)).await {
            Ok(answer) => settled.served(answer).await.map_err(|refusal| encode(refusal.charged(receipt))),
            Err(_) => {
                settled.unserved().await;
                Err(encode(Refusal::broken_answer().charged(receipt)))
            }
        }
    }
}

/// A failure of the service's, its time limits and rate limits included.
fn is_ours(status: StatusCode) -> bool {
    status.is_server_error() || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status)
}

fn is_failure(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

/// A paid answer is for its payer: no shared cache may keep it, whatever it is told in particular (RFC 9213).
fn keep_private(headers: &mut HeaderMap) {
    let aimed = |name: &HeaderName| match name.as_str() {
        "surrogate-control" | "edge-control" | "x-accel-expires" => true,
        other => other.ends_with("-cache-control"),
    };
    for name in headers.keys().filter(|name| aimed(name)).cloned().collect::<Vec<_>>() {
        headers.remove(name);
    }
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

impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pass").field(&self.access()).finish()
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
