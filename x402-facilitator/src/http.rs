//! Any facilitator as the protocol's HTTP API, in both versions.
//!
//! | Request | Answer |
//! |---|---|
//! | `GET /` | what this is: name, version, endpoints, networks |
//! | `GET /supported` | the kinds of payment |
//! | `POST /verify` | `isValid`; a refusal is a 200 |
//! | `POST /settle` | `success`; a refusal is a 200 |
//! | `GET /health` | `{"status":"ok"}` |
//!
//! What is no request of the protocol is a 400 (413 beyond [`MAX_BODY_BYTES`], 408 when its body does not come, 415 when
//! it is not sent as `application/json`, 403 when it is of a web page, which `Origin` or `Sec-Fetch-Site` tells) with
//! `error`, saying what was expected, beside the fields of a refusal. A facilitator that did not do its work
//! is a 500, 502 or 503 with `error`: whether a settlement happened is then unknown, unless `notActed` is `true` beside it.
//! Then the journal was read, and nothing was ever sent for that payment by anybody who writes there.
//!
//! Success of `/settle` is told once, to one caller. Whoever sends an `Idempotency-Key` (16 to 255 visible ASCII
//! characters, hard to guess) with the request that begins a settlement hears its outcome as often as they ask with that
//! key, and nobody else does. Without one, the first to ask hears success; after `settlement_pending`, the next one does.
//! All others are answered `{"success":false,"errorReason":"duplicate_settlement"}` with the transaction: a resource server
//! that serves what it is told is paid serves one payment once. Where callers are authenticated in front of this router,
//! put a [`Caller`] into the request's extensions: a settlement's outcome is then told to the caller who began it.
//!
//! A failure with `"authorizationDead":true` says that what was signed can never move money any more.
//!
//! The API has no credentials of its own, and bounds only bodies: a client may take as long as it likes for its
//! headers, and open as many connections as it likes. Put a proxy with authentication, rate and connection limits and
//! time-outs for headers in front of it.

//!
//! Each request leaves a line in the log, at `info`: method, path, status, milliseconds, and of a payment its network, payer
//! and outcome. Nothing that was signed is logged.

mod guard;
mod line;

use std::{collections::BTreeSet, future::IntoFuture, io, pin::pin, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, FromRequest, Request, State},
    http::{HeaderMap, StatusCode},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
};
use x402_core::{
    facilitator::{
        AnyFacilitator, Facilitator, FacilitatorError, FacilitatorErrorKind as Kind, SettleRequest,
        SettlementKey,
    },
    payment::{Payment, Reason, SettleResponse},
    wire::{self, DecodeError},
};

use crate::IDEMPOTENCY_KEY;

/// The longest request that is read, in bytes.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// How long a request's body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long idle or slow connections may hold up a shutdown.
const DRAIN: Duration = Duration::from_secs(10);

/// How long the answers of the last settlements may take to go out.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// The API over this facilitator. A settlement once begun goes on when its caller hangs up.
pub fn router(facilitator: impl Facilitator) -> Router {
    routes(Arc::new(Api::new(facilitator)))
}

/// Serves the API until `shutdown`, then takes no more requests and returns when the settlements that have begun
/// are done; connections that stay open without settling anything are dropped after ten seconds.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    facilitator: impl Facilitator,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let api = Arc::new(Api::new(facilitator));
    let mut settling = api.settling.subscribe();
    let (stop, stopped) = oneshot::channel();
    let signal = async move {
        shutdown.await;
        let _ = stop.send(());
    };
    let server = axum::serve(listener, routes(api)).with_graceful_shutdown(signal);
    let mut server = pin!(server.into_future());
    let drained = async {
        if stopped.await.is_err() {
            return std::future::pending().await;
        }
        tokio::time::sleep(DRAIN).await;
    };
    let done = tokio::select! {
        result = &mut server => Some(result),
        () = drained => None,
    };
    // The sender lives in the connections; with the last of them gone, so are their settlements.
    let _ = settling.wait_for(|running| *running == 0).await;
    match done {
        Some(result) => result,
        None => tokio::time::timeout(LAST_ANSWERS, server).await.unwrap_or(Ok(())),
    }
}

fn routes(api: Arc<Api>) -> Router {
    Router::new()
        .route("/", get(about))
        .route("/supported", get(supported))
        .route("/verify", post(verify))
        .route("/settle", post(settle))
        .route("/health", get(async || Json(json!({ "status": "ok" }))))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn(line::log))
        .with_state(api)
}

