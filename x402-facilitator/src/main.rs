//! The x402 facilitator: the protocol's HTTP API over the EVM schemes, set up from the environment.

mod chains;
mod config;

use std::io::{self, IsTerminal, Write};

use anyhow::Context;
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;
use x402_evm::exact::ExactFacilitator;
use x402_facilitator::{LocalFacilitator, http};

use config::{Config, EvmChain, environment};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    log_to_stderr()?;
    let config = Config::read(&environment)?;
    // Whatever speaks TLS here speaks it with ring; nobody else has installed a provider before `main`.
    let _ = rustls::crypto::ring::default_provider().install_default();

    let facilitator = facilitator(&config)?;
    let shutdown = Signals::listen()?;
    let listener = TcpListener::bind((config.host.as_str(), config.port))
        .await
        .with_context(|| format!("cannot listen on HOST {} and PORT {}", config.host, config.port))?;
    let address = listener.local_addr()?;
    let mut stdout = io::stdout();
    writeln!(stdout, "x402-facilitator listening on http://{address}")?;
    stdout.flush()?;

    http::serve(listener, facilitator, shutdown.first()).await?;
    tracing::info!("stopped");
    Ok(())
}

fn log_to_stderr() -> anyhow::Result<()> {
    let directives = environment("RUST_LOG")?.unwrap_or_else(|| "info".to_owned());
    let filter = EnvFilter::try_new(&directives).with_context(|| {
        format!(
            "RUST_LOG is {directives:?}: expected directives like `info` or `info,x402_facilitator=debug`"
        )
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    Ok(())
}

fn facilitator(config: &Config) -> anyhow::Result<LocalFacilitator> {
    let mut facilitator = LocalFacilitator::new();
    for EvmChain { name, network, rpc_url } in &config.chains {
        let exact = ExactFacilitator::connect(rpc_url, network.clone(), config.signer.clone())
            .with_context(|| format!("cannot settle on {name}"))?
            .receipt_timeout(config.receipt_timeout);
        let node = exact.clone();
        tokio::spawn(async move {
            if let Err(error) = node.check().await {
                tracing::warn!(%error, "payments cannot be settled until this is right");
            }
        });
        facilitator = facilitator.with(exact);
        tracing::info!(name, %network, signer = %config.signer.address(), "settling");
    }
    Ok(facilitator)
}

/// The signals that end the process: the first one after the settlements that have begun, the second one at once.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(not(unix))]
impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {})
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Signals {
    async fn first(mut self) {
        self.next().await;
        tracing::info!("stopping when the settlements that have begun are done");
        tokio::spawn(async move {
            self.next().await;
            tracing::error!("stopped by force: settlements that had begun may be on chain all the same");
            std::process::exit(1);
        });
    }
}
