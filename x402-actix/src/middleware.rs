//! The middleware: it translates between actix-web and the gate.

use std::{
    cell::OnceCell,
    future::{Ready, poll_fn, ready},
    mem,
    pin::pin,
    rc::Rc,
    sync::Arc,
};

use actix_web::{
    Error, HttpMessage, HttpRequest, HttpResponse,
    body::{BodySize, BoxBody, EitherBody, MessageBody},
    dev::{Payload, Service, ServiceRequest, ServiceResponse, Transform, forward_ready},
    error::InternalError,
    http::header,
};
use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, Method, Response};
use x402_core::gate::{
    Access, ConfigError, HandlerResponse, Head, Passage, PricedRoute, RequestBody, RequestView, Toll,
    Uncharged, Unread, is_preflight,
};

use crate::{
    bridge,
    future::PaymentFuture,
    routes::{self, Keys},
};

/// Charges for every request that comes through, or by route. Made once, and cloned into the workers' apps.
#[derive(Debug, Clone)]
pub struct PaymentMiddleware {
    toll: Toll,
    keys: Arc<Keys>,
}

impl PaymentMiddleware {
    pub(crate) fn new(toll: Toll, keys: Keys) -> Self {
        Self { toll, keys: Arc::new(keys) }
    }
}

impl<S, B> Transform<S, ServiceRequest> for PaymentMiddleware
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Transform = PaymentService<S>;
    type InitError = ();
    type Future = Ready<Result<PaymentService<S>, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        let payment = self.clone();
        ready(Ok(PaymentService { inner: Rc::new(inner), payment, checked: OnceCell::new() }))
    }
}

/// A service whose requests are charged.
#[derive(Debug)]
pub struct PaymentService<S> {
    inner: Rc<S>,
    payment: PaymentMiddleware,
    /// Whether the keys are routes of the app's. Its first request tells what routes it has.
    checked: OnceCell<Result<(), ConfigError>>,
}

impl<S, B> Service<ServiceRequest> for PaymentService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Future = PaymentFuture<S::Future, B>;

    forward_ready!(inner);

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let expected = match Expected::of(&request, &self.payment.toll) {
            Ok(expected) => expected,
            Err(error) => return PaymentFuture::done(Err(error)),
        };
        match self.passage(&request, &expected) {
            Passage::Free => PaymentFuture::free(self.inner.call(request), expected),
            Passage::Refused(answer) => PaymentFuture::done(Ok(answered(request.into_parts().0, answer))),
            Passage::Charged(route) => {
                PaymentFuture::charged(charged(self.inner.clone(), route, expected, request))
            }
        }
    }
}

impl<S> PaymentService<S> {
    fn passage(&self, request: &ServiceRequest, expected: &Expected) -> Passage {
        let PaymentMiddleware { toll, keys } = &self.payment;
        if let Err(error) = self.checked.get_or_init(|| keys.check(request.resource_map())) {
            return Passage::Refused(toll.no_such_route(&expected.method, error));
        }
        let path = request.match_info().as_str();
        let is_preflight = is_preflight(&expected.method, |name| request.headers().contains_key(name));
        let fits = |pattern: &str| keys.fits(pattern, path);
        toll.passage_ahead(&expected.method, is_preflight, expected.route.as_deref(), fits)
    }
}

/// What a request was taken for before actix-web routed it.
pub(crate) struct Expected {
    toll: Toll,
    method: Method,
    route: Option<String>,
}

impl Expected {
    fn of(request: &ServiceRequest, toll: &Toll) -> Result<Self, Error> {
        let method = bridge::method(request.method())?;
        Ok(Self { toll: toll.clone(), method, route: routes::ahead(request.request()) })
    }

    /// Holds it against the route that the request reached: the gate's answer, where they do not go together.
    pub(crate) fn refusal(&self, request: &HttpRequest) -> Option<Response<Bytes>> {
        let reached = routes::reached(request);
        // Another middleware may have changed the method, though hardly to one that cannot be read.
        let method = bridge::method(request.method()).unwrap_or_else(|_| self.method.clone());
        self.toll.contradicts((&self.method, self.route.as_deref()), (&method, reached.as_deref()))
    }
}

async fn charged<S, B>(
    inner: Rc<S>,
    route: PricedRoute,
    expected: Expected,
    mut request: ServiceRequest,
) -> Result<ServiceResponse<EitherBody<B>>, Error>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody + 'static,
{
    let (uri, headers) = (bridge::uri(request.uri())?, bridge::headers(request.headers()));
    let (method, pattern) = (&expected.method, expected.route.as_deref());
    let access = request.extensions().get::<Access>().cloned();
    let view = RequestView { method, uri: &uri, headers: &headers, route: pattern, access: access.as_ref() };
    let pass = match route.admit(view, &mut Upload(&mut request)).await {
        Ok(pass) => pass,
        Err(answer) => return Ok(answered(request.into_parts().0, answer)),
    };
    if let Some(access) = pass.access() {
        request.extensions_mut().insert(access);
    }
    let answer = Answer::from(inner.call(request).await);
    // Which route it was that failed with an error, nobody tells.
    if let Ok(request) = &answer.request
        && let Some(refusal) = expected.refusal(request)
    {
        pass.fail();
        return answer.replaced_by(refusal).into_result();
    }
    pass.finish(answer).await.into_result()
}

