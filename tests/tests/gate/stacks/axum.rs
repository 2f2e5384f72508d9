//! The shop in axum.

use axum::{
    Router,
    body::{Body, Bytes},
    extract::ws::WebSocketUpgrade,
    handler::Handler,
    response::{AppendHeaders, IntoResponse, Response},
    routing::{MethodRouter, any, get, post},
};
use tower_http::cors::{Any, CorsLayer};
use x402_axum::{GateExt, Paid, Uncharged};
use x402_core::gate::{ConfigError, PaymentGate};
use x402_core::wire::RESPONSE_HEADERS;
use x402_tests::serve::Serving;

use crate::goods::{Good, Goods, Methods, Reply, ReplyBody, Shelf, Stock};

pub async fn serve(gate: PaymentGate, goods: Goods, stock: Stock) -> Result<Serving, ConfigError> {
    Ok(Serving::start(router(&gate, &goods, stock)?).await.unwrap())
}

fn router(gate: &PaymentGate, goods: &Goods, stock: Stock) -> Result<Router, ConfigError> {
    Ok(match stock {
        Stock::Priced(shelves) => stocked(gate, goods, shelves)?,
        Stock::Nested(shelves) => Router::new().nest("/api", stocked(gate, goods, shelves)?),
        Stock::Listed(shelves, table) => gate.charge_routes(stocked(gate, goods, shelves)?, table)?,
        Stock::NestedListed(shelves, table) => {
            let nested = Router::new().nest("/api", stocked(gate, goods, shelves)?);
            gate.charge_routes(nested, table)?
        }
        Stock::Whole(shelves, charge) => stocked(gate, goods, shelves)?.layer(gate.charge(charge)?),
        Stock::Shared(shelves) => stocked(gate, goods, shelves)?.layer(cors()),
        Stock::SharedInside(shelves, table) => {
            gate.charge_routes(stocked(gate, goods, shelves)?.layer(cors()), table)?
        }
    })
}

fn cors() -> CorsLayer {
    CorsLayer::new().allow_origin(Any).allow_headers(Any).allow_methods(Any).expose_headers(RESPONSE_HEADERS)
}

fn stocked(gate: &PaymentGate, goods: &Goods, shelves: Vec<Shelf>) -> Result<Router, ConfigError> {
    shelves.into_iter().try_fold(Router::new(), |router, Shelf { path, methods, charge, good }| {
        let handler = handler(goods, methods, good);
        let handler = match charge {
            Some(charge) => handler.layer(gate.charge(charge)?),
            None => handler,
        };
        Ok(router.route(path, handler))
    })
}

fn handler(goods: &Goods, methods: Methods, good: Good) -> MethodRouter {
    let goods = goods.clone();
    match good {
        Good::Who => on(methods, async move |Paid(payment): Paid| goods.who(&payment)),
        Good::Maybe => on(methods, async |paid: Option<Paid>| paid.is_some().to_string()),
        Good::Echo => on(methods, async move |body: Bytes| goods.echo(&body)),
        Good::Socket => on(methods, async move |upgrade: WebSocketUpgrade| {
            goods.visits.count();
            upgrade.on_upgrade(async |mut socket| {
                while let Some(Ok(message)) = socket.recv().await {
                    let _ = socket.send(message).await;
                }
            })
        }),
        good => on(methods, async move || goods.make(good).await.map(respond)),
    }
}

fn on<H: Handler<T, ()>, T: 'static>(methods: Methods, handler: H) -> MethodRouter {
    match methods {
        Methods::Any => any(handler),
        Methods::Get => get(handler),
        Methods::Post => post(handler),
    }
}

fn respond(reply: Reply) -> Response {
    let body = match reply.body {
        ReplyBody::Whole(bytes) => Body::from(bytes),
        ReplyBody::Pieces(pieces) => Body::new(pieces),
    };
    let response = (reply.status, AppendHeaders(reply.headers), body);
    if reply.uncharged { (Uncharged, response).into_response() } else { response.into_response() }
}
