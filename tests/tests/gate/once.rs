//! One payment buys one answer.

use serde_json::Value;
use x402_tests::{
    script::{Act, Script},
    serve::{Answer, encoded},
};

use crate::{
    harness::{Case, Stack, case},
    shop::Shop,
    support::{MARKER, assert_refused, assert_sold, assert_spent, header_of},
};

pub const CASES: &[Case] = &[
    case!(a_payment_in_flight_is_refused_elsewhere_and_not_asked_again),
    case!(sixty_four_at_once_buy_once).http1().threads(),
    case!(a_spent_payment_buys_nothing_more_anywhere),
    case!(a_payment_spent_in_one_version_is_spent_in_the_other),
    case!(other_bytes_make_no_other_payment),
    case!(other_bytes_make_no_other_payment_in_flight_either),
];

async fn a_payment_in_flight_is_refused_elsewhere_and_not_asked_again(stack: Stack) {
    let shop = Shop::open(stack, Script::new().on_verify([Act::Wait, Act::Yes])).await;
    let payment = shop.v2("/cheap").await;
    let (first, ()) = tokio::join!(shop.pay("/cheap", &payment), async {
        shop.script.verify_begun(1).await;
        for path in ["/cheap", "/twin", "/first"] {
            let answer = shop.pay(path, &payment).await;
            assert_refused(&answer, 409, "payment_in_progress");
            assert!(answer.header("retry-after").is_some());
            assert_eq!(answer.count("payment-required"), 0, "it must not be paid again");
        }
        shop.script.let_go();
    });
    assert_sold(&first, "/cheap");
    assert_eq!(shop.counts(), (1, 1, 1));
}

#[allow(clippy::print_stdout)]
async fn sixty_four_at_once_buy_once(stack: Stack) {
    let shop = Shop::open(stack, Script::new().on_verify([Act::Dawdle]).on_settle([Act::Dawdle])).await;
    let ways = [("/cheap", false), ("/first", false), ("/cheap", true)];
    for (round, (path, v1)) in ways.into_iter().cycle().take(races()).enumerate() {
        let payment = if v1 { shop.v1(path).await } else { shop.v2(path).await };
        let before = shop.counts();
        let request = shop.serving.request("GET", path, &[(header_of(&payment), &encoded(&payment))]);
        let mut connections = Vec::new();
        for _ in 0..64 {
            connections.push(shop.serving.connect(&request.as_bytes()[..request.len() - 1]).await.unwrap());
        }
        let mut answers = tokio::task::JoinSet::new();
        for mut connection in connections {
            answers.spawn(async move {
                use tokio::io::{AsyncReadExt, AsyncWriteExt};
                connection.write_all(b"\n").await.unwrap();
                let mut bytes = Vec::new();
                connection.read_to_end(&mut bytes).await.unwrap();
                Answer::parse(&bytes).unwrap()
            });
        }
        let answers = answers.join_all().await;
        let count = |status: u16| answers.iter().filter(|answer| answer.status == status).count();
        assert_eq!((count(200), count(409) + count(402)), (1, 63), "round {round}");
        assert_eq!(answers.iter().filter(|answer| answer.body.contains(MARKER)).count(), 1);
        let after = shop.counts();
        assert_eq!((after.0 - before.0, after.1 - before.1, after.2 - before.2), (1, 1, 1));
    }
    let (runs, _, settled) = shop.counts();
    println!(
        "concurrency, {}: {} rounds of 64: {} grants, {runs} handler runs, {settled} settlements, 0 double grants",
        stack.framework.name(),
        races(),
        races()
    );
}

/// How many payments come 64 times at once.
fn races() -> usize {
    if std::env::var_os("X402_NIGHTLY").is_some() { 200 } else { 36 }
}

async fn a_spent_payment_buys_nothing_more_anywhere(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    for v1 in [false, true] {
        let payment = if v1 { shop.v1("/cheap").await } else { shop.v2("/cheap").await };
        assert_eq!(shop.pay("/cheap", &payment).await.status, 200);
        let counts = shop.counts();
        for path in ["/cheap", "/twin", "/first", "/stream", "/cheap?again"] {
            assert_spent(&shop.pay(path, &payment).await);
        }
        assert_eq!(shop.counts(), counts, "nobody was asked");
    }
}

