//! Every way a paid route says no, and how it is written.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use serde_json::{Value, json};

use super::{
    access::NotPaid,
    charge::{Charge, CustomBody},
    event, grpc,
    idempotency::Idempotency,
    offer::{self, Offer},
    paywall::{Page, Paywall, Visit, is_for_people},
    request::{RequestView, Unread},
    toll::HEADER_LIMIT,
};
use crate::{
    address::Address,
    facilitator::{FacilitatorError, FacilitatorErrorKind},
    guard::caught,
    payment::{self, JsonMap, PendingSettlement, Reason, Receipt, SettleResponse, Version},
    store::StoreError,
    wire::{self, DecodeError, PAYMENT_REQUIRED, PaymentRequiredV1},
};

/// The longest piece of a facilitator's words that is passed on, in characters: they end up in headers.
const LONGEST_WORDS: usize = 200;

/// A no: malformed (400), refused (402), our own trouble (5xx), or 403 and 409.
#[derive(Debug)]
pub(super) struct Refusal(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    /// The code, or the sentence where the protocol has no code.
    error: String,
    message: Option<String>,
    payer: Option<Address>,
    /// What was charged all the same.
    receipt: Option<Receipt>,
}

#[derive(Debug)]
enum Kind {
    Unpaid,
    Rejected,
    Malformed,
    Forbidden,
    TooLarge,
    TooSlow,
    /// Its nonce is used, and we know nothing of it.
    Used,
    InProgress,
    Conflict,
    Spent,
    NotSettled(SettleResponse),
    Pending(PendingSettlement),
    NotReady,
    BadGateway,
    Misconfigured,
    NoRoute,
}

/// To whom a refusal is written, as far as that is known.
pub(super) struct Asked<'a> {
    pub(super) charge: &'a Charge,
    pub(super) offer: Option<&'a Offer>,
    /// What is shown to people who did not pay, and what they asked for.
    pub(super) paywall: Option<(&'a dyn Paywall, RequestView<'a>)>,
    pub(super) version: Version,
    pub(super) speech: Speech,
}

impl Asked<'_> {
    /// A page, if a person asks and there is one for them.
    fn show(
        &self,
        headers: &mut HeaderMap,
        page: impl FnOnce(&dyn Paywall, RequestView<'_>) -> Option<Page>,
    ) -> Option<CustomBody> {
        let (paywall, request) = self.paywall?;
        headers.insert(header::VARY, HeaderValue::from_static("Accept, Accept-Language"));
        if !is_for_people(request.method, request.headers) {
            return None;
        }
        // Who is to pay is told so, whatever becomes of the page.
        let page = caught(|| page(paywall, request)).unwrap_or_else(|_| {
            tracing::error!("the page for people panicked; they see what programs do");
            None
        })?;
        let ours = std::mem::replace(headers, page.headers);
        headers.extend(ours);
        Some(CustomBody { content_type: "text/html; charset=utf-8".to_owned(), body: page.html })
    }
}

/// How a request wants to be spoken to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Speech {
    Plain,
    /// It is a HEAD request: not every server drops the body by itself.
    Bare,
    Grpc,
}

impl Speech {
    pub(super) fn of(request: RequestView<'_>) -> Self {
        if grpc::is_call(request.headers) {
            return Self::Grpc;
        }
        Self::to(request.method)
    }

    pub(super) fn to(method: &Method) -> Self {
        if *method == Method::HEAD { Self::Bare } else { Self::Plain }
    }
}

