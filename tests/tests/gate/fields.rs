//! One field changed at a time: what differs from the offer is refused before anybody is asked.

use serde_json::{Value, json};
use x402_tests::script::Script;

use crate::{
    harness::{Case, Stack, case},
    hostile::assert_malformed,
    shop::Shop,
    support::{NETWORK_V1, assert_asked, assert_no_receipt, assert_refused, assert_sold},
};

pub const CASES: &[Case] = &[
    case!(every_field_of_what_was_accepted_counts),
    case!(every_field_version_1_names_counts),
    case!(every_field_of_what_was_signed_counts),
    case!(arrays_do_not_stand_in_for_objects),
];

const NO_MATCH: &str = "no_matching_payment_requirements";
const STRANGER: &str = "0x90F79bf6EB2c4f870365E785982E1f101E93b906";

/// What an altered payment meets.
enum Met {
    /// 400.
    Malformed,
    /// 402 with this code.
    Refused(&'static str),
    /// The payment is still the same: 200.
    Same,
}
use Met::{Malformed, Refused, Same};

/// Sends a fresh payment with this one field set, or removed.
async fn alter(shop: &Shop, payment: Value, pointer: &str, value: Option<Value>, met: &Met) {
    let mut altered = payment.clone();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let object = altered.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    let case = format!("{pointer} = {value:?}");
    match value.clone() {
        Some(value) => object.insert(key.to_owned(), value),
        None => object.remove(key),
    };
    let before = shop.counts();
    let path = "/cheap";
    let answer = shop.pay(path, &altered).await;
    match met {
        Malformed => assert_malformed(&answer, &case),
        Refused(reason) => {
            assert_eq!(answer.status, 402, "{case}: {answer:?}");
            assert_refused(&answer, 402, reason);
            if payment["x402Version"] == 2 {
                assert_asked(&answer, reason);
            }
        }
        Same => assert_eq!(answer.status, 200, "{case}: {answer:?}"),
    }
    if !matches!(met, Same) {
        assert_eq!(shop.counts(), before, "{case}: somebody was asked");
        assert_no_receipt(&answer);
        let said = format!("{}{:?}", answer.body, answer.decoded("payment-required").ok());
        for secret in ["/payload/signature", "/payload/authorization/nonce"] {
            let secret = payment.pointer(secret).unwrap().as_str().unwrap();
            assert!(!said.contains(&secret[..20]), "{case}: {said}");
        }
        if let Some(Value::String(text)) =
            value.filter(|value| value.as_str().is_some_and(|text| text.len() > 8))
        {
            let known = [NETWORK_V1, NO_MATCH].contains(&text.as_str());
            assert!(known || answer.status != 400 || !said.contains(&text), "{case}: {said}");
        }
    }
}

async fn every_field_of_what_was_accepted_counts(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let no_match = || Refused(NO_MATCH);
    let offer = shop.offer("/cheap").await;
    let lower = |key: &str| json!(offer["accepts"][0][key].as_str().unwrap().to_lowercase());
    for (field, value, met) in [
        ("scheme", json!("upto"), no_match()),
        ("scheme", json!("Exact"), no_match()),
        ("scheme", json!(""), no_match()),
        ("scheme", json!(1), Malformed),
        ("network", json!("eip155:8453"), no_match()),
        ("network", json!("eip155:084532"), no_match()),
        ("network", json!("EIP155:84532"), Malformed),
        ("network", json!(NETWORK_V1), Malformed),
        ("network", json!("eip155:*"), Malformed),
        ("network", json!(84532), Malformed),
        ("amount", json!("9999"), no_match()),
        ("amount", json!("10001"), no_match()),
        ("amount", json!("0"), no_match()),
        ("amount", json!("010000"), Malformed),
        ("amount", json!("1e4"), Malformed),
        ("amount", json!("-10000"), Malformed),
        ("amount", json!("0x2710"), Malformed),
        ("amount", json!(" 10000"), Malformed),
        ("amount", json!("10000.0"), Malformed),
        ("amount", json!(10000), Malformed),
        ("amount", json!(-1), Malformed),
        ("amount", json!("9".repeat(79)), Malformed),
        ("asset", json!(STRANGER), no_match()),
        ("asset", json!(""), Malformed),
        ("asset", json!("with a space in it"), Malformed),
        ("asset", lower("asset"), Same),
        ("payTo", json!(STRANGER), no_match()),
        ("payTo", json!(["a"]), Malformed),
        ("payTo", lower("payTo"), Same),
        ("maxTimeoutSeconds", json!(299), no_match()),
        ("maxTimeoutSeconds", json!(301), no_match()),
        ("maxTimeoutSeconds", json!(0), no_match()),
        ("maxTimeoutSeconds", json!(300.0), Malformed),
        ("maxTimeoutSeconds", json!("300"), Malformed),
        ("maxTimeoutSeconds", json!(-300), Malformed),
        ("extra", json!({}), no_match()),
        ("extra", Value::Null, no_match()),
        ("extra", json!([]), Malformed),
        ("extra", json!("USDC"), Malformed),
        ("extra/name", json!("USD Coin"), no_match()),
        ("extra/name", json!("usdc"), no_match()),
        ("extra/name", Value::Null, no_match()),
        ("extra/version", json!("1"), no_match()),
        ("extra/version", json!(2), no_match()),
        ("extra/version", Value::Null, no_match()),
        ("extra/more", json!({ "added": ["by", "the client"] }), Same),
        ("more", json!("is ignored"), Same),
    ] {
        let payment = shop.v2("/cheap").await;
        alter(&shop, payment, &format!("/accepted/{field}"), Some(value), &met).await;
    }
    for field in ["scheme", "network", "amount", "asset", "payTo", "maxTimeoutSeconds"] {
        let pointer = format!("/accepted/{field}");
        alter(&shop, shop.v2("/cheap").await, &pointer, Some(Value::Null), &Malformed).await;
        alter(&shop, shop.v2("/cheap").await, &pointer, None, &Malformed).await;
    }
    for field in ["extra", "extra/name", "extra/version"] {
        alter(&shop, shop.v2("/cheap").await, &format!("/accepted/{field}"), None, &no_match()).await;
    }
}

async fn every_field_version_1_names_counts(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    for (field, value, met) in [
        ("scheme", json!("upto"), Refused(NO_MATCH)),
        ("scheme", Value::Null, Malformed),
        ("scheme", json!(["exact"]), Malformed),
        ("network", json!("base"), Refused(NO_MATCH)),
        ("network", json!("eip155:84532"), Refused(NO_MATCH)),
        ("network", json!("Base-Sepolia"), Refused(NO_MATCH)),
        ("network", json!("a network that nobody has ever heard of"), Refused(NO_MATCH)),
        ("network", json!(84532), Malformed),
        ("network", Value::Null, Malformed),
        ("payload", Value::Null, Malformed),
        ("more", json!("is ignored"), Same),
    ] {
        alter(&shop, shop.v1("/cheap").await, &format!("/{field}"), Some(value), &met).await;
    }
    for field in ["scheme", "network", "payload"] {
        alter(&shop, shop.v1("/cheap").await, &format!("/{field}"), None, &Malformed).await;
    }
}

async fn every_field_of_what_was_signed_counts(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let word = |digits: usize| json!(format!("0x{}", "a".repeat(digits)));
    let texts = ["from", "to", "value", "validAfter", "validBefore", "nonce"];
    for v1 in [false, true] {
        let fresh = async || if v1 { shop.v1("/cheap").await } else { shop.v2("/cheap").await };
        let value_mismatch = match v1 {
            true => "invalid_exact_evm_authorization_value",
            false => "invalid_exact_evm_payload_authorization_value_mismatch",
        };
        for (field, value, met) in [
            ("value", json!("9999"), Refused(value_mismatch)),
            ("value", json!("10001"), Refused(value_mismatch)),
            ("value", json!("0"), Refused(value_mismatch)),
            ("value", json!("010000"), Malformed),
            ("value", json!("0x2710"), Malformed),
            ("value", json!("-1"), Malformed),
            ("to", json!(STRANGER), Refused("invalid_exact_evm_recipient_mismatch")),
            ("to", word(39), Malformed),
            ("to", word(38), Malformed),
            ("to", word(42), Malformed),
            ("to", json!("209693Bc6afc0C5328bA36FaF03C514EF312287C"), Malformed),
            ("to", json!("0X209693Bc6afc0C5328bA36FaF03C514EF312287C"), Malformed),
            ("to", json!("0x209693Bc6afc0C5328bA36FaF03C514EF312287C "), Malformed),
            ("to", json!("0xZ09693Bc6afc0C5328bA36FaF03C514EF312287C"), Malformed),
            ("from", word(39), Malformed),
            ("from", word(64), Malformed),
            ("nonce", word(63), Malformed),
            ("nonce", word(62), Malformed),
            ("nonce", word(66), Malformed),
            ("nonce", json!("a".repeat(64)), Malformed),
            ("validAfter", json!("0x0"), Malformed),
            ("validAfter", json!("1.5"), Malformed),
            ("validAfter", json!("00"), Malformed),
            ("validBefore", json!("soon"), Malformed),
            ("validBefore", json!("9".repeat(80)), Malformed),
        ] {
            alter(&shop, fresh().await, &format!("/payload/authorization/{field}"), Some(value), &met).await;
        }
        for field in texts {
            let pointer = format!("/payload/authorization/{field}");
            for wrong in [Value::Null, json!(1), json!(true), json!([]), json!({}), json!("")] {
                alter(&shop, fresh().await, &pointer, Some(wrong), &Malformed).await;
            }
            alter(&shop, fresh().await, &pointer, None, &Malformed).await;
        }
        for wrong in [Value::Null, json!(1), json!(""), json!("0x1"), json!("0xzz"), json!("ab"), json!([])] {
            alter(&shop, fresh().await, "/payload/signature", Some(wrong), &Malformed).await;
        }
        for wrong in [Value::Null, json!("0x"), json!([]), json!({})] {
            alter(&shop, fresh().await, "/payload/authorization", Some(wrong), &Malformed).await;
        }
        alter(&shop, fresh().await, "/payload/signature", None, &Malformed).await;
        alter(&shop, fresh().await, "/payload/authorization", None, &Malformed).await;
    }
}

async fn arrays_do_not_stand_in_for_objects(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let payment = shop.v2("/cheap").await;
    let signed = &payment["payload"]["authorization"];
    let order = ["from", "to", "value", "validAfter", "validBefore", "nonce"];
    let unnamed: Value = order.iter().map(|key| signed[*key].clone()).collect();
    let whole = json!([payment["payload"]["signature"], signed]);
    alter(&shop, payment.clone(), "/payload/authorization", Some(unnamed), &Malformed).await;
    let accepted = &payment["accepted"];
    let order = ["scheme", "network", "amount", "asset", "payTo", "maxTimeoutSeconds", "extra"];
    let unnamed: Value = order.iter().map(|key| accepted[*key].clone()).collect();
    for (key, value) in [("accepted", unnamed), ("payload", whole)] {
        let mut altered = payment.clone();
        altered[key] = value;
        assert_malformed(&shop.pay("/cheap", &altered).await, key);
    }
    assert_eq!(shop.counts(), (0, 0, 0));
    assert_sold(&shop.pay("/cheap", &payment).await, "/cheap");
}
