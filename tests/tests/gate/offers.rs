//! What an unpaid request is told.

use serde_json::json;
use x402_tests::script::Script;

use crate::{
    harness::{Case, Stack, Wire, case},
    shop::Shop,
    support::{NETWORK, NETWORK_V1, ORIGIN, SELLER, USDC, assert_asked, assert_no_receipt},
};

pub const CASES: &[Case] = &[
    case!(an_unpaid_request_is_told_what_it_costs_in_both_versions),
    case!(every_paid_route_asks_and_the_free_one_does_not),
    case!(head_is_told_what_get_is),
    case!(no_method_reaches_a_handler_unpaid),
    case!(an_offer_names_the_configured_origin_whatever_the_request_says),
    case!(the_query_belongs_to_what_is_sold_unless_it_is_too_long),
    case!(an_offer_that_was_refused_asks_again_for_the_same),
    case!(every_code_is_explained).once(),
];

async fn an_unpaid_request_is_told_what_it_costs_in_both_versions(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let answer = shop.get("/cheap", &[]).await;
    assert_eq!(answer.status, 402);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let exposed = answer.header("access-control-expose-headers").unwrap();
    for name in ["PAYMENT-REQUIRED", "PAYMENT-RESPONSE", "X-PAYMENT-RESPONSE"] {
        assert!(exposed.contains(name), "{exposed}");
    }
    assert_no_receipt(&answer);
    let url = format!("{ORIGIN}/cheap");
    let extra = json!({ "name": "USDC", "version": "2" });
    assert_eq!(
        answer.decoded("payment-required").unwrap(),
        json!({
            "x402Version": 2, "error": "Payment required", "resource": { "url": url },
            "accepts": [{
                "scheme": "exact", "network": NETWORK, "amount": "10000", "asset": USDC, "payTo": SELLER,
                "maxTimeoutSeconds": 300, "extra": extra,
            }],
        })
    );
    assert_eq!(
        answer.json().unwrap(),
        json!({
            "x402Version": 1, "error": "X-PAYMENT header is required",
            "accepts": [{
                "scheme": "exact", "network": NETWORK_V1, "maxAmountRequired": "10000", "asset": USDC,
                "payTo": SELLER, "maxTimeoutSeconds": 300, "extra": extra, "resource": url,
                "description": "", "mimeType": "",
            }],
        })
    );
    assert_eq!(shop.counts(), (0, 0, 0));
}

async fn every_paid_route_asks_and_the_free_one_does_not(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    for path in ["/cheap", "/twin", "/fails", "/missing", "/moved", "/panics", "/stream", "/who", "/first"] {
        assert_eq!(shop.offer(path).await["accepts"][0]["amount"], "10000", "{path}");
    }
    for path in ["/dear", "/dear/7"] {
        assert_eq!(shop.offer(path).await["accepts"][0]["amount"], "1000000", "{path}");
    }
    let free = shop.get("/free", &[]).await;
    assert_eq!((free.status, free.body.as_str(), free.count("cache-control")), (200, "free for all", 0));
    assert_eq!(shop.counts(), (0, 0, 0));
}

async fn head_is_told_what_get_is(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    for path in ["/cheap", "/dear/7"] {
        let (get, head) = (shop.get(path, &[]).await, shop.send("HEAD", path, &[]).await);
        assert_eq!((head.status, head.body.as_str()), (402, ""));
        let without_date = |headers: &[(String, String)]| {
            let mut headers: Vec<_> = headers.iter().filter(|(name, _)| name != "date").collect();
            headers.sort();
            headers.into_iter().cloned().collect::<Vec<_>>()
        };
        assert_eq!(without_date(&head.headers), without_date(&get.headers));
    }
    assert_eq!(shop.counts(), (0, 0, 0));
}

async fn no_method_reaches_a_handler_unpaid(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    for method in
        ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "HEAD", "PROPFIND", "get", "X"]
    {
        let answer = shop.send(method, "/cheap", &[("content-length", "0")]).await;
        assert_eq!(answer.status, 402, "{method}");
        let overridden = shop.send(method, "/dear", &[("x-http-method-override", "GET")]).await;
        assert!([402, 405].contains(&overridden.status), "{method} {overridden:?}");
    }
    assert_eq!(shop.counts(), (0, 0, 0));
}