impl Refusal {
    fn new(kind: Kind, error: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, error: error.into(), message: None, payer: None, receipt: None }))
    }

    fn explain(mut self, message: impl Into<String>) -> Self {
        self.0.message = Some(message.into());
        self
    }

    /// The money moved all the same, and its payer is to have the receipt.
    pub(super) fn charged(mut self, receipt: Receipt) -> Self {
        self.0.receipt = Some(receipt);
        self
    }

    /// No payment came.
    pub(super) fn unpaid() -> Self {
        Self::new(Kind::Unpaid, "Payment required")
    }

    /// A payment came that we do not take.
    pub(super) fn rejected(reason: Reason) -> Self {
        Self::new(Kind::Rejected, reason.as_str())
    }

    /// A payment came that the facilitator does not take. One that was used may have bought its answer here, and the
    /// store has forgotten it: that comes without an offer, as in [`spent`](Self::spent).
    pub(super) fn invalid(refusal: payment::Refusal) -> Self {
        let mut this = Self::rejected(short(refusal.reason.as_str()).into());
        this.0.message = refusal.message.as_deref().map(short);
        if refusal.reason.says_used() {
            this.0.kind = Kind::Used;
            let hint = "this payment was used before; ask without a payment for a new offer";
            this.0.message.get_or_insert_with(|| hint.to_owned());
        }
        this.0.payer = refusal.payer;
        this
    }

    /// What came is no payment.
    pub(super) fn malformed(expected: impl Into<String>) -> Self {
        Self::new(Kind::Malformed, Reason::INVALID_PAYLOAD.as_str()).explain(expected)
    }

    /// A payment came in a version that is not spoken here.
    pub(super) fn unknown_version(error: &DecodeError) -> Self {
        Self::rejected(Reason::INVALID_VERSION).explain(error.to_string())
    }

    /// A hook refused.
    pub(super) fn forbidden(reason: String) -> Self {
        Self::new(Kind::Forbidden, reason)
    }

    /// The same payment is being handled right now.
    pub(super) fn in_progress() -> Self {
        Self::new(Kind::InProgress, "payment_in_progress")
            .explain("this payment is being handled by another request; do not pay again")
    }

    /// The same payment has bought its answer. It comes without an offer: a client that lost the answer must not be
    /// led to pay again.
    pub(super) fn spent() -> Self {
        Self::new(Kind::Spent, Reason::DUPLICATE_SETTLEMENT.as_str())
            .explain("this payment has bought its answer; ask without a payment for a new offer")
    }

    /// A payment that is owed an answer came with other bytes, or for another request.
    pub(super) fn held_elsewhere() -> Self {
        Self::new(Kind::InProgress, "payment_in_progress").explain(
            "this payment is being resolved; send exactly what was first sent, to where it was sent, and do not sign \
             another",
        )
    }

    /// A payment came without the identifier that is required here, or in words that have none.
    pub(super) fn unidentified(words: &str) -> Self {
        Self::new(Kind::Malformed, "payment_identifier_required").explain(words)
    }

    /// What came is no identifier.
    pub(super) fn no_identifier(expected: impl Into<String>) -> Self {
        Self::new(Kind::Malformed, "invalid_payment_identifier").explain(expected)
    }

    /// The identifier stands for another payment, or another request. It comes without an offer: a client that lost the
    /// answer must not be led to pay again.
    pub(super) fn identifier_taken() -> Self {
        Self::new(Kind::Conflict, "payment_identifier_conflict").explain(
            "this payment identifier stands for another payment or another request, and nothing was charged now; for its \
             answer send exactly what was first sent, for anything else use a new identifier",
        )
    }

    /// What was asked for was bought and served, and its answer is not there any more.
    pub(super) fn not_kept() -> Self {
        Self::new(Kind::Conflict, "payment_answer_not_kept").explain(
            "this was paid for and answered; the answer was too long to be kept, or it had no length, or nobody waited for \
             it; do not pay again for the same",
        )
    }

    /// The body of a request that has to be read whole.
    pub(super) fn unread(why: Unread, limits: Idempotency) -> Self {
        let Idempotency { longest_request, read_within, .. } = limits;
        match why {
            Unread::TooLong => Self::new(Kind::TooLarge, "request_too_large").explain(format!(
                "a request with a payment identifier may have {longest_request} bytes; nothing was charged"
            )),
            Unread::TooSlow => Self::new(Kind::TooSlow, "request_too_slow").explain(format!(
                "the body of a request with a payment identifier has {read_within:?} to come; nothing was charged"
            )),
            Unread::Broken => Self::new(Kind::Malformed, "request_incomplete")
                .explain("the request's body broke off; nothing was charged"),
        }
    }

    /// Other requests that have to be read whole take all the room there is for them.
    pub(super) fn no_room() -> Self {
        Self::not_ready(
            "too many requests with payment identifiers are being read; nothing was charged, send the same again shortly",
        )
    }

    /// The money moved, and the handler's answer broke off before it left.
    pub(super) fn broken_answer() -> Self {
        tracing::error!("a handler's answer broke off after its payment was settled; it is owed");
        Self::new(Kind::NotReady, Reason::SETTLEMENT_PENDING.as_str())
            .explain("the payment was settled; send the same payment again shortly for its answer, do not sign another")
    }

    /// The settlement failed; the money did not move.
    pub(super) fn not_settled(mut answer: SettleResponse) -> Self {
        let (error, message) = match &mut answer {
            SettleResponse::Failed(failure) => {
                failure.reason = short(failure.reason.as_str()).into();
                failure.message = failure.message.as_deref().map(short);
                (failure.reason.to_string(), failure.message.clone())
            }
            _ => (Reason::UNEXPECTED_SETTLE_ERROR.to_string(), None),
        };
        let mut this = Self::new(Kind::NotSettled(answer), error);
        this.0.message = message;
        this
    }

    /// A transaction is on its way.
    pub(super) fn pending(pending: PendingSettlement) -> Self {
        Self::new(Kind::Pending(pending), Reason::SETTLEMENT_PENDING.as_str())
            .explain("the payment is on its way; send the same payment again shortly, do not sign another")
    }

    /// Nobody can say whether the money moved.
    pub(super) fn unknown(error: Option<&FacilitatorError>) -> Self {
        let error = error.map(tracing::field::debug);
        tracing::error!(error, "whether a payment was settled is not known; its payment stays claimed");
        Self::new(Kind::BadGateway, Reason::SETTLEMENT_PENDING.as_str())
            .explain("whether the payment was settled is not known yet; send the same payment again, do not sign another")
    }

    /// We cannot take payments yet, or right now.
    pub(super) fn not_ready(message: &str) -> Self {
        Self::new(Kind::NotReady, "payment_unavailable").explain(message)
    }

    /// The claim store did not do its work. Nothing was charged now; what was charged before, it would know.
    pub(super) fn store(error: &StoreError) -> Self {
        tracing::error!(%error, "payments cannot be claimed; paid routes answer 503");
        Self::not_ready(
            "payments cannot be taken right now; send the same payment again shortly, do not sign another",
        )
    }

    /// The money moved, and the claim store does not take that.
    pub(super) fn unserved(error: &StoreError) -> Self {
        tracing::error!(%error, "a payment was settled, and its answer is held back: that it is served cannot be written");
        Self::new(Kind::NotReady, Reason::SETTLEMENT_PENDING.as_str())
            .explain("the payment was settled; send the same payment again shortly for its answer, do not sign another")
    }

    /// The facilitator did not do its work, and nothing was charged.
    pub(super) fn facilitator(call: &str, error: &FacilitatorError) -> Self {
        tracing::error!(call, ?error, "the payment facilitator failed");
        let kind = match error.kind() {
            FacilitatorErrorKind::Unreachable | FacilitatorErrorKind::NotActed => Kind::NotReady,
            _ => Kind::BadGateway,
        };
        Self::new(kind, "facilitator_unavailable").explain(
            "the payment facilitator did not do its work; nothing was charged, the payment can be sent again",
        )
    }

    /// A hook, or a closure of the service's, panicked or took too long: nothing was charged, and nothing is let pass.
    pub(super) fn hook_failed() -> Self {
        Self::new(Kind::Misconfigured, "payment_hook_failed").explain(
            "the service's own code failed while the payment was looked at; nothing was charged, the payment can be sent \
             again",
        )
    }

    /// The gate's own flow panicked, or what it calls.
    pub(super) fn panicked() -> Self {
        tracing::error!("the gate panicked, or a scheme, a store or a closure that it called");
        Self::new(Kind::Misconfigured, "payment_failed")
            .explain("something failed while the payment was looked at; send the same payment again, do not sign another")
    }

    /// Somebody else has had the payment settled, or is about to. It comes without an offer, and says nothing of whether
    /// the transaction will succeed.
    pub(super) fn settled_for_another() -> Self {
        Self::new(Kind::Spent, Reason::DUPLICATE_SETTLEMENT.as_str()).explain(
            "this payment was handed to the facilitator by somebody else before; if that was you, ask there for its \
             answer; do not sign another for the same",
        )
    }

    /// The settlement's task ended before it was done.
    pub(super) fn interrupted(error: &tokio::task::JoinError) -> Self {
        tracing::error!(%error, "a settlement was interrupted");
        Self::unknown(None)
    }

    /// The service is set up wrongly: the reason is for its operator, not for the client.
    pub(super) fn misconfigured(reason: impl Into<String>) -> Self {
        tracing::error!(reason = reason.into(), "a paid route is misconfigured; it answers 500");
        Self::new(Kind::Misconfigured, "payment_misconfigured")
            .explain("this route's payment is misconfigured; its operator finds the reason in the log")
    }

    /// The router has no such route, and the table charges what it has.
    pub(super) fn no_route() -> Self {
        Self::new(Kind::NoRoute, "not_found")
    }

    /// Whether no other option could change it.
    pub(super) fn is_final(&self) -> bool {
        !matches!(self.0.kind, Kind::Rejected | Kind::Used)
    }

    /// Whether the payment was used before.
    pub(super) fn is_used(&self) -> bool {
        matches!(self.0.kind, Kind::Used)
    }

    /// What it is, as counters have it.
    pub(super) fn name(&self) -> &'static str {
        match self.0.kind {
            Kind::Unpaid => "unpaid",
            Kind::Rejected => "rejected",
            Kind::Malformed => "malformed",
            Kind::Forbidden => "forbidden",
            Kind::TooLarge => "too_large",
            Kind::TooSlow => "too_slow",
            Kind::Used => "used",
            Kind::InProgress => "in_progress",
            Kind::Conflict => "conflict",
            Kind::Spent => "spent",
            Kind::NotSettled(_) => "not_settled",
            Kind::Pending(_) => "pending",
            Kind::NotReady => "not_ready",
            Kind::BadGateway => "bad_gateway",
            Kind::Misconfigured => "misconfigured",
            Kind::NoRoute => "no_route",
        }
    }

    fn status(&self) -> StatusCode {
        match self.0.kind {
            Kind::Unpaid | Kind::Rejected | Kind::Used | Kind::Spent | Kind::NotSettled(_) => {
                StatusCode::PAYMENT_REQUIRED
            }
            Kind::Malformed => StatusCode::BAD_REQUEST,
            Kind::Forbidden => StatusCode::FORBIDDEN,
            Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Kind::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Kind::InProgress | Kind::Conflict => StatusCode::CONFLICT,
            Kind::Pending(_) | Kind::NotReady => StatusCode::SERVICE_UNAVAILABLE,
            Kind::BadGateway => StatusCode::BAD_GATEWAY,
            Kind::Misconfigured => StatusCode::INTERNAL_SERVER_ERROR,
            Kind::NoRoute => StatusCode::NOT_FOUND,
        }
    }

    /// The answer.
    pub(super) fn encode(self, asked: Option<&Asked<'_>>) -> Response<Bytes> {
        self.encode_as(asked, asked.map_or(Speech::Plain, |asked| asked.speech))
    }

    fn encode_as(mut self, asked: Option<&Asked<'_>>, speech: Speech) -> Response<Bytes> {
        event::refused(&self);
        let status = self.status();
        let mut headers = HeaderMap::with_capacity(6);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if matches!(self.0.kind, Kind::InProgress | Kind::Pending(_) | Kind::NotReady) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        let body = match (&self.0.kind, asked) {
            (Kind::Unpaid | Kind::Rejected, Some(asked)) => match self.demand(asked, &mut headers) {
                Ok(body) => body,
                Err(failed) => return failed.encode(Some(asked)),
            },
            (Kind::NotSettled(answer), Some(asked)) => self.failure(answer, asked, &mut headers),
            (Kind::Pending(pending), Some(asked)) => {
                let answer = SettleResponse::Pending(pending.clone());
                let (name, value) = wire::settle_response_header(asked.version, &answer);
                headers.insert(name, value);
                let mut body = self.json();
                if let Some(transaction) = &pending.transaction {
                    body["transaction"] = transaction.as_str().into();
                }
                in_json(&body)
            }
            (Kind::NotReady, Some(asked)) => asked
                .show(&mut headers, |paywall, request| paywall.unavailable(request.headers))
                .unwrap_or_else(|| in_json(&self.json())),
            _ => in_json(&self.json()),
        };
        if let (Some(receipt), Some(asked)) = (self.0.receipt.take(), asked) {
            let (name, value) = receipt_header(asked.version, receipt);
            headers.insert(name, value);
        }
        expose(&mut headers);
        let content_type = HeaderValue::try_from(body.content_type)
            .unwrap_or(HeaderValue::from_static("application/octet-stream"));
        headers.insert(header::CONTENT_TYPE, content_type);
        let (status, body) = match speech {
            Speech::Plain => (status, body.body),
            Speech::Bare => (status, bare(&body.body, &mut headers)),
            Speech::Grpc => {
                let words = match &self.0.message {
                    Some(message) => format!("{}: {message}", self.0.error),
                    None => self.0.error.clone(),
                };
                (grpc::refuse(status, &words, &mut headers), Bytes::new())
            }
        };
        response(status, headers, body)
    }

    /// The answer to a request of which no more is known than its method.
    pub(super) fn encode_to(self, method: &Method) -> Response<Bytes> {
        self.encode_for(Speech::to(method))
    }

    /// The answer to a request of which no more is known than how it wants to be spoken to.
    pub(super) fn encode_for(self, speech: Speech) -> Response<Bytes> {
        self.encode_as(None, speech)
    }

    /// A 402 that asks for payment: version 2 in the header, version 1 in the body.
    fn demand(&self, asked: &Asked<'_>, headers: &mut HeaderMap) -> Result<CustomBody, Self> {
        let unpaid = matches!(self.0.kind, Kind::Unpaid);
        let v2 = asked.offer.and_then(|offer| offer.required(Version::V2, &self.0.error));
        let page = asked.show(headers, |paywall, RequestView { uri, headers, .. }| {
            let required = v2.as_ref()?;
            let (encoded, tokens) = (wire::encode_header(required), asked.offer?.tokens(Version::V2));
            Some(paywall.page(&Visit::new(required, encoded.to_str().ok()?, &tokens, uri, headers)))
        });
        if let Some(required) = &v2 {
            // A page has headers of its own, such as a policy.
            let taken = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
            let encoded = offer::header(required, taken);
            if encoded.len() > HEADER_LIMIT {
                return Err(Self::misconfigured(format!(
                    "the PAYMENT-REQUIRED header takes {} bytes, and {HEADER_LIMIT} is the limit: offer fewer options",
                    encoded.len()
                )));
            }
            headers.insert(PAYMENT_REQUIRED, encoded);
        }
        if let Some(page) = page {
            return Ok(page);
        }
        let error = if unpaid { "X-PAYMENT header is required" } else { &self.0.error };
        let v1 = asked.offer.and_then(|offer| offer.required(Version::V1, error));
        if unpaid
            && let Some(custom) = &asked.charge.unpaid_body
            && let Some(required) = v2.as_ref().or(v1.as_ref())
        {
            return caught(|| custom(required))
                .map_err(|_| Self::misconfigured("the closure of `unpaid_body` panicked"));
        }
        Ok(in_json(&match v1 {
            Some(required) => {
                let v1 = PaymentRequiredV1::from_model(&required);
                self.with_words(serde_json::to_value(v1).expect("the model serialises"))
            }
            // Whom version 1 has no words for is told in version 2's, as in the header.
            None => match v2 {
                Some(required) => {
                    self.with_words(serde_json::to_value(required).expect("the model serialises"))
                }
                None => self.json(),
            },
        }))
    }

    /// A 402 that asks for nothing: the client tried to pay.
    fn failure(&self, answer: &SettleResponse, asked: &Asked<'_>, headers: &mut HeaderMap) -> CustomBody {
        let (name, value) = wire::settle_response_header(asked.version, answer);
        headers.insert(name, value);
        match &asked.charge.settlement_failed_body {
            Some(custom) => caught(|| custom(answer)).unwrap_or_else(|_| {
                tracing::error!(
                    "the closure of `settlement_failed_body` panicked; the client is told without it"
                );
                in_json(&self.json())
            }),
            None => in_json(&self.json()),
        }
    }

    fn json(&self) -> Value {
        self.with_words(json!({ "error": self.0.error }))
    }

    fn with_words(&self, mut body: Value) -> Value {
        if let Some(message) = &self.0.message {
            body["message"] = message.as_str().into();
        }
        if let Some(payer) = &self.0.payer {
            body["payer"] = payer.as_str().into();
        }
        body
    }
}

