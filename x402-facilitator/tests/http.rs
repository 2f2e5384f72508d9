//! The HTTP API over real sockets.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, reason = "a test that fails")]

mod common;

use std::{sync::Arc, time::Duration};

use common::{PAYER, address, call, payment_of, read_response, request, serve};
use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::{Notify, oneshot},
};
use x402_core::{
    facilitator::{Facilitator, FacilitatorError, FacilitatorErrorKind as Kind, SettleRequest},
    network::BASE_SEPOLIA,
    payment::{Payment, Receipt, SettleResponse, Supported, SupportedKind, VerifyResponse, Version},
    wire,
};
use x402_facilitator::http::{self, MAX_BODY_BYTES};

/// Verifies and settles at once; refuses what is not `exact`.
struct Simple;

fn settled(payment: &Payment) -> SettleResponse {
    SettleResponse::Settled(Receipt {
        transaction: Some("0xabc".parse().unwrap()),
        network: payment.requirements.network.clone(),
        payer: Some(PAYER.parse().unwrap()),
        amount: None,
        extensions: Default::default(),
    })
}

impl Facilitator for Simple {
    async fn supported(&self) -> Result<Supported, FacilitatorError> {
        let kind = |version| SupportedKind {
            version,
            scheme: "exact".to_owned(),
            network: BASE_SEPOLIA,
            extra: Default::default(),
        };
        Ok(Supported { kinds: vec![kind(Version::V2), kind(Version::V1)], ..Supported::default() })
    }

    async fn verify(&self, payment: &Payment) -> Result<VerifyResponse, FacilitatorError> {
        Ok(match payment.requirements.scheme.as_str() {
            "exact" => VerifyResponse::Valid { payer: Some(PAYER.parse().unwrap()) },
            _ => VerifyResponse::invalid("unsupported_scheme", None),
        })
    }

    async fn settle(&self, request: SettleRequest<'_>) -> Result<SettleResponse, FacilitatorError> {
        let payment = request.payment;
        Ok(match payment.requirements.scheme.as_str() {
            "exact" => settled(payment),
            "panic" => panic!("on purpose"),
            "wordless" => SettleResponse::failed("", payment.requirements.network.clone(), None),
            _ => SettleResponse::failed("unsupported_scheme", payment.requirements.network.clone(), None),
        })
    }
}

async fn api() -> String {
    serve(http::router(Simple)).await
}

fn body(version: Version, scheme: &str) -> Vec<u8> {
    wire::encode_request(&payment_of(version, scheme, BASE_SEPOLIA)).unwrap()
}

#[tokio::test]
async fn both_versions_are_answered_in_their_own() {
    let url = api().await;
    let (status, supported) = call(&url, "GET", "/supported", b"").await;
    assert_eq!(status, 200);
    let expected = json!([
        { "x402Version": 2, "scheme": "exact", "network": "eip155:84532" },
        { "x402Version": 1, "scheme": "exact", "network": "base-sepolia" },
    ]);
    assert_eq!(
        (&supported["kinds"], &supported["extensions"], &supported["signers"]),
        (&expected, &json!([]), &json!({}))
    );
    assert_eq!(call(&url, "GET", "/health", b"").await, (200, json!({ "status": "ok" })));

    for (version, network) in [(Version::V1, "base-sepolia"), (Version::V2, "eip155:84532")] {
        let good = body(version, "exact");
        let valid = json!({ "isValid": true, "payer": PAYER });
        assert_eq!(call(&url, "POST", "/verify", &good).await, (200, valid));
        let settled = json!({ "success": true, "transaction": "0xabc", "network": network, "payer": PAYER });
        assert_eq!(call(&url, "POST", "/settle", &good).await, (200, settled));

        let refused = body(version, "other");
        let invalid = json!({ "isValid": false, "invalidReason": "unsupported_scheme" });
        assert_eq!(call(&url, "POST", "/verify", &refused).await, (200, invalid));
        let failed = json!({
            "success": false, "errorReason": "unsupported_scheme", "transaction": "", "network": network,
        });
        assert_eq!(call(&url, "POST", "/settle", &refused).await, (200, failed));
    }
}

/// A hook may abort without a reason, and a failure without one is none to whoever reads it.
#[tokio::test]
async fn a_settlement_that_fails_has_a_reason() {
    let (status, answer) = call(&api().await, "POST", "/settle", &body(Version::V2, "wordless")).await;
    assert_eq!((status, &answer["errorReason"]), (200, &json!("unexpected_settle_error")), "{answer}");
}

