//! Reads the offer a 402 makes.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http_body::Frame;
use reqwest::{Body, Response, ResponseBuilderExt};
use x402_core::{
    payment::PaymentRequired,
    wire::{self, PAYMENT_REQUIRED},
};

use crate::{
    error::{Error, ErrorKind},
    origin,
};

/// The longest body an offer is read from.
pub(crate) const MAX_BODY_BYTES: usize = 64 * 1024;

/// What a 402 turned out to be.
pub(crate) enum Answer {
    Offer(PaymentRequired),
    /// A 402 that knows nothing of the protocol, readable as it came.
    Other(Response),
}

/// Reads the offer: version 2's header, or else version 1's body. A body makes an offer when it is a JSON object that
/// mentions `x402Version`.
pub(crate) async fn read(response: Response) -> Result<Answer, reqwest_middleware::Error> {
    let server = origin::name(response.url());
    let malformed = |why: &str| {
        Error::new(
            ErrorKind::MalformedOffer,
            format!("{server} asks for a payment that cannot be read: {why}"),
        )
    };
    let mut headers = response.headers().get_all(PAYMENT_REQUIRED).iter();
    match (headers.next(), headers.next()) {
        (Some(header), None) => {
            let offer = wire::decode_payment_required(header)
                .map_err(|error| malformed(&format!("PAYMENT-REQUIRED: {error}")).because(error))?;
            return Ok(Answer::Offer(offer));
        }
        (Some(_), Some(_)) => return Err(malformed("there are several PAYMENT-REQUIRED headers").into()),
        (None, _) => {}
    }
    let (read, response) = peek(response).await?;
    if !is_object(&read) || !mentions_x402(&read) {
        return Ok(Answer::Other(restore(read, response)));
    }
    if read.len() > MAX_BODY_BYTES {
        return Err(malformed(&format!("the body is longer than {MAX_BODY_BYTES} bytes")).into());
    }
    let offer = wire::decode_payment_required_body(&read)
        .map_err(|error| malformed(&format!("the body: {error}")).because(error))?;
    Ok(Answer::Offer(offer))
}

/// The body as far as it can matter: to its end, beyond the limit, or to where it is plain that it is no object.
async fn peek(mut response: Response) -> reqwest::Result<(Bytes, Response)> {
    let mut read = BytesMut::new();
    while read.len() <= MAX_BODY_BYTES && (is_blank(&read) || is_object(&read)) {
        match response.chunk().await? {
            Some(chunk) => read.extend_from_slice(&chunk),
            None => break,
        }
    }
    Ok((read.freeze(), response))
}

fn is_blank(body: &[u8]) -> bool {
    body.trim_ascii_start().is_empty()
}

fn is_object(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"{")
}

fn mentions_x402(body: &[u8]) -> bool {
    const KEY: &[u8] = b"\"x402Version\"";
    body.windows(KEY.len()).any(|window| window == KEY)
}

/// The response with what was read of its body put back.
fn restore(read: Bytes, response: Response) -> Response {
    let url = response.url().clone();
    let (parts, rest) = http::Response::<Body>::from(response).into_parts();
    let mut restored = http::Response::builder()
        .url(url)
        .body(Body::wrap(Restored { read, rest }))
        .expect("a status and a URL are a response");
    *restored.status_mut() = parts.status;
    *restored.version_mut() = parts.version;
    *restored.headers_mut() = parts.headers;
    restored.extensions_mut().extend(parts.extensions);
    restored.into()
}

struct Restored {
    read: Bytes,
    rest: Body,
}

impl http_body::Body for Restored {
    type Data = Bytes;
    type Error = reqwest::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, reqwest::Error>>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.rest).poll_frame(context);
        }
        Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.read)))))
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        let rest = self.rest.size_hint();
        let read = self.read.len() as u64;
        let mut hint = http_body::SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(read));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(read)) {
            hint.set_upper(upper);
        }
        hint
    }
}
