//! A scheme that signs nothing of value, and servers that answer what they are told to.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};
use x402_reqwest::{Builder, Capped, Client};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    response::Response,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::{Value, json};
use x402_core::{
    amount::Amount,
    network::{BASE_SEPOLIA, NetworkPattern},
    payment::{JsonMap, PaymentPayload, PaymentRequired, PaymentRequirements, ResourceInfo, Version},
    scheme::{ClientScheme, SchemeError},
    wire::{self, PAYMENT_REQUIRED, PAYMENT_SIGNATURE, PaymentRequiredV1, Presented, X_PAYMENT},
};

pub(crate) const USDC: &str = "0x036CbD53842c5426634e7929541eC2318f3dCF7e";
pub(crate) const PAYEE: &str = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C";

/// Counts what it signs; no two payments are alike.
#[derive(Clone, Default)]
pub(crate) struct Wallet(Arc<AtomicUsize>);

impl Wallet {
    pub(crate) fn signatures(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl ClientScheme for Wallet {
    fn scheme(&self) -> &str {
        "exact"
    }

    fn networks(&self) -> NetworkPattern {
        NetworkPattern::EVM
    }

    fn accepts(&self, requirements: &PaymentRequirements) -> Result<(), SchemeError> {
        match requirements.extra.get("assetTransferMethod") {
            Some(method) if method != "eip3009" => Err(SchemeError::new("only eip3009 is known here")),
            _ => Ok(()),
        }
    }

    async fn sign(&self, version: Version, requirements: &PaymentRequirements) -> Result<Value, SchemeError> {
        if requirements.extra.contains_key("unsignable") {
            return Err(SchemeError::new("the key is locked"));
        }
        let number = self.0.fetch_add(1, Ordering::SeqCst) + 1;
        Ok(
            json!({ "signed": true, "number": number, "version": version.number(), "to": requirements.pay_to }),
        )
    }
}

/// A client with a cap of ten cents.
pub(crate) fn builder(wallet: &Wallet) -> Builder<Client, Capped> {
    Client::builder().scheme(wallet.clone()).max_per_request("$0.10")
}

/// A request as a server saw it.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    pub(crate) fn payment(&self) -> Option<HeaderValue> {
        [PAYMENT_SIGNATURE, X_PAYMENT].iter().find_map(|name| self.headers.get(name)).cloned()
    }

    pub(crate) fn is_paid(&self) -> bool {
        self.payment().is_some()
    }

    /// The version 2 payment it carried.
    pub(crate) fn payload(&self) -> PaymentPayload {
        match wire::read_payment(&self.headers, &[]).unwrap().unwrap() {
            Presented::V2(payload) => *payload,
            Presented::V1 { .. } => panic!("a version 1 payment"),
        }
    }
}

type Answer = dyn Fn(&Seen) -> Response + Send + Sync;

#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) origin: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    answer: Arc<Answer>,
}

impl Server {
    pub(crate) async fn start(answer: impl Fn(&Seen) -> Response + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let server = Self { origin, seen: Arc::default(), answer: Arc::new(answer) };
        let router = Router::new().fallback(serve).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        server
    }

    /// Sells at this offer, to whoever presents any payment.
    pub(crate) async fn selling(offer: PaymentRequired) -> Self {
        Self::start(move |seen| if seen.is_paid() { ok("paid") } else { demand(&offer) }).await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn payments(&self) -> Vec<HeaderValue> {
        self.seen().iter().filter_map(Seen::payment).collect()
    }
}

async fn serve(State(server): State<Server>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let path = parts.uri.path().to_owned();
    let seen = Seen { method: parts.method, path, headers: parts.headers, body };
    server.seen.lock().unwrap().push(seen.clone());
    (server.answer)(&seen)
}

/// Breaks the connection without an answer.
pub(crate) fn hang_up() -> Response {
    std::panic::resume_unwind(Box::new("the server hangs up"))
}

pub(crate) fn answer(status: u16, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

pub(crate) fn ok(body: &'static str) -> Response {
    answer(200, body)
}

pub(crate) fn redirect(status: u16, to: &str) -> Response {
    let mut response = answer(status, Body::empty());
    response.headers_mut().insert("location", to.parse().unwrap());
    response
}

/// A 402 in the version the offer is written in.
pub(crate) fn demand(offer: &PaymentRequired) -> Response {
    match offer.version {
        Version::V2 => {
            let mut response = answer(402, "{}");
            response.headers_mut().insert(PAYMENT_REQUIRED, wire::encode_header(offer));
            response
        }
        Version::V1 => answer(402, serde_json::to_vec(&PaymentRequiredV1::from_model(offer)).unwrap()),
    }
}

pub(crate) fn option(amount: u64) -> PaymentRequirements {
    let extra = [("name", "USDC"), ("version", "2")];
    let extra = extra.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
    PaymentRequirements {
        scheme: "exact".to_owned(),
        network: BASE_SEPOLIA,
        amount: Amount::from(amount),
        asset: USDC.parse().unwrap(),
        pay_to: PAYEE.parse().unwrap(),
        max_timeout_seconds: 60,
        extra,
    }
}

pub(crate) fn offer(version: Version, accepts: Vec<PaymentRequirements>) -> PaymentRequired {
    let resource =
        ResourceInfo { url: "https://api.example.com/thing".to_owned(), ..ResourceInfo::default() };
    PaymentRequired { version, error: None, resource, accepts, extensions: JsonMap::new() }
}

/// One option, a cent of USDC.
pub(crate) fn a_cent() -> PaymentRequired {
    offer(Version::V2, vec![option(10_000)])
}
