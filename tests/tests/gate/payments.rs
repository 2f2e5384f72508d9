//! What a good payment buys, in either version.

use x402_tests::{
    chain,
    script::{HASH, Script},
    serve::encoded,
};

use crate::{
    harness::{Case, Stack, case},
    shop::Shop,
    support::{MARKER, NETWORK, NETWORK_V1, USDC, assert_asked, assert_sold, marker},
};

pub const CASES: &[Case] = &[
    case!(a_good_payment_buys_once_in_version_2),
    case!(a_good_payment_buys_once_in_version_1),
    case!(the_facilitator_is_told_our_requirements),
    case!(the_version_is_the_one_the_payment_states_whatever_header_carries_it),
    case!(a_header_nobody_configured_pays_nothing),
    case!(every_method_can_pay_and_head_is_charged_as_get),
    case!(a_handler_learns_of_its_payment),
    case!(a_paid_answer_is_kept_from_shared_caches),
    case!(a_payment_for_the_cheap_does_not_buy_the_dear),
];

async fn a_good_payment_buys_once_in_version_2(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let answer = shop.pay("/cheap", &shop.v2("/cheap").await).await;
    assert_sold(&answer, "/cheap");
    assert_eq!(answer.count("x-payment-response") + answer.count("payment-required"), 0);
    assert_eq!(answer.header("cache-control"), Some("private"));
    assert!(answer.header("access-control-expose-headers").unwrap().contains("PAYMENT-RESPONSE"));
    let receipt = answer.decoded("payment-response").unwrap();
    assert_eq!((&receipt["transaction"], &receipt["network"]), (&HASH.into(), &NETWORK.into()));
    assert_eq!(shop.counts(), (1, 1, 1));
}

async fn a_good_payment_buys_once_in_version_1(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let answer = shop.pay("/cheap", &shop.v1("/cheap").await).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, marker("/cheap").as_str()));
    assert_eq!(answer.count("payment-response") + answer.count("payment-required"), 0);
    assert_eq!(answer.header("cache-control"), Some("private"));
    let receipt = answer.decoded("x-payment-response").unwrap();
    assert_eq!((&receipt["success"], &receipt["network"]), (&true.into(), &NETWORK_V1.into()));
    assert_eq!(shop.counts(), (1, 1, 1));
}

async fn the_facilitator_is_told_our_requirements(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let mut payment = shop.v2("/cheap").await;
    payment["resource"]["url"] = "https://evil.example/".into();
    payment["accepted"]["extra"]["more"] = "from the client".into();
    assert_sold(&shop.pay("/cheap", &payment).await, "/cheap");
    for seen in shop.script.seen() {
        assert_eq!(seen.requirements.amount.to_string(), "10000");
        assert!(!seen.requirements.extra.contains_key("more"));
        assert_eq!(seen.payload.resource.unwrap().url, "https://shop.example.com/cheap");
    }
}

async fn the_version_is_the_one_the_payment_states_whatever_header_carries_it(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    for header in ["x-payment", "payment-signature", "x-shop-payment", "X-SHOP-PAYMENT"] {
        let two = shop.get("/cheap", &[(header, &encoded(&shop.v2("/cheap").await))]).await;
        assert_sold(&two, "/cheap");
        let one = shop.get("/cheap", &[(header, &encoded(&shop.v1("/cheap").await))]).await;
        assert_eq!((one.status, one.count("x-payment-response"), one.count("payment-response")), (200, 1, 0));
    }
    assert_eq!(shop.counts(), (8, 8, 8));
}

async fn a_header_nobody_configured_pays_nothing(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let payment = encoded(&shop.v2("/cheap").await);
    for header in ["payment", "authorization", "x-payment-signature", "payment-signature2"] {
        assert_eq!(shop.get("/cheap", &[(header, &payment)]).await.status, 402);
    }
    assert_eq!(shop.get(&format!("/cheap?payment-signature={payment}"), &[]).await.status, 402);
    assert_eq!(shop.counts(), (0, 0, 0));
}

async fn every_method_can_pay_and_head_is_charged_as_get(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let payment = encoded(&shop.v2("/cheap").await);
    let head = shop.send("HEAD", "/cheap", &[("payment-signature", &payment)]).await;
    assert_eq!((head.status, head.count("payment-response"), head.body.as_str()), (200, 1, ""));
    let length = marker("/cheap").len().to_string();
    assert_eq!(head.header("content-length"), Some(length.as_str()), "as long as it would be");
    let payment = encoded(&shop.v2("/cheap").await);
    let post = shop.send("POST", "/cheap", &[("payment-signature", &payment), ("content-length", "0")]).await;
    assert_sold(&post, "/cheap");
    assert_eq!(shop.counts(), (2, 2, 2));
}

async fn a_handler_learns_of_its_payment(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let payer = chain::payer().address().to_checksum(None);
    for (payment, version) in [(shop.v2("/who").await, "V2"), (shop.v1("/who").await, "V1")] {
        let answer = shop.pay("/who", &payment).await;
        let expected = format!("{} {payer} {NETWORK} 10000 {USDC} {version} none", marker("/who"));
        assert_eq!((answer.status, answer.body), (200, expected));
    }
}

async fn a_paid_answer_is_kept_from_shared_caches(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let answer = shop.pay("/cached", &shop.v2("/cached").await).await;
    assert_sold(&answer, "/cached");
    assert_eq!(answer.header("cache-control"), Some("private, max-age=60"));
    assert_eq!(answer.count("settlement-overrides"), 0, "it is for the gate alone");
    assert_eq!(answer.count("cdn-cache-control") + answer.count("surrogate-control"), 0);
}

async fn a_payment_for_the_cheap_does_not_buy_the_dear(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    for (payment, reason) in [
        (shop.v2("/cheap").await, "no_matching_payment_requirements"),
        (shop.v1("/cheap").await, "invalid_exact_evm_authorization_value"),
    ] {
        for path in ["/dear", "/dear/7"] {
            let answer = shop.pay(path, &payment).await;
            assert_asked(&answer, reason);
            assert!(!answer.body.contains(MARKER));
        }
    }
    let mut lying = shop.v2("/cheap").await;
    lying["accepted"] = shop.offer("/dear").await["accepts"][0].clone();
    let answer = shop.pay("/dear", &lying).await;
    assert_asked(&answer, "invalid_exact_evm_payload_authorization_value_mismatch");
    assert_eq!(shop.counts(), (0, 0, 0));
}
