//! An axum service that charges a cent for its weather.
//!
//! `PAY_TO` is the account to be paid. `FACILITATOR_URL`, `ORIGIN` and `PORT` have defaults.
#![allow(clippy::print_stdout, reason = "a program says where it listens")]

use std::env;

use axum::{Router, routing::get};
use x402_axum::{GateExt, Paid};
use x402_core::gate::{PaymentGate, exact};
use x402_core::network::BASE_SEPOLIA;
use x402_facilitator::RemoteFacilitator;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().init();
    let port = env::var("PORT").unwrap_or_else(|_| "3000".into());
    let origin = env::var("ORIGIN").unwrap_or_else(|_| format!("http://127.0.0.1:{port}"));
    let facilitator = env::var("FACILITATOR_URL").unwrap_or_else(|_| "https://x402.org/facilitator".into());
    let me = env::var("PAY_TO").map_err(|_| anyhow::anyhow!("set PAY_TO to the account to be paid"))?;

    let gate = PaymentGate::builder(origin)
        .facilitator(RemoteFacilitator::new(&facilitator)?)
        .scheme(x402_evm::exact::server())
        .build()?;
    let price = exact("$0.01").on(BASE_SEPOLIA).to(me).describe("The weather");
    let app = Router::new()
        .route("/", get("Free: ask /weather for more."))
        .route("/weather", get(weather).layer(gate.charge(price)?));

    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

async fn weather(Paid(payment): Paid) -> String {
    format!("sunny, {}\n", payment.payer())
}
