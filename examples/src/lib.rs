//! What the example services share: their settings.
#![allow(clippy::print_stdout, reason = "a program says where it listens")]

use std::{env, net::TcpListener};

use anyhow::Context;
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
    /// When `PAY_TO` is missing, or the port is taken.
    pub fn from_env() -> anyhow::Result<Self> {
        tracing_subscriber::fmt().init();
        let pay_to = env::var("PAY_TO").context("set PAY_TO to the account to be paid")?;
        let port = env::var("PORT").unwrap_or_else(|_| "3000".into());
        let listener = TcpListener::bind(format!("127.0.0.1:{port}"))?;
        let address = format!("http://{}", listener.local_addr()?);
        println!("listening on {address}");
        let origin = env::var("ORIGIN").unwrap_or(address);
        let facilitator_url =
            env::var("FACILITATOR_URL").unwrap_or_else(|_| "https://x402.org/facilitator".into());
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
