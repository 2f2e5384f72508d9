//! Offers and receipts as others write them: what only informs decides nothing.

use axum::response::Response;
use http::HeaderValue;
use serde_json::{Value, json};
use x402_core::{
    network::BASE_SEPOLIA,
    payment::{SettleResponse, Version},
    wire::{self, PAYMENT_REQUIRED, PAYMENT_RESPONSE, X_PAYMENT_RESPONSE},
};
use x402_reqwest::{DeclinedBecause, Error, ErrorKind, ResponseExt};

use crate::support::{PAYEE, Server, USDC, Wallet, answer, builder, ok};

fn option() -> Value {
    json!({
        "scheme": "exact", "network": "eip155:84532", "amount": "10000", "asset": USDC, "payTo": PAYEE,
        "maxTimeoutSeconds": 60, "extra": { "name": "USDC", "version": "2" },
    })
}

fn option_v1() -> Value {
    json!({
        "scheme": "exact", "network": "base-sepolia", "maxAmountRequired": "10000", "asset": USDC, "payTo": PAYEE,
        "maxTimeoutSeconds": 60, "resource": "https://api.example.com/thing", "description": "", "mimeType": "",
        "extra": { "name": "USDC", "version": "2" },
    })
}

fn with(mut json: Value, place: &str, value: Value) -> Value {
    json.as_object_mut().unwrap().insert(place.to_owned(), value);
    json
}

fn without(mut json: Value, place: &str) -> Value {
    json.as_object_mut().unwrap().remove(place);
    json
}

fn v2(accepts: Value) -> Value {
    json!({ "x402Version": 2, "resource": { "url": "https://api.example.com/thing" }, "accepts": accepts })
}

fn v1(accepts: Value) -> Value {
    json!({ "x402Version": 1, "error": "X-PAYMENT header is required", "accepts": accepts })
}

fn in_header(offer: &Value) -> Response {
    let mut response = answer(402, "{}");
    response.headers_mut().insert(PAYMENT_REQUIRED, wire::encode_header(offer));
    response
}

fn in_body(offer: &Value) -> Response {
    answer(402, offer.to_string())
}

/// Sells to whoever presents any payment, and otherwise answers this.
async fn selling(demand: impl Fn() -> Response + Send + Sync + 'static) -> Server {
    Server::start(move |seen| if seen.is_paid() { ok("paid") } else { demand() }).await
}

async fn buy(server: &Server) -> reqwest_middleware::Result<reqwest::Response> {
    builder(&Wallet::default()).build().unwrap().get(server.url("/thing")).send().await
}

#[tokio::test]
async fn what_only_informs_stands_in_no_ones_way() {
    let good = v2(json!([option()]));
    let mut odd: Vec<Response> = [
        without(good.clone(), "resource"),
        with(good.clone(), "resource", json!("https://api.example.com/thing")),
        with(good.clone(), "resource", json!(null)),
        with(good.clone(), "error", json!({ "code": 1 })),
        with(good.clone(), "extensions", json!([])),
        without(good.clone(), "x402Version"),
        v2(json!([with(option(), "network", json!("a chain of tomorrow")), option()])),
        v2(json!([with(option(), "asset", json!("")), option()])),
        v2(json!([with(option(), "payTo", json!(null)), option()])),
        v2(json!([with(option(), "amount", json!(5)), option()])),
        v2(json!([option(), null, "exact", {}])),
    ]
    .iter()
    .map(in_header)
    .collect();
    odd.extend([
        in_body(&good),
        in_body(&v1(json!([without(option_v1(), "maxAmountRequired"), option_v1()]))),
    ]);
    odd.push(in_body(&without(v1(json!([option_v1()])), "x402Version")));
    odd.push(in_body(&v1(json!([with(
        option_v1(),
        "outputSchema",
        json!({ "text": "x".repeat(300 * 1024) })
    )]))));
    let mut broken = in_body(&v1(json!([option_v1()])));
    broken.headers_mut().insert(PAYMENT_REQUIRED, HeaderValue::from_static("???"));
    odd.push(broken);
    let twice = wire::encode_header(&good);
    let mut doubled = answer(402, "{}");
    doubled.headers_mut().append(PAYMENT_REQUIRED, twice.clone());
    doubled.headers_mut().append(PAYMENT_REQUIRED, twice);
    odd.push(doubled);
    for (number, demand) in odd.into_iter().enumerate() {
        let demand = std::sync::Mutex::new(Some(demand));
        let server = selling(move || demand.lock().unwrap().take().expect("one unpaid request")).await;
        let bought = buy(&server).await.unwrap_or_else(|error| panic!("offer {number}: {error}"));
        assert_eq!(bought.text().await.unwrap(), "paid", "offer {number}");
    }
}

