//! An axum service that charges a cent for its weather: `PAY_TO=0x… cargo run -p x402-examples --bin axum`.

use std::net::TcpListener;

use axum::{Router, routing::get};
use x402_axum::{GateExt, Paid};
use x402_core::gate::{PaymentGate, exact};
use x402_core::network::BASE_SEPOLIA;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let settings = x402_examples::Settings::from_env()?;
    serve(settings.gate()?, &settings.pay_to, settings.listener).await
}

pub(crate) async fn serve(gate: PaymentGate, me: &str, listener: TcpListener) -> anyhow::Result<()> {
    let price = exact("$0.01").on(BASE_SEPOLIA).to(me).describe("The weather");
    let app = Router::new()
        .route("/", get("Free: ask /weather for more.\n"))
        .route("/weather", get(weather).layer(gate.charge(price)?));

    listener.set_nonblocking(true)?;
    axum::serve(tokio::net::TcpListener::from_std(listener)?, app).await?;
    gate.settled().await;
    Ok(())
}

async fn weather(Paid(payment): Paid) -> String {
    format!("sunny, {}\n", payment.payer())
}
