//! The middleware: it translates between poem and the gate.

use std::{
    io, mem,
    panic::resume_unwind,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Version, header::CONTENT_LENGTH, response::Parts};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Collected, LengthLimitError, Limited, combinators::BoxBody};
use poem::{
    Endpoint, Error, IntoResponse, Middleware, PathPattern, Request, Response, ResponseParts, Result,
};
use x402_core::gate::{
    HandlerResponse, Head, Passage, PricedRoute, RequestBody, RequestView, Toll, Uncharged, Unread,
    is_preflight,
};

/// Charges for every request that reaches the endpoint it is put on.
#[derive(Debug, Clone)]
pub struct PaymentMiddleware {
    toll: Toll,
    /// The key in a table. It is never read off a request: outside of a `Route` poem knows no pattern yet, and on the
    /// way through nested ones just a part of it.
    route: Option<Arc<str>>,
}

impl PaymentMiddleware {
    pub(crate) fn everywhere(toll: Toll) -> Self {
        Self { toll, route: None }
    }

    pub(crate) fn at(toll: Toll, route: String) -> Self {
        Self { toll, route: Some(route.into()) }
    }
}

impl<E: Endpoint> Middleware<E> for PaymentMiddleware {
    type Output = PaymentEndpoint<E>;

    fn transform(&self, inner: E) -> PaymentEndpoint<E> {
        PaymentEndpoint { inner, payment: self.clone() }
    }
}

/// An endpoint whose requests are charged.
#[derive(Debug, Clone)]
pub struct PaymentEndpoint<E> {
    inner: E,
    payment: PaymentMiddleware,
}

impl<E: Endpoint> Endpoint for PaymentEndpoint<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> Result<Response> {
        let PaymentMiddleware { toll, route } = &self.payment;
        let bare = request.method() == Method::HEAD;
        let is_preflight = is_preflight(request.method(), |name| request.headers().contains_key(name));
        let mut answer = match toll.passage(request.method(), is_preflight, route.as_deref()) {
            Passage::Free => self.inner.call(request).await.map(IntoResponse::into_response),
            Passage::Refused(answer) => Ok(to_poem(answer)),
            // Boxed, so that free requests carry no room for it.
            Passage::Charged(route) => Box::pin(charged(&self.inner, route, request)).await,
        };
        if bare && let Ok(response) = &mut answer {
            drop_body(response);
        }
        answer
    }
}

async fn charged<E: Endpoint>(inner: &E, route: PricedRoute, mut request: Request) -> Result<Response> {
    let mut body = Upload(request.take_body());
    let view = RequestView {
        method: request.method(),
        uri: request.original_uri(),
        headers: request.headers(),
        route: request.data().map(|PathPattern(pattern)| &**pattern),
        access: request.data(),
    };
    let version = request.version();
    let pass = match route.admit(view, &mut body).await {
        Ok(pass) => pass,
        Err(answer) => return Ok(to_poem(answer)),
    };
    request.set_body(body.0);
    if let Some(access) = pass.access() {
        request.set_data(access);
    }
    let answer = match inner.call(request).await.map(IntoResponse::into_response) {
        Err(error) if pass.spares(error.status()) => Err(error),
        answer => Ok(answer.unwrap_or_else(Error::into_response)),
    };
    let mut answer = pass.finish(Answer(answer)).await.0;
    if let Ok(response) = &mut answer
        && version < Version::HTTP_2
        && cfg!(panic = "unwind")
    {
        break_off(response);
    }
    answer
}

/// Has an answer in HTTP/1 whose body fails end as a failure: poem would go on with the connection, and end what was cut off
/// as if it were whole. Unwinding is the one way for a body to have poem give a connection up; poem catches it there, and
/// counts the connection off.
fn break_off(response: &mut Response) {
    let body: BoxBody<Bytes, io::Error> = response.take_body().into();
    // What is shorter than its length said is seen to be.
    let is_endless = body.size_hint().exact().is_none();
    response.set_body(if is_endless { BoxBody::new(Breaking(body)) } else { body });
}