async fn a_payment_spent_in_one_version_is_spent_in_the_other(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let two = shop.v2("/cheap").await;
    let mut one = shop.v1("/cheap").await;
    one["payload"] = two["payload"].clone();
    assert_sold(&shop.pay("/cheap", &two).await, "/cheap");
    assert_spent(&shop.pay("/cheap", &one).await);
    assert_eq!(shop.counts(), (1, 1, 1));
}

/// The same payment in other bytes.
fn variants(payment: &Value) -> Vec<(&'static str, Value)> {
    let recase = |pointer: &str, upper: bool| {
        let mut variant = payment.clone();
        let text = variant.pointer_mut(pointer).unwrap();
        let digits = &text.as_str().unwrap()[2..];
        let digits = if upper { digits.to_uppercase() } else { digits.to_lowercase() };
        *text = format!("0x{digits}").into();
        variant
    };
    let mut more = payment.clone();
    more["payload"]["authorization"]["more"] = 1.into();
    more["payload"]["more"] = "ignored".into();
    let mut other_signature = payment.clone();
    other_signature["payload"]["signature"] = format!("0x{}", "cd".repeat(65)).into();
    let mut other_terms = payment.clone();
    other_terms["payload"]["authorization"]["validBefore"] = "99999999999".into();
    let mut resource = payment.clone();
    resource["resource"] = Value::Null;
    resource["extensions"] = serde_json::json!({ "a": 1 });
    vec![
        ("nonce in capitals", recase("/payload/authorization/nonce", true)),
        ("payer in capitals", recase("/payload/authorization/from", true)),
        ("payer in small letters", recase("/payload/authorization/from", false)),
        ("payee in small letters", recase("/payload/authorization/to", false)),
        ("token in capitals", recase("/accepted/asset", true)),
        ("signature in capitals", recase("/payload/signature", true)),
        ("more fields", more),
        ("another signature", other_signature),
        ("another end", other_terms),
        ("another resource", resource),
    ]
}

async fn other_bytes_make_no_other_payment(stack: Stack) {
    let shop = Shop::open(stack, Script::new()).await;
    let payment = shop.v2("/cheap").await;
    assert_sold(&shop.pay("/cheap", &payment).await, "/cheap");
    for (case, variant) in variants(&payment) {
        let answer = shop.pay("/cheap", &variant).await;
        assert_eq!(answer.json().unwrap()["error"], "duplicate_settlement", "{case}: {answer:?}");
    }
    for text in [reordered(&payment), serde_json::to_string_pretty(&payment).unwrap()] {
        use base64::{Engine, prelude::BASE64_STANDARD};
        let header = BASE64_STANDARD.encode(text);
        assert_spent(&shop.get("/cheap", &[("payment-signature", &header)]).await);
    }
    assert_eq!(shop.counts(), (1, 1, 1));
}

/// The same JSON, its keys in the opposite order.
fn reordered(value: &Value) -> String {
    match value {
        Value::Object(object) => {
            let fields = object.iter().rev();
            let fields: Vec<_> = fields
                .map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), reordered(value)))
                .collect();
            format!("{{{}}}", fields.join(","))
        }
        other => other.to_string(),
    }
}

async fn other_bytes_make_no_other_payment_in_flight_either(stack: Stack) {
    for index in 0..10 {
        let shop = Shop::open(stack, Script::new().on_settle([Act::Wait, Act::Yes])).await;
        let payment = shop.v2("/cheap").await;
        let (case, variant) = variants(&payment).swap_remove(index);
        let (first, second) = tokio::join!(shop.pay("/cheap", &payment), async {
            shop.script.settle_begun(1).await;
            let second = shop.pay("/cheap", &variant).await;
            shop.script.let_go();
            second
        });
        assert_sold(&first, "/cheap");
        assert_eq!(second.status, 409, "{case}");
        assert_eq!(shop.counts(), (1, 1, 1), "{case}");
    }
}
