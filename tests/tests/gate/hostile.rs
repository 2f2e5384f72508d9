//! Headers that are no payment: refused before anybody is asked.

use std::time::{Duration, Instant};

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE},
};
use serde_json::{Value, json};
use x402_tests::{
    script::Script,
    serve::{Answer, encoded},
};

use crate::{
    harness::{Case, Stack, Wire, case},
    shop::Shop,
    support::{MARKER, assert_asked, assert_no_receipt, assert_refused, assert_sold},
};

pub const CASES: &[Case] = &[
    case!(one_payment_header_is_enough),
    case!(an_alias_of_a_header_we_read_anyway_counts_once),
    case!(what_is_not_base64_is_malformed),
    case!(what_is_not_sound_json_is_malformed),
    case!(what_is_too_large_is_refused_quickly),
    case!(json_of_another_shape_is_malformed),
    case!(an_unknown_version_is_refused_with_what_we_speak),
    case!(an_error_repeats_nothing_of_what_came),
];

/// A 400 that asks for nothing, explains itself, and repeats nothing of the payment.
#[track_caller]
pub fn assert_malformed(answer: &Answer, case: &str) {
    assert_eq!(answer.status, 400, "{case}: {answer:?}");
    assert_refused(answer, 400, "invalid_payload");
    assert!(answer.json().unwrap()["message"].as_str().is_some_and(|text| !text.is_empty()), "{case}");
    assert_eq!(answer.count("payment-required"), 0, "{case}");
    assert_no_receipt(answer);
}

async fn one_payment_header_is_enough(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let (two, one) = (encoded(&shop.v2("/cheap").await), encoded(&shop.v1("/cheap").await));
    let other = encoded(&shop.v2("/cheap").await);
    for headers in [
        &[("payment-signature", &two), ("payment-signature", &other)][..],
        &[("payment-signature", &two), ("payment-signature", &encoded(&json!(1)))],
        &[("payment-signature", &two), ("payment-signature", &two), ("payment-signature", &other)],
        &[("payment-signature", &two), ("x-payment", &one)],
        &[("x-shop-payment", &other), ("payment-signature", &two)],
        &[("x-shop-payment", &two), ("x-payment", &one)],
    ] {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = shop.get("/cheap", &headers).await;
        assert_malformed(&answer, "several headers");
        assert!(answer.body.contains("different payments"), "{answer:?}");
    }
    let empty = shop.get("/cheap", &[("payment-signature", &two), ("x-payment", "")]).await;
    assert_malformed(&empty, "an empty header");
    let joined = shop.get("/cheap", &[("payment-signature", &format!("{two}, {two}"))]).await;
    assert_malformed(&joined, "two in one header");
    assert_eq!(shop.counts(), (0, 0, 0));
    let alone = shop.get("/cheap", &[("payment-signature", &two)]).await;
    assert_sold(&alone, "/cheap");
}

async fn an_alias_of_a_header_we_read_anyway_counts_once(stack: Stack) {
    let script = Script::new();
    let shop = Shop::open_with(stack, script, |gate| {
        let name = http::HeaderName::from_static;
        gate.header_alias(name("payment-signature")).header_alias(name("x-pay")).header_alias(name("x-pay"))
    })
    .await;
    assert_sold(&shop.pay("/cheap", &shop.v2("/cheap").await).await, "/cheap");
    let payment = encoded(&shop.v2("/cheap").await);
    assert_sold(&shop.get("/cheap", &[("x-pay", &payment)]).await, "/cheap");
}

async fn what_is_not_base64_is_malformed(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let mut payment = shop.v2("/cheap").await;
    payment["extensions"] = json!({ "pad": "??>>~~" });
    for filler in "?>~".chars().cycle() {
        let header = encoded(&payment);
        if header.ends_with('=') && header.contains(['+', '/']) {
            break;
        }
        let longer = format!("{}{filler}", payment["extensions"]["pad"].as_str().unwrap());
        payment["extensions"]["pad"] = longer.into();
    }
    let text = payment.to_string();
    let good = encoded(&payment);
    for (case, header) in [
        ("empty", String::new()),
        ("url-safe", BASE64_URL_SAFE.encode(&text)),
        ("JSON as it is", text.clone()),
        ("a space within", format!("{} {}", &good[..20], &good[20..])),
        ("one letter short", good[1..].to_owned()),
        ("too much padding", format!("{good}=")),
        ("words", "null".to_owned() + "!"),
        ("hex", "0xdeadbeef".to_owned()),
    ] {
        let answer = shop.get("/cheap", &[("payment-signature", &header)]).await;
        assert_malformed(&answer, case);
        assert!(!answer.body.contains(&good[..16]), "{case}");
    }
    for byte in [0x80_u8, 0xff, 0xc3, b'\t', b'"'] {
        let mut request =
            b"GET /cheap HTTP/1.1\r\nhost: x\r\nconnection: close\r\npayment-signature: ".to_vec();
        request.extend_from_slice(&good.as_bytes()[..20]);
        request.push(byte);
        request.extend_from_slice(&good.as_bytes()[20..]);
        request.extend_from_slice(b"\r\n\r\n");
        assert_malformed(&shop.serving.raw(&request).await.unwrap(), &format!("byte {byte}"));
    }
    assert_eq!(shop.counts(), (0, 0, 0));
    assert_sold(&shop.pay("/cheap", &payment).await, "/cheap");
}