#[tokio::test]
async fn the_bound_of_an_offer_is_the_users() {
    let schema = json!({ "text": "x".repeat(5000) });
    let server =
        selling(move || in_body(&v1(json!([with(option_v1(), "outputSchema", schema.clone())])))).await;
    let client = |bytes| builder(&Wallet::default()).max_offer_bytes(bytes).build().unwrap();
    assert_eq!(client(10_000).get(server.url("/")).send().await.unwrap().status(), 200);
    let error = client(4_000).get(server.url("/")).send().await.unwrap_err();
    assert_eq!(Error::within(&error).unwrap().kind(), ErrorKind::MalformedOffer);
    assert!(error.to_string().contains("max_offer_bytes"), "{error}");
}

#[tokio::test]
async fn options_that_cannot_be_read_are_reported_where_none_can_be_paid() {
    let dear = with(option(), "amount", json!("99000000"));
    let server = selling(move || in_header(&v2(json!([{}, dear, with(option(), "amount", json!(1))])))).await;
    let error = buy(&server).await.unwrap_err();
    let error = Error::within(&error).unwrap();
    assert_eq!(error.kind(), ErrorKind::Declined);
    let [first, second, third] = error.declined() else { panic!("{error}") };
    assert_eq!([first.position, second.position, third.position], [0, 1, 2]);
    assert!(matches!(first.because, DeclinedBecause::Unreadable(_)) && first.requirements.is_none());
    assert!(matches!(second.because, DeclinedBecause::OverCap { .. }));
    assert!(matches!(third.because, DeclinedBecause::Unreadable(_)));
    for words in ["option 1", "it asks $99 of USDC", "option 3", "/thing"] {
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn what_was_offered_comes_back_as_it_was() {
    let odd = with(with(option(), "fee", json!(1.5)), "outputSchema", json!({ "a": null }));
    let sold = json!({ "url": "https://api.example.com/thing", "title": "new", "tags": null });
    let offered = with(v2(json!([{}, odd])), "resource", sold.clone());
    let server = selling(move || in_header(&offered)).await;
    buy(&server).await.unwrap();
    let sent = server.payments().remove(0);
    let sent: Value = serde_json::from_slice(&decoded(&sent)).unwrap();
    assert_eq!((&sent["accepted"], &sent["resource"]), (&odd, &sold));
}

fn decoded(header: &HeaderValue) -> Vec<u8> {
    use base64::{Engine, prelude::BASE64_STANDARD};
    BASE64_STANDARD.decode(header.as_bytes()).unwrap()
}

#[tokio::test]
async fn why_a_settlement_failed_is_told_whatever_network_it_names() {
    for network in
        [json!(""), json!(null), json!("unknown"), json!("eip155:84532"), json!("base-sepolia"), json!(5)]
    {
        for (version, header) in [(Version::V2, PAYMENT_RESPONSE), (Version::V1, X_PAYMENT_RESPONSE)] {
            let receipt = json!({
                "success": false, "errorReason": "insufficient_funds", "network": network, "transaction": "",
            });
            let server = Server::start(move |seen| {
                if !seen.is_paid() {
                    return match version {
                        Version::V2 => in_header(&v2(json!([option()]))),
                        Version::V1 => in_body(&v1(json!([option_v1()]))),
                    };
                }
                let mut refused = answer(402, "{}");
                refused.headers_mut().insert(header.clone(), wire::encode_header(&receipt));
                refused
            })
            .await;
            let refused = buy(&server).await.unwrap();
            let Some(Ok(SettleResponse::Failed(failure))) = refused.receipt() else { panic!("{network}") };
            assert_eq!((failure.reason.as_str(), failure.network), ("insufficient_funds", BASE_SEPOLIA));
        }
    }
}
