//! A remote facilitator over real sockets, and everything it may answer.
#![cfg(feature = "remote")]
#![allow(clippy::unwrap_used, reason = "a test that fails")]

mod common;

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    http::{HeaderMap, Response},
};
use common::{PAYER, always, answer, nowhere, payment, payment_of, raw_server, server};
use serde_json::json;
use x402_core::{
    facilitator::{Facilitator, FacilitatorErrorKind as Kind, SettleRequest, SettlementKey},
    network::{ARBITRUM, BASE_SEPOLIA},
    payment::{SettleResponse, VerifyResponse, Version},
};
use x402_facilitator::{
    RemoteFacilitator,
    remote::{AuthProvider, BoxError, Endpoint, MAX_ANSWER_BYTES},
};

fn remote(url: &str) -> RemoteFacilitator {
    RemoteFacilitator::new(url).unwrap()
}

fn impatient(url: &str) -> RemoteFacilitator {
    let short = Duration::from_millis(200);
    RemoteFacilitator::builder(url)
        .supported_timeout(short)
        .verify_timeout(short)
        .settle_timeout(short)
        .build()
        .unwrap()
}

#[tokio::test]
async fn good_answers_are_understood() {
    let (url, log) = server(|asked, _| async move {
        let body = match asked.path.as_str() {
            "/x/supported" => json!({
                "kinds": [
                    { "x402Version": 2, "scheme": "exact", "network": "eip155:84532", "extra": null },
                    { "x402Version": 1, "scheme": "exact", "network": "base-sepolia" },
                    { "x402Version": 9, "scheme": "new", "network": "mars" },
                ],
                "extensions": ["bazaar"],
                "signers": { "eip155:*": [PAYER] },
            }),
            "/x/verify" => json!({ "isValid": true, "payer": PAYER, "extra": { "more": 1 } }),
            _ => {
                json!({ "success": true, "transaction": "0xabc", "network": "base-sepolia", "payer": PAYER })
            }
        };
        answer(200, body.to_string())
    })
    .await;
    let facilitator = remote(&format!("{url}/x/"));
    let supported = facilitator.supported().await.unwrap();
    assert_eq!(supported.kinds.len(), 2);
    assert_eq!(supported.kind(Version::V1, "exact", &BASE_SEPOLIA).unwrap().version, Version::V1);
    let VerifyResponse::Valid { payer } = facilitator.verify(&payment()).await.unwrap() else { panic!() };
    assert_eq!(payer.unwrap().as_str(), PAYER);
    let v1 = payment_of(Version::V1, "exact", BASE_SEPOLIA);
    let SettleResponse::Settled(receipt) = facilitator.settle((&v1).into()).await.unwrap() else { panic!() };
    assert_eq!((receipt.transaction.unwrap().as_str(), receipt.network), ("0xabc", BASE_SEPOLIA));

    let asked = log.all();
    assert_eq!(log.paths(), ["/x/supported", "/x/verify", "/x/settle"]);
    assert_eq!((asked[0].method.as_str(), asked[1].method.as_str()), ("GET", "POST"));
    assert_eq!(asked[1].headers["content-type"], "application/json");
    assert_eq!(asked[1].body["x402Version"], 2);
    assert_eq!(asked[1].body["paymentRequirements"]["network"], "eip155:84532");
    assert_eq!(asked[2].body["x402Version"], 1);
    assert_eq!(asked[2].body["paymentPayload"]["network"], "base-sepolia");
    assert_eq!(asked[2].body["paymentRequirements"]["maxAmountRequired"], "10000");
}

