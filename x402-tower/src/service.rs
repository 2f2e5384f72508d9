//! The service.

use std::{
    mem,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Method, Request, Response, Version, header::CONTENT_LENGTH, request::Parts};
use http_body::Body;
use tower_service::Service;
use x402_core::gate::{Passage, PricedRoute, RequestView, Toll, is_preflight};

use crate::{
    answer::Answer,
    body::GateBody,
    future::GateFuture,
    layer::{Routing, Unclear},
    upload::{Upload, Uploads},
};

/// A service whose requests are charged.
#[derive(Debug, Clone)]
pub struct PaymentService<S> {
    inner: S,
    toll: Toll,
    routing: Routing,
    uploads: Uploads,
}

impl<S> PaymentService<S> {
    pub(crate) fn new(inner: S, toll: Toll, routing: Routing, uploads: Uploads) -> Self {
        Self { inner, toll, routing, uploads }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for PaymentService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: 'static,
    ReqBody: Send + 'static,
    ResBody: Body<Data = Bytes> + Send + 'static,
{
    type Response = Response<GateBody<ResBody>>;
    type Error = S::Error;
    type Future = GateFuture<S::Future, ResBody, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let (parts, body) = request.into_parts();
        let is_preflight = is_preflight(&parts.method, |name| parts.headers.contains_key(name));
        let passage = match (self.routing.route)(&parts) {
            Ok(route) => self.toll.passage(&parts.method, is_preflight, route),
            Err(Unclear) => self.toll.unclear(&parts.method, is_preflight),
        };
        match passage {
            Passage::Free => {
                let bare = parts.method == Method::HEAD;
                GateFuture::free(self.inner.call(Request::from_parts(parts, body)), bare)
            }
            Passage::Refused(answer) => GateFuture::refused(answer),
            Passage::Charged(route) => {
                // The service that was polled ready is the one to call; its clone has yet to become so.
                let clone = self.inner.clone();
                let ready = mem::replace(&mut self.inner, clone);
                let length = parts.headers.get(CONTENT_LENGTH);
                let is_bodiless =
                    parts.version < Version::HTTP_2 && length.is_none_or(|length| length == "0");
                let body = self.uploads.upload(body, is_bodiless);
                GateFuture::charged(charged(ready, route, self.routing, parts, body))
            }
        }
    }
}

async fn charged<S, ReqBody, ResBody>(
    mut inner: S,
    route: PricedRoute,
    routing: Routing,
    mut parts: Parts,
    mut body: Upload<ReqBody>,
) -> Result<Response<GateBody<ResBody>>, S::Error>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ReqBody: Send + 'static,
    ResBody: Body<Data = Bytes>,
{
    let view = RequestView {
        method: &parts.method,
        uri: (routing.uri)(&parts),
        headers: &parts.headers,
        route: (routing.whole)(&parts).or_else(|| (routing.route)(&parts).ok().flatten()),
        access: parts.extensions.get(),
    };
    let bare = parts.method == Method::HEAD;
    let pass = match route.admit(view, &mut body).await {
        Ok(pass) => pass,
        Err(answer) => return Ok(answer.map(GateBody::from)),
    };
    if let Some(access) = pass.access() {
        parts.extensions.insert(access);
    }
    let response = match inner.call(Request::from_parts(parts, body.into_inner())).await {
        Ok(response) => response,
        Err(error) => {
            pass.fail();
            return Err(error);
        }
    };
    Ok(pass.finish(Answer(GateBody::to(bare, response))).await.0)
}
