//! gRPC calls are refused, and fail, in gRPC's own words.

use x402_core::{
    facilitator::FacilitatorErrorKind as Kind,
    gate::{GateBuilder, RequestDecision},
};
use x402_tests::{
    script::{Act, Script},
    serve::{Answer, encoded},
};

use crate::{
    goods::shelves,
    harness::{Case, Stack, case},
    shop::{Shop, Stock},
    support::{MARKER, assert_no_receipt, sign_v2},
};

pub const CASES: &[Case] = &[
    case!(a_refusal_is_a_status_of_grpc_with_the_offer_beside_it),
    case!(every_kind_of_no_has_its_status),
    case!(a_call_that_fails_is_a_failure),
    case!(a_status_of_grpc_in_another_answer_means_nothing),
    case!(what_only_looks_like_grpc_is_told_in_http),
];

const GRPC: (&str, &str) = ("content-type", "application/grpc");

impl Shop {
    async fn call(&self, path: &str, payment: Option<&str>) -> Answer {
        let payment = payment.map(|payment| ("payment-signature", payment));
        let headers: Vec<_> = [GRPC, ("content-length", "0")].into_iter().chain(payment).collect();
        self.send("POST", path, &headers).await
    }

    async fn metadata(&self, path: &str) -> String {
        let offer = self.call(path, None).await.decoded("payment-required").unwrap();
        encoded(&sign_v2(&offer, 0).await)
    }
}

/// An answer of trailers only: 200, no body, this status.
#[track_caller]
fn assert_ended(answer: &Answer, status: &str) {
    assert_eq!((answer.status, answer.header("grpc-status")), (200, Some(status)), "{answer:?}");
    assert_eq!((answer.header("content-type"), answer.body.as_str()), (Some("application/grpc"), ""));
    assert!(answer.header("grpc-message").is_some_and(|words| !words.is_empty()), "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_no_receipt(answer);
}

async fn a_refusal_is_a_status_of_grpc_with_the_offer_beside_it(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let refused = shop.call("/grpc", None).await;
    assert_ended(&refused, "9");
    let payment = encoded(&sign_v2(&refused.decoded("payment-required").unwrap(), 0).await);
    let answer = shop.call("/grpc", Some(&payment)).await;
    assert_eq!((answer.status, answer.header("grpc-status")), (200, Some("0")));
    assert_eq!((answer.count("payment-response"), shop.counts()), (1, (1, 1, 1)));
    let again = shop.call("/grpc", Some(&payment)).await;
    assert_ended(&again, "9");
    assert_eq!((again.count("payment-required"), shop.counts()), (0, (1, 1, 1)));
}

async fn every_kind_of_no_has_its_status(stack: Stack) {
    let script = Script::new()
        .on_verify([Act::No("x\ny%"), Act::Fail(Kind::Unreachable), Act::Fail(Kind::NoAnswer), Act::Yes])
        .on_settle([Act::Fail(Kind::NoAnswer), Act::Yes]);
    let banned = |gate: GateBuilder| {
        gate.on_request(async |request| match request.headers.contains_key("x-banned") {
            true => RequestDecision::Refuse("no entry".to_owned()),
            false => RequestDecision::Charge,
        })
    };
    let shop = Shop::stocked(stack, script, banned, Stock::Priced(shelves())).await;
    let payment = shop.metadata("/grpc").await;
    let refused = shop.call("/grpc", Some(&payment)).await;
    assert_ended(&refused, "9");
    assert_eq!(refused.header("grpc-message"), Some("x%0Ay%25: scripted"));
    for status in ["14", "14"] {
        assert_ended(&shop.call("/grpc", Some(&payment)).await, status);
    }
    assert_ended(&shop.call("/grpc", Some("?")).await, "3");
    let headers = [GRPC, ("content-length", "0"), ("x-banned", "1")];
    assert_ended(&shop.send("POST", "/grpc", &headers).await, "7");
    assert_eq!(shop.counts(), (0, 3, 0));
    // Whether it was settled is not known: it is held for this call, and for no other.
    assert_ended(&shop.call("/grpc", Some(&payment)).await, "14");
    assert_ended(&shop.call("/grpc?x", Some(&payment)).await, "10");
    assert_eq!(shop.call("/grpc", Some(&payment)).await.header("grpc-status"), Some("0"));
}

async fn a_call_that_fails_is_a_failure(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let payment = shop.metadata("/grpc-missing").await;
    let missing = shop.call("/grpc-missing", Some(&payment)).await;
    assert_eq!((missing.status, missing.header("grpc-status")), (200, Some("5")));
    assert_no_receipt(&missing);
    assert_eq!(shop.counts(), (1, 1, 0));
    let sold = shop.call("/grpc", Some(&payment)).await;
    assert_eq!((sold.header("grpc-status"), shop.script.settle_calls()), (Some("0"), 1), "it was still good");

    let payment = shop.metadata("/first-grpc-missing").await;
    let missing = shop.call("/first-grpc-missing", Some(&payment)).await;
    assert_eq!((missing.header("grpc-status"), missing.count("payment-response")), (Some("5"), 1));
    assert_ended(&shop.call("/first-grpc-missing", Some(&payment)).await, "9");

    let payment = shop.metadata("/first-grpc-breaks").await;
    for _ in 0..2 {
        let broken = shop.call("/first-grpc-breaks", Some(&payment)).await;
        assert_eq!((broken.header("grpc-status"), broken.count("payment-response")), (Some("13"), 1));
    }
    assert_eq!(shop.script.settle_calls(), 3, "our trouble is not paid for twice");
}

async fn a_status_of_grpc_in_another_answer_means_nothing(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let answer = shop.pay("/grpc-missing", &shop.v2("/grpc-missing").await).await;
    assert_eq!((answer.status, answer.count("payment-response"), shop.counts()), (200, 1, (1, 1, 1)));
}

async fn what_only_looks_like_grpc_is_told_in_http(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    for content_type in ["application/grpcx", "application/json", "text/application/grpc", ""] {
        let answer = shop.get("/cheap", &[("content-type", content_type)]).await;
        assert_eq!((answer.status, answer.count("grpc-status")), (402, 0), "{content_type}");
    }
    for content_type in ["application/grpc+proto", "application/grpc;a=b", "Application/gRPC ; a=b"] {
        let answer = shop.get("/cheap", &[("content-type", content_type)]).await;
        assert_ended(&answer, "9");
        assert!(!answer.body.contains(MARKER));
    }
}
