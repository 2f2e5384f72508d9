//! What other clients send and what proxies take: nothing about money is unclear in it.

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD},
};
use serde_json::{Value, json};
use x402_core::{
    asset::{self, TransferMethod},
    gate::exact,
    network::{BASE, BASE_SEPOLIA, Network},
};
use x402_tests::{script::Script, serve::encoded};

use crate::{
    harness::{Case, Stack, case},
    hostile::assert_malformed,
    shop::{Shop, cent},
    support::{ORIGIN, SELLER, assert_sold, header_of},
};

pub const CASES: &[Case] = &[
    case!(one_payment_may_come_in_both_headers),
    case!(base64_may_come_without_padding),
    case!(what_a_payment_says_to_inform_may_be_of_any_shape),
    case!(an_offer_fits_through_a_proxy_as_it_is_delivered),
    case!(who_version_1_has_no_words_for_is_shown_the_price_in_the_body),
];

async fn one_payment_may_come_in_both_headers(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let (one, other) = (shop.v2("/cheap").await, shop.v2("/cheap").await);
    let both = |first: &str, second: &str| {
        vec![("payment-signature".to_owned(), first.to_owned()), ("x-payment".to_owned(), second.to_owned())]
    };
    let send = async |headers: Vec<(String, String)>| {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        shop.get("/cheap", &headers).await
    };
    assert_malformed(&send(both(&encoded(&one), &encoded(&other))).await, "two payments");
    assert_malformed(&send(both(&encoded(&one), "")).await, "an empty header");
    assert_malformed(&send(both(&encoded(&one), "???")).await, "no payment");
    assert_eq!(shop.counts(), (0, 0, 0));
    assert_sold(&send(both(&encoded(&one), &encoded(&one))).await, "/cheap");
    // The same authorization, in the words of either version: version 2's header counts.
    let v1 = json!({ "x402Version": 1, "scheme": "exact", "network": "base-sepolia", "payload": other["payload"] });
    assert_sold(&send(both(&encoded(&other), &encoded(&v1))).await, "/cheap");
    assert_eq!(shop.counts(), (2, 2, 2));
}

async fn base64_may_come_without_padding(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    for engine in [BASE64_STANDARD, BASE64_STANDARD_NO_PAD] {
        for length in 0..3 {
            for payment in [shop.v2("/cheap").await, shop.v1("/cheap").await] {
                let mut padded = payment.clone();
                padded["note"] = "?>~".repeat(1 + length).get(..=length).into();
                let header = engine.encode(padded.to_string());
                let answer = shop.get("/cheap", &[(header_of(&payment), &header)]).await;
                assert_eq!(answer.status, 200, "{answer:?}");
            }
        }
    }
}

async fn what_a_payment_says_to_inform_may_be_of_any_shape(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let url = format!("{ORIGIN}/cheap");
    for (field, value) in [
        ("resource", json!(url)),
        ("resource", json!(null)),
        ("resource", json!({ "url": url, "tags": "one", "more": 1 })),
        ("resource", json!([url])),
        ("extensions", json!([])),
        ("extensions", json!("bazaar")),
        ("more", json!({ "a": 1 })),
    ] {
        let mut payment = shop.v2("/cheap").await;
        payment[field] = value.clone();
        let answer = shop.pay("/cheap", &payment).await;
        assert_eq!(answer.status, 200, "{field} {value}: {answer:?}");
    }
    for payment in shop.script.seen() {
        let told = payment.payload.resource.unwrap();
        assert_eq!(told.url, url, "the facilitator is told where it is by the shop");
    }
}

/// nginx takes 4 KiB of headers unless it is told otherwise.
async fn an_offer_fits_through_a_proxy_as_it_is_delivered(stack: Stack) {
    let words = "A report of some length, as its seller likes to describe it. ".repeat(8);
    let charge = (1..7)
        .fold(cent(), |charge, cents| charge.or(exact(format!("$0.0{cents}")).on(BASE_SEPOLIA).to(SELLER)));
    let shop = Shop::selling(stack, Script::new(), charge.describe(&words).idempotent()).await;
    for path in ["/cheap".to_owned(), format!("/cheap?q={}", "x".repeat(800))] {
        let answer = shop.get(&path, &[]).await;
        let header = answer.header("payment-required").unwrap();
        assert!(header.len() <= 3584, "{} bytes", header.len());
        let offer = answer.decoded("payment-required").unwrap();
        assert_eq!(offer["accepts"].as_array().unwrap().len(), 7);
        assert_eq!(offer["resource"]["url"], format!("{ORIGIN}/cheap"), "at least the path");
        let body = answer.json().unwrap();
        assert_eq!(
            (&body["accepts"][0]["description"], &body["accepts"][0]["resource"]),
            (&json!(words), &json!(format!("{ORIGIN}{path}")))
        );
        let payment = crate::support::sign_v2(&offer, 0).await;
        assert_sold(&shop.pay(&path, &payment).await, "/cheap");
    }
    let told: Vec<Value> = shop.script.seen().iter().map(|payment| json!(payment.payload.resource)).collect();
    assert!(
        told.iter().all(|resource| resource["description"] == words.as_str()),
        "the facilitator is told all of it"
    );
}

async fn who_version_1_has_no_words_for_is_shown_the_price_in_the_body(stack: Stack) {
    let nameless = (1..100_000)
        .map(Network::evm)
        .find(|network| {
            let eip3009 = |token: asset::Token| matches!(token.transfer, TransferMethod::Eip3009 { .. });
            network.v1_name().is_none() && asset::default_token(network).is_some_and(eip3009)
        })
        .expect("version 1 does not name all networks");
    let charge = exact("$0.01").on(nameless.clone()).to(SELLER).describe("A report");
    let shop = Shop::selling(stack, Script::new().networks([nameless, BASE]), charge).await;
    let answer = shop.get("/cheap", &[]).await;
    assert_eq!(answer.status, 402);
    let (header, mut body) = (answer.decoded("payment-required").unwrap(), answer.json().unwrap());
    assert_eq!(body, header);
    assert_eq!(body["accepts"][0]["amount"].take(), "10000");
}
