//! A facilitator that is not there yet, goes away, or changes its mind about what it supports.

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderMap, Method, Response, Uri};
use x402_core::{
    facilitator::FacilitatorErrorKind as Kind,
    gate::{Pass, Passage, PaymentGate, RequestView, TimeLimits},
    store::{ClaimStore, Key, Record, Stamp, StoreError, Stored, Swapped},
    wire::PAYMENT_SIGNATURE,
};
use x402_tests::{
    script::{Act, Script},
    serve::{Serving, encoded},
};

use crate::{
    harness::{Case, Stack, case},
    secrets::logged,
    shop::{Shop, cent, gate},
    support::{assert_asked, assert_refused, assert_sold, sign_v2},
};

pub const CASES: &[Case] = &[
    case!(until_the_facilitator_tells_paid_routes_wait_and_then_recover_by_themselves),
    case!(no_request_waits_for_what_is_supported),
    case!(a_facilitator_that_hangs_or_panics_is_asked_again).once().paused(),
    case!(a_later_outage_changes_nothing).once().paused(),
    case!(a_gate_that_is_not_ready_says_what_is_missing).once().paused(),
    case!(a_gates_status_follows_its_facilitator).once().paused(),
    case!(a_store_that_is_down_is_told).once().paused(),
    case!(what_is_found_at_the_start_is_in_the_log).once(),
    case!(what_is_supported_is_kept_fresh).once().paused(),
    case!(a_gate_that_is_gone_asks_nothing).once().paused(),
];

async fn until_the_facilitator_tells_paid_routes_wait_and_then_recover_by_themselves(stack: Stack) {
    let script = Script::new().on_supported([Act::Fail(Kind::Unreachable), Act::Yes]);
    let shop = Shop::early(stack, script, |gate| gate, cent()).await;
    let payment = Shop::open(stack, Script::new()).await.v2("/cheap").await;
    for answer in [shop.get("/cheap", &[]).await, shop.pay("/cheap", &payment).await] {
        assert_refused(&answer, 503, "payment_unavailable");
        assert!(answer.header("retry-after").is_some());
        assert_eq!(answer.count("payment-required"), 0);
    }
    assert_eq!(shop.get("/cheap", &[("x-payment", "?")]).await.status, 400);
    assert_eq!(shop.counts(), (0, 0, 0));
    shop.gate.ready().await.unwrap();
    assert_eq!(shop.script.supported_calls(), 2);
    assert_asked_v2(&shop.get("/cheap", &[]).await);
    assert_sold(&shop.pay("/cheap", &payment).await, "/cheap");
}

#[track_caller]
fn assert_asked_v2(answer: &x402_tests::serve::Answer) {
    assert_eq!((answer.status, answer.count("payment-required")), (402, 1), "{answer:?}");
}

async fn no_request_waits_for_what_is_supported(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let payment = shop.v2("/dear").await;
    for _ in 0..50 {
        assert_asked_v2(&shop.get("/cheap", &[]).await);
        assert_asked(&shop.pay("/cheap", &payment).await, "no_matching_payment_requirements");
    }
    assert_eq!((shop.script.supported_calls(), shop.counts()), (1, (0, 0, 0)));

    let shop = Shop::early(stack, Script::new().on_supported([Act::Hang]), |gate| gate, cent()).await;
    for _ in 0..50 {
        assert_refused(&shop.get("/cheap", &[]).await, 503, "payment_unavailable");
    }
    assert_eq!(shop.script.supported_calls(), 1);
}

/// Asks a gate directly, where time is not real.
async fn ask(gate: &PaymentGate) -> Response<bytes::Bytes> {
    let Passage::Charged(route) = gate.toll(cent()).unwrap().passage(&Method::GET, false, None) else {
        panic!()
    };
    let (uri, headers) = (Uri::from_static("/cheap"), HeaderMap::new());
    let view = RequestView { method: &Method::GET, uri: &uri, headers: &headers, route: None, access: None };
    route.admit(view, &mut bytes::Bytes::new()).await.unwrap_err()
}

async fn a_facilitator_that_hangs_or_panics_is_asked_again(_: Stack) {
    for act in [Act::Hang, Act::Panic, Act::Fail(Kind::BadAnswer)] {
        let script = Script::new().on_supported([act.clone(), act, Act::Yes]);
        let patient = TimeLimits::default().ready(Duration::from_secs(120));
        let gate = gate(script.clone()).time_limits(patient).build().unwrap();
        assert_eq!(ask(&gate).await.status(), 503);
        gate.ready().await.unwrap();
        assert_eq!(script.supported_calls(), 3);
        assert_eq!(ask(&gate).await.status(), 402);
    }
}

async fn a_later_outage_changes_nothing(_: Stack) {
    let script = Script::new().on_supported([Act::Yes, Act::Fail(Kind::Unreachable)]);
    let gate = gate(script.clone()).build().unwrap();
    gate.ready().await.unwrap();
    script.supported_begun(5).await;
    assert_eq!(ask(&gate).await.status(), 402);
}

async fn a_gate_that_is_not_ready_says_what_is_missing(_: Stack) {
    for (act, words) in [
        (Act::Hang, "has not told yet what it supports"),
        (Act::Fail(Kind::Unreachable), "the facilitator does not answer for"),
        (Act::Panic, "it panicked"),
    ] {
        let hasty = TimeLimits::default().ready(Duration::from_secs(10));
        let gate = gate(Script::new().on_supported([act.clone()])).time_limits(hasty).build().unwrap();
        let begun = tokio::time::Instant::now();
        let error = gate.ready().await.unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(11), "{act:?}");
        assert!(error.to_string().contains(words), "{act:?}: {error}");
        assert!(!error.0.is_ready() && !error.0.is_known);
    }
}

