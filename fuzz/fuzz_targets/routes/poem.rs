//! A random app in poem.

use http::Method;
use poem::{
    Body, Endpoint, EndpointExt, Request, RequestParts, Response, Route, RouteMethod,
    endpoint::{BoxEndpoint, make_sync},
    http::uri::Scheme,
    web::{LocalAddr, RemoteAddr},
};
use x402_core::gate::PaymentGate;
use x402_poem::{ChargedRoute, GateExt};

use crate::{
    Answer, Client,
    apps::{App, Charged, Group, Node, Table, Way, cent},
    sell,
};

type Served = BoxEndpoint<'static>;

pub fn open(app: &App, gate: &PaymentGate, priced: bool) -> Client {
    let app = std::rc::Rc::new(made(&app.root, gate, priced));
    Box::new(move |request| {
        let (app, head) = (app.clone(), request.into_parts().0);
        let head = RequestParts::from((head, LocalAddr::default(), RemoteAddr::default(), Scheme::HTTP));
        Box::pin(async move {
            let response = app.get_response(Request::from_parts(head, Body::empty())).await;
            let (head, body) = response.into_parts();
            let body = body.into_vec().await.expect("a body");
            let text = format!("{:?} {}", head.headers, String::from_utf8_lossy(&body));
            Some(Answer { status: head.status.as_u16(), text })
        })
    })
}

fn made(group: &Group, gate: &PaymentGate, priced: bool) -> Served {
    let route = match group.table.clone().filter(|_| priced) {
        Some(Table(table, _)) => {
            let routes = gate.charge_routes(table).expect("a table");
            put(routes, group, gate, priced).build().unwrap_or_else(|error| panic!("{error}: {group:?}"))
        }
        None => put(Route::new(), group, gate, priced),
    };
    charged(route, group.charged && priced, gate)
}

fn charged<E: Endpoint<Output = Response> + 'static>(
    endpoint: E,
    is_charged: bool,
    gate: &PaymentGate,
) -> Served {
    if is_charged { endpoint.with(gate.charge(cent()).expect("a charge")).boxed() } else { endpoint.boxed() }
}

/// What routes are put in, with a table or without.
trait Routes: Sized {
    fn at(self, path: &str, endpoint: Served) -> Self;
    fn nest(self, path: &str, routes: impl FnOnce(Self) -> Self) -> Self;
    fn service(self, path: &str, endpoint: Served) -> Self;
}

impl Routes for Route {
    fn at(self, path: &str, endpoint: Served) -> Self {
        self.at(path, endpoint)
    }
    fn nest(self, path: &str, routes: impl FnOnce(Self) -> Self) -> Self {
        self.nest(path, routes(Route::new()))
    }
    fn service(self, path: &str, endpoint: Served) -> Self {
        self.nest(path, endpoint)
    }
}

impl Routes for ChargedRoute {
    fn at(self, path: &str, endpoint: Served) -> Self {
        self.at(path, endpoint)
    }
    fn nest(self, path: &str, routes: impl FnOnce(Self) -> Self) -> Self {
        self.nest(path, routes)
    }
    fn service(self, path: &str, endpoint: Served) -> Self {
        self.nest_unlisted(path, endpoint)
    }
}

fn put<R: Routes>(routes: R, group: &Group, gate: &PaymentGate, priced: bool) -> R {
    group.nodes.iter().fold(routes, |routes, node| match node {
        Node::Route(route) => routes.at(&route.paths[0], endpoint(route, gate, priced)),
        Node::Group(group) => match group.way {
            Way::Dispatched => routes.at(&group.path, made(group, gate, priced)),
            Way::Nested | Way::Merged if !group.is_made() => {
                routes.nest(&group.path, |inner| put(inner, group, gate, priced))
            }
            _ => routes.service(&group.path, made(group, gate, priced)),
        },
    })
}

fn endpoint(route: &crate::apps::Route, gate: &PaymentGate, priced: bool) -> Served {
    let endpoints = route.handlers.iter().enumerate().map(|(at, (method, handler))| {
        let handler = *handler;
        let sold = make_sync(move |_| {
            Response::builder().header("x-sold", sell(handler)).body(crate::marker(handler))
        });
        let first = priced && at == 0 && route.charged == Some(Charged::First);
        (method.clone(), charged(sold, first, gate))
    });
    let (mut methods, mut all) = (RouteMethod::new(), None);
    for (method, endpoint) in endpoints {
        match method {
            Some(Method::POST) => methods = methods.post(endpoint),
            Some(_) => methods = methods.get(endpoint),
            None => all = Some(endpoint),
        }
    }
    charged(all.unwrap_or_else(|| methods.boxed()), priced && route.charged == Some(Charged::All), gate)
}
