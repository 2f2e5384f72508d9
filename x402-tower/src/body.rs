//! A response's body: the handler's, or the gate's own.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Response, header::CONTENT_LENGTH};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use x402_core::gate::Unread;

pin_project! {
    /// The handler's body, streaming as it would without the gate, or the gate's own answer.
    #[derive(Debug)]
    pub struct GateBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProjection]
    #[derive(Debug)]
    enum Kind<B> {
        Inner { #[pin] body: B },
        Answer { bytes: Option<Bytes>, trailers: Option<HeaderMap> },
        Unsent { length: SizeHint },
    }
}

impl<B> GateBody<B> {
    /// A body of the service's own: for answers that stand beside those of a [`PaymentService`](crate::PaymentService).
    pub fn new(body: B) -> Self {
        Self { kind: Kind::Inner { body } }
    }

    /// The answer to a HEAD request ends with its head, which says how long the body would be: in HTTP/2, hyper would
    /// send the body of a service that has one.
    pub(crate) fn to(bare: bool, mut response: Response<B>) -> Response<Self>
    where
        B: Body,
    {
        if !bare {
            return response.map(Self::new);
        }
        let length = response.body().size_hint();
        if let Some(bytes) = length.exact().filter(|bytes| *bytes > 0) {
            response.headers_mut().entry(CONTENT_LENGTH).or_insert_with(|| bytes.into());
        }
        response.map(|_| Self { kind: Kind::Unsent { length } })
    }
}

impl<B> GateBody<B> {
    /// The service's body, once it was read.
    pub(crate) fn read(bytes: Bytes, trailers: Option<HeaderMap>) -> Self {
        Self { kind: Kind::Answer { bytes: Some(bytes).filter(|bytes| !bytes.is_empty()), trailers } }
    }
}

impl<B> From<Bytes> for GateBody<B> {
    fn from(answer: Bytes) -> Self {
        Self::read(answer, None)
    }
}

/// Reads the whole of a body, of so many bytes at most, and the trailers that come after it.
pub(crate) async fn whole<B: Body<Data = Bytes>>(
    body: B,
    limit: usize,
) -> Result<(Bytes, Option<HeaderMap>), Unread> {
    let (mut body, mut read, mut trailers) = (pin!(body), Vec::new(), None);
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let frame = frame.map_err(|_| Unread::Broken)?;
        match frame.into_data() {
            Ok(data) if read.len() + data.len() > limit => return Err(Unread::TooLong),
            Ok(data) => read.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok((read.into(), trailers))
}

impl<B: Body<Data = Bytes>> Body for GateBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().kind.project() {
            KindProjection::Inner { body } => body.poll_frame(cx),
            KindProjection::Answer { bytes, trailers } => {
                let data = bytes.take().map(Frame::data);
                Poll::Ready(data.or_else(|| trailers.take().map(Frame::trailers)).map(Ok))
            }
            KindProjection::Unsent { .. } => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Inner { body } => body.is_end_stream(),
            Kind::Answer { bytes, trailers } => bytes.is_none() && trailers.is_none(),
            Kind::Unsent { .. } => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Inner { body } => body.size_hint(),
            Kind::Answer { bytes, .. } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Kind::Unsent { length } => *length,
        }
    }
}

impl<B: Default> Default for GateBody<B> {
    fn default() -> Self {
        Self::new(B::default())
    }
}
