//! The shop without a framework: services of tower's, on hyper.

use std::{convert::Infallible, io, sync::Arc};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, request::Parts};
use http_body_util::{BodyExt, Empty, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use matchit::Router;
use tokio::net::TcpListener;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{handshake::derive_accept_key, protocol::Role},
};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_http::cors::{Any, CorsLayer};
use x402_core::gate::{Access, ConfigError, PaymentGate, PaymentInfo, Uncharged};
use x402_core::wire::RESPONSE_HEADERS;
use x402_tests::serve::Serving;
use x402_tower::{GateExt, PaymentLayer, Routing};

use crate::goods::{Good, Goods, Methods, Reply, ReplyBody, Shelf, Stock};

type Body = UnsyncBoxBody<Bytes, io::Error>;
/// hyper's own cannot be made again, once it was read.
type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Upload = UnsyncBoxBody<Bytes, hyper::Error>;
type Served = BoxCloneSyncService<Request<Upload>, Response<Body>, Infallible>;

pub async fn serve(gate: PaymentGate, goods: Goods, stock: Stock) -> Result<Serving, ConfigError> {
    Ok(listen(shop(&gate, &goods, stock)?).await)
}

fn shop(gate: &PaymentGate, goods: &Goods, stock: Stock) -> Result<Served, ConfigError> {
    let shelved = |prefix, shelves| Ok::<_, ConfigError>(routed(stocked(gate, goods, prefix, shelves)?));
    let listed = |prefix, shelves, table| {
        let routes = stocked(gate, goods, prefix, shelves)?;
        let layer =
            gate.charge_routes(table, routes.iter().map(|(pattern, _)| pattern.as_str()), BY_ROUTE)?;
        let layer = layer.uploads(upload);
        let priced = |(pattern, service)| (pattern, boxed(layer.layer(service)));
        Ok::<_, ConfigError>(routed(routes.into_iter().map(priced).collect()))
    };
    Ok(match stock {
        Stock::Priced(shelves) => shelved("", shelves)?,
        Stock::Nested(shelves) => shelved("/api", shelves)?,
        Stock::Listed(shelves, table) => listed("", shelves, table)?,
        Stock::NestedListed(shelves, table) => listed("/api", shelves, table)?,
        Stock::Whole(shelves, charge) => {
            boxed(gate.charge(charge)?.uploads(upload).layer(shelved("", shelves)?))
        }
        Stock::Shared(shelves) => shared(shelved("", shelves)?),
        Stock::SharedInside(shelves, table) => {
            let routes = stocked(gate, goods, "", shelves)?;
            let layer =
                gate.charge_routes(table, routes.iter().map(|(pattern, _)| pattern.as_str()), BY_ROUTE)?;
            let priced =
                |(pattern, service)| (pattern, boxed(layer.clone().uploads(upload).layer(shared(service))));
            routed(routes.into_iter().map(priced).collect())
        }
    })
}

/// Lets scripts of all origins ask.
fn shared(service: Served) -> Served {
    let cors = CorsLayer::new().allow_origin(Any).allow_headers(Any).allow_methods(Any);
    let cors = cors.expose_headers(RESPONSE_HEADERS);
    // The layer wants bodies that can be empty.
    let shop = service.map_response(|response| response.map(Perhaps));
    let shared = ServiceBuilder::new().layer(cors).service(shop);
    boxed(shared.map_response(|response: Response<Perhaps>| response.map(|Perhaps(body)| body)))
}

struct Perhaps(Body);

impl Default for Perhaps {
    fn default() -> Self {
        Self(none())
    }
}