#[tokio::test]
async fn a_refusal_is_an_answer_whatever_its_status() {
    let refused = json!({ "isValid": false, "invalidReason": "insufficient_funds", "payer": PAYER });
    for status in [200, 400, 402, 500] {
        let (url, log) = always(status, refused.to_string()).await;
        let answer = remote(&url).verify(&payment()).await.unwrap();
        let VerifyResponse::Invalid(refusal) = answer else { panic!("{answer:?}") };
        assert_eq!(refusal.reason.as_str(), "insufficient_funds");
        assert_eq!(log.count(), 1, "an answer is not asked for again");
    }
    for (status, network) in [(200, "eip155:84532"), (400, ""), (402, "unknown"), (500, "base-sepolia")] {
        let failed =
            json!({ "success": false, "errorReason": "nope", "transaction": "", "network": network });
        let (url, _) = always(status, failed.to_string()).await;
        let answer = remote(&url).settle((&payment()).into()).await.unwrap();
        let SettleResponse::Failed(failure) = answer else { panic!("{answer:?}") };
        assert_eq!((failure.reason.as_str(), failure.network), ("nope", BASE_SEPOLIA));
    }
    let pending = json!({
        "success": false, "errorReason": "settlement_pending", "transaction": "0xabc", "network": "eip155:84532",
    });
    let (url, _) = always(502, pending.to_string()).await;
    assert!(matches!(remote(&url).settle((&payment()).into()).await, Ok(SettleResponse::Pending(_))));
}

#[tokio::test]
async fn what_only_informs_holds_no_settlement_up() {
    for field in ["amount", "payer", "extensions", "errorMessage"] {
        for odd in [json!(5), json!(null), json!([]), json!({ "a": 1 }), json!("-1"), json!("1.5")] {
            let mut answer = json!({ "success": true, "transaction": "0xabc", "network": "eip155:84532" });
            answer[field] = odd;
            let (url, _) = always(200, answer.to_string()).await;
            let settled = remote(&url).settle((&payment()).into()).await;
            assert!(matches!(settled, Ok(SettleResponse::Settled(_))), "{answer}: {settled:?}");
        }
    }
}

fn moved(status: u16, to: &str) -> Response<Body> {
    let mut moved = answer(status, String::new());
    moved.headers_mut().insert("location", to.parse().unwrap());
    moved
}

