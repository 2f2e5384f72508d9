//! An actix-web service that charges a cent for its weather: `PAY_TO=0x… cargo run -p x402-examples --bin actix`.

use std::net::TcpListener;

use actix_web::{App, HttpServer, web};
use x402_actix::{GateExt, Paid};
use x402_core::gate::{PaymentGate, exact};
use x402_core::network::BASE_SEPOLIA;

#[actix_web::main]
async fn main() -> anyhow::Result<()> {
    let settings = x402_examples::Settings::from_env()?;
    serve(settings.gate()?, &settings.pay_to, settings.listener).await
}

pub(crate) async fn serve(gate: PaymentGate, me: &str, listener: TcpListener) -> anyhow::Result<()> {
    let price = gate.charge(exact("$0.01").on(BASE_SEPOLIA).to(me).describe("The weather"))?;
    let app = move || {
        App::new()
            .service(web::resource("/").get(async || "Free: ask /weather for more.\n"))
            .service(web::resource("/weather").get(weather).wrap(price.clone()))
    };

    let server = HttpServer::new(app).listen(listener)?.run();
    server.await?;
    gate.settled().await;
    Ok(())
}

async fn weather(Paid(payment): Paid) -> String {
    format!("sunny, {}\n", payment.payer())
}
