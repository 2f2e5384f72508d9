//! The shop of the crash tests.

use std::{env, io::Write, time::Duration};

use anyhow::Context;
use tokio::net::TcpListener;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};
use x402_core::gate::PaymentGate;
use x402_facilitator::RemoteFacilitator;
use x402_tests::crash::{Ledger, shop, store_at};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    x402_tests::install_crypto();
    // Much fails there, as it should.
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::OFF.into()).from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();

    let facilitator = RemoteFacilitator::builder(&setting("FACILITATOR_URL")?)
        .verify_timeout(Duration::from_secs(5))
        .settle_timeout(Duration::from_secs(15))
        .build()?;
    let gate = PaymentGate::builder("https://shop.example.com")
        .facilitator(facilitator)
        .scheme(x402_evm::exact::server())
        .store(store_at(&setting("STORE_URL")?).await?)
        .claim_lease(Duration::from_millis(setting("LEASE_MS")?.parse()?))
        .build()?;
    let app = shop(&gate, &setting("PAY_TO")?, Ledger::at(setting("LEDGER")?))?;

    let listener = TcpListener::bind(("127.0.0.1", setting("PORT")?.parse()?)).await?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening on http://{}", listener.local_addr()?)?;
    stdout.flush()?;
    axum::serve(listener, app).await?;
    Ok(())
}

fn setting(name: &str) -> anyhow::Result<String> {
    env::var(name).with_context(|| format!("{name} is missing"))
}
