//! What the gate costs a request, in process: `cargo bench -p x402-tests`.
//!
//! Read the medians against `bare`, the same handler without a gate. `paid_once` is a whole payment with a facilitator that
//! answers at once: what is not the gate's are the stores, which wait for their servers.

use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex},
};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
    routing::get,
};
use divan::Bencher;
use shared::{RUNTIME, STORES, stop, store};
use tower::ServiceExt;
use x402_axum::GateExt;
use x402_core::{
    gate::{PaymentGate, RouteTable, exact},
    network::{BASE, BASE_SEPOLIA},
    payment::{PaymentPayload, PaymentRequired},
    scheme::ClientScheme,
    wire,
};
use x402_paywall::PaywallPage;
use x402_tests::{chain, script::Script};

mod shared;

fn main() {
    divan::main();
    stop();
}

/// A service whose gate keeps its claims in the store of this name.
fn app(name: &str) -> Router {
    static APPS: LazyLock<Mutex<HashMap<String, Router>>> = LazyLock::new(Mutex::default);
    let build = || {
        let store = store(name);
        let _inside = RUNTIME.enter();
        let gate = PaymentGate::builder("https://bench.test")
            .facilitator(Script::new())
            .scheme(x402_evm::exact::server())
            .store(store)
            .paywall(PaywallPage::new())
            .build()
            .expect("a gate");
        let payee = chain::merchant().address();
        let price = exact("$0.01").on(BASE_SEPOLIA).to(payee).or(exact("$0.01").on(BASE).to(payee));
        let prices = RouteTable::new().route("GET /paid/{id}", price).expect("a route");
        let routes = Router::new()
            .route("/paid/{id}", get(async || "goods"))
            .route("/free/{id}", get(async || "goods"));
        let gated = gate.charge_routes(routes, prices).expect("routes");
        RUNTIME.block_on(gate.ready()).expect("the scripted facilitator settles all of it");
        gated.route("/bare/{id}", get(async || "goods"))
    };
    APPS.lock().expect("no bench panicked").entry(name.to_owned()).or_insert_with(build).clone()
}

fn request(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).expect("a request")
}

fn answer(request: Request<Body>) -> axum::response::Response {
    answer_of(STORES[0], request)
}

fn answer_of(store: &str, request: Request<Body>) -> axum::response::Response {
    RUNTIME.block_on(app(store).oneshot(request)).expect("an answer")
}

fn offer() -> PaymentRequired {
    let answer = answer(request("/paid/1"));
    wire::decode_payment_required(&answer.headers()[wire::PAYMENT_REQUIRED]).expect("an offer").required
}

fn paid(offer: &PaymentRequired) -> Request<Body> {
    let client = x402_evm::exact::client(chain::payer());
    let accepted = offer.accepts[0].clone();
    let payload = RUNTIME.block_on(client.sign(offer.version, &accepted)).expect("a signature");
    let payment = PaymentPayload {
        version: offer.version,
        resource: Some(offer.resource.clone()),
        accepted,
        payload,
        extensions: offer.extensions.clone(),
    };
    let (name, value) = wire::encode_payment_header(&payment).expect("a header");
    Request::get("/paid/1").header(name, value).body(Body::empty()).expect("a request")
}

#[divan::bench]
fn bare(bencher: Bencher<'_, '_>) {
    bencher.with_inputs(|| request("/bare/1")).bench_values(answer);
}

#[divan::bench]
fn free(bencher: Bencher<'_, '_>) {
    bencher.with_inputs(|| request("/free/1")).bench_values(answer);
}

#[divan::bench]
fn unpaid(bencher: Bencher<'_, '_>) {
    bencher.with_inputs(|| request("/paid/1")).bench_values(answer);
}

#[divan::bench]
fn unpaid_in_a_browser(bencher: Bencher<'_, '_>) {
    let visit =
        || Request::get("/paid/1").header("accept", "text/html").body(Body::empty()).expect("a request");
    bencher.with_inputs(visit).bench_values(answer);
}

#[divan::bench(args = STORES, sample_count = 200, sample_size = 1)]
fn paid_once(bencher: Bencher<'_, '_>, store: &str) {
    let offer = offer();
    bencher.with_inputs(|| paid(&offer)).bench_values(|request| {
        let answer = answer_of(store, request);
        assert_eq!(answer.status(), StatusCode::OK);
        answer
    });
}

#[divan::bench]
fn garbage(bencher: Bencher<'_, '_>) {
    let garbage = "QUFBQUFB".repeat(1000);
    let request = || {
        Request::get("/paid/1").header("payment-signature", &garbage).body(Body::empty()).expect("a request")
    };
    bencher.with_inputs(request).bench_values(answer);
}