async fn an_offer_names_the_configured_origin_whatever_the_request_says(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let forged = [
        ("host", "evil.example"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "gopher"),
        ("x-forwarded-prefix", "/evil.example"),
        ("x-original-url", "/evil.example"),
        ("x-rewrite-url", "/evil.example"),
        ("forwarded", "host=evil.example"),
    ];
    let mut request = "GET /cheap HTTP/1.1\r\nconnection: close\r\n".to_owned();
    for (name, value) in forged {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    let answer = shop.serving.raw(format!("{request}\r\n").as_bytes()).await.unwrap();
    assert_asked_for(&answer, "/cheap");
    let absolute =
        "GET http://evil.example/cheap HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n";
    assert_asked_for(&shop.serving.raw(absolute.as_bytes()).await.unwrap(), "/cheap");
}

#[track_caller]
fn assert_asked_for(answer: &x402_tests::serve::Answer, path: &str) {
    let offer = answer.decoded("payment-required").unwrap();
    assert_eq!(offer["resource"]["url"], format!("{ORIGIN}{path}"));
    assert_eq!(answer.json().unwrap()["accepts"][0]["resource"], format!("{ORIGIN}{path}"));
    assert!(!format!("{answer:?}{offer}").contains("evil"), "{answer:?}");
}

async fn the_query_belongs_to_what_is_sold_unless_it_is_too_long(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let short = "/cheap?city=Z%C3%BCrich&a=b&a=%3Cscript%3E";
    assert_asked_for(&shop.get(short, &[]).await, short);
    // In HTTP/2, servers take no more than 16 KiB of all headers together.
    let longest = if shop.stack.wire == Wire::Http1 { 30_000 } else { 12_000 };
    for length in [900, 1000, 1100, 5_000, longest] {
        let path = format!("/cheap?q={}", "a".repeat(length));
        let answer = shop.get(&path, &[]).await;
        assert!(answer.header("payment-required").unwrap().len() < 8192);
        let url = answer.decoded("payment-required").unwrap()["resource"]["url"].as_str().unwrap().to_owned();
        assert!(url == format!("{ORIGIN}/cheap") || (length <= 1000 && url == format!("{ORIGIN}{path}")));
    }
    let long = shop.get(&format!("/dear/{}", "a".repeat(5_000)), &[]).await;
    assert_asked_for(&long, &stack.words("/dear/{id}"));
}

async fn an_offer_that_was_refused_asks_again_for_the_same(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let other = shop.v2("/dear").await;
    let refused = shop.pay("/cheap", &other).await;
    assert_asked(&refused, "no_matching_payment_requirements");
    let offer = refused.decoded("payment-required").unwrap();
    assert_eq!(offer["accepts"], shop.offer("/cheap").await["accepts"]);
    assert_eq!(shop.counts(), (0, 0, 0));
}

/// Whoever meets a code finds it in the list: those in quotes in the sources that make them.
async fn every_code_is_explained(_: Stack) {
    const LIST: &str = include_str!("../../../docs/answers.md");
    let sources = [
        include_str!("../../../x402-core/src/gate/refusal.rs"),
        include_str!("../../../x402-core/src/payment/reason.rs"),
        include_str!("../../../mechanisms/evm/src/exact/reasons.rs")
            .split("/// The current name")
            .next()
            .unwrap(),
    ];
    let is_code = |word: &&str| {
        word.contains('_')
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    let mut codes: Vec<&str> = sources.iter().flat_map(|source| source.split('"')).filter(is_code).collect();
    codes.retain(|code| !COUNTED.contains(code));
    assert!(codes.len() > 40, "{codes:?}");
    for code in codes {
        assert!(LIST.contains(&format!("`{code}`")), "docs/answers.md does not explain `{code}`");
    }
}

/// Names for counters, not for clients, and older names for codes.
const COUNTED: [&str; 10] = [
    "too_large",
    "too_slow",
    "in_progress",
    "not_settled",
    "not_ready",
    "bad_gateway",
    "no_route",
    "nonce_already_used",
    "on_request",
    "unpaid_body",
];
