//! A response's body: the handler's, or the gate's own.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Response, header::CONTENT_LENGTH};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

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
        Answer { bytes: Option<Bytes> },
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

impl<B> From<Bytes> for GateBody<B> {
    fn from(answer: Bytes) -> Self {
        Self { kind: Kind::Answer { bytes: Some(answer).filter(|bytes| !bytes.is_empty()) } }
    }
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
            KindProjection::Answer { bytes } => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            KindProjection::Unsent { .. } => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Inner { body } => body.is_end_stream(),
            Kind::Answer { bytes } => bytes.is_none(),
            Kind::Unsent { .. } => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Inner { body } => body.size_hint(),
            Kind::Answer { bytes } => {
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
