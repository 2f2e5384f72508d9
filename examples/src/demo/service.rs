//! The facilitator, embedded or as its binary, and a service in any of the frameworks that charges through it.

use std::net::TcpListener;

use anyhow::bail;
use tokio::task::JoinHandle;
use x402_core::{
    gate::PaymentGate,
    hooks::{PaymentHooks, Proceed},
    network::BASE_SEPOLIA,
    payment::Payment,
};
use x402_evm::exact::ExactFacilitator;
use x402_facilitator::{LocalFacilitator, RemoteFacilitator};
use x402_tests::{Chain, chain, process::FacilitatorBinary};

use crate::services;

/// A running service; it ends when this is dropped.
pub(crate) struct Service {
    /// What it sells.
    pub(crate) url: String,
    /// Who settles for it, in words.
    pub(crate) facilitator: String,
    task: JoinHandle<anyhow::Result<()>>,
    _binary: Option<FacilitatorBinary>,
}

impl Service {
    pub(crate) async fn start(
        chain: &Chain,
        payee: &str,
        remote: bool,
        framework: &str,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let origin = format!("http://{}", listener.local_addr()?);
        let builder = PaymentGate::builder(&origin).scheme(x402_evm::exact::server()).hooks(Narrator);
        let signer = chain::facilitator();
        let account = signer.address();
        let (gate, facilitator, binary) = if remote {
            let key = chain::private_key(&signer);
            let binary = FacilitatorBinary::start(chain.rpc_url().as_str(), &key).await?;
            let words =
                format!("the x402-facilitator binary listens at {} and settles from {account}", binary.url);
            (builder.facilitator(RemoteFacilitator::new(&binary.url)?), words, Some(binary))
        } else {
            let exact = ExactFacilitator::connect(chain.rpc_url(), BASE_SEPOLIA, signer)?;
            let words = format!("a facilitator is embedded in the service and settles from {account}");
            (builder.facilitator(LocalFacilitator::new().with(exact)), words, None)
        };
        let gate = gate.build()?;
        gate.ready().await?;
        let payee = payee.to_owned();
        let task = match framework {
            "axum" => tokio::spawn(async move { services::axum::serve(gate, &payee, listener).await }),
            "actix" => tokio::spawn(async move { services::actix::serve(gate, &payee, listener).await }),
            "poem" => tokio::spawn(async move { services::poem::serve(gate, &payee, listener).await }),
            "tower" => tokio::spawn(async move { services::tower::serve(gate, &payee, listener).await }),
            other => bail!("there is no example for `{other}`: take axum, actix, poem or tower"),
        };
        Ok(Self { url: format!("{origin}/weather"), facilitator, task, _binary: binary })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Says what the service was given, before anyone verified it.
struct Narrator;

impl PaymentHooks for Narrator {
    async fn before_verify(&self, payment: &Payment) -> Proceed {
        let signed = |field| payment.payload.payload["authorization"][field].as_str().unwrap_or("-");
        println!(
            "* the service verifies a payment of version {}: {} atomic units to {}, valid before {}, nonce {}",
            payment.payload.version.number(),
            signed("value"),
            signed("to"),
            signed("validBefore"),
            signed("nonce"),
        );
        Proceed::Continue
    }
}
