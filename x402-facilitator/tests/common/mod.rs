//! What the suites share: payments, a scripted facilitator, a plain HTTP client.
#![allow(dead_code, unreachable_pub, reason = "each suite uses a part")]

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, Response},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use x402_core::{
    network::{BASE_SEPOLIA, Network},
    payment::{Payment, PaymentPayload, PaymentRequirements, Version},
};

pub const PAYER: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";

/// A payment in version 2 on Base Sepolia.
pub fn payment() -> Payment {
    payment_of(Version::V2, "exact", BASE_SEPOLIA)
}

pub fn payment_of(version: Version, scheme: &str, network: Network) -> Payment {
    let requirements = PaymentRequirements {
        scheme: scheme.to_owned(),
        network,
        amount: 10_000.into(),
        asset: "0x036CbD53842c5426634e7929541eC2318f3dCF7e".parse().unwrap(),
        pay_to: "0x1111111111111111111111111111111111111111".parse().unwrap(),
        max_timeout_seconds: 60,
        extra: Default::default(),
    };
    let payload = PaymentPayload {
        version,
        resource: None,
        accepted: requirements.clone(),
        payload: json!({ "signature": "0xsecret" }),
        extensions: Default::default(),
    };
    Payment { payload, requirements }
}

/// What a scripted server was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Value,
}

#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<Asked>>>);

impl Log {
    pub fn all(&self) -> Vec<Asked> {
        self.0.lock().unwrap().clone()
    }

    pub fn count(&self) -> usize {
        self.all().len()
    }

    pub fn paths(&self) -> Vec<String> {
        self.all().into_iter().map(|asked| asked.path).collect()
    }
}

/// A server that answers as `script` says: the request, and how many came before it.
pub async fn server<F>(script: impl Fn(Asked, usize) -> F + Clone + Send + Sync + 'static) -> (String, Log)
where
    F: Future<Output = Response<Body>> + Send,
{
    let log = Log::default();
    let seen = log.clone();
    let app = axum::Router::new().fallback(move |request: Request| {
        let (script, seen) = (script.clone(), seen.clone());
        async move {
            let (head, body) = request.into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            let asked = Asked {
                method: head.method.to_string(),
                path: head.uri.path().to_owned(),
                headers: head.headers,
                body: serde_json::from_slice(&body).unwrap_or(Value::Null),
            };
            let before = {
                let mut seen = seen.0.lock().unwrap();
                seen.push(asked.clone());
                seen.len() - 1
            };
            script(asked, before).await
        }
    });
    (serve(app).await, log)
}

/// A server that always answers this.
pub async fn always(status: u16, body: impl Into<String>) -> (String, Log) {
    let body = body.into();
    server(move |_, _| {
        let response = answer(status, body.clone());
        async move { response }
    })
    .await
}

pub fn answer(status: u16, body: impl Into<Body>) -> Response<Body> {
    Response::builder().status(status).body(body.into()).unwrap()
}

pub async fn serve(app: axum::Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    url
}

/// A server that reads something, writes these bytes and hangs up.
pub async fn raw_server(bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 16 * 1024];
            let _ = stream.read(&mut buffer).await;
            let _ = stream.write_all(bytes).await;
        }
    });
    url
}

/// A URL where nobody listens.
pub async fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// One request over a socket of its own: status, and body as JSON (or as a string).
pub async fn call(url: &str, method: &str, path: &str, body: &[u8]) -> (u16, Value) {
    let mut stream = TcpStream::connect(address(url)).await.unwrap();
    stream.write_all(&request(method, path, body)).await.unwrap();
    read_response(&mut stream).await
}

pub async fn read_response(stream: &mut TcpStream) -> (u16, Value) {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_else(|_| body.into()))
}

pub fn request(method: &str, path: &str, body: &[u8]) -> Vec<u8> {
    request_with(method, path, &["content-type: application/json"], body)
}

/// The same with these header lines.
pub fn request_with(method: &str, path: &str, lines: &[&str], body: &[u8]) -> Vec<u8> {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {}\r\n{lines}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

pub fn address(url: &str) -> SocketAddr {
    url.strip_prefix("http://").unwrap().parse().unwrap()
}
