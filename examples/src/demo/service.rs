//! The facilitator, embedded or as its binary, and an axum service that charges through it.

use axum::{Router, routing::get};
use tokio::{net::TcpListener, task::JoinHandle};
use x402_axum::{GateExt, Paid};
use x402_core::{
    gate::{GateBuilder, PaymentGate, exact},
    hooks::{PaymentHooks, Proceed},
    network::BASE_SEPOLIA,
    payment::Payment,
};
use x402_evm::exact::ExactFacilitator;
use x402_facilitator::{LocalFacilitator, RemoteFacilitator};
use x402_tests::{Chain, chain, process::FacilitatorBinary};

/// A running service; it ends when this is dropped.
pub(crate) struct Service {
    /// What it sells.
    pub(crate) url: String,
    /// Who settles for it, in words.
    pub(crate) facilitator: String,
    task: JoinHandle<()>,
    _binary: Option<FacilitatorBinary>,
}

impl Service {
    pub(crate) async fn start(chain: &Chain, payee: &str, remote: bool) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
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
        let app = app(gate, payee).await?;
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self { url: format!("{origin}/weather"), facilitator, task, _binary: binary })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn app(gate: GateBuilder, payee: &str) -> anyhow::Result<Router> {
    let gate = gate.build()?;
    gate.ready().await;
    let price = exact("$0.01").on(BASE_SEPOLIA).to(payee).describe("The weather");
    Ok(Router::new().route("/weather", get(weather).layer(gate.charge(price)?)))
}

async fn weather(Paid(payment): Paid) -> String {
    format!("sunny, {}", payment.payer())
}

/// Says what the service was given, before anyone verified it.
struct Narrator;

impl PaymentHooks for Narrator {
    async fn before_verify(&self, payment: &Payment) -> Proceed {
        let signed = |field| payment.payload.payload["authorization"][field].as_str().unwrap_or("-");
        println!(
            "the payment:  version {}, {} atomic units to {}, valid before {}, nonce {}",
            payment.payload.version.number(),
            signed("value"),
            signed("to"),
            signed("validBefore"),
            signed("nonce"),
        );
        Proceed::Continue
    }
}
