//! A poem service that charges a cent for its weather: `PAY_TO=0x… cargo run -p x402-examples --bin poem`.

use std::net::TcpListener;

use poem::{EndpointExt, Route, Server, get, handler, listener::TcpAcceptor};
use x402_core::gate::{PaymentGate, exact};
use x402_core::network::BASE_SEPOLIA;
use x402_poem::{GateExt, Paid};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let settings = x402_examples::Settings::from_env()?;
    serve(settings.gate()?, &settings.pay_to, settings.listener).await
}

pub(crate) async fn serve(gate: PaymentGate, me: &str, listener: TcpListener) -> anyhow::Result<()> {
    let price = exact("$0.01").on(BASE_SEPOLIA).to(me).describe("The weather");
    let app = Route::new().at("/", get(free)).at("/weather", get(weather).with(gate.charge(price)?));

    listener.set_nonblocking(true)?;
    Server::new_with_acceptor(TcpAcceptor::from_std(listener)?).run(app).await?;
    gate.settled().await;
    Ok(())
}

#[handler]
fn free() -> &'static str {
    "Free: ask /weather for more.\n"
}

#[handler]
fn weather(Paid(payment): Paid) -> String {
    format!("sunny, {}\n", payment.payer())
}
