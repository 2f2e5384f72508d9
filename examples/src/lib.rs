//! What the examples share: settings, the log, and a view of what goes over the wire.
#![allow(clippy::print_stdout, reason = "a program says where it listens")]

pub mod exchange;

use std::{
    env,
    io::{self, IsTerminal},
    net::TcpListener,
};

use anyhow::Context;
use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter, Layer, filter::filter_fn, fmt, layer::SubscriberExt, util::SubscriberInitExt,
};
use x402_core::gate::PaymentGate;
use x402_facilitator::RemoteFacilitator;

/// A service's settings, from the environment: `PAY_TO` is required, `FACILITATOR_URL`, `ORIGIN` and `PORT` have
/// defaults.
pub struct Settings {
    /// The account to be paid.
    pub pay_to: String,
    /// Where clients reach the service.
    pub origin: String,
    /// Who settles.
    pub facilitator_url: String,
    /// Where the service listens.
    pub listener: TcpListener,
}

impl Settings {
    /// Reads them, and says where the service listens.
    ///
    /// # Errors
    /// When `PAY_TO` is missing, the port is taken, or `RUST_LOG` cannot be read.
    pub fn from_env() -> anyhow::Result<Self> {
        log("info")?;
        let pay_to = env::var("PAY_TO").context("set PAY_TO to the account to be paid")?;
        let port = env::var("PORT").unwrap_or_else(|_| "3000".into());
        let listener = TcpListener::bind(format!("127.0.0.1:{port}"))?;
        let address = format!("http://{}", listener.local_addr()?);
        println!("listening on {address}");
        let origin = env::var("ORIGIN").unwrap_or(address);
        let facilitator_url =
            env::var("FACILITATOR_URL").unwrap_or_else(|_| "https://www.x402.org/facilitator".into());
        Ok(Self { pay_to, origin, facilitator_url, listener })
    }

    /// A gate for the service.
    ///
    /// # Errors
    /// When a setting is no URL.
    pub fn gate(&self) -> anyhow::Result<PaymentGate> {
        Ok(PaymentGate::builder(&self.origin)
            .facilitator(RemoteFacilitator::new(&self.facilitator_url)?)
            .scheme(x402_evm::exact::server())
            .build()?)
    }
}

/// Begins to log to stderr what `RUST_LOG` asks for. Whoever holds a payment can settle it, and libraries log what goes
/// through their hands at `debug` and `trace`: of them no more than `info` is logged, as by the facilitator's binary.
///
/// # Errors
/// When `RUST_LOG` cannot be read.
pub fn log(default: &str) -> anyhow::Result<()> {
    let directives = env::var("RUST_LOG").ok().filter(|directives| !directives.is_empty());
    let directives = directives.as_deref().unwrap_or(default);
    let filter = EnvFilter::try_new(directives).with_context(|| {
        format!("RUST_LOG is {directives:?}: expected directives like `info` or `info,x402_core=debug`")
    })?;
    let lines = fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    let lines = lines.with_filter(filter_fn(holds_no_payment));
    tracing_subscriber::registry().with(lines).with(filter).init();
    Ok(())
}

fn holds_no_payment(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO || metadata.target().starts_with("x402_")
}
