//! A random app of tower's services, found by matchit.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use matchit::Router;
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneSyncService};
use x402_core::gate::PaymentGate;
use x402_tower::{GateExt, PaymentLayer, Routing};

use crate::{
    Answer, Client,
    apps::{App, Framework, Group, Node, Route, Table, cent, joined},
    sell,
};

type Body = UnsyncBoxBody<Bytes, Infallible>;
type Service = BoxCloneSyncService<Request<()>, Response<Body>, Infallible>;

#[derive(Clone)]
struct Matched(Arc<str>);

const BY_ROUTE: Routing =
    Routing { route: |parts| Ok(parts.extensions.get().map(|Matched(pattern)| &**pattern)), ..Routing::NONE };

pub fn open(app: &App, gate: &PaymentGate, priced: bool) -> Client {
    let mut services = services(&app.root, "", gate, priced);
    if let Some(Table(table, _)) = app.root.table.clone().filter(|_| priced) {
        let patterns = services.iter().map(|(pattern, _)| pattern.as_str());
        let layer = gate.charge_routes(table, patterns, BY_ROUTE);
        let layer = layer.unwrap_or_else(|error| panic!("{error}: {:?}", app.root));
        services = layered(services, &layer);
    }
    let mut router = Router::new();
    for (pattern, service) in services {
        router.insert(pattern.clone(), (Matched(pattern.into()), service)).expect("no such route yet");
    }
    Box::new(move |mut request| {
        let found = router.at(request.uri().path()).map(|found| found.value.clone());
        Box::pin(async move {
            let Ok((pattern, service)) = found else {
                return Some(Answer { status: 404, text: String::new() });
            };
            request.extensions_mut().insert(pattern);
            let Ok(response) = service.oneshot(request).await;
            let (head, body) = response.into_parts();
            let Ok(body) = body.collect().await;
            let text = format!("{:?} {}", head.headers, String::from_utf8_lossy(&body.to_bytes()));
            Some(Answer { status: head.status.as_u16(), text })
        })
    })
}

/// The routes of a group, which is taken apart.
fn services(group: &Group, prefix: &str, gate: &PaymentGate, priced: bool) -> Vec<(String, Service)> {
    let charge = || gate.charge(cent()).expect("a charge");
    let mut all = Vec::new();
    for node in &group.nodes {
        match node {
            Node::Route(route) => {
                let one = (joined(Framework::Tower, prefix, &route.paths[0]), handler(route));
                let paid = route.charged.is_some() && priced;
                all.extend(if paid { layered(vec![one], &charge()) } else { vec![one] });
            }
            Node::Group(inner) => {
                let prefix = joined(Framework::Tower, prefix, &inner.path);
                all.extend(services(inner, &prefix, gate, priced));
            }
        }
    }
    if group.charged && priced { layered(all, &charge()) } else { all }
}

fn layered(services: Vec<(String, Service)>, layer: &PaymentLayer) -> Vec<(String, Service)> {
    let one = |service| layer.layer(service).map_response(|response| response.map(BodyExt::boxed_unsync));
    services.into_iter().map(|(pattern, service)| (pattern, Service::new(one(service)))).collect()
}

fn handler(route: &Route) -> Service {
    let handlers = route.handlers.clone();
    Service::new(service_fn(move |request: Request<()>| {
        let takes = |taken: &Option<Method>| match taken {
            Some(taken) => {
                taken == request.method() || (taken == Method::GET && request.method() == Method::HEAD)
            }
            None => true,
        };
        let found = handlers.iter().find(|(taken, _)| takes(taken));
        let text = found.map_or(String::new(), |(_, handler)| sell(*handler));
        let status = if found.is_some() { StatusCode::OK } else { StatusCode::METHOD_NOT_ALLOWED };
        let response = Response::builder().status(status).header("x-sold", &text);
        async { Ok(response.body(Full::from(text).boxed_unsync()).expect("a response")) }
    }))
}
