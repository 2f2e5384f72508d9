use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER},
};
use reqwest::{Client, Response};
use x402_core::facilitator::{FacilitatorError, FacilitatorErrorKind as Kind, SettlementKey};

use super::{
    auth::{AnyAuth, Endpoint},
    redirect::{self, LONGEST_CHAIN},
};
use crate::IDEMPOTENCY_KEY;

/// The longest answer that is read from a facilitator, in bytes.
pub const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// How often `/verify` and `/supported` are asked while the facilitator is busy or unreachable.
const TRIES: u32 = 3;

/// The pause before the second try, doubled for each further one.
const BACK_OFF: Duration = Duration::from_millis(250);

#[derive(Debug, Clone)]
pub(super) struct TimeOuts {
    pub(super) supported: Duration,
    pub(super) verify: Duration,
    pub(super) settle: Duration,
}

/// Requests to one facilitator: credentials, time-outs, repetitions, bounds.
#[derive(Clone)]
pub(super) struct Exchange {
    client: Client,
    base: Arc<str>,
    auth: Option<AnyAuth>,
    timeouts: TimeOuts,
    is_redirected: Arc<AtomicBool>,
}

/// A whole answer.
pub(super) struct Reply {
    /// `POST https://facilitator.example.com/verify`, for messages.
    pub(super) to: String,
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
    pub(super) retry_after: Option<Duration>,
}

impl Reply {
    fn is_busy(&self) -> bool {
        self.status == StatusCode::TOO_MANY_REQUESTS || self.status.is_server_error()
    }
}

impl Exchange {
    pub(super) fn new(client: Client, base: String, auth: Option<AnyAuth>, timeouts: TimeOuts) -> Self {
        Self { client, base: base.into(), auth, timeouts, is_redirected: Arc::default() }
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Asks until there is an answer that `read` takes, or no further try would help or be safe. `key` says who may hear of
    /// a settlement.
    pub(super) async fn ask<T>(
        &self,
        endpoint: Endpoint,
        body: Bytes,
        key: Option<&SettlementKey>,
        read: impl Fn(&Reply) -> Result<T, FacilitatorError>,
    ) -> Result<T, FacilitatorError> {
        let (timeout, tries) = match endpoint {
            Endpoint::Supported => (self.timeouts.supported, TRIES),
            Endpoint::Verify => (self.timeouts.verify, TRIES),
            Endpoint::Settle => (self.timeouts.settle, 1),
        };
        let begun = Instant::now();
        let mut back_off = BACK_OFF;
        for attempt in 1.. {
            let left = timeout.saturating_sub(begun.elapsed());
            let (error, pause) = match self.once(endpoint, body.clone(), key, left).await {
                Ok(reply) => match read(&reply) {
                    Err(error) if reply.is_busy() => (error, reply.retry_after.unwrap_or(back_off)),
                    answer => return answer,
                },
                Err(error) if error.kind() == Kind::Unreachable => (error, back_off),
                Err(error) => return Err(error),
            };
            let left = timeout.saturating_sub(begun.elapsed());
            if attempt >= tries || pause >= left {
                return Err(error);
            }
            tracing::debug!(facilitator = %self.base, ?endpoint, attempt, %error, "asking again");
            tokio::time::sleep(pause).await;
            back_off *= 2;
        }
        unreachable!("the last try returns")
    }

    async fn once(
        &self,
        endpoint: Endpoint,
        body: Bytes,
        key: Option<&SettlementKey>,
        left: Duration,
    ) -> Result<Reply, FacilitatorError> {
        let end = Instant::now() + left;
        let left = || end.saturating_duration_since(Instant::now());
        let mut url = format!("{}{}", self.base, endpoint.path());
        let mut to = format!("{} {url}", endpoint.method());
        for hop in 0..=LONGEST_CHAIN {
            // Whoever redirects a settlement was given it, and may have acted.
            let after_hops = |error: FacilitatorError| match endpoint {
                Endpoint::Settle if hop > 0 => error.of_kind(Kind::NoAnswer),
                _ => error,
            };
            let credentials = self.credentials(endpoint, left()).await.map_err(after_hops)?;
            let mut request = self.client.request(endpoint.method(), &url).headers(credentials);
            if endpoint != Endpoint::Supported {
                let json = HeaderValue::from_static("application/json");
                request = request.header(CONTENT_TYPE, json).body(body.clone());
            }
            if let Some(mut key) = key.and_then(|key| HeaderValue::try_from(key.as_str()).ok()) {
                key.set_sensitive(true);
                request = request.header(IDEMPOTENCY_KEY, key);
            }
            let sent = request.timeout(left()).send().await;
            let response = sent.map_err(|error| after_hops(failed(&to, error)))?;
            let has_credentials = self.auth.is_some();
            match redirect::target(response.url(), response.status(), response.headers(), has_credentials) {
                Ok(None) => return receive(to, response).await,
                Ok(Some(target)) => {
                    let shown = redirect::shown(&target);
                    self.say_redirected(&shown);
                    to = format!("{} {shown}", endpoint.method());
                    url = target.into();
                }
                Err(why) => return Err(FacilitatorError::new(Kind::BadAnswer, format!("{to}: {why}"))),
            }
        }
        let message = format!("{}: it redirects without end", self.base);
        Err(FacilitatorError::new(Kind::BadAnswer, message))
    }

    /// Every redirect costs a round trip, so it is said, once.
    fn say_redirected(&self, target: &str) {
        if !self.is_redirected.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                facilitator = %self.base, %target,
                "the facilitator redirects: configure the URL that it redirects to, which saves a round trip each time"
            );
        }
    }

    async fn credentials(&self, endpoint: Endpoint, left: Duration) -> Result<HeaderMap, FacilitatorError> {
        let Some(auth) = &self.auth else { return Ok(HeaderMap::new()) };
        let unsent = |what: &str| {
            let message = format!("{}: the credentials' provider {what}: nothing was sent", self.base);
            FacilitatorError::new(Kind::Unreachable, message)
        };
        let mut headers = tokio::time::timeout(left, auth.headers(endpoint))
            .await
            .map_err(|_| unsent("did not answer in time"))?
            .map_err(|error| unsent("failed").because(error))?;
        headers.values_mut().for_each(|value| value.set_sensitive(true));
        Ok(headers)
    }
}