#[tokio::test]
async fn a_redirect_within_the_facilitators_origin_is_followed_and_no_other() {
    let yes = json!({
        "isValid": true, "success": true, "transaction": "0xabc", "network": "eip155:84532",
        "kinds": [{ "x402Version": 2, "scheme": "exact", "network": "eip155:84532" }],
    })
    .to_string();
    for status in [307, 308] {
        let yes = yes.clone();
        let (url, log) = server(move |asked, _| {
            let is_new = asked.path.starts_with("/new");
            let answer =
                if is_new { answer(200, yes.clone()) } else { moved(status, &format!("/new{}", asked.path)) };
            async move { answer }
        })
        .await;
        let facilitator = RemoteFacilitator::builder(&url).bearer("secret").build().unwrap();
        assert_eq!(facilitator.supported().await.unwrap().kinds.len(), 1);
        assert!(matches!(facilitator.verify(&payment()).await, Ok(VerifyResponse::Valid { .. })));
        let key: SettlementKey = "0123456789abcdef".parse().unwrap();
        let payment = payment();
        let settled = facilitator.settle(SettleRequest::new(&payment).with_key(&key)).await;
        assert!(matches!(settled, Ok(SettleResponse::Settled(_))), "{settled:?}");
        let asked = log.all();
        assert_eq!(
            log.paths(),
            ["/supported", "/new/supported", "/verify", "/new/verify", "/settle", "/new/settle"]
        );
        for pair in asked.chunks(2) {
            assert_eq!((&pair[0].method, &pair[0].body), (&pair[1].method, &pair[1].body), "just as it was");
            assert_eq!(pair[1].headers["authorization"], "Bearer secret");
        }
        assert_eq!(asked[5].headers["idempotency-key"], "0123456789abcdef");
    }
    let (elsewhere, untouched) = always(200, r#"{"isValid":true}"#.to_owned()).await;
    let (url, _) = server(move |asked, _| {
        let answer = moved(308, &format!("{elsewhere}{}", asked.path));
        async move { answer }
    })
    .await;
    let error = remote(&url).verify(&payment()).await.unwrap_err();
    assert!(error.to_string().contains("configure the URL"), "{error}");
    let error = remote(&url).settle((&payment()).into()).await.unwrap_err();
    assert_eq!((error.kind(), untouched.count()), (Kind::BadAnswer, 0));
    let (url, log) = server(|asked, _| async move { moved(307, &asked.path) }).await;
    assert!(remote(&url).verify(&payment()).await.unwrap_err().to_string().contains("without end"));
    assert_eq!(log.count(), 4);
}

#[tokio::test]
async fn nothing_but_a_yes_is_a_yes() {
    let rest = r#""transaction":"0x1","network":"eip155:84532""#;
    for success in [r#""true""#, "1", "null", "[true]"] {
        let (url, _) = always(200, format!(r#"{{"success":{success},{rest}}}"#)).await;
        let error = remote(&url).settle((&payment()).into()).await.unwrap_err();
        assert_eq!((error.kind(), error.may_have_acted()), (Kind::BadAnswer, true), "{success}");
        let (url, _) = always(200, format!(r#"{{"isValid":{success}}}"#)).await;
        assert_eq!(remote(&url).verify(&payment()).await.unwrap_err().kind(), Kind::BadAnswer, "{success}");
    }
    let elsewhere = r#"{"success":true,"transaction":"0x1","network":"eip155:8453"}"#;
    let refused_elsewhere = r#"{"success":false,"errorReason":"x","network":"eip155:8453"}"#;
    let twice = r#"{"success":false,"success":true,"transaction":"0x1","network":"eip155:84532"}"#;
    let no_transaction = r#"{"success":true,"transaction":"","network":"eip155:84532"}"#;
    let no_success = format!("{{{rest}}}");
    for body in [
        elsewhere,
        refused_elsewhere,
        twice,
        no_transaction,
        &no_success,
        r#"{"success":true,"transaction":"0x1"}"#,
        "{}",
        "null",
        "",
        "<!doctype html><p>Welcome</p>",
        "{\"success\":tru",
    ] {
        let (url, _) = always(200, body).await;
        let error = remote(&url).settle((&payment()).into()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::BadAnswer, "{body}");
    }
    for body in ["{}", "[]", "", "<html>", r#"{"kinds":{}}"#] {
        let (url, _) = always(200, body).await;
        assert_eq!(remote(&url).supported().await.unwrap_err().kind(), Kind::BadAnswer, "{body}");
        let (url, _) = always(200, body).await;
        assert_eq!(remote(&url).verify(&payment()).await.unwrap_err().kind(), Kind::BadAnswer, "{body}");
    }
}

#[tokio::test]
async fn a_yes_with_a_status_of_no_is_none() {
    for status in [400, 401, 402, 500] {
        let (url, _) = always(status, r#"{"isValid":true}"#).await;
        let error = remote(&url).verify(&payment()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::BadAnswer, "{status}: {error}");
        let yes = r#"{"success":true,"transaction":"0x1","network":"eip155:84532"}"#;
        let (url, log) = always(status, yes).await;
        let error = remote(&url).settle((&payment()).into()).await.unwrap_err();
        assert_eq!((error.kind(), log.count()), (Kind::BadAnswer, 1), "{status}: {error}");
    }
}

#[tokio::test]
async fn a_settlement_is_asked_for_with_its_key_and_an_answer_as_it_is() {
    let yes = r#"{"success":true,"transaction":"0x1","network":"eip155:84532"}"#;
    let (url, log) = always(200, yes).await;
    let (key, payment) = ("0123456789abcdef".parse::<SettlementKey>().unwrap(), payment());
    let request = SettleRequest::new(&payment).with_key(&key);
    assert!(!format!("{request:?} {key:?}").contains(key.as_str()));
    remote(&url).settle(request).await.unwrap();
    remote(&url).settle((&payment).into()).await.unwrap();
    let asked = log.all();
    assert_eq!(asked[0].headers["idempotency-key"], key.as_str());
    assert_eq!(asked[1].headers.get("idempotency-key"), None);
    assert!(asked.iter().all(|asked| asked.headers["accept-encoding"] == "identity"));
    // Whoever encodes it all the same is not understood, and may have settled.
    let (url, _) = server(move |_, _| async move {
        Response::builder().header("content-encoding", "gzip").body(Body::from(yes)).unwrap()
    })
    .await;
    let error = remote(&url).settle((&payment).into()).await.unwrap_err();
    assert_eq!((error.kind(), error.may_have_acted()), (Kind::BadAnswer, true), "{error}");
}

#[tokio::test]
async fn that_nothing_was_sent_is_believed_of_its_own_field_alone() {
    for (status, body, acted) in [
        (503, r#"{"error":"no gas","notActed":true}"#, false),
        (500, r#"{"error":"no gas","notActed":true}"#, false),
        (503, r#"{"error":"no gas","notActed":"true"}"#, true),
        (503, r#"{"error":"no gas","notActed":false}"#, true),
        (503, r#"{"error":"no gas","notActed":true,"notActed":true}"#, true),
        (503, r#"{"error":"no gas"}"#, true),
        // An answer of success is none beside it.
        (200, r#"{"error":"no gas","notActed":true}"#, true),
    ] {
        let (url, _) = always(status, body).await;
        let error = remote(&url).settle((&payment()).into()).await.unwrap_err();
        assert_eq!(error.may_have_acted(), acted, "{status} {body}: {error}");
    }
    // Nor does an answer in the protocol's shape that gives no reason: gateways have that shape, too.
    for body in [
        r#"{"success":false}"#,
        r#"{"success":false,"message":"upstream request timeout"}"#,
        r#"{"success":false,"errors":["x"],"network":"eip155:84532"}"#,
        r#"{"success":false,"errorReason":"","transaction":"","network":"eip155:84532"}"#,
        r#"{"success":false,"errorReason":null,"network":""}"#,
    ] {
        for status in [200, 404, 429, 500, 502, 504] {
            let (url, _) = always(status, body).await;
            let error = remote(&url).settle((&payment()).into()).await.unwrap_err();
            assert!(error.may_have_acted(), "{status} {body}: {error}");
        }
    }
    // What a gateway says in front of it proves nothing.
    for status in [400, 401, 402, 403, 404, 405, 408, 409, 410, 422, 425, 429, 499, 500, 502, 503, 504] {
        let (url, _) = server(move |_, _| async move {
            Response::builder().status(status).header("retry-after", "3").body(Body::from("no")).unwrap()
        })
        .await;
        let error = remote(&url).settle((&payment()).into()).await.unwrap_err();
        assert!(error.may_have_acted(), "{status}: {error}");
        assert_eq!(error.pause(), Some(Duration::from_secs(3)), "{status}");
    }
}

#[tokio::test]
async fn statuses_have_their_kinds() {
    for (status, kind, word) in [
        (400, Kind::Rejected, "slow down"),
        (401, Kind::Rejected, "credentials"),
        (403, Kind::Rejected, "credentials"),
        (404, Kind::Rejected, "URL"),
        (408, Kind::NoAnswer, "408"),
        (409, Kind::NoAnswer, "409"),
        (429, Kind::Rejected, "slow down"),
        (500, Kind::Internal, "slow down"),
        (503, Kind::Internal, "503"),
    ] {
        let (url, log) = always(status, r#"{"error":"slow\r\ndown"}"#).await;
        let error = remote(&url).settle((&payment()).into()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{status}: {error}");
        assert!(error.to_string().contains(word), "{error}");
        assert!(error.to_string().contains("/settle"), "{error}");
        assert!(!error.to_string().contains('\n'), "{error:?}");
        assert_eq!(log.count(), 1, "{status}: a settlement is asked for once");
    }
}

#[tokio::test]
async fn redirects_to_others_are_not_followed() {
    let (elsewhere, hits) = always(200, r#"{"isValid":true}"#).await;
    for status in [301, 302, 303, 307, 308] {
        let location = format!("{elsewhere}/verify");
        let (url, _) = server(move |_, _| {
            let mut response = answer(status, r#"{"isValid":true}"#);
            response.headers_mut().insert("location", location.parse().unwrap());
            async move { response }
        })
        .await;
        let facilitator = remote(&url);
        let error = facilitator.verify(&payment()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::BadAnswer, "{status}");
        assert!(error.to_string().contains("redirect"), "{error}");
        assert_eq!(facilitator.supported().await.unwrap_err().kind(), Kind::BadAnswer);
        assert_eq!(facilitator.settle((&payment()).into()).await.unwrap_err().kind(), Kind::BadAnswer);
    }
    assert_eq!(hits.count(), 0);
}

#[tokio::test]
async fn answers_are_bounded() {
    let long = " ".repeat(10 * 1024 * 1024);
    let (url, _) = always(200, format!(r#"{{"isValid":true}}{long}"#)).await;
    let error = remote(&url).verify(&payment()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::BadAnswer);
    assert!(error.to_string().contains("longer"), "{error}");

    // Without a length, and without an end.
    let (url, _) = server(|_, _| async {
        let chunks = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 8192]));
        answer(200, Body::from_stream(chunks))
    })
    .await;
    assert_eq!(remote(&url).settle((&payment()).into()).await.unwrap_err().kind(), Kind::BadAnswer);

    let exact = format!(r#"{{"isValid":true}}{}"#, " ".repeat(MAX_ANSWER_BYTES - 16));
    let (url, _) = always(200, exact).await;
    assert!(matches!(remote(&url).verify(&payment()).await, Ok(VerifyResponse::Valid { .. })));

    let (url, _) = always(401, "x".repeat(1024 * 1024)).await;
    assert_eq!(remote(&url).verify(&payment()).await.unwrap_err().kind(), Kind::Rejected);
}

#[tokio::test]
async fn silence_ends_in_time() {
    let (silent, hung) = server(|_, _| std::future::pending()).await;
    let (dripping, _) = server(|_, _| async {
        let drops = futures_util::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Some((Ok::<_, std::io::Error>(" "), ()))
        });
        answer(200, Body::from_stream(drops))
    })
    .await;
    for url in [&silent, &dripping] {
        let begun = Instant::now();
        let facilitator = impatient(url);
        assert_eq!(facilitator.verify(&payment()).await.unwrap_err().kind(), Kind::NoAnswer);
        assert_eq!(facilitator.supported().await.unwrap_err().kind(), Kind::NoAnswer);
        let error = facilitator.settle((&payment()).into()).await.unwrap_err();
        assert_eq!((error.kind(), error.may_have_acted()), (Kind::NoAnswer, true));
        assert!(begun.elapsed() < Duration::from_secs(3));
    }
    assert_eq!(hung.count(), 3, "silence is not asked again");
}

#[tokio::test]
async fn a_broken_connection_is_no_answer() {
    for bytes in [
        &b""[..],
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"success\":true",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"isV",
        b"SSH-2.0-OpenSSH\r\n",
    ] {
        let url = raw_server(bytes).await;
        let error = impatient(&url).settle((&payment()).into()).await.unwrap_err();
        assert_eq!((error.kind(), error.may_have_acted()), (Kind::NoAnswer, true), "{error}");
    }
}

#[tokio::test]
async fn nobody_there_means_nothing_was_sent() {
    let tls = nowhere().await.replace("http://", "https://");
    for url in [nowhere().await, tls, "http://facilitator.invalid".to_owned()] {
        let error = remote(&url).settle((&payment()).into()).await.unwrap_err();
        assert_eq!((error.kind(), error.may_have_acted()), (Kind::Unreachable, false), "{url}: {error:?}");
    }
    // Plain HTTP where TLS is spoken: the handshake fails before anything is sent.
    let (url, log) = always(200, "{}").await;
    let error = remote(&url.replace("http://", "https://")).settle((&payment()).into()).await.unwrap_err();
    assert_eq!((error.kind(), log.count()), (Kind::Unreachable, 0), "{error:?}");

    let nameless = payment_of(Version::V1, "exact", ARBITRUM);
    let error = remote(&url).settle((&nameless).into()).await.unwrap_err();
    assert!(!error.may_have_acted() && error.to_string().contains("version 1"), "{error}");
}

#[tokio::test]
async fn a_busy_facilitator_is_asked_again_but_never_to_settle() {
    let (url, log) = server(|_, before| async move {
        match before {
            0 => answer(503, "busy"),
            1 => {
                let mut response = answer(429, "busy");
                response.headers_mut().insert("retry-after", "0".parse().unwrap());
                response
            }
            _ => answer(200, r#"{"isValid":true}"#),
        }
    })
    .await;
    assert!(matches!(remote(&url).verify(&payment()).await, Ok(VerifyResponse::Valid { .. })));
    assert_eq!(log.count(), 3);

    let (url, log) = always(429, "").await;
    assert_eq!(remote(&url).supported().await.unwrap_err().kind(), Kind::Rejected);
    assert_eq!(log.count(), 3);

    for status in [429, 500, 502, 503] {
        let (url, log) = always(status, "").await;
        assert!(remote(&url).settle((&payment()).into()).await.is_err());
        assert_eq!(log.count(), 1, "{status}");
    }
}

#[tokio::test]
async fn retry_after_is_no_longer_than_the_time_out() {
    let (url, log) = server(|_, _| async {
        let mut response = answer(429, "");
        response.headers_mut().insert("retry-after", "18446744073709551615".parse().unwrap());
        response
    })
    .await;
    let begun = Instant::now();
    assert_eq!(remote(&url).verify(&payment()).await.unwrap_err().kind(), Kind::Rejected);
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(log.count(), 1);
}

#[tokio::test]
async fn credentials_are_asked_for_before_every_request() {
    struct Counting(AtomicUsize);
    impl AuthProvider for Counting {
        async fn headers(&self, endpoint: Endpoint) -> Result<HeaderMap, BoxError> {
            let n = self.0.fetch_add(1, Ordering::SeqCst);
            let token = format!("{} {} {n}", endpoint.method(), endpoint.path());
            Ok(HeaderMap::from_iter([("authorization".parse()?, token.parse()?)]))
        }
    }
    let (url, log) = server(|_, before| async move {
        match before {
            0 => answer(503, ""),
            _ => answer(200, r#"{"isValid":true,"success":false,"errorReason":"x","network":"","kinds":[]}"#),
        }
    })
    .await;
    let facilitator = RemoteFacilitator::builder(&url).auth(Counting(AtomicUsize::new(0))).build().unwrap();
    facilitator.verify(&payment()).await.unwrap();
    facilitator.settle((&payment()).into()).await.unwrap();
    facilitator.supported().await.unwrap();
    let tokens: Vec<_> = log.all().into_iter().map(|asked| asked.headers["authorization"].clone()).collect();
    assert_eq!(tokens, ["POST /verify 0", "POST /verify 1", "POST /settle 2", "GET /supported 3"]);

    let facilitator = RemoteFacilitator::builder(&url).bearer("s3cret").build().unwrap();
    facilitator.supported().await.unwrap();
    assert_eq!(log.all().last().unwrap().headers["authorization"], "Bearer s3cret");
    assert!(!format!("{facilitator:?}").contains("s3cret"));
}

#[tokio::test]
async fn without_credentials_nothing_is_sent() {
    struct Broken;
    impl AuthProvider for Broken {
        async fn headers(&self, endpoint: Endpoint) -> Result<HeaderMap, BoxError> {
            match endpoint {
                Endpoint::Verify => std::future::pending().await,
                _ => Err("the key is gone".into()),
            }
        }
    }
    let (url, log) = always(200, "{}").await;
    let facilitator = RemoteFacilitator::builder(&url)
        .auth(Broken)
        .verify_timeout(Duration::from_millis(100))
        .build()
        .unwrap();
    let error = facilitator.settle((&payment()).into()).await.unwrap_err();
    assert_eq!((error.kind(), error.may_have_acted()), (Kind::Unreachable, false));
    assert_eq!(facilitator.verify(&payment()).await.unwrap_err().kind(), Kind::Unreachable);
    assert_eq!(log.count(), 0);
}

#[tokio::test]
async fn errors_do_not_repeat_the_payment() {
    let (url, _) = server(|asked, _| async move { answer(400, asked.body.to_string()) }).await;
    let error = remote(&url).verify(&payment()).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("0xsecret"), "{error:?}");
}
