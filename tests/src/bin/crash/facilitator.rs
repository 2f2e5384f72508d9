//! The facilitator of the crash tests: `exact` on Base Sepolia, its settlements written down in a store that lasts.

use std::{env, io::Write, time::Duration};

use anyhow::Context;
use tokio::net::TcpListener;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};
use x402_core::network::BASE_SEPOLIA;
use x402_evm::exact::ExactFacilitator;
use x402_facilitator::{LocalFacilitator, http};
use x402_tests::crash::store_at;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    x402_tests::install_crypto();
    // Much fails there, as it should.
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::OFF.into()).from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();

    let signer: alloy::signers::local::PrivateKeySigner = setting("PRIVATE_KEY")?.parse()?;
    let exact = ExactFacilitator::connect(setting("RPC_URL")?, BASE_SEPOLIA, signer)?
        .receipt_timeout(Duration::from_secs(2))
        .store(store_at(&setting("STORE_URL")?).await?);
    let recovering = exact.clone();
    tokio::spawn(async move {
        // Whatever fails here is tried again with the first settlement.
        if let Err(error) = recovering.recover().await {
            tracing::warn!(%error, "earlier settlements are not known yet");
        }
    });

    let listener = TcpListener::bind(("127.0.0.1", setting("PORT")?.parse()?)).await?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening on http://{}", listener.local_addr()?)?;
    stdout.flush()?;
    http::serve(listener, LocalFacilitator::new().with(exact), std::future::pending()).await?;
    Ok(())
}

fn setting(name: &str) -> anyhow::Result<String> {
    env::var(name).with_context(|| format!("{name} is missing"))
}
