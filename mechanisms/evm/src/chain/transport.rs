//! JSON-RPC over HTTP that tells a request that was not sent from one that was not answered, and keeps the
//! endpoint's URL, which often holds a key, out of spans and errors.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use alloy::{
    rpc::json_rpc::{RequestPacket, ResponsePacket},
    transports::{TransportError, TransportErrorKind, TransportFut},
};
use reqwest::{Client, header::CONTENT_TYPE, redirect};
use tower_service::Service;
use url::{Host, Url};

use crate::error::{Error, ErrorKind};

/// An answer longer than this is not read to its end.
const MAX_ANSWER: usize = 8 * 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub(super) struct HttpTransport {
    client: Client,
    url: Arc<Url>,
}

/// Why there was no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum HttpFault {
    #[error("could not connect")]
    NotConnected,
    #[error("timed out")]
    TimedOut,
    #[error("the connection broke")]
    Broken,
    #[error("the answer is longer than 8 MiB")]
    TooLong,
}

impl HttpTransport {
    pub(super) fn new(url: &str) -> Result<Self, Error> {
        let bad = |what: &str| Error::new(ErrorKind::Endpoint, format!("the RPC endpoint's URL {what}"));
        let url = Url::parse(url).map_err(|_| bad("is no URL"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad("must begin with `https://` or `http://`"));
        }
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // An error means that another thread installed one meanwhile, which is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let mut client =
            Client::builder().redirect(redirect::Policy::none()).connect_timeout(CONNECT_TIMEOUT);
        if is_loopback(&url) {
            client = client.no_proxy();
        }
        let client = client
            .build()
            .map_err(|error| Error::new(ErrorKind::Endpoint, format!("no HTTP client: {error}")))?;
        Ok(Self { client, url: Arc::new(url) })
    }

    /// `host:port`.
    pub(super) fn host(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        self.url.port_or_known_default().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    async fn post(self, packet: RequestPacket) -> Result<ResponsePacket, TransportError> {
        let headers = packet.headers();
        let body = packet.serialize().map_err(TransportError::ser_err)?;
        let request = self
            .client
            .post(self.url.as_ref().clone())
            .headers(headers)
            .header(CONTENT_TYPE, "application/json")
            .body(body.get().to_owned());
        let mut response = request.send().await.map_err(fault)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(fault)? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(TransportErrorKind::custom(HttpFault::TooLong));
            }
            body.extend_from_slice(&chunk);
        }
        match serde_json::from_slice::<ResponsePacket>(&body) {
            Ok(answer) if status.is_success() || (status.as_u16() == 400 && answer.is_error()) => Ok(answer),
            Err(error) if status.is_success() => Err(TransportError::deser_err(error, "")),
            _ => Err(TransportErrorKind::http_error(status.as_u16(), String::new())),
        }
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

fn fault(error: reqwest::Error) -> TransportError {
    TransportErrorKind::custom(if error.is_connect() {
        HttpFault::NotConnected
    } else if error.is_timeout() {
        HttpFault::TimedOut
    } else {
        HttpFault::Broken
    })
}

impl Service<RequestPacket> for HttpTransport {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, packet: RequestPacket) -> Self::Future {
        Box::pin(self.clone().post(packet))
    }
}
