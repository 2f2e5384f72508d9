//! The shop in actix-web, on a server of its own with a worker's thread.

use std::{net::TcpListener, sync::mpsc, thread};

use actix_cors::Cors;
use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer,
    body::SizedStream,
    dev::Server,
    error::InternalError,
    http::StatusCode,
    rt::System,
    web::{self, Bytes, Payload, ServiceConfig},
};
use futures_util::StreamExt;
use x402_actix::{GateExt, Paid, Uncharged};
use x402_core::gate::{ConfigError, PaymentGate};
use x402_core::wire::RESPONSE_HEADERS;
use x402_tests::serve::Serving;

use crate::goods::{Good, Goods, Methods, Reply, ReplyBody, Shelf, Stock};

pub fn serve(gate: PaymentGate, goods: Goods, stock: Stock) -> Result<Serving, ConfigError> {
    macro_rules! app {
        (|$app:ident, $put:ident| $with:expr) => {
            listen(move |listener| {
                let app = move || {
                    let ($app, gate, goods) = (App::new(), gate.clone(), goods.clone());
                    let $put = move |shelves: Vec<Shelf>| {
                        move |config: &mut ServiceConfig| stocked(config, &gate, &goods, shelves)
                    };
                    $with
                };
                let server = HttpServer::new(app).workers(1).disable_signals();
                server.listen_auto_h2c(listener).unwrap().run()
            })
        };
    }
    Ok(match stock {
        Stock::Priced(shelves) => app!(|app, put| app.configure(put(shelves.clone()))),
        Stock::Nested(shelves) => {
            app!(|app, put| app.service(web::scope("/api").configure(put(shelves.clone()))))
        }
        Stock::Listed(shelves, table) => {
            let prices = gate.charge_routes(table)?;
            app!(|app, put| app.configure(put(shelves.clone())).wrap(prices.clone()))
        }
        Stock::NestedListed(shelves, table) => {
            let prices = gate.charge_routes(table)?;
            app!(|app, put| app
                .service(web::scope("/api").configure(put(shelves.clone())))
                .wrap(prices.clone()))
        }
        Stock::Whole(shelves, charge) => {
            let price = gate.charge(charge)?;
            app!(|app, put| app.configure(put(shelves.clone())).wrap(price.clone()))
        }
        Stock::Shared(shelves) => {
            app!(|app, put| app.configure(put(shelves.clone())).wrap(cors()))
        }
        Stock::SharedInside(shelves, table) => {
            let prices = gate.charge_routes(table)?;
            app!(|app, put| app.configure(put(shelves.clone())).wrap(cors()).wrap(prices.clone()))
        }
    })
}

fn cors() -> Cors {
    Cors::default()
        .allow_any_origin()
        .allow_any_header()
        .allow_any_method()
        .expose_headers(RESPONSE_HEADERS.iter().map(|name| name.as_str()))
}

fn stocked(config: &mut ServiceConfig, gate: &PaymentGate, goods: &Goods, shelves: Vec<Shelf>) {
    for Shelf { path, methods, charge, good } in shelves {
        let resource = web::resource(path).route(handler(goods, methods, good));
        match charge {
            Some(charge) => config.service(resource.wrap(gate.charge(charge).unwrap())),
            None => config.service(resource),
        };
    }
}

fn handler(goods: &Goods, methods: Methods, good: Good) -> actix_web::Route {
    let route = match methods {
        Methods::Any => web::route(),
        Methods::Get => web::get(),
        Methods::Post => web::post(),
    };
    let goods = goods.clone();
    match good {
        Good::Who => route.to(move |Paid(payment): Paid| {
            let goods = goods.clone();
            async move { goods.who(&payment) }
        }),
        Good::Maybe => route.to(async |paid: Option<Paid>| paid.is_some().to_string()),
        Good::Echo => route.to(move |body: Bytes| {
            let goods = goods.clone();
            async move { goods.echo(&body) }
        }),
        Good::Socket => route.to(move |request: HttpRequest, body: Payload| {
            let goods = goods.clone();
            async move {
                goods.visits.count();
                let (response, mut session, mut messages) = actix_ws::handle(&request, body)?;
                actix_web::rt::spawn(async move {
                    while let Some(Ok(message)) = messages.next().await {
                        if let actix_ws::Message::Text(text) = message {
                            let _ = session.text(text).await;
                        }
                    }
                });
                Ok::<_, actix_web::Error>(response)
            }
        }),
        good => route.to(move || {
            let goods = goods.clone();
            async move {
                match goods.make(good).await {
                    Ok(reply) => Ok(respond(reply)),
                    Err(status) => {
                        let status = StatusCode::from_u16(status.as_u16()).unwrap();
                        Err(actix_web::Error::from(InternalError::new("as it should", status)))
                    }
                }
            }
        }),
    }
}

fn respond(reply: Reply) -> actix_web::Either<HttpResponse, Uncharged<HttpResponse>> {
    let mut response = HttpResponse::build(StatusCode::from_u16(reply.status.as_u16()).unwrap());
    for header in reply.headers {
        response.append_header(header);
    }
    let response = match reply.body {
        ReplyBody::Whole(bytes) => response.body(bytes),
        ReplyBody::Pieces(pieces) => match pieces.length {
            Some(length) => response.body(SizedStream::new(length, pieces)),
            None => response.streaming(pieces),
        },
    };
    if reply.uncharged {
        actix_web::Either::Right(Uncharged(response))
    } else {
        actix_web::Either::Left(response)
    }
}

/// Runs a server in a thread of its own, until it is dropped.
fn listen(run: impl FnOnce(TcpListener) -> Server + Send + 'static) -> Serving {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (send, handle) = mpsc::channel();
    thread::spawn(move || {
        System::new().block_on(async move {
            let server = run(listener);
            send.send(server.handle()).unwrap();
            server.await
        })
    });
    let handle = handle.recv().unwrap();
    Serving::ended_by(address, move || drop(handle.stop(false)))
}
