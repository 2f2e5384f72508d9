//! A shop whose facilitator is on the other end of a socket, and answers as it is told.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use http_body::Frame;
use serde_json::{Value, json};
use x402_core::gate::PaymentGate;
use x402_facilitator::RemoteFacilitator;
use x402_tests::{
    install_crypto,
    script::HASH,
    serve::{Answer, Counter, Serving, encoded},
};

use crate::{
    goods::{Goods, of_everything},
    harness::Stack,
    shop::{Stock, gate, serve},
    support::{NETWORK, sign_v2},
};

/// What the scripted facilitator answers.
#[derive(Clone, Debug)]
pub enum Reply {
    Behave,
    Say(u16, String),
    /// Ten megabytes, a piece at a time.
    Flood,
    /// A byte now and then, without end.
    Drip,
    /// Never.
    Hang,
    RedirectTo(String),
}
pub use Reply::{Behave, Drip, Flood, Hang, RedirectTo, Say};

/// What it answers to each call.
#[derive(Clone)]
struct Replies {
    supported: VecDeque<Reply>,
    verify: Reply,
    settle: Reply,
}

/// A shop whose facilitator is on the other end of a socket.
pub struct Far {
    pub facilitator: Serving,
    pub shop: Serving,
    pub gate: PaymentGate,
    replies: Arc<Mutex<Replies>>,
    pub visits: Counter,
    pub verified: Counter,
    pub settled: Counter,
}

impl Far {
    pub async fn open(stack: Stack) -> Self {
        let far = Self::early(stack, []).await;
        far.gate.ready().await.unwrap();
        far
    }

    /// The shop before the facilitator, which first answers like this, told what it supports.
    pub async fn early(stack: Stack, supported: impl IntoIterator<Item = Reply>) -> Self {
        install_crypto();
        let supported = supported.into_iter().collect();
        let replies = Arc::new(Mutex::new(Replies { supported, verify: Behave, settle: Behave }));
        let (verified, settled) = (Counter::default(), Counter::default());
        let facilitator = {
            let (replies, verified, settled) = (replies.clone(), verified.clone(), settled.clone());
            Router::new().fallback(move |request: Request| {
                let Replies { verify, settle, .. } = replies.lock().unwrap().clone();
                let (reply, good) = match request.uri().path() {
                    "/supported" => (
                        replies.lock().unwrap().supported.pop_front().unwrap_or(Behave),
                        json!({ "kinds": [
                            { "x402Version": 2, "scheme": "exact", "network": NETWORK },
                            { "x402Version": 1, "scheme": "exact", "network": "base-sepolia" },
                        ]}),
                    ),
                    "/verify" => {
                        verified.count();
                        (verify, json!({ "isValid": true }))
                    }
                    "/settle" => {
                        settled.count();
                        (settle, json!({ "success": true, "transaction": HASH, "network": NETWORK }))
                    }
                    path => panic!("asked for {path}"),
                };
                answer(reply, good)
            })
        };
        let facilitator = Serving::start(facilitator).await.unwrap();
        let remote = RemoteFacilitator::builder(&facilitator.url(""))
            .supported_timeout(Duration::from_millis(400))
            .verify_timeout(Duration::from_millis(400))
            .settle_timeout(Duration::from_millis(400))
            .build()
            .unwrap();
        let gate = gate(remote).build().unwrap();
        let goods = Goods::default();
        let stock = Stock::Priced(vec![of_everything("/cheap")]);
        let shop = serve(stack, &gate, &goods, stock).await.unwrap();
        let visits = goods.visits;
        Self { facilitator, shop, gate, replies, visits, verified, settled }
    }

    pub fn reply(&self, verify: &Reply, settle: &Reply) {
        let mut replies = self.replies.lock().unwrap();
        (replies.verify, replies.settle) = (verify.clone(), settle.clone());
    }

    pub async fn payment(&self) -> Value {
        let answer = self.shop.get("/cheap", &[]).await.unwrap();
        sign_v2(&answer.decoded("payment-required").unwrap(), 0).await
    }

    pub async fn pay(&self, payment: &Value) -> Answer {
        self.shop.get("/cheap", &[("payment-signature", &encoded(payment))]).await.unwrap()
    }

    pub fn counts(&self) -> (usize, usize, usize) {
        (self.visits.get(), self.verified.get(), self.settled.get())
    }
}

async fn answer(reply: Reply, good: Value) -> Response {
    match reply {
        Behave => axum::Json(good).into_response(),
        Say(status, body) => (StatusCode::from_u16(status).unwrap(), body).into_response(),
        Flood => Body::from(" ".repeat(10_000_000)).into_response(),
        Drip => Body::new(Drops(tokio::time::interval(Duration::from_millis(20)))).into_response(),
        Hang => std::future::pending().await,
        RedirectTo(url) => (StatusCode::TEMPORARY_REDIRECT, [("location", url)]).into_response(),
    }
}

/// A body that drips.
struct Drops(tokio::time::Interval);

impl http_body::Body for Drops {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_tick(cx).map(|_| Some(Ok(Frame::data(Bytes::from_static(b" ")))))
    }
}
