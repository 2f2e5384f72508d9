//! A random app in actix-web.

use std::rc::Rc;

use actix_web::{
    App as ActixApp, HttpResponse, Responder, guard,
    http::{Method, Uri},
    middleware::{Condition, NormalizePath},
    test::{TestRequest, init_service, read_body, try_call_service},
    web::{self, ServiceConfig},
};
use x402_actix::{GateExt, PaymentMiddleware};
use x402_core::gate::PaymentGate;

use crate::{
    Answer, Client,
    apps::{App, Group, Node, Route, Table, cent},
    marker, sell,
};

pub async fn open(app: &App, gate: &PaymentGate, priced: bool) -> Client {
    let (root, [inside, outside]) = (&app.root, app.trims);
    let service = ActixApp::new()
        .configure(|config| put(config, root, gate, priced))
        .wrap(Condition::new(inside, NormalizePath::trim()))
        .wrap(by_table(root.table.as_ref().filter(|_| priced), gate))
        .wrap(by_charge(root.charged && priced, gate))
        .wrap(Condition::new(outside, NormalizePath::trim()));
    let service = Rc::new(init_service(service).await);
    Box::new(move |request| {
        let service = service.clone();
        Box::pin(async move {
            let method: Method = request.method().as_str().parse().ok()?;
            let uri: Uri = request.uri().to_string().parse().ok()?;
            let request = TestRequest::default().method(method).uri(&uri.to_string()).to_request();
            let response = try_call_service(&*service, request).await.expect("no middleware fails");
            let (status, headers) = (response.status().as_u16(), format!("{:?}", response.headers()));
            let body = read_body(response).await;
            Some(Answer { status, text: format!("{headers} {}", String::from_utf8_lossy(&body)) })
        })
    })
}

fn put(config: &mut ServiceConfig, group: &Group, gate: &PaymentGate, priced: bool) {
    for node in &group.nodes {
        match node {
            Node::Route(route) => {
                let resource = resource(route);
                config.service(resource.wrap(by_charge(route.charged.is_some() && priced, gate)));
            }
            Node::Group(inner) => {
                let mut scope = web::scope(&inner.path).configure(|config| put(config, inner, gate, priced));
                if inner.guarded {
                    scope = scope.guard(guard::fn_guard(|context| context.head().uri.query() == Some("g")));
                }
                let table = by_table(inner.table.as_ref().filter(|_| priced), gate);
                config.service(scope.wrap(table).wrap(by_charge(inner.charged && priced, gate)));
            }
        }
    }
    if let Some(fallback) = group.fallback {
        config.default_service(web::to(move || sold(fallback)));
    }
}

fn resource(route: &Route) -> actix_web::Resource {
    let mut resource = web::resource(route.paths.clone());
    for (method, handler) in &route.handlers {
        let handler = *handler;
        let method = method.as_ref().map(|method| method.as_str().parse::<Method>().expect("a method"));
        resource = match method {
            None => resource.to(move || sold(handler)),
            Some(method) if route.guarded => resource.guard(guard::Method(method)).to(move || sold(handler)),
            Some(method) => resource.route(web::method(method).to(move || sold(handler))),
        };
    }
    resource
}

async fn sold(handler: usize) -> impl Responder {
    HttpResponse::Ok().insert_header(("x-sold", sell(handler))).body(marker(handler))
}

fn by_table(table: Option<&Table>, gate: &PaymentGate) -> Condition<PaymentMiddleware> {
    match table {
        Some(table) => Condition::new(true, gate.charge_routes(table.0.clone()).expect("patterns")),
        None => by_charge(false, gate),
    }
}

fn by_charge(is_charged: bool, gate: &PaymentGate) -> Condition<PaymentMiddleware> {
    Condition::new(is_charged, gate.charge(cent()).expect("a charge"))
}