struct Api {
    facilitator: AnyFacilitator,
    /// How many settlements are running.
    settling: watch::Sender<usize>,
}

impl Api {
    fn new(facilitator: impl Facilitator) -> Self {
        Self { facilitator: AnyFacilitator::new(facilitator), settling: watch::Sender::new(0) }
    }

    /// Settles in a task of its own, and hands the outcome to whoever still waits for it.
    async fn settle(self: Arc<Self>, asked: Asked) -> Result<SettleResponse, FacilitatorError> {
        let settling = Settling::begin(Arc::clone(&self));
        let asked = Arc::new(asked);
        let (this, work) = (Arc::clone(&self), Arc::clone(&asked));
        let task = tokio::spawn(async move {
            let answer = this.facilitator.settle(work.request()).await;
            report(&work.payment, &answer);
            drop(settling);
            answer
        });
        let outcome = task.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a settlement broke off");
            Err(FacilitatorError::new(Kind::Internal, "the settlement broke off: its outcome is unknown"))
        })?;
        // Not in that task: it goes on for callers who hung up, and those are told nothing.
        self.facilitator.deliver(asked.request(), outcome).await
    }
}

/// An authenticated caller: middleware in front of the [`router`] puts it into a request's extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller(pub String);

/// What is to be settled, and for whom.
struct Asked {
    payment: Payment,
    key: Option<SettlementKey>,
    caller: Option<Caller>,
}

impl Asked {
    fn request(&self) -> SettleRequest<'_> {
        let caller = self.caller.as_ref().map(|caller| caller.0.as_str());
        SettleRequest::new(&self.payment).with_key(self.key.as_ref()).with_caller(caller)
    }
}

struct Settling(Arc<Api>);

impl Settling {
    fn begin(api: Arc<Api>) -> Self {
        api.settling.send_modify(|running| *running += 1);
        Self(api)
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        self.0.settling.send_modify(|running| *running -= 1);
    }
}

/// What a person sees who opens the URL in a browser.
async fn about(State(api): State<Arc<Api>>) -> Response {
    let supported = api.facilitator.supported().await;
    let networks: BTreeSet<_> = supported
        .iter()
        .flat_map(|supported| &supported.kinds)
        .map(|kind| kind.network.to_string())
        .collect();
    let mut body = json!({
        "name": env!("CARGO_PKG_NAME"),
        "version": env!("CARGO_PKG_VERSION"),
        "description": "An x402 facilitator: it verifies payments and settles them on chain.",
        "endpoints": {
            "GET /supported": "the kinds of payment that are settled here",
            "POST /verify": "whether a payment would settle",
            "POST /settle": "settles a payment",
            "GET /health": "whether this process answers",
        },
        "networks": networks,
    });
    if let Err(error) = supported {
        tracing::warn!(%error, "what is supported is not known");
        body["error"] = NOT_KNOWN.into();
    }
    Json(body).into_response()
}

/// Why nothing is supported is for whoever runs this: it names the chains' endpoints.
const NOT_KNOWN: &str = "nothing can be settled at the moment: the facilitator's log says why";

async fn supported(State(api): State<Arc<Api>>) -> Response {
    match api.facilitator.supported().await {
        Ok(supported) => Json(wire::encode_supported(&supported)).into_response(),
        Err(error) => unavailable(&error, NOT_KNOWN),
    }
}

async fn verify(State(api): State<Arc<Api>>, request: Request) -> Response {
    let payment = match read(request).await {
        Ok(payment) => payment,
        Err(bad) => return bad.answer(|reason| json!({ "isValid": false, "invalidReason": reason })),
    };
    let mut about = line::About::new(&payment);
    let response = match api.facilitator.verify(&payment).await {
        Ok(answer) => {
            about.verified(&answer);
            Json(wire::verify_response(&answer)).into_response()
        }
        Err(error) => unavailable(&error, &error.to_string()),
    };
    about.on(response)
}

async fn settle(State(api): State<Arc<Api>>, request: Request) -> Response {
    let caller = request.extensions().get::<Caller>().cloned();
    let asked = match key(request.headers()) {
        Ok(key) => read(request).await.map(|payment| Asked { payment, key, caller }),
        Err(bad) => Err(bad),
    };
    let asked = match asked {
        Ok(asked) => asked,
        Err(bad) => {
            return bad.answer(
                |reason| json!({ "success": false, "errorReason": reason, "transaction": "", "network": "" }),
            );
        }
    };
    let version = asked.payment.payload.version;
    let mut about = line::About::new(&asked.payment);
    let response = match api.settle(asked).await {
        Ok(answer) => {
            about.settled(&answer);
            Json(wire::settle_response(version, &answer)).into_response()
        }
        Err(error) => unavailable(&error, &error.to_string()),
    };
    about.on(response)
}

