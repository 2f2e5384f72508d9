//! A random app in axum.

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    response::IntoResponse,
    routing::{MethodRouter, any},
};
use http::Method;
use tower::ServiceExt;
use x402_axum::GateExt;
use x402_core::gate::{ConfigError, PaymentGate};

use crate::{
    Answer, Client,
    apps::{App, Charged, Group, Node, Route, Table, Way, cent},
    sell,
};

/// `None`, if the table is refused, as it may be where a nested service could take what is below a key, and where a route
/// does not take its key's method.
pub fn open(app: &App, gate: &PaymentGate, priced: bool) -> Option<Client> {
    let router = match router(&app.root, gate, priced) {
        Ok(router) => router,
        Err(ConfigError::NoSuchRoute { route, .. }) if app.any(|group| group.way == Way::Service) => {
            let unclear = route.ends_with('/')
                || app.any(|group| group.path.contains('{') || group.path.ends_with('/'));
            return if unclear { None } else { panic!("{route} is one: {app:?}") };
        }
        // Of a method that the route does not take: nobody could pay for it.
        Err(ConfigError::NoSuchMethod { .. }) => return None,
        Err(error) => panic!("{error}: {app:?}"),
    };
    Some(Box::new(move |request| {
        let router = router.clone();
        Box::pin(async move {
            let Ok(response) = router.oneshot(request.map(|()| Body::empty())).await;
            let (head, body) = response.into_parts();
            let body = to_bytes(body, usize::MAX).await.expect("a body");
            let text = format!("{:?} {}", head.headers, String::from_utf8_lossy(&body));
            Some(Answer { status: head.status.as_u16(), text })
        })
    }))
}

fn router(group: &Group, gate: &PaymentGate, priced: bool) -> Result<Router, ConfigError> {
    let mut router = Router::new();
    for node in &group.nodes {
        router = match node {
            Node::Route(route) => router.route(&route.paths[0], methods(route, gate, priced)),
            Node::Group(group) => {
                let inner = self::router(group, gate, priced)?;
                match group.way {
                    Way::Nested => router.nest(&group.path, inner),
                    Way::Service => router.nest_service(&group.path, inner),
                    Way::Dispatched => {
                        router.route(&group.path, any(move |request: Request| inner.oneshot(request)))
                    }
                    Way::Merged => router.merge(inner),
                }
            }
        };
    }
    if let Some(fallback) = group.fallback {
        router = router.fallback(move || sold(fallback));
    }
    if let Some(Table(table, _)) = group.table.clone().filter(|_| priced) {
        router = gate.charge_routes(router, table)?;
    }
    Ok(if group.charged && priced { router.layer(gate.charge(cent())?) } else { router })
}

fn methods(route: &Route, gate: &PaymentGate, priced: bool) -> MethodRouter {
    let charge = || gate.charge(cent()).expect("a charge");
    let mut methods = MethodRouter::new();
    for (at, (method, handler)) in route.handlers.iter().enumerate() {
        let handler = *handler;
        methods = match method.as_ref() {
            None => any(move || sold(handler)),
            Some(&Method::POST) => methods.post(move || sold(handler)),
            Some(_) => methods.get(move || sold(handler)),
        };
        if priced && at == 0 && route.charged == Some(Charged::First) {
            methods = methods.layer(charge());
        }
    }
    if priced && route.charged == Some(Charged::All) { methods.layer(charge()) } else { methods }
}

async fn sold(handler: usize) -> impl IntoResponse {
    ([("x-sold", sell(handler))], crate::marker(handler))
}
