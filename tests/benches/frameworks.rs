//! What the gate costs a request in each framework, in process: `cargo bench -p x402-tests --bench frameworks`.
//!
//! Read a framework's `free` and `unpaid` against its own `bare`, the same handler in an app without a gate.

use std::{cell::RefCell, convert::Infallible, sync::OnceLock};

use divan::Bencher;
use http_body_util::Full;
use tokio::runtime::Runtime;
use x402_core::{
    gate::{Charge, PaymentGate, RouteTable, exact},
    network::BASE_SEPOLIA,
};
use x402_tests::{chain, script::Script};

/// An app without a gate, a free route and a paid one of an app with a table.
const KINDS: [&str; 3] = ["/bare/1", "/free/1", "/paid/1"];

fn main() {
    divan::main();
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().expect("a runtime"))
}

fn gate() -> PaymentGate {
    static GATE: OnceLock<PaymentGate> = OnceLock::new();
    let build = || {
        let _inside = runtime().enter();
        let builder = PaymentGate::builder("https://bench.test").facilitator(Script::new());
        let gate = builder.scheme(x402_evm::exact::server()).build().expect("a gate");
        runtime().block_on(gate.ready()).expect("the scripted facilitator settles all of it");
        gate
    };
    GATE.get_or_init(build).clone()
}

fn prices(pattern: &str) -> RouteTable {
    let price: Charge = exact("$0.01").on(BASE_SEPOLIA).to(chain::merchant().address());
    RouteTable::new().route(pattern, price).expect("a route")
}

#[divan::bench(args = KINDS)]
fn axum(bencher: Bencher<'_, '_>, path: &str) {
    use axum::{Router, body::Body, http::Request, routing::get};
    use tower::ServiceExt;
    use x402_axum::GateExt;

    let routes = || ["/bare/{id}", "/free/{id}", "/paid/{id}"].map(|path| (path, get(async || "goods")));
    let app = routes().into_iter().fold(Router::new(), |app, (path, handler)| app.route(path, handler));
    let charged = || gate().charge_routes(app.clone(), prices("GET /paid/{id}")).expect("a table");
    let app = if path.starts_with("/bare") { app } else { charged() };
    bencher
        .with_inputs(|| Request::get(path).body(Body::empty()).expect("a request"))
        .bench_local_values(|request| runtime().block_on(app.clone().oneshot(request)).expect("an answer"));
}

#[divan::bench(args = KINDS)]
fn actix(bencher: Bencher<'_, '_>, path: &str) {
    use actix_web::{App, middleware::Condition, rt::System, test, web};
    use x402_actix::GateExt;

    let system = System::new();
    let prices = gate().charge_routes(prices("GET /paid/{id}")).expect("a table");
    let app = App::new()
        .route("/bare/{id}", web::get().to(async || "goods"))
        .route("/free/{id}", web::get().to(async || "goods"))
        .route("/paid/{id}", web::get().to(async || "goods"))
        .wrap(Condition::new(!path.starts_with("/bare"), prices));
    let app = system.block_on(test::init_service(app));
    bencher
        .with_inputs(|| test::TestRequest::get().uri(path).to_request())
        .bench_local_values(|request| system.block_on(test::call_service(&app, request)));
}

#[divan::bench(args = KINDS)]
fn poem(bencher: Bencher<'_, '_>, path: &str) {
    use poem::{Endpoint, Request, Response, Route, endpoint::make_sync, get, http::Uri};
    use x402_poem::GateExt;

    let goods = || get(make_sync(|_| "goods"));
    let app = if path.starts_with("/bare") {
        Route::new().at("/bare/:id", goods()).at("/free/:id", goods()).at("/paid/:id", goods())
    } else {
        let routes = gate().charge_routes(prices("GET /paid/:id")).expect("a table");
        let routes = routes.at("/bare/:id", goods()).at("/free/:id", goods()).at("/paid/:id", goods());
        routes.build().expect("routes")
    };
    let uri: Uri = path.parse().expect("a path");
    bencher
        .with_inputs(|| Request::builder().uri(uri.clone()).finish())
        .bench_local_values(|request| -> Response { runtime().block_on(app.get_response(request)) });
}

#[divan::bench(args = KINDS)]
fn tower(bencher: Bencher<'_, '_>, path: &str) {
    use http::{Request, Response};
    use tower::{Layer, ServiceExt, service_fn, util::BoxCloneSyncService};
    use x402_tower::{GateBody, GateExt, Routing};

    let goods = service_fn(async |_: Request<Full<&'static [u8]>>| {
        Ok::<_, Infallible>(Response::new(Full::new(bytes::Bytes::from_static(b"goods"))))
    });
    // The routes are literal here: what is matched is the path.
    let routing = Routing { route: |parts| Ok(Some(parts.uri.path())), ..Routing::NONE };
    let layer = gate().charge_routes(prices("GET /paid/1"), KINDS, routing).expect("a table");
    let app = if path.starts_with("/bare") {
        BoxCloneSyncService::new(goods.map_response(|response| response.map(GateBody::new)))
    } else {
        BoxCloneSyncService::new(layer.layer(goods))
    };
    let app = RefCell::new(app);
    bencher.with_inputs(|| Request::get(path).body(Full::default()).expect("a request")).bench_local_values(
        |request| runtime().block_on(app.borrow().clone().oneshot(request)).expect("an answer"),
    );
}