/// The answer to a handler that takes `Paid` where nobody paid.
pub(super) fn not_paid(why: NotPaid) -> Response<Bytes> {
    tracing::error!("{why}");
    let headers = HeaderMap::from_iter([
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
    ]);
    response(why.status(), headers, Bytes::from(why.to_string()))
}

/// The receipt; without its extensions, where a header cannot hold them.
pub(super) fn receipt_header(version: Version, receipt: Receipt) -> (HeaderName, HeaderValue) {
    let plain = Receipt { extensions: JsonMap::new(), ..receipt.clone() };
    let (name, value) = wire::settle_response_header(version, &SettleResponse::Settled(receipt));
    if value.len() <= HEADER_LIMIT {
        return (name, value);
    }
    wire::settle_response_header(version, &SettleResponse::Settled(plain))
}

/// The head says how long the body would be.
fn bare(body: &Bytes, headers: &mut HeaderMap) -> Bytes {
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    Bytes::new()
}

fn response(status: StatusCode, headers: HeaderMap, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn short(words: &str) -> String {
    words.chars().take(LONGEST_WORDS).collect()
}

fn in_json(body: &Value) -> CustomBody {
    CustomBody { content_type: "application/json".to_owned(), body: Bytes::from(body.to_string()) }
}

/// Scripts of other origins may read the payment headers.
pub(super) fn expose(headers: &mut HeaderMap) {
    headers.append(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
}

/// [`wire::RESPONSE_HEADERS`], as a header lists them.
const EXPOSED: &str = "PAYMENT-REQUIRED, PAYMENT-RESPONSE, X-PAYMENT-RESPONSE";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_gate_exposes_is_what_cors_layers_are_told_to() {
        let listed: Vec<_> = EXPOSED.split(", ").map(str::to_ascii_lowercase).collect();
        assert_eq!(listed, wire::RESPONSE_HEADERS.map(|name| name.to_string()));
    }
}