async fn what_is_not_sound_json_is_malformed(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let good = shop.v2("/cheap").await.to_string();
    let twice = |find: &str, insert: &str| good.replacen(find, &format!("{insert}{find}"), 1);
    let mut not_utf8 = good.clone().into_bytes();
    let at = good.find("exact").unwrap();
    not_utf8[at] = 0xff;
    let deep = |depth: usize| {
        let more = format!(r#"{{"more":{}{},"#, "[".repeat(depth), "]".repeat(depth));
        good.replacen('{', &more, 1)
    };
    for (case, bytes) in [
        ("not UTF-8", not_utf8),
        ("two objects", format!("{good}{good}").into_bytes()),
        ("text behind", format!("{good}x").into_bytes()),
        ("cut off", good.as_bytes()[..good.len() - 1].to_vec()),
        ("a comma too many", good.replacen("}", ",}", 1).into_bytes()),
        ("deep", deep(40).into_bytes()),
        ("deeper", deep(5_000).into_bytes()),
        ("the version twice", twice("\"x402Version\"", "\"x402Version\":2,").into_bytes()),
        ("another version", twice("\"x402Version\"", "\"x402Version\":1,").into_bytes()),
        ("the amount twice", twice("\"amount\"", "\"amount\":\"1\",").into_bytes()),
        ("an escaped amount", twice("\"amount\"", "\"\\u0061mount\":\"1\",").into_bytes()),
        ("the nonce twice", twice("\"nonce\"", "\"nonce\":\"0x00\",").into_bytes()),
        ("the domain twice", twice("\"version\"", "\"version\":\"2\",").into_bytes()),
        ("the signature twice", twice("\"signature\"", "\"signature\":\"0x\",").into_bytes()),
        ("an infinite number", br#"{"x402Version":1e999}"#.to_vec()),
        ("nothing", Vec::new()),
        ("a byte order mark", [b"\xef\xbb\xbf", good.as_bytes()].concat()),
    ] {
        let header = BASE64_STANDARD.encode(&bytes);
        let answer = shop.get("/cheap", &[("payment-signature", &header)]).await;
        assert_malformed(&answer, case);
    }
    assert_eq!(shop.counts(), (0, 0, 0));
}

async fn what_is_too_large_is_refused_quickly(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let mut payment = shop.v2("/cheap").await;
    payment["extensions"] = json!({ "fill": "" });
    let room = 16 * 1024 - encoded(&payment).len();
    payment["extensions"]["fill"] = "x".repeat(room / 4 * 3 + 16).into();
    assert!(encoded(&payment).len() > 16 * 1024);
    let begun = Instant::now();
    // In HTTP/2, and in actix-web, servers take little more than that of all headers together.
    let taken = |answer: &Answer| answer.status != 431;
    let never_read = |refused: &anyhow::Result<Answer>| match refused {
        Ok(answer) => answer.body.is_empty(),
        Err(_) => stack.wire == Wire::Http2,
    };
    let send = async |header: &str| shop.serving.get("/cheap", &[("payment-signature", header)]).await;
    match send(&encoded(&payment)).await {
        Ok(answer) if taken(&answer) => {
            assert_malformed(&answer, "above 16 KiB");
            assert!(answer.body.contains("16384"), "{answer:?}");
        }
        refused => assert!(never_read(&refused), "{refused:?}"),
    }
    for hostile in [
        format!("[{}0]", "0,".repeat(6_000)),
        format!(r#"{{"x402Version":2,"accepted":{}{{}}]}}"#, "[{},".to_owned() + &"{},".repeat(3_000)),
        format!("[{}0]", "0,".repeat(60_000)),
    ] {
        match send(&BASE64_STANDARD.encode(hostile)).await {
            Ok(answer) if taken(&answer) => assert_malformed(&answer, "a huge array"),
            refused => assert!(never_read(&refused), "{refused:?}"),
        }
    }
    // Beyond what the server takes of headers at all; it may hang up while we still send.
    let megabyte = "A".repeat(1_000_000);
    if let Ok(answer) = send(&megabyte).await {
        assert!([400, 431].contains(&answer.status), "{}", answer.status);
        assert!(!answer.body.contains(MARKER));
    }
    assert!(begun.elapsed() < Duration::from_secs(30), "took {:?}", begun.elapsed());
    assert_eq!(shop.counts(), (0, 0, 0));
    // Just short of it, where the server has room for the rest of the headers.
    let room = if stack.wire == Wire::Http1 { room } else { room / 2 };
    payment["extensions"]["fill"] = "x".repeat(room / 4 * 3 - 16).into();
    assert_sold(&shop.pay("/cheap", &payment).await, "/cheap");
}

async fn json_of_another_shape_is_malformed(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let good = shop.v2("/cheap").await;
    let fields = good.as_object().unwrap();
    let without = |key: &str| {
        let mut fields = fields.clone();
        fields.remove(key);
        Value::Object(fields)
    };
    let with = |key: &str, value: Value| {
        let mut payment = good.clone();
        payment[key] = value;
        payment
    };
    let values = |value: &Value| -> Value { value.as_object().unwrap().values().cloned().collect() };
    for (case, payment) in [
        ("null", Value::Null),
        ("a number", json!(2)),
        ("a text", json!("payment")),
        ("true", json!(true)),
        ("an array", json!([good])),
        ("nothing in it", json!({})),
        ("no version", without("x402Version")),
        ("no accepted", without("accepted")),
        ("no payload", without("payload")),
        ("version null", with("x402Version", Value::Null)),
        ("version in quotes", with("x402Version", json!("2"))),
        ("version with a point", with("x402Version", json!(2.0))),
        ("a version and a half", with("x402Version", json!(1.5))),
        ("version below zero", with("x402Version", json!(-1))),
        ("version in an array", with("x402Version", json!([2]))),
        ("accepted null", with("accepted", Value::Null)),
        ("accepted empty", with("accepted", json!({}))),
        ("accepted a list", with("accepted", json!([good["accepted"]]))),
        ("accepted without names", with("accepted", values(&good["accepted"]))),
        ("payload null", with("payload", Value::Null)),
        ("payload a text", with("payload", json!("0x00"))),
        ("payload empty", with("payload", json!({}))),
        ("version 1 around version 2", with("x402Version", json!(1))),
    ] {
        assert_malformed(&shop.pay("/cheap", &payment).await, case);
    }
    assert_eq!(shop.counts(), (0, 0, 0));
}

async fn an_unknown_version_is_refused_with_what_we_speak(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let mut payment = shop.v2("/cheap").await;
    for version in [0_u64, 3, 4_294_967_298, u64::MAX] {
        payment["x402Version"] = version.into();
        let answer = shop.pay("/cheap", &payment).await;
        assert_asked(&answer, "invalid_x402_version");
        assert!(answer.body.contains("use 1 or 2"), "{answer:?}");
    }
    assert_eq!(shop.counts(), (0, 0, 0));
}

async fn an_error_repeats_nothing_of_what_came(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let good = shop.v2("/cheap").await;
    let secret = good["payload"]["signature"].clone();
    let piece = secret.as_str().unwrap()[..24].to_owned();
    let places = [
        "/x402Version",
        "/accepted",
        "/accepted/scheme",
        "/accepted/network",
        "/accepted/amount",
        "/accepted/asset",
        "/accepted/payTo",
        "/accepted/maxTimeoutSeconds",
        "/accepted/extra",
        "/payload",
        "/payload/authorization",
        "/payload/authorization/value",
        "/payload/authorization/validAfter",
        "/payload/authorization/nonce",
        "/resource",
        "/resource/url",
        "/resource/tags",
        "/extensions",
    ];
    for place in places {
        for shape in [secret.clone(), json!([secret]), json!({ piece.as_str(): secret })] {
            let mut payment = good.clone();
            payment["resource"]["tags"] = json!([]);
            payment["extensions"] = json!({});
            *payment.pointer_mut(place).unwrap() = shape;
            let answer = shop.pay("/cheap", &payment).await;
            let offer = answer.decoded("payment-required").unwrap_or_default();
            let said = format!("{answer:?}{offer}");
            assert!(!said.contains(&piece), "{place}: {said}");
        }
    }
}
