//! The future: free requests poll the inner one, charged requests are one `async fn`.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use actix_web::{Error, body::EitherBody, dev::ServiceResponse};
use pin_project_lite::pin_project;

use crate::middleware::{Expected, answered};

type Answer<B> = Result<ServiceResponse<EitherBody<B>>, Error>;

pin_project! {
    /// The answer of a [`PaymentService`](crate::PaymentService).
    pub struct PaymentFuture<F, B> {
        #[pin]
        kind: Kind<F, B>,
    }
}

pin_project! {
    #[project = KindProjection]
    enum Kind<F, B> {
        Free { #[pin] inner: F, expected: Expected },
        Charged { answer: Pin<Box<dyn Future<Output = Answer<B>>>> },
        Done { answer: Option<Answer<B>> },
    }
}

impl<F, B> PaymentFuture<F, B> {
    pub(crate) fn free(inner: F, expected: Expected) -> Self {
        Self { kind: Kind::Free { inner, expected } }
    }

    pub(crate) fn charged(answer: impl Future<Output = Answer<B>> + 'static) -> Self {
        Self { kind: Kind::Charged { answer: Box::pin(answer) } }
    }

    pub(crate) fn done(answer: Answer<B>) -> Self {
        Self { kind: Kind::Done { answer: Some(answer) } }
    }
}

impl<F, B> Future for PaymentFuture<F, B>
where
    F: Future<Output = Result<ServiceResponse<B>, Error>>,
{
    type Output = Answer<B>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer<B>> {
        match self.project().kind.project() {
            KindProjection::Free { inner, expected } => {
                let answer = ready!(inner.poll(cx))?;
                Poll::Ready(Ok(match expected.refusal(answer.request()) {
                    None => answer.map_into_left_body(),
                    Some(refusal) => answered(answer.into_parts().0, refusal),
                }))
            }
            KindProjection::Charged { answer } => answer.as_mut().poll(cx),
            KindProjection::Done { answer } => {
                Poll::Ready(answer.take().expect("a future is not polled after it is done"))
            }
        }
    }
}
