//! What a web page may have its visitor's browser post, and what comes of it: nothing is verified or settled.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, reason = "a test that fails")]

mod common;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use common::{address, payment_of, request_with, serve};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use x402_core::{
    facilitator::{Facilitator, FacilitatorError, SettleRequest},
    network::BASE_SEPOLIA,
    payment::{Payment, SettleResponse, Supported, VerifyResponse, Version},
    wire,
};
use x402_facilitator::http;

/// Counts what it is asked for.
#[derive(Clone, Default)]
struct Counting(Arc<AtomicUsize>);

impl Facilitator for Counting {
    async fn supported(&self) -> Result<Supported, FacilitatorError> {
        Ok(Supported::default())
    }

    async fn verify(&self, _: &Payment) -> Result<VerifyResponse, FacilitatorError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(VerifyResponse::Valid { payer: None })
    }

    async fn settle(&self, request: SettleRequest<'_>) -> Result<SettleResponse, FacilitatorError> {
        let payment = request.payment;
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(SettleResponse::failed("told", payment.requirements.network.clone(), None))
    }
}

/// The answer's status, head and body.
async fn ask(url: &str, method: &str, path: &str, lines: &[&str], body: &[u8]) -> (u16, String, Value) {
    let mut stream = TcpStream::connect(address(url)).await.unwrap();
    stream.write_all(&request_with(method, path, lines, body)).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), serde_json::from_str(body).unwrap_or(Value::Null))
}

#[tokio::test]
async fn what_a_web_page_posts_is_neither_verified_nor_settled() {
    let counting = Counting::default();
    let url = serve(http::router(counting.clone())).await;
    let own = format!("origin: {url}");
    let json = "content-type: application/json";
    let body = wire::encode_request(&payment_of(Version::V2, "exact", BASE_SEPOLIA)).unwrap();
    for (lines, status, word) in [
        // A form, `fetch` with `no-cors`, `sendBeacon`: what needs no preflight.
        (
            &["content-type: text/plain", "origin: https://evil.example", "sec-fetch-site: cross-site"][..],
            403,
            "Origin",
        ),
        (&["content-type: text/plain;charset=UTF-8"], 415, "application/json"),
        (&["content-type: application/x-www-form-urlencoded"], 415, "application/json"),
        (&[], 415, "application/json"),
        // JSON all the same.
        (&[json, "origin: https://evil.example"], 403, "Origin"),
        (&[json, "origin: null"], 403, "Origin"),
        (&[json, &own], 403, "Origin"),
        (&[json, "sec-fetch-site: cross-site"], 403, "Sec-Fetch-Site"),
        (&[json, "sec-fetch-site: same-site"], 403, "Sec-Fetch-Site"),
    ] {
        for (path, field) in [("/verify", "isValid"), ("/settle", "success")] {
            let (got, head, answer) = ask(&url, "POST", path, lines, &body).await;
            assert_eq!((got, &answer[field]), (status, &Value::Bool(false)), "{lines:?} {path}: {answer}");
            assert!(answer["error"].as_str().unwrap().contains(word), "{lines:?} {path}: {answer}");
            assert!(!head.contains("access-control-"), "no page may read it: {head}");
        }
    }
    let preflight = [
        "origin: https://evil.example",
        "access-control-request-method: POST",
        "access-control-request-headers: content-type",
    ];
    let (status, head, _) = ask(&url, "OPTIONS", "/settle", &preflight, b"").await;
    assert!(status == 405 && !head.contains("access-control-"), "no page may ask: {head}");
    assert_eq!(counting.0.load(Ordering::SeqCst), 0);

    for lines in
        [&[json][..], &["content-type: Application/JSON; charset=utf-8"], &[json, "sec-fetch-mode: cors"]]
    {
        assert_eq!(ask(&url, "POST", "/verify", lines, &body).await.0, 200, "{lines:?}");
        assert_eq!(ask(&url, "POST", "/settle", lines, &body).await.2["errorReason"], "told", "{lines:?}");
    }
    assert_eq!(counting.0.load(Ordering::SeqCst), 6);
}
