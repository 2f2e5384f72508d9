//! The future: free requests poll the inner one, charged requests are one `async fn`.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Response;
use http_body::Body;
use pin_project_lite::pin_project;

use crate::body::GateBody;

type Charged<ResBody, E> = Pin<Box<dyn Future<Output = Result<Response<GateBody<ResBody>>, E>> + Send>>;

pin_project! {
    /// The response of a [`PaymentService`](crate::PaymentService).
    pub struct GateFuture<F, ResBody, E> {
        #[pin]
        kind: Kind<F, ResBody, E>,
    }
}

pin_project! {
    #[project = KindProjection]
    enum Kind<F, ResBody, E> {
        Free { #[pin] inner: F, bare: bool },
        Charged { answer: Charged<ResBody, E> },
        Refused { answer: Option<Response<Bytes>> },
    }
}

impl<F, ResBody, E> GateFuture<F, ResBody, E> {
    pub(crate) fn free(inner: F, bare: bool) -> Self {
        Self { kind: Kind::Free { inner, bare } }
    }

    pub(crate) fn refused(answer: Response<Bytes>) -> Self {
        Self { kind: Kind::Refused { answer: Some(answer) } }
    }

    pub(crate) fn charged(
        answer: impl Future<Output = Result<Response<GateBody<ResBody>>, E>> + Send + 'static,
    ) -> Self {
        Self { kind: Kind::Charged { answer: Box::pin(answer) } }
    }
}

impl<F, ResBody, E> Future for GateFuture<F, ResBody, E>
where
    F: Future<Output = Result<Response<ResBody>, E>>,
    ResBody: Body,
{
    type Output = Result<Response<GateBody<ResBody>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProjection::Free { inner, bare } => {
                let answer = ready!(inner.poll(cx));
                Poll::Ready(answer.map(|response| GateBody::to(*bare, response)))
            }
            KindProjection::Charged { answer } => answer.as_mut().poll(cx),
            KindProjection::Refused { answer } => {
                let answer = answer.take().expect("a future is not polled after it is done");
                Poll::Ready(Ok(answer.map(GateBody::from)))
            }
        }
    }
}

impl<F, ResBody, E> fmt::Debug for GateFuture<F, ResBody, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Free { .. } => "GateFuture(free)",
            Kind::Charged { .. } => "GateFuture(charged)",
            Kind::Refused { .. } => "GateFuture(refused)",
        })
    }
}