#[tokio::test]
async fn bad_requests_are_refused_in_the_protocols_shape() {
    let url = api().await;
    let good: Value = serde_json::from_slice(&body(Version::V2, "exact")).unwrap();
    let with = |pointer: &str, value: Value| {
        let mut changed = good.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        changed.to_string().into_bytes()
    };
    let without = |key: &str| {
        let mut changed = good.clone();
        changed.as_object_mut().unwrap().remove(key);
        changed.to_string().into_bytes()
    };
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000)).into_bytes();
    let twice = br#"{"paymentPayload":{},"paymentPayload":{},"paymentRequirements":{}}"#.to_vec();
    let long = vec![b' '; MAX_BODY_BYTES + 1];
    let bad = Some("invalid_payload");
    for (name, body, status, reason, word) in [
        ("nothing", vec![], 400, bad, "JSON"),
        ("no JSON", b"hello".to_vec(), 400, bad, "JSON"),
        ("not UTF-8", b"{\"a\":\"\xff\"}".to_vec(), 400, bad, "JSON"),
        ("an array", b"[]".to_vec(), 400, bad, "expected"),
        ("null", b"null".to_vec(), 400, bad, "expected"),
        ("deep", deep, 400, bad, "deeper"),
        ("a key twice", twice, 400, bad, "twice"),
        ("long", long, 413, bad, "65536"),
        ("{}", b"{}".to_vec(), 400, None, "Missing paymentPayload or paymentRequirements"),
        ("no payload", without("paymentPayload"), 400, None, "Missing paymentPayload or paymentRequirements"),
        (
            "no requirements",
            without("paymentRequirements"),
            400,
            None,
            "Missing paymentPayload or paymentRequirements",
        ),
        (
            "null payload",
            with("/paymentPayload", Value::Null),
            400,
            None,
            "Missing paymentPayload or paymentRequirements",
        ),
        ("payload text", with("/paymentPayload", json!("x")), 400, bad, "object"),
        ("version text", with("/paymentPayload/x402Version", json!("2")), 400, bad, "x402Version"),
        (
            "version 3",
            with("/paymentPayload/x402Version", json!(3)),
            400,
            Some("invalid_x402_version"),
            "1 or 2",
        ),
        ("amount number", with("/paymentRequirements/amount", json!(1)), 400, bad, "expected"),
        ("amount negative", with("/paymentRequirements/amount", json!("-1")), 400, bad, "amount"),
        ("network name", with("/paymentRequirements/network", json!("base")), 400, bad, "CAIP-2"),
        ("address", with("/paymentRequirements/payTo", json!("a\r\nb")), 400, bad, "address"),
    ] {
        for path in ["/verify", "/settle"] {
            let (got, answer) = call(&url, "POST", path, &body).await;
            assert_eq!(got, status, "{name}: {answer}");
            let error = answer["error"].as_str().unwrap_or_else(|| panic!("{name}: {answer}"));
            assert!(error.contains(word), "{name}: {error}");
            assert!(!answer.to_string().contains("0xsecret"), "{name}: {answer}");
            let expected = match (reason, path) {
                (None, _) => json!({ "error": error }),
                (Some(reason), "/verify") => {
                    json!({ "error": error, "isValid": false, "invalidReason": reason })
                }
                (Some(reason), _) => json!({
                    "error": error, "success": false, "errorReason": reason, "transaction": "", "network": "",
                }),
            };
            assert_eq!(answer, expected, "{name}");
        }
    }
    for (method, path, status) in [
        ("GET", "/verify", 405),
        ("GET", "/settle", 405),
        ("PUT", "/settle", 405),
        ("POST", "/supported", 405),
        ("POST", "/health", 405),
        ("GET", "/nowhere", 404),
        ("POST", "/", 405),
        ("POST", "/settle/", 404),
    ] {
        assert_eq!(
            call(&url, method, path, &good.to_string().into_bytes()).await.0,
            status,
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn a_facilitator_that_fails_is_not_a_refusal() {
    struct Failing(Kind);
    impl Failing {
        fn error<T>(&self) -> Result<T, FacilitatorError> {
            Err(FacilitatorError::new(self.0, "the node is down").because("https://node.example.com/s3cret"))
        }
    }
    impl Facilitator for Failing {
        async fn supported(&self) -> Result<Supported, FacilitatorError> {
            self.error()
        }
        async fn verify(&self, _: &Payment) -> Result<VerifyResponse, FacilitatorError> {
            self.error()
        }
        async fn settle(&self, _: SettleRequest<'_>) -> Result<SettleResponse, FacilitatorError> {
            self.error()
        }
    }
    for (kind, status) in [
        (Kind::Unreachable, 503),
        (Kind::NoAnswer, 502),
        (Kind::BadAnswer, 502),
        (Kind::Rejected, 502),
        (Kind::Internal, 500),
        (Kind::NotActed, 503),
    ] {
        let url = serve(http::router(Failing(kind))).await;
        let good = body(Version::V2, "exact");
        for (method, path) in [("GET", "/supported"), ("POST", "/verify"), ("POST", "/settle")] {
            let answer = call(&url, method, path, &good).await;
            // What is said to whoever runs it names the chains' endpoints.
            let words = match path {
                "/supported" => "nothing can be settled at the moment: the facilitator's log says why",
                _ => "the node is down",
            };
            let mut expected = json!({ "error": words });
            if kind == Kind::NotActed {
                expected["notActed"] = true.into();
            }
            assert_eq!(answer, (status, expected), "{kind:?} {path}");
        }
    }
    let url = api().await;
    let (status, answer) = call(&url, "POST", "/settle", &body(Version::V2, "panic")).await;
    assert_eq!((status, answer.get("success")), (500, None), "{answer}");
    assert_eq!(call(&url, "GET", "/health", b"").await.0, 200);
}

/// Settles when it is told to.
#[derive(Clone, Default)]
struct Slow {
    begun: Arc<Notify>,
    go_on: Arc<Notify>,
    done: Arc<Notify>,
}

impl Facilitator for Slow {
    async fn supported(&self) -> Result<Supported, FacilitatorError> {
        Ok(Supported::default())
    }

    async fn verify(&self, _: &Payment) -> Result<VerifyResponse, FacilitatorError> {
        Ok(VerifyResponse::Valid { payer: None })
    }

    async fn settle(&self, request: SettleRequest<'_>) -> Result<SettleResponse, FacilitatorError> {
        let payment = request.payment;
        self.begun.notify_one();
        self.go_on.notified().await;
        self.done.notify_one();
        Ok(settled(payment))
    }
}

async fn soon(what: impl Future<Output = ()>) {
    tokio::time::timeout(Duration::from_secs(5), what).await.expect("in time");
}

#[tokio::test]
async fn a_settlement_goes_on_when_its_caller_hangs_up() {
    let slow = Slow::default();
    let url = serve(http::router(slow.clone())).await;
    let mut stream = TcpStream::connect(address(&url)).await.unwrap();
    stream.write_all(&request("POST", "/settle", &body(Version::V2, "exact"))).await.unwrap();
    soon(slow.begun.notified()).await;
    drop(stream);
    assert_eq!(call(&url, "GET", "/health", b"").await.0, 200);
    slow.go_on.notify_one();
    soon(slow.done.notified()).await;
}

#[tokio::test]
async fn a_shutdown_waits_for_settlements() {
    for hangs_up in [false, true] {
        let slow = Slow::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async move { stopped.await.unwrap() };
        let mut server = tokio::spawn(http::serve(listener, slow.clone(), shutdown));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&request("POST", "/settle", &body(Version::V2, "exact"))).await.unwrap();
        soon(slow.begun.notified()).await;
        let stream = if hangs_up { None } else { Some(stream) };
        stop.send(()).unwrap();
        let waited = tokio::time::timeout(Duration::from_millis(200), &mut server).await;
        assert!(waited.is_err(), "it does not end before the settlement");
        slow.go_on.notify_one();
        soon(async { server.await.unwrap().unwrap() }).await;
        soon(slow.done.notified()).await;
        if let Some(mut stream) = stream {
            assert_eq!(read_response(&mut stream).await.1["success"], true);
        }
        assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
    }
}

#[cfg(feature = "remote")]
#[tokio::test]
async fn the_remote_facilitator_speaks_to_it() {
    let facilitator = x402_facilitator::RemoteFacilitator::new(&api().await).unwrap();
    assert_eq!(facilitator.supported().await.unwrap().kinds.len(), 2);
    for version in [Version::V1, Version::V2] {
        let good = payment_of(version, "exact", BASE_SEPOLIA);
        assert!(matches!(facilitator.verify(&good).await, Ok(VerifyResponse::Valid { .. })));
        assert_eq!(facilitator.settle((&good).into()).await.unwrap(), settled(&good));
        let other = payment_of(version, "other", BASE_SEPOLIA);
        assert!(matches!(facilitator.verify(&other).await, Ok(VerifyResponse::Invalid(_))));
        assert!(matches!(facilitator.settle((&other).into()).await, Ok(SettleResponse::Failed(_))));
    }
}
