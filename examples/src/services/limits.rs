//! An axum service that bounds what one caller can ask of it: each payment, good or bad, costs the facilitator a question
//! to the chain. `PAY_TO=0x… cargo run -p x402-examples --bin limits`.
//!
//! The layer stands outside of the gate, and counts the requests of an address. A caller that is over its budget is answered
//! 429 with `Retry-After`, and nobody is asked; a payment that was sent with it is as good as before. Behind a proxy take
//! `SmartIpKeyExtractor`, which reads the headers that a proxy sets.

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use axum::{Router, routing::get};
use tower_governor::{GovernorLayer, governor::GovernorConfigBuilder, key_extractor::PeerIpKeyExtractor};
use x402_axum::{GateExt, Paid};
use x402_core::{
    gate::{PaymentGate, exact},
    network::BASE_SEPOLIA,
};

/// What a caller may ask at once, and how many milliseconds later one more.
const AT_ONCE: u32 = 20;
const ONE_MORE_EVERY: u64 = 500;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let settings = x402_examples::Settings::from_env()?;
    serve(settings.gate()?, &settings.pay_to, settings.listener).await
}

pub(crate) async fn serve(gate: PaymentGate, me: &str, listener: TcpListener) -> anyhow::Result<()> {
    let budget = GovernorConfigBuilder::default()
        .key_extractor(PeerIpKeyExtractor)
        .burst_size(AT_ONCE)
        .per_millisecond(ONE_MORE_EVERY)
        .finish()
        .ok_or_else(|| anyhow::anyhow!("a budget is at least one request, and takes time to fill"))?;
    let price = exact("$0.01").on(BASE_SEPOLIA).to(me).describe("The weather");
    // The layer that is added last is the outermost.
    let paid = Router::new()
        .route("/weather", get(weather).layer(gate.charge(price)?))
        .layer(GovernorLayer::new(Arc::new(budget)));
    let app = Router::new().route("/", get("Free: ask /weather for more.\n")).merge(paid);

    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    gate.settled().await;
    Ok(())
}

async fn weather(Paid(payment): Paid) -> String {
    format!("sunny, {}\n", payment.payer())
}