/// A request that is none of the protocol.
struct BadRequest {
    status: StatusCode,
    error: String,
    /// `None` where a client sent no payment at all: there is nothing to refuse.
    reason: Option<Reason>,
}

impl BadRequest {
    fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: error.into(), reason: Some(Reason::INVALID_PAYLOAD) }
    }

    fn answer(self, refusal: impl FnOnce(Reason) -> Value) -> Response {
        let mut body = self.reason.map_or_else(|| json!({}), refusal);
        body["error"] = self.error.into();
        (self.status, Json(body)).into_response()
    }
}

/// The key by which the outcome can be heard, if one is sent.
fn key(headers: &HeaderMap) -> Result<Option<SettlementKey>, BadRequest> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = value.to_str().ok().and_then(|text| text.parse().ok()).filter(|_| values.next().is_none());
    let wrong = || {
        BadRequest::new(
            StatusCode::BAD_REQUEST,
            "Idempotency-Key is sent once, with 16 to 255 visible ASCII characters that are hard to guess",
        )
    };
    key.map(Some).ok_or_else(wrong)
}

async fn read(request: Request) -> Result<Payment, BadRequest> {
    guard::check(request.headers()).map_err(|(status, error)| BadRequest::new(status, error))?;
    let body = tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, &()))
        .await
        .map_err(|_| BadRequest::new(StatusCode::REQUEST_TIMEOUT, "the request's body did not come in time"))?
        .map_err(|rejection| match rejection.status() {
            status @ StatusCode::PAYLOAD_TOO_LARGE => {
                BadRequest::new(status, format!("a request has at most {MAX_BODY_BYTES} bytes"))
            }
            status => BadRequest::new(status, "the request's body could not be read"),
        })?;
    wire::decode_request(&body).map_err(|error| {
        let mut bad = BadRequest::new(StatusCode::BAD_REQUEST, error.to_string());
        if lacks_a_part(&body) {
            bad.error = "Missing paymentPayload or paymentRequirements".to_owned();
            bad.reason = None;
        } else if matches!(error, DecodeError::UnknownVersion(_)) {
            bad.reason = Some(Reason::INVALID_VERSION);
        }
        bad
    })
}

fn lacks_a_part(body: &[u8]) -> bool {
    let Ok(Value::Object(request)) = wire::parse_json(body) else { return false };
    ["paymentPayload", "paymentRequirements"].iter().any(|part| request.get(*part).is_none_or(Value::is_null))
}

/// In these words. What lies beneath the error may name a chain endpoint with its key: that goes nowhere.
fn unavailable(error: &FacilitatorError, words: &str) -> Response {
    tracing::warn!(%error, "the facilitator did not do its work");
    let status = match error.kind() {
        Kind::Unreachable | Kind::NotActed => StatusCode::SERVICE_UNAVAILABLE,
        Kind::NoAnswer | Kind::BadAnswer | Kind::Rejected => StatusCode::BAD_GATEWAY,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let mut body = json!({ "error": words });
    if error.kind() == Kind::NotActed {
        body["notActed"] = true.into();
    }
    (status, Json(body)).into_response()
}

fn report(payment: &Payment, answer: &Result<SettleResponse, FacilitatorError>) {
    let (scheme, network) = (&payment.requirements.scheme, &payment.requirements.network);
    match answer {
        Ok(SettleResponse::Settled(receipt)) => {
            let transaction = receipt.transaction.as_ref().map(tracing::field::display);
            let payer = receipt.payer.as_ref().map(tracing::field::display);
            tracing::info!(?scheme, %network, payer, transaction, "settled");
        }
        Ok(SettleResponse::Pending(pending)) => {
            let transaction = pending.transaction.as_ref().map(tracing::field::display);
            tracing::warn!(?scheme, %network, transaction, "settlement pending");
        }
        Ok(SettleResponse::Failed(failure)) => {
            let reason = failure.reason.as_str();
            tracing::info!(?scheme, %network, ?reason, "settlement refused");
        }
        Err(error) => tracing::warn!(?scheme, %network, %error, "settlement failed"),
    }
}
