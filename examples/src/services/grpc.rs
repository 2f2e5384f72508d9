//! A gRPC service, by tonic, that charges a cent for its weather: `PAY_TO=0x… cargo run -p x402-examples --bin grpc`.
//!
//! A gRPC method is a path that is matched letter by letter, so the path is the route, and a table names it. It does so
//! without an HTTP method: tonic takes them all. An unpaid
//! call ends with `FAILED_PRECONDITION`, and what it costs is in its metadata, under `payment-required`; the payment goes
//! into the next call's, under `payment-signature`.

use std::{
    convert::Infallible,
    net::TcpListener,
    task::{Context, Poll},
};

use http::{Request, Response};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Status,
    body::Body,
    codegen::BoxFuture,
    server::{Grpc, NamedService, UnaryService},
    transport::Server,
};
use tonic_prost::ProstCodec;
use tower::Service;
use x402_core::gate::{PaymentGate, RouteTable, exact};
use x402_core::network::BASE_SEPOLIA;
use x402_tower::{Access, GateExt, PaymentInfo, Routing};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let settings = x402_examples::Settings::from_env()?;
    serve(settings.gate()?, &settings.pay_to, settings.listener).await
}

pub(crate) async fn serve(gate: PaymentGate, me: &str, listener: TcpListener) -> anyhow::Result<()> {
    let price = exact("$0.01").on(BASE_SEPOLIA).to(me).describe("The weather");
    let prices = RouteTable::new().route(TODAY, price)?;
    let by_path = Routing { route: |parts| Ok(Some(parts.uri.path())), ..Routing::NONE };
    let layer = gate.charge_routes(prices, [TODAY], by_path)?;

    listener.set_nonblocking(true)?;
    let connections = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener)?);
    Server::builder().layer(layer).add_service(Weather).serve_with_incoming(connections).await?;
    gate.settled().await;
    Ok(())
}

const TODAY: &str = "/weather.Weather/Today";

/// `message Place { string city = 1; }`
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Place {
    #[prost(string, tag = "1")]
    pub(crate) city: String,
}

/// `message Forecast { string text = 1; }`
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Forecast {
    #[prost(string, tag = "1")]
    pub(crate) text: String,
}

/// `service Weather { rpc Today(Place) returns (Forecast); }`, as tonic's compiler would write it.
#[derive(Clone)]
struct Weather;

impl NamedService for Weather {
    const NAME: &'static str = "weather.Weather";
}

impl Service<Request<Body>> for Weather {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(async move {
            Ok(match request.uri().path() {
                TODAY => Grpc::new(ProstCodec::default()).unary(Today, request).await,
                path => Status::unimplemented(path.to_owned()).into_http(),
            })
        })
    }
}

struct Today;

impl UnaryService<Place> for Today {
    type Response = Forecast;
    type Future = BoxFuture<tonic::Response<Forecast>, Status>;

    fn call(&mut self, request: tonic::Request<Place>) -> Self::Future {
        Box::pin(async move {
            let payment = PaymentInfo::of(request.extensions().get::<Access>())
                .map_err(|unpaid| Status::internal(unpaid.to_string()))?;
            match request.get_ref().city.as_str() {
                "" => Err(Status::invalid_argument("which city?")),
                city => {
                    let text = format!("sunny in {city}, {}", payment.payer());
                    Ok(tonic::Response::new(Forecast { text }))
                }
            }
        })
    }
}
