//! A facilitator over HTTP that misbehaves: nothing is given away, and the shop recovers when it behaves.

use axum::Router;
use x402_tests::{
    script::HASH,
    serve::{Answer, Counter, Serving, encoded},
};

use crate::{
    far::{Behave, Drip, Far, Flood, Hang, RedirectTo, Reply, Say},
    harness::{Case, Stack, case},
    support::{MARKER, NETWORK, assert_refused, assert_sold, sign_v2},
};

pub const CASES: &[Case] = &[
    case!(a_verification_that_is_no_yes_is_none),
    case!(a_settlement_that_is_no_yes_is_none_and_the_same_payment_can_ask_again),
    case!(a_redirect_is_not_followed),
    case!(a_facilitator_that_is_down_is_a_503_and_costs_nothing),
    case!(what_a_facilitator_says_injects_no_header),
    case!(a_shop_whose_facilitator_cannot_tell_what_it_supports_waits_and_recovers),
];

/// Bodies that are no answer, or none that says yes.
fn garbage(key: &str, more: &str) -> Vec<Reply> {
    let values = [r#""true""#, "1", "null", "[]", "{}", r#""false""#, "0", "1.0", "[true]"];
    let mut replies: Vec<_> =
        values.iter().map(|value| Say(200, format!(r#"{{"{key}":{value}{more}}}"#))).collect();
    replies.extend([
        Say(200, "{}".to_owned()),
        Say(200, String::new()),
        Say(200, "true".to_owned()),
        Say(200, "null".to_owned()),
        Say(200, format!("[{{\"{key}\":true{more}}}]")),
        Say(200, format!(r#"{{"{key}":false,"{key}":true{more}}}"#)),
        Say(200, format!(r#"{{"{}":true{more}}}"#, key.to_uppercase())),
        Say(200, "<!doctype html><title>200 OK</title>".to_owned()),
        Say(200, "[".repeat(20_000)),
        Say(500, format!(r#"{{"{key}":true{more}}}"#)),
        Say(502, "<html>bad gateway</html>".to_owned()),
        Flood,
        Drip,
        Hang,
    ]);
    replies
}

#[track_caller]
fn assert_nothing_given(answer: &Answer, case: &Reply) {
    assert!([502, 503].contains(&answer.status), "{case:?}: {answer:?}");
    assert!(!answer.body.contains(MARKER), "{case:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.count("payment-required") + answer.count("payment-response"), 0, "{case:?}");
}

async fn a_verification_that_is_no_yes_is_none(stack: Stack) {
    let far = Far::open(stack).await;
    let payment = far.payment().await;
    for case in garbage("isValid", "") {
        far.reply(&case, &Behave);
        assert_nothing_given(&far.pay(&payment).await, &case);
        assert_eq!((far.visits.get(), far.settled.get()), (0, 0), "{case:?}");
    }
    far.reply(&Say(200, r#"{"isValid":false,"invalidReason":"insufficient_funds"}"#.to_owned()), &Behave);
    assert_refused(&far.pay(&payment).await, 402, "insufficient_funds");
    far.reply(&Behave, &Behave);
    assert_sold(&far.pay(&payment).await, "/cheap");
}

async fn a_settlement_that_is_no_yes_is_none_and_the_same_payment_can_ask_again(stack: Stack) {
    let far = Far::open(stack).await;
    let more = format!(r#","transaction":"{HASH}","network":"{NETWORK}""#);
    let mut cases = garbage("success", &more);
    cases.extend([
        Say(200, r#"{"success":true}"#.to_owned()),
        Say(200, format!(r#"{{"success":true,"transaction":"","network":"{NETWORK}"}}"#)),
        Say(200, format!(r#"{{"success":true,"transaction":"a\r\nb: c","network":"{NETWORK}"}}"#)),
        Say(200, format!(r#"{{"success":true,"transaction":"{HASH}","network":"eip155:1"}}"#)),
        Say(200, format!(r#"{{"success":true,"transaction":"{HASH}"}}"#)),
    ]);
    for case in cases {
        let payment = far.payment().await;
        let before = far.counts();
        far.reply(&Behave, &case);
        let answer = far.pay(&payment).await;
        assert_nothing_given(&answer, &case);
        assert_eq!(answer.json().unwrap()["error"], "settlement_pending", "{case:?}");
        far.reply(&Behave, &Behave);
        assert_sold(&far.pay(&payment).await, "/cheap");
        let after = far.counts();
        // What a gateway may have said is asked again at once.
        let asked = if matches!(&case, Say(500.., body) if !body.contains("success")) { 4 } else { 2 };
        assert_eq!((after.1 - before.1, after.2 - before.2), (1, asked), "{case:?}: verified once");
    }
    let payment = far.payment().await;
    far.reply(
        &Behave,
        &Say(
            200,
            r#"{"success":false,"errorReason":"insufficient_funds","transaction":"","network":""}"#
                .to_owned(),
        ),
    );
    assert_refused(&far.pay(&payment).await, 402, "insufficient_funds");
    far.reply(&Behave, &Behave);
    assert_sold(&far.pay(&payment).await, "/cheap");
}

async fn a_redirect_is_not_followed(stack: Stack) {
    let far = Far::open(stack).await;
    let seen = Counter::default();
    let evil = {
        let seen = seen.clone();
        Serving::start(Router::new().fallback(async move || {
            seen.count();
            r#"{"isValid":true,"success":true}"#
        }))
        .await
        .unwrap()
    };
    let redirect = RedirectTo(evil.url("/verify"));
    let payment = far.payment().await;
    far.reply(&redirect, &Behave);
    assert_nothing_given(&far.pay(&payment).await, &redirect);
    far.reply(&Behave, &redirect);
    assert_nothing_given(&far.pay(&payment).await, &redirect);
    assert_eq!(seen.get(), 0, "the other server saw the payment");
    far.reply(&Behave, &Behave);
    assert_sold(&far.pay(&payment).await, "/cheap");
}

async fn a_facilitator_that_is_down_is_a_503_and_costs_nothing(stack: Stack) {
    let Far { facilitator, shop, gate, visits, .. } = Far::open(stack).await;
    let answer = shop.get("/cheap", &[]).await.unwrap();
    let payment = sign_v2(&answer.decoded("payment-required").unwrap(), 0).await;
    let address = facilitator.address;
    drop(facilitator);
    // Gone when its port takes no more connections.
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let header = encoded(&payment);
    let answer = shop.get("/cheap", &[("payment-signature", &header)]).await.unwrap();
    assert!([502, 503].contains(&answer.status), "{answer:?}");
    assert_refused(&answer, answer.status, "facilitator_unavailable");
    assert_eq!(visits.get(), 0);
    assert_eq!(shop.get("/cheap", &[]).await.unwrap().status, 402, "unpaid requests are told as before");
    drop(gate);
}

async fn what_a_facilitator_says_injects_no_header(stack: Stack) {
    let far = Far::open(stack).await;
    let payment = far.payment().await;
    let reason = r#"x\r\nset-cookie: a=b\r\n\r\n<script>"#;
    far.reply(
        &Say(200, format!(r#"{{"isValid":false,"invalidReason":"{reason}","invalidMessage":"{reason}"}}"#)),
        &Behave,
    );
    let answer = far.pay(&payment).await;
    assert_eq!((answer.status, answer.count("set-cookie")), (402, 0));
    far.reply(
        &Behave,
        &Say(200, format!(r#"{{"success":false,"errorReason":"{reason}","errorMessage":"{reason}"}}"#)),
    );
    let answer = far.pay(&payment).await;
    assert_eq!((answer.status, answer.count("set-cookie")), (402, 0), "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
}

async fn a_shop_whose_facilitator_cannot_tell_what_it_supports_waits_and_recovers(stack: Stack) {
    let mut shops = tokio::task::JoinSet::new();
    for case in [
        RedirectTo("https://elsewhere.example/supported".to_owned()),
        Say(308, String::new()),
        Say(429, "slow down".to_owned()),
        Say(200, String::new()),
        Say(200, "{}".to_owned()),
        Say(200, "<!doctype html>".to_owned()),
        Say(500, "{}".to_owned()),
        Flood,
        Drip,
        Hang,
    ] {
        shops.spawn(async move {
            let far = Far::early(stack, [case.clone(), case.clone(), case.clone()]).await;
            let answer = far.shop.get("/cheap", &[]).await.unwrap();
            assert_refused(&answer, 503, "payment_unavailable");
            assert!(answer.header("retry-after").is_some(), "{case:?}");
            far.gate.ready().await.unwrap();
            assert_sold(&far.pay(&far.payment().await).await, "/cheap");
            assert_eq!(far.counts(), (1, 1, 1), "{case:?}");
        });
    }
    shops.join_all().await;
}