/// Reads the answer as it comes, and no more than [`MAX_ANSWER_BYTES`] of it, whatever length it claims.
async fn receive(to: String, mut response: Response) -> Result<Reply, FacilitatorError> {
    let status = response.status();
    // It was asked not to: whoever does all the same is not understood, and may have acted.
    let plain = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"identity");
    if let Some(coding) = response.headers().get(CONTENT_ENCODING).filter(|coding| !plain(coding)) {
        let message = format!("{to}: the answer is encoded as {coding:?}, though it was asked for as it is");
        return Err(FacilitatorError::new(Kind::BadAnswer, message));
    }
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failed(&to, error))? {
        if body.len() + chunk.len() <= MAX_ANSWER_BYTES {
            body.extend_from_slice(&chunk);
        } else if status.is_success() {
            let message = format!("{to}: the answer is longer than {MAX_ANSWER_BYTES} bytes");
            return Err(FacilitatorError::new(Kind::BadAnswer, message));
        } else {
            body.clear(); // an error page: the status says enough
            break;
        }
    }
    Ok(Reply { to, status, body, retry_after })
}

fn failed(to: &str, error: reqwest::Error) -> FacilitatorError {
    let error = error.without_url();
    let (kind, what) = if error.is_connect() {
        (Kind::Unreachable, "no connection: is the facilitator running, and its URL right?")
    } else if error.is_builder() {
        (Kind::Unreachable, "the request could not be made")
    } else if error.is_timeout() {
        (Kind::NoAnswer, "no answer in time")
    } else {
        (Kind::NoAnswer, "the connection broke before the answer was whole")
    };
    FacilitatorError::new(kind, format!("{to}: {what}")).because(error)
}
