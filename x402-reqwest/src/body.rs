//! Looks into a body, and gives the response on as it came.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http_body::Frame;
use reqwest::{Body, Response, ResponseBuilderExt};

/// The body as far as it can matter: to its end, beyond the limit, or to where it is plain that it is no object.
pub(crate) async fn peek(mut response: Response, limit: usize) -> reqwest::Result<(Bytes, Response)> {
    let mut read = BytesMut::new();
    while read.len() <= limit && (is_blank(&read) || is_object(&read)) {
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

pub(crate) fn is_object(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"{")
}

/// The response with what was read of its body put back.
pub(crate) fn restore(read: Bytes, response: Response) -> Response {
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
