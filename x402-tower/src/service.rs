//! The service.

use std::{
    mem,
    task::{Context, Poll},
};

use http::{Method, Request, Response, request::Parts};
use http_body::Body;
use tower_service::Service;
use x402_core::gate::{Passage, PricedRoute, RequestView, Toll};

use crate::{
    body::GateBody,
    future::GateFuture,
    layer::{Routing, Unclear},
};

/// A service whose requests are charged.
#[derive(Debug, Clone)]
pub struct PaymentService<S> {
    inner: S,
    toll: Toll,
    routing: Routing,
}

impl<S> PaymentService<S> {
    pub(crate) fn new(inner: S, toll: Toll, routing: Routing) -> Self {
        Self { inner, toll, routing }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for PaymentService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: 'static,
    ReqBody: Send + 'static,
    ResBody: Body + Send + 'static,
{
    type Response = Response<GateBody<ResBody>>;
    type Error = S::Error;
    type Future = GateFuture<S::Future, ResBody, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let (parts, body) = request.into_parts();
        let passage = match (self.routing.route)(&parts) {
            Ok(route) => self.toll.passage(&parts.method, route),
            Err(Unclear) => self.toll.unclear(&parts.method),
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
    body: ReqBody,
) -> Result<Response<GateBody<ResBody>>, S::Error>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body,
{
    let view = RequestView {
        method: &parts.method,
        uri: (routing.uri)(&parts),
        headers: &parts.headers,
        route: (routing.whole)(&parts).or_else(|| (routing.route)(&parts).ok().flatten()),
        access: parts.extensions.get(),
    };
    let bare = parts.method == Method::HEAD;
    let pass = match route.admit(view).await {
        Ok(pass) => pass,
        Err(answer) => return Ok(answer.map(GateBody::from)),
    };
    parts.extensions.insert(pass.access());
    let response = match inner.call(Request::from_parts(parts, body)).await {
        Ok(response) => response,
        Err(error) => {
            pass.fail();
            return Err(error);
        }
    };
    Ok(pass.finish(GateBody::to(bare, response)).await)
}