fn upload(bytes: Bytes) -> Upload {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// The pattern that matched, in a request's extensions.
#[derive(Clone)]
struct Matched(Arc<str>);

const BY_ROUTE: Routing = Routing {
    route: |parts: &Parts| Ok(parts.extensions.get().map(|Matched(pattern)| &**pattern)),
    ..Routing::NONE
};

type Routes = Vec<(String, Served)>;

fn stocked(
    gate: &PaymentGate,
    goods: &Goods,
    prefix: &str,
    shelves: Vec<Shelf>,
) -> Result<Routes, ConfigError> {
    let one = |Shelf { path, methods, charge, good }| {
        let handler = handler(goods.clone(), methods, good);
        let handler = match charge {
            Some(charge) => {
                boxed(PaymentLayer::new(gate.toll(charge)?, BY_ROUTE).uploads(upload).layer(handler))
            }
            None => handler,
        };
        Ok((format!("{prefix}{path}"), handler))
    };
    shelves.into_iter().map(one).collect()
}

/// Each path to its own service, which is told the pattern.
fn routed(routes: Routes) -> Served {
    let mut router = Router::new();
    for (pattern, service) in routes {
        router.insert(pattern.clone(), (Matched(pattern.into()), service)).unwrap();
    }
    let router = Arc::new(router);
    boxed(service_fn(move |mut request: Request<Upload>| {
        let found = router.at(request.uri().path()).map(|found| found.value.clone());
        async move {
            let Ok((pattern, service)) = found else { return Ok(empty(StatusCode::NOT_FOUND)) };
            request.extensions_mut().insert(pattern);
            service.oneshot(request).await
        }
    }))
}

fn handler(goods: Goods, methods: Methods, good: Good) -> Served {
    boxed(service_fn(move |request: Request<Upload>| {
        let goods = goods.clone();
        async move {
            let allowed = match methods {
                Methods::Any => true,
                Methods::Get => [Method::GET, Method::HEAD].contains(request.method()),
                Methods::Post => request.method() == Method::POST,
            };
            if !allowed {
                return Ok(empty(StatusCode::METHOD_NOT_ALLOWED));
            }
            Ok::<_, Infallible>(answer(goods, good, request).await)
        }
    }))
}

async fn answer(goods: Goods, good: Good, request: Request<Upload>) -> Response<Body> {
    let paid = PaymentInfo::of(request.extensions().get::<Access>());
    match good {
        Good::Who => match paid {
            Ok(payment) => text(goods.who(&payment)),
            Err(unpaid) => unpaid.answer().map(whole),
        },
        Good::Maybe => text(paid.is_ok().to_string()),
        Good::Echo => text(goods.echo(&request.into_body().collect().await.unwrap().to_bytes())),
        Good::Socket => {
            goods.visits.count();
            socket(request)
        }
        good => match goods.make(good).await {
            Ok(reply) => respond(reply),
            Err(status) => empty(status),
        },
    }
}

fn socket(mut request: Request<Upload>) -> Response<Body> {
    let Some(key) = request.headers().get("sec-websocket-key").cloned() else {
        return empty(StatusCode::BAD_REQUEST);
    };
    tokio::spawn(async move {
        let io = TokioIo::new(hyper::upgrade::on(&mut request).await.unwrap());
        let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
        while let Some(Ok(message)) = socket.next().await {
            let _ = socket.send(message).await;
        }
    });
    let response = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
    let response = response.header("connection", "upgrade").header("upgrade", "websocket");
    let accepted = derive_accept_key(key.as_bytes());
    response.header("sec-websocket-accept", accepted).body(none()).unwrap()
}

fn respond(reply: Reply) -> Response<Body> {
    let mut response = Response::new(match reply.body {
        ReplyBody::Whole(bytes) => whole(bytes),
        ReplyBody::Pieces(pieces) => pieces.boxed_unsync(),
    });
    *response.status_mut() = reply.status;
    for (name, value) in reply.headers {
        response.headers_mut().append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    if reply.uncharged {
        response.extensions_mut().insert(Uncharged);
    }
    response
}

fn text(text: String) -> Response<Body> {
    Response::new(whole(text.into()))
}

fn whole(bytes: Bytes) -> Body {
    Full::from(bytes).map_err(|never| match never {}).boxed_unsync()
}

fn none() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = text(String::new());
    *response.status_mut() = status;
    response
}

fn boxed<S, B>(service: S) -> Served
where
    S: tower::Service<Request<Upload>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    BoxCloneSyncService::new(service.map_response(|response: Response<B>| {
        response.map(|body| body.map_err(|error| io::Error::other(error.into())).boxed_unsync())
    }))
}

/// Serves with hyper alone, HTTP/1.1 and HTTP/2 on the same port.
async fn listen(service: Served) -> Serving {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let service =
                service.clone().map_request(|request: Request<Incoming>| request.map(BodyExt::boxed_unsync));
            let service = TowerToHyperService::new(service);
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
            });
        }
    });
    Serving::running(address, task)
}
