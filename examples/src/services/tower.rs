//! A tower service on hyper, without a framework, that charges a cent for its weather:
//! `PAY_TO=0x… cargo run -p x402-examples --bin tower`.

use std::{convert::Infallible, net::TcpListener};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::{server::conn::auto::Builder, service::TowerToHyperService};
use tower::{Layer, ServiceExt, service_fn};
use x402_core::gate::{PaymentGate, exact};
use x402_core::network::BASE_SEPOLIA;
use x402_tower::{Access, GateBody, GateExt, PaymentInfo};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let settings = x402_examples::Settings::from_env()?;
    serve(settings.gate()?, &settings.pay_to, settings.listener).await
}

pub(crate) async fn serve(gate: PaymentGate, me: &str, listener: TcpListener) -> anyhow::Result<()> {
    let price = exact("$0.01").on(BASE_SEPOLIA).to(me).describe("The weather");
    let weather = gate.charge(price)?.layer(service_fn(weather));
    let app = service_fn(move |request: Request<Incoming>| {
        let weather = weather.clone();
        async move {
            match request.uri().path() {
                "/weather" => weather.oneshot(request).await,
                "/" => Ok(Response::new(GateBody::from(Bytes::from("Free: ask /weather for more.\n")))),
                _ => Ok(not_found()),
            }
        }
    });

    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        let service = TowerToHyperService::new(app.clone());
        tokio::spawn(async move {
            let server = Builder::new(TokioExecutor::new());
            if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(error, "a connection broke");
            }
        });
    }
}

async fn weather(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let text = match PaymentInfo::of(request.extensions().get::<Access>()) {
        Ok(payment) => format!("sunny, {}\n", payment.payer()),
        Err(unpaid) => return Ok(unpaid.answer().map(Full::new)),
    };
    Ok(Response::new(Full::from(text)))
}

fn not_found<B>() -> Response<GateBody<B>> {
    let mut response = Response::new(GateBody::from(Bytes::new()));
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}
