//! Services on sockets of their own, and a client that tidies nothing up.

use std::{fmt, net::SocketAddr};

use anyhow::Context;
use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Request},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use http_body_util::BodyExt;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};
use tokio_util::task::AbortOnDropHandle;

/// What services are called by whoever asks, wherever they listen.
const HOST: &str = "service.test";

/// A service on a free port of the loopback interface; it ends when this is dropped.
pub struct Serving {
    /// Where it listens.
    pub address: SocketAddr,
    http2: bool,
    end: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl Serving {
    /// Serves a router.
    pub async fn start(app: Router) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self::running(address, task))
    }

    /// A service already running at this address, ended with this task.
    pub fn running(address: SocketAddr, task: JoinHandle<()>) -> Self {
        Self::ended_by(address, move || task.abort())
    }

    /// A service already running at this address, ended so.
    pub fn ended_by(address: SocketAddr, end: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self { address, http2: false, end: Some(Box::new(end)) }
    }

    /// Speaks HTTP/2 to it, from the first byte on, wherever bytes are not sent as they are.
    pub fn over_http2(mut self) -> Self {
        self.http2 = true;
        self
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A connection on which these bytes were sent. Dropping it hangs up.
    pub async fn connect(&self, request: &[u8]) -> anyhow::Result<TcpStream> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.write_all(request).await?;
        Ok(stream)
    }

    /// Sends bytes as they are, on a connection of their own, and reads until the server closes it. A server may
    /// answer and close before it has read everything.
    pub async fn raw(&self, request: &[u8]) -> anyhow::Result<Answer> {
        let mut stream = TcpStream::connect(self.address).await?;
        let (mut reading, mut writing) = stream.split();
        let mut answer = Vec::new();
        let (_, read) = tokio::join!(writing.write_all(request), reading.read_to_end(&mut answer));
        if answer.is_empty() {
            read?;
        }
        Answer::parse(&answer)
    }

    /// The bytes of a request without a body, with these headers.
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> String {
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        request
    }

    /// A request without a body, with these headers.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> anyhow::Result<Answer> {
        if self.http2 {
            return self.send_http2(method, path, headers, Body::empty()).await;
        }
        self.raw(self.request(method, path, headers).as_bytes()).await
    }

    /// A request with a body, and these headers.
    pub async fn upload(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> anyhow::Result<Answer> {
        if self.http2 {
            return self.send_http2(method, path, headers, Body::from(body.to_owned())).await;
        }
        let length = body.len().to_string();
        let headers = [headers, &[("content-length", length.as_str())]].concat();
        self.raw(format!("{}{body}", self.request(method, path, &headers)).as_bytes()).await
    }

    async fn send_http2(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Body,
    ) -> anyhow::Result<Answer> {
        let io = TokioIo::new(TcpStream::connect(self.address).await?);
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
        let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
        let mut request = Request::builder().method(method).uri(format!("http://{HOST}{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = sender.send_request(request.body(body)?).await?;
        let status = answer.status().as_u16();
        let headers = answer.headers().iter();
        let mut headers: Vec<_> = headers.map(|(name, value)| (name.to_string(), latin(value))).collect();
        let body = answer.into_body().collect().await?;
        let trailers = body.trailers().into_iter().flatten();
        headers.extend(trailers.map(|(name, value)| (format!("trailer {name}"), latin(value))));
        Ok(Answer { status, headers, body: String::from_utf8_lossy(&body.to_bytes()).into_owned() })
    }

    /// A GET with these headers.
    pub async fn get(&self, path: &str, headers: &[(&str, &str)]) -> anyhow::Result<Answer> {
        self.send("GET", path, headers).await
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            end();
        }
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Serving").field(&self.address).finish()
    }
}

fn latin(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// An answer, as it came over the wire.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers, names in lower case; over HTTP/2 its trailers, too, named `trailer …`.
    pub headers: Vec<(String, String)>,
    /// The body, still chunked if it came so.
    pub body: String,
}

impl Answer {
    /// Reads an answer that is complete.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(bytes: &[u8]) -> anyhow::Result<Self> {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").with_context(|| format!("no answer but {text:?}"))?;
        let mut lines = head.lines();
        let status =
            lines.next().and_then(|line| line.split(' ').nth(1)).context("no status line")?.parse()?;
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Ok(Self { status, headers, body: body.to_owned() })
    }

    /// A header, if it came once.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found =
            self.headers.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str());
        found.next().filter(|_| found.next().is_none())
    }

    /// How often a header came.
    pub fn count(&self, name: &str) -> usize {
        self.headers.iter().filter(|(other, _)| other == name).count()
    }

    /// A header of the protocol, decoded.
    pub fn decoded(&self, name: &str) -> anyhow::Result<Value> {
        let header = self.header(name).with_context(|| format!("no {name} in {self:?}"))?;
        Ok(serde_json::from_slice(&BASE64_STANDARD.decode(header)?)?)
    }

    /// The body as JSON.
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("no JSON: {}", self.body))
    }
}

/// Base64 of JSON, as the protocol's headers are.
pub fn encoded(json: &Value) -> String {
    BASE64_STANDARD.encode(json.to_string())
}

/// Counts how often something happened; every clone is the same counter.
#[derive(Debug, Clone, Default)]
pub struct Counter(watch::Sender<usize>);

impl Counter {
    /// Once more.
    pub fn count(&self) {
        self.0.send_modify(|count| *count += 1);
    }

    /// How often.
    pub fn get(&self) -> usize {
        *self.0.borrow()
    }

    /// Waits until it happened this often.
    pub async fn reaches(&self, times: usize) {
        let mut counts = self.0.subscribe();
        counts.wait_for(|count| *count >= times).await.expect("the counter is there");
    }
}
