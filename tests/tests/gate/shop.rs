//! The shop that the cases buy from, in axum.

use std::{
    convert::Infallible,
    future::{Ready, pending, ready},
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use http_body::Frame;
use x402_axum::{GateExt, Paid};
use x402_core::{
    gate::{Charge, GateBuilder, PaymentGate, exact},
    network::BASE_SEPOLIA,
};
use x402_tests::{
    script::Script,
    serve::{Counter, Serving},
};

use crate::support::{ORIGIN, SELLER, marker};

/// A shop on a socket. Its routes: `/cheap` and `/twin` at a cent, `/dear` and `/dear/{id}` at a dollar, `/free`,
/// and others that fail, stream or wait, each named for what it does.
pub struct Shop {
    pub script: Script,
    pub gate: PaymentGate,
    pub serving: Serving,
    /// How often handlers of paid routes ran.
    pub visits: Counter,
    /// How often the body of `/stream` was polled.
    pub polls: Counter,
}

/// The header by which payments may come, too.
pub const ALIAS: HeaderName = HeaderName::from_static("x-shop-payment");

pub fn cent() -> Charge {
    exact("$0.01").on(BASE_SEPOLIA).to(SELLER)
}

pub fn dollar() -> Charge {
    exact("$1").on(BASE_SEPOLIA).to(SELLER)
}

/// A gate over the script, as it is without further settings.
pub fn gate(script: &Script) -> GateBuilder {
    PaymentGate::builder(ORIGIN).facilitator(script.clone()).scheme(x402_evm::exact::server())
}

impl Shop {
    /// The whole shop.
    pub async fn open(script: Script) -> Self {
        Self::open_with(script, |gate| gate.header_alias(ALIAS)).await
    }

    /// The whole shop, its gate set up like this.
    pub async fn open_with(script: Script, set_up: impl FnOnce(GateBuilder) -> GateBuilder) -> Self {
        let shop = Self::build(script, set_up, everything).await;
        shop.gate.ready().await;
        shop
    }

    /// A shop that sells `/cheap` for this.
    pub async fn selling(script: Script, charge: Charge) -> Self {
        Self::selling_with(script, |gate| gate, charge).await
    }

    /// A shop that sells `/cheap` for this, its gate set up like this.
    pub async fn selling_with(
        script: Script,
        set_up: impl FnOnce(GateBuilder) -> GateBuilder,
        charge: Charge,
    ) -> Self {
        let shop = Self::early(script, set_up, charge).await;
        shop.gate.ready().await;
        shop
    }

    /// The same, before the facilitator told what it supports.
    pub async fn early(
        script: Script,
        set_up: impl FnOnce(GateBuilder) -> GateBuilder,
        charge: Charge,
    ) -> Self {
        Self::build(script, set_up, |gate, goods| {
            Router::new().route("/cheap", any(goods.sells("/cheap")).layer(gate.charge(charge).unwrap()))
        })
        .await
    }

    /// A shop with a router of its own.
    pub async fn build(
        script: Script,
        set_up: impl FnOnce(GateBuilder) -> GateBuilder,
        router: impl FnOnce(&PaymentGate, &Goods) -> Router,
    ) -> Self {
        let gate = set_up(gate(&script)).build().unwrap();
        let goods = Goods::default();
        let serving = Serving::start(router(&gate, &goods)).await.unwrap();
        let Goods { visits, polls } = goods;
        Self { script, gate, serving, visits, polls }
    }
}

/// What handlers are made of.
#[derive(Clone, Default)]
pub struct Goods {
    visits: Counter,
    polls: Counter,
}

impl Goods {
    /// A handler that says the route's marker.
    pub fn sells(&self, route: &'static str) -> impl Fn() -> Ready<String> + Clone + use<> {
        let visits = self.visits.clone();
        move || {
            visits.count();
            ready(marker(route))
        }
    }

    /// A handler that answers with this status, and with the marker all the same.
    fn answers(
        &self,
        route: &'static str,
        status: StatusCode,
    ) -> impl Fn() -> Ready<Response> + Clone + use<> {
        let visits = self.visits.clone();
        move || {
            visits.count();
            ready((status, [(header::LOCATION, "/free")], marker(route)).into_response())
        }
    }

    /// A handler that panics.
    fn panics(&self) -> impl Fn() -> Ready<StatusCode> + Clone + use<> {
        let visits = self.visits.clone();
        move || {
            visits.count();
            panic!("the handler panics, as it should")
        }
    }
}

fn everything(gate: &PaymentGate, goods: &Goods) -> Router {
    let cheap = || gate.charge(cent()).unwrap();
    let dear = || gate.charge(dollar()).unwrap();
    let first = || gate.charge(cent().settle_first()).unwrap();
    let stream = {
        let Goods { visits, polls } = goods.clone();
        move || {
            visits.count();
            ready(Response::new(Body::new(Chunks { polls, left: 3 })))
        }
    };
    let slow = {
        let visits = goods.visits.clone();
        move || async move {
            visits.count();
            pending::<String>().await
        }
    };
    let echo = {
        let visits = goods.visits.clone();
        move |body: Bytes| {
            visits.count();
            ready(format!("{}{}", marker("/echo"), String::from_utf8_lossy(&body)))
        }
    };
    Router::new()
        .route("/cheap", any(goods.sells("/cheap")).layer(cheap()))
        .route("/twin", get(goods.sells("/twin")).layer(cheap()))
        .route("/dear", get(goods.sells("/dear")).layer(dear()))
        .route("/dear/{id}", get(goods.sells("/dear/{id}")).layer(dear()))
        .route("/free", get(async || "free for all"))
        .route("/fails", get(goods.answers("/fails", StatusCode::INTERNAL_SERVER_ERROR)).layer(cheap()))
        .route("/missing", get(goods.answers("/missing", StatusCode::NOT_FOUND)).layer(cheap()))
        .route("/moved", get(goods.answers("/moved", StatusCode::FOUND)).layer(cheap()))
        .route("/unchanged", get(goods.answers("/unchanged", StatusCode::NOT_MODIFIED)).layer(cheap()))
        .route("/panics", get(goods.panics()).layer(cheap()))
        .route("/stream", get(stream).layer(cheap()))
        .route("/slow", get(slow.clone()).layer(cheap()))
        .route("/echo", post(echo).layer(cheap()))
        .route("/cached", get(cached).layer(cheap()))
        .route("/who", get(who).layer(cheap()))
        .route("/first", get(goods.sells("/first")).layer(first()))
        .route("/first-fails", get(goods.answers("/first-fails", StatusCode::BAD_GATEWAY)).layer(first()))
        .route("/first-missing", get(goods.answers("/first-missing", StatusCode::NOT_FOUND)).layer(first()))
        .route("/first-moved", get(goods.answers("/first-moved", StatusCode::FOUND)).layer(first()))
        .route("/first-panics", get(goods.panics()).layer(first()))
        .route("/first-slow", get(slow).layer(first()))
        .route("/first-who", get(who).layer(first()))
}

/// An answer that any cache may keep, with a header that is for the gate alone.
async fn cached() -> impl IntoResponse {
    let headers = [("cache-control", "public, max-age=60"), ("settlement-overrides", "{}")];
    (headers, marker("/cached"))
}

/// What the handler learns of its payment.
pub async fn who(Paid(payment): Paid) -> String {
    let receipt = payment.receipt().and_then(|receipt| receipt.transaction.as_ref());
    format!(
        "{} {} {} {} {} {:?} {}",
        marker("/who"),
        payment.payer(),
        payment.network(),
        payment.amount(),
        payment.asset(),
        payment.version(),
        receipt.map_or("none", |transaction| transaction.as_str()),
    )
}

/// A body in pieces that counts how often it is polled.
struct Chunks {
    polls: Counter,
    left: usize,
}

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.polls.count();
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(marker("/stream"))))))
    }
}