/// A body that unwinds where it fails.
struct Breaking(BoxBody<Bytes, io::Error>);

impl Body for Breaking {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, io::Error>>> {
        let frame = ready!(Pin::new(&mut self.0).poll_frame(cx));
        if let Some(Err(error)) = frame {
            tracing::error!(%error, "the body of a paid answer failed: its connection is given up");
            resume_unwind(Box::new(error));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// A request's body on its way to the handler.
struct Upload(poem::Body);

impl RequestBody for Upload {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn discard(&mut self) -> bool {
        self.0 = poem::Body::empty();
        true
    }

    async fn read(&mut self, limit: usize) -> std::result::Result<Bytes, Unread> {
        let read = whole(mem::take(&mut self.0), limit).await?.to_bytes();
        self.0 = read.clone().into();
        Ok(read)
    }
}

/// Reads the whole of a body, of so many bytes at most.
async fn whole(body: poem::Body, limit: usize) -> std::result::Result<Collected<Bytes>, Unread> {
    let body: BoxBody<Bytes, io::Error> = body.into();
    Limited::new(body, limit)
        .collect()
        .await
        .map_err(|error| if error.is::<LengthLimitError>() { Unread::TooLong } else { Unread::Broken })
}

/// The answer to a HEAD request ends with its head, which says how long the body would be: in HTTP/2, poem would send
/// the body of an endpoint that has one.
fn drop_body(response: &mut Response) {
    let body: BoxBody<Bytes, io::Error> = response.take_body().into();
    if let Some(bytes) = body.size_hint().exact().filter(|bytes| *bytes > 0) {
        response.headers_mut().entry(CONTENT_LENGTH).or_insert_with(|| bytes.into());
    }
}

/// What an endpoint answers. A failure to which the gate adds nothing stays the error it is, for those who catch it; it
/// has no headers before it is made a response.
struct Answer(Result<Response>);

impl HandlerResponse for Answer {
    fn take_head(&mut self) -> Head {
        match &mut self.0 {
            Ok(response) => Head {
                status: response.status(),
                headers: mem::take(response.headers_mut()),
                uncharged: response.data::<Uncharged>().is_some(),
            },
            Err(error) => Head {
                status: error.status(),
                headers: HeaderMap::new(),
                uncharged: error.data::<Uncharged>().is_some(),
            },
        }
    }

    fn with_headers(self, headers: HeaderMap) -> Self {
        if self.0.is_err() && headers.is_empty() {
            return self;
        }
        let mut response = self.0.unwrap_or_else(Error::into_response);
        response.headers_mut().extend(headers);
        Self(Ok(response))
    }

    fn replaced_by(self, answer: http::Response<Bytes>) -> Self {
        Self(Ok(to_poem(answer)))
    }

    fn length(&mut self) -> Option<u64> {
        let response = self.0.as_mut().ok()?;
        // Only so is it told.
        let body: BoxBody<Bytes, io::Error> = response.take_body().into();
        let length = body.size_hint().exact();
        response.set_body(body);
        length
    }

    async fn read(&mut self, limit: usize) -> std::result::Result<Option<Bytes>, Unread> {
        let Ok(response) = &mut self.0 else { return Ok(None) };
        let read = whole(response.take_body(), limit).await?;
        if read.trailers().is_some() {
            response.set_body(BoxBody::new(read.map_err(|never| match never {})));
            return Ok(None);
        }
        let read = read.to_bytes();
        response.set_body(read.clone());
        Ok(Some(read))
    }
}

/// The gate's answer.
pub(crate) fn to_poem(answer: http::Response<Bytes>) -> Response {
    let (Parts { status, version, headers, extensions, .. }, body) = answer.into_parts();
    Response::from_parts(ResponseParts { status, version, headers, extensions }, body.into())
}