async fn a_gates_status_follows_its_facilitator(_: Stack) {
    let acts = [Act::Yes, Act::Fail(Kind::Unreachable), Act::Fail(Kind::Unreachable), Act::Yes];
    let script = Script::new().on_supported(acts).on_verify([Act::Fail(Kind::Unreachable), Act::Yes]);
    let gate = gate(script.clone()).build().unwrap();
    gate.ready().await.unwrap();
    let status = gate.status().await;
    assert!(status.is_ready() && status.to_string() == "ready to take payments");
    // A payment that found it away makes the gate look, long before it would by itself.
    let begun = tokio::time::Instant::now();
    let _ = pay(&gate).await.unwrap_err();
    script.supported_begun(2).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    let status = gate.status().await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    let trouble = status.facilitator.clone().unwrap();
    assert!(trouble.since.is_some() && trouble.why.contains("scripted failure"), "{trouble:?}");
    assert!(status.is_known && !status.is_ready());
    script.supported_begun(3).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(gate.status().await.facilitator.unwrap().since, trouble.since, "since when, not how long ago");
    gate.ready().await.unwrap();
    assert_eq!(pay(&gate).await.map(drop), Ok(()));
}

/// A payment, taken by the gate directly.
async fn pay(gate: &PaymentGate) -> Result<Pass, http::StatusCode> {
    let Passage::Charged(route) = gate.toll(cent()).unwrap().passage(&Method::GET, false, None) else {
        panic!()
    };
    let offered = ask(gate).await;
    let offer = x402_core::wire::decode_payment_required(&offered.headers()["payment-required"]).unwrap();
    let payment = sign_v2(&serde_json::to_value(&offer.required).unwrap(), 0).await;
    let headers = HeaderMap::from_iter([(PAYMENT_SIGNATURE, encoded(&payment).parse().unwrap())]);
    let uri = Uri::from_static("/cheap");
    let view = RequestView { method: &Method::GET, uri: &uri, headers: &headers, route: None, access: None };
    route.admit(view, &mut bytes::Bytes::new()).await.map_err(|answer| answer.status())
}

/// A store that is down.
struct Down;

impl ClaimStore for Down {
    async fn load(&self, _: &Key) -> Result<Option<Stored>, StoreError> {
        Err(StoreError::unavailable("the store is down, as it should be"))
    }

    async fn swap(&self, _: &Key, _: Option<Stamp>, _: Option<Record>) -> Result<Swapped, StoreError> {
        Err(StoreError::unavailable("the store is down, as it should be"))
    }

    async fn open(&self, _: &str) -> Result<BTreeMap<String, Stored>, StoreError> {
        Err(StoreError::unavailable("the store is down, as it should be"))
    }
}

async fn a_store_that_is_down_is_told(_: Stack) {
    let gate = gate(Script::new()).store(Down).build().unwrap();
    let error = gate.ready().await.unwrap_err();
    assert!(error.0.is_known && error.0.facilitator.is_none());
    assert!(error.to_string().contains("the store of payments does not answer: "), "{error}");
}

async fn what_is_supported_is_kept_fresh(_: Stack) {
    let script = Script::new();
    let gate = gate(script.clone()).build().unwrap();
    gate.ready().await.unwrap();
    assert_eq!(ask(&gate).await.status(), 402);
    let script = script.networks([x402_core::network::BASE]);
    script.supported_begun(2).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(ask(&gate).await.status(), 503, "the facilitator gave the network up");
}

async fn a_gate_that_is_gone_asks_nothing(_: Stack) {
    for act in [Act::Fail(Kind::Unreachable), Act::Yes, Act::Hang] {
        let script = Script::new().on_supported([act]);
        let gate = gate(script.clone()).build().unwrap();
        let toll = gate.toll(cent()).unwrap();
        script.supported_begun(1).await;
        drop(gate);
        script.supported_begun(2).await; // the toll is still there
        drop(toll);
        let calls = script.supported_calls();
        tokio::time::sleep(Duration::from_secs(24 * 60 * 60)).await;
        assert_eq!(script.supported_calls(), calls);
    }
}

/// Why the facilitator cannot be read, which networks it lacks, and what proxies and others may not take.
async fn what_is_found_at_the_start_is_in_the_log(_: Stack) {
    let unreadable = Serving::start(axum::Router::new().fallback(async || r#"{"kinds":5}"#)).await.unwrap();
    let facilitator = x402_facilitator::RemoteFacilitator::new(&unreadable.url("")).unwrap();
    let hasty = TimeLimits::default().ready(Duration::from_millis(500));
    let error = gate(facilitator).time_limits(hasty).build().unwrap().ready().await.unwrap_err();
    assert!(error.to_string().contains("not an answer of the protocol"), "{error}");
    let gate = gate(Script::new().networks([x402_core::network::BASE])).time_limits(hasty).build().unwrap();
    let many = (0..12).fold(cent(), |charge, _| charge.or(cent()));
    gate.toll(many.describe("x".repeat(501))).unwrap();
    assert!(gate.ready().await.is_err());
    let log = logged();
    for words in [
        "is this the URL of a facilitator?: not of the protocol's shape: expected a sequence",
        "a charge is paid in a way that the facilitator does not settle",
        "the PAYMENT-REQUIRED header of this offer is longer than 3584 bytes",
        "this description is longer than 500 characters",
    ] {
        assert!(log.contains(words), "the log does not say `{words}`");
    }
}