/// A request's body, in the request.
struct Upload<'a>(&'a mut ServiceRequest);

impl RequestBody for Upload<'_> {
    // Its payload does not tell. In HTTP/1.1 headers do, and elsewhere what asks for something sends nothing unless it says
    // how much.
    fn is_empty(&self) -> bool {
        let framed = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING];
        let asks = [actix_web::http::Method::GET, actix_web::http::Method::HEAD].contains(self.0.method());
        (asks || self.0.version() <= actix_web::http::Version::HTTP_11)
            && !framed.iter().any(|name| self.0.headers().contains_key(name))
    }

    fn discard(&mut self) -> bool {
        self.0.set_payload(Payload::None);
        true
    }

    async fn read(&mut self, limit: usize) -> Result<Bytes, Unread> {
        let (mut payload, mut read) = (self.0.take_payload(), Vec::new());
        while let Some(piece) = payload.next().await {
            let piece = piece.map_err(|_| Unread::Broken)?;
            if read.len() + piece.len() > limit {
                return Err(Unread::TooLong);
            }
            read.extend_from_slice(&piece);
        }
        let read = Bytes::from(read);
        self.0.set_payload(Payload::from(read.clone()));
        Ok(read)
    }
}

/// What the inner service answers. Its body is not polled before the gate asks for it.
struct Answer<B> {
    /// An error has no request of its own. None is kept for it: actix-web cannot route a request that is held elsewhere.
    request: Result<HttpRequest, Error>,
    response: HttpResponse<EitherBody<B>>,
}

impl<B> From<Result<ServiceResponse<B>, Error>> for Answer<B> {
    fn from(answer: Result<ServiceResponse<B>, Error>) -> Self {
        match answer.map(ServiceResponse::into_parts) {
            Ok((request, response)) => Self { request: Ok(request), response: response.map_into_left_body() },
            Err(error) => {
                let response = error.error_response().map_into_right_body();
                Self { request: Err(error), response }
            }
        }
    }
}

impl<B: MessageBody + 'static> Answer<B> {
    fn into_result(self) -> Result<ServiceResponse<EitherBody<B>>, Error> {
        match self.request {
            Ok(request) => Ok(ServiceResponse::new(request, self.response)),
            // Some errors give their response only once.
            Err(error) => {
                Err(InternalError::from_response(error, self.response.map_into_boxed_body()).into())
            }
        }
    }
}

impl<B: MessageBody + 'static> HandlerResponse for Answer<B> {
    fn take_head(&mut self) -> Head {
        Head {
            status: bridge::status(self.response.status()),
            headers: bridge::headers(self.response.headers()),
            uncharged: self.response.extensions().contains::<Uncharged>(),
        }
    }

    fn with_headers(mut self, headers: HeaderMap) -> Self {
        *self.response.headers_mut() = bridge::to_actix_headers(&headers);
        self
    }

    fn replaced_by(self, answer: Response<Bytes>) -> Self {
        Self { response: bridge::to_actix(answer).map_into_right_body(), ..self }
    }

    fn length(&mut self) -> Option<u64> {
        match self.response.body().size() {
            BodySize::None => Some(0),
            BodySize::Sized(bytes) => Some(bytes),
            BodySize::Stream => None,
        }
    }

    async fn read(&mut self, limit: usize) -> Result<Option<Bytes>, Unread> {
        let status = self.response.status();
        let unread = HttpResponse::with_body(status, EitherBody::right(BoxBody::new(())));
        let (head, body) = mem::replace(&mut self.response, unread).into_parts();
        if matches!(body.size(), BodySize::None) {
            self.response = head.set_body(body);
            return Ok(Some(Bytes::new()));
        }
        let (mut body, mut read) = (pin!(body), Vec::new());
        while let Some(piece) = poll_fn(|cx| body.as_mut().poll_next(cx)).await {
            let piece = piece.map_err(|_| Unread::Broken)?;
            if read.len() + piece.len() > limit {
                return Err(Unread::TooLong);
            }
            read.extend_from_slice(&piece);
        }
        let read = Bytes::from(read);
        self.response = head.set_body(EitherBody::right(BoxBody::new(read.clone())));
        Ok(Some(read))
    }
}

/// The gate's answer to a request.
pub(crate) fn answered<B>(request: HttpRequest, answer: Response<Bytes>) -> ServiceResponse<EitherBody<B>> {
    ServiceResponse::new(request, bridge::to_actix(answer).map_into_right_body())
}
