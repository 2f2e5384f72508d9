//! The shop in poem.

use futures_util::{SinkExt, StreamExt};
use http_body_util::BodyExt;
use poem::{
    Body, Endpoint, EndpointExt, Error, IntoEndpoint, IntoResponse, Response, Route, RouteMethod, Server,
    endpoint::{BoxEndpoint, make},
    handler,
    listener::TcpAcceptor,
    middleware::Cors,
    web::{Data, websocket::WebSocket},
};
use x402_core::gate::{ConfigError, PaymentGate};
use x402_core::wire::RESPONSE_HEADERS;
use x402_poem::{GateExt, Paid, Uncharged};
use x402_tests::serve::Serving;

use crate::goods::{Good, Goods, Methods, Reply, ReplyBody, Shelf, Stock};

pub fn serve(gate: PaymentGate, goods: Goods, stock: Stock) -> Result<Serving, ConfigError> {
    Ok(match stock {
        Stock::Priced(shelves) => listen(stocked(&gate, &goods, shelves)?),
        Stock::Nested(shelves) => listen(Route::new().nest("/api", stocked(&gate, &goods, shelves)?)),
        Stock::Listed(shelves, table) => {
            let put = |routes, shelf: Shelf| at(routes, &shelf, &goods);
            listen(shelves.into_iter().fold(gate.charge_routes(table)?, put).build()?)
        }
        Stock::NestedListed(shelves, table) => {
            let put = |routes, shelf: Shelf| at(routes, &shelf, &goods);
            let nested = gate.charge_routes(table)?.nest("/api", |api| shelves.into_iter().fold(api, put));
            listen(nested.build()?)
        }
        Stock::Whole(shelves, charge) => listen(stocked(&gate, &goods, shelves)?.with(gate.charge(charge)?)),
        Stock::Shared(shelves) => listen(stocked(&gate, &goods, shelves)?.with(cors())),
        Stock::SharedInside(shelves, table) => {
            let put = |routes: x402_poem::ChargedRoute, shelf: Shelf| {
                let endpoint = endpoint(&goods, shelf.methods, shelf.good);
                routes.at(path(&shelf), endpoint.with(cors()))
            };
            listen(shelves.into_iter().fold(gate.charge_routes(table)?, put).build()?)
        }
    })
}

fn cors() -> Cors {
    Cors::new().expose_headers(RESPONSE_HEADERS)
}

fn at(routes: x402_poem::ChargedRoute, shelf: &Shelf, goods: &Goods) -> x402_poem::ChargedRoute {
    routes.at(path(shelf), endpoint(goods, shelf.methods, shelf.good))
}

fn stocked(gate: &PaymentGate, goods: &Goods, shelves: Vec<Shelf>) -> Result<Route, ConfigError> {
    shelves.into_iter().try_fold(Route::new(), |route, shelf| {
        let path = path(&shelf);
        let endpoint = endpoint(goods, shelf.methods, shelf.good);
        Ok(match shelf.charge {
            Some(charge) => route.at(path, endpoint.with(gate.charge(charge)?)),
            None => route.at(path, endpoint),
        })
    })
}

/// The shelf's pattern in poem's words.
fn path(shelf: &Shelf) -> String {
    shelf.path.replace('{', ":").replace('}', "")
}

fn endpoint(goods: &Goods, methods: Methods, good: Good) -> BoxEndpoint<'static> {
    let data = goods.clone();
    match good {
        Good::Who => on(methods, who.data(data)),
        Good::Maybe => on(methods, maybe),
        Good::Echo => on(methods, echo.data(data)),
        Good::Socket => on(methods, socket.data(data)),
        good => on(
            methods,
            make(move |_| {
                let goods = data.clone();
                async move { goods.make(good).await.map(respond).map_err(Error::from_status) }
            }),
        ),
    }
}

fn on<E>(methods: Methods, endpoint: E) -> BoxEndpoint<'static>
where
    E: IntoEndpoint,
    E::Endpoint: 'static,
{
    let endpoint = endpoint.into_endpoint().map_to_response();
    match methods {
        Methods::Any => endpoint.boxed(),
        Methods::Get => RouteMethod::new().get(endpoint).boxed(),
        Methods::Post => RouteMethod::new().post(endpoint).boxed(),
    }
}

#[handler]
fn who(Paid(payment): Paid, goods: Data<&Goods>) -> String {
    goods.who(&payment)
}

#[handler]
fn maybe(paid: Option<Paid>) -> String {
    paid.is_some().to_string()
}

#[handler]
fn echo(body: Vec<u8>, goods: Data<&Goods>) -> String {
    goods.echo(&body)
}

#[handler]
fn socket(upgrade: WebSocket, goods: Data<&Goods>) -> impl IntoResponse + use<> {
    goods.visits.count();
    upgrade.on_upgrade(async |mut socket| {
        while let Some(Ok(message)) = socket.next().await {
            let _ = socket.send(message).await;
        }
    })
}

fn respond(reply: Reply) -> Response {
    let body = match reply.body {
        ReplyBody::Whole(bytes) => Body::from(bytes),
        ReplyBody::Pieces(pieces) => Body::from(BodyExt::boxed(pieces)),
    };
    let mut response = Response::builder().status(reply.status).body(body);
    for (name, value) in reply.headers {
        response.headers_mut().append(name, value.parse().unwrap());
    }
    if reply.uncharged { Uncharged(response).into_response() } else { response }
}

fn listen(app: impl Endpoint + 'static) -> Serving {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TcpAcceptor::from_std(listener).unwrap();
    let task = tokio::spawn(async move {
        let _ = Server::new_with_acceptor(acceptor).run(app).await;
    });
    Serving::running(address, task)
}
