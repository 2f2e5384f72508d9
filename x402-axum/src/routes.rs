//! A table's keys, held against the routes of a router.
//!
//! axum does not list its routes, so it is asked: a request for each key is sent through a copy of the router, where
//! every route answers with its own pattern and no handler runs.

use std::{
    collections::HashMap,
    pin::pin,
    task::{Context, Poll, Waker},
};

use axum::{
    Router,
    body::Body,
    extract::{MatchedPath, Request},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
};
use tower_service::Service;
use x402_core::gate::{ConfigError, RouteMethods, RouteTable};

/// Stands for a parameter's value.
const ANY: &str = "x402-any-value";
/// Stands for a wildcard's value, which no other parameter takes.
const ANY_REST: &str = "x402-any-value/x402-any-value";

/// Every key of the table is a route of the router's, and its method one that the route takes.
pub(crate) fn check(app: &Router, table: &RouteTable) -> Result<(), ConfigError> {
    let mut keys = table.keys().peekable();
    if keys.peek().is_none() {
        return Ok(()); // an error of its own
    }
    let mut asked = app.has_routes().then(|| {
        app.clone().reset_fallback().fallback(async || StatusCode::NOT_FOUND).route_layer(from_fn(name))
    });
    let mut methods = HashMap::new();
    for (method, pattern) in keys {
        let mut ask = |pattern: &str| {
            asked
                .as_mut()
                .map_or(Reached::Nothing, |asked| reach(asked, method.unwrap_or(&Method::GET), pattern).0)
        };
        let root = format!("{}/", pattern.trim_end_matches('/'));
        let found = match (ask(pattern), ask(&format!("{root}{ANY}")), ask(&root)) {
            // A nested service: its root has a name, and what is below it has none and would be given away.
            (Reached::Route(_), Reached::Service, Reached::Route(at)) if at.as_str() == root => None,
            (Reached::Route(found), _, _) => Some(found),
            _ => None,
        };
        if found.as_ref().map(MatchedPath::as_str) != Some(pattern) {
            let route = method.map_or_else(|| pattern.to_owned(), |method| format!("{method} {pattern}"));
            let nearest = found.map(|found| found.as_str().to_owned());
            return Err(ConfigError::NoSuchRoute { route, nearest });
        }
        if let Some(asked) = asked.as_mut().filter(|_| !methods.contains_key(pattern)) {
            methods.insert(pattern, allowed(&reach(asked, &unheard_of(), pattern).1));
        }
    }
    table.check_methods(|pattern| methods.get(pattern).cloned().unwrap_or(RouteMethods::Untold))
}

/// A method that no route names: it reaches those that take all, and what answers for the others.
fn unheard_of() -> Method {
    Method::from_bytes(b"X402-ANY").expect("a token")
}

/// axum adds the methods that a route has to whatever answers for one that it has not, which is the copy's answer here; a
/// route that takes all has none to add.
fn allowed(headers: &HeaderMap) -> RouteMethods {
    let Some(allow) = headers.get(header::ALLOW) else { return RouteMethods::All };
    let names = allow.to_str().unwrap_or_default().split(',').map(str::trim);
    RouteMethods::These(names.filter_map(|name| name.parse().ok()).collect())
}

/// Where a request goes.
#[derive(Clone)]
enum Reached {
    /// To a route, whose pattern axum tells.
    Route(MatchedPath),
    /// Into a nested service, for which it tells none.
    Service,
    /// To the fallback.
    Nothing,
}

/// Answers with the matched pattern.
async fn name(request: Request, _handler: Next) -> Response {
    let reached = match request.extensions().get::<MatchedPath>() {
        Some(path) => Reached::Route(path.clone()),
        None => Reached::Service,
    };
    let mut response = StatusCode::OK.into_response();
    response.extensions_mut().insert(reached);
    response
}

fn reach(asked: &mut Router, method: &Method, pattern: &str) -> (Reached, HeaderMap) {
    let segments = pattern.split('/').map(|segment| {
        let (open, close) = ("\u{1}", "\u{2}");
        let segment = segment.replace("{{", open).replace("}}", close);
        let made = match segment.find('{') {
            Some(at) if segment[at..].starts_with("{*") => format!("{}{ANY_REST}", &segment[..at]),
            Some(at) => format!("{}{ANY}", &segment[..at]),
            None => segment,
        };
        made.replace(open, "{").replace(close, "}")
    });
    let path = segments.collect::<Vec<_>>().join("/");
    let nothing = || (Reached::Nothing, HeaderMap::new());
    let Ok(request) = Request::builder().method(method).uri(path).body(Body::empty()) else {
        return nothing();
    };
    let answer = pin!(Service::call(asked, request));
    // Nothing in the copy waits for anything.
    match answer.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(mut response)) => {
            let reached = response.extensions().get().cloned().unwrap_or(Reached::Nothing);
            (reached, std::mem::take(response.headers_mut()))
        }
        Poll::Ready(Err(never)) => match never {},
        Poll::Pending => nothing(),
    }
}
